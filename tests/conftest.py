"""What several test files share: a small store and a small agent configuration."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="thalweg-tests-")  # latents of other runs are not to be found

import numpy as np
import pytest
from hypothesis import settings

from thalweg.data.store import EpisodeStore
from thalweg.pad.config import PaDConfig
from thalweg.pad.presets import preset

settings.register_profile("thalweg", deadline=None, database=None)  # a busy machine is no failure
settings.load_profile("thalweg")


@pytest.fixture(scope="session")
def make_store() -> Callable[[Sequence[int]], EpisodeStore]:
    """Episodes of the given lengths; observation ``[episode, step, row]`` says where it was recorded."""

    def make(lengths: Sequence[int]) -> EpisodeStore:
        rows = [(episode, step) for episode, length in enumerate(lengths) for step in range(length)]
        observations = np.array([(*row, i) for i, row in enumerate(rows)], np.float32)
        actions = np.arange(2 * len(rows), dtype=np.float32).reshape(-1, 2) / len(rows)
        return EpisodeStore.from_arrays(observations, actions, lengths=np.asarray(lengths))

    return make


@pytest.fixture(scope="session")
def tiny_config() -> PaDConfig:
    """A PaD of three observation and two action values that builds in milliseconds."""
    config, offsets = preset("default", 3, 2), (1, 2, 4, 8)
    return replace(
        config,
        model=replace(
            config.model,
            offsets=offsets,
            horizon=8,
            context_width=8,
            context_depth=1,
            width=8,
            rank=4,
            projector=4,
        ),
        reach=replace(config.reach, horizon=8, bins=4, width=8, depth=1),
        inverse=replace(config.inverse, width=8, depth=1, reach=4),
        windows=replace(config.windows, offsets=offsets, reach_high=8),
    )
