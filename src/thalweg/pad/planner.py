"""PaD's planning: refine candidates under several times to reach, then choose one (section 4.4, alg. 2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.budget import check_budget
from thalweg.errors import ThalwegError, choices
from thalweg.pad.model import PaDModel
from thalweg.reach import quantiles
from thalweg.refine import refine
from thalweg.types import Context, Plan

__all__ = ["SELECTIONS", "Draws", "PlannerConfig", "draw", "hypotheses", "plan", "progress", "select", "shift"]

SELECTIONS = ("lowest_energy", "paper")


@dataclass(frozen=True)
class PlannerConfig:
    """The budget of one decision and how it is spent.

    Attributes:
        hypotheses: K, candidates a request.
        steps: T, refinement steps.
        selection: ``lowest_energy``, or ``paper`` (alg. 2: one of the ``top`` lowest, with logits ``-lambda``).
        level: whether the energies have a level that is trained: what remains of the correction, plus how improbable
            the time to reach (discounted) and the goal are; times to reach are then the belief's. Otherwise energies
            are PaD's own, whose level nothing trains, and times to reach are uniform (paper).
        warm: refine the candidate that keeps the time of the plan in progress from that plan, shifted in time, instead
            of from noise.
        top: size of the paper's top set.
        discount: what a step more to the goal costs: the belief over time-to-reach is weighed with
            ``discount ** steps`` before it is asked. Where it is narrow that changes nothing; where recordings took
            anything from a straight way to many detours, it asks for the straight one.
        milestones: in a scene of several objects, move one at a time (see ``thalweg.milestones``); otherwise plans
            lead to the goal as a whole.
        trust: exponent of a new time-to-reach estimate in the belief.
        restart: share of the belief given up at each decision, so that a failed attempt is noticed.
        budget_ms: milliseconds that a decision may take; ``hypotheses`` and ``steps`` are then as many as this machine
            was measured to do in that time, fewer for each of many requests. None keeps them as they are.
        replan: environment steps between decisions.
        lookahead: steps ahead of the waypoint that the decoder tracks.
        tracking: decode from what is observed (ours); otherwise from the plan's own latents, open-loop (paper).
    """

    hypotheses: int = 8
    steps: int = 2
    selection: str = "lowest_energy"
    level: bool = True
    warm: bool = False
    top: int = 4
    discount: float = 0.95
    milestones: bool = True
    trust: float = 0.5
    restart: float = 0.02
    budget_ms: float | None = None
    replan: int = 4
    lookahead: int = 4
    tracking: bool = True

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS:
            raise ThalwegError(f"unknown selection {self.selection!r}; choose one of {choices(SELECTIONS)}")
        for name in ("hypotheses", "top", "replan", "lookahead"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if not 0.0 < self.discount <= 1.0:
            raise ThalwegError(f"discount must be above 0 and at most 1, got {self.discount}")
        if not 0.0 <= self.trust <= 1.0:
            raise ThalwegError(f"trust must be from 0 to 1, got {self.trust}")
        if not 0.0 < self.restart <= 1.0:
            raise ThalwegError(f"restart must be above 0 and at most 1, got {self.restart}")
        if self.steps < 0:
            raise ThalwegError(f"steps must be 0 or more, got {self.steps}")
        if self.budget_ms is not None:
            check_budget(self.budget_ms)


@dataclass(frozen=True)
class Draws:
    """All the randomness of one decision, drawn request by request, so that batching changes no plan.

    Attributes:
        noise: ``(B, K, F, D)`` the candidates' starting points.
        reach: ``(B, K)`` uniform, for the hypotheses' times to reach.
        pick: ``(B,)`` uniform, for the paper's choice among the best.
    """

    noise: Tensor
    reach: Tensor
    pick: Tensor


def draw(
    generators: Sequence[torch.Generator], count: int, tokens: int, latent: int, *, device: torch.device | str = "cpu"
) -> Draws:
    """One request's numbers from each of the B ``generators`` on the CPU, brought to the ``device``."""
    noise = torch.stack([_noise(count * tokens * latent, g) for g in generators]).unflatten(1, (count, tokens, latent))
    uniform = torch.stack([torch.rand(count + 1, generator=g) for g in generators])
    noise, uniform = noise.to(device), uniform.to(device)
    return Draws(noise, uniform[:, :-1], uniform[:, -1])


def _noise(size: int, generator: torch.Generator) -> Tensor:
    """``(size,)`` normal numbers that a larger size begins with, too: PyTorch draws them in blocks of 16."""
    return torch.randn(16 * math.ceil(size / 16), generator=generator)[:size]


def discounted(belief: Tensor, discount: float) -> Tensor:
    """``(B, H)`` the belief weighed with ``discount ** steps``."""
    cost = math.log(discount) * torch.arange(belief.shape[1], device=belief.device)
    return (belief.log() + cost).softmax(dim=1)


def hypotheses(belief: Tensor | None, left: Tensor | None, draws: Draws, *, low: int, high: int) -> Tensor:
    """``(B, K)`` times to reach to try, in steps from ``low`` to ``high``.

    The first is what is ``left (B,)`` of the time of the plan in progress, where there is one. The others are quantiles
    of the (discounted) belief ``(B, high)``, evenly spread however many they are: more of them leave the former where
    they were. Without a belief all are the paper's uniform draws.
    """
    count = draws.reach.shape[1]
    if belief is None:
        return low + draws.reach * (high - low)
    kept = [] if left is None or count == 1 else [left.unsqueeze(1)]
    steps = quantiles(belief, _bisections(count - len(kept))).to(belief.dtype)
    return torch.cat([*kept, steps], dim=1).clamp(min=low, max=high)


