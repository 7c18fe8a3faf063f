"""The chosen plans in space, against what was then done."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from thalweg.report.scene import Scene, Track
from thalweg.report.style import ACCENT, GOAL, INK, LINE, MUTED, OBJECT, decision_gid, figure
from thalweg.trace import Trace

__all__ = ["distance_figure", "plan_figure", "top_figure"]

_TOP_ASPECT = 1.2  # width of the top view's axes over their height


def _tracks(scene: Scene) -> list[tuple[Track, str]]:
    return [(scene.effector, ACCENT), *((track, OBJECT) for track in scene.objects)]


def _then_done(trace: Trace, decision: int) -> np.ndarray:
    """Observations from a decision on, for as long as its plan reaches."""
    begin = trace.plan_step[decision]
    return trace.observations[begin : begin + int(trace.offsets[decision, -1]) + 1]


def plan_figure(trace: Trace, scene: Scene) -> str:
    """Every plan in three dimensions (one shown at a time) with the course that was then taken."""

    def draw(axes: Any) -> None:
        axes.figure.subplots_adjust(left=0.0, right=0.9, bottom=0.04, top=1.0)
        for track, colour in _tracks(scene):
            axes.plot(*track(trace.observations).T, color=colour, linewidth=0.8, alpha=0.25)
        for decision in range(trace.decisions):
            _draw_decision(axes, trace, scene, decision)
        for track in scene.judged:
            point = track(trace.goal)
            axes.plot(*point[:, None], "*", color=GOAL, markersize=12, markeredgewidth=0)
        _frame_3d(axes, trace, scene)

    alt = f"Planned and executed paths of {_names(scene)} in three dimensions, with the goal marked."
    return figure(draw, alt=alt, projection="3d")


def top_figure(trace: Trace, scene: Scene) -> str:
    """The same seen from above: the first two coordinates to scale."""

    def draw(axes: Axes) -> None:
        for track, colour in _tracks(scene):
            axes.plot(*track(trace.observations)[:, 1::-1].T, color=colour, linewidth=0.8, alpha=0.25)
        for decision in range(trace.decisions):
            _draw_decision(axes, trace, scene, decision, flat=True)
        for track in scene.judged:
            x, y = track(trace.goal)[:2]
            axes.plot(y, x, "*", color=GOAL, markersize=12, markeredgewidth=0)
            axes.add_patch(Circle((y, x), scene.tolerance, fill=False, edgecolor=GOAL, linestyle=":"))
        _frame_top(axes, trace, scene)

    return figure(draw, alt=f"Planned and executed paths of {_names(scene)} from above, with the goal marked.")


def distance_figure(trace: Trace, scene: Scene) -> str:
    """Distance from the goal over time: as it went, and as each plan foresaw it."""
    went = scene.to_goal(trace.observations, trace.goal)
    arrived = "counts as arrived" if scene.objects else "near the goal"

    def draw(axes: Axes) -> None:
        colour = OBJECT if scene.objects else ACCENT
        axes.plot(np.arange(len(went)), went, color=colour, linewidth=1.8, label="as it went")
        axes.axhline(scene.tolerance, color=GOAL, linewidth=1.0, linestyle=":", label=arrived)
        axes.plot([], [], "o--", color=INK, markersize=3, linewidth=1.0, label="as planned")
        for decision, step in enumerate(trace.plan_step):
            steps, rows = trace.future(decision)
            foreseen = scene.to_goal(rows, trace.goal)
            style = {"color": INK, "ms": 3, "lw": 1.0, "gid": decision_gid(decision)}
            axes.plot(step + steps, foreseen, "o--", **style)
        axes.set_xlim(0, max(trace.steps, int(trace.plan_step[0] + trace.offsets[0, -1])))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("environment step")
        axes.set_ylabel(f"from the goal ({scene.unit})")
        axes.legend(loc="upper center", bbox_to_anchor=(0.46, 1.17), ncols=3, handlelength=1.3, columnspacing=0.8)

    alt = f"Distance from the goal: {went[0]:.1f} {scene.unit} at the start, {went[-1]:.1f} at the end."
    return figure(draw, alt=alt)


def _names(scene: Scene) -> str:
    return " and ".join(track.name for track, _ in _tracks(scene))


def _draw_decision(axes: Any, trace: Trace, scene: Scene, decision: int, *, flat: bool = False) -> None:
    columns = [1, 0] if flat else [0, 1, 2]
    planned = trace.future(decision)[1][: trace.due[decision] + 2]
    done = _then_done(trace, decision)
    for track, colour in _tracks(scene):
        plan, way = track(planned)[:, columns].T, track(done)[:, columns].T
        lines = axes.plot(*way, color=colour, linewidth=2.0, alpha=0.75)
        lines += axes.plot(*plan, "o--", color=colour, linewidth=1.0, markersize=3.2, markeredgewidth=0)
        lines += axes.plot(*plan[:, :1], "o", color=INK, markersize=4.5, markeredgewidth=0)
        for line in lines:
            line.set_gid(decision_gid(decision))


def _bounds(trace: Trace, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Limits ``(3,)`` that hold the whole course, the goal, and all but the wildest 1% of the plans."""
    tracks = [track for track, _ in _tracks(scene)]
    went = np.concatenate([track(trace.observations) for track in tracks])
    goals = np.stack([track(trace.goal) for track in scene.judged])
    plans = np.concatenate([track(trace.plan_observations).reshape(-1, 3) for track in tracks])
    plans = np.nanquantile(plans, [0.005, 0.995], axis=0)
    corners = np.concatenate([went, goals - scene.tolerance, goals + scene.tolerance, plans])
    low, high = np.nanmin(corners, axis=0), np.nanmax(corners, axis=0)
    margin = 0.04 * max(float((high - low).max()), 1e-6)
    low, high = low - margin, high + margin
    return np.array([*low[:2], 0.0 if scene.floor else low[2]]), high


def _frame_3d(axes: Any, trace: Trace, scene: Scene) -> None:
    low, high = _bounds(trace, scene)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axes.set_box_aspect(high - low, zoom=1.05)
    axes.set_proj_type("ortho")
    axes.view_init(elev=22, azim=-40)
    axes.set_xlabel(scene.axes[0])
    axes.set_ylabel(scene.axes[1])
    axes.set_zlabel(scene.axes[2])
    axes.locator_params(nbins=4)
    axes.xaxis.set_major_locator(MaxNLocator(3))
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color((0, 0, 0, 0))
        axis.line.set_color(LINE)
        axis._axinfo["grid"].update(color=LINE, linewidth=0.5)
        axis.set_tick_params(pad=-1, labelcolor=MUTED)
        axis.labelpad = 0


def _frame_top(axes: Axes, trace: Trace, scene: Scene) -> None:
    """Equal scales on both axes, the shorter one widened to fill the figure."""
    low, high = _bounds(trace, scene)
    middle, span = (low + high)[:2] / 2, (high - low)[:2]
    height = max(span[0], span[1] / _TOP_ASPECT)
    axes.set_ylim(middle[0] - height / 2, middle[0] + height / 2)
    axes.set_xlim(middle[1] - height * _TOP_ASPECT / 2, middle[1] + height * _TOP_ASPECT / 2)
    axes.set_aspect("equal")
    axes.set_xlabel(scene.axes[1])
    axes.set_ylabel(scene.axes[0])
