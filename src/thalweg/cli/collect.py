"""``thalweg collect``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from thalweg.cli.show import meter, output
from thalweg.files import check_folder


def command(
    environment: Annotated[str, typer.Argument(help="environment: cube-single, scene, puzzle-3x3, long-horizon, ...")],
    kind: Annotated[
        str | None,
        typer.Option(help="play (follows plans), noisy (closed loop with noise), or demos (of the long-horizon tasks)"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for NAME.npz and NAME-val.npz")] = Path("data"),
    episodes: Annotated[int | None, typer.Option(help="training episodes; the official size by default")] = None,
    steps: Annotated[int | None, typer.Option(help="rows an episode; the official 1001 by default")] = None,
    seed: Annotated[int, typer.Option(help="seed of every episode")] = 0,
    workers: Annotated[int | None, typer.Option(help="processes; all cores by default")] = None,
) -> None:
    """Record a dataset with the environment's own oracles, as OGBench's was.

    The official cube-single set (1,000 episodes and 100 for validation, 1.1 million steps) takes about a quarter
    of an hour on two cores; the 500 demonstrations of the long-horizon tasks take three minutes. A run that is stopped
    goes on where it was.
    """
    from thalweg.data.collect import CollectSpec, collect

    check_folder(out)
    spec = CollectSpec.official(environment, kind, episodes=episodes, steps=steps, seed=seed)
    with meter("episodes") as shown:
        path = collect(spec, out, workers=workers, progress=lambda done, total: shown.update(spec.name, done, total))
    output.print(str(path))
