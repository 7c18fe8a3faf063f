"""Anytime planning: how many candidates, refined how often, fit a budget on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from thalweg.errors import ThalwegError

__all__ = ["LADDER", "CostModel", "check_budget"]

#: ``(hypotheses, steps)`` to choose from, each no less of either than the one before.
LADDER = (
    (1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (16, 2), (32, 2), (64, 2), (64, 4), (128, 4), (256, 4), (512, 4),
)  # fmt: skip
_PROBES = ((1, 1, 1), (1, 1, 4), (1, 8, 2), (1, 32, 1), (1, 32, 4), (1, 128, 2), (1, 512, 4), (32, 1, 2))
_WARM_UP, _CALLS, _SECONDS = 3, 30, 0.5  # of every probe, which ends with its calls or with its seconds
_SHARE = 0.95  # of the calls that a probe's time is to cover


def check_budget(budget_ms: float) -> None:
    """See that a budget is a number of milliseconds.

    Raises:
        ThalwegError: it is zero, negative or not finite.
    """
    if not (isinstance(budget_ms, int | float) and 0 < budget_ms < float("inf")):
        raise ThalwegError(f"budget_ms must be a number of milliseconds above 0, got {budget_ms!r}")


@dataclass(frozen=True)
class CostModel:
    """Milliseconds of a decision: linear in requests, in steps, in candidates, and in candidates times steps.

    Candidates are all that are refined at once, those of every request.
    """

    fixed: float
    per_request: float
    per_step: float
    per_candidate: float
    per_candidate_step: float

    @classmethod
    def measure(cls, decide: Callable[[int, int, int], object]) -> CostModel:
        """Time ``decide(requests, hypotheses, steps)`` on this machine, a few seconds, and bound what it takes."""
        slow = np.array([_slow(decide, *probe) for probe in _PROBES])
        terms = np.array([_terms(*probe) for probe in _PROBES]) / slow[:, None]
        found = _nonnegative(terms)
        return cls(*(found / (terms @ found).min()))

    def predict(self, requests: int, hypotheses: int, steps: int) -> float:
        """Milliseconds that a decision seldom exceeds."""
        weights = (self.fixed, self.per_request, self.per_step, self.per_candidate, self.per_candidate_step)
        return float(np.dot(weights, _terms(requests, hypotheses, steps)))

    def spend(self, budget_ms: float, requests: int = 1) -> tuple[int, int]:
        """Hypotheses and steps for ``requests`` planned together: the most that fits, or the least there is.

        Raises:
            ThalwegError: the budget is zero, negative or not finite.
        """
        check_budget(budget_ms)
        fitting = [rung for rung in LADDER if self.predict(requests, *rung) <= budget_ms]
        return fitting[-1] if fitting else LADDER[0]


def _terms(requests: int, hypotheses: int, steps: int) -> tuple[float, ...]:
    candidates = requests * hypotheses
    return 1.0, requests, steps, candidates, candidates * steps


def _slow(decide: Callable[[int, int, int], object], *probe: int) -> float:
    """Milliseconds that all but a few calls stay below."""
    times: list[float] = []
    while len(times) < _WARM_UP + 2 or (len(times) < _CALLS and sum(times) < 1e3 * _SECONDS):
        begun = time.perf_counter()
        decide(*probe)
        times.append(1e3 * (time.perf_counter() - begun))
    return float(np.quantile(times[_WARM_UP:], _SHARE))


def _nonnegative(terms: np.ndarray) -> np.ndarray:
    """Coefficients of at least 0 whose combination of ``terms (N, C)`` is nearest to 1: the best of all subsets."""
    best, best_error = np.zeros(terms.shape[1]), np.inf
    for size in range(1, terms.shape[1] + 1):
        for chosen in map(list, combinations(range(terms.shape[1]), size)):
            found = np.linalg.lstsq(terms[:, chosen], np.ones(len(terms)), rcond=None)[0]
            error = np.square(terms[:, chosen] @ found - 1).sum()
            if (found >= 0).all() and error < best_error:
                best, best_error = np.zeros(terms.shape[1]), error
                best[chosen] = found
    return best
