"""Ten tasks of two to five stages each, told in words, on OGBench's scene, cube-double and cube-triple."""

from __future__ import annotations

import re

import numpy as np

from thalweg.envs.longhorizon.tasks import ALL_TASKS, task

__all__ = ["ALL_TASKS", "DEMONSTRATIONS", "NAMES", "demonstrated", "is_long_horizon", "task"]

NAMES = ("long-horizon", "visual-long-horizon")
DEMONSTRATIONS = 500  #: 50 of each task


def is_long_horizon(environment: str) -> bool:
    """Whether the name is that of the long-horizon tasks, from state or from pixels."""
    return re.sub(r"-v0$", "", environment) in NAMES


def demonstrated(environment: str, episode: int, sequence: np.random.SeedSequence) -> dict[str, np.ndarray] | None:
    """The ``episode``-th demonstration, the tasks taking turns; None where the oracle did not manage."""
    from thalweg.envs.longhorizon.demonstrate import demonstrate

    number = ALL_TASKS[episode % len(ALL_TASKS)].number
    return demonstrate(number, sequence, pixels=environment.startswith("visual-"))
