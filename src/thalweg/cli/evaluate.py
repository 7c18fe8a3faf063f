"""``thalweg evaluate``"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.show import console, meter, output, result_table


def command(
    checkpoints: Annotated[list[str], typer.Argument(help="checkpoint folders or hub ids (several: training seeds)")],
    env: Annotated[str, typer.Option(help="environment; the checkpoint's own by default")] = "",
    out: Annotated[Path | None, typer.Option(help="result file, JSON")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML report with videos, plans and causes of failure")] = None,
    episodes: Annotated[int, typer.Option(help="episodes a task")] = 50,
    seed: Annotated[int, typer.Option(help="of starts and goals: the same for every policy")] = 0,
    held_out: Annotated[bool, typer.Option(help="random starts and goals instead of the official tasks")] = False,
    floor: Annotated[bool, typer.Option(help="the random policy beside it")] = True,
    cloning: Annotated[str, typer.Option(help="checkpoint of a cloned policy, for a floor")] = "",
    hypotheses: Annotated[int | None, typer.Option(help="candidates a decision")] = None,
    steps: Annotated[int | None, typer.Option(help="refinement steps")] = None,
    selection: Annotated[str | None, typer.Option(help="time_to_reach, lowest_energy or paper")] = None,
    replan: Annotated[int | None, typer.Option(help="environment steps between decisions")] = None,
    workers: Annotated[int | None, typer.Option(help="processes; all cores by default")] = None,
) -> None:
    """Plan and act on the official tasks, beside the random policy on the same starts and goals.

    The environment's own step limit holds and success is latched. A run with --out that is stopped goes on where
    it was.
    """
    from thalweg.evaluation import evaluate

    settings = {"hypotheses": hypotheses, "steps": steps, "selection": selection, "replan": replan}
    with tempfile.TemporaryDirectory(prefix="thalweg-") as scratch, meter("episodes") as shown:
        traces = _traces(report, out, Path(scratch))

        def progress(name: str, done: int, total: int, successes: int) -> None:
            rate = f"{100 * successes / done:.0f}% success" if done else ""
            shown.update(name.replace("policy0", "planner").replace("policy", "planner "), done, total, rate)

        result = evaluate(
            checkpoints,
            environment=env,
            out=out,
            tasks=() if held_out else (1, 2, 3, 4, 5),
            episodes=episodes,
            seed=seed,
            planner={name: value for name, value in settings.items() if value is not None},
            floor=floor,
            cloning=cloning or None,
            record=traces,
            workers=workers,
            recipe="thalweg " + " ".join(sys.argv[1:]),
            progress=progress,
        )
        if report is not None:
            from thalweg.report import write_report

            console.print("drawing the report ...")
            report = write_report(result, traces, report)
    output.print(result_table(result))
    for path in filter(None, (out, report)):
        output.print(str(Path(path).resolve()))


def _traces(report: Path | None, out: Path | None, scratch: Path) -> Path | None:
    """Where traces go: nowhere without a report, beside the result when there is one to resume."""
    if report is None:
        return None
    return out.with_suffix(".traces") if out else scratch
