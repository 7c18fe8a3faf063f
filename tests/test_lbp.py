"""LBP: where subgoals lie, what its networks are given, and its policy's chunks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.agent import Agent
from thalweg.check import check_planner
from thalweg.checkpoint import Provenance, load_checkpoint, save_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.envs.point import record_points
from thalweg.errors import ThalwegError
from thalweg.grips import Grip
from thalweg.lbp.chunks import blend, overlap
from thalweg.lbp.config import LBPConfig, LBPTraining
from thalweg.lbp.policy import FUSIONS, ChunkPolicy, ChunkPolicyConfig, Fusion, signal_levels
from thalweg.lbp.presets import lbp
from thalweg.lbp.sample import LBPSample
from thalweg.lbp.subgoals import SCHEMES, CrossFitted, Planning, SubgoalConfig, Subgoals, subgoal_steps
from thalweg.lbp.system import LBP
from thalweg.train import TrainConfig, train
from thalweg.types import Plan

LATENT, LANGUAGE, BATCH = 3, 2, 4


@given(st.integers(1, 400), st.sampled_from([0.25, 0.5, 0.6, 0.7, 0.75, 0.9]), st.integers(1, 6))
def test_subgoals_lie_where_equation_5_puts_them(reach, ratio, depth):
    """``ceil((1 - lambda^i) t + lambda^i H)``: the first whole step at or after, found by counting."""
    hundredths, now = round(100 * ratio), 17
    wanted = []
    for level in range(1, depth + 1):
        step = now
        while (step - now) * 100**level < hundredths**level * reach:
            step += 1
        wanted.append(step - now)
    found = subgoal_steps(np.array([reach]), ratio, depth)[0]
    assert found.tolist() == wanted
    assert (found >= 1).all() and (np.diff(found) <= 0).all() and found[0] <= reach


def test_every_row_has_its_own_ratio():
    reach, ratio = np.array([10, 10, 33, 7]), np.array([0.7, 0.5, 0.7, 0.41])
    alone = [subgoal_steps(reach[row : row + 1], ratio[row], 3)[0] for row in range(4)]
    assert np.array_equal(subgoal_steps(reach, ratio, 3), alone)
    far = subgoal_steps(np.array([600]), 0.79, 20)[0]  # 0.79^20 has forty digits
    assert far[-1] == 6 and (np.diff(far) <= 0).all()


def test_a_plan_without_subgoals_has_no_steps():
    assert subgoal_steps(np.array([3, 5]), 0.5, 0).shape == (2, 0)


def lesson(depth: int = 2, *, language: int = LANGUAGE, **changes) -> LBPSample:
    """A sample of random numbers; what the policy alone learns from is empty."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(BATCH, *shape, generator=generator)

    parts = {name: torch.zeros(BATCH, 0) for name in LBPSample.__dataclass_fields__}
    parts |= {"present": draw(LATENT), "goal": draw(LATENT), "subgoals": draw(depth, LATENT)}
    parts |= {"language": draw(language), "given": draw(depth, LATENT), "ratio": torch.tensor([0.5, 0.4, 0.7, 0.5])}
    parts |= {"told": torch.ones(BATCH, dtype=torch.bool), "fold": torch.tensor([0, 1, 0, 1]), "astray": draw(LATENT)}
    parts |= {"moved": torch.tensor([0, 1, 2, 1])}
    return LBPSample(**(parts | changes))


def rows_of(sample: LBPSample, rows: torch.Tensor) -> LBPSample:
    return LBPSample(**{name: value[rows] for name, value in vars(sample).items()})


def subgoals(**changes) -> Subgoals:
    torch.manual_seed(0)
    return Subgoals(SubgoalConfig(**({"latent": LATENT, "language": LANGUAGE, "width": 16} | changes)))


def plan_of(model: Planning, sample: LBPSample, **changes) -> torch.Tensor:
    return model(sample.present, sample.goal, sample.language, **({"ratio": sample.ratio} | changes))


def plans_of(sample: LBPSample) -> Callable[[Subgoals, torch.Tensor], tuple[torch.Tensor, ...]]:
    """What to ask the members of a planner for: their plans."""
    return lambda member, goal: (member(sample.present, goal, sample.language, ratio=sample.ratio),)


