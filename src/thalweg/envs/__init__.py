"""Environments by name. A simulator is imported only when one of its environments is made."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from thalweg.envs import ogbench
from thalweg.errors import ThalwegError, choices

__all__ = ["check_tasks", "is_factory", "make_env", "start_episode"]


def is_factory(environment: str) -> bool:
    """Whether the name is ``module:function``, a factory of an environment, and not one of OGBench's."""
    return ":" in environment


def make_env(environment: str) -> Any:
    """Make one of OGBench's environments, or what the factory ``module:function`` returns.

    Raises:
        ThalwegError: there is no such environment or factory, or OGBench is not installed.
    """
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


def check_tasks(environment: str, tasks: Sequence[int]) -> None:
    """Check that an environment has official ``tasks``, or random starts and goals where there are none.

    Raises:
        ThalwegError: it is unknown, lacks a task, or has no random starts and goals.
    """
    if is_factory(environment):
        if tasks:
            raise ThalwegError(
                f"{environment!r} has no official tasks, got {list(tasks)}; give tasks=() for its own starts and goals"
            )
        return
    ogbench.environment_id(environment)
    for task in tasks:
        if task not in ogbench.TASKS:
            raise ThalwegError(f"{environment!r} has no task {task!r}; choose from {choices(ogbench.TASKS)}")
    if not tasks and not ogbench.has_random_tasks(environment):
        raise ThalwegError(
            f"{environment!r} has no held-out starts and goals, only cubes have; "
            f"give official tasks: {choices(ogbench.TASKS)}"
        )


def start_episode(environment: str, env: Any, task: int, seed: int) -> tuple[Any, dict[str, Any]]:
    """Reset ``env``, made by that name, to an official ``task``, or for task 0 to a random start and goal.

    Returns:
        The observation, and an info with the ``goal`` observation; the same seed gives the same two.
    """
    if task:
        return ogbench.seed_reset(env, seed, task_id=task)
    if is_factory(environment):
        return ogbench.seed_reset(env, seed)
    return ogbench.seed_reset(env, seed, task_info=ogbench.random_task(environment, seed))
