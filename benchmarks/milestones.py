"""How long it takes to choose a milestone, beside what a decision takes anyway.

python benchmarks/milestones.py checkpoints/cube-double-play checkpoints/scene-play --out results/milestones.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from anytime import SEED, requests

from thalweg import load_checkpoint
from thalweg.device import device_name
from thalweg.results import versions


@torch.no_grad()
def measure(checkpoint: str, count: int) -> dict:
    """Choose the first milestone of ``count`` random held-out starts and goals, one after the other."""
    planner, provenance = load_checkpoint(checkpoint)
    times = []
    for start, goal in requests(provenance.environment, count):
        begun = time.perf_counter()
        planner.moves.milestone(start[:, 0], goal, None, 0, spread=planner.normaliser.std)
        times.append(1e3 * (time.perf_counter() - begun))
    p50, p95 = np.percentile(times, [50, 95])
    return {"checkpoint": checkpoint, "count": count, "seed": SEED, "p50_ms": round(p50, 2), "p95_ms": round(p95, 2)}


def main() -> None:
    """Measure every checkpoint on one core, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [measure(checkpoint, options.count) for checkpoint in options.checkpoints]
    record = {"milestones": found, "device": device_name(torch.device("cpu")), "versions": versions()}
    options.out.write_text(json.dumps(record, indent=1) + "\n")
    for one in found:
        print(f"{one['checkpoint']}: p50 {one['p50_ms']:.1f}, p95 {one['p95_ms']:.1f} ms")


if __name__ == "__main__":
    main()