def test_a_backward_plan_is_the_recursion_from_the_goal():
    model, sample = subgoals(), lesson()
    plan = plan_of(model, sample, depth=3)
    assert plan.shape == (BATCH, 4, LATENT)
    before = sample.goal
    for level in range(3):
        before = model.step((sample.present, before), (sample.language, -sample.ratio.log2().unsqueeze(1)))
        torch.testing.assert_close(plan[:, 2 - level], before)
    assert torch.equal(plan[:, 3], sample.goal)
    deeper = plan_of(model, sample, depth=5)  # any depth; what a shorter plan has stays
    torch.testing.assert_close(deeper[:, 2:], plan)
    assert not torch.allclose(plan, plan_of(model, sample, depth=3, ratio=sample.ratio + 0.05))
    half = torch.full((BATCH,), 0.5)
    assert torch.equal(plan_of(model, sample, ratio=None), plan_of(model, sample, ratio=half))


def test_a_forward_plan_begins_at_the_present():
    model, sample = subgoals(scheme="forward"), lesson()
    plan = plan_of(model, sample)
    before = sample.present
    for token, level in enumerate((2, 1)):  # at a quarter of the way, then at a half, were the ratio a half
        share = -(sample.ratio**level).log2().unsqueeze(1)
        before = model.step((sample.present, before, sample.goal), (sample.language, share))
        torch.testing.assert_close(plan[:, token], before)


def test_a_parallel_plan_predicts_every_subgoal_by_itself():
    model, sample = subgoals(scheme="parallel"), lesson()
    plan = plan_of(model, sample, depth=3)
    for token, level in enumerate((3, 2, 1)):
        share = -(sample.ratio**level).log2().unsqueeze(1)
        torch.testing.assert_close(plan[:, token], model.step((sample.present, sample.goal), (sample.language, share)))


