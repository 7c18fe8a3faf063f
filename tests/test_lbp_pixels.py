"""LBP from cameras: what it is trained on, what it is asked, and what it refuses."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

from thalweg.agent import Agent
from thalweg.benchmark import planning_time
from thalweg.check import check_env
from thalweg.checkpoint import Provenance, load_checkpoint, save_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError
from thalweg.lbp.presets import lbp_for
from thalweg.lbp.system import LBP
from thalweg.perception.resnet import ResNetConfig, Trunk
from thalweg.report import write_report
from thalweg.report.subgoals import subgoal_figure
from thalweg.rollout import RolloutSpec, episodes_of, run_group
from thalweg.trace import Trace, TraceHead, load_trace
from thalweg.train import TrainConfig
from thalweg.training import build, train_checkpoint

SIZE, STEPS = 16, 12
SMALL = (
    "images.vision.widths=[8,8,8,8]", "images.vision.blocks=[1,1,1,1]", "images.vision.features=8", "images.picture=8",
    "policy.eyes.widths=[8,8,8,8]", "policy.eyes.blocks=[1,1,1,1]", "policy.eyes.features=16", "policy.width=32",
    "policy.depth=1", "policy.sampling=5", "policy.denoising=5", "subgoals.width=16", "subgoals.latent=8",
    "policy.latent=8", "reach.observation=8", "training.seeing=20",
)  # fmt: skip


def pushed(episodes: int = 6, *, words: bool = True, seed: int = 0) -> EpisodeStore:
    """A bright square that is pushed to the left or to the right, as it is told, seen from above."""
    rng = np.random.default_rng(seed)
    frames, bodies, actions, told = [], [], [], []
    for episode in range(episodes):
        side = 1 if episode % 2 else -1
        column = SIZE // 2 + int(rng.integers(-1, 2))
        for step in range(STEPS):
            frame = np.full((SIZE, SIZE, 3), 20, np.uint8)
            frame[6:10, column - 1 : column + 2] = (220, 60, 60)
            frames.append(frame)
            bodies.append([column / SIZE, side * rng.random()])
            actions.append([side * 0.5])
            column = int(np.clip(column + side * (step % 2), 2, SIZE - 2))
        told.append("push it to the right" if side > 0 else "push it to the left")
    return EpisodeStore.from_arrays(
        np.array(bodies), np.array(actions), lengths=[STEPS] * episodes, cameras={"top": np.array(frames)},
        instructions=told if words else (), source="pushed",
    )  # fmt: skip


class Square(gymnasium.Env):
    """The square as an environment: it is told where to push, and is there after four pushes."""

    def __init__(self) -> None:
        body = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        frames = gymnasium.spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.observation_space = gymnasium.spaces.Dict({"proprioception": body, "top": frames})
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.side, self.place, self.steps = (1, -1)[int(self.np_random.integers(2))], 0.0, 0
        return self._seen(), {"instruction": f"push it to the {'right' if self.side > 0 else 'left'}"}

    def step(self, action):
        self.place += float(np.clip(action, -1, 1)[0])
        self.steps += 1
        done = self.side * self.place > 2
        return self._seen(), float(done), done, self.steps >= 12, {"success": done}

    def _seen(self):
        frame = np.full((SIZE, SIZE, 3), 20, np.uint8)
        column = int(np.clip(SIZE // 2 + round(self.place), 2, SIZE - 3))
        frame[6:10, column - 1 : column + 2] = (220, 60, 60)
        return {"proprioception": np.array([self.place, 0.0], np.float32), "top": frame}


def sight(store: EpisodeStore, row: int, **changes) -> dict:
    return {"proprioception": store.observations[row], "top": store.cameras["top"][row]} | changes


@pytest.fixture(scope="module")
def store() -> EpisodeStore:
    return pushed()


@pytest.fixture(scope="module")
def agent(store, tmp_path_factory) -> Agent:
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("run")
    config = TrainConfig(steps=20, batch=8, compile=False, precision="float32")
    saved = train_checkpoint(store, folder, preset="lbp", config=config, settings=SMALL)
    return Agent.load(saved)


def test_the_encoder_is_trained_first_and_stays_as_it_is(agent, store):
    record = agent.provenance.training
    assert record["images"]["steps"] == 20 and set(record["images"]["losses"]) == {"language", "order", "visible"}
    model = agent.planner
    assert not model.senses.images.training and not any(p.requires_grad for p in model.senses.images.parameters())
    fresh = build("lbp", store, settings=SMALL)
    before = [p.clone() for p in fresh.senses.images.parameters()]
    rng = np.random.default_rng(0)
    sampler = fresh.sampler(store)
    fresh.measure(sampler, rng)
    sample = fresh.draw(sampler, 8, rng, torch.Generator().manual_seed(0))
    sum(fresh.losses(sample).values()).backward()
    assert all(p.grad is None for p in fresh.senses.images.parameters())
    assert all(p.grad is not None for p in fresh.policy.eyes.parameters() if p.requires_grad)
    assert all(torch.equal(a, b) for a, b in zip(before, fresh.senses.images.parameters(), strict=True))


def test_the_policys_eyes_begin_as_the_encoder_where_they_are_of_its_build():
    torch.manual_seed(0)
    build_of = {"widths": (8, 8), "blocks": (1, 1)}
    encoder, eyes = Trunk(ResNetConfig(**build_of)), Trunk(ResNetConfig(condition=4, **build_of))
    frames, condition = torch.rand(2, 3, 16, 16), torch.randn(2, 4)
    assert not torch.allclose(eyes(frames, condition), encoder(frames))
    eyes.begin_as(encoder)
    torch.testing.assert_close(eyes(frames, condition), encoder(frames))  # the condition adds nothing at first
    wider = Trunk(ResNetConfig(widths=(8, 16), blocks=(1, 1)))
    before = {name: value.clone() for name, value in wider.state_dict().items()}
    wider.begin_as(encoder)
    assert all(torch.equal(value, before[name]) for name, value in wider.state_dict().items())


def test_latents_of_a_sample_are_the_encoders_own(agent, store):
    """Computed beforehand for the whole set, they are what planning makes of the same frames."""
    model = agent.planner
    sampler = model.sampler(store)
    rng = np.random.default_rng(3)
    sample = model.draw(sampler, 5, np.random.default_rng(3), torch.Generator().manual_seed(0))
    moments = sampler.draw(5, rng)
    ends = moments.now + moments.reach
    seen = model.read({"proprioception": store.observations[ends], "top": store.cameras["top"][ends]})
    torch.testing.assert_close(sample.goal, model.senses.latent(seen), rtol=1e-4, atol=1e-4)


def test_the_policy_learns_from_disturbed_proprioception_and_several_draws(agent, store):
    senses, rows, level = agent.planner.senses, np.arange(40), torch.ones(40, 1)
    exact = senses.normaliser(torch.from_numpy(store.observations[rows]))
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(senses.recorded_given(store, rows, exact, 0.0 * level, generator), exact)
    off = senses.recorded_given(store, rows, exact, level, generator) - exact
    torch.testing.assert_close(off.std(dim=0), senses.normaliser.keep * senses.normaliser.jitter, rtol=0.4, atol=1e-6)
    sample = agent.planner.draw(agent.planner.sampler(store), 3, np.random.default_rng(0), generator)
    assert sample.level.shape == (3, 4) and sample.noise.shape[:2] == (3, 4)


def test_the_policy_learns_from_frames_shifted_by_a_few_pixels(agent, store):
    still = LBP(replace(agent.planner.config, training=replace(agent.planner.config.training, shift=0)))
    rows = np.arange(8)
    recorded = torch.from_numpy(np.array(store.cameras["top"][rows])).permute(0, 3, 1, 2).unsqueeze(1)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(still.senses.frames(store, rows, generator), recorded)
    shifted = agent.planner.senses.frames(store, rows, generator)
    inside = (..., slice(4, -4), slice(4, -4))
    moved = [recorded.roll((down, across), (-2, -1))[inside] for down in range(-1, 2) for across in range(-1, 2)]
    for row, frame in enumerate(shifted[inside]):
        assert any(torch.equal(frame, one[row]) for one in moved)
    assert not torch.equal(shifted, recorded)


def test_goals_are_words_frames_files_and_dicts(agent, store, tmp_path):
    image = pytest.importorskip("PIL.Image")
    frame = store.cameras["top"][5]
    image.fromarray(frame).save(tmp_path / "goal.png")
    actions = []
    for goal in (frame, tmp_path / "goal.png", {"top": frame}):
        agent.reset(goal)
        actions.append(agent.act(sight(store, 0)))
    assert actions[0].shape == (1,) and np.array_equal(actions[0], actions[1]) and np.array_equal(*actions[1:])
    agent.reset("push it to the right")
    alone = agent.act(sight(store, 0))
    agent.reset(["push it to the right", frame], seeds=[0, 0])
    rows = [0, 0]
    both = agent.act({"proprioception": store.observations[rows], "top": store.cameras["top"][rows]})
    np.testing.assert_allclose(both[0], alone, atol=1e-5)
    np.testing.assert_allclose(both[1], actions[0], atol=1e-5)


def test_plans_depend_on_frames_and_words(agent, store):
    plans = []
    for goal, row in (("push it to the right", 0), ("push it to the left", 0), ("push it to the right", STEPS - 1)):
        agent.reset(goal)
        agent.act(sight(store, row))
        plans.append(agent.plan.latents)
    assert not torch.allclose(plans[0], plans[1]) and not torch.allclose(plans[0], plans[2])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"top": np.zeros((8, 8, 3), np.uint8)}, "8 by 8 pixels; the checkpoint was trained on 16 by 16"),
        ({"top": np.zeros((SIZE, SIZE, 3), np.float32)}, "dtype float32"),
        ({"proprioception": np.zeros(3)}, r"proprioception has shape \(3,\)"),
        ({"proprioception": np.full(2, np.nan)}, "proprioception is not finite"),
    ],
)
def test_wrong_observations_are_named_and_nothing_is_lost(agent, store, changes, named):
    agent.reset("push it to the left")
    agent.act(sight(store, 0))
    before = agent.plan
    with pytest.raises(ThalwegError, match=named):
        agent.act(sight(store, 1, **changes))
    assert agent.plan is before
    agent.act(sight(store, 1))


def test_missing_cameras_and_wrong_goals_are_named(agent, store, tmp_path):
    agent.reset("push it to the left")
    for observation in (store.observations[0], {"proprioception": store.observations[0]}):
        with pytest.raises(ThalwegError, match="must be a dict of 'proprioception', 'top'"):
            agent.act(observation)
    for goal, named in (
        ("", "instruction is empty"),
        ([], "got no goal"),
        (tmp_path / "none.png", "no readable image"),
        (np.zeros((8, 8, 3), np.uint8), "8 by 8 pixels"),
        ({"side": store.cameras["top"][0]}, "the goal has no frame of camera 'top'; it has 'side'"),
        ({"top": tmp_path / "none.png"}, "no readable image"),
        (None, "the goal is None; give an instruction, or what is to be observed"),
        (3.0, "the goal is 3.0; give"),
    ):
        with pytest.raises(ThalwegError, match=named):
            agent.reset(goal)


def test_frames_may_be_views_or_read_only(agent, store):
    """A camera's BGR frames turned to RGB, or upside down, have negative strides."""
    frame = np.array(store.cameras["top"][4])
    agent.reset("push it to the left", seeds=[1])
    wanted = agent.act(sight(store, 4))
    locked = frame.copy()
    locked.flags.writeable = False
    for same in (frame[..., ::-1].copy()[..., ::-1], frame[::-1].copy()[::-1], locked):
        agent.reset("push it to the left", seeds=[1])
        np.testing.assert_array_equal(agent.act(sight(store, 4, top=same)), wanted)
    with pytest.raises(ThalwegError, match="frames of camera 'top' have shape"):
        agent.act(sight(store, 4, top=None))


