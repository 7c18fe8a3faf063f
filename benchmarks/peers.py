"""One planning decision of one robot on one CPU core: PaD, search over a dynamics network, and a diffusion planner.

python benchmarks/peers.py checkpoints/cube-single-play --out results/peers.json

Let nothing else run meanwhile. The peers' weights are random: their time does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import torch
from cem import BLOCK, HORIZON, Dynamics, cem, find_solver
from diffusion import Denoiser, Diffuser, diffusion
from network import count
from rich.table import Table
from steps import refinement
from timing import Method, interleave, percentiles
from torch import Tensor

from thalweg.checkpoint import load_checkpoint
from thalweg.cli.show import console, output
from thalweg.device import device_name
from thalweg.files import check_folder, write_atomically
from thalweg.pad.model import PaDModel
from thalweg.pad.system import PaD
from thalweg.results import versions

CANDIDATES = 32
Skip = Callable[[str, str], None]


def main() -> None:
    """Time everything, print it and write it down."""
    asked = _options()
    check_folder(asked.out.parent)
    core = _one_core()
    left_out: dict[str, str] = {}
    record = compare(load_checkpoint(asked.checkpoint)[0], asked.repeats, left_out.__setitem__)
    record |= {"left_out": left_out, "device": device_name(torch.device("cpu")), "core": core, "versions": _versions()}
    output.print(_table("one decision", record["decisions"]))
    output.print(_table(f"one refinement step of {CANDIDATES} candidates", record["steps"]))
    for name, reason in left_out.items():
        output.print(f"left out: {name} ({reason})")
    write_atomically(asked.out, json.dumps(record, indent=1) + "\n")
    output.print(str(asked.out.resolve()))


@torch.no_grad()
def compare(planner: PaD, rounds: int, skip: Skip) -> dict[str, Any]:
    """Time all methods in turn; ``skip`` is told of those that cannot be had here.

    Returns:
        ``decisions`` and ``steps``: name, settings, p50 and p95 in ms of each, and the ratio of its p50 to that of PaD
        with 32 candidates, or to that of the eager step.
    """
    steps = refinement(planner, CANDIDATES, skip)
    decisions = [*_pad(planner), *_peers(planner, skip)]
    times = interleave(
        [*decisions, *steps], rounds, lambda done, total: console.print(f"round {done} of {total}", soft_wrap=True)
    )
    return {
        "decisions": _rows(decisions, times[: len(decisions)]),
        "steps": _rows(steps, times[len(decisions) :]),
        "rounds": rounds,
    }


def _pad(planner: PaD) -> list[Method]:
    """PaD's decision, as ``thalweg.benchmark.planning_time`` asks for it: with 32 candidates, as configured, with 1."""
    past, length, goal = _request(planner)
    methods = []
    for candidates in dict.fromkeys((CANDIDATES, planner.config.planner.hypotheses, 1)):
        chosen = planner.with_planner(hypotheses=candidates)
        generators = [torch.Generator().manual_seed(0)]
        steps = chosen.config.planner.steps
        settings = {"parameters": count(planner.model), "candidates": candidates, "steps": steps}
        call = partial(chosen.plan, past, length, goal, generators=generators)
        methods.append(Method(f"PaD, {candidates} x {steps} steps", call, settings))
    return methods


def _request(planner: PaD) -> tuple[Tensor, Tensor, Tensor]:
    """Past ``(1, P, S)``, its length and goal ``(1, S)``, in the environment's units."""
    mean = planner.normaliser.mean.unsqueeze(0)
    past, goal = mean.unsqueeze(1).repeat(1, planner.past, 1), mean + planner.normaliser.std
    return past, torch.full((1,), planner.past), goal


def _peers(planner: PaD, skip: Skip) -> list[Method]:
    """Search and diffusion in PaD's latent space, with networks of two sizes.

    As many parameters as PaD's energy network in all; and as many as it reads at every refinement step, which leaves
    out what reads the context once a decision.
    """
    model = planner.model
    past, _, goal = _request(planner)
    present, goal = planner.encode(past[:, -1]), planner.encode(goal)
    tokens, latent = model.scale.shape
    solver = _solver(skip)
    horizons = (HORIZON, math.ceil(float(model.offsets[-1]) / BLOCK))
    methods = []
    for parameters in (count(model), _at_every_step(model)):
        dynamics = Dynamics(latent, planner.config.inverse.action, parameters)
        methods += [cem(dynamics, present, goal, horizon=horizon, solver=solver) for horizon in horizons]
        for kind in (Denoiser, Diffuser):
            denoiser = kind(tokens, latent, parameters)
            for candidates, steps in product((1, CANDIDATES), (20, 100)):
                methods.append(diffusion(denoiser, present, goal, steps=steps, candidates=candidates))
    return methods


def _at_every_step(model: PaDModel) -> int:
    """Parameters that a refinement step reads: those that see the plan."""
    parts = (model.blocks, model.norm, model.leave, model.mix, model.project_in, model.project_out)
    columns = (layer.weight[:, : model.size].numel() for layer in (model.enter, model.value))
    return sum(count(part) for part in parts) + sum(columns)


def _solver(skip: Skip) -> type | None:
    try:
        return find_solver()
    except ImportError as error:
        skip("stable-worldmodel", f"{error}; the search is this folder's own, with the same defaults")
        return None


def _rows(methods: list[Method], times: list[list[float]]) -> list[dict[str, Any]]:
    """What the record says of each method; the first one is what the others are compared with."""
    timed = [percentiles(taken) for taken in times]
    return [
        {"name": method.name, **method.settings, **taken, "ratio": round(taken["p50"] / timed[0]["p50"], 2)}
        for method, taken in zip(methods, timed, strict=True)
    ]


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{title} on one CPU core; ratio to the first", title_justify="left")
    table.add_column("method")
    for name in ("parameters", "p50 ms", "p95 ms", "ratio"):
        table.add_column(name, justify="right")
    for row in rows:
        size = f"{row['parameters'] / 1e6:.2f} M"
        table.add_row(row["name"], size, f"{row['p50']:,.2f}", f"{row['p95']:,.2f}", f"{row['ratio']:,.2f}")
    return table


def _one_core() -> int | None:
    """Keep this process, with all threads that it will start, to one core; which, or None where that cannot be had.

    Has to come before JAX is imported.
    """
    torch.set_num_threads(1)
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["JAX_PLATFORMS"] = "cpu"
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def _versions() -> dict[str, str]:
    found = versions()
    for name in ("jax", "jaxlib", "stable-worldmodel"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=20, help="rounds, in each of which every method has its turn")
    return parser.parse_args()


if __name__ == "__main__":
    main()
