"""What a planner makes of a budget: the time that its decisions take, and the energy of their plans.

python benchmarks/anytime.py checkpoints/cube-single-play --out results/anytime.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from thalweg import PaD, load_checkpoint
from thalweg.device import device_name
from thalweg.envs import make_env, start_episode
from thalweg.results import versions

BUDGETS = (5, 10, 20, 50, 100)  # milliseconds
SEED = 41


def requests(environment: str, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """``(1, 1, S)`` random held-out starts and ``(1, S)`` goals."""
    env = make_env(environment)
    found = []
    for index in range(count):
        observation, info = start_episode(environment, env, 0, 1_000_000 * SEED + index)
        start, goal = (torch.as_tensor(np.array(row), dtype=torch.float32) for row in (observation, info["goal"]))
        found.append((start.reshape(1, 1, -1), goal.unsqueeze(0)))
    return found


@torch.no_grad()
def measure(planner: PaD, asked: list[tuple[torch.Tensor, torch.Tensor]], budget: float) -> dict:
    """Decide on every request within ``budget`` ms."""
    times, energies = [], []
    for index, (start, goal) in enumerate(asked):
        past = start.repeat(1, planner.past, 1)
        generators = [torch.Generator().manual_seed(index)]
        begun = time.perf_counter()
        plan = planner.plan(past, torch.ones(1), goal, generators=generators, budget_ms=budget)
        times.append(1e3 * (time.perf_counter() - begun))
        energies.append(float(plan.energy))
    hypotheses, steps = planner.costs().spend(budget)
    p50, p95, p99 = np.percentile(times, [50, 95, 99])
    return {
        "budget_ms": budget,
        "hypotheses": hypotheses,
        "steps": steps,
        "ms": {"p50": round(p50, 2), "p95": round(p95, 2), "p99": round(p99, 2)},
        "overrun_p99": round(max(0.0, p99 / budget - 1), 3),
        "energy": {"mean": float(np.mean(energies)), "median": float(np.median(energies))},
    }


def main() -> None:
    """Measure every budget in turn, on one thread, and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    options = parser.parse_args()
    torch.set_num_threads(1)
    planner, provenance = load_checkpoint(options.checkpoint)
    asked = requests(provenance.environment, options.count)
    planner.costs()
    measure(planner, asked[:20], BUDGETS[0])
    rows = [measure(planner, asked, budget) for budget in BUDGETS]
    record = {
        "checkpoint": options.checkpoint,
        "requests": options.count,
        "seed": SEED,
        "budgets": rows,
        "device": device_name(torch.device("cpu")),
        "versions": versions(),
    }
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
