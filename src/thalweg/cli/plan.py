"""``thalweg plan``"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from thalweg.cli.show import output
from thalweg.errors import ThalwegError, choices
from thalweg.types import Plan


def command(
    checkpoint: Annotated[str, typer.Argument(help="checkpoint folder or hub id")],
    data: Annotated[Path, typer.Argument(help="a dataset; start and goal are rows of its episodes")],
    episode: Annotated[int, typer.Option(help="episode number")] = 0,
    start: Annotated[int, typer.Option(help="row of the episode to start from")] = 0,
    goal: Annotated[int, typer.Option(help="row of the episode to reach")] = 80,
    instruction: Annotated[str | None, typer.Option(help="what to do, in words, in place of a row to reach")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(help="an image file that shows what to reach, in place of a row; of several cameras CAMERA=FILE"),
    ] = None,
    seed: Annotated[int, typer.Option(help="of the candidates' noise")] = 0,
    out: Annotated[Path | None, typer.Option(help="write plan and candidates to this .npz")] = None,
) -> None:
    """Plan from one recorded observation to another, or as told or shown, and show the candidates and the plan."""
    from thalweg.agent import Agent
    from thalweg.data.store import EpisodeStore

    if instruction is not None and image:
        raise ThalwegError("--instruction and --image both say what to reach; give one of them")
    recorded_goal = instruction is None and not image
    store = EpisodeStore.open(data)
    arrays = store.episode(episode)
    rows = arrays["observations"]
    for name, row in (("start", start), *([("goal", goal)] if recorded_goal else [])):
        if not 0 <= row < len(rows):
            raise ThalwegError(f"--{name} {row} is not in the episode; its rows are 0 to {len(rows) - 1}")
    agent = Agent.load(checkpoint, seed=seed, trace=True)
    cameras = getattr(agent.planner, "cameras", ())
    missing = [name for name in cameras if name not in store.cameras]
    if missing:
        raise ThalwegError(
            f"{data} has no camera {missing[0]!r}, which {checkpoint} looks through; it has "
            f"{choices(store.cameras) or 'none'}"
        )

    def seen(row: int) -> Any:
        return {"proprioception": rows[row], **{name: arrays[name][row] for name in cameras}} if cameras else rows[row]

    if image and not cameras:
        raise ThalwegError(f"{checkpoint} plans from states and knows no images, got --image {image[0]!r}")
    wanted = seen(goal) if recorded_goal else instruction if instruction is not None else _files(image, cameras)
    agent.reset(wanted)
    action = agent.act(seen(start))
    plan = agent.plan
    if plan.candidates is not None:
        output.print(_candidates(plan, f"from row {start} to row {goal}"))
    planned = agent.planner.decode(plan.latents)[0].numpy()
    ahead = np.atleast_2d(plan.offsets.numpy())[0].astype(int)
    last = goal if recorded_goal else len(rows) - 1
    recorded = ahead[start + ahead <= last]
    summary = {
        "time_to_reach": float(plan.time_to_reach[0]),
        "interval_80_percent": plan.interval()[0].tolist() if plan.belief is not None else None,
        "reach_probability": None if plan.reach_probability is None else round(float(plan.reach_probability), 4),
        "recorded_time": last - start,
        "energy": None if plan.energy is None else float(plan.energy[0]),
        "finite": bool(plan.finite[0]),
        "plausible_goal": agent.plausible,
        "action": np.round(action, 4).tolist(),
    }
    if len(recorded):
        kept = agent.planner.normaliser.keep.numpy() > 0
        apart = np.abs(planned[: len(recorded)] - rows[start + recorded])[:, kept]
        summary["mean_distance_to_recording"] = float(apart.mean())
    output.print_json(json.dumps(summary))
    if out is not None:
        arrays = {"offsets": ahead}
        if plan.candidates is not None:
            arrays["candidates"] = agent.planner.decode(plan.candidates)[0].numpy()
        reached = rows[goal] if recorded_goal else planned[-1]
        np.savez_compressed(out, plan=planned, start=rows[start], goal=reached, **arrays)
        output.print(str(out))


def _files(images: list[str], cameras: Sequence[str]) -> Path | dict[str, Path]:
    """A goal as image files: one, or ``CAMERA=FILE`` for each camera."""
    named = {camera: Path(file) for camera, equals, file in (image.partition("=") for image in images) if equals}
    if len(images) == 1 and not named.keys() <= set(cameras):
        named = {}  # a file with such a name
    if named and len(named) == len(images):
        return named
    if len(images) > 1:
        raise ThalwegError(f"cannot read --image {choices(images)}; of several cameras write CAMERA=FILE for each")
    return Path(images[0])


def _candidates(plan: Plan, title: str) -> Table:
    """Every candidate's time to reach and energies, the soonest first."""
    table = Table(title=f"{len(plan.candidate_reach[0])} candidates {title}", title_justify="left")
    for name in ("time to reach", "first energy", "final energy", "chosen"):
        table.add_column(name, justify="right")
    for index in plan.candidate_reach[0].argsort().tolist():
        table.add_row(
            f"{plan.candidate_reach[0, index]:.0f}",
            f"{plan.trace[0, 0, index]:.2f}",
            f"{plan.candidate_energy[0, index]:.2f}",
            "*" if index == int(plan.selected[0]) else "",
        )
    return table
