"""LeRobotDataset v3: every frame lies at its own row, and a set that does not say where is refused by name."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import numpy as np
import pytest

from thalweg.data.lerobot import is_lerobot, open_lerobot
from thalweg.errors import ThalwegError

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
av = pytest.importorskip("av")

FPS = 20
LENGTHS = (5, 3, 4)
FILES = (0, 0, 1)  # where each episode's rows and frames lie
TOLD = ("open the drawer", "close it", "open the drawer")
FRONT, SIDE = "observation.images.front", "observation.images.side"
ROWS = sum(LENGTHS)


def frame(row: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A frame that tells its row in six blocks, dark or bright, which survive compression; blue above, red below."""
    bits = [(row >> bit) & 1 for bit in range(6)]
    image = np.repeat(np.repeat([[(80, 40, 220)], [(220, 40, 80)]], width, axis=1), height // 2, axis=0).astype(
        np.uint8
    )
    for block, bit in enumerate(bits):
        image[8:24, 8 * block : 8 * block + 8] = 235 * bit + 10
    return image[:height, :width]


def row_of(image: np.ndarray) -> int:
    return sum(int(image[16, 8 * block + 4].mean() > 127) << block for block in range(6))


def encode_video(path, rows, *, size=(32, 48)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"g": "2", "crf": "10"})
        stream.height, stream.width = size
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", Fraction(1, FPS)
        for row in rows:
            for packet in stream.encode(av.VideoFrame.from_ndarray(frame(row, *size), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def encode_image(image: np.ndarray, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream = container.add_stream(kind, rate=1)
        stream.height, stream.width = image.shape[:2]
        stream.pix_fmt = "rgb24" if kind == "png" else "yuvj420p"
        for packet in [*stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")), *stream.encode()]:
            container.mux(packet)
    return buffer.getvalue()


def vectors(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (ROWS, size)).astype(np.float32)


def lists(values: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def write(root, *, video=(FRONT, SIDE), image=(), state=4, action=2):
    """A set of three episodes in two files, as LeRobot 0.4 and later write it; returns its folder."""
    shape = {"shape": [32, 48, 3], "names": ["height", "width", "channels"]}
    numbers = {
        key: {"dtype": "int64", "shape": [1], "names": None} for key in ("frame_index", "episode_index", "index")
    }
    features = {
        "observation.state": {"dtype": "float32", "shape": [state], "names": None},
        "action": {"dtype": "float32", "shape": [action], "names": None},
        **{key: {"dtype": "video", **shape, "info": {"video.fps": FPS}} for key in video},
        **{key: {"dtype": "image", **shape} for key in image},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **numbers,
        "task_index": {"dtype": "int64", "shape": [1], "names": None},
    }
    info = {
        "codebase_version": "v3.0",
        "fps": FPS,
        "robot_type": None,
        "features": features,
        "total_episodes": len(LENGTHS),
        "total_frames": ROWS,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4" if video else None,
        "splits": {"train": f"0:{len(LENGTHS)}"},
    }
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    names = list(dict.fromkeys(TOLD))
    tasks = pa.table({"task_index": [0, 1], "task": names})
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in kinds.items()
    ]
    pandas = {"index_columns": ["task"], "columns": columns, "column_indexes": [], "pandas_version": "2.3.3"}
    tasks = tasks.replace_schema_metadata({b"pandas": json.dumps(pandas).encode()})
    parquet.write_table(tasks, root / "meta" / "tasks.parquet")
    _write_rows(root, names, image, state, action)
    _write_episodes(root, video)
    for key in video:
        for file in (0, 1):
            encode_video(root / f"videos/{key}/chunk-000/file-00{file}.mp4", rows_of_file(file))
    return root


def rows_of_file(file: int) -> range:
    ends = np.cumsum(LENGTHS)
    return range(0, int(ends[1])) if file == 0 else range(int(ends[1]), ROWS)


def _write_rows(root, names, image, state, action) -> None:
    episodes = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    steps = np.concatenate([np.arange(length) for length in LENGTHS])
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "observation.state": lists(vectors(state, 0)),
        "action": lists(vectors(action, 1)) if action > 1 else pa.array(vectors(action, 1)[:, 0]),
        **{
            key: pa.array(
                [{"bytes": encode_image(frame(row)), "path": f"frame-{row:06d}.png"} for row in range(ROWS)], kind
            )
            for key in image
        },
        "timestamp": pa.array((steps / FPS).astype(np.float32)),
        "frame_index": pa.array(steps),
        "episode_index": pa.array(episodes),
        "index": pa.array(np.arange(ROWS)),
        "task_index": pa.array([names.index(TOLD[episode]) for episode in episodes]),
    }
    table = pa.table(columns)
    for file in (0, 1):
        path = root / f"data/chunk-000/file-00{file}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = rows_of_file(file)
        parquet.write_table(table.slice(rows.start, len(rows)), path, row_group_size=3)


def _write_episodes(root, video) -> None:
    ends = np.cumsum(LENGTHS)
    columns = {
        "episode_index": list(range(len(LENGTHS))),
        "tasks": [[told] for told in TOLD],
        "length": list(LENGTHS),
        "data/chunk_index": [0, 0, 0],
        "data/file_index": list(FILES),
        "dataset_from_index": (ends - LENGTHS).tolist(),
        "dataset_to_index": ends.tolist(),
    }
    begins = [0.0, LENGTHS[0] / FPS, 0.0]
    for key in video:
        columns[f"videos/{key}/chunk_index"] = [0, 0, 0]
        columns[f"videos/{key}/file_index"] = list(FILES)
        columns[f"videos/{key}/from_timestamp"] = begins
        columns[f"videos/{key}/to_timestamp"] = [a + b / FPS for a, b in zip(begins, LENGTHS, strict=True)]
    columns |= {"meta/episodes/chunk_index": [0, 0, 0], "meta/episodes/file_index": [0, 0, 0]}
    parquet.write_table(pa.table(columns), root / "meta/episodes/chunk-000/file-000.parquet")


def test_every_row_has_its_numbers_words_and_frames(tmp_path):
    folder = write(tmp_path / "set", image=("observation.images.top",))
    store = open_lerobot(folder)
    assert store.ends.tolist() == np.cumsum(LENGTHS).tolist() and store.instructions == TOLD
    assert np.array_equal(store.observations, vectors(4, 0)) and np.array_equal(store.actions, vectors(2, 1))
    assert sorted(store.cameras) == ["front", "side", "top"]
    for name, frames in store.cameras.items():
        assert isinstance(frames, np.memmap) and not frames.flags.writeable
        assert [row_of(image) for image in frames] == list(range(ROWS))
        for row in range(ROWS):
            error = np.abs(frames[row].astype(int) - frame(row)).mean()
            assert error == 0 if name == "top" else error < 12
    (cached,) = (tmp_path / "set.store").iterdir()
    written = (cached / "camera_front.npy").stat().st_mtime_ns
    assert open_lerobot(folder).fingerprint == store.fingerprint
    assert (cached / "camera_front.npy").stat().st_mtime_ns == written


def test_what_it_calls_itself_decides(tmp_path):
    assert is_lerobot(write(tmp_path / "set", video=())) and not is_lerobot(tmp_path)
    assert open_lerobot(tmp_path / "set").cameras == {}


def test_an_action_of_one_value_is_a_column_of_numbers(tmp_path):
    assert open_lerobot(write(tmp_path / "set", video=(), action=1)).actions.shape == (ROWS, 1)


@pytest.mark.parametrize("second", ["image2", "wrist_image"])
def test_a_copy_of_libero_has_its_cameras_names(tmp_path, second):
    names = ("observation.images.image", f"observation.images.{second}")
    store = open_lerobot(write(tmp_path / "set", video=names, state=8, action=7))
    assert list(store.cameras) == ["agentview", "wrist"]
    store = open_lerobot(write(tmp_path / "other", video=names, state=6, action=7))
    assert list(store.cameras) == ["image", second]


def test_a_copy_of_libero_with_another_gripper_is_refused(tmp_path):
    folder = write(
        tmp_path / "set", video=(), image=("observation.images.image", "observation.images.image2"), state=8, action=7
    )

    def closed(table):
        values = np.abs(vectors(7, 1))
        return {**table, "action": values.tolist()[: len(table["action"])]}

    for file in (0, 1):
        edit(folder, f"data/chunk-000/file-00{file}.parquet", closed)
    refused(folder, "the gripper is never below 0; LIBERO's opens at -1")


def test_channels_may_come_first_and_depth_is_left_out(tmp_path):
    folder = write(tmp_path / "set")

    def turn(info):
        info["features"][FRONT] |= {"shape": [3, 32, 48], "names": ["channels", "height", "width"]}
        info["features"][SIDE]["info"]["video.is_depth_map"] = True

    edit_info(folder, turn)
    store = open_lerobot(folder)
    assert list(store.cameras) == ["front"] and store.cameras["front"].shape == (ROWS, 32, 48, 3)


def test_tasks_may_be_an_index_without_a_name(tmp_path):
    folder = write(tmp_path / "set", video=())
    edit(folder, "meta/tasks.parquet", lambda t: {"__index_level_0__": t["task"], "task_index": t["task_index"]})
    assert open_lerobot(folder).instructions == TOLD


def test_episodes_may_lie_in_a_video_in_any_order(tmp_path):
    folder = write(tmp_path / "set", video=(FRONT,))
    video([5, 6, 7, 0, 1, 2, 3, 4])(folder)
    column(EPISODES, f"videos/{FRONT}/from_timestamp", [LENGTHS[1] / FPS, 0.0, 0.0])(folder)
    assert [row_of(image) for image in open_lerobot(folder).cameras["front"]] == list(range(ROWS))


def test_tables_larger_than_a_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.data.lerobot._BATCH", 2)
    assert np.array_equal(open_lerobot(write(tmp_path / "set", video=())).observations, vectors(4, 0))


def edit(folder, name, change) -> None:
    """Change the columns of one table; the change may give back another dict."""
    columns = parquet.read_table(folder / name).to_pydict()
    parquet.write_table(pa.table(change(columns) or columns), folder / name)


def edit_info(folder, change) -> None:
    info = json.loads((folder / "meta/info.json").read_text())
    change(info)
    (folder / "meta/info.json").write_text(json.dumps(info))


def refused(folder, named) -> None:
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(ThalwegError, match=named):
        open_lerobot(folder)
    assert sorted(folder.parent.rglob("*")) == before


def info(**changes):
    return lambda folder: edit_info(folder, lambda told: told.update(changes))


def feature(key, **changes):
    return lambda folder: edit_info(folder, lambda told: told["features"][key].update(changes))


def column(name, key, values):
    """A change to one column of one table; None removes it."""

    def change(table):
        table.pop(key)
        return table if values is None else {**table, key: values}

    return lambda folder: edit(folder, name, change)


def video(rows, **settings):
    return lambda folder: encode_video(folder / f"videos/{FRONT}/chunk-000/file-000.mp4", rows, **settings)


EPISODES, DATA = "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"
BAD = {
    "v2.1": (
        info(codebase_version="v2.1"),
        r"is a LeRobotDataset v2.1, .*convert_dataset_v21_to_v30 --repo-id=NAME --r",
    ),
    "v2.0": (info(codebase_version="v2.0"), r"is a LeRobotDataset v2.0, this reads v3.0; .*step by step to v2.1"),
    "no version": (
        lambda folder: edit_info(folder, lambda told: told.pop("codebase_version")),
        "not what LeRobot writes",
    ),
    "no json": (lambda folder: (folder / "meta/info.json").write_text("{"), "info.json is not what LeRobot writes"),
    "no state": (
        feature("observation.state", shape=[]),
        "no feature 'observation.state' of one axis; it has .*'action'",
    ),
    "gray": (feature(FRONT, shape=[32, 48, 1]), r"observation.images.front has shape \(32, 48, 1\); expected \(height"),
    "no episodes": (lambda folder: (folder / EPISODES).unlink(), "meta/episodes tells of 0 episodes"),
    "episodes": (info(total_episodes=4), "tells of 3 episodes, numbered otherwise than 0 to 3"),
    "gap": (column(EPISODES, "episode_index", [0, 1, 3]), "tells of 3 episodes, numbered otherwise than 0 to 2"),
    "frames": (info(total_frames=13), "lengths add up to 12, there are 13 rows"),
    "short": (column(EPISODES, "length", [7, 1, 4]), "episode 1 has fewer than 2 rows"),
    "lengths": (column(EPISODES, "length", [4, 4, 4]), "rows 0 to 7 of the set are not those of the episodes"),
    "no column": (
        column(EPISODES, f"videos/{SIDE}/from_timestamp", None),
        "no column 'videos/.*side/from_timestamp'; it",
    ),
    "no action": (column(DATA, "action", None), r"file-000.parquet: no column 'action'; it has \['obs"),
    "no table": (lambda folder: (folder / DATA).unlink(), "file-000.parquet is missing, or not a readable Parquet"),
    "no parquet": (lambda folder: (folder / DATA).write_bytes(b"PAR1"), "missing, or not a readable Parquet"),
    "ragged": (column(DATA, "action", [[0.0, 1.0]] * 7 + [[0.0]]), r"action has rows of \[1, 2\] values, .* says 2"),
    "null": (column(DATA, "action", [[0.0, 1.0]] * 7 + [None]), r"action has rows of \[0, 2\] values, .* says 2"),
    "narrow": (feature("action", shape=[3]), r"action has rows of \[2\] values, meta/info.json says 3"),
    "no number": (column(DATA, "action", [[0.0, np.nan]] * 8), "episode 0, key actions, step 0 is not finite"),
    "two tasks": (
        column(DATA, "task_index", [0, 1, 0, 0, 0, 1, 1, 1]),
        r"episode 0 has several tasks, \[0, 1\]; split it",
    ),
    "no task": (column(DATA, "task_index", [7] * 8), r"episode 0 has task 7, meta/tasks.parquet \[0, 1\]"),
    "no tasks": (lambda folder: (folder / "meta/tasks.parquet").unlink(), "tasks.parquet is missing"),
    "no video": (
        lambda folder: (folder / f"videos/{FRONT}/chunk-000/file-000.mp4").unlink(),
        "front is missing, or cann",
    ),
    "cut": (video(range(6)), r"file-000.mp4: no frame of episode 1, step 1, at 0.300 s; its last frame is at 0.250 s"),
    "between": (
        column(EPISODES, f"videos/{FRONT}/from_timestamp", [-0.02, 0.23, 0]),
        "no frame of episode 0, step 0, ",
    ),
    "small": (video(range(8), size=(24, 48)), r"front has frames of \(24, 48\), meta/info.json says \(32, 48\)"),
    "no frames": (
        lambda folder: (folder / f"videos/{FRONT}/chunk-000/file-000.mp4").write_bytes(b"no video at all"),
        "front is missing, or cannot be decoded",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_set_is_refused_by_name(tmp_path, case):
    spoil, named = BAD[case]
    folder = write(tmp_path / "set")
    spoil(folder)
    refused(folder, named)


@pytest.mark.parametrize(
    ("image", "named"),
    [
        ({"bytes": None, "path": "frame-000000.png"}, "row 0: observation.images.front holds no image"),
        ({"bytes": b"no image", "path": None}, "row 0: observation.images.front is missing, or cannot be decoded"),
        ({"bytes": encode_image(frame(0, 24, 48)), "path": None}, r"row 0: .*front has frames of \(24, 48\)"),
    ],
)
def test_a_bad_image_is_refused_by_name(tmp_path, image, named):
    folder = write(tmp_path / "set", video=(), image=(FRONT,))
    edit(folder, DATA, lambda table: {**table, FRONT: [image, *table[FRONT][1:]]})
    refused(folder, named)
