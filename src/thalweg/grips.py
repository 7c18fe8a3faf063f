"""How the body lies to what it handles: found in the data, and told to a policy.

A hand that holds a cube is where the cube is; one that pulls a drawer moves as the drawer does. Wherever one of the
scene's coordinates moves, some coordinate of the body goes with it along a line. How far the body is from that line
is what reaching and grasping are about, and a network that is told learns them from far fewer demonstrations.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.angles import ORDERS, Pairs, multiples
from thalweg.data.scene import MOVED, STEPS, Scene
from thalweg.data.store import EpisodeStore

__all__ = [
    "Grip",
    "Turn",
    "count_grips",
    "distances",
    "find_grips",
    "find_turns",
    "grip_features",
    "grip_features_of",
    "turned",
]

FITS = 0.7  #: share of the rows in which a thing moves that a line has to fit; in the others something else moved it
LINE = 0.995  #: correlation of body and thing along it, at least
FEWEST = 200  #: rows in which a thing has to move to be looked at
FINE = 8.0  #: the distance is told twice, the second time so many times as finely


Turn = tuple[int, ...]  #: cosine and sine of one of the body's angles, cosine and sine of one of the scene's


@dataclass(frozen=True)
class Grip:
    """While the scene's coordinate ``thing`` moves, the body's, of that ``spread``, is ``slope * thing + shift``."""

    body: int
    thing: int
    slope: float
    shift: float
    spread: float


def find_grips(store: EpisodeStore, scene: Scene | None, *, samples: int = 200_000) -> tuple[Grip, ...]:
    """The body's coordinate that goes with each of the scene's, where there is one; none without a scene."""
    if scene is None:
        return ()
    rows = np.arange(store.rows)
    if len(rows) > samples:
        rows = np.sort(np.random.default_rng(0).integers(0, store.rows, samples))
    rows = rows[rows + STEPS <= store.bounds(rows)[1]]
    now, later = (store.observations[rows + ahead].astype(np.float64) for ahead in (0, STEPS))
    spread, moved = now.std(axis=0), np.abs(later - now)
    body = [int(index) for index in np.flatnonzero(~scene.still) if spread[index] > 0]
    found = []
    for thing in map(int, np.flatnonzero(scene.still)):
        moving = now[moved[:, thing] > MOVED * spread[thing]]
        if len(moving) < FEWEST or not body:
            continue
        fits = [(*_line(moving[:, thing], moving[:, index]), index) for index in body]
        correlation, slope, shift, index = max(fits)
        if correlation >= LINE:
            found.append(Grip(index, thing, float(slope), float(shift), float(spread[index])))
    return tuple(found)


def _line(thing: np.ndarray, body: np.ndarray) -> tuple[float, float, float]:
    """Correlation, slope and shift of the line that fits ``FITS`` of the rows best, by trimmed least squares."""
    kept = np.ones(len(thing), bool)
    slope = shift = 0.0
    for _ in range(10):
        if thing[kept].std() == 0 or body[kept].std() == 0:
            return 0.0, 0.0, 0.0
        slope, shift = np.polyfit(thing[kept], body[kept], 1)
        apart = np.abs(body - slope * thing - shift)
        kept = apart <= np.quantile(apart, FITS)
    return abs(float(np.corrcoef(thing[kept], body[kept])[0, 1])), slope, shift


def find_turns(angles: Pairs, scene: Scene | None) -> tuple[Turn, ...]:
    """Every one of the body's ``angles`` with every one of the scene's; none without a scene."""
    if scene is None:
        return ()
    things = [pair for pair in angles if scene.still[list(pair)].all()]
    body = [pair for pair in angles if not scene.still[list(pair)].any()]
    return tuple((*one, *other) for one in body for other in things)


def count_grips(grips: int, turns: int) -> int:
    """How many ``grip_features`` there are for so many of either."""
    return 2 * grips + 2 * len(ORDERS) * turns


def grip_features(observations: Tensor, grips: tuple[Grip, ...], turns: tuple[Turn, ...]) -> Tensor:
    """``(B, S)`` observations in the environment's units -> ``(B, C)`` distances from every grip, coarse and fine.

    Of turns they are the cosines and sines of 1, 2 and 4 times the angle between body and thing, as a gripper fits a
    cube at four angles.
    """
    features = [observations[:, :0]]
    if grips:
        body, thing = ([getattr(grip, name) for grip in grips] for name in ("body", "thing"))
        slope, shift, spread = (
            torch.tensor([getattr(grip, name) for grip in grips], device=observations.device, dtype=observations.dtype)
            for name in ("slope", "shift", "spread")
        )
        features.append(distances(observations[:, body], observations[:, thing], slope, shift, spread))
    if turns:
        features.append(turned(*(observations[:, list(column)] for column in zip(*turns, strict=True))))
    return torch.cat(features, dim=1)


def grip_features_of(coordinates: Collection[int], grips: tuple[Grip, ...], turns: tuple[Turn, ...]) -> list[bool]:
    """Which ``grip_features`` are of some of the scene's ``coordinates``."""
    gripped, angles = [grip.thing in coordinates for grip in grips], [turn[2] in coordinates for turn in turns]
    return 2 * gripped + 2 * len(ORDERS) * angles


def distances(body: Tensor, thing: Tensor, slope: Tensor, shift: Tensor, spread: Tensor) -> Tensor:
    """``(B, N)`` coordinates of the body and of things -> ``(B, 2 N)`` distances from their grips, coarse and fine."""
    apart = (body - slope * thing - shift) / spread
    return torch.cat([apart, torch.tanh(FINE * apart)], dim=1)


def turned(cosine: Tensor, sine: Tensor, other_cosine: Tensor, other_sine: Tensor) -> Tensor:
    """``(B, N)`` of the body's angles and of the scene's -> ``(B, 6 N)`` multiples of what lies between."""
    return multiples(torch.atan2(sine, cosine) - torch.atan2(other_sine, other_cosine))
