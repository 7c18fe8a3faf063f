"""LBP's preset: what the paper states, sized for the data."""

from __future__ import annotations

from dataclasses import replace

from thalweg.angles import find_angles
from thalweg.data.scene import find_scene
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSpec
from thalweg.goals import GoalModelConfig
from thalweg.grips import find_grips, find_turns
from thalweg.lbp.config import LBPConfig, LBPPlannerConfig, LBPTraining
from thalweg.lbp.goals import text_encoder
from thalweg.lbp.policy import ChunkPolicyConfig
from thalweg.lbp.subgoals import SubgoalConfig
from thalweg.moves import MoveModelConfig
from thalweg.perception.contrastive import ImageEncoderConfig
from thalweg.perception.resnet import ResNetConfig
from thalweg.reach import ReachModelConfig

__all__ = ["lbp", "lbp_for"]

_HORIZON = 96  # steps, of goals that are recorded observations
_FEW = 5_000  # demonstrations: below that a planner learns them by heart


def lbp(observation: int, action: int, *, horizon: int = _HORIZON, language: int = 0) -> LBPConfig:
    """Subgoals at a half and a quarter of the way, and a policy with chunks of six actions."""
    return LBPConfig(
        observation=observation,
        windows=WindowSpec(offsets=(1, horizon), reach_high=horizon, settled=0.75, opening=0.35),
        subgoals=SubgoalConfig(latent=observation, language=language),
        policy=ChunkPolicyConfig(observation=observation, latent=observation, action=action, language=language),
        reach=ReachModelConfig(observation, horizon=horizon),
        training=LBPTraining(),
        planner=LBPPlannerConfig(),
        text="minilm" if language else "",
    )


def lbp_for(store: EpisodeStore) -> LBPConfig:
    """The preset for a store.

    Goals are told in words where its episodes have instructions, else they are from the recordings' own future; plans
    are of images where there are cameras, else of states.
    """
    observation, action = store.observations.shape[1], store.actions.shape[1]
    if store.instructions:
        encoder = text_encoder("minilm")
        longest = int((store.ends - store.starts).max()) - 1
        config = lbp(observation, action, horizon=longest, language=encoder.width)
        config = replace(config, text_fingerprint=encoder.fingerprint)
        if len(store) < _FEW:
            subgoals = replace(config.subgoals, folds=2, width=512)
            training = replace(config.training, astray=1.0, plan_noise=0.3)
            config = replace(config, subgoals=subgoals, training=training)
    else:
        config = lbp(observation, action)
    return _from_pixels(config, store) if store.cameras else _from_states(config, store)


def _from_states(config: LBPConfig, store: EpisodeStore) -> LBPConfig:
    angles, scene = find_angles(store), find_scene(store)
    objects, grips, turns = scene.objects if scene else (), find_grips(store, scene), find_turns(angles, scene)
    config = replace(config, angles=angles, objects=objects, grips=grips, turns=turns)
    if not config.text:
        config = replace(config, goals=GoalModelConfig(config.observation, objects))
        if len(objects) > 1:
            config = replace(config, moves=MoveModelConfig(config.observation, objects))
    alike = sum(len(kind.places) for kind in config.kinds)
    policy = replace(config.policy, observation=config.seen)
    return replace(config, subgoals=replace(config.subgoals, objects=alike), policy=policy)


def _from_pixels(config: LBPConfig, store: EpisodeStore) -> LBPConfig:
    images = ImageEncoderConfig.of(store, language=config.policy.language)
    eyes = ResNetConfig(condition=config.policy.fused, views=len(images.cameras))
    return replace(
        config,
        images=images,
        subgoals=replace(config.subgoals, latent=images.latent),
        policy=replace(config.policy, latent=images.latent, eyes=eyes),
        reach=replace(config.reach, observation=images.latent),
        windows=replace(config.windows, settled=0.0),
    )
