"""What the failures of a run have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from thalweg.report.checks import check_decisions, tracking_limit
from thalweg.report.diagnose import CAUSES, diagnose
from thalweg.report.scene import scene_of
from thalweg.trace import Trace

__all__ = ["failures_section"]


def failures_section(environment: str, recorded: int, failures: Sequence[Trace], successes: Sequence[Trace]) -> str:
    """How often each cause was found, and the share of decisions that each stage let down."""
    if not failures:
        return f"<section><h2>Failures</h2><p>None of the {recorded} recorded episodes failed.</p></section>"
    causes = Counter(diagnose(trace, scene=scene_of(environment, trace), peers=successes).cause for trace in failures)
    shares = [_charged(environment, traces, successes) for traces in (failures, successes)]
    rows = "".join(
        f"<tr><td>{cause}</td><td class='number'>{causes[cause]}</td>"
        + "".join(f"<td class='number'>{_percent(share, stage)}</td>" for share in shares)
        + "</tr>"
        for stage, cause in enumerate(CAUSES)
    )
    return (
        f"<section><h2>Failures</h2><p>{len(failures)} of {recorded} recorded episodes failed. "
        "Every decision is charged to the first stage that let it down, and a failed episode to the stage "
        "charged most: a likely cause, not a proof. A stage that lets down as many decisions of successes "
        "as of failures does not tell them apart.</p><div class='scroll'><table class='causes'><thead><tr>"
        "<th>likely cause</th><th class='number'>failures</th><th class='number'>decisions in failures</th>"
        f"<th class='number'>in successes</th></tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _charged(environment: str, traces: Sequence[Trace], peers: Sequence[Trace]) -> np.ndarray | None:
    """Share of decisions charged to each of the three stages, or None without episodes."""
    if not traces:
        return None
    charged = []
    for trace in traces:
        scene = scene_of(environment, trace)
        charged.append(check_decisions(trace, scene, tracking_limit(trace, scene, peers)).charged)
    return (np.concatenate(charged) == np.arange(3)[:, None]).mean(axis=1)


def _percent(shares: np.ndarray | None, stage: int) -> str:
    return "" if shares is None else f"{100 * shares[stage]:.0f}%"
