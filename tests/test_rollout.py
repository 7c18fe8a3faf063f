"""Evaluation: seeds, journal, floors, one's own environment, and the shipped checkpoint in the real one."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thalweg.check import check_env
from thalweg.checkpoint import Provenance, save_checkpoint
from thalweg.clone import Clone, CloneConfig
from thalweg.envs.ogbench import random_task
from thalweg.errors import ThalwegError
from thalweg.evaluation import evaluate
from thalweg.pad.system import PaD
from thalweg.results import versions
from thalweg.rollout import RolloutSpec, episodes_of, rollout, run_group

gymnasium = pytest.importorskip("gymnasium")
pytest.importorskip("ogbench")

module = sys.modules["thalweg.rollout"]  # the package has a function of that name
SHIPPED = Path(__file__).parent.parent / "checkpoints" / "cube-single-play"
POINT = "thalweg.envs.reach_point:ReachPoint"


@pytest.fixture
def inline(monkeypatch):
    """No worker processes: groups run here, one after the other."""

    def run_jobs(function, jobs, finished, **_):
        for job in jobs:
            finished(function(*job))

    monkeypatch.setattr(module, "run_jobs", run_jobs)


@pytest.fixture
def make_clone(tmp_path):
    """Checkpoints of cloned policies for the point, untrained."""

    def make(name: str, *, seed: int = 0, width: int = 8, data: str = "points", steps: int = 10) -> Path:
        torch.manual_seed(seed)
        provenance = Provenance(POINT, "points", data, "clone", seed, {"steps": steps})
        return save_checkpoint(tmp_path / name, Clone(CloneConfig(4, 2, width, 1)), provenance)

    return make


class Stopped(BaseException):
    """Stands for a kill."""


def stop_at(count: int):
    def progress(*counts) -> None:
        if counts[-3] == count:
            raise Stopped

    return progress


def test_every_episode_has_a_seed_of_its_own():
    spec = RolloutSpec("cube-single", "random", episodes=50, seed=3)
    seeds = [seed for *_, seed in episodes_of(spec)]
    assert len(set(seeds)) == 250
    other = [seed for *_, seed in episodes_of(RolloutSpec("cube-single", "random", episodes=50, seed=4))]
    assert not set(seeds) & set(other)


def test_random_tasks_lie_where_the_data_does():
    for seed in range(50):
        task = random_task("cube-single", seed)
        assert 0.3 <= task["init_xyzs"][0, 0] <= 0.55
        assert abs(task["goal_xyzs"][0, 1]) <= 0.3


def test_random_tasks_of_the_scene_change_two_things_or_more():
    for seed in range(50):
        task = random_task("scene", seed)
        start, goal = task["init"], task["goal"]
        away = np.linalg.norm(goal["block_xyzs"] - start["block_xyzs"])
        assert away == 0 or away > 0.08
        others = [start[name] != goal[name] for name in ("drawer_pos", "window_pos")]
        assert sum([away > 0, *(start["button_states"] != goal["button_states"]), *others]) >= 2
        if goal["block_xyzs"][0, 2] > 0.05:  # in the drawer, as far as it goes
            assert goal["drawer_pos"] == 0.0


def test_random_tasks_keep_cubes_apart():
    for seed in range(50):
        task = random_task("cube-triple", seed)
        start, goal = task["init_xyzs"], task["goal_xyzs"]
        assert start.shape == goal.shape == (3, 3)
        assert (start != random_task("cube-triple", seed + 1)["init_xyzs"])[:, :2].all()
        for one, other in ((0, 1), (0, 2), (1, 2)):
            assert np.linalg.norm(start[one] - start[other]) > 0.08
            assert np.linalg.norm(goal[one] - goal[other]) > 0.08
        assert (np.linalg.norm(start - goal, axis=1) > 0.08).all()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        ({"episodes": 0}, "episodes must be 1 or more, got 0"),
        ({"tasks": (1, 6)}, "'cube-single' has no task 6; choose from 1, 2, 3, 4, 5"),
        ({"environment": "puzzle-3x3", "tasks": ()}, "'puzzle-3x3' has no held-out starts and goals"),
        ({"environment": "cube-one"}, "'cube-one'; choose one of 'cube-single'"),
        ({"environment": POINT, "tasks": (1,)}, r"has no official tasks, got \[1\]; give tasks=\(\)"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(settings, named):
    with pytest.raises(ThalwegError, match=named):
        RolloutSpec(**{"environment": "cube-single", "policy": "random"} | settings)


def test_workers_must_be_a_number_of_processes(tmp_path):
    for workers in (0, -2):
        with pytest.raises(ThalwegError, match=f"workers must be 1 or more, got {workers}"):
            rollout(RolloutSpec(POINT, "random", tasks=()), workers=workers, journal=tmp_path / "run.jsonl")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("environment", ["cube-single", "point"])
def test_the_environments_keep_their_contract(environment):
    from thalweg.envs import make_env

    check_env(make_env(POINT if environment == "point" else environment), steps=10)


@pytest.mark.parametrize(
    ("space", "broken"),
    [
        (gymnasium.spaces.Discrete(4), "not a continuous Box"),
        (gymnasium.spaces.Box(0, 9, (2,), np.int64), "not a continuous Box"),
        (gymnasium.spaces.Box(-1, np.inf, (2,), np.float32), "unbounded"),
    ],
)
def test_actions_must_be_continuous_and_bounded(space, broken, tmp_path, monkeypatch):
    from thalweg.envs.reach_point import ReachPoint

    env = ReachPoint()
    env.action_space = space
    with pytest.raises(ThalwegError, match=f"contract broken: the action space .* {broken}"):
        check_env(env)
    monkeypatch.setitem(sys.modules, "broken_worlds", type(sys)("broken_worlds"))
    sys.modules["broken_worlds"].make = lambda: env
    with pytest.raises(ThalwegError, match=broken):
        rollout(RolloutSpec("broken_worlds:make", "random", tasks=()), workers=1)


def test_ones_own_environment_is_evaluated_by_its_name(tmp_path, inline):
    record = tmp_path / "traces"
    result = evaluate(["random"], environment=POINT, episodes=6, seed=1, record=record, out=tmp_path / "result.json")
    assert result["environment"] == POINT
    assert result["evaluation"]["tasks"] == "random starts and goals"
    assert result["success"]["episodes"] == 6 and result["training_seeds"] == []
    assert {row["training_seed"] for row in result["episodes"]} == {None}
    assert len({row["seed"] for row in result["episodes"]}) == 6
    with np.load(record / "task0-003.npz") as trace:
        steps = result["episodes"][3]["steps"]
        assert trace["observations"].shape == (steps + 1, 4) and trace["actions"].shape == (steps, 2)
        assert not {"qpos", "qvel", "kept"} & set(trace.files)
    again = evaluate(["random"], environment=POINT, episodes=6, seed=1)
    assert again["episodes"] == result["episodes"]


@pytest.mark.parametrize("name", ["no.such.module:make", "thalweg.envs.reach_point:make", "thalweg.envs.reach_point:"])
def test_a_factory_that_is_not_there_is_named(name):
    with pytest.raises(ThalwegError, match=rf"no environment '{name}' .*give one of OGBench's, or module:function"):
        rollout(RolloutSpec(name, "random", tasks=()), workers=1)


def test_decisions_are_counted_while_an_episode_lives(monkeypatch):
    """Two episodes in step, one soon at its goal, the other never: each has the decisions of its own steps."""

    class Walker:
        def reset(self, goal, *, seeds):
            self.goal, self.age = goal, 0

        def act(self, observation):
            self.age = self.age % 4 + 1
            return 10 * (self.goal - observation)[:, :2] * np.array([[1.0], [0.0]])

    monkeypatch.setattr(module, "_policy", lambda spec: Walker())
    near, far = run_group(RolloutSpec(POINT, "random", tasks=(), together=2), [(0, 0, 3), (0, 1, 5)])
    assert near.success and near.steps < 30 and near.decisions == -(-near.steps // 4)
    assert not far.success and far.decisions == 60 // 4


def test_a_stopped_evaluation_goes_on_where_it_was(tmp_path):
    """The journal's last line is cut, as by a kill; the rerun repeats only what was lost, with the same outcome."""
    spec = RolloutSpec("cube-single", "random", tasks=(1, 2), episodes=2, together=2)
    journal = tmp_path / "run.jsonl"
    whole = rollout(spec, workers=1, journal=journal)
    assert len(whole) == 4
    assert not any(result.success for result in whole)
    assert {result.steps for result in whole} == {200}
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:20])
    counted = []
    again = rollout(spec, workers=1, journal=journal, progress=lambda done, total, successes: counted.append(done))
    assert again == whole
    assert counted == [2, 4]
    with pytest.raises(ThalwegError, match=r"another evaluation: evaluation\.tasks is \[1, 2\], not \[1\]"):
        rollout(replace(spec, tasks=(1,)), journal=journal)


