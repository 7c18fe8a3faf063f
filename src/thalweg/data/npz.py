"""OGBench's ``.npz`` files: what is in them, checked, and copied out."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from thalweg.data.arrays import (
    ROWS,
    check_camera,
    check_finite,
    check_instructions,
    check_shape,
    episode_ends,
    stored_dtype,
)
from thalweg.data.unpacked import CAMERA
from thalweg.errors import ThalwegError, choices

__all__ = ["npz_files", "unpack_npz"]

_KEYS = ("observations", "actions", "terminals", "qpos", "qvel", "button_states")
_IGNORED = ("next_observations", "rewards", "masks")  # known to mark no end of an episode


def npz_files(path: Path) -> list[Path]:
    """The file itself, or those of a folder.

    Raises:
        ThalwegError: the folder has none.
    """
    files = sorted(path.glob("*.npz")) if path.is_dir() else [path]
    if not files:
        raise ThalwegError(f"{path} holds no .npz file")
    return files


def unpack_npz(files: list[Path], folder: Path, source: str) -> dict[str, Any]:
    """Copy every file's arrays into ``.npy`` files in ``folder``, checking them on the way; returns their index."""
    headers = [_headers(file) for file in files]
    for file, header in zip(files, headers, strict=True):
        if header.keys() != headers[0].keys():
            raise ThalwegError(
                f"{file}: keys {sorted(header)} differ from those of {files[0].name}, {sorted(headers[0])}"
            )
    keys = [key for key in headers[0] if key != "terminals"]
    ends = _file_bounds(files, headers)
    np.save(folder / "ends.npy", ends)
    for key in keys:
        _unpack_key(files, headers, key, folder / f"{key}.npy", ends, source)
    told = [one for file in files for one in _instructions(file)]
    return {"keys": [*keys, "ends"], "instructions": check_instructions(told, len(ends), source)}


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
        kept = [*(key for key in _KEYS if key in names), *(key for key in names if key.startswith(CAMERA))]
        return {key: _header(archive, key, file) for key in kept}


def _no_other_ends(archive: zipfile.ZipFile, names: list[str], file: Path) -> None:
    """Without ``terminals`` a file is one episode: refuse a column of another name that may tell where others end."""
    known = (*_KEYS, *_IGNORED, "instructions")
    for key in (name for name in names if name not in known and not name.startswith(CAMERA)):
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
    if key.startswith(CAMERA):
        check_camera(shape, dtype, key.removeprefix(CAMERA), str(file))
    elif key != "terminals":
        stored_dtype(key, len(shape) - 1, dtype, str(file))
        check_shape(shape, key, str(file))
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
        ends.append(rows + episode_ends(count, terminals, None, file.name))
        rows += count
    return np.concatenate(ends)


def _read(file: Path, key: str) -> np.ndarray:
    with _damage(f"{file}: {key} cannot be read, the file is damaged"), zipfile.ZipFile(file) as archive:
        return npy.read_array(io.BytesIO(archive.read(f"{key}.npy")), allow_pickle=False)


def _instructions(file: Path) -> list[str]:
    with zipfile.ZipFile(file) as archive:
        if "instructions.npy" not in archive.namelist():
            return []
    told = _read(file, "instructions")
    if told.dtype.kind != "U" or told.ndim != 1:
        raise ThalwegError(
            f"{file}: instructions has dtype {told.dtype} and shape {told.shape}; expected (episodes,) text"
        )
    return told.tolist()


def _unpack_key(files: list[Path], headers: list[dict], key: str, target: Path, ends: np.ndarray, source: str) -> None:
    (_, *inner), dtype = headers[0][key]
    dtype = stored_dtype(key, len(inner), dtype, files[0].name)
    output = npy.open_memmap(target, mode="w+", dtype=dtype, shape=(int(ends[-1]), *inner))
    row = 0
    for file, header in zip(files, headers, strict=True):
        (count, *its_inner), its_dtype = header[key]
        rows = header["observations"][0][0]
        if its_inner != inner:
            raise ThalwegError(
                f"{file.name}: {key} has shape {tuple(its_inner)} a row, {files[0].name} has {tuple(inner)}"
            )
        if stored_dtype(key, len(inner), its_dtype, file.name) != dtype:
            raise ThalwegError(f"{file.name}: {key} has dtype {its_dtype}, {files[0].name} has {headers[0][key][1]}")
        if count != rows:
            raise ThalwegError(f"{file.name}: {key} has {count} rows, observations have {rows}")
        _stream(file, key, output[row : row + count])
        row += count
    output.flush()
    check_finite(output, key, ends, source)


def _stream(file: Path, key: str, output: np.ndarray) -> None:
    """Copy one member in pieces, so that a set larger than memory can be unpacked."""
    with (
        _damage(f"{file}: {key} cannot be read, the file is damaged"),
        zipfile.ZipFile(file) as archive,
        archive.open(f"{key}.npy") as member,
    ):
        _, _, dtype = _read_header(member)
        width = math.prod(output.shape[1:]) * dtype.itemsize
        for begin in range(0, len(output), ROWS):
            part = output[begin : begin + ROWS]
            part[:] = np.frombuffer(member.read(len(part) * width), dtype).reshape(part.shape)
        while member.read(1 << 20):  # read on to the end, so that the checksum is verified
            pass
