"""Does a plan work as often as it says? Predicted against achieved, on random starts and goals it was not taught on.

python recipes/reach_probability.py checkpoints/cube-single-play --out results/reach-probability.json
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from common import attempt, auroc, options, write

from thalweg import ThalwegError, load_checkpoint, wilson
from thalweg.verify import calibration_error, reliability_bins

PICTURE = Path(__file__).parent.parent / "docs" / "reach-probability.png"
DRAWS = 10_000  # of the bootstrap


def figures(predicted: np.ndarray, success: np.ndarray, episode: np.ndarray) -> dict:
    """Calibration error, and the Brier score beside that of always predicting the share that succeeds."""
    score = (predicted - success) ** 2
    base = (success.mean() - success) ** 2
    gain = np.bincount(episode, base - score) / np.bincount(episode)
    rng = np.random.default_rng(0)
    low, high = np.quantile(gain[rng.integers(0, len(gain), (DRAWS, len(gain)))].mean(axis=1), [0.025, 0.975])
    return {
        "plans": len(predicted),
        "calibration_error": calibration_error(torch.from_numpy(predicted), torch.from_numpy(success)),
        "brier": float(score.mean()),
        "brier_of_base_rate": float(base.mean()),
        "brier_gain_an_episode": {"mean": float(gain.mean()), "low": float(low), "high": float(high)},
        "auroc": auroc(predicted[success], predicted[~success]),
        "reliability": reliability(predicted, success),
    }


def reliability(predicted: np.ndarray, success: np.ndarray) -> list[dict]:
    """Predicted and achieved in bins of equal count, lowest first."""
    rows = []
    for part in reliability_bins(torch.from_numpy(predicted)):
        low, high = wilson(int(success[part].sum()), len(part))
        mean = {"predicted": float(predicted[part].mean()), "achieved": float(success[part].mean())}
        rows.append(mean | {"low": low, "high": high, "plans": len(part)})
    return rows


def draw(found: dict[str, dict]) -> None:
    """The reliability diagram of both kinds of plan."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), sharey=True, layout="constrained")
    for axis, (name, values) in zip(axes, found.items(), strict=True):
        rows = values["reliability"]
        predicted, achieved = ([row[key] for row in rows] for key in ("predicted", "achieved"))
        low, high = ([abs(row["achieved"] - row[key]) for row in rows] for key in ("low", "high"))
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1)
        axis.errorbar(predicted, achieved, yerr=[low, high], fmt="o", color="#2161d1", markersize=4, elinewidth=1)
        axis.set(title=name, xlabel="reach_probability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes[0].set_ylabel("goals reached")
    figure.savefig(PICTURE, dpi=120)


def main() -> None:
    """Run held-out episodes, and compare."""
    asked = options(__doc__, count=1000, seed=31)
    _, provenance = load_checkpoint(asked.checkpoint)
    calibration = provenance.calibration
    if not calibration:
        raise ThalwegError(f"{asked.checkpoint} has no verifier; give it one with: thalweg calibrate")
    if asked.seed == calibration["seed"]:
        raise ThalwegError(f"--seed {asked.seed} is the one that the verifier was taught on; choose another")
    traces = attempt(asked.checkpoint, provenance, count=asked.count, seed=asked.seed)
    limit = max(trace.steps for trace in traces)
    plans = {"the first plan": [], "every plan in an episode's first half": []}
    for number, trace in enumerate(traces):
        early = trace.plan_step < limit / 2
        rows = [(value, trace.head.success, number) for value in trace.reach_probability[early]]
        plans["the first plan"].append(rows[:1])
        plans["every plan in an episode's first half"].append(rows)
    found = {}
    for name, rows in plans.items():
        predicted, success, episode = zip(*chain.from_iterable(rows), strict=True)
        found[name] = figures(np.array(predicted, float), np.array(success), np.array(episode))
    write(asked.out, provenance, {"episodes": asked.count, "seed": asked.seed, "calibration": calibration} | found)
    draw(found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
