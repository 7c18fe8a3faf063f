"""Timing decisions: what is measured, not how fast it is."""

from __future__ import annotations

from dataclasses import replace

import torch
from typer.testing import CliRunner

from thalweg.benchmark import benchmark
from thalweg.checkpoint import Provenance, save_checkpoint
from thalweg.cli.main import app
from thalweg.pad.system import PaD


def test_every_budget_and_batch_is_timed_and_threads_are_given_back(tiny_config):
    planner = PaD(replace(tiny_config, angles=((0, 1),)))
    before, seen = torch.get_num_threads(), []
    measured = benchmark(
        planner,
        hypotheses=(1, 4),
        steps=(0, 2),
        batches=(2, 64),
        repeats=3,
        progress=lambda *counts: seen.append(counts),
    )
    assert torch.get_num_threads() == before
    assert seen == [(done, 7) for done in range(1, 8)]
    assert [(row["hypotheses"], row["steps"]) for row in measured["decisions"]] == [(1, 0), (1, 2), (4, 0), (4, 2)]
    assert all(0 < row["p50"] <= row["p95"] for row in measured["decisions"])
    small, large = measured["refinement"]
    assert small["batch"] == 2 and large["batch"] == 64
    assert large["gflops"] * large["ms"] > 20 * small["gflops"] * small["ms"]  # work grows with the batch
    assert measured["peak_gflops"] > 0 and measured["device"].endswith("1 thread")


def test_the_command_prints_both_tables_and_writes_them(tiny_config, tmp_path):
    folder = save_checkpoint(tmp_path / "agent", PaD(tiny_config), Provenance())
    out = tmp_path / "speed.json"
    outcome = CliRunner().invoke(app, ["benchmark", str(folder), "--repeats", "1", "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    assert "ms a decision" in outcome.output and "one refinement step" in outcome.output
    assert out.exists()
