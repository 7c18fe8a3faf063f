"""Puts the report together: one HTML file that needs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from thalweg.errors import ThalwegError
from thalweg.files import write_atomically
from thalweg.report.assets import SCRIPT, STYLE
from thalweg.report.checks import check_decisions, tracking_limit
from thalweg.report.diagnose import diagnose
from thalweg.report.episode import Shown, episode_section
from thalweg.report.failures import failures_section
from thalweg.report.scene import scene_of
from thalweg.report.summary import header, provenance, task_table
from thalweg.report.video import Video, render_videos
from thalweg.trace import Trace, TraceHead, load_head, load_trace

__all__ = ["choose_episodes", "write_report"]

LEAST_SUCCESSES, MOST_FAILURES, MOST_PEERS = 3, 6, 20
_APART = 4  # environment steps between decisions that are drawn, at least

_GUIDE = (
    "The slider goes through the decisions of an episode: each figure then shows the plan that was chosen "
    "there. Playing the video moves it too. Energies compare candidates across times to reach where their "
    "level is trained (the default preset); as PaD's loss leaves them (the paper preset) they do not."
)


def write_report(result: Mapping[str, Any], traces: Path | None, out: Path, *, videos: bool = True) -> Path:
    """Write the report of one evaluation.

    Args:
        result: the evaluation's record; whatever is missing or None in it is left out.
        traces: folder of the recorded episodes (``*.npz``), or None for a report without episodes. Only those of
            the result's own starts are drawn, where it lists them.
        out: the HTML file to write; its folders are made.
        videos: replay the shown episodes in their simulator (seconds each); if that fails, the page says why.

    Returns:
        ``out``.

    Raises:
        ThalwegError: the folder of traces does not exist, or a trace file is damaged; the message names it.
    """
    episodes = _episodes(result, Path(traces), videos) if traces is not None else ""
    body = header(result) + task_table(result) + episodes + provenance(result)
    title = escape(f"{result.get('environment') or 'evaluation'}: {result.get('method') or 'planner'}")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body>{body}<script>{SCRIPT}</script></body></html>\n"
    )
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, page)
    return out


def choose_episodes(heads: Sequence[TraceHead]) -> list[TraceHead]:
    """The first success of every task (three or more in all), then up to six failures, all tasks in turn."""
    good = _in_turn([head for head in heads if head.success])
    bad = _in_turn([head for head in heads if not head.success])
    tasks = len({head.task for head in good})
    return good[: max(tasks, LEAST_SUCCESSES)] + bad[:MOST_FAILURES]


def _in_turn(heads: Sequence[TraceHead]) -> list[TraceHead]:
    """Every task's first, then every task's second, and so on."""
    seen: Counter[int] = Counter()
    placed = []
    for head in sorted(heads, key=lambda head: (head.task, head.episode)):
        placed.append((seen[head.task], head))
        seen[head.task] += 1
    return [head for _, head in sorted(placed, key=lambda pair: (pair[0], pair[1].task))]


def _episodes(result: Mapping[str, Any], folder: Path, videos: bool) -> str:
    if not folder.is_dir():
        raise ThalwegError(f"there is no folder of traces at {folder}; evaluate with recording on, or pass None")
    environment = str(result.get("environment") or "")
    heads = _of_result(result, [load_head(path) for path in sorted(folder.glob("*.npz"))])
    if not heads:
        return _nothing("No episode of this result was recorded.")
    heads = [head for head in heads if head.planned]
    if not heads:
        return _nothing("The recorded policy makes no plans, so there are none to show.")
    peers = _load(_in_turn([head for head in heads if head.success])[:MOST_PEERS])
    failures = _load([head for head in heads if not head.success])
    shown = _shown(environment, _load(choose_episodes(heads)), peers, videos)
    first_failure = next((index for index, item in enumerate(shown) if item.diagnosis), 0)
    sections = [episode_section(item, is_open=index in (0, first_failure)) for index, item in enumerate(shown)]
    summary = failures_section(environment, len(heads), failures, peers)
    return f"{summary}<section><h2>Episodes</h2><p>{_GUIDE}</p>{''.join(sections)}</section>"


def _load(heads: Sequence[TraceHead]) -> list[Trace]:
    """Their episodes; of a planner that decides at every step not every decision is drawn."""
    return [load_trace(head.path).thinned(_APART) for head in heads]


def _of_result(result: Mapping[str, Any], heads: Sequence[TraceHead]) -> list[TraceHead]:
    starts = {(row["task"], row["episode"], row["seed"]) for row in result.get("episodes") or ()}
    return [head for head in heads if not starts or (head.task, head.episode, head.seed) in starts]


def _nothing(why: str) -> str:
    return f"<section><h2>Episodes</h2><p>{why}</p></section>"


def _shown(environment: str, traces: Sequence[Trace], peers: Sequence[Trace], videos: bool) -> list[Shown]:
    filmed: dict[Path, Video] = {}
    reason = ""
    if videos:
        filmed, reason = render_videos(environment, traces)
    items = []
    for trace in traces:
        scene = scene_of(environment, trace)
        diagnosis = None if trace.head.success else diagnose(trace, scene=scene, peers=peers)
        checks = check_decisions(trace, scene, tracking_limit(trace, scene, peers))
        items.append(Shown(trace, scene, checks, diagnosis, filmed.get(trace.head.path), reason, tuple(peers)))
    return items
