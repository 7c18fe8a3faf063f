"""What a plan moves next, of several objects of a kind: a policy is told of it as if it were the only one.

Told of three cubes, a network has to learn to grasp each of them by itself, from the demonstrations that grasp it. A
plan says which one is next; told of that one, wherever it comes in the order of things, it learns from all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.angles import ORDERS
from thalweg.data.scene import Objects
from thalweg.grips import Grip, Turn, distances, turned

__all__ = ["Focus", "count_focus"]

MOVES = 0.5  #: a plan moves an object that it displaces by more than this share of the spread of what grips it


class _Kind(nn.Module):
    """Objects of as many coordinates, which are gripped and turned alike.

    Args:
        grips: of every object, in the same order.
        turns: likewise.
    """

    def __init__(self, grips: list[list[Grip]], turns: list[list[Turn]]) -> None:
        super().__init__()
        for name in ("body", "thing", "slope", "shift", "spread"):
            values = torch.tensor([[getattr(grip, name) for grip in one] for one in grips])
            self.register_buffer(name, values, persistent=False)
        columns = torch.tensor(turns, dtype=torch.long).reshape(len(grips), -1, 4)
        self.register_buffer("turns", columns, persistent=False)

    def forward(self, present: Tensor, plan: Tensor) -> Tensor:
        """See ``Focus.forward``."""
        unit, rows = self.spread.mean(dim=0), torch.arange(len(present), device=present.device)
        gone = (plan[:, :, self.thing] - present[:, self.thing].unsqueeze(1)) / unit  # (B, P, objects, grips)
        far = gone.norm(dim=3)
        moves = far.amax(dim=2) > MOVES
        first = moves.byte().argmax(dim=1)
        which = far[rows, first].argmax(dim=1)
        here, held = present.gather(1, self.thing[which]), present.gather(1, self.body[which])
        told = [
            distances(held, here, self.slope[which], self.shift[which], self.spread[which]),
            here / unit,
            gone[rows, first, which],
            gone[rows, -1, which],
            turned(*(present.gather(1, column) for column in self.turns[which].unbind(2))),
            functional.one_hot(which, len(self.body)).to(here.dtype),
            torch.ones_like(here[:, :1]),
        ]
        return torch.cat(told, dim=1) * moves.any(dim=1, keepdim=True)


class Focus(nn.Module):
    """Features of the objects that a plan moves next, one of each kind that has several.

    Args:
        objects: the scene's.
        grips: how the body goes with their coordinates. Objects of a kind are of as many coordinates; what is told of
            them is what all of them have.
        turns: the body's angles with theirs.

    Attributes:
        count: C, how many features there are.
    """

    def __init__(self, objects: Objects, grips: tuple[Grip, ...], turns: tuple[Turn, ...]) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(_Kind(*kind) for kind in _find_kinds(objects, grips, turns))
        self.count = count_focus(objects, grips, turns)

    def forward(self, present: Tensor, plan: Tensor) -> Tensor:
        """Look for what moves next: what the nearest subgoal displaces farthest, of those that displace anything.

        Args:
            present: ``(B, S)`` in the environment's units.
            plan: ``(B, n + 1, S)`` likewise, near to far.

        Returns:
            ``(B, C)``: of each kind the distances from that object's grips, coarse and fine; where it is; how far the
            subgoal moves it, and the goal; cosines and sines of 1, 2 and 4 times its angles with the body; which one
            it is; and a one. All zero where the plan moves none.
        """
        return torch.cat([present[:, :0], *(kind(present, plan) for kind in self.kinds)], dim=1)


def count_focus(objects: Objects, grips: tuple[Grip, ...], turns: tuple[Turn, ...]) -> int:
    """How many features a ``Focus`` on them has."""
    kinds = _find_kinds(objects, grips, turns)
    return sum(5 * len(gripped[0]) + 2 * len(ORDERS) * len(angles[0]) + len(gripped) + 1 for gripped, angles in kinds)


def _find_kinds(
    objects: Objects, grips: tuple[Grip, ...], turns: tuple[Turn, ...]
) -> list[tuple[list[list[Grip]], list[list[Turn]]]]:
    """Of every kind that has several objects, each one's grips and turns."""
    alike: dict[int, Objects] = {}
    for group in objects:
        alike[len(group)] = (*alike.get(len(group), ()), group)
    kinds = []
    for groups in alike.values():
        gripped = _shared([{group.index(g.thing): g for g in grips if g.thing in group} for group in groups])
        angles = _shared([{group.index(t[2]): t for t in turns if t[2] in group} for group in groups])
        if len(groups) > 1 and gripped[0]:
            kinds.append((gripped, angles))
    return kinds


def _shared(found: list[dict[int, tuple]]) -> list[list]:
    """What every object has, by its place among the object's coordinates."""
    places = sorted(set.intersection(*map(set, found)))
    return [[one[place] for place in places] for one in found]
