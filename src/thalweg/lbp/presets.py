"""LBP's preset: what the paper states, on states and goals that are observations."""

from __future__ import annotations

from thalweg.angles import Pairs
from thalweg.data.scene import Objects
from thalweg.data.windows import WindowSpec
from thalweg.lbp.config import LBPConfig, LBPPlannerConfig, LBPTraining
from thalweg.lbp.policy import ChunkPolicyConfig
from thalweg.lbp.subgoals import SubgoalConfig
from thalweg.reach import ReachModelConfig

__all__ = ["lbp"]


def lbp(observation: int, action: int, angles: Pairs = (), objects: Objects = ()) -> LBPConfig:
    """Subgoals at a half and a quarter of the way, and a policy with chunks of six actions."""
    horizon = 96
    return LBPConfig(
        observation=observation,
        windows=WindowSpec(offsets=(1, horizon), reach_high=horizon, settled=0.75, opening=0.35),
        subgoals=SubgoalConfig(latent=observation),
        policy=ChunkPolicyConfig(observation=observation, latent=observation, action=action),
        reach=ReachModelConfig(observation, horizon=horizon),
        training=LBPTraining(),
        planner=LBPPlannerConfig(),
        angles=angles,
    )
