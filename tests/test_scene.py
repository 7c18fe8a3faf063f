"""Finding what rests in recordings, and the windows and noises that are built on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data.scene import find_scene
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import OPENING, WindowSampler, WindowSpec
from thalweg.errors import ThalwegError
from thalweg.pad.system import PaD

LENGTH = 60


def recorded(moves: list[list[tuple[int, int]]], seed: int = 0) -> EpisodeStore:
    """Episodes of a hand that never rests and a box that moves, at constant speed, during the given spans.

    Observation: hand, box, and a lid that keeps what it was at the start of the episode.
    """
    rng = np.random.default_rng(seed)
    episodes = []
    for spans in moves:
        hand = np.cumsum(rng.normal(size=LENGTH))
        speed, direction = np.zeros(LENGTH), rng.choice([-1.0, 1.0])
        for begin, end in spans:
            speed[begin:end] = direction
        box = rng.normal() * 5 + np.cumsum(speed) - speed
        episodes.append(np.stack([hand, box, np.full(LENGTH, rng.normal())], axis=1))
    rows = np.concatenate(episodes).astype(np.float32)
    actions = np.zeros((len(rows), 2), np.float32)
    return EpisodeStore.from_arrays(rows, actions, lengths=np.full(len(moves), LENGTH))


def test_what_rests_is_the_scene_and_it_settles_when_it_stops():
    store = recorded([[(10, 20), (35, 41)], [], [(50, LENGTH)]] + [[(12, 25)]] * 9)
    scene = find_scene(store)
    assert scene.still.tolist() == [False, True, True]
    assert scene.objects == ((1,),)
    # The first row of rest is the one after which nothing moves: 20, then 41, then nothing more.
    assert scene.settles[:LENGTH].tolist() == [20] * 20 + [41] * 21 + [-1] * 19
    assert (scene.settles[LENGTH : 3 * LENGTH] == -1).all()
    assert scene.settles[3 * LENGTH] == 3 * LENGTH + 25


def test_objects_are_what_is_displaced_together():
    """A box of two coordinates, a ball, a lid that nothing moves, and a light that shines while anything moves."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(40):
        speed = np.zeros((LENGTH, 2))
        for begin in (5, 25, 45):
            speed[begin : begin + 10, rng.integers(2)] = rng.choice([-1.0, 1.0])
        box, ball = rng.normal(size=(2, 1)) * 5 + np.cumsum(speed, axis=0).T
        lid, light = np.full(LENGTH, rng.normal()), speed.any(axis=1)
        rows.append(np.stack([np.cumsum(rng.normal(size=LENGTH)), box, ball, -2 * box, lid, light], axis=1))
    rows = np.concatenate(rows).astype(np.float32)
    store = EpisodeStore.from_arrays(rows, np.zeros((len(rows), 1), np.float32), lengths=np.full(40, LENGTH))
    scene = find_scene(store)
    assert scene.still.tolist() == [False, True, True, True, True, True]
    assert scene.objects == ((1, 3), (2,))


def test_a_recording_in_which_nothing_rests_has_no_scene():
    rows = np.cumsum(np.random.default_rng(0).normal(size=(100, 3)), axis=0).astype(np.float32)
    store = EpisodeStore.from_arrays(rows, np.zeros((100, 1), np.float32), lengths=np.array([60, 40]))
    assert find_scene(store) is None
    still = EpisodeStore.from_arrays(rows * 0, np.zeros((100, 1), np.float32), lengths=np.array([60, 40]))
    assert find_scene(still) is None


spans = st.lists(st.tuples(st.integers(1, 50), st.integers(3, 20)).map(lambda p: (p[0], p[0] + p[1])), max_size=2)


