"""Goal-conditioned behaviour cloning: the floor that a planner must clear on the same data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.data.store import EpisodeStore
from thalweg.encoders import Normaliser
from thalweg.nets import mlp

__all__ = ["Clone", "CloneConfig", "ClonePolicy", "CloneSample"]


@dataclass(frozen=True)
class CloneConfig:
    """Sizes of a cloned policy: S, A, hidden width and layers (OGBench's GCBC has three of 512)."""

    observation: int
    action: int
    width: int = 512
    depth: int = 3


class _Rows(NamedTuple):
    store: EpisodeStore
    begin: np.ndarray


@dataclass(frozen=True)
class CloneSample:
    """``observation (B, S)``, a later observation of the same episode as ``goal (B, S)``, and ``action (B, A)``."""

    observation: Tensor
    goal: Tensor
    action: Tensor


class Clone(nn.Module):
    """``a = pi(s, g)``, least squares on recorded actions, goals drawn evenly from each episode's future."""

    kind = "clone"

    def __init__(self, config: CloneConfig) -> None:
        super().__init__()
        self.config = config
        self.normaliser = Normaliser(config.observation)
        self.net = mlp(2 * config.observation, config.width, config.action, depth=config.depth)

    def forward(self, observation: Tensor, goal: Tensor) -> Tensor:
        """Observations and goals ``(B, S)`` in the environment's units -> actions ``(B, A)``."""
        return self.net(torch.cat([self.normaliser(observation), self.normaliser(goal)], dim=1))

    def parts(self) -> dict[str, nn.Module]:
        """One part: the policy."""
        return {"clone": self}

    def sampler(self, store: EpisodeStore) -> _Rows:
        """Every row with an action that leads somewhere."""
        rows = np.delete(np.arange(store.rows), store.ends - 1)
        episode = store.episode_of(rows)
        return _Rows(store, rows[np.isin(episode, store.labelled)])

    def measure(self, sampler: _Rows, rng: np.random.Generator) -> None:
        """Fit the normaliser."""
        self.normaliser.measure(sampler.store, rng)

    def draw(self, sampler: _Rows, size: int, rng: np.random.Generator, generator: torch.Generator) -> CloneSample:
        """Draw ``size`` rows with goals from their future."""
        store = sampler.store
        rows = sampler.begin[rng.integers(0, len(sampler.begin), size)]
        _, last = store.bounds(rows)
        goals = rng.integers(rows + 1, last + 1)
        arrays = (store.observations[rows], store.observations[goals], store.actions[rows])
        return CloneSample(*(torch.from_numpy(array) for array in arrays))

    def losses(self, sample: CloneSample) -> dict[str, Tensor]:
        """Mean squared error of the action."""
        action = self(sample.observation, sample.goal)
        return {"clone": functional.mse_loss(action.float(), sample.action)}


class ClonePolicy:
    """A trained clone as a policy for ``rollout``."""

    def __init__(self, model: Clone) -> None:
        self.model = model
        self._goal = torch.empty(0)

    def reset(self, goal: np.ndarray, *, seeds: list[int]) -> None:
        """Take the goals ``(B, S)``; cloning draws nothing at run time."""
        self._goal = torch.as_tensor(goal, dtype=torch.float32)

    @torch.no_grad()
    def act(self, observation: np.ndarray) -> np.ndarray:
        """``(B, S)`` -> ``(B, A)``."""
        return self.model(torch.as_tensor(observation, dtype=torch.float32), self._goal).numpy()
