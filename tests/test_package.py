"""What the package promises as a whole."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import thalweg

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
