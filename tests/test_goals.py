"""Telling goals that recordings lead to from goals that nothing leads to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thalweg.agent import Agent
from thalweg.checkpoint import Provenance, load_checkpoint, save_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSpec
from thalweg.envs.point import record_points
from thalweg.errors import ThalwegError
from thalweg.goals import GoalModel, GoalModelConfig
from thalweg.pad.system import PaD
from thalweg.pairings import Pairings
from thalweg.train import TrainConfig, train

WINDOWS = WindowSpec((1, 2, 4, 8), reach_high=8)


@pytest.fixture(scope="module")
def points() -> EpisodeStore:
    return record_points(30, steps=60)


@pytest.fixture(scope="module")
def judge(points) -> GoalModel:
    torch.manual_seed(0)
    model = GoalModel(GoalModelConfig(4, width=64, alarm=0.01), WINDOWS)
    train(model, points, config=TrainConfig(steps=400, batch=128, compile=False, precision="float32", rate=2e-3))
    model.set_threshold(points)
    return model


def test_recorded_goals_are_plausible_and_far_ones_are_not(judge, points):
    held_out = torch.from_numpy(record_points(5, steps=60, seed=500).observations)
    with torch.no_grad():
        assert (judge(held_out) >= 0).float().mean() > 0.95
        assert (judge(torch.from_numpy(points.observations)) < 0).float().mean().item() == pytest.approx(0.01, abs=0.01)
        for far in (3.0, 30.0, 300.0):
            for axis in range(2):
                beyond = held_out.clone()
                beyond[:, axis] = far
                assert (judge(beyond) < 0).float().mean() > 0.95, (far, axis)


def test_what_is_corrupted_is_what_a_goal_is_about(points):
    """Beside a scene the body is left alone, and every corrupted goal differs from its own."""
    steps = np.tile(np.repeat(np.arange(3), 20), len(points))  # moves twice an episode
    observations = np.concatenate([points.observations, steps[:, None]], axis=1).astype(np.float32)
    store = EpisodeStore.from_arrays(observations, points.actions, lengths=points.ends - points.starts)
    model = GoalModel(GoalModelConfig(5), replace(WINDOWS, settled=0.75))
    sampler = model.sampler(store)
    assert sampler.scene.still.tolist() == [False] * 4 + [True]
    model.measure(sampler, np.random.default_rng(0))
    sample = model.draw(sampler, 400, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert torch.equal(sample.corrupted[:, :4], sample.goal[:, :4])
    assert (sample.corrupted[:, 4] != sample.goal[:, 4]).float().mean() > 0.6  # another row may say the same


def test_the_agent_says_so_and_acts_all_the_same(tiny_config):
    config = replace(tiny_config, goals=GoalModelConfig(3, width=8))
    pad = PaD(config)
    with torch.no_grad():
        pad.goals.net[-1].weight.zero_()
        pad.goals.net[-1].bias.fill_(1.0)
    agent = Agent(pad)
    agent.reset(np.zeros(3))
    assert agent.plausible and agent.plausibility == pytest.approx(1.0)
    pad.goals.threshold.fill_(3.0)
    agent.reset(np.zeros((2, 3)))
    assert not agent.plausible and agent.plausibility.tolist() == [-2.0, -2.0]
    assert np.isfinite(agent.act(np.zeros((2, 3)))).all()


def test_without_a_goal_model_every_goal_is_plausible(tiny_config):
    agent = Agent(PaD(replace(tiny_config, goals=None)))
    agent.reset(np.zeros(3))
    assert agent.plausible and np.isposinf(agent.plausibility).all()


def test_a_checkpoint_keeps_it(tiny_config, tmp_path):
    pad = PaD(replace(tiny_config, goals=GoalModelConfig(3, width=8)))
    pad.goals.threshold.fill_(0.5)
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path, pad, Provenance()))
    goal = torch.randn(4, 3)
    torch.testing.assert_close(loaded.plausibility(goal), pad.plausibility(goal))


def test_settings_that_make_no_sense_are_refused(tiny_config):
    with pytest.raises(ThalwegError, match=r"alarm must be a share between 0 and 1, got 1\.5"):
        GoalModelConfig(3, alarm=1.5)
    with pytest.raises(ThalwegError, match=r"goals\.observation is 4, but encoder\.observation is 3"):
        PaD(replace(tiny_config, goals=GoalModelConfig(4)))


def several(objects: tuple[tuple[int, ...], ...]) -> GoalModel:
    return GoalModel(GoalModelConfig(5, objects, width=8), WINDOWS)


def test_two_objects_of_a_kind_are_put_in_one_place(monkeypatch):
    """Without noise, every coordinate that changed is the other object's, in the environment's units."""
    monkeypatch.setattr("thalweg.pairings.BESIDE", (-80.0, -80.0))
    std = torch.tensor([1.0, 2.0, 3.0, 0.5, 4.0])
    before = torch.randn(200, 5, generator=torch.Generator().manual_seed(0))
    after = Pairings(((1, 2), (3, 4))).together(before, std, np.random.default_rng(0), torch.Generator().manual_seed(0))
    changed = (after - before).abs() > 1e-4
    assert not changed[:, 0].any()
    assert not (changed[:, 1:3].any(dim=1) & changed[:, 3:].any(dim=1)).any()  # one of the two is moved
    for one, other in ((1, 3), (2, 4), (3, 1), (4, 2)):
        rows = changed[:, one]
        assert rows.any()
        torch.testing.assert_close(after[rows, one], before[rows, other], rtol=1e-4, atol=1e-4)
    alone = Pairings(((1, 2), (3,)))  # no second one of either kind
    assert torch.equal(alone.together(before, std, np.random.default_rng(0), torch.Generator()), before)


def test_one_object_is_taken_whole_from_another_goal():
    model = several(((1, 2), (3, 4)))
    goal, other = torch.zeros(100, 5), torch.ones(100, 5)
    taken = model._elsewhere(goal, other, np.random.default_rng(0)).unique(dim=0).tolist()
    assert sorted(taken) == [[0, 0, 0, 1, 1], [0, 1, 1, 0, 0]]