def test_a_journal_knows_the_weights_and_the_simulator(make_clone, tmp_path, inline, monkeypatch):
    """A checkpoint retrained in its place, or another version of a library, does not go on with the old episodes."""
    journal, spec = tmp_path / "run.jsonl", RolloutSpec(POINT, str(make_clone("clone")), tasks=(), episodes=2)
    with pytest.raises(ThalwegError, match="no environment"):
        rollout(replace(spec, environment="no.such.module:make"), journal=journal)
    rollout(spec, journal=journal)  # a journal without episodes is in nobody's way
    assert len(rollout(spec, journal=journal)) == 2
    monkeypatch.setattr(module, "versions", lambda: versions() | {"mujoco": "9.9"})
    with pytest.raises(ThalwegError, match=r"another evaluation: versions\.mujoco is .*, not '9\.9'"):
        rollout(spec, journal=journal)
    make_clone("clone", seed=1)
    with pytest.raises(ThalwegError, match=r"another evaluation: checkpoint\.model\.safetensors is '\w{64}', not"):
        rollout(spec, journal=journal)


def test_a_killed_worker_is_one_clear_error_and_nothing_is_lost(tmp_path):
    spec = RolloutSpec("cube-single", "random", tasks=(1, 2, 3), episodes=1, together=1)
    journal = tmp_path / "run.jsonl"

    def kill(done: int, *_: int) -> None:
        for worker in multiprocessing.active_children() if done == 1 else ():
            os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(ThalwegError, match=r"worker process was killed.*__main__.*the same command goes on"):
        rollout(spec, workers=1, journal=journal, progress=kill)
    counted = []
    rollout(spec, workers=1, journal=journal, progress=lambda done, total, successes: counted.append(done))
    assert counted == [1, 2, 3]


