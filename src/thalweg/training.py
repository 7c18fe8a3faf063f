"""From a dataset to a checkpoint: build the preset, train it, and write down where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from thalweg.angles import find_angles
from thalweg.checkpoint import Provenance, save_checkpoint
from thalweg.clone import Clone, CloneConfig
from thalweg.data.scene import find_scene
from thalweg.data.store import EpisodeStore
from thalweg.device import find_device
from thalweg.encoders import latent_health
from thalweg.errors import ThalwegError, choices
from thalweg.lbp.goals import embed
from thalweg.lbp.presets import lbp_for
from thalweg.lbp.system import LBP
from thalweg.pad.presets import PRESETS
from thalweg.pad.presets import preset as pad_preset
from thalweg.pad.system import PaD
from thalweg.perception.contrastive import ImageEncoder
from thalweg.results import versions
from thalweg.settings import changed
from thalweg.train import Progress, TrainConfig, train

__all__ = ["build", "train_checkpoint"]

_SEGMENTS = 64  # a batch of the image encoder's: of each two moments
_PROTOCOL = "the environment's official tasks, 50 episodes each, its own step limit, success latched"
_IN_WORDS = "the ten tasks in held-out words, 20 episodes each, their own step limits, success latched"


def build(
    preset: str,
    store: EpisodeStore,
    *,
    settings: Sequence[str] = (),
    seed: int = 0,
    encoder: str = "",
    cameras: Sequence[str] = (),
) -> nn.Module:
    """A fresh model of a preset, sized for ``store``, with weights drawn from ``seed``.

    ``settings`` changes the preset's configuration: ``["training.labelled=0.1", "model.projector=0"]``; ``encoder`` and
    ``cameras`` are as ``lbp_for`` takes them.

    Raises:
        ThalwegError: unknown preset or setting; images; no actions.
    """
    if store.observations.ndim != 2:
        raise ThalwegError(
            f"{store.source}: observations of shape {store.observations.shape[1:]}; planning takes vectors"
        )
    if not len(store.labelled):
        raise ThalwegError(
            f"{store.source}: no actions; the inverse dynamics needs those of one episode or more (in the others, "
            "write NaN)"
        )
    if store.cameras and preset != "lbp":
        raise ThalwegError(
            f"{store.source}: it has cameras ({choices(store.cameras)}), which preset {preset!r} does not look at; "
            "choose 'lbp'"
        )
    known = (*PRESETS, "lbp", "clone")
    if preset not in known:
        raise ThalwegError(f"unknown preset {preset!r}; choose one of {choices(known)}")
    if preset != "lbp" and (encoder or cameras):
        raise ThalwegError(f"an encoder and cameras are for preset 'lbp', got {preset!r}; leave them out")
    observation, action = store.observations.shape[1], store.actions.shape[1]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if preset == "clone":
            return Clone(changed(CloneConfig(observation, action), settings))
        if preset == "lbp":
            return LBP(changed(lbp_for(store, encoder=encoder, cameras=cameras), settings))
        scene = find_scene(store)
        found = find_angles(store), scene.objects if scene else ()
        return PaD(changed(pad_preset(preset, observation, action, *found), settings))


def train_checkpoint(
    data: str | Path | EpisodeStore,
    out: str | Path,
    *,
    preset: str = "default",
    config: TrainConfig | None = None,
    environment: str = "",
    settings: Sequence[str] = (),
    encoder: str = "",
    cameras: Sequence[str] = (),
    validation: EpisodeStore | None = None,
    device: str = "cpu",
    half: bool = False,
    recipe: str = "",
    report: Callable[[Progress], None] = lambda progress: None,
) -> Path:
    """Train ``preset`` on ``data`` and save the checkpoint to ``out/checkpoint``.

    Args:
        data: a dataset's path, or a store made from one's own arrays.
        out: folder for the checkpoint, the logs and the resumable state.
        preset: ``default``, ``paper``, ``lbp`` or ``clone``.
        config: the optimisation.
        environment: noted in the checkpoint; read off OGBench's file names when empty.
        settings: changes to the preset, ``PATH=VALUE`` each.
        encoder: for ``lbp``, a pretrained vision-language encoder: a folder or hub id of CLIP or SigLIP, or a file of
            DecisionNCE's weights; by default MiniLM, and an encoder of frames that is trained on the data.
        cameras: for ``lbp``, those that it looks through; by default all.
        validation: recordings to watch the losses on; for a file ``NAME.npz``, ``NAME-val.npz`` beside it.
        device: torch device.
        half: store the weights as float16.
        recipe: the command that makes it again.
        report: called every hundred steps.

    Returns:
        The checkpoint's folder.
    """
    config = config or TrainConfig()
    store = data if isinstance(data, EpisodeStore) else EpisodeStore.open(data)
    if validation is None and not isinstance(data, EpisodeStore):
        validation = _validation(Path(data))
    model = build(preset, store, settings=settings, seed=config.seed, encoder=encoder, cameras=cameras)

    def learn(part: nn.Module, name: str, *, steps: int, batch: int) -> dict[str, Any]:
        """Train a part of the planner apart from it."""
        apart = replace(config, steps=min(config.steps, steps), batch=min(config.batch, batch), rate=1e-3)
        return train(part, store, config=apart, out=Path(out) / name, device=device, report=report)

    apart = {}
    if isinstance(model, LBP) and model.config.images:
        apart["images"] = _learn_to_see(model, store, learn)
    if isinstance(model, LBP) and model.config.pretrained:  # a large encoder: its latents are made where it is fast
        model.to(find_device(device))
        for recordings in filter(None, (store, validation)):
            model.senses.encode(recordings)
        model.cpu()
    training = train(model, store, config=config, validation=validation, out=Path(out), device=device, report=report)
    for name in ("goals", "moves"):
        if (part := getattr(model, name, None)) is not None:
            apart[name] = learn(part, name, steps=part.config.steps, batch=config.batch)
            part.cpu().set_threshold(store)
    training |= apart
    model.cpu()
    training["config"] = asdict(config)
    if isinstance(model, PaD):
        training["latents"] = latent_health(model.normaliser, model.encoder, store, np.random.default_rng(config.seed))
    dataset = Path(store.source).stem
    named = re.fullmatch(r"(.+)-(play|noisy|demos)-v\d+", dataset)
    provenance = Provenance(
        environment=environment or (named.group(1) if named else ""),
        dataset=dataset,
        data_fingerprint=store.fingerprint,
        preset=preset,
        seed=config.seed,
        training=training,
        recipe=recipe,
        protocol="" if not named else _IN_WORDS if store.instructions else _PROTOCOL,
        versions=versions(),
    )
    return save_checkpoint(Path(out) / "checkpoint", model, provenance, half=half)


def _learn_to_see(model: LBP, store: EpisodeStore, learn: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Train the image encoder, whose latents are planned in, before the planner; from then on it is frozen.

    The policy's own eyes begin as a copy of it, where they are of its build.
    """
    encoder = ImageEncoder(model.config.images)
    if store.instructions:
        told = sorted(set(store.instructions))
        encoder.learn_words(told, embed(model.config.text, told))
    training = learn(encoder, "images", steps=model.config.training.seeing, batch=_SEGMENTS)
    model.senses.images.encoder.load_state_dict(encoder.cpu().state_dict())
    model.policy.eyes.trunk.begin_as(encoder.net.trunk)
    return training


def _validation(data: Path) -> EpisodeStore | None:
    """The validation split that lies beside a training file, as OGBench's do."""
    path = data.with_name(f"{data.stem}-val.npz")
    return EpisodeStore.open(path) if data.suffix == ".npz" and path.exists() else None
