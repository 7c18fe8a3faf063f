"""EpisodeStore: recorded episodes as read-only, memory-mapped flat arrays and episode bounds."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from thalweg.errors import ThalwegError

__all__ = ["EpisodeStore"]

_ROWS = 1 << 16  # rows checked and copied at once
_KEYS = ("observations", "actions", "terminals", "qpos", "qvel", "button_states")


@dataclass(frozen=True)
class EpisodeStore:
    """Episodes laid end to end. Row ``ends[i] - 1`` is the last observation of episode ``i``.

    An episode of L rows holds L - 1 transitions: its last action leads nowhere (OGBench's convention).

    Attributes:
        observations: ``(N, S)`` or ``(N, height, width, channels)``.
        actions: ``(N, A)``, or None for action-free data.
        starts: ``(E,)`` first row of each episode.
        ends: ``(E,)`` one past the last row of each episode.
        extra: other arrays of N rows (``qpos``, ``qvel``, ``button_states``).
        source: where the data came from, for messages and records.
    """

    observations: np.ndarray
    actions: np.ndarray | None
    starts: np.ndarray
    ends: np.ndarray
    extra: dict[str, np.ndarray]
    source: str

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def rows(self) -> int:
        """N, the number of observations."""
        return len(self.observations)

    @property
    def transitions(self) -> int:
        """Pairs of consecutive observations."""
        return self.rows - len(self)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the observations, actions and bounds: two stores with the same data have the same one."""
        digest = hashlib.sha256()
        arrays = [self.observations, self.ends] if self.actions is None else [self.observations, self.actions, self.ends]
        for array in arrays:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for begin in range(0, len(array), _ROWS):
                digest.update(np.ascontiguousarray(array[begin : begin + _ROWS]))
        return digest.hexdigest()

    def episode(self, index: int) -> dict[str, np.ndarray]:
        """The rows of one episode: ``observations``, ``actions`` where there are any, and the extra arrays."""
        if not -len(self) <= index < len(self):
            raise ThalwegError(f"no episode {index}; {self.source} holds {len(self)}")
        rows = slice(self.starts[index], self.ends[index])
        arrays = {"observations": self.observations, **self.extra}
        if self.actions is not None:
            arrays["actions"] = self.actions
        return {key: value[rows] for key, value in arrays.items()}

    @classmethod
    def from_arrays(
        cls,
        observations: np.ndarray,
        actions: np.ndarray | None = None,
        terminals: np.ndarray | None = None,
        *,
        lengths: np.ndarray | None = None,
        extra: dict[str, np.ndarray] | None = None,
        source: str = "arrays",
    ) -> EpisodeStore:
        """Build a store from arrays in memory.

        Args:
            observations: ``(N, ...)`` float32 or uint8.
            actions: ``(N, A)``, optional: planning is learned without them.
            terminals: ``(N,)`` true at the last row of each episode; or
            lengths: ``(E,)`` rows of each episode; with neither, all rows are one episode.
            extra: further arrays of N rows to carry along.
            source: a name for messages.

        Raises:
            ThalwegError: naming the episode and key that is truncated, ragged, not finite or mislabelled.
        """
        observations = _checked(np.asarray(observations), "observations", source)
        arrays = dict(extra or {})
        if actions is not None:
            arrays["actions"] = _checked(np.asarray(actions), "actions", source)
        ends = _bounds(len(observations), terminals, lengths, source)
        starts = np.concatenate([[0], ends[:-1]])
        for key, value in arrays.items():
            if len(value) != len(observations):
                raise ThalwegError(f"{source}: {key} has {len(value)} rows, observations have {len(observations)}")
        for key, value in {"observations": observations, **arrays}.items():
            _finite(value, key, ends, source)
        return cls(observations, arrays.pop("actions", None), starts, ends, arrays, source)

    @classmethod
    def open(cls, path: str | Path) -> EpisodeStore:
        """Open an OGBench ``.npz``, or a folder of ``.npz`` files with the same keys (an episode or more each).

        The arrays are unpacked once beside the file, into ``NAME.store``, and memory-mapped from then on.

        Raises:
            ThalwegError: the path, its keys, or its contents are wrong.
        """
        path = Path(path).expanduser()
        if not path.exists():
            raise ThalwegError(f"no dataset at {path}; record one with: thalweg collect cube-single --kind play")
        files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
        if not files:
            raise ThalwegError(f"{path} holds no .npz file")
        stamp = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        cache = _cache_folder(path)
        index = cache / "index.json"
        if not index.exists() or json.loads(index.read_text())["stamp"] != stamp:
            _unpack(files, cache, stamp)
        arrays = {file.stem: np.load(file, mmap_mode="r") for file in cache.glob("*.npy")}
        ends = np.array(arrays.pop("ends"))
        return cls(
            arrays.pop("observations"),
            arrays.pop("actions", None),
            np.concatenate([[0], ends[:-1]]),
            ends,
            arrays,
            str(path),
        )


def _cache_folder(path: Path) -> Path:
    beside = path.with_name(f"{path.stem}.store")
    if os.access(path.parent, os.W_OK):
        return beside
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "thalweg" / name


def _unpack(files: list[Path], cache: Path, stamp: list) -> None:
    """Copy every file's arrays into ``.npy`` files, checking them on the way; a failure leaves nothing behind."""
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        headers = [_headers(file) for file in files]
        keys = [key for key in _KEYS if key in headers[0]]
        for file, header in zip(files, headers, strict=True):
            if "observations" not in header:
                raise ThalwegError(f"{file}: no key 'observations'; it has {sorted(header)}")
            if [key for key in _KEYS if key in header] != keys:
                raise ThalwegError(f"{file}: keys {sorted(header)} differ from those of {files[0].name}")
        ends = _file_bounds(files, headers)
        np.save(temporary / "ends.npy", ends)
        for key in keys:
            if key != "terminals":
                _unpack_key(files, headers, key, temporary / f"{key}.npy", ends)
        (temporary / "index.json").write_text(json.dumps({"stamp": stamp}))
        shutil.rmtree(cache, ignore_errors=True)
        temporary.replace(cache)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _headers(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    try:
        with zipfile.ZipFile(file) as archive:
            headers = {}
            for name in archive.namelist():
                with archive.open(name) as member:
                    version = npy.read_magic(member)
                    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                    shape, fortran, dtype = read(member)
                if fortran and len(shape) > 1:
                    raise ThalwegError(f"{file}: {name} is stored in Fortran order; save it in C order")
                headers[name.removesuffix(".npy")] = (shape, dtype)
            return headers
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ThalwegError(f"{file} is not a readable .npz file, or is truncated ({error})") from error


def _file_bounds(files: list[Path], headers: list[dict[str, Any]]) -> np.ndarray:
    ends, rows = [], 0
    for file, header in zip(files, headers, strict=True):
        count = header["observations"][0][0]
        terminals = _read(file, "terminals") if "terminals" in header else None
        ends.append(rows + _bounds(count, terminals, None, file.name))
        rows += count
    return np.concatenate(ends)


def _read(file: Path, key: str) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as archive:
            return archive[key]
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ThalwegError(f"{file}: {key} cannot be read, the file is damaged ({error})") from error


def _unpack_key(files: list[Path], headers: list[dict], key: str, target: Path, ends: np.ndarray) -> None:
    shape, dtype = headers[0][key]
    dtype = _stored_dtype(key, dtype, files[0].name)
    rows = ends[-1]
    output = npy.open_memmap(target, mode="w+", dtype=dtype, shape=(int(rows), *shape[1:]))
    row = 0
    for file, header in zip(files, headers, strict=True):
        (count, *inner), _ = header[key]
        if tuple(inner) != tuple(shape[1:]):
            raise ThalwegError(f"{file.name}: {key} has shape {tuple(inner)} a row, {files[0].name} has {shape[1:]}")
        if count != header["observations"][0][0]:
            raise ThalwegError(
                f"{file.name}: {key} has {count} rows, observations have {header['observations'][0][0]}"
            )
        _stream(file, key, output, row, count, tuple(inner))
        row += count
    output.flush()
    _finite(output, key, ends, target.parent.name.split(".store")[0])


def _stream(file: Path, key: str, output: np.ndarray, row: int, count: int, inner: tuple[int, ...]) -> None:
    """Copy one member in pieces, so that a set larger than memory can be unpacked."""
    try:
        with zipfile.ZipFile(file) as archive, archive.open(f"{key}.npy") as member:
            version = npy.read_magic(member)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            _, _, dtype = read(member)
            width = int(np.prod(inner, dtype=np.int64)) * dtype.itemsize
            for begin in range(0, count, _ROWS):
                size = min(_ROWS, count - begin)
                block = member.read(size * width)
                if len(block) < size * width:
                    raise EOFError(f"{key} ends at row {begin}")
                output[row + begin : row + begin + size] = np.frombuffer(block, dtype).reshape(size, *inner)
            while member.read(1 << 20):  # read on to the end, so that the checksum is verified
                pass
    except (zipfile.BadZipFile, ValueError, EOFError, OSError) as error:
        raise ThalwegError(f"{file}: {key} cannot be read, the file is damaged ({error})") from error


def _stored_dtype(key: str, dtype: np.dtype, source: str) -> np.dtype:
    if dtype == np.uint8 or key == "button_states":
        return dtype
    if dtype.kind not in "fiu":
        raise ThalwegError(f"{source}: {key} has dtype {dtype}; use float32 (or uint8 for images)")
    return np.dtype(np.float32)


def _checked(array: np.ndarray, key: str, source: str) -> np.ndarray:
    if array.dtype == object:
        raise ThalwegError(f"{source}: {key} is ragged (episodes of different widths); every row needs one shape")
    if array.ndim < 2 or 0 in array.shape:
        raise ThalwegError(f"{source}: {key} has shape {array.shape}; expected (rows, values) with rows and values")
    return np.ascontiguousarray(array, dtype=_stored_dtype(key, array.dtype, source))


def _bounds(rows: int, terminals: np.ndarray | None, lengths: np.ndarray | None, source: str) -> np.ndarray:
    if terminals is not None and lengths is not None:
        raise ThalwegError(f"{source}: give terminals or lengths, not both")
    if rows == 0:
        raise ThalwegError(f"{source}: the set is empty")
    if lengths is not None:
        ends = np.cumsum(np.asarray(lengths, dtype=np.int64))
        if len(ends) == 0 or ends[-1] != rows:
            raise ThalwegError(f"{source}: lengths add up to {ends[-1] if len(ends) else 0}, there are {rows} rows")
    elif terminals is not None:
        terminals = np.asarray(terminals)
        if terminals.shape != (rows,):
            raise ThalwegError(f"{source}: terminals has shape {terminals.shape}, expected ({rows},)")
        if not np.isin(terminals, (0, 1)).all():
            raise ThalwegError(f"{source}: terminals holds values other than 0 and 1")
        ends = np.flatnonzero(terminals) + 1
        if len(ends) == 0 or ends[-1] != rows:
            episode = len(ends)
            raise ThalwegError(f"{source}: episode {episode} is truncated: terminals is not set on its last row")
    else:
        ends = np.array([rows])
    short = np.flatnonzero(np.diff(ends, prepend=0) < 2)
    if len(short):
        raise ThalwegError(f"{source}: episode {short[0]} has fewer than 2 rows")
    return ends.astype(np.int64)


def _finite(array: np.ndarray, key: str, ends: np.ndarray, source: str) -> None:
    if array.dtype.kind != "f":
        return
    for begin in range(0, len(array), _ROWS):
        block = array[begin : begin + _ROWS]
        bad = ~np.isfinite(block).all(axis=tuple(range(1, block.ndim)))
        if bad.any():
            row = begin + int(np.argmax(bad))
            episode = int(np.searchsorted(ends, row, side="right"))
            step = row - (int(ends[episode - 1]) if episode else 0)
            raise ThalwegError(f"{source}: episode {episode}, key {key}, step {step} is not finite")
