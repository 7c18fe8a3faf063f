"""What the encoders have in common: frames that are checked, weights that have a name, and what stays as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.errors import ThalwegError

__all__ = ["FrameEncoder", "Frozen", "check_frames", "hash_weights", "quiet_loading"]

_SMALLEST = 8  # pixels: a side below this is another axis taken for it


class FrameEncoder(Protocol):
    """What ``encode_store`` asks of an encoder: one latent a moment, from all the cameras' frames of that moment."""

    @property
    def fingerprint(self) -> str: ...
    def views(self, cameras: Mapping[str, np.ndarray]) -> Tensor: ...


class Frozen(nn.Module):
    """An encoder that nothing trains any further: no gradients, and eval mode, whatever is called on what holds it.

    As a part of a module its weights go into that module's checkpoint.

    Args:
        encoder: the trained one, with ``views`` (and whatever else its user asks of it, by ``frozen.encoder``).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> Frozen:
        """Stay in eval mode."""
        return super().train(False)

    @property
    def fingerprint(self) -> str:
        """The encoder's."""
        return self.encoder.fingerprint

    @torch.no_grad()
    def views(self, cameras: Mapping[str, np.ndarray]) -> Tensor:
        """Frames ``(B, H, W, 3)`` uint8 of each camera -> ``(B, D)``."""
        return self.encoder.views(cameras)


def check_frames(frames: Any, name: str = "frames") -> Tensor:
    """Frames as a tensor ``(B, H, W, 3)`` uint8; arrays are copied only where torch cannot read them in place.

    Raises:
        ThalwegError: they have other axes, another dtype, or fewer than 8 pixels a side.
    """
    if not isinstance(frames, np.ndarray | Tensor):
        raise ThalwegError(f"{name} must be an array (B, height, width, 3) of uint8, got {type(frames).__name__}")
    shape, dtype = tuple(frames.shape), str(frames.dtype).removeprefix("torch.")
    if dtype != "uint8" or len(shape) != 4 or shape[3] != 3:
        raise ThalwegError(f"{name} have shape {shape} and dtype {dtype}; expected (B, height, width, 3) of uint8")
    if min(shape[1:3]) < _SMALLEST:
        raise ThalwegError(f"{name} have {shape[1]} by {shape[2]} pixels; expected {_SMALLEST} a side or more")
    if isinstance(frames, np.ndarray):
        plain = frames.flags.writeable and frames.flags.c_contiguous
        return torch.from_numpy(frames if plain else np.array(frames, order="C"))
    return frames


def hash_weights(module: nn.Module) -> str:
    """SHA-256 of a module's weights and buffers, with their names: equal only for equal weights, on any device."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        value = value.detach().cpu().contiguous()
        digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
        digest.update(value.flatten().view(torch.uint8).numpy() if value.ndim else str(value.item()).encode())
    return digest.hexdigest()


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Keep the progress bars and notes of transformers' loaders from the terminal; errors still come as exceptions."""
    from transformers.utils import logging

    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()
