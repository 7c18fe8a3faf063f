"""LBP on encoders that were trained elsewhere: CLIP, SigLIP and DecisionNCE, in place of those of its own."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from test_lbp_pixels import SIZE, Square, pushed, sight
from thalweg.agent import Agent
from thalweg.checkpoint import load_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError
from thalweg.lbp.presets import lbp_for
from thalweg.perception.frozen import hash_weights
from thalweg.perception.vision_language import vision_language
from thalweg.train import TrainConfig
from thalweg.training import build, train_checkpoint
from tiny_encoders import KINDS, save_encoder

pytest.importorskip("transformers")
pytest.importorskip("PIL")

SMALL = (
    "policy.eyes.widths=[8,8,8,8]", "policy.eyes.blocks=[1,1,1,1]", "policy.eyes.features=16", "policy.width=32",
    "policy.depth=1", "policy.sampling=5", "policy.denoising=5", "subgoals.width=16",
)  # fmt: skip
CONFIG = TrainConfig(steps=20, batch=8, compile=False, precision="float32")


@pytest.fixture(scope="module")
def store() -> EpisodeStore:
    return pushed()


@pytest.fixture(scope="module", params=sorted(KINDS))
def source(request, tmp_path_factory) -> str:
    return save_encoder(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def folder(source, store, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return train_checkpoint(store, out, preset="lbp", config=CONFIG, settings=SMALL, encoder=source)


def test_it_plans_and_acts_on_what_the_encoder_sees_and_reads(folder, source, store):
    agent, encoder = Agent.load(folder), vision_language(source)
    config = agent.planner.config
    assert config.text == config.pretrained.source == source and config.images is None
    assert config.subgoals.latent == encoder.width == config.policy.language
    seen = agent.planner.read(sight(store, 3))
    raw = encoder.views({"top": store.cameras["top"][3:4]})
    components = agent.planner.senses.components
    spread = components.std / components.std.max()  # thin components stretch rounding
    own = spread * components(raw)
    torch.testing.assert_close(spread * agent.planner.senses.latent(seen), own, atol=1e-4, rtol=1e-3)
    goal, _ = agent.planner.read_goals("push it to the left")
    texts = encoder.texts(["push it to the left"])
    torch.testing.assert_close(goal.language, texts / texts.norm() * encoder.width**0.5)
    env = Square()
    observation, info = env.reset(seed=0)
    agent.reset(info["instruction"])
    assert agent.act(observation).shape == (1,) and agent.plan.finite.all()
    agent.reset(store.cameras["top"][5])
    assert np.isfinite(agent.act(observation)).all()


def test_its_weights_stay_where_and_as_they_are(folder, source, store):
    encoder, record = vision_language(source), load_checkpoint(folder)[0].config.pretrained
    assert hash_weights(encoder.encoder) == record.fingerprint  # it was trained with since
    seeing = {name.split(".")[1] for name in load_file(folder / "model.safetensors") if name.startswith("senses.")}
    assert seeing == {"components", "normaliser", "tell"}
    assert not encoder.training and not any(p.requires_grad for p in encoder.parameters())


def test_a_file_needs_no_ending_and_a_path_is_kept_whole(source, store, tmp_path, monkeypatch):
    """DecisionNCE's own downloads are called DecisionNCE-T."""
    place = Path(source)
    if place.is_file():
        shutil.copytree(place.parent, tmp_path / "weights")
        place = (tmp_path / "weights" / "dn.pt").rename(tmp_path / "weights" / "DecisionNCE-T")
    monkeypatch.chdir(place.parent)
    config = lbp_for(store, encoder=place.name)
    assert config.text == config.pretrained.source == str(place.resolve())


def test_latents_tell_the_body_along_a_line(folder, store):
    model, _ = load_checkpoint(folder)
    latents = model.senses.latent(
        model.read({"proprioception": store.observations, "top": np.asarray(store.cameras["top"])})
    )
    told = model.decode(latents)[:, 0].numpy()
    assert np.corrcoef(told, store.observations[:, 0])[0, 1] > 0.5  # of random weights
    assert not any(p.requires_grad for p in model.senses.tell.parameters())


def test_other_weights_are_refused(folder, source, store, tmp_path):
    record = json.loads((folder / "thalweg.json").read_text())
    for name, place in (("pretrained", ("pretrained", "fingerprint")), ("text", ("text_fingerprint",))):
        changed = json.loads(json.dumps(record))
        part = changed["config"]
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = "0" * 64
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        (copy / "thalweg.json").write_text(json.dumps(changed))
        agent = Agent.load(copy)
        with pytest.raises(ThalwegError, match="fingerprint .*000000000000"):
            agent.reset("push it to the left")
            agent.act(sight(store, 0))
    with pytest.raises(ThalwegError, match="no (folder|vision-language model|weights)"):
        build("lbp", store, encoder=str(tmp_path / "gone"))


def test_states_can_be_told_in_its_words(source, store):
    states = EpisodeStore.from_arrays(
        store.observations, store.actions, lengths=store.ends - store.starts, instructions=store.instructions
    )
    config = lbp_for(states, encoder=source)
    assert config.text == source and config.pretrained is None and config.policy.language
    model = build("lbp", states, settings=("subgoals.width=16", "policy.width=32"), encoder=source)
    sampler, rng = model.sampler(states), np.random.default_rng(0)
    model.measure(sampler, rng)
    assert all(loss.isfinite() for loss in model.losses(model.draw(sampler, 4, rng, torch.Generator())).values())


def test_two_cameras_are_seen_beside_one_another(source, store):
    frames = np.asarray(store.cameras["top"])
    both = EpisodeStore.from_arrays(
        store.observations, store.actions, lengths=store.ends - store.starts, instructions=store.instructions,
        cameras={"top": frames, "side": frames[:, ::-1]},
    )  # fmt: skip
    config = lbp_for(both, encoder=source)
    assert config.cameras == ("side", "top") and config.pretrained.latent == 2 * vision_language(source).width
    assert lbp_for(both, encoder=source, cameras=["top", "top"]).cameras == ("top",)
    assert lbp_for(both, cameras=["side"]).images.cameras == ("side",)
    model = build("lbp", both, settings=SMALL, encoder=source)
    goal, single = model.read_goals({"top": frames[0], "side": frames[1]})
    assert single and goal.latent.shape == (1, config.subgoals.latent)


def test_what_cannot_be_is_named(store):
    bare = EpisodeStore.from_arrays(store.observations, store.actions)
    with pytest.raises(ThalwegError, match="neither cameras nor instructions for the encoder x"):
        lbp_for(bare, encoder="x")
    with pytest.raises(ThalwegError, match="has no cameras, got 'top'"):
        lbp_for(bare, cameras=["top"])
    with pytest.raises(ThalwegError, match="has no camera 'front'; it has 'top'"):
        lbp_for(store, cameras=["front"])
    with pytest.raises(ThalwegError, match="for preset 'lbp', got 'default'"):
        build("default", bare, encoder="x")
    config = lbp_for(store)
    with pytest.raises(ThalwegError, match="images and pretrained are both encoders"):
        replace(config, pretrained=config.images).check()


def test_frames_of_another_size_are_refused(folder, store):
    agent = Agent.load(folder)
    agent.reset("push it to the left")
    small = np.zeros((SIZE - 4, SIZE, 3), np.uint8)
    named = re.escape(f"have {SIZE - 4} by {SIZE} pixels; the checkpoint was trained on {SIZE} by {SIZE}")
    with pytest.raises(ThalwegError, match=named):
        agent.act(sight(store, 0, top=small))