def test_a_goal_of_several_cameras_is_given_by_their_names(store, tmp_path):
    pytest.importorskip("transformers")
    frames = np.asarray(store.cameras["top"])
    both = EpisodeStore.from_arrays(
        store.observations, store.actions, lengths=[STEPS] * len(store), instructions=store.instructions,
        cameras={"top": frames, "side": frames[:, ::-1]},
    )  # fmt: skip
    settings = [setting for setting in SMALL if not setting.startswith("training")]
    model = build("lbp", both, settings=settings)
    Image.fromarray(frames[0]).save(tmp_path / "top.png")
    files, _ = model.read_goals({"top": tmp_path / "top.png", "side": frames[1, ::-1]})
    arrays, _ = model.read_goals({"top": frames[0], "side": frames[1, ::-1]})
    assert torch.equal(files.latent, arrays.latent)
    for goal, named in ((frames[0], r"of shape \(16, 16, 3\)"), (tmp_path / "top.png", "a file")):
        with pytest.raises(ThalwegError, match=f"the goal is {named}; give a dict with a frame of each camera: 'side'"):
            model.read_goals(goal)


def test_settings_that_belong_together_can_be_changed_one_after_the_other(store):
    pytest.importorskip("transformers")
    pair = ("policy.fused=64", "policy.eyes.condition=64")
    for settings in (pair, pair[::-1]):
        assert build("lbp", store, settings=(*SMALL, *settings)).config.policy.fused == 64
    with pytest.raises(ThalwegError, match="policy.eyes.condition is 256, but policy.fused is 64; they must agree"):
        build("lbp", store, settings=(*SMALL, pair[0]))


