"""Record a dataset with an environment's own oracles: the official generation, sharded, seeded and resumable.

OGBench's sets are recorded to no purpose; the long-horizon tasks are demonstrated, each as often as the others.

Every episode is seeded by itself from ``(seed, episode)``, so the data does not depend on the number of
workers, on the order of the shards, or on how often the run was killed.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from thalweg.envs import ogbench as suite
from thalweg.envs.longhorizon import DEMONSTRATIONS, demonstrated, is_long_horizon
from thalweg.errors import ThalwegError, choices
from thalweg.files import write_atomically
from thalweg.parallel import run_jobs, worker_count

__all__ = ["CollectSpec", "collect", "record_episode"]

_SHARD = 10  # episodes a shard: about 15 seconds of work, the most that a kill can lose a worker
_ATTEMPTS = 100  # at an episode


@dataclass(frozen=True)
class CollectSpec:
    """What to record. ``episodes`` training episodes and a tenth as many (or ``validation``) for validation.

    ``steps`` is the rows of an episode; 0 where demonstrations end when they are done.
    """

    env: str
    kind: str
    episodes: int
    validation: int
    steps: int = 1001
    seed: int = 0

    @classmethod
    def official(
        cls,
        env: str,
        kind: str | None = None,
        *,
        episodes: int | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> CollectSpec:
        """The official settings of a dataset, with its size open to change; ``kind`` is ``play`` by default.

        Raises:
            ThalwegError: unknown environment or kind, or a size below one episode of two steps.
        """
        if seed < 0:
            raise ThalwegError(f"seed must be 0 or more, got {seed}")
        if is_long_horizon(env):
            return cls._demonstrations(env, kind, episodes, steps, seed)
        kind = kind or "play"
        settings = suite.oracle_settings(env, kind)
        episodes = settings.episodes if episodes is None else episodes
        steps = settings.steps if steps is None else steps
        if episodes < 1 or steps < 2:
            raise ThalwegError(f"need at least 1 episode of 2 steps, got episodes={episodes}, steps={steps}")
        return cls(suite.environment_id(env), kind, episodes, max(1, episodes // 10), steps, seed)

    @classmethod
    def _demonstrations(
        cls, env: str, kind: str | None, episodes: int | None, steps: int | None, seed: int
    ) -> CollectSpec:
        if kind not in (None, "demos"):
            raise ThalwegError(f"unknown kind of data {kind!r} for {env!r}; choose one of {choices(['demos'])}")
        if steps is not None:
            raise ThalwegError(f"demonstrations end when they are done; leave steps={steps} out")
        episodes = DEMONSTRATIONS if episodes is None else episodes
        if episodes < 1:
            raise ThalwegError(f"need at least 1 episode, got episodes={episodes}")
        return cls(f"{env.removesuffix('-v0')}-v0", "demos", episodes, max(1, episodes // 10), 0, seed)

    @property
    def name(self) -> str:
        """OGBench's name for the set: ``cube-single-play-v0``."""
        stem, version = self.env.rsplit("-", 1)
        return f"{stem}-{self.kind}-{version}"


@cache
def _environment(env: str, kind: str, steps: int) -> tuple[Any, dict[str, Any]]:
    made = suite.make_env(env, terminate_at_goal=False, mode="data_collection", max_episode_steps=steps)
    return made, suite.make_oracles(made, kind, suite.oracle_settings(env, kind))


def record_episode(spec: CollectSpec, episode: int) -> dict[str, np.ndarray]:
    """Record one episode; the same ``(spec, episode)`` gives the same arrays anywhere.

    Returns:
        ``observations (L, ...)``, ``actions (L, A)``, ``terminals (L,)``; OGBench's also ``qpos``, ``qvel`` and, where
        the environment has buttons, ``button_states``; demonstrations ``instructions (1,)``, and frames of cameras.
    """
    for attempt in range(_ATTEMPTS):
        sequence = np.random.SeedSequence([spec.seed, episode, attempt])
        rows = demonstrated(spec.env, episode, sequence) if spec.kind == "demos" else _roll(spec, sequence)
        if rows is not None and ("scene" not in spec.env or _cube_stays_visible(rows["qpos"])):
            return rows
    raise ThalwegError(f"episode {episode} of {spec.name} went wrong in {_ATTEMPTS} attempts")


