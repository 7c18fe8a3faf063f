"""LeRobotDataset v3: recordings of any robot, a table of numbers and a video of each camera.

Unpacked once beside the folder, into ``NAME.store``, and memory-mapped from then on: an hour at 20 frames a second is
11 GB for each camera of 224 x 224.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from thalweg.data.arrays import check_camera, check_finite, check_instructions, episode_ends
from thalweg.data.store import EpisodeStore
from thalweg.data.unpacked import CAMERA
from thalweg.envs.libero_conventions import CAMERAS, camera_names, check_actions
from thalweg.errors import ThalwegError

__all__ = ["is_lerobot", "open_lerobot"]

_INFO = Path("meta") / "info.json"
_STATE, _ACTION, _IMAGES = "observation.state", "action", "observation.image"
_BATCH = 256  # rows of a table read at once
_NEAR = 0.25  # of the time between two frames: how far a frame may be from its row's time


def is_lerobot(path: str | Path) -> bool:
    """Whether it is the folder of a LeRobotDataset, of any version."""
    return (Path(path).expanduser() / _INFO).is_file()


def open_lerobot(path: str | Path) -> EpisodeStore:
    """Open a LeRobotDataset v3; needs the ``lerobot`` extra.

    Read are ``observation.state``, ``action``, the task in words, and every ``observation.images.NAME`` in colour as
    camera ``NAME``, from videos or from images in the table. LIBERO's cameras are called as in its environment.

    Raises:
        ThalwegError: the dataset has another version, or a file, column, row or frame of it is missing or has the wrong
            size.
    """
    path = Path(path).expanduser()
    info = _read_info(path)
    files = [path / _INFO, *(file for folder in ("meta", "data", "videos") for file in _files(path / folder))]
    return EpisodeStore.of_unpacked(path, files, lambda folder: _unpack(info, folder))


@dataclass(frozen=True)
class _Camera:
    """One camera: its column and name, whether its frames are in videos, and their height and width."""

    key: str
    name: str
    video: bool
    height: int
    width: int


@dataclass(frozen=True)
class _Info:
    """What ``meta/info.json`` says."""

    root: Path
    fps: float
    episodes: int
    frames: int
    data: str
    videos: str
    sizes: dict[str, int]
    cameras: tuple[_Camera, ...]


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix in (".parquet", ".mp4"))


def _read_info(root: Path) -> _Info:
    file = root / _INFO
    try:
        told = json.loads(file.read_text())
        _check_version(str(told["codebase_version"]), root)
        features = told["features"]
        for key in (_STATE, _ACTION):
            if len(features.get(key, {}).get("shape", ())) != 1:
                raise ThalwegError(f"{file}: no feature {key!r} of one axis; it has {sorted(features)}")
        sizes = {key: int(features[key]["shape"][0]) for key in (_STATE, _ACTION)}
        return _Info(
            root,
            float(told["fps"]),
            int(told["total_episodes"]),
            int(told["total_frames"]),
            told["data_path"],
            told.get("video_path") or "",
            sizes,
            _cameras(features, sizes, file),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ThalwegError(f"{file} is not what LeRobot writes ({type(error).__name__}: {error})") from error


def _check_version(version: str, root: Path) -> None:
    if version.startswith("v3."):
        return
    if version == "v2.1":
        raise ThalwegError(
            f"{root} is a LeRobotDataset v2.1, this reads v3.0; convert it with LeRobot's own script: "
            f"python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id=NAME --root={root} --push-to-hub=false"
        )
    raise ThalwegError(
        f"{root} is a LeRobotDataset {version}, this reads v3.0; older ones are converted by LeRobot's own scripts, "
        "step by step to v2.1 and then by lerobot.scripts.convert_dataset_v21_to_v30"
    )


def _cameras(features: dict[str, Any], sizes: dict[str, int], file: Path) -> tuple[_Camera, ...]:
    """Every feature with frames in colour; depth is left out."""
    found = {}
    for key, feature in features.items():
        if not key.startswith(_IMAGES) or feature["dtype"] not in ("image", "video") or _is_depth(feature):
            continue
        shape = feature["shape"]
        channels_first = shape[0] == 3 and shape[-1] != 3
        height, width, channels = (*shape[1:], shape[0]) if channels_first else shape
        if channels != 3:
            raise ThalwegError(f"{file}: {key} has shape {tuple(shape)}; expected (height, width, 3)")
        name = key.removeprefix("observation.images.").removeprefix("observation.")
        found[name] = _Camera(key, name, feature["dtype"] == "video", int(height), int(width))
    names = camera_names(tuple(found), sizes[_STATE], sizes[_ACTION])
    return tuple(_Camera(c.key, names[c.name], c.video, c.height, c.width) for c in found.values())


def _is_depth(feature: dict[str, Any]) -> bool:
    info = (feature.get("info") or {}) | (feature.get("video_info") or {})
    return bool(info.get("is_depth_map") or info.get("video.is_depth_map"))


def _unpack(info: _Info, folder: Path) -> dict[str, Any]:
    source = str(info.root)
    episodes = _episodes(info)
    ends = episode_ends(info.frames, None, episodes["length"], source)
    shapes = {"observations": (info.sizes[_STATE],), "actions": (info.sizes[_ACTION],)}
    shapes |= {f"{CAMERA}{camera.name}": (camera.height, camera.width, 3) for camera in info.cameras}
    outputs = {
        key: npy.open_memmap(
            folder / f"{key}.npy",
            mode="w+",
            dtype=np.uint8 if key.startswith(CAMERA) else np.float32,
            shape=(info.frames, *shape),
        )
        for key, shape in shapes.items()
    }
    told = _copy_tables(info, episodes, ends, outputs)
    for camera in (camera for camera in info.cameras if camera.video):
        _copy_videos(info, camera, episodes, ends, outputs[f"{CAMERA}{camera.name}"])
    for key in ("observations", "actions"):
        check_finite(outputs[key], key, ends, source)
    if {camera.name for camera in info.cameras} == set(CAMERAS):
        check_actions(outputs["actions"], source)
    np.save(folder / "ends.npy", ends)
    return {"keys": [*outputs, "ends"], "instructions": check_instructions(told, len(ends), source)}


def _table(file: Path) -> Any:
    """An opened Parquet file."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise ThalwegError(f"{file} needs pyarrow: pip install 'thalweg[lerobot]' ({error})") from error
    try:
        return parquet.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise ThalwegError(f"{file} is missing, or not a readable Parquet file ({error})") from error


