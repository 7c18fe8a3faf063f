"""The recorded course of one episode, read back from its trace file."""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.unpacked import CAMERA
from thalweg.errors import ThalwegError, choices

__all__ = ["Trace", "TraceHead", "load_head", "load_trace"]

# Arrays of the file and their dimensions; equal letters are equal sizes (M decisions, K candidates, ...).
_REQUIRED = {
    "observations": "LS",
    "goal": "S",
    "plan_step": "M",
    "plan_observations": "MFS",
    "offsets": "MF",
    "time_to_reach": "M",
}
_SEARCH = {"selected": "M", "candidate_reach": "MK", "candidate_energy": "MK", "energies": "MTK"}
_OPTIONAL = _SEARCH | {
    "qpos": "Lq",
    "qvel": "Lv",
    "belief": "MH",
    "arrival": "MH",
    "reach_probability": "M",
    "kept": "S",
    "plan_goal": "MS",
    "plan_turns": "M",
    "button_states": "Lb",
    "stage": "L",
    "instruction": "",
    "latents": "MD",
    "plan_latents": "MFD",
}


@dataclass(frozen=True)
class TraceHead:
    """What became of an episode, without its arrays; ``planned`` tells whether there are plans in its file."""

    path: Path
    task: int
    episode: int
    seed: int
    success: bool
    steps: int
    planned: bool = True


@dataclass(frozen=True)
class Trace:
    """One episode of L steps with its M decisions, in the environment's own observations.

    Attributes:
        head: task, episode, seed, success and steps.
        observations: ``(L + 1, S)``.
        goal: ``(S,)`` the goal observation.
        plan_step: ``(M,)`` the environment step of each decision.
        plan_observations: ``(M, F, S)`` the chosen plans, decoded.
        offsets: ``(M, F)`` steps from a decision to each of its plan's tokens.
        time_to_reach: ``(M,)`` of the chosen plans, in steps.
        selected: ``(M,)`` index of the chosen candidate, or None for a planner without candidates.
        candidate_reach: ``(M, K)`` in steps, or None.
        candidate_energy: ``(M, K)`` energies of the final iterates, or None.
        energies: ``(M, T + 1, K)`` energies along refinement, or None.
        qpos: ``(L + 1, nq)`` simulator positions, or None.
        qvel: ``(L + 1, nv)`` simulator velocities, or None.
        belief: ``(M, H)`` over time-to-reach, 1 step first, or None.
        arrival: ``(M, H)`` over the steps until the goal is reached, or None.
        reach_probability: ``(M,)`` of the chosen plans, or None.
        plan_goal: ``(M, S)`` what each plan leads to, where that is not the goal but a milestone, or what the planner
            made of an instruction; else None.
        plan_turns: ``(M,)`` whether that milestone was chosen with this plan; None like ``plan_goal``.
        kept: ``(S,)`` which coordinates the planner plans; it decodes the others to their mean. None means all.
        button_states: ``(L + 1, b)`` what positions do not tell of the simulator's state, or None.
        stage: ``(L + 1,)`` how many of the task's stages were done, or None.
        latents: ``(M, D)`` of the frames at each decision, or None where there are no cameras.
        plan_latents: ``(M, F, D)`` the chosen plans, or None like these.
        cameras: frames ``(L + 1, height, width, 3)`` uint8 by the camera's name; observations are then proprioception.
        instruction: what the robot was told to do, or empty; the goal is then what the planner made of it at last.
    """

    head: TraceHead
    observations: np.ndarray
    goal: np.ndarray
    plan_step: np.ndarray
    plan_observations: np.ndarray
    offsets: np.ndarray
    time_to_reach: np.ndarray
    selected: np.ndarray | None = None
    candidate_reach: np.ndarray | None = None
    candidate_energy: np.ndarray | None = None
    energies: np.ndarray | None = None
    qpos: np.ndarray | None = None
    qvel: np.ndarray | None = None
    belief: np.ndarray | None = None
    arrival: np.ndarray | None = None
    reach_probability: np.ndarray | None = None
    kept: np.ndarray | None = None
    plan_goal: np.ndarray | None = None
    plan_turns: np.ndarray | None = None
    button_states: np.ndarray | None = None
    stage: np.ndarray | None = None
    latents: np.ndarray | None = None
    plan_latents: np.ndarray | None = None
    cameras: dict[str, np.ndarray] = field(default_factory=dict)
    instruction: str = ""

    @property
    def steps(self) -> int:
        """L, the steps that were taken."""
        return len(self.observations) - 1

    @property
    def decisions(self) -> int:
        """M, the number of plans."""
        return len(self.plan_step)

    @cached_property
    def followed(self) -> np.ndarray:
        """``(M,)`` steps for which each plan was followed, until the next one or the end."""
        return np.diff(np.append(self.plan_step, self.steps))

    @cached_property
    def due(self) -> np.ndarray:
        """``(M,)`` the first token at or after each plan's own time to reach, or its last token."""
        early = (self.offsets < self.time_to_reach[:, None]).sum(axis=1)
        return np.minimum(early, self.offsets.shape[1] - 1)

    def thinned(self, apart: int) -> Trace:
        """The same episode, of its decisions those alone that lie ``apart`` steps apart, or turn to a milestone."""
        kept: list[int] = []
        for index, step in enumerate(self.plan_step):
            turns = self.plan_turns is not None and self.plan_turns[index]
            if turns or not kept or step - self.plan_step[kept[-1]] >= apart:
                kept.append(index)
        names = [name for name, letters in (_REQUIRED | _OPTIONAL).items() if letters.startswith("M")]
        arrays = {name: getattr(self, name) for name in names}
        return replace(self, **{name: array[kept] for name, array in arrays.items() if array is not None})

    def aim(self, decision: int) -> np.ndarray:
        """``(S,)`` what a plan leads to: its milestone, or the goal."""
        return self.goal if self.plan_goal is None else self.plan_goal[decision]

    def future(self, decision: int) -> tuple[np.ndarray, np.ndarray]:
        """Steps ``(F + 1,)`` and observations ``(F + 1, S)`` of a plan, the present first at step 0."""
        present = self.observations[self.plan_step[decision]]
        steps = np.append(0, self.offsets[decision])
        return steps, np.concatenate([present[None], self.plan_observations[decision]])

    def planned(self, decision: int, ahead: np.ndarray) -> np.ndarray:
        """``(N, S)`` the plan ``ahead (N,)`` steps after its decision, linear between tokens."""
        steps, rows = self.future(decision)
        ahead = np.clip(ahead, 0, steps[-1])
        after = np.searchsorted(steps, ahead).clip(1, len(steps) - 1)
        share = (ahead - steps[after - 1]) / (steps[after] - steps[after - 1])
        return rows[after - 1] + share[:, None] * (rows[after] - rows[after - 1])


