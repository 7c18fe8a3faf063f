"""PaD as one trainable and plannable whole: normaliser, encoder, energy, time-to-reach, inverse dynamics."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.angles import angle_features, count_features
from thalweg.budget import CostModel, check_budget
from thalweg.data.scene import STEPS
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSampler
from thalweg.decoders.inverse_dynamics import InverseDynamics
from thalweg.encoders import Encoder, Normaliser
from thalweg.errors import ThalwegError
from thalweg.goals import GoalModel
from thalweg.milestones import Milestone
from thalweg.moves import MoveModel
from thalweg.pad.config import PaDConfig
from thalweg.pad.model import PaDModel
from thalweg.pad.planner import PlannerConfig, discounted, draw, hypotheses, plan, progress, shift
from thalweg.pad.sample import PaDSample, draw_sample, labelled_rows
from thalweg.reach import ReachModel, quantiles, surprise, track_belief
from thalweg.refine import refine_step
from thalweg.types import Context, Plan, Window
from thalweg.verify import Verifier

__all__ = ["PaD"]


class PaD(nn.Module):
    """Planning as Descent: train it on a store, then ask it for plans and actions.

    Its parts: normaliser, encoder, the energy's ``model``, inverse dynamics; and, where configured, a time-to-reach
    model (``reach``), a model of plausible ``goals``, one of possible ``moves``, and a ``verifier`` of plans.
    """

    kind = "pad"

    def __init__(self, config: PaDConfig) -> None:
        super().__init__()
        config.check()
        self.config = config
        self.normaliser = Normaliser(config.encoder.observation)
        self.encoder = Encoder(config.encoder)
        self.relations = count_features(len(config.angles))
        self.model = PaDModel(config.model, relations=self.relations)
        self.reach = ReachModel(config.reach, relations=self.relations) if config.reach else None
        self.inverse = InverseDynamics(config.inverse)
        self.goals = GoalModel(config.goals, config.windows) if config.goals else None
        self.moves = MoveModel(config.moves, config.windows) if config.moves else None
        self.verifier = Verifier(config.verifier) if config.verifier else None
        self._costs: dict[int, CostModel] = {}
        if config.verifier and config.verifier.evidence != self.evidence_size:
            raise ThalwegError(
                f"verifier.evidence is {config.verifier.evidence}, but this planner shows {self.evidence_size} values"
            )

    # --- planning -----------------------------------------------------------------------------------------------

    @property
    def observation(self) -> int:
        """S, values of an observation."""
        return self.config.encoder.observation

    @property
    def device(self) -> torch.device:
        """Where the weights are, and where plans are made."""
        return self.model.scale.device

    @property
    def past(self) -> int:
        """P, observations of the past that a plan is made from."""
        return self.config.model.past

    @property
    def replan(self) -> int:
        """Environment steps between decisions."""
        return self.config.planner.replan

    def encode(self, observations: Tensor) -> Tensor:
        """``(..., S)`` observations in the environment's units -> ``(..., D)`` latents."""
        return self.encoder(self.normaliser(observations))

    def decode(self, latents: Tensor) -> Tensor:
        """``(..., D)`` latents -> ``(..., S)`` observations in the environment's units."""
        return self.normaliser.inverse(self.encoder.decode(latents))

    def example(self) -> tuple[Tensor, Tensor]:
        """A request to time decisions with: the past and the goal, as ``plan`` takes them."""
        mean = self.normaliser.mean.unsqueeze(0)
        return mean.unsqueeze(1).repeat(1, self.past, 1), mean + self.normaliser.std

    def plausibility(self, goal: Tensor) -> Tensor:
        """Goals ``(B, S)`` -> ``(B,)`` log-odds that recordings lead to such goals; implausible below 0."""
        return goal.new_full((len(goal),), torch.inf) if self.goals is None else self.goals(goal)

    @torch.no_grad()
    def plan(
        self,
        past: Tensor,
        past_length: Tensor,
        goal: Tensor,
        *,
        generators: Sequence[torch.Generator],
        previous: Plan | None = None,
        elapsed: int = 0,
        config: PlannerConfig | None = None,
        budget_ms: float | None = None,
        trace: bool = False,
    ) -> Plan:
        """Plan for B requests, in the environment's observations.

        A request's plan is the same alone or in a batch, but for a budget: more requests leave less for each.

        Args:
            past: ``(B, P, S)`` observations up to the present; ``past_length (B,)`` says how many count.
            past_length: ``(B,)`` visible entries.
            goal: ``(B, S)`` observations to reach.
            generators: B sources of randomness, one a request.
            previous: the plan in progress, made ``elapsed`` environment steps ago.
            elapsed: environment steps since then.
            config: a planner configuration in place of the checkpoint's.
            budget_ms: milliseconds to plan in, in place of the configuration's. With the first budget the machine is
                measured, which takes some seconds (see ``costs``).
            trace: keep energies along refinement.

        Raises:
            ThalwegError: the budget is zero, negative or not finite, or the configuration does not fit the planner.
        """
        if config is not None:
            replace(self.config, planner=config).check()
        config = self._afford(config or self.config.planner, budget_ms, len(past))
        plausibility = self.plausibility(goal)
        milestone = self._milestone(past[:, -1], goal, config, previous, elapsed)
        goal = goal if milestone is None else milestone.goal
        context = self.context(past, past_length, goal, past_length)  # times to reach come below
        passed = None if previous is None else progress(self.model, previous, context.present, elapsed)
        belief = self._expect(context, past[:, -1], goal, config, previous, passed, milestone)
        weighed = discounted(belief, config.discount) if config.level else None
        keeping = previous is not None and config.level and config.hypotheses > 1
        left = None
        if keeping:
            left = previous.time_to_reach - passed
            if milestone is not None:
                left = torch.where(milestone.fresh, quantiles(weighed, [0.5])[:, 0], left)
        draws = draw(generators, config.hypotheses, *self.model.scale.shape, device=self.device)
        windows = self.config.windows
        reach = hypotheses(weighed, left, draws, low=windows.reach_low, high=windows.reach_high)
        level = self.level(weighed, reach, plausibility) if config.level else None
        start = draws.noise
        if keeping and config.warm:
            going_on = shift(self.model, previous, context.present, passed)
            start[:, 0] = torch.where(previous.finite[:, None, None], going_on, start[:, 0])
        since = plausibility.new_zeros(len(past)) if previous is None else previous.elapsed + elapsed
        found, reading = plan(
            self.model,
            context,
            reach,
            start,
            config=config,
            pick=draws.pick,
            elapsed=since,
            belief=belief,
            level=level,
            trace=trace,
        )
        found = replace(found, milestone=milestone)
        if self.verifier is None or not config.level:
            return found
        evidence = self.evidence(reading, plausibility, found.energy, since)
        odds = self.verifier(evidence) + plausibility.clamp(max=0.0)
        return replace(found, reach_probability=odds.sigmoid(), arrival=self.verifier.arrival(belief, since == 0))

    def costs(self) -> CostModel:
        """What decisions cost on this machine with as many threads as now; measured once, in some seconds."""
        threads = torch.get_num_threads()
        if threads not in self._costs:
            mean = self.normaliser.mean.unsqueeze(0)
            config = replace(self.config.planner, budget_ms=None)

            def decide(requests: int, count: int, steps: int) -> float:
                goal = mean.repeat(requests, 1)
                past, length = goal.unsqueeze(1).repeat(1, self.past, 1), goal.new_full((requests,), self.past)
                generators = [torch.Generator().manual_seed(seed) for seed in range(requests)]
                spent = replace(config, hypotheses=count, steps=steps)
                return float(self.plan(past, length, goal, generators=generators, config=spent).energy[0])

            self._costs[threads] = CostModel.measure(decide)
        return self._costs[threads]

    def _afford(self, config: PlannerConfig, budget_ms: float | None, requests: int) -> PlannerConfig:
        """The configuration with as many hypotheses and steps as its budget, or ``budget_ms``, allows."""
        budget_ms = config.budget_ms if budget_ms is None else budget_ms
        if budget_ms is None:
            return config
        check_budget(budget_ms)
        count, steps = self.costs().spend(budget_ms, requests)
        return replace(config, hypotheses=count, steps=steps, budget_ms=None)

    def _expect(
        self,
        context: Context,
        present: Tensor,
        goal: Tensor,
        config: PlannerConfig,
        previous: Plan | None,
        passed: Tensor | None,
        milestone: Milestone | None,
    ) -> Tensor | None:
        """``(B, H)`` the belief about the time to reach, without a time-to-reach model None."""
        if self.reach is None:
            return None
        belief = self.reach(self.normaliser(present, fast=True), self.normaliser(goal), context.relations)
        if previous is None:
            return belief
        tracked = track_belief(previous.belief, passed, belief, trust=config.trust, restart=config.restart)
        return tracked if milestone is None else torch.where(milestone.fresh.unsqueeze(1), belief, tracked)

    def _milestone(
        self, present: Tensor, goal: Tensor, config: PlannerConfig, previous: Plan | None, elapsed: int
    ) -> Milestone | None:
        """What to reach first, where the scene has several objects."""
        if self.moves is None or not config.milestones:
            return None
        before = previous and previous.milestone
        return self.moves.milestone(present, goal, before, elapsed, spread=self.normaliser.std)

    def context(self, past: Tensor, past_length: Tensor, goal: Tensor, reach: Tensor) -> Context:
        """What the energy sees of observations ``(B, P, S)`` and ``(B, S)``, and of ``reach (B,)`` steps."""
        relations = angle_features(past[:, -1], goal, self.config.angles)
        return Context(self.encode(past), past_length, self.encode(goal), reach, relations)

    def level(self, belief: Tensor, reach: Tensor, plausibility: Tensor) -> Tensor:
        """``(B, K)`` energies of candidates that need no more correction.

        That is how improbable K times to reach are under the discounted belief ``(B, H)``, and the goals by their
        ``plausibility (B,)``.
        """
        return surprise(belief, reach) + _improbability(plausibility).unsqueeze(1)

    def evidence(self, reading: Tensor, plausibility: Tensor, energy: Tensor, elapsed: Tensor) -> Tensor:
        """``(B, V)`` what the verifier reads of B plans.

        That is the context network's ``reading`` of each, its ``energy`` but for what the goal's ``plausibility``
        costs, and for how long the goal has been sought (``elapsed``, and whether at all). All but the first are
        ``(B,)``.
        """
        energy = energy - _improbability(plausibility)
        tried = elapsed / self.config.model.horizon
        return torch.cat([reading, torch.stack([energy, tried, elapsed.sign()], dim=1)], dim=1)

    @property
    def evidence_size(self) -> int:
        """V, values that the verifier reads."""
        return self.model.reading_size + 3

    def act(self, plan: Plan, observation: Tensor, step: int) -> Tensor:
        """``(B, A)`` the action that follows ``plan``, ``step`` environment steps after it was made.

        ``observation (B, S)`` is the present one.
        """
        config = self.config.planner
        steps = torch.full((len(observation),), float(step), device=observation.device)
        here = self.encode(observation) if config.tracking or step == 0 else plan.at(steps)
        return self.inverse(here, plan.at(steps + config.lookahead), torch.full_like(steps, config.lookahead))

    # --- training -----------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, nn.Module]:
        """Loss name -> what it trains; gradients are clipped part by part."""
        parts = {"energy": nn.ModuleList([self.encoder, self.model]), "inverse": self.inverse}
        return parts | ({"reach": self.reach} if self.reach is not None else {})

    def sampler(self, store: EpisodeStore) -> WindowSampler:
        """What ``draw`` and ``measure`` cut their windows with."""
        return WindowSampler(store, self.config.windows)

    @torch.no_grad()
    def measure(self, sampler: WindowSampler, rng: np.random.Generator) -> None:
        """Set the normaliser and the spreads from the data, once, before training.

        Raises:
            ThalwegError: every coordinate is a fast one.
        """
        store = sampler.store
        self.normaliser.measure(store, rng, fastest=self.config.training.fastest)
        if not self.normaliser.keep.any():
            raise ThalwegError(
                f"{store.source}: every coordinate moves within {STEPS} steps nearly as far as it ever does, and fast "
                f"coordinates are left out of plans (training.fastest={self.config.training.fastest}); record more "
                "steps a second, or raise that setting"
            )
        if len(store.labelled):
            rows = labelled_rows(store, self.config.training.labelled)
            rows = rows[rng.integers(0, len(rows), min(len(rows), 200_000))]
            actions = torch.from_numpy(store.actions[rows])
            self.inverse.action_mean.copy_(actions.mean(dim=0))
            self.inverse.action_scale.copy_(actions.std(dim=0).clamp(min=1e-3))
        self.measure_spread(sampler, rng)

    @torch.no_grad()
    def measure_spread(self, sampler: WindowSampler, rng: np.random.Generator) -> None:
        """Measure how far latents move until each token: the unit of the plan coordinates."""
        spec = self.config.windows
        index = sampler.draw(20_000, rng)
        past, future, _ = (self.encode(torch.from_numpy(part)) for part in sampler.gather(index))
        moved = future - past[:, -1:]
        floor = 0.1 * past[:, -1].std(dim=0) + 1e-3
        self.model.scale.copy_(torch.maximum(moved.std(dim=0), floor))
        token = int(np.searchsorted(spec.offsets, self.config.inverse.reach).clip(max=len(spec.offsets) - 1))
        still = past[:, -1].std(dim=0) == 0  # left out: any unit does
        self.inverse.spread.copy_(self.model.scale[token].masked_fill(still, 1.0))

    def draw(
        self, sampler: WindowSampler, size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> PaDSample:
        """Cut ``size`` hindsight windows and as many transitions, and draw all their noise."""
        return draw_sample(self.config, self.normaliser, sampler, size, rng, generator)

    def losses(self, sample: PaDSample) -> dict[str, Tensor]:
        """The loss of every part (alg. 1); pure, so that it can be compiled whole."""
        window = sample.window
        past, blurred = self.encoder(window.past), self.encoder(sample.blurred)
        future = self.encoder(window.future).detach()
        present = past[:, -1]
        clean = self.model.to_plan(future, present.detach())
        context = Context(past, window.past_length, blurred, window.reach, sample.relations)
        condition = self.model.condition(context)
        plan = sample.keep.sqrt() * clean + (1 - sample.keep).sqrt() * sample.noise
        energy = torch.zeros((), device=plan.device)
        for _ in range(self.config.training.refinement):
            plan, _ = refine_step(self.model, plan, condition)
            energy = energy + functional.smooth_l1_loss(plan.float(), clean)
            plan = plan.detach()
        losses = {"energy": energy + self._reconstruction(window)}
        if self.reach is not None:
            losses["reach"] = self.reach.loss(sample.sensed, window.goal, sample.sensed_relations, window.reach)
        losses["inverse"] = self._inverse_loss(sample)
        return losses

    def _reconstruction(self, window: Window) -> Tensor | float:
        if self.config.encoder.kind == "identity":
            return 0.0
        weight = self.config.training.reconstruction
        latents = self.encoder(window.goal)
        restored = self.encoder.decode(latents if weight else latents.detach())
        return (weight or 1.0) * functional.mse_loss(restored.float(), window.goal)

    def _inverse_loss(self, sample: PaDSample) -> Tensor:
        here, waypoint = (self.encoder(part).detach() for part in (sample.here, sample.waypoint))
        target = (sample.action - self.inverse.action_mean) / self.inverse.action_scale
        return functional.mse_loss(self.inverse.normalised(here, waypoint, sample.ahead).float(), target)

    def with_planner(self, **changes: object) -> PaD:
        """The same weights, shared, under another planner configuration.

        A verifier goes when energies come to mean something else (``level``, ``discount``).

        Raises:
            ThalwegError: a setting is unknown or out of range.
        """
        known = PlannerConfig.__dataclass_fields__
        for name in changes:
            if name not in known:
                raise ThalwegError(f"unknown planner setting {name!r}; choose from {', '.join(known)}")
        planner = replace(self.config.planner, **changes)
        verifier = self.verifier
        if (planner.level, planner.discount) != (self.config.planner.level, self.config.planner.discount):
            verifier = None
        return self._sharing(replace(self.config, planner=planner), verifier)

    def with_verifier(self, verifier: Verifier) -> PaD:
        """The same weights, shared, with a verifier."""
        return self._sharing(self.config, verifier)

    def _sharing(self, config: PaDConfig, verifier: Verifier | None) -> PaD:
        config = replace(config, verifier=verifier and verifier.config)
        config.check()
        other = copy.copy(self)
        other._modules = dict(self._modules)  # a shallow copy shares this
        other.config, other._costs, other.verifier = config, {}, verifier
        if config.planner.budget_ms is not None:
            other.costs()
        return other


def _improbability(plausibility: Tensor) -> Tensor:
    """``-log p`` of log-odds."""
    return functional.softplus(-plausibility)
