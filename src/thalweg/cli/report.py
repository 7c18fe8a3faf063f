"""``thalweg report``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.show import output


def command(
    result: Annotated[Path, typer.Argument(help="a result file of thalweg evaluate")],
    traces: Annotated[Path | None, typer.Option(help="folder of traces; RESULT.traces by default")] = None,
    out: Annotated[Path | None, typer.Option(help="the page; RESULT.html by default")] = None,
) -> None:
    """Draw a result as one self-contained HTML page: videos, energies, plans against what was executed, causes."""
    from thalweg.report import write_report
    from thalweg.results import load_result

    traces = traces or result.with_suffix(".traces")
    page = write_report(load_result(result), traces if traces.exists() else None, out or result.with_suffix(".html"))
    output.print(str(page.resolve()))
