"""Angles among an observation's coordinates: found in the data, and told to the planner with their symmetries.

A gripper fits a cube at four angles, a drawer handle at two. "Turn to the nearest that fits" is a sawtooth of the two
yaws, which a network learns slowly from their sines and cosines; from the sines and cosines of twice and four times
their difference it is nearly linear.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from thalweg.data.store import EpisodeStore

__all__ = ["ORDERS", "Pairs", "angle_features", "count_features", "find_angles", "find_quaternions", "multiples"]

ORDERS = (1, 2, 4)  #: multiples of an angle: what has no symmetry, what looks alike after half and a quarter turn
ROUND = 1e-3  #: a pair lies on a circle if its radius spreads by no more than this share
TURNS = 0.1  #: and turns if both of its coordinates spread by more than this share of the radius
VALUES = 8  #: and has more values than this
THERE = 0.05  #: both are zero where what turns is absent; it is there in at least this share of the rows

Pairs = tuple[tuple[int, int], ...]


def find_angles(store: EpisodeStore, *, samples: int = 20_000) -> Pairs:
    """Pairs of coordinates ``(cosine, sine)`` that lie on a circle around zero throughout ``store``.

    Rows in which both are zero do not count: what turns is absent there. What has two values is no angle, and nor are
    two components of a quaternion, which lie on a circle while the others are zero.
    """
    rows = np.random.default_rng(0).integers(0, store.rows, min(store.rows, samples))
    observations = store.observations[rows].astype(np.float64)
    spread = observations.std(axis=0)
    found: list[tuple[int, int]] = []
    quaternions = {index for group in find_quaternions(observations) for index in group}
    free = [int(index) for index in np.flatnonzero(spread > 0) if index not in quaternions]
    while free:
        first, *free = free
        radius = np.hypot(observations[:, [first]], observations[:, free])
        radius = np.ma.masked_equal(radius, 0)
        size = radius.mean(axis=0).filled(0)
        fits = (radius.std(axis=0).filled(1) <= ROUND * size) & (radius.count(axis=0) >= THERE * len(rows))
        fits &= np.array([len(np.unique(observations[:1000, index])) > VALUES for index in free], bool)
        fits &= np.minimum(spread[first], spread[free]) > TURNS * size
        if fits.any():
            second = free.pop(int(fits.argmax()))
            found.append((first, second))
    return tuple(found)


def find_quaternions(observations: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Groups of four neighbouring coordinates ``(w, x, y, z)`` of unit length throughout ``(N, S)`` observations.

    Rows in which all are zero do not count: what turns is absent there. Two angles side by side, each a cosine and a
    sine, have length ``sqrt(2)``, and are none; nor is an angle beside a switch, of which one or the other is absent.
    """
    found: list[tuple[int, ...]] = []
    first = 0
    while first + 4 <= observations.shape[1]:
        four = observations[:, first : first + 4]
        length = np.linalg.norm(four, axis=1)
        there = length > 0
        counts = [len(np.unique(column)) for column in four[there][:1000].T] if there.mean() >= THERE else [0]
        turns = sum(count > VALUES for count in counts) >= 2 and not any(1 < count <= VALUES for count in counts)
        if turns and np.abs(length[there] - 1).max() <= ROUND:
            found.append(tuple(range(first, first + 4)))
            first += 3
        first += 1
    return tuple(found)


def count_features(angles: int) -> int:
    """How many ``angle_features`` there are for this many angles."""
    return 2 * len(ORDERS) * (3 * angles + angles * (angles - 1) // 2)


def angle_features(present: Tensor, goal: Tensor, pairs: Pairs) -> Tensor:
    """Sines and cosines of the angles, of what is left to turn, and of their differences among one another.

    Args:
        present: ``(B, S)`` observation, in the environment's units.
        goal: ``(B, S)`` observation to reach.
        pairs: the angles, as ``find_angles`` gives them.

    Returns:
        ``(B, C)`` sines and cosines of 1, 2 and 4 times every angle of the present, every angle of the goal, every
        difference of the two, and every difference of two angles of the present.
    """
    if not pairs:
        return present[:, :0]
    cosine, sine = (list(part) for part in zip(*pairs, strict=True))
    here, there = (torch.atan2(state[:, sine], state[:, cosine]) for state in (present, goal))
    one, other = torch.triu_indices(len(pairs), len(pairs), offset=1)
    return multiples(torch.cat([here, there, there - here, here[:, one] - here[:, other]], dim=1))


def multiples(angles: Tensor) -> Tensor:
    """``(B, N)`` radians -> ``(B, 6 N)`` cosines and sines of 1, 2 and 4 times them."""
    multiplied = torch.cat([order * angles for order in ORDERS], dim=1)
    return torch.cat([multiplied.cos(), multiplied.sin()], dim=1)
