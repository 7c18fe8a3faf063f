"""Evaluation by the official protocol: goals from the environment, its own step limit, success latched.

Every worker drives several environments at once with batched planning. Finished groups of episodes are written
down as they end, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from thalweg.errors import ThalwegError
from thalweg.files import write_atomically

__all__ = ["EpisodeResult", "Policy", "RandomPolicy", "RolloutSpec", "rollout"]


class Policy(Protocol):
    """Anything that acts towards goals, batched: an ``Agent``, a cloned policy, or chance."""

    def reset(self, goal: np.ndarray, *, seeds: list[int]) -> None: ...
    def act(self, observation: np.ndarray) -> np.ndarray: ...


class RandomPolicy:
    """Uniform actions: the floor that every success rate is read against."""

    def __init__(self, action: int) -> None:
        self._action = action
        self._rngs: list[np.random.Generator] = []

    def reset(self, goal: np.ndarray, *, seeds: list[int]) -> None:
        self._rngs = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.stack([rng.uniform(-1, 1, self._action) for rng in self._rngs]).astype(np.float32)


@dataclass(frozen=True)
class RolloutSpec:
    """What to evaluate, on what.

    Attributes:
        environment: an environment name, ``cube-single``.
        policy: a checkpoint folder, or ``random``.
        tasks: the official task numbers; empty for held-out random starts and goals.
        episodes: episodes a task (or in all, for random goals).
        seed: evaluation seed; the same seed gives every policy the same starts and goals.
        planner: changes to the checkpoint's planner configuration.
        together: environments that a worker drives at once.
        record: folder for one trace file an episode, or empty.
    """

    environment: str
    policy: str
    tasks: tuple[int, ...] = (1, 2, 3, 4, 5)
    episodes: int = 50
    seed: int = 0
    planner: tuple[tuple[str, Any], ...] = ()
    together: int = 5
    record: str = ""

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ThalwegError(f"episodes must be 1 or more, got {self.episodes}")
        if self.together < 1:
            raise ThalwegError(f"together must be 1 or more, got {self.together}")


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went: ``steps`` to success, or all steps of a failure."""

    task: int
    episode: int
    seed: int
    success: bool
    steps: int
    decisions: int


def episodes_of(spec: RolloutSpec) -> list[tuple[int, int, int]]:
    """``(task, episode, seed)`` of every episode; task 0 stands for a random start and goal."""
    tasks = spec.tasks or (0,)
    pairs = [(task, episode) for task in tasks for episode in range(spec.episodes)]
    return [(task, episode, 1_000_000 * (spec.seed + 1) + 1_000 * task + episode) for task, episode in pairs]


def rollout(
    spec: RolloutSpec,
    *,
    workers: int | None = None,
    journal: Path | None = None,
    progress: Callable[[int, int, int], None] = lambda done, total, successes: None,
) -> list[EpisodeResult]:
    """Run every episode of ``spec`` on all cores; ``progress(done, total, successes)`` after each group.

    ``journal`` names a JSONL file to which finished groups go, and from which a stopped run takes them back.

    Raises:
        ThalwegError: the journal belongs to another evaluation, or the checkpoint or environment is wrong.
    """
    wanted = episodes_of(spec)
    results = _read_journal(journal, spec)
    finished = {(result.task, result.episode) for result in results}
    groups = [wanted[begin : begin + spec.together] for begin in range(0, len(wanted), spec.together)]
    groups = [group for group in groups if not all((task, episode) in finished for task, episode, _ in group)]
    progress(len(results), len(wanted), sum(result.success for result in results))
    if groups:
        if spec.policy != "random":
            _policy(spec)  # fail here, in one place, when the checkpoint or a planner setting is wrong
        count = min(workers or os.cpu_count() or 1, len(groups))
        with ProcessPoolExecutor(count, get_context("spawn"), initializer=_use_one_thread) as pool:
            jobs = [pool.submit(run_group, spec, group) for group in groups]
            try:
                for job in as_completed(jobs):
                    results += job.result()
                    _append(journal, job.result())
                    progress(len(results), len(wanted), sum(result.success for result in results))
            except BrokenProcessPool as error:
                kept = " (finished episodes are kept; the same command goes on)" if journal else ""
                raise ThalwegError(f"a worker process was killed, perhaps for want of memory{kept}") from error
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return sorted(results, key=lambda result: (result.task, result.episode))


def _read_journal(journal: Path | None, spec: RolloutSpec) -> list[EpisodeResult]:
    if journal is None:
        return []
    identity = json.loads(json.dumps(asdict(spec)))
    if not journal.exists():
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(journal, json.dumps(identity) + "\n")
        return []
    lines = journal.read_text().splitlines()
    if json.loads(lines[0]) != identity:
        raise ThalwegError(f"{journal} belongs to another evaluation; choose another folder, or delete it")
    results = []
    for line in lines[1:]:
        try:
            results += [EpisodeResult(**item) for item in json.loads(line)]
        except json.JSONDecodeError:  # the line that a kill cut short
            write_atomically(journal, "".join(f"{kept}\n" for kept in lines[: lines.index(line)]))
            break
    return results


