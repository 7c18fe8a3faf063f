"""What the measuring recipes share: their options, and the record that they write."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from thalweg.checkpoint import Provenance
from thalweg.results import versions

__all__ = ["options", "write"]


def options(description: str, *, count: int, seed: int) -> argparse.Namespace:
    """``checkpoint``, ``--out``, ``--count`` and ``--seed``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=count)
    parser.add_argument("--seed", type=int, default=seed)
    return parser.parse_args()


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
