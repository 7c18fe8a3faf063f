"""What the machine at hand offers to training: a device, a compiler, fast low-precision products."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from torch import Tensor

from thalweg.errors import ThalwegError

__all__ = ["device_name", "find_compiler", "find_device", "move", "multiplies_bfloat16"]


def find_device(name: str) -> torch.device:
    """The torch device of that name.

    Raises:
        ThalwegError: there is none here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ThalwegError(f"no device {name!r} here ({reason}); choose cpu, or cuda where there is a GPU") from error
    return device


def device_name(device: torch.device) -> str:
    """What to call it in a record."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' * (threads > 1)}"


def find_compiler() -> str | None:
    """The C++ compiler that ``torch.compile`` would use, if there is one."""
    return shutil.which(os.environ.get("CXX", "")) or shutil.which("g++") or shutil.which("clang++")


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether products in bfloat16 are faster there than in float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def move(sample: Any, device: torch.device) -> Any:
    """Every tensor of a sample record on ``device``."""
    if isinstance(sample, Tensor):
        return sample.to(device, non_blocking=True)
    return type(sample)(**{name: move(value, device) for name, value in vars(sample).items()})
