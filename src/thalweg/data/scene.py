"""The scene: what rests until it is moved, and when it comes to rest. Found in the data, without labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from thalweg.data.store import EpisodeStore

__all__ = ["Scene", "find_scene"]

STEPS = 4  #: displacements are measured over this many steps
STILL = 1e-4  #: a coordinate is still while it is displaced by no more than this share of its spread
RESTS = 0.2  #: a coordinate that is still in at least this share of the rows belongs to the scene
MOVED = 0.02  #: the scene moves while one of its coordinates is displaced by more than this share of its spread


@dataclass(frozen=True)
class Scene:
    """Which coordinates are the scene's, and when it settles.

    A robot's own coordinates, the body, always move a little. What it handles, the scene, lies still until it is
    moved. A recording in which nothing lies still has no scene.

    Attributes:
        still: ``(S,)`` True for the scene's coordinates.
        settles: ``(rows,)`` the next row of the same episode in which the scene has just come to rest, or -1.
    """

    still: np.ndarray
    settles: np.ndarray


def find_scene(store: EpisodeStore, *, samples: int = 20_000) -> Scene | None:
    """Look for a scene in ``store``; None where no coordinate rests or nothing ever settles."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, store.rows, min(store.rows, samples))
    _, last = store.bounds(rows)
    now, later = store.observations[rows], store.observations[np.minimum(rows + STEPS, last)]
    spread = now.std(axis=0)
    still = ((np.abs(later - now) <= STILL * spread).mean(axis=0) >= RESTS) & (spread > 0)
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
    return Scene(still, settles) if (settles >= 0).any() else None