def _episodes(info: _Info) -> dict[str, np.ndarray]:
    """``(E,)`` columns about the episodes, in their order: rows, and where tables and videos hold them."""
    keys = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for camera in (camera for camera in info.cameras if camera.video):
        keys += [f"videos/{camera.key}/{part}" for part in ("chunk_index", "file_index", "from_timestamp")]
    parts: list[dict[str, np.ndarray]] = []
    for file in _files(info.root / "meta" / "episodes"):
        table = _table(file)
        _check_columns(table, keys, file)
        parts.append({key: table.read(columns=[key])[key].to_numpy() for key in keys})
    found = {key: np.concatenate([part[key] for part in parts]) if parts else np.arange(0) for key in keys}
    order = np.argsort(found["episode_index"], kind="stable")
    found = {key: column[order] for key, column in found.items()}
    if not np.array_equal(found["episode_index"], np.arange(info.episodes)):
        raise ThalwegError(
            f"{info.root}: meta/episodes tells of {len(order)} episodes, numbered otherwise than 0 to "
            f"{info.episodes - 1} as meta/info.json says"
        )
    return found


def _check_columns(table: Any, keys: list[str], file: Path) -> None:
    missing = [key for key in keys if key not in table.schema_arrow.names]
    if missing:
        raise ThalwegError(f"{file}: no column {missing[0]!r}; it has {table.schema_arrow.names}")


def _tasks(root: Path) -> dict[int, str]:
    """What the tasks are called, by number: the column beside ``task_index``, by whatever name pandas gave it."""
    file = root / "meta" / "tasks.parquet"
    table = _table(file)
    _check_columns(table, ["task_index"], file)
    texts = [name for name in table.schema_arrow.names if str(table.schema_arrow.field(name).type).endswith("string")]
    if len(texts) != 1:
        raise ThalwegError(f"{file}: expected one column of text, the tasks, got {texts}")
    columns = table.read().to_pydict()
    return dict(zip(columns["task_index"], columns[texts[0]], strict=True))


def _copy_tables(
    info: _Info, episodes: dict[str, np.ndarray], ends: np.ndarray, outputs: dict[str, np.ndarray]
) -> list[str]:
    """Copy states, actions and images in the table; gives back each episode's task in words."""
    images = [camera for camera in info.cameras if not camera.video]
    owner = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    tasks = np.full(info.frames, -1)
    row = 0
    for file, batch in _batches(info, episodes, [camera.key for camera in images]):
        rows = slice(row, row + len(batch))
        if not np.array_equal(batch["episode_index"].to_numpy(), owner[rows]):
            raise ThalwegError(
                f"{file}: rows {row} to {row + len(batch) - 1} of the set are not those of the episodes that "
                f"meta/episodes names, {int(ends[-1])} in all"
            )
        for key, name in ((_STATE, "observations"), (_ACTION, "actions")):
            outputs[name][rows] = _vectors(batch[key], info.sizes[key], f"{file}: {key}")
        tasks[rows] = batch["task_index"].to_numpy()
        for camera in images:
            for at, image in enumerate(batch[camera.key].to_pylist(), start=row):
                outputs[f"{CAMERA}{camera.name}"][at] = _image(image, camera, f"{file}: row {at}")
        row += len(batch)
    if row != info.frames:
        raise ThalwegError(f"{info.root}: the tables hold {row} rows, meta/info.json says {info.frames}")
    return _told(info.root, tasks, ends)


