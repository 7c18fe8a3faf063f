"""The descent engine: the one refinement step that training and planning share (PaD, eq. 1).

    z <- p(z - eta * dE/dz)

Neither the step's index nor a noise level is an input; the step is the same everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["Landscape", "Refined", "refine", "refine_step"]


class Landscape(Protocol):
    """What can be descended: an energy over plans, a step size and a projector."""

    step_size: Tensor

    def energy(self, plan: Tensor, condition: Any) -> Tensor:
        """``(B, F, D)`` plans under B rows of what ``condition`` made of the context -> ``(B,)`` energies."""
        ...

    def project(self, plan: Tensor) -> Tensor:
        """``(B, F, D)`` -> ``(B, F, D)``, back towards the encoder's manifold."""
        ...


class Refined(NamedTuple):
    """The outcome of a descent; the traces hold T + 1 entries when they were asked for, else none."""

    plan: Tensor
    energy: Tensor  #: ``(B,)`` of the final iterate
    correction: Tensor  #: ``(B,)`` that remains: half the squared length of the step that would follow
    energies: tuple[Tensor, ...]
    corrections: tuple[Tensor, ...]


def refine_step(landscape: Landscape, plan: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    """One step of eq. 1: ``(B, F, D)`` -> the refined plan, and the ``(B,)`` energy *before* the step.

    Differentiable in the landscape's parameters (second order); each row depends on its own row alone.
    """
    descend = _gradient if torch.is_grad_enabled() or torch.is_inference_mode_enabled() else _first_order_gradient
    gradient, energy = descend(landscape, plan, condition)
    return landscape.project(plan - landscape.step_size * gradient), energy


def _gradient(landscape: Landscape, plan: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    """The energy's gradient in the plan, differentiable again, and the energy."""

    def total(candidate: Tensor) -> tuple[Tensor, Tensor]:
        energy = landscape.energy(candidate, condition)
        return energy.sum(), energy

    return torch.func.grad(total, has_aux=True)(plan)


def _first_order_gradient(landscape: Landscape, plan: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    """The same without a graph of its own, in half the time: for planning under ``torch.no_grad``."""
    with torch.enable_grad():
        leaf = plan.detach().requires_grad_()
        energy = landscape.energy(leaf, condition)
        (gradient,) = torch.autograd.grad(energy.sum(), leaf)
    return gradient, energy.detach()


def refine(landscape: Landscape, plan: Tensor, condition: Any, *, steps: int, trace: bool = False) -> Refined:
    """Descend ``steps`` times from ``plan`` and score the final iterate with one more gradient.

    Args:
        landscape: the energy, step size and projector.
        plan: ``(B, F, D)`` starting candidates.
        condition: what the energy is conditioned on, B rows; it stays the same throughout.
        steps: T, zero or more; zero is the identity.
        trace: keep the energy and the remaining correction of every iterate.
    """
    energies, corrections = [], []
    for step in range(steps + 1):
        moved, energy = refine_step(landscape, plan, condition)
        energies.append(energy)
        corrections.append(0.5 * (moved - plan).square().sum(dim=(1, 2)))
        if step < steps:
            plan = moved
    kept = (tuple(energies), tuple(corrections)) if trace else ((), ())
    return Refined(plan, energies[-1], corrections[-1], *kept)