def _append(journal: Path | None, group: list[EpisodeResult]) -> None:
    if journal is not None:
        with journal.open("a") as file:
            file.write(json.dumps([asdict(result) for result in group]) + "\n")


@cache
def _environments(environment: str, count: int) -> list[Any]:
    from thalweg.envs.ogbench import make_env

    return [make_env(environment) for _ in range(count)]


def _use_one_thread() -> None:
    """There is a worker for every core."""
    import torch

    torch.set_num_threads(1)


@cache
def _policy(spec: RolloutSpec) -> Policy:
    from thalweg.agent import Agent
    from thalweg.checkpoint import load_checkpoint
    from thalweg.clone import ClonePolicy

    if spec.policy == "random":
        return RandomPolicy(_environments(spec.environment, 1)[0].action_space.shape[0])
    model, provenance = load_checkpoint(spec.policy)
    if model.kind == "clone":
        return ClonePolicy(model)
    return Agent(model.with_planner(**dict(spec.planner)), trace=bool(spec.record), provenance=provenance)


def run_group(spec: RolloutSpec, group: list[tuple[int, int, int]]) -> list[EpisodeResult]:
    """Run a group of episodes in step, each to its end; the unit of work of an evaluation."""
    from thalweg.envs.ogbench import seed_reset

    policy = _policy(spec)
    envs = _environments(spec.environment, spec.together)[: len(group)]
    observations, goals = [], []
    for env, (task, _, seed) in zip(envs, group, strict=True):
        options = {"task_id": task} if task else {"task_info": random_task(seed)}
        observation, info = seed_reset(env, seed, **options)
        observations.append(observation)
        goals.append(info["goal"])
    policy.reset(np.array(goals), seeds=[seed for *_, seed in group])
    recorders = [_Recorder(goal) if spec.record else None for goal in goals]
    steps, decisions = np.zeros(len(group), int), 0
    success, live = np.zeros(len(group), bool), np.ones(len(group), bool)
    while live.any():
        actions = policy.act(np.array(observations))
        planned = getattr(policy, "age", 0) == 1
        decisions += planned
        for index in np.flatnonzero(live):
            if recorders[index]:
                recorders[index].before(envs[index], observations[index], actions[index], policy, index, planned)
            observations[index], _, terminated, truncated, info = envs[index].step(actions[index])
            steps[index] += 1
            success[index] |= bool(info["success"])
            live[index] = not (terminated or truncated or success[index])
            if recorders[index] and not live[index]:
                recorders[index].after(envs[index], observations[index])
    results = [
        EpisodeResult(task, episode, seed, bool(success[i]), int(steps[i]), decisions)
        for i, (task, episode, seed) in enumerate(group)
    ]
    for result, recorder in zip(results, recorders, strict=True):
        if recorder:
            recorder.save(Path(spec.record), result)
    return results


def random_task(seed: int) -> dict[str, Any]:
    """A held-out start and goal for the single cube, drawn where the data's are: for tuning, never for reporting."""
    rng = np.random.default_rng(seed)
    while True:
        start, goal = rng.uniform([0.3, -0.3], [0.55, 0.3], (2, 2))
        if np.linalg.norm(start - goal) > 0.08:
            break
    return {
        "task_name": "random",
        "init_xyzs": np.array([[*start, 0.02]]),
        "goal_xyzs": np.array([[*goal, 0.02]]),
    }


class _Recorder:
    """Gathers what the report needs of one episode: states, actions, and every plan with its candidates."""

    def __init__(self, goal: np.ndarray) -> None:
        self.goal = goal
        self.rows: dict[str, list[np.ndarray]] = {}

    def _add(self, **values: Any) -> None:
        for name, value in values.items():
            self.rows.setdefault(name, []).append(np.asarray(value))

    def before(
        self, env: Any, observation: np.ndarray, action: np.ndarray, policy: Any, index: int, planned: bool
    ) -> None:
        data = env.unwrapped._data
        self._add(observations=observation, actions=action, qpos=data.qpos.copy(), qvel=data.qvel.copy())
        if not planned:
            return
        plan, decode = policy.plan, policy.planner.decode
        self._add(
            plan_step=len(self.rows["actions"]) - 1,
            plan_observations=decode(plan.latents[index]).numpy(),
            candidate_observations=decode(plan.candidates[index]).numpy().astype(np.float16),
            candidate_reach=plan.candidate_reach[index].numpy(),
            candidate_energy=plan.candidate_energy[index].numpy(),
            energies=plan.trace[:, index].numpy(),
            selected=int(plan.selected[index]),
            time_to_reach=float(plan.time_to_reach[index]),
            offsets=plan.offsets.numpy(),
        )
        if plan.belief is not None:
            self._add(belief=plan.belief[index].numpy())

    def after(self, env: Any, observation: np.ndarray) -> None:
        data = env.unwrapped._data
        self._add(observations=observation, qpos=data.qpos.copy(), qvel=data.qvel.copy())

    def save(self, folder: Path, result: EpisodeResult) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.stack(values) for name, values in self.rows.items()}
        meta = json.dumps(asdict(result))
        np.savez_compressed(
            folder / f"task{result.task}-{result.episode:03d}.npz", goal=self.goal, result=meta, **arrays
        )
