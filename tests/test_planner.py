"""Selection, hypotheses, and the belief over time-to-reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thalweg.agent import Agent
from thalweg.errors import ThalwegError
from thalweg.pad.model import PaDModel, PaDModelConfig
from thalweg.pad.planner import Draws, PlannerConfig, discounted, draw, hypotheses, progress, select
from thalweg.pad.system import PaD
from thalweg.reach import ReachModel, ReachModelConfig, track_belief
from thalweg.types import Plan


def test_lowest_energy_takes_the_lowest_finite_one():
    energy = torch.tensor([[3.0, 1.0, 2.0], [float("nan"), 5.0, 4.0]])
    chosen = select(PlannerConfig(selection="lowest_energy"), torch.rand(2, 3), energy, torch.rand(2))
    assert chosen.tolist() == [1, 2]


def test_paper_samples_among_the_best_with_logits_minus_lambda():
    """Alg. 2: K lowest energies, then softmax(-lambda), checked by frequency."""
    config = PlannerConfig(selection="paper", top=2)
    count = 20_000
    reach = torch.tensor([[0.9, 0.1, 0.5]]).repeat(count, 1)
    energy = torch.tensor([[1.0, 2.0, 9.0]]).repeat(count, 1)
    chosen = select(config, reach, energy, torch.rand(count, generator=torch.Generator().manual_seed(0)))
    assert set(chosen.tolist()) == {0, 1}
    wanted = torch.tensor([-0.9, -0.1]).softmax(dim=0)[0].item()
    assert (chosen == 0).float().mean().item() == pytest.approx(wanted, abs=0.015)


def test_hypotheses_are_quantiles_of_the_belief():
    belief = torch.zeros(1, 100)
    belief[0, 39:60] = 1 / 21  # steps 40 to 60
    draws = Draws(torch.empty(1), torch.rand(1, 7), torch.rand(1))
    reach = hypotheses(belief, None, draws, low=1, high=100)
    assert reach[0].tolist() == [50, 45, 55, 42, 53, 47, 58]  # a half, quarters, eighths
    one = Draws(torch.empty(1), torch.rand(1, 1), torch.rand(1))
    assert hypotheses(belief, None, one, low=1, high=100).tolist() == [[50]]


def test_a_plan_in_progress_is_the_first_hypothesis_but_for_one_alone():
    belief = torch.zeros(1, 100)
    belief[0, 39:60] = 1 / 21
    left = torch.tensor([47.5])
    for count, wanted in ((4, [47.5, 50, 45, 55]), (1, [50])):
        draws = Draws(torch.empty(1), torch.rand(1, count), torch.rand(1))
        assert hypotheses(belief, left, draws, low=1, high=100).tolist() == [wanted]
    draws = Draws(torch.empty(1), torch.rand(1, 3), torch.rand(1))
    assert hypotheses(belief, torch.tensor([-3.0]), draws, low=1, high=100)[0, 0] == 1  # overdue


def test_a_discount_prefers_the_straight_way_and_leaves_a_narrow_belief_alone():
    draws = Draws(torch.empty(1), torch.rand(1, 4), torch.rand(1))
    torn, narrow = torch.zeros(1, 100), torch.zeros(1, 100)
    torn[0, 19], torn[0, 79] = 0.2, 0.8
    narrow[0, 49:52] = torch.tensor([0.25, 0.5, 0.25])
    for discount, asked in ((1.0, 80), (0.95, 20)):
        for belief, wanted in ((torn, asked), (narrow, 51)):
            weighed = discounted(belief, discount)
            assert weighed.sum().item() == pytest.approx(1.0)
            assert hypotheses(weighed, None, draws, low=1, high=100)[0, 0].item() == wanted


def test_the_clock_of_a_plan_runs_with_the_robot():
    """On time, half-way, not at all, ahead, and where nothing was to move."""
    model = PaDModel(PaDModelConfig(latent=2, offsets=(4, 8), horizon=8, context_depth=0, width=8, projector=0))
    tokens = torch.tensor([[[40.0, 0.0], [80.0, 0.0]]]).repeat(5, 1, 1)
    tokens[4] = 0
    nothing, finite = torch.zeros(5), torch.ones(5, dtype=torch.bool)
    plan = Plan(torch.zeros(5, 2), tokens, model.offsets, nothing, finite, nothing)
    present = torch.tensor([[40.0, 9.0], [24.0, 0.0], [0.0, 0.0], [70.0, 0.0], [0.0, 0.0]])
    passed = progress(model, plan, present, 4)
    torch.testing.assert_close(passed, torch.tensor([4.0, 2.4, 2.0, 4.0, 4.0]), rtol=0, atol=0.01)
    early = progress(model, plan, present / 4, 1)
    torch.testing.assert_close(early, torch.tensor([1.0, 0.6, 0.5, 1.0, 1.0]), rtol=0, atol=0.02)
    lost = replace(plan, latents=tokens * torch.nan, finite=~finite)
    assert progress(model, lost, present, 4).tolist() == [4.0] * 5


def test_a_candidate_that_is_not_finite_is_passed_over():
    energy = torch.tensor([[torch.nan, 3.0, 1.0], [2.0, torch.nan, 1.0], [torch.nan, torch.inf, torch.nan]])
    reach, pick = torch.full((3, 3), 0.5), torch.rand(3)
    assert select(PlannerConfig(), reach, energy, pick).tolist()[:2] == [2, 2]


def test_without_a_belief_hypotheses_are_uniform():
    draws = draw([torch.Generator().manual_seed(0)], 5000, 2, 3)
    reach = hypotheses(None, None, draws, low=8, high=96)
    assert 8 <= reach.min() < 9
    assert 95 < reach.max() <= 96
    assert reach.mean().item() == pytest.approx(52, abs=1)


def test_draws_are_the_same_alone_or_in_company():
    both = draw([torch.Generator().manual_seed(seed) for seed in (3, 4)], 2, 3, 4)
    alone = draw([torch.Generator().manual_seed(4)], 2, 3, 4)
    for name in ("noise", "reach", "pick"):
        assert torch.equal(getattr(both, name)[1:], getattr(alone, name))


def beliefs() -> st.SearchStrategy[torch.Tensor]:
    rows = st.lists(st.floats(0.01, 1.0), min_size=12, max_size=12)
    return rows.map(lambda row: torch.tensor([row]) / sum(row))


@settings(max_examples=50, deadline=None)
@given(beliefs(), beliefs(), st.floats(0, 11), st.floats(0, 1), st.floats(0, 0.5))
def test_a_belief_stays_a_distribution(belief, estimate, passed, trust, restart):
    after = track_belief(belief, torch.tensor([passed]), estimate, trust=trust, restart=restart)
    assert after.sum().item() == pytest.approx(1.0, abs=1e-5)
    assert (after >= 0).all()


def test_a_belief_counts_down_when_nothing_else_is_known():
    belief = torch.zeros(1, 20)
    belief[0, 14] = 1.0  # 15 steps to go
    flat = torch.full((1, 20), 0.05)
    after = track_belief(belief, torch.tensor([5.0]), flat, trust=0.5, restart=0.0)
    assert after.argmax().item() == 9
    between = track_belief(belief, torch.tensor([4.75]), flat, trust=0.5, restart=0.0)
    torch.testing.assert_close(between[0, 9:11], torch.tensor([0.75, 0.25]))
    overdue = track_belief(belief, torch.tensor([18.0]), flat, trust=0.5, restart=0.0)
    torch.testing.assert_close(overdue, flat)  # it should have arrived: nothing is known any more


def test_a_failed_attempt_is_noticed():
    belief = torch.zeros(1, 100)
    belief[0, 20] = 1.0
    again = torch.full((1, 100), 1e-6)
    again[0, 79:90] = 0.09  # the model sees: all over again
    for _ in range(2):
        belief = track_belief(belief, torch.tensor([8.0]), again, trust=0.5, restart=0.02)
    assert 60 < belief.argmax().item() < 95


def test_reach_model_is_a_distribution_over_steps():
    torch.manual_seed(0)
    model = ReachModel(ReachModelConfig(observation=3, horizon=50, bins=12, width=16))
    probability = model(torch.randn(4, 3), torch.randn(4, 3), torch.zeros(4, 0))
    assert probability.shape == (4, 50)
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(4))
    assert model.bin_width.sum() == 50


def test_a_belief_is_linear_between_the_centres_of_its_bins():
    """Against numpy's interpolation of each bin's density at its centre."""
    torch.manual_seed(0)
    model = ReachModel(ReachModelConfig(observation=3, horizon=50, bins=12, width=16))
    present, goal = torch.randn(2, 4, 3)
    found = model(present, goal, torch.zeros(4, 0)).detach().numpy()
    density = (model.logits(present, goal, torch.zeros(4, 0)).softmax(dim=1) / model.bin_width).detach().numpy()
    bins = model.bin_of_step.numpy()
    centres = [np.arange(1, 51)[bins == index].mean() for index in range(len(model.bin_width))]
    for row, values in zip(found, density, strict=True):
        wanted = np.interp(np.arange(1, 51), centres, values)
        np.testing.assert_allclose(row, wanted / wanted.sum(), rtol=1e-4)


def test_plan_interpolates_between_tokens_and_holds_its_ends():
    latents = torch.tensor([[[4.0], [10.0], [20.0]]])
    nothing = torch.zeros(1)
    offsets = torch.tensor([4.0, 8.0, 16.0])
    one = Plan(torch.zeros(1, 1), latents, offsets, nothing, nothing, nothing)
    two = Plan(
        torch.zeros(2, 1), latents.repeat(2, 1, 1), torch.stack([offsets, 2 * offsets]), nothing, nothing, nothing
    )
    for step, wanted in ((0, 0.0), (1, 1.0), (4, 4.0), (6, 7.0), (8, 10.0), (12, 15.0), (40, 20.0)):
        assert one.at(torch.tensor([step])).item() == pytest.approx(wanted)
        own = torch.tensor([step, 2 * step])  # the second request's tokens lie twice as far apart
        assert two.at(own)[:, 0].tolist() == pytest.approx([wanted, wanted])
        assert two.at(own.unsqueeze(1).repeat(1, 3))[:, 2, 0].tolist() == pytest.approx([wanted, wanted])


def test_an_interval_holds_its_share_of_the_belief():
    nothing = torch.zeros(1)
    belief = torch.zeros(1, 100)
    belief[0, 20:30] = 0.1  # steps 21 to 30
    plan = Plan(nothing, nothing, nothing, nothing, nothing, nothing, belief)
    assert plan.interval(0.8).tolist() == [[21, 29]]
    assert plan.interval(0.5).tolist() == [[23, 28]]
    with pytest.raises(ThalwegError, match="between 0 and 1, got 80"):
        plan.interval(80)
    with pytest.raises(ThalwegError, match="without a time-to-reach model"):
        replace(plan, belief=None).interval()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("selection", "best"),
        ("hypotheses", 0),
        ("replan", 0),
        ("steps", -1),
        ("top", 0),
        ("trust", 2.0),
        ("restart", 0.0),
        ("discount", 0.0),
        ("discount", 1.1),
    ],
)
def test_bad_settings_are_named(setting, value):
    with pytest.raises(ThalwegError, match=str(value)):
        PlannerConfig(**{setting: value})


@torch.no_grad()
def test_a_warm_start_goes_on_with_the_plan_in_progress(tiny_config):
    """Unrefined, the first candidate is the former plan, later; a broken one is begun anew; company changes nothing."""
    torch.manual_seed(0)
    pad = PaD(tiny_config).eval()
    pad.model.scale.uniform_(0.5, 2.0)
    past, goal, length = torch.randn(3, 1, 3), torch.randn(3, 3), torch.ones(3)

    def generators(rows: slice) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(3)[rows]]

    every = slice(None)
    former = pad.plan(past, length, goal, generators=generators(every))
    lost = former.latents.clone()
    lost[1] = torch.nan
    former = replace(former, latents=lost, finite=torch.tensor([True, False, True]))
    moved = past + 0.1
    warm, cold = pad.with_planner(warm=True, steps=0), pad.with_planner(steps=0)
    asked = {"previous": former, "elapsed": 2}
    found = warm.plan(moved, length, goal, generators=generators(every), **asked)
    fresh = cold.plan(moved, length, goal, generators=generators(every), **asked)
    passed = progress(pad.model, former, pad.encode(moved)[:, -1], 2)
    wanted = torch.stack([former.at(passed + offset) for offset in pad.model.offsets], dim=1)
    torch.testing.assert_close(found.candidates[[0, 2], 0], wanted[[0, 2]], rtol=1e-4, atol=1e-4)
    assert torch.equal(found.candidates[1, 0], fresh.candidates[1, 0])
    assert torch.equal(found.candidates[:, 1:], fresh.candidates[:, 1:])
    torch.testing.assert_close(found.candidate_reach[:, 0], (former.time_to_reach - passed).clamp(1, 8))
    row = slice(2, 3)
    only = Plan(**{
        name: value[row] if isinstance(value, torch.Tensor) and name != "offsets" else value
        for name, value in vars(former).items()
    })  # fmt: skip
    alone = warm.plan(moved[row], length[row], goal[row], generators=generators(row), previous=only, elapsed=2)
    torch.testing.assert_close(alone.candidates, found.candidates[row], rtol=1e-4, atol=1e-4)


def test_a_glitch_leaves_the_agent_as_it_was(tiny_config):
    """A number that is finite, but not after normalisation: an error at that step, and the plan goes on."""
    agent = Agent(PaD(replace(tiny_config, planner=replace(tiny_config.planner, replan=2))).eval())
    undisturbed = Agent(agent.planner)
    agent.planner.normaliser.std.fill_(0.01)
    sentinel = np.full(3, 3e37)
    for each in (agent, undisturbed):
        each.reset(np.ones(3))
    with pytest.raises(ThalwegError, match="not finite"):
        agent.act(sentinel)
    assert agent.plan is None
    for step in range(6):
        if step in (2, 3):
            with pytest.raises(ThalwegError, match="not finite"):
                agent.act(sentinel)
        assert np.isfinite(agent.act(np.full(3, 0.1 * step))).all()
        undisturbed.act(np.full(3, 0.1 * step))
    assert agent.age == undisturbed.age
    assert agent.plan.latents.isfinite().all()
