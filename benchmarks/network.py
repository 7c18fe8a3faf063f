"""The peers' network: a residual MLP of PaD's own blocks, made as large as it is asked to be."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from thalweg.nets import GatedBlock

__all__ = ["ResidualMLP", "count", "sized"]

_WIDTHS = range(32, 2049, 8)


class ResidualMLP(nn.Module):
    """``(B, inputs)`` -> ``(B, outputs)`` through ``depth`` gated blocks."""

    def __init__(self, inputs: int, outputs: int, width: int, *, depth: int = 4) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(GatedBlock(width) for _ in range(depth)), nn.RMSNorm(width))
        self.leave = nn.Linear(width, outputs)

    def forward(self, values: Tensor) -> Tensor:
        return self.leave(self.blocks(self.enter(values)))


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def sized(inputs: int, outputs: int, parameters: int) -> ResidualMLP:
    """The network whose width brings it nearest to that many ``parameters``; its weights are random."""

    def distance(width: int) -> int:
        with torch.device("meta"):
            return abs(count(ResidualMLP(inputs, outputs, width)) - parameters)

    return ResidualMLP(inputs, outputs, min(_WIDTHS, key=distance)).requires_grad_(False)
