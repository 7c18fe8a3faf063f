"""The training loop: exact resume, and failures that lose nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from thalweg.checkpoint import load_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSpec
from thalweg.decoders.inverse_dynamics import InverseDynamicsConfig
from thalweg.encoders import EncoderConfig
from thalweg.envs.point import record_points
from thalweg.errors import ThalwegError
from thalweg.pad.config import PaDConfig, PaDTraining
from thalweg.pad.model import PaDModelConfig
from thalweg.pad.planner import PlannerConfig
from thalweg.pad.system import PaD
from thalweg.reach import ReachModelConfig
from thalweg.train import TrainConfig, train
from thalweg.training import train_checkpoint

OFFSETS = (2, 4, 8, 16)


def tiny(kind: str = "identity", **training) -> PaDConfig:
    return PaDConfig(
        encoder=EncoderConfig(kind, 4, 4, width=16),
        model=PaDModelConfig(
            latent=4, offsets=OFFSETS, horizon=16, context_width=16, context_depth=1, width=16, rank=4
        ),
        reach=ReachModelConfig(observation=4, horizon=16, bins=6, width=16),
        inverse=InverseDynamicsConfig(latent=4, action=2, reach=4, width=16, depth=1),
        windows=WindowSpec(OFFSETS, reach_high=16),
        training=PaDTraining(**training),
        planner=PlannerConfig(hypotheses=3, steps=2, replan=2, lookahead=2),
    )


def build(config: PaDConfig | None = None) -> PaD:
    torch.manual_seed(0)
    return PaD(config or tiny())


@pytest.fixture(scope="module")
def points() -> EpisodeStore:
    return record_points(6, steps=40)


CONFIG = TrainConfig(steps=12, batch=8, save_every=5, compile=False, precision="float32", warmup=2)


def weights(model: PaD) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [1, 5, 7, 11])
def test_a_killed_run_ends_with_the_same_weights(points, tmp_path, monkeypatch, at):
    whole = build()
    train(whole, points, config=CONFIG, out=tmp_path / "whole")
    broken = build()
    losses, calls = broken.losses, []

    def dying(sample):
        calls.append(1)
        if len(calls) > at:
            raise Killed
        return losses(sample)

    broken.losses = dying
    with pytest.raises(Killed):
        train(broken, points, config=CONFIG, out=tmp_path / "broken")
    resumed = build()
    train(resumed, points, config=CONFIG, out=tmp_path / "broken")
    for name, value in weights(whole).items():
        assert torch.equal(resumed.state_dict()[name], value), name
    logs = [(tmp_path / run / "log.jsonl").read_text().splitlines() for run in ("whole", "broken")]
    assert [json.loads(line)["losses"] for line in logs[0]] == [json.loads(line)["losses"] for line in logs[1]]


def test_ctrl_c_saves_where_it_stopped(points, tmp_path):
    model = build()
    losses, calls = model.losses, []

    def interrupted(sample):
        calls.append(1)
        if len(calls) == 4:
            signal.raise_signal(signal.SIGINT)
        return losses(sample)

    model.losses = interrupted
    with pytest.raises(KeyboardInterrupt):
        train(model, points, config=CONFIG, out=tmp_path)
    assert len(calls) == 4
    resumed = build()
    train(resumed, points, config=CONFIG, out=tmp_path)
    whole = build()
    train(whole, points, config=CONFIG)
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in weights(whole).items())


def test_a_state_of_other_settings_is_refused(points, tmp_path):
    train(build(), points, config=CONFIG, out=tmp_path)
    with pytest.raises(ThalwegError, match=r"batch: 8 there, 16 here"):
        train(build(), points, config=replace(CONFIG, batch=16), out=tmp_path)
    with pytest.raises(ThalwegError, match="data"):
        train(build(), record_points(7, steps=40), config=CONFIG, out=tmp_path)


def test_a_damaged_state_is_named(points, tmp_path):
    train(build(), points, config=CONFIG, out=tmp_path)
    path = tmp_path / "state.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ThalwegError, match="damaged"):
        train(build(), points, config=CONFIG, out=tmp_path)


def test_a_loss_that_is_not_finite_stops_the_run(points):
    model = build()
    model.losses = lambda sample: {"energy": model.model.step_size * float("nan")}
    with pytest.raises(ThalwegError, match="energy loss is nan at step 1"):
        train(model, points, config=CONFIG)


def test_compiled_training_equals_eager(points):
    """One step: afterwards rounding may grow apart."""
    states = []
    for compiled in (False, True):
        model = build()
        train(model, points, config=replace(CONFIG, steps=1, compile=compiled))
        states.append(weights(model))
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name].double(), value.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["residual", "mlp"])
def test_inverse_dynamics_does_not_move_the_encoder(points, kind):
    model = build(tiny(kind))
    rng = np.random.default_rng(0)
    model.measure(model.sampler(points), rng)
    sample = model.draw(model.sampler(points), 8, rng, torch.Generator().manual_seed(0))
    losses = model.losses(sample)
    (losses["inverse"] + losses["reach"]).backward()
    assert all(parameter.grad is None for parameter in model.encoder.parameters())
    model.losses(sample)["energy"].backward()
    moved = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in model.encoder.learned.parameters()]
    assert any(moved)


def test_unlabelled_episodes_teach_no_actions(points):
    """With a third of the labels, only the first two of six episodes are drawn from."""
    model = build(tiny(labelled=1 / 3))
    seen = {row.tobytes() for row in points.actions[: points.ends[1]]}
    sample = model.draw(model.sampler(points), 200, np.random.default_rng(0), torch.Generator())
    assert {row.tobytes() for row in sample.action.numpy()} <= seen


def test_the_corruption_is_the_papers(points):
    """z0 = sqrt(beta) z + sqrt(1 - beta) eps, beta uniform, when no sample starts from noise alone."""
    model = build(tiny(from_noise=0.0))
    sample = model.draw(model.sampler(points), 4000, np.random.default_rng(0), torch.Generator().manual_seed(0))
    keep = sample.keep.flatten()
    assert keep.mean().item() == pytest.approx(0.5, abs=0.02)
    assert (keep < 0.25).float().mean().item() == pytest.approx(0.25, abs=0.03)
    mixed = build(tiny(from_noise=0.5))
    sample = mixed.draw(mixed.sampler(points), 4000, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert (sample.keep == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)


def test_validation_is_watched_and_changes_nothing(points, tmp_path):
    watched, alone = build(), build()
    other = record_points(4, steps=40, seed=9)
    config = replace(CONFIG, validate_every=5)
    outcome = train(watched, points, config=config, validation=other, out=tmp_path)
    train(alone, points, config=config)
    assert all(torch.equal(watched.state_dict()[name], value) for name, value in weights(alone).items())
    assert outcome["validation"].keys() == outcome["losses"].keys()
    assert all(np.isfinite(value) for value in outcome["validation"].values())
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["validation"]["energy"] == pytest.approx(outcome["validation"]["energy"], abs=1e-5)


def test_the_validation_split_beside_a_file_is_found(points, tmp_path):
    for name, store in (("own", points), ("own-val", record_points(4, steps=40, seed=9))):
        arrays = {"observations": store.observations, "actions": store.actions}
        np.savez(tmp_path / f"{name}.npz", terminals=np.isin(np.arange(store.rows), store.ends - 1), **arrays)
    config = TrainConfig(steps=2, batch=8, compile=False)
    sizes = ["context_width=8", "context_depth=1", "width=8", "rank=4", "projector=0"]
    for name, found in (("own", True), ("own-val", False)):
        folder = train_checkpoint(
            tmp_path / f"{name}.npz", tmp_path / name, config=config, settings=[f"model.{size}" for size in sizes]
        )
        assert bool(load_checkpoint(folder)[1].training["validation"]) == found


def test_a_gradient_that_is_not_finite_stops_the_run_before_it_is_applied(points, tmp_path):
    model = build()
    losses = model.losses
    model.losses = lambda sample: losses(sample) | {"energy": (model.model.step_size - model.model.step_size).sqrt()}
    with pytest.raises(ThalwegError, match="energy gradient is (nan|inf) at step 1"):
        train(model, points, config=CONFIG, out=tmp_path)
    assert all(value.isfinite().all() for value in weights(model).values())


def test_without_a_compiler_training_says_so_and_goes_on(points, monkeypatch):
    monkeypatch.setattr(sys.modules[TrainConfig.__module__], "find_compiler", lambda: None)
    with pytest.warns(UserWarning, match="no C\\+\\+ compiler"):
        outcome = train(build(), points, config=replace(CONFIG, steps=1, compile=True))
    assert outcome["compiled"] is False


def test_an_unknown_device_is_refused(points):
    with pytest.raises(ThalwegError, match="no device 'abacus' here"):
        train(build(), points, config=CONFIG, device="abacus")


def test_a_log_line_that_a_kill_cut_short_is_dropped(points, tmp_path):
    train(build(), points, config=replace(CONFIG, steps=100, save_every=100), out=tmp_path)
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2')
    train(build(), points, config=replace(CONFIG, steps=100, save_every=100), out=tmp_path)
    assert [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == [100]


def test_episodes_without_labels_teach_planning_and_no_actions(points):
    """Actions of one episode, NaN in the others: the inverse dynamics sees that one alone."""
    actions = points.actions.copy()
    actions[points.starts[1] :] = np.nan
    partly = EpisodeStore.from_arrays(points.observations, actions, lengths=points.ends - points.starts)
    model = build()
    sampler = model.sampler(partly)
    model.measure(sampler, np.random.default_rng(0))
    sample = model.draw(sampler, 64, np.random.default_rng(0), torch.Generator().manual_seed(0))
    assert sample.action.isfinite().all()
    torch.testing.assert_close(
        model.inverse.action_mean, torch.from_numpy(actions[: points.ends[0]].mean(axis=0)), rtol=0, atol=0.1
    )
    train(model, partly, config=CONFIG)
    assert all(value.isfinite().all() for value in weights(model).values())


def test_data_in_which_everything_is_fast_are_refused():
    noise = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    store = EpisodeStore.from_arrays(noise, noise[:, :2], lengths=[100, 100])
    with pytest.raises(ThalwegError, match=r"every coordinate moves within 4 steps .*training\.fastest=0\.8"):
        train(build(), store, config=CONFIG)


_RUN = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_train import CONFIG, build
from thalweg.envs.point import record_points
from thalweg.train import train
from dataclasses import replace

print("begun", flush=True)
train(build(), record_points(6, steps=40), config=replace(CONFIG, steps=400, save_every=1), out=Path({out!r}))
"""


def test_a_run_that_is_killed_for_good_ends_with_the_same_weights(points, tmp_path):
    """SIGKILL in the middle, with a state written at every step, so that it often falls into the writing."""
    config = replace(CONFIG, steps=400, save_every=1)
    script = _RUN.format(tests=str(Path(__file__).parent), out=str(tmp_path / "broken"))
    for pause in (0.3, 0.7):
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"begun\n"
        time.sleep(pause)
        process.kill()
        process.wait()
    whole, resumed = build(), build()
    train(whole, points, config=config)
    train(resumed, points, config=config, out=tmp_path / "broken")
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in weights(whole).items())
