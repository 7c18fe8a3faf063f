"""What to do first: goals that concern several objects, one move at a time.

Recordings show how one thing is moved, then another; a goal asks for all of them. A *milestone* is the scene as it is,
but for one object, which is where the goal wants it; or elsewhere, where that makes way for another: a cube put aside,
a drawer opened, a lock undone. It is the first move on the cheapest way to the goal, among scenes in which every object
is where it is, where the goal wants it, or where recordings have left it. What a move costs is asked of the model of
moves: one that recordings never make is dear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from thalweg.data.scene import MOVED, PUT, REST, STEPS

__all__ = ["Milestone", "Milestones"]

AGAIN = 0.5  #: an object's distance to its goal counts for so much less after every time that it was put somewhere
THERE = 0.15  #: an object is at its goal when it is displaced from it by no more than this share of its spread
CARRIED = 0.5  #: what moves with another object is displaced by at least this share of its spread
RARE = 4.0  #: what a move costs, beside 1 for every object, for every unit of log-odds by which it is implausible
VAIN = 2.0  #: what a move costs more that has just been tried in vain
PATIENCE = 150  #: steps after which a move that has not come about was tried in vain
WORTH = 0.5  #: a way is as good as another that costs less by so much
MOST = 6  #: objects that ways are looked for among; of more, the farthest from their goals
SCENES = 256  #: scenes that are looked at
STANDS = 8  #: places of one object that are looked at


@dataclass(frozen=True)
class Milestone:
    """What B requests are at.

    Attributes:
        goal: ``(B, S)`` the observation to reach next; the body's coordinates are the final goal's.
        place: ``(B, S)`` an observation in which the objects that it concerns are where they are wanted.
        moved: ``(B, N)`` the objects that it concerns: one, or two that move together.
        fresh: ``(B,)`` whether it was chosen just now.
        puts: ``(B, N)`` how often each of N objects was put somewhere.
        begun: ``(B, S)`` the observation at which it was chosen.
        seen: ``(B, S)`` the present observation.
        rest: ``(B,)`` steps for which no object has moved.
        age: ``(B,)`` steps since it was chosen.
    """

    goal: Tensor
    place: Tensor
    moved: Tensor
    fresh: Tensor
    puts: Tensor
    begun: Tensor
    seen: Tensor
    rest: Tensor
    age: Tensor


class Milestones:
    """Chooses milestones; keeps no state but what a ``Milestone`` holds.

    Args:
        part: ``(N, S)`` True for the coordinates of each of N objects, two or more.
        chosen: ``(N, S)`` True for those of them that say where it is: distances count no others.
        spread: ``(S,)`` of the recorded observations, in the environment's units.
        odds: of scenes ``(V, S)``, from those numbered ``(E,)`` to those ``(E,)`` -> ``(E,)`` log-odds that recordings
            make such a move, below 0 if it is implausible.
        places: ``(M, S)`` recorded scenes, from which places to put things are taken.
    """

    def __init__(
        self,
        part: Tensor,
        chosen: Tensor,
        spread: Tensor,
        odds: Callable[[Tensor, Tensor, Tensor], Tensor],
        places: Tensor,
    ) -> None:
        self.part, self.spread, self.odds, self.places = part, spread, odds, places
        self._chosen = chosen
        self._size = torch.where(chosen, spread.square(), 0.0).sum(dim=1).sqrt().clamp(min=1e-9)

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """``(..., N)`` how far each object is displaced between observations ``(..., S)``, in units of its spread."""
        apart = torch.where(self._chosen, (other - one).square().unsqueeze(-2), 0.0)
        return apart.sum(dim=-1).sqrt() / self._size

    def next(self, present: Tensor, goal: Tensor, previous: Milestone | None, elapsed: int) -> Milestone:
        """The milestones of B requests at ``present (B, S)`` on their way to ``goal (B, S)``.

        A milestone stays until an object has been put somewhere and left there, or for too long; then the next one is
        chosen.

        Args:
            present: the observation now.
            goal: the final goal.
            previous: what each was at, ``elapsed`` environment steps ago; None at the start.
            elapsed: environment steps since then.
        """
        if previous is None:
            fresh = torch.ones(len(present), dtype=torch.bool, device=present.device)
            puts = present.new_zeros(len(present), len(self.part))
            rest = age = torch.zeros_like(puts[:, 0])
            begun = present
            moved, place, vain = torch.zeros_like(puts, dtype=torch.bool), goal.clone(), torch.zeros_like(fresh)
        else:
            scene = self.part.any(dim=0)
            displaced = (present - previous.seen).abs() * (STEPS / max(elapsed, 1)) > MOVED * self.spread
            rest = torch.where((displaced & scene).any(dim=1), 0.0, previous.rest + elapsed)
            put = self.distance(previous.begun, present) > PUT
            done = put.any(dim=1) & (rest >= REST)
            vain = ~done & (previous.age + elapsed >= PATIENCE)
            fresh = done | vain
            age = torch.where(fresh, 0.0, previous.age + elapsed)
            puts = previous.puts + (put & done.unsqueeze(1))
            begun = torch.where(fresh.unsqueeze(1), present, previous.begun)
            moved, place = previous.moved.clone(), previous.place.clone()
        for row in fresh.nonzero()[:, 0].tolist():
            tried = (moved[row], place[row]) if vain[row] else None
            moved[row], place[row] = self._choose(present[row], goal[row], puts[row], tried)
        aim = self._aim(present, goal, place, moved)
        return Milestone(aim, place, moved, fresh, puts, begun, present, rest, age)

    def _aim(self, present: Tensor, goal: Tensor, place: Tensor, moved: Tensor) -> Tensor:
        """``(B, S)``: the goal's body, the present scene, and objects ``moved (B, N)`` where ``place (B, S)`` has them.

        Once such an object is there, what recordings leave as it is, such as how a cube is turned, stays: it cannot be
        had anyway, and towards a goal that is never quite reached a hand does not let go. Not before: nothing that is
        to be moved has ever stayed exactly as it was.
        """
        there = self.distance(present, place) <= PUT
        given = (moved.unsqueeze(2) & torch.where(there.unsqueeze(2), self._chosen, self.part)).any(dim=1)
        scene = torch.where(self.part.any(dim=0), present, goal)
        return torch.where(given, place, scene)

    def _choose(
        self, present: Tensor, goal: Tensor, puts: Tensor, tried: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """Which objects ``(N,)`` to move now, and an observation ``(S,)`` in which they are where they are wanted.

        Of first moves that are about as good, one that brings an object to its goal comes first, the farthest one.
        """
        distance = self.distance(present, goal)
        wish = distance * AGAIN**puts
        if not (distance > THERE).any():
            return torch.arange(len(wish), device=wish.device) == wish.argmax(), goal
        stands = self._stands(present, goal, distance)
        scenes, digits = self._scenes(present, stands)
        source, target = _moves(digits, [self._carried(number, rows) for number, rows in stands.items()])
        moved = torch.zeros(len(source), len(wish), dtype=torch.bool, device=wish.device)
        moved[:, list(stands)] = digits[source] != digits[target]
        cost = self._cost(scenes, source, target, moved.sum(dim=1))
        wanted = (distance[list(stands)] > THERE).long()
        left = _cheapest(cost, source, target, int((digits == wanted).all(dim=1).nonzero()[0]), len(scenes))
        first = (source == 0).nonzero()[:, 0]
        moved, after, digits = moved[first], scenes[target[first]], digits[target[first]]
        whole = cost[first] + left[target[first]]
        if tried is not None:
            again = self.distance(after, tried[1]) <= PUT
            whole = whole + VAIN * (moved & tried[0] & again).any(dim=1)
        direct = ((digits == wanted) | (digits == 0)).all(dim=1)
        good = direct & (whole <= whole.min() + WORTH)
        rank = torch.where(good, -(moved * wish).amax(dim=1), whole + 1.0)  # what is good is below 0
        best = int(rank.argmin())
        return moved[best], after[best]

    def _cost(self, scenes: Tensor, source: Tensor, target: Tensor, count: Tensor) -> Tensor:
        """``(E,)`` of moves among ``scenes (V, S)`` in which ``count (E,)`` objects move: one, or two."""
        odds = self.odds(scenes, source, target).nan_to_num(nan=0.0)
        return (count + RARE * functional.relu(-odds)).masked_fill((count > 1) & (odds < 0), torch.inf)

    def _carried(self, number: int, rows: Tensor) -> Tensor:
        """``(V, V)`` from which to which of an object's places ``(V, S)`` it goes far enough to be carried along."""
        return self.distance(rows.unsqueeze(1), rows)[..., number] >= CARRIED

    def _stands(self, present: Tensor, goal: Tensor, distance: Tensor) -> dict[int, Tensor]:
        """By object ``(V, S)`` scenes in which it is at each of its places: the present, its goal if afar, and others.

        The others are recorded ones, each time the farthest from those that are there, as many as may be looked at.
        """
        considered = distance.argsort(descending=True)[:MOST].tolist()
        rows = {i: [present, goal] if distance[i] > THERE else [present] for i in considered}
        total = 1
        for found in rows.values():
            total *= len(found)
        far = {i: torch.stack([self.distance(row, self.places)[:, i] for row in found]).amin(dim=0)
               for i, found in rows.items()}  # fmt: skip
        while True:
            able = [i for i in considered if far[i].max() > PUT and len(rows[i]) < STANDS
                    and total // len(rows[i]) * (len(rows[i]) + 1) <= SCENES]  # fmt: skip
            if not able:
                return {i: torch.stack(found) for i, found in rows.items()}
            i = max(able, key=lambda i: float(far[i].max()))
            total = total // len(rows[i]) * (len(rows[i]) + 1)
            rows[i].append(self.places[int(far[i].argmax())])
            far[i] = torch.minimum(far[i], self.distance(rows[i][-1], self.places)[:, i])

    def _scenes(self, present: Tensor, stands: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """All scenes ``(V, S)`` that the places make, the present one first, and which ``(V, n)`` place each has."""
        digits = torch.cartesian_prod(*(torch.arange(len(rows), device=present.device) for rows in stands.values()))
        digits = digits.reshape(len(digits), len(stands))
        scenes = present.expand(len(digits), -1)
        for column, (number, rows) in enumerate(stands.items()):
            scenes = torch.where(self.part[number], rows[digits[:, column]], scenes)
        return scenes, digits


def _moves(digits: Tensor, carried: list[Tensor]) -> tuple[Tensor, Tensor]:
    """All pairs of scenes ``(V, n)`` one move apart: their numbers ``(E,)`` and ``(E,)``.

    One object goes to another of its places, or two do if both are ``carried`` from where they are to where they go.
    """
    sizes = [len(one) for one in carried]
    strides = [1] * len(sizes)
    for column in range(len(sizes) - 1, 0, -1):
        strides[column - 1] = strides[column] * sizes[column]
    sources, targets = [], []
    for columns in [*combinations(range(len(sizes)), 1), *combinations(range(len(sizes)), 2)]:
        steps = torch.cartesian_prod(*(torch.arange(sizes[column], device=digits.device) for column in columns))
        moving = torch.ones(steps.shape[0], len(digits), dtype=torch.bool, device=digits.device)
        away = torch.zeros_like(moving, dtype=torch.long)
        for column, there in zip(columns, steps.reshape(len(steps), len(columns)).T, strict=True):
            here = digits[:, column]
            able = carried[column][here][:, there].T if len(columns) > 1 else here != there.unsqueeze(1)
            moving &= able
            away += (there.unsqueeze(1) - here) * strides[column]
        step, source = moving.nonzero().T
        sources.append(source)
        targets.append(source + away[step, source])
    return torch.cat(sources), torch.cat(targets)


def _cheapest(cost: Tensor, source: Tensor, target: Tensor, goal: int, count: int) -> Tensor:
    """``(count,)`` the cost of the cheapest way from every scene to ``goal``, over moves that cost ``(E,)`` each."""
    left = cost.new_full((count,), torch.inf)
    left[goal] = 0.0
    for _ in range(count):
        better = left.scatter_reduce(0, source, cost + left[target], "amin")
        if torch.equal(better, left):
            break
        left = better
    return left
