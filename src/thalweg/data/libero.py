"""LIBERO's demonstrations, an HDF5 file a task: the original ones, and OpenVLA's regenerated ones (arXiv 2306.03310).

Unpacked once beside the folder, into ``NAME.store``, and memory-mapped from then on. Frames, actions and proprioception
are brought to the form that ``thalweg.envs.libero_conventions`` states, which is that of the environment.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from thalweg.data.arrays import check_camera, check_finite, check_instructions, episode_ends
from thalweg.data.store import EpisodeStore
from thalweg.data.unpacked import CAMERA
from thalweg.envs.libero_conventions import (
    ACTIONS,
    PROPRIOCEPTION,
    Demonstration,
    check_actions,
    following_actions,
    proprioception,
    seen_after,
    upright,
)
from thalweg.errors import ThalwegError

__all__ = ["is_libero", "open_libero", "read_demonstration"]

_FRAMES = {"agentview": "agentview_rgb", "wrist": "eye_in_hand_rgb"}


def is_libero(path: str | Path) -> bool:
    """Whether it is an HDF5 file, or a folder with some; what is in them is checked when they are opened."""
    return bool(_files(Path(path).expanduser()))


def open_libero(path: str | Path) -> EpisodeStore:
    """Open a folder of LIBERO's HDF5 files, or one of them; needs the ``libero-data`` extra.

    Every row of every demonstration is kept. An original file's row was seen after its action, so that its actions
    move up by one row: the one that led to the first row goes, and the last row gets a step of nothing.

    Raises:
        ThalwegError: naming the file, the demonstration and the key that is missing, ragged or not LIBERO's.
    """
    path = Path(path).expanduser()
    files = _files(path)
    if not files:
        raise ThalwegError(f"{path} holds no .hdf5 file; LIBERO's demonstrations are one such file a task")
    return EpisodeStore.of_unpacked(path, files, lambda folder: _unpack(files, folder, str(path)))


def read_demonstration(file: str | Path, number: int = 0) -> Demonstration:
    """The ``number``-th demonstration of one HDF5 file, to be replayed by ``libero_conventions.replay``.

    Raises:
        ThalwegError: the file is damaged, or lacks the demonstration or its ``states``.
    """
    file = Path(file).expanduser()
    with _opened(file) as archive:
        recorded = _recorded(archive, file)
        name = f"demo_{number}"
        if name not in recorded.lengths:
            raise ThalwegError(f"{file} has no {name}; it has {', '.join(recorded.lengths)}")
        demo = archive["data"][name]
        return Demonstration(
            recorded.instruction,
            np.asarray(_dataset(demo, "states", f"{file}: {name}")[0]),
            demo["actions"][()],
            _proprioception(demo, f"{file}: {name}"),
            recorded.after,
            str(demo.attrs.get("model_file", "")),
        )


@dataclass(frozen=True)
class _Recorded:
    """What one file holds, checked: rows of each demonstration by name, how it was recorded, the frames' shapes."""

    lengths: dict[str, int]
    instruction: str
    convention: str
    after: bool
    frames: dict[str, tuple[int, ...]]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.hdf5"))
    return [path] if path.is_file() and path.suffix == ".hdf5" else []


