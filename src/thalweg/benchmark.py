"""How fast does a planner decide on this machine, and what bounds it?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from thalweg.device import device_name
from thalweg.pad.system import PaD
from thalweg.refine import refine_step
from thalweg.results import versions
from thalweg.types import Context

__all__ = ["benchmark", "planning_time"]

WARM_UP = 10  #: calls before the clock starts


@torch.no_grad()
def benchmark(
    planner: PaD,
    *,
    hypotheses: Sequence[int] = (1, 8, 32, 128),
    steps: Sequence[int] = (1, 2, 4, 8),
    batches: Sequence[int] = (1, 8, 32, 128, 512),
    threads: int = 1,
    repeats: int = 50,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Time decisions and single refinement steps on ``threads`` CPU threads.

    Args:
        planner: a trained planner.
        hypotheses: candidates a decision, each to be timed with each of ``steps``.
        steps: refinement steps a decision.
        batches: candidates refined at once, for one refinement step.
        threads: CPU threads.
        repeats: timed calls of each.
        progress: called with ``(done, total)`` measurements.

    Returns:
        ``decisions``: p50 and p95 in ms for every budget; ``refinement``: the ms and GFLOP/s of a step for every
        batch, and its share of ``peak_gflops``, what one large matrix product reaches on the same threads; the
        ``device`` and ``versions``.
    """
    total = len(hypotheses) * len(steps) + len(batches) + 1
    done = iter(range(1, total + 1))
    with _threads(threads):
        peak = _peak(repeats)
        progress(next(done), total)
        refinement = []
        for batch in batches:
            refinement.append(_refinement(planner, batch, repeats, peak))
            progress(next(done), total)
        decisions = []
        for count in hypotheses:
            for step in steps:
                timed = planning_time(
                    planner.with_planner(hypotheses=count, steps=step), threads=threads, repeats=repeats
                )
                decisions.append({"hypotheses": count, "steps": step} | timed)
                progress(next(done), total)
        device = device_name(torch.device("cpu"))
    return {
        "decisions": decisions,
        "refinement": refinement,
        "peak_gflops": round(peak, 1),
        "device": device,
        "versions": versions(),
    }


@torch.no_grad()
def planning_time(planner: Any, *, threads: int = 1, repeats: int = 100) -> dict[str, float]:
    """Milliseconds for one decision of one robot on ``threads`` CPU threads: p50 and p95 over ``repeats`` in a row."""
    past, goal = planner.example()
    length, generators = torch.full((1,), planner.past), [torch.Generator().manual_seed(0)]
    plan = None

    def decide() -> None:
        nonlocal plan
        plan = planner.plan(past, length, goal, generators=generators, previous=plan, elapsed=planner.replan)

    with _threads(threads):
        times = _time(decide, repeats)
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}


def _refinement(planner: PaD, batch: int, repeats: int, peak: float) -> dict[str, float]:
    """One refinement step of ``batch`` candidates: median ms, GFLOP/s, share of the peak."""
    model, latent = planner.model, planner.config.model.latent
    generator = torch.Generator().manual_seed(0)
    plan = torch.randn(batch, len(model.offsets), latent, generator=generator)
    past, goal = torch.randn(batch, planner.past, latent), torch.randn(batch, latent)
    relations = torch.zeros(batch, planner.relations)
    condition = model.condition(Context(past, torch.ones(batch), goal, torch.ones(batch), relations))
    with FlopCounterMode(display=False) as counter:
        refine_step(model, plan, condition)
    median = float(np.median(_time(lambda: refine_step(model, plan, condition), repeats)))
    speed = counter.get_total_flops() / median / 1e6
    return {
        "batch": batch,
        "ms": round(median, 3),
        "gflops": round(speed, 3),
        "share_of_peak": round(speed / peak, 3),
    }


def _peak(repeats: int, size: int = 1024) -> float:
    """GFLOP/s of a float32 matrix product."""
    a, b = torch.randn(2, size, size)
    return 2 * size**3 / min(_time(lambda: a @ b, repeats)) / 1e6


def _time(call: Callable[[], Any], repeats: int) -> list[float]:
    """Milliseconds of each of ``repeats`` calls."""
    times = []
    for _ in range(WARM_UP + repeats):
        begun = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - begun))
    return times[WARM_UP:]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    former = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(former)
