"""Results: one machine-readable file a run, with intervals; and the comparison of two."""

from __future__ import annotations

import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thalweg.errors import ThalwegError

if TYPE_CHECKING:
    from thalweg.rollout import EpisodeResult

__all__ = ["compare", "difference", "load_result", "paired", "success_table", "versions", "wilson"]

_DRAWS = 10_000  # of the bootstrap and of the permutation test


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
    """``success`` with intervals, in all and per task, and ``steps_to_goal`` of the successes.

    Tasks that go by stages have the share of episodes that went through each, the first stage first.
    """
    tasks = sorted({episode.task for episode in episodes})
    table = _rate(episodes) | {
        "per_task": [{"task": task} | _task([e for e in episodes if e.task == task]) for task in tasks]
    }
    steps = [episode.steps for episode in episodes if episode.success]
    reached = {"mean": float(np.mean(steps)), "median": float(np.median(steps))} if steps else None
    return {"success": table, "steps_to_goal": reached}


def _task(episodes: list[EpisodeResult]) -> dict[str, Any]:
    reached = [episode.stages for episode in episodes if episode.stages is not None]
    if not reached:
        return _rate(episodes)
    passed = [sum(count > stage for count in reached) / len(reached) for stage in range(max(reached))]
    return _rate(episodes) | {"stages": passed}


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
    from thalweg import __version__

    found = {"python": platform.python_version(), "thalweg": __version__}
    simulators = ("mujoco", "ogbench", "dm_control", "gymnasium", "hf-libero", "robosuite")
    for name in ("torch", "numpy", "transformers", *simulators):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def difference(found: Any, wanted: Any, name: str = "") -> str:
    """Where two (nested) records first differ: ``planner.steps is 4, not 2``; empty where they agree."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        inner = (difference(found.get(key), wanted.get(key), f"{name}.{key}".strip(".")) for key in {**wanted, **found})
        return next(filter(None, inner), "")
    return "" if found == wanted else f"{name} is {found!r}, not {wanted!r}"


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
    """Compare two methods on the starts that both ran: the same task, episode and environment seed.

    A method may have run a start several times, once for every training seed: its success there is the mean of these.

    Returns:
        ``starts`` in common, the difference of success ``{mean, low, high}`` (95%, bootstrap over starts), the
        ``p_value`` of a two-sided sign-flip permutation test, at how many starts which method was better, and the
        mean difference of steps over the starts where every run of both succeeded.

    Raises:
        ThalwegError: they share no start.
    """
    runs = [_by_start(side) for side in (first, second)]
    shared = sorted(runs[0].keys() & runs[1].keys())
    if not shared:
        raise ThalwegError("the two results share no start (same task, episode and seed); evaluate with one --seed")
    gain = np.array([_mean(runs[1][start], "success") - _mean(runs[0][start], "success") for start in shared])
    rng = np.random.default_rng(seed)
    low, high = np.quantile(gain[rng.integers(0, len(gain), (_DRAWS, len(gain)))].mean(axis=1), [0.025, 0.975])
    solved = [start for start in shared if all(run["success"] for side in runs for run in side[start])]
    steps = [_mean(runs[1][start], "steps") - _mean(runs[0][start], "steps") for start in solved]
    return {
        "starts": len(shared),
        "success_difference": {"mean": float(gain.mean()), "low": float(low), "high": float(high)},
        "only_first": int((gain < 0).sum()),
        "only_second": int((gain > 0).sum()),
        "p_value": _sign_flip(gain, rng),
        "steps_difference": float(np.mean(steps)) if steps else None,
    }


def _by_start(episodes: list[dict[str, Any]]) -> dict[tuple[int, int, int], list[dict[str, Any]]]:
    starts: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
    for episode in episodes:
        starts.setdefault((episode["task"], episode["episode"], episode["seed"]), []).append(episode)
    return starts


def _mean(runs: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([run[key] for run in runs]))


def _sign_flip(gain: np.ndarray, rng: np.random.Generator) -> float:
    """How often a mean at least as far from 0 comes of random signs: ``gain (N,)`` has none of its own by chance."""
    signs = rng.choice([-1.0, 1.0], (_DRAWS, len(gain)))
    as_far = np.abs(signs @ gain) >= np.abs(gain.sum()) - 1e-9
    return float((1 + as_far.sum()) / (1 + _DRAWS))


def compare(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Paired comparison of two results (the second against the first).

    Raises:
        ThalwegError: they are of different environments, or of different simulator versions.
    """
    for what, a, b in (
        ("environment", first.get("environment"), second.get("environment")),
        ("MuJoCo version", *(result.get("versions", {}).get("mujoco") for result in (first, second))),
    ):
        if a != b:
            raise ThalwegError(f"the results are of different {what}: {a!r} and {b!r}; they cannot be paired")
    return paired(first["episodes"], second["episodes"])
