"""Goals as people give them: in words, or as what is to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import ThalwegError, choices
from thalweg.perception.language import TextEncoder
from thalweg.types import Goal, Sight

if TYPE_CHECKING:
    from thalweg.lbp.system import LBP

__all__ = ["TEXT_ENCODERS", "embed", "read_goals", "text_encoder"]

TEXT_ENCODERS = ("minilm",)
_PARTS = ("latent", "language", "told")


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
    single = isinstance(goals, str | Path | Mapping) or (
        not isinstance(goals, list | tuple) and np.ndim(goals) == (1 if planner.config.images is None else 3)
    )
    asked = [goals] if single else list(goals)
    if not asked:
        raise ThalwegError("got no goal; give an instruction, or what is to be observed")
    read = [_told(planner, goal) if isinstance(goal, str) else _seen(planner, goal) for goal in asked]
    parts = (torch.cat([getattr(goal, name).to(planner.device) for goal in read]) for name in _PARTS)
    return Goal(*parts), single


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


def _seen(planner: LBP, goal: Any) -> Goal:
    """A goal that is a state, or a frame: an array, a file, or frames by the camera's name."""
    images = planner.config.images
    if images is None:
        if isinstance(goal, Path):
            raise ThalwegError(f"this checkpoint knows no images, got {goal}; give an instruction or a state")
        observation = planner.read(goal, "goal")
        if len(observation) != 1:
            raise ThalwegError(f"goal has shape {np.shape(goal)}; expected ({planner.observation},)")
        return planner.given(observation.to(planner.device))
    if isinstance(goal, Path):
        goal = _load(goal)
    if not isinstance(goal, Mapping):
        if len(images.cameras) > 1:
            raise ThalwegError(f"the goal is one frame; give a dict with one of each camera: {choices(images.cameras)}")
        goal = {images.cameras[0]: goal}
    frames = {name: np.asarray(frame)[None] for name, frame in goal.items() if name in images.cameras}
    return planner.given(Sight(torch.zeros(1, planner.observation), frames))


def _load(path: Path) -> np.ndarray:
    """An image file's pixels ``(height, width, 3)`` uint8."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ThalwegError(f"{path} needs Pillow: pip install 'thalweg[vision]' ({error})") from error
    try:
        with Image.open(path) as image:
            return np.array(image.convert("RGB"))
    except OSError as error:
        raise ThalwegError(f"the goal {path} is no readable image ({error})") from error
