"""Energies with a level, the verifier, and calibration."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from thalweg.agent import Agent
from thalweg.calibrate import _passed, calibrate, gather_attempts
from thalweg.checkpoint import Provenance, load_checkpoint, save_checkpoint
from thalweg.envs import make_env, start_episode
from thalweg.errors import ThalwegError
from thalweg.goals import GoalModelConfig
from thalweg.pad.system import PaD
from thalweg.refine import refine_step
from thalweg.rollout import RolloutSpec, episodes_of, rollout
from thalweg.verify import Attempts, Verifier, VerifierConfig, calibration_error, fit_verifier

ENVIRONMENT = "thalweg.envs.reach_point:ReachPoint"


def attempts(episodes: int, seed: int = 0, *, plans: int = 3) -> tuple[Attempts, torch.Tensor]:
    """Attempts whose true log-odds are ``2 x0 + 1``; the second value they show says nothing."""
    generator = torch.Generator().manual_seed(seed)
    evidence = torch.randn(episodes, 2, generator=generator)
    truth = (2 * evidence[:, 0] + 1).sigmoid()
    success = torch.rand(episodes, generator=generator) < truth
    episode = torch.arange(episodes).repeat_interleave(plans)
    return made_up(evidence[episode], success[episode], episode), truth


def made_up(evidence: torch.Tensor, success: torch.Tensor, episode: torch.Tensor, **known) -> Attempts:
    """Attempts of which nothing is known beforehand, and no time."""
    count = len(success)
    rest = {"offset": torch.zeros(count), "first": torch.ones(count).bool(), "passed": torch.full((count,), torch.nan)}
    return Attempts(evidence=evidence, success=success, episode=episode, **(rest | known))


def test_a_verifier_finds_the_odds():
    known, _ = attempts(4000)
    fresh, truth = attempts(2000, seed=1, plans=1)
    foretold = fit_verifier(known)(fresh.evidence).sigmoid()
    assert (foretold - truth).abs().mean() < 0.02
    assert calibration_error(foretold, fresh.success) < 0.04
    assert calibration_error(foretold.sqrt(), fresh.success) > 0.08


def test_what_is_known_beforehand_is_not_learned_again():
    """Odds that an offset tells already are left to it: the fitted weights are those without it."""
    known, _ = attempts(4000, plans=1)
    generator = torch.Generator().manual_seed(2)
    offset = -5.0 * torch.rand(4000, generator=generator)
    truth = (2 * known.evidence[:, 0] + 1 + offset).sigmoid()
    success = torch.rand(4000, generator=generator) < truth
    verifier = fit_verifier(made_up(known.evidence, success, known.episode, offset=offset))
    foretold = (verifier(known.evidence) + offset).sigmoid()
    assert (foretold - truth).abs().mean() < 0.03
    assert (verifier(known.evidence).sigmoid() - truth).abs().mean() > 0.2


def test_what_never_failed_is_not_certain():
    count = 200
    known = made_up(torch.randn(count, 3), torch.ones(count).bool(), torch.arange(count))
    probability = fit_verifier(known)(torch.zeros(1, 3)).sigmoid().item()
    assert 0.99 < probability < 0.999


def test_attempts_that_are_not_finite_are_left_out():
    known, _ = attempts(300)
    broken = torch.arange(len(known.success)) % 7 == 0
    spoilt = made_up(known.evidence.clone(), known.success, known.episode)
    spoilt.evidence[broken, 1] = torch.nan
    verifier, wanted = fit_verifier(spoilt), fit_verifier(known[~broken])
    assert torch.equal(verifier.weigh.weight, wanted.weigh.weight)


def test_too_few_attempts_are_refused():
    known = made_up(torch.zeros(4, 1), torch.ones(4).bool(), torch.arange(4))
    with pytest.raises(ThalwegError, match="5 episodes or more, got 4"):
        fit_verifier(known)


def test_arrivals_are_borne_out_by_attempts():
    """Recordings take 20 to 39 steps, a planner's first plan always 24 or 25, and later ones arrive at once."""
    belief = torch.zeros(1, 60)
    belief[0, 19:39] = 1 / 20
    generator = torch.Generator().manual_seed(0)
    steps = torch.where(torch.rand(500, generator=generator) < 0.5, 24, 25)
    shares = belief.cumsum(dim=1)[0] - 0.5 * belief[0]
    first = torch.arange(500) % 2 == 0
    known = made_up(
        torch.zeros(500, 1),
        torch.ones(500).bool(),
        torch.arange(500),
        first=first,
        passed=torch.where(first, shares[steps - 1], shares[19]),
    )
    verifier = fit_verifier(known)
    arrival = verifier.arrival(belief.repeat(2, 1), torch.tensor([True, False]))
    torch.testing.assert_close(arrival.sum(dim=1), torch.ones(2))
    assert arrival[0, 23:25].tolist() == pytest.approx([0.5, 0.5], abs=0.05)
    assert arrival[1, 19] == pytest.approx(1.0, abs=0.01)
    untaught = Verifier(VerifierConfig(1)).arrival(belief, torch.tensor([True]))
    torch.testing.assert_close(untaught, belief, atol=0.006, rtol=0)  # as far as 200 levels tell


