"""Hindsight windows: which rows of a store make a training sample (PaD, section 4.3). Index arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thalweg.data.scene import STILL, Scene, find_scene
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError

__all__ = ["WindowIndex", "WindowSampler", "WindowSpec", "gather_rows", "sample_windows", "starts"]

BEGINNING = 8  #: rows at the start of an episode in which nothing has been done yet
OPENING = 24  #: rows at the start of an episode that count as its opening


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
        settled: share of the windows whose goal is the next time the scene settles, where there is a scene, with the
            body's coordinates of some other row: what people ask of a robot concerns the scene.
        opening: share of the windows that start in an episode's first rows, as tasks do; the others start anywhere. In
            a scene of several objects half of these begin where one has just been put somewhere, as milestones do.
    """

    offsets: tuple[int, ...]
    past: int = 1
    reach_low: int = 1
    reach_high: int = 128
    hold_goal: bool = True
    random_past: bool = False
    settled: float = 0.0
    opening: float = 0.0

    def __post_init__(self) -> None:
        steps = np.asarray(self.offsets)
        if len(steps) < 2 or steps[0] < 1 or (np.diff(steps) <= 0).any():
            raise ThalwegError(f"offsets must be two or more increasing positive steps, got {self.offsets}")
        if not 1 <= self.reach_low <= self.reach_high:
            raise ThalwegError(f"need 1 <= reach_low <= reach_high, got {self.reach_low} and {self.reach_high}")
        if self.past < 1:
            raise ThalwegError(f"past must be 1 or more observations, got {self.past}")
        for name in ("settled", "opening"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ThalwegError(f"{name} must be a share from 0 to 1, got {getattr(self, name)}")

    @property
    def needs(self) -> int:
        """Steps after the present that a sample must have left in its episode."""
        return self.reach_low if self.hold_goal else max(self.offsets[-1], self.reach_high)


@dataclass(frozen=True)
class WindowIndex:
    """Row numbers in a store: ``past (B, P)``, ``future (B, F)``, ``goal (B,)``; ``reach`` and ``past_length (B,)``.

    ``body (B,)`` is the row that lends the goal its body coordinates: ``goal`` itself, or, where ``settled (B,)``,
    any row.
    """

    past: np.ndarray
    future: np.ndarray
    goal: np.ndarray
    body: np.ndarray
    reach: np.ndarray
    past_length: np.ndarray
    settled: np.ndarray


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
    store: EpisodeStore,
    spec: WindowSpec,
    rows: np.ndarray,
    generator: np.random.Generator,
    scene: Scene | None = None,
) -> WindowIndex:
    """Cut one window at each of ``rows (B,)``, with a hindsight goal drawn from its future.

    ``reach`` is uniform on ``[reach_low, min(reach_high, steps left)]``; in a share ``spec.settled`` of the windows
    it is instead the time at which the ``scene`` settles next, where that is one of these.
    """
    first, last = store.bounds(rows)
    high = np.minimum(spec.reach_high, last - rows)
    reach = generator.integers(spec.reach_low, high + 1)
    settled = np.zeros(len(rows), bool)
    if scene is not None and spec.settled:
        ahead = scene.settles[rows] - rows
        settled = (generator.random(len(rows)) < spec.settled) & (ahead >= spec.reach_low) & (ahead <= high)
        reach = np.where(settled, ahead, reach)
    goal = rows + reach
    body = np.where(settled, generator.integers(0, store.rows, len(rows)), goal) if settled.any() else goal
    offsets = np.asarray(spec.offsets)
    limit = goal if spec.hold_goal else last
    future = np.minimum(rows[:, None] + offsets, limit[:, None])
    length = np.full(len(rows), spec.past)
    if spec.random_past:
        share = np.sin(0.5 * np.pi * generator.random(len(rows)))
        length = 1 + np.floor(share * (spec.past - 1) + 0.5).astype(np.int64)
    past = np.maximum(rows[:, None] + np.arange(1 - spec.past, 1), first[:, None])
    return WindowIndex(past, future, goal, body, reach, np.minimum(length, rows - first + 1), settled)


