"""Goals as people give them: in words, or as what is to be seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from thalweg.errors import ThalwegError, choices
from thalweg.perception.language import TextEncoder
from thalweg.perception.vision_language import VisionLanguageEncoder, vision_language
from thalweg.types import Goal, Sight

if TYPE_CHECKING:
    from thalweg.lbp.system import LBP

__all__ = ["MINILM", "embed", "read_goals", "text_encoder"]

MINILM = "minilm"  #: the text encoder that comes inside a package
_PARTS = ("latent", "language", "told")


@cache
def text_encoder(name: str) -> TextEncoder | VisionLanguageEncoder:
    """MiniLM, or the vision-language encoder at that folder, file or hub id; loaded once.

    Raises:
        ThalwegError: there is none, or it is not installed.
    """
    return TextEncoder() if name == MINILM else vision_language(name)


def embed(name: str, instructions: Sequence[str]) -> Tensor:
    """``(B, L)`` embeddings of unit spread, as networks like them."""
    encoder, different = text_encoder(name), list(dict.fromkeys(instructions))
    numbers = {text: number for number, text in enumerate(different)}
    return (encoder.encode(different) * encoder.width**0.5)[[numbers[text] for text in instructions]]


def read_goals(planner: LBP, goals: Any) -> tuple[Goal, bool]:
    """See ``LBP.read_goals``."""
    state = isinstance(goals, list | tuple) and len(goals) > 0 and all(isinstance(value, Real) for value in goals)
    goals = np.asarray(goals) if state else goals
    single = isinstance(goals, str | Path | Mapping) or (
        not isinstance(goals, list | tuple) and np.ndim(goals) == (3 if planner.config.cameras else 1)
    )
    if not single and not isinstance(goals, list | tuple) and np.ndim(goals) == 0:
        raise ThalwegError(f"the goal is {goals!r}; give an instruction, or what is to be observed")
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
    """A goal that is a state, or a frame: an array, a file, or these by the camera's name."""
    cameras = planner.config.cameras
    if not cameras:
        if isinstance(goal, Path):
            raise ThalwegError(f"this checkpoint knows no images, got {goal}; give an instruction or a state")
        observation = planner.read(goal, "goal")
        if len(observation) != 1:
            raise ThalwegError(f"goal has shape {np.shape(goal)}; expected ({planner.observation},)")
        return planner.given(observation.to(planner.device))
    if not isinstance(goal, Mapping):
        if len(cameras) > 1:
            found = "a file" if isinstance(goal, Path) else f"of shape {np.shape(goal)}"
            raise ThalwegError(f"the goal is {found}; give a dict with a frame of each camera: {choices(cameras)}")
        goal = {cameras[0]: goal}
    missing = [name for name in cameras if name not in goal]
    if missing:
        raise ThalwegError(f"the goal has no frame of camera {missing[0]!r}; it has {choices(goal) or 'none'}")
    shown = {name: goal[name] for name in cameras}
    frames = {name: _load(one) if isinstance(one, Path) else np.asarray(one) for name, one in shown.items()}
    return planner.given(Sight(torch.zeros(1, planner.observation), {name: one[None] for name, one in frames.items()}))


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
