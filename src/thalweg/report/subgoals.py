"""Subgoals of plans from pixels: the nearest real frames, side by side with what was reached."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np

from thalweg.trace import Trace

__all__ = ["subgoal_figure"]

_DECISIONS = 5  # of an episode that are shown
_SIDE = 96  # pixels of a frame on the page, at least


def subgoal_figure(trace: Trace, others: Sequence[Trace]) -> str:
    """A table: at a few decisions the frame then, and for every subgoal what it looks like and what came of it.

    A latent subgoal has no picture of its own. Shown is the frame, of those at the decisions of this episode and of the
    ``others``, whose latent is nearest to it; below it the frame that was seen when the subgoal was due.
    """
    shown = np.unique(np.linspace(0, trace.decisions - 1, _DECISIONS).round().astype(int))
    gallery = [
        one for one in (trace, *others) if one.latents is not None and one.cameras.keys() == trace.cameras.keys()
    ]
    known = np.concatenate([one.latents for one in gallery])
    place = [(one, int(step)) for one in gallery for step in one.plan_step]
    tokens = trace.plan_latents.shape[1]
    names = [f"subgoal {index}" for index in range(tokens - 1, 0, -1)] + ["goal"]
    head = "".join(f"<th>{name}</th>" for name in ("now", *names))
    rows = "".join(_row(trace, int(decision), known, place) for decision in shown)
    return f"<div class='scroll'><table class='plain'><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(trace: Trace, decision: int, known: np.ndarray, place: list[tuple[Trace, int]]) -> str:
    step = int(trace.plan_step[decision])
    cells = [f"<td>{_picture(trace, step, f'at step {step}')}<br><small>step {step}</small></td>"]
    for token, offset in enumerate(trace.offsets[decision]):
        nearest = int(np.square(known - trace.plan_latents[decision, token]).sum(axis=1).argmin())
        foreseen = _picture(*place[nearest], "as planned")
        due = step + int(offset)
        if due <= trace.steps:
            came = _picture(trace, due, f"at step {due}") + f"<br><small>planned; below: step {due}</small>"
        else:
            came = f"<small>planned; due at step {due}, after the end</small>"
        cells.append(f"<td>{foreseen}<br>{came}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _picture(trace: Trace, step: int, told: str) -> str:
    """The frames of all cameras at a step, as one inline image."""
    from PIL import Image

    frames = [trace.cameras[name][step] for name in sorted(trace.cameras)]
    image = Image.fromarray(np.concatenate(frames, axis=1))
    factor = max(1, -(-_SIDE // image.height))
    image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    uri = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/png;base64,{uri}" alt="{escape(told)}" width="{image.width}" height="{image.height}">'
