"""From a checkpoint to a result file: rollouts, floors, planning time, and everything needed to make it again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from thalweg.benchmark import planning_time
from thalweg.checkpoint import Provenance, load_checkpoint
from thalweg.envs import official_tasks
from thalweg.errors import ThalwegError, choices
from thalweg.files import check_folder, write_atomically
from thalweg.parallel import worker_count
from thalweg.results import difference, success_table, versions
from thalweg.rollout import RolloutSpec, rollout

__all__ = ["evaluate"]

_LABELS = {"pad": "PaD", "lbp": "LBP", "clone": "goal-conditioned behaviour cloning"}


def evaluate(
    checkpoints: Sequence[str | Path],
    *,
    environment: str = "",
    out: str | Path | None = None,
    tasks: Sequence[int] | None = None,
    episodes: int = 50,
    seed: int = 0,
    planner: dict[str, Any] | None = None,
    floor: bool = True,
    cloning: str | Path | None = None,
    record: str | Path | None = None,
    workers: int | None = None,
    together: int = RolloutSpec.together,
    recipe: str = "",
    progress: Callable[[str, int, int, int], None] = lambda name, done, total, successes: None,
) -> dict[str, Any]:
    """Evaluate one checkpoint, or several that differ in their training seed, by the official protocol.

    Args:
        checkpoints: folders or hub ids; or ``["random"]`` for the random policy alone.
        environment: an environment name, or ``module:function``, a factory of one that passes ``check_env``; by
            default the one that the checkpoint was trained for.
        out: result file; the journal of a stopped evaluation lies beside it.
        tasks: official task numbers, by default all; empty for held-out random starts and goals, all that a
            factory's environment has.
        episodes: episodes a task.
        seed: evaluation seed: the same starts and goals for every policy.
        planner: changes to the planner configuration.
        floor: evaluate the random policy too.
        cloning: checkpoint of a policy cloned from the same data, evaluated as a floor.
        record: folder for the first checkpoint's traces, from which ``thalweg report`` draws.
        workers: processes; all cores by default.
        together: environments that a worker drives at once: more take longer to build, and then less time a decision.
        recipe: the command that makes this result again.
        progress: called with ``(policy, done, total, successes)``.

    Returns:
        The result, as written to ``out``.

    Raises:
        ThalwegError: a checkpoint, environment, task or setting is wrong; the journal belongs to another run.
    """
    begun = time.perf_counter()
    if out and Path(out).is_dir():
        raise ThalwegError(f"{out} is a folder; name a file for the result, such as {Path(out) / 'result.json'}")
    if out:
        check_folder(Path(out).parent)
    workers = worker_count(workers)
    model, provenance, seeds = _load(checkpoints)
    environment = environment or provenance.environment
    if not environment:
        raise ThalwegError(f"{checkpoints[0]} names no environment; give one: --env cube-single")
    if planner:
        if not hasattr(model, "with_planner"):
            raise ThalwegError(f"{checkpoints[0]} has no planner to change {choices(planner)} of; leave these out")
        model = model.with_planner(**planner)
    if hasattr(model, "costs"):  # it plans within a budget
        model, planner = _within_budget(model, planner or {})
    if cloning is not None:
        _check_clone(cloning, provenance)
    if tasks is None:
        tasks = official_tasks(environment)
    base = RolloutSpec(
        environment,
        str(checkpoints[0]),
        tasks=tuple(tasks),
        episodes=episodes,
        seed=seed,
        planner=tuple(sorted((planner or {}).items())),
        together=together,
    )

    specs = {f"policy{i}": replace(base, policy=str(source)) for i, source in enumerate(checkpoints)}
    if record:
        specs["policy0"] = replace(specs["policy0"], record=str(record))
    if model is not None and floor:
        specs["random"] = replace(base, policy="random", planner=())
    if cloning is not None:
        specs["cloning"] = replace(base, policy=str(cloning), planner=())
    journals = {name: Path(out).with_suffix(f".{name}.jsonl") for name in specs} if out else {}
    resumed = any(journal.exists() for journal in journals.values())
    if record and not resumed:
        for stale in Path(record).glob("task*-*.npz"):
            stale.unlink()
    runs = {
        name: rollout(spec, workers=workers, journal=journals.get(name), progress=partial(progress, name))
        for name, spec in specs.items()
    }
    ours = [runs[f"policy{i}"] for i in range(len(checkpoints))]
    result = {
        "environment": environment,
        "dataset": provenance.dataset,
        "method": "random policy" if model is None else _LABELS[model.kind],
        "preset": provenance.preset,
        "training_seeds": seeds,
        "episodes_per_task": episodes,
        **success_table([episode for one in ours for episode in one]),
        "per_seed": [success_table(one)["success"]["mean"] for one in ours],
        "floors": {name: success_table(runs[name])["success"] for name in ("random", "cloning") if name in runs},
        "planning_ms": planning_time(model) if hasattr(model, "plan") else None,
        "training": provenance.training,
        "evaluation": {
            "tasks": list(tasks) or "random starts and goals",
            "seed": seed,
            "success": "latched: reached at any step within the environment's own limit",
            "planner": asdict(model.config.planner) if hasattr(model, "plan") else None,
            "wall_clock_s": None if resumed else round(time.perf_counter() - begun, 1),
        },
        "versions": versions(),
        "recipe": recipe,
        "training_recipe": provenance.recipe,
        "data_fingerprint": provenance.data_fingerprint,
        "episodes": [
            asdict(episode) | {"training_seed": trained}
            for trained, one in zip(seeds or [None], ours, strict=True)
            for episode in one
        ],
    }
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(out), json.dumps(result, indent=1) + "\n")
        for journal in journals.values():
            journal.unlink()
    return result


def _within_budget(model: Any, planner: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The model and the settings with what a budget buys one robot on this machine, so that all workers do the same."""
    budget_ms = model.config.planner.budget_ms
    if budget_ms is None:
        return model, planner
    hypotheses, steps = model.costs().spend(budget_ms)
    planner = planner | {"hypotheses": hypotheses, "steps": steps, "budget_ms": None}
    return model.with_planner(**planner), planner


