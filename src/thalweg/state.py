"""The file from which a stopped training goes on: tensors, and a JSON record that says whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from thalweg.errors import ThalwegError

__all__ = ["first_difference", "read_state", "section", "write_state"]


def write_state(path: Path, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write both; a kill in the middle leaves the file that was there before."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    temporary = path.with_suffix(".tmp")
    save_file(tensors, temporary, metadata={"state": json.dumps(record)})
    temporary.replace(path)


def read_state(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The record and the tensors.

    Raises:
        ThalwegError: the file is damaged, or something else.
    """
    try:
        with safe_open(path, "pt") as file:
            record = json.loads(file.metadata()["state"])
        return record, load_file(path)
    except (SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ThalwegError(
            f"{path} is not a training state, or is damaged ({error}); delete it to start anew"
        ) from error


def section(tensors: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The tensors called ``NAME.*``, without the prefix."""
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def first_difference(found: dict, wanted: dict, path: str = "") -> str:
    """The first setting in which two runs differ, for a message."""
    for key in wanted:
        a, b = found.get(key), wanted[key]
        if isinstance(a, dict) and isinstance(b, dict):
            if inner := first_difference(a, b, f"{path}{key}."):
                return inner
        elif a != b:
            return f"{path}{key}: {a!r} there, {b!r} here"
    return ""
