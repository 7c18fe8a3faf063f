"""What to do first: goals that concern several objects, one object at a time.

Recordings show how one thing is moved, then another; a goal asks for all of them. A *milestone* is the scene as it is,
but for one object, which is where the goal wants it; or, where that would be in another's way, where recordings have
left such a thing. Which orders are possible is asked of the goal model: a scene on the way must be one that recordings
lead to. Two cubes in one place are not, nor is the upper one of a stack without the lower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from thalweg.data.scene import MOVED, PUT, REST, STEPS, Objects

__all__ = ["Milestone", "Milestones"]

AGAIN = 0.5  #: an object's distance to its goal counts for so much less after every time that it was put somewhere
CHOSEN = 0.5  #: a coordinate is chosen by recordings where the present foretells less than the rest of its variance
WORTH = 1.0  #: an order is as good as one whose least plausible scene has log-odds higher by so much; a detour is not
MOST = 6  #: objects that orders are looked for among; of more, the farthest from their goals


@dataclass(frozen=True)
class Milestone:
    """What B requests are at.

    Attributes:
        goal: ``(B, S)`` the observation to reach next; the body's coordinates are the final goal's.
        place: ``(B, S)`` an observation in which the object is where it is wanted.
        object: ``(B,)`` index of the object that it concerns.
        fresh: ``(B,)`` whether it was chosen just now.
        puts: ``(B, N)`` how often each of N objects was put somewhere.
        begun: ``(B, S)`` the observation at which it was chosen.
        seen: ``(B, S)`` the present observation.
        rest: ``(B,)`` steps for which no object has moved.
    """

    goal: Tensor
    place: Tensor
    object: Tensor
    fresh: Tensor
    puts: Tensor
    begun: Tensor
    seen: Tensor
    rest: Tensor


class Milestones:
    """Chooses milestones; keeps no state but what a ``Milestone`` holds.

    Args:
        objects: the scene's parts, two or more, as coordinates.
        spread: ``(S,)`` of the recorded observations, in the environment's units.
        free: ``(S,)`` the share of an object's new place that its old one does not foretell, coordinate by coordinate:
            distances count what recordings choose, such as a position, and not what they leave as it is.
        plausibility: ``(N, S)`` observations -> ``(N,)`` log-odds that recordings lead to them.
        places: ``(M, S)`` recorded scenes, from which places to put things aside are taken.
    """

    def __init__(
        self,
        objects: Objects,
        spread: Tensor,
        free: Tensor,
        plausibility: Callable[[Tensor], Tensor],
        places: Tensor,
    ) -> None:
        self.spread, self.plausibility, self.places = spread, plausibility, places
        self.part = torch.zeros(len(objects), len(spread), dtype=torch.bool, device=spread.device)
        for row, group in enumerate(objects):
            self.part[row, list(group)] = True
        chosen = self.part & (free >= CHOSEN)
        self._chosen = torch.where(chosen.any(dim=1, keepdim=True), chosen, self.part)
        self._size = torch.where(self._chosen, spread.square(), 0.0).sum(dim=1).sqrt().clamp(min=1e-9)

    def distance(self, one: Tensor, other: Tensor) -> Tensor:
        """``(..., N)`` how far each object is displaced between observations ``(..., S)``, in units of its spread."""
        apart = torch.where(self._chosen, (other - one).square().unsqueeze(-2), 0.0)
        return apart.sum(dim=-1).sqrt() / self._size

    def next(self, present: Tensor, goal: Tensor, previous: Milestone | None, elapsed: int) -> Milestone:
        """The milestones of B requests at ``present (B, S)`` on their way to ``goal (B, S)``.

        A milestone stays until an object has been put somewhere and left there; then the next one is chosen.

        Args:
            present: the observation now.
            goal: the final goal.
            previous: what each was at, ``elapsed`` environment steps ago; None at the start.
            elapsed: environment steps since then.
        """
        if previous is None:
            fresh = torch.ones(len(present), dtype=torch.bool, device=present.device)
            puts = present.new_zeros(len(present), len(self.part))
            rest, begun = torch.zeros_like(puts[:, 0]), present
            index, place = torch.zeros_like(fresh, dtype=torch.long), goal.clone()
        else:
            scene = self.part.any(dim=0)
            displaced = (present - previous.seen).abs() * (STEPS / max(elapsed, 1)) > MOVED * self.spread
            rest = torch.where((displaced & scene).any(dim=1), 0.0, previous.rest + elapsed)
            put = self.distance(previous.begun, present) > PUT
            fresh = put.any(dim=1) & (rest >= REST)
            puts = previous.puts + (put & fresh.unsqueeze(1))
            begun = torch.where(fresh.unsqueeze(1), present, previous.begun)
            index, place = previous.object.clone(), previous.place.clone()
        for row in fresh.nonzero()[:, 0].tolist():
            index[row], place[row] = self._choose(present[row], goal[row], puts[row])
        return Milestone(self._aim(present, goal, place, index), place, index, fresh, puts, begun, present, rest)

    def _aim(self, present: Tensor, goal: Tensor, place: Tensor, index: Tensor) -> Tensor:
        """``(B, S)``: the goal's body, the present scene, and objects ``index (B,)`` where ``place (B, S)`` has them.

        Once such an object is there, what recordings leave as it is, such as how a cube is turned, stays: it cannot be
        had anyway, and towards a goal that is never quite reached a hand does not let go.
        """
        rows = torch.arange(len(present), device=present.device)
        there = self.distance(present, place)[rows, index] <= PUT
        given = torch.where(there.unsqueeze(1), self._chosen[index], self.part[index])
        scene = torch.where(self.part.any(dim=0), present, goal)
        return torch.where(given, place, scene)

    def _choose(self, present: Tensor, goal: Tensor, puts: Tensor) -> tuple[int, Tensor]:
        """Which object to move now, and an observation ``(S,)`` in which it is where it is wanted."""
        distance = self.distance(present, goal)
        wish = distance * AGAIN**puts
        moved = [i for i in wish.argsort(descending=True).tolist() if distance[i] > MOVED][:MOST]
        if len(moved) < 2:
            return int(wish.argmax()), goal
        direct = self._ways(present.unsqueeze(0), goal, moved)[0]
        best = float(direct.max())
        good = [i for i, value in zip(moved, direct.tolist(), strict=True) if value >= best - WORTH]
        first, place = (good or moved)[0], goal  # none is where numbers are not finite
        best += WORTH
        for i in moved:  # put something aside, where that opens a much better way
            aside = torch.where(self.part[i], self.places, present)
            through = torch.minimum(self.plausibility(aside), self._ways(aside, goal, moved).amax(dim=1))
            if float(through.max()) > best:
                best, first = float(through.max()), i
                there, back = self.distance(present, aside)[:, i], self.distance(aside, goal)[:, i]
                usual = (through >= best - WORTH) & (torch.minimum(there, back) >= 1.0)
                detour = torch.where(usual, there + back, torch.inf) if usual.any() else -through
                place = self.places[int(detour.argmin())]
        return first, place

    def _ways(self, starts: Tensor, goal: Tensor, moved: list[int]) -> Tensor:
        """``(M, N)`` how possible it is to begin with each of the N objects ``moved``, from M scenes ``(M, S)``.

        That is the plausibility of the least plausible scene on the way to ``goal (S,)``, by the best order to go on.
        """
        count = len(moved)
        sets = torch.arange(2**count, device=goal.device)
        inside = sets.unsqueeze(1) >> torch.arange(count, device=goal.device) & 1
        at_goal = (inside.unsqueeze(-1) * self.part[moved]).any(dim=1)
        scenes = torch.where(at_goal.unsqueeze(0), goal, starts.unsqueeze(1))
        value = self.plausibility(scenes.flatten(0, 1)).unflatten(0, (len(starts), -1))
        value[:, -1] = torch.inf  # the goal itself is what was asked for
        for number in range(2**count - 2, 0, -1):
            onward = [number | 1 << i for i in range(count) if not number >> i & 1]
            value[:, number] = torch.minimum(value[:, number], value[:, onward].amax(dim=1))
        return value[:, [1 << i for i in range(count)]]
