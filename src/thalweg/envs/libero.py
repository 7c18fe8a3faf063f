"""LIBERO-LONG (libero_10, arXiv 2306.03310) as a Gymnasium environment, on the ``hf-libero`` package.

Its protocol is the LBP paper's: ten tasks in words, 600 steps each, begun from the benchmark's own initial states.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import gymnasium
import numpy as np

from thalweg.envs.libero_conventions import (
    ACTIONS,
    CAMERAS,
    NO_OP,
    PROPRIOCEPTION,
    SETTLE,
    TASKS,
    axis_angle,
    proprioception,
    task_number,
    upright,
)
from thalweg.errors import ThalwegError, choices
from thalweg.files import write_atomically

__all__ = ["LIMIT", "LiberoLong", "Task", "configure", "libero_tasks"]

LIMIT = 600  #: steps of an episode

_SUITE = "libero_10"
_FRAMES = {"agentview": "agentview_image", "wrist": "robot0_eye_in_hand_image"}
_MUJOCO = (3, 4)  # from here on boxes collide otherwise, and some initial states no longer come to rest


@dataclass(frozen=True)
class Task:
    """One of the ten tasks.

    Attributes:
        number: 1 to 10.
        instruction: what is to be done.
        scene: its BDDL file.
        states: the file of its initial states.
    """

    number: int
    instruction: str
    scene: Path
    states: Path


class LiberoLong(gymnasium.Env):
    """One of ten tasks after another: ``info["instruction"]`` after reset, ``info["success"]`` after a step.

    Observations are ``proprioception (8,)`` float32, and ``agentview`` and ``wrist``, ``(size, size, 3)`` uint8; they
    and the actions are what ``thalweg.envs.libero_conventions`` says.
    """

    def __init__(self, *, size: int = 128, limit: int = LIMIT) -> None:
        self._tasks = {task.number: task for task in libero_tasks()}
        body = gymnasium.spaces.Box(-np.inf, np.inf, (PROPRIOCEPTION,), np.float32)
        frames = {name: gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8) for name in CAMERAS}
        self.observation_space = gymnasium.spaces.Dict({"proprioception": body, **frames})
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)
        self._size, self._limit = size, limit
        self._task: Task | None = None
        self._world: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start ``options["task_id"]``, by default task 1, from its initial state number ``seed``, counted in a circle.

        The evaluation's seeds count the episodes, so that episode k begins with state k. The seed also decides where
        furniture stands within its few millimetres, which no initial state tells.

        Args:
            seed: by default 0.
            options: ``task_id``; to replay a demonstration also ``state``, the simulator's own, flattened; ``model``,
                the MJCF that tells where furniture stood; and ``settle``, how many steps nothing is done.

        Raises:
            ThalwegError: there is no such task, the state is of another scene, or LIBERO's assets are missing.
        """
        super().reset(seed=seed)
        seed, options = seed or 0, options or {}
        self._enter(options.get("task_id", TASKS[0]))
        self._world.seed(seed % 2**32)
        self._world.reset()
        if options.get("model"):
            _place_furniture(self._world.sim.model, options["model"])
        state = options.get("state")
        if state is None:
            state = self._states[seed % len(self._states)]
        here = len(self._world.get_sim_state())
        if len(state) != here:
            raise ThalwegError(f"the state has {len(state)} values, task {self._task.number}'s simulator has {here}")
        raw = self._world.set_init_state(np.asarray(state))
        for _ in range(options.get("settle", SETTLE)):
            raw = self._world.step(np.array(NO_OP))[0]
        self._steps = 0
        return self._observe(raw), {"instruction": self._task.instruction}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Move; ``info["success"]`` tells whether the task is done at this step.

        Raises:
            ThalwegError: the action is not ``(7,)`` finite numbers, or nothing was reset yet.
        """
        if self._world is None:
            raise ThalwegError("step before reset; reset the environment to a task first")
        action = np.asarray(action, np.float64)
        if action.shape != (ACTIONS,) or not np.isfinite(action).all():
            raise ThalwegError(f"an action of LIBERO has {ACTIONS} finite values, got {action.tolist()}")
        raw, _, _, _ = self._world.step(np.clip(action, -1.0, 1.0))
        success = bool(self._world.check_success())
        self._steps += 1
        return self._observe(raw), float(success), success, self._steps >= self._limit, {"success": success}

    def close(self) -> None:
        """Let go of the simulator and its graphics memory."""
        if self._world is not None:
            self._world.close()
        self._world = self._task = None

    def _enter(self, number: int) -> None:
        if number not in self._tasks:
            raise ThalwegError(f"LIBERO-LONG has no task {number!r}; choose from {choices(self._tasks)}")
        if self._task is not None and self._task.number == number:
            return
        self.close()
        task = self._tasks[number]
        self._states = _initial_states(task.states)
        self._world, self._convention = _simulator(task, self._size)
        self._task = task

    def _observe(self, raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        rotation = axis_angle(raw["robot0_eef_quat"])
        body = proprioception(raw["robot0_eef_pos"], rotation, raw["robot0_gripper_qpos"])
        frames = {name: np.ascontiguousarray(upright(raw[key], self._convention)) for name, key in _FRAMES.items()}
        return {"proprioception": body, **frames}


def libero_tasks() -> tuple[Task, ...]:
    """The ten tasks as the installed package has them; needs the ``libero`` extra, but no assets.

    Raises:
        ThalwegError: LIBERO is not installed, MuJoCo is too new for it, or its files are not where its own
            configuration says.
    """
    configure()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it tells the order of its tasks
            from libero.libero import benchmark, get_libero_path

            suite = benchmark.get_benchmark(_SUITE)()
        scenes, states = (Path(get_libero_path(key)) for key in ("bddl_files", "init_states"))
    except ImportError as error:
        raise ThalwegError(f"LIBERO-LONG needs LIBERO: pip install 'thalweg[libero]' ({error})") from error
    except (OSError, AssertionError) as error:
        raise ThalwegError(
            f"LIBERO's configuration cannot be read ({error}); remove it, and it is made anew"
        ) from error
    tasks = []
    for task in suite.tasks:
        folder = task.problem_folder
        paths = scenes / folder / task.bddl_file, states / folder / task.init_states_file
        for path in paths:
            if not path.is_file():
                raise ThalwegError(
                    f"{path} is missing: correct LIBERO's config.yaml, or remove it to have it made anew"
                )
        tasks.append(Task(task_number(task.language), task.language, *paths))
    return tuple(sorted(tasks, key=lambda task: task.number))


def configure() -> None:
    """Check MuJoCo, and see to it that importing LIBERO asks nothing.

    Without a ``config.yaml``, in ``LIBERO_CONFIG_PATH`` or ``~/.libero``, it asks on standard input where data are. One
    that is there stays; else one is written, into ``LIBERO_CONFIG_PATH`` where that is set, or into a folder of
    Thalweg's own that this process then names as such.

    Raises:
        ThalwegError: LIBERO is not installed, or MuJoCo is too new for it.
    """
    try:
        spec = find_spec("libero.libero")
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise ThalwegError("LIBERO-LONG needs LIBERO: pip install 'thalweg[libero]'")
    try:
        found = version("mujoco")
    except PackageNotFoundError as error:
        raise ThalwegError(f"LIBERO needs MuJoCo ({error}): pip install 'thalweg[libero]'") from error
    if tuple(int(part) for part in found.split(".")[:2]) >= _MUJOCO:
        raise ThalwegError(
            f"LIBERO's scenes come to rest otherwise in MuJoCo {found} than where its initial states were recorded; "
            "pip install 'mujoco>=3.1,<3.4', or <3.3.3 for floors as bright as in the demonstrations"
        )
    if "libero.libero" in sys.modules:
        return
    named = os.environ.get("LIBERO_CONFIG_PATH")
    if (Path(named or Path.home() / ".libero") / "config.yaml").exists():
        return
    root = Path(spec.origin).parent
    folder = Path(named) if named else _own_folder(root)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"benchmark_root": root, "bddl_files": root / "bddl_files", "init_states": root / "init_files"}
    paths |= {"datasets": root.parent / "datasets", "assets": root / "assets"}
    text = json.dumps({key: str(path) for key, path in paths.items()}, indent=1)  # JSON is YAML
    write_atomically(folder / "config.yaml", text + "\n")
    os.environ["LIBERO_CONFIG_PATH"] = str(folder)


def _own_folder(root: Path) -> Path:
    """One for each place where LIBERO is installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return cache / "thalweg" / "libero" / hashlib.sha256(str(root).encode()).hexdigest()[:16]