class Shown(Square):
    """The same, and where to push it is shown."""

    def reset(self, *, seed=None, options=None):
        observation, _ = super().reset(seed=seed)
        start, self.place = self.place, 2.0 * self.side
        goal, self.place = self._seen(), start
        return observation, {"goal": goal}


def test_goals_that_are_seen_are_reached_for_and_recorded(tmp_path):
    store = pushed(words=False)
    config = TrainConfig(steps=3, batch=8, compile=False, precision="float32")
    folder = train_checkpoint(store, tmp_path, preset="lbp", config=config, settings=(*SMALL, "images.language=0"))
    check_env(Shown())
    spec = RolloutSpec(f"{__name__}:Shown", str(folder), tasks=(), episodes=3, together=3, record=str(tmp_path / "rec"))
    results = run_group(spec, episodes_of(spec))
    assert [result.decisions for result in results] == [result.steps for result in results]
    trace = load_trace(tmp_path / "rec" / "task0-000.npz")
    assert abs(trace.goal[0]) == 2 and trace.instruction == ""


class Narrow(Shown):
    """Its goal lacks the camera."""

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        return observation, {"goal": {"proprioception": info["goal"]["proprioception"]}}


def test_an_environment_whose_goal_is_no_observation_is_refused():
    with pytest.raises(ThalwegError, match=r"goal \{'proprioception': \(2,\)\} and observation .*'top'.* differ"):
        check_env(Narrow())


