"""The head of the report: what was evaluated, how well it did, and how it came about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

__all__ = ["facts", "header", "interval_bar", "look_up", "provenance", "task_table"]

_METHODS = {"pad": "Planning as Descent", "lbp": "Latent space Backward Planning"}


def look_up(result: Mapping[str, Any], path: str) -> Any:
    """``look_up(result, "success.low")``, or None where anything on the way is missing."""
    value: Any = result
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value != value else value  # NaN is missing too


def header(result: Mapping[str, Any]) -> str:
    """Title, headline success beside its floors, and the main facts."""
    environment = escape(str(result.get("environment") or "unknown environment"))
    method = str(result.get("method") or "unknown method")
    about = [_METHODS.get(method.lower(), method)]
    about += [f"{name} {result[name]}" for name in ("preset", "dataset") if result.get(name)]
    return (
        f'<header><h1>{environment}</h1><p class="muted">{escape(" · ".join(about))}</p>'
        f'<div class="hero"><div>{_headline(result)}</div>{_floors(result)}</div>'
        f"{_main_facts(result)}</header>"
    )


def _headline(result: Mapping[str, Any]) -> str:
    mean = look_up(result, "success.mean")
    if mean is None:
        return "<p>No success rate was recorded.</p>"
    between = _interval(look_up(result, "success"))
    successes, episodes = look_up(result, "success.successes"), look_up(result, "success.episodes")
    told = "success" if None in (successes, episodes) else f"success: {successes} of {episodes} episodes"
    told += f", 95% interval {between}" if between else ""
    return f'<div class="headline">{_share(mean)}<small>%</small></div><p class="muted">{told}</p>'


def _floors(result: Mapping[str, Any]) -> str:
    rows = [
        ("this planner", look_up(result, "success"), "fill"),
        ("goal-conditioned cloning", look_up(result, "floors.cloning"), "floor"),
        ("random actions", look_up(result, "floors.random"), "floor"),
    ]
    cells = "".join(
        f"<tr><td>{name}</td><td class='bar'>{interval_bar(rate, kind)}</td>"
        f"<td class='number'>{_percent(look_up(rate or {}, 'mean'))}</td></tr>"
        for name, rate, kind in rows
        if rate is not None or kind == "fill"
    )
    return f'<table class="plain"><caption hidden>Success beside its floors</caption>{cells}</table>'


def interval_bar(rate: Mapping[str, Any] | None, kind: str = "fill") -> str:
    """A bar from 0 to 100% with its interval as a whisker; just the track where nothing is known."""
    mean, low, high = (look_up(rate or {}, key) for key in ("mean", "low", "high"))
    label = (
        "not measured"
        if mean is None
        else f"{_percent(mean)}" + (f", 95% {_interval(rate)}" if low is not None else "")
    )
    shapes = '<rect class="track" width="100" height="10"/>'
    if mean is not None:
        shapes += f'<rect class="{kind}" width="{100 * mean:.2f}" height="10"/>'
    if low is not None and high is not None:
        left, right = 100 * low, 100 * high
        shapes += f'<path d="M{left:.2f} 5H{right:.2f}M{left:.2f} 2.5V7.5M{right:.2f} 2.5V7.5"/>'
    return (
        f'<svg class="interval" role="img" viewBox="0 0 100 10" preserveAspectRatio="none">'
        f"<title>{label}</title>{shapes}</svg>"
    )


def _main_facts(result: Mapping[str, Any]) -> str:
    steps, median = look_up(result, "steps_to_goal.mean"), look_up(result, "steps_to_goal.median")
    p50, p95 = look_up(result, "planning_ms.p50"), look_up(result, "planning_ms.p95")
    seeds = result.get("training_seeds")
    return facts(
        [
            ("steps to goal", _join((median, "{:.0f} median"), (steps, "{:.1f} mean"))),
            (
                "planning time a decision",
                _join((p50, "{:.1f} ms median"), (p95, "{:.1f} ms 95th percentile")),
            ),
            ("episodes a task", result.get("episodes_per_task")),
            ("training seeds", _listed(seeds)),
            ("success of each seed", _each(result.get("per_seed"))),
            ("training", _training(result)),
        ]
    )


def _each(rates: Any) -> str | None:
    """Rates of two or more seeds; one alone is the headline."""
    return ", ".join(_percent(rate) for rate in rates) if isinstance(rates, list) and len(rates) > 1 else None


def _training(result: Mapping[str, Any]) -> str | None:
    steps, seconds = look_up(result, "training.steps"), look_up(result, "training.wall_clock_s")
    device = look_up(result, "training.device")
    hours = None if seconds is None else seconds / 3600
    return _join((steps, "{:,} steps"), (hours, "{:.1f} h"), (device, "on {}"))


def _join(*parts: tuple[Any, str]) -> str | None:
    known = [form.format(value) for value, form in parts if value is not None]
    return ", ".join(known) or None


def _listed(values: Any) -> str | None:
    if values is None:
        return None
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def facts(pairs: Iterable[tuple[str, Any]]) -> str:
    """A definition list of what is known: None is left out."""
    known = [(name, value) for name, value in pairs if value not in (None, "", [], {})]
    cells = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(str(value))}</dd></div>" for name, value in known)
    return f"<dl>{cells}</dl>" if cells else ""


def task_table(result: Mapping[str, Any]) -> str:
    """Success a task, with intervals; nothing where tasks were not told apart."""
    tasks = look_up(result, "success.per_task") or []
    if not tasks:
        return ""
    staged = any("stages" in task for task in tasks)
    rows = "".join(_task_row(task, staged=staged) for task in tasks)
    stages = "<th class='number'>after each stage</th>" if staged else ""
    return (
        "<section><h2>By task</h2><div class='scroll'><table><thead><tr><th>task</th><th>0 to 100%</th>"
        "<th class='number'>success</th><th class='number'>95% interval</th><th class='number'>episodes</th>"
        f"{stages}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _task_row(task: Mapping[str, Any], *, staged: bool) -> str:
    of = _join((task.get("successes"), "{}"), (task.get("episodes"), "{}")) or ""
    shares = " ".join(f"{100 * share:.0f}%" for share in task.get("stages", ()))
    stages = f"<td class='number'>{shares}</td>" if staged else ""
    return (
        f"<tr><td>{escape(str(task.get('task', '')))}</td><td class='bar'>{interval_bar(task)}</td>"
        f"<td class='number'>{_percent(task.get('mean'))}</td><td class='number'>{_interval(task)}</td>"
        f"<td class='number'>{of.replace(', ', ' of ')}</td>{stages}</tr>"
    )


def provenance(result: Mapping[str, Any]) -> str:
    """All that is needed to make the number again."""
    planner = look_up(result, "evaluation.planner") or {}
    versions = result.get("versions") or {}
    seconds = look_up(result, "evaluation.wall_clock_s")
    pairs = [
        ("evaluated by", result.get("recipe")),
        ("trained by", result.get("training_recipe")),
        ("data fingerprint", result.get("data_fingerprint")),
        ("evaluation tasks", _listed(look_up(result, "evaluation.tasks"))),
        ("evaluation seed", look_up(result, "evaluation.seed")),
        ("evaluation took", None if seconds is None else f"{seconds / 60:.1f} min"),
        *((f"planner: {name}", value) for name, value in planner.items()),
        *((name, value) for name, value in versions.items()),
    ]
    listed = facts(pairs)
    return f"<section><h2>How it was made</h2>{listed}</section>" if listed else ""


def _share(value: float) -> str:
    return f"{100 * value:.1f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{_share(value)}%"


def _interval(rate: Any) -> str:
    low, high = look_up(rate or {}, "low"), look_up(rate or {}, "high")
    return "" if low is None or high is None else f"{_share(low)} to {_share(high)}%"
