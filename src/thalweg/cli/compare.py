"""``thalweg compare``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.show import output


def command(
    first: Annotated[Path, typer.Argument(help="a result file")],
    second: Annotated[Path, typer.Argument(help="another, of the same environment and evaluation seed")],
) -> None:
    """Compare two results start by start: the same task and goal, who succeeded, and in how many steps.

    A result of several training seeds counts with the mean of their successes at every start.
    """
    from thalweg.results import compare, load_result

    pair = compare(load_result(first), load_result(second))
    difference = pair["success_difference"]
    mean, low, high = (100 * difference[key] for key in ("mean", "low", "high"))
    output.print(f"{pair['starts']} starts in common")
    output.print(f"success: second minus first {mean:+.1f} points (95% interval {low:+.1f} to {high:+.1f})")
    output.print(f"the first was better at {pair['only_first']} starts, the second at {pair['only_second']}")
    output.print(f"sign-flip permutation test p = {pair['p_value']:.3g}")
    if pair["steps_difference"] is not None:
        output.print(f"steps where every run of both succeeded: {pair['steps_difference']:+.1f}")
