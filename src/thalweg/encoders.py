"""Encoders turn one observation into one latent; none mixes time (PaD, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thalweg.errors import ThalwegError, choices
from thalweg.nets import GatedBlock

__all__ = ["ENCODERS", "Encoder", "EncoderConfig", "Normaliser"]

ENCODERS = ("residual", "mlp", "identity")


class Normaliser(nn.Module):
    """Observations to zero mean and unit spread, by the training set's statistics; travels in the checkpoint."""

    mean: Tensor
    std: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("std", torch.ones(size))

    def fit(self, observations: Tensor, *, floor: float = 1e-2) -> None:
        """Take mean and spread from ``(N, S)`` observations; a spread below ``floor`` counts as ``floor``."""
        self.mean.copy_(observations.mean(dim=0))
        self.std.copy_(observations.std(dim=0).clamp(min=floor))

    def forward(self, observations: Tensor) -> Tensor:
        return (observations - self.mean) / self.std

    def inverse(self, normalised: Tensor) -> Tensor:
        """Back to the environment's units."""
        return normalised * self.std + self.mean


@dataclass(frozen=True)
class EncoderConfig:
    """Kind and sizes of an encoder.

    Attributes:
        kind: ``residual`` (a linear embedding plus a learned correction), ``mlp``, or ``identity`` (the raw state).
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
        self.embed = nn.Linear(config.observation, config.latent)
        self.restore = nn.Linear(config.latent, config.observation)
        self.learned = _branch(config.observation, config.latent, config)
        self.decoder = _branch(config.latent, config.observation, config)
        if config.kind == "residual":
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
        return self.embed(normalised) + learned if self.config.kind == "residual" else learned

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
