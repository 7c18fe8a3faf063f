"""Planning by search: the cross-entropy method over a latent dynamics network, as stable-worldmodel does it.

Its own solver does the search where that package is installed; elsewhere the one below, with the same defaults.
"""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from functools import partial
from typing import Any

import numpy as np
import torch
from network import ResidualMLP, count, sized
from timing import Method
from torch import Tensor, nn

__all__ = ["BLOCK", "HORIZON", "Dynamics", "Search", "cem", "find_solver"]

HORIZON, BLOCK = 5, 5  #: of the package's configuration for OGBench's cube: steps of the dynamics, actions in each


class Dynamics(nn.Module):
    """A step of the latent under a block of actions, and what a plan of such blocks costs."""

    def __init__(self, latent: int, action: int, parameters: int) -> None:
        super().__init__()
        self.action = action
        self.step = sized(partial(ResidualMLP, latent + BLOCK * action, latent), parameters)

    def get_cost(self, request: dict[str, Tensor], actions: Tensor) -> Tensor:
        """Squared distance of where the plans end to the goal, ``(B, N)``.

        Args:
            request: ``present`` and ``goal``, ``(B, N, D)`` each.
            actions: ``(B, N, horizon, BLOCK * A)``.
        """
        latent = request["present"]
        for block in actions.unbind(dim=2):
            latent = latent + self.step(torch.cat([latent, block], dim=-1))
        return (latent - request["goal"]).square().sum(dim=-1)


class Search:
    """The cross-entropy method; its settings are the defaults of the package's solver, and named as there."""

    num_samples, n_steps, topk = 300, 30, 30

    def __init__(self, dynamics: Dynamics, horizon: int) -> None:
        self.dynamics, self.horizon = dynamics, horizon
        self.generator = torch.Generator().manual_seed(0)

    def solve(self, request: dict[str, Tensor]) -> Tensor:
        """``present`` and ``goal``, ``(1, D)`` each -> the actions ``(horizon, BLOCK * A)``."""
        request = {name: value.unsqueeze(1).expand(-1, self.num_samples, -1) for name, value in request.items()}
        mean, spread = torch.zeros(self.horizon, BLOCK * self.dynamics.action), torch.ones(())
        for _ in range(self.n_steps):
            actions = mean + spread * torch.randn(self.num_samples, *mean.shape, generator=self.generator)
            cost = self.dynamics.get_cost(request, actions.unsqueeze(0))[0]
            elite = actions[cost.topk(self.topk, largest=False).indices]
            mean, spread = elite.mean(dim=0), elite.std(dim=0)
        return mean


def cem(dynamics: Dynamics, present: Tensor, goal: Tensor, *, horizon: int, solver: type | None) -> Method:
    """One decision from ``present (1, D)`` to ``goal (1, D)``; ``solver`` is the package's, or None for ``Search``."""
    search = Search(dynamics, horizon) if solver is None else _configured(solver, dynamics, horizon)
    request = {"present": present, "goal": goal}

    def call() -> Any:
        with redirect_stdout(io.StringIO()):  # the package's solver prints its time
            return search.solve(request)

    settings = {
        "parameters": count(dynamics),
        "solver": f"{type(search).__module__}.{type(search).__name__}",
        "samples": search.num_samples,
        "iterations": search.n_steps,
        "elites": search.topk,
        "horizon": horizon,
        "action_block": BLOCK,
    }
    return Method(f"CEM, {horizon * BLOCK} environment steps", call, settings)


def _configured(solver: type, dynamics: Dynamics, horizon: int) -> Any:
    from gymnasium.spaces import Box
    from stable_worldmodel.policy import PlanConfig

    search = solver(dynamics)
    config = PlanConfig(horizon=horizon, receding_horizon=horizon, action_block=BLOCK)
    search.configure(action_space=Box(-1.0, 1.0, (1, dynamics.action), np.float32), n_envs=1, config=config)
    return search


def find_solver() -> type:
    """The package's solver.

    Raises:
        ImportError: it is not installed, or not whole.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of environments that are not installed
            from stable_worldmodel.solver import CEMSolver
    except RuntimeError as error:  # a torchvision that was built for another torch
        raise ImportError(error) from error
    return CEMSolver
