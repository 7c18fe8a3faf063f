"""Checkpoints: a folder with ``model.safetensors`` and ``thalweg.json``. Loading runs no code and is strict."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from thalweg.errors import ThalwegError, choices
from thalweg.files import write_atomically

__all__ = ["SCHEMA", "Provenance", "from_json", "load_checkpoint", "read_record", "save_checkpoint", "stores_half"]

SCHEMA = 9
_WEIGHTS, _RECORD = "model.safetensors", "thalweg.json"


@dataclass(frozen=True)
class Provenance:
    """Where a checkpoint comes from.

    Attributes:
        environment: name of the environment, empty for one's own arrays.
        dataset: name of the dataset.
        data_fingerprint: SHA-256 of the training data.
        preset: name of the preset.
        seed: training seed.
        training: steps, wall_clock_s, device, precision and final losses.
        recipe: the command that makes it again.
        protocol: how it is evaluated.
        versions: of the libraries it was trained with.
        calibration: how its verifier was fitted: seed, episodes and successes of the attempts, the command.
    """

    environment: str = ""
    dataset: str = ""
    data_fingerprint: str = ""
    preset: str = ""
    seed: int = 0
    training: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    protocol: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: str | Path, model: nn.Module, provenance: Provenance, *, half: bool = False) -> Path:
    """Write ``model`` to ``folder``; ``half`` stores the weights as float16, for a smaller file.

    Buffers (normaliser, spreads) keep float32. With ``half`` the model in memory is rounded as well, so that what
    is evaluated next is what was saved.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if half:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.half().float())
    parameters = {name for name, _ in model.named_parameters()}
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        tensors[name] = value.half() if half and name in parameters else value.clone()
    record = {
        "thalweg": SCHEMA,
        "planner": model.kind,
        "config": asdict(model.config),
        "provenance": asdict(provenance),
    }
    text = json.dumps(record, indent=1) + "\n"
    temporary = folder / f"{_WEIGHTS}.tmp"
    save_file(tensors, temporary)
    temporary.replace(folder / _WEIGHTS)
    write_atomically(folder / _RECORD, text)
    return folder


def stores_half(source: str | Path) -> bool:
    """Whether a checkpoint's weights are stored as float16."""
    with safe_open(_locate(source) / _WEIGHTS, "pt") as file:
        return any(file.get_slice(name).get_dtype() == "F16" for name in file.keys())  # noqa: SIM118


def load_checkpoint(source: str | Path) -> tuple[nn.Module, Provenance]:
    """Load a checkpoint from a folder, or from a Hugging Face hub id (``owner/name``).

    Returns:
        The model in eval mode with float32 weights, and its provenance.

    Raises:
        ThalwegError: there is none, or it is foreign, damaged, newer than this package, or does not fit its config.
    """
    folder = _locate(source)
    record = read_record(folder)
    kinds = _kinds()
    if not isinstance(record["planner"], str) or record["planner"] not in kinds:
        raise ThalwegError(f"{folder}: unknown planner {record['planner']!r}; this version knows {choices(kinds)}")
    kind, config_type = kinds[record["planner"]]
    config = from_json(config_type, record["config"], where=f"{folder / _RECORD}: config")
    try:
        model = kind(config)
    except ThalwegError as error:
        raise ThalwegError(f"{folder / _RECORD}: config: {error}") from error
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise ThalwegError(f"{folder / _RECORD}: config makes no model ({error})") from error
    try:
        tensors = load_file(folder / _WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise ThalwegError(f"{folder / _WEIGHTS} is missing, damaged or truncated ({error})") from error
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - tensors.keys()), sorted(tensors.keys() - wanted.keys())
    if missing or unknown:
        raise ThalwegError(f"{folder}: weights do not fit the config; missing {missing[:3]}, unknown {unknown[:3]}")
    for name, value in wanted.items():
        if tensors[name].shape != value.shape:
            raise ThalwegError(
                f"{folder}: {name} has shape {tuple(tensors[name].shape)}, config says {tuple(value.shape)}"
            )
        if tensors[name].is_floating_point() != value.is_floating_point():
            raise ThalwegError(f"{folder}: {name} has dtype {tensors[name].dtype}, config says {value.dtype}")
        tensors[name] = tensors[name].to(value.dtype)
    model.load_state_dict(tensors)
    provenance = from_json(Provenance, record["provenance"], where=f"{folder / _RECORD}: provenance")
    return model.eval().requires_grad_(False), provenance


