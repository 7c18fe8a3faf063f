"""What the measuring recipes share: their options, and the record that they write."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from thalweg import Provenance, RolloutSpec, rollout
from thalweg.results import versions
from thalweg.trace import Trace, load_trace

__all__ = ["attempt", "auroc", "options", "write"]


def options(description: str, *, count: int, seed: int) -> argparse.Namespace:
    """``checkpoint``, ``--out``, ``--count`` and ``--seed``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=seed)
    return parser.parse_args()


def attempt(checkpoint: str, provenance: Provenance, *, count: int, seed: int) -> list[Trace]:
    """Let a checkpoint attempt ``count`` random starts and goals of its environment, and read what was recorded."""
    with tempfile.TemporaryDirectory() as folder:
        rollout(RolloutSpec(provenance.environment, checkpoint, tasks=(), episodes=count, seed=seed, record=folder))
        return [load_trace(path) for path in sorted(Path(folder).glob("*.npz"))]


def auroc(good: np.ndarray, bad: np.ndarray) -> float | None:
    """How often a good one is above a bad one, a tie being half; None where there are none of either."""
    if not (len(good) and len(bad)):
        return None
    bad = np.sort(bad)
    below, not_above = (np.searchsorted(bad, good, side=side) for side in ("left", "right"))
    return float((below + not_above).mean() / (2 * len(bad)))


def write(out: Path, provenance: Provenance, figures: dict[str, Any]) -> None:
    """Write the figures and what is needed to make them again."""
    record = {
        "environment": provenance.environment,
        "dataset": provenance.dataset,
        **figures,
        "versions": versions(),
        "training_recipe": provenance.recipe,
        "data_fingerprint": provenance.data_fingerprint,
    }
    out.write_text(json.dumps(record, indent=1) + "\n")
