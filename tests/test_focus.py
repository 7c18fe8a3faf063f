"""What a plan moves next, of objects that are alike."""

import numpy as np
import pytest
import torch

from thalweg.focus import MOVES, Focus
from thalweg.grips import FINE, Grip

OBJECTS = ((3, 4, 5), (6, 7, 8), (9,))  # two that lie somewhere and are turned somehow, and a lid; the body is 0, 1, 2
GRIPS = (Grip(0, 3, 1.0, 0.0, 2.0), Grip(0, 6, 1.0, 0.5, 2.0), Grip(0, 9, 1.0, 0.0, 2.0))
TURNS = ((1, 2, 4, 5), (1, 2, 7, 8), (1, 2, 8, 9))


def state(**values: float) -> torch.Tensor:
    names = ("hand", "cos", "sin", "one", "one_cos", "one_sin", "other", "other_cos", "other_sin", "lid")
    angles = {"cos": 1.0, "one_cos": 1.0, "other_cos": 1.0}
    return torch.tensor([[(angles | values).get(name, 0.0) for name in names]])


def test_it_is_told_of_what_the_nearest_subgoal_displaces_as_if_it_were_the_only_one():
    focus = Focus(OBJECTS, GRIPS, TURNS)
    present = state(hand=1.0, other=2.0, other_cos=0.0, other_sin=1.0)
    plan = torch.stack([state(other=2.0), state(other=5.0), state(one=9.0, other=6.0)], dim=1)
    told = focus(present, plan)[0]
    assert len(told) == focus.count == 5 + 6 + 2 + 1
    apart = (1.0 - 2.0 - 0.5) / 2
    wanted = [apart, np.tanh(FINE * apart), 2.0 / 2, (5.0 - 2.0) / 2, (6.0 - 2.0) / 2]
    np.testing.assert_allclose(told[:5], wanted, atol=1e-6)
    np.testing.assert_allclose(told[5:8], [0, -1, 1], atol=1e-6)  # a quarter turn, times 1, 2 and 4
    assert told[-3:].tolist() == [0, 1, 1]


def test_objects_of_a_kind_are_told_of_alike():
    focus = Focus(OBJECTS, GRIPS, TURNS)
    here = state(hand=1.0, one=3.0, other=2.5)  # the other one's grip is half a unit off
    one, other = (focus(here, torch.stack([state(one=3.0, other=2.5) + one], dim=1)) for one in _moves())
    np.testing.assert_allclose(one[0, :2], other[0, :2], atol=1e-6)
    np.testing.assert_allclose(one[0, 3:-3], other[0, 3:-3], atol=1e-6)


def _moves() -> tuple[torch.Tensor, torch.Tensor]:
    still = state() * 0
    one, other = still.clone(), still.clone()
    one[0, 3] = other[0, 6] = 4.0
    return one, other


def test_it_is_told_nothing_where_nothing_is_moved():
    focus = Focus(OBJECTS, GRIPS, TURNS)
    present = state(one=1.0)
    little = torch.stack([state(one=1.0 + 2.0 * 0.9 * MOVES)], dim=1)
    assert not focus(present, little).any()
    assert focus(present, torch.stack([state(one=1.0 + 2.0 * 1.1 * MOVES)], dim=1)).any()


@pytest.mark.parametrize("objects", [(), ((3, 4, 5),), ((3, 4, 5), (9,))])
def test_without_objects_of_a_kind_there_is_nothing_to_tell(objects):
    focus = Focus(objects, GRIPS, TURNS)
    assert focus.count == 0
    assert focus(state(), state().unsqueeze(1)).shape == (1, 0)


def test_what_only_some_of_a_kind_have_is_not_told():
    assert Focus(OBJECTS, GRIPS[:1], TURNS).count == 0
    assert Focus(OBJECTS, GRIPS, TURNS[:1]).count == 5 + 2 + 1
