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
| T | refinement steps |
| V | values that a verifier reads |

Tokens are ordered near to far, at explicit ``offsets`` in environment steps from the present.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from thalweg.errors import ThalwegError
from thalweg.milestones import Milestone
from thalweg.reach import quantiles

__all__ = ["Context", "Plan", "Window"]


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
class Plan:
    """What a planner returns for B requests: the chosen plan, and all candidates that it was chosen from.

    Attributes:
        present: ``(B, D)`` where it begins.
        latents: ``(B, F, D)`` the selected plan, near to far.
        offsets: ``(F,)`` steps from the present to each token.
        time_to_reach: ``(B,)`` steps after which the selected plan is to reach its goal.
        energy: ``(B,)`` energy of the selected plan's final iterate. Where their level is trained, energies
            compare across times to reach, goals and observations (docs/method.md).
        selected: ``(B,)`` index of the selected candidate.
        candidates: ``(B, K, F, D)`` final iterates of every hypothesis.
        candidate_reach: ``(B, K)`` their times to reach, in steps.
        candidate_energy: ``(B, K)`` their final energies.
        belief: ``(B, H)`` probability of each time to reach, 1 step first, or None without a time-to-reach model.
        trace: ``(T + 1, B, K)`` energies along refinement, or None when not asked for.
        finite: ``(B,)`` whether every number of the selected plan is finite.
        correction: ``(B,)`` what remains to be corrected of the selected plan: half the squared length of the step
            that would follow, in plan coordinates.
        elapsed: ``(B,)`` environment steps since the first plan towards this goal.
        arrival: ``(B, H)`` probability of each number of steps to the goal, by a verifier's account, or None.
        reach_probability: ``(B,)`` that the goal is reached, by a verifier's account, or None without one.
        milestone: what the plan leads to first, where the scene has several objects; times are to that. Else None.
    """

    present: Tensor
    latents: Tensor
    offsets: Tensor
    time_to_reach: Tensor
    energy: Tensor
    selected: Tensor
    candidates: Tensor
    candidate_reach: Tensor
    candidate_energy: Tensor
    belief: Tensor | None
    trace: Tensor | None
    finite: Tensor
    correction: Tensor
    elapsed: Tensor
    arrival: Tensor | None = None
    reach_probability: Tensor | None = None
    milestone: Milestone | None = None

    def at(self, step: Tensor) -> Tensor:
        """Latents ``step`` steps after the present, linear between tokens, held after the last.

        ``step (B,)`` gives ``(B, D)``; ``step (B, N)`` gives ``(B, N, D)``.
        """
        offsets = functional.pad(self.offsets.to(step.device).float(), (1, 0))
        course = torch.cat([self.present.unsqueeze(1), self.latents], dim=1)
        step = step.float().clamp(0, offsets[-1])
        after = torch.searchsorted(offsets, step).clamp(min=1)
        before = after - 1
        share = ((step - offsets[before]) / (offsets[after] - offsets[before])).unsqueeze(-1)
        rows = torch.arange(len(step), device=step.device).reshape(-1, *[1] * (step.ndim - 1))
        return torch.lerp(course[rows, before], course[rows, after], share)

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
