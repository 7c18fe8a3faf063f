"""Frozen vision-language encoders: images and instructions in one space (CLIP, SigLIP, DecisionNCE)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from thalweg.errors import ThalwegError
from thalweg.perception.decision_nce import read_clip_weights
from thalweg.perception.frozen import Frozen, check_frames, hash_weights, quiet_loading
from thalweg.perception.language import check_texts

__all__ = ["PretrainedConfig", "VisionLanguageEncoder", "vision_language"]

_BATCH = 64  # frames encoded at once
_MEAN, _SPREAD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's, of its own data
_REMEDY = "pip install 'thalweg[vision]'"
_TOKENIZER = "openai/clip-vit-base-patch32"  # CLIP's


@dataclass(frozen=True)
class PretrainedConfig:
    """A vision-language encoder that was trained elsewhere. Its weights stay there; checkpoints keep who it was.

    Attributes:
        source: a folder or hub id of CLIP or SigLIP, or a file of DecisionNCE's weights.
        fingerprint: of its weights.
        cameras: whose frames it is shown, in the order of their names.
        size: height and width of the frames that the policy was trained on, in pixels.
        latent: D of all cameras together.
    """

    source: str
    fingerprint: str
    cameras: tuple[str, ...]
    size: tuple[int, ...]
    latent: int


class Towers(Protocol):
    """A pair of encoders with their own preprocessing."""

    def see(self, frames: Tensor) -> Tensor: ...
    def read(self, texts: list[str]) -> Tensor: ...


class VisionLanguageEncoder(Frozen):
    """Camera frames and instructions to vectors of one space, as the model gives them: not of unit length.

    It stays in eval mode and without gradients whatever is called on what holds it. Make it with ``load`` or
    ``decision_nce``. Held as a part of another module, its weights go into that one's checkpoint; held beside it, its
    ``fingerprint`` can.
    """

    encoder: Towers

    @classmethod
    def load(cls, source: str | Path) -> VisionLanguageEncoder:
        """CLIP or SigLIP, from a folder that ``save_pretrained`` wrote, or from a hub id, with transformers' loaders.

        Raises:
            ThalwegError: transformers or Pillow is missing, there is no such model, or it has not both towers.
        """
        return cls(_TransformersTowers(*_pretrained(source)))

    @classmethod
    def decision_nce(cls, weights: str | Path, tokenizer: str | Path = _TOKENIZER) -> VisionLanguageEncoder:
        """DecisionNCE: its file of weights, and a folder or hub id with CLIP's tokenizer, which that file lacks.

        Raises:
            ThalwegError: a file or package is missing, or the two do not belong together.
        """
        model = read_clip_weights(weights)
        words = _tokenizer(tokenizer)
        if len(words) > model.sizes.vocabulary:
            raise ThalwegError(
                f"the tokenizer {tokenizer} has {len(words)} tokens, {weights} knows {model.sizes.vocabulary}; "
                "DecisionNCE needs CLIP's tokenizer"
            )
        return cls(_DecisionNCETowers(model, words))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights of both towers."""
        return hash_weights(self.encoder)

    @torch.no_grad()
    def images(self, frames: np.ndarray | Tensor) -> Tensor:
        """Frames ``(B, H, W, 3)`` uint8 of any size, of one camera -> ``(B, D)``, by the model's own preprocessing.

        Raises:
            ThalwegError: the frames have another shape or dtype.
        """
        return torch.cat([self.encoder.see(part) for part in check_frames(frames).split(_BATCH)])

    def views(self, cameras: Mapping[str, np.ndarray]) -> Tensor:
        """Frames of V cameras -> ``(B, V * D)``: concatenated in the order of the cameras' names.

        A mean would keep D, and lose who saw what; with one camera it is ``images``.
        """
        if not cameras:
            raise ThalwegError("there are no frames to encode: no camera was given")
        return torch.cat([self.images(cameras[name]) for name in sorted(cameras)], dim=1)

    @torch.no_grad()
    def texts(self, texts: Sequence[str]) -> Tensor:
        """Instructions -> ``(B, D)``.

        Raises:
            ThalwegError: an instruction is blank or no string.
        """
        return self.encoder.read(check_texts(texts))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Instructions -> ``(B, D)`` of unit length, as a ``TextEncoder``'s are."""
        return functional.normalize(self.texts(texts), dim=1)

    @cached_property
    def width(self) -> int:
        """D, of one camera's frames and of texts."""
        return self.texts(["a"]).shape[1]