def _simulator(task: Task, size: int) -> tuple[Any, str]:
    """LIBERO's own environment of a task, and robosuite's convention of its frames."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    try:
        from libero.libero.envs import OffScreenRenderEnv
        from robosuite import macros
    except ImportError as error:
        raise ThalwegError(f"LIBERO-LONG needs LIBERO: pip install 'thalweg[libero]' ({error})") from error
    try:
        world = OffScreenRenderEnv(
            bddl_file_name=str(task.scene), camera_heights=size, camera_widths=size, ignore_done=True
        )
    except FileNotFoundError as error:
        raise ThalwegError(
            f"LIBERO's assets are missing ({error.filename}); with huggingface_hub installed and a connection, LIBERO "
            "downloads them itself (lerobot/libero-assets), else put them there"
        ) from error
    return world, macros.IMAGE_CONVENTION


def _initial_states(path: Path) -> np.ndarray:
    """``(50, M)`` simulator states; only arrays are unpickled."""
    import torch

    rebuild = np.empty(0).__reduce__()[0]
    kinds = [(rebuild, "numpy.core.multiarray._reconstruct"), np.ndarray, np.dtype, type(np.dtype(np.float64))]
    try:
        with torch.serialization.safe_globals(kinds):
            return np.atleast_2d(torch.load(path, weights_only=True))
    except Exception as error:  # zip, pickle and torch raise a dozen types on damaged bytes
        raise ThalwegError(f"{path} holds no initial states, or is damaged ({error})") from error


def _place_furniture(model: Any, recorded: str) -> None:
    """Put what stands on the floor where a demonstration's MJCF says; a free body's place is in the state instead."""
    try:
        bodies = ElementTree.fromstring(recorded).find("worldbody").findall("body")
    except (ElementTree.ParseError, AttributeError) as error:
        raise ThalwegError(f"the demonstration's model is no MJCF ({error})") from error
    known = set(model.body_names)
    for body in (body for body in bodies if body.get("name") in known):
        index = model.body_name2id(body.get("name"))
        model.body_pos[index] = [float(value) for value in body.get("pos", "0 0 0").split()]
        model.body_quat[index] = [float(value) for value in body.get("quat", "1 0 0 0").split()]
