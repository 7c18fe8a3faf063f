"""The planner's inner life over an episode: energies, candidates, and time to reach."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from thalweg.report.checks import Checks
from thalweg.report.scene import Scene
from thalweg.report.style import ACCENT, GOAL, INK, LINE, MUTED, OBJECT, decision_gid, figure
from thalweg.trace import Trace

__all__ = ["candidates_figure", "checks_figure", "energy_figure", "probability_figure", "reach_figure"]

_BELIEF = LinearSegmentedColormap.from_list("belief", [(0.13, 0.38, 0.82, a) for a in (0.0, 0.25, 0.5, 0.75, 1.0)])
_LOG_SPAN = 20.0  # a linear axis would hide the smaller end of a wider range


def energy_figure(trace: Trace) -> str:
    """Energies of all candidates of all decisions along refinement; those of one decision stand out."""
    steps = np.arange(trace.energies.shape[1])

    def draw(axes: Axes) -> None:
        for decision, chosen in enumerate(trace.selected):
            lines = axes.plot(steps, trace.energies[decision], color=ACCENT, linewidth=0.8, alpha=0.6)
            lines += axes.plot(steps, trace.energies[decision, :, chosen], "o-", color=INK, linewidth=1.6, markersize=4)
            for line in lines:
                line.set_gid(decision_gid(decision))
        _scale_energy(axes, trace.energies)
        axes.set_xlabel("refinement step")
        axes.set_ylabel("energy" + (" (log scale)" if axes.get_yscale() == "log" else ""))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    first, last = np.nanmedian(trace.energies[:, 0]), np.nanmedian(trace.energies[:, -1])
    alt = f"Energy along refinement: median {first:.3g} at the start, {last:.3g} after {len(steps) - 1} steps."
    return figure(draw, alt=alt, ghost=True)


def _scale_energy(axes: Axes, energies: np.ndarray) -> None:
    finite = energies[np.isfinite(energies)]
    if len(finite) and finite.min() > 0 and finite.max() > _LOG_SPAN * finite.min():
        axes.set_yscale("log")


def candidates_figure(trace: Trace) -> str:
    """Final energy of every candidate against the time to reach that it was refined under."""

    def draw(axes: Axes) -> None:
        reach, energy = trace.candidate_reach, trace.candidate_energy
        for decision, chosen in enumerate(trace.selected):
            dots = axes.plot(reach[decision], energy[decision], "o", color=ACCENT, ms=4.5, alpha=0.75, mew=0)
            dots += axes.plot(
                reach[decision, chosen], energy[decision, chosen], "o", ms=10, mfc="none", mec=INK, mew=1.4
            )
            for dot in dots:
                dot.set_gid(decision_gid(decision))
        _scale_energy(axes, energy)
        axes.set_xlim(left=0)
        axes.set_xlabel("time to reach tried (steps)")
        axes.set_ylabel("final energy")

    count = trace.candidate_reach.shape[1]
    return figure(
        draw,
        alt=f"Final energy against time to reach of the {count} candidates of every decision.",
        ghost=True,
    )


def reach_figure(trace: Trace) -> str:
    """Time to reach over the episode: the belief, the candidates, the choice, and what would be ideal."""
    top = _reach_top(trace)

    def draw(axes: Axes) -> None:
        if trace.belief is not None:
            _draw_belief(axes, trace, top)
        if trace.candidate_reach is not None:
            tried = trace.candidate_reach
            when = np.repeat(trace.plan_step, tried.shape[1])
            axes.plot(when, tried.ravel(), "o", color=MUTED, ms=2.6, mew=0, alpha=0.8, label="candidates")
        axes.plot(trace.plan_step, trace.time_to_reach, "o-", color=INK, lw=1.4, ms=4, label="chosen")
        begin, label = _ideal(trace)
        axes.plot([0, begin], [begin, 0], "--", color=INK, linewidth=1.0, alpha=0.7, label=label)
        for decision, step in enumerate(trace.plan_step):
            axes.axvline(step, color=INK, linewidth=1.0, gid=decision_gid(decision))
        axes.set_xlim(0, max(trace.steps, 1))
        axes.set_ylim(0, top)
        axes.set_xlabel("environment step")
        axes.set_ylabel("steps still to go")
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.15), ncols=4, handlelength=1.8, columnspacing=1.4)

    alt = (
        f"Time to reach over the episode: chosen {trace.time_to_reach[0]:.0f} steps at the start, "
        f"{trace.time_to_reach[-1]:.0f} at the last decision; the episode took {trace.steps} steps."
    )
    return figure(draw, alt=alt, wide=True)


def _reach_top(trace: Trace) -> float:
    tried = trace.time_to_reach if trace.candidate_reach is None else trace.candidate_reach
    return float(1.08 * max(tried.max(), trace.time_to_reach.max(), _ideal(trace)[0]))


def _ideal(trace: Trace) -> tuple[float, str]:
    if trace.head.success:
        return float(trace.steps), "ideal: counts down to the arrival"
    return float(trace.time_to_reach[0]), "counting down from the first choice"


def _draw_belief(axes: Axes, trace: Trace, top: float) -> None:
    """Columns from one decision to the next; each is scaled to its own largest value."""
    assert trace.belief is not None
    edges = np.append(trace.plan_step, max(trace.steps, trace.plan_step[-1] + 1)).astype(float)
    rows = min(trace.belief.shape[1], int(np.ceil(top)))
    shares = trace.belief[:, :rows] / trace.belief.max(axis=1, keepdims=True).clip(1e-12)
    grid = np.nan_to_num(shares).T
    axes.grid(False)
    axes.pcolormesh(edges, np.arange(rows + 1) + 0.5, grid, cmap=_BELIEF, vmin=0, vmax=1.3, rasterized=True)
    axes.plot([], [], "s", color=ACCENT, alpha=0.6, ms=7, mew=0, label="belief")
    axes.tick_params(color=LINE)


def probability_figure(trace: Trace) -> str:
    """The verifier's probability of reaching the goal, decision by decision."""
    assert trace.reach_probability is not None
    probability = trace.reach_probability

    def draw(axes: Axes) -> None:
        axes.plot(trace.plan_step, probability, "o-", color=ACCENT, linewidth=1.6, markersize=4)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("environment step")
        axes.set_ylabel("probability")

    alt = (
        f"Probability of reaching the goal: {probability[0]:.2f} at the start, {probability[-1]:.2f} at the last plan."
    )
    return figure(draw, alt=alt)