def _load(checkpoints: Sequence[str | Path]) -> tuple[Any, Provenance, list[int]]:
    """The first model, where it comes from, and the training seeds of all; no model for the random policy."""
    if [str(source) for source in checkpoints] == ["random"]:
        return None, Provenance(), []
    if not checkpoints or "random" in map(str, checkpoints):
        raise ThalwegError(f"give checkpoints, or 'random' alone, not {choices(map(str, checkpoints)) or 'nothing'}")
    loaded = [load_checkpoint(source) for source in checkpoints]
    model, first = loaded[0]
    seeds: dict[int, str | Path] = {}
    for source, (other_model, other) in zip(checkpoints, loaded, strict=True):
        differs = difference(_trained(other_model, other), _trained(model, first))
        if differs:
            raise ThalwegError(
                f"{source} differs from {checkpoints[0]} in more than its seed: {differs}; evaluate them apart"
            )
        if other.seed in seeds:
            raise ThalwegError(
                f"{source} has training seed {other.seed} as {seeds[other.seed]} has; give each training seed once"
            )
        seeds[other.seed] = source
    return model, first, list(seeds)


def _trained(model: Any, provenance: Provenance) -> dict[str, Any]:
    """What the checkpoints of one method have in common."""
    common = {name: getattr(provenance, name) for name in ("dataset", "data_fingerprint", "preset")}
    return common | {"training": {"steps": provenance.training.get("steps")}, "config": asdict(model.config)}


def _check_clone(source: str | Path, provenance: Provenance) -> None:
    model, cloned = load_checkpoint(source)
    if model.kind != "clone":
        raise ThalwegError(f"{source} is no cloned policy but {model.kind!r}; train one with --preset clone")
    if cloned.data_fingerprint != provenance.data_fingerprint:
        raise ThalwegError(
            f"{source} was cloned from other data: its fingerprint is {cloned.data_fingerprint!r}, "
            f"not {provenance.data_fingerprint!r}; train it on {provenance.dataset or 'the same data'}"
        )
