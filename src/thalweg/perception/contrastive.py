"""An image encoder that Thalweg trains itself, on a dataset's own frames and instructions.

After DecisionNCE (arXiv 2402.18137): what a segment is worth to an instruction is how well the direction of its latent
transition, ``phi(o_m) - phi(o_n)``, agrees with the instruction's embedding ``psi(l)``; of all instructions the
segment's own is to be preferred, and of all segments the instruction's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.data.store import EpisodeStore
from thalweg.encoders import Normaliser
from thalweg.errors import ThalwegError, choices
from thalweg.nets import mlp
from thalweg.perception.frozen import check_frames, hash_weights
from thalweg.perception.resnet import POINTS, ResNet, ResNetConfig
from thalweg.perception.shifts import draw_shifts, shift_frames

__all__ = ["ImageEncoder", "ImageEncoderConfig", "SegmentSample"]

_BATCH = 256  # moments encoded at once
_LOOKS = 2_000  # rows that the pictures' statistics are taken from
_STILL = 0.1  # length of a latent transition below which nothing is taken to have happened
_FLOOR = 0.02  # smallest spread of a pixel, of 1: what passes a pixel once in a thousand frames still counts
_SHARPEST = 100.0  # largest factor of the agreement, CLIP's


@dataclass(frozen=True)
class ImageEncoderConfig:
    """What is seen, and how it is learned.

    Attributes:
        cameras: their names, in the order in which their features are concatenated.
        size: height and width of the frames, in pixels.
        observation: S, values of the proprioception, which the latent is to tell.
        vision: the network; D is its ``features``, V its ``views``.
        language: L, width of the instructions' embeddings; 0 where nobody said what is shown: then only what is
            visible is learned.
        shift: largest random shift of a frame in training, in pixels.
        picture: side of the pictures that latents are to show, in pixels.
        visible: weight of what keeps the state visible; 0 leaves the direction alone to be learned.
    """

    cameras: tuple[str, ...]
    size: tuple[int, ...]
    observation: int
    vision: ResNetConfig
    language: int = 384
    shift: int = 2
    picture: int = 32
    visible: float = 1.0

    def __post_init__(self) -> None:
        if self.vision.condition:
            raise ThalwegError(f"vision.condition is {self.vision.condition}; nothing conditions this encoder, use 0")
        if len(self.size) != 2 or min(self.size) < self.picture or self.picture < 1:
            raise ThalwegError(f"size={self.size} must be height and width, each picture={self.picture} or more")
        for name in ("language", "shift", "visible"):
            if getattr(self, name) < 0:
                raise ThalwegError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def latent(self) -> int:
        """D."""
        return self.vision.features

    @classmethod
    def of(
        cls, store: EpisodeStore, *, latent: int = 128, cameras: Sequence[str] | None = None, language: int = 384
    ) -> ImageEncoderConfig:
        """The default for a dataset, and for ``cameras`` of it, or all.

        Raises:
            ThalwegError: it has no such cameras, or their frames differ in size.
        """
        named = tuple(sorted(store.cameras) if cameras is None else dict.fromkeys(cameras))
        unknown = [name for name in named if name not in store.cameras]
        if unknown or not named:
            raise ThalwegError(
                f"{store.source} has no camera {unknown[0]!r}; it has {choices(store.cameras)}"
                if unknown
                else f"{store.source} has no cameras; an image encoder needs one or more"
            )
        sizes = {name: tuple(store.cameras[name].shape[1:3]) for name in named}
        if len(set(sizes.values())) > 1:
            raise ThalwegError(f"the cameras' frames differ in size ({sizes}); resize them, or choose among them")
        size = sizes[named[0]]
        vision = ResNetConfig(features=latent, views=len(named), points=POINTS)
        return cls(named, size, store.observations.shape[1], vision, language, picture=min(32, *size))


class _Segments(NamedTuple):
    store: EpisodeStore
    table: Tensor  # (U, L)
    instruction: np.ndarray  # (E,)


@dataclass(frozen=True)
class SegmentSample:
    """Two moments of each of B episodes, the earlier first, and what was said.

    Attributes:
        frames: ``(B, 2, V, H, W, 3)`` uint8.
        shift: ``(B, 2, V, 2)`` pixels down and across by which each is shifted.
        observation: ``(B, 2, S)``.
        language: ``(B, L)``.
    """

    frames: Tensor
    shift: Tensor
    observation: Tensor
    language: Tensor


class ImageEncoder(nn.Module):
    """``z = phi(o)``: frames of all cameras at one moment to one latent.

    The cameras share the trunk and their features are concatenated before the last layer: averaged, a gripper seen
    from the wrist and one seen from the front would be confused.

    Three losses train it. ``language``: InfoNCE between segments and instructions, in both directions; that a batch
    holds an instruction several times adds a constant, and changes nothing else. ``order``: a segment is preferred to
    itself played backward (Bradley and Terry), which is what makes latents progress in time. Both see directions only,
    and could forget a small object that no instruction needs; ``visible`` therefore asks the latent for the
    proprioception and for a small picture, its pixels in units of their own spread, so that what seldom changes counts
    as well.

    Frames are shifted at random, the pictures are not. When trained, hold it in ``Frozen``.
    """

    kind = "image-encoder"
    picture_mean: Tensor
    picture_std: Tensor

    def __init__(self, config: ImageEncoderConfig) -> None:
        super().__init__()
        if len(config.cameras) != config.vision.views or not config.cameras:
            views, cameras = config.vision.views, len(config.cameras)
            raise ThalwegError(f"vision.views is {views}, but cameras names {cameras}, 1 or more")
        self.config = config
        self.net = ResNet(config.vision)
        if config.language:
            self.hear = nn.Linear(config.language, config.latent)
            self.sharpness = nn.Parameter(torch.tensor(10.0).log())
        self.normaliser = Normaliser(config.observation)
        picture = (len(config.cameras), 3, config.picture, config.picture)
        self.register_buffer("picture_mean", torch.zeros(picture))
        self.register_buffer("picture_std", torch.ones(picture))
        self.tell = mlp(config.latent, 2 * config.latent, config.observation, depth=1)
        self.show = mlp(config.latent, 2 * config.latent, self.picture_mean.numel(), depth=1)
        self._said: dict[str, Tensor] = {}

    def forward(self, frames: Tensor) -> Tensor:
        """Frames ``(B, V, 3, H, W)``, uint8 or in [0, 1] -> ``(B, D)``."""
        return self.net(frames)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights, as they are now."""
        return hash_weights(self)

    @torch.no_grad()
    def views(self, cameras: Mapping[str, np.ndarray]) -> Tensor:
        """Frames ``(B, H, W, 3)`` uint8 of each camera -> ``(B, D)``; cameras that it does not know are left out.

        Raises:
            ThalwegError: a camera is missing, or its frames have another size or dtype than in training.
        """
        frames = []
        for name in self.config.cameras:
            if name not in cameras:
                raise ThalwegError(f"there are no frames of camera {name!r}; given are {choices(cameras) or 'none'}")
            frames.append(check_frames(cameras[name], f"frames of camera {name!r}"))
            found = tuple(frames[-1].shape[1:3])
            if found != tuple(self.config.size):
                raise ThalwegError(
                    f"frames of camera {name!r} have {found[0]} by {found[1]} pixels; the encoder was trained on "
                    f"{self.config.size[0]} by {self.config.size[1]}"
                )
        pixels = torch.stack(frames, dim=1).to(self.picture_mean.device).permute(0, 1, 4, 2, 3)
        return torch.cat([self(part) for part in pixels.split(_BATCH)])

    def agreement(self, before: Tensor, after: Tensor, language: Tensor) -> Tensor:
        """How well transitions from ``before`` to ``after (B, D)`` agree with instructions ``(U, L)``: ``(B, U)``.

        From -1 to 1; near 0 where nothing is seen to happen.
        """
        change = (after - before).float()
        direction = change / (change.square().sum(dim=1, keepdim=True) + _STILL**2).sqrt()
        said = functional.normalize(self.hear(language).float(), dim=1)
        with torch.autocast(change.device.type, enabled=False):  # a hundredth counts, once it is multiplied
            return direction @ said.T

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> Tensor:
        """What latents ``(B, D)`` show: ``(B, V, picture, picture, 3)`` uint8, to look at a plan."""
        shown = self.show(latents).unflatten(1, self.picture_mean.shape) * self.picture_std + self.picture_mean
        return (255 * shown).round().clamp(0, 255).byte().permute(0, 1, 3, 4, 2)

    # --- training -----------------------------------------------------------------------------------------------

    def parts(self) -> dict[str, nn.Module]:
        """One part: the encoder."""
        return {"image-encoder": self}

    def learn_words(self, instructions: Sequence[str], table: Tensor) -> None:
        """Take the embeddings ``(E, L)`` of instructions, one for each: needed for training, and for nothing else.

        Raises:
            ThalwegError: the table does not fit them.
        """
        if tuple(table.shape) != (len(instructions), self.config.language):
            raise ThalwegError(
                f"the table of embeddings has shape {tuple(table.shape)}; "
                f"expected ({len(instructions)}, {self.config.language}): one row an instruction"
            )
        self._said |= dict(zip(instructions, table.detach().cpu().float(), strict=True))

    def sampler(self, store: EpisodeStore) -> _Segments:
        """Segments of the episodes of a store.

        Raises:
            ThalwegError: an episode's instruction is unknown, or there is none.
        """
        if not self.config.language:
            return _Segments(store, torch.zeros(1, 0), np.zeros(len(store), np.int64))
        if not store.instructions:
            raise ThalwegError(f"{store.source} has no instructions; train with language=0, or say what episodes show")
        said, instruction = np.unique(np.array(store.instructions, dtype=object), return_inverse=True)
        unknown = [text for text in said if text not in self._said]
        if unknown:
            raise ThalwegError(f"there is no embedding of {unknown[0]!r}; give learn_words those of {store.source}")
        return _Segments(store, torch.stack([self._said[text] for text in said]), instruction)

    def measure(self, sampler: _Segments, rng: np.random.Generator) -> None:
        """Fit the normaliser of the proprioception, and the mean and spread of every pixel of the pictures."""
        store = sampler.store
        self.normaliser.measure(store, rng)
        rows = np.sort(rng.choice(store.rows, min(store.rows, _LOOKS), replace=False))
        for view, name in enumerate(self.config.cameras):
            frames = torch.from_numpy(np.array(store.cameras[name][rows])).permute(0, 3, 1, 2)
            pictures = self._small(frames)
            self.picture_mean[view] = pictures.mean(dim=0)
            self.picture_std[view] = pictures.std(dim=0, correction=0).clamp(min=_FLOOR)

    def draw(
        self, sampler: _Segments, size: int, rng: np.random.Generator, generator: torch.Generator
    ) -> SegmentSample:
        """Draw an episode ``size`` times, and two different moments of each."""
        store, config = sampler.store, self.config
        episode = rng.integers(0, len(store), size)
        first, length = store.starts[episode], (store.ends - store.starts)[episode]
        one = rng.integers(0, length)
        other = (one + rng.integers(1, length)) % length
        rows = first[:, None] + np.sort(np.stack([one, other], axis=1), axis=1)
        frames = np.stack([store.cameras[name][rows] for name in config.cameras], axis=2)
        shift = draw_shifts(frames.shape[:3], config.shift, generator)
        observation = torch.from_numpy(store.observations[rows])
        return SegmentSample(torch.from_numpy(frames), shift, observation, sampler.table[sampler.instruction[episode]])

    def losses(self, sample: SegmentSample) -> dict[str, Tensor]:
        """``language``, ``order`` and ``visible``, as far as they are configured."""
        frames = sample.frames.flatten(0, 2)
        seen = shift_frames(frames, sample.shift.flatten(0, 2)).permute(0, 3, 1, 2)
        latents = self(seen.unflatten(0, (-1, len(self.config.cameras))))
        losses = {}
        if self.config.language:
            losses |= self._preferences(latents.unflatten(0, (-1, 2)), sample)
        if self.config.visible:
            pictures = self._small(frames.permute(0, 3, 1, 2)).unflatten(0, (-1, len(self.config.cameras)))
            pictures = (pictures - self.picture_mean) / self.picture_std
            shown = functional.mse_loss(self.show(latents).float(), pictures.flatten(1))
            told = functional.mse_loss(self.tell(latents).float(), self.normaliser(sample.observation).flatten(0, 1))
            losses["visible"] = self.config.visible * (shown + told)
        return losses

    def _preferences(self, latents: Tensor, sample: SegmentSample) -> dict[str, Tensor]:
        scale = self.sharpness.exp().clamp(max=_SHARPEST)
        logits = scale * self.agreement(*latents.unbind(1), sample.language)
        own = torch.arange(len(logits), device=logits.device)
        both = functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)
        return {"language": both / 2, "order": functional.softplus(-2 * logits[own, own]).mean()}

    def _small(self, frames: Tensor) -> Tensor:
        """``(B, 3, H, W)`` uint8 -> ``(B, 3, picture, picture)`` in [0, 1]."""
        return functional.adaptive_avg_pool2d(frames.float() / 255, self.config.picture)
