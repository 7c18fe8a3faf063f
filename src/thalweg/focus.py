"""What a plan moves next, of several objects of a kind: a policy is told of it as if it were the only one.

Told of three cubes, a network has to learn to grasp each of them by itself, from the demonstrations that grasp it. A
plan says which one is next; told of that one, wherever it comes in the order of things, it learns from all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.angles import ORDERS
from thalweg.data.scene import MOVED, STEPS, Objects
from thalweg.data.store import EpisodeStore
from thalweg.grips import Grip, Turn, distances, turned

__all__ = ["Focus", "Kind", "NextMoves", "find_kinds", "find_next_moves"]

HELD = 8  #: rows after which the hand has let go of what it moved
FAR = 0.5  #: a subgoal displaces an object where it is so far off, as a share of the spread of what grips it


@dataclass(frozen=True)
class Kind:
    """Several objects of as many coordinates, which are gripped and turned alike: each one's grips and turns."""

    objects: Objects
    grips: list[list[Grip]]
    turns: list[list[Turn]]

    @property
    def places(self) -> Objects:
        """Coordinates that say where each object is: those that are gripped."""
        return tuple(tuple(grip.thing for grip in one) for one in self.grips)

    @property
    def count(self) -> int:
        """Features that are told of one of them."""
        return 5 * len(self.grips[0]) + 2 * len(ORDERS) * len(self.turns[0]) + len(self.grips) + 1


def find_kinds(objects: Objects, grips: tuple[Grip, ...], turns: tuple[Turn, ...]) -> list[Kind]:
    """Every kind of which there are several among a scene's objects.

    Args:
        objects: the scene's.
        grips: how the body goes with their coordinates. Objects of a kind are of as many coordinates; what is told of
            them is what all of them have.
        turns: the body's angles with theirs.
    """
    alike: dict[int, Objects] = {}
    for group in objects:
        alike[len(group)] = (*alike.get(len(group), ()), group)
    kinds = []
    for groups in alike.values():
        gripped = _shared([{group.index(g.thing): g for g in grips if g.thing in group} for group in groups])
        angles = _shared([{group.index(t[2]): t for t in turns if t[2] in group} for group in groups])
        if len(groups) > 1 and gripped[0]:
            kinds.append(Kind(groups, gripped, angles))
    return kinds


def _shared(found: list[dict[int, tuple]]) -> list[list]:
    """What every object has, by its place among the object's coordinates."""
    places = sorted(set.intersection(*map(set, found)))
    return [[one[place] for place in places] for one in found]


class _Look(nn.Module):
    """A look at one object of a kind."""

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        for name in ("body", "thing", "slope", "shift", "spread"):
            values = torch.tensor([[getattr(grip, name) for grip in one] for one in kind.grips])
            self.register_buffer(name, values, persistent=False)
        columns = torch.tensor(kind.turns, dtype=torch.long).reshape(len(kind.grips), -1, 4)
        self.register_buffer("turns", columns, persistent=False)

    def forward(self, present: Tensor, plan: Tensor, which: Tensor) -> Tensor:
        """As ``Focus.forward``, of these objects ``which (B,)``; all zero where it is none of them."""
        unit, known = self.spread.mean(dim=0), (which >= 0) & (which < len(self.body))
        which, rows = which.clamp(0, len(self.body) - 1), torch.arange(len(present), device=present.device)
        thing, body = self.thing[which], self.body[which]
        here, held = present.gather(1, thing), present.gather(1, body)
        gone = (plan.gather(2, thing.unsqueeze(1).expand(-1, plan.shape[1], -1)) - here.unsqueeze(1)) / unit
        away = gone.norm(dim=2) > FAR
        away[:, -1] = True
        told = [
            distances(held, here, self.slope[which], self.shift[which], self.spread[which]),
            here / unit,
            gone[rows, away.byte().argmax(dim=1)],
            gone[:, -1],
            turned(*(present.gather(1, column) for column in self.turns[which].unbind(2))),
            functional.one_hot(which, len(self.body)).to(here.dtype),
            torch.ones_like(here[:, :1]),
        ]
        return torch.cat(told, dim=1) * known.unsqueeze(1)


class Focus(nn.Module):
    """Features of the object that a plan moves next, if it is one of several of a kind.

    Args:
        kinds: of which there are several objects.
    """

    def __init__(self, kinds: list[Kind]) -> None:
        super().__init__()
        self.looks = nn.ModuleList(_Look(kind) for kind in kinds)

    def forward(self, present: Tensor, plan: Tensor, which: Tensor) -> Tensor:
        """Look at one object.

        Args:
            present: ``(B, S)`` in the environment's units.
            plan: ``(B, n + 1, S)`` likewise, near to far.
            which: ``(B,)`` of the objects, kind by kind; as many as they are where it is none.

        Returns:
            ``(B, C)``: of each kind the distances from that object's grips, coarse and fine; where it is; how far the
            nearest subgoal that displaces it moves it, and the goal; cosines and sines of 1, 2 and 4 times its angles
            with the body; which one it is; and a one. All zero of the kinds that it is not of.
        """
        told = [present[:, :0]]
        for look in self.looks:
            told.append(look(present, plan, which))
            which = which - len(look.body)
        return torch.cat(told, dim=1)


@dataclass(frozen=True)
class NextMoves:
    """Of every row of a store which object moves next in its episode: ``which (rows,)``, from row ``begins (rows,)``.

    Where none does, ``which`` is the number of objects. An object that has just been moved still counts: the hand has
    yet to let go of it.
    """

    begins: np.ndarray
    which: np.ndarray
    objects: int

    def before(self, rows: np.ndarray, goals: np.ndarray) -> Tensor:
        """``(B,)`` the object that moves next after each of ``rows (B,)``, if before the row of its goal."""
        return torch.from_numpy(np.where(self.begins[rows] <= goals, self.which[rows], self.objects))


def find_next_moves(store: EpisodeStore, objects: Objects) -> NextMoves:
    """Look for it in the recordings: an object, given by its coordinates, moves while one of them is displaced."""
    sample = np.random.default_rng(0).integers(0, store.rows, min(store.rows, 20_000))
    spread = np.maximum(store.observations[sample].std(axis=0), 1e-6)
    begins, which = np.full(store.rows, store.rows), np.full(store.rows, len(objects))
    for start, end in zip(store.starts, store.ends, strict=True) if objects else ():
        rows, here = store.observations[start:end], np.arange(end - start)
        displaced = np.abs(rows[np.minimum(here + STEPS, len(rows) - 1)] - rows) / spread
        speeds = np.stack([displaced[:, list(group)].max(axis=1) for group in objects], axis=1)
        moving, fastest = speeds.max(axis=1) > MOVED, speeds.argmax(axis=1)
        before = np.maximum.accumulate(np.where(moving, here, -len(rows)))
        after = np.minimum.accumulate(np.where(moving, here, 2 * len(rows))[::-1])[::-1]
        at = np.where(here - before <= HELD, before, after)
        some = at < len(rows)
        begins[start:end][some] = start + np.maximum(at, here)[some]
        which[start:end][some] = fastest[at[some]]
    return NextMoves(begins, which, len(objects))