@given(st.lists(spans, min_size=12, max_size=14), st.integers(0, 99))
def test_settled_goals_lie_ahead_in_the_same_episode_at_rest(moves, seed):
    store = recorded(moves, seed)
    sampler = WindowSampler(store, WindowSpec(offsets=(1, 4), reach_high=30, settled=1.0))
    index = sampler.draw(200, np.random.default_rng(seed))
    _, future, goal = sampler.gather(index)
    for b in np.flatnonzero(index.settled):
        now = index.past[b, -1]
        assert now < index.goal[b] <= now + 30 and now // LENGTH == index.goal[b] // LENGTH
        box = store.observations[:, 1]
        reached, end = index.goal[b], (now // LENGTH + 1) * LENGTH
        after = box[reached : min(reached + 5, end)]
        assert np.ptp(after) == 0  # at rest
        assert box[reached - 1] != box[reached]  # only just
        assert goal[b, 0] == store.observations[index.body[b], 0]
        assert np.array_equal(goal[b, 1:], store.observations[reached, 1:])
    for b in np.flatnonzero(~index.settled):
        assert np.array_equal(goal[b], store.observations[index.goal[b]])
    assert np.array_equal(future[:, -1], store.observations[np.minimum(index.past[:, -1] + 4, index.goal)])


def test_shares_of_settled_goals_and_openings():
    store = recorded([[(30, 40)]] * 20)
    spec = WindowSpec(offsets=(1, 4), reach_high=60, settled=0.5, opening=0.8)
    index = WindowSampler(store, spec).draw(20_000, np.random.default_rng(0))
    step = index.past[:, -1] % LENGTH
    before = step < 40  # where a settling lies ahead
    assert index.settled[before].mean() == pytest.approx(0.5, abs=0.02)
    assert not index.settled[~before].any()
    evenly = OPENING / (LENGTH - 1)
    assert (step < OPENING).mean() == pytest.approx(0.8 + 0.2 * evenly, abs=0.02)


def test_what_the_present_foretells_of_settled_goals():
    """The lid never changes, so the present foretells it; the hand is of the body, whatever it foretells."""
    store = recorded([[(25, 40)]] * 60)
    foretold = WindowSampler(store, WindowSpec(offsets=(1, 4), reach_high=60, settled=1.0)).foretold
    assert foretold[0] == 0
    assert foretold[2] == pytest.approx(1, abs=1e-3)
    assert not WindowSampler(store, WindowSpec(offsets=(1, 4), reach_high=60)).foretold.any()


def two_boxes(spans: list[tuple[int, int, int]], length: int = 120) -> EpisodeStore:
    """A hand that never rests, and two boxes; box ``i`` moves at constant speed in ``spans`` of (i, begin, end)."""
    rng = np.random.default_rng(0)
    episodes = []
    for _ in range(12):
        speed = np.zeros((length, 2))
        for box, begin, end in spans:
            speed[begin:end, box] = 1.0
        boxes = 20 * rng.normal(size=2) + np.cumsum(speed, axis=0) - speed
        episodes.append(np.concatenate([np.cumsum(rng.normal(size=(length, 1)), axis=0), boxes], axis=1))
    rows = np.concatenate(episodes).astype(np.float32)
    return EpisodeStore.from_arrays(rows, np.zeros((len(rows), 1), np.float32), lengths=np.full(12, length))


def test_several_objects_settle_when_one_was_put_elsewhere_and_left_there():
    """Box 0 is moved; box 1 is touched, then moved with a pause on its way."""
    scene = find_scene(two_boxes([(0, 10, 30), (1, 50, 51), (1, 70, 75), (1, 80, 95)]))
    assert scene.objects == ((1,), (2,))
    # REST rows after row 30; not after the touch, nor in the pause; REST rows after row 95.
    assert scene.settles[:120].tolist() == [42] * 42 + [107] * 65 + [-1] * 13


def test_half_of_the_openings_of_several_objects_begin_where_one_was_put():
    store = two_boxes([(0, 30, 50), (1, 70, 90)])
    spec = WindowSpec(offsets=(1, 4), reach_high=60, settled=0.5, opening=1.0)
    step = WindowSampler(store, spec).draw(4_000, np.random.default_rng(0)).past[:, -1] % 120
    assert (step < OPENING).mean() == pytest.approx(0.5, abs=0.05)
    rest = step[step >= OPENING]
    assert (((rest >= 62) & (rest < 62 + OPENING)) | (rest >= 102)).all()


def test_what_the_present_foretells_of_an_object_is_measured_where_it_moves():
    """Where the other object is moved, the goal keeps this one: that foretells nothing of where this one may go."""
    rng = np.random.default_rng(0)
    moves = np.eye(2)[rng.integers(0, 2, 300)]
    places = np.zeros((301, 2))
    for i, move in enumerate(moves):  # a moved object goes anywhere
        places[i + 1] = np.where(move > 0, rng.normal(size=2), places[i])
    scene = np.repeat(places, 20, axis=0)
    rows = np.concatenate([np.cumsum(rng.normal(size=(len(scene), 1)), axis=0), scene], axis=1).astype(np.float32)
    store = EpisodeStore.from_arrays(rows, np.zeros((len(rows), 1), np.float32), lengths=np.array([len(rows)]))
    foretold = WindowSampler(store, WindowSpec(offsets=(1, 4), reach_high=30, settled=1.0)).foretold
    assert foretold.max() < 0.1


@pytest.fixture(scope="module")
def system(tiny_config) -> tuple[PaD, WindowSampler]:
    config = replace(tiny_config, windows=replace(tiny_config.windows, reach_high=8, settled=1.0, opening=0.0))
    model = PaD(config)
    sampler = model.sampler(recorded([[(10, 20), (35, 41)]] * 12))
    model.measure(sampler, np.random.default_rng(0))
    return model, sampler


def drawn(system, **training):
    model, sampler = system
    quiet = {"state_noise": 0.0, "drift": 0.0, "outliers": 0.0, "goal_noise": 0.0, "waypoint_noise": 0.0}
    model.config = replace(model.config, training=replace(model.config.training, **(quiet | training)))
    return model.draw(sampler, 4_000, np.random.default_rng(1), torch.Generator().manual_seed(1))


def test_each_noise_disturbs_what_it_is_for_and_nothing_else(system):
    clean = drawn(system)
    drift, outliers, blur = drawn(system, drift=1.0), drawn(system, outliers=0.1), drawn(system, goal_noise=2.0)
    moved = (drift.window.past - clean.window.past).abs().amax(dim=(0, 1))
    assert moved[0] > 0.1 and moved[1] == moved[2] == 0  # the body drifts, the scene stays
    assert torch.equal(drift.sensed, clean.sensed)
    swapped = (outliers.window.past != clean.window.past).float().mean(dim=(0, 1))
    assert swapped[0].item() == pytest.approx(0.1, abs=0.02) and swapped[1] == swapped[2] == 0
    assert (outliers.here != clean.here).float().mean(dim=0)[0].item() == pytest.approx(0.1, abs=0.02)
    settled = clean.window.reach[(blur.blurred != blur.window.goal).any(dim=1)]
    assert len(settled) > 500
    noise = (blur.blurred - blur.window.goal)[:, 2]
    near, far = (noise[blur.window.reach == reach].std() for reach in (2, 8))
    assert far > 2 * near > 0  # grows with the time to reach
    assert (blur.blurred[:, 0] == blur.window.goal[:, 0]).all()
    for other in (drift, outliers, blur):
        assert torch.equal(other.window.future, clean.window.future)
        assert torch.equal(other.window.goal, clean.window.goal)


@pytest.mark.parametrize(("change", "named"), [({"settled": 1.5}, "settled .* 1.5"), ({"opening": -0.1}, "opening")])
def test_shares_outside_zero_to_one_are_refused(change, named):
    with pytest.raises(ThalwegError, match=named):
        WindowSpec(offsets=(1, 2), reach_high=8, **change)
