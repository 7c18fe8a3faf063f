"""Thalweg: plans for robots from reward-free recordings.

agent = thalweg.Agent.load("checkpoints/cube-single-play")
agent.reset(goal)
action = agent.act(observation)
"""

from thalweg.agent import Agent
from thalweg.check import check_env, check_planner
from thalweg.checkpoint import Provenance, load_checkpoint, save_checkpoint
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError
from thalweg.evaluation import evaluate
from thalweg.pad.config import PaDConfig
from thalweg.pad.planner import PlannerConfig
from thalweg.pad.presets import preset
from thalweg.pad.system import PaD
from thalweg.refine import refine
from thalweg.results import compare, load_result, wilson
from thalweg.rollout import RolloutSpec, rollout
from thalweg.train import TrainConfig, train
from thalweg.training import train_checkpoint
from thalweg.types import Context, Plan

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "Context",
    "EpisodeStore",
    "PaD",
    "PaDConfig",
    "Plan",
    "PlannerConfig",
    "Provenance",
    "RolloutSpec",
    "ThalwegError",
    "TrainConfig",
    "check_env",
    "check_planner",
    "compare",
    "evaluate",
    "load_checkpoint",
    "load_result",
    "preset",
    "refine",
    "rollout",
    "save_checkpoint",
    "train",
    "train_checkpoint",
    "wilson",
]
