"""PaD's networks: the conditional energy, the projector and the step size (sections 4.1 and 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.nets import GatedBlock, Pullback, norm_with_pullback, time_features
from thalweg.types import Context

__all__ = ["Condition", "PaDModel", "PaDModelConfig"]


@dataclass(frozen=True)
class PaDModelConfig:
    """Sizes and choices of the energy model.

    Attributes:
        latent: D.
        offsets: steps from the present to each of the F tokens.
        past: P, latents of the past that the energy sees.
        horizon: H, the longest time to reach, in steps; ``lambda = reach / horizon``.
        context_width: hidden width of the network that reads past, goal and lambda once a plan.
        context_depth: its gated blocks; 0 leaves it out, and the energy sees the context as it is.
        width: hidden width of the network that sees the plan, at every refinement step.
        depth: its gated blocks.
        rank: width of the gated linear path from plan and context to the correction; 0 leaves it out.
        projector: hidden width of the projector; 0 leaves it out.
        displacement: plans are displacements from the present in units of their spread (ours), or latents (paper).
    """

    latent: int
    offsets: tuple[int, ...]
    past: int = 1
    horizon: int = 96
    context_width: int = 384
    context_depth: int = 4
    width: int = 256
    depth: int = 1
    rank: int = 256
    projector: int = 128
    displacement: bool = True


class Condition(NamedTuple):
    """What a context adds to each layer that sees the plan; read once, before refinement.

    Attributes:
        offset: ``(B, F * D)`` added to the correction: minus where the context draws the plan.
        entered: ``(B, W)`` added as the plan enters the network.
        valued: ``(B, R)`` added to the gated path's values; R may be 0.
        gate: ``(B, R)`` of the gated path; None where the network that sees the plan opens it.
        reading: ``(B, V)`` what the context network makes of the context; no layer sees it, but verifiers do.
    """

    offset: Tensor
    entered: Tensor
    valued: Tensor
    gate: Tensor | None
    reading: Tensor


class PaDModel(nn.Module):
    """``E(plan | past, goal, lambda)``, with the descent step around it (eq. 1).

    The energy is ``0.5 |y|^2``, where ``y`` is the plan minus where the context draws it, plus what a network makes
    of both, so that its gradient is a correction. The context is read once a plan; the plan is read at every step.
    Plans live in *plan coordinates*: displacements from the present latent in units of each token's spread in the
    data, so that a near token's millimetre weighs as much as a far token's centimetre.
    """

    scale: Tensor
    offsets: Tensor

    def __init__(self, config: PaDModelConfig, *, relations: int = 0) -> None:
        super().__init__()
        self.config = config
        tokens, latent = len(config.offsets), config.latent
        plan = self.size = tokens * latent
        features = (config.past + 2) * latent + config.past - 1 + 14 + tokens + relations
        reading = features
        self.register_buffer("offsets", torch.tensor(config.offsets, dtype=torch.float32))
        self.register_buffer("scale", torch.ones(tokens, latent))
        self.skip = _zeroed(nn.Linear(features, plan))
        if config.context_depth:
            reading = config.context_width
            self.read = nn.Linear(features, reading)
            self.context = nn.Sequential(
                *(GatedBlock(reading) for _ in range(config.context_depth)), nn.RMSNorm(reading)
            )
            self.draw = _zeroed(nn.Linear(reading, plan))
        self.reading_size = reading
        self.enter = nn.Linear(plan + reading, config.width)
        self.blocks = nn.Sequential(*(GatedBlock(config.width) for _ in range(config.depth)))
        self.norm = nn.RMSNorm(config.width)
        self.leave = _zeroed(nn.Linear(config.width, plan))
        if config.rank:
            self.gate = nn.Linear(reading if config.context_depth else config.width, config.rank)
            self.value = nn.Linear(plan + features, config.rank, bias=False)
            self.mix = _zeroed(nn.Linear(config.rank, plan, bias=False))
        if config.projector:
            self.project_in = nn.Linear(latent, config.projector)
            self.project_out = _zeroed(nn.Linear(config.projector, latent))
        self.step_size = nn.Parameter(torch.tensor(1.0))

    def read_context(self, context: Context) -> tuple[Tensor, Tensor]:
        """``(B, C)`` features of B contexts, and what the context network makes of them."""
        features = self._features(context)
        return features, self.context(self.read(features)) if self.config.context_depth else features

    def condition(self, context: Context) -> Condition:
        """Read B contexts once, before refinement."""
        features, reading = self.read_context(context)
        offset = self.skip(features)
        if self.config.context_depth:
            offset = offset + self.draw(reading)
        entered = functional.linear(reading, self.enter.weight[:, self.size :], self.enter.bias)
        if not self.config.rank:
            return Condition(offset, entered, features[:, :0], None, reading)
        valued = functional.linear(features, self.value.weight[:, self.size :])
        gate = self.gate(reading) if self.config.context_depth else None
        return Condition(offset, entered, valued, gate, reading)

    def _features(self, context: Context) -> Tensor:
        """``(B, C)``: past, goal, their relations and time to reach, side by side."""
        present = context.present
        parts = [present, context.goal, context.goal - present]
        if self.config.past > 1:
            age = torch.arange(self.config.past - 1, 0, -1, device=present.device)
            seen = (age < context.past_length.unsqueeze(1)).to(present.dtype)
            parts += [(seen.unsqueeze(-1) * (context.past[:, :-1] - present.unsqueeze(1))).flatten(1), seen]
        parts.append(context.relations)
        parts.append(time_features(context.reach, self.config.horizon))
        parts.append((self.offsets / context.reach.unsqueeze(1)).clamp(max=1.0))
        return torch.cat(parts, dim=1)

    def energy(self, plan: Tensor, condition: Condition) -> Tensor:
        """``(B, F, D)`` plans in plan coordinates -> ``(B,)`` energies ``0.5 |y|^2``."""
        return 0.5 * self._correction(plan, condition)[0].square().sum(dim=1)

    def descent(self, plan: Tensor, condition: Condition) -> tuple[Tensor, Tensor]:
        """The energy's gradient in the plan, ``J^T y (B, F, D)``, and the energies ``(B,)``.

        The gradient is written out, so that planning needs no autograd, and training is one ordinary backward pass.
        """
        y, pull = self._correction(plan, condition)
        return pull(y).unflatten(1, plan.shape[1:]), 0.5 * y.square().sum(dim=1)

    def _correction(self, plan: Tensor, condition: Condition) -> tuple[Tensor, Pullback]:
        """``y (B, F * D)``, and its pullback to the plan ``(B, F * D)``."""
        flat = plan.flatten(1)
        enter = self.enter.weight[:, : self.size]
        hidden = functional.linear(flat, enter) + condition.entered
        pulls = []
        for block in self.blocks:
            hidden, pull_block = block.with_pullback(hidden)
            pulls.append(pull_block)
        normed, pull_norm = norm_with_pullback(self.norm, hidden)
        pulls.append(pull_norm)
        y = flat + condition.offset + self.leave(normed)
        if self.config.rank:
            own = condition.gate is None
            gate = self.gate(normed) if own else condition.gate
            see = self.value.weight[:, : self.size]
            value = functional.linear(flat, see) + condition.valued
            y = y + self.mix(gate * value)

        def pull(gradient: Tensor) -> Tensor:
            total, inner = gradient, gradient @ self.leave.weight
            if self.config.rank:
                mixed = gradient @ self.mix.weight
                total = total + (mixed * gate) @ see
                if own:
                    inner = inner + (mixed * value) @ self.gate.weight
            for pull_layer in reversed(pulls):
                inner = pull_layer(inner)
            return total + inner @ enter

        return y, pull

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


def _zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with zero weights: it starts silent."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
