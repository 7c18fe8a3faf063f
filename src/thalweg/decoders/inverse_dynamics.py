"""k-step inverse dynamics (PaD, section 4.5, with k from 1 to ``reach``): which action leads to a waypoint."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from thalweg.nets import GatedBlock

__all__ = ["InverseDynamics", "InverseDynamicsConfig"]


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """Sizes of the inverse dynamics model.

    Attributes:
        latent: D.
        action: A.
        reach: the largest k, steps from the present to the waypoint.
        width: hidden width.
        depth: gated blocks.
    """

    latent: int
    action: int
    reach: int = 12
    width: int = 256
    depth: int = 3


class InverseDynamics(nn.Module):
    """``a_t = g(z_t, z_{t+k}, k)``, trained on detached latents; the paper's model is the case k = 1."""

    spread: Tensor
    action_mean: Tensor
    action_scale: Tensor

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("spread", torch.ones(config.latent))
        self.register_buffer("action_mean", torch.zeros(config.action))
        self.register_buffer("action_scale", torch.ones(config.action))
        self.enter = nn.Linear(2 * config.latent + config.reach, config.width)
        self.blocks = nn.Sequential(*(GatedBlock(config.width) for _ in range(config.depth)))
        self.norm = nn.RMSNorm(config.width)
        self.leave = nn.Linear(config.width, config.action)

    def normalised(self, present: Tensor, waypoint: Tensor, steps: Tensor) -> Tensor:
        """``(B, D)``, ``(B, D)``, ``(B,)`` steps -> ``(B, A)`` actions in units of their spread."""
        ahead = torch.nn.functional.one_hot(steps.long() - 1, self.config.reach).to(present.dtype)
        inputs = torch.cat([present, (waypoint - present) / self.spread, ahead], dim=1)
        return self.leave(self.norm(self.blocks(self.enter(inputs))))

    def forward(self, present: Tensor, waypoint: Tensor, steps: Tensor) -> Tensor:
        """The action to take now, so as to be at ``waypoint`` in ``steps`` steps.

        Args:
            present: ``(B, D)`` latent of the present observation.
            waypoint: ``(B, D)`` latent to reach.
            steps: ``(B,)`` integers from 1 to ``reach``.

        Returns:
            ``(B, A)`` actions in the environment's units.
        """
        return self.action_mean + self.action_scale * self.normalised(present, waypoint, steps)