def load_head(path: Path) -> TraceHead:
    """How the episode of a trace file went; reads little else.

    Raises:
        ThalwegError: the file is not a whole trace; the message names it.
    """
    return _head(path, _read(path, ("result",), wished=("plan_step",)))


def load_trace(path: Path) -> Trace:
    """Read and check a trace file.

    Raises:
        ThalwegError: the file is not a whole trace, or its arrays do not fit together; the message names it.
    """
    arrays = _read(path, ("result", *_REQUIRED), wished=tuple(_OPTIONAL), cameras=True)
    head, cameras = _head(path, arrays), arrays.pop("cameras")
    del arrays["result"]
    lost = sorted(_SEARCH.keys() - arrays.keys())
    if 0 < len(lost) < len(_SEARCH):
        raise ThalwegError(f"trace {path} lacks {choices(lost)}; record the episode again")
    _check_shapes(path, arrays)
    for name, frames in cameras.items():
        if frames.ndim != 4 or len(frames) != len(arrays["observations"]):
            raise ThalwegError(
                f"trace {path} is damaged: camera {name!r} has shape {frames.shape}, "
                f"of {len(arrays['observations'])} moments"
            )
    arrays["cameras"] = cameras
    arrays["instruction"] = str(arrays.get("instruction", ""))
    return Trace(head, **arrays)


def _read(path: Path, needed: tuple[str, ...], *, wished: tuple[str, ...], cameras: bool = False) -> dict[str, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in needed if name not in file.files]
            if missing:
                raise ThalwegError(f"trace {path} lacks {choices(missing)}; record the episode again")
            arrays: dict[str, Any] = {name: file[name] for name in (*needed, *wished) if name in file.files}
            if cameras:
                names = [name for name in file.files if name.startswith(CAMERA)]
                arrays["cameras"] = {name.removeprefix(CAMERA): file[name] for name in names}
            return arrays
    except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise ThalwegError(f"trace {path} is damaged ({error}); record the episode again") from error


def _head(path: Path, arrays: dict[str, Any]) -> TraceHead:
    try:
        result = json.loads(str(arrays["result"]))
        return TraceHead(
            path=Path(path),
            task=int(result["task"]),
            episode=int(result["episode"]),
            seed=int(result.get("seed", 0)),
            success=bool(result["success"]),
            steps=int(result["steps"]),
            planned="plan_step" in arrays,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ThalwegError(f"trace {path} is damaged (its result: {error!r}); record the episode again") from error


def _check_shapes(path: Path, arrays: dict[str, np.ndarray]) -> None:
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in arrays.items():
        letters = {**_REQUIRED, **_OPTIONAL}[name]
        if array.ndim != len(letters) or 0 in array.shape:
            raise ThalwegError(f"trace {path} is damaged: {name} has shape {array.shape}, expected ({letters})")
        for letter, size in zip(letters, array.shape, strict=True):
            expected, other = sizes.setdefault(letter, (size, name))
            if size != expected:
                raise ThalwegError(f"trace {path} is damaged: {name} has {letter} = {size}, but {other} has {expected}")
    steps = np.concatenate([[-1], arrays["plan_step"], [len(arrays["observations"])]])
    if (np.diff(steps) <= 0).any():
        raise ThalwegError(f"trace {path} is damaged: plan_step is not increasing within the episode")
