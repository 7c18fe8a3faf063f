"""Grips: what of the body goes with what it handles."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from thalweg.data.scene import find_scene
from thalweg.data.store import EpisodeStore
from thalweg.grips import Grip, count_grips, find_grips, find_turns, grip_features


def handling(*, held: float = 1.0, seed: int = 0) -> EpisodeStore:
    """A hand (0, 1) that carries a thing (3) along 0 and pulls another (4) against 1; 2 wanders by itself.

    In a share of the moves, 1 less ``held``, the first thing moves without the hand.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(30):
        hand, things = rng.uniform(-1, 1, 2), rng.uniform(-1, 1, 2)
        for _ in range(6):
            carried, taken = rng.random() < 0.5, rng.random() < held
            start = things.copy()
            grip = things[0] if carried else (0.4 - things[1]) / 2
            steps = rng.uniform(-0.08, 0.08, 20).cumsum()
            for step in steps:
                if carried:
                    hand[0] = grip + step if taken else rng.uniform(-1, 1)
                    things[0] = start[0] + step
                else:
                    hand[1] = grip + step
                    things[1] = 0.4 - 2 * hand[1]
                hand[int(carried)] += rng.normal(0, 0.05)
                rows.append([*hand, rng.normal(), *things])
            for _ in range(10):  # the hand moves on, the things lie still
                hand += rng.normal(0, 0.2, 2)
                rows.append([*hand, rng.normal(), *things])
    observations = np.array(rows, np.float32)
    return EpisodeStore.from_arrays(observations, observations[:, :2], lengths=np.full(30, len(rows) // 30))


def grips_of(store: EpisodeStore) -> tuple[Grip, ...]:
    return find_grips(store, find_scene(store))


@pytest.mark.parametrize("held", [1.0, 0.85])
def test_what_goes_with_what_is_found_along_its_line(held):
    grips = grips_of(handling(held=held))
    assert [(grip.body, grip.thing) for grip in grips] == [(0, 3), (1, 4)]
    assert grips[0].slope == pytest.approx(1, abs=0.02) and grips[0].shift == pytest.approx(0, abs=0.02)
    assert grips[1].slope == pytest.approx(-0.5, abs=0.02) and grips[1].shift == pytest.approx(0.2, abs=0.02)


def test_things_that_move_by_themselves_are_not_held():
    assert [grip.thing for grip in grips_of(handling(held=0.0))] == [4]


def test_recordings_without_a_scene_have_no_grips(make_store):
    assert grips_of(make_store([30, 30])) == ()
    assert grip_features(torch.ones(2, 3), (), ()).shape == (2, 0)


def test_features_tell_the_distance_from_a_grip_twice():
    grips = (Grip(0, 1, slope=2.0, shift=1.0, spread=4.0),)
    at, near = torch.tensor([[7.0, 3.0], [7.4, 3.0]], dtype=torch.float64)
    found = grip_features(torch.stack([at, near]), grips, ())
    np.testing.assert_allclose(found, [[0, 0], [0.1, np.tanh(0.8)]], atol=1e-9)


def test_turns_are_between_the_body_and_what_it_handles():
    store = handling()
    assert find_turns(((0, 1), (3, 4), (0, 3)), find_scene(store)) == ((0, 1, 3, 4),)
    body, thing = np.deg2rad([100.0, 70.0])
    state = torch.tensor([[np.cos(body), np.sin(body), 0.0, 2 * np.cos(thing), 2 * np.sin(thing)]])
    found = grip_features(state, (), ((0, 1, 3, 4),))
    assert found.shape == (1, count_grips(0, 1))
    np.testing.assert_allclose(found[0, :3], np.cos(np.deg2rad([30, 60, 120])), atol=1e-6)
    np.testing.assert_allclose(found[0, 3:], np.sin(np.deg2rad([30, 60, 120])), atol=1e-6)
