"""Contract checks for third parties: does a planner, or an environment, keep what the library relies on?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from thalweg.errors import ThalwegError

__all__ = ["check_env", "check_planner"]


def check_planner(planner: Any, observations: np.ndarray, goals: np.ndarray) -> None:
    """Plan on the given ``(B, S)`` observations and goals, B at least 2, and check the planner's contract.

    Checked: shapes and finiteness of the plan and the action; the same seeds give the same plan; a request's plan
    does not depend on its company; inputs are not changed; ``decode`` gives back observations.

    Raises:
        ThalwegError: naming the first promise that is broken.
    """
    if len(observations) < 2 or observations.shape != goals.shape:
        raise ThalwegError(f"need 2 or more observations and as many goals, got {observations.shape}, {goals.shape}")
    present, goal = (torch.as_tensor(array, dtype=torch.float32) for array in (observations, goals))
    kept = present.clone(), goal.clone()
    with torch.no_grad():
        plans = [_plan(planner, present, goal, range(len(goal))) for _ in range(2)]
        alone = _plan(planner, present[1:2], goal[1:2], [1])
        action = planner.act(plans[0], present, 0)
        decoded = planner.decode(plans[0].latents)
    tokens = plans[0].offsets.shape[-1]
    _require(plans[0].latents.shape[:2] == (len(goal), tokens), "plan.latents is not (B, F, D)")
    _require(bool((plans[0].offsets.diff() >= 0).all()), "plan.offsets decrease")
    _require(bool(plans[0].latents.isfinite().all()), "plan.latents are not finite")
    _require(action.ndim == 2 and len(action) == len(goal), "act does not return (B, A)")
    _require(bool(action.isfinite().all()), "actions are not finite")
    _require(decoded.shape[-1] == observations.shape[1], "decode does not return observations")
    _require(torch.equal(present, kept[0]) and torch.equal(goal, kept[1]), "plan changes its inputs")
    _require(torch.equal(plans[0].latents, plans[1].latents), "the same seeds give different plans")
    _require(
        torch.allclose(plans[0].latents[1:2], alone.latents, rtol=1e-4, atol=1e-4),
        "a request's plan depends on the other requests of its batch",
    )


def _plan(planner: Any, present: torch.Tensor, goal: torch.Tensor, seeds: Any) -> Any:
    past = present.unsqueeze(1).repeat(1, planner.past, 1)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return planner.plan(past, torch.ones(len(goal)), goal, generators=generators)


def check_env(env: Any, *, steps: int = 20) -> None:
    """Reset and step a Gymnasium environment, and check what evaluation relies on.

    Checked: after reset ``info["instruction"]``, or ``info["goal"]`` of the observation's shape; ``info["success"]``
    after a step; a bounded continuous action space; finite observations, arrays or dicts of them; the same seed gives
    the same start, goal and steps.

    Raises:
        ThalwegError: naming the first promise that is broken.
    """
    from thalweg.envs.ogbench import seed_reset

    space = env.action_space
    continuous = hasattr(space, "low") and np.issubdtype(space.dtype, np.floating) and len(space.shape) == 1
    _require(continuous, f"the action space {space} is not a continuous Box of shape (A,)")
    _require(bool(np.isfinite([space.low, space.high]).all()), f"the action space {space} is unbounded")
    runs = []
    for _ in range(2):
        observation, info = seed_reset(env, 0)
        told = info.get("instruction", "")
        _require(bool(told) or "goal" in info, "reset's info has neither 'goal' nor 'instruction'")
        seen, said = [_flat(observation)], [told]
        if not told:
            goal, here = _shapes(info["goal"]), _shapes(observation)
            _require(goal == here, f"goal {goal} and observation {here} differ")
            seen.append(_flat(info["goal"]))
        rng = np.random.default_rng(0)
        for _ in range(steps):
            action = rng.uniform(space.low, space.high).astype(np.float32)
            observation, _, terminated, truncated, info = env.step(action)
            _require("success" in info, "step's info has no 'success'")
            seen.append(_flat(observation))
            if terminated or truncated:
                break
        runs.append((np.stack(seen), said))
    (first, words), (second, again) = runs
    _require(bool(np.isfinite(first).all()), "observations are not finite")
    _require(np.array_equal(first, second) and words == again, "the same seed gives different episodes")


def _shapes(observation: Any) -> Any:
    """An observation's shape; of a dict, that of every part."""
    if isinstance(observation, dict):
        return {name: np.shape(part) for name, part in sorted(observation.items())}
    return np.shape(observation)


def _flat(observation: Any) -> np.ndarray:
    """An observation as one vector; of a dict, all of its parts."""
    if isinstance(observation, dict):
        return np.concatenate([np.ravel(observation[name]) for name in sorted(observation)]).astype(np.float64)
    return np.asarray(observation, np.float64)


def _require(kept: bool, promise: str) -> None:
    if not kept:
        raise ThalwegError(f"contract broken: {promise}")
