"""Is the goal reached when the plan says? Intervals of the first plan against what the episode then took.

python recipes/time_to_reach.py checkpoints/cube-single-play --out results/time-to-reach.json
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from common import options, write

from thalweg import RolloutSpec, load_checkpoint, rollout, wilson
from thalweg.reach import quantiles

LEVEL = 0.8


def main() -> None:
    """Run held-out episodes, and compare."""
    asked = options(__doc__, count=300, seed=11)
    _, provenance = load_checkpoint(asked.checkpoint)
    with tempfile.TemporaryDirectory() as folder:
        spec = RolloutSpec(
            provenance.environment, asked.checkpoint, tasks=(), episodes=asked.count, seed=asked.seed, record=folder
        )
        reached = [result for result in rollout(spec) if result.success]
        beliefs = []
        for result in reached:
            with np.load(Path(folder) / f"task0-{result.episode:03d}.npz") as trace:
                beliefs.append(torch.from_numpy(trace["belief"][0]))
    steps = np.array([result.steps for result in reached])
    early, middle, late = quantiles(torch.stack(beliefs), [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2]).numpy().T
    within = (early <= steps) & (steps <= late)
    low, high = wilson(int(within.sum()), len(within))
    figures = {
        "episodes": asked.count,
        "reached": len(reached),
        "seed": asked.seed,
        "level": LEVEL,
        "coverage": {"mean": float(within.mean()), "low": low, "high": high},
        "too_early": float((steps < early).mean()),
        "too_late": float((steps > late).mean()),
        "width_in_steps": {"mean": float((late - early).mean()), "median": float(np.median(late - early))},
        "steps_minus_median": {"median": float(np.median(steps - middle)), "mean": float((steps - middle).mean())},
    }
    write(asked.out, provenance, figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