def _roll(spec: CollectSpec, sequence: np.random.SeedSequence) -> dict[str, np.ndarray]:
    env, oracles = _environment(spec.env, spec.kind, spec.steps)
    settings = suite.oracle_settings(spec.env, spec.kind)
    env_seed, numpy_seed, action_seed = (int(word) for word in sequence.generate_state(3))
    np.random.seed(numpy_seed)  # OGBench's oracles draw from NumPy's global generator
    env.unwrapped.action_space.seed(action_seed)
    observation, info = env.reset(seed=env_seed)
    stacking = np.random.uniform(*settings.stacking)
    noise = np.random.uniform(0, settings.noise)
    oracle = oracles[info["privileged/target_task"]]
    oracle.reset(observation, info)
    rows: dict[str, list] = {}
    done = False
    while not done:
        if np.random.rand() < settings.random_action:
            action = env.action_space.sample()
        else:
            action = np.array(oracle.select_action(observation, info))
            if spec.kind == "noisy":
                action = action + np.random.normal(0, noise * np.array([1, 1, 1, 3, 10]), action.shape)
        action = np.clip(action, -1, 1)
        following, _, terminated, truncated, info = env.step(action)
        done = terminated or truncated
        if oracle.done:
            target_observation, target_info = env.unwrapped.set_new_target(p_stack=stacking)
            oracle = oracles[target_info["privileged/target_task"]]
            oracle.reset(target_observation, target_info)
        row = {"observations": observation, "actions": action, "terminals": done}
        row |= {key: info[f"prev_{key}"] for key in ("qpos", "qvel", "button_states") if f"prev_{key}" in info}
        for key, value in row.items():
            rows.setdefault(key, []).append(value)
        observation = following
    return {key: np.asarray(value, dtype=_dtype(key, value[0])) for key, value in rows.items()}


def _dtype(key: str, value: Any) -> type:
    if key == "terminals":
        return bool
    if key == "button_states":
        return np.int64
    return np.uint8 if getattr(value, "dtype", None) == np.uint8 else np.float32


def _cube_stays_visible(qpos: np.ndarray) -> bool:
    """The official health check of the scene environment: the cube in view, or in the drawer."""
    y, z = qpos[:, 15], qpos[:, 16]
    hidden = (y <= -0.3) & ((z < 0.06) | (z > 0.08))
    return not ((y >= 0.29).any() or hidden.any())


def _record_shard(spec: CollectSpec, index: int, folder: str) -> int:
    total = spec.episodes + spec.validation
    episodes = [record_episode(spec, e) for e in range(index * _SHARD, min((index + 1) * _SHARD, total))]
    arrays = {key: np.concatenate([episode[key] for episode in episodes]) for key in episodes[0]}
    path = _shard_path(Path(folder), index)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.savez(file, **arrays)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    return len(episodes)


def _shard_path(folder: Path, index: int) -> Path:
    return folder / f"shard-{index:05d}.npz"


