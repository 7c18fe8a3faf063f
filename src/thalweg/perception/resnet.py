"""A compact residual network for camera frames, shared by the cameras, that a plan can condition (FiLM)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError

__all__ = ["POINTS", "Points", "ResNet", "ResNetConfig", "Trunk"]

POINTS = 32  #: that are looked for in a frame, unless something else is asked for
_GROUP = 16  # channels normalised together
_SHARPNESS = 4.0  # of the softmax that finds points, to begin with


@dataclass(frozen=True)
class ResNetConfig:
    """Sizes of the network. The defaults have ResNet-18's depth, and a quarter of its width.

    ResNet-34, as LBP's policy has it, is ``widths=(64, 128, 256, 512), blocks=(3, 4, 6, 3)``.

    Attributes:
        features: values that come out.
        condition: W, width of what conditions it; 0 where nothing does.
        views: V, cameras.
        widths: channels of each stage; every stage after the first halves the resolution.
        blocks: residual blocks of each stage.
        stem: stride of the first convolution.
        grid: side of the grid that the last maps are averaged to; 1 is the plain ResNet's mean.
        points: places in the frame that are looked for, each told by its two coordinates; 0 looks for none.
    """

    features: int = 256
    condition: int = 0
    views: int = 1
    widths: tuple[int, ...] = (16, 32, 64, 128)
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    stem: int = 2
    grid: int = 4
    points: int = 0

    def __post_init__(self) -> None:
        for name in ("features", "views", "stem", "grid"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        for name in ("condition", "points"):
            if getattr(self, name) < 0:
                raise ThalwegError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if not self.widths or len(self.widths) != len(self.blocks):
            raise ThalwegError(f"widths={self.widths} and blocks={self.blocks} must name the same stages, 1 or more")
        if min(self.widths) < 1 or min(self.blocks) < 1:
            raise ThalwegError(f"widths={self.widths} and blocks={self.blocks} must be 1 or more each")


def _norm(width: int) -> nn.GroupNorm:
    """By groups, not by batch: a frame gets the same features in any company, in training and after."""
    return nn.GroupNorm(width // _GROUP if width % _GROUP == 0 else 1, width)


class Block(nn.Module):
    """Two convolutions and a short cut; the condition scales and shifts what is added (FiLM), at first by nothing."""

    def __init__(self, inputs: int, width: int, stride: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.first_norm = _norm(width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.second_norm = _norm(width)
        plain = inputs == width and stride == 1
        self.short = None if plain else nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), _norm(width))
        self.film = nn.Linear(condition, 2 * width) if condition else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(self, maps: Tensor, condition: Tensor | None) -> Tensor:
        """``(B, inputs, h, w)`` and ``(B, W)`` -> ``(B, width, h / stride, w / stride)``."""
        hidden = functional.relu(self.first_norm(self.first(maps)))
        hidden = self.second_norm(self.second(hidden))
        if self.film is not None:
            scale, shift = self.film(condition)[..., None, None].chunk(2, dim=1)
            hidden = torch.addcmul(hidden + shift, hidden, scale)
        return functional.relu(hidden + (maps if self.short is None else self.short(maps)))


class Points(nn.Module):
    """Where in the frame some things are: the mean place under a softmax over a map of each (Finn et al., 2016)."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.look = nn.Conv2d(width, count, 1)
        self.sharpness = nn.Parameter(torch.tensor(_SHARPNESS).log())

    def forward(self, maps: Tensor) -> Tensor:
        """``(B, width, h, w)`` -> ``(B, 2 * count)`` places across and down, from -1 to 1."""
        weight = (self.look(maps).float() * self.sharpness.exp()).flatten(2).softmax(dim=2).unflatten(2, maps.shape[2:])
        down, across = (torch.linspace(-1, 1, side, device=maps.device) for side in maps.shape[2:])
        return torch.cat([weight.sum(dim=2) @ across, weight.sum(dim=3) @ down], dim=1)


class Trunk(nn.Module):
    """Frames of one camera to what is in them, and where.

    The last maps are averaged to a grid and laid out, not averaged away: where a small object is has to come through.
    The grid also makes frames of any size fit. Points are looked for earlier, in the maps of the second stage: a few
    pixels matter for a grasp, and the last maps are coarse.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        widths = (config.widths[0], *config.widths)
        self.stem = nn.Conv2d(3, widths[0], 5, config.stem, 2, bias=False)
        self.stem_norm = _norm(widths[0])
        self.blocks = nn.ModuleList(
            Block(
                widths[stage] if index == 0 else width,
                width,
                2 if stage and index == 0 else 1,
                config.condition,
            )
            for stage, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True))
            for index in range(count)
        )
        self.grid = config.grid
        self.width = config.grid**2 * config.widths[-1] + 2 * config.points
        self.fine = sum(config.blocks[:2])
        self.points = Points(config.widths[:2][-1], config.points) if config.points else None
        self.to(memory_format=torch.channels_last)  # a quarter faster on a CPU

    def begin_as(self, other: Trunk) -> None:
        """Take the weights of one of the same build, but for conditions and points; of another build, nothing."""
        own, given = (
            {name: value for name, value in trunk.state_dict().items() if ".film." not in name and "points" not in name}
            for trunk in (self, other)
        )
        if {name: value.shape for name, value in own.items()} == {name: value.shape for name, value in given.items()}:
            self.load_state_dict(given, strict=False)

    def forward(self, frames: Tensor, condition: Tensor | None = None) -> Tensor:
        """``(B, 3, H, W)`` in [-1, 1] and ``(B, W)`` -> ``(B, width)``."""
        frames = frames.contiguous(memory_format=torch.channels_last)
        maps = functional.relu(self.stem_norm(self.stem(frames)))
        found = []
        for count, block in enumerate(self.blocks, start=1):
            maps = block(maps, condition)
            if self.points is not None and count == self.fine:
                found = [self.points(maps)]
        return torch.cat([functional.adaptive_avg_pool2d(maps, self.grid).flatten(1), *found], dim=1)


class ResNet(nn.Module):
    """The policy's own vision: frames of all cameras, under a condition, to one vector of features.

    The cameras share the trunk; their features are concatenated in order, so that it stays known who saw what.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = Trunk(config)
        self.leave = nn.Linear(config.views * self.trunk.width, config.features)

    def forward(self, frames: Tensor, condition: Tensor | None = None) -> Tensor:
        """Frames ``(B, V, 3, H, W)``, uint8 or in [0, 1], and what conditions them ``(B, W)`` -> ``(B, features)``.

        Raises:
            ThalwegError: the shapes are not those of the configuration.
        """
        config = self.config
        if frames.ndim != 5 or frames.shape[1] != config.views or frames.shape[2] != 3:
            raise ThalwegError(f"frames have shape {tuple(frames.shape)}; expected (B, {config.views}, 3, H, W)")
        width = 0 if condition is None else condition.shape[-1]
        if width != config.condition:
            raise ThalwegError(f"the condition has {width} values; expected (B, {config.condition})")
        batch = len(frames)
        if not frames.is_floating_point():
            frames = frames.float() / 255
        told = condition.repeat_interleave(config.views, dim=0) if config.condition else None
        seen = self.trunk(frames.flatten(0, 1) * 2 - 1, told)
        return self.leave(seen.reshape(batch, -1))
