"""EpisodeStore: recorded episodes as read-only, memory-mapped flat arrays and episode bounds."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.lib import format as npy

from thalweg.errors import ThalwegError, choices

__all__ = ["EpisodeStore"]

_ROWS = 1 << 16  # rows checked and copied at once
_KEYS = ("observations", "actions", "terminals", "qpos", "qvel", "button_states")
_IGNORED = ("next_observations", "rewards", "masks")  # known to mark no end of an episode
_UNUSABLE = (OSError, ValueError, KeyError, TypeError)  # what a missing or damaged cache raises


@dataclass(frozen=True)
class EpisodeStore:
    """Episodes laid end to end. Row ``ends[i] - 1`` is the last observation of episode ``i``.

    An episode of L rows holds L - 1 transitions: its last action leads nowhere (OGBench's convention).

    Attributes:
        observations: ``(N, S)`` or ``(N, height, width, channels)``.
        actions: ``(N, A)``, NaN throughout the episodes that have none; or None where no episode has any.
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
    def labelled(self) -> np.ndarray:
        """The indices of the episodes that have actions: none are NaN there, elsewhere all."""
        if self.actions is None:
            return np.arange(0)
        return np.flatnonzero(~np.isnan(self.actions[self.starts]).all(axis=1))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the observations, actions and bounds: two stores with the same data have the same one."""
        digest = hashlib.sha256()
        for array in (array for array in (self.observations, self.actions, self.ends) if array is not None):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            for begin in range(0, len(array), _ROWS):
                digest.update(np.ascontiguousarray(array[begin : begin + _ROWS]))
        return digest.hexdigest()

    def bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last row of the episode that each of ``rows`` belongs to; any shape, kept."""
        episode = np.searchsorted(self.ends, rows, side="right")
        return self.starts[episode], self.ends[episode] - 1

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
            observations: ``(N, S)`` numbers, or ``(N, height, width, channels)`` uint8.
            actions: ``(N, A)``, NaN throughout the episodes that have none: these teach planning, not acting.
            terminals: ``(N,)`` true at the last row of each episode; or
            lengths: ``(E,)`` rows of each episode; with neither, all rows are one episode.
            extra: further arrays of N rows to carry along.
            source: a name for messages.

        Raises:
            ThalwegError: naming the episode and key that is truncated, ragged, not finite or mislabelled.
        """
        observations = _checked(observations, "observations", source)
        arrays = {key: np.asarray(value) for key, value in (extra or {}).items()}
        if actions is not None:
            arrays["actions"] = _checked(actions, "actions", source)
        ends = _bounds(len(observations), terminals, lengths, source)
        starts = np.concatenate([[0], ends[:-1]])
        for key, value in arrays.items():
            rows = len(value) if value.ndim else 0
            if rows != len(observations):
                raise ThalwegError(f"{source}: {key} has {rows} rows, observations have {len(observations)}")
        for key, value in {"observations": observations, **arrays}.items():
            _finite(value, key, ends, source)
        return cls(observations, arrays.pop("actions", None), starts, ends, arrays, source)

    @classmethod
    def open(cls, path: str | Path) -> EpisodeStore:
        """Open an OGBench ``.npz``, or a folder of ``.npz`` files with the same keys (an episode or more each).

        The arrays are unpacked once beside the file, into ``NAME.npz.store``, and memory-mapped from then on.

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
        cache = _cache_folder(path) / hashlib.sha256(json.dumps(stamp).encode()).hexdigest()[:16]
        try:
            arrays = _load(cache)
        except _UNUSABLE:
            _unpack(files, cache, str(path))
            arrays = _load(cache)
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
    path = Path(os.path.abspath(path))
    if os.access(path.parent, os.W_OK):
        return path.with_name(f"{path.name}.store")
    name = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "thalweg" / name


def _load(cache: Path) -> dict[str, np.ndarray]:
    keys = json.loads((cache / "index.json").read_text())["keys"]
    return {key: np.load(cache / f"{key}.npy", mmap_mode="r") for key in keys}


def _unpack(files: list[Path], cache: Path, source: str) -> None:
    """Copy every file's arrays into ``.npy`` files, checking them on the way; a failure leaves nothing behind."""
    temporary = cache.parent.with_name(f"{cache.parent.name}.{uuid4().hex}.tmp")
    temporary.mkdir(parents=True)
    try:
        headers = [_headers(file) for file in files]
        for file, header in zip(files, headers, strict=True):
            if header.keys() != headers[0].keys():
                raise ThalwegError(
                    f"{file}: keys {sorted(header)} differ from those of {files[0].name}, {sorted(headers[0])}"
                )
        keys = [key for key in headers[0] if key != "terminals"]
        ends = _file_bounds(files, headers)
        np.save(temporary / "ends.npy", ends)
        for key in keys:
            _unpack_key(files, headers, key, temporary / f"{key}.npy", ends, source)
        (temporary / "index.json").write_text(json.dumps({"keys": [*keys, "ends"]}))
        _publish(temporary, cache)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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


@contextmanager
def _damage(message: str) -> Iterator[None]:
    """Report as one error what the zip, zlib and npy readers raise, in a dozen types, on damaged bytes."""
    try:
        yield
    except ThalwegError:
        raise
    except Exception as error:
        raise ThalwegError(f"{message} ({error})") from error


def _headers(file: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and dtype of every key that a store keeps."""
    with _damage(f"{file} is not a readable .npz file, or is truncated"), zipfile.ZipFile(file) as archive:
        for name in archive.namelist():
            archive.open(name).close()  # refuses a name that differs between the two places that hold it
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
        if "observations" not in names:
            raise ThalwegError(f"{file}: no key 'observations'; it has {sorted(names)}")
        if "terminals" not in names:
            _no_other_ends(archive, names, file)
        return {key: _header(archive, key, file) for key in _KEYS if key in names}


def _no_other_ends(archive: zipfile.ZipFile, names: list[str], file: Path) -> None:
    """Without ``terminals`` a file is one episode: refuse a column of another name that may tell where others end."""
    known = (*_KEYS, *_IGNORED)
    for key in (name for name in names if name not in known):
        with archive.open(f"{key}.npy") as member:
            shape, _, dtype = _read_header(member)
        if dtype.kind in "biuf" and shape and math.prod(shape[1:]) == 1:
            raise ThalwegError(
                f"{file}: unknown key {key!r} and no 'terminals'; if it tells where episodes end, write 'terminals', "
                f"true at each last row, else leave it out (known keys: {choices(known)})"
            )


def _header(archive: zipfile.ZipFile, key: str, file: Path) -> tuple[tuple[int, ...], np.dtype]:
    with archive.open(f"{key}.npy") as member:
        shape, fortran, dtype = _read_header(member)
        left = archive.getinfo(f"{key}.npy").file_size - member.tell()
    if key != "terminals":
        _stored_dtype(key, len(shape) - 1, dtype, str(file))
        _check_shape(shape, key, str(file))
    if fortran and len(shape) > 1:
        raise ThalwegError(f"{file}: {key} is stored in Fortran order; save it in C order")
    if not dtype.hasobject and left != math.prod(shape) * dtype.itemsize:
        raise ThalwegError(f"{file}: {key} has {left} bytes of data, its header says {shape} of {dtype}")
    return shape, dtype


def _read_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(member)
    return (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(member)


def _file_bounds(files: list[Path], headers: list[dict[str, Any]]) -> np.ndarray:
    ends, rows = [], 0
    for file, header in zip(files, headers, strict=True):
        count = header["observations"][0][0]
        terminals = _read(file, "terminals") if "terminals" in header else None
        ends.append(rows + _bounds(count, terminals, None, file.name))
        rows += count
    return np.concatenate(ends)


def _read(file: Path, key: str) -> np.ndarray:
    with _damage(f"{file}: {key} cannot be read, the file is damaged"), zipfile.ZipFile(file) as archive:
        return npy.read_array(io.BytesIO(archive.read(f"{key}.npy")), allow_pickle=False)


def _unpack_key(files: list[Path], headers: list[dict], key: str, target: Path, ends: np.ndarray, source: str) -> None:
    (_, *inner), dtype = headers[0][key]
    dtype = _stored_dtype(key, len(inner), dtype, files[0].name)
    output = npy.open_memmap(target, mode="w+", dtype=dtype, shape=(int(ends[-1]), *inner))
    row = 0
    for file, header in zip(files, headers, strict=True):
        (count, *its_inner), its_dtype = header[key]
        rows = header["observations"][0][0]
        if its_inner != inner:
            raise ThalwegError(
                f"{file.name}: {key} has shape {tuple(its_inner)} a row, {files[0].name} has {tuple(inner)}"
            )
        if _stored_dtype(key, len(inner), its_dtype, file.name) != dtype:
            raise ThalwegError(f"{file.name}: {key} has dtype {its_dtype}, {files[0].name} has {headers[0][key][1]}")
        if count != rows:
            raise ThalwegError(f"{file.name}: {key} has {count} rows, observations have {rows}")
        _stream(file, key, output[row : row + count])
        row += count
    output.flush()
    _finite(output, key, ends, source)


def _stream(file: Path, key: str, output: np.ndarray) -> None:
    """Copy one member in pieces, so that a set larger than memory can be unpacked."""
    with (
        _damage(f"{file}: {key} cannot be read, the file is damaged"),
        zipfile.ZipFile(file) as archive,
        archive.open(f"{key}.npy") as member,
    ):
        _, _, dtype = _read_header(member)
        width = math.prod(output.shape[1:]) * dtype.itemsize
        for begin in range(0, len(output), _ROWS):
            part = output[begin : begin + _ROWS]
            part[:] = np.frombuffer(member.read(len(part) * width), dtype).reshape(part.shape)
        while member.read(1 << 20):  # read on to the end, so that the checksum is verified
            pass


def _stored_dtype(key: str, axes: int, dtype: np.dtype, source: str) -> np.dtype:
    """Images, of several axes a row, and button states stay; vectors become float32, so that no difference wraps."""
    if dtype.kind not in ("biuf" if key == "button_states" else "iuf"):
        raise ThalwegError(f"{source}: {key} has dtype {dtype}; use float32 (or uint8 for images)")
    if key == "button_states" or (dtype == np.uint8 and axes > 1):
        return dtype
    return np.dtype(np.float32)


def _check_shape(shape: tuple[int, ...], key: str, source: str) -> None:
    if len(shape) < 2 or 0 in shape or (key == "actions" and len(shape) > 2):
        raise ThalwegError(f"{source}: {key} has shape {shape}; expected (rows, values) with rows and values")


def _checked(array: np.ndarray, key: str, source: str) -> np.ndarray:
    try:
        array = np.asarray(array)
    except ValueError:
        array = np.asarray(array, dtype=object)
    if array.dtype == object:
        raise ThalwegError(f"{source}: {key} is ragged (episodes of different widths); every row needs one shape")
    _check_shape(array.shape, key, source)
    return np.ascontiguousarray(array, dtype=_stored_dtype(key, array.ndim - 1, array.dtype, source))


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
    """Refuse what is not finite, but for the actions of an episode that are NaN throughout."""
    if array.dtype.kind != "f":
        return
    starts, inner = np.concatenate([[0], ends[:-1]]), tuple(range(1, array.ndim))
    absent = np.isnan(array[starts]).all(axis=inner) if key == "actions" else np.zeros(len(ends), bool)
    for begin in range(0, len(array), _ROWS):
        block = array[begin : begin + _ROWS]
        episodes = np.searchsorted(ends, np.arange(begin, begin + len(block)), side="right")
        well = np.where(absent[episodes], np.isnan(block).all(axis=inner), np.isfinite(block).all(axis=inner))
        if not well.all():
            row = int(np.argmin(well))
            episode = int(episodes[row])
            step = 0 if absent[episode] else begin + row - int(starts[episode])
            hint = "; an episode without actions is NaN in all its rows" if key == "actions" else ""
            raise ThalwegError(f"{source}: episode {episode}, key {key}, step {step} is not finite{hint}")
