"""Anytime planning: how many candidates, refined how often, fit a budget on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from thalweg.errors import ThalwegError

__all__ = ["LADDER", "CostModel", "check_budget"]

#: ``(hypotheses, steps)`` to choose from, each no less of either than the one before.
LADDER = (
    (1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (16, 2), (32, 2), (64, 2), (64, 4), (128, 4), (256, 4), (512, 4), (512, 8),
)  # fmt: skip
_PROBES = ((1, 1), (1, 4), (8, 2), (32, 1), (32, 4), (128, 2))
_WARM_UP, _REPEATS = 5, 25
_SHARE = 0.95  # of the measured calls that a prediction is to cover


def check_budget(budget_ms: float) -> None:
    """Raises:
    ThalwegError: the budget is zero, negative or not a number.
    """
    if not budget_ms > 0:
        raise ThalwegError(f"budget_ms must be above 0 milliseconds, got {budget_ms}")


@dataclass(frozen=True)
class CostModel:
    """Milliseconds of a decision: ``fixed + per_step * T + (per_candidate + per_candidate_step * T) * candidates``.

    ``candidates`` are all that are refined at once, those of every request.
    """

    fixed: float
    per_step: float
    per_candidate: float
    per_candidate_step: float

    @classmethod
    def measure(cls, decide: Callable[[int, int], object]) -> CostModel:
        """Time ``decide(hypotheses, steps)`` for one request on this machine, about a second, and fit the model."""
        slow = np.array([_slow(decide, *probe) for probe in _PROBES])
        terms = np.array([[1, steps, count, count * steps] for count, steps in _PROBES], float)
        return cls(*_nonnegative(terms / slow[:, None]))

    def predict(self, candidates: int, steps: int) -> float:
        """Milliseconds that a decision seldom exceeds."""
        return self.fixed + self.per_step * steps + (self.per_candidate + self.per_candidate_step * steps) * candidates

    def spend(self, budget_ms: float, requests: int = 1) -> tuple[int, int]:
        """Hypotheses and steps for ``requests`` planned together: the most that fits, or the least there is.

        Raises:
            ThalwegError: the budget is zero, negative or not a number.
        """
        check_budget(budget_ms)
        fitting = [rung for rung in LADDER if self.predict(requests * rung[0], rung[1]) <= budget_ms]
        return fitting[-1] if fitting else LADDER[0]


def _slow(decide: Callable[[int, int], object], count: int, steps: int) -> float:
    times = []
    for _ in range(_WARM_UP + _REPEATS):
        begun = time.perf_counter()
        decide(count, steps)
        times.append(1e3 * (time.perf_counter() - begun))
    return float(np.quantile(times[_WARM_UP:], _SHARE))


def _nonnegative(terms: np.ndarray) -> list[float]:
    """Coefficients of at least 0 whose combination of ``terms (N, 4)`` is nearest to 1 (projected descent)."""
    scale = np.linalg.norm(terms, axis=0)
    terms = terms / scale
    found, rate = np.zeros(terms.shape[1]), 1 / np.linalg.norm(terms, 2) ** 2
    for _ in range(20_000):
        found = np.maximum(0.0, found - rate * terms.T @ (terms @ found - 1))
    return list(found / scale)
