"""Drawing PaD's training batches: hindsight windows, transitions, and all of their noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from thalweg.angles import angle_features
from thalweg.data.store import EpisodeStore
from thalweg.data.windows import OPENING, WindowIndex, WindowSampler
from thalweg.encoders import Normaliser
from thalweg.pad.config import PaDConfig, PaDTraining
from thalweg.types import Window

__all__ = ["PaDSample", "draw_sample", "labelled_rows"]

NEARBY = 6  #: steps around the present whose displacements the body's drift is made of


@dataclass(frozen=True)
class PaDSample:
    """One training batch with all of its randomness drawn: the losses are a pure function of it.

    Attributes:
        window: normalised observations; ``past`` is what the planner sees, noise included.
        blurred: ``(B, S)`` the goal as the energy sees it, noise included.
        relations: ``(B, C)`` of the present and the goal as the energy sees them.
        sensed: ``(B, S)`` the present with its fast coordinates, noise included: what timing sees.
        sensed_relations: ``(B, C)`` of that with the goal.
        keep: ``(B, 1, 1)`` beta, the share of the clean future that corruption keeps.
        noise: ``(B, F, D)`` corruption.
        here: ``(B, S)`` the inverse dynamics' present.
        waypoint: ``(B, S)`` and its noisy target.
        ahead: ``(B,)`` steps between them.
        action: ``(B, A)`` the recorded action.
    """

    window: Window
    blurred: Tensor
    relations: Tensor
    sensed: Tensor
    sensed_relations: Tensor
    keep: Tensor
    noise: Tensor
    here: Tensor
    waypoint: Tensor
    ahead: Tensor
    action: Tensor


def draw_sample(
    config: PaDConfig,
    normaliser: Normaliser,
    sampler: WindowSampler,
    size: int,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> PaDSample:
    """Cut ``size`` hindsight windows and as many transitions, and draw all their noise."""
    training = config.training
    index = sampler.draw(size, rng)
    past, future, goal = (torch.from_numpy(part) for part in sampler.gather(index))
    sensed, past = _disturb(training, normaliser, sampler, index, normaliser(past, fast=True), rng, generator)
    window = Window(
        past=normaliser.keep * past,
        future=normaliser(future),
        goal=normaliser(goal),
        reach=torch.from_numpy(index.reach).float(),
        past_length=torch.from_numpy(index.past_length),
    )
    blur = training.goal_noise * torch.from_numpy(sampler.blur(index))
    here, waypoint, ahead, action = _transitions(config, normaliser, sampler, size, rng)
    level = training.waypoint_noise * torch.rand(size, 1, generator=generator)
    keep = torch.rand(size, 1, 1, generator=generator)
    keep *= torch.rand(size, 1, 1, generator=generator) >= training.from_noise
    blurred = normaliser(goal, fast=True) + blur * torch.randn(goal.shape, generator=generator)

    def relate(present: Tensor, wanted: Tensor) -> Tensor:
        present, wanted = (normaliser.inverse(part, fast=True) for part in (present, wanted))
        return angle_features(present, wanted, config.angles)

    return PaDSample(
        window=window,
        blurred=normaliser.keep * blurred,
        relations=relate(past[:, -1], blurred),
        sensed=sensed,
        sensed_relations=relate(sensed, normaliser(goal, fast=True)),
        keep=keep,
        noise=torch.randn(size, len(config.windows.offsets), config.model.latent, generator=generator),
        here=here,
        waypoint=waypoint + level * normaliser.keep * torch.randn(waypoint.shape, generator=generator),
        ahead=ahead,
        action=action,
    )


def _disturb(
    training: PaDTraining,
    normaliser: Normaliser,
    sampler: WindowSampler,
    index: WindowIndex,
    past: Tensor,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """What timing and planning see of a normalised past ``(B, P, S)``, fast coordinates and all."""
    size, body = len(past), torch.from_numpy(sampler.body)
    level = training.state_noise * torch.rand(size, 1, 1, generator=generator)
    past = past + level * normaliser.jitter * torch.randn(past.shape, generator=generator)
    outlier = torch.rand(past[:, 0].shape, generator=generator) < training.outliers
    elsewhere = torch.rand(size, 1, generator=generator) < training.elsewhere
    elsewhere &= torch.from_numpy(sampler.beginning(index)).unsqueeze(1)
    swap = body & (outlier | elsewhere)
    store = sampler.store
    other = normaliser(torch.from_numpy(store.observations[rng.integers(0, store.rows, size)]), fast=True)
    past = torch.where(swap.unsqueeze(1), other.unsqueeze(1), past)
    drift = torch.where(body & ~swap, training.drift * _drift(normaliser, store, index, rng, generator), 0.0)
    return past[:, -1], past + drift.unsqueeze(1)


def _drift(
    normaliser: Normaliser,
    store: EpisodeStore,
    index: WindowIndex,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """``(B, S)`` displacements along what was recorded within ``NEARBY`` steps of the present."""
    now = index.past[:, -1:]
    first, last = store.bounds(now)
    near = now + rng.integers(-NEARBY, NEARBY + 1, (len(now), 2))
    near = near.clip(first, last)
    ends = torch.from_numpy(store.observations[near.ravel()]).unflatten(0, (-1, 2))
    level = torch.randn(len(now), 1, generator=generator)
    return level * (ends[:, 0] - ends[:, 1]) / normaliser.std


def _transitions(
    config: PaDConfig, normaliser: Normaliser, sampler: WindowSampler, size: int, rng: np.random.Generator
) -> tuple[Tensor, ...]:
    """Pairs 1 to ``reach`` steps apart, from the labelled episodes: ``(B, S)``, ``(B, S)``, ``(B,)``, ``(B, A)``."""
    store, training = sampler.store, config.training
    episodes = _labelled(store, training.labelled)
    episodes = episodes[rng.integers(0, len(episodes), size)]
    first, last = store.starts[episodes], store.ends[episodes] - 1
    length = last - first
    length = np.where(rng.random(size) < config.windows.opening, np.minimum(length, OPENING), length)
    here = first + (rng.random(size) * length).astype(np.int64)
    ahead = np.minimum(rng.integers(1, config.inverse.reach + 1, size), last - here)
    rows = np.concatenate([here, here + ahead, rng.integers(0, store.rows, size)])
    rows = torch.from_numpy(store.observations[rows])
    present, waypoint, other = normaliser(rows).chunk(3)
    swap = torch.from_numpy(sampler.body & (rng.random(present.shape) < training.outliers))
    action = torch.from_numpy(store.actions[here])
    return torch.where(swap, other, present), waypoint, torch.from_numpy(ahead), action


def _labelled(store: EpisodeStore, share: float) -> np.ndarray:
    """The episodes whose actions may be seen: this share of those that have any."""
    return store.labelled[: max(1, round(share * len(store.labelled)))]


def labelled_rows(store: EpisodeStore, share: float) -> np.ndarray:
    """The rows whose actions may be seen, in order."""
    episodes = _labelled(store, share)
    return np.concatenate([np.arange(store.starts[e], store.ends[e]) for e in episodes])