def read_record(folder: Path) -> dict[str, Any]:
    """The JSON record of a checkpoint folder, with its schema checked.

    Raises:
        ThalwegError: it is missing, not a Thalweg record, or of another schema version.
    """
    path = folder / _RECORD
    try:
        record = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ThalwegError(f"{folder} is not a checkpoint: it has no {_RECORD}") from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ThalwegError(f"{path} is damaged ({error})") from error
    version = record.get("thalweg") if isinstance(record, dict) else None
    if type(version) is not int:
        raise ThalwegError(f"{path} was not written by thalweg (no schema version)")
    if version != SCHEMA:
        remedy = "upgrade thalweg" if version > SCHEMA else "train it again, or install the thalweg that wrote it"
        raise ThalwegError(f"{path} has schema {version}, this version of thalweg reads {SCHEMA}; {remedy}")
    absent = {"planner", "config", "provenance"} - record.keys()
    if absent:
        raise ThalwegError(f"{path} lacks {choices(sorted(absent))}")
    return record


def _kinds() -> dict[str, tuple[type, type]]:
    from thalweg.clone import Clone, CloneConfig
    from thalweg.lbp.config import LBPConfig
    from thalweg.lbp.system import LBP
    from thalweg.pad.config import PaDConfig
    from thalweg.pad.system import PaD
    from thalweg.perception.contrastive import ImageEncoder, ImageEncoderConfig

    return {
        PaD.kind: (PaD, PaDConfig),
        LBP.kind: (LBP, LBPConfig),
        Clone.kind: (Clone, CloneConfig),
        ImageEncoder.kind: (ImageEncoder, ImageEncoderConfig),
    }


def _locate(source: str | Path) -> Path:
    folder = Path(source).expanduser()
    if folder.exists():
        return folder
    if str(source).count("/") != 1 or str(source).startswith((".", "/", "~")):
        raise ThalwegError(f"no checkpoint at {source}; give a folder, or a hub id such as 'owner/name'")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ThalwegError(f"no folder {source}; to load it from the hub: pip install 'thalweg[hub]'") from error
    try:
        return Path(snapshot_download(str(source), allow_patterns=[_WEIGHTS, _RECORD]))
    except Exception as error:  # the hub's errors have many types; all mean that nothing came
        raise ThalwegError(
            f"no folder {source}, and the hub has not given it ({type(error).__name__}: {error})"
        ) from error


def from_json(cls: type, data: Any, *, where: str) -> Any:
    """Build a (nested) frozen dataclass from parsed JSON, strictly: a changed default must not change what was saved.

    Raises:
        ThalwegError: naming the key that is unknown, missing, or of the wrong type.
    """
    if not isinstance(data, dict):
        raise ThalwegError(f"{where}: expected an object, got {data!r}")
    hints = typing.get_type_hints(cls)
    fields = [item.name for item in dataclasses.fields(cls)]
    for key in data:
        if key not in fields:
            raise ThalwegError(f"{where}: unknown key {key!r}; known are {choices(fields)}")
    values = {}
    for name in fields:
        if name in data:
            values[name] = _value(hints[name], data[name], f"{where}.{name}")
        else:
            raise ThalwegError(f"{where}: missing key {name!r}")
    return cls(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    if isinstance(hint, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        hint = next(option for option in options if option is not type(None))
    if is_dataclass(hint):
        return from_json(hint, value, where=where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list):
            raise ThalwegError(f"{where}: expected a list, got {value!r}")
        return tuple(_value(typing.get_args(hint)[0], item, where) for item in value)
    expected = origin or hint
    if expected is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise ThalwegError(f"{where}: expected {expected.__name__}, got {value!r}")
    return value
