"""Demonstrations of the tasks, by OGBench's own oracles, whose hand is disturbed on the way.

A policy that is cloned from undisturbed demonstrations has never seen what to do once it has gone a little astray. So
the arm trembles, and now and then it is pushed aside; recorded is what the oracle meant to do, not what came of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from thalweg.envs import ogbench
from thalweg.envs.longhorizon.env import CAMERA, LongHorizon
from thalweg.envs.longhorizon.tasks import Stage

__all__ = ["demonstrate"]

_GO_ON = 12  # steps that the oracle goes on when its stage is done: it lets go, and moves away
_TREMBLE = 0.2  # largest spread of the noise on actions
_PUSHED = 0.02  # chance a step that a push begins
_PUSH = 0.5  # its largest size, in actions
_PUSH_STEPS = 6


@cache
def _environment(pixels: bool) -> LongHorizon:
    return LongHorizon(pixels=pixels)


@cache
def _oracles(pixels: bool, world: str) -> dict:
    env = _environment(pixels).world
    return ogbench.make_oracles(env, "noisy", ogbench.oracle_settings(world, "noisy"))


def demonstrate(number: int, sequence: np.random.SeedSequence, *, pixels: bool) -> dict[str, np.ndarray] | None:
    """One demonstration of a task; None where the oracle did not manage.

    Returns:
        ``observations (L, S)``, ``actions (L, 5)``, ``terminals (L,)``, ``instruction``, and from pixels
        ``camera_front (L, 64, 64, 3)``.
    """
    env = _environment(pixels)
    seed, noise, pushes = (int(word) for word in sequence.generate_state(3))
    observation, info = env.reset(seed=seed, options={"task_id": number, "taught": True})
    np.random.seed(noise)  # OGBench's oracles draw from NumPy's global generator
    oracles = _oracles(pixels, env.task.world)
    disturbance = _Disturbance(np.random.default_rng(pushes))
    rows: list[tuple] = []
    for number_of, stage in enumerate(env.task.stages, start=1):
        oracle = oracles["cube" if stage.kind == "place" else stage.kind]
        target = _aim(env, stage)
        oracle.reset(None, None)
        left = _GO_ON
        while left and not oracle.done:
            action = oracle.select_action(None, env.world.compute_ob_info() | target)
            action = np.clip(action, -1, 1).astype(np.float32)
            rows.append((observation, action))
            observation, *_ = env.step(np.clip(action + disturbance.draw(), -1, 1))
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


class _Disturbance:
    """What befalls the arm at every step, ``(5,)`` in actions: it trembles, and is pushed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._tremble = rng, rng.uniform(0, _TREMBLE)
        self._push, self._left = np.zeros(5), 0

    def draw(self) -> np.ndarray:
        if not self._left and self._rng.random() < _PUSHED:
            self._push, self._left = np.append(self._rng.uniform(-_PUSH, _PUSH, 4), 0.0), _PUSH_STEPS
        pushed = self._push if self._left else np.zeros(5)
        self._left = max(0, self._left - 1)
        return pushed + self._tremble * self._rng.standard_normal(5)


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
        world._target_button_states[stage.what] = stage.to
    elif stage.kind == "drawer":
        world._model.site("drawer_handle_center_target").pos[1] = -0.16 if stage.to == "open" else 0.0
    else:
        world._model.site("window_handle_center_target").pos[0] = 0.2 if stage.to == "open" else 0.0
    mujoco.mj_kinematics(world._model, data)
    info = {key: value for key, value in world.compute_ob_info().items() if key.startswith("privileged/target_")}
    if stage.kind == "place":
        data.mocap_pos[mocap] = (0, 0, -0.3)  # out of sight
    return info
