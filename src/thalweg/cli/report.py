"""``thalweg report``"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.show import output
from thalweg.errors import ThalwegError


def command(
    result: Annotated[Path, typer.Argument(help="a result file of thalweg evaluate")],
    traces: Annotated[Path | None, typer.Option(help="folder of traces; RESULT.traces by default")] = None,
    out: Annotated[Path | None, typer.Option(help="the page; RESULT.html by default")] = None,
) -> None:
    """Draw a result as one self-contained HTML page: videos, energies, plans against what was executed, causes."""
    from thalweg.results import load_result

    beside = result.with_suffix(".traces")
    folder = traces or (beside if beside.exists() else None)
    page = report_writer()(load_result(result), folder, out or result.with_suffix(".html"))
    output.print(str(page.resolve()))


def report_writer() -> Callable[..., Path]:
    """``write_report``, or one clear error where it cannot be had."""
    try:
        from thalweg.report import write_report
    except ImportError as error:
        raise ThalwegError(f"a report needs matplotlib: pip install 'thalweg[report]' ({error})") from error
    return write_report
