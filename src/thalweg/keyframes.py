"""Where the hand next closes or opens: in recordings the moments that matter most, and known before they come.

Robots of which nothing is known but what cameras show still tell when they grasp and let go: a gripper is commanded by
one of two values. Where the body is when it next switches says which thing it reaches for.
"""

from __future__ import annotations

import numpy as np

from thalweg.data.store import EpisodeStore

__all__ = ["find_keyframes", "find_switches"]

ENDS = 0.95  #: share of the rows in which a switch is at one of its two ends
END = 0.05  #: what counts as there, as a share of its range


def find_switches(store: EpisodeStore) -> tuple[int, ...]:
    """The actions' values that are nearly always one of two; none of one that never changes."""
    actions = store.actions[: store.rows]
    low, high = actions.min(axis=0), actions.max(axis=0)
    share = (actions - low) / np.maximum(high - low, 1e-6)
    ends = (np.minimum(share, 1 - share) <= END).mean(axis=0)
    return tuple(int(index) for index in np.flatnonzero((ends >= ENDS) & (high > low)))


def find_keyframes(store: EpisodeStore, switches: tuple[int, ...]) -> np.ndarray:
    """``(rows,)`` the next row of the same episode from which a switch is commanded otherwise, or the last."""
    found = np.empty(store.rows, np.int64)
    if switches:
        commands = store.actions[:, list(switches)]
        closed = commands > (commands.min(axis=0) + commands.max(axis=0)) / 2
    for start, end in zip(store.starts, store.ends, strict=True):
        found[start:end] = end - 1
        if switches:
            changes = 1 + np.flatnonzero((closed[start + 1 : end - 1] != closed[start : end - 2]).any(axis=1))
            ahead = np.searchsorted(changes, np.arange(end - start), side="right")
            some = ahead < len(changes)
            found[start:end][some] = start + changes[ahead[some]]
    return found