def test_both_inputs_of_equation_5_are_trained():
    """The loss is that of the true previous subgoals, noise included, plus that of the model's own."""
    model, sample = subgoals(noise=0.1), lesson()

    def error(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return (one - other).square().mean()

    def step(before: torch.Tensor) -> torch.Tensor:
        return model.step((sample.astray, before), (sample.language, -sample.ratio.log2().unsqueeze(1)))

    grounded = model.goal(sample.astray, sample.language)
    wanted = error(grounded, sample.goal)
    near, far = sample.subgoals.unbind(1)
    taught = error(step(sample.goal + 0.1 * sample.given[:, 0]), far) + error(
        step(far + 0.1 * sample.given[:, 1]), near
    )
    own = step(grounded)
    wanted = wanted + taught + error(own, far) + error(step(own), near)
    torch.testing.assert_close(model.loss(sample, torch.ones(BATCH)), wanted)
    given = replace(sample, told=~sample.told)  # goals that are given are not to be found
    own = step(sample.goal)
    loss = model.loss(given, torch.ones(BATCH))
    torch.testing.assert_close(loss, taught + error(own, far) + error(step(own), near))


def test_what_moves_next_is_learned_beside_the_subgoals_without_a_word_to_the_goal():
    model, sample = subgoals(objects=2), lesson()
    goal = model.goal(sample.astray, sample.language)
    chosen = model.choose(sample.astray, goal, sample.language)
    assert chosen.shape == (BATCH, 3)
    chance = chosen.softmax(dim=1)[torch.arange(BATCH), sample.moved]
    weight = torch.tensor([2.0, 0.0, 1.0, 1.0])
    without = subgoals()
    without.load_state_dict({name: value for name, value in model.state_dict().items() if "choice" not in name})
    own = model.loss(sample, weight) - without.loss(sample, weight)
    torch.testing.assert_close(own, -0.3 * (weight * chance.log()).mean(), rtol=1e-4, atol=1e-5)
    model.loss(sample, weight).backward()
    without.loss(sample, weight).backward()
    for name, parameter in without.named_parameters():  # it does not pull at the rest
        torch.testing.assert_close(model.get_parameter(name).grad, parameter.grad)


def test_where_no_object_is_chosen_none_moves_next():
    for change in ({"scheme": "none"}, {"chooses": False}):
        model = subgoals(objects=2, **change)
        chosen = model.choose(torch.zeros(3, LATENT), torch.zeros(3, LATENT), torch.zeros(3, 0))
        assert chosen.argmax(dim=1).tolist() == [2, 2, 2]
        assert not any("choice" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_scheme_plans_and_learns_with_and_without_language(scheme):
    for width in (LANGUAGE, 0):
        model = subgoals(scheme=scheme, language=width, objects=2)
        sample = lesson(language=width, told=torch.arange(BATCH) < 3)
        plan = plan_of(model, sample)
        assert plan.shape[1] == (1 if scheme in ("final", "none") else 3)
        assert torch.equal(plan[:, -1], sample.goal)
        loss = model.loss(sample, torch.ones(BATCH))
        if any(True for _ in model.parameters()):
            loss.backward()
            assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())
        else:
            assert loss == 0


@pytest.mark.parametrize("scheme", ["backward", "forward", "parallel", "final"])
def test_no_member_of_a_planner_learns_from_its_fold_and_the_policy_sees_plans_by_that_member(scheme):
    torch.manual_seed(0)
    model = CrossFitted(SubgoalConfig(LATENT, language=LANGUAGE, width=16, scheme=scheme, folds=2, objects=2))
    sample = lesson(told=torch.tensor([True, True, True, False]))
    model.loss(sample).backward()
    (plan,) = model.unseen(sample, plans_of(sample))
    for index, member in enumerate(model.members):
        rows = sample.fold == index
        found = torch.where(sample.told.unsqueeze(1), member.goal(sample.present, sample.language), sample.goal)
        own = member(sample.present, found, sample.language, ratio=sample.ratio)
        torch.testing.assert_close(plan[rows], own[rows])
        learned = [parameter.grad.clone() for parameter in member.parameters()]
        member.zero_grad()
        others = rows_of(sample, ~rows)
        (member.loss(others, torch.ones(2)) / 2).backward()  # of its own samples alone, the mean of two members
        for one, other in zip(learned, member.parameters(), strict=True):
            torch.testing.assert_close(one, other.grad)


def test_members_are_averaged_at_every_step_of_a_plan():
    torch.manual_seed(0)
    model = CrossFitted(SubgoalConfig(LATENT, language=LANGUAGE, width=16, folds=3))
    sample = lesson()
    present, goal, language, ratio = sample.present, sample.goal, sample.language, sample.ratio
    steps = [goal]
    for _ in range(2):
        steps.append(
            torch.stack([m.next(present, steps[-1], goal, language, ratio) for m in model.members]).mean(dim=0)
        )
    torch.testing.assert_close(plan_of(model, sample), torch.stack(steps[::-1], dim=1))
    one = CrossFitted(SubgoalConfig(LATENT, language=LANGUAGE, width=16, folds=1))
    torch.testing.assert_close(one.loss(sample), one.members[0].loss(sample, torch.ones(BATCH)))
    told = replace(sample, goal=one.goal(present, language))
    torch.testing.assert_close(one.unseen(sample, plans_of(sample))[0], plan_of(one, told))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"scheme": "sideways"}, "'sideways'; choose one of 'backward'"),
        ({"ratio": 1.0}, "ratio must be from 0.4 to 0.8 .* 1.0"),
        ({"ratios": (0.9, 0.5)}, "ratios must be .* the lower first, got"),
        ({"depth": 0}, "depth .* 0"),
        ({"noise": -0.1}, "noise .* -0.1"),
    ],
)
def test_impossible_subgoals_are_refused(change, named):
    with pytest.raises(ThalwegError, match=named):
        SubgoalConfig(LATENT, **change)


POLICY = ChunkPolicyConfig(
    observation=3, latent=LATENT, action=2, language=LANGUAGE, fused=16, heads=2, width=32, depth=1
)


def test_fusion_asks_a_token_of_its_own_and_tells_subgoals_apart():
    """The query is learned, not the present; the order of the subgoals counts; averaging is the alternative."""
    torch.manual_seed(0)
    fuse = Fusion(POLICY)
    given = {"present": torch.randn(BATCH, LATENT), "plan": torch.randn(BATCH, 3, LATENT)}
    given |= {"ratio": torch.full((BATCH,), 0.5), "shown": torch.ones(BATCH, 3, dtype=torch.bool)}
    given |= {"language": torch.randn(BATCH, LANGUAGE)}
    assert "query" in dict(fuse.named_parameters())
    assert len(fuse.blocks) == 2
    average = Fusion(replace(POLICY, fusion="average"))
    assert "query" not in dict(average.named_parameters())
    for one in (fuse, average):
        assert one(**given).shape == (BATCH, 16)
    for name, other in {
        "present": -given["present"],
        "plan": given["plan"].flip(1),
        "ratio": given["ratio"] + 0.1,
        "language": -given["language"],
    }.items():
        assert not torch.allclose(fuse(**given), fuse(**(given | {name: other}))), name


