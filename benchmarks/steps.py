"""One refinement step in Thalweg (eager, and compiled in two ways) and in JAX, on the same weights and candidates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from network import count
from timing import Method
from torch import Tensor, nn

from thalweg.device import find_compiler
from thalweg.errors import ThalwegError
from thalweg.pad.model import Condition, PaDModel
from thalweg.pad.system import PaD
from thalweg.refine import refine_step
from thalweg.types import Context

__all__ = ["refinement"]

_TOLERANCE = 1e-4  # of plans, and of energies relative to themselves


def refinement(planner: PaD, candidates: int, skip: Callable[[str, str], None]) -> list[Method]:
    """The step in every form that can be had here; ``skip`` is told which are left out and why.

    Raises:
        ThalwegError: two forms differ in what they compute.
    """
    model = planner.model
    plan, condition = _inputs(planner, candidates)
    calls: dict[str, Callable[[], Any]] = {"Thalweg, eager": lambda: refine_step(model, plan, condition)}
    if find_compiler() is None:
        skip("Thalweg, compiled", "there is no C++ compiler")
    else:
        compiled = torch.compile(refine_step, fullgraph=True, dynamic=False)
        calls["Thalweg, torch.compile"] = lambda: compiled(model, plan, condition)
        calls["Thalweg, AOTInductor"] = _ahead_of_time(model, plan, condition)
    try:
        calls["JAX, jit"] = _jax(planner, plan, condition)
    except ImportError as error:
        skip("JAX, jit", str(error))
    wanted = calls["Thalweg, eager"]()
    for name, call in calls.items():
        _agree(name, call(), wanted)
    settings = {"candidates": candidates, "tokens": plan.shape[1], "latent": plan.shape[2], "parameters": count(model)}
    return [Method(name, call, settings) for name, call in calls.items()]


def _inputs(planner: PaD, candidates: int) -> tuple[Tensor, Condition]:
    """Candidates of pure noise and their condition, under times to reach from 1 to the horizon."""
    model = planner.model
    generator = torch.Generator().manual_seed(0)
    tokens, latent = model.scale.shape
    plan = torch.randn(candidates, tokens, latent, generator=generator)
    past = torch.randn(candidates, planner.past, latent, generator=generator)
    goal = torch.randn(candidates, latent, generator=generator)
    length, reach = torch.full((candidates,), planner.past), torch.linspace(1, model.config.horizon, candidates)
    context = Context(past, length, goal, reach, torch.zeros(candidates, planner.relations))
    return plan, model.condition(context)


class _Step(nn.Module):
    """The step as a module, which is what can be exported; the condition's parts come one by one."""

    def __init__(self, model: PaDModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, plan: Tensor, *condition: Tensor) -> tuple[Tensor, Tensor]:
        return refine_step(self.model, plan, Condition(*condition))


def _ahead_of_time(model: PaDModel, plan: Tensor, condition: Condition) -> Callable[[], Any]:
    """The step as a compiled library, called without a word of Python in between."""
    exported = torch.export.export(_Step(model), (plan, *condition))
    with tempfile.TemporaryDirectory() as folder:
        library = torch._inductor.aoti_compile_and_package(exported, package_path=str(Path(folder) / "step.pt2"))
        runner = torch._inductor.aoti_load_package(library).loader
    inputs = [plan, *condition]
    return lambda: runner.run(inputs)


def _jax(planner: PaD, plan: Tensor, condition: Condition) -> Callable[[], Any]:
    import jax.numpy as jnp
    from jax_step import jax_step

    step, inputs = jax_step(planner.model, condition), jnp.asarray(plan.numpy())
    return lambda: step(inputs)


def _agree(name: str, found: Any, wanted: tuple[Tensor, Tensor]) -> None:
    for what, one, other in zip(("plan", "energy"), found, wanted, strict=True):
        one, other = np.asarray(one), other.numpy()
        if not np.allclose(one, other, rtol=_TOLERANCE, atol=_TOLERANCE):
            gap = np.abs(one - other).max()
            raise ThalwegError(f"{name}: the {what} after one step is off by {gap:.2g}; it must be refine_step's")
