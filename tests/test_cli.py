"""The commands, from the outside: help, one clear error each, and the round that the README shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from thalweg.envs.point import record_points

ROOT = Path(__file__).parent.parent
COMMANDS = ("collect", "train", "evaluate", "plan", "report", "compare", "doctor")


def thalweg(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    code = "from thalweg.cli.main import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def points(tmp_path_factory) -> Path:
    """A user's own recordings: a folder of .npz files, one episode each, no simulator anywhere."""
    folder = tmp_path_factory.mktemp("own") / "points"
    folder.mkdir()
    store = record_points(6, steps=150)
    for index in range(len(store)):
        episode = store.episode(index)
        np.savez(folder / f"{index}.npz", observations=episode["observations"], actions=episode["actions"])
    return folder


@pytest.fixture(scope="module")
def run(points, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run")
    done = thalweg("train", points, "--out", out, "--steps", 3, "--batch", 8, "--no-compile", "--half")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "checkpoint")
    return out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches(command):
    done = thalweg(command, "--help")
    assert done.returncode == 0
    assert "--" in done.stdout
    assert len(done.stdout.split()) > 20


def test_training_on_ones_own_folder_leaves_a_checkpoint_and_a_log(run):
    record = json.loads((run / "checkpoint" / "thalweg.json").read_text())
    assert record["provenance"]["training"]["steps"] == 3
    assert record["provenance"]["training"]["latents"]["effective_rank"] > 1
    assert len(record["provenance"]["data_fingerprint"]) == 64
    assert json.loads((run / "log.jsonl").read_text().splitlines()[-1])["step"] == 3


def test_plan_shows_candidates_and_writes_them(run, points, tmp_path):
    done = thalweg("plan", run / "checkpoint", points, "--goal", 30, "--out", tmp_path / "plan.npz")
    assert done.returncode == 0, done.stderr
    assert "candidates from row 0 to row 30" in done.stdout
    with np.load(tmp_path / "plan.npz") as written:
        assert written["plan"].shape == (14, 4)
        assert written["candidates"].shape == (8, 14, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "cube-one"), "no recording oracle for environment 'cube-one'"),
        (
            ("collect", "cube-single", "--kind", "expert"),
            "unknown kind of data 'expert'; choose one of 'play', 'noisy'",
        ),
        (("collect", "cube-single", "--episodes", "0"), "episodes=0"),
        (("train", "nowhere.npz", "--out", "x"), "no dataset at nowhere.npz"),
        (("evaluate", "nowhere"), "no checkpoint at nowhere"),
        (("evaluate", "random"), "names no environment"),
        (("report", "nowhere.json"), "no result file at nowhere.json"),
        (("compare", "a.json", "b.json"), "no result file at a.json"),
    ],
)
def test_a_bad_argument_is_one_clear_line(arguments, message, tmp_path):
    done = thalweg(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2


def test_bad_training_arguments_are_one_clear_line(points, tmp_path):
    for arguments, message in (
        (("--preset", "best"), "unknown preset 'best'"),
        (("--steps", "0"), "steps must be 1 or more"),
        (("--precision", "half"), "unknown precision 'half'"),
        (("--set", "training.labelled=0"), "labelled must be a share"),
        (("--set", "training.labeled=1"), "unknown setting 'labeled'"),
        (("--set", "model.projector=wide"), "expected a whole number, got 'wide'"),
    ):
        done = thalweg("train", points, "--out", tmp_path / "run", *arguments)
        assert (done.returncode, message in done.stderr.replace("\n", " ")) == (2, True), done.stderr


def test_a_row_outside_the_episode_is_named(run, points):
    done = thalweg("plan", run / "checkpoint", points, "--goal", 999)
    assert done.returncode == 2
    assert "--goal 999 is not in the episode; its rows are 0 to 149" in done.stderr.replace("\n", " ")


def documented() -> list[list[str]]:
    """Every ``thalweg`` command in the README and the docs."""
    lines = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = page.read_text().replace("\\\n", " ")
        lines += re.findall(r"^(?:\$ )?thalweg (.+)$", text, flags=re.MULTILINE)
    return [line.split("#")[0].split() for line in lines]


def test_documented_commands_exist():
    """Each documented command and flag is one that ``--help`` knows."""
    pages = {command: thalweg(command, "--help").stdout for command in COMMANDS}
    commands = documented()
    assert len(commands) >= 5
    for command, *arguments in commands:
        assert command in COMMANDS
        for flag in (word for word in arguments if word.startswith("--")):
            assert flag in pages[command], f"{command} has no {flag}"


def test_make_targets_in_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text())) <= targets
