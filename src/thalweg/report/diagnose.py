"""Why did it fail? Each decision of a failed episode is charged to the first stage that let it down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.errors import ThalwegError
from thalweg.report.checks import END, GRASP, JUMP, Checks, check_decisions, tracking_limit
from thalweg.report.scene import Scene, scene_of
from thalweg.trace import Trace

__all__ = ["CAUSES", "Diagnosis", "diagnose"]

CAUSES = ("plan", "inverse dynamics", "environment")
FAULTY = 0.125


@dataclass(frozen=True)
class Diagnosis:
    """The likely cause of a failure.

    Attributes:
        cause: ``plan``, ``inverse dynamics`` or ``environment``.
        evidence: one sentence for people.
        numbers: what the sentence rests on: counts are ``int``, distances ``float`` in the scene's unit.
    """

    cause: str
    evidence: str
    numbers: dict[str, float]


def diagnose(trace: Trace, *, scene: Scene | None = None, peers: Sequence[Trace] = ()) -> Diagnosis:
    """The likely cause of a failed episode: a heuristic reading of its trace, not a proof.

    Each decision is charged to the first of three stages that is at fault, and the episode to the stage
    that is charged most. Limits are multiples of the distance that counts as success (4 cm for cubes, a
    cube's width):

    - plan: where it is due, the plan leaves an object farther than ``END`` = 1 from its goal, which would
      be no success even if followed exactly; or it moves an object that the gripper is more than ``GRASP``
      = 0.75 away from (3 cm; carried cubes are within 2.3 cm 95% of the time); or it differs from the plan
      before by more than ``JUMP`` = 2 on average over their common future, although that plan was being
      followed (in successes the median is 0.7, and 95% are below 1.5).
    - inverse dynamics: after the steps that were followed, the effector is farther from the plan than
      ``TYPICAL`` = 3 times the median of ``peers`` (without any, the better quarter of this episode), at
      least ``SLACK`` = 0.5 (2 cm: the play of a cube between open fingers) and at most 1 (a miss the size
      of success is never typical).
    - environment: the effector was where it was planned but an object was not, by the same limit: it
      slipped, was knocked, or stayed behind. Also what remains when fewer than ``FAULTY`` = 1/8 of the
      decisions are at fault: the time limit.

    Args:
        trace: a failed episode.
        scene: how to read it; by default the principal components of its observations.
        peers: successful episodes of the same run, which say what tracking error is usual.

    Raises:
        ThalwegError: the episode succeeded.
    """
    if trace.head.success:
        raise ThalwegError(f"{trace.head.path} is a success; only failures have a cause to look for")
    scene = scene or scene_of(None, trace)
    checks = check_decisions(trace, scene, tracking_limit(trace, scene, peers))
    counts = [int((checks.charged == stage).sum()) for stage in range(3)]
    numbers = _numbers(trace, scene, checks, counts)
    if sum(counts) == 0 or sum(counts) < FAULTY * trace.decisions:
        return Diagnosis("environment", _time_limit(scene, numbers), numbers)
    stage = int(np.argmax(counts))
    tell = (_plan_evidence, _tracking_evidence, _object_evidence)[stage]
    return Diagnosis(CAUSES[stage], tell(scene, checks), numbers)


def _numbers(trace: Trace, scene: Scene, checks: Checks, counts: list[int]) -> dict[str, float]:
    return {
        "decisions": trace.decisions,
        **{f"decisions charged to {cause}": count for cause, count in zip(CAUSES, counts, strict=True)},
        "plan's end from the goal, median": float(np.median(checks.end)),
        "change of plan, largest": float(checks.jump.max()),
        "tracking error, median": float(np.median(checks.tracking)),
        "tracking error, largest": float(checks.tracking.max()),
        "limit of tracking and object error": checks.limit,
        "object error, largest": float(checks.object.max()),
        "from the goal when it ended": float(scene.to_goal(trace.observations[-1], trace.goal)),
    }


def _plan_evidence(scene: Scene, checks: Checks) -> str:
    unit, tolerance = scene.unit, scene.tolerance
    told = (
        (checks.end, END, f"with their end {{}} {unit} from the goal, where success needs {tolerance:g}"),
        (checks.gap, GRASP, f"with the gripper {{}} {unit} away from the object that it moves"),
        (checks.jump, JUMP, f"at odds with the plan before by {{}} {unit}"),
    )
    clauses = []
    for values, share, text in told:
        over = values > share * tolerance
        if over.any():
            clauses.append((int(over.sum()), text.format(f"{np.median(values[over]):.1f}")))
    clauses.sort(reverse=True)
    listed = "; ".join(f"{count} {text}" for count, text in clauses)
    return f"Of {len(checks.end)} plans: {listed} (medians)."


def _tracking_evidence(scene: Scene, checks: Checks) -> str:
    rows = checks.charged == 1
    return (
        f"After {rows.sum()} of {len(rows)} decisions the {scene.effector.name} was "
        f"{np.median(checks.tracking[rows]):.1f} {scene.unit} (median) from where a sound plan had it; "
        f"the limit for this run is {checks.limit:.1f}."
    )


def _object_evidence(scene: Scene, checks: Checks) -> str:
    rows = checks.charged == 2
    worst = int(np.argmax(np.where(rows, checks.object, -1.0)))
    return (
        f"After {rows.sum()} of {len(rows)} decisions the {scene.effector.name} was where it was planned but "
        f"the object was not; at worst it moved {checks.moved[worst]:.1f} {scene.unit} instead of "
        f"{checks.planned_move[worst]:.1f} and ended {checks.object[worst]:.1f} off."
    )


def _time_limit(scene: Scene, numbers: dict[str, float]) -> str:
    return (
        "Plans end at the goal and are followed "
        f"(median error {numbers['tracking error, median']:.1f} {scene.unit}), but time ran out with "
        f"{numbers['from the goal when it ended']:.1f} {scene.unit} to go."
    )
