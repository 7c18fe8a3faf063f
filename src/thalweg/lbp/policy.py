"""The subgoal-conditioned policy: a learnable query fuses the plan, a diffusion head draws chunks (section 4.3)."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError, choices
from thalweg.nets import GatedBlock, time_features
from thalweg.perception.resnet import ResNet, ResNetConfig

__all__ = ["FUSIONS", "ChunkPolicy", "ChunkPolicyConfig", "signal_levels"]

FUSIONS = ("query", "average")


@dataclass(frozen=True)
class ChunkPolicyConfig:
    """Sizes of the policy.

    Attributes:
        observation: S, values of the present observation: the proprioception, or all of the state.
        latent: D.
        language: width of an instruction's embedding; 0 where goals are observations.
        action: A.
        chunk: C, actions drawn at once.
        fusion: ``query`` (the paper's: a learnable token attends to the plan), or ``average`` of the plan's tokens.
        blocks: cross-attention blocks.
        heads: attention heads.
        fused: width of the fused plan.
        width: hidden width of the denoiser.
        depth: its residual blocks.
        denoising: levels of noise in training.
        sampling: steps of the sampler (DDIM), as many as ``denoising`` or fewer.
        eyes: the network that looks at frames, conditioned by the fused plan; None where there are no cameras.
    """

    observation: int
    latent: int
    action: int
    language: int = 0
    chunk: int = 6
    fusion: str = "query"
    blocks: int = 2
    heads: int = 4
    fused: int = 256
    width: int = 512
    depth: int = 3
    denoising: int = 25
    sampling: int = 3
    eyes: ResNetConfig | None = None

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ThalwegError(f"unknown fusion {self.fusion!r}; choose one of {choices(FUSIONS)}")
        if not 1 <= self.sampling <= self.denoising:
            raise ThalwegError(f"sampling must be from 1 to denoising={self.denoising} steps, got {self.sampling}")
        if self.fused % self.heads:
            raise ThalwegError(f"fused={self.fused} must be a multiple of heads={self.heads}")


class Attend(nn.Module):
    """One query's cross-attention block: ``q + attention(q, tokens)``, then a gated unit."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.tell, self.leave = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.block = GatedBlock(width, norm=nn.LayerNorm)

    def forward(self, query: Tensor, tokens: Tensor, shown: Tensor) -> Tensor:
        """``(B, W)`` and ``(B, N, W)``, of which some ``(B, N)`` are shown -> ``(B, W)``."""
        asked = self.ask(self.query_norm(query)).unflatten(-1, (self.heads, -1)).unsqueeze(2)
        key, value = self.tell(self.token_norm(tokens)).chunk(2, dim=-1)
        key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (key, value))
        heard = functional.scaled_dot_product_attention(asked, key, value, attn_mask=shown[:, None, None])
        return self.block(query + self.leave(heard.flatten(1)))


