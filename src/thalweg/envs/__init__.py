"""Environments by name. A simulator is imported only when one of its environments is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from thalweg.envs import ogbench
from thalweg.envs.libero_conventions import TASKS
from thalweg.envs.longhorizon import ALL_TASKS, is_long_horizon
from thalweg.errors import ThalwegError, choices

__all__ = ["check_tasks", "is_factory", "make_env", "official_tasks", "start_episode"]

LIBERO_LONG = "libero-long"  #: the name of LIBERO's ten long tasks


def is_factory(environment: str) -> bool:
    """Whether the name is ``module:function``, a factory of an environment, and not one of OGBench's."""
    return ":" in environment


def make_env(environment: str, *, frame_size: tuple[int, ...] | None = None) -> Any:
    """Make an environment by its name.

    That is one of OGBench's, ``long-horizon`` (``visual-long-horizon`` from pixels), ``libero-long``, or what the
    factory ``module:function`` returns.

    Args:
        environment: the name.
        frame_size: height and width, in pixels, of the frames that its policy was trained on; LIBERO renders such, the
            others theirs.

    Raises:
        ThalwegError: there is no such environment or factory, or OGBench is not installed.
    """
    if is_long_horizon(environment):
        from thalweg.envs.longhorizon.env import LongHorizon

        return LongHorizon(pixels=environment.startswith("visual-"))
    if environment == LIBERO_LONG:
        from thalweg.envs.libero import LiberoLong

        if frame_size is not None and len(set(frame_size)) > 1:
            raise ThalwegError(f"LIBERO's frames are square; the policy was trained on {frame_size}")
        return LiberoLong() if frame_size is None else LiberoLong(size=frame_size[0])
    if not is_factory(environment):
        return ogbench.make_env(environment)
    module, _, function = environment.partition(":")
    try:
        factory = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ThalwegError(
            f"no environment {environment!r} ({error}); give one of OGBench's, or module:function"
        ) from error
    return factory()


def official_tasks(environment: str) -> tuple[int, ...]:
    """The numbers of the tasks by which an environment is evaluated; a factory's has none."""
    if is_factory(environment):
        return ()
    if environment == LIBERO_LONG:
        return TASKS
    return tuple(task.number for task in ALL_TASKS) if is_long_horizon(environment) else ogbench.TASKS


def _in_words(environment: str) -> bool:
    """Whether the environment's ten tasks are told in words."""
    return environment == LIBERO_LONG or is_long_horizon(environment)


def check_tasks(environment: str, tasks: Sequence[int]) -> None:
    """Check that an environment has official ``tasks``, or random starts and goals where there are none.

    Raises:
        ThalwegError: it is unknown, lacks a task, or has no random starts and goals.
    """
    official = official_tasks(environment)
    if is_factory(environment):
        if tasks:
            raise ThalwegError(
                f"{environment!r} has no official tasks, got {list(tasks)}; give tasks=() for its own starts and goals"
            )
        return
    if not _in_words(environment):
        ogbench.environment_id(environment)
    for task in tasks:
        if task not in official:
            raise ThalwegError(f"{environment!r} has no task {task!r}; choose from {choices(official)}")
    if not tasks and (_in_words(environment) or not ogbench.has_random_tasks(environment)):
        raise ThalwegError(
            f"{environment!r} has no held-out starts and goals, only cubes and the scene have; "
            f"give official tasks: {choices(official)}"
        )


def start_episode(environment: str, env: Any, task: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """Reset ``env``, made by that name, to an official ``task``, or for task 0 to a random start and goal.

    Returns:
        The observation, and an info with the ``goal`` observation or the ``instruction``; the same seed gives the
        same two.
    """
    if _in_words(environment):
        return env.reset(seed=seed, options={"task_id": task})
    if task:
        return ogbench.seed_reset(env, seed, task_id=task)
    if is_factory(environment):
        return ogbench.seed_reset(env, seed)
    return ogbench.seed_reset(env, seed, task_info=ogbench.random_task(environment, seed))
