"""Keyframes: which actions are switches, and when they are next thrown."""

from __future__ import annotations

import numpy as np
import pytest

from thalweg.data.store import EpisodeStore
from thalweg.keyframes import find_keyframes, find_switches

LENGTH = 100


def recordings(*columns: np.ndarray, lengths=(LENGTH,)) -> EpisodeStore:
    actions = np.stack(columns, axis=1).astype(np.float32)
    return EpisodeStore.from_arrays(np.zeros((len(actions), 2), np.float32), actions, lengths=list(lengths))


def grip(*changes: int, length: int = LENGTH, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """A command that is low at first, and another at each of some rows."""
    return np.where(np.searchsorted(changes, np.arange(length), side="right") % 2, high, low)


def test_switches_are_actions_of_two_values():
    rng = np.random.default_rng(0)
    free, still = rng.uniform(-1, 1, LENGTH), np.full(LENGTH, 0.3)
    nearly = grip(20, 60)
    nearly[18:22] = [-0.5, 0.0, 0.2, 0.6]  # on its way from one to the other
    assert find_switches(recordings(free, grip(30), still, nearly, grip(10, low=0.0, high=0.04))) == (1, 3, 4)
    assert find_switches(recordings(free, still)) == ()


def test_what_is_clipped_now_and_then_is_no_switch():
    rng = np.random.default_rng(0)
    assert find_switches(recordings(np.clip(rng.normal(size=LENGTH) * 2, -1, 1))) == ()


def test_the_next_keyframe_is_where_a_switch_is_thrown_next():
    store = recordings(grip(30, 70))
    found = find_keyframes(store, (0,))
    assert found.tolist() == [30] * 30 + [70] * 40 + [99] * 30


def test_any_switch_makes_keyframes():
    found = find_keyframes(recordings(grip(30), grip(50)), (0, 1))
    assert found.tolist() == [30] * 30 + [50] * 20 + [99] * 50


@pytest.mark.parametrize("switches", [(), (0,)])
def test_keyframes_stay_within_their_episode(switches):
    """The last action of an episode is never carried out, and the next episode begins otherwise."""
    commands = np.concatenate([grip(99), grip(length=50, low=1.0), grip(20, length=50)])
    found = find_keyframes(recordings(commands, lengths=(100, 50, 50)), switches)
    last = [99] * 100 + [149] * 50
    assert found.tolist() == last + ([170] * 20 + [199] * 30 if switches else [199] * 50)
