"""Frames moved by a few pixels: what a network learns from them holds where the camera is not quite the same."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_shifts", "shift_frames"]


def draw_shifts(shape: tuple[int, ...], largest: int, generator: torch.Generator) -> Tensor:
    """``(*shape, 2)`` pixels down and across, each up to ``largest`` either way."""
    return torch.randint(-largest, largest + 1, (*shape, 2), generator=generator)


def shift_frames(frames: Tensor, shift: Tensor) -> Tensor:
    """Each of ``(B, H, W, 3)`` moved by its ``(B, 2)`` pixels; the border is repeated."""
    batch, height, width, _ = frames.shape
    down = (torch.arange(height, device=frames.device) + shift[:, :1]).clamp(0, height - 1)
    across = (torch.arange(width, device=frames.device) + shift[:, 1:]).clamp(0, width - 1)
    which = torch.arange(batch, device=frames.device)[:, None, None]
    return frames[which, down[:, :, None], across[:, None, :]]