def gather_rows(
    store: EpisodeStore, index: WindowIndex, scene: Scene | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``past (B, P, S)``, ``future (B, F, S)`` and ``goal (B, S)`` observations in one indexing."""
    size, past = index.past.shape
    rows = np.concatenate([index.past, index.future, index.goal[:, None], index.body[:, None]], axis=1)
    observations = store.observations[rows.ravel()].reshape(size, -1, *store.observations.shape[1:])
    goal, body = observations[:, -2], observations[:, -1]
    if scene is not None:
        goal = np.where(scene.still, goal, body)
    return observations[:, :past], observations[:, past:-2], goal


class WindowSampler:
    """Draws training windows from a store: all that has to be looked up in the data once is kept here.

    Attributes:
        store: the recordings.
        spec: the windows' shape.
        scene: what was found to rest in the recordings, where settled goals are asked for; else None.
        body: ``(S,)`` True for the coordinates that are not the scene's.
        foretold: ``(S,)`` the share of a settled goal's variance that the present foretells, coordinate by
            coordinate; zero for the body, and without a scene.
    """

    def __init__(self, store: EpisodeStore, spec: WindowSpec) -> None:
        self.store, self.spec = store, spec
        self._begin = starts(store, spec)
        self._opening = self._begin[self._begin - store.bounds(self._begin)[0] < OPENING]
        self.scene = find_scene(store) if spec.settled else None
        self._between = np.zeros(0, np.int64)
        if self.scene is not None and len(self.scene.objects) > 1:
            settled = np.unique(self.scene.settles)[1:]  # the first is -1
            after = settled[:, None] + np.arange(OPENING)
            _, last = store.bounds(settled)
            self._between = np.intersect1d(self._begin, after[after <= last[:, None]])
        size = store.observations.shape[1]
        self.body = np.ones(size, bool) if self.scene is None else ~self.scene.still
        self.foretold = np.zeros(size, np.float32)
        if self.scene is not None:
            self.foretold[~self.body] = self._correlation()[~self.body] ** 2

    def draw(self, size: int, generator: np.random.Generator) -> WindowIndex:
        """Cut ``size`` windows at random rows."""
        rows = self._begin[generator.integers(0, len(self._begin), size)]
        if self.spec.opening:
            first = self._opening[generator.integers(0, len(self._opening), size)]
            if len(self._between):
                second = self._between[generator.integers(0, len(self._between), size)]
                first = np.where(generator.random(size) < 0.5, first, second)
            rows = np.where(generator.random(size) < self.spec.opening, first, rows)
        return sample_windows(self.store, self.spec, rows, generator, self.scene)

    def gather(self, index: WindowIndex) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """``past (B, P, S)``, ``future (B, F, S)`` and ``goal (B, S)`` observations."""
        return gather_rows(self.store, index, self.scene)

    def blur(self, index: WindowIndex) -> np.ndarray:
        """``(B, S)`` how far a settled goal is foretold, times the share of the horizon at which it lies: 0 to 1."""
        far = index.settled * index.reach.astype(np.float32) / np.float32(self.spec.reach_high)
        return far[:, None] * self.foretold

    def beginning(self, index: WindowIndex) -> np.ndarray:
        """``(B,)`` True for windows with a settled goal that start in an episode's first ``BEGINNING`` rows."""
        now = index.past[:, -1]
        return index.settled & (now - self.store.bounds(now)[0] < BEGINNING)

    def _correlation(self) -> np.ndarray:
        """``(S,)`` of the present with the settled goal; zero where either does not vary.

        An object's is that of the windows in which it alone is displaced: in others it lies where it lay, or goes
        where something takes it.
        """
        index = self.draw(20_000, np.random.default_rng(0))
        past, _, goal = self.gather(index)
        pair = np.stack([past[:, -1], goal])[:, index.settled].astype(np.float64)
        counted = np.ones(pair.shape[1:], bool)
        displaced = np.abs(pair[1] - pair[0]) > STILL * pair[0].std(axis=0)
        groups = [list(group) for group in self.scene.objects]
        moved = [displaced[:, group].any(axis=1) for group in groups]
        alone = sum(moved) == 1
        for group, here in zip(groups, moved, strict=True):
            counted[:, group] = (here & alone)[:, None]
        count = np.maximum(counted.sum(axis=0), 1)
        pair = np.where(counted, pair - (pair * counted).sum(axis=1, keepdims=True) / count, 0.0)
        spread = np.sqrt(np.square(pair).sum(axis=1)).prod(axis=0)
        return np.where(spread > 0, pair.prod(axis=0).sum(axis=0) / np.maximum(spread, 1e-12), 0.0)
