"""The descent engine: the one refinement step that training and planning share (PaD, eq. 1).

    z <- p(z - eta * dE/dz)

Neither the step's index nor a noise level is an input; the step is the same everywhere.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from torch import Tensor

__all__ = ["Landscape", "Refined", "refine", "refine_step"]


class Landscape(Protocol):
    """What can be descended: an energy over plans, by its gradient; a step size; and a projector."""

    step_size: Tensor

    def descent(self, plan: Tensor, condition: Any) -> tuple[Tensor, Tensor]:
        """The energy's gradient and the energy.

        ``(B, F, D)`` plans under B rows of what ``condition`` made of the context -> ``dE/dz (B, F, D)`` and
        ``E (B,)``, differentiable in the landscape's parameters; each row depends on its own row alone.
        """
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

    Differentiable in the landscape's parameters (second order).
    """
    gradient, energy = landscape.descent(plan, condition)
    return landscape.project(plan - landscape.step_size * gradient), energy


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
