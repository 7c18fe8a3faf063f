"""A point on a table that is pushed about: the smallest world in which planning can be seen to work.

It needs no simulator; the tests and the first example train on it in seconds.
"""

from __future__ import annotations

import numpy as np

from thalweg.data.store import EpisodeStore

__all__ = ["PointMass", "record_points"]

_SPEED = 0.1  # of the square's half width, a step


class PointMass:
    """A point in the square [-1, 1]^2; actions in [-1, 1]^2 move it by up to a tenth of that a step.

    The observation ``(4,)`` is the position and the last displacement.
    """

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> np.ndarray:
        """A random place, at rest."""
        self.position = self._rng.uniform(-0.9, 0.9, 2)
        self._moved = np.zeros(2)
        return self.observation()

    def observation(self) -> np.ndarray:
        """``(4,)`` float32."""
        return np.concatenate([self.position, self._moved / _SPEED]).astype(np.float32)

    def step(self, action: np.ndarray) -> np.ndarray:
        """Move, and observe."""
        before = self.position.copy()
        self.position = np.clip(self.position + _SPEED * np.clip(action, -1, 1), -1, 1)
        self._moved = self.position - before
        return self.observation()


def record_points(episodes: int, *, steps: int = 100, seed: int = 0) -> EpisodeStore:
    """Episodes that wander from one random place to the next, at any pace and with noise, to no purpose."""
    observations, actions = [], []
    for episode in range(episodes):
        world = PointMass(seed + episode)
        rng = np.random.default_rng([seed, episode])
        target, pace = rng.uniform(-0.9, 0.9, 2), rng.uniform(0.2, 1.0)
        for _ in range(steps):
            if np.abs(target - world.position).max() < 0.05:
                target, pace = rng.uniform(-0.9, 0.9, 2), rng.uniform(0.2, 1.0)
            away = (target - world.position) / _SPEED
            action = pace * away / max(1.0, np.abs(away).max()) + 0.1 * rng.standard_normal(2)
            action = np.clip(action, -1, 1).astype(np.float32)
            observations.append(world.observation())
            actions.append(action)
            world.step(action)
    return EpisodeStore.from_arrays(
        np.array(observations), np.array(actions), lengths=np.full(episodes, steps), source="points"
    )
