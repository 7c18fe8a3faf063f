"""``thalweg benchmark``"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.show import meter, output
from thalweg.errors import ThalwegError
from thalweg.files import check_folder, write_atomically


def command(
    checkpoint: Annotated[str, typer.Argument(help="checkpoint folder or hub id")],
    threads: Annotated[int, typer.Option(help="CPU threads", min=1)] = 1,
    repeats: Annotated[int, typer.Option(help="timed calls of each", min=1)] = 50,
    out: Annotated[Path | None, typer.Option(help="write everything to this JSON file")] = None,
) -> None:
    """Time a planner's decisions on this machine, for several budgets, and say how near to its limit it works.

    A decision refines a number of hypotheses for a number of steps. Let nothing else run meanwhile.
    """
    from rich.table import Table

    from thalweg.agent import Agent
    from thalweg.benchmark import benchmark

    if out is not None:
        check_folder(out.parent)
    planner = Agent.load(checkpoint).planner
    if not hasattr(planner, "costs"):
        raise ThalwegError(
            f"{checkpoint} holds a {planner.kind!r} planner, which refines nothing; thalweg evaluate times it"
        )
    with meter("measurements") as shown:
        measured = benchmark(
            planner, threads=threads, repeats=repeats, progress=lambda *counts: shown.update("benchmark", *counts)
        )
    steps = sorted({row["steps"] for row in measured["decisions"]})
    table = Table(title=f"ms a decision, p50 (p95), {measured['device']}", title_justify="left")
    for name in ("hypotheses", *(f"{count} step{'s' * (count > 1)}" for count in steps)):
        table.add_column(name, justify="right")
    for count in sorted({row["hypotheses"] for row in measured["decisions"]}):
        rows = [row for row in measured["decisions"] if row["hypotheses"] == count]
        table.add_row(str(count), *(f"{row['p50']:.1f} ({row['p95']:.1f})" for row in rows))
    output.print(table)
    table = Table(title=f"one refinement step; peak {measured['peak_gflops']:.0f} GFLOP/s", title_justify="left")
    for name in ("candidates", "ms", "GFLOP/s", "of the peak"):
        table.add_column(name, justify="right")
    for row in measured["refinement"]:
        share = f"{100 * row['share_of_peak']:.0f}%"
        table.add_row(str(row["batch"]), f"{row['ms']:.2f}", f"{row['gflops']:.1f}", share)
    output.print(table)
    if out is not None:
        write_atomically(out, json.dumps(measured, indent=1) + "\n")
        output.print(str(out.resolve()))