def _opened(file: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ThalwegError(f"{file} needs h5py: pip install 'thalweg[libero-data]' ({error})") from error
    try:
        return h5py.File(file, "r")
    except OSError as error:
        raise ThalwegError(f"{file} is not a readable HDF5 file, or is truncated ({error})") from error


def _recorded(archive: Any, file: Path) -> _Recorded:
    if "data" not in archive:
        raise ThalwegError(f"{file}: no group 'data'; it has {sorted(archive)}")
    data = archive["data"]
    names = sorted((name for name in data if re.fullmatch(r"demo_\d+", name)), key=lambda name: int(name[5:]))
    if len(names) != data.attrs.get("num_demos", len(names)) or not names:
        raise ThalwegError(f"{file}: {len(names)} demonstrations, its num_demos is {data.attrs.get('num_demos')}")
    _check_controller(data, file)
    lengths = {name: _checked(data[name], f"{file}: {name}") for name in names}
    shapes = {name: data[names[0]]["obs"][key].shape[1:] for name, key in _FRAMES.items()}
    for name, (camera, key) in ((name, item) for name in names for item in _FRAMES.items()):
        if data[name]["obs"][key].shape[1:] != shapes[camera]:
            raise ThalwegError(
                f"{file}: {name}: obs/{key} has frames {data[name]['obs'][key].shape[1:]}, {names[0]} {shapes[camera]}"
            )
    convention = data.attrs.get("macros_image_convention", "opengl")
    after = [_seen_after(data[name]) for name in names]
    return _Recorded(lengths, _instruction(data, file), convention, sum(after) * 2 >= len(after), shapes)


def _check_controller(data: Any, file: Path) -> None:
    """Refuse actions that another controller than OSC_POSE took, where a file tells."""
    arguments = _told(data, "env_args", file).get("env_kwargs", {})
    kind = (arguments.get("controller_configs") or {}).get("type", "OSC_POSE")
    if kind != "OSC_POSE":
        raise ThalwegError(f"{file}: recorded with the controller {kind!r}; LIBERO's actions are those of 'OSC_POSE'")


def _checked(demo: Any, source: str) -> int:
    """The rows of a demonstration whose arrays all have as many."""
    actions = _dataset(demo, "actions", source)
    if "obs" not in demo:
        raise ThalwegError(f"{source}: no group 'obs'; it has {sorted(demo)}")
    widths = {"actions": (ACTIONS,), "obs/gripper_states": (2,)}
    widths |= {"obs/ee_states": (6,)} if "ee_states" in demo["obs"] else {"obs/ee_pos": (3,), "obs/ee_ori": (3,)}
    for key, width in widths.items():
        shape = _dataset(demo, key, source).shape
        if shape != (len(actions), *width):
            raise ThalwegError(f"{source}: {key} has shape {shape}, expected {(len(actions), *width)}")
    for key in _FRAMES.values():
        frames = _dataset(demo, f"obs/{key}", source)
        check_camera(frames.shape, frames.dtype, key, source)
        if len(frames) != len(actions):
            raise ThalwegError(f"{source}: obs/{key} has {len(frames)} rows, actions have {len(actions)}")
    states = demo.get("states", actions)
    joints = demo["obs"].get("joint_states", actions)
    if not len(states) == len(joints) == len(actions):
        raise ThalwegError(
            f"{source}: {len(actions)} actions, {len(states)} states, {len(joints)} obs/joint_states; expected as many"
        )
    return len(actions)


def _dataset(demo: Any, key: str, source: str) -> Any:
    if key not in demo:
        inner = demo["obs"] if key.startswith("obs/") and "obs" in demo else demo
        raise ThalwegError(f"{source}: no key {key!r}; it has {sorted(inner)}")
    return demo[key]


def _seen_after(demo: Any) -> bool:
    if "states" not in demo or "joint_states" not in demo["obs"]:
        return True
    return seen_after(demo["obs"]["joint_states"][()], demo["states"][()])


def _instruction(data: Any, file: Path) -> str:
    """What the file's ``problem_info`` says; or, in copies that have none, its name."""
    if "problem_info" in data.attrs:
        return "".join(_told(data, "problem_info", file).get("language_instruction", "")).strip(' "').lower()
    found = re.fullmatch(r"(?:[A-Z_]+SCENE\d+_)?(.+)_demo", file.stem)
    if not found:
        raise ThalwegError(f"{file}: no attribute 'problem_info' that tells the instruction, nor a name TASK_demo.hdf5")
    return found[1].replace("_", " ").lower()


def _told(data: Any, name: str, file: Path) -> dict[str, Any]:
    """An attribute that holds JSON; empty where there is none."""
    try:
        return json.loads(data.attrs.get(name, "{}"))
    except ValueError as error:
        raise ThalwegError(f"{file}: its attribute {name!r} is no JSON ({error})") from error


def _proprioception(demo: Any, source: str) -> np.ndarray:
    obs = demo["obs"]
    hand = obs["ee_states"][()] if "ee_states" in obs else np.hstack([obs["ee_pos"][()], obs["ee_ori"][()]])
    return proprioception(hand[:, :3], hand[:, 3:], _dataset(demo, "obs/gripper_states", source)[()])


def _unpack(files: Sequence[Path], folder: Path, source: str) -> dict[str, Any]:
    found = {}
    for file in files:
        with _opened(file) as archive:
            found[file] = _recorded(archive, file)
    first = found[files[0]]
    for file, recorded in found.items():
        if recorded.frames != first.frames:
            raise ThalwegError(f"{file}: frames {recorded.frames} differ from those of {files[0].name}, {first.frames}")
    lengths = [length for recorded in found.values() for length in recorded.lengths.values()]
    ends = episode_ends(sum(lengths), None, np.array(lengths), source)
    told = [recorded.instruction for recorded in found.values() for _ in recorded.lengths]
    instructions = check_instructions(told, len(ends), source)
    shapes = {"observations": (PROPRIOCEPTION,), "actions": (ACTIONS,)}
    shapes |= {f"{CAMERA}{name}": shape for name, shape in first.frames.items()}
    outputs = {
        key: npy.open_memmap(
            folder / f"{key}.npy",
            mode="w+",
            dtype=np.uint8 if key.startswith(CAMERA) else np.float32,
            shape=(int(ends[-1]), *shape),
        )
        for key, shape in shapes.items()
    }
    row = 0
    for file, recorded in found.items():
        with _opened(file) as archive:
            for name, length in recorded.lengths.items():
                part = {key: output[row : row + length] for key, output in outputs.items()}
                _copy(archive["data"][name], recorded, part, f"{file}: {name}")
                row += length
    for key in ("observations", "actions"):
        check_finite(outputs[key], key, ends, source)
    check_actions(outputs["actions"], source)
    np.save(folder / "ends.npy", ends)
    return {"keys": [*outputs, "ends"], "instructions": instructions}


def _copy(demo: Any, recorded: _Recorded, part: dict[str, np.ndarray], source: str) -> None:
    """Copy one demonstration; its frames are held in memory meanwhile."""
    try:
        part["observations"][:] = _proprioception(demo, source)
        part["actions"][:] = following_actions(demo["actions"][()], after=recorded.after)
        for name, key in _FRAMES.items():
            part[f"{CAMERA}{name}"][:] = upright(demo["obs"][key][()], recorded.convention)
    except OSError as error:
        raise ThalwegError(f"{source} cannot be read, the file is damaged ({error})") from error
