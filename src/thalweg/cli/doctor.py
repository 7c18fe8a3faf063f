"""``thalweg doctor``"""

from __future__ import annotations

import typer

from thalweg.cli.show import marked, output


def command() -> None:
    """Check this machine: versions, threads, compiler, rendering, and that the simulator replays recorded actions."""
    from thalweg.doctor import examine

    ill = 0
    for finding in examine():
        ill += not finding.well
        mark = ("ok  ", "green") if finding.well else ("FAIL", "red")
        output.print(marked(*mark, f"{finding.name}: {finding.detail}"))
    if ill:
        raise typer.Exit(1)
