"""The point with goals to reach, as a Gymnasium environment that needs no simulator.

Its name in an evaluation is ``thalweg.envs.reach_point:ReachPoint``.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from thalweg.envs.point import PointMass

__all__ = ["ReachPoint"]

_NEAR = 0.1  # of the square's half width


class ReachPoint(gymnasium.Env):
    """Reach a random place within 60 steps: ``info["goal"]`` after reset, ``info["success"]`` after a step."""

    def __init__(self, *, limit: int = 60) -> None:
        self.observation_space = gymnasium.spaces.Box(-1.0, 1.0, (4,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._limit = limit

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start at rest at a random place; the goal is another, at rest as well."""
        super().reset(seed=seed)
        self._world = PointMass(int(self.np_random.integers(2**31)))
        self._goal = np.append(self.np_random.uniform(-0.9, 0.9, 2), [0, 0]).astype(np.float32)
        self._steps = 0
        return self._world.observation(), {"goal": self._goal}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move; success is to be within a tenth of the square's half width of the goal."""
        observation = self._world.step(action)
        self._steps += 1
        success = bool(np.abs(observation[:2] - self._goal[:2]).max() < _NEAR)
        return observation, float(success), success, self._steps >= self._limit, {"success": success}
