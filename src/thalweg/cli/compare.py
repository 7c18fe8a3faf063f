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
    """Compare two results episode by episode: the same start and goal, who succeeded, and in how many steps."""
    from thalweg.results import compare, load_result

    pair = compare(load_result(first), load_result(second))
    difference = pair["success_difference"]
    mean, low, high = (100 * difference[key] for key in ("mean", "low", "high"))
    output.print(f"{pair['episodes']} episodes in common")
    output.print(f"success: second minus first {mean:+.1f} points (95% interval {low:+.1f} to {high:+.1f})")
    output.print(f"only the first succeeded {pair['only_first']} times, only the second {pair['only_second']} times")
    output.print(f"exact McNemar p = {pair['p_value']:.3g}")
    if pair["steps_difference"] is not None:
        output.print(f"steps where both succeeded: {pair['steps_difference']:+.1f}")
