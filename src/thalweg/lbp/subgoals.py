"""Subgoals between the present and the goal: where they lie in time, and the networks that predict them (section 4.2).

The paper's scheme is *backward*: the first subgoal lies next to the goal, each further one closer to the present. The
schemes that it is argued against stand beside it, with the same networks and the same subgoals.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.errors import ThalwegError, choices

__all__ = ["SCHEMES", "CrossFitted", "SubgoalConfig", "Subgoals", "subgoal_steps"]

SCHEMES = ("backward", "forward", "parallel", "final", "none")


def subgoal_steps(reach: np.ndarray, ratio: float, depth: int) -> np.ndarray:
    """``(B, n)`` steps from the present to each of n subgoals of a goal ``reach (B,)`` steps ahead.

    ``ceil(ratio ** i * reach)`` for i = 1..n (below eq. 5), in exact arithmetic: 0.7 of 10 steps are 7, not 8.
    """
    exact = Fraction(str(ratio))
    reach = np.asarray(reach, np.int64)
    steps = np.empty((*reach.shape, depth), np.int64)
    for index in range(depth):
        power = exact ** (index + 1)
        steps[..., index] = -(-reach * power.numerator // power.denominator)
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
        depth: n, subgoals in training; plans may have fewer or more (backward and forward).
        noise: spread of the noise on the true previous subgoal, in units of the latents' own.
        width: hidden width of each network.
        layers: hidden layers; the paper's two-layer networks have one.
        skip: what is given also reaches the output along a straight line, at first the present alone: most of what is
            there stays as it is (ours; the paper's networks have none).
        folds: the episodes are parted into so many, and a member of the planner is trained without each (ours); with 1
            one planner is trained on all of them (the paper's).
    """

    latent: int
    language: int = 0
    scheme: str = "backward"
    ratio: float = 0.5
    depth: int = 2
    noise: float = 0.1
    width: int = 1024
    layers: int = 1
    skip: bool = True
    folds: int = 1

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ThalwegError(f"unknown scheme {self.scheme!r}; choose one of {choices(SCHEMES)}")
        if not 0.0 < self.ratio < 1.0:
            raise ThalwegError(f"ratio must be between 0 and 1, got {self.ratio}")
        for name in ("depth", "width", "layers", "folds"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.noise < 0:
            raise ThalwegError(f"noise must be 0 or more, got {self.noise}")


class Planning(nn.Module):
    """The schemes, given networks: ``goal`` and ``next``, or ``together``. Latents have unit spread."""

    def __init__(self, config: SubgoalConfig) -> None:
        super().__init__()
        self.config = config

    def goal(self, present: Tensor, language: Tensor) -> Tensor:
        """Present ``(B, D)`` and instruction ``(B, L)`` -> ``z_g (B, D)``, eq. 2; zero in scheme ``none``."""
        raise NotImplementedError

    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        """The subgoal ``(B, D)`` that follows ``before (B, D)`` in the scheme's order, eq. 4.

        Backward: nearer to the present than ``before``, which begins as the goal, and is all that it knows of it.
        Forward: nearer to the goal than ``before``, which begins as the present; it is told the goal.
        """
        raise NotImplementedError

    def together(self, present: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        """All subgoals ``(B, n, D)`` at once, near to far."""
        raise NotImplementedError

    def forward(self, present: Tensor, goal: Tensor, language: Tensor, *, depth: int | None = None) -> Tensor:
        """Plan: ``(B, n + 1, D)``, near to far, the goal ``(B, D)`` last; in scheme ``none`` that alone.

        Raises:
            ThalwegError: a parallel plan has the depth that it was trained for.
        """
        config = self.config
        depth = config.depth if depth is None else depth
        if config.scheme in ("final", "none") or depth == 0:
            return goal.unsqueeze(1)
        if config.scheme == "parallel":
            if depth != config.depth:
                raise ThalwegError(f"a parallel planner trained for {config.depth} subgoals cannot plan {depth}")
            return torch.cat([self.together(present, goal, language), goal.unsqueeze(1)], dim=1)
        backward = config.scheme == "backward"
        chain = [goal if backward else present]
        for _ in range(depth):
            chain.append(self.next(present, chain[-1], goal, language))
        ordered = chain[:0:-1] if backward else chain[1:]
        return torch.stack([*ordered, goal], dim=1)


class Network(nn.Module):
    """A multilayer perceptron on ``[present, other latents, language]``, with a straight line beside it."""

    def __init__(self, inputs: int, outputs: int, config: SubgoalConfig) -> None:
        super().__init__()
        widths = [inputs, *[config.width] * config.layers]
        layers: list[nn.Module] = []
        for one, other in itertools.pairwise(widths):
            layers += [nn.Linear(one, other), nn.SiLU()]
        self.bent = nn.Sequential(*layers, nn.Linear(widths[-1], outputs))
        self.straight = nn.Linear(inputs - config.language, outputs, bias=False) if config.skip else None
        if self.straight is not None:
            with torch.no_grad():
                self.straight.weight.zero_()
                latent = config.latent
                for first in range(0, outputs, latent):
                    self.straight.weight[first : first + latent, :latent] = torch.eye(latent)

    def forward(self, *given: Tensor) -> Tensor:
        """Latents ``(B, D)``, the present first, and the language ``(B, L)`` last -> ``(B, outputs)``."""
        bent = self.bent(torch.cat(given, dim=1))
        return bent if self.straight is None else bent + self.straight(torch.cat(given[:-1], dim=1))


class Subgoals(Planning):
    """``f_g`` grounds an instruction in a goal; ``f_w`` leads from a subgoal to the next."""

    def __init__(self, config: SubgoalConfig) -> None:
        super().__init__(config)
        latent, known = config.latent, config.latent + config.language
        self.grounds = bool(config.language and config.scheme != "none")
        if self.grounds:
            self.ground = self._network(known, latent)
        if config.scheme in ("backward", "forward"):
            self.step = self._network(known + 2 * latent if config.scheme == "forward" else known + latent, latent)
        if config.scheme == "parallel":
            self.all = self._network(known + latent, config.depth * latent)

    def _network(self, inputs: int, outputs: int) -> nn.Module:
        return Network(inputs, outputs, self.config)

    def goal(self, present: Tensor, language: Tensor) -> Tensor:
        if not self.grounds:
            return torch.zeros_like(present)
        return self.ground(present, language)

    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        told = (present, before, goal) if self.config.scheme == "forward" else (present, before)
        return self.step(*told, language)

    def together(self, present: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        return self.all(present, goal, language).unflatten(1, (self.config.depth, -1))

    def losses(
        self,
        present: Tensor,
        goal: Tensor,
        truth: Tensor,
        language: Tensor,
        told: Tensor,
        noise: Tensor,
        weight: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Eq. 2 and 5: the squared error of the goal and of every subgoal, given the true ones and its own.

        Args:
            present: ``(B, D)``.
            goal: ``(B, D)`` as it will be given, or as the recording ended.
            truth: ``(B, n, D)`` recorded subgoals, near to far.
            language: ``(B, L)``.
            told: ``(B,)`` whether the goal is told in words, and has to be found.
            noise: ``(B, n, D)`` unit noise on what the networks are given.
            weight: ``(B,)`` of each sample, of mean 1.

        Returns:
            The loss, and the plans ``(B, n + 1, D)`` of its own, detached, for the policy to learn from.
        """
        config = self.config

        def error(found: Tensor, wanted: Tensor) -> Tensor:
            return ((found - wanted).square().flatten(1).mean(dim=1) * weight).mean()

        loss = present.new_zeros(())
        own_goal = goal
        if config.language:
            own_goal = torch.where(told.unsqueeze(1), self.goal(present, language), goal)
        if self.grounds:
            loss = loss + error(own_goal, goal)
        own = self(present, own_goal, language)
        if config.scheme in ("final", "none"):
            return loss, own.detach()
        loss = loss + config.depth * error(own[:, :-1], truth)
        if config.scheme == "parallel":
            return loss, own.detach()
        backward = config.scheme == "backward"
        chain = [goal, *truth.flip(1).unbind(1)] if backward else [present, *truth.unbind(1)]
        for level in range(config.depth):
            given = chain[level] + config.noise * noise[:, level]
            loss = loss + error(self.next(present, given, goal, language), chain[level + 1])
        return loss, own.detach()


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

    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        return self._mean("next", present, before, goal, language)

    def together(self, present: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        return self._mean("together", present, goal, language)

    def losses(
        self,
        present: Tensor,
        goal: Tensor,
        truth: Tensor,
        language: Tensor,
        told: Tensor,
        noise: Tensor,
        fold: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The members' mean loss, and of every sample the plan by the member that is not trained on its ``fold (B,)``.

        With one fold there is one member, trained on everything. For the other arguments see ``Subgoals.losses``.
        """
        count = len(self.members)
        total, plan = present.new_zeros(()), present.new_zeros(())
        for index, member in enumerate(self.members):
            unseen = (fold == index).to(present.dtype)
            weight = (1 - unseen) * count / (count - 1) if count > 1 else torch.ones_like(unseen)
            loss, own = member.losses(present, goal, truth, language, told, noise, weight)
            total = total + loss / count
            plan = plan + own * unseen.reshape(-1, 1, 1) if count > 1 else own
        return total, plan
