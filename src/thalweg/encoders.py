"""Encoders turn one observation into one latent; none mixes time (PaD, section 4.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.data.scene import STEPS
from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError, choices
from thalweg.nets import GatedBlock

__all__ = ["ENCODERS", "Components", "Encoder", "EncoderConfig", "Normaliser", "latent_health"]

ENCODERS = ("residual", "mlp", "identity")
_THINNEST = 1e-2  # smallest spread of a component, of the largest


class Normaliser(nn.Module):
    """Observations to zero mean and unit spread, by the training set's statistics; travels in the checkpoint.

    Fast coordinates can be left out: they read as zero. A coordinate is fast when it moves, within ``STEPS`` steps,
    nearly as far as it ever does: joint velocities, say. They betray what the recording was about to do
    rather than where things are, and a planner that listens to them follows its own mistakes.
    """

    mean: Tensor
    std: Tensor
    keep: Tensor
    jitter: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))
        self.register_buffer("keep", torch.ones(size))
        self.register_buffer("jitter", torch.zeros(size))

    def fit(self, now: Tensor, following: Tensor, later: Tensor, *, fastest: float, floor: float = 1e-2) -> None:
        """Take the statistics from ``(N, S)`` observations, and those 1 and ``STEPS`` steps later.

        A spread below ``floor`` counts as ``floor``. Coordinates whose displacement spreads more than ``fastest``
        times the coordinate itself are left out.
        """
        self.mean.copy_(now.mean(dim=0))
        self.std.copy_(now.std(dim=0).clamp(min=floor))
        self.keep.copy_(((later - now).std(dim=0) / self.std <= fastest).float())
        self.jitter.copy_((following - now).std(dim=0) / self.std)

    def measure(self, store: EpisodeStore, rng: np.random.Generator, *, fastest: float = math.inf) -> None:
        """Fit on up to 200,000 rows of a store."""
        rows = rng.integers(0, store.rows, min(store.rows, 200_000))
        _, last = store.bounds(rows)
        moments = (store.observations[np.minimum(rows + k, last)] for k in (0, 1, STEPS))
        self.fit(*(torch.from_numpy(moment).float() for moment in moments), fastest=fastest)

    def forward(self, observations: Tensor, *, fast: bool = False) -> Tensor:
        """``(..., S)`` -> ``(..., S)``; with ``fast``, no coordinate is left out."""
        normalised = (observations - self.mean) / self.std
        return normalised if fast else normalised * self.keep

    def inverse(self, normalised: Tensor, *, fast: bool = False) -> Tensor:
        """Back to the environment's units; without ``fast``, coordinates left out come back as their mean."""
        return (normalised if fast else normalised * self.keep) * self.std + self.mean