def _bisections(count: int) -> Tensor:
    """``(count,)`` 1/2, 1/4, 3/4, 1/8, 5/8, 3/8, ...: van der Corput's sequence."""
    index = torch.arange(1, count + 1)
    bits = torch.arange(count.bit_length())
    return ((index.unsqueeze(1) >> bits & 1) * 0.5 ** (bits + 1)).sum(dim=1)


def progress(model: PaDModel, previous: Plan, present: Tensor, elapsed: int) -> Tensor:
    """``(B,)`` steps by which the robot has come along ``previous``, from half of ``elapsed`` to all of it.

    The way that it went, ``present (B, D)`` from where the plan began, is measured along the way that was planned, in
    units of the first token's spread; where next to nothing was to move, time passes as planned. The clock never
    stands still, so that a robot that is stuck finds out. A plan or a present that is not finite only passes time.
    """
    steps = torch.full((len(present),), float(elapsed), device=present.device)
    planned = (previous.at(steps) - previous.present) / model.scale[0]
    went = (present - previous.present) / model.scale[0]
    share = (1 + (went * planned).sum(dim=1)) / (1 + planned.square().sum(dim=1))
    return elapsed * torch.where(previous.finite & share.isfinite(), share.clamp(0.5, 1), 1.0)


def shift(model: PaDModel, previous: Plan, present: Tensor, passed: Tensor) -> Tensor:
    """``(B, F, D)`` the plan in progress, ``passed (B,)`` steps on, in plan coordinates from ``present (B, D)``."""
    return model.to_plan(previous.at(passed.unsqueeze(1) + model.offsets), present)


def plan(
    model: PaDModel,
    context: Context,
    reach: Tensor,
    start: Tensor,
    *,
    config: PlannerConfig,
    pick: Tensor,
    elapsed: Tensor,
    belief: Tensor | None = None,
    level: Tensor | None = None,
    trace: bool = False,
) -> tuple[Plan, Tensor]:
    """Plan for B requests at once under K hypotheses each; a pure function of its arguments.

    Beside the plan it returns what the context network makes of the chosen hypothesis, ``(B, V)``.

    Args:
        model: the energy.
        context: B rows; its own ``reach`` is not used.
        reach: ``(B, K)`` hypothesised times to reach, in steps.
        start: ``(B, K, F, D)`` the candidates before refinement, in plan coordinates.
        config: budget and selection.
        pick: ``(B,)`` uniform, for the paper's choice among the best.
        elapsed: ``(B,)`` environment steps since the first plan towards this goal, to record in the plan.
        belief: ``(B, H)`` over time-to-reach, to record in the plan.
        level: ``(B, K)`` of the energies: what a candidate costs that needs no more correction. Without it energies
            are PaD's own.
        trace: keep the energies along refinement.
    """
    batch, count = reach.shape
    repeated = context.repeat(count, reach)
    condition = model.condition(repeated)
    refined = refine(model, start.flatten(0, 1), condition, steps=config.steps, trace=trace)
    candidates = model.to_latents(refined.plan, repeated.present).unflatten(0, (batch, count))

    def levelled(energy: Tensor, correction: Tensor) -> Tensor:
        return (energy if level is None else correction + level.flatten()).unflatten(0, (batch, count))

    energy = levelled(refined.energy, refined.correction)
    along = [levelled(*pair) for pair in zip(refined.energies, refined.corrections, strict=True)]
    chosen = select(config, reach / model.config.horizon, energy, pick)
    rows = torch.arange(batch, device=reach.device)
    latents = candidates[rows, chosen]
    found = Plan(
        present=context.present,
        latents=latents,
        offsets=model.offsets,
        time_to_reach=reach[rows, chosen],
        energy=energy[rows, chosen],
        selected=chosen,
        candidates=candidates,
        candidate_reach=reach,
        candidate_energy=energy,
        belief=belief,
        trace=torch.stack(along) if trace else None,
        finite=latents.isfinite().flatten(1).all(dim=1),
        correction=refined.correction.unflatten(0, (batch, count))[rows, chosen],
        elapsed=elapsed,
    )
    return found, condition.reading.unflatten(0, (batch, count))[rows, chosen]


def select(config: PlannerConfig, reach: Tensor, energy: Tensor, pick: Tensor) -> Tensor:
    """``(B,)`` index of the chosen candidate from ``lambda`` and the final iterates' energies, both ``(B, K)``."""
    energy = torch.where(energy.isfinite(), energy, torch.inf)
    if config.selection == "lowest_energy":
        return energy.argmin(dim=1)
    best = energy.topk(min(config.top, energy.shape[1]), dim=1, largest=False).indices
    share = (-reach.gather(1, best)).softmax(dim=1).cumsum(dim=1)
    place = torch.searchsorted(share, pick.unsqueeze(1).contiguous()).clamp(max=best.shape[1] - 1)
    return best.gather(1, place).squeeze(1)
