"""The records that the parts hand to one another, and the letters that their shapes are written in.

| letter | meaning |
|---|---|
| B | batch: requests planned at once |
| K | hypotheses: candidate futures of one request |
| P | length of the past that the planner sees |
| F | future tokens of a plan |
| D | latent dimension |
| S | observation dimension |
| A | action dimension |
| C | relations of present and goal |
| H | horizon, the longest time to reach |
| L | values of an instruction's embedding |
| T | refinement steps |
| V | values that a verifier reads |

Tokens are ordered near to far, at explicit ``offsets`` in environment steps from the present.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from thalweg.errors import ThalwegError
from thalweg.milestones import Milestone
from thalweg.reach import quantiles

__all__ = ["Context", "Goal", "Plan", "Sight", "Window"]


@dataclass(frozen=True)
class Window:
    """A batch of hindsight samples cut from recorded episodes, in normalised observations.

    Attributes:
        past: ``(B, P, S)`` observations up to the present; the last one is the present.
        future: ``(B, F, S)`` observations at the plan's offsets, held at the goal from the goal on.
        goal: ``(B, S)`` the observation ``reach`` steps ahead, relabelled as the goal; a settled goal has the body's
            coordinates of some other row.
        reach: ``(B,)`` steps from the present to the goal.
        past_length: ``(B,)`` how many of the P past entries are visible (the newest ones).
    """

    past: Tensor
    future: Tensor
    goal: Tensor
    reach: Tensor
    past_length: Tensor


@dataclass(frozen=True)
class Context:
    """All that an energy is conditioned on; fixed while a plan is refined.

    Attributes:
        past: ``(B, P, D)`` latents up to the present.
        past_length: ``(B,)`` visible entries of ``past``, counted from the newest.
        goal: ``(B, D)`` latent goal.
        reach: ``(B,)`` hypothesised time to reach, in steps.
        relations: ``(B, C)`` features of present and goal that their latents do not show well; C may be 0.
    """

    past: Tensor
    past_length: Tensor
    goal: Tensor
    reach: Tensor
    relations: Tensor

    @property
    def present(self) -> Tensor:
        """``(B, D)`` the latent of the present observation."""
        return self.past[:, -1]

    def repeat(self, hypotheses: int, reach: Tensor) -> Context:
        """The same requests under ``hypotheses`` times to reach each: ``reach`` is ``(B, K)``."""
        past, length, goal, relations = (
            part.repeat_interleave(hypotheses, dim=0)
            for part in (self.past, self.past_length, self.goal, self.relations)
        )
        return Context(past, length, goal, reach.reshape(-1), relations)


@dataclass(frozen=True)
class Sight:
    """What B robots with cameras observe.

    Attributes:
        proprioception: ``(B, S)`` the robots' own state, in the environment's units.
        cameras: frames ``(B, height, width, 3)`` uint8 by the camera's name.
    """

    proprioception: Tensor
    cameras: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.proprioception)


@dataclass(frozen=True)
class Goal:
    """What B requests are to reach: each an observation, or an instruction.

    Attributes:
        latent: ``(B, D)`` of the observation; zero where the goal is told in words.
        language: ``(B, L)`` embedding of the instruction; zero where there is none.
        told: ``(B,)`` whether the goal is told in words.
    """

    latent: Tensor
    language: Tensor
    told: Tensor

    def __len__(self) -> int:
        return len(self.told)


@dataclass(frozen=True)
class Plan:
    """What a planner returns for B requests; what a planner does not know is None.

    Attributes:
        present: ``(B, D)`` where it begins.
        latents: ``(B, F, D)`` the plan, near to far.
        offsets: ``(F,)`` steps from the present to each token, or ``(B, F)`` where requests differ.
        time_to_reach: ``(B,)`` steps after which the plan is to reach its goal.
        finite: ``(B,)`` whether every number of the plan is finite.
        elapsed: ``(B,)`` environment steps since the first plan towards this goal.
        belief: ``(B, H)`` probability of each time to reach, 1 step first.
        arrival: ``(B, H)`` probability of each number of steps to the goal, by a verifier's account.
        reach_probability: ``(B,)`` that the goal is reached, by a verifier's account.
        milestone: what the plan leads to first, where the scene has several objects; times are to that.
        energy: ``(B,)`` energy of the plan's final iterate. Where their level is trained, energies compare across times
            to reach, goals and observations (docs/method.md).
        correction: ``(B,)`` what remains to be corrected: half the squared length of the step that would follow, in
            plan coordinates.
        selected: ``(B,)`` index of the candidate that was chosen.
        candidates: ``(B, K, F, D)`` final iterates of every hypothesis.
        candidate_reach: ``(B, K)`` their times to reach, in steps.
        candidate_energy: ``(B, K)`` their final energies.
        trace: ``(T + 1, B, K)`` energies along refinement, where asked for.
        chunks: ``(B, M, C, A)`` chunks of actions that a policy drew, newest first, from the present on.
    """

    present: Tensor
    latents: Tensor
    offsets: Tensor
    time_to_reach: Tensor
    finite: Tensor
    elapsed: Tensor
    belief: Tensor | None = None
    arrival: Tensor | None = None
    reach_probability: Tensor | None = None
    milestone: Milestone | None = None
    energy: Tensor | None = None
    correction: Tensor | None = None
    selected: Tensor | None = None
    candidates: Tensor | None = None
    candidate_reach: Tensor | None = None
    candidate_energy: Tensor | None = None
    trace: Tensor | None = None
    chunks: Tensor | None = None

    def at(self, step: Tensor) -> Tensor:
        """Latents ``step`` steps after the present, linear between tokens, held after the last.

        ``step (B,)`` gives ``(B, D)``; ``step (B, N)`` gives ``(B, N, D)``.
        """
        offsets = functional.pad(self.offsets.to(step.device).float(), (1, 0))
        course = torch.cat([self.present.unsqueeze(1), self.latents], dim=1)
        rows = torch.arange(len(step), device=step.device).reshape(-1, *[1] * (step.ndim - 1))
        if offsets.ndim == 1:
            step = step.float().clamp(0, offsets[-1])
            after = torch.searchsorted(offsets, step).clamp(min=1)
            early, late = offsets[after - 1], offsets[after]
        else:
            step = step.float().minimum(offsets[rows, -1]).clamp(min=0)
            after = torch.searchsorted(offsets, step.reshape(len(step), -1)).reshape(step.shape).clamp(min=1)
            early, late = offsets[rows, after - 1], offsets[rows, after]
        share = ((step - early) / (late - early).clamp(min=1)).unsqueeze(-1)
        return torch.lerp(course[rows, after - 1], course[rows, after], share)

    def interval(self, level: float = 0.8) -> Tensor:
        """``(B, 2)`` steps, earliest and latest, between which the goal is reached with probability ``level``.

        Quantiles of the arrival, or without a verifier of the belief, the same share left out on either side.

        Raises:
            ThalwegError: there is neither, or the level is none.
        """
        if self.belief is None:
            raise ThalwegError("this plan was made without a time-to-reach model, which an interval needs")
        if not 0.0 < level < 1.0:
            raise ThalwegError(f"level must be a probability between 0 and 1, got {level}")
        expected = self.belief if self.arrival is None else self.arrival
        return quantiles(expected, [(1 - level) / 2, (1 + level) / 2])
