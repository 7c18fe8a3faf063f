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
from torch.nn import functional

from thalweg.errors import ThalwegError, choices

__all__ = ["SCHEMES", "SubgoalConfig", "Subgoals", "subgoal_steps"]

SCHEMES = ("backward", "forward", "parallel", "final", "none")


def subgoal_steps(reach: np.ndarray, ratio: float, depth: int) -> np.ndarray:
    """``(B, n)`` steps from the present to each of n subgoals of a goal ``reach (B,)`` steps ahead.

    ``ceil(ratio ** i * reach)`` for i = 1..n (below eq. 5), in exact arithmetic: 0.7 of 10 steps are 7, not 8.
    """
    exact = Fraction(str(ratio))
    powers = [exact**i for i in range(1, depth + 1)]
    reach = np.asarray(reach, np.int64)
    return np.stack([-(-reach * power.numerator // power.denominator) for power in powers], axis=-1)


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
    """

    latent: int
    language: int = 0
    scheme: str = "backward"
    ratio: float = 0.5
    depth: int = 2
    noise: float = 0.1
    width: int = 1024
    layers: int = 1

    def __post_init__(self) -> None:
        if self.scheme not in SCHEMES:
            raise ThalwegError(f"unknown scheme {self.scheme!r}; choose one of {choices(SCHEMES)}")
        if not 0.0 < self.ratio < 1.0:
            raise ThalwegError(f"ratio must be between 0 and 1, got {self.ratio}")
        for name in ("depth", "width", "layers"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.noise < 0:
            raise ThalwegError(f"noise must be 0 or more, got {self.noise}")


class Subgoals(nn.Module):
    """``f_g`` grounds an instruction in a goal; ``f_w`` leads from a subgoal to the next. Latents have unit spread."""

    def __init__(self, config: SubgoalConfig) -> None:
        super().__init__()
        self.config = config
        latent, known = config.latent, config.latent + config.language
        planned = config.scheme != "none"
        self.grounds = bool(config.language and planned)
        if self.grounds:
            self.ground = self._network(known, latent)
        if config.scheme in ("backward", "forward"):
            self.step = self._network(known + 2 * latent if config.scheme == "forward" else known + latent, latent)
        if config.scheme == "parallel":
            self.all = self._network(known + latent, config.depth * latent)

    def _network(self, inputs: int, outputs: int) -> nn.Module:
        widths = [inputs, *[self.config.width] * self.config.layers]
        layers: list[nn.Module] = []
        for one, other in itertools.pairwise(widths):
            layers += [nn.Linear(one, other), nn.SiLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))

    def goal(self, present: Tensor, language: Tensor) -> Tensor:
        """Present ``(B, D)`` and instruction ``(B, L)`` -> ``z_g (B, D)``, eq. 2; zero in scheme ``none``."""
        if not self.grounds:
            return torch.zeros_like(present)
        return self.ground(torch.cat([present, language], dim=1))

    def next(self, present: Tensor, before: Tensor, goal: Tensor, language: Tensor) -> Tensor:
        """The subgoal ``(B, D)`` that follows ``before (B, D)`` in the scheme's order, eq. 4.

        Backward: nearer to the present than ``before``, which begins as the goal, and is all that it knows of it.
        Forward: nearer to the goal than ``before``, which begins as the present; it is told the goal.
        """
        told = (present, before, goal) if self.config.scheme == "forward" else (present, before)
        return self.step(torch.cat([*told, language], dim=1))

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
            near = self.all(torch.cat([present, goal, language], dim=1)).unflatten(1, (depth, -1))
            return torch.cat([near, goal.unsqueeze(1)], dim=1)
        backward = config.scheme == "backward"
        chain = [goal if backward else present]
        for _ in range(depth):
            chain.append(self.next(present, chain[-1], goal, language))
        ordered = chain[:0:-1] if backward else chain[1:]
        return torch.stack([*ordered, goal], dim=1)

    def losses(
        self, present: Tensor, goal: Tensor, truth: Tensor, language: Tensor, told: Tensor, noise: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Eq. 2 and 5: the squared error of the goal and of every subgoal, given the true ones and its own.

        Returns the loss, and the plans ``(B, n + 1, D)`` of its own, detached, for the policy to learn from.

        Args:
            present: ``(B, D)``.
            goal: ``(B, D)`` as it will be given, or as the recording ended.
            truth: ``(B, n, D)`` recorded subgoals, near to far.
            language: ``(B, L)``.
            told: ``(B,)`` whether the goal is told in words, and has to be found.
            noise: ``(B, n, D)`` unit noise on what the networks are given.
        """
        config = self.config
        loss = present.new_zeros(())
        own_goal = goal
        if self.grounds:
            own_goal = torch.where(told.unsqueeze(1), self.goal(present, language), goal)
            loss = loss + functional.mse_loss(own_goal, goal)
        elif config.language:
            own_goal = torch.where(told.unsqueeze(1), torch.zeros_like(goal), goal)
        own = self(present, own_goal, language)
        if config.scheme in ("final", "none"):
            return loss, own.detach()
        loss = loss + config.depth * functional.mse_loss(own[:, :-1], truth)
        if config.scheme == "parallel":
            return loss, own.detach()
        backward = config.scheme == "backward"
        chain = [goal, *truth.flip(1).unbind(1)] if backward else [present, *truth.unbind(1)]
        for level in range(config.depth):
            given = chain[level] + config.noise * noise[:, level]
            loss = loss + functional.mse_loss(self.next(present, given, goal, language), chain[level + 1])
        return loss, own.detach()