START = f"""
from pathlib import Path; from thalweg.rollout import RolloutSpec, rollout
rollout(RolloutSpec("{POINT}", "random", tasks=(), episodes=100_000), workers=1, journal=Path("run.jsonl"))
"""


def test_workers_end_with_a_killed_parent(tmp_path):
    """They hold the other end of the pipe: were they to live on, reading it would not end."""
    run = subprocess.Popen([sys.executable, "-c", START], cwd=tmp_path, start_new_session=True, stdout=subprocess.PIPE)
    try:
        journal, begun = tmp_path / "run.jsonl", time.monotonic()
        while not journal.exists() or len(journal.read_text().splitlines()) < 3:
            assert run.poll() is None and time.monotonic() - begun < 120
            time.sleep(0.05)
        run.kill()
        run.communicate(timeout=30)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGKILL)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(START.replace("100_000", "1"))
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert 'a script must call this under `if __name__ == "__main__":`' in done.stderr.splitlines()[-1]


def test_only_checkpoints_that_differ_in_their_seed_are_evaluated_together(tiny_config, make_clone, tmp_path):
    for dataset in ("one", "other"):
        save_checkpoint(tmp_path / dataset, PaD(tiny_config), Provenance("cube-single", dataset))
    with pytest.raises(ThalwegError, match="more than its seed: dataset is 'other', not 'one'"):
        evaluate([tmp_path / "one", tmp_path / "other"])
    first = make_clone("first")
    for changed, told in (
        (make_clone("wide", seed=1, width=9), "more than its seed: config.width is 9, not 8"),
        (make_clone("long", seed=1, steps=20), "more than its seed: training.steps is 20, not 10"),
        (make_clone("twin"), "twin has training seed 0 as .*first has; give each training seed once"),
        ("random", "give checkpoints, or 'random' alone"),
    ):
        with pytest.raises(ThalwegError, match=told):
            evaluate([first, changed])


def test_every_episode_tells_its_training_seed(make_clone, inline):
    result = evaluate([make_clone("a", seed=4), make_clone("b", seed=2)], episodes=3, floor=False)
    assert result["training_seeds"] == [4, 2]
    assert [row["training_seed"] for row in result["episodes"]] == [4] * 3 + [2] * 3
    assert [row["seed"] for row in result["episodes"][:3]] == [row["seed"] for row in result["episodes"][3:]]


