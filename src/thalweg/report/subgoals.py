"""Subgoals of plans from pixels: the nearest real frames, side by side with what was reached."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from thalweg.trace import Trace

__all__ = ["Foreseen", "foresee", "subgoal_figure"]

_DECISIONS = 5  # of an episode that are shown
_SIDE = 96  # pixels of a frame on the page, at least


@dataclass(frozen=True)
class Foreseen:
    """A subgoal, or the goal, as it was planned, and what came of it.

    Attributes:
        planned: ``(H, W, 3)`` uint8 the real frame whose latent is nearest; of several cameras side by side.
        due: step of the episode.
        came: the frame that was seen then; None after the end.
    """

    planned: np.ndarray
    due: int
    came: np.ndarray | None


def foresee(trace: Trace, others: Sequence[Trace], decisions: Sequence[int]) -> list[list[Foreseen]]:
    """The plans of some ``decisions`` of an episode in frames, each near to far.

    A latent subgoal has no picture of its own. Shown is the frame, of those at the decisions of this episode and of the
    ``others``, whose latent is nearest to it.
    """
    gallery = [
        one for one in (trace, *others) if one.latents is not None and one.cameras.keys() == trace.cameras.keys()
    ]
    known = np.concatenate([one.latents for one in gallery])
    place = [(one, int(step)) for one in gallery for step in one.plan_step]

    def real(decision: int, token: int, offset: float) -> Foreseen:
        nearest = int(np.square(known - trace.plan_latents[decision, token]).sum(axis=1).argmin())
        due = int(trace.plan_step[decision]) + int(offset)
        return Foreseen(_frame(*place[nearest]), due, _frame(trace, due) if due <= trace.steps else None)

    return [[real(one, token, offset) for token, offset in enumerate(trace.offsets[one])] for one in decisions]


def subgoal_figure(trace: Trace, others: Sequence[Trace]) -> str:
    """A table: at a few decisions the frame then, and for every subgoal what it looks like and what came of it."""
    shown = np.unique(np.linspace(0, trace.decisions - 1, _DECISIONS).round().astype(int)).tolist()
    tokens = trace.plan_latents.shape[1]
    names = [f"subgoal {index}" for index in range(tokens - 1, 0, -1)] + ["goal"]
    head = "".join(f"<th>{name}</th>" for name in ("now", *names))
    plans = zip(shown, foresee(trace, others, shown), strict=True)
    rows = "".join(_row(trace, decision, plan) for decision, plan in plans)
    return f"<div class='scroll'><table class='plain'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(trace: Trace, decision: int, plan: Sequence[Foreseen]) -> str:
    step = int(trace.plan_step[decision])
    cells = [f"<td>{_picture(_frame(trace, step), f'at step {step}')}<br><small>step {step}</small></td>"]
    for subgoal in plan:
        if subgoal.came is None:
            came = f"<small>planned; due at step {subgoal.due}, after the end</small>"
        else:
            seen = _picture(subgoal.came, f"at step {subgoal.due}")
            came = f"{seen}<br><small>planned; below: step {subgoal.due}</small>"
        cells.append(f"<td>{_picture(subgoal.planned, 'as planned')}<br>{came}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _frame(trace: Trace, step: int) -> np.ndarray:
    """The frames of all cameras at a step, side by side."""
    return np.concatenate([trace.cameras[name][step] for name in sorted(trace.cameras)], axis=1)


def _picture(frame: np.ndarray, told: str) -> str:
    """A frame as an inline image."""
    from PIL import Image

    image = Image.fromarray(frame)
    factor = max(1, -(-_SIDE // image.height))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    uri = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{uri}" alt="{escape(told)}" width="{image.width}" height="{image.height}">'
