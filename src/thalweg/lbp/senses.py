"""What LBP makes of an observation: the latent that it plans in, and what its policy is given."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.data.store import EpisodeStore
from thalweg.encoders import Components, Normaliser
from thalweg.errors import ThalwegError, choices
from thalweg.grips import grip_features, grip_features_of
from thalweg.inputs import read_vectors
from thalweg.lbp.config import LBPConfig
from thalweg.nets import ridge
from thalweg.perception.cache import encode_store
from thalweg.perception.contrastive import ImageEncoder
from thalweg.perception.frozen import Frozen, check_frames
from thalweg.perception.shifts import draw_shifts, shift_frames
from thalweg.perception.vision_language import vision_language
from thalweg.types import Sight

__all__ = ["PixelSenses", "StateSenses", "make_senses"]

_ROWS = 20_000  # that the latents' components are found in


def make_senses(config: LBPConfig) -> StateSenses | PixelSenses:
    """Those that a configuration asks for."""
    return PixelSenses(config) if config.vision else StateSenses(config)


class StateSenses(nn.Module):
    """States: the latent is the normalised state, and the policy is given it and what was found in it."""

    def __init__(self, config: LBPConfig) -> None:
        super().__init__()
        self.config = config
        self.normaliser = Normaliser(config.observation)

    def read(self, values: Any, name: str) -> Tensor:
        """Observations ``(S,)`` or ``(B, S)`` as a tensor ``(B, S)``.

        Raises:
            ThalwegError: another shape, or not finite.
        """
        return read_vectors(values, self.config.observation, name)

    def example(self) -> tuple[Tensor, Tensor]:
        """Two observations ``(1, S)``: the mean, and one a spread away."""
        mean = self.normaliser.mean.unsqueeze(0)
        return mean, mean + self.normaliser.std

    def latent(self, observation: Tensor) -> Tensor:
        """``(B, S)`` -> ``(B, D)``."""
        return self.normaliser(observation)

    def decode(self, latents: Tensor) -> Tensor:
        """``(..., D)`` latents -> ``(..., S)`` observations in the environment's units."""
        return self.normaliser.inverse(latents)

    def given(self, present: Tensor, observation: Tensor) -> tuple[Tensor, None]:
        """What the policy is given of latents ``(B, D)``; and frames, of which there are none."""
        told = grip_features(self.normaliser.inverse(present), self.config.grips, self.config.turns)
        return torch.cat([present, told], dim=1), None

    def given_of(self, coordinates: Collection[int]) -> list[bool]:
        """Which of what the policy is given is of some of the scene's ``coordinates``."""
        own = [index in coordinates for index in range(self.config.observation)]
        return own + grip_features_of(coordinates, self.config.grips, self.config.turns)

    def recorded_given(
        self, store: EpisodeStore, rows: np.ndarray, present: Tensor, level: Tensor, generator: torch.Generator
    ) -> Tensor:
        """What the policy is given of the latents ``(B, D)`` of ``rows``, which have their noise already."""
        return self.given(present, present)[0]

    def measure(self, store: EpisodeStore, latents: None, rng: np.random.Generator) -> None:
        """Fit the normaliser."""
        self.normaliser.measure(store, rng, fastest=self.config.training.fastest)

    def encode(self, store: EpisodeStore) -> None:
        """Latents of a whole store: there is nothing to be computed beforehand."""

    def recorded(self, store: EpisodeStore, latents: None, rows: np.ndarray) -> Tensor:
        """The latents ``(..., D)`` of some ``rows`` of a store."""
        return self.normaliser(torch.from_numpy(store.observations[rows.ravel()])).unflatten(0, rows.shape)

    @property
    def jitter(self) -> Tensor:
        """How far each coordinate moves in a step."""
        return self.normaliser.keep * self.normaliser.jitter

    def frames(self, store: EpisodeStore, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """``(B, 0)``: there are none."""
        return torch.zeros(len(rows), 0)


class PixelSenses(nn.Module):
    """Cameras and proprioception: the latent is a frozen encoder's, and the policy looks at the frames itself.

    What the encoder makes of frames lies along few directions; latents are its principal components, each of unit
    spread, so that errors and noise weigh alike in all of them.

    The encoder is part of it if it was trained here. One that was trained elsewhere is loaded when it is first needed;
    what its latents tell of the proprioception is then read off them along a straight line.
    """

    def __init__(self, config: LBPConfig) -> None:
        super().__init__()
        self.config = config
        self.normaliser = Normaliser(config.observation)  # of the proprioception
        self.components = Components(config.vision.latent, config.subgoals.latent)
        if config.images:
            self.images = Frozen(ImageEncoder(config.images))
        else:
            self.tell = nn.Linear(config.subgoals.latent, config.observation).requires_grad_(False)

    @property
    def encoder(self) -> Frozen:
        """What looks at the frames.

        Raises:
            ThalwegError: it was trained elsewhere, and is not there, or is another one than in training.
        """
        wanted = self.config.pretrained
        if wanted is None:
            return self.images
        found = vision_language(wanted.source)
        if found.fingerprint != wanted.fingerprint:
            raise ThalwegError(
                f"the encoder at {wanted.source} has fingerprint {found.fingerprint[:12]}, the checkpoint was trained "
                f"with {wanted.fingerprint[:12]}; give it the same weights"
            )
        return found.to(self.components.mean.device)

    def read(self, values: Any, name: str) -> Sight:
        """Observations as a dict of ``proprioception`` and cameras, of one request or of B.

        Raises:
            ThalwegError: a part is missing, or has another shape or dtype.
        """
        cameras = self.config.cameras
        if not isinstance(values, Mapping) or not {"proprioception", *cameras} <= values.keys():
            found = choices(values) if isinstance(values, Mapping) else type(values).__name__
            raise ThalwegError(f"{name} must be a dict of {choices(['proprioception', *cameras])}, got {found}")
        body = read_vectors(values["proprioception"], self.config.observation, f"{name}: proprioception")
        frames, size = {}, tuple(self.config.vision.size)
        for camera in cameras:
            one = np.asarray(values[camera])
            one = check_frames(one[None] if one.ndim == 3 else one, f"{name}: frames of camera {camera!r}").numpy()
            if one.shape[1:3] != size:
                raise ThalwegError(
                    f"{name}: frames of camera {camera!r} have {one.shape[1]} by {one.shape[2]} pixels; the checkpoint "
                    f"was trained on {size[0]} by {size[1]}"
                )
            if len(one) != len(body):
                raise ThalwegError(f"{name}: camera {camera!r} has {len(one)} frames, proprioception {len(body)} rows")
            frames[camera] = one
        return Sight(body, frames)

    def example(self) -> tuple[Sight, Sight]:
        """Two observations of one request: a dark room, and a bright one."""
        config, mean = self.config, self.normaliser.mean.unsqueeze(0)
        rooms = (np.full((1, *config.vision.size, 3), light, np.uint8) for light in (0, 255))
        dark, bright = (Sight(mean, dict.fromkeys(config.cameras, room)) for room in rooms)
        return dark, bright

    def latent(self, observation: Sight) -> Tensor:
        """``(B, D)`` of unit spread."""
        return self.components(self.encoder.views({name: observation.cameras[name] for name in self.config.cameras}))

    def decode(self, latents: Tensor) -> Tensor:
        """``(..., D)`` latents -> the proprioception ``(..., S)`` that they tell of, in the environment's units."""
        if self.config.pretrained:
            return self.normaliser.inverse(self.tell(latents))
        encoder = self.images.encoder
        return encoder.normaliser.inverse(encoder.tell(self.components.inverse(latents)))

    def given(self, present: Tensor, observation: Sight) -> tuple[Tensor, Tensor]:
        """The normalised proprioception, and frames ``(B, V, 3, H, W)`` uint8."""
        frames = [torch.from_numpy(observation.cameras[camera]) for camera in self.config.cameras]
        stacked = torch.stack(frames, dim=1).permute(0, 1, 4, 2, 3).to(present.device)
        return self.normaliser(observation.proprioception.to(present.device)), stacked

    def measure(self, store: EpisodeStore, latents: np.ndarray, rng: np.random.Generator) -> None:
        """Fit the normaliser of the proprioception, and the components of all rows' ``(N, E)``."""
        self.normaliser.measure(store, rng, fastest=self.config.training.fastest)
        rows = np.sort(rng.choice(store.rows, min(store.rows, _ROWS), replace=False))
        _, last = store.bounds(rows)
        now, following = (torch.from_numpy(latents[at]) for at in (rows, np.minimum(rows + 1, last)))
        self.components.fit(now, following)
        if self.config.pretrained:
            slope, shift = ridge(self.components(now), self.normaliser(torch.from_numpy(store.observations[rows])))
            self.tell.weight.copy_(slope)
            self.tell.bias.copy_(shift)

    def encode(self, store: EpisodeStore) -> np.ndarray:
        """``(N, E)`` what the encoder makes of a whole store, computed once and kept."""
        return encode_store(self.encoder, store, cameras=self.config.cameras)

    def recorded(self, store: EpisodeStore, latents: np.ndarray, rows: np.ndarray) -> Tensor:
        """The latents ``(..., D)`` of some ``rows`` of a store."""
        return self.components(torch.from_numpy(latents[rows.ravel()])).unflatten(0, rows.shape)

    @property
    def jitter(self) -> Tensor:
        """How far each coordinate moves in a step."""
        return self.components.jitter

    def given_of(self, coordinates: Collection[int]) -> list[bool]:
        """Which of what the policy is given is of the scene's ``coordinates``: none, proprioception has none."""
        return [False] * self.config.observation

    def recorded_given(
        self, store: EpisodeStore, rows: np.ndarray, present: Tensor, level: Tensor, generator: torch.Generator
    ) -> Tensor:
        """What the policy is given of ``rows`` beside their frames: the normalised proprioception.

        With noise, of a ``level (B, 1)`` in units of each coordinate's movement in one step.
        """
        body = self.normaliser(torch.from_numpy(store.observations[rows]))
        jitter = self.normaliser.keep * self.normaliser.jitter
        return body + level * jitter * torch.randn(body.shape, generator=generator)

    def frames(self, store: EpisodeStore, rows: np.ndarray, generator: torch.Generator) -> Tensor:
        """``(B, V, 3, H, W)`` uint8, each shifted at random."""
        frames = np.stack([store.cameras[name][rows] for name in self.config.cameras], axis=1)
        shifts = draw_shifts(frames.shape[:2], self.config.training.shift, generator)
        shifted = shift_frames(torch.from_numpy(frames).flatten(0, 1), shifts.flatten(0, 1))
        return shifted.unflatten(0, frames.shape[:2]).permute(0, 1, 4, 2, 3)
