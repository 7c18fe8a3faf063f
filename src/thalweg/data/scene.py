"""The scene: what rests until it is moved, and when it comes to rest. Found in the data, without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thalweg.data.store import EpisodeStore

__all__ = ["Objects", "Scene", "find_scene"]

STEPS = 4  #: displacements are measured over this many steps
STILL = 1e-4  #: a coordinate is still while it is displaced by no more than this share of its spread
RESTS = 0.2  #: a coordinate that is still in at least this share of the rows belongs to the scene
MOVED = 0.02  #: the scene moves while one of its coordinates is displaced by more than this share of its spread
TOGETHER = 0.8  #: coordinates whose stillness correlates at least so much belong to one object
KEPT = 0.5  #: an object's coordinates spread, where the scene settles, at least this share of how they spread anywhere

Objects = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Scene:
    """Which coordinates are the scene's, and when it settles.

    A robot's own coordinates, the body, always move a little. What it handles, the scene, lies still until it is
    moved. A recording in which nothing lies still has no scene.

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
    settles = np.full(store.rows, -1, np.int64)
    for start, end in zip(store.starts, store.ends, strict=True):
        scene = store.observations[start:end][:, still]
        if len(scene) <= STEPS:
            continue
        moving = (np.abs(scene[STEPS:] - scene[:-STEPS]) > MOVED * spread[still]).any(axis=1)
        settled = start + 1 + np.flatnonzero(moving[:-1] & ~moving[1:])
        here = np.arange(start, end)
        place = np.searchsorted(settled, here, side="right")
        found = place < len(settled)
        settles[here[found]] = settled[place[found]]
    if not (settles >= 0).any():
        return None
    kept = store.observations[np.unique(settles[settles >= 0])].std(axis=0) >= KEPT * spread
    return Scene(still, settles, _find_objects(displaced, still, kept))


def _find_objects(displaced: np.ndarray, still: np.ndarray, kept: np.ndarray) -> Objects:
    """Group the ``still`` coordinates by when they are ``displaced (N, S)``; leave out groups of which nothing is kept or moves."""
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
