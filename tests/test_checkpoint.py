"""Checkpoints: what is saved is what is loaded, and nothing else is."""

from __future__ import annotations

import json
import os
import pickle
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from thalweg.checkpoint import SCHEMA, Provenance, load_checkpoint, read_record, save_checkpoint
from thalweg.errors import ThalwegError
from thalweg.pad.system import PaD

PROVENANCE = Provenance(
    environment="cube-single",
    data_fingerprint="ab12",
    seed=3,
    training={"steps": 5, "loss": 0.25},
    versions={"torch": "2"},
)


@pytest.fixture
def model(tiny_config) -> PaD:
    """Every weight and floating-point buffer random, so that none is right by default."""
    generator = torch.Generator().manual_seed(0)
    model = PaD(tiny_config)
    with torch.no_grad():
        for value in model.state_dict().values():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator))
    return model


@pytest.fixture
def folder(model, tmp_path):
    return save_checkpoint(tmp_path / "agent", model, PROVENANCE)


def edit(folder, change) -> None:
    """Rewrite the record of a checkpoint."""
    path = folder / "thalweg.json"
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def edit_weights(folder, change) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def refused(source, match) -> None:
    with pytest.raises(ThalwegError, match=match):
        load_checkpoint(source)


def same_state(one, two) -> bool:
    one, two = one.state_dict(), two.state_dict()
    return one.keys() == two.keys() and all(
        value.dtype == two[name].dtype and torch.equal(value, two[name]) for name, value in one.items()
    )


def test_a_round_trip_gives_the_same_model_config_and_provenance(model, folder):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loaded, provenance = load_checkpoint(folder)
    assert same_state(loaded, model) and all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert loaded.config == model.config and type(loaded.config.model.offsets) is tuple
    assert provenance == PROVENANCE
    assert not loaded.training and not any(value.requires_grad for value in loaded.parameters())
    assert sorted(os.listdir(folder)) == ["model.safetensors", "thalweg.json"]


def test_optional_parts_and_other_settings_survive_a_round_trip(tiny_config, tmp_path):
    config = replace(
        tiny_config,
        reach=None,
        encoder=replace(tiny_config.encoder, kind="mlp", width=8),
        windows=replace(tiny_config.windows, hold_goal=False, past=2, random_past=True),
        planner=replace(tiny_config.planner, selection="paper", level=False),
        model=replace(tiny_config.model, past=2, rank=0, projector=0),
    )
    model = PaD(config)
    loaded, provenance = load_checkpoint(save_checkpoint(tmp_path, model, Provenance()))
    assert loaded.config == config and loaded.reach is None and same_state(loaded, model)
    assert provenance == Provenance()


def test_half_saves_what_the_model_in_memory_is_rounded_to(model, folder, tmp_path):
    full = {name: value.clone() for name, value in model.state_dict().items()}
    small = save_checkpoint(tmp_path / "half", model, PROVENANCE, half=True)
    loaded, _ = load_checkpoint(small)
    assert same_state(loaded, model)
    parameters = dict(model.named_parameters())
    for name, value in model.state_dict().items():
        assert torch.equal(value, full[name].half().float() if name in parameters else full[name])
    assert any(not torch.equal(value, full[name]) for name, value in parameters.items())
    stored = load_file(small / "model.safetensors")
    assert all((stored[name].dtype == torch.float16) == (name in parameters) for name in stored)
    assert (small / "model.safetensors").stat().st_size < (folder / "model.safetensors").stat().st_size


def test_saving_again_replaces_the_checkpoint(model, folder):
    with torch.no_grad():
        model.normaliser.mean.add_(1)
    save_checkpoint(folder, model, replace(PROVENANCE, seed=4))
    loaded, provenance = load_checkpoint(folder)
    assert same_state(loaded, model) and provenance.seed == 4


def test_weights_that_are_cut_flipped_or_missing_are_refused(folder):
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    for size in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        refused(folder, r"model\.safetensors is missing, damaged or truncated")
    path.write_bytes(whole + bytes(8))
    refused(folder, r"model\.safetensors is missing, damaged or truncated")
    path.unlink()
    refused(folder, r"model\.safetensors is missing")


class Bomb:
    def __reduce__(self):
        return exec, ("import os; os.environ['THALWEG_TEST_BOMB'] = 'exploded'",)


