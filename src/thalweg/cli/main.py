"""The ``thalweg`` command: each subcommand in a module of its own, errors in one line."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any, NoReturn

import typer

from thalweg.cli import benchmark, calibrate, collect, compare, doctor, evaluate, plan, report, train
from thalweg.cli.show import console, marked
from thalweg.errors import ThalwegError

__all__ = ["app", "main"]

RESUMING = (collect, train, evaluate)  # with --out, the same command goes on where it was stopped
# What a path or a disk may refuse; any other OSError is a fault of the program and keeps its traceback.
REFUSALS = {getattr(errno, name) for name in ("EACCES", "EPERM", "EROFS", "ENOSPC", "EISDIR", "ENOTDIR", "EEXIST")}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="""Plans for robots from reward-free recordings: show a goal, get a trajectory that reaches it.

    A first round:

        thalweg collect cube-single --kind play

        thalweg train data/cube-single-play-v0.npz --out runs/play

        thalweg evaluate runs/play/checkpoint --report runs/play/report.html
    """,
)


def _stoppable(module: ModuleType) -> Callable[..., None]:
    """The command of ``module``; Ctrl-C ends it with one line and exit code 130."""

    @wraps(module.command)
    def command(**options: Any) -> None:
        try:
            module.command(**options)
        except KeyboardInterrupt:
            resumes = module in RESUMING and options["out"] is not None
            console.print("stopped; the same command goes on from here" if resumes else "stopped")
            raise typer.Exit(130) from None

    return command


for module in (collect, train, calibrate, evaluate, plan, report, compare, benchmark, doctor):
    app.command(module.__name__.rsplit(".", 1)[-1])(_stoppable(module))


def main() -> None:
    """Run the command line; a ``ThalwegError``, or a path that is refused, becomes one line and exit code 2."""
    try:
        app()
    except ThalwegError as error:
        _fail(str(error))
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        _fail(f"{error.filename or 'writing'}: {error.strerror}; choose another path")


def _fail(message: str) -> NoReturn:
    console.print(marked("error:", "bold red", message), soft_wrap=True)
    sys.exit(2)