@pytest.mark.parametrize("fusion", FUSIONS)
def test_what_is_hidden_of_a_plan_does_not_count(fusion):
    """A plan whose nearest subgoals are hidden is the shallower plan."""
    torch.manual_seed(0)
    fuse = Fusion(replace(POLICY, fusion=fusion))
    present, plan, language = torch.randn(BATCH, LATENT), torch.randn(BATCH, 3, LATENT), torch.randn(BATCH, LANGUAGE)
    ratio, shown = torch.full((BATCH,), 0.6), torch.tensor([False, True, True]).expand(BATCH, -1)
    short = fuse(present, plan[:, 1:], ratio, shown[:, 1:], language)
    torch.testing.assert_close(fuse(present, plan, ratio, shown, language), short)
    nothing = torch.zeros(BATCH, 3, dtype=torch.bool)  # the instruction alone
    torch.testing.assert_close(
        fuse(present, plan, ratio, nothing, language), fuse(present, -plan, ratio, nothing, language)
    )


def test_a_chunk_may_be_denoised_several_times_for_one_look():
    """The loss is the mean over all draws, as if each had been a sample of its own."""
    torch.manual_seed(0)
    policy = ChunkPolicy(POLICY)
    observation, fused, chunk = torch.randn(BATCH, 3), torch.randn(BATCH, 16), torch.randn(BATCH, 6, 2)
    level, noise = torch.randint(1, 26, (BATCH, 4)), torch.randn(BATCH, 4, 6, 2)
    together = policy.loss(observation, None, fused, chunk, level, noise)
    each = [policy.loss(observation, None, fused, chunk, level[:, k : k + 1], noise[:, k : k + 1]) for k in range(4)]
    torch.testing.assert_close(together, torch.stack(each).mean())
    assert each[0] != each[1]
    with pytest.raises(ThalwegError, match="draws must be 1 or more, got 0"):
        LBPTraining(draws=0)


def test_noise_levels_go_from_clean_to_noise():
    levels = signal_levels(25)
    assert len(levels) == 26 and levels[0] == 1 and levels[-1] < 1e-3
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("steps", [1, 5, 25])
def test_the_sampler_draws_what_a_perfect_denoiser_knows(steps):
    """With the right answer at every level, any number of steps ends there."""
    policy = ChunkPolicy(POLICY)
    answer = torch.randn(BATCH, 12)
    policy.clean = lambda noisy, level, seen: answer
    drawn = policy.draw(torch.randn(BATCH, 3), None, torch.randn(BATCH, 16), torch.randn(BATCH, 6, 2), steps=steps)
    torch.testing.assert_close(drawn.flatten(1), answer)


@pytest.fixture(scope="module")
def tiny() -> LBPConfig:
    config = lbp(4, 2)
    return replace(
        config,
        windows=replace(config.windows, offsets=(1, 16), reach_high=16, settled=0.0, opening=0.0),
        subgoals=replace(config.subgoals, width=64),
        policy=replace(config.policy, fused=32, heads=2, width=128, depth=2, denoising=10, sampling=10),
        reach=replace(config.reach, horizon=16, bins=8, width=32, depth=1),
        training=replace(config.training, fastest=1e9, state_noise=0.0),
    )


@pytest.fixture(scope="module")
def points() -> EpisodeStore:
    return record_points(60, steps=60)


@pytest.fixture(scope="module")
def trained(tiny, points) -> LBP:
    torch.manual_seed(0)
    model = LBP(tiny)
    train(model, points, config=TrainConfig(steps=600, batch=256, compile=False, precision="float32", rate=2e-3))
    return model.eval().requires_grad_(False)


def asked(store: EpisodeStore, rows: np.ndarray, ahead: int) -> tuple[torch.Tensor, ...]:
    past = torch.from_numpy(np.array(store.observations[rows]))[:, None]
    return past, torch.ones(len(rows)), torch.from_numpy(np.array(store.observations[rows + ahead]))


def generators(count: int, first: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(first + index) for index in range(count)]


