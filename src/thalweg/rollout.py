"""Evaluation by the official protocol: goals from the environment, its own step limit, success latched.

Every worker drives several environments at once with batched planning. Finished groups of episodes are written
down as they end, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from thalweg.data.unpacked import CAMERA
from thalweg.envs import check_tasks, is_factory, make_env, start_episode
from thalweg.errors import ThalwegError
from thalweg.files import write_atomically
from thalweg.parallel import run_jobs, worker_count
from thalweg.results import difference, versions

__all__ = ["EpisodeResult", "Policy", "RandomPolicy", "RolloutSpec", "rollout"]


class Policy(Protocol):
    """Anything that acts towards goals, batched: an ``Agent``, a cloned policy, or chance."""

    def reset(self, goal: Any, *, seeds: list[int]) -> None: ...
    def act(self, observation: np.ndarray) -> np.ndarray: ...


class RandomPolicy:
    """Uniform actions between ``low (A,)`` and ``high (A,)``: the floor that every success rate is read against."""

    def __init__(self, low: np.ndarray, high: np.ndarray) -> None:
        self._low, self._high = low, high
        self._rngs: list[np.random.Generator] = []

    def reset(self, goal: Any, *, seeds: list[int]) -> None:
        self._rngs = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation: np.ndarray) -> np.ndarray:
        return np.stack([rng.uniform(self._low, self._high) for rng in self._rngs]).astype(np.float32)


@dataclass(frozen=True)
class RolloutSpec:
    """What to evaluate, on what.

    Attributes:
        environment: an environment name, ``cube-single``; or ``module:function``, a factory of a Gymnasium
            environment that passes ``check_env``.
        policy: a checkpoint folder, or ``random``.
        tasks: the official task numbers; empty for held-out random starts and goals, all that a factory's
            environment has.
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
        if self.seed < 0:
            raise ThalwegError(f"seed must be 0 or more, got {self.seed}")
        check_tasks(self.environment, self.tasks)


@dataclass(frozen=True)
class EpisodeResult:
    """How one episode went: ``steps`` to success, or all steps of a failure, and the ``decisions`` on the way.

    ``stages`` counts those of the task's stages that were gone through, where it has any.
    """

    task: int
    episode: int
    seed: int
    success: bool
    steps: int
    decisions: int
    stages: int | None = None


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
        ThalwegError: the journal belongs to another evaluation; the checkpoint or environment is wrong; fewer than
            one worker, or one that was killed.
    """
    workers = worker_count(workers)
    wanted = episodes_of(spec)
    results = _read_journal(journal, spec)
    done = {(result.task, result.episode) for result in results}
    groups = [wanted[begin : begin + spec.together] for begin in range(0, len(wanted), spec.together)]
    groups = [group for group in groups if not all((task, episode) in done for task, episode, _ in group)]

    def finished(group: list[EpisodeResult]) -> None:
        _append(journal, group)
        results.extend(group)
        progress(len(results), len(wanted), sum(result.success for result in results))

    progress(len(results), len(wanted), sum(result.success for result in results))
    if groups:
        _check(spec)
    kept = "finished episodes are kept; the same command goes on" if journal else ""
    run_jobs(run_group, [(spec, group) for group in groups], finished, workers=workers, kept=kept)
    return sorted(results, key=lambda result: (result.task, result.episode))


def _check(spec: RolloutSpec) -> None:
    """Fail here, in one place, when the environment, the checkpoint or a planner setting is wrong."""
    if is_factory(spec.environment):
        from thalweg.check import check_env

        check_env(make_env(spec.environment))
    if spec.policy != "random":
        _policy(spec)


def _identity(spec: RolloutSpec) -> dict[str, Any]:
    """What decides how the episodes go: the spec, the checkpoint's files, and the libraries."""
    folder = Path(spec.policy).expanduser()
    files = [folder / name for name in ("model.safetensors", "thalweg.json")] if spec.policy != "random" else []
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.exists()}
    return json.loads(json.dumps({"evaluation": asdict(spec), "checkpoint": digests, "versions": versions()}))


def _read_journal(journal: Path | None, spec: RolloutSpec) -> list[EpisodeResult]:
    if journal is None:
        return []
    identity = _identity(spec)
    lines = journal.read_text().splitlines() if journal.exists() else []
    if len(lines) < 2:  # no episode yet: nothing to mix up
        journal.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(journal, json.dumps(identity) + "\n")
        return []
    differs = difference(json.loads(lines[0]), identity)
    if differs:
        raise ThalwegError(f"{journal} belongs to another evaluation: {differs}; choose another --out, or delete it")
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
def _environments(environment: str, count: int, frame_size: tuple[int, ...] | None) -> list[Any]:
    return [make_env(environment, frame_size=frame_size) for _ in range(count)]


@cache
def _policy(spec: RolloutSpec) -> Policy:
    from thalweg.agent import Agent
    from thalweg.checkpoint import load_checkpoint
    from thalweg.clone import ClonePolicy

    if spec.policy == "random":
        space = _environments(spec.environment, spec.together, None)[0].action_space
        return RandomPolicy(space.low, space.high)
    model, provenance = load_checkpoint(spec.policy)
    if model.kind == "clone":
        return ClonePolicy(model)
    planner = model.with_planner(**dict(spec.planner))
    return Agent(planner, trace=bool(spec.record), bounds=None, provenance=provenance)  # `run_group` clips


