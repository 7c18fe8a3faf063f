"""A toy world goes from chance to solved in seconds, and the trained planner keeps its contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from thalweg import Agent, PaD, TrainConfig, check_planner, train
from thalweg.data.windows import WindowSpec
from thalweg.decoders.inverse_dynamics import InverseDynamicsConfig
from thalweg.encoders import EncoderConfig, latent_health
from thalweg.envs.point import PointMass, record_points
from thalweg.errors import ThalwegError
from thalweg.pad.config import PaDConfig, PaDTraining
from thalweg.pad.model import PaDModelConfig
from thalweg.pad.planner import PlannerConfig
from thalweg.reach import ReachModelConfig

OFFSETS = (2, 4, 6, 8, 12, 16, 24)


def point_config() -> PaDConfig:
    return PaDConfig(
        encoder=EncoderConfig("identity", 4, 4),
        model=PaDModelConfig(
            latent=4, offsets=OFFSETS, horizon=24, context_width=64, context_depth=2, width=32, rank=16
        ),
        reach=ReachModelConfig(observation=4, horizon=24, bins=12, width=64),
        inverse=InverseDynamicsConfig(latent=4, action=2, reach=4, width=64, depth=2),
        windows=WindowSpec(OFFSETS, reach_high=24),
        training=PaDTraining(),
        planner=PlannerConfig(hypotheses=4, steps=2, replan=2, lookahead=2),
    )


@pytest.fixture(scope="module")
def trained() -> PaD:
    torch.manual_seed(0)
    model = PaD(point_config())
    config = TrainConfig(steps=800, batch=128, compile=False, precision="float32", warmup=50)
    train(model, record_points(100), config=config)
    return model


def success(act, episodes: int = 40, steps: int = 40) -> float:
    """Share of episodes that come within 0.1 of a random goal and are still there at the end."""
    reached = 0
    for episode in range(episodes):
        world = PointMass(10_000 + episode)
        start = world.reset()
        target = np.random.default_rng(episode).uniform(-0.8, 0.8, 2).astype(np.float32)
        chooser = act(np.concatenate([target, np.zeros(2)]).astype(np.float32))
        observation = start
        for _ in range(steps):
            observation = world.step(chooser(observation))
        reached += np.linalg.norm(world.position - target) < 0.1
    return reached / episodes


def test_a_point_reaches_its_goals(trained):
    agent = Agent(trained)

    def planning(goal):
        agent.reset(goal)
        return agent.act

    def chance(goal):
        rng = np.random.default_rng(0)
        return lambda observation: rng.uniform(-1, 1, 2)

    assert success(chance) < 0.2
    assert success(planning) > 0.9


def test_a_fulfilled_goal_asks_for_little_motion(trained):
    agent = Agent(trained)
    here = np.array([0.3, -0.2, 0, 0], dtype=np.float32)
    agent.reset(here)
    near = np.abs(agent.act(here)).max()
    agent.reset(np.array([-0.6, 0.7, 0, 0], dtype=np.float32))
    far = np.abs(agent.act(here)).max()
    assert near < 0.6 * far


def test_refinement_lowers_the_error(trained):
    """Descending helps: T steps from noise end nearer to the recorded future than none."""
    from thalweg.data.windows import gather_rows, sample_windows, starts
    from thalweg.refine import refine
    from thalweg.types import Context

    store = record_points(20, seed=5000)
    spec = trained.config.windows
    index = sample_windows(store, spec, starts(store, spec)[::7], np.random.default_rng(0))
    past, future, goal = (trained.encode(torch.from_numpy(part)) for part in gather_rows(store, index))
    context = Context(past, torch.ones(len(past)), goal, torch.from_numpy(index.reach).float(), goal[:, :0])
    with torch.no_grad():
        condition = trained.model.condition(context)
        noise = torch.randn(future.shape, generator=torch.Generator().manual_seed(0))
        clean = trained.model.to_plan(future, past[:, -1])
        errors = [
            (refine(trained.model, noise, condition, steps=steps).plan - clean).square().mean().item()
            for steps in (0, 1, 2)
        ]
    assert errors[1] < 0.3 * errors[0]
    assert errors[2] < 1.05 * errors[1]


def test_the_contract_is_kept(trained):
    rng = np.random.default_rng(0)
    observations, goals = rng.uniform(-0.8, 0.8, (2, 3, 4)).astype(np.float32)
    check_planner(trained, observations, goals)


def test_a_broken_contract_is_named(trained):
    class Forgetful(PaD):
        def act(self, plan, present, step):
            return torch.full((len(present), 2), float("nan"))

    model = Forgetful(trained.config)
    model.load_state_dict(trained.state_dict())
    observations, goals = np.random.default_rng(0).uniform(-0.8, 0.8, (2, 3, 4)).astype(np.float32)
    with pytest.raises(ThalwegError, match="actions are not finite"):
        check_planner(model, observations, goals)


def test_a_seeded_plan_is_repeated(trained):
    agent = Agent(trained, seed=3)
    goal, here = np.array([0.5, 0.5, 0, 0]), np.array([-0.5, 0.1, 0, 0])
    plans = []
    for _ in range(2):
        agent.reset(goal)
        agent.act(here)
        plans.append(agent.plan.candidates)
    assert torch.equal(*plans)
    other = Agent(trained, seed=4)
    other.reset(goal)
    other.act(here)
    assert not torch.equal(other.plan.candidates, plans[0])


def test_a_batch_of_robots_acts_as_each_alone(trained):
    rng = np.random.default_rng(1)
    goals, starts = rng.uniform(-0.8, 0.8, (2, 3, 4)).astype(np.float32)
    together, alone = Agent(trained), Agent(trained)
    together.reset(goals, seeds=[5, 6, 7])
    actions = [together.act(starts) for _ in range(6)]
    for row, seed in enumerate((5, 6, 7)):
        alone.reset(goals[row : row + 1], seeds=[seed])
        for step in range(6):
            np.testing.assert_allclose(alone.act(starts[row : row + 1])[0], actions[step][row], atol=1e-4)


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (np.zeros(3), r"shape \(3,\); expected \(4,\)"),
        (np.array([0, np.nan, 0, 0]), r"not finite at index \[1\]"),
        (np.zeros((2, 4)), "got 2 observations for 1 goals"),
        (np.zeros((0, 4)), "shape"),
        ("here", "not an array of numbers"),
    ],
)
def test_bad_input_is_named_and_changes_nothing(trained, observation, message):
    agent, undisturbed = Agent(trained), Agent(trained)
    here = np.zeros(4, dtype=np.float32)
    for one in (agent, undisturbed):
        one.reset(np.array([0.5, 0.5, 0, 0]))
        one.act(here)
    with pytest.raises(ThalwegError, match=message):
        agent.act(observation)
    for _ in range(5):
        np.testing.assert_array_equal(agent.act(here), undisturbed.act(here))


def test_a_bad_goal_keeps_the_old_one(trained):
    agent = Agent(trained)
    with pytest.raises(ThalwegError, match="no goal yet"):
        agent.act(np.zeros(4))
    agent.reset(np.array([0.5, 0.5, 0, 0]))
    with pytest.raises(ThalwegError, match="goal has shape"):
        agent.reset(np.zeros(5))
    assert agent.act(np.zeros(4)).shape == (2,)


def test_unknown_planner_settings_are_named(trained):
    with pytest.raises(ThalwegError, match="unknown planner setting 'budget'"):
        PaD(trained.config).with_planner(budget=3)
    assert PaD(trained.config).with_planner(steps=7).config.planner.steps == 7


def test_learned_latents_do_not_collapse():
    """The mlp encoder, trained to the paper's letter for a while, keeps the observation's degrees of freedom."""
    config = point_config()
    config = replace(
        config,
        encoder=EncoderConfig("mlp", 4, 8, width=32),
        model=replace(config.model, latent=8, displacement=False),
        inverse=replace(config.inverse, latent=8),
        training=PaDTraining(reconstruction=0.0, fastest=1e9),
    )
    torch.manual_seed(0)
    model = PaD(config)
    store = record_points(50)
    train(model, store, config=TrainConfig(steps=200, batch=64, compile=False, precision="float32"))
    health = latent_health(model.normaliser, model.encoder, store, np.random.default_rng(0))
    assert health["effective_rank"] > 2.0
    assert health["reconstruction"] < 0.5
