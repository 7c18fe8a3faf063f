"""How LIBERO's simulator and the recordings of it write the same things down, and the one form all are brought to.

Frames
    MuJoCo's frame buffer begins with the bottom row, and robosuite hands it on like that (``opengl``); so are the HDF5
    demonstrations, LIBERO's and OpenVLA's. The paper's code and every LeRobot copy turn these by 180 degrees, which
    sets them upright and swaps left and right: the scene as in a mirror. That is the form kept here (``lerobot``).
    ``opencv`` frames begin with the top row and are not mirrored yet.
Actions
    ``(7,)``: change of the hand's position and of its rotation, in the base frame, and the gripper, each in [-1, 1].
    1 asks robosuite's OSC_POSE for 5 cm, or 0.5 rad, in a step of 1/20 s. The gripper opens at -1 and closes at 1.
Proprioception
    ``(8,)``: the hand's position in metres, its rotation as axis times angle in radians, and the places of the two
    fingers in metres (0.04 and -0.04 wide open).
Time
    Row i of LIBERO's own HDF5 files was seen after ``actions[i]``, not before: what led on from it is
    ``actions[i + 1]``. Rows of OpenVLA's and LeRobot's copies were seen before theirs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from thalweg.errors import ThalwegError, choices

__all__ = [
    "ACTIONS",
    "CAMERAS",
    "INSTRUCTIONS",
    "NO_OP",
    "PROPRIOCEPTION",
    "SETTLE",
    "TASKS",
    "Demonstration",
    "Replay",
    "axis_angle",
    "camera_names",
    "check_actions",
    "following_actions",
    "proprioception",
    "replay",
    "seen_after",
    "task_number",
    "upright",
]

ACTIONS = 7  #: values of an action
PROPRIOCEPTION = 8  #: values of the proprioception
CAMERAS = ("agentview", "wrist")
NO_OP = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0)  #: stay, with the gripper open
SETTLE = 10  #: steps of nothing after a reset, until all has come to rest

#: LIBERO-LONG's ten tasks, 1 to 10, as the benchmark orders them.
INSTRUCTIONS = (
    "put both the alphabet soup and the tomato sauce in the basket",
    "put both the cream cheese box and the butter in the basket",
    "turn on the stove and put the moka pot on it",
    "put the black bowl in the bottom drawer of the cabinet and close it",
    "put the white mug on the left plate and put the yellow and white mug on the right plate",
    "pick up the book and place it in the back compartment of the caddy",
    "put the white mug on the plate and put the chocolate pudding to the right of the plate",
    "put both the alphabet soup and the cream cheese box in the basket",
    "put both moka pots on the stove",
    "put the yellow and white mug in the microwave and close it",
)

TASKS = tuple(range(1, len(INSTRUCTIONS) + 1))  #: in the benchmark's order

_CONVENTIONS = {"opengl": (-1, -1), "opencv": (1, -1), "lerobot": (1, 1)}  # steps through rows and columns
_LEROBOT_CAMERAS = ({"image": "agentview", "image2": "wrist"}, {"image": "agentview", "wrist_image": "wrist"})


def upright(frames: np.ndarray, convention: str) -> np.ndarray:
    """``(..., height, width, 3)`` frames as LeRobot has them, from ``opengl``, ``opencv`` or ``lerobot``: a view.

    Raises:
        ThalwegError: the convention is none of these.
    """
    if convention not in _CONVENTIONS:
        raise ThalwegError(f"unknown image convention {convention!r}; choose one of {choices(_CONVENTIONS)}")
    rows, columns = _CONVENTIONS[convention]
    return frames[..., ::rows, ::columns, :]


def camera_names(names: tuple[str, ...], state: int, actions: int) -> dict[str, str]:
    """What a LeRobot set's cameras are called here: LIBERO's, known by names and sizes, as in its environment."""
    if (state, actions) == (PROPRIOCEPTION, ACTIONS):
        for known in _LEROBOT_CAMERAS:
            if known.keys() == set(names):
                return known
    return {name: name for name in names}


def axis_angle(quaternion: np.ndarray) -> np.ndarray:
    """``(3,)`` axis times angle of 0 to 2 pi, from a unit quaternion ``(x, y, z, w)``; its sign is not changed.

    The hand looks down, near half a turn: a quaternion brought to w >= 0 would jump there, robosuite's does not.
    """
    w = np.clip(quaternion[3], -1.0, 1.0)
    sine = np.sqrt(1.0 - w * w)
    return np.zeros(3) if sine < 1e-9 else np.asarray(quaternion[:3]) * (2.0 * np.arccos(w) / sine)


def proprioception(position: np.ndarray, rotation: np.ndarray, gripper: np.ndarray) -> np.ndarray:
    """``(..., 8)`` from position ``(..., 3)``, axis times angle ``(..., 3)`` and the fingers ``(..., 2)``."""
    return np.concatenate([position, rotation, gripper], axis=-1).astype(np.float32)


def check_actions(actions: np.ndarray, source: str) -> None:
    """Refuse a set's ``(N, 7)`` actions if one is no change of pose within [-1, 1], or no gripper opens at -1.

    Raises:
        ThalwegError: naming the value that is out of range.
    """
    if actions.ndim != 2 or actions.shape[1] != ACTIONS:
        raise ThalwegError(f"{source}: actions have shape {actions.shape}; LIBERO's have {ACTIONS} values a row")
    row, value = np.unravel_index(np.argmax(np.abs(actions)), actions.shape)
    if not abs(actions[row, value]) <= 1 + 1e-3:
        raise ThalwegError(
            f"{source}: the action of row {row} has the value {actions[row, value]:.4g}; LIBERO's lie within -1 and 1"
        )
    if actions[:, -1].min() >= 0:
        raise ThalwegError(f"{source}: the gripper is never below 0; LIBERO's opens at -1 and closes at 1")


def seen_after(joints: np.ndarray, states: np.ndarray) -> bool:
    """Whether rows were seen after their action: does the arm ``(L, 7)`` agree with the next state, or with its own?

    ``states (L, M)`` are the simulator's, flattened, before each action: the time, then positions, the arm's first.
    Row 0 is left out: OpenVLA's copies let the scene settle there. An arm at rest tells nothing, and passes for
    LIBERO's own.
    """
    arm = states[:, 1 : 1 + joints.shape[1]]
    return bool(np.abs(joints[1:-1] - arm[2:]).sum() <= np.abs(joints[1:-1] - arm[1:-1]).sum())


def following_actions(actions: np.ndarray, *, after: bool) -> np.ndarray:
    """``(L, 7)`` actions that led on from each row; of rows seen ``after`` theirs, the last is followed by nothing.

    With L rows there are L - 1 transitions either way. Of rows seen after, the action that led to the first is dropped,
    and the last row gets a step of nothing with the gripper as it is.
    """
    return np.vstack([actions[1:], [*NO_OP[:-1], actions[-1, -1]]]) if after else actions


def task_number(instruction: str) -> int:
    """The LIBERO-LONG task, 1 to 10, that has this instruction.

    Raises:
        ThalwegError: none has.
    """
    if instruction not in INSTRUCTIONS:
        raise ThalwegError(f"no LIBERO-LONG task is {instruction!r}; choose one of {choices(INSTRUCTIONS)}")
    return INSTRUCTIONS.index(instruction) + 1


@dataclass(frozen=True)
class Demonstration:
    """One demonstration as it has to be replayed.

    Attributes:
        instruction: what it shows.
        state: ``(M,)`` the simulator's state that it begins with, flattened.
        actions: ``(L, 7)`` in the order in which they were taken.
        proprioception: ``(L, 8)`` as recorded.
        after: whether row i was seen after ``actions[i]``, or before.
        model: the MJCF that it was recorded with, where it is stored: the furniture stands as it says.
    """

    instruction: str
    state: np.ndarray
    actions: np.ndarray
    proprioception: np.ndarray
    after: bool = True
    model: str = ""


@dataclass(frozen=True)
class Replay:
    """How far a replay went from what was recorded.

    Attributes:
        position: ``(L,)`` metres between the hand's places.
        rotation: ``(L,)`` radians between its rotations.
        gripper: ``(L,)`` metres, the larger of the two fingers'.
        success: whether the task was done at any step.
    """

    position: np.ndarray
    rotation: np.ndarray
    gripper: np.ndarray
    success: bool

    def __str__(self) -> str:
        return (
            f"{'success' if self.success else 'no success'}; hand off by {1e3 * self.position.max():.1f} mm and "
            f"{np.degrees(self.rotation.max()):.1f} degrees at most, fingers by {1e3 * self.gripper.max():.1f} mm"
        )


def replay(env: Any, demonstration: Demonstration) -> Replay:
    """Take a demonstration's actions in ``env``, from the state that it began with.

    What reads alike was written alike: a wrong sign, range or layout, or actions off by a row, shows here as
    centimetres. An OpenVLA copy left steps out, so its deviation grows; its success is what counts.

    Raises:
        ThalwegError: its task is none of LIBERO-LONG's, or ``env`` cannot start from its state.
    """
    options = {
        "task_id": task_number(demonstration.instruction),
        "state": demonstration.state,
        "model": demonstration.model,
        "settle": 0 if demonstration.after else SETTLE,
    }
    observation, _ = env.reset(seed=0, options=options)
    seen, success = [observation["proprioception"]], False
    for action in demonstration.actions:
        observation, _, _, _, info = env.step(action)
        seen.append(observation["proprioception"])
        success = success or bool(info["success"])
    rows = np.stack(seen[1:] if demonstration.after else seen[:-1]).astype(np.float64)
    told = demonstration.proprioception.astype(np.float64)
    return Replay(
        position=np.linalg.norm(rows[:, :3] - told[:, :3], axis=1),
        rotation=_angles(rows[:, 3:6], told[:, 3:6]),
        gripper=np.abs(rows[:, 6:] - told[:, 6:]).max(axis=1),
        success=success,
    )


def _angles(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``(L,)`` radians between rotations given as axis times angle ``(L, 3)``."""
    product = np.abs((_quaternions(one) * _quaternions(other)).sum(axis=1))
    return 2.0 * np.arccos(np.clip(product, 0.0, 1.0))


def _quaternions(vectors: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(vectors, axis=1, keepdims=True)
    axis = np.divide(vectors, angle, out=np.zeros_like(vectors), where=angle > 0)
    return np.hstack([axis * np.sin(angle / 2), np.cos(angle / 2)])
