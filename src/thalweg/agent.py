"""Agent: a planner with its run-time state. ``reset(goal)``, then ``act(observation)`` every step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from thalweg.checkpoint import Provenance, load_checkpoint
from thalweg.errors import ThalwegError
from thalweg.inputs import read_vectors
from thalweg.types import Plan, Sight

__all__ = ["Agent", "Planner"]


class Planner(Protocol):
    """What an agent drives; PaD is one. All methods are batched and keep no state.

    Attributes:
        observation: S.
        past: P, observations of the past that a plan is made from.
        replan: environment steps between decisions.
    """

    observation: int
    past: int
    replan: int

    def plan(self, past: Tensor, past_length: Tensor, goal: Tensor, **options: Any) -> Plan:
        """Plan from observations ``(B, P, S)``, of which ``past_length (B,)`` count, to observations ``(B, S)``.

        Options: ``generators`` (B), ``previous`` plan, ``elapsed`` steps since then, and whether to ``trace``; others
        are the planner's own.
        """
        ...

    def act(self, plan: Plan, observation: Tensor, step: int) -> Tensor:
        """Actions ``(B, A)`` at observations ``(B, S)``, ``step`` steps after the plan was made."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents ``(..., D)`` of a plan -> observations ``(..., S)``."""
        ...


class Agent:
    """Plans, tracks the plan, and plans again every ``replan`` steps.

    One agent serves one robot, or a batch of them in step: give ``(S,)`` arrays for one, ``(B, S)`` for many.

        agent = Agent.load("checkpoints/cube-single-play")
        agent.reset(goal)
        action = agent.act(observation)

    Attributes:
        plausibility: ``(B,)`` the log-odds that recordings lead to such goals, inf where the planner does not judge
            them; below 0 a goal is implausible: out of reach, or unlike anything recorded. The agent acts all the same.
        plan: the plan being tracked, or None before the first action.
        age: environment steps since that plan was made.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        seed: int = 0,
        trace: bool = False,
        bounds: tuple[float, float] | None = (-1.0, 1.0),
        provenance: Provenance | None = None,
    ) -> None:
        """Args:
        planner: a trained planner.
        seed: of the candidates' starting noise.
        trace: keep the energies along refinement in every plan.
        bounds: actions are clipped to these; None leaves them.
        provenance: where the planner comes from.
        """
        self.planner, self.trace, self.bounds, self.provenance = planner, trace, bounds, provenance
        self.seed = seed
        self._goal: Any = None
        self.plausibility = np.empty(0)
        self._single = True
        self._clear()

    @classmethod
    def load(
        cls,
        source: str | Path,
        *,
        seed: int = 0,
        trace: bool = False,
        bounds: tuple[float, float] | None = (-1.0, 1.0),
        **planner: Any,
    ) -> Agent:
        """Load a checkpoint folder or hub id; further keyword arguments change its planner configuration.

        Raises:
            ThalwegError: there is no such checkpoint, it does not plan, or a setting is unknown or out of range.
        """
        model, provenance = load_checkpoint(source)
        if not hasattr(model, "with_planner"):
            raise ThalwegError(f"{source} holds a {model.kind!r} policy, which does not plan; choose a planner's")
        return cls(model.with_planner(**planner), seed=seed, trace=trace, bounds=bounds, provenance=provenance)

    @property
    def plausible(self) -> bool:
        """Whether every goal is one that recordings lead to."""
        return bool((self.plausibility >= 0).all())

    def _clear(self) -> None:
        self.plan: Plan | None = None
        self.age = 0
        self._past: list[Any] = []
        self._generators: list[torch.Generator] = []

    @torch.no_grad()
    def reset(self, goal: Any, *, seeds: Sequence[int] | None = None) -> None:
        """Start an episode towards ``goal``: an observation ``(S,)``, or one for each of a batch ``(B, S)``.

        A planner that was trained with instructions takes one as well, or a list of B of either kind.

        ``seeds`` gives each request of a batch its own noise, so that its plan is the same alone or in company.

        Raises:
            ThalwegError: the goal has the wrong shape, is not finite, or is an instruction that cannot be read; the
                agent keeps its former state.
        """
        goals, single = self._read(goal)
        seeds = [self.seed] * len(goals) if seeds is None else seeds
        if len(seeds) != len(goals):
            raise ThalwegError(f"got {len(seeds)} seeds for {len(goals)} goals")
        self._single, self._goal = single, goals
        judge = getattr(self.planner, "plausibility", lambda goal: torch.full((len(goal),), torch.inf))
        self.plausibility = judge(goals).cpu().numpy()
        self._clear()
        self._generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    @torch.no_grad()
    def act(self, observation: Any) -> np.ndarray:
        """The action for ``observation (S,)`` or ``(B, S)``: ``(A,)`` or ``(B, A)``, in the environment's units.

        A planner that was trained from pixels takes a dict of ``proprioception`` and a frame of each camera.

        Raises:
            ThalwegError: no goal yet, or the observation has the wrong shape or is not finite; the agent keeps its
                state, so that the next good observation goes on with the plan.
        """
        if self._goal is None:
            raise ThalwegError("the agent has no goal yet; call agent.reset(goal) before agent.act(observation)")
        observations = self._checked(observation, "observation")
        if len(observations) != len(self._goal):
            raise ThalwegError(f"got {len(observations)} observations for {len(self._goal)} goals")
        past = [*self._past, observations][-self.planner.past :]
        plan, age = self.plan, self.age
        if plan is None or age >= self.planner.replan:
            plan, age = self._decide(past), 0
        action = self.planner.act(plan, observations, age)
        if not action.isfinite().all():
            raise ThalwegError(
                f"the observation leads to an action that is not finite: {action.tolist()}; it is left out of account"
            )
        self._past, self.plan, self.age = past, plan, age + 1
        if self.bounds is not None:
            action = action.clamp(*self.bounds)
        actions = action.cpu().numpy()
        return actions[0] if self._single else actions

    def _decide(self, past: list[Any]) -> Plan:
        seen = len(past)
        sights = isinstance(past[-1], Sight)  # of which planners are given the present one alone
        observations = past[-1] if sights else torch.stack([*[past[0]] * (self.planner.past - seen), *past], dim=1)
        return self.planner.plan(
            observations,
            torch.full((len(past[-1]),), seen, device=getattr(self.planner, "device", "cpu")),
            self._goal,
            generators=self._generators,
            previous=self.plan,
            elapsed=self.age,
            trace=self.trace,
        )

    def _read(self, goal: Any) -> tuple[Any, bool]:
        """The goals as the planner takes them, and whether it is a single one."""
        if hasattr(self.planner, "read_goals"):
            return self.planner.read_goals(goal)
        if isinstance(goal, str):
            raise ThalwegError(
                f"this planner's goals are observations, not instructions, got {goal!r}; train one on demonstrations "
                "that come with instructions: thalweg train DATA --preset lbp"
            )
        return self._checked(goal, "goal"), np.ndim(goal) == 1

    def _checked(self, values: Any, name: str) -> Any:
        """What is observed, as the planner takes it: a tensor ``(B, S)``, or what its ``read`` makes of frames."""
        if hasattr(self.planner, "read"):
            found = self.planner.read(values, name)
            if isinstance(found, Sight):
                return found
        else:
            found = read_vectors(values, self.planner.observation, name)
        return found.to(getattr(self.planner, "device", "cpu"))
