"""Which moves are possible? What recordings do from one scene that has settled to the next.

A cube goes into an open drawer, and not into a closed one; a locked drawer does not move; the lower one of two stacked
cubes stays where it is. This small model knows such things from recordings alone. It is trained by noise contrast,
recorded moves against made-up ones, so that its odds follow how often such a move is made from such a scene.
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
from thalweg.milestones import Milestone, Milestones
from thalweg.nets import contrast, mlp
from thalweg.pairings import Pairings, object_masks

__all__ = ["MoveModel", "MoveModelConfig", "MoveSample"]

PLACES = 128  #: recorded scenes that are kept, to take places from where things can be put
CHOSEN = 0.5  #: a coordinate is chosen by recordings where the present foretells less than the rest of its variance
JITTER = 0.02  #: spread of the noise on recorded scenes: as much as does not count as moved
NEAREST, FARTHEST = -1.0, 3.0  #: logarithms of how far a made-up place lies off, in spreads of each coordinate
WAYS = 5  #: of making up a move


@dataclass(frozen=True)
class MoveModelConfig:
    """Sizes and training of the model of moves.

    Attributes:
        observation: S.
        objects: the scene's parts, two or more, each the coordinates that are displaced together.
        alarm: share of the recorded moves that may be called implausible; sets the threshold.
        steps: optimiser steps.
        width: hidden width.
        depth: hidden layers.
    """

    observation: int
    objects: Objects
    alarm: float = 0.05
    steps: int = 3_000
    width: int = 128
    depth: int = 3

    def __post_init__(self) -> None:
        if len(self.objects) < 2:
            raise ThalwegError(f"objects must be two or more, got {self.objects}; one alone is moved without a model")
        if not 0.0 < self.alarm < 1.0:
            raise ThalwegError(f"alarm must be a share between 0 and 1, got {self.alarm}")


@dataclass(frozen=True)
class MoveSample:
    """Normalised observations ``(B, S)``: the scene ``before``, and ``after`` a recorded and a ``made_up`` move."""

    before: Tensor
    after: Tensor
    made_up: Tensor


@dataclass(frozen=True)
class _Moves:
    store: EpisodeStore
    windows: WindowSampler
    rows: np.ndarray  # (M, 2) before and after


class MoveModel(nn.Module):
    """The log-odds that recordings go from one scene to another in one move, rather than that it was made up.

    ``windows`` says when scenes have settled. ``places (M, S)`` are some of them, in the environment's units, and
    ``free (S,)`` is the share of an object's new place that its old one does not foretell. ``part (N, S)`` is True for
    each object's coordinates.
    """

    threshold: Tensor
    places: Tensor
    free: Tensor
    part: Tensor

    def __init__(self, config: MoveModelConfig, windows: WindowSpec) -> None:
        super().__init__()
        self.config, self.windows = config, windows
        self.normaliser = Normaliser(config.observation)
        self.pairings = Pairings(config.objects)
        self._columns = sorted(index for group in config.objects for index in group)
        self.net = mlp(3 * len(self._columns) + 2 * self.pairings.features, config.width, 1, depth=config.depth)
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("places", torch.zeros(PLACES, config.observation))
        self.register_buffer("free", torch.ones(config.observation))
        self.register_buffer("part", object_masks(config.objects, config.observation), persistent=False)

    @property
    def chosen(self) -> Tensor:
        """``(N, S)`` True for those coordinates of each object that recordings choose, such as a position.

        What they leave as it is, such as how a cube is turned, decides nothing; nor do distances count it.
        """
        chosen = self.part & (self.free >= CHOSEN)
        return torch.where(chosen.any(dim=1, keepdim=True), chosen, self.part)

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Two scenes ``(B, S)`` in the environment's units -> ``(B,)`` log-odds above the threshold; rare below 0."""
        return self._odds(self.normaliser(before), self.normaliser(after)) - self.threshold

    def among(self, scenes: Tensor, source: Tensor, target: Tensor) -> Tensor:
        """``forward`` of moves among scenes ``(V, S)``, from those of numbers ``source (E,)`` to ``target (E,)``.

        Every scene is read once, however many moves there are: the first layer is linear in the two.
        """
        told, related = self._read(self.normaliser(scenes))
        whole, columns = torch.cat([told, related], dim=1), told.shape[1]
        layer: nn.Linear = self.net[0]
        leaving, coming, change = layer.weight.split([whole.shape[1], whole.shape[1], columns], dim=1)
        before = whole @ leaving.T - told @ change.T
        after = whole @ coming.T + told @ change.T + layer.bias
        return self.net[1:](before[source] + after[target])[:, 0] - self.threshold

    def _odds(self, before: Tensor, after: Tensor) -> Tensor:
        (here, apart), (there, then) = self._read(before), self._read(after)
        return self.net(torch.cat([here, apart, there, then, there - here], dim=1))[:, 0]

    def _read(self, scene: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is told of a normalised scene: where objects are, and how those of a kind lie together."""
        seen = scene * self.chosen.any(dim=0)
        return seen[:, self._columns], self.pairings.relations(self.normaliser.inverse(seen), self.normaliser.std)

    def milestone(
        self, present: Tensor, goal: Tensor, previous: Milestone | None, elapsed: int, *, spread: Tensor
    ) -> Milestone:
        """What to reach first from ``present (B, S)`` on the way to ``goal (B, S)``.

        Args:
            present: the observation now, in the environment's units.
            goal: the final goal.
            previous: what each request was at, ``elapsed`` environment steps ago; None at the start.
            elapsed: environment steps since then.
            spread: ``(S,)`` of the recorded observations.
        """
        milestones = Milestones(self.part, self.chosen, spread, self.among, self.places)
        return milestones.next(present, goal, previous, elapsed)

    def parts(self) -> dict[str, nn.Module]:
        """One part: the network."""
        return {"moves": self.net}

    def sampler(self, store: EpisodeStore) -> _Moves:
        """The moves of a store: from where one has settled, or an episode begins, to where the next one does.

        Raises:
            ThalwegError: it has none.
        """
        windows = WindowSampler(store, self.windows)
        after = np.unique(windows.scene.settles)[1:] if windows.scene else np.zeros(0, np.int64)  # the first is -1
        if not len(after):
            raise ThalwegError(f"{store.source}: no object is ever put somewhere; train with moves left out")
        first, _ = store.bounds(after)
        before = np.maximum(np.concatenate([first[:1], after[:-1]]), first)
        return _Moves(store, windows, np.stack([before, after], axis=1))

    def measure(self, sampler: _Moves, rng: np.random.Generator) -> None:
        """Fit the normaliser, note what old places do not foretell of new ones, and keep some scenes."""
        self.normaliser.measure(sampler.store, rng)
        self.free.copy_(torch.from_numpy(1 - sampler.windows.foretold))
        kept = sampler.rows[rng.integers(0, len(sampler.rows), PLACES), 1]
        self.places.copy_(torch.from_numpy(sampler.store.observations[kept]))

    def draw(self, sampler: _Moves, size: int, rng: np.random.Generator, generator: torch.Generator) -> MoveSample:
        """Draw ``size`` recorded moves, and make up one from the same scene for each.

        One or two objects go where they were in another scene; or they do beside the recorded move; or where the move
        leads to is shifted, or about where another object of its kind lies.
        """
        rows = sampler.rows[rng.integers(0, len(sampler.rows), size)]
        before, after, other = (
            self.normaliser(torch.from_numpy(sampler.store.observations[each]))
            for each in (*rows.T, sampler.rows[rng.integers(0, len(sampler.rows), size), 1])
        )
        first, second = (self.part[torch.from_numpy(rng.integers(0, len(self.part), size))] for _ in range(2))
        way = torch.randint(WAYS, (size, 1), generator=generator)
        made_up = torch.where(first | (second & (way == 1)), other, torch.where(way < 2, before, after))
        far = torch.exp(NEAREST + (FARTHEST - NEAREST) * torch.rand(size, 1, generator=generator))
        share = torch.rand(size, 1, generator=generator)
        some = self.part.any(dim=0) & (torch.rand(after.shape, generator=generator) < share)
        made_up = torch.where(way == 3, after + some * far * torch.randn(after.shape, generator=generator), made_up)
        if self.pairings.alike:
            raw, std = self.normaliser.inverse(after), self.normaliser.std
            together = self.normaliser(self.pairings.together(raw, std, rng, generator))
            made_up = torch.where(way == 4, together, made_up)
        return MoveSample(
            *(one + JITTER * torch.randn(one.shape, generator=generator) for one in (before, after, made_up))
        )

    def losses(self, sample: MoveSample) -> dict[str, Tensor]:
        """Logistic loss of telling recorded moves from made-up ones."""
        before = torch.cat([sample.before, sample.before])
        return {"moves": contrast(self._odds(before, torch.cat([sample.after, sample.made_up])))}

    @torch.no_grad()
    def set_threshold(self, store: EpisodeStore) -> None:
        """Call implausible what is less so than all but a share ``alarm`` of the moves in ``store``."""
        pairs = (self.normaliser(torch.from_numpy(store.observations[rows])) for rows in self.sampler(store).rows.T)
        self.threshold.copy_(self._odds(*pairs).quantile(self.config.alarm))