def test_plans_foretell_recordings(trained):
    """Held-out episodes: every subgoal is nearer to the recorded one than the present and the goal are."""
    store = record_points(10, steps=60, seed=900)
    rows, ahead = store.starts + 20, 16
    plan = trained.plan(*asked(store, rows, ahead), generators=generators(len(rows)))
    found = trained.decode(plan.latents).numpy()
    for token, step in enumerate((4, 8)):
        truth = store.observations[rows + step]
        error = np.linalg.norm(found[:, token] - truth, axis=1).mean()
        others = [np.linalg.norm(store.observations[rows + other] - truth, axis=1).mean() for other in (0, ahead)]
        assert error < 0.8 * min(others), (step, error, others)  # the recordings wander


def test_a_request_gets_the_same_plan_alone_and_in_company(trained, points):
    rows = points.starts[:3] + 10
    past, length, goal = asked(points, rows, 8)
    first = trained.plan(past, length, goal, generators=generators(3))
    both = trained.plan(past, length, goal, generators=generators(3, 5), previous=first, elapsed=1)
    only = Plan(**{
        name: value[1:2] if isinstance(value, torch.Tensor) else value for name, value in vars(first).items()
    })  # fmt: skip
    one = slice(1, 2)
    alone = trained.plan(past[one], length[one], goal[one], generators=generators(1, 6), previous=only, elapsed=1)
    torch.testing.assert_close(alone.latents, both.latents[one], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(alone.chunks, both.chunks[one], rtol=1e-4, atol=1e-4, equal_nan=True)
    torch.testing.assert_close(trained.act(alone, past[one, 0], 0), trained.act(both, past[:, 0], 0)[one])


def test_overlapping_chunks_are_averaged_the_oldest_counting_most(trained):
    count, action = trained.policy.config.chunk, trained.policy.config.action
    chunks = None
    for step in range(count + 2):
        drawn = torch.full((1, count, action), float(step))
        chunks = overlap(drawn, chunks, 1)
    plan = Plan(*[torch.zeros(1)] * 6, chunks=chunks)
    newest = count + 1
    assert chunks.shape == (1, count, count, action)
    assert chunks[0, :, 0, 0].tolist() == [newest - age for age in range(count)]
    assert chunks[0, 2, -3:, 0].isnan().tolist() == [False, True, True]
    weights = np.exp(-0.01 * np.arange(count))  # oldest first
    wanted = (weights * np.arange(newest - count + 1, newest + 1)).sum() / weights.sum()
    action = (trained.act(plan, None, 0) - trained.action_mean) / trained.action_scale
    assert action[0, 0].item() == pytest.approx(wanted, rel=1e-4)
    latest = trained.with_planner(ensemble=None).act(plan, None, 0)
    assert ((latest - trained.action_mean) / trained.action_scale)[0, 0].item() == pytest.approx(newest, rel=1e-4)


def test_it_keeps_a_planners_promises(trained, points):
    check_planner(trained, points.observations[:4], points.observations[20:24])
    near = points.observations[:2] + np.float32(1e-3)  # all subgoals are due at once
    check_planner(trained, points.observations[:2], near)


def test_what_takes_longer_than_any_that_was_trained_counts_as_the_longest(trained):
    model = trained.reach
    here, longest = torch.zeros(2, model.config.observation), model.config.horizon
    relations = trained._relate(here, here)
    losses = [model.loss(here, here, relations, torch.full((2,), float(steps))) for steps in (longest, 3 * longest)]
    assert losses[0] == losses[1]


def test_chunks_that_led_elsewhere_are_dropped():
    before = overlap(torch.zeros(2, 4, 1), None, 0)
    after = overlap(torch.ones(2, 4, 1), before, 1, torch.tensor([True, False]))
    assert after[0, 1].isnan().all() and after[1, 1, :, 0].tolist()[:3] == [0, 0, 0]
    assert blend(after, 0, 0.0)[:, 0].tolist() == [1.0, 0.5]
    assert len(overlap(torch.ones(2, 4, 1), before, 4)[0]) == 1  # all that was drawn before is over


def test_an_agent_acts_and_a_checkpoint_keeps_its_plans(trained, points, tmp_path):
    loaded, _ = load_checkpoint(save_checkpoint(tmp_path / "lbp", trained, Provenance()))
    agents = [Agent(model) for model in (trained, loaded)]
    row = int(points.starts[0])
    for agent in agents:
        agent.reset(points.observations[row + 10])
    for step in range(8):
        actions = [agent.act(points.observations[row + step]) for agent in agents]
        assert np.isfinite(actions[0]).all() and np.array_equal(*actions)
    assert agents[0].plan.elapsed.item() == 7 and agents[0].plan.finite.all()
    assert agents[0].plan.energy is None


def test_a_plan_may_be_deeper_or_shallower_than_those_in_training(trained, points):
    rows = points.starts[:3] + 10
    for depth in (0, 1, 4):
        plan = trained.with_planner(depth=depth).plan(*asked(points, rows, 8), generators=generators(3))
        assert plan.latents.shape[1] == plan.offsets.shape[1] == depth + 1 and plan.finite.all()


def test_a_plan_may_have_another_ratio(trained):
    """The greater it is, the farther ahead subgoals lie."""
    store = record_points(30, steps=60, seed=900)
    rows, ahead, ratios = store.starts + 20, 16, (0.4, 0.6, 0.8)
    from_goal = []
    for ratio in ratios:
        model = trained.with_planner(ratio=ratio)
        plan = model.plan(*asked(store, rows, ahead), generators=generators(len(rows)))
        due = subgoal_steps(plan.offsets[:, -1].numpy(), ratio, 2)[:, ::-1]
        assert np.array_equal(plan.offsets[:, :-1].numpy(), due)
        from_goal.append((plan.latents[:, :-1] - plan.latents[:, -1:]).norm(dim=2).mean(dim=0).tolist())
    assert (np.diff(from_goal, axis=0) < -0.02 * np.array(from_goal[0])).all(), from_goal
    usual = trained.with_planner(ratio=0.5).plan(*asked(store, rows, ahead), generators=generators(len(rows)))
    assert torch.equal(
        usual.latents, trained.plan(*asked(store, rows, ahead), generators=generators(len(rows))).latents
    )
    with pytest.raises(ThalwegError, match=r"ratio must be from 0.4 to 0.8 \(ratios\), got 0.9"):
        trained.with_planner(ratio=0.9)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"horizon": 3}, "unknown planner setting 'horizon'; choose from depth"),
        ({"depth": -1}, "depth .* -1"),
        ({"replan": 7}, "replan is 7 steps; a chunk has only 6"),
        ({"sampling": 0}, "planner.sampling must be from 1 to 10 steps"),
        ({"sampling": 60}, r"planner.sampling must be from 1 to 10 steps \(policy.denoising\), got 60"),
    ],
)
def test_impossible_planners_are_refused(trained, settings, named):
    with pytest.raises(ThalwegError, match=named):
        trained.with_planner(**settings)


