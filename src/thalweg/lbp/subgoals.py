"""Subgoals between the present and the goal: where they lie in time, and the networks that predict them (section 4.2).

The paper's scheme is *backward*: the first subgoal lies next to the goal, each further one closer to the present. The
schemes that it is argued against stand beside it, with the same networks and the same subgoals.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError, choices
from thalweg.lbp.sample import LBPSample
from thalweg.nets import mlp

__all__ = ["SCHEMES", "CrossFitted", "SubgoalConfig", "Subgoals", "subgoal_steps"]

SCHEMES = ("backward", "forward", "parallel", "final", "none")
_GIVEN = {  # what the network that predicts a subgoal is given, by scheme
    "backward": ("present", "before"),
    "forward": ("present", "before", "goal"),
    "parallel": ("present", "goal"),
}
_CHOICE, _CHOICE_WIDTH = 0.3, 256  # weight of its loss, and the width of the network


def subgoal_steps(reach: np.ndarray, ratio: float | np.ndarray, depth: int) -> np.ndarray:
    """``(B, n)`` steps from the present to each of n subgoals of a goal ``reach (B,)`` steps ahead.

    ``ceil(ratio ** i * reach)`` for i = 1..n (below eq. 5), in exact arithmetic: 0.7 of 10 steps are 7, not 8. A
    ``ratio (B,)`` may differ from row to row.
    """
    reach = np.asarray(reach, np.int64)
    values, which = np.unique(np.broadcast_to(ratio, reach.shape), return_inverse=True)
    exact = [Fraction(str(value)) for value in values.tolist()]
    steps = np.empty((*reach.shape, depth), np.int64)
    for index in range(depth):
        powers = [one ** (index + 1) for one in exact]
        above, below = (
            np.array([getattr(power, part) for power in powers], object)[which.reshape(reach.shape)]
            for part in ("numerator", "denominator")
        )
        steps[..., index] = -(-reach.astype(object) * above // below)
    return steps


@dataclass(frozen=True)
class SubgoalConfig:
    """How subgoals are predicted.

    Attributes:
        latent: D.
        language: width of an instruction's embedding; 0 where goals are observations.
        scheme: ``backward`` (the paper's); ``forward``, from the present on; ``parallel``, all at once; ``final``, the
            goal alone; ``none``, not even that: the policy sees the instruction, or the goal that was given.
        ratio: lambda, a subgoal's time to the next one's.
        ratios: lowest and highest ratio that a plan may have; networks are told which.
        depth: n, subgoals of a plan; it may have fewer or more.
        noise: spread of the noise on the true previous subgoal, in units of the latents' own.
        width: hidden width of each network.
        layers: hidden layers; the paper's two-layer networks have one.
        skip: what is given also reaches the output along a straight line, at first the present alone: most of what is
            there stays as it is (ours; the paper's networks have none).
        folds: the episodes are parted into so many, and a member of the planner is trained without each (ours); with 1
            one planner is trained on all of them (the paper's).
        objects: how many there are of which there are several of a kind.
        chooses: plans tell which of these moves next (ours; see ``thalweg.focus``).
    """

    latent: int
    language: int = 0
    scheme: str = "backward"
    ratio: float = 0.5
    ratios: tuple[float, float] = (0.4, 0.8)
    depth: int = 2
    noise: float = 0.1
    width: int = 1024
    layers: int = 1
    skip: bool = True
    folds: int = 1
    objects: int = 0
    chooses: bool = True

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ThalwegError(f"unknown scheme {self.scheme!r}; choose one of {choices(SCHEMES)}")
        if not 0.0 < self.ratios[0] <= self.ratios[1] < 1.0:
            raise ThalwegError(f"ratios must be two numbers between 0 and 1, the lower first, got {self.ratios}")
        self.check_ratio(self.ratio)
        for name in ("depth", "width", "layers", "folds"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.noise < 0:
            raise ThalwegError(f"noise must be 0 or more, got {self.noise}")

    def check_ratio(self, ratio: float) -> None:
        """See that a plan may have this ratio.

        Raises:
            ThalwegError: it is outside ``ratios``.
        """
        if not self.ratios[0] <= ratio <= self.ratios[1]:
            raise ThalwegError(f"ratio must be from {self.ratios[0]} to {self.ratios[1]} (ratios), got {ratio}")


class Planning(nn.Module, ABC):
    """The schemes, given networks: ``goal``, ``next`` and ``choose``. Latents have unit spread."""

    def __init__(self, config: SubgoalConfig) -> None:
        super().__init__()
        self.config = config

    @abstractmethod
    def goal(self, present: Tensor, language: Tensor) -> Tensor:
        """Present ``(B, D)`` and instruction ``(B, L)`` -> ``z_g (B, D)``, eq. 2; zero in scheme ``none``."""

    @abstractmethod
    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor, share: Tensor) -> Tensor:
        """The subgoal ``(B, D)`` that follows ``before (B, D)`` in the scheme's order, eq. 4.

        Backward: ``share (B,)`` of the way to ``before``, which begins as the goal, and is all that it knows of it.
        Forward: ``share`` of the way to the goal, farther than ``before``, which begins as the present; it is told the
        goal. Parallel: ``share`` of the way to the goal, whatever the others are.
        """

    @property
    def chooses(self) -> bool:
        """Whether plans tell which object moves next."""
        return bool(self.config.chooses and self.config.objects and self.config.scheme != "none")

    @abstractmethod
    def choose(self, present: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        """Which object moves next on the way to a goal: logits ``(B, objects + 1)``, the last of none."""

    def wanted(self, present: Tensor, goal: Tensor, language: Tensor, told: Tensor) -> Tensor:
        """The latent goals ``(B, D)``: what instructions lead to where they were ``told (B,)``, else as given."""
        if not self.config.language:
            return goal
        return torch.where(told.unsqueeze(1), self.goal(present, language), goal)

    def forward(
        self,
        present: Tensor,
        goal: Tensor,
        language: Tensor,
        *,
        ratio: Tensor | None = None,
        depth: int | None = None,
    ) -> Tensor:
        """Plan: ``(B, n + 1, D)``, near to far, the goal ``(B, D)`` last; in scheme ``none`` that alone.

        Args:
            present: ``(B, D)``.
            goal: ``(B, D)``.
            language: ``(B, L)``.
            ratio: ``(B,)`` of each plan; the configured one by default.
            depth: n; the configured one by default.
        """
        config = self.config
        depth = config.depth if depth is None else depth
        if config.scheme in ("final", "none") or depth == 0:
            return goal.unsqueeze(1)
        ratio = present.new_full((len(present),), config.ratio) if ratio is None else ratio
        found: list[Tensor] = []
        for share in self._shares(ratio, depth):
            before = found[-1] if found else self._beginning(present, goal)
            found.append(self.next(present, before, goal, language, share))
        return torch.stack([*(found[::-1] if config.scheme == "backward" else found), goal], dim=1)

    def _beginning(self, present: Tensor, goal: Tensor) -> Tensor:
        """What comes before the first subgoal in the scheme's order."""
        return goal if self.config.scheme == "backward" else present

    def _shares(self, ratio: Tensor, depth: int) -> list[Tensor]:
        """``(B,)`` what ``next`` is told of every subgoal, in the scheme's order."""
        if self.config.scheme == "backward":
            return [ratio] * depth
        return [ratio**level for level in range(depth, 0, -1)]


class Network(nn.Module):
    """A multilayer perceptron on some latents and what else is known, with a straight line beside it.

    Args:
        latents: how many latents it is given.
        known: values that are known beside them.
        config: sizes.
    """

    def __init__(self, latents: int, known: int, config: SubgoalConfig) -> None:
        super().__init__()
        inputs = latents * config.latent
        widths = [inputs + known, *[config.width] * config.layers]
        layers: list[nn.Module] = []
        for one, other in itertools.pairwise(widths):
            layers += [nn.Linear(one, other), nn.SiLU()]
        self.bent = nn.Sequential(*layers, nn.Linear(widths[-1], config.latent))
        self.straight = nn.Linear(inputs, config.latent, bias=False) if config.skip else None
        if self.straight is not None:
            with torch.no_grad():
                self.straight.weight.zero_()
                self.straight.weight[:, : config.latent] = torch.eye(config.latent)

    def forward(self, latents: tuple[Tensor, ...], known: tuple[Tensor, ...]) -> Tensor:
        """``(B, D)`` each, the present first, and ``(B, ...)`` -> ``(B, D)``."""
        bent = self.bent(torch.cat([*latents, *known], dim=1))
        return bent if self.straight is None else bent + self.straight(torch.cat(latents, dim=1))


class Subgoals(Planning):
    """``f_g`` grounds an instruction in a goal; ``f_w`` leads from a subgoal to the next."""

    def __init__(self, config: SubgoalConfig) -> None:
        super().__init__(config)
        self.grounds = bool(config.language and config.scheme != "none")
        if self.grounds:
            self.ground = Network(1, config.language, config)
        if config.scheme in _GIVEN:
            self.step = Network(len(_GIVEN[config.scheme]), config.language + 1, config)
        if self.chooses:
            self.choice = mlp(3 * config.latent + config.language, _CHOICE_WIDTH, config.objects + 1)

    def goal(self, present: Tensor, language: Tensor) -> Tensor:
        if not self.grounds:
            return torch.zeros_like(present)
        return self.ground((present,), (language,))

    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor, share: Tensor) -> Tensor:
        latents = {"present": present, "before": before, "goal": goal}
        told = tuple(latents[name] for name in _GIVEN[self.config.scheme])
        return self.step(told, (language, -share.log2().unsqueeze(1)))

    def choose(self, present: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        if not self.chooses:
            return functional.pad(present.new_zeros(len(present), self.config.objects), (0, 1), value=1.0)
        return self.choice(torch.cat([present, goal, goal - present, language], dim=1))

    def loss(self, sample: LBPSample, weight: Tensor) -> Tensor:
        """Eq. 2 and 5: the squared error of the goal and of every subgoal, given the true ones and its own.

        Which object moves next is learned beside them.

        Args:
            sample: what is to be learned.
            weight: ``(B,)`` of each sample, of mean 1.
        """
        config = self.config
        present, language, ratio = sample.astray, sample.language, sample.ratio

        def error(found: Tensor, wanted: Tensor) -> Tensor:
            return ((found - wanted).square().flatten(1).mean(dim=1) * weight).mean()

        loss = present.new_zeros(())
        wanted = self.wanted(present, sample.goal, language, sample.told)
        if self.grounds:
            loss = loss + error(wanted, sample.goal)
        if self.chooses:
            chosen = self.choose(present, wanted.detach(), language).float()
            missed = functional.cross_entropy(chosen, sample.moved, reduction="none")
            loss = loss + _CHOICE * (missed * weight).mean()
        own = self(present, wanted, language, ratio=ratio)
        if config.scheme not in _GIVEN:
            return loss
        loss = loss + config.depth * error(own[:, :-1], sample.subgoals)
        if "before" in _GIVEN[config.scheme]:
            backward = config.scheme == "backward"
            truth = sample.subgoals.flip(1) if backward else sample.subgoals
            chain = [self._beginning(present, sample.goal), *truth.unbind(1)]
            for level, share in enumerate(self._shares(ratio, config.depth)):
                before = chain[level] + config.noise * sample.given[:, level]
                loss = loss + error(self.next(present, before, sample.goal, language, share), chain[level + 1])
        return loss


class CrossFitted(Planning):
    """Several ``Subgoals``, each trained without one fold of the episodes; what they predict is averaged.

    A policy has to learn from the planner's own plans. Of episodes that a planner was trained on these are better than
    they will ever be again, the more so the fewer demonstrations there are, and a policy that learns from them trusts
    plans too much. Here it learns from the plans of the member that has not seen the episode.
    """

    def __init__(self, config: SubgoalConfig) -> None:
        super().__init__(config)
        self.members = nn.ModuleList(Subgoals(config) for _ in range(config.folds))

    def _mean(self, name: str, *inputs: Tensor) -> Tensor:
        return torch.stack([getattr(member, name)(*inputs) for member in self.members]).mean(dim=0)

    def goal(self, present: Tensor, language: Tensor) -> Tensor:
        return self._mean("goal", present, language)

    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor, share: Tensor) -> Tensor:
        return self._mean("next", present, before, goal, language, share)

    def choose(self, present: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        return self._mean("choose", present, goal, language)

    def loss(self, sample: LBPSample) -> Tensor:
        """The members' mean; with one fold there is one member, trained on everything."""
        count, total = len(self.members), sample.present.new_zeros(())
        for index, member in enumerate(self.members):
            seen = (sample.fold != index).to(sample.present.dtype)
            weight = seen * count / (count - 1) if count > 1 else torch.ones_like(seen)
            total = total + member.loss(sample, weight) / count
        return total

    @torch.no_grad()
    def unseen(self, sample: LBPSample, ask: Callable[[Subgoals, Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """What the members answer, each of the samples that it is not trained on; of all, if it is the only one.

        Args:
            sample: B of them.
            ask: a member and the latent goals ``(B, D)`` that it finds -> answers ``(B, ...)``.
        """
        answers: tuple[Tensor, ...] = ()
        for index, member in enumerate(self.members):
            own = ask(member, member.wanted(sample.present, sample.goal, sample.language, sample.told))
            mine = sample.fold == index
            answers = tuple(
                torch.where(mine.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(own, answers or own, strict=True)
            )
        return answers