def test_the_cloning_floor_is_a_clone_of_the_same_data(tiny_config, make_clone, tmp_path, inline):
    first = make_clone("first")
    planner = save_checkpoint(tmp_path / "planner", PaD(tiny_config), Provenance(data_fingerprint="points"))
    with pytest.raises(ThalwegError, match="planner is no cloned policy but 'pad'"):
        evaluate([first], cloning=planner)
    with pytest.raises(ThalwegError, match="elsewhere was cloned from other data: its fingerprint is 'other', not"):
        evaluate([first], cloning=make_clone("elsewhere", data="other"))
    assert set(evaluate([first], cloning=make_clone("same"), episodes=2)["floors"]) == {"random", "cloning"}


def test_mistakes_are_told_before_anything_runs(make_clone, tmp_path, monkeypatch):
    monkeypatch.setattr("thalweg.evaluation.rollout", lambda *_, **__: pytest.fail("it began"))
    with pytest.raises(ThalwegError, match="is a folder; name a file for the result, such as .*result.json"):
        evaluate([make_clone("clone")], out=tmp_path)
    for source in (make_clone("clone"), "random"):
        with pytest.raises(ThalwegError, match=f"{source} has no planner to change 'steps' of"):
            evaluate([source], environment=POINT, planner={"steps": 3})


def test_a_result_takes_away_its_own_journals_and_stale_traces_only(tmp_path, inline):
    """Beside it lie another result's journal, and the traces of an earlier, longer run."""
    other, record, out = tmp_path / "a.b.policy0.jsonl", tmp_path / "a.traces", tmp_path / "a.json"
    other.write_text("not ours")
    evaluate(["random"], environment=POINT, episodes=20, record=record)
    (record / "notes.npz").write_text("not ours")
    settings = {"environment": POINT, "episodes": 12, "record": record, "out": out}
    with pytest.raises(Stopped):
        evaluate(["random"], **settings, progress=stop_at(5))
    assert len(list(record.glob("task*.npz"))) == 5
    resumed = evaluate(["random"], **settings)
    assert len(list(record.glob("task*.npz"))) == 12
    assert sorted(os.listdir(tmp_path)) == ["a.b.policy0.jsonl", "a.json", "a.traces"]
    assert (record / "notes.npz").exists()
    assert resumed["evaluation"]["wall_clock_s"] is None  # the first part was not timed
    whole = evaluate(["random"], **settings)
    assert whole["evaluation"]["wall_clock_s"] >= 0 and whole["episodes"] == resumed["episodes"]


def test_the_recorded_command_can_be_pasted(monkeypatch):
    from thalweg.cli.evaluate import command

    def evaluate(*_, recipe, **__):
        raise ThalwegError(recipe)

    monkeypatch.setattr("thalweg.evaluation.evaluate", evaluate)
    monkeypatch.setattr(sys, "argv", ["/bin/thalweg", "evaluate", "my runs/a", "--seed", "3"])
    with pytest.raises(ThalwegError) as told:
        command(["my runs/a"], seed=3)
    assert shlex.split(str(told.value)) == ["thalweg", "evaluate", "my runs/a", "--seed", "3"]


def test_the_shipped_checkpoint_plans_and_acts(tmp_path):
    """From a checkpoint to a result file with floors; its success far above chance."""
    out = tmp_path / "result.json"
    result = evaluate([SHIPPED], out=out, tasks=(1, 5), episodes=4, record=tmp_path / "traces")
    assert json.loads(out.read_text()) == json.loads(json.dumps(result))
    assert result["success"]["episodes"] == 8
    assert result["floors"]["random"]["mean"] == 0
    assert result["success"]["successes"] >= 5  # it nearly always succeeds, chance never does
    assert result["planning_ms"]["p50"] > 0
    assert len(list((tmp_path / "traces").glob("*.npz"))) == 8
    assert not list(tmp_path.glob("*.jsonl"))


def test_the_shipped_checkpoint_says_where_it_comes_from():
    record = json.loads((SHIPPED / "thalweg.json").read_text())
    provenance = record["provenance"]
    assert provenance["environment"] == "cube-single"
    assert provenance["recipe"].startswith("thalweg train")
    assert len(provenance["data_fingerprint"]) == 64
    assert provenance["versions"]["mujoco"]


def test_replaying_recorded_actions_shows_an_unchanged_simulator():
    from thalweg.doctor import REPLAY_TOLERANCE, replay_error

    assert replay_error() < REPLAY_TOLERANCE
