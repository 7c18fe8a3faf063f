"""What the arrays of a dataset must look like: shapes, kinds of number, where episodes end, and that all is finite."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from thalweg.errors import ThalwegError

__all__ = [
    "ROWS",
    "check_camera",
    "check_finite",
    "check_instructions",
    "check_shape",
    "checked_array",
    "episode_ends",
    "stored_dtype",
]

ROWS = 1 << 16  #: rows checked and copied at once


def stored_dtype(key: str, axes: int, dtype: np.dtype, source: str) -> np.dtype:
    """Images, of several axes a row, and button states stay; vectors become float32, so that no difference wraps."""
    if dtype.kind not in ("biuf" if key == "button_states" else "iuf"):
        raise ThalwegError(f"{source}: {key} has dtype {dtype}; use float32 (or uint8 for images)")
    if key == "button_states" or (dtype == np.uint8 and axes > 1):
        return dtype
    return np.dtype(np.float32)


def check_shape(shape: tuple[int, ...], key: str, source: str) -> None:
    if len(shape) < 2 or 0 in shape or (key == "actions" and len(shape) > 2):
        raise ThalwegError(f"{source}: {key} has shape {shape}; expected (rows, values) with rows and values")


def checked_array(array: np.ndarray, key: str, source: str) -> np.ndarray:
    try:
        array = np.asarray(array)
    except ValueError:
        array = np.asarray(array, dtype=object)
    if array.dtype == object:
        raise ThalwegError(f"{source}: {key} is ragged (episodes of different widths); every row needs one shape")
    check_shape(array.shape, key, source)
    return np.ascontiguousarray(array, dtype=stored_dtype(key, array.ndim - 1, array.dtype, source))


def episode_ends(rows: int, terminals: np.ndarray | None, lengths: np.ndarray | None, source: str) -> np.ndarray:
    if terminals is not None and lengths is not None:
        raise ThalwegError(f"{source}: give terminals or lengths, not both")
    if rows == 0:
        raise ThalwegError(f"{source}: the set is empty")
    if lengths is not None:
        ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
        if len(ends) == 0 or ends[-1] != rows:
            raise ThalwegError(f"{source}: lengths add up to {ends[-1] if len(ends) else 0}, there are {rows} rows")
    elif terminals is not None:
        terminals = np.asarray(terminals)
        if terminals.shape != (rows,):
            raise ThalwegError(f"{source}: terminals has shape {terminals.shape}, expected ({rows},)")
        if not np.isin(terminals, (0, 1)).all():
            raise ThalwegError(f"{source}: terminals holds values other than 0 and 1")
        ends = np.flatnonzero(terminals) + 1
        if len(ends) == 0 or ends[-1] != rows:
            episode = len(ends)
            raise ThalwegError(f"{source}: episode {episode} is truncated: terminals is not set on its last row")
    else:
        ends = np.array([rows])
    short = np.flatnonzero(np.diff(ends, prepend=0) < 2)
    if len(short):
        raise ThalwegError(f"{source}: episode {short[0]} has fewer than 2 rows")
    return ends.astype(np.int64)


def check_finite(array: np.ndarray, key: str, ends: np.ndarray, source: str) -> None:
    """Refuse what is not finite, but for the actions of an episode that are NaN throughout."""
    if array.dtype.kind != "f":
        return
    starts, inner = np.concatenate([[0], ends[:-1]]), tuple(range(1, array.ndim))
    absent = np.isnan(array[starts]).all(axis=inner) if key == "actions" else np.zeros(len(ends), bool)
    for begin in range(0, len(array), ROWS):
        block = array[begin : begin + ROWS]
        episodes = np.searchsorted(ends, np.arange(begin, begin + len(block)), side="right")
        well = np.where(absent[episodes], np.isnan(block).all(axis=inner), np.isfinite(block).all(axis=inner))
        if not well.all():
            row = int(np.argmin(well))
            episode = int(episodes[row])
            step = 0 if absent[episode] else begin + row - int(starts[episode])
            hint = "; an episode without actions is NaN in all its rows" if key == "actions" else ""
            raise ThalwegError(f"{source}: episode {episode}, key {key}, step {step} is not finite{hint}")


def check_camera(shape: tuple[int, ...], dtype: np.dtype, name: str, source: str) -> None:
    """Refuse what is no row of ``(height, width, 3)`` uint8 frames after another."""
    if len(shape) != 4 or shape[3] != 3 or 0 in shape or dtype != np.uint8:
        raise ThalwegError(
            f"{source}: camera {name!r} has shape {shape} and dtype {dtype}; expected (rows, height, width, 3) of uint8"
        )


def check_instructions(instructions: Sequence[str], episodes: int, source: str) -> tuple[str, ...]:
    """One instruction an episode, none of them blank; or none at all."""
    told = tuple(str(one) for one in instructions)
    if told and len(told) != episodes:
        raise ThalwegError(f"{source}: got {len(told)} instructions for {episodes} episodes; give each episode one")
    blank = [episode for episode, one in enumerate(told) if not one.strip()]
    if blank:
        raise ThalwegError(f"{source}: the instruction of episode {blank[0]} is empty")
    return told