def request(pad: PaD, batch: int = 3) -> dict:
    generator = torch.Generator().manual_seed(0)
    past, goal = torch.randn(batch, 1, 3, generator=generator), torch.randn(batch, 3, generator=generator)
    return {"past": past, "past_length": torch.ones(batch), "goal": goal}


def generators(batch: int = 3) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(batch)]


@torch.no_grad()
def test_the_level_is_the_improbability_of_time_and_goal(tiny_config):
    """E = remaining correction - log p(time to reach) - log p(goal), computed anew from the models."""
    torch.manual_seed(0)
    pad = PaD(replace(tiny_config, goals=GoalModelConfig(3, width=8))).eval()
    asked = request(pad)
    plan = pad.with_planner(discount=1.0).plan(**asked, generators=generators(), trace=True)
    context = pad.context(asked["past"], asked["past_length"], asked["goal"], plan.time_to_reach)
    tokens = pad.model.to_plan(plan.latents, plan.present)
    moved, _ = refine_step(pad.model, tokens, pad.model.condition(context))
    correction = 0.5 * (moved - tokens).square().sum(dim=(1, 2))
    belief = pad.reach(pad.normaliser(asked["past"][:, 0], fast=True), asked["goal"], context.relations)
    step = plan.time_to_reach.round().long() - 1
    likely = belief[torch.arange(3), step].log() + pad.goals(asked["goal"]).sigmoid().log()
    torch.testing.assert_close(plan.energy, correction - likely, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(plan.correction, correction, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(plan.trace[-1], plan.candidate_energy)


@torch.no_grad()
def test_an_implausible_goal_costs_energy_and_probability(tiny_config):
    torch.manual_seed(0)
    pad = PaD(replace(tiny_config, goals=GoalModelConfig(3, width=8))).eval()
    verifier = Verifier(VerifierConfig(pad.evidence_size))
    pad = pad.with_verifier(verifier)
    torch.nn.init.constant_(verifier.weigh.weight, 0.1)  # on the energy, too, which must not undo what the goal costs
    plans = []
    for threshold in (-50.0, 50.0):
        pad.goals.threshold.fill_(threshold)
        plans.append(pad.plan(**request(pad), generators=generators()))
    assert (plans[0].reach_probability > 0.01).all()
    assert (plans[1].reach_probability < 1e-10).all()
    assert (plans[1].energy > plans[0].energy + 40).all()
    assert torch.equal(plans[0].latents, plans[1].latents)


def test_without_a_level_energies_are_pads_own(tiny_config):
    config = replace(
        tiny_config, reach=None, planner=replace(tiny_config.planner, level=False, selection="lowest_energy")
    )
    pad = PaD(config).eval()
    with torch.no_grad():
        plan = pad.plan(**request(pad), generators=generators())
        context = pad.context(*request(pad).values(), plan.time_to_reach)
        own = pad.model.energy(pad.model.to_plan(plan.latents, plan.present), pad.model.condition(context))
    torch.testing.assert_close(plan.energy, own, rtol=1e-4, atol=1e-4)
    assert plan.reach_probability is None


def test_a_level_needs_a_time_to_reach_model(tiny_config):
    with pytest.raises(ThalwegError, match="planner.level needs a time-to-reach model"):
        PaD(replace(tiny_config, reach=None))


@pytest.fixture(scope="module")
def beginner(tmp_path_factory):
    """A checkpoint for the point that reaches, hardly trained: it fails often enough to learn from."""
    from thalweg.data.store import EpisodeStore
    from thalweg.envs.point import record_points
    from thalweg.train import TrainConfig
    from thalweg.training import train_checkpoint

    store: EpisodeStore = record_points(40)
    settings = ["model.context_width=16", "model.context_depth=1", "goals.steps=20", "windows.reach_high=24"]
    settings += ["model.horizon=24", "reach.horizon=24", "model.past=2", "windows.past=2"]
    settings += [f"{part}.offsets=[4, 8, 16, 24]" for part in ("model", "windows")]
    return train_checkpoint(
        store,
        tmp_path_factory.mktemp("beginner"),
        config=TrainConfig(steps=60, batch=64, compile=False, precision="float32", warmup=10),
        environment=ENVIRONMENT,
        settings=settings,
    )


def test_calibration_gives_plans_a_probability(beginner, tmp_path):
    calibrated = calibrate(beginner, out=tmp_path / "calibrated", episodes=40, workers=1, recipe="the command")
    model, provenance = load_checkpoint(calibrated)
    assert provenance.calibration["episodes"] == 40
    assert provenance.calibration["recipe"] == "the command"
    assert load_checkpoint(beginner)[0].verifier is None  # the one it came from is left alone
    agent = Agent(model)
    agent.reset(np.zeros(model.observation))
    agent.act(np.full(model.observation, 0.3))
    assert 0 < agent.plan.reach_probability.item() < 1
    again = save_checkpoint(tmp_path / "again", model, provenance)
    assert torch.equal(load_checkpoint(again)[0].verifier.weigh.weight, model.verifier.weigh.weight)


def test_evidence_of_traces_is_what_planning_saw(beginner, tmp_path):
    """The verifier learns from the same numbers that it will read, at the first plan and at later ones."""
    model, _ = load_checkpoint(beginner)
    spec = RolloutSpec(ENVIRONMENT, str(beginner), tasks=(), episodes=12, together=1, record=str(tmp_path))
    results = rollout(spec, workers=1)
    episode = next(index for index, result in enumerate(results) if not result.success)
    gathered = gather_attempts(model, tmp_path)
    gathered = gathered[gathered.episode == episode]
    assert len(gathered.success) == 1 + (60 - 24) // 4  # as long as the horizon fits into the step limit
    seen = []

    class Watching(Verifier):
        def forward(self, evidence):
            seen.append(evidence.clone())
            return super().forward(evidence)

    agent = Agent(model.with_verifier(Watching(VerifierConfig(model.evidence_size))), trace=True, bounds=None)
    env = make_env(ENVIRONMENT)
    task, _, seed = episodes_of(spec)[episode]
    observation, info = start_episode(ENVIRONMENT, env, task, seed)
    agent.reset(info["goal"][None], seeds=[seed])
    for _ in range(40):
        action = np.clip(agent.act(observation[None]), env.action_space.low, env.action_space.high)
        observation, *_ = env.step(action[0])
    torch.testing.assert_close(torch.cat(seen)[: len(gathered.success)], gathered.evidence, rtol=1e-3, atol=1e-3)


def test_a_verifier_goes_with_what_it_was_fitted_on(tiny_config):
    pad = PaD(tiny_config)
    verified = pad.with_verifier(Verifier(VerifierConfig(pad.evidence_size)))
    assert verified.with_planner(replan=2).verifier is verified.verifier
    assert verified.with_planner(discount=0.9).verifier is None
    assert verified.with_planner(level=False).config.verifier is None
    assert pad.verifier is None
    with pytest.raises(ThalwegError, match=f"verifier.evidence is 7, but this planner shows {pad.evidence_size}"):
        PaD(replace(tiny_config, verifier=VerifierConfig(7)))


def test_what_cannot_be_calibrated_is_named(tiny_config, tmp_path):
    folder = save_checkpoint(tmp_path / "nowhere", PaD(tiny_config), Provenance())
    with pytest.raises(ThalwegError, match="names no environment"):
        calibrate(folder)


def test_a_configuration_given_for_one_plan_is_checked_too(tiny_config):
    planner = replace(tiny_config.planner, level=False)
    pad = PaD(replace(tiny_config, reach=None, planner=planner)).eval()
    with pytest.raises(ThalwegError, match="level needs a time-to-reach model"):
        pad.plan(**request(pad), generators=generators(), config=replace(planner, level=True))
    whole = PaD(tiny_config).eval()
    whole = whole.with_verifier(Verifier(VerifierConfig(whole.evidence_size)))
    assert whole.plan(**request(whole), generators=generators(), config=planner).reach_probability is None


def test_arrival_is_learned_from_plans_to_the_last_milestone():
    """Three plans with even beliefs over ten steps; the second one turned to the last milestone."""
    belief = np.full((3, 10), 0.1, np.float32)
    trace = SimpleNamespace(belief=belief, steps=12, plan_step=np.array([0, 4, 8]), plan_turns=None)
    torch.testing.assert_close(_passed(trace, 3), torch.tensor([0.95, 0.75, 0.35]))
    trace.plan_turns = np.array([True, True, False])
    assert _passed(trace, 3).isnan().tolist() == [True, False, False]
