"""Hindsight windows against slow, obvious loops, over random episodes and window shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from thalweg.data.windows import WindowSpec, gather_rows, sample_windows, starts
from thalweg.errors import ThalwegError

lengths_of_episodes = st.lists(st.integers(2, 14), min_size=1, max_size=6)


@st.composite
def specs(draw) -> WindowSpec:
    offsets = sorted(draw(st.sets(st.integers(1, 12), min_size=2, max_size=5)))
    low = draw(st.integers(1, 5))
    return WindowSpec(
        offsets=tuple(offsets),
        past=draw(st.integers(1, 6)),
        reach_low=low,
        reach_high=draw(st.integers(low, 12)),
        hold_goal=draw(st.booleans()),
        random_past=draw(st.booleans()),
    )


def legal_rows(lengths, spec):
    """Rows with enough of their episode left, found by looking at every row."""
    legal, row = [], 0
    for length in lengths:
        for step in range(length):
            left = length - 1 - step
            # A held goal needs only to exist; without, every token and every reach must lie in the recording.
            needed = [spec.reach_low] if spec.hold_goal else [*spec.offsets, spec.reach_high]
            legal += [row] if all(left >= need for need in needed) else []
            row += 1
    return legal


def every_window(lengths, spec, make_store, seed=0, repeat=4):
    """Windows from every legal start, ``repeat`` times over; None where no start is legal."""
    store = make_store(lengths)
    if not legal_rows(lengths, spec):
        return store, None, None
    rows = np.repeat(starts(store, spec), repeat)
    return store, rows, sample_windows(store, spec, rows, np.random.default_rng(seed))


@given(lengths_of_episodes, specs())
def test_legal_starts_and_only_those(make_store, lengths, spec):
    legal = legal_rows(lengths, spec)
    if legal:
        assert starts(make_store(lengths), spec).tolist() == legal
    else:
        with pytest.raises(ThalwegError, match=f"longest has {max(lengths)}"):
            starts(make_store(lengths), spec)


@given(lengths_of_episodes, specs())
@example([5, 2, 9], WindowSpec(offsets=(1, 3), past=4, reach_high=8))
def test_a_window_is_what_a_slow_loop_cuts(make_store, lengths, spec):
    store, rows, index = every_window(lengths, spec, make_store)
    if rows is None:
        return
    assert index.future.shape == (len(rows), len(spec.offsets)) and index.past.shape == (len(rows), spec.past)
    for b, row in enumerate(rows):
        episode = next(e for e in range(len(lengths)) if row < store.ends[e])
        first, last = store.starts[episode], store.ends[episode] - 1
        goal = row + index.reach[b]
        assert index.goal[b] == goal and row < goal <= last
        future = [min(row + k, goal) if spec.hold_goal else row + k for k in spec.offsets]
        assert index.future[b].tolist() == future and max(future) <= last
        assert index.past[b].tolist() == [max(first, row - age) for age in range(spec.past - 1, -1, -1)]
        available = row - first + 1
        if spec.random_past:
            assert 1 <= index.past_length[b] <= min(spec.past, available)
        else:
            assert index.past_length[b] == min(spec.past, available)


@given(lengths_of_episodes, specs())
def test_gathered_observations_come_from_one_episode_at_the_right_step(make_store, lengths, spec):
    store, rows, index = every_window(lengths, spec, make_store)
    if rows is None:
        return
    past, future, goal = gather_rows(store, index)
    present = past[:, -1]
    assert np.array_equal(present[:, 2], rows)
    assert np.array_equal(past[..., 2], index.past) and np.array_equal(future[..., 2], index.future)
    assert (past[..., 0] == present[:, None, 0]).all() and (future[..., 0] == present[:, None, 0]).all()
    assert np.array_equal(goal[:, :2], present[:, :2] + np.stack([np.zeros(len(rows)), index.reach], 1))
    visible = np.arange(spec.past)[::-1] < index.past_length[:, None]  # the newest ones
    ages = np.broadcast_to(np.arange(spec.past)[::-1], visible.shape)
    assert np.array_equal((present[:, None, 1] - past[..., 1])[visible], ages[visible])  # none of them clamped


@given(st.integers(1, 4), st.integers(0, 4), st.booleans())
@settings(max_examples=20)
def test_reach_takes_every_value_between_its_bounds(make_store, low, more, hold_goal):
    spec = WindowSpec(offsets=(1, 2), reach_low=low, reach_high=low + more, hold_goal=hold_goal)
    _, rows, index = every_window([12, 10], spec, make_store, repeat=200)
    last = np.where(rows < 12, 11, 21)
    for row in np.unique(rows):
        high = min(low + more, last[rows == row][0] - row)
        assert set(index.reach[rows == row]) == set(range(low, high + 1))


def test_reach_is_uniform(make_store):
    spec = WindowSpec(offsets=(1, 2), reach_low=3, reach_high=12)
    index = sample_windows(make_store([20]), spec, np.zeros(20_000, int), np.random.default_rng(0))
    counts = np.bincount(index.reach)[3:]
    assert len(counts) == 10 and abs(counts - 2000).max() < 200  # 4.7 standard deviations


def test_random_past_follows_the_paper(make_store):
    """``r = sin(pi u / 2)`` on ``[1, P]``, so ``P(length <= n) = (2 / pi) asin((n - 0.5) / (P - 1))``."""
    spec = WindowSpec(offsets=(1, 2), past=9, reach_high=2, random_past=True)
    index = sample_windows(make_store([30]), spec, np.full(40_000, 20), np.random.default_rng(0))
    share = np.cumsum(np.bincount(index.past_length, minlength=10)[1:]) / 40_000
    expected = 2 / np.pi * np.arcsin(np.minimum((np.arange(1, 10) - 0.5) / 8, 1))
    assert np.abs(share - expected).max() < 0.01  # 4 standard deviations


@given(lengths_of_episodes, specs(), st.integers(0, 2**32))
def test_the_same_seed_gives_the_same_windows(make_store, lengths, spec, seed):
    _, rows, one = every_window(lengths, spec, make_store, seed)
    _, _, two = every_window(lengths, spec, make_store, seed)
    if rows is not None:
        for name in ("past", "future", "goal", "reach", "past_length"):
            assert np.array_equal(getattr(one, name), getattr(two, name))


def test_another_seed_gives_other_goals(make_store):
    spec = WindowSpec(offsets=(1, 2), reach_high=8)
    _, _, one = every_window([20], spec, make_store, seed=0)
    _, _, two = every_window([20], spec, make_store, seed=1)
    assert not np.array_equal(one.goal, two.goal)


def test_windows_of_some_rows_do_not_depend_on_the_order_of_episodes(make_store):
    spec = WindowSpec(offsets=(1, 4), past=3, reach_high=3)
    store = make_store([8, 5])
    one = sample_windows(store, spec, np.array([2, 9]), np.random.default_rng(3))
    two = sample_windows(make_store([5, 8]), spec, np.array([7, 1]), np.random.default_rng(3))
    assert np.array_equal(one.reach, two.reach)
    assert np.array_equal(one.past[0] + 5, two.past[0]) and np.array_equal(one.past[1] - 8, two.past[1])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"offsets": (4,)}, r"\(4,\)"),
        ({"offsets": ()}, r"\(\)"),
        ({"offsets": (0, 4)}, r"\(0, 4\)"),
        ({"offsets": (4, 4)}, r"\(4, 4\)"),
        ({"offsets": (8, 4)}, r"\(8, 4\)"),
        ({"reach_low": 0}, "got 0"),
        ({"reach_low": 9, "reach_high": 8}, "9 and 8"),
        ({"past": 0}, "past .* 0"),
    ],
)
def test_a_meaningless_window_is_refused(change, named):
    with pytest.raises(ThalwegError, match=named):
        replace(WindowSpec(offsets=(1, 2), reach_high=8), **change)
