"""What people hand in, checked before anything is done with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import ThalwegError

__all__ = ["read_vectors"]


def read_vectors(values: Any, size: int, name: str) -> Tensor:
    """``(size,)`` or ``(B, size)`` numbers as a float32 tensor ``(B, size)`` of their own.

    Raises:
        ThalwegError: they are no numbers, have another shape, or are not finite; ``name`` says what they are.
    """
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ThalwegError(f"{name} is not an array of numbers ({error})") from error
    if array.ndim not in (1, 2) or array.shape[-1] != size or 0 in array.shape:
        raise ThalwegError(f"{name} has shape {array.shape}; expected ({size},) or (batch, {size})")
    if not np.isfinite(array).all():
        raise ThalwegError(f"{name} is not finite at index {np.argwhere(~np.isfinite(array))[0].tolist()}")
    return torch.from_numpy(np.atleast_2d(array).copy())
