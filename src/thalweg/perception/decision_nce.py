"""CLIP with a ResNet for eyes, as DecisionNCE's weights need it: the names of its layers are those of CLIP's own files.

Radford et al., 2021 (arXiv 2103.00020, section 2.4); DecisionNCE (arXiv 2402.18137) fine-tuned the RN50 of that family.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError

__all__ = ["ClipResNet", "ClipSizes", "read_clip_weights"]

_HEAD = 64  # values of one attention head, in both towers
_LEFT_OUT = ("logit_scale", "input_resolution", "context_length", "vocab_size")  # in files, and not needed to encode


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of both towers; RN50 has ``ClipSizes()``.

    Attributes:
        output: D of the common space.
        width: channels of the first residual stage's inner convolutions.
        layers: blocks of each of the four stages.
        grid: side of the last map; frames have 32 times as many pixels a side.
        text: width of the text tower.
        text_layers: its blocks.
        vocabulary: tokens there are.
        context: tokens of one text.
    """

    output: int = 1024
    width: int = 64
    layers: tuple[int, ...] = (3, 4, 6, 3)
    grid: int = 7
    text: int = 512
    text_layers: int = 12
    vocabulary: int = 49408
    context: int = 77

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> ClipSizes:
        """Read the sizes from the weights' names and shapes.

        Raises:
            KeyError, AttributeError: they are not of this family.
        """
        stages = [_count(weights, rf"visual\.layer{stage}\.(\d+)\.") for stage in range(1, 5)]
        return cls(
            output=weights["text_projection"].shape[1],
            width=weights["visual.layer1.0.conv1.weight"].shape[0],
            layers=tuple(stages),
            grid=round((len(weights["visual.attnpool.positional_embedding"]) - 1) ** 0.5),
            text=weights["ln_final.weight"].shape[0],
            text_layers=_count(weights, r"transformer\.resblocks\.(\d+)\."),
            vocabulary=len(weights["token_embedding.weight"]),
            context=len(weights["positional_embedding"]),
        )


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in weights if (found := re.match(pattern, name))})


class _Bottleneck(nn.Module):
    """Convolutions of 1, 3 and 1; where the resolution halves, it is averaged and not skipped."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shrink = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.downsample = None
        if stride > 1 or inputs != outputs:
            layers = {"0": nn.Conv2d(inputs, outputs, 1, bias=False), "1": nn.BatchNorm2d(outputs)}
            self.downsample = nn.Sequential(OrderedDict(layers))

    def forward(self, maps: Tensor) -> Tensor:
        hidden = functional.relu(self.bn1(self.conv1(maps)))
        hidden = functional.relu(self.bn2(self.conv2(hidden)))
        hidden = self.bn3(self.conv3(self.shrink(hidden)))
        return functional.relu(hidden + (maps if self.downsample is None else self.downsample(self.shrink(maps))))


class _AttentionPool(nn.Module):
    """The mean of the map asks all of it."""

    def __init__(self, grid: int, width: int, output: int) -> None:
        super().__init__()
        self.heads = width // _HEAD
        self.positional_embedding = nn.Parameter(torch.randn(grid**2 + 1, width) / width**0.5)
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, output)

    def forward(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1) + self.positional_embedding
        asked, key, value = (
            project(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, part in ((self.q_proj, tokens[:, :1]), (self.k_proj, tokens), (self.v_proj, tokens))
        )
        return self.c_proj(functional.scaled_dot_product_attention(asked, key, value).flatten(1))


class _Eyes(nn.Module):
    """Three convolutions, four residual stages, attention."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        width, half = sizes.width, sizes.width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for stage, count in enumerate(sizes.layers):
            blocks = []
            for index in range(count):
                blocks.append(_Bottleneck(inputs, width << stage, 2 if stage and index == 0 else 1))
                inputs = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.attnpool = _AttentionPool(sizes.grid, inputs, sizes.output)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = pixels
        for convolution, norm in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
            maps = functional.relu(norm(convolution(maps)))
        maps = functional.avg_pool2d(maps, 2)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            maps = stage(maps)
        return self.attnpool(maps)


class _TextBlock(nn.Module):
    """Causal attention and a small network, each added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, width // _HEAD, batch_first=True)
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, tokens: Tensor, hidden_from: Tensor) -> Tensor:
        told = self.ln_1(tokens)
        tokens = tokens + self.attn(told, told, told, need_weights=False, attn_mask=hidden_from)[0]
        hidden = self.mlp["c_fc"](self.ln_2(tokens))
        return tokens + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))


class ClipResNet(nn.Module):
    """Both towers; they end in one space of ``sizes.output`` values, neither at unit length."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.visual = _Eyes(sizes)
        self.token_embedding = nn.Embedding(sizes.vocabulary, sizes.text)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(sizes.context, sizes.text))
        blocks = nn.ModuleList(_TextBlock(sizes.text) for _ in range(sizes.text_layers))
        self.transformer = nn.ModuleDict({"resblocks": blocks})
        self.ln_final = nn.LayerNorm(sizes.text)
        self.text_projection = nn.Parameter(torch.randn(sizes.text, sizes.output) / sizes.text**0.5)

    def see(self, pixels: Tensor) -> Tensor:
        """Normalised pixels ``(B, 3, 32 grid, 32 grid)`` -> ``(B, D)``."""
        return self.visual(pixels)

    def read(self, tokens: Tensor) -> Tensor:
        """Token numbers ``(B, context)`` -> ``(B, D)``, taken where a text ends: at its first highest number."""
        length = tokens.shape[1]
        hidden_from = torch.ones(length, length, dtype=torch.bool, device=tokens.device).triu(1)
        hidden = self.token_embedding(tokens) + self.positional_embedding[:length]
        for block in self.transformer["resblocks"]:
            hidden = block(hidden, hidden_from)
        last = tokens.argmax(dim=1)
        return self.ln_final(hidden)[torch.arange(len(tokens), device=tokens.device), last] @ self.text_projection


def read_clip_weights(path: str | Path) -> ClipResNet:
    """Load DecisionNCE's weights (``.pt``, ``.pth``, or ``.safetensors``), strictly, and without running their code.

    Raises:
        ThalwegError: there is no such file, or it holds other weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise ThalwegError(f"no weights at {path}; DecisionNCE's are linked from github.com/2toinf/DecisionNCE")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise many types; all mean that the file is none of theirs
        raise ThalwegError(f"{path} is no file of weights, or is damaged ({type(error).__name__}: {error})") from error
    found = found.get("model", found) if isinstance(found, dict) else {}
    weights = {re.sub(r"^(module\.)?(model\.)?", "", str(name)): value for name, value in found.items()}
    weights = {name: value for name, value in weights.items() if name not in _LEFT_OUT and isinstance(value, Tensor)}
    try:
        model = ClipResNet(ClipSizes.of(weights))
        model.load_state_dict({name: value.float() for name, value in weights.items()})
    except (KeyError, IndexError, RuntimeError, ValueError, ArithmeticError) as error:
        reason = str(error).splitlines()[0]
        raise ThalwegError(
            f"{path} holds no weights of a CLIP with a ResNet, such as DecisionNCE's ({type(error).__name__}: {reason})"
        ) from error
    return model
