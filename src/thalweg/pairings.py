"""Objects: their coordinates, how those of one kind lie to one another, and two in one place."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from thalweg.data.scene import Objects

__all__ = ["Pairings", "object_masks"]

CLOSE = 0.3  #: coordinates of two objects are close to one another within about this share of their spread
BESIDE = (-4.0, -0.5)  #: logarithms of how far an object put where another lies is off, in spreads


def object_masks(objects: Objects, size: int) -> Tensor:
    """``(N, size)`` True for the coordinates of each of N objects."""
    masks = torch.zeros(len(objects), size, dtype=torch.bool)
    for row, group in enumerate(objects):
        masks[row, list(group)] = True
    return masks


class Pairings:
    """Pairs of objects that have as many coordinates: two cubes are alike, a cube and a drawer are not."""

    def __init__(self, objects: Objects) -> None:
        groups = [list(group) for group in objects]
        self.alike = [(one, other) for one, other in combinations(groups, 2) if len(one) == len(other)]
        self.features = 2 * sum(len(one) for one, _ in self.alike)

    def relations(self, raw: Tensor, std: Tensor) -> Tensor:
        """Observations ``(B, S)`` in the environment's units, of spread ``(S,)``: ``(B, features)`` differences."""
        apart = [(raw[:, one] - raw[:, other]) / std[one] for one, other in self.alike]
        close = [torch.exp(-0.5 * (gap / CLOSE).square()) for gap in apart]
        return torch.cat([raw[:, :0], *apart, *close], dim=1)

    def together(self, raw: Tensor, std: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
        """Some of an object's coordinates are about those of another of its kind: two things in one place.

        Which ones it takes to be in one place is not known, so a random part is taken. Without a second object of any
        kind everything stays as it is.
        """
        raw, (near, far) = raw.clone(), BESIDE
        off = torch.exp(near + (far - near) * torch.rand(len(raw), 1, generator=generator))
        noise = off * torch.randn(raw.shape, generator=generator) * std
        part = torch.rand(raw.shape, generator=generator) < torch.rand(len(raw), 1, generator=generator)
        which = torch.from_numpy(rng.integers(0, max(1, 2 * len(self.alike)), len(raw))).unsqueeze(1)
        for number, (one, other) in enumerate([*self.alike, *(pair[::-1] for pair in self.alike)]):
            chosen = (which == number) & part[:, one]
            raw[:, one] = torch.where(chosen, raw[:, other] + noise[:, one], raw[:, one])
        return raw