def test_a_checkpoint_keeps_its_eyes(agent, store, tmp_path):
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path / "again", agent.planner, Provenance()))
    agents = [agent, Agent(loaded)]
    for one in agents:
        one.reset("push it to the left", seeds=[4])
    assert np.array_equal(*[one.act(sight(store, 2)) for one in agents])


def test_recordings_without_words_have_goals_from_their_own_future(tmp_path):
    store = pushed(words=False)
    model = build("lbp", store, settings=(*SMALL, "images.language=0"))
    sampler = model.sampler(store)
    rng = np.random.default_rng(0)
    model.measure(sampler, rng)
    sample = model.draw(sampler, 6, rng, torch.Generator().manual_seed(0))
    assert not sample.told.any() and sample.language.shape == (6, 0)
    assert sample.goal.shape == (6, 8) and all(loss.isfinite() for loss in model.losses(sample).values())


def test_planners_of_states_do_not_take_cameras(store):
    with pytest.raises(ThalwegError, match="it has cameras .* preset 'default' does not look at; choose 'lbp'"):
        build("default", store)


def test_parts_that_do_not_fit_are_refused(store):
    pytest.importorskip("transformers")
    config = lbp_for(store)
    for changes, named in (
        ({"images": None}, "latent"),
        ({"policy": replace(config.policy, eyes=None)}, "go together"),
        ({"subgoals": replace(config.subgoals, latent=3)}, "policy.latent is 32, but subgoals.latent is 3"),
        ({"subgoals": replace(config.subgoals, latent=200)}, "subgoals.latent is 200, .* has 128 components"),
    ):
        with pytest.raises(ThalwegError, match=named):
            LBP(replace(config, **changes))


