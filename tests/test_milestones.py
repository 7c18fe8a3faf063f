"""Several objects, one at a time: which one, in which order, and what if it is in the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from thalweg.lbp.presets import lbp
from thalweg.lbp.system import LBP
from thalweg.milestones import Milestones
from thalweg.moves import MoveModelConfig
from thalweg.pad.system import PaD

OBJECTS = ((1,), (2,))  # a body, then two boxes on a line
ANYWHERE = torch.linspace(-9, 9, 19)


PART = torch.tensor([[False, True, False], [False, False, True]])


def apart(before: Tensor, after: Tensor) -> Tensor:
    """Two boxes cannot be within 1 of one another, and one moves at a time."""
    alone = ((after - before)[:, 1:] != 0).sum(dim=1) < 2
    return torch.where(alone, 3.0 * torch.sign((after[:, 1] - after[:, 2]).abs() - 0.9), -1.0)


def between(odds: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Odds of scenes before and after, as milestones ask for them: by the scenes' numbers."""
    return lambda scenes, source, target: odds(scenes[source], scenes[target])


def boxes(*rows: tuple[float, float], body: float = 0.0) -> Tensor:
    return torch.tensor([(body, *row) for row in rows])


@pytest.fixture
def milestones() -> Milestones:
    places = torch.cartesian_prod(torch.zeros(1), ANYWHERE, ANYWHERE)
    return Milestones(PART, PART, torch.ones(3), between(apart), places)


def course(milestones: Milestones, start: Tensor, goal: Tensor, moves: int) -> list[tuple[float, float]]:
    """Scenes that a perfect robot leaves: it moves, and comes to rest, for every milestone."""
    seen, state, scenes = start.clone(), None, []
    for _ in range(moves):
        state = milestones.next(seen, goal, state, 4)
        while True:
            step = (state.goal - seen).clamp(-1, 1)
            step[:, 0] = 0
            seen = seen + step
            state = milestones.next(seen, goal, state, 4)
            if state.fresh.all():
                break
        scenes.append(tuple(seen[0, 1:].tolist()))
    return scenes


def test_the_farthest_goes_first_and_every_object_gets_there(milestones):
    assert course(milestones, boxes((-5, 5)), boxes((-2, 0), body=7.0), 2) == [(-5, 0), (-2, 0)]


def test_what_is_in_the_way_goes_first(milestones):
    """The left box has the longer way, to where the right one still is."""
    assert course(milestones, boxes((-5, 2)), boxes((2, 5)), 2) == [(-5, 5), (2, 5)]


def test_two_that_change_places_need_a_third_place(milestones):
    scenes = course(milestones, boxes((-3, 3)), boxes((3, -3)), 3)
    assert scenes[-1] == (3, -3)
    assert all(abs(left - right) >= 1 for left, right in scenes)
    assert scenes[0] not in ((3, 3), (-3, -3))


def test_a_milestone_is_the_scene_as_it_is_but_for_one_object(milestones):
    start, goal = boxes((-5, 5), (0, 3)), boxes((-2, 0), (-4, 3), body=7.0)
    first = milestones.next(start, goal, None, 0)
    assert first.goal.tolist() == [[7, -5, 0], [7, -4, 3]] and first.moved.tolist() == [[False, True], [True, False]]
    assert first.fresh.all()
    pushed = boxes((-5.5, 4), (0, 3))  # on its way, and the other was pushed
    on = milestones.next(pushed, goal, first, 4)
    assert on.goal[0].tolist() == [7, -5.5, 0]
    assert not on.fresh.any() and not on.puts.any()
    rest = on
    for _ in range(3):
        assert not rest.fresh.any()
        rest = milestones.next(pushed, goal, rest, 4)
    assert rest.fresh.tolist() == [True, False] and rest.puts.tolist() == [[1, 1], [0, 0]]


def test_a_touch_is_no_reason_to_choose_again(milestones):
    start, goal = boxes((-5, 5)), boxes((-2, 0))
    first = milestones.next(start, goal, None, 0)
    touched = boxes((-5, 4.95))
    for _ in range(6):
        first = milestones.next(touched, goal, first, 4)
        assert not first.fresh.any()


def test_what_was_put_down_already_waits_for_the_others(milestones):
    """Put down short of its goal, yet farther from it than the other: the other comes first."""
    start, goal = boxes((-9, 9)), boxes((-5, 0))
    state = milestones.next(start, goal, None, 0)
    assert state.moved.tolist() == [[False, True]]
    for right in (6.0, 5.0, 5.0, 5.0, 5.0):  # put down at 5, and left
        state = milestones.next(boxes((-9, right)), goal, state, 4)
    assert state.fresh.item() and state.moved.tolist() == [[True, False]]


