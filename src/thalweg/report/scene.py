"""Where things are: how an environment's observation tells the positions of its effector and objects.

A track is a linear map from observations to points, so that a hand-written reading of known columns and the
principal components of an unknown observation are the same thing to everything that draws or measures.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from thalweg.envs.longhorizon import is_long_horizon
from thalweg.trace import Trace

__all__ = ["SCENES", "Camera", "Scene", "Track", "scene_of"]


@dataclass(frozen=True)
class Track:
    """One thing that moves: ``point = observation @ matrix + origin``.

    Attributes:
        name: what it is called in legends.
        matrix: ``(S, 3)``.
        origin: ``(3,)``.
    """

    name: str
    matrix: np.ndarray
    origin: np.ndarray

    def __call__(self, observations: np.ndarray) -> np.ndarray:
        """``(..., S)`` observations -> ``(..., 3)`` points in the scene's unit."""
        return observations.astype(np.float64) @ self.matrix + self.origin


@dataclass(frozen=True)
class Camera:
    """A free camera of the simulator: metres and degrees."""

    lookat: tuple[float, float, float]
    distance: float
    azimuth: float
    elevation: float


@dataclass(frozen=True)
class Scene:
    """How to read, measure and draw the observations of a family of environments.

    Attributes:
        family: its name, or ``unknown``.
        effector: what the actions move directly; the whole state where nothing is known.
        objects: what has to arrive at the goal; empty where nothing is known.
        unit: of every point and distance, for labels.
        axes: the three axis labels.
        tolerance: distance from the goal within which an object counts as arrived.
        carried: objects move only in the gripper, so a plan that moves one elsewhere is impossible.
        floor: whether the third axis is height above a floor at 0.
        metres: one unit in metres; None where points are not positions.
        step_seconds: duration of an environment step, or None.
        targets: simulator bodies that mark the goal of each object.
        camera: the view of the videos, or None for the environment's own.
    """

    family: str
    effector: Track
    objects: tuple[Track, ...]
    unit: str
    axes: tuple[str, str, str]
    tolerance: float
    carried: bool = False
    floor: bool = False
    metres: float | None = None
    step_seconds: float | None = None
    targets: tuple[str, ...] = ()
    camera: Camera | None = None

    @property
    def judged(self) -> tuple[Track, ...]:
        """What is compared with the goal: the objects, or the whole state where none are known."""
        return self.objects or (self.effector,)

    def to_goal(self, observations: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """``(..., S)`` observations, ``(S,)`` goal -> ``(...)`` farthest object from its goal."""
        return self.apart(observations, goal, self.judged)

    def apart(self, first: np.ndarray, second: np.ndarray, tracks: tuple[Track, ...]) -> np.ndarray:
        """``(..., S)`` twice -> ``(...)`` the largest distance between the two over ``tracks``."""
        gaps = [np.linalg.norm(track(first) - track(second), axis=-1) for track in tracks]
        return np.max(gaps, axis=0)


# OGBench manipulation: positions are (xyz in metres - centre) * 10; cubes follow 19 proprioceptive values.
_CENTRE_CM = np.array([42.5, 0.0, 0.0])
_CM_PER_VALUE = 10.0
_EFFECTOR, _FIRST_CUBE, _CUBE_SIZE = 12, 19, 9
_COLOURS = ("red", "blue", "orange")  # of the cubes of the long-horizon tasks


def _ogbench_track(name: str, column: int, size: int) -> Track:
    matrix = np.zeros((size, 3))
    matrix[[column, column + 1, column + 2], [0, 1, 2]] = _CM_PER_VALUE
    return Track(name, matrix, _CENTRE_CM)


def _cube_scene(size: int) -> Scene | None:
    count, rest = divmod(size - _FIRST_CUBE, _CUBE_SIZE)
    if count < 1 or rest:
        return None
    names = ["cube"] if count == 1 else [f"cube {number + 1}" for number in range(count)]
    cubes = [_ogbench_track(name, _FIRST_CUBE + _CUBE_SIZE * i, size) for i, name in enumerate(names)]
    return Scene(
        family="cube",
        effector=_ogbench_track("gripper", _EFFECTOR, size),
        objects=tuple(cubes),
        unit="cm",
        axes=("x (cm)", "y (cm)", "height (cm)"),
        tolerance=4.0,  # CubeEnv._compute_successes
        carried=True,
        floor=True,
        metres=0.01,
        step_seconds=0.05,
        targets=tuple(f"object_target_{i}" for i in range(count)),
        camera=Camera(lookat=(0.42, 0.0, 0.13), distance=1.0, azimuth=150.0, elevation=-28.0),
    )


def _long_horizon_scene(trace: Trace) -> Scene:
    """That of cubes, in the layout which the worlds share; those that a world lacks read zero throughout."""
    cubes = _cube_scene(_FIRST_CUBE + _CUBE_SIZE * len(_COLOURS))
    size = trace.observations.shape[1]
    cubes_of = (trace.observations[:, _FIRST_CUBE + _CUBE_SIZE * i :][:, :_CUBE_SIZE] for i in range(len(_COLOURS)))
    there = [i for i, columns in enumerate(cubes_of) if columns.any()]  # none from pixels
    tracks = (_ogbench_track(f"{_COLOURS[i]} cube", _FIRST_CUBE + _CUBE_SIZE * i, size) for i in there)
    effector = _ogbench_track("gripper", _EFFECTOR, size)
    return replace(cubes, family="long-horizon", effector=effector, objects=tuple(tracks), carried=False, targets=())


#: By the first word of an environment's name: observation size S -> scene, or None if S does not fit.
SCENES: dict[str, Callable[[int], Scene | None]] = {"cube": _cube_scene}


def scene_of(environment: str | None, trace: Trace) -> Scene:
    """The scene of an environment; the principal components of ``trace`` where the family is unknown."""
    if is_long_horizon(environment or ""):
        return _long_horizon_scene(trace)
    family = re.sub(r"^visual-", "", environment or "").split("-")[0]
    build = SCENES.get(family)
    scene = build(trace.observations.shape[1]) if build else None
    return scene or _principal_scene(trace)


def _principal_scene(trace: Trace) -> Scene:
    """The three directions in which the episode and its plans vary most, as shares of the way to the goal.

    Coordinates that the planner leaves out have no part in them.
    """
    plans = trace.plan_observations.reshape(-1, trace.plan_observations.shape[-1])
    rows = np.concatenate([trace.observations, plans, trace.goal[None]]).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    mean = rows.mean(axis=0)
    kept = np.ones(rows.shape[1], bool) if trace.kept is None else trace.kept
    _, strength, directions = np.linalg.svd((rows - mean) * kept, full_matrices=False)
    matrix = np.zeros((rows.shape[1], 3))
    found = min(3, len(directions))
    matrix[:, :found] = (directions[:found] * kept).T
    way = np.linalg.norm((trace.goal - trace.observations[0]) @ matrix)
    matrix *= 100.0 / max(way, 1e-9)
    shares = np.zeros(3)
    shares[:found] = (strength**2 / max((strength**2).sum(), 1e-12))[:found]
    return Scene(
        family="unknown",
        effector=Track("state", matrix, -mean @ matrix),
        objects=(),
        unit="% of the way",
        axes=tuple(f"component {i + 1} ({100 * shares[i]:.0f}%)" for i in range(3)),
        tolerance=10.0,
    )
