"""OGBench's manipulation environments and the oracles that recorded its datasets (arXiv 2410.20092)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.errors import ThalwegError, choices

__all__ = [
    "KINDS",
    "TASKS",
    "OracleSettings",
    "environment_id",
    "has_random_tasks",
    "make_env",
    "make_oracles",
    "oracle_settings",
    "random_task",
    "seed_reset",
    "versions",
]

KINDS = ("play", "noisy")
TASKS = (1, 2, 3, 4, 5)  #: the official tasks of every environment

# Episodes of the official default-size training sets; a tenth as many more are recorded for validation.
_EPISODES = {
    "cube-single": 1000,
    "cube-double": 1000,
    "cube-triple": 3000,
    "cube-quadruple": 5000,
    "scene": 1000,
    "puzzle-3x3": 1000,
    "puzzle-4x4": 1000,
    "puzzle-4x5": 3000,
    "puzzle-4x6": 5000,
}

# Chance that a cube is put on another one, drawn anew each episode from this range.
_STACKING = {
    "cube-single": (0.0, 0.0),
    "cube-double": (0.0, 0.25),
    "cube-triple": (0.05, 0.35),
    "cube-quadruple": (0.1, 0.5),
}


_IN_DRAWER = (0.33, -0.356, 0.065986)  # where the official tasks have a cube in the closed drawer

_CUBES = {"cube-single": 1, "cube-double": 2, "cube-triple": 3, "cube-quadruple": 4}


@dataclass(frozen=True)
class OracleSettings:
    """How the official generation records one environment."""

    episodes: int
    steps: int = 1001  #: rows an episode; the last one is terminal
    noise: float = 0.1  #: plan noise (play), or the largest action-noise scale (noisy)
    noise_smoothing: float = 0.5  #: temporal smoothing of plan noise (play)
    min_norm: float = 0.4  #: smallest action norm (noisy)
    random_action: float = 0.0  #: chance that a step takes a random action (noisy)
    stacking: tuple[float, float] = (0.5, 0.5)


def _family(env: str) -> str:
    name = re.sub(r"-v\d+$", "", env).removeprefix("visual-")
    if name not in _EPISODES:
        known = [f"{prefix}{family}" for prefix in ("", "visual-") for family in _EPISODES]
        raise ThalwegError(f"no recording oracle for environment {env!r}; choose one of {choices(known)}")
    return name


def environment_id(env: str) -> str:
    """The Gymnasium id of an environment name: ``cube-single`` -> ``cube-single-v0``."""
    _family(env)
    return env if re.search(r"-v\d+$", env) else f"{env}-v0"


def oracle_settings(env: str, kind: str) -> OracleSettings:
    """The official recording settings of ``env`` for a ``kind`` of data (``play`` or ``noisy``)."""
    if kind not in KINDS:
        raise ThalwegError(f"unknown kind of data {kind!r}; choose one of {choices(KINDS)}")
    family = _family(env)
    random_action = 0.0 if kind == "play" else 0.2 if family.startswith("puzzle") else 0.1
    stacking = _STACKING.get(family, (0.5, 0.5))
    return OracleSettings(episodes=_EPISODES[family], random_action=random_action, stacking=stacking)


def make_env(env: str, **kwargs: Any) -> Any:
    """Make an OGBench environment; needs the ``ogbench`` extra.

    Raises:
        ThalwegError: the extra is not installed, or the environment is unknown.
    """
    name = environment_id(env)
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        import gymnasium
        import ogbench.manipspace  # noqa: F401  (registers the environments)
    except ImportError as error:
        raise ThalwegError(f"{env!r} needs OGBench: pip install 'thalweg[ogbench]' ({error})") from error
    gymnasium.logger.min_level = gymnasium.logger.ERROR  # OGBench's spaces warn of their precision at every access
    made = gymnasium.make(name, **kwargs)
    _keep_action_space(made)
    return made


def _keep_action_space(env: Any) -> None:
    """Give the environment one action space for life, so that it can be seeded.

    OGBench makes a new one at every access, and draws from it while it prepares the goal observation.
    """
    base = env.unwrapped
    base.__class__ = type(type(base).__name__, (type(base),), {"action_space": base.action_space})


def seed_reset(env: Any, seed: int, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Reset with every source of randomness seeded; the same seed gives the same start and goal."""
    np.random.seed(seed % 2**32)  # OGBench draws a task from NumPy's global generator when none is given
    env.unwrapped.action_space.seed(seed)
    return env.reset(seed=seed, options=options or None)


def has_random_tasks(env: str) -> bool:
    """Whether held-out starts and goals can be drawn: for cubes, and for the scene."""
    return _family(env) in (*_CUBES, "scene")