def test_nothing_left_to_do_is_the_goal_itself(milestones):
    goal = boxes((-5, 5), body=7.0)
    assert torch.equal(milestones.next(boxes((-5, 5)), goal, None, 0).goal, goal)


def test_where_every_order_is_implausible_the_least_so_is_taken():
    milestones = Milestones(
        PART, PART, torch.ones(3), between(lambda before, after: after[:, 1] - 100.0), boxes((0, 0))
    )
    aim = milestones.next(boxes((0, 4)), boxes((3, 0)), None, 0)
    assert aim.moved.tolist() == [[True, False]] and aim.goal.isfinite().all()


def test_a_request_gets_the_same_milestones_alone_and_in_company(milestones):
    start, goal = boxes((-3, 3), (-5, 5), (-5, 2)), boxes((3, -3), (-2, 0), (2, 5))
    together = milestones.next(start, goal, None, 0)
    for row in range(3):
        alone = milestones.next(start[row : row + 1], goal[row : row + 1], None, 0)
        assert torch.equal(alone.goal[0], together.goal[row])


def test_lbp_plans_to_milestones_and_drops_the_chunks_that_led_to_the_last_one():
    torch.manual_seed(0)
    model = LBP(replace(lbp(3, 2), moves=MoveModelConfig(3, OBJECTS, width=8))).eval()
    model.moves.places.copy_(torch.randn(len(model.moves.places), 3))

    def plan(scene: Tensor, previous=None, model=model):
        goal, _ = model.read_goals(boxes((-2, 0)).numpy())
        generators = [torch.Generator().manual_seed(0)]
        return model.plan(scene.unsqueeze(1), torch.ones(1), goal, generators=generators, previous=previous, elapsed=4)

    first = plan(boxes((-2, 5)))
    torch.testing.assert_close(first.milestone.goal, boxes((-2, 0)))
    torch.testing.assert_close(first.latents[:, -1], model.senses.latent(boxes((-2, 0))))
    moving = plan(boxes((-2, 2)), first)
    assert moving.chunks[:, 1, 0].isfinite().all() and not moving.milestone.fresh.item()
    rest = moving
    for _ in range(3):
        rest = plan(boxes((-2, 2)), rest)
    assert rest.milestone.fresh.item() and rest.chunks[:, 1:].isnan().all()
    assert plan(boxes((-2, 5)), model=model.with_planner(milestones=False)).milestone is None


def test_a_planner_of_several_objects_plans_to_milestones_and_starts_its_belief_anew(tiny_config):
    torch.manual_seed(0)
    pad = PaD(replace(tiny_config, moves=MoveModelConfig(3, OBJECTS, width=8))).eval()
    pad.moves.places.copy_(torch.randn(len(pad.moves.places), 3))
    generators = [torch.Generator().manual_seed(0)]

    def plan(scene: Tensor, previous=None, **options):
        past = scene.unsqueeze(1).repeat(1, pad.past, 1)
        goal, length = boxes((-2, 0)), torch.tensor([pad.past])
        return pad.plan(past, length, goal, generators=generators, previous=previous, elapsed=4, **options)

    first = plan(boxes((-2, 5)))
    assert first.milestone.goal.tolist() == [[0, -2, 0]] and first.milestone.moved.tolist() == [[False, True]]
    moving = plan(boxes((-2, 2)), first)
    rest = moving
    for _ in range(3):
        rest = plan(boxes((-2, 2)), rest)
    assert rest.milestone.fresh.item() and not moving.milestone.fresh.item()
    anew = plan(boxes((-2, 2)))
    torch.testing.assert_close(rest.belief, anew.belief)
    assert not torch.allclose(moving.belief, anew.belief)
    assert plan(boxes((-2, 5)), config=replace(pad.config.planner, milestones=False)).milestone is None


