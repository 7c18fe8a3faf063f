"""The one exception family of the package: every message names the bad value and the alternatives."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ThalwegError", "choices"]


class ThalwegError(Exception):
    """Something the caller can mend: a bad value, file or setting. The message says which, and what would do."""


def choices(valid: Iterable[object]) -> str:
    """Format the alternatives for an error message: ``'play', 'noisy'``."""
    return ", ".join(repr(item) for item in valid)
