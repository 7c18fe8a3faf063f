"""Is this a goal at all? What recordings lead to, against what nothing ever led to.

A planner answers every goal: one for a cube inside the table as readily as one for a cube on it. This small model
tells the two apart. It is trained by noise contrast, recorded goals against corrupted ones, so that its odds follow
the density of what was recorded; no example of an impossible goal is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.data.scene import Objects
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSampler, WindowSpec
from thalweg.encoders import Normaliser
from thalweg.errors import ThalwegError
from thalweg.nets import contrast, mlp
from thalweg.pairings import Pairings, object_masks

__all__ = ["GoalModel", "GoalModelConfig", "GoalSample"]

NEAREST, FARTHEST = -1.0, 3.0  #: logarithms of how far a corrupted goal lies off, in spreads of each coordinate


@dataclass(frozen=True)
class GoalModelConfig:
    """Sizes and training of the goal model.

    Attributes:
        observation: S.
        objects: the scene's parts, each the coordinates that are displaced together.
        alarm: share of the recorded goals that may be called implausible; sets the threshold.
        steps: optimiser steps.
        width: hidden width.
        depth: hidden layers.
    """

    observation: int
    objects: Objects = ()
    alarm: float = 0.005
    steps: int = 3_000
    width: int = 256
    depth: int = 3

    def __post_init__(self) -> None:
        if not 0.0 < self.alarm < 1.0:
            raise ThalwegError(f"alarm must be a share between 0 and 1, got {self.alarm}")


@dataclass(frozen=True)
class GoalSample:
    """Normalised observations ``(B, S)``: recorded ``goal``, and ``corrupted``, one of each."""

    goal: Tensor
    corrupted: Tensor


class GoalModel(nn.Module):
    """The log-odds that a goal is one that recordings lead to, rather than a corrupted one.

    ``windows`` says how goals are cut from recordings: as the planner's are.
    """

    threshold: Tensor

    def __init__(self, config: GoalModelConfig, windows: WindowSpec) -> None:
        super().__init__()
        self.config, self.windows = config, windows
        self.normaliser = Normaliser(config.observation)
        self.pairings = Pairings(config.objects)
        self.net = mlp(config.observation + self.pairings.features, config.width, 1, depth=config.depth)
        self.register_buffer("threshold", torch.zeros(()))

    def forward(self, goal: Tensor) -> Tensor:
        """Goals ``(B, S)`` in the environment's units -> ``(B,)`` log-odds above the threshold; implausible below 0."""
        return self._odds(self.normaliser(goal)) - self.threshold

    def _odds(self, goal: Tensor) -> Tensor:
        """Normalised goals ``(B, S)`` -> ``(B,)``; the network is told how objects of a kind lie to one another."""
        relations = self.pairings.relations(self.normaliser.inverse(goal), self.normaliser.std)
        return self.net(torch.cat([goal, relations], dim=1))[:, 0]

    def parts(self) -> dict[str, nn.Module]:
        """One part: the network."""
        return {"goals": self.net}

    def sampler(self, store: EpisodeStore) -> WindowSampler:
        """What goals are cut with."""
        return WindowSampler(store, self.windows)

    def measure(self, sampler: WindowSampler, rng: np.random.Generator) -> None:
        """Fit the normaliser."""
        self.normaliser.measure(sampler.store, rng)

    def draw(
        self, sampler: WindowSampler, size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> GoalSample:
        """Draw ``size`` recorded goals, and corrupt each.

        A random part of the coordinates that a goal is about (the scene's, or all where there is none) is shifted by
        a third of its spread up to twenty times as much; or lies anywhere in a box of such a size; or comes from
        another row. Or all of them come from another row: what only a hand can hold then hangs in the air. Of several
        objects one may also lie where it lay in another goal, or about where another one of its kind lies.
        """
        store = sampler.store
        goal = self._recorded(sampler, size, rng)
        other = self.normaliser(torch.from_numpy(store.observations[rng.integers(0, store.rows, size)]))
        concerned = torch.from_numpy(sampler.body if sampler.scene is None else sampler.scene.still)
        share = torch.rand(size, 1, generator=generator).square()
        part = torch.rand(goal.shape, generator=generator) < share
        part[torch.arange(size), torch.from_numpy(rng.choice(np.flatnonzero(concerned), size))] = True
        far = torch.exp(NEAREST + (FARTHEST - NEAREST) * torch.rand(size, 1, generator=generator))
        shifted = goal + far * torch.randn(goal.shape, generator=generator)
        anywhere = far * (2 * torch.rand(goal.shape, generator=generator) - 1)
        several = len(self.config.objects) > 1
        way = torch.randint(8 if several else 4, (size, 1), generator=generator)
        value = torch.where(way == 0, shifted, torch.where(way == 1, anywhere, other))
        corrupted = torch.where(concerned & (part | (way == 3)), value, goal)
        if several:
            corrupted = torch.where(way == 4, self._elsewhere(goal, self._recorded(sampler, size, rng), rng), corrupted)
            raw, std = self.normaliser.inverse(goal), self.normaliser.std
            together = self.normaliser(self.pairings.together(raw, std, rng, generator))
            corrupted = torch.where(way > 4, together, corrupted)
        return GoalSample(goal, corrupted)

    def _elsewhere(self, goal: Tensor, other: Tensor, rng: np.random.Generator) -> Tensor:
        """One object lies where it lies in the ``other`` goal."""
        whole = object_masks(self.config.objects, goal.shape[1])
        return torch.where(whole[torch.from_numpy(rng.integers(0, len(whole), len(goal)))], other, goal)

    def losses(self, sample: GoalSample) -> dict[str, Tensor]:
        """Logistic loss of telling recorded from corrupted."""
        return {"goals": contrast(self._odds(torch.cat([sample.goal, sample.corrupted])))}

    @torch.no_grad()
    def set_threshold(self, store: EpisodeStore, *, samples: int = 20_000) -> None:
        """Call implausible what is less so than all but a share ``alarm`` of the goals in ``store``."""
        goal = self._recorded(self.sampler(store), samples, np.random.default_rng(0))
        self.threshold.copy_(self._odds(goal).quantile(self.config.alarm))

    def _recorded(self, sampler: WindowSampler, size: int, rng: np.random.Generator) -> Tensor:
        """``(B, S)`` normalised goals, cut as the planner's are."""
        return self.normaliser(torch.from_numpy(sampler.gather(sampler.draw(size, rng))[2]))
