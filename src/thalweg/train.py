"""One training loop for every planner: schedule, weight averaging, clipping, logs, checkpoints and exact resume."""

from __future__ import annotations

import copy
import json
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from thalweg.data.store import EpisodeStore
from thalweg.device import device_name, find_compiler, find_device, move, multiplies_bfloat16
from thalweg.errors import ThalwegError, choices
from thalweg.files import write_atomically
from thalweg.state import first_difference, read_state, section, write_state

__all__ = ["Progress", "TrainConfig", "Trainable", "train"]

PRECISIONS = ("auto", "float32", "bfloat16")
_VALIDATION_BATCHES = 8


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
        compile: compile the losses, where there is a C++ compiler.
        save_every: steps between resumable states.
        validate_every: steps between looks at the validation recordings.
    """

    steps: int = 6_000
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
    save_every: int = 500
    validate_every: int = 500

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ThalwegError(f"unknown precision {self.precision!r}; choose one of {choices(PRECISIONS)}")
        for name in ("steps", "batch", "save_every", "validate_every"):
            if getattr(self, name) < 1:
                raise ThalwegError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.seed < 0:
            raise ThalwegError(f"seed must be 0 or more, got {self.seed}")


class Trainable(Protocol):
    """What the loop trains: a module that draws its own samples and names its losses and their parts."""

    config: Any

    def sampler(self, store: EpisodeStore) -> Any: ...
    def measure(self, sampler: Any, rng: np.random.Generator) -> None: ...
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
    validation: dict[str, float]  #: losses of the averaged weights on the validation recordings, when last looked at


def train(
    trainable: nn.Module,
    store: EpisodeStore,
    *,
    config: TrainConfig,
    validation: EpisodeStore | None = None,
    out: Path | None = None,
    device: str = "cpu",
    report: Callable[[Progress], None] = lambda progress: None,
) -> dict[str, Any]:
    """Train ``trainable`` on ``store`` and leave the averaged weights in it.

    The losses of the averaged weights on ``validation`` are looked at now and then; they choose nothing.

    With ``out``, logs go to ``out/log.jsonl`` (and TensorBoard files where it is installed), and the state is
    saved every ``save_every`` steps and on Ctrl-C; a later call with the same settings goes on from there and ends
    with the same weights as a run that was never stopped.

    Returns:
        ``steps``, ``wall_clock_s``, ``device``, ``precision``, ``compiled``, the last smoothed ``losses``, and those of
        the ``validation``.

    Raises:
        ThalwegError: the device is unknown, the state in ``out`` belongs to other settings or data, or a loss or
            gradient stopped being finite.
    """
    run = _Run(trainable, store, config, validation, out, device)
    with _interrupts() as interrupted:
        while run.step < config.steps:
            run.advance()
            if run.step % config.validate_every == 0 or run.step == config.steps:
                run.validate()
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
        self,
        trainable: nn.Module,
        store: EpisodeStore,
        config: TrainConfig,
        validation: EpisodeStore | None,
        out: Path | None,
        device: str,
    ) -> None:
        self.trainable, self.store, self.config, self.out = trainable, store, config, out
        self.device = find_device(device)
        self.rng = np.random.default_rng(config.seed)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.sampler = trainable.sampler(store)
        self.validation = None if validation is None else trainable.sampler(validation)
        self.step, self.seconds, self.recent, self.validated = 0, 0.0, {}, {}
        trainable.measure(self.sampler, self.rng)
        self.source = trainable if self.device.type == "cpu" else copy.deepcopy(trainable)  # draws samples on the CPU
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
        self.bfloat16 = config.precision == "bfloat16" or (
            config.precision == "auto" and multiplies_bfloat16(self.device)
        )
        self.compiled = config.compile and find_compiler() is not None
        if config.compile and not self.compiled:
            warnings.warn("no C++ compiler: training runs uncompiled, at half speed; install g++", stacklevel=4)
        self.losses = torch.compile(trainable.losses, fullgraph=True) if self.compiled else trainable.losses
        self._gradients: dict[str, float] = {}
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            self._resume()
        self.writer = _tensorboard(out, self.step)

    def rate(self) -> float:
        config = self.config
        rise = min(1.0, (self.step + 1) / max(1, config.warmup))
        fall = min(1.0, (config.steps - self.step) / max(1.0, config.decay * config.steps))
        return config.rate * rise * fall

    def advance(self) -> None:
        """One optimiser step."""
        begun = time.perf_counter()
        losses = self._losses(self.sampler, self.rng, self.generator)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        norms = {
            name: nn.utils.clip_grad_norm_(part.parameters(), self.config.clip)
            for name, part in self.trainable.parts().items()
        }
        self._watch(losses, norms)
        self.optimiser.step()
        self._average()
        self.step += 1
        self.seconds += time.perf_counter() - begun

    def _losses(self, sampler: Any, rng: np.random.Generator, generator: torch.Generator) -> dict[str, Tensor]:
        sample = self.source.draw(sampler, self.config.batch, rng, generator)
        if self.device.type != "cpu":
            sample = move(sample, self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            try:
                return self.losses(sample)
            except Exception as error:
                if type(error).__name__ != "InductorError":  # the compiler's own fault; its type is slow to import
                    raise
                warnings.warn(f"compiling failed ({error}): training runs uncompiled, perhaps slower", stacklevel=4)
                self.compiled, self.losses = False, self.trainable.losses
                return self.losses(sample)

    def validate(self) -> None:
        """Losses of the averaged weights on the same few batches of the validation recordings, every time."""
        if self.validation is None:
            return
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        weights = {name: value.clone() for name, value in self.trainable.state_dict().items()}
        self.trainable.load_state_dict(self.average)
        batches = [self._losses(self.validation, rng, generator) for _ in range(_VALIDATION_BATCHES)]
        self.trainable.load_state_dict(weights)
        self.validated = {
            name: float(torch.stack([batch[name].detach() for batch in batches]).mean()) for name in batches[0]
        }

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
            for what, number in (("loss", value), ("gradient", self._gradients.get(name, 0.0))):
                if not np.isfinite(number):
                    raise ThalwegError(
                        f"the {name} {what} is {number} at step {self.step + 1}; lower the learning rate (rate, now "
                        f"{self.config.rate}) or look for outliers in the data"
                    )
            self.recent[name] = value + 0.99 * (self.recent.get(name, value) - value)

    def report(self) -> Progress:
        progress = Progress(
            self.step,
            self.config.steps,
            dict(self.recent),
            self._gradients,
            self.rate(),
            self.seconds,
            self.validated,
        )
        if self.out is not None:
            with (self.out / "log.jsonl").open("a") as file:
                file.write(json.dumps(asdict(progress)) + "\n")
        if self.writer is not None:
            for name, value in progress.losses.items():
                self.writer.add_scalar(f"loss/{name}", value, self.step)
            for name, value in progress.gradients.items():
                self.writer.add_scalar(f"gradient/{name}", value, self.step)
            for name, value in progress.validation.items():
                self.writer.add_scalar(f"validation/{name}", value, self.step)
            self.writer.add_scalar("rate", progress.rate, self.step)
        return progress

    # --- resume -------------------------------------------------------------------------------------------------

    def _identity(self) -> dict[str, Any]:
        settings = {"train": asdict(self.config), "model": asdict(self.trainable.config)}
        for name in ("save_every", "validate_every"):
            settings["train"].pop(name)
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
            "validated": self.validated,
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
        self.step, self.seconds = record["step"], record["seconds"]
        self.recent, self.validated = record["recent"], record["validated"]
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
            lines = [line for line in log.read_text().splitlines() if line.endswith("}")]  # a kill may cut the last
            kept = [line for line in lines if json.loads(line)["step"] <= self.step]
            write_atomically(log, "".join(f"{line}\n" for line in kept))

    def finish(self) -> dict[str, Any]:
        self.trainable.load_state_dict(copy.deepcopy(self.average))
        self.trainable.eval()
        if self.writer is not None:
            self.writer.close()
        return {
            "steps": self.step,
            "wall_clock_s": round(self.seconds, 1),
            "device": device_name(self.device),
            "precision": "bfloat16" if self.bfloat16 else "float32",
            "compiled": self.compiled,
            "losses": {name: round(value, 6) for name, value in self.recent.items()},
            "validation": {name: round(value, 6) for name, value in self.validated.items()},
        }


def _tensorboard(out: Path | None, step: int) -> Any:
    if out is None:
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(out / "tensorboard", purge_step=step + 1)
