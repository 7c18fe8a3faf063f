"""What the package promises as a whole."""

from __future__ import annotations

import importlib
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thalweg
from thalweg.envs.point import record_points

ROOT = Path(__file__).parent.parent
SOURCE = Path(thalweg.__file__).parent
MODULES = sorted(info.name for info in pkgutil.walk_packages([str(SOURCE)], "thalweg."))


@pytest.mark.parametrize("name", ["thalweg", *MODULES])
def test_every_name_in_all_resolves(name):
    module = importlib.import_module(name)
    for item in getattr(module, "__all__", ()):
        assert hasattr(module, item), item


def test_the_core_imports_no_simulator():
    code = (
        "import sys, thalweg, thalweg.cli.main; "
        "found = {'mujoco', 'ogbench', 'dm_control', 'gymnasium', 'matplotlib'} & set(sys.modules); "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_planners_and_engine_do_not_import_the_edges():
    for path in [*SOURCE.glob("pad/*.py"), SOURCE / "refine.py", SOURCE / "types.py", SOURCE / "reach.py"]:
        text = path.read_text()
        for edge in ("thalweg.envs", "thalweg.cli", "thalweg.report", "thalweg.rollout", "thalweg.agent"):
            assert edge not in text, f"{path.name} imports {edge}"


def test_modules_stay_small():
    for path in SOURCE.rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 400, path


def test_the_example_runs(capsys):
    runpy.run_path(str(ROOT / "examples" / "own_data.py"))["main"](steps=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 11 and re.fullmatch(r"\d+ of 10 reached", lines[-1])


@pytest.mark.parametrize("page", ["README.md", "docs/data.md"])
def test_the_documented_python_runs(page, tmp_path, monkeypatch):
    """Every Python block of ``page``, on a few recorded points and with two training steps."""
    monkeypatch.chdir(tmp_path)
    store = record_points(3, steps=200)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    assert blocks
    for block in blocks:
        code, steps = re.subn(r"TrainConfig\(steps=[\d_]+\)", "TrainConfig(steps=2, batch=8, compile=False)", block)
        assert steps == 1
        names = {"observations": store.observations, "actions": store.actions, "lengths": store.ends - store.starts}
        names |= {"goal": store.observations[50], "observation": store.observations[0]}
        frames = np.random.default_rng(0).integers(0, 256, (store.rows, 16, 16, 3), dtype=np.uint8)
        names |= {"proprioception": store.observations, "frames": frames, "instructions": ["open", "shut", "leave"]}
        names |= {"state": store.observations[0], "frame": frames[0]}
        names |= {name: getattr(thalweg, name) for name in ("Agent", "EpisodeStore", "TrainConfig", "train_checkpoint")}
        exec(code, names)
        assert names["action"].shape == (2,) and np.isfinite(names["action"]).all()
