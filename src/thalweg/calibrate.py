"""Give a checkpoint its verifier: let it try, and learn from what came of it."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from thalweg.checkpoint import load_checkpoint, save_checkpoint, stores_half
from thalweg.errors import ThalwegError
from thalweg.files import check_folder
from thalweg.pad.system import PaD
from thalweg.results import versions
from thalweg.rollout import RolloutSpec, rollout
from thalweg.trace import Trace, load_trace
from thalweg.verify import Attempts, fit_verifier

__all__ = ["calibrate", "gather_attempts"]


def calibrate(
    checkpoint: str | Path,
    *,
    out: str | Path | None = None,
    environment: str = "",
    episodes: int = 2_000,
    seed: int = 1_000,
    workers: int | None = None,
    recipe: str = "",
    progress: Callable[[int, int, int], None] = lambda done, total, successes: None,
) -> Path:
    """Attempt random goals, fit a verifier to what came of the plans, and save the checkpoint with it.

    A run that is stopped starts anew; the checkpoint stays as it was until the end.

    Args:
        checkpoint: folder or hub id of a planner.
        out: folder for the calibrated checkpoint; by default the same, which a hub id has not.
        environment: name or ``module:function``; by default the one that the checkpoint was trained for.
        episodes: random starts and goals to attempt.
        seed: of these; evaluate with others.
        workers: processes; all cores by default.
        recipe: the command that makes it again.
        progress: called with ``(done, total, successes)``.

    Returns:
        The calibrated checkpoint's folder.

    Raises:
        ThalwegError: the checkpoint does not plan, its environment has no random starts and goals, or a hub id was
            given without ``out``.
    """
    model, provenance = load_checkpoint(checkpoint)
    out = Path(out or checkpoint).expanduser()
    if not out.exists() and str(out) == str(checkpoint):
        raise ThalwegError(f"{checkpoint} is on the hub; name a folder for the calibrated checkpoint (out)")
    check_folder(out)
    if not isinstance(model, PaD):
        raise ThalwegError(
            f"{checkpoint} holds a {model.kind!r} policy, which has no energies; choose a 'pad' planner's"
        )
    environment = environment or provenance.environment
    if not environment:
        raise ThalwegError(f"{checkpoint} names no environment to try it in; give one, or module:function")
    with tempfile.TemporaryDirectory(prefix="thalweg-") as folder:
        spec = RolloutSpec(environment, str(checkpoint), tasks=(), episodes=episodes, seed=seed, record=folder)
        results = rollout(spec, workers=workers, progress=progress)
        attempts = gather_attempts(model, Path(folder))
    calibration = {
        "environment": environment,
        "seed": seed,
        "episodes": len(results),
        "successes": sum(result.success for result in results),
        "recipe": recipe,
        "versions": versions(),
    }
    model = model.with_verifier(fit_verifier(attempts))
    return save_checkpoint(out, model, replace(provenance, calibration=calibration), half=stores_half(checkpoint))


def gather_attempts(model: PaD, folder: Path) -> Attempts:
    """Every plan in a folder of traces, but for those that the episode's end may have left too little time for."""
    traces = [load_trace(path) for path in sorted(folder.glob("*.npz"))]
    limit = max((trace.steps for trace in traces if not trace.head.success), default=math.inf)
    parts = [_attempts(model, number, trace, limit) for number, trace in enumerate(traces)]
    return Attempts(*(torch.cat([getattr(part, name) for part in parts]) for name in vars(parts[0])))


@torch.no_grad()
def _attempts(model: PaD, number: int, trace: Trace, limit: float) -> Attempts:
    when = trace.plan_step
    when = when[(when == 0) | (when + model.config.windows.reach_high <= limit)]
    count = len(when)
    rows = (when[:, None] + np.arange(1 - model.past, 1)).clip(min=0)
    past = torch.from_numpy(trace.observations[rows]).float()
    final = torch.from_numpy(trace.goal).float().expand(count, -1)
    goal = final if trace.plan_goal is None else torch.from_numpy(trace.plan_goal[:count]).float()
    reach, elapsed, length = (
        torch.from_numpy(values).float()
        for values in (trace.time_to_reach[:count], when, np.minimum(when + 1, model.past))
    )
    energy = torch.from_numpy(trace.candidate_energy[np.arange(count), trace.selected[:count]]).float()
    plausibility = model.plausibility(final)
    _, reading = model.model.read_context(model.context(past, length, goal, reach))
    evidence = model.evidence(reading, plausibility, energy, elapsed)
    success, episode = torch.full((count,), trace.head.success), torch.full((count,), number)
    passed = torch.full((count,), torch.nan) if trace.belief is None else _passed(trace, count)
    return Attempts(evidence, plausibility.clamp(max=0.0), success, episode, elapsed == 0, passed)


def _passed(trace: Trace, count: int) -> torch.Tensor:
    """``(count,)`` share of each belief up to the episode's last step, half of that step's own included.

    A plan to any but the last milestone was about another time: NaN.
    """
    belief = torch.from_numpy(trace.belief[:count])
    belief = belief / belief.sum(dim=1, keepdim=True)
    last = torch.from_numpy(trace.steps - trace.plan_step[:count]).clamp(max=belief.shape[1]).unsqueeze(1) - 1
    passed = (belief.cumsum(dim=1) - 0.5 * belief).gather(1, last)[:, 0]
    if trace.plan_turns is not None:
        passed[: np.flatnonzero(trace.plan_turns)[-1]] = torch.nan
    return passed
