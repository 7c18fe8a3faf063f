"""What commands print: one console, progress bars that also read well in a log file, and the table of results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from thalweg.envs.longhorizon import is_long_horizon, task

__all__ = ["Meter", "console", "marked", "meter", "output", "result_table"]

_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}  # brackets and colons are themselves
console = Console(stderr=True, **_PLAIN)
output = Console(soft_wrap=not sys.stdout.isatty(), **_PLAIN)


def marked(mark: str, style: str, text: str) -> Text:
    """``text`` as it is, after a coloured ``mark``."""
    return Text.assemble((mark, style), " ", text)


class Meter:
    """A progress bar on a terminal, and a line every ten seconds elsewhere."""

    def __init__(self, bar: Progress | None, unit: str) -> None:
        self._bar, self._unit = bar, unit
        self._tasks: dict[str, Any] = {}
        self._begun: dict[str, tuple[float, int]] = {}
        self._said = 0.0

    def update(self, name: str, done: int, total: int, note: str = "") -> None:
        """Set ``name`` to ``done`` of ``total``; ``note`` is shown beside it."""
        now = time.monotonic()
        begun, first = self._begun.setdefault(name, (now, done))
        rate = (done - first) / (now - begun) if now > begun else 0.0
        note = f"{rate:,.0f} {self._unit}/s  {note}" if rate >= 10 else f"{rate:.2f} {self._unit}/s  {note}"
        if self._bar is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bar.add_task(name, total=total)
            self._bar.update(self._tasks[name], completed=done, total=total, note=note)
        elif now - self._said > 10 or done == total:
            self._said = now
            left = f", {(total - done) / rate:.0f} s left" if rate and done < total else ""
            console.print(f"{name}: {done:,} of {total:,}{left}  {note}", soft_wrap=True)


@contextmanager
def meter(unit: str) -> Iterator[Meter]:
    """A meter counting ``unit`` for the length of a block."""
    if not console.is_terminal:
        yield Meter(None, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bar:
        yield Meter(bar, unit)


def result_table(result: dict[str, Any]) -> Table:
    """Success per task with 95% Wilson intervals, the random policy's beside it, and the share after each stage."""
    title = " · ".join(filter(None, (result["environment"], result["dataset"], result["method"], result["preset"])))
    table = Table(title=title, title_justify="left")
    table.add_column("task")
    staged = any("stages" in row for row in result["success"]["per_task"])
    for name in ("success", "95% interval", "episodes", *result["floors"], *(["after each stage"] if staged else [])):
        table.add_column(name, justify="right")
    floors = [{row["task"]: row for row in floor["per_task"]} for floor in result["floors"].values()]
    for row in result["success"]["per_task"]:
        beside = [f"{100 * floor[row['task']]['mean']:.0f}%" for floor in floors]
        if staged:
            beside.append(" ".join(f"{100 * share:.0f}" for share in row["stages"]))
        table.add_row(_label(result["environment"], row["task"]), *_cells(row), *beside)
    table.add_section()
    beside = [f"{100 * floor['mean']:.0f}%" for floor in result["floors"].values()]
    table.add_row("all", *_cells(result["success"]), *beside, style="bold")
    steps, time_ms = result["steps_to_goal"], result["planning_ms"]
    captions = []
    if steps:
        captions.append(f"steps to goal: mean {steps['mean']:.0f}, median {steps['median']:.0f}")
    if time_ms:
        captions.append(f"one decision on one core: p50 {time_ms['p50']:.1f} ms, p95 {time_ms['p95']:.1f} ms")
    table.caption = "; ".join(captions)
    return table


def _label(environment: str, number: int) -> str:
    if is_long_horizon(environment):
        return f"{number}: {task(number).name}"
    return f"task {number}" if number else "random"


def _cells(row: dict[str, Any]) -> tuple[str, str, str]:
    return f"{100 * row['mean']:.1f}%", f"{100 * row['low']:.1f} to {100 * row['high']:.1f}", str(row["episodes"])