def checks_figure(trace: Trace, scene: Scene, checks: Checks) -> str:
    """Plan, tracking and object error of each decision as shares of their limits."""
    names = ["plan", scene.effector.name, "object"][: 3 if scene.objects else 2]

    def draw(axes: Axes) -> None:
        for name, colour, share in zip(names, (INK, ACCENT, OBJECT), checks.shares, strict=False):
            axes.plot(trace.plan_step, share, "o-", color=colour, linewidth=1.2, markersize=3, label=name)
        axes.axhline(1.0, color=GOAL, linewidth=1.0, linestyle=":", label="limit")
        for decision, step in enumerate(trace.plan_step):
            axes.axvline(step, color=INK, linewidth=1.0, gid=decision_gid(decision))
        axes.set_xlim(0, max(trace.steps, 1))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("environment step")
        axes.set_ylabel("error as share of its limit")
        axes.legend(loc="upper center", bbox_to_anchor=(0.46, 1.17), ncols=4, handlelength=1.3, columnspacing=0.8)

    over = (checks.shares > 1).sum(axis=1)
    told = ", ".join(f"{name} {count}" for name, count in zip(names, over, strict=False))
    return figure(draw, alt=f"Errors of {trace.decisions} decisions as shares of their limits; beyond it: {told}.")
