"""One training loop for every planner: schedule, weight averaging, clipping, logs, checkpoints and exact resume."""

from __future__ import annotations

import copy
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.data.store import EpisodeStore
from thalweg.errors import ThalwegError, choices
from thalweg.files import write_atomically
from thalweg.state import first_difference, read_state, section, write_state

__all__ = ["Progress", "TrainConfig", "Trainable", "train"]

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """The optimisation, apart from what is optimised.

    Attributes:
        steps: optimiser steps.
        batch: samples a step.
        rate: peak learning rate of AdamW.
        warmup: steps of linear warm-up.
        decay: share of the steps, at the end, over which the rate falls linearly to zero.
        average: window of the weights' running average, which is what is kept, as a share of the steps.
        clip: largest gradient norm of each part.
        weight_decay: AdamW's.
        seed: of weights, samples and noise.
        precision: ``float32``, ``bfloat16`` (autocast), or ``auto``: bfloat16 where the hardware multiplies it.
        compile: compile the losses.
        save_every: steps between resumable states.
    """

    steps: int = 10_000
    batch: int = 256
    rate: float = 2e-3
    warmup: int = 300
    decay: float = 0.5
    average: float = 0.02
    clip: float = 1.0
    weight_decay: float = 1e-4
    seed: int = 0
    precision: str = "auto"
    compile: bool = True
    save_every: int = 2_000

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ThalwegError(f"unknown precision {self.precision!r}; choose one of {choices(PRECISIONS)}")
        for name in ("steps", "batch", "save_every"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")


class Trainable(Protocol):
    """What the loop trains: a module that draws its own samples and names its losses and their parts."""

    config: Any

    def sampler(self, store: EpisodeStore) -> Any: ...
    def calibrate(self, sampler: Any, rng: np.random.Generator) -> None: ...
    def draw(self, sampler: Any, size: int, rng: np.random.Generator, generator: torch.Generator) -> Any: ...
    def losses(self, sample: Any) -> dict[str, Tensor]: ...
    def parts(self) -> dict[str, nn.Module]: ...


@dataclass(frozen=True)
class Progress:
    """What the loop reports every hundred steps."""

    step: int
    steps: int
    losses: dict[str, float]
    gradients: dict[str, float]
    rate: float
    seconds: float  #: of training, over all the runs that led here


def train(
    trainable: nn.Module,
    store: EpisodeStore,
    *,
    config: TrainConfig,
    out: Path | None = None,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Train ``trainable`` on ``store`` and leave the averaged weights in it.

    With ``out``, logs go to ``out/log.jsonl`` (and TensorBoard files where it is installed), and the state is
    saved every ``save_every`` steps and on Ctrl-C; a later call with the same settings goes on from there and ends
    with the same weights as a run that was never stopped.

    Returns:
        ``steps``, ``wall_clock_s``, ``device``, ``precision``, and the last smoothed ``losses``.

    Raises:
        ThalwegError: the state in ``out`` belongs to other settings or data, or the loss stopped being finite.
    """
    run = _Run(trainable, store, config, out, device)
    with _interrupts() as interrupted:
        while run.step < config.steps:
            run.advance()
            if run.step % 100 == 0 or run.step == config.steps:
                report(run.report())
            if run.step % config.save_every == 0 or interrupted:
                run.save()
            if interrupted:
                raise KeyboardInterrupt
    run.save()
    return run.finish()


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Hold Ctrl-C back until the step in progress is whole; the list it gives is filled when one came."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    former = signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, former)


class _Run:
    """A training run in progress: all the state that a resume must bring back."""

    def __init__(
        self, trainable: nn.Module, store: EpisodeStore, config: TrainConfig, out: Path | None, device: str
    ) -> None:
        self.trainable, self.store, self.config, self.out = trainable, store, config, out
        self.device = torch.device(device)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.sampler = trainable.sampler(store)
        self.step, self.seconds, self.recent = 0, 0.0, {}
        trainable.calibrate(self.sampler, self.rng)
        trainable.to(self.device).train()
        self.average = {name: value.clone() for name, value in trainable.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in trainable.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
                {"params": [p for p in trainable.parameters() if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=config.rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.bfloat16 = _bfloat16(config.precision, self.device)
        self.losses = torch.compile(trainable.losses, fullgraph=True) if config.compile else trainable.losses
        self.writer = _tensorboard(out)
        self._gradients: dict[str, float] = {}
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            self._resume()

    def rate(self) -> float:
        config = self.config
        rise = min(1.0, (self.step + 1) / max(1, config.warmup))
        fall = min(1.0, (config.steps - self.step) / max(1.0, config.decay * config.steps))
        return config.rate * rise * fall

    def advance(self) -> None:
        """One optimiser step."""
        begun = time.perf_counter()
        sample = self.trainable.draw(self.sampler, self.config.batch, self.rng, self.generator)
        if self.device.type != "cpu":
            sample = _move(sample, self.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            losses = self.losses(sample)
        self.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        norms = {
            name: nn.utils.clip_grad_norm_(part.parameters(), self.config.clip)
            for name, part in self.trainable.parts().items()
        }
        self.optimiser.step()
        self._average()
        self.step += 1
        self.seconds += time.perf_counter() - begun
        self._watch(losses, norms)

    @torch.no_grad()
    def _average(self) -> None:
        share = max(1 / (1 + self.config.average * self.config.steps), 9 / (self.step + 10))
        state = self.trainable.state_dict()
        floating = [name for name, value in state.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.average[name] for name in floating], [state[name] for name in floating], share)

    def _watch(self, losses: dict[str, Tensor], norms: dict[str, Tensor]) -> None:
        self._gradients = {name: float(norm.detach()) for name, norm in norms.items()}
        for name, loss in losses.items():
            value = float(loss.detach())
            if not np.isfinite(value):
                raise ThalwegError(f"the {name} loss is {value} at step {self.step}; lower the learning rate")
            self.recent[name] = value + 0.99 * (self.recent.get(name, value) - value)

    def report(self) -> Progress:
        progress = Progress(self.step, self.config.steps, dict(self.recent), self._gradients, self.rate(), self.seconds)
        if self.out is not None:
            with (self.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(asdict(progress)) + "\n")
        if self.writer is not None:
            for name, value in progress.losses.items():
                self.writer.add_scalar(f"loss/{name}", value, self.step)
            for name, value in progress.gradients.items():
                self.writer.add_scalar(f"gradient/{name}", value, self.step)
            self.writer.add_scalar("rate", progress.rate, self.step)
        return progress

    # --- resume -------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        settings = {"train": asdict(self.config), "model": asdict(self.trainable.config)}
        settings["train"].pop("save_every")
        return json.loads(json.dumps(settings | {"data": self.store.fingerprint}))

    def save(self) -> None:
        """Write the whole state; a kill in the middle leaves the state before."""
        if self.out is None:
            return
        tensors = {f"weights.{name}": value for name, value in self.trainable.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{key}": value for key, value in state.items()}
        tensors["generator"] = self.generator.get_state()
        record = {
            "identity": self._identity(),
            "step": self.step,
            "seconds": self.seconds,
            "recent": self.recent,
            "rng": self.rng.bit_generator.state,
        }
        write_state(self.out / "state.safetensors", record, tensors)

    def _resume(self) -> None:
        path = self.out / "state.safetensors"
        if not path.exists():
            (self.out / "log.jsonl").unlink(missing_ok=True)
            return
        record, tensors = read_state(path)
        if record["identity"] != self._identity():
            difference = first_difference(record["identity"], self._identity())
            raise ThalwegError(
                f"{path} belongs to a run with other settings or data ({difference}); "
                "choose another folder, or delete that file"
            )
        self.trainable.load_state_dict(section(tensors, "weights"))
        self.average = {name: value.to(self.device) for name, value in section(tensors, "average").items()}
        self._load_optimiser(section(tensors, "optimiser"))
        self.generator.set_state(tensors["generator"])
        self.rng.bit_generator.state = record["rng"]
        self.step, self.seconds, self.recent = record["step"], record["seconds"], record["recent"]
        self._truncate_log()

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, key = name.split(".")
            state.setdefault(int(index), {})[key] = value
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})

    def _truncate_log(self) -> None:
        """Drop the log's lines of steps after the state: they will be trained, and logged, again."""
        log = self.out / "log.jsonl"
        if log.exists():
            kept = [line for line in log.read_text().splitlines() if json.loads(line)["step"] <= self.step]
            write_atomically(log, "".join(f"{line}\n" for line in kept))

    def finish(self) -> dict[str, Any]:
        self.trainable.load_state_dict(copy.deepcopy(self.average))
        self.trainable.eval()
        if self.writer is not None:
            self.writer.close()
        return {
            "steps": self.step,
            "wall_clock_s": round(self.seconds, 1),
            "device": _device_name(self.device),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "losses": {name: round(value, 6) for name, value in self.recent.items()},
        }


def _bfloat16(precision: str, device: torch.device) -> bool:
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def _move(sample: Any, device: torch.device) -> Any:
    """Every tensor of a sample record on ``device``."""
    if isinstance(sample, Tensor):
        return sample.to(device, non_blocking=True)
    return type(sample)(**{name: _move(value, device) for name, value in vars(sample).items()})


def _tensorboard(out: Path | None) -> Any:
    if out is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(out / "tensorboard")
