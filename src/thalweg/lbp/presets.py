"""LBP's preset: what the paper states, sized for the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from thalweg.angles import find_angles
from thalweg.data.scene import find_scene
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSpec
from thalweg.errors import ThalwegError, choices
from thalweg.goals import GoalModelConfig
from thalweg.grips import find_grips, find_turns
from thalweg.lbp.config import LBPConfig, LBPPlannerConfig, LBPTraining
from thalweg.lbp.goals import MINILM, text_encoder
from thalweg.lbp.policy import ChunkPolicyConfig
from thalweg.lbp.subgoals import SubgoalConfig
from thalweg.moves import MoveModelConfig
from thalweg.perception.contrastive import ImageEncoderConfig
from thalweg.perception.resnet import POINTS, ResNetConfig
from thalweg.perception.vision_language import PretrainedConfig, vision_language
from thalweg.reach import ReachModelConfig

__all__ = ["lbp", "lbp_for"]

_HORIZON = 96  # steps, of goals that are recorded observations
_COMPONENTS = 32  # of what an encoder sees that was trained on the dataset: the others hold a thousandth of it
_FOREIGN = 128  # of what one sees that was trained elsewhere, and tells apart what this dataset does not
_DRAWS = 4  # of noise, for one look at the frames
_FEW = 5_000  # demonstrations: below that a planner learns them by heart


def lbp(observation: int, action: int, *, horizon: int = _HORIZON, language: int = 0, text: str = MINILM) -> LBPConfig:
    """Subgoals at a half and a quarter of the way, and a policy with chunks of six actions."""
    return LBPConfig(
        observation=observation,
        windows=WindowSpec(offsets=(1, horizon), reach_high=horizon, settled=0.75, opening=0.35),
        subgoals=SubgoalConfig(latent=observation, language=language),
        policy=ChunkPolicyConfig(observation=observation, latent=observation, action=action, language=language),
        reach=ReachModelConfig(observation, horizon=horizon),
        training=LBPTraining(),
        planner=LBPPlannerConfig(),
        text=text if language else "",
    )


def lbp_for(store: EpisodeStore, *, encoder: str = "", cameras: Sequence[str] = ()) -> LBPConfig:
    """The preset for a store.

    Goals are told in words where its episodes have instructions, else they are from the recordings' own future; plans
    are of images where there are cameras, else of states.

    Args:
        store: the recordings.
        encoder: a pretrained vision-language encoder of frames and instructions, see ``PretrainedConfig``; by default
            instructions are encoded by MiniLM, and frames by an encoder that is trained on them.
        cameras: those of the store that are looked through; by default all.

    Raises:
        ThalwegError: there is no such encoder or camera, or nothing that the encoder could be used for.
    """
    if encoder and Path(encoder).expanduser().exists():
        encoder = str(Path(encoder).expanduser().resolve())  # the checkpoint is used from elsewhere, too
    if encoder and not (store.cameras or store.instructions):
        raise ThalwegError(f"{store.source} has neither cameras nor instructions for the encoder {encoder}")
    if cameras and not store.cameras:
        raise ThalwegError(f"{store.source} has no cameras, got {choices(cameras)}")
    observation, action = store.observations.shape[1], store.actions.shape[1]
    if store.instructions:
        text = text_encoder(encoder or MINILM)
        longest = int((store.ends - store.starts).max()) - 1
        config = lbp(observation, action, horizon=longest, language=text.width, text=encoder or MINILM)
        config = replace(config, text_fingerprint=text.fingerprint)
        if len(store) < _FEW:
            subgoals = replace(config.subgoals, folds=2, width=512)
            training = replace(config.training, astray=1.0, plan_noise=0.3)
            config = replace(config, subgoals=subgoals, training=training)
    else:
        config = lbp(observation, action)
    return _from_pixels(config, store, encoder, cameras) if store.cameras else _from_states(config, store)


def _from_states(config: LBPConfig, store: EpisodeStore) -> LBPConfig:
    angles, scene = find_angles(store), find_scene(store)
    objects, grips, turns = scene.objects if scene else (), find_grips(store, scene), find_turns(angles, scene)
    config = replace(config, angles=angles, objects=objects, grips=grips, turns=turns)
    if not config.text:
        config = replace(config, goals=GoalModelConfig(config.observation, objects))
        if len(objects) > 1:
            config = replace(config, moves=MoveModelConfig(config.observation, objects))
    subgoals = replace(config.subgoals, objects=len(config.places))
    return replace(config, subgoals=subgoals, policy=replace(config.policy, observation=config.seen))


def _from_pixels(config: LBPConfig, store: EpisodeStore, encoder: str, cameras: Sequence[str]) -> LBPConfig:
    images = ImageEncoderConfig.of(store, cameras=cameras or None, language=config.policy.language)
    if encoder:
        model, shown = vision_language(encoder), tuple(sorted(images.cameras))
        pretrained = PretrainedConfig(encoder, model.fingerprint, shown, images.size, len(shown) * model.width)
        config = replace(config, pretrained=pretrained)
    else:
        config = replace(config, images=images)
    eyes = ResNetConfig(condition=config.policy.fused, views=len(config.cameras), points=POINTS)
    latent = min(config.vision.latent, _FOREIGN if encoder else _COMPONENTS)
    return replace(
        config,
        subgoals=replace(config.subgoals, latent=latent),
        policy=replace(config.policy, latent=latent, eyes=eyes),
        reach=replace(config.reach, observation=latent),
        windows=replace(config.windows, settled=0.0),
        training=replace(config.training, draws=_DRAWS),
    )
