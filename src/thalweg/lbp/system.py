"""LBP as one trainable and plannable whole: subgoals backward from the goal, and the policy that follows them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.angles import angle_features, count_features
from thalweg.data.store import EpisodeStore
from thalweg.encoders import Normaliser
from thalweg.errors import ThalwegError
from thalweg.focus import Focus
from thalweg.goals import GoalModel
from thalweg.lbp.chunks import blend, overlap
from thalweg.lbp.config import LBPConfig, LBPPlannerConfig
from thalweg.lbp.goals import embed, read_goals
from thalweg.lbp.policy import ChunkPolicy
from thalweg.lbp.sample import Demonstrations, Hindsight, LBPSample
from thalweg.lbp.senses import make_senses
from thalweg.lbp.subgoals import CrossFitted, Subgoals, subgoal_steps
from thalweg.moves import MoveModel
from thalweg.reach import ReachModel, quantiles
from thalweg.types import Goal, Plan, Sight

__all__ = ["LBP"]


class LBP(nn.Module):
    """Latent space Backward Planning: train it on a store, then ask it for plans and actions.

    Its parts: ``senses`` (observations to latents), ``subgoals``, ``policy``, a ``focus`` on what the plan moves next,
    a time-to-reach model (``reach``), which tells when subgoals are due, and, where goals are states, a model of
    plausible ``goals`` and one of possible ``moves``.
    """

    kind = "lbp"
    past = 1  #: observations of the past that a plan is made from

    action_mean: Tensor
    action_scale: Tensor

    def __init__(self, config: LBPConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.senses = make_senses(config)
        self.subgoals = CrossFitted(config.subgoals)
        self.policy = ChunkPolicy(config.policy)
        self.reach = ReachModel(config.reach, relations=count_features(len(config.angles)))
        self.goals = GoalModel(config.goals, config.windows) if config.goals else None
        self.moves = MoveModel(config.moves, config.windows) if config.moves else None
        self.focus = Focus(config.kinds)
        told_apart = config.kinds if self.subgoals.chooses else []
        alike = {index for kind in told_apart for group in kind.objects for index in group}
        self.register_buffer("alike", torch.tensor(self.senses.given_of(alike)), persistent=False)
        self.register_buffer("action_mean", torch.zeros(config.policy.action))
        self.register_buffer("action_scale", torch.ones(config.policy.action))

    # --- planning -----------------------------------------------------------------------------------------------

    @property
    def observation(self) -> int:
        """S, values of an observation."""
        return self.config.observation

    @property
    def cameras(self) -> tuple[str, ...]:
        """Those that it looks through; none where it plans from states."""
        return self.config.cameras

    @property
    def frame_size(self) -> tuple[int, ...] | None:
        """Height and width of their frames, in pixels; None without cameras."""
        return self.config.vision and tuple(self.config.vision.size)

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where plans are made."""
        return self.action_mean.device

    @property
    def replan(self) -> int:
        """Environment steps between decisions."""
        return self.config.planner.replan

    @property
    def normaliser(self) -> Normaliser:
        """Of the observations, or of the proprioception."""
        return self.senses.normaliser

    def read(self, values: Any, name: str = "observation") -> Tensor | Sight:
        """Observations, of one request or of B, as ``plan`` takes them.

        Raises:
            ThalwegError: they have another shape, or lack a camera.
        """
        return self.senses.read(values, name)

    def given(self, observations: Tensor | Sight) -> Goal:
        """Goals that are observations, in the environment's units."""
        latent = self.senses.latent(observations)
        language = latent.new_zeros(len(latent), self.config.policy.language)
        return Goal(latent, language, torch.zeros(len(latent), dtype=torch.bool, device=latent.device))

    def read_goals(self, goals: Any) -> tuple[Goal, bool]:
        """What a person gives for goals: one, or a list.

        Each is an instruction; or a state ``(S,)``; or from pixels a frame ``(height, width, 3)`` uint8, the ``Path``
        of an image file, or a dict of frames by the camera's name.

        Returns:
            The goals, and whether it was a single one.

        Raises:
            ThalwegError: an instruction is empty, or not understood by this checkpoint; an observation is wrong.
        """
        return read_goals(self, goals)

    def decode(self, latents: Tensor) -> Tensor:
        """``(..., D)`` latents -> ``(..., S)`` observations in the environment's units; from pixels, proprioception."""
        return self.senses.decode(latents)

    def example(self) -> tuple[Tensor | Sight, Goal]:
        """A request to time decisions with: the present and the goal, as ``plan`` takes them."""
        present, goal = self.senses.example()
        return present if isinstance(present, Sight) else present.unsqueeze(1), self.given(goal)

    def plausibility(self, goal: Goal) -> Tensor:
        """``(B,)`` log-odds that recordings lead to such goals; implausible below 0, inf where that is not judged."""
        return (
            goal.latent.new_full((len(goal),), torch.inf)
            if self.goals is None
            else self.goals(self.decode(goal.latent))
        )

    @torch.no_grad()
    def plan(
        self,
        past: Tensor | Sight,
        past_length: Tensor,
        goal: Goal | Tensor,
        *,
        generators: Sequence[torch.Generator],
        previous: Plan | None = None,
        elapsed: int = 0,
        config: LBPPlannerConfig | None = None,
        trace: bool = False,
    ) -> Plan:
        """Plan for B requests, in the environment's observations; each is the same alone or in a batch.

        Args:
            past: ``(B, 1, S)`` the present observation; from pixels what ``read`` made of it.
            past_length: ``(B,)`` ones.
            goal: what ``read_goals`` made of them, or ``(B, S)`` observations to reach.
            generators: B sources of randomness, one a request.
            previous: the plan in progress, made ``elapsed`` environment steps ago.
            elapsed: environment steps since then.
            config: a planner configuration in place of the checkpoint's.
            trace: there is nothing to trace; taken for the interface's sake.

        Raises:
            ThalwegError: the configuration does not fit the planner.
        """
        if config is not None:
            replace(self.config, planner=config).check()
        config = config or self.config.planner
        goal = self.given(goal) if isinstance(goal, Tensor) else goal
        observed = past if isinstance(past, Sight) else past[:, -1]
        milestone = None
        if self.moves is not None and config.milestones:
            before, spread = previous and previous.milestone, self.normaliser.std
            milestone = self.moves.milestone(observed, self.decode(goal.latent), before, elapsed, spread=spread)
        goal = goal if milestone is None else self.given(milestone.goal)
        present = self.senses.latent(observed)
        wanted = self.subgoals.wanted(present, goal.latent, goal.language, goal.told)
        ratio = self.config.subgoals.ratio if config.ratio is None else config.ratio
        ratios = present.new_full((len(present),), ratio)
        latents = self.subgoals(present, wanted, goal.language, ratio=ratios, depth=config.depth)
        belief = self.reach(present, wanted, self._relate(present, wanted))
        expected = quantiles(belief, [0.5])[:, 0]
        steps = subgoal_steps(expected.cpu().numpy(), ratio, latents.shape[1] - 1)
        offsets = torch.cat([torch.from_numpy(steps).to(expected.device).flip(1), expected.unsqueeze(1)], dim=1)
        chunk = self.policy.config.chunk, self.policy.config.action
        noise = torch.stack([torch.randn(chunk, generator=generator) for generator in generators]).to(self.device)
        shown = self._shown(goal.told, latents.shape[1])
        fused = self.policy.fuse(present, latents, ratios, shown, goal.language)
        given, frames = self.senses.given(present, observed)
        if self.config.subgoals.objects:
            moved = self.subgoals.choose(present, wanted, goal.language).argmax(dim=1)
            given = self._tell(given, present, latents, moved, shown)
        drawn = self.policy.draw(given, frames, fused, noise, steps=config.sampling)
        since = expected.new_zeros(len(past), dtype=torch.float32)
        return Plan(
            present=present,
            latents=latents,
            offsets=offsets,
            time_to_reach=expected.float(),
            finite=latents.isfinite().flatten(1).all(dim=1) & drawn.isfinite().flatten(1).all(dim=1),
            elapsed=since if previous is None else previous.elapsed + elapsed,
            belief=belief,
            milestone=milestone,
            chunks=overlap(drawn, previous and previous.chunks, elapsed, milestone and milestone.fresh),
        )

    def act(self, plan: Plan, observation: Tensor, step: int) -> Tensor:
        """``(B, A)`` the action ``step`` environment steps after the plan was made: of all chunks that reach so far."""
        return self.action_mean + self.action_scale * blend(plan.chunks, step, self.config.planner.ensemble)

    def with_planner(self, **changes: object) -> LBP:
        """The same weights, shared, under another planner configuration.

        Raises:
            ThalwegError: a setting is unknown or out of range.
        """
        known = LBPPlannerConfig.__dataclass_fields__
        for name in changes:
            if name not in known:
                raise ThalwegError(f"unknown planner setting {name!r}; choose from {', '.join(known)}")
        config = replace(self.config, planner=replace(self.config.planner, **changes))
        config.check()
        other = copy.copy(self)
        other._modules = dict(self._modules)  # a shallow copy shares this
        other.config = config
        return other

    def _shown(self, told: Tensor, count: int) -> Tensor:
        """``(B, count)`` tokens of plans that the policy may see: in scheme ``none`` a goal alone that was given."""
        shown = torch.ones_like(told).unsqueeze(1).expand(-1, count)
        return shown & ~told.unsqueeze(1) if self.config.subgoals.scheme == "none" else shown

    def _tell(self, given: Tensor, present: Tensor, plan: Tensor, moved: Tensor, shown: Tensor) -> Tensor:
        """What is ``given`` of an observation, and what is told of the object that a ``plan`` moves next, if shown."""
        told = self.focus(self.decode(present), self.decode(plan.to(present.dtype)), moved)
        return torch.cat([given, told * shown.any(dim=1, keepdim=True)], dim=1)

    def _relate(self, present: Tensor, goal: Tensor) -> Tensor:
        """Relations of states, of their latents ``(B, D)``."""
        return angle_features(self.decode(present), self.decode(goal), self.config.angles)

    # --- training -----------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, nn.Module]:
        """Loss name -> what it trains; gradients are clipped part by part. A scheme without networks has no first."""
        parts = {"subgoals": self.subgoals, "policy": self.policy, "reach": self.reach}
        return {name: part for name, part in parts.items() if any(True for _ in part.parameters())}

    def sampler(self, store: EpisodeStore) -> Hindsight | Demonstrations:
        """What ``draw`` and ``measure`` take their rows from."""
        config, training, latents = self.config, self.config.training, self.senses.encode(store)
        common = {"objects": config.places, "latents": latents}
        if not config.policy.language:
            return Hindsight(store, config.windows, **common)
        embeddings = embed(config.text, store.instructions)
        return Demonstrations(store, embeddings, given=training.given, spread=training.language_noise, **common)

    @torch.no_grad()
    def measure(self, sampler: Hindsight | Demonstrations, rng: np.random.Generator) -> None:
        """Set the normaliser and the actions' spread from the data, once, before training."""
        store = sampler.store
        if len(store.labelled) < len(store):
            raise ThalwegError(
                f"{store.source}: {len(store) - len(store.labelled)} episodes have no actions; LBP's policy needs all"
            )
        self.senses.measure(store, sampler.latents, rng)
        rows = np.delete(np.arange(store.rows), store.ends - 1)
        actions = torch.from_numpy(store.actions[rows[rng.integers(0, len(rows), min(len(rows), 200_000))]])
        self.action_mean.copy_(actions.mean(dim=0))
        self.action_scale.copy_(actions.std(dim=0).clamp(min=1e-3))

    def draw(
        self, sampler: Hindsight | Demonstrations, size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> LBPSample:
        """Draw ``size`` moments with their subgoals and chunks, and all noise."""
        config, training, store = self.config, self.config.training, sampler.store
        moments = sampler.draw(size, rng)
        ratio, shown = self._vary(moments.told, rng)
        steps = subgoal_steps(moments.reach, ratio, config.subgoals.depth)[:, ::-1]
        ahead = np.minimum(np.arange(config.policy.chunk), moments.reach[:, None] - 1)
        rows = moments.now[:, None] + steps
        recorded = partial(self.senses.recorded, store, sampler.latents)
        now, subgoals, ends = recorded(moments.now), recorded(rows), recorded(moments.now + moments.reach)
        chunk = torch.from_numpy(store.actions[(moments.now[:, None] + ahead).ravel()]).unflatten(0, ahead.shape)
        goal = ends if moments.goal is None else self.senses.latent(torch.from_numpy(moments.goal))
        if moments.blur is not None:
            noise = training.goal_noise * moments.blur * torch.randn(goal.shape, generator=generator)
            goal = goal + self.normaliser.keep * noise
        level = training.state_noise * torch.rand(size, 1, generator=generator)
        present = now + level * self.senses.jitter * torch.randn(now.shape, generator=generator)
        off = training.astray * torch.rand(size, 1, generator=generator).square()  # mostly a little
        return LBPSample(
            present=present,
            astray=present + off * torch.randn(now.shape, generator=generator),
            observation=self.senses.recorded_given(store, moments.now, present, level, generator),
            frames=self.senses.frames(store, moments.now, generator),
            goal=goal,
            language=moments.language,
            told=moments.told,
            fold=sampler.fold(moments.now, config.subgoals.folds),
            shown=shown,
            alone=shown.any(dim=1) & (torch.rand(size, generator=generator) < training.alone),
            subgoals=subgoals,
            ratio=torch.from_numpy(ratio).float(),
            reach=torch.from_numpy(moments.reach).float(),
            moved=sampler.moved(moments),
            given=torch.randn(subgoals.shape, generator=generator),
            misled=training.plan_noise * torch.randn(size, shown.shape[1], now.shape[1], generator=generator),
            chunk=(chunk - self.action_mean) / self.action_scale,
            level=torch.randint(1, config.policy.denoising + 1, (size, training.draws), generator=generator),
            noise=torch.randn(size, training.draws, *chunk.shape[1:], generator=generator),
        )

    def _vary(self, told: Tensor, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """``(B,)`` ratios of plans, and ``(B, n + 1)`` which of their tokens the policy is shown."""
        subgoals, training, size = self.config.subgoals, self.config.training, len(told)
        depth = 0 if subgoals.scheme in ("final", "none") else subgoals.depth
        varied = rng.random(size) < training.varied
        ratio = np.where(varied, rng.uniform(*subgoals.ratios, size).round(2), subgoals.ratio)
        deepest = np.where(varied, rng.integers(0, depth, size, endpoint=True), depth)
        shown = torch.from_numpy(np.arange(depth, -1, -1) <= deepest[:, None])
        hidden = torch.from_numpy(rng.random(size) < training.plan_dropout) & told
        return ratio, shown & ~hidden.unsqueeze(1) & self._shown(told, depth + 1)

    def losses(self, sample: LBPSample) -> dict[str, Tensor]:
        """The loss of every part; the policy is trained on the planner's own predictions."""
        present, language, given = sample.present, sample.language, sample.observation

        def ask(planner: Subgoals, goal: Tensor) -> tuple[Tensor, ...]:
            plan = planner(present, goal, language, ratio=sample.ratio)
            return plan, planner.choose(present, goal, language).argmax(dim=1)

        plan, moved = self.subgoals.unseen(sample, ask)
        if self.config.subgoals.objects:
            given = given.masked_fill(sample.alone.unsqueeze(1) & self.alike, 0.0)
            given = self._tell(given, present, plan, moved, sample.shown)
        fused = self.policy.fuse(present, plan + sample.misled, sample.ratio, sample.shown, language)
        acting = self.policy.loss(given, sample.frames, fused, sample.chunk, sample.level, sample.noise)
        goal = plan[:, -1]
        due = self.reach.loss(sample.astray, goal, self._relate(sample.astray, goal), sample.reach)
        losses = {"subgoals": self.subgoals.loss(sample), "policy": acting, "reach": due}
        return {name: losses[name] for name in self.parts()}
