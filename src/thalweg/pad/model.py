"""PaD's networks: the conditional energy, the projector and the step size (sections 4.1 and 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.nets import GatedBlock, time_features
from thalweg.types import Context

__all__ = ["PaDModel", "PaDModelConfig"]


@dataclass(frozen=True)
class PaDModelConfig:
    """Sizes and choices of the energy model.

    Attributes:
        latent: D.
        offsets: steps from the present to each of the F tokens.
        past: P, latents of the past that the energy sees.
        horizon: H, the longest time to reach, in steps; ``lambda = reach / horizon``.
        width: hidden width.
        depth: gated blocks.
        rank: width of the gated linear path from inputs to correction; 0 leaves it out.
        projector: hidden width of the projector; 0 leaves it out.
        displacement: plans are displacements from the present in units of their spread (ours), or latents (paper).
    """

    latent: int
    offsets: tuple[int, ...]
    past: int = 1
    horizon: int = 128
    width: int = 512
    depth: int = 3
    rank: int = 256
    projector: int = 128
    displacement: bool = True


class PaDModel(nn.Module):
    """``E(plan | past, goal, lambda)``, with the descent step around it (eq. 1).

    The energy is ``0.5 |y|^2`` with ``y`` a residual network that holds a linear skip from the plan, so that its
    gradient is a correction. Plans live in *plan coordinates*: displacements from the present latent in units of
    each token's spread in the data, so that a near token's millimetre weighs as much as a far token's centimetre.
    """

    scale: Tensor
    offsets: Tensor

    def __init__(self, config: PaDModelConfig) -> None:
        super().__init__()
        self.config = config
        tokens, latent = len(config.offsets), config.latent
        plan = tokens * latent
        context = (config.past + 2) * latent + config.past - 1 + 14 + tokens
        self.register_buffer("offsets", torch.tensor(config.offsets, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(tokens, latent))
        self.skip = nn.Linear(context, plan)
        self.enter = nn.Linear(plan + context, config.width)
        self.blocks = nn.Sequential(*(GatedBlock(config.width) for _ in range(config.depth)))
        self.norm = nn.RMSNorm(config.width)
        self.leave = nn.Linear(config.width, plan)
        nn.init.zeros_(self.skip.weight)
        nn.init.zeros_(self.skip.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)
        if config.rank:
            self.gate = nn.Linear(config.width, config.rank)
            self.value = nn.Linear(plan + context, config.rank, bias=False)
            self.mix = nn.Linear(config.rank, plan, bias=False)
            nn.init.zeros_(self.mix.weight)
        if config.projector:
            self.project_in = nn.Linear(latent, config.projector)
            self.project_out = nn.Linear(config.projector, latent)
            nn.init.zeros_(self.project_out.weight)
            nn.init.zeros_(self.project_out.bias)
        self.step_size = nn.Parameter(torch.tensor(1.0))

    def correction(self, plan: Tensor, context: Context) -> Tensor:
        """``y (B, F * D)``, whose half square is the energy."""
        flat = plan.flatten(1)
        condition = self.condition(context)
        inputs = torch.cat([flat, condition], dim=1)
        hidden = self.norm(self.blocks(self.enter(inputs)))
        y = flat + self.skip(condition) + self.leave(hidden)
        if self.config.rank:
            y = y + self.mix(self.gate(hidden) * self.value(inputs))
        return y

    def condition(self, context: Context) -> Tensor:
        """``(B, C)`` features of the past, the goal and the time to reach."""
        present = context.present
        parts = [present, context.goal, context.goal - present]
        if self.config.past > 1:
            age = torch.arange(self.config.past - 1, 0, -1, device=present.device)
            seen = (age < context.past_length.unsqueeze(1)).to(present.dtype)
            parts += [(seen.unsqueeze(-1) * (context.past[:, :-1] - present.unsqueeze(1))).flatten(1), seen]
        parts.append(time_features(context.reach, self.config.horizon))
        parts.append((self.offsets / context.reach.unsqueeze(1)).clamp(max=1.0))
        return torch.cat(parts, dim=1)

    def energy(self, plan: Tensor, context: Context) -> Tensor:
        """``(B, F, D)`` plans in plan coordinates -> ``(B,)`` energies."""
        return 0.5 * self.correction(plan, context).square().sum(dim=1)

    def project(self, plan: Tensor) -> Tensor:
        """The shallow projector ``p``, token by token; the identity when left out."""
        if not self.config.projector:
            return plan
        return plan + self.project_out(functional.silu(self.project_in(plan)))

    def to_plan(self, latents: Tensor, present: Tensor) -> Tensor:
        """Latents ``(B, F, D)`` -> plan coordinates."""
        if not self.config.displacement:
            return latents
        return (latents - present.unsqueeze(1)) / self.scale

    def to_latents(self, plan: Tensor, present: Tensor) -> Tensor:
        """Plan coordinates ``(B, F, D)`` -> latents."""
        if not self.config.displacement:
            return plan
        return present.unsqueeze(1) + plan * self.scale
