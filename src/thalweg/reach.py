"""How long will it take? A model of time-to-reach, and the belief about it that an agent carries along.

PaD's loss trains its energy in the gradient only, so its level cannot say which time-to-reach is right. This small
classifier gives it one: p(reach | present, goal), trained on the same hindsight samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.nets import mlp

__all__ = ["ReachModel", "ReachModelConfig", "quantiles", "surprise", "track_belief"]


@dataclass(frozen=True)
class ReachModelConfig:
    """Sizes of the time-to-reach model: S, H, logarithmic bins, hidden width and layers."""

    observation: int
    horizon: int = 128
    bins: int = 32
    width: int = 256
    depth: int = 3


class ReachModel(nn.Module):
    """``p(reach | present, goal)`` over steps 1..H: a classifier of logarithmic bins, linear between their centres."""

    bin_of_step: Tensor
    bin_width: Tensor
    between: Tensor

    def __init__(self, config: ReachModelConfig, *, relations: int = 0) -> None:
        super().__init__()
        self.config = config
        edges = torch.logspace(0, 1, config.bins + 1, base=config.horizon + 1).round().long().unique()
        steps = torch.arange(1, config.horizon + 1)
        bins = torch.searchsorted(edges, steps, right=True) - 1
        self.register_buffer("bin_of_step", bins)
        self.register_buffer("bin_width", torch.bincount(bins).float())
        self.register_buffer("between", _interpolation(bins), persistent=False)
        self.net = mlp(3 * config.observation + relations, config.width, len(self.bin_width), depth=config.depth)

    def logits(self, present: Tensor, goal: Tensor, relations: Tensor) -> Tensor:
        """Normalised observations ``(B, S)`` and their relations ``(B, C)`` -> ``(B, bins)``."""
        return self.net(torch.cat([present, goal, goal - present, relations], dim=1))

    def loss(self, present: Tensor, goal: Tensor, relations: Tensor, reach: Tensor) -> Tensor:
        """Mean negative log-likelihood of the bins of ``reach (B,)`` steps; more than H count as H."""
        steps = reach.long().clamp(max=self.config.horizon)
        return functional.cross_entropy(self.logits(present, goal, relations), self.bin_of_step[steps - 1])

    def forward(self, present: Tensor, goal: Tensor, relations: Tensor) -> Tensor:
        """``(B, H)`` probability of each number of steps, 1 first."""
        density = self.logits(present, goal, relations).softmax(dim=1) / self.bin_width
        belief = density @ self.between
        return belief / belief.sum(dim=1, keepdim=True)


def _interpolation(bins: Tensor) -> Tensor:
    """``(N, H)`` weights by which N bins' values are interpolated at H steps, constant beyond the outer centres."""
    steps = torch.arange(len(bins), dtype=torch.float32)
    centres = torch.stack([steps[bins == index].mean() for index in range(int(bins.max()) + 1)])
    after = torch.searchsorted(centres, steps).clamp(1, len(centres) - 1)
    share = ((steps - centres[after - 1]) / (centres[after] - centres[after - 1])).clamp(0, 1)
    count = len(centres)
    one_hot = functional.one_hot
    return (one_hot(after - 1, count).T * (1 - share) + one_hot(after, count).T * share).float()


def quantiles(belief: Tensor, shares: Sequence[float] | Tensor) -> Tensor:
    """``(B, Q)`` steps by which each of the Q ``shares`` of the belief ``(B, H)`` has arrived."""
    total = belief.cumsum(dim=1).contiguous()
    asked = torch.as_tensor(shares, dtype=belief.dtype, device=belief.device) * total[:, -1:]
    return 1 + torch.searchsorted(total, asked.contiguous())


def surprise(belief: Tensor, reach: Tensor) -> Tensor:
    """``(B, K)`` negative log-probability, under the belief ``(B, H)``, of K times to reach in steps."""
    nearest = reach.round().long().clamp(1, belief.shape[1]) - 1
    return -belief.clamp(min=1e-9).log().gather(1, nearest)


def track_belief(belief: Tensor, passed: Tensor, estimate: Tensor, *, trust: float, restart: float) -> Tensor:
    """One step of a Bayes filter over time-to-reach.

    Time passes (the belief moves down), the attempt may have failed (a share ``restart`` is spread evenly, and so is
    what is overdue: the goal should have been reached by now), and the model's present estimate is weighed in with
    exponent ``trust``, below 1 since consecutive observations tell much the same.

    Args:
        belief: ``(B, H)`` over steps 1..H.
        passed: ``(B,)`` steps gone since that belief, fractions allowed.
        estimate: ``(B, H)`` the model's probabilities now.
        trust: exponent of the estimate.
        restart: share of the belief given up.

    Returns:
        ``(B, H)`` the belief now.
    """
    horizon = belief.shape[1]
    passed = passed.clamp(max=horizon)
    whole = passed.floor().long().unsqueeze(1)
    part = (passed - passed.floor()).unsqueeze(1)
    padded = torch.nn.functional.pad(belief, (0, horizon + 1))
    steps = torch.arange(horizon, device=belief.device)
    moved = (1 - part) * padded.gather(1, steps + whole) + part * padded.gather(1, steps + whole + 1)
    overdue = (belief.sum(dim=1, keepdim=True) - moved.sum(dim=1, keepdim=True)).clamp(min=0.0)
    prior = (1 - restart) * moved + (restart + (1 - restart) * overdue) / horizon
    posterior = prior * estimate.clamp(min=1e-9).pow(trust)
    return posterior / posterior.sum(dim=1, keepdim=True)
