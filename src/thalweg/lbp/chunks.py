"""Chunks of actions that overlap in time, and what is done where they do (Zhao et al., 2023)."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["blend", "overlap"]


def overlap(drawn: Tensor, before: Tensor | None, elapsed: int, over: Tensor | None = None) -> Tensor:
    """The chunks that reach into the present.

    Args:
        drawn: ``(B, C, A)`` just now.
        before: ``(B, M, C, A)`` those that did so ``elapsed`` environment steps ago, newest first, NaN past their end.
        elapsed: steps since then.
        over: ``(B,)`` requests of which those before lead to something that is no longer wanted.

    Returns:
        ``(B, M', C, A)`` from the present on, newest first, NaN past their end; never more than C.
    """
    count = drawn.shape[1]
    rows = [drawn.unsqueeze(1)]
    if before is not None and elapsed < count:
        rest = before[:, :, elapsed:]
        if over is not None:
            rest = rest.masked_fill(over[:, None, None, None], torch.nan)
        ended = torch.full_like(before[:, :, :elapsed], torch.nan)
        rows.append(torch.cat([rest, ended], dim=2)[:, : count - 1])
    return torch.cat(rows, dim=1)


def blend(chunks: Tensor, step: int, ensemble: float | None) -> Tensor:
    """``(B, A)`` the action ``step`` steps on, of chunks ``(B, M, C, A)``, newest first.

    Those that reach so far are averaged with weights ``exp(-ensemble * rank)``, the oldest counting most; None takes
    the newest alone.
    """
    actions = chunks[:, :, min(step, chunks.shape[2] - 1)]
    if ensemble is None:
        return actions[:, 0]
    known = actions.isfinite().all(dim=2)
    rank = known.flip(1).cumsum(dim=1).flip(1) - 1.0  # 0 for the oldest that still speaks
    weight = torch.where(known, torch.exp(-ensemble * rank), 0.0)
    total = (weight.unsqueeze(2) * torch.where(known.unsqueeze(2), actions, 0.0)).sum(dim=1)
    return total / weight.sum(dim=1, keepdim=True)
