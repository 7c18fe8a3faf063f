"""Network blocks that several models share."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["GatedBlock", "Pullback", "contrast", "mlp", "norm_with_pullback", "ridge", "time_features"]

_FREQUENCIES = 6

Pullback = Callable[[Tensor], Tensor]  #: the gradient in a layer's output -> that in its input


class GatedBlock(nn.Module):
    """Residual gated unit, ``h + W2 (silu(W1 n(h)) * V1 n(h))``; its output layer starts at zero.

    Smooth, so that its second derivatives exist, and bilinear, so that it can copy a coordinate under a condition.

    Args:
        width: of ``h``.
        hidden: width inside; ``width`` by default.
        norm: n. LayerNorm is three times as fast on a CPU that runs uncompiled; ``with_pullback`` needs RMSNorm.
    """

    def __init__(self, width: int, *, hidden: int | None = None, norm: Callable[[int], nn.Module] = nn.RMSNorm) -> None:
        super().__init__()
        hidden = hidden or width
        self.norm = norm(width)
        self.expand = nn.Linear(width, 2 * hidden)
        self.contract = nn.Linear(hidden, width)
        nn.init.zeros_(self.contract.weight)
        nn.init.zeros_(self.contract.bias)

    def forward(self, hidden: Tensor) -> Tensor:
        gate, value = self.expand(self.norm(hidden)).chunk(2, dim=-1)
        return hidden + self.contract(functional.silu(gate) * value)

    def with_pullback(self, hidden: Tensor) -> tuple[Tensor, Pullback]:
        """``forward``, and its pullback written out."""
        normed, pull_norm = norm_with_pullback(self.norm, hidden)
        gate, value = self.expand(normed).chunk(2, dim=-1)
        open_ = gate.sigmoid()
        passed = gate * open_

        def pull(gradient: Tensor) -> Tensor:
            inner = gradient @ self.contract.weight
            slope = open_ + passed * (1 - open_)
            expanded = torch.cat([inner * value * slope, inner * passed], dim=-1)
            return gradient + pull_norm(expanded @ self.expand.weight)

        return hidden + self.contract(passed * value), pull


def norm_with_pullback(norm: nn.RMSNorm, hidden: Tensor) -> tuple[Tensor, Pullback]:
    """``norm(hidden)``, and its pullback written out."""
    eps = torch.finfo(hidden.dtype).eps if norm.eps is None else norm.eps
    scale = torch.rsqrt(hidden.square().mean(dim=-1, keepdim=True) + eps)
    unit = hidden * scale

    def pull(gradient: Tensor) -> Tensor:
        gradient = gradient * norm.weight
        return scale * (gradient - unit * (gradient * unit).mean(dim=-1, keepdim=True))

    return unit * norm.weight, pull


def mlp(inputs: int, width: int, outputs: int, *, depth: int = 2) -> nn.Sequential:
    """A plain SiLU network with ``depth`` hidden layers."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.SiLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def ridge(given: Tensor, wanted: Tensor, *, strength: float = 1e-2) -> tuple[Tensor, Tensor]:
    """The line from ``given (N, D)`` to ``wanted (N, S)`` by ridge regression: its slope ``(S, D)`` and shift ``(S,)``.

    ``given`` is of about unit spread, and ``strength`` in units of its variance.
    """
    rows = torch.cat([given, given.new_ones(len(given), 1)], dim=1).double()
    square = rows.T @ rows + strength * len(rows) * torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    line = torch.linalg.solve(square, rows.T @ wanted.double()).to(given.dtype)
    return line[:-1].T, line[-1]


def contrast(logits: Tensor) -> Tensor:
    """Logistic loss of telling the first half of a batch, which was recorded, from the second, which was made up."""
    recorded = torch.arange(len(logits), device=logits.device) < len(logits) // 2
    return functional.binary_cross_entropy_with_logits(logits.float(), recorded.float())


def time_features(steps: Tensor, horizon: int) -> Tensor:
    """``(B,)`` durations in steps -> ``(B, 14)``: linear, logarithmic and sinusoidal in the share of the horizon."""
    share = (steps / horizon).unsqueeze(-1)
    scale = math.pi * 2.0 ** torch.arange(_FREQUENCIES, device=steps.device)
    log = torch.log2(steps.clamp(min=0.5)).unsqueeze(-1) / math.log2(horizon)
    return torch.cat([share, log, torch.sin(share * scale), torch.cos(share * scale)], dim=-1)