def collect(
    spec: CollectSpec,
    out: Path,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Record ``spec`` into ``out/NAME.npz`` and ``out/NAME-val.npz``, OGBench's own layout.

    Finished shards are kept in ``out/NAME.parts`` until the set is complete, so a run that was stopped
    goes on where it was. ``progress(done, total)`` counts episodes.

    Returns:
        The path of the training file.

    Raises:
        ThalwegError: the folder holds parts, or a finished set, of other settings; fewer than one worker, or one
            that was killed.
    """
    workers = worker_count(workers)
    train = out / f"{spec.name}.npz"
    parts = out / f"{spec.name}.parts"
    record = out / f"{spec.name}.json"
    total = spec.episodes + spec.validation
    settings = {"collect": asdict(spec), "versions": suite.versions()}
    if train.exists() and record.exists():
        _same(json.loads(record.read_text()), settings, record)
        shutil.rmtree(parts, ignore_errors=True)
        progress(total, total)
        return train
    if train.exists():
        raise ThalwegError(f"{train} exists but was not recorded here (no {record.name}); choose another folder")
    parts.mkdir(parents=True, exist_ok=True)
    manifest = parts / "settings.json"
    if manifest.exists():
        _same(json.loads(manifest.read_text()), settings, manifest)
    else:
        write_atomically(manifest, json.dumps(settings, indent=1))
    for stale in [*parts.glob("*.tmp"), *out.glob(f"{spec.name}*.tmp")]:
        stale.unlink(missing_ok=True)
    shards = -(-total // _SHARD)
    missing = [index for index in range(shards) if not _shard_path(parts, index).exists()]
    done = total - sum(min((index + 1) * _SHARD, total) - index * _SHARD for index in missing)
    progress(done, total)

    def finished(episodes: int) -> None:
        nonlocal done
        done += episodes
        progress(done, total)

    jobs = [(spec, index, str(parts)) for index in missing]
    kept = "finished shards are kept, and the same command goes on"
    run_jobs(_record_shard, jobs, finished, workers=workers, kept=kept)
    _merge(spec, parts, train, shards, settings)
    shutil.rmtree(parts)
    return train


def _same(found: dict, wanted: dict, path: Path) -> None:
    """Refuse to mix recordings of different settings or simulator versions in one set."""
    for section in wanted:
        for key, value in wanted[section].items():
            if found.get(section, {}).get(key) != value:
                raise ThalwegError(
                    f"{path} was recorded with {key}={found.get(section, {}).get(key)!r}, this run asks for "
                    f"{value!r}; choose another folder, or delete that one"
                )


def _merge(spec: CollectSpec, parts: Path, train: Path, shards: int, settings: dict) -> None:
    """Write the set; the training file comes last, so that a set which has one is complete."""
    paths = [_shard_path(parts, index) for index in range(shards)]
    terminals = [np.load(path)["terminals"] for path in paths]
    ends = np.cumsum([0, *map(len, terminals)])  # of the shards' rows
    split = int(np.flatnonzero(np.concatenate(terminals))[spec.episodes - 1]) + 1
    write_atomically(train.with_suffix(".json"), json.dumps(settings, indent=1))
    validation = train.with_name(f"{spec.name}-val.npz")
    for path, rows, episodes in (
        (validation, (split, int(ends[-1])), slice(spec.episodes, None)),
        (train, (0, split), slice(spec.episodes)),
    ):
        temporary = path.with_suffix(".tmp")
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for key in np.load(paths[0]).files:
                with archive.open(f"{key}.npy", "w", force_zip64=True) as file:
                    if key == "instructions":
                        told = [one for shard in paths for one in np.load(shard)[key]]
                        np.lib.format.write_array(file, np.array(told[episodes]))
                    else:
                        _write_rows(file, key, paths, ends, *rows)
        temporary.replace(path)


def _write_rows(file: IO[bytes], key: str, shards: list[Path], ends: np.ndarray, first: int, last: int) -> None:
    """Write rows ``first`` to ``last`` of one array as ``.npy``; shard i holds rows ``ends[i]`` to ``ends[i + 1]``.

    One shard is in memory at a time.
    """
    begun = False
    for path, begin, end in zip(shards, ends[:-1], ends[1:], strict=True):
        if end <= first or begin >= last:
            continue
        part = np.load(path)[key][max(0, first - begin) : last - begin]
        if not begun:
            header = {"descr": np.lib.format.dtype_to_descr(part.dtype), "fortran_order": False}
            np.lib.format.write_array_header_1_0(file, header | {"shape": (last - first, *part.shape[1:])})
            begun = True
        file.write(np.ascontiguousarray(part))
