"""Is this machine fit? Versions, threads, compiler, rendering, and whether the simulator still does what data says."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from thalweg.device import find_compiler, multiplies_bfloat16
from thalweg.results import versions

__all__ = ["PINNED", "Finding", "examine", "replay_error"]

PINNED = {"mujoco": "3.3.7", "ogbench": "1.2.2", "dm_control": "1.0.34"}
REPLAY_TOLERANCE = 5e-3  # metres and radians, one step from a state stored without the solver's warm start


@dataclass(frozen=True)
class Finding:
    """One line of the examination: what was looked at, whether it is well, and what to do when not."""

    name: str
    well: bool
    detail: str


def examine() -> Iterator[Finding]:
    """Every check in turn; none raises."""
    found = versions()
    python = sys.version_info[:2] >= (3, 11)
    yield Finding("python", python, found["python"] if python else f"{found['python']}: 3.11 or newer is needed")
    threads = torch.get_num_threads()
    yield Finding("torch", True, f"{found['torch']}, {threads} threads of {os.cpu_count()} cores, {_accelerator()}")
    compiler = find_compiler()
    yield Finding("compiler", bool(compiler), compiler or "none: training runs uncompiled, at half speed; install g++")
    for name, pinned in PINNED.items():
        yield _pinned(name, pinned)
    if "ogbench" in found and "mujoco" in found:
        yield _replay()
        yield _rendering()


def _accelerator() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    fast = multiplies_bfloat16(torch.device("cpu"))
    return "CPU with bfloat16" if fast else "CPU without bfloat16 (training takes about twice as long)"


def _pinned(name: str, pinned: str) -> Finding:
    try:
        installed = version(name)
    except PackageNotFoundError:
        return Finding(name, False, "not installed: pip install 'thalweg[ogbench]'")
    if installed == pinned:
        return Finding(name, True, installed)
    return Finding(name, False, f"{installed}; results were made with {pinned}: pip install {name}=={pinned}")


def _replay() -> Finding:
    try:
        error = replay_error()
    except Exception as problem:  # an examination reports whatever is wrong
        return Finding("replay", False, f"{type(problem).__name__}: {problem}")
    well = error <= REPLAY_TOLERANCE
    detail = f"recorded actions lead where they led, within {error:.1e}"
    return Finding(
        "replay", well, detail if well else f"the simulator moved: recorded states are missed by {error:.1e}"
    )


def replay_error(path: str | Path | None = None, *, steps: int = 60) -> float:
    """Largest error in ``qpos`` one step after a recorded state and action (shipped, or of an ``.npz`` at ``path``)."""
    from thalweg.envs.ogbench import make_env

    source = Path(path) if path else files("thalweg.envs") / "reference.npz"
    with source.open("rb") as file:
        recorded = dict(np.load(file))
    env = make_env("cube-single", terminate_at_goal=False, mode="data_collection")
    env.reset(seed=0)
    errors = []
    for row in range(min(steps, len(recorded["actions"]) - 1)):
        env.unwrapped.set_state(recorded["qpos"][row].astype(np.float64), recorded["qvel"][row].astype(np.float64))
        env.step(recorded["actions"][row])
        errors.append(np.abs(env.unwrapped._data.qpos - recorded["qpos"][row + 1]).max())
    return float(max(errors))


def _rendering() -> Finding:
    """Render one frame with each backend in a process of its own: a broken driver may crash it."""
    code = (
        "from thalweg.envs.ogbench import make_env; e = make_env('cube-single', width=64, height=64); "
        "e.reset(seed=0); assert e.render().std() > 1"
    )
    for backend in dict.fromkeys([os.environ.get("MUJOCO_GL", "egl"), "egl", "osmesa"]):
        environment = os.environ | {"MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        if _runs(code, environment):
            return Finding("rendering", True, f"MUJOCO_GL={backend}")
    return Finding(
        "rendering", False, "no backend works: apt-get install libegl1 libosmesa6; reports come without videos"
    )


def _runs(code: str, environment: dict[str, str]) -> bool:
    """Whether ``code`` ends well, and within two minutes."""
    command = [sys.executable, "-c", code]
    try:
        return subprocess.run(command, env=environment, capture_output=True, timeout=120).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
