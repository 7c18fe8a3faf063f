"""Small helpers for files that must never be seen half-written."""

from __future__ import annotations

import os
from pathlib import Path

from thalweg.errors import ThalwegError

__all__ = ["check_folder", "write_atomically"]


def check_folder(path: Path) -> None:
    """Refuse, with a ``ThalwegError``, a folder that cannot be made because a file has its place."""
    found = next(place for place in (path, *path.parents) if place.exists())
    if not found.is_dir():
        raise ThalwegError(f"{path} cannot be a folder: {found} is a file; choose another path")


def write_atomically(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one, never half."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
