"""A dataset's latents, encoded once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

import numpy as np
import torch
from numpy.lib.format import open_memmap

from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError, choices
from thalweg.perception.frozen import FrameEncoder

__all__ = ["encode_store"]

_ROWS = 256  # moments encoded at once


def encode_store(
    encoder: FrameEncoder,
    store: EpisodeStore,
    folder: str | Path | None = None,
    *,
    cameras: Sequence[str] | None = None,
) -> np.ndarray:
    """The latents of all moments of a store, in batches, so that neither frames nor latents have to fit into memory.

    They are kept in ``folder`` and memory-mapped from there, under a name that the data's, the encoder's and the
    cameras' identity make up: other data or other weights never find them. What is damaged is made again.

    Args:
        encoder: a ``VisionLanguageEncoder`` or an ``ImageEncoder``.
        store: a dataset with frames.
        folder: where latents are kept; None is ``thalweg`` in the user's cache.
        cameras: those that the encoder is shown; None shows it all.

    Returns:
        ``(N, D)`` float32, read-only.

    Raises:
        ThalwegError: the store has no such frames, the encoder cannot use them, or a latent is not finite.
    """
    shown = tuple(sorted(store.cameras) if cameras is None else cameras)
    unknown = [name for name in shown if name not in store.cameras]
    if unknown:
        raise ThalwegError(f"{store.source} has no camera {unknown[0]!r}; it has {choices(store.cameras) or 'none'}")
    if not shown:
        raise ThalwegError(f"{store.source} has no frames to encode")
    folder = _cache_folder() if folder is None else Path(folder).expanduser()
    identity = hashlib.sha256("\n".join([store.fingerprint, encoder.fingerprint, *shown]).encode()).hexdigest()
    path = folder / f"latents-{identity[:32]}.npy"
    found = _read(path, store.rows)
    if found is None:
        _write(encoder, store, shown, path)
        found = _read(path, store.rows)
    if found is None:
        raise ThalwegError(f"{path} was written, and cannot be read back; is the disk full or failing?")
    return found


def _cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "thalweg" / "latents"


def _read(path: Path, rows: int) -> np.ndarray | None:
    """The latents, if the file is whole: it ends with the SHA-256 of all that comes before."""
    try:
        with path.open("rb") as file:
            if _digest(file, path.stat().st_size - 32) != file.read():
                return None
        found = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return found if found.ndim == 2 and len(found) == rows and found.dtype == np.float32 else None


def _digest(file: BinaryIO, size: int) -> bytes:
    """SHA-256 of the next ``size`` bytes of a file."""
    digest = hashlib.sha256()
    while size > 0:
        block = file.read(min(size, 1 << 20))
        if not block:
            raise EOFError
        digest.update(block)
        size -= len(block)
    return digest.digest()


def _write(encoder: FrameEncoder, store: EpisodeStore, cameras: Sequence[str], path: Path) -> None:
    """Encode into a file beside the place, and move it there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    output = None
    try:
        for begin in range(0, store.rows, _ROWS):
            frames = {name: np.array(store.cameras[name][begin : begin + _ROWS]) for name in cameras}
            latents = encoder.views(frames).detach().float().cpu()
            if not torch.isfinite(latents).all():
                raise ThalwegError(
                    f"{store.source}: a latent of rows {begin} to {begin + len(latents) - 1} is not finite"
                )
            if output is None:
                output = open_memmap(temporary, mode="w+", dtype=np.float32, shape=(store.rows, latents.shape[1]))
            output[begin : begin + len(latents)] = latents.numpy()
        output.flush()
        with temporary.open("r+b") as file:
            file.write(_digest(file, temporary.stat().st_size))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