def run_group(spec: RolloutSpec, group: list[tuple[int, int, int]]) -> list[EpisodeResult]:
    """Run a group of episodes in step, each to its end; the unit of work of an evaluation."""
    policy = _policy(spec)
    frame_size = getattr(getattr(policy, "planner", None), "frame_size", None)
    envs = _environments(spec.environment, spec.together, frame_size)[: len(group)]
    observations, goals = [], []
    for env, (task, _, seed) in zip(envs, group, strict=True):
        observation, info = start_episode(spec.environment, env, task, seed)
        observations.append(observation)
        goals.append(info["instruction"] if "instruction" in info else info["goal"])
    given = goals if isinstance(goals[0], str | dict) else np.array(goals)
    policy.reset(given, seeds=[seed for *_, seed in group])
    space = envs[0].action_space
    recorders = [_Recorder(goal, policy) if spec.record else None for goal in goals]
    steps, decisions = np.zeros(len(group), int), np.zeros(len(group), int)
    success, live = np.zeros(len(group), bool), np.ones(len(group), bool)
    stages: list[int | None] = [None] * len(group)
    while live.any():
        actions = np.clip(policy.act(_together(observations)), space.low, space.high)
        planned = getattr(policy, "age", 0) == 1
        decisions[live] += planned
        for index in np.flatnonzero(live):
            if recorders[index]:
                recorders[index].before(envs[index], observations[index], actions[index], index, planned)
            observations[index], _, terminated, truncated, info = envs[index].step(actions[index])
            steps[index] += 1
            success[index] |= bool(info["success"])
            stages[index] = info.get("stage")
            live[index] = not (terminated or truncated or success[index])
            if recorders[index] and not live[index]:
                recorders[index].after(envs[index], observations[index])
    results = [
        EpisodeResult(task, episode, seed, bool(success[i]), int(steps[i]), int(decisions[i]), stages[i])
        for i, (task, episode, seed) in enumerate(group)
    ]
    for result, recorder in zip(results, recorders, strict=True):
        if recorder:
            recorder.save(Path(spec.record), result)
    return results


def _together(observations: list[Any]) -> Any:
    """Observations of several environments as one batch: arrays, or a dict of them."""
    if isinstance(observations[0], dict):
        return {name: np.stack([one[name] for one in observations]) for name in observations[0]}
    return np.array(observations)


class _Recorder:
    """Gathers what the report needs of one episode: states, actions, and every plan with the candidates' energies."""

    def __init__(self, goal: np.ndarray | dict[str, np.ndarray] | str, policy: Any) -> None:
        self.policy = policy
        self.rows: dict[str, list[np.ndarray]] = {}
        self.told = isinstance(goal, str)
        goal = goal["proprioception"] if isinstance(goal, dict) else goal
        self.constants = {"instruction" if self.told else "goal": goal}
        normaliser = getattr(getattr(policy, "planner", None), "normaliser", None)
        if normaliser is not None:
            self.constants["kept"] = normaliser.keep.numpy() > 0

    def _add(self, **values: Any) -> None:
        for name, value in values.items():
            self.rows.setdefault(name, []).append(np.asarray(value))

    def before(self, env: Any, observation: Any, action: np.ndarray, index: int, planned: bool) -> None:
        self._add(**_observed(observation), actions=action, **_states(env))
        if not planned:
            return
        plan, decode = self.policy.plan, self.policy.planner.decode
        self._add(
            plan_step=len(self.rows["actions"]) - 1,
            plan_observations=decode(plan.latents[index]).numpy(),
            time_to_reach=float(plan.time_to_reach[index]),
            offsets=(plan.offsets if plan.offsets.ndim == 1 else plan.offsets[index]).numpy(),
        )
        if isinstance(observation, dict):
            self._add(latents=plan.present[index].numpy(), plan_latents=plan.latents[index].numpy())
        if plan.trace is not None:
            self._add(energies=plan.trace[:, index].numpy())
        for name in ("belief", "arrival", "reach_probability", "selected", "candidate_reach", "candidate_energy"):
            if (values := getattr(plan, name)) is not None:
                self._add(**{name: values[index].numpy()})

        if self.told:  # where the planner thinks that the instruction leads
            self._add(plan_goal=self.rows["plan_observations"][-1][-1])
            self.constants["goal"] = self.rows["plan_goal"][-1]
        elif plan.milestone is not None:
            self._add(plan_goal=plan.milestone.goal[index].numpy(), plan_turns=bool(plan.milestone.fresh[index]))

    def after(self, env: Any, observation: Any) -> None:
        self._add(**_observed(observation), **_states(env))

    def save(self, folder: Path, result: EpisodeResult) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.stack(values) for name, values in self.rows.items()}
        path = folder / f"task{result.task}-{result.episode:03d}.npz"
        np.savez_compressed(path, result=json.dumps(asdict(result)), **self.constants, **arrays)


def _observed(observation: Any) -> dict[str, np.ndarray]:
    """An observation's vector as ``observations``, and frames by the camera's name."""
    if not isinstance(observation, dict):
        return {"observations": observation}
    frames = {f"{CAMERA}{name}": frame for name, frame in observation.items() if name != "proprioception"}
    return {"observations": observation["proprioception"], **frames}


def _states(env: Any) -> dict[str, np.ndarray]:
    """The simulator's positions ``qpos`` and velocities ``qvel``, and what else its state is made of, where known."""
    base = getattr(env.unwrapped, "world", env.unwrapped)  # the long-horizon tasks' present world
    data = getattr(base, "_data", None)
    states = {name: getattr(data, name).copy() for name in ("qpos", "qvel") if hasattr(data, name)}
    if hasattr(base, "_cur_button_states"):
        states["button_states"] = base._cur_button_states.copy()
    if hasattr(env.unwrapped, "stages"):
        states["stage"] = env.unwrapped.stages
    return states