def test_the_policy_is_told_what_the_plan_moves_next_if_it_is_shown_the_plan(tiny, points, monkeypatch):
    config = replace(tiny, objects=((0, 1), (2, 3)), grips=(Grip(1, 0, 1.0, 0.0, 0.1), Grip(1, 2, 1.0, 0.0, 0.1)))
    planning, policy = replace(config.subgoals, objects=2), replace(config.policy, observation=config.seen)
    model = LBP(replace(config, subgoals=planning, policy=policy))
    sampler = model.sampler(points)
    model.measure(sampler, np.random.default_rng(0))
    sample = model.draw(sampler, 64, np.random.default_rng(0), torch.Generator().manual_seed(0))
    hidden, alone = torch.arange(64) % 2 == 0, torch.arange(64) % 4 == 1
    sample = replace(sample, shown=sample.shown & ~hidden.unsqueeze(1), alone=alone)
    given, count = [], config.kinds[0].count

    def keep(told: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        given.append(told.tensor_split([told.shape[1] - count], dim=1))
        return torch.zeros(len(told), config.policy.chunk, 2)

    monkeypatch.setattr(model.policy, "loss", keep)
    monkeypatch.setattr(model.policy, "draw", keep)
    model.losses(sample)
    moved = model.subgoals.choose(sample.present, sample.goal, sample.language).argmax(dim=1)
    assert len(moved.unique()) > 1

    def looked(**ratio: torch.Tensor) -> torch.Tensor:
        plan = model.subgoals(sample.present, sample.goal, sample.language, **ratio)
        return model.focus(model.decode(sample.present), model.decode(plan), moved)

    wanted = looked(ratio=sample.ratio)
    assert wanted.any(dim=1).float().mean() > 0.3
    seen, told = given[0]
    assert not told[hidden].any()
    torch.testing.assert_close(told[~hidden], wanted[~hidden])
    assert not seen[alone].any()  # all that there is are these two objects, and the hand's distances from them
    torch.testing.assert_close(seen[~alone], sample.observation[~alone])
    with torch.no_grad():
        model.plan(model.decode(sample.present)[:, None], torch.ones(64), model.given(model.decode(sample.goal)),
                   generators=generators(64))  # fmt: skip
    torch.testing.assert_close(given[1][1], looked(), rtol=1e-3, atol=1e-3)
    assert given[1][0].abs().sum(dim=1).min() > 0  # nothing is hidden when acting


def test_a_policy_that_is_shown_the_plan_sees_what_moves_next_alone_in_a_share_of_the_samples(tiny, points):
    for share in (0.4, 0.0):
        model = LBP(replace(tiny, training=replace(tiny.training, alone=share)))
        sampler = model.sampler(points)
        model.measure(sampler, np.random.default_rng(0))
        sample = model.draw(sampler, 2_000, np.random.default_rng(0), torch.Generator().manual_seed(0))
        assert sample.alone.float().mean() == pytest.approx(share, abs=0.04)
    config = replace(tiny, objects=((0, 1), (2, 3)), grips=(Grip(1, 0, 1.0, 0.0, 0.1), Grip(1, 2, 1.0, 0.0, 0.1)))
    for change, hides in (
        ({}, True),
        ({"scheme": "none"}, False),
        ({"chooses": False}, False),
    ):  # else it has to see all
        planning = replace(config.subgoals, objects=2, **change)
        policy = replace(config.policy, observation=config.seen)
        assert LBP(replace(config, subgoals=planning, policy=policy)).alike.any() == hides


def test_planners_learn_from_astray_and_policies_from_plans_that_are_a_little_wrong(tiny, points):
    def drawn(**changes: float) -> LBPSample:
        model = LBP(replace(tiny, training=replace(tiny.training, **changes)))
        sampler = model.sampler(points)
        model.measure(sampler, np.random.default_rng(0))
        return model.draw(sampler, 2_000, np.random.default_rng(0), torch.Generator().manual_seed(0))

    sample = drawn(astray=1.0, plan_noise=0.3)
    off = (sample.astray - sample.present).square().mean(dim=1).sqrt()
    assert off.max() > 0.8 and off.median() < 0.4  # mostly a little
    assert sample.misled.std() == pytest.approx(0.3, abs=0.01)
    sample = drawn()
    assert torch.equal(sample.astray, sample.present) and not sample.misled.any()


def test_episodes_without_actions_are_refused(tiny, points):
    actions = np.array(points.actions)
    actions[: points.ends[0]] = np.nan
    store = EpisodeStore.from_arrays(points.observations, actions, lengths=points.ends - points.starts)
    model = LBP(tiny)
    with pytest.raises(ThalwegError, match="1 episodes have no actions"):
        model.measure(model.sampler(store), np.random.default_rng(0))


def test_settled_goals_are_blurred_where_the_present_foretells_them(tiny):
    """A hand that trembles, a door that is slid now and then, and a mark on it that never changes."""
    rng = np.random.default_rng(0)
    doors = np.repeat(rng.uniform(0, 5, (40, 6)), 20, axis=1)
    mark = np.repeat(rng.normal(size=(40, 1)), 120, axis=1) + 1e-3 * np.repeat(rng.normal(size=(40, 6)), 20, axis=1)
    rows = np.stack([rng.random((40, 120)), rng.random((40, 120)), doors, mark], axis=2).reshape(-1, 4)
    store = EpisodeStore.from_arrays(rows, np.zeros((len(rows), 2)), lengths=[120] * 40)
    windows = replace(tiny.windows, offsets=(1, 40), reach_high=40, settled=1.0)
    sharp = replace(tiny.training, goal_noise=0.0)
    samples = []
    for training in (tiny.training, sharp):
        model = LBP(replace(tiny, windows=windows, training=training, reach=replace(tiny.reach, horizon=40)))
        sampler = model.sampler(store)
        model.measure(sampler, np.random.default_rng(0))
        samples.append(model.draw(sampler, 500, np.random.default_rng(1), torch.Generator().manual_seed(0)))
    blurred = (samples[0].goal - samples[1].goal).std(dim=0)
    assert (blurred[:2] == 0).all() and blurred[2] < 0.1 and blurred[3] > 0.5
    assert torch.equal(samples[0].subgoals, samples[1].subgoals)
