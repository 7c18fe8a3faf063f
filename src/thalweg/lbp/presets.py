"""LBP's preset: what the paper states, sized for the data."""

from __future__ import annotations

from dataclasses import replace

from thalweg.angles import find_angles
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSpec
from thalweg.grips import find_grips, find_turns
from thalweg.lbp.config import LBPConfig, LBPPlannerConfig, LBPTraining
from thalweg.lbp.goals import text_encoder
from thalweg.lbp.policy import ChunkPolicyConfig
from thalweg.lbp.subgoals import SubgoalConfig
from thalweg.reach import ReachModelConfig

__all__ = ["lbp", "lbp_for"]

_HORIZON = 96  # steps, of goals that are recorded observations


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
    """The preset for a store: goals told in words where its episodes have instructions, else from their future."""
    observation, action = store.observations.shape[1], store.actions.shape[1]
    if store.instructions:
        encoder = text_encoder("minilm")
        longest = int((store.ends - store.starts).max()) - 1
        config = lbp(observation, action, horizon=longest, language=encoder.width)
        config = replace(config, text_fingerprint=encoder.fingerprint)
    else:
        config = lbp(observation, action)
    angles = find_angles(store)
    config = replace(config, angles=angles, grips=find_grips(store), turns=find_turns(store, angles))
    return replace(config, policy=replace(config.policy, observation=config.seen))
