"""What LBP is trained on: windows of recordings, or of demonstrations that come with instructions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.data.scene import Objects
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import WindowSampler, WindowSpec
from thalweg.errors import ThalwegError
from thalweg.focus import find_next_moves

__all__ = ["Demonstrations", "Hindsight", "LBPSample", "Moments"]


@dataclass(frozen=True)
class LBPSample:
    """One training batch with all of its randomness drawn.

    Attributes:
        present: ``(B, D)`` latents, noise included.
        astray: ``(B, D)`` the same, as planner and time-to-reach model learn from them: farther off.
        observation: ``(B, seen)`` what the policy sees beside the plan: normalised, with what was found in it.
        frames: ``(B, V, 3, H, W)`` uint8 that the policy looks at; ``(B, 0)`` where there are no cameras.
        goal: ``(B, D)`` as it would be given, or as the demonstration ended.
        language: ``(B, L)`` instructions; zero where the goal is given.
        told: ``(B,)`` whether the goal is told in words.
        fold: ``(B,)`` of the episode it is from.
        shown: ``(B, n + 1)`` tokens of the plan that the policy is shown.
        alone: ``(B,)`` whether it sees of several objects of a kind the one alone that the plan moves next.
        subgoals: ``(B, n, D)`` recorded, near to far.
        ratio: ``(B,)`` of the plan.
        reach: ``(B,)`` steps to the goal.
        moved: ``(B,)`` the object that moves next before the goal, of several of a kind; as many as they are for none.
        given: ``(B, n, D)`` unit noise on the subgoals that networks are given.
        misled: ``(B, n + 1, D)`` noise on the plan that the policy learns from.
        chunk: ``(B, C, A)`` recorded actions in units of their spread; beyond the goal the last one is held.
        level: ``(B, K)`` levels of noise on the chunk, for each time that it is denoised.
        noise: ``(B, K, C, A)`` that noise.
    """

    present: Tensor
    astray: Tensor
    observation: Tensor
    frames: Tensor
    goal: Tensor
    language: Tensor
    told: Tensor
    fold: Tensor
    shown: Tensor
    alone: Tensor
    subgoals: Tensor
    ratio: Tensor
    reach: Tensor
    moved: Tensor
    given: Tensor
    misled: Tensor
    chunk: Tensor
    level: Tensor
    noise: Tensor


@dataclass(frozen=True)
class Moments:
    """Where B samples lie: rows ``now (B,)``, ``reach (B,)`` steps before their goal, and what that goal is.

    ``goal (B, S)`` are states as they would be given, where they are not the recorded ones, and ``blur (B, S)`` says
    how far each coordinate is foretold, and how far ahead it lies: from 0 to 1. ``language (B, L)`` and ``told (B,)``
    are as in ``LBPSample``.
    """

    now: np.ndarray
    reach: np.ndarray
    language: Tensor
    told: Tensor
    goal: np.ndarray | None = None
    blur: Tensor | None = None


class _Source:
    """Recordings that samples are cut from.

    Args:
        store: the recordings.
        objects: coordinates of those of which it is to be told which one moves next.
        latents: ``(N, D)`` of every row, where they were computed beforehand.
    """

    def __init__(self, store: EpisodeStore, objects: Objects, latents: np.ndarray | None) -> None:
        self.store, self.latents = store, latents
        self._moves = find_next_moves(store, objects)
        self._shuffled = np.random.default_rng(0).permutation(len(store))

    def moved(self, moments: Moments) -> Tensor:
        """``(B,)`` the object that moves next before each goal; as many as there are objects where none does."""
        return self._moves.before(moments.now, moments.now + moments.reach)

    def fold(self, rows: np.ndarray, folds: int) -> Tensor:
        """``(B,)`` the fold of every row's episode, in no order: tasks that take turns must not share a fold."""
        return torch.from_numpy(self._shuffled[self.store.episode_of(rows)] % folds)


class Hindsight(_Source):
    """Goals from the recordings' own future, none of them told.

    Args:
        store: the recordings.
        spec: how far ahead goals lie.
        objects, latents: as in ``_Source``.
    """

    def __init__(
        self, store: EpisodeStore, spec: WindowSpec, *, objects: Objects = (), latents: np.ndarray | None = None
    ) -> None:
        super().__init__(store, objects, latents)
        self._windows = WindowSampler(store, spec)

    def draw(self, size: int, rng: np.random.Generator) -> Moments:
        """Cut ``size`` windows."""
        index = self._windows.draw(size, rng)
        now, untold = index.past[:, -1], (torch.zeros(size, 0), torch.zeros(size, dtype=torch.bool))
        if self.latents is not None:
            return Moments(now, index.reach, *untold)
        blur = torch.from_numpy(self._windows.blur(index))
        return Moments(now, index.reach, *untold, self._windows.gather(index)[2], blur)


class Demonstrations(_Source):
    """Goals at the ends of demonstrations, told as they were; a share of them is given instead.

    Args:
        store: with instructions.
        embeddings: ``(E, L)`` of every episode's instruction.
        given: share of the goals that are given as observations.
        spread: of the noise on embeddings: nobody says a thing twice in the same words.
        objects, latents: as in ``_Source``.
    """

    def __init__(
        self,
        store: EpisodeStore,
        embeddings: Tensor,
        *,
        given: float,
        spread: float,
        objects: Objects = (),
        latents: np.ndarray | None = None,
    ) -> None:
        if len(embeddings) != len(store):
            raise ThalwegError(f"{store.source}: got {len(embeddings)} instructions for {len(store)} episodes")
        super().__init__(store, objects, latents)
        self._embeddings, self._given, self._spread = embeddings, given, spread
        self._begin = np.delete(np.arange(store.rows), store.ends - 1)

    def draw(self, size: int, rng: np.random.Generator) -> Moments:
        """Draw ``size`` rows."""
        store = self.store
        now = self._begin[rng.integers(0, len(self._begin), size)]
        episode = store.episode_of(now)
        last = store.ends[episode] - 1
        told = torch.from_numpy(rng.random(size) >= self._given)
        language = self._embeddings[torch.from_numpy(episode)]
        language = language + self._spread * torch.from_numpy(rng.standard_normal(language.shape, np.float32))
        return Moments(now, last - now, language * told.unsqueeze(1), told)
