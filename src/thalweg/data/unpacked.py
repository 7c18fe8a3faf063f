"""Datasets of any format, unpacked once into ``.npy`` files beside them and memory-mapped from then on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

__all__ = ["CAMERA", "unpacked"]

CAMERA = "camera_"  #: what the key of a camera's frames begins with

_UNUSABLE = (OSError, ValueError, KeyError, TypeError)  # what a missing or damaged cache raises


def unpacked(
    path: Path, files: Sequence[Path], fill: Callable[[Path], dict[str, Any]]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays that ``fill`` wrote beside ``path``, written now if any of ``files`` is new, and the instructions.

    Args:
        path: the dataset.
        files: all that it is read from.
        fill: writes ``NAME.npy`` files into a folder: ``observations``, ``actions``, ``ends``, ``camera_NAME``, ... It
            gives back ``keys``, their names, and ``instructions``, one an episode. If it raises, nothing stays behind.
    """
    stamp = [[str(file.relative_to(path)), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
    cache = _folder(path) / hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
    try:
        return _load(cache)
    except _UNUSABLE:
        temporary = cache.parent.with_name(f"{cache.parent.name}.{uuid4().hex}.tmp")
        temporary.mkdir(parents=True)
        try:
            (temporary / "index.json").write_text(json.dumps(fill(temporary)))
            _publish(temporary, cache)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return _load(cache)


def _folder(path: Path) -> Path:
    path = Path(os.path.abspath(path))
    if os.access(path.parent, os.W_OK):
        return path.with_name(f"{path.name}.store")
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "thalweg" / name


def _load(cache: Path) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    index = json.loads((cache / "index.json").read_text())
    arrays = {key: np.load(cache / f"{key}.npy", mmap_mode="r") for key in index["keys"]}
    return arrays, tuple(index["instructions"])


def _publish(temporary: Path, cache: Path) -> None:
    """Put an unpacked set in its place, and remove those of earlier versions of the data."""
    cache.parent.mkdir(exist_ok=True)
    try:
        temporary.replace(cache)
    except OSError:
        try:
            _load(cache)  # another process was faster: its copy is as good
        except _UNUSABLE:
            shutil.rmtree(cache)
            temporary.replace(cache)
    for old in cache.parent.iterdir():
        if old != cache:
            shutil.rmtree(old, ignore_errors=True)
