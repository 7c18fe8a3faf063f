"""One episode of the report: video, plans, time to reach, energies, and the cause where it failed."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from thalweg.report.checks import Checks
from thalweg.report.diagnose import Diagnosis
from thalweg.report.figures import candidates_figure, checks_figure, energy_figure, probability_figure, reach_figure
from thalweg.report.paths import distance_figure, plan_figure, top_figure
from thalweg.report.scene import Scene
from thalweg.report.subgoals import subgoal_figure
from thalweg.report.summary import facts
from thalweg.report.video import Video
from thalweg.trace import Trace

__all__ = ["Shown", "episode_section"]

_DEFAULT_STEP_SECONDS = 0.05


@dataclass(frozen=True)
class Shown:
    """An episode chosen for the report.

    Attributes:
        trace: its course.
        scene: how to read it.
        checks: the measurements of its decisions.
        diagnosis: its likely cause of failure; None for a success.
        video: its video, or None.
        no_video: why there is no video.
        others: episodes of the same run, among whose frames subgoals from pixels are looked up.
    """

    trace: Trace
    scene: Scene
    checks: Checks
    diagnosis: Diagnosis | None
    video: Video | None
    no_video: str = ""
    others: tuple[Trace, ...] = ()


def episode_section(shown: Shown, *, is_open: bool) -> str:
    """A ``<details>`` element with everything about one episode."""
    body = _cause(shown) + _scrub(shown) + _key(shown.scene) + _figures(shown)
    body = body.replace('data-decision="0"', 'class="on" data-decision="0"')
    state = " open" if is_open else ""
    return f'<details class="episode"{state}><summary>{_title(shown)}</summary>{body}</details>'


def _title(shown: Shown) -> str:
    head, seconds = shown.trace.head, shown.scene.step_seconds
    task = f"Task {head.task}" if head.task else "Random start and goal"
    took = f"{head.steps} steps" + (f" ({head.steps * seconds:.1f} s)" if seconds else "")
    verdict = f'<span class="good">reached its goal in {took}</span>'
    if not head.success:
        cause = f", likely cause: {shown.diagnosis.cause}" if shown.diagnosis else ""
        verdict = f'<span class="bad">failed after {took}{cause}</span>'
    if shown.trace.instruction:
        done = "" if shown.trace.stage is None else f" ({int(shown.trace.stage.max())} stages done)"
        return (
            f"{task}, episode {head.episode}: <q>{escape(shown.trace.instruction)}</q> "
            f"<span class='muted'>·</span> {verdict}{done}"
        )
    return f"{task}, episode {head.episode} <span class='muted'>·</span> {verdict}"


def _cause(shown: Shown) -> str:
    if shown.diagnosis is None:
        return ""
    numbers = [
        (f"{name} ({shown.scene.unit})", f"{value:.1f}") if isinstance(value, float) else (name, value)
        for name, value in shown.diagnosis.numbers.items()
    ]
    return (
        f'<div class="cause"><p><b>Likely cause: {escape(shown.diagnosis.cause)}.</b> '
        f"{escape(shown.diagnosis.evidence)}</p>"
        f'<details class="more"><summary class="muted">numbers</summary>{facts(numbers)}</details></div>'
    )


def _scrub(shown: Shown) -> str:
    trace = shown.trace
    steps = ",".join(str(int(step)) for step in trace.plan_step)
    rate = 1 / (shown.scene.step_seconds or _DEFAULT_STEP_SECONDS)
    label = f"decision 1 of {trace.decisions}, step {trace.plan_step[0]}"
    return (
        f'<label class="scrub"><output>{label}</output>'
        f'<input type="range" aria-label="decision" min="0" max="{trace.decisions - 1}" value="0" '
        f'data-steps="{steps}" data-rate="{rate:g}"></label>'
    )


def _key(scene: Scene) -> str:
    colours = [(scene.effector.name, "accent")]
    colours += [(" and ".join(track.name for track in scene.objects), "object")] if scene.objects else []
    swatches = [f'<span><i style="color:var(--{colour})"></i>{escape(name)}</span>' for name, colour in colours]
    swatches.append('<span><i class="dashed"></i>as planned, until the plan is due</span>')
    swatches.append("<span><i></i>what was then done</span>")
    swatches.append('<span><b style="color:var(--goal)">★</b> goal</span>')
    if not scene.metres:
        swatches.append("<span>the layout is unknown here: drawn are principal components</span>")
    return f'<div class="key">{"".join(swatches)}</div>'


def _figures(shown: Shown) -> str:
    trace, scene = shown.trace, shown.scene
    space, above = ("Plan in space", "From above") if scene.metres else ("Three components", "Two components")
    near = f"to scale; dotted: within {scene.tolerance:g} {scene.unit}"
    followed = "dashed against solid: how the plan was carried out"
    reach = f'<div class="scroll">{reach_figure(trace)}</div>'
    checks = checks_figure(trace, scene, shown.checks)
    parts = [
        _figure("Video", _video_note(shown), _video(shown)),
        _figure(space, followed, plan_figure(trace, scene)),
        _figure(above, near, top_figure(trace, scene)),
        _figure("Distance from the goal", _distance_note(scene), distance_figure(trace, scene)),
        _figure("Time to reach", _reach_note(trace), reach, wide=True),
        _figure("Errors by decision", "above the dotted line is a fault", checks),
    ]
    if trace.energies is not None:
        along = _figure("Energy along refinement", "every candidate; bold: the chosen one", energy_figure(trace))
        parts[5:5] = [along, _figure("Candidates", "ringed: the chosen one", candidates_figure(trace))]
    if trace.plan_latents is not None and trace.cameras:
        told = "above: the nearest real frame to what was planned; below: what was seen when it was due"
        parts.insert(1, _figure("Subgoals", told, subgoal_figure(trace, shown.others), wide=True))
    if trace.reach_probability is not None:
        parts.append(_figure("Will it work?", "probability that the goal is reached", probability_figure(trace)))
    return f'<div class="figures">{"".join(parts)}</div>'


def _distance_note(scene: Scene) -> str:
    return "a sound plan ends below the dotted line" if scene.objects else "of the whole observation"


def _figure(title: str, note: str, content: str, *, wide: bool = False) -> str:
    kind = ' class="wide"' if wide else ""
    return f"<figure{kind}><figcaption><b>{escape(title)}</b>{escape(note)}</figcaption>{content}</figure>"


def _reach_note(trace: Trace) -> str:
    note = "what the planner thinks is left, against a perfect countdown"
    return note if trace.belief is not None else f"{note}; no belief was recorded"


def _video_note(shown: Shown) -> str:
    return "replayed; dots: the plan in force" if shown.video else ""


def _video(shown: Shown) -> str:
    head = shown.trace.head
    told = f"task {head.task}, episode {head.episode}, {'success' if head.success else 'failure'}"
    if shown.video is None:
        return f'<p class="none">No video: {escape(shown.no_video or "none was asked for").rstrip(".")}.</p>'
    if shown.video.media.startswith("image/"):
        return f'<img src="{shown.video.uri}" alt="Replay of {told}">'
    return (
        f'<video controls muted loop playsinline preload="metadata" poster="{shown.video.poster}" '
        f'aria-label="Replay of {told}" src="{shown.video.uri}"></video>'
    )
