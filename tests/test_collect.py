"""Recording: seeded, resumable, and the same whoever records it. Needs OGBench, but no display."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from thalweg.data import collect as module
from thalweg.data.collect import CollectSpec, collect, record_episode
from thalweg.data.store import EpisodeStore
from thalweg.envs import ogbench as suite
from thalweg.errors import ThalwegError

pytest.importorskip("ogbench")
pytestmark = pytest.mark.filterwarnings("ignore")

NAME, EPISODES, STEPS = "cube-single-play-v0", 21, 30
FILES = [f"{NAME}-val.npz", f"{NAME}.json", f"{NAME}.npz"]
SPEC = CollectSpec.official("cube-single", "play", episodes=EPISODES, steps=STEPS)


class Stopped(BaseException):
    """Stands for a kill at one exact point: nothing in the package may catch it."""


def arrays_of(folder: Path, name: str = f"{NAME}.npz") -> dict[str, np.ndarray]:
    return dict(np.load(folder / name))


def assert_same(folder: Path, recorded: Path) -> None:
    for name in (f"{NAME}.npz", f"{NAME}-val.npz"):
        found, wanted = arrays_of(folder, name), arrays_of(recorded, name)
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype and np.array_equal(found[key], value), (name, key)
    assert sorted(os.listdir(folder)) == FILES


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """A run that was stopped when every shard was recorded and none merged."""
    folder = tmp_path_factory.mktemp("shards")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(module, "_merge", lambda *_: (_ for _ in ()).throw(Stopped()))
        collect(SPEC, folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def recorded(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "set"
    shutil.copytree(shards, folder)
    collect(SPEC, folder, workers=1)
    return folder


@pytest.mark.parametrize(("name", "episodes"), [(f"{NAME}.npz", EPISODES), (f"{NAME}-val.npz", 2)])
def test_a_set_has_the_official_layout(recorded, name, episodes):
    arrays, rows = arrays_of(recorded, name), episodes * STEPS
    widths = {"observations": 28, "actions": 5, "qpos": 21, "qvel": 20}
    shapes = {key: (rows, width) for key, width in widths.items()} | {"terminals": (rows,)}
    assert {key: value.shape for key, value in arrays.items()} == shapes
    assert all(value.dtype == (bool if key == "terminals" else np.float32) for key, value in arrays.items())
    assert np.flatnonzero(arrays["terminals"]).tolist() == list(range(STEPS - 1, rows, STEPS))
    assert np.abs(arrays["actions"]).max() <= 1
    assert len(np.unique(arrays["observations"][::STEPS], axis=0)) == episodes


def test_a_set_keeps_its_settings_and_can_be_opened(recorded, tmp_path):
    assert json.loads((recorded / f"{NAME}.json").read_text())["collect"] == dataclasses.asdict(SPEC)
    store = EpisodeStore.open(shutil.copy(recorded / f"{NAME}.npz", tmp_path))
    assert len(store) == EPISODES and set(store.ends - store.starts) == {STEPS}


def test_the_number_of_workers_changes_nothing(recorded, tmp_path):
    seen = []
    collect(SPEC, tmp_path, workers=2, progress=lambda done, total: seen.append((done, total)))
    assert_same(tmp_path, recorded)
    assert seen[0] == (0, 23) and seen[-1] == (23, 23) and seen == sorted(seen)


def test_an_episode_depends_on_nothing_recorded_before_it(recorded):
    whole = arrays_of(recorded)
    for episode in (13, 2):
        rows = slice(episode * STEPS, (episode + 1) * STEPS)
        for key, value in record_episode(SPEC, episode).items():
            assert np.array_equal(value, whole[key][rows]), key
    validation = record_episode(SPEC, EPISODES)
    assert np.array_equal(validation["qpos"], arrays_of(recorded, f"{NAME}-val.npz")["qpos"][:STEPS])
    other = record_episode(dataclasses.replace(SPEC, seed=1), 2)
    assert not np.array_equal(other["observations"][0], whole["observations"][2 * STEPS])


def test_a_recorded_action_leads_to_the_next_recorded_observation(recorded):
    """A state is stored without the solver's warm start and the motors' set points, hence the tolerance."""
    arrays = arrays_of(recorded)
    env = suite.make_env("cube-single", mode="data_collection", max_episode_steps=10_000)
    env.reset(seed=0)

    def joints_after(row: int, action: int) -> np.ndarray:
        env.unwrapped.set_state(arrays["qpos"][row].astype(float), arrays["qvel"][row].astype(float))
        return env.step(arrays["actions"][action])[0][:6]

    assert np.allclose(arrays["observations"][:, :6], arrays["qpos"][:, :6], atol=1e-6)
    rows = [row for row in range(5 * STEPS) if not arrays["terminals"][row]]
    error = [np.abs(joints_after(row, row) - arrays["observations"][row + 1, :6]).max() for row in rows]
    assert max(error) < 5e-3
    late = [np.abs(joints_after(row, row + 1) - arrays["observations"][row + 1, :6]).max() for row in rows]
    assert np.mean(late) > 5 * np.mean(error)  # the tolerance would show an action off by one


def test_noisy_data_is_seeded_to_the_last_random_action(monkeypatch):
    spec = CollectSpec.official("cube-single", "noisy", episodes=1, steps=40)
    one, other = record_episode(spec, 0), record_episode(spec, 1)
    again = record_episode(spec, 0)
    assert all(np.array_equal(one[key], again[key]) for key in one)
    assert not np.array_equal(one["actions"], other["actions"])
    official = suite.oracle_settings
    dice = lambda *names: dataclasses.replace(official(*names), random_action=1.0)  # noqa: E731
    monkeypatch.setattr(suite, "oracle_settings", dice)
    one, again = record_episode(spec, 0)["actions"], record_episode(spec, 0)["actions"]
    assert np.array_equal(one, again)
    assert len(np.unique(one)) == one.size and 0.5 < one.std() < 0.65  # they were drawn uniformly


START = f"""
from pathlib import Path; from thalweg.data.collect import CollectSpec, collect
collect(CollectSpec.official("cube-single", "play", episodes={EPISODES}, steps={STEPS}), Path("."), workers=1)
"""


def kill_a_run(folder: Path, shards: int, *, parent_only: bool) -> None:
    """Start recording and kill it at a random moment after ``shards`` shards were there."""
    parts, command = folder / f"{NAME}.parts", [sys.executable, "-W", "ignore", "-c", START]
    run = subprocess.Popen(command, cwd=folder, start_new_session=True, stdout=subprocess.PIPE)
    while not (parts / "settings.json").exists() or len(list(parts.glob("shard-*.npz"))) < shards:
        if run.poll() is not None:
            break
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.3))
    try:
        if parent_only:
            run.kill()
            run.communicate(timeout=30)  # its workers hold the other end of the pipe: they must not live on
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)
        run.communicate()


def test_a_killed_run_goes_on_and_ends_the_same(recorded, tmp_path):
    parts, kept = tmp_path / f"{NAME}.parts", {}
    for shards in (0, 1, 2):
        kill_a_run(tmp_path, shards, parent_only=shards == 1)
        found = {path: path.stat().st_mtime_ns for path in parts.glob("shard-*.npz")}
        assert kept.items() <= found.items() or (tmp_path / f"{NAME}.npz").exists()  # no work is done twice
        kept = found
    if not (tmp_path / f"{NAME}.npz").exists():
        (tmp_path / f"{NAME}.json.1.tmp").write_text("half")  # as a kill amid a write leaves it
    collect(SPEC, tmp_path, workers=1)
    assert_same(tmp_path, recorded)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("commit", range(4))
def test_a_run_stopped_at_any_commit_goes_on_and_ends_the_same(shards, recorded, tmp_path, monkeypatch, commit, done):
    folder, count, replace, rmtree = tmp_path / "set", iter(range(9)), Path.replace, shutil.rmtree
    shutil.copytree(shards, folder)

    def stopping(original):
        def call(*arguments):
            last = next(count) == commit
            if last and not done:
                raise Stopped
            original(*arguments)
            if last:
                raise Stopped

        return call

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(Path, "replace", stopping(replace))
        patch.setattr(shutil, "rmtree", stopping(rmtree))
        collect(SPEC, folder, workers=1)
    collect(SPEC, folder, workers=1)
    assert_same(folder, recorded)


def test_a_finished_set_is_not_recorded_again(recorded, monkeypatch):
    monkeypatch.setattr(module, "run_jobs", lambda *_, **__: pytest.fail("recorded again"))
    seen = []
    assert collect(SPEC, recorded, progress=lambda *now: seen.append(now)) == recorded / f"{NAME}.npz"
    assert seen == [(23, 23)]


@pytest.mark.parametrize("state", ["shards", "recorded"])
def test_other_settings_or_versions_in_the_same_folder_are_refused(state, request, monkeypatch):
    folder = request.getfixturevalue(state)
    before = sorted(folder.rglob("*"))
    with pytest.raises(ThalwegError, match=rf"{NAME}.* recorded with seed=0, this run asks for 7; choose another"):
        collect(dataclasses.replace(SPEC, seed=7), folder)
    monkeypatch.setattr(suite, "versions", lambda: {"mujoco": "9.9"})
    with pytest.raises(ThalwegError, match="recorded with mujoco=.*asks for '9.9'"):
        collect(SPEC, folder)
    assert sorted(folder.rglob("*")) == before


def test_a_set_from_elsewhere_is_not_overwritten(tmp_path):
    (tmp_path / f"{NAME}.npz").write_bytes(b"official")
    with pytest.raises(ThalwegError, match=rf"{NAME}.npz exists but was not recorded here"):
        collect(SPEC, tmp_path)
    assert (tmp_path / f"{NAME}.npz").read_bytes() == b"official"


def cube_at(*positions: tuple[float, float]) -> np.ndarray:
    qpos = np.zeros((len(positions), 24), np.float32)
    qpos[:, 15:17] = positions
    return qpos


@pytest.mark.parametrize(
    ("y", "z", "visible"),
    [(0, 0.02, True), (0.28, 0.02, True), (0.29, 0.02, False), (-0.29, 0.3, True), (-0.3, 0.07, True)]
    + [(-0.31, 0.05, False), (-0.31, 0.09, False), (0.35, 0.07, False)],
)
def test_a_scene_episode_is_healthy_while_the_cube_is_in_view_or_in_the_drawer(y, z, visible):
    assert module._cube_stays_visible(cube_at((0, 0.02), (y, z), (0, 0.02))) is visible


def test_an_unhealthy_scene_episode_is_recorded_again_with_another_seed(monkeypatch):
    spec, asked = CollectSpec.official("scene", "play", steps=2), []

    def roll(_, sequence):
        asked.append(tuple(sequence.generate_state(3)))
        return {"qpos": cube_at((0.5 if len(asked) < healthy else 0.0, 0.0))}

    monkeypatch.setattr(module, "_roll", roll)
    healthy = 3
    assert record_episode(spec, 5)["qpos"][0, 15] == 0 and len(set(asked)) == 3
    healthy = 10_000
    with pytest.raises(ThalwegError, match="episode 5 of scene-play-v0 went wrong"):
        record_episode(spec, 5)
    healthy, asked = 10_000, []
    assert len(record_episode(dataclasses.replace(spec, env="cube-single-v0"), 5)) == 1 and len(asked) == 1


@pytest.mark.parametrize(
    ("env", "kind", "sizes", "named"),
    [
        ("antmaze-large", "play", {}, "environment 'antmaze-large'; choose one of 'cube-single', "),
        ("cube-single", "expert", {}, "kind of data 'expert'; choose one of 'play', 'noisy'"),
        ("cube-single", "play", {"episodes": 0}, "episodes=0"),
        ("cube-single", "play", {"steps": 1}, "steps=1"),
        ("cube-single", "play", {"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_settings_that_cannot_be_recorded_are_refused(env, kind, sizes, named):
    with pytest.raises(ThalwegError, match=named):
        CollectSpec.official(env, kind, **sizes)


def test_workers_must_be_a_number_of_processes(tmp_path):
    for workers in (0, -2):
        with pytest.raises(ThalwegError, match=f"workers must be 1 or more, got {workers}"):
            collect(SPEC, tmp_path, workers=workers)
    assert not os.listdir(tmp_path)


def test_official_sizes_and_names():
    spec = CollectSpec.official("visual-puzzle-4x5-v0", "noisy")
    assert (spec.name, spec.episodes, spec.validation, spec.steps) == (
        "visual-puzzle-4x5-noisy-v0",
        3000,
        300,
        1001,
    )
    assert CollectSpec.official("cube-single", "play", episodes=4).validation == 1