def test_episodes_are_recorded_with_their_frames_and_the_report_shows_subgoals(agent, store, tmp_path):
    pytest.importorskip("matplotlib")
    name = f"{__name__}:Square"
    check_env(Square())
    saved = save_checkpoint(tmp_path / "run", agent.planner, agent.provenance)
    spec = RolloutSpec(name, str(saved), tasks=(), episodes=3, record=str(tmp_path / "traces"))
    results = run_group(spec, episodes_of(spec))
    traces = [load_trace(path) for path in sorted((tmp_path / "traces").glob("*.npz"))]
    assert [trace.head.success for trace in traces] == [result.success for result in results]
    first = traces[0]
    assert first.instruction.startswith("push it to the") and first.cameras["top"].shape[1:] == (SIZE, SIZE, 3)
    assert len(first.cameras["top"]) == first.steps + 1 and first.plan_latents.shape == (first.decisions, 3, 8)
    page = subgoal_figure(first, traces[1:])
    assert page.count("data:image/png") >= 4 * 2 and "subgoal 2" in page and "now" in page
    record = {"environment": name, "method": "LBP", "success": {"mean": 0.0, "per_task": []}, "episodes": []}
    report = write_report(record, tmp_path / "traces", tmp_path / "report.html", videos=False)
    assert "<q>push it to the" in report.read_text() and "nearest real frame" in report.read_text()


def test_the_nearest_frame_is_the_one_that_was_planned(agent, tmp_path):
    """A plan whose subgoals are latents of known moments shows these moments' frames."""
    frames = np.arange(4 * 8 * 8 * 3, dtype=np.uint8).reshape(4, 8, 8, 3)
    head = TraceHead(tmp_path / "task0-000.npz", 0, 0, 0, False, 3)
    latents = np.eye(3, 5)
    trace = Trace(
        head, np.zeros((4, 2)), np.zeros(2), np.arange(3), np.zeros((3, 2, 2)), np.full((3, 2), [1, 2]),
        np.full(3, 2.0), latents=latents, plan_latents=np.stack([latents[[2, 1]]] * 3), cameras={"top": frames},
    )  # fmt: skip
    page = subgoal_figure(trace, ())
    shown = [np.array(Image.open(io.BytesIO(base64.b64decode(part)))) for part in re.findall(r"base64,([^\"]+)", page)]
    small = [picture[::12, ::12] for picture in shown]
    now, far_planned, far_came, near_planned = small[0], small[1], small[2], small[3]
    assert np.array_equal(now, frames[0]) and np.array_equal(far_planned, frames[2])
    assert np.array_equal(far_came, frames[1]) and np.array_equal(near_planned, frames[1])


def test_decisions_are_timed_from_frames_too(agent):
    timed = planning_time(agent.planner, repeats=3)
    assert 0 < timed["p50"] <= timed["p95"]
