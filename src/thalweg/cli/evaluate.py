"""``thalweg evaluate``"""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from thalweg.cli.report import report_writer
from thalweg.cli.show import console, meter, output, result_table
from thalweg.errors import ThalwegError
from thalweg.pad.planner import PlannerConfig
from thalweg.rollout import RolloutSpec
from thalweg.settings import changed


def command(
    checkpoints: Annotated[list[str], typer.Argument(help="checkpoint folders or hub ids (several: training seeds)")],
    env: Annotated[str, typer.Option(help="environment or module:function; the checkpoint's own by default")] = "",
    out: Annotated[Path | None, typer.Option(help="result file, JSON")] = None,
    report: Annotated[Path | None, typer.Option(help="HTML report with videos, plans and causes of failure")] = None,
    episodes: Annotated[int, typer.Option(help="episodes a task")] = 50,
    seed: Annotated[int, typer.Option(help="of starts and goals: the same for every policy")] = 0,
    held_out: Annotated[bool, typer.Option(help="random starts and goals instead of the official tasks")] = False,
    floor: Annotated[bool, typer.Option(help="the random policy beside it")] = True,
    cloning: Annotated[str, typer.Option(help="checkpoint of a cloned policy, for a floor")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="change a planner's setting: replan=8, hypotheses=32, selection=paper; repeatable"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="processes; all cores by default")] = None,
    together: Annotated[int, typer.Option(help="environments that each process drives at once")] = RolloutSpec.together,
) -> None:
    """Plan and act on the official tasks, beside the random policy on the same starts and goals.

    --env module:function makes an environment of your own, with its own starts and goals; the module may lie in the
    current folder. The environment's step limit holds and success is latched. A run with --out that is stopped goes
    on where it was.
    """
    from thalweg.evaluation import evaluate

    if report is not None:
        write_report = report_writer()
        if report.is_dir():
            raise ThalwegError(f"{report} is a folder; name a file for the report, such as {report / 'report.html'}")
    if ":" in env:
        sys.path.insert(0, str(Path.cwd()))
    named = [setting.partition("=")[0] for setting in settings or ()]
    planner = changed(_planner_of(checkpoints[0]), settings or ()) if settings else None
    with tempfile.TemporaryDirectory(prefix="thalweg-") as scratch, meter("episodes") as shown:
        traces = _traces(report, out, Path(scratch))

        def progress(name: str, done: int, total: int, successes: int) -> None:
            rate = f"{100 * successes / done:.0f}% success" if done else ""
            shown.update(name.replace("policy0", "planner").replace("policy", "planner "), done, total, rate)

        result = evaluate(
            checkpoints,
            environment=env,
            out=out,
            tasks=() if held_out else None,
            episodes=episodes,
            seed=seed,
            planner={name: getattr(planner, name) for name in named},
            floor=floor,
            cloning=cloning or None,
            record=traces,
            workers=workers,
            together=together,
            recipe=shlex.join(["thalweg", *sys.argv[1:]]),
            progress=progress,
        )
        if report is not None:
            console.print("drawing the report ...")
            report = write_report(result, traces, report)
    output.print(result_table(result))
    for path in filter(None, (out, report)):
        output.print(str(Path(path).resolve()))


def _planner_of(checkpoint: str) -> Any:
    """The planner configuration of a checkpoint; of one that has none, PaD's."""
    from thalweg.checkpoint import load_checkpoint

    if checkpoint == "random":
        return PlannerConfig()
    return getattr(load_checkpoint(checkpoint)[0].config, "planner", PlannerConfig())


def _traces(report: Path | None, out: Path | None, scratch: Path) -> Path | None:
    """Where traces go: nowhere without a report, beside the result when there is one to resume."""
    if report is None:
        return None
    return out.with_suffix(".traces") if out else scratch
