"""EpisodeStore: recorded episodes as read-only, memory-mapped flat arrays and episode bounds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.data.arrays import ROWS, check_camera, check_finite, check_instructions, checked_array, episode_ends
from thalweg.data.npz import npz_files, unpack_npz
from thalweg.data.unpacked import CAMERA, unpacked
from thalweg.errors import ThalwegError

__all__ = ["EpisodeStore"]


@dataclass(frozen=True)
class EpisodeStore:
    """Episodes laid end to end. Row ``ends[i] - 1`` is the last observation of episode ``i``.

    An episode of L rows holds L - 1 transitions: its last action leads nowhere (OGBench's convention).

    Attributes:
        observations: ``(N, S)`` or ``(N, height, width, channels)``.
        actions: ``(N, A)``, NaN throughout the episodes that have none; or None where no episode has any.
        starts: ``(E,)`` first row of each episode.
        ends: ``(E,)`` one past the last row of each episode.
        extra: other arrays of N rows (``qpos``, ``qvel``, ``button_states``).
        source: where the data came from, for messages and records.
        cameras: frames by the camera's name, ``(N, height, width, 3)`` uint8; the observations beside them are the
            robot's own (proprioception).
        instructions: what each episode shows, in words; empty where nobody said.
    """

    observations: np.ndarray
    actions: np.ndarray | None
    starts: np.ndarray
    ends: np.ndarray
    extra: dict[str, np.ndarray]
    source: str
    cameras: dict[str, np.ndarray] = field(default_factory=dict)
    instructions: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def rows(self) -> int:
        """N, the number of observations."""
        return len(self.observations)

    @property
    def transitions(self) -> int:
        """Pairs of consecutive observations."""
        return self.rows - len(self)

    @cached_property
    def labelled(self) -> np.ndarray:
        """The indices of the episodes that have actions: none are NaN there, elsewhere all."""
        if self.actions is None:
            return np.arange(0)
        return np.flatnonzero(~np.isnan(self.actions[self.starts]).all(axis=1))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that is learned from: two stores with the same data have the same one."""
        digest = hashlib.sha256()
        named = [("", array) for array in (self.observations, self.actions, self.ends) if array is not None]
        for name, array in [*named, *sorted(self.cameras.items())]:
            digest.update(f"{name}{array.dtype.str}{array.shape}".encode())
            for begin in range(0, len(array), ROWS):
                digest.update(np.ascontiguousarray(array[begin : begin + ROWS]))
        if self.instructions:
            digest.update("\n".join(self.instructions).encode())
        return digest.hexdigest()

    def episode_of(self, rows: np.ndarray) -> np.ndarray:
        """The number of the episode that each of ``rows`` belongs to; any shape, kept."""
        return np.searchsorted(self.ends, rows, side="right")

    def bounds(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last row of the episode that each of ``rows`` belongs to; any shape, kept."""
        episode = self.episode_of(rows)
        return self.starts[episode], self.ends[episode] - 1

    def episode(self, index: int) -> dict[str, np.ndarray]:
        """The rows of one episode: ``observations``, ``actions`` where there are any, cameras and the extra arrays."""
        if not -len(self) <= index < len(self):
            raise ThalwegError(f"no episode {index}; {self.source} holds {len(self)}")
        rows = slice(self.starts[index], self.ends[index])
        arrays = {"observations": self.observations, **self.cameras, **self.extra}
        if self.actions is not None:
            arrays["actions"] = self.actions
        return {key: value[rows] for key, value in arrays.items()}

    @classmethod
    def from_arrays(
        cls,
        observations: np.ndarray,
        actions: np.ndarray | None = None,
        terminals: np.ndarray | None = None,
        *,
        lengths: np.ndarray | None = None,
        extra: dict[str, np.ndarray] | None = None,
        cameras: dict[str, np.ndarray] | None = None,
        instructions: Sequence[str] = (),
        source: str = "arrays",
    ) -> EpisodeStore:
        """Build a store from arrays in memory.

        Args:
            observations: ``(N, S)`` numbers, or ``(N, height, width, channels)`` uint8.
            actions: ``(N, A)``, NaN throughout the episodes that have none: these teach planning, not acting.
            terminals: ``(N,)`` true at the last row of each episode; or
            lengths: ``(E,)`` rows of each episode; with neither, all rows are one episode.
            extra: further arrays of N rows to carry along.
            cameras: frames ``(N, height, width, 3)`` uint8 by the camera's name.
            instructions: what each of the E episodes shows, in words.
            source: a name for messages.

        Raises:
            ThalwegError: naming the episode and key that is truncated, ragged, not finite or mislabelled.
        """
        observations = checked_array(observations, "observations", source)
        arrays = {key: np.asarray(value) for key, value in (extra or {}).items()}
        if actions is not None:
            arrays["actions"] = checked_array(actions, "actions", source)
        ends = episode_ends(len(observations), terminals, lengths, source)
        starts = np.concatenate([[0], ends[:-1]])
        cameras = {name: np.asanyarray(frames) for name, frames in (cameras or {}).items()}
        for name, frames in cameras.items():
            check_camera(frames.shape, frames.dtype, name, source)
        for key, value in {**arrays, **cameras}.items():
            rows = len(value) if value.ndim else 0
            if rows != len(observations):
                raise ThalwegError(f"{source}: {key} has {rows} rows, observations have {len(observations)}")
        for key, value in {"observations": observations, **arrays}.items():
            check_finite(value, key, ends, source)
        told = check_instructions(instructions, len(ends), source)
        return cls(observations, arrays.pop("actions", None), starts, ends, arrays, source, cameras, told)

    @classmethod
    def open(cls, path: str | Path) -> EpisodeStore:
        """Open a dataset: OGBench's, LIBERO's or LeRobot's.

        That is an ``.npz`` file or a folder of them with the same keys (an episode or more each); a folder of LIBERO's
        HDF5 files, or one of them; or a LeRobotDataset v3. The arrays are unpacked once beside the data, into
        ``NAME.store``, and memory-mapped from then on.

        Raises:
            ThalwegError: the path, its keys, or its contents are wrong.
        """
        from thalweg.data.lerobot import is_lerobot, open_lerobot
        from thalweg.data.libero import is_libero, open_libero

        path = Path(path).expanduser()
        if not path.exists():
            raise ThalwegError(f"no dataset at {path}; record one with: thalweg collect cube-single --kind play")
        if is_lerobot(path):
            return open_lerobot(path)
        if is_libero(path):
            return open_libero(path)
        files = npz_files(path)
        return cls.of_unpacked(path, files, lambda folder: unpack_npz(files, folder, str(path)))

    @classmethod
    def of_unpacked(cls, path: Path, files: Sequence[Path], fill: Callable[[Path], dict[str, Any]]) -> EpisodeStore:
        """The store of what ``fill`` unpacks from ``files``; see ``unpacked``."""
        arrays, instructions = unpacked(path, files, fill)
        ends = np.array(arrays.pop("ends"))
        cameras = {key.removeprefix(CAMERA): arrays.pop(key) for key in [*arrays] if key.startswith(CAMERA)}
        observations, actions = arrays.pop("observations"), arrays.pop("actions", None)
        starts = np.concatenate([[0], ends[:-1]])
        return cls(observations, actions, starts, ends, arrays, str(path), cameras, instructions)
