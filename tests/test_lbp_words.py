"""LBP that is told what to do: demonstrations with instructions, and goals in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thalweg.agent import Agent
from thalweg.checkpoint import load_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.envs.point import PointMass
from thalweg.errors import ThalwegError
from thalweg.lbp.sample import Demonstrations, LBPSample
from thalweg.train import TrainConfig
from thalweg.training import build, train_checkpoint

pytest.importorskip("transformers")

WAYS = {
    "go to the left": (-0.8, 0.0),
    "go to the right": (0.8, 0.0),
    "move up": (0.0, 0.8),
    "move down": (0.0, -0.8),
}
STEPS = 24
SETTINGS = (
    "training.fastest=1e9", "training.state_noise=0", "subgoals.width=64", "policy.sampling=8", "policy.denoising=8",
    "policy.width=128", "policy.depth=2", "reach.width=32",
)  # fmt: skip


def demonstrations(episodes: int = 80, seed: int = 0) -> EpisodeStore:
    """A point near the middle that goes where it is told."""
    observations, actions, told = [], [], []
    rng = np.random.default_rng(seed)
    for episode in range(episodes):
        instruction, place = list(WAYS.items())[episode % 4]
        world = PointMass(seed + episode)
        world.position = rng.uniform(-0.3, 0.3, 2)
        for _ in range(STEPS):
            action = np.clip(4 * (np.array(place) - world.position), -0.7, 0.7) + 0.05 * rng.standard_normal(2)
            observations.append(world.observation())
            actions.append(np.clip(action, -1, 1).astype(np.float32))
            world.step(actions[-1])
        told.append(instruction)
    return EpisodeStore.from_arrays(
        np.array(observations), np.array(actions), lengths=[STEPS] * episodes, instructions=told, source="points"
    )


@pytest.fixture(scope="module")
def store() -> EpisodeStore:
    return demonstrations()


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    config = TrainConfig(steps=500, batch=128, compile=False, precision="float32")
    return train_checkpoint(store, tmp_path_factory.mktemp("run"), preset="lbp", config=config, settings=SETTINGS)


def follow(agent: Agent, goal, start: tuple[float, float]) -> np.ndarray:
    """Where it ends."""
    world = PointMass(0)
    world.position = np.array(start)
    agent.reset(goal)
    for _ in range(STEPS):
        world.step(agent.act(world.observation()))
    return world.position


def test_it_goes_where_it_is_told_and_where_it_is_shown(folder):
    """Also in words that it was not taught, and from places where it has not been."""
    agent = Agent.load(folder)
    for instruction, place in WAYS.items():
        assert np.linalg.norm(follow(agent, instruction, (0.1, -0.15)) - place) < 0.35, instruction
    assert follow(agent, "Now go to the right.", (-0.1, 0.1))[0] > 0.4
    shown = np.array([-0.8, 0.0, 0.0, 0.0], np.float32)
    assert follow(agent, shown, (0.1, 0.1))[0] < -0.4


def test_goals_of_a_batch_may_be_of_either_kind_and_do_not_mind_their_company(folder, store):
    agent = Agent.load(folder)
    shown, rows = store.observations[STEPS - 1], store.observations[[3, 5]]
    agent.reset(["move up", shown], seeds=[1, 2])
    both = agent.act(rows)
    for index, goal in enumerate(("move up", shown)):
        agent.reset(goal, seeds=[index + 1])
        np.testing.assert_allclose(agent.act(rows[index]), both[index], atol=1e-4)


def test_moments_lead_to_the_ends_of_demonstrations_as_they_were_told(store):
    embeddings = torch.eye(4)[torch.arange(len(store)) % 4]
    moments = Demonstrations(store, embeddings, given=0.25, spread=0.0).draw(4000, np.random.default_rng(0))
    assert (moments.now + moments.reach + 1 == store.bounds(moments.now)[1] + 1).all() and moments.reach.min() == 1
    episode = np.searchsorted(store.ends, moments.now, side="right")
    assert moments.told.float().mean() == pytest.approx(0.75, abs=0.03)
    assert torch.equal(moments.language[moments.told], embeddings[episode][moments.told])
    assert not moments.language[~moments.told].any()
    noisy = Demonstrations(store, embeddings, given=0.0, spread=0.5).draw(4000, np.random.default_rng(0))
    assert (noisy.language - embeddings[np.searchsorted(store.ends, noisy.now, side="right")]).std() == pytest.approx(
        0.5, abs=0.02
    )


def drawn(store, *settings: str) -> LBPSample:
    model = build("lbp", store, settings=(*SETTINGS, *settings))
    return model.draw(model.sampler(store), 2000, np.random.default_rng(0), torch.Generator().manual_seed(0))


def test_the_plan_is_hidden_in_a_share_of_what_is_told(store):
    sample = drawn(store, "training.plan_dropout=0.5", "training.given=0.5", "training.varied=0")
    assert sample.shown[~sample.told].all()
    assert sample.shown[sample.told].float().mean() == pytest.approx(0.5, abs=0.05)
    goals = drawn(store, "subgoals.scheme=none", "training.plan_dropout=0", "training.given=0.5")
    assert torch.equal(goals.shown, ~goals.told.unsqueeze(1))  # without a planner goals are shown if they were given


def test_a_share_of_the_plans_has_another_ratio_and_shows_fewer_subgoals(store):
    sample = drawn(store, "training.plan_dropout=0", "training.varied=0.6", "subgoals.depth=2")
    assert (sample.ratio == 0.5).float().mean() == pytest.approx(0.4, abs=0.05)
    assert sample.ratio.min() >= 0.4 and sample.ratio.max() <= 0.8
    assert sample.shown[:, -1].all()  # the goal always is
    counts = sample.shown.sum(dim=1).bincount(minlength=4) / len(sample.shown)
    np.testing.assert_allclose(counts, [0, 0.2, 0.2, 0.6], atol=0.05)


def test_folds_part_episodes_evenly_and_every_task_among_them(store):
    model = build("lbp", store, settings=SETTINGS)
    assert model.config.subgoals.folds == 2  # so few demonstrations are learned by heart
    sampler = model.sampler(store)
    rng = np.random.default_rng(0)
    sample = model.draw(sampler, 4000, rng, torch.Generator().manual_seed(0))
    moments = sampler.draw(4000, np.random.default_rng(0))
    episode = np.searchsorted(store.ends, moments.now, side="right")
    for task in range(4):
        share = sample.fold[torch.from_numpy(episode % 4 == task)].float().mean()
        assert 0.2 < share < 0.8
    assert all(len(set(sample.fold[torch.from_numpy(episode == one)].tolist())) == 1 for one in range(10))


@pytest.mark.parametrize(
    ("goal", "named"),
    [
        ("", "the instruction is empty"),
        ("   ", "the instruction is empty"),
        ([], "got no goal"),
        (np.zeros(3), r"goal has shape \(3,\)"),
        (np.full(4, np.nan), "goal is not finite"),
        (["move up", np.zeros(2)], r"goal has shape \(2,\)"),
    ],
)
def test_wrong_goals_are_named_and_the_former_one_stays(folder, store, goal, named):
    agent = Agent.load(folder)
    agent.reset("move up")
    with pytest.raises(ThalwegError, match=named):
        agent.reset(goal)
    agent.act(store.observations[0])


def test_another_text_encoder_is_refused(folder):
    model, _ = load_checkpoint(folder)
    model.config = replace(model.config, text_fingerprint="0" * 64)
    with pytest.raises(ThalwegError, match="trained with 000000000000; install the same"):
        Agent(model).reset("move up")
    model.config = replace(model.config, text_fingerprint="", text="./other")
    with pytest.raises(ThalwegError, match="no folder ./other"):
        Agent(model).reset("move up")


def test_planners_that_know_no_words_say_so(store):
    plain = EpisodeStore.from_arrays(store.observations, store.actions, lengths=store.ends - store.starts)
    agent = Agent(build("lbp", plain, settings=SETTINGS))
    with pytest.raises(ThalwegError, match="knows no instructions, got 'move up'"):
        agent.reset("move up")


def test_the_shipped_checkpoint_begins_what_it_is_told():
    """Told to move the red cube, the hand sets out for it; told to open the window, it does not."""
    from thalweg.envs import make_env

    shipped = Path(__file__).parent.parent / "checkpoints" / "long-horizon"
    agent, env = Agent.load(shipped), make_env("long-horizon")

    def nearest(instruction: str, task: int) -> float:
        observation, _ = env.reset(seed=3, options={"task_id": task})
        agent.reset(instruction)
        near = np.inf
        for _ in range(40):
            observation, *_ = env.step(agent.act(observation))
            near = min(near, float(np.linalg.norm(observation[12:15] - observation[19:22])))
        return near / 10  # metres

    assert nearest("put the red cube on the left and then the blue cube on the right", 6) < 0.05
    assert nearest("open the window", 1) > 0.05
