"""From a checkpoint to a result file: rollouts, floors, planning time, and everything needed to make it again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from thalweg.checkpoint import Provenance, load_checkpoint
from thalweg.errors import ThalwegError
from thalweg.files import write_atomically
from thalweg.results import success_table, versions
from thalweg.rollout import EpisodeResult, RolloutSpec, rollout

__all__ = ["evaluate", "planning_time"]

_LABELS = {"pad": "PaD", "clone": "goal-conditioned behaviour cloning"}


def evaluate(
    checkpoints: Sequence[str | Path],
    *,
    environment: str = "",
    out: str | Path | None = None,
    tasks: Sequence[int] = (1, 2, 3, 4, 5),
    episodes: int = 50,
    seed: int = 0,
    planner: dict[str, Any] | None = None,
    floor: bool = True,
    cloning: str | Path | None = None,
    record: str | Path | None = None,
    workers: int | None = None,
    recipe: str = "",
    progress: Callable[[str, int, int, int], None] = lambda name, done, total, successes: None,
) -> dict[str, Any]:
    """Evaluate one checkpoint, or several that differ in their training seed, by the official protocol.

    Args:
        checkpoints: folders or hub ids; or ``["random"]`` for the random policy alone.
        environment: an environment name; by default the one that the checkpoint was trained for.
        out: result file; the journal of a stopped evaluation lies beside it.
        tasks: official task numbers; empty for held-out random starts and goals.
        episodes: episodes a task.
        seed: evaluation seed: the same starts and goals for every policy.
        planner: changes to the planner configuration.
        floor: evaluate the random policy too.
        cloning: checkpoint of a cloned policy, evaluated as a floor.
        record: folder for the first checkpoint's traces, from which ``thalweg report`` draws.
        workers: processes; all cores by default.
        recipe: the command that makes this result again.
        progress: called with ``(policy, done, total, successes)``.

    Returns:
        The result, as written to ``out``.

    Raises:
        ThalwegError: a checkpoint, environment, task or setting is wrong; the journal belongs to another run.
    """
    begun = time.perf_counter()
    model, provenance, seeds = _load(checkpoints)
    environment = environment or provenance.environment
    if not environment:
        raise ThalwegError(f"{checkpoints[0]} names no environment; give one: --env cube-single")
    if model is not None and planner:
        model.with_planner(**planner)
    journal = Path(out).with_suffix("") if out else None
    base = RolloutSpec(
        environment,
        str(checkpoints[0]),
        tasks=tuple(tasks),
        episodes=episodes,
        seed=seed,
        planner=tuple(sorted((planner or {}).items())),
    )

    def run(name: str, spec: RolloutSpec) -> list[EpisodeResult]:
        path = journal.with_name(f"{journal.name}.{name}.jsonl") if journal else None
        return rollout(spec, workers=workers, journal=path, progress=lambda *counts: progress(name, *counts))

    runs = [
        run(f"policy{i}", replace(base, policy=str(source), record=str(record) if record and i == 0 else ""))
        for i, source in enumerate(checkpoints)
    ]
    floors = {}
    if model is not None:
        plain = replace(base, planner=(), record="")
        if floor:
            floors["random"] = success_table(run("random", replace(plain, policy="random")))["success"]
        if cloning is not None:
            floors["cloning"] = success_table(run("cloning", replace(plain, policy=str(cloning))))["success"]
    result = {
        "environment": environment,
        "dataset": provenance.dataset,
        "method": "random policy" if model is None else _LABELS[model.kind],
        "preset": provenance.preset,
        "training_seeds": seeds,
        "episodes_per_task": episodes,
        **success_table([episode for episodes_of_one in runs for episode in episodes_of_one]),
        "per_seed": [success_table(one)["success"]["mean"] for one in runs],
        "floors": floors,
        "planning_ms": planning_time(model) if hasattr(model, "plan") else None,
        "training": provenance.training,
        "evaluation": {
            "tasks": list(tasks) or "random starts and goals",
            "seed": seed,
            "success": "latched: reached at any step within the environment's own limit",
            "planner": asdict(model.config.planner) if hasattr(model, "plan") else None,
            "wall_clock_s": round(time.perf_counter() - begun, 1),
        },
        "versions": versions(),
        "recipe": recipe,
        "training_recipe": provenance.recipe,
        "data_fingerprint": provenance.data_fingerprint,
        "episodes": [asdict(episode) for one in runs for episode in one],
    }
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(out), json.dumps(result, indent=1) + "\n")
        for path in Path(out).parent.glob(f"{journal.name}.*.jsonl"):
            path.unlink()
    return result


def _load(checkpoints: Sequence[str | Path]) -> tuple[Any, Provenance, list[int]]:
    """The first model, where it comes from, and the training seeds of all; no model for the random policy."""
    if checkpoints[0] == "random":
        return None, Provenance(), []
    loaded = [load_checkpoint(source) for source in checkpoints]
    model, first = loaded[0]
    for source, (_, other) in zip(checkpoints, loaded, strict=True):
        for name in ("dataset", "data_fingerprint", "preset"):
            if getattr(other, name) != getattr(first, name):
                raise ThalwegError(
                    f"{source} differs from {checkpoints[0]} in more than its seed: {name} is "
                    f"{getattr(other, name)!r}, not {getattr(first, name)!r}; evaluate them apart"
                )
    return model, first, [provenance.seed for _, provenance in loaded]


@torch.inference_mode()
def planning_time(model: Any, *, repeats: int = 100) -> dict[str, float]:
    """Milliseconds for one decision of one robot on one CPU thread: p50 and p95 over ``repeats`` decisions."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        mean = model.normaliser.mean.unsqueeze(0)
        past = model.encode(mean).unsqueeze(1).repeat(1, model.config.model.past, 1)
        goal, sensed = model.encode(mean + model.normaliser.std), model.sense(mean)
        generators = [torch.Generator().manual_seed(0)]
        times = []
        for _ in range(repeats + 10):
            begun = time.perf_counter()
            model.plan(past, torch.full((1,), past.shape[1]), goal, sensed=sensed, generators=generators)
            times.append(1e3 * (time.perf_counter() - begun))
    finally:
        torch.set_num_threads(threads)
    p50, p95 = np.percentile(times[10:], [50, 95])
    return {"p50": round(float(p50), 2), "p95": round(float(p95), 2)}
