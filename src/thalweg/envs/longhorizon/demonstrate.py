"""Demonstrations of the tasks, by OGBench's own oracles."""

from __future__ import annotations

from functools import cache

import numpy as np

from thalweg.envs import ogbench
from thalweg.envs.longhorizon.env import CAMERA, LongHorizon
from thalweg.envs.longhorizon.tasks import Stage

__all__ = ["demonstrate"]

_GO_ON = 16  # steps that the oracle goes on when its stage is done: it lets go, and moves away


@cache
def _environment(pixels: bool) -> LongHorizon:
    return LongHorizon(pixels=pixels)


@cache
def _oracles(pixels: bool, world: str) -> dict:
    env = _environment(pixels).world
    return ogbench.make_oracles(env, "play", ogbench.oracle_settings(world, "play"))


def demonstrate(number: int, sequence: np.random.SeedSequence, *, pixels: bool) -> dict[str, np.ndarray] | None:
    """One demonstration of a task; None where the oracle did not manage.

    Returns:
        ``observations (L, S)``, ``actions (L, 5)``, ``terminals (L,)``, ``instruction``, and from pixels
        ``camera_front (L, 64, 64, 3)``.
    """
    env = _environment(pixels)
    seed, noise = (int(word) for word in sequence.generate_state(2))
    observation, info = env.reset(seed=seed, options={"task_id": number, "taught": True})
    np.random.seed(noise)  # OGBench's oracles draw from NumPy's global generator
    oracles = _oracles(pixels, env.task.world)
    rows: list[tuple] = []
    for number_of, stage in enumerate(env.task.stages, start=1):
        oracle = oracles["cube" if stage.kind == "place" else stage.kind]
        oracle.reset(None, _aim(env, stage))
        left = _GO_ON
        while left and not oracle.done:
            action = np.clip(oracle.select_action(None, env.world.compute_ob_info()), -1, 1).astype(np.float32)
            rows.append((observation, action))
            observation, *_ = env.step(action)
            left -= env.stages >= number_of
        if env.stages < number_of or not env.done(stage):
            return None
    rows.append((observation, np.zeros(5, np.float32)))
    observations, actions = zip(*rows, strict=True)
    arrays = {"actions": np.stack(actions), "terminals": np.arange(len(rows)) == len(rows) - 1}
    if pixels:
        arrays["observations"] = np.stack([seen["proprioception"] for seen in observations])
        arrays[f"camera_{CAMERA}"] = np.stack([seen[CAMERA] for seen in observations])
    else:
        arrays["observations"] = np.stack(observations)
    return arrays | {"instructions": np.array([info["instruction"]])}


def _aim(env: LongHorizon, stage: Stage) -> dict:
    """Make the stage the oracles' target; returns what they read of it."""
    import mujoco  # only now: it settles how to render when it is first imported, and the environment says so

    world, data = env.world, env._data
    if stage.kind == "place":
        world._target_block = stage.what
        mocap, yaw = world._cube_target_mocap_ids[stage.what], np.random.uniform(0, 2 * np.pi)
        data.mocap_pos[mocap] = env.target(stage)
        data.mocap_quat[mocap] = [np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    elif stage.kind == "button":
        world._target_button = stage.what
    elif stage.kind == "drawer":
        world._model.site("drawer_handle_center_target").pos[1] = -0.16 if stage.to == "open" else 0.0
    else:
        world._model.site("window_handle_center_target").pos[0] = 0.2 if stage.to == "open" else 0.0
    mujoco.mj_kinematics(world._model, data)
    info = world.compute_ob_info()
    if stage.kind == "place":
        data.mocap_pos[mocap] = (0, 0, -0.3)  # out of sight
    return info
