"""The ``thalweg`` command: each subcommand in a module of its own, errors in one line."""

from __future__ import annotations

import sys

import typer

from thalweg.cli import collect, compare, doctor, evaluate, plan, report, train
from thalweg.cli.show import console
from thalweg.errors import ThalwegError

__all__ = ["app", "main"]

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
for module in (collect, train, evaluate, plan, report, compare, doctor):
    app.command(module.__name__.rsplit(".", 1)[-1])(module.command)


def main() -> None:
    """Run the command line; a ``ThalwegError`` becomes one line and exit code 2, Ctrl-C exit code 130."""
    try:
        app()
    except ThalwegError as error:
        console.print(f"[bold red]error:[/] {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("stopped; the same command goes on from here")
        sys.exit(130)
