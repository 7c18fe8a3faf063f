"""The ten tasks: where they start, the stages to go through in order, and how people say so.

Every stage leaves a trace that stays visible, so that how far a task has come can be told from what is seen now.
Left and right are the front camera's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.errors import ThalwegError, choices

__all__ = ["ALL_TASKS", "PLACES", "Stage", "Task", "task"]

PLACES = {"left": (0.425, -0.2), "middle": (0.425, 0.0), "right": (0.425, 0.2)}  #: metres, on the table
HEIGHT = 0.02  #: of a cube's centre on the table, metres
STARTS = ((0.34, 0.1), (0.51, -0.1), (0.51, 0.1))  #: about where the red, the blue and the orange cube begin
AROUND = 0.04  #: how far from there they may begin, along either axis, metres


@dataclass(frozen=True)
class Stage:
    """One thing to be done.

    Attributes:
        kind: ``place`` a cube, ``drawer``, ``window`` or ``button``.
        what: index of the cube or button.
        to: a place's name, ``on:N`` for the top of cube N, or ``drawer``; ``open`` or ``closed``; the button's state.
    """

    kind: str
    to: str | int
    what: int = 0


@dataclass(frozen=True)
class Task:
    """One of the ten.

    Attributes:
        number: 1 to 10.
        name: a short one, for tables.
        world: OGBench's environment.
        stages: in order.
        taught: instructions that demonstrations come with.
        held_out: paraphrases that evaluations give, and no demonstration.
        locked: whether the drawer's and the window's buttons begin in the state that locks them.
        begin: places around which cubes begin, by index, where these are not ``STARTS``.
    """

    number: int
    name: str
    world: str
    stages: tuple[Stage, ...]
    taught: tuple[str, ...]
    held_out: tuple[str, ...]
    locked: tuple[bool, bool] = (False, False)
    begin: tuple[tuple[int, str], ...] = ()

    @property
    def limit(self) -> int:
        """Steps that an evaluation allows: 120 a stage, two to four times what the demonstrations take."""
        return 120 * len(self.stages)

    def instruction(self, rng: np.random.Generator, *, held_out: bool) -> str:
        """One way to say it."""
        sayings = self.held_out if held_out else self.taught
        return sayings[rng.integers(len(sayings))]

    def start(self, rng: np.random.Generator, cubes: int) -> np.ndarray:
        """``(cubes, 2)`` where the cubes begin: 8 cm apart from one another, and from every place that is to be filled.

        In the scene that is anywhere on its table; else around places that the tasks of a world share, so that only the
        instruction tells what is to be done.
        """
        if self.world == "scene":
            return rng.uniform((0.3, -0.07), (0.45, 0.18), (cubes, 2))
        begin = dict(self.begin)
        centres = np.array([PLACES[begin[cube]] if cube in begin else STARTS[cube] for cube in range(cubes)])
        free = [PLACES[stage.to] for stage in self.stages if stage.to in PLACES and stage.to not in begin.values()]
        while True:
            places = centres + rng.uniform(-AROUND, AROUND, (cubes, 2))
            others = [[*free, *np.delete(places, cube, axis=0)] for cube in range(cubes)]
            if all(_distance(place, near) > 0.08 for place, near in zip(places, others, strict=True)):
                return places


def _distance(place: np.ndarray, others: Sequence[np.ndarray]) -> float:
    return min((float(np.linalg.norm(place - other)) for other in others), default=np.inf)


OPEN_DRAWER, CLOSE_DRAWER = Stage("drawer", "open"), Stage("drawer", "closed")
OPEN_WINDOW = Stage("window", "open")
PUT_IN = Stage("place", "drawer")
UNLOCK_DRAWER, LOCK_DRAWER = Stage("button", 1, 0), Stage("button", 0, 0)
UNLOCK_WINDOW, LOCK_WINDOW = Stage("button", 1, 1), Stage("button", 0, 1)
RED, BLUE, ORANGE = 0, 1, 2


def _place(cube: int, to: str) -> Stage:
    return Stage("place", to, cube)


ALL_TASKS = (
    Task(
        1,
        "open both",
        "scene",
        (OPEN_DRAWER, OPEN_WINDOW),
        taught=(
            "open the drawer, then open the window",
            "pull the drawer open and slide the window open",
            "first open the drawer and after that the window",
            "the drawer and then the window should be open",
            "open up the drawer, and afterwards the window too",
            "get the drawer open first, then slide open the window",
            "drawer open, window open",
            "pull out the drawer, then push the window open",
        ),
        held_out=(
            "please open up the drawer and the window, in this order",
            "slide open the window once you have opened the drawer",
        ),
    ),
    Task(
        2,
        "cube in drawer",
        "scene",
        (OPEN_DRAWER, PUT_IN, CLOSE_DRAWER),
        taught=(
            "open the drawer, put the cube in it and close it",
            "put the cube into the drawer and shut the drawer",
            "open the drawer, place the cube inside, then close the drawer again",
            "store the cube in the drawer and close it",
            "pull the drawer open, drop the cube inside and close the drawer",
            "the cube goes into the drawer, which is closed afterwards",
            "tidy the cube away into the drawer and shut it",
            "open up the drawer, put the block inside, close it again",
        ),
        held_out=(
            "pull out the drawer, drop the cube inside and push the drawer closed",
            "the cube belongs in the drawer; shut it afterwards",
        ),
    ),
    Task(
        3,
        "cube in drawer, lock",
        "scene",
        (OPEN_DRAWER, PUT_IN, CLOSE_DRAWER, LOCK_DRAWER),
        taught=(
            "open the drawer, put the cube in, close it and press the button to lock it",
            "put the cube into the drawer, shut the drawer and lock it",
            "store the cube in the drawer, close it, then lock the drawer",
            "place the cube inside the drawer, close the drawer and press its button",
            "pull the drawer open, drop the cube inside, close the drawer and lock it with the button",
            "the cube goes into the drawer, which is closed and then locked",
            "tidy the cube away into the drawer, shut it and press the lock button",
            "open up the drawer, put the block inside, close it, then lock it",
        ),
        held_out=(
            "pull out the drawer, drop the cube inside, push it closed and lock it with the button",
            "the cube belongs in the drawer; shut and lock it afterwards",
        ),
    ),
    Task(
        4,
        "unlock, cube in drawer, lock",
        "scene",
        (UNLOCK_DRAWER, OPEN_DRAWER, PUT_IN, CLOSE_DRAWER, LOCK_DRAWER),
        taught=(
            "unlock the drawer, open it, put the cube in, close it and lock it again",
            "press the button to unlock the drawer, put the cube inside, close the drawer and press the button again",
            "unlock and open the drawer, store the cube in it, then close and lock it",
            "the drawer is locked: unlock it, place the cube in it, shut it and lock it",
            "first unlock the drawer, then pull it open, drop the cube inside, close it and lock it",
            "the drawer has to be unlocked, filled with the cube, closed and locked again",
            "press the button so that the drawer opens, tidy the cube away in it, shut it and press once more",
            "unlock the drawer, put the block inside, close the drawer, then lock it",
        ),
        held_out=(
            "release the lock of the drawer, drop the cube inside, push it closed and lock it once more",
            "unlock the drawer first, the cube belongs in there; shut and lock it afterwards",
        ),
        locked=(True, False),
    ),
    Task(
        5,
        "unlock, open window, lock",
        "scene",
        (UNLOCK_WINDOW, OPEN_WINDOW, LOCK_WINDOW),
        taught=(
            "unlock the window, open it and lock it again",
            "press the button to unlock the window, slide it open and press the button again",
            "unlock and open the window, then lock it open",
            "the window is locked: unlock it, open it and lock it",
            "first unlock the window, then push it open and lock it there",
            "the window has to be unlocked, opened and locked again",
            "press the button so that the window opens, slide it and press once more",
            "unlock the window, get it open, then lock it",
        ),
        held_out=(
            "release the lock of the window, slide it open and lock it once more",
            "unlock the window first, then open it up and lock it afterwards",
        ),
        locked=(False, True),
    ),
    Task(
        6,
        "red left, blue right",
        "cube-double",
        (_place(RED, "left"), _place(BLUE, "right")),
        taught=(
            "put the red cube on the left and then the blue cube on the right",
            "move the red cube to the left side, then the blue cube to the right side",
            "red cube to the left, blue cube to the right",
            "first place the red cube at the left, after that the blue one at the right",
            "red block left, blue block right",
            "take the red one to the left, then take the blue one to the right",
            "the red cube belongs on the left and the blue cube on the right",
            "set the red block down on the left side and the blue block on the right side",
        ),
        held_out=(
            "bring the red block to the left and the blue block to the right",
            "the red one goes left, and the blue one goes right afterwards",
        ),
    ),
    Task(
        7,
        "red middle, blue on it",
        "cube-double",
        (_place(RED, "middle"), _place(BLUE, "on:0")),
        taught=(
            "put the red cube in the middle and then the blue cube on top of it",
            "move the red cube to the middle and stack the blue cube on it",
            "red cube to the middle, blue cube on top of the red one",
            "build a tower in the middle: the red cube below, the blue cube above",
            "red block to the centre, blue block on top of it",
            "take the red one to the middle, then stack the blue one on it",
            "the blue cube belongs on top of the red cube, in the centre",
            "set the red block down in the middle and pile the blue block on it",
        ),
        held_out=(
            "bring the red block to the centre and stack the blue block onto it",
            "make a stack of the blue one upon the red one in the middle",
        ),
    ),
    Task(
        8,
        "swap sides",
        "cube-double",
        (_place(RED, "middle"), _place(BLUE, "left"), _place(RED, "right")),
        taught=(
            "swap the two cubes: the red one to the middle, the blue one to the left, then the red one to the right",
            "exchange the places of the red and the blue cube",
            "the cubes should trade places, the red one by way of the middle",
            "swap the red cube on the left with the blue cube on the right",
            "red and blue change places",
            "let the two blocks swap sides",
            "switch the positions of the red block and the blue block",
            "move blue to where red is and red to where blue is",
        ),
        held_out=(
            "let the red and the blue block change sides",
            "switch the cubes around, so that the blue one is left and the red one right",
        ),
        begin=((RED, "left"), (BLUE, "right")),
    ),
    Task(
        9,
        "three in a row",
        "cube-triple",
        (_place(RED, "left"), _place(BLUE, "middle"), _place(ORANGE, "right")),
        taught=(
            "line the cubes up: the red one left, the blue one in the middle, the orange one right",
            "put the red cube on the left, the blue cube in the middle and the orange cube on the right",
            "red cube to the left, blue cube to the middle, orange cube to the right",
            "make a row of red, blue and orange from left to right",
            "red block left, blue block in the centre, orange block right",
            "take the red one to the left, the blue one to the middle, then the orange one to the right",
            "the three cubes belong in a line: red, blue, orange",
            "set the blocks down side by side, red on the left, blue in the middle, orange on the right",
        ),
        held_out=(
            "bring the blocks into a line, red then blue then orange from the left",
            "the red one goes left, the blue one to the centre, and the orange one goes right",
        ),
    ),
    Task(
        10,
        "tower of three",
        "cube-triple",
        (_place(RED, "middle"), _place(BLUE, "on:0"), _place(ORANGE, "on:1")),
        taught=(
            "build a tower in the middle: the red cube below, the blue cube on it, the orange cube on top",
            "put the red cube in the middle, stack the blue cube on it and the orange cube on top",
            "stack all three cubes in the middle, red, blue, orange from below",
            "red cube to the middle, blue cube on the red one, orange cube on the blue one",
            "a stack of three blocks in the centre: red, then blue, then orange",
            "take the red one to the middle, stack the blue one on it and the orange one on that",
            "the orange cube belongs on top of the blue one, and this on top of the red one in the centre",
            "pile the blocks up in the middle, red first, then blue, orange last",
        ),
        held_out=(
            "pile up the blocks at the centre: red at the bottom, then blue, then orange",
            "make a stack of the three with the red one underneath and the orange one uppermost",
        ),
    ),
)


def task(number: int) -> Task:
    """The task of that number.

    Raises:
        ThalwegError: there is none.
    """
    for one in ALL_TASKS:
        if one.number == number:
            return one
    raise ThalwegError(f"there is no long-horizon task {number!r}; choose from {choices(t.number for t in ALL_TASKS)}")
