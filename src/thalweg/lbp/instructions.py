"""Goals as people give them: in words, or as what is to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import ThalwegError, choices
from thalweg.perception.language import TextEncoder
from thalweg.types import Goal

if TYPE_CHECKING:
    from thalweg.lbp.system import LBP

__all__ = ["TEXT_ENCODERS", "embed", "read_goals", "text_encoder"]

TEXT_ENCODERS = ("minilm",)


@cache
def text_encoder(name: str) -> TextEncoder:
    """The encoder of that name, loaded once.

    Raises:
        ThalwegError: there is none, or it is not installed.
    """
    if name not in TEXT_ENCODERS:
        raise ThalwegError(f"unknown text encoder {name!r}; choose one of {choices(TEXT_ENCODERS)}")
    return TextEncoder()


def embed(name: str, instructions: Sequence[str]) -> Tensor:
    """``(B, L)`` embeddings of unit spread, as networks like them."""
    encoder = text_encoder(name)
    return encoder.encode(instructions) * encoder.width**0.5


def read_goals(planner: LBP, goals: Any) -> tuple[Goal, bool]:
    """See ``LBP.read_goals``."""
    single = isinstance(goals, str) or (not isinstance(goals, list | tuple) and np.ndim(goals) == 1)
    asked = [goals] if single else list(goals)
    if not asked:
        raise ThalwegError("got no goal; give an instruction, or an observation")
    read = [_told(planner, goal) if isinstance(goal, str) else _seen(planner, goal) for goal in asked]
    parts = (torch.cat([getattr(goal, name) for goal in read]) for name in ("latent", "language", "told"))
    return Goal(*(part.to(planner.device) for part in parts)), single


def _told(planner: LBP, instruction: str) -> Goal:
    config = planner.config
    if not config.text:
        raise ThalwegError(
            f"this checkpoint knows no instructions, got {instruction!r}; give an observation, or train one on "
            "demonstrations that come with instructions"
        )
    if not instruction.strip():
        raise ThalwegError("the instruction is empty; say what to do, such as 'open the drawer'")
    found = text_encoder(config.text).fingerprint
    if found != config.text_fingerprint:
        raise ThalwegError(
            f"the text encoder {config.text!r} that is installed has fingerprint {found[:12]}, the checkpoint was "
            f"trained with {config.text_fingerprint[:12]}; install the same version of it"
        )
    return Goal(torch.zeros(1, config.subgoals.latent), embed(config.text, [instruction]), torch.ones(1).bool())


def _seen(planner: LBP, observation: Any) -> Goal:
    try:
        array = np.asarray(observation, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ThalwegError(f"goal is neither an instruction nor an array of numbers ({error})") from error
    if array.shape != (planner.observation,):
        raise ThalwegError(f"goal has shape {array.shape}; expected ({planner.observation},), or an instruction")
    if not np.isfinite(array).all():
        raise ThalwegError(f"goal is not finite at index {np.argwhere(~np.isfinite(array))[0].tolist()}")
    return planner.given(torch.from_numpy(array).to(planner.device).unsqueeze(0))
