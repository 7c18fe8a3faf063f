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
    """The outcome of a descent; ``energies`` holds T + 1 entries when a trace was asked for, else none."""

    plan: Tensor
    energy: Tensor  #: ``(B,)`` of the final iterate
    change: Tensor  #: ``(B,)`` root mean square of the last step
    energies: tuple[Tensor, ...]


def refine_step(landscape: Landscape, plan: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
    """One step of eq. 1: ``(B, F, D)`` -> the refined plan, and the ``(B,)`` energy *before* the step.

    Differentiable in the landscape's parameters (second order); each row depends on its own row alone.
    """

    def total(candidate: Tensor) -> tuple[Tensor, Tensor]:
        energy = landscape.energy(candidate, condition)
        return energy.sum(), energy

    gradient, energy = torch.func.grad(total, has_aux=True)(plan)
    return landscape.project(plan - landscape.step_size * gradient), energy


def refine(landscape: Landscape, plan: Tensor, condition: Any, *, steps: int, trace: bool = False) -> Refined:
    """Descend ``steps`` times from ``plan`` and score the final iterate with one more energy evaluation.

    Args:
        landscape: the energy, step size and projector.
        plan: ``(B, F, D)`` starting candidates.
        condition: what the energy is conditioned on, B rows; it stays the same throughout.
        steps: T, zero or more; zero is the identity.
        trace: keep the energy of every iterate.
    """
    energies = []
    change = torch.zeros(len(plan), device=plan.device, dtype=plan.dtype)
    for _ in range(steps):
        refined, energy = refine_step(landscape, plan, condition)
        change = (refined - plan).pow(2).mean(dim=(1, 2)).sqrt()
        plan = refined
        energies.append(energy)
    final = landscape.energy(plan, condition)
    return Refined(plan, final, change, (*energies, final) if trace else ())