@cache
def vision_language(source: str) -> VisionLanguageEncoder:
    """The encoder at a ``PretrainedConfig``'s source, loaded once.

    A file is taken for DecisionNCE's weights, and CLIP's tokenizer from the folder that it lies in, or from the hub.

    Raises:
        ThalwegError: there is none, or a package is missing.
    """
    file = Path(source).expanduser()
    if not file.is_file():
        return VisionLanguageEncoder.load(source)
    tokenizer = file.parent if (file.parent / "tokenizer_config.json").exists() else _TOKENIZER
    return VisionLanguageEncoder.decision_nce(file, tokenizer)


class _TransformersTowers(nn.Module):
    """A model of transformers, and its processor."""

    def __init__(self, model: nn.Module, processor: Any) -> None:
        super().__init__()
        self.model = model
        self.processor = processor

    def see(self, frames: Tensor) -> Tensor:
        inputs = self.processor.image_processor(
            images=list(frames.numpy(force=True)), input_data_format="channels_last", return_tensors="pt"
        )
        return _projected(self.model.get_image_features(**inputs.to(self.model.device)))

    def read(self, texts: list[str]) -> Tensor:
        """Padded to the model's full length: SigLIP was trained so, CLIP's texts end before the padding."""
        inputs = self.processor.tokenizer(
            texts,
            padding="max_length",
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        return _projected(self.model.get_text_features(**inputs.to(self.model.device)))


def _projected(output: Any) -> Tensor:
    """The vectors; transformers 5 wraps what 4 returned bare."""
    return output if isinstance(output, Tensor) else output.pooler_output


class _DecisionNCETowers(nn.Module):
    """CLIP's RN50 with DecisionNCE's weights, and CLIP's preprocessing."""

    def __init__(self, model: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer

    def see(self, frames: Tensor) -> Tensor:
        pixels = clip_pixels(frames, 32 * self.model.sizes.grid)
        return self.model.see(pixels.to(self.model.text_projection.device))

    def read(self, texts: list[str]) -> Tensor:
        inputs = self.tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.model.sizes.context, return_tensors="pt"
        )
        return self.model.read(inputs["input_ids"].to(self.model.text_projection.device))


def clip_pixels(frames: Tensor, side: int) -> Tensor:
    """CLIP's preprocessing: ``(B, H, W, 3)`` uint8 -> ``(B, 3, side, side)`` of about zero mean and unit spread.

    The shorter side is resized (bicubic, in whole values between the two axes, as Pillow does), the middle cut out.
    """
    pixels = frames.cpu().permute(0, 3, 1, 2)
    short = min(pixels.shape[2:])
    height, width = (side * length // short for length in pixels.shape[2:])
    if short != side:
        pixels = functional.interpolate(pixels, (height, width), mode="bicubic", antialias=True)
    top, left = round((height - side) / 2), round((width - side) / 2)
    pixels = pixels[:, :, top : top + side, left : left + side].float() / 255
    mean, spread = (torch.tensor(values).view(3, 1, 1) for values in (_MEAN, _SPREAD))
    return (pixels - mean) / spread


def _pretrained(source: str | Path) -> tuple[nn.Module, Any]:
    place, options = _place(source)
    try:
        from transformers import AutoModel, AutoProcessor

        with quiet_loading():
            model = AutoModel.from_pretrained(place, **options)
            processor = AutoProcessor.from_pretrained(place, **options)
    except ImportError as error:
        raise ThalwegError(f"{source} needs transformers and Pillow ({error}); {_REMEDY}") from error
    except Exception as error:  # its loaders raise many types; all mean that there is no model to be had
        raise ThalwegError(f"no vision-language model at {source} ({type(error).__name__}: {error})") from error
    both = hasattr(model, "get_image_features") and hasattr(model, "get_text_features")
    if not both or not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        kind = getattr(model.config, "model_type", "model")
        raise ThalwegError(f"{source} holds a {kind}, which does not encode both images and texts; use CLIP or SigLIP")
    return model.float(), processor


def _tokenizer(source: str | Path) -> Any:
    place, options = _place(source)
    try:
        from transformers import AutoTokenizer

        with quiet_loading():
            return AutoTokenizer.from_pretrained(place, **options)
    except ImportError as error:
        raise ThalwegError(f"the tokenizer {source} needs transformers; {_REMEDY}") from error
    except Exception as error:
        raise ThalwegError(f"no tokenizer at {source} ({type(error).__name__}: {error})") from error


def _place(source: str | Path) -> tuple[str, dict[str, bool]]:
    """A folder, never looked up elsewhere, or a hub id; the model's own code is not run in either case."""
    folder = Path(source).expanduser()
    local = folder.exists()
    if not local and (str(source).count("/") > 1 or str(source).startswith((".", "/", "~"))):
        raise ThalwegError(f"no folder {source}; give a folder, or a hub id such as 'openai/clip-vit-base-patch32'")
    return str(folder if local else source), {"local_files_only": local, "trust_remote_code": False}