class Components(nn.Module):
    """Vectors along their D principal components, each of unit spread, by the training set; travels in the checkpoint.

    Args:
        size: E, values of a vector.
        count: D, components that are kept, E or fewer: those along which vectors differ most.
    """

    mean: Tensor
    axes: Tensor
    std: Tensor
    jitter: Tensor

    def __init__(self, size: int, count: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("axes", torch.eye(size, count))
        self.register_buffer("std", torch.ones(count))
        self.register_buffer("jitter", torch.zeros(count))

    def fit(self, now: Tensor, following: Tensor) -> None:
        """Find them in vectors ``(N, E)``, and how far they move to those one step later."""
        self.mean.copy_(now.mean(dim=0))
        values, axes = torch.linalg.eigh((now - self.mean).double().T.cov())
        count = len(self.std)
        self.axes.copy_(axes.flip(1)[:, :count])
        std = values.flip(0)[:count].clamp(min=0.0).sqrt()
        self.std.copy_(std.clamp(min=_THINNEST * std.max()).clamp(min=torch.finfo(torch.float32).tiny))
        self.jitter.copy_((self(following) - self(now)).std(dim=0))

    def forward(self, vectors: Tensor) -> Tensor:
        """``(..., E)`` -> ``(..., D)``."""
        return (vectors - self.mean) @ self.axes / self.std

    def inverse(self, latents: Tensor) -> Tensor:
        """``(..., D)`` -> ``(..., E)``, without what the other components would add."""
        return (latents * self.std) @ self.axes.T + self.mean


@dataclass(frozen=True)
class EncoderConfig:
    """Kind and sizes of an encoder.

    Attributes:
        kind: ``residual`` (a linear embedding plus a learned correction), ``mlp`` (latents of unit length per
            coordinate, as the corruption's noise), or ``identity`` (the raw state).
        observation: S.
        latent: D; equal to S for ``identity``.
        width: hidden width.
        depth: hidden layers.
    """

    kind: str
    observation: int
    latent: int
    width: int = 128
    depth: int = 2

    def __post_init__(self) -> None:
        if self.kind not in ENCODERS:
            raise ThalwegError(f"unknown encoder {self.kind!r}; choose one of {choices(ENCODERS)}")
        if self.kind == "identity" and self.latent != self.observation:
            raise ThalwegError(f"an identity encoder needs latent = observation, got {self.latent}, {self.observation}")


class Encoder(nn.Module):
    """``z = f(s)`` on normalised observations, with a decoder ``s = d(z)`` that draws plans and keeps f honest.

    The decoder reconstructs the observation from the latent. Its error is what shows that the latent has not
    collapsed; with the ``residual`` encoder it is also part of the loss.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        if config.kind == "identity":
            return
        self.restore = nn.Linear(config.latent, config.observation)
        self.learned = _branch(config.observation, config.latent, config)
        self.decoder = _branch(config.latent, config.observation, config)
        if config.kind == "residual":
            self.embed = nn.Linear(config.observation, config.latent)
            nn.init.orthogonal_(self.embed.weight)
            nn.init.zeros_(self.embed.bias)
            with torch.no_grad():
                self.restore.weight.copy_(torch.linalg.pinv(self.embed.weight))
            nn.init.zeros_(self.restore.bias)

    def forward(self, normalised: Tensor) -> Tensor:
        """``(..., S)`` normalised observations -> ``(..., D)`` latents."""
        if self.config.kind == "identity":
            return normalised
        learned = self.learned(normalised)
        if self.config.kind == "residual":
            return self.embed(normalised) + learned
        return functional.layer_norm(learned, (self.config.latent,))

    def decode(self, latents: Tensor) -> Tensor:
        """``(..., D)`` latents -> ``(..., S)`` normalised observations."""
        if self.config.kind == "identity":
            return latents
        return self.restore(latents) + self.decoder(latents)


def _branch(inputs: int, outputs: int, config: EncoderConfig) -> nn.Sequential:
    leave = nn.Linear(config.width, outputs)
    if config.kind == "residual":
        nn.init.zeros_(leave.weight)
        nn.init.zeros_(leave.bias)
    blocks = (GatedBlock(config.width) for _ in range(config.depth - 1))
    return nn.Sequential(nn.Linear(inputs, config.width), nn.SiLU(), *blocks, leave)


@torch.no_grad()
def latent_health(
    normaliser: Normaliser, encoder: Encoder, store: EpisodeStore, rng: np.random.Generator
) -> dict[str, float]:
    """Have the latents collapsed? Measured on up to 20,000 observations of ``store``.

    Returns:
        ``effective_rank`` of the latents (the exponential of their spectrum's entropy, at most D) and of the
        observations (at most S), and the ``reconstruction`` error in units of the observations' variance.
    """
    rows = rng.integers(0, store.rows, min(store.rows, 20_000))
    normalised = normaliser(torch.from_numpy(store.observations[rows]))
    latents = encoder(normalised)
    error = (encoder.decode(latents) - normalised).square().mean() / normalised.var(dim=0).mean()
    ranks = (_effective_rank(latents), _effective_rank(normalised))
    return {
        "effective_rank": round(ranks[0], 2),
        "observation_rank": round(ranks[1], 2),
        "reconstruction": round(float(error), 5),
    }


def _effective_rank(values: Tensor) -> float:
    spectrum = torch.linalg.svdvals(values - values.mean(dim=0))
    share = spectrum / spectrum.sum()
    return float((-share * share.clamp(min=1e-12).log()).sum().exp())