def random_task(env: str, seed: int) -> dict[str, Any]:
    """Held-out starts and goals, drawn where the data's are: for tuning, not for reporting.

    Cubes lie 8 cm or more apart from one another, and every one from its own goal. In the scene two or more of its five
    things are to change, in any state of the locks.
    """
    rng = np.random.default_rng(seed)
    if _family(env) == "scene":
        return _random_scene(rng)
    cubes = _CUBES[_family(env)]
    while True:
        start, goal = rng.uniform([0.3, -0.3], [0.55, 0.3], (2, cubes, 2))
        apart = np.linalg.norm(np.concatenate([_differences(start), _differences(goal), start - goal]), axis=1)
        if apart.min() > 0.08:
            break
    height = np.full((cubes, 1), 0.02)
    return {
        "task_name": "random",
        "init_xyzs": np.hstack([start, height]),
        "goal_xyzs": np.hstack([goal, height]),
    }


def _random_scene(rng: np.random.Generator) -> dict[str, Any]:
    drawers, windows = (0.0, -0.16), (0.0, 0.2)  # closed, open
    while True:
        cube = np.array([[*rng.uniform([0.3, -0.07], [0.45, 0.18]), 0.02]])
        buttons, drawer, window = rng.integers(0, 2, 2), int(rng.integers(2)), int(rng.integers(2))
        change = rng.random(5) < 0.5
        other = np.array([[*rng.uniform([0.3, -0.07], [0.45, 0.18]), 0.02]])
        if change.sum() >= 2 and np.linalg.norm(other - cube) > 0.08:
            break
    end = (drawer ^ int(change[3]), window ^ int(change[4]))
    if end[0] == 0 and rng.random() < 0.3:
        other = np.array([_IN_DRAWER])
    start = {
        "block_xyzs": cube,
        "button_states": buttons,
        "drawer_pos": drawers[drawer],
        "window_pos": windows[window],
    }
    goal = {
        "block_xyzs": other if change[0] else cube,
        "button_states": buttons ^ change[1:3],
        "drawer_pos": drawers[end[0]],
        "window_pos": windows[end[1]],
    }
    return {"task_name": "random", "init": start, "goal": goal}


def _differences(places: np.ndarray) -> np.ndarray:
    """``(N, 2)`` differences of any two of the places."""
    one, other = np.triu_indices(len(places), 1)
    return places[one] - places[other]


def make_oracles(env: Any, kind: str, settings: OracleSettings) -> dict[str, Any]:
    """OGBench's own oracles, keyed by the target they serve (``cube``, ``button``, ``drawer``, ``window``)."""
    from ogbench.manipspace.oracles.markov.button_markov import ButtonMarkovOracle
    from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle
    from ogbench.manipspace.oracles.markov.drawer_markov import DrawerMarkovOracle
    from ogbench.manipspace.oracles.markov.window_markov import WindowMarkovOracle
    from ogbench.manipspace.oracles.plan.button_plan import ButtonPlanOracle
    from ogbench.manipspace.oracles.plan.cube_plan import CubePlanOracle
    from ogbench.manipspace.oracles.plan.drawer_plan import DrawerPlanOracle
    from ogbench.manipspace.oracles.plan.window_plan import WindowPlanOracle

    family = _family(env.spec.id)
    targets = {"cube": ("cube",), "puzzle": ("button",)}.get(
        family.split("-")[0], ("cube", "button", "drawer", "window")
    )
    gripper = {"gripper_always_closed": True} if family.startswith("puzzle") else {}
    if kind == "play":
        classes = {
            "cube": CubePlanOracle,
            "button": ButtonPlanOracle,
            "drawer": DrawerPlanOracle,
            "window": WindowPlanOracle,
        }
        common = {"noise": settings.noise, "noise_smoothing": settings.noise_smoothing}
        return {name: classes[name](env=env, **common, **gripper) for name in targets}
    classes = {
        "cube": CubeMarkovOracle,
        "button": ButtonMarkovOracle,
        "drawer": DrawerMarkovOracle,
        "window": WindowMarkovOracle,
    }
    oracles = {}
    for name in targets:
        patience = {"max_step": 100} if family == "scene" and name == "cube" else {}
        oracles[name] = classes[name](env=env, min_norm=settings.min_norm, **gripper, **patience)
    return oracles


def versions() -> dict[str, str]:
    """The versions that decide what a simulation step does: MuJoCo's, OGBench's and dm_control's."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {name: version(name) for name in ("mujoco", "ogbench", "dm_control")}
    except PackageNotFoundError as error:
        raise ThalwegError(f"{error.name} is not installed: pip install 'thalweg[ogbench]'") from error
