"""Timing several methods in turn, so that whatever else the machine does hits all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Method", "interleave", "percentiles"]

SLICE = 0.2  #: seconds of every round in which a method is called again and again, once at least


@dataclass(frozen=True)
class Method:
    """A call to be timed, and all that has to be known of it to time it again."""

    name: str
    call: Callable[[], Any]
    settings: dict[str, Any]


def interleave(
    methods: Sequence[Method], rounds: int, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[list[float]]:
    """Milliseconds of every call of every method; one untimed round goes ahead.

    Args:
        methods: what to time.
        rounds: how often each of them has its turn.
        progress: called with ``(done, total)`` rounds.
    """
    for method in methods:
        _turn(method.call)
    times: list[list[float]] = [[] for _ in methods]
    for done in range(1, rounds + 1):
        for method, taken in zip(methods, times, strict=True):
            taken += _turn(method.call)
        progress(done, rounds)
    return times


def percentiles(times: Sequence[float]) -> dict[str, float]:
    """``p50`` and ``p95`` in ms, and of how many ``calls``."""
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "calls": len(times)}


def _turn(call: Callable[[], Any]) -> list[float]:
    """Milliseconds of each call in one slice of time."""
    times: list[float] = []
    while sum(times) < 1e3 * SLICE:
        begun = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begun))
    return times
