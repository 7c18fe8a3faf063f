"""What can be measured of each decision: is its plan sound, was it tracked, did the objects follow?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from thalweg.report.scene import Scene
from thalweg.trace import Trace

__all__ = ["END", "GRASP", "JUMP", "Checks", "check_decisions", "tracking_limit"]

# Limits in units of the scene's tolerance (4 cm for cubes); `diagnose` says why these values.
END = 1.0
JUMP = 2.0
GRASP = 0.75
MOVES = 0.25
SLACK = 0.5
TYPICAL = 3.0


@dataclass(frozen=True)
class Checks:
    """Measurements of each of M decisions, ``(M,)`` in the scene's unit, and their limits.

    Attributes:
        end: the plan's objects from the goal, at the token where the plan is due.
        gap: the gripper from an object while the plan moves it (median over the way); 0 where it moves none.
        jump: mean distance between this plan and the one before over their common future; 0 where the one
            before was not being followed, or led to another milestone, since then a new plan is called for.
        tracking: the effector from where the plan had it, after the steps for which the plan was followed.
        object: the same for the objects.
        planned_move: how far the plan moves an object in those steps.
        moved: how far it did move.
        tolerance: what counts as success.
        limit: the largest tracking or object error that passes.
    """

    end: np.ndarray
    gap: np.ndarray
    jump: np.ndarray
    tracking: np.ndarray
    object: np.ndarray
    planned_move: np.ndarray
    moved: np.ndarray
    tolerance: float
    limit: float

    @property
    def shares(self) -> np.ndarray:
        """``(3, M)`` plan, tracking and object as shares of their limits; above 1 is a fault."""
        plan = np.max([self.end / END, self.gap / GRASP, self.jump / JUMP], axis=0) / self.tolerance
        return np.stack([plan, self.tracking / self.limit, self.object / self.limit])

    @property
    def charged(self) -> np.ndarray:
        """``(M,)`` the first stage at fault (0 plan, 1 tracking, 2 object), or -1."""
        return np.select(list(self.shares > 1), range(3), default=-1)


def tracking_limit(trace: Trace, scene: Scene, peers: Sequence[Trace]) -> float:
    """``TYPICAL`` times the usual tracking error: that of ``peers``, or of this episode's better quarter."""
    if peers:
        errors = [_after(peer, scene, row)[0] for peer in peers for row in range(peer.decisions)]
        typical = np.nanmedian(errors)
    else:
        typical = np.nanquantile([_after(trace, scene, row)[0] for row in range(trace.decisions)], 0.25)
    return float(np.clip(TYPICAL * typical, SLACK * scene.tolerance, scene.tolerance))


def check_decisions(trace: Trace, scene: Scene, limit: float) -> Checks:
    """Measure every decision of an episode; ``limit`` is its ``tracking_limit``."""
    rows = range(trace.decisions)
    followed = np.array([_after(trace, scene, row) for row in rows])
    tracking, objects, planned_move, moved = _infinite(followed).T
    jump = np.array([0.0] + [_jump(trace, scene, row) for row in rows[1:]])
    provoked = np.append(False, (np.maximum(tracking, objects) > limit)[:-1])
    if trace.plan_turns is not None:
        provoked |= trace.plan_turns
    return Checks(
        end=_infinite(np.array([_end(trace, scene, row) for row in rows])),
        gap=_infinite(np.array([_gap(trace, scene, row) for row in rows])),
        jump=np.where(provoked, 0.0, _infinite(jump)),
        tracking=tracking,
        object=objects,
        planned_move=planned_move,
        moved=moved,
        tolerance=scene.tolerance,
        limit=limit,
    )


def _infinite(distances: np.ndarray) -> np.ndarray:
    """What is not a number is infinitely far: a plan that diverged must not pass for a good one."""
    return np.where(np.isnan(distances), np.inf, distances)


def _after(trace: Trace, scene: Scene, decision: int) -> tuple[float, float, float, float]:
    """Effector error, object error, planned and actual object motion over the steps a plan was followed."""
    begin, ahead = trace.plan_step[decision], trace.followed[decision]
    planned = trace.planned(decision, np.array([ahead]))[0]
    start, reached = trace.observations[begin], trace.observations[begin + ahead]
    effector = float(scene.apart(planned, reached, (scene.effector,)))
    if not scene.objects:
        return effector, 0.0, 0.0, 0.0
    error, planned_move, moved = (
        float(scene.apart(first, second, scene.objects))
        for first, second in ((planned, reached), (start, planned), (start, reached))
    )
    return effector, error, planned_move, moved


def _end(trace: Trace, scene: Scene, decision: int) -> float:
    return float(scene.to_goal(trace.plan_observations[decision, trace.due[decision]], trace.aim(decision)))


def _gap(trace: Trace, scene: Scene, decision: int) -> float:
    if not scene.carried:
        return 0.0
    rows = trace.future(decision)[1][: trace.due[decision] + 2]
    gripper = scene.effector(rows)
    gaps, ways = [], []
    for track in scene.objects:
        points = track(rows)
        gap = np.linalg.norm(points - gripper, axis=1)
        way = np.linalg.norm(np.diff(points, axis=0), axis=1)
        gaps.append(np.minimum(gap[1:], gap[:-1]))
        ways.append(np.where(way > MOVES * scene.tolerance, way, 0.0))
    return _weighted_median(np.concatenate(gaps), np.concatenate(ways))


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    if weights.sum() == 0:
        return 0.0
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][np.searchsorted(share, 0.5)])


def _jump(trace: Trace, scene: Scene, decision: int) -> float:
    offsets, passed = trace.offsets[decision], trace.followed[decision - 1]
    common = offsets[offsets + passed <= trace.offsets[decision - 1, -1]]
    if not len(common):
        return 0.0
    before, now = trace.planned(decision - 1, common + passed), trace.planned(decision, common)
    return float(scene.apart(before, now, (scene.effector, *scene.objects)).mean())
