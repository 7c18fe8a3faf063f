"""What a plan moves next, of objects that are alike."""

import numpy as np
import pytest
import torch

from thalweg import EpisodeStore
from thalweg.focus import FAR, HELD, Focus, find_kinds, find_next_moves
from thalweg.grips import FINE, Grip

OBJECTS = ((3, 4, 5), (6, 7, 8), (9,))  # two that lie somewhere and are turned somehow, and a lid; the body is 0, 1, 2
GRIPS = (Grip(0, 3, 1.0, 0.0, 2.0), Grip(0, 6, 1.0, 0.5, 2.0), Grip(0, 9, 1.0, 0.0, 2.0))
TURNS = ((1, 2, 4, 5), (1, 2, 7, 8), (1, 2, 8, 9))
ONE, OTHER, NONE = torch.tensor([0]), torch.tensor([1]), torch.tensor([2])


def state(**values: float) -> torch.Tensor:
    names = ("hand", "cos", "sin", "one", "one_cos", "one_sin", "other", "other_cos", "other_sin", "lid")
    angles = {"cos": 1.0, "one_cos": 1.0, "other_cos": 1.0}
    return torch.tensor([[(angles | values).get(name, 0.0) for name in names]])


@pytest.fixture
def focus() -> Focus:
    return Focus(find_kinds(OBJECTS, GRIPS, TURNS))


def test_it_is_told_of_what_moves_next_as_if_it_were_the_only_one(focus):
    present = state(hand=1.0, other=2.0, other_cos=0.0, other_sin=1.0)
    near = 2.0 + 2.0 * 0.9 * FAR  # no displacement yet
    plan = torch.stack([state(other=near), state(other=5.0), state(one=9.0, other=6.0)], dim=1)
    told = focus(present, plan, OTHER)[0]
    assert len(told) == find_kinds(OBJECTS, GRIPS, TURNS)[0].count == 5 + 6 + 2 + 1
    apart = (1.0 - 2.0 - 0.5) / 2
    wanted = [apart, np.tanh(FINE * apart), 2.0 / 2, (5.0 - 2.0) / 2, (6.0 - 2.0) / 2]
    np.testing.assert_allclose(told[:5], wanted, atol=1e-6)
    np.testing.assert_allclose(told[5:8], [0, -1, 1], atol=1e-6)  # a quarter turn, times 1, 2 and 4
    assert told[-3:].tolist() == [0, 1, 1]
    assert focus(present, plan, ONE)[0, 3:5].tolist() == [9.0 / 2, 9.0 / 2]  # displaced by the last one alone
    assert not focus(present, plan, NONE).any()


def test_objects_of_a_kind_are_told_of_alike(focus):
    here = state(hand=1.0, one=3.0, other=2.5)  # the other one's grip is half a unit off
    one = focus(here, torch.stack([state(one=7.0, other=2.5)], dim=1), ONE)
    other = focus(here, torch.stack([state(one=3.0, other=6.5)], dim=1), OTHER)
    np.testing.assert_allclose(one[0, :2], other[0, :2], atol=1e-6)
    np.testing.assert_allclose(one[0, 3:-3], other[0, 3:-3], atol=1e-6)


def test_kinds_are_told_apart():
    lids = ((9,), (10,))
    grips = (*GRIPS, Grip(0, 10, 1.0, 0.0, 2.0))
    kinds = find_kinds((*OBJECTS[:2], *lids), grips, TURNS)
    assert [kind.places for kind in kinds] == [((3,), (6,)), ((9,), (10,))]
    present = torch.cat([state(lid=1.0), torch.tensor([[4.0]])], dim=1)
    told = Focus(kinds)(present, present.unsqueeze(1), torch.tensor([3]))[0]
    assert not told[: kinds[0].count].any()
    assert told[kinds[0].count + 2] == 4.0 / 2
    assert told[-3:].tolist() == [0, 1, 1]


@pytest.mark.parametrize("objects", [(), ((3, 4, 5),), ((3, 4, 5), (9,))])
def test_without_objects_of_a_kind_there_is_nothing_to_tell(objects):
    kinds = find_kinds(objects, GRIPS, TURNS)
    assert kinds == []
    assert Focus(kinds)(state(), state().unsqueeze(1), torch.tensor([0])).shape == (1, 0)


def test_what_only_some_of_a_kind_have_is_not_told():
    assert find_kinds(OBJECTS, GRIPS[:1], TURNS) == []
    assert find_kinds(OBJECTS, GRIPS, TURNS[:1])[0].count == 5 + 2 + 1


def test_what_moves_next_is_found_in_recordings():
    """Two objects: the second moves in steps 30 to 39, the first in steps 80 to 89; another episode moves neither."""
    time = np.arange(120)
    moving = np.zeros((240, 3), np.float32)
    moving[:120, 0] = np.clip(time - 80, 0, 10)
    moving[:120, 1] = np.clip(time - 30, 0, 10)
    moving[:, 2] = np.arange(240)
    store = EpisodeStore.from_arrays(moving, np.zeros((240, 1), np.float32), lengths=[120, 120])
    found = find_next_moves(store, ((0,), (1,)))
    # displaced over STEPS rows, and then in hand for some more
    held, over = 39 + HELD, 89 + HELD
    assert found.which[:120].tolist() == [1] * (held + 1) + [0] * (over - held) + [2] * (119 - over)
    assert (found.which[120:] == 2).all()
    rows, goals = np.array([0, 0, 33, 60, 60]), np.array([20, 40, 35, 70, 119])
    assert found.before(rows, goals).tolist() == [2, 1, 1, 2, 0]
    assert (find_next_moves(store, ()).which == 0).all()