class Fusion(nn.Module):
    """``{w_n .. w_1, z_g, language}`` -> one token: what of the plan matters now.

    Subgoals are told as they are, and as seen from the present: what is still to be moved, and how far.
    """

    def __init__(self, config: ChunkPolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.enter = nn.Linear(2 * config.latent, config.fused)
        self.hear = nn.Linear(config.language, config.fused) if config.language else None
        self.place = nn.Linear(14, config.fused)
        if config.fusion == "query":
            self.query = nn.Parameter(0.02 * torch.randn(config.fused))
            self.blocks = nn.ModuleList(Attend(config.fused, config.heads) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.fused)

    def forward(self, present: Tensor, plan: Tensor, ratio: Tensor, shown: Tensor, language: Tensor) -> Tensor:
        """Fuse what is shown.

        Args:
            present: ``(B, D)``.
            plan: ``(B, n + 1, D)``, near to far.
            ratio: ``(B,)`` of the plan. Tokens are told apart by their share of the way to the goal.
            shown: ``(B, n + 1)`` tokens that are not hidden; all may be, where there is an instruction.
            language: ``(B, L)`` the instruction, always shown.

        Returns:
            ``(B, W)``.
        """
        level = torch.arange(plan.shape[1] - 1, -1, -1, device=plan.device)
        place = self.place(time_features(-level * ratio.log2().unsqueeze(1), 8))
        tokens = self.enter(torch.cat([plan, plan - present.unsqueeze(1)], dim=2)) + place
        if self.hear is not None:
            tokens = torch.cat([tokens, self.hear(language).unsqueeze(1)], dim=1)
            shown = torch.cat([shown, shown.new_ones(len(shown), 1)], dim=1)
        if self.config.fusion == "average":
            weight = shown.to(tokens.dtype).unsqueeze(2)
            return self.norm((weight * tokens).sum(dim=1) / weight.sum(dim=1))
        query = self.query.expand(len(plan), -1)
        for block in self.blocks:
            query = block(query, tokens, shown)
        return self.norm(query)


def signal_levels(steps: int) -> Tensor:
    """``(steps + 1,)`` the share of signal in the variance at every level, clean first: the cosine schedule."""
    angle = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    signal = torch.cos((angle + 0.008) / 1.008 * math.pi / 2).square()
    return (signal / signal[0]).clamp(min=1e-4).float()


class ChunkPolicy(nn.Module):
    """``p(a_t .. a_t+C-1 | s_t, plan, language)``, by denoising, of what ``fuse`` makes of plan and language.

    Actions are in units of their spread.
    """

    signal: Tensor

    def __init__(self, config: ChunkPolicyConfig) -> None:
        super().__init__()
        self.config = config
        self.fuse = Fusion(config)
        self.eyes = None if config.eyes is None else ResNet(config.eyes)
        size, looked = config.chunk * config.action, 0 if config.eyes is None else config.eyes.features
        self.enter = nn.Linear(size + config.observation + looked + config.fused + 14, config.width)
        blocks = (GatedBlock(config.width, norm=nn.LayerNorm) for _ in range(config.depth))
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(config.width))
        self.leave = nn.Linear(config.width, size)
        self.register_buffer("signal", signal_levels(config.denoising), persistent=False)

    def see(self, observation: Tensor, frames: Tensor | None, fused: Tensor) -> Tensor:
        """All that a chunk depends on ``(B, W)``: the observation, what the eyes make of the frames, and the plan."""
        looked = [] if self.eyes is None else [self.eyes(frames, fused)]
        return torch.cat([observation, *looked, fused], dim=1)

    def clean(self, noisy: Tensor, level: Tensor, seen: Tensor) -> Tensor:
        """The chunks ``(B, C * A)`` that are hidden in noisy ones at levels ``(B,)`` from 1 to ``denoising``."""
        told = time_features(level.float(), self.config.denoising)
        return self.leave(self.blocks(self.enter(torch.cat([noisy, seen, told], dim=1))))

    def loss(
        self,
        observation: Tensor,
        frames: Tensor | None,
        fused: Tensor,
        chunk: Tensor,
        level: Tensor,
        noise: Tensor,
    ) -> Tensor:
        """Squared error of the clean chunk, eq. 6 as a diffusion loss.

        Args:
            observation: ``(B, S)`` normalised.
            frames: ``(B, V, 3, H, W)``, where there are cameras.
            fused: ``(B, W)`` the plan.
            chunk: ``(B, C, A)`` recorded actions, in units of their spread.
            level: ``(B, K)`` levels of noise from 1 to ``denoising``, K of each chunk.
            noise: ``(B, K, C, A)``.
        """
        draws = level.shape[1]
        signal = self.signal[level].unsqueeze(2)
        target = chunk.flatten(1).unsqueeze(1).expand(-1, draws, -1)
        noisy = signal.sqrt() * target + (1 - signal).sqrt() * noise.flatten(2)
        seen = self.see(observation, frames, fused).repeat_interleave(draws, dim=0)
        clean = self.clean(noisy.flatten(0, 1), level.flatten(), seen)
        return functional.mse_loss(clean.float(), target.flatten(0, 1))

    def draw(
        self,
        observation: Tensor,
        frames: Tensor | None,
        fused: Tensor,
        noise: Tensor,
        *,
        steps: int | None = None,
    ) -> Tensor:
        """Chunks ``(B, C, A)`` from ``noise`` of that shape, by DDIM in ``steps`` or ``sampling`` steps."""
        seen = self.see(observation, frames, fused)
        steps = self.config.sampling if steps is None else steps
        levels = torch.linspace(self.config.denoising, 0, steps + 1).round().long().tolist()
        chunk = noise.flatten(1)
        for level, lower in itertools.pairwise(levels):
            now, then = self.signal[level], self.signal[lower]
            clean = self.clean(chunk, torch.full((len(chunk),), level, device=chunk.device), seen)
            residue = (chunk - now.sqrt() * clean) / (1 - now).sqrt()
            chunk = then.sqrt() * clean + (1 - then).sqrt() * residue
        return chunk.unflatten(1, (self.config.chunk, self.config.action))
