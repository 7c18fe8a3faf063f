"""Finding angles among an observation's coordinates, and the features that show their symmetry."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thalweg.angles import angle_features, count_features, find_angles, find_quaternions
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError
from thalweg.pad.system import PaD
from thalweg.training import build
from thalweg.types import Context


def turning(rows: int = 400, seed: int = 0) -> EpisodeStore:
    """Observations of two angles, at (1, 3) and (4, 6), among lengths and a circle that never turns, at (7, 8)."""
    rng = np.random.default_rng(seed)
    one, other = rng.uniform(-np.pi, np.pi, (2, rows))
    observations = rng.normal(size=(rows, 9))
    observations[:, [1, 3]] = np.stack([np.cos(one), np.sin(one)], axis=1)
    observations[:, [4, 6]] = 3 * np.stack([np.cos(other), np.sin(other)], axis=1)
    observations[:, [7, 8]] = 1.0, 0.0
    return EpisodeStore.from_arrays(observations.astype(np.float32), rng.normal(size=(rows, 2)), lengths=[rows])


def state(*angles: float) -> torch.Tensor:
    """``(1, 2 n)`` cosine and sine of every angle, in degrees."""
    radians = torch.deg2rad(torch.tensor([angles], dtype=torch.float64))
    return torch.stack([radians.cos(), radians.sin()], dim=-1).flatten(1)


PAIRS = ((0, 1), (2, 3))


def test_angles_are_found_and_nothing_else():
    assert find_angles(turning()) == ((1, 3), (4, 6))


def test_two_components_of_a_quaternion_are_no_angle():
    """What stands upright turns about one axis: ``w`` and ``z`` lie on a circle, as a cosine and a sine do."""
    yaw = np.random.default_rng(0).uniform(-np.pi, np.pi, 400)
    upright = np.stack([np.cos(yaw / 2), 0 * yaw, 0 * yaw, np.sin(yaw / 2)], axis=1)
    told = np.stack([np.cos(yaw), np.sin(yaw)], axis=1)
    away = np.arange(400)[:, None] < 100  # what is absent reads zero
    observations = np.concatenate([turning().observations, np.where(away, 0, np.hstack([upright, told]))], axis=1)
    switch = np.where(away, np.eye(2)[np.arange(400) % 2], 0)
    observations = np.concatenate([observations, switch], axis=1)  # one or the other is there: together of unit length
    store = EpisodeStore.from_arrays(observations.astype(np.float32), np.zeros((400, 2), np.float32), lengths=[400])
    assert find_quaternions(observations) == ((9, 10, 11, 12),)
    assert find_angles(store) == ((1, 3), (4, 6), (13, 14))


def test_recordings_without_angles_have_none(make_store):
    assert find_angles(make_store([30, 30])) == ()
    assert angle_features(torch.ones(2, 3), torch.ones(2, 3), ()).shape == (2, count_features(0)) == (2, 0)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_as_many_features_as_said(count):
    pairs = tuple((2 * i, 2 * i + 1) for i in range(count))
    present, goal = torch.randn(2, 3, 2 * count)
    assert angle_features(present, goal, pairs).shape == (3, count_features(count))


def test_a_quarter_turn_of_one_angle_leaves_its_fourth_harmonics_alone():
    here, turned = (angle_features(state(10, 35), state(*goal), PAIRS) for goal in ((50, 80), (50, 170)))
    cosines = here.shape[1] // 2
    per_order = cosines // 3
    fourth = torch.cat([torch.arange(2 * per_order, cosines), torch.arange(cosines + 2 * per_order, 2 * cosines)])
    torch.testing.assert_close(here[:, fourth], turned[:, fourth])
    assert not torch.allclose(here, turned)


def test_what_is_left_to_turn_does_not_depend_on_where_it_starts():
    features = [angle_features(state(start, 0), state(start + 30, 0), PAIRS) for start in (-170, 20, 140)]
    left = torch.cos(torch.deg2rad(torch.tensor(30.0, dtype=torch.float64)))
    for one in features:
        assert one[0, 4].item() == pytest.approx(left.item())  # after two angles here and two there


def test_build_tells_the_default_planner_and_not_the_paper_s():
    assert build("default", turning()).config.angles == ((1, 3), (4, 6))
    assert build("paper", turning()).config.angles == ()
    assert build("default", turning(), settings=["angles=[]"]).config.angles == ()
    assert build("default", turning(), settings=["angles=[[1, 3]]"]).config.angles == ((1, 3),)
    with pytest.raises(ThalwegError, match="expected a list"):
        build("default", turning(), settings=["angles=1"])


def test_the_planner_hears_of_the_angles(tiny_config):
    torch.manual_seed(0)
    pad = PaD(replace(tiny_config, angles=((0, 1),)))
    present, goal = torch.randn(2, 1, 3)
    related = angle_features(present, goal, ((0, 1),))
    context = Context(present.unsqueeze(1), torch.ones(1), goal, torch.ones(1), related)
    other = replace(context, relations=-related)
    assert not torch.allclose(pad.model.condition(context).entered, pad.model.condition(other).entered)


def test_training_and_planning_tell_the_same_relations(tiny_config):
    """Without noise, a sample's relations are those of its recorded present and goal, left-out coordinates and all."""
    quiet = replace(tiny_config.training, state_noise=0.0, drift=0.0, outliers=0.0, elsewhere=0.0, goal_noise=0.0)
    store = turning()
    size = store.observations.shape[1]
    config = replace(
        tiny_config,
        angles=((1, 3), (4, 6)),
        goals=None,
        training=quiet,
        encoder=replace(tiny_config.encoder, observation=size, latent=size),
        model=replace(tiny_config.model, latent=size),
        inverse=replace(tiny_config.inverse, latent=size),
        reach=replace(tiny_config.reach, observation=size),
    )
    pad = PaD(config)
    sampler = pad.sampler(store)
    pad.measure(sampler, np.random.default_rng(0))
    sample = pad.draw(sampler, 16, np.random.default_rng(1), torch.Generator().manual_seed(0))
    past, _, goal = sampler.gather(sampler.draw(16, np.random.default_rng(1)))
    expected = angle_features(torch.from_numpy(past[:, -1]), torch.from_numpy(goal), config.angles)
    torch.testing.assert_close(sample.relations, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(sample.sensed_relations, expected, rtol=1e-3, atol=1e-3)