def _batches(info: _Info, episodes: dict[str, np.ndarray], images: list[str]) -> Iterator[tuple[Path, Any]]:
    """Tables of at most ``_BATCH`` rows, and the files that they are from, in the order of the episodes."""
    keys = [_STATE, _ACTION, "episode_index", "task_index", *images]
    places = zip(episodes["data/chunk_index"].tolist(), episodes["data/file_index"].tolist(), strict=True)
    for chunk, number in dict.fromkeys(places):
        file = info.root / info.data.format(chunk_index=chunk, file_index=number)
        table = _table(file)
        _check_columns(table, keys, file)
        for batch in table.iter_batches(_BATCH, columns=keys):
            yield file, batch


def _vectors(column: Any, size: int, source: str) -> np.ndarray:
    """``(n, size)`` from a column of lists, or of numbers where ``size`` is 1."""
    is_list = hasattr(column.type, "value_type")
    widths = {len(one.as_py() or ()) for one in column} if is_list else {1}
    if widths != {size}:
        raise ThalwegError(f"{source} has rows of {sorted(widths)} values, meta/info.json says {size}")
    values = column.flatten() if is_list else column
    return values.to_numpy(zero_copy_only=False).reshape(len(column), size)


def _told(root: Path, tasks: np.ndarray, ends: np.ndarray) -> list[str]:
    names = _tasks(root)
    told = []
    for episode, numbers in enumerate(np.split(tasks, ends[:-1])):
        if (numbers != numbers[0]).any():
            raise ThalwegError(
                f"{root}: episode {episode} has several tasks, {sorted(set(numbers.tolist()))}; split it"
            )
        if numbers[0] not in names:
            raise ThalwegError(f"{root}: episode {episode} has task {numbers[0]}, meta/tasks.parquet {sorted(names)}")
        told.append(names[int(numbers[0])])
    return told


def _image(image: dict[str, Any] | None, camera: _Camera, source: str) -> np.ndarray:
    """One frame from the bytes of a PNG or JPEG file."""
    content = (image or {}).get("bytes")
    if not content:
        raise ThalwegError(f"{source}: {camera.key} holds no image; images must lie within the table")
    frame = next(_frames(io.BytesIO(content), camera, source), None)
    if frame is None:
        raise ThalwegError(f"{source}: {camera.key} is no readable image")
    return frame[1]


def _copy_videos(
    info: _Info, camera: _Camera, episodes: dict[str, np.ndarray], ends: np.ndarray, output: np.ndarray
) -> None:
    """Decode every video once, from its beginning, and put each frame where its time says."""
    filled = np.zeros(len(output), bool)
    starts, lengths = np.concatenate([[0], ends[:-1]]), np.diff(ends, prepend=0)
    begins = episodes[f"videos/{camera.key}/from_timestamp"]
    places = [episodes[f"videos/{camera.key}/{part}"] for part in ("chunk_index", "file_index")]
    for chunk, number in sorted(set(zip(*(place.tolist() for place in places), strict=True))):
        file = info.root / info.videos.format(video_key=camera.key, chunk_index=chunk, file_index=number)
        inside = np.flatnonzero((places[0] == chunk) & (places[1] == number))
        inside = inside[np.argsort(begins[inside], kind="stable")]
        last = 0.0
        for time, frame in _frames(file, camera, str(file)):
            last = time
            at = np.searchsorted(begins[inside], time + _NEAR / info.fps, side="right") - 1
            step = (time - begins[inside[at]]) * info.fps if at >= 0 else -1.0
            nearest = round(step)
            if abs(step - nearest) < _NEAR and 0 <= nearest < lengths[inside[at]]:
                output[starts[inside[at]] + nearest] = frame
                filled[starts[inside[at]] + nearest] = True
        for episode in inside:
            missing = np.flatnonzero(~filled[starts[episode] : ends[episode]])
            if len(missing):
                raise ThalwegError(
                    f"{file}: no frame of episode {episode}, step {missing[0]}, at "
                    f"{begins[episode] + missing[0] / info.fps:.3f} s; its last frame is at {last:.3f} s"
                )


def _frames(file: Any, camera: _Camera, source: str) -> Iterator[tuple[float, np.ndarray]]:
    """Times in seconds, and frames ``(height, width, 3)`` uint8, of a video or an image."""
    try:
        import av
    except ImportError as error:
        raise ThalwegError(f"{source} needs PyAV: pip install 'thalweg[lerobot]' ({error})") from error
    try:
        with av.open(file) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                array = frame.to_ndarray(format="rgb24")
                check_camera((1, *array.shape), array.dtype, camera.name, source)
                if array.shape[:2] != (camera.height, camera.width):
                    raise ThalwegError(
                        f"{source}: {camera.key} has frames of {array.shape[:2]}, "
                        f"meta/info.json says {(camera.height, camera.width)}"
                    )
                yield float(frame.time or 0.0), array
    except (OSError, IndexError, av.FFmpegError) as error:
        raise ThalwegError(f"{source}: {camera.key} is missing, or cannot be decoded ({error})") from error
