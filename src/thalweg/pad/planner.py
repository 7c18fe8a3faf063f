"""PaD's planning: refine candidates under several times to reach, then choose one (section 4.4, alg. 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.errors import ThalwegError, choices
from thalweg.pad.model import PaDModel
from thalweg.refine import refine
from thalweg.types import Context, Plan

__all__ = ["SELECTIONS", "PlannerConfig", "draw_reach", "plan"]

SELECTIONS = ("time_to_reach", "lowest_energy", "paper")


@dataclass(frozen=True)
class PlannerConfig:
    """The budget of one decision and how it is spent.

    Attributes:
        hypotheses: K, candidates a request.
        steps: T, refinement steps.
        selection: ``time_to_reach`` (ours: the belief's choice), ``lowest_energy``, or ``paper`` (alg. 2: one of
            the ``top`` lowest energies, with logits ``-lambda``).
        top: size of the paper's top set.
        quantile: the quantile of the belief over time-to-reach that a plan aims at.
        trust: exponent of a new time-to-reach estimate in the belief.
        restart: share of the belief given up at each decision, so that a failed attempt is noticed.
        replan: environment steps between decisions.
        lookahead: steps ahead of the waypoint that the decoder tracks.
    """

    hypotheses: int = 8
    steps: int = 4
    selection: str = "time_to_reach"
    top: int = 4
    quantile: float = 0.5
    trust: float = 0.5
    restart: float = 0.02
    replan: int = 8
    lookahead: int = 8

    def __post_init__(self) -> None:
        if self.selection not in SELECTIONS:
            raise ThalwegError(f"unknown selection {self.selection!r}; choose one of {choices(SELECTIONS)}")
        for name in ("hypotheses", "top", "replan", "lookahead"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.steps < 0:
            raise ThalwegError(f"steps must be 0 or more, got {self.steps}")


def draw_reach(
    config: PlannerConfig, belief: Tensor | None, batch: int, horizon: int, low: int, generator: torch.Generator
) -> Tensor:
    """``(B, K)`` times to reach to try: the belief's quantiles, or the paper's uniform draws without a belief."""
    count = config.hypotheses
    if belief is None or config.selection != "time_to_reach":
        return low + torch.rand(batch, count, generator=generator) * (horizon - low)
    spread = (torch.arange(count) + 0.5) / count
    spread = spread[(spread - config.quantile).abs().argsort()]
    spread[0] = config.quantile
    total = belief.cumsum(dim=1).contiguous()
    return 1.0 + torch.searchsorted(total, (spread * total[:, -1:]).contiguous()).clamp(max=horizon - 1).float()


def plan(
    model: PaDModel,
    context: Context,
    reach: Tensor,
    *,
    config: PlannerConfig,
    generator: torch.Generator,
    belief: Tensor | None = None,
    trace: bool = False,
) -> Plan:
    """Plan for B requests at once under K hypotheses each.

    Args:
        model: the energy.
        context: B rows; its own ``reach`` is not used.
        reach: ``(B, K)`` hypothesised times to reach, in steps.
        config: budget and selection.
        generator: the source of the starting noise and of the paper's sampling.
        belief: ``(B, H)`` to record in the plan.
        trace: keep the energies along refinement.
    """
    batch, count = reach.shape
    repeated = context.repeat(count, reach)
    tokens, latent = model.scale.shape
    noise = torch.randn(batch * count, tokens, latent, generator=generator)
    refined = refine(model, noise, repeated, steps=config.steps, trace=trace)
    candidates = model.to_latents(refined.plan, repeated.present).reshape(batch, count, tokens, latent)
    energy = refined.energy.reshape(batch, count)
    chosen = select(config, reach / model.config.horizon, energy, generator)
    rows = torch.arange(batch)
    latents = candidates[rows, chosen]
    return Plan(
        latents=latents,
        offsets=model.offsets,
        time_to_reach=reach[rows, chosen],
        energy=energy[rows, chosen],
        selected=chosen,
        candidates=candidates,
        candidate_reach=reach,
        candidate_energy=energy,
        belief=belief,
        trace=torch.stack(refined.energies).reshape(-1, batch, count) if trace else None,
        finite=latents.isfinite().flatten(1).all(dim=1),
        change=refined.change.reshape(batch, count)[rows, chosen],
    )


def select(config: PlannerConfig, reach: Tensor, energy: Tensor, generator: torch.Generator) -> Tensor:
    """``(B,)`` index of the chosen candidate from normalised ``reach (B, K)`` and final ``energy (B, K)``."""
    energy = torch.where(energy.isfinite(), energy, torch.inf)
    if config.selection == "time_to_reach":
        return torch.zeros(len(reach), dtype=torch.long)  # draw_reach puts the belief's choice first
    if config.selection == "lowest_energy":
        return energy.argmin(dim=1)
    best = energy.topk(min(config.top, energy.shape[1]), dim=1, largest=False).indices
    draw = torch.multinomial((-reach.gather(1, best)).softmax(dim=1), 1, generator=generator)
    return best.gather(1, draw).squeeze(1)
