"""The peers' networks, as large as they are asked to be: a residual MLP of PaD's own blocks, and a temporal U-Net."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.nets import GatedBlock

__all__ = ["ResidualMLP", "TemporalUNet", "count", "sized"]

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


class TemporalUNet(nn.Module):
    """``(B, tokens, inputs)`` under ``(B, condition)`` -> ``(B, tokens, inputs)``, by convolutions in time.

    As Diffuser has it: two residual blocks a level, of two convolutions over 5 tokens each; channels double, and time
    halves, from one level to the next; what goes down is given to what comes up.
    """

    def __init__(self, inputs: int, condition: int, width: int, *, levels: int = 3) -> None:
        super().__init__()
        sizes = [inputs, *(width * 2**level for level in range(levels))]
        self.down = nn.ModuleList(_Level(a, b, condition) for a, b in itertools.pairwise(sizes))
        self.middle = _Level(sizes[-1], sizes[-1], condition)
        ups = list(zip(sizes[:1:-1], sizes[-2:0:-1], strict=True))
        self.up = nn.ModuleList(_Level(2 * a, b, condition) for a, b in ups)
        self.shrink = nn.ModuleList(nn.Conv1d(size, size, 3, stride=2, padding=1) for size in sizes[1:-1])
        self.grow = nn.ModuleList(nn.ConvTranspose1d(b, b, 4, stride=2, padding=1) for _, b in ups)
        self.leave = nn.Conv1d(width, inputs, 1)

    def forward(self, plan: Tensor, condition: Tensor) -> Tensor:
        tokens, step = plan.shape[1], 2 ** len(self.shrink)
        hidden = functional.pad(plan.transpose(1, 2), (0, -tokens % step))
        kept = []
        for level, shrink in zip(self.down, [*self.shrink, None], strict=True):
            hidden = level(hidden, condition)
            kept.append(hidden)
            hidden = hidden if shrink is None else shrink(hidden)
        hidden = self.middle(hidden, condition)
        for level, grow in zip(self.up, self.grow, strict=True):
            hidden = grow(level(torch.cat([hidden, kept.pop()], dim=1), condition))
        return self.leave(hidden)[:, :, :tokens].transpose(1, 2)


class _Level(nn.Module):
    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(inputs, outputs, condition), _Block(outputs, outputs, condition)])

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            hidden = block(hidden, condition)
        return hidden


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, condition: int) -> None:
        super().__init__()
        self.first, self.second = _convolve(inputs, outputs), _convolve(outputs, outputs)
        self.tell = nn.Linear(condition, outputs)
        self.skip = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        told = self.first(hidden) + self.tell(condition).unsqueeze(-1)
        return self.second(told) + self.skip(hidden)


def _convolve(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(inputs, outputs, 5, padding=2), nn.GroupNorm(8, outputs), nn.Mish())


def count(module: nn.Module) -> int:
    """Parameters of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def sized(make: Callable[[int], nn.Module], parameters: int) -> nn.Module:
    """What is made of the width that brings it nearest to that many ``parameters``; its weights are random."""

    def distance(width: int) -> int:
        with torch.device("meta"):
            return abs(count(make(width)) - parameters)

    return make(min(_WIDTHS, key=distance)).requires_grad_(False)
