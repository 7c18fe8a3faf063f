"""Hindsight windows: which rows of a store make a training sample (PaD, section 4.3). Index arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError

__all__ = ["WindowIndex", "WindowSpec", "gather_rows", "sample_windows"]


@dataclass(frozen=True)
class WindowSpec:
    """The shape of a hindsight sample.

    Attributes:
        offsets: steps from the present to each future token, increasing, the first at least 1.
        past: P, the longest visible past.
        reach_low: smallest time to reach, in steps.
        reach_high: H, the largest.
        hold_goal: tokens past the goal repeat the goal (ours); otherwise they go on with the recording (paper).
        random_past: draw the visible past as the paper does, ``r = sin(pi u / 2)``; otherwise it is always full.
    """

    offsets: tuple[int, ...]
    past: int = 1
    reach_low: int = 1
    reach_high: int = 128
    hold_goal: bool = True
    random_past: bool = False

    def __post_init__(self) -> None:
        steps = np.asarray(self.offsets)
        if len(steps) < 2 or steps[0] < 1 or (np.diff(steps) <= 0).any():
            raise ThalwegError(f"offsets must be two or more increasing positive steps, got {self.offsets}")
        if not 1 <= self.reach_low <= self.reach_high:
            raise ThalwegError(f"need 1 <= reach_low <= reach_high, got {self.reach_low} and {self.reach_high}")
        if self.past < 1:
            raise ThalwegError(f"past must be 1 or more observations, got {self.past}")

    @property
    def needs(self) -> int:
        """Steps after the present that a sample must have left in its episode."""
        return self.reach_low if self.hold_goal else max(self.offsets[-1], self.reach_high)


@dataclass(frozen=True)
class WindowIndex:
    """Row numbers in a store: ``past (B, P)``, ``future (B, F)``, ``goal (B,)``; ``reach`` and ``past_length (B,)``."""

    past: np.ndarray
    future: np.ndarray
    goal: np.ndarray
    reach: np.ndarray
    past_length: np.ndarray


def starts(store: EpisodeStore, spec: WindowSpec) -> np.ndarray:
    """Every row that a window can start from, in order.

    Raises:
        ThalwegError: no episode is long enough.
    """
    lengths = store.ends - store.starts
    counts = np.maximum(lengths - spec.needs, 0)
    if not counts.any():
        raise ThalwegError(
            f"no episode has the {spec.needs + 1} rows that a window needs (the longest has {lengths.max()}); "
            "choose a shorter horizon"
        )
    skipped = np.cumsum(counts) - counts
    return np.repeat(store.starts - skipped, counts) + np.arange(counts.sum())


def sample_windows(
    store: EpisodeStore, spec: WindowSpec, rows: np.ndarray, generator: np.random.Generator
) -> WindowIndex:
    """Cut one window at each of ``rows (B,)``, with a hindsight goal drawn from its future.

    ``reach`` is uniform on ``[reach_low, min(reach_high, steps left)]``.
    """
    episode = np.searchsorted(store.ends, rows, side="right")
    first, last = store.starts[episode], store.ends[episode] - 1
    high = np.minimum(spec.reach_high, last - rows)
    reach = generator.integers(spec.reach_low, high + 1)
    goal = rows + reach
    offsets = np.asarray(spec.offsets)
    limit = goal if spec.hold_goal else last
    future = np.minimum(rows[:, None] + offsets, limit[:, None])
    length = np.full(len(rows), spec.past)
    if spec.random_past:
        share = np.sin(0.5 * np.pi * generator.random(len(rows)))
        length = 1 + np.floor(share * (spec.past - 1) + 0.5).astype(np.int64)
    past = np.maximum(rows[:, None] + np.arange(1 - spec.past, 1), first[:, None])
    return WindowIndex(past, future, goal, reach, np.minimum(length, rows - first + 1))


def gather_rows(store: EpisodeStore, index: WindowIndex) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``past (B, P, S)``, ``future (B, F, S)`` and ``goal (B, S)`` observations in one indexing."""
    size, past = index.past.shape
    rows = np.concatenate([index.past, index.future, index.goal[:, None]], axis=1)
    observations = store.observations[rows.ravel()].reshape(size, -1, *store.observations.shape[1:])
    return observations[:, :past], observations[:, past:-1], observations[:, -1]
