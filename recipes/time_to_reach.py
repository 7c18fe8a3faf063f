"""Is the goal reached when the plan says? Intervals of the first plan against what the episode then took.

python recipes/time_to_reach.py checkpoints/cube-single-play --out results/time-to-reach.json
"""

from __future__ import annotations

import json

import numpy as np
import torch
from common import attempt, options, write

from thalweg import load_checkpoint, wilson
from thalweg.reach import quantiles

LEVEL = 0.8


def main() -> None:
    """Run held-out episodes, and compare."""
    asked = options(__doc__, count=300, seed=11)
    _, provenance = load_checkpoint(asked.checkpoint)
    traces = attempt(asked.checkpoint, provenance, count=asked.count, seed=asked.seed)
    reached = [trace for trace in traces if trace.head.success]
    calibrated = reached[0].arrival is not None
    expected = torch.from_numpy(np.stack([(trace.arrival if calibrated else trace.belief)[0] for trace in reached]))
    steps = np.array([trace.steps for trace in reached])
    early, middle, late = quantiles(expected, [0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2]).numpy().T
    within = (early <= steps) & (steps <= late)
    low, high = wilson(int(within.sum()), len(within))
    figures = {
        "episodes": asked.count,
        "reached": len(reached),
        "seed": asked.seed,
        "level": LEVEL,
        "calibrated": calibrated,
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
