"""PaD's refinement step once more, in JAX: ``thalweg.refine.refine_step`` on ``thalweg.pad.model.PaDModel``."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from thalweg.errors import ThalwegError
from thalweg.pad.model import Condition, PaDModel

__all__ = ["jax_step"]

Weights = dict[str, Array]


def jax_step(model: PaDModel, condition: Condition) -> Callable[[Array], tuple[Array, Array]]:
    """The compiled step under one condition: plans ``(B, F, D)`` -> the refined plans and their energies before.

    Raises:
        ThalwegError: the model leaves out a part.
    """
    config = model.config
    if not (config.context_depth and config.rank and config.projector):
        raise ThalwegError("the step in JAX is that of a model with context network, gated path and projector")
    weights = {name: jnp.asarray(value.numpy()) for name, value in model.state_dict().items()}
    held = Condition(*(jnp.asarray(part.numpy()) for part in condition))
    step = jax.jit(_step)
    return lambda plan: jax.block_until_ready(step(weights, plan, held))


def _step(weights: Weights, plan: Array, condition: Condition) -> tuple[Array, Array]:
    def total(candidate: Array) -> tuple[Array, Array]:
        energy = _energy(weights, candidate, condition)
        return energy.sum(), energy

    gradient, energy = jax.grad(total, has_aux=True)(plan)
    return _project(weights, plan - weights["step_size"] * gradient), energy


def _energy(weights: Weights, plan: Array, condition: Condition) -> Array:
    flat = plan.reshape(len(plan), -1)
    size = flat.shape[1]
    hidden = flat @ weights["enter.weight"][:, :size].T + condition.entered
    for index in range(sum(name.startswith("blocks.") and name.endswith("norm.weight") for name in weights)):
        hidden = _block(weights, f"blocks.{index}", hidden)
    value = flat @ weights["value.weight"][:, :size].T + condition.valued
    y = flat + condition.offset + _linear(weights, "leave", _norm(weights, "norm", hidden))
    y = y + _linear(weights, "mix", condition.gate * value)
    return 0.5 * jnp.square(y).sum(axis=1)


def _project(weights: Weights, plan: Array) -> Array:
    return plan + _linear(weights, "project_out", jax.nn.silu(_linear(weights, "project_in", plan)))


def _block(weights: Weights, name: str, hidden: Array) -> Array:
    normed = _norm(weights, f"{name}.norm", hidden)
    gate, value = jnp.split(_linear(weights, f"{name}.expand", normed), 2, axis=-1)
    return hidden + _linear(weights, f"{name}.contract", jax.nn.silu(gate) * value)


def _linear(weights: Weights, name: str, values: Array) -> Array:
    return values @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def _norm(weights: Weights, name: str, values: Array) -> Array:
    power = jnp.square(values).mean(axis=-1, keepdims=True)
    return values * jax.lax.rsqrt(power + jnp.finfo(values.dtype).eps) * weights[f"{name}.weight"]
