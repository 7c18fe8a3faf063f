"""Anytime planning: what is spent of a budget, and what more of it buys."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.agent import Agent
from thalweg.budget import LADDER, CostModel
from thalweg.errors import ThalwegError
from thalweg.pad.planner import PlannerConfig, draw, hypotheses
from thalweg.pad.system import PaD

COSTS = CostModel(fixed=2.0, per_request=0.1, per_step=1.0, per_candidate=0.05, per_candidate_step=0.02)


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4), st.integers(1, 50))
def test_more_budget_never_buys_less(one, other, requests):
    small, large = (COSTS.spend(budget, requests) for budget in sorted((one, other)))
    assert small[0] <= large[0] and small[1] <= large[1]
    if small != LADDER[0]:
        assert COSTS.predict(requests, *small) <= min(one, other)


def test_the_least_is_planned_where_nothing_fits():
    assert COSTS.spend(0.1) == LADDER[0]


@pytest.mark.parametrize("budget", [0, -3.0, float("nan"), float("inf"), "20"])
def test_a_budget_of_nothing_is_an_error(budget, tiny_config):
    with pytest.raises(ThalwegError, match="budget_ms must be a number of milliseconds above 0"):
        COSTS.spend(budget)
    with pytest.raises(ThalwegError, match="budget_ms must be a number of milliseconds above 0"):
        PlannerConfig(budget_ms=budget)
    pad = PaD(tiny_config).eval()
    with pytest.raises(ThalwegError, match="budget_ms must be a number of milliseconds above 0"):
        pad.plan(torch.zeros(1, 1, 3), torch.ones(1), torch.zeros(1, 3), generators=[], budget_ms=budget)


def test_costs_are_found_again():
    """Times that a model made up give that model back; jitter on them is bounded, not averaged."""
    clock, jitter = [0.0], [1.0]

    def decide(*spent: int) -> None:
        jitter.append(2.2 - jitter[-1])
        clock[0] += jitter[-1] * COSTS.predict(*spent) / 1e3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("thalweg.budget.time.perf_counter", lambda: clock[0])
        found = CostModel.measure(decide)
    for rung in LADDER:
        assert found.predict(1, *rung) == pytest.approx(1.2 * COSTS.predict(1, *rung), rel=0.01)


def test_more_hypotheses_leave_the_former_where_they_were():
    belief = torch.rand(2, 96, generator=torch.Generator().manual_seed(0))
    belief /= belief.sum(dim=1, keepdim=True)

    def candidates(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        draws = draw([torch.Generator().manual_seed(seed) for seed in range(2)], count, 14, 37)
        return draws.noise, hypotheses(belief, None, draws, low=1, high=96)

    noise, many = candidates(64)
    for count in (1, 2, 5, 33):
        fewer, times = candidates(count)
        assert torch.equal(times, many[:, :count])
        assert torch.equal(fewer, noise[:, :count])


def test_an_agent_plans_within_its_budget(tiny_config):
    pad = PaD(tiny_config).eval()
    agent = Agent(pad.with_planner(budget_ms=5.0))
    assert agent.planner.costs().predict(1, 1, 1) < agent.planner.costs().predict(1, 512, 4)  # measured when asked for
    agent.planner._costs[torch.get_num_threads()] = pad._costs[torch.get_num_threads()] = COSTS
    agent.reset(torch.zeros(2, 3).numpy())
    agent.act(torch.ones(2, 3).numpy())
    count, _ = COSTS.spend(5.0, requests=2)
    assert agent.plan.candidates.shape[1] == count
    with torch.no_grad():
        more = pad.plan(
            torch.ones(1, 1, 3), torch.ones(1), torch.zeros(1, 3), budget_ms=500.0,
            generators=[torch.Generator().manual_seed(0)],
        )  # fmt: skip
    assert more.candidates.shape[1] == LADDER[-1][0]
