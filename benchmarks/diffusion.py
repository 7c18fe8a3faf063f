"""Planning by denoising: a diffusion model over whole trajectories, conditioned on present and goal (after Diffuser).

The sampler is DDIM's, which draws no noise on the way, with a cosine schedule.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from network import ResidualMLP, TemporalUNet, count, sized
from timing import Method
from torch import Tensor, nn

from thalweg.nets import time_features

__all__ = ["Denoiser", "Diffuser", "diffusion"]

_NOISIEST = 0.98  # of 1, which is noise alone


class Denoiser(nn.Module):
    """The noise in a trajectory of ``tokens`` latents at some noise level, by PaD's own kind of network."""

    name = "diffusion"

    def __init__(self, tokens: int, latent: int, parameters: int) -> None:
        super().__init__()
        self.shape = (tokens, latent)
        self.network = sized(partial(ResidualMLP, (tokens + 2) * latent + 14, tokens * latent), parameters)

    def forward(self, plan: Tensor, request: Tensor, level: Tensor) -> Tensor:
        """Plans ``(K, F * D)``, present and goal ``(K, 2 * D)``, features of the level ``(K, 14)`` -> their noise."""
        return self.network(torch.cat([plan, request, level], dim=1))


class Diffuser(nn.Module):
    """The same by Diffuser's kind of network."""

    name = "diffusion, U-Net"

    def __init__(self, tokens: int, latent: int, parameters: int) -> None:
        super().__init__()
        self.shape = (tokens, latent)
        self.network = sized(partial(TemporalUNet, latent, 2 * latent + 14), parameters)

    def forward(self, plan: Tensor, request: Tensor, level: Tensor) -> Tensor:
        """As ``Denoiser.forward``."""
        return self.network(plan.unflatten(1, self.shape), torch.cat([request, level], dim=1)).flatten(1)


def diffusion(denoiser: Denoiser | Diffuser, present: Tensor, goal: Tensor, *, steps: int, candidates: int) -> Method:
    """One decision from ``present (1, D)`` to ``goal (1, D)``: of the candidates the one that ends nearest to it."""
    generator = torch.Generator().manual_seed(0)
    request = torch.cat([present, goal], dim=1).repeat(candidates, 1)
    schedule = _schedule(steps, candidates)

    def call() -> Tensor:
        plan = torch.randn(candidates, math.prod(denoiser.shape), generator=generator)
        for level, keep, remove in schedule:
            plan = keep * plan - remove * denoiser(plan, request, level)
        plans = plan.unflatten(1, denoiser.shape)
        return plans[(plans[:, -1] - goal).square().sum(dim=1).argmin()]

    settings = {"parameters": count(denoiser), "sampler": "DDIM", "steps": steps, "candidates": candidates}
    return Method(f"{denoiser.name}, {candidates} x {steps} steps", call, settings)


def _schedule(steps: int, candidates: int) -> list[tuple[Tensor, float, float]]:
    """Of every step, noisiest first: the features of its level, and how much of plan and noise it keeps and removes.

    A plan at signal level ``a`` is ``sqrt(a) * clean + sqrt(1 - a) * noise``; a step takes it to the next level ``b``.
    """
    levels = torch.linspace(_NOISIEST, 0.0, steps + 1)
    features = time_features(100 * levels, 100).unsqueeze(1).expand(-1, candidates, -1)
    signal = (levels * math.pi / 2).cos().square().tolist()
    schedule = []
    for feature, a, b in zip(features, signal, signal[1:], strict=False):
        keep = math.sqrt(b / a)
        schedule.append((feature, keep, keep * math.sqrt(1 - a) - math.sqrt(1 - b)))
    return schedule
