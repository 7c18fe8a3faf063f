"""``thalweg train``"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from thalweg.angles import find_angles
from thalweg.cli.show import console, meter, output
from thalweg.data.scene import find_scene
from thalweg.data.store import EpisodeStore
from thalweg.files import check_folder
from thalweg.train import Progress, TrainConfig

_DEFAULT = TrainConfig()


def command(
    data: Annotated[Path, typer.Argument(help="an OGBench .npz, or a folder of .npz files with episodes")],
    out: Annotated[Path, typer.Option(help="folder for the checkpoint, the logs and the resumable state")],
    preset: Annotated[
        str, typer.Option(help="default, paper, lbp, or clone (behaviour cloning, the floor)")
    ] = "default",
    steps: Annotated[int, typer.Option(help="optimiser steps")] = _DEFAULT.steps,
    batch: Annotated[int, typer.Option(help="samples a step")] = _DEFAULT.batch,
    seed: Annotated[int, typer.Option(help="of weights, samples and noise")] = 0,
    env: Annotated[str, typer.Option(help="environment to note in the checkpoint; read off OGBench's names")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="change a preset's setting: model.projector=0; repeatable")
    ] = None,
    encoder: Annotated[
        str,
        typer.Option(
            help="for lbp, a pretrained encoder of frames and instructions: folder or hub id of CLIP or SigLIP, or "
            "file of DecisionNCE's weights"
        ),
    ] = "",
    cameras: Annotated[
        list[str] | None, typer.Option("--camera", help="for lbp, look through this camera alone; repeatable")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16")] = "auto",
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="compile the losses")] = True,
    half: Annotated[bool, typer.Option(help="store the weights as float16: half the size")] = False,
) -> None:
    """Train a planner on recorded trajectories.

    Ctrl-C leaves a state from which the same command goes on, to the same weights as an unbroken run. Losses go to
    OUT/log.jsonl, and to TensorBoard where it is installed; the checkpoint to OUT/checkpoint.
    """
    from thalweg.training import train_checkpoint

    check_folder(out)
    config = TrainConfig(steps=steps, batch=batch, seed=seed, precision=precision, compile=compiled, **_rate(preset))
    store = EpisodeStore.open(data)
    if preset in ("default", "lbp") and store.observations.ndim == 2 and not store.cameras:
        console.print(_found(store), soft_wrap=True)
    with meter("steps") as shown:

        def report(progress: Progress) -> None:
            losses = "  ".join(f"{name} {value:.4f}" for name, value in progress.losses.items())
            part = next((name for name in ("goals", "moves") if name in progress.losses), "training")
            shown.update(part, progress.step, progress.steps, losses)

        folder = train_checkpoint(
            data,
            out,
            preset=preset,
            config=config,
            environment=env,
            settings=settings or (),
            encoder=encoder,
            cameras=cameras or (),
            device=device,
            half=half,
            recipe=shlex.join(["thalweg", *sys.argv[1:]]),
            report=report,
        )
    output.print(str(folder))


def _found(store: EpisodeStore) -> str:
    """What the default preset finds in the data without being told."""
    scene, angles = find_scene(store), find_angles(store)
    told = "no scene (ordinary hindsight windows)"
    if scene is not None:
        told = f"a scene ({scene.still.sum()} of {len(scene.still)} coordinates: {_ranges(scene.still)})"
    pairs = ", ".join(f"{cosine}-{sine}" for cosine, sine in angles)
    counted = f"{len(angles)} angle{'s' * (len(angles) > 1)} ({pairs})" if angles else "no angles"
    return f"found {told} and {counted}"


def _ranges(chosen: np.ndarray) -> str:
    """Where a ``(S,)`` choice is True: ``3, 19-27``."""
    edges = np.flatnonzero(np.diff(chosen, prepend=False, append=False)).reshape(-1, 2)
    return ", ".join(str(first) if first + 1 == end else f"{first}-{end - 1}" for first, end in edges)


def _rate(preset: str) -> dict[str, float]:
    return {"rate": 3e-4} if preset == "clone" else {}
