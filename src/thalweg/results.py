"""Results: one machine-readable file a run, with intervals; and the comparison of two."""

from __future__ import annotations

import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.errors import ThalwegError
from thalweg.rollout import EpisodeResult

__all__ = ["compare", "load_result", "paired", "success_table", "versions", "wilson"]


def wilson(successes: int, episodes: int, *, z: float = 1.959964) -> tuple[float, float]:
    """The 95% Wilson interval of a success rate.

    Raises:
        ThalwegError: no episodes, or more successes than episodes.
    """
    if episodes < 1 or not 0 <= successes <= episodes:
        raise ThalwegError(f"need 0 <= successes <= episodes and an episode, got {successes} of {episodes}")
    rate = successes / episodes
    centre = (rate + z * z / (2 * episodes)) / (1 + z * z / episodes)
    half = z / (1 + z * z / episodes) * math.sqrt(rate * (1 - rate) / episodes + z * z / (4 * episodes**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def success_table(episodes: list[EpisodeResult]) -> dict[str, Any]:
    """``success`` with intervals, in all and per task, and ``steps_to_goal`` of the successes."""
    tasks = sorted({episode.task for episode in episodes})
    table = _rate(episodes) | {
        "per_task": [{"task": task} | _rate([e for e in episodes if e.task == task]) for task in tasks]
    }
    steps = [episode.steps for episode in episodes if episode.success]
    reached = {"mean": float(np.mean(steps)), "median": float(np.median(steps))} if steps else None
    return {"success": table, "steps_to_goal": reached}


def _rate(episodes: list[EpisodeResult]) -> dict[str, Any]:
    successes = sum(episode.success for episode in episodes)
    low, high = wilson(successes, len(episodes))
    return {
        "mean": successes / len(episodes),
        "low": low,
        "high": high,
        "successes": successes,
        "episodes": len(episodes),
    }


def versions() -> dict[str, str]:
    """Versions of everything that can move a number."""
    found = {"python": platform.python_version()}
    for name in ("thalweg", "torch", "numpy", "mujoco", "ogbench", "dm_control", "gymnasium"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load_result(path: str | Path) -> dict[str, Any]:
    """Read a result file.

    Raises:
        ThalwegError: it is missing, damaged, or not a result.
    """
    path = Path(path)
    try:
        result = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ThalwegError(f"no result file at {path}; make one with: thalweg evaluate") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ThalwegError(f"{path} is damaged ({error})") from error
    if not isinstance(result, dict) or "success" not in result:
        raise ThalwegError(f"{path} is not a result file: it has no 'success'")
    return result


def paired(first: list[dict[str, Any]], second: list[dict[str, Any]], *, seed: int = 0) -> dict[str, Any]:
    """Compare two methods on the episodes that both ran: the same environment seed, start and goal.

    Returns:
        ``episodes``, the difference of success ``{mean, low, high}`` (95%, paired bootstrap), the exact McNemar
        ``p_value``, how often only one succeeded, and the difference of steps where both did.

    Raises:
        ThalwegError: they share no episode.
    """
    keyed = [{(e["task"], e["episode"], e["seed"]): e for e in side} for side in (first, second)]
    shared = sorted(keyed[0].keys() & keyed[1].keys())
    if not shared:
        raise ThalwegError("the two results share no episode (same task, episode and seed); evaluate with one --seed")
    a, b = (np.array([side[key]["success"] for key in shared], dtype=float) for side in keyed)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(shared), (10_000, len(shared)))
    low, high = np.quantile((b - a)[draws].mean(axis=1), [0.025, 0.975])
    both = [key for key in shared if keyed[0][key]["success"] and keyed[1][key]["success"]]
    steps = [keyed[1][key]["steps"] - keyed[0][key]["steps"] for key in both]
    only_first, only_second = int((a > b).sum()), int((b > a).sum())
    return {
        "episodes": len(shared),
        "success_difference": {"mean": float((b - a).mean()), "low": float(low), "high": float(high)},
        "only_first": only_first,
        "only_second": only_second,
        "p_value": _mcnemar(only_first, only_second),
        "steps_difference": float(np.mean(steps)) if steps else None,
    }


def _mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided test that the two kinds of disagreement are equally likely."""
    total, fewer = only_first + only_second, min(only_first, only_second)
    tail = sum(math.comb(total, k) for k in range(fewer + 1)) / 2**total
    return min(1.0, 2 * tail)


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Paired comparison of two results (the second against the first).

    Raises:
        ThalwegError: they are of different environments, or of different simulator versions.
    """
    for what, a, b in (
        ("environment", first.get("environment"), second.get("environment")),
        ("MuJoCo version", first["versions"].get("mujoco"), second["versions"].get("mujoco")),
    ):
        if a != b:
            raise ThalwegError(f"the results are of different {what}: {a!r} and {b!r}; they cannot be paired")
    return paired(first["episodes"], second["episodes"])
