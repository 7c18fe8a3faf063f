"""Is the goal reached when the plan says? Intervals of the first plan against what the episode then took.

python recipes/time_to_reach.py checkpoints/cube-single-play --out results/time-to-reach.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from thalweg import RolloutSpec, load_checkpoint, rollout, wilson
from thalweg.results import versions

LEVEL = 0.8


def main() -> None:
    """Run held-out episodes, and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    _, provenance = load_checkpoint(options.checkpoint)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        spec = RolloutSpec(
            provenance.environment, options.checkpoint, tasks=(), episodes=options.episodes, seed=options.seed,
            record=folder,
        )  # fmt: skip
        reached = [result for result in rollout(spec) if result.success]
        for result in reached:
            with np.load(Path(folder) / f"task0-{result.episode:03d}.npz") as trace:
                total = trace["belief"][0].cumsum()
            early, middle, late = 1 + np.searchsorted(total, np.array([0.5 - LEVEL / 2, 0.5, 0.5 + LEVEL / 2]))
            rows.append((result.steps, early, middle, late))
    steps, early, middle, late = np.array(rows).T
    within = (early <= steps) & (steps <= late)
    low, high = wilson(int(within.sum()), len(within))
    result = {
        "environment": provenance.environment,
        "dataset": provenance.dataset,
        "episodes": options.episodes,
        "reached": len(rows),
        "seed": options.seed,
        "level": LEVEL,
        "coverage": {"mean": float(within.mean()), "low": low, "high": high},
        "too_early": float((steps < early).mean()),
        "too_late": float((steps > late).mean()),
        "width_in_steps": {"mean": float((late - early).mean()), "median": float(np.median(late - early))},
        "steps_minus_median": {"median": float(np.median(steps - middle)), "mean": float((steps - middle).mean())},
        "versions": versions(),
        "training_recipe": provenance.recipe,
        "data_fingerprint": provenance.data_fingerprint,
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
