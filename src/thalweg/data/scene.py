"""The scene: what rests until it is moved, and when it comes to rest. Found in the data, without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thalweg.data.store import EpisodeStore

__all__ = ["Objects", "Scene", "find_scene"]

STEPS = 4  #: displacements are measured over this many steps
STILL = 1e-4  #: a coordinate is still while it is displaced by no more than this share of its spread
RESTS = 0.2  #: a coordinate that is still in at least this share of the rows belongs to the scene
MOVED = 0.02  #: the scene moves while one of its coordinates is displaced by more than this share of its spread
TOGETHER = 0.8  #: coordinates whose stillness correlates at least so much belong to one object
PUT = 0.1  #: an object is put somewhere else when it is displaced by more than this share of its spread
REST = 12  #: rows that several objects lie still before they have settled: the hand has let go and is on its way
KEPT = 0.5  #: an object's coordinates spread, where the scene settles, at least this share of how they spread anywhere

Objects = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Scene:
    """Which coordinates are the scene's, and when it settles.

    A robot's own coordinates, the body, always move a little. What it handles, the scene, lies still until it is
    moved. A recording in which nothing lies still has no scene. Of several objects, one has to be put somewhere else
    and be left there before they have settled again: a touch does not count.

    Attributes:
        still: ``(S,)`` True for the scene's coordinates.
        settles: ``(rows,)`` the next row of the same episode in which the scene has just come to rest, or -1.
        objects: the scene's parts, each the coordinates that are displaced together. What is never displaced belongs
            to none, and nor does what always settles at the same value, such as a sensor of contact.
    """

    still: np.ndarray
    settles: np.ndarray
    objects: Objects


def find_scene(store: EpisodeStore, *, samples: int = 20_000) -> Scene | None:
    """Look for a scene in ``store``; None where no coordinate rests or nothing ever settles."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, store.rows, min(store.rows, samples))
    _, last = store.bounds(rows)
    now, later = store.observations[rows], store.observations[np.minimum(rows + STEPS, last)]
    spread = now.std(axis=0)
    displaced = np.abs(later - now) > STILL * spread
    still = (displaced.mean(axis=0) <= 1 - RESTS) & (spread > 0)
    if not still.any():
        return None
    settles = _next(store, lambda rows: _come_to_rest(rows[:, still], MOVED * spread[still]))
    if not (settles >= 0).any():
        return None
    rested = _next(store, lambda rows: _come_to_rest(rows[:, still], MOVED * spread[still], rest=REST))
    left = rested if (rested >= 0).any() else settles  # a hand that rests on something has not let go of it yet
    kept = store.observations[np.unique(left[left >= 0])].std(axis=0) >= KEPT * spread
    objects = _find_objects(displaced, still, kept)
    if len(objects) > 1:
        settles = _next(store, lambda rows: _puts(rows, objects, spread))
    return Scene(still, settles, objects)


def _next(store: EpisodeStore, events: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """``(rows,)`` the next row of the same episode that is among its ``events``, or -1."""
    following = np.full(store.rows, -1, np.int64)
    for start, end in zip(store.starts, store.ends, strict=True):
        found = start + events(store.observations[start:end])
        here = np.arange(start, end)
        place = np.searchsorted(found, here, side="right")
        ahead = place < len(found)
        following[here[ahead]] = found[place[ahead]]
    return following


def _come_to_rest(rows: np.ndarray, limit: np.ndarray, *, rest: int = 0) -> np.ndarray:
    """The rows ``(L, S)`` before which something moved, and then nothing for ``rest`` rows, nor is about to.

    What is displaced by no more than ``limit (S,)`` does not move.
    """
    if len(rows) <= STEPS:
        return np.zeros(0, np.int64)
    moving = (np.abs(rows[STEPS:] - rows[:-STEPS]) > limit).any(axis=1)
    here = np.arange(len(moving))
    moved = np.maximum.accumulate(np.where(moving, here, -1))
    return np.flatnonzero((moved >= 0) & (here - moved == rest + 1))


def _puts(rows: np.ndarray, objects: Objects, spread: np.ndarray) -> np.ndarray:
    """The rows ``(L, S)`` in which the objects have rested for a while and one of them lies somewhere else."""
    columns = [index for group in objects for index in group]
    kept, before = [], rows[0]
    for row in _come_to_rest(rows[:, columns], MOVED * spread[columns], rest=REST):
        away = [np.linalg.norm((rows[row] - before)[list(g)]) / np.linalg.norm(spread[list(g)]) for g in objects]
        if max(away) > PUT:
            kept.append(row)
            before = rows[row]
    return np.array(kept, np.int64)


def _find_objects(displaced: np.ndarray, still: np.ndarray, kept: np.ndarray) -> Objects:
    """Group the ``still`` coordinates by when they are ``displaced (N, S)``.

    Groups of which nothing is kept, or nothing moves, are left out.
    """
    free = [int(index) for index in np.flatnonzero(still)]
    deviation = displaced - displaced.mean(axis=0)
    deviation /= np.maximum(np.sqrt(np.square(deviation).sum(axis=0)), 1e-12)
    together = deviation.T @ deviation >= TOGETHER
    groups = []
    while free:
        group, fringe = [], [free.pop(0)]
        while fringe:
            index = fringe.pop()
            group.append(index)
            joined = [other for other in free if together[index, other]]
            free = [other for other in free if other not in joined]
            fringe += joined
        groups.append(tuple(sorted(group)))
    return tuple(group for group in groups if kept[list(group)].any() and displaced[:, list(group)].any())