@pytest.mark.parametrize(
    "write", [lambda path: path.write_bytes(pickle.dumps(Bomb())), lambda path: torch.save(Bomb(), path)]
)
def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(folder, write, monkeypatch):
    monkeypatch.delenv("THALWEG_TEST_BOMB", raising=False)
    write(folder / "model.safetensors")
    refused(folder, r"model\.safetensors is missing, damaged or truncated")
    assert "THALWEG_TEST_BOMB" not in os.environ


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("normaliser.mean"), r"missing \['normaliser.mean'\], unknown \[\]"),
        (lambda t: t.update(extra=torch.ones(1)), r"missing \[\], unknown \['extra'\]"),
        (
            lambda t: t.update({"normaliser.mean": torch.ones(4)}),
            r"normaliser.mean has shape \(4,\), config says \(3,\)",
        ),
        (lambda t: t.update({"normaliser.mean": torch.ones(1)}), r"normaliser.mean has shape \(1,\)"),
        (
            lambda t: t.update({"normaliser.mean": torch.ones(3).int()}),
            "normaliser.mean has dtype torch.int32",
        ),
        (
            lambda t: t.update({"reach.bin_of_step": torch.ones(8)}),
            "reach.bin_of_step has dtype torch.float32",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(folder, change, named):
    edit_weights(folder, change)
    refused(folder, named)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"model_type": "bert"}', "not written by thalweg"),
        ("[1, 2]", "not written by thalweg"),
        ("null", "not written by thalweg"),
        ('{"thalweg": "1"}', "not written by thalweg"),
        ('{"thalweg": true}', "not written by thalweg"),
        (f'{{"thalweg": {SCHEMA}}}', "lacks 'config', 'planner', 'provenance'"),
        ('{"thalweg": 3, "planner": "pad", ', "is damaged"),
        ("", "is damaged"),
        ("\x00\xff", "is damaged"),
        ("[" * 100_000, "is damaged"),
    ],
)
def test_a_foreign_or_damaged_record_is_refused(folder, text, named):
    (folder / "thalweg.json").write_bytes(text.encode("latin-1"))
    refused(folder, rf"thalweg\.json.* {named}")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda r: r.update(thalweg=SCHEMA + 1), f"has schema {SCHEMA + 1}, .* reads {SCHEMA}; upgrade"),
        (lambda r: r.update(planner="dreamer"), "unknown planner 'dreamer'; .* 'pad'"),
        (lambda r: r.update(planner=["pad"]), r"unknown planner \['pad'\]"),
        (lambda r: r.update(planner=None), "unknown planner None"),
        (lambda r: r.update(config=None), "config: expected an object, got None"),
        (lambda r: r["config"].update(colour="red"), "config: unknown key 'colour'; known are 'encoder'"),
        (
            lambda r: r["config"]["model"].update(widht=8),
            "config.model: unknown key 'widht'; known are .*'width'",
        ),
        (lambda r: r["config"].pop("windows"), "config: missing key 'windows'"),
        (lambda r: r["config"]["model"].pop("latent"), "config.model: missing key 'latent'"),
        (lambda r: r["config"]["model"].update(width="8"), "config.model.width: expected int, got '8'"),
        (lambda r: r["config"]["model"].update(width=8.0), "config.model.width: expected int, got 8.0"),
        (lambda r: r["config"]["model"].update(width=None), "config.model.width: expected int, got None"),
        (lambda r: r["config"]["model"].update(displacement=1), "displacement: expected bool, got 1"),
        (lambda r: r["config"]["model"].update(depth=True), "depth: expected int, got True"),
        (lambda r: r["config"]["model"].update(offsets=4), "offsets: expected a list, got 4"),
        (lambda r: r["config"]["model"].update(offsets=[1, "2"]), "offsets: expected int, got '2'"),
        (lambda r: r["config"].update(reach=[]), r"config.reach: expected an object, got \[\]"),
        (lambda r: r["config"]["encoder"].update(kind="vit"), "unknown encoder 'vit'"),
        (lambda r: r["config"]["model"].update(width=-8), "config .*-8"),
        (lambda r: r["config"]["model"].update(width=9), "has shape .*, config says"),
        (lambda r: r["config"].update(reach=None), "config: planner.level needs a time-to-reach"),
        (lambda r: r["config"]["planner"].pop("discount"), "config.planner: missing key 'discount'"),
        (lambda r: r["config"]["model"].update(offsets=[1, 2, 4, 7]), "config: model.offsets is .* must agree"),
        (lambda r: r["config"].update(angles=[[0, 3]]), "config: angles: .* coordinates from 0 to 2"),
        (lambda r: r.update(thalweg=SCHEMA - 1), "train it again"),
        (lambda r: r["provenance"].update(seed="3"), "provenance.seed: expected int, got '3'"),
        (lambda r: r["provenance"].update(author="me"), "provenance: unknown key 'author'"),
        (lambda r: r["provenance"].update(training=[]), r"provenance.training: expected dict, got \[\]"),
    ],
)
def test_a_record_that_is_not_exact_is_refused_by_name(folder, change, named):
    edit(folder, change)
    refused(folder, named)


def test_a_whole_number_may_stand_for_a_float(folder):
    edit(folder, lambda record: record["config"]["planner"].update(trust=1))
    trust = load_checkpoint(folder)[0].config.planner.trust
    assert trust == 1.0 and type(trust) is float


def test_a_path_without_a_checkpoint_is_refused(tmp_path, folder, monkeypatch):
    refused(tmp_path / "nowhere", "no checkpoint at .*nowhere; give a folder, or a hub id")
    refused("runs/of/mine", "no checkpoint at runs/of/mine")
    refused(tmp_path, "is not a checkpoint: it has no thalweg.json")
    refused(folder / "model.safetensors", r"model\.safetensors is not a checkpoint")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as where it is not installed
    refused("owner/name", r"no folder owner/name; .* pip install 'thalweg\[hub\]'")


def test_the_record_can_be_read_without_the_weights(folder):
    (folder / "model.safetensors").unlink()
    assert read_record(folder)["planner"] == "pad"
