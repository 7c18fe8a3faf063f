"""Evaluation in the real environment: seeds, journal, floors, and the shipped checkpoint."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from thalweg.checkpoint import Provenance, save_checkpoint
from thalweg.errors import ThalwegError
from thalweg.evaluation import evaluate
from thalweg.pad.system import PaD
from thalweg.rollout import RolloutSpec, episodes_of, random_task, rollout

pytest.importorskip("ogbench")

SHIPPED = Path(__file__).parent.parent / "checkpoints" / "cube-single-play"


def test_every_episode_has_a_seed_of_its_own():
    spec = RolloutSpec("cube-single", "random", episodes=50, seed=3)
    seeds = [seed for *_, seed in episodes_of(spec)]
    assert len(set(seeds)) == 250
    other = [seed for *_, seed in episodes_of(RolloutSpec("cube-single", "random", episodes=50, seed=4))]
    assert not set(seeds) & set(other)


def test_random_tasks_lie_where_the_data_does():
    for seed in range(50):
        task = random_task(seed)
        assert 0.3 <= task["init_xyzs"][0, 0] <= 0.55
        assert abs(task["goal_xyzs"][0, 1]) <= 0.3


def test_the_environment_keeps_its_contract():
    from thalweg.check import check_env
    from thalweg.envs.ogbench import make_env

    check_env(make_env("cube-single"), steps=10)


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
    with pytest.raises(ThalwegError, match="another evaluation"):
        rollout(RolloutSpec("cube-single", "random", episodes=3), journal=journal)


def test_a_killed_worker_is_one_clear_error_and_nothing_is_lost(tmp_path):
    spec = RolloutSpec("cube-single", "random", tasks=(1, 2, 3), episodes=1, together=1)
    journal = tmp_path / "run.jsonl"

    def kill(done: int, *_: int) -> None:
        for worker in multiprocessing.active_children() if done == 1 else ():
            os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(ThalwegError, match=r"worker process was killed.*the same command goes on"):
        rollout(spec, workers=1, journal=journal, progress=kill)
    counted = []
    rollout(spec, workers=1, journal=journal, progress=lambda done, total, successes: counted.append(done))
    assert counted == [1, 2, 3]


def test_only_checkpoints_that_differ_in_their_seed_are_evaluated_together(tiny_config, tmp_path):
    for dataset in ("one", "other"):
        save_checkpoint(tmp_path / dataset, PaD(tiny_config), Provenance("cube-single", dataset))
    with pytest.raises(ThalwegError, match="more than its seed: dataset is 'other', not 'one'"):
        evaluate([tmp_path / "one", tmp_path / "other"])


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