def test_what_recordings_leave_as_it_is_stays_once_the_rest_is_there():
    """A box has a place, which recordings choose, and a colour, which the present foretells."""
    part = torch.tensor([[0, 1, 1, 0, 0], [0, 0, 0, 1, 1]]).bool()
    chosen = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]]).bool()
    milestones = Milestones(part, chosen, torch.ones(5), between(lambda before, after: after[:, 0]), torch.zeros(1, 5))
    start, goal = torch.tensor([[0.0, 1, 7, 5, 8]]), torch.tensor([[0.0, 9, -7, 6, -8]])
    first = milestones.next(start, goal, None, 0)
    assert first.moved.tolist() == [[True, False]] and first.goal.tolist() == [[0, 9, -7, 5, 8]]
    coming, there = torch.tensor([[0.0, 4, 3, 5, 8]]), torch.tensor([[0.0, 9, -6.9, 5, 8]])
    assert milestones.next(coming, goal, first, 4).goal.tolist() == [[0, 9, -7, 5, 8]]
    torch.testing.assert_close(milestones.next(there, goal, first, 4).goal, there)
    assert milestones.distance(start, goal)[0].tolist() == [8, 1]


def tried(milestones: Milestones, scene: Tensor, goal: Tensor, steps: int = 320) -> list[tuple[float, float]]:
    """Where the boxes are to be next, one after another, while nothing moves."""
    state = milestones.next(scene, goal, None, 0)
    aims = [tuple(state.goal[0, 1:].tolist())]
    for _ in range(steps // 4):
        state = milestones.next(scene, goal, state, 4)
        if state.fresh.item():
            assert not state.puts.any()
            aims.append(tuple(state.goal[0, 1:].tolist()))
    return aims


def alone(before: Tensor, after: Tensor) -> Tensor:
    """Anything may move, but nothing with another."""
    return torch.where(((after - before)[:, 1:] != 0).sum(dim=1) < 2, 1.0, -1.0)


def test_after_a_move_that_was_tried_in_vain_comes_another():
    milestones = Milestones(PART, PART, torch.ones(3), between(alone), boxes((0, 0)))
    assert tried(milestones, boxes((0, 0)), boxes((4, 5))) == [(0, 5), (4, 0), (0, 5)]


def test_of_one_object_another_place_is_tried():
    milestones = Milestones(PART, PART, torch.ones(3), between(alone), boxes((0, 9)))
    assert tried(milestones, boxes((0, 0)), boxes((0, 5))) == [(0, 5), (0, 9), (0, 5)]


def test_odds_that_are_no_numbers_leave_the_farthest_first():
    milestones = Milestones(
        PART, PART, torch.ones(3), between(lambda before, after: after[:, 1] * torch.nan), boxes((0, 0))
    )
    assert milestones.next(boxes((0, 4)), boxes((3, 0)), None, 0).moved.tolist() == [[False, True]]


def lock(before: Tensor, after: Tensor) -> Tensor:
    """The second box is a door, which moves while the first, a switch, is at 1; the switch is at 0 or 1."""
    opened = (after[:, 2] == before[:, 2]) | ((before[:, 1] == 1) & (after[:, 1] == 1))
    return torch.where(opened & ((after[:, 1] == 0) | (after[:, 1] == 1)), 1.0, -5.0)


def test_a_lock_is_undone_and_done_again():
    """The switch is where the goal has it, at 0; yet it has to be at 1 for the door to move."""
    milestones = Milestones(PART, PART, torch.ones(3), between(lock), boxes((0, 0), (1, 3)))
    assert course(milestones, boxes((0, 0)), boxes((0, 5)), 3) == [(1, 0), (1, 5), (0, 5)]


def drawer(before: Tensor, after: Tensor) -> Tensor:
    """The first box lies in the second, a drawer: it moves with the drawer, and not by itself."""
    return torch.where(((after - before)[:, 1] == (after - before)[:, 2]), 1.0, -5.0)


def test_two_that_move_together_are_one_milestone():
    milestones = Milestones(PART, PART, torch.ones(3), between(drawer), boxes((0, 0)))
    aim = milestones.next(boxes((0, 1)), boxes((4, 5), body=7.0), None, 0)
    assert aim.moved.tolist() == [[True, True]] and aim.goal.tolist() == [[7, 4, 5]]


def test_of_many_objects_as_many_scenes_are_looked_at_as_there_is_time_for():
    part = torch.eye(9).bool()
    asked = []

    def odds(before: Tensor, after: Tensor) -> Tensor:
        asked.append(len(before.unique(dim=0)))
        return torch.ones(len(before))

    places = torch.randn(64, 9, generator=torch.Generator().manual_seed(0))
    milestones = Milestones(part, part, torch.ones(9), between(odds), places)
    goal = torch.arange(1.0, 10.0).unsqueeze(0)
    aim = milestones.next(torch.zeros(1, 9), goal, None, 0)
    assert aim.moved[0].nonzero().tolist() == [[8]] and aim.goal[0, :8].tolist() == [0.0] * 8
    assert max(asked) <= 256
