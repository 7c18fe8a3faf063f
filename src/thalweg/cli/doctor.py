"""``thalweg doctor``"""

from __future__ import annotations

import typer

from thalweg.cli.show import output


def command() -> None:
    """Check this machine: versions, threads, compiler, rendering, and that the simulator replays recorded actions."""
    from thalweg.doctor import examine

    ill = 0
    for finding in examine():
        ill += not finding.well
        mark = "[green]ok  [/]" if finding.well else "[red]FAIL[/]"
        output.print(f"{mark} {finding.name}: {finding.detail}", highlight=False)
    if ill:
        raise typer.Exit(1)
