"""The two presets: what the paper states, and ours."""

from __future__ import annotations

from thalweg.angles import Pairs
from thalweg.data.scene import Objects
from thalweg.data.windows import WindowSpec
from thalweg.decoders.inverse_dynamics import InverseDynamicsConfig
from thalweg.encoders import EncoderConfig
from thalweg.errors import ThalwegError, choices
from thalweg.goals import GoalModelConfig
from thalweg.moves import MoveModelConfig
from thalweg.pad.config import PaDConfig, PaDTraining
from thalweg.pad.model import PaDModelConfig
from thalweg.pad.planner import PlannerConfig
from thalweg.reach import ReachModelConfig

__all__ = ["PRESETS", "preset"]

_OFFSETS = (4, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64, 72, 80, 96)


def default(observation: int, action: int, angles: Pairs = (), objects: Objects = ()) -> PaDConfig:
    """Ours: displacement coordinates, goals that hold, one object at a time, a belief over time-to-reach, tracking."""
    horizon = 96
    return PaDConfig(
        encoder=EncoderConfig("identity", observation, observation),
        model=PaDModelConfig(latent=observation, offsets=_OFFSETS, horizon=horizon),
        reach=ReachModelConfig(observation, horizon=horizon),
        inverse=InverseDynamicsConfig(latent=observation, action=action),
        windows=WindowSpec(offsets=_OFFSETS, reach_high=horizon, settled=0.75, opening=0.35),
        training=PaDTraining(),
        planner=PlannerConfig(),
        angles=angles,
        goals=GoalModelConfig(observation, objects),
        moves=MoveModelConfig(observation, objects) if len(objects) > 1 else None,
    )


def paper(observation: int, action: int, angles: Pairs = (), objects: Objects = ()) -> PaDConfig:
    """What the paper states, to the letter; docs/pad.md lists the values that it leaves open.

    Angles and objects are not told.
    """
    horizon, latent, past = 96, 32, 8
    offsets = tuple(range(1, horizon + 1))
    return PaDConfig(
        encoder=EncoderConfig("mlp", observation, latent),
        model=PaDModelConfig(
            latent=latent,
            offsets=offsets,
            past=past,
            horizon=horizon,
            context_depth=0,
            width=512,
            depth=3,
            rank=0,
            projector=2048,
            displacement=False,
        ),
        reach=None,
        inverse=InverseDynamicsConfig(latent=latent, action=action, reach=1),
        windows=WindowSpec(
            offsets=offsets, past=past, reach_low=past, reach_high=horizon, hold_goal=False, random_past=True
        ),
        training=PaDTraining(
            from_noise=0.0,
            fastest=1e9,
            state_noise=0.0,
            drift=0.0,
            outliers=0.0,
            elsewhere=0.0,
            goal_noise=0.0,
            waypoint_noise=0.0,
            reconstruction=0.0,
        ),
        planner=PlannerConfig(
            hypotheses=32,
            steps=8,
            selection="paper",
            level=False,
            warm=False,
            milestones=False,
            top=8,
            replan=8,
            lookahead=1,
            tracking=False,
        ),
    )


PRESETS = {"default": default, "paper": paper}


def preset(name: str, observation: int, action: int, angles: Pairs = (), objects: Objects = ()) -> PaDConfig:
    """The configuration of a preset for S observation and A action values, and the ``angles`` and ``objects`` found.

    Raises:
        ThalwegError: there is no such preset.
    """
    if name not in PRESETS:
        raise ThalwegError(f"unknown preset {name!r}; choose one of {choices(PRESETS)}")
    return PRESETS[name](observation, action, angles, objects)
