"""The tasks as a Gymnasium environment; success is to have gone through all stages in order."""

from __future__ import annotations

import atexit
import weakref
from typing import Any

import gymnasium
import numpy as np

from thalweg.envs import ogbench
from thalweg.envs.longhorizon.tasks import ALL_TASKS, HEIGHT, PLACES, Stage, Task, task

__all__ = ["CAMERA", "CUBES", "PROPRIOCEPTION", "STATE", "LongHorizon"]

CUBES = {"scene": 1, "cube-double": 2, "cube-triple": 3}  #: cubes of each world
CAMERA = "front"  #: the name of the one camera
PROPRIOCEPTION = 19  #: values of the arm and the gripper
STATE = PROPRIOCEPTION + 3 * 9 + 12  #: values of the whole state: the arm, three cubes, and the scene's fixtures

_VIEW = "front_pixels"  # OGBench's camera for observations
_NEAR = 0.04  # metres, OGBench's own measure of a cube in its place
_LEVEL = 0.015  # metres, of a cube's height where it lies
_LET_GO = 0.5  # of the gripper's closing
_CELL, _MANY = 0.005, 500  # metres; triangles that a mesh may have without being coarsened


class LongHorizon(gymnasium.Env):
    """Reset to one of the tasks; ``info`` tells the ``instruction``, and after a step ``success`` and ``stage``.

    From state the observation is ``(58,)``, of one layout for all worlds: OGBench's 19 values of the arm, 9 of each of
    three cubes, 8 of the two buttons, 4 of drawer and window; what a world lacks reads zero. From pixels it is a dict
    of ``proprioception (19,)`` and ``front (64, 64, 3)`` uint8, without shadows and fine triangles.
    """

    def __init__(self, *, pixels: bool = False, size: int = 64) -> None:
        self.pixels, self._size = pixels, size
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (5,), np.float32)
        if pixels:
            frames = gymnasium.spaces.Box(0, 255, (size, size, 3), np.uint8)
            body = gymnasium.spaces.Box(-np.inf, np.inf, (PROPRIOCEPTION,), np.float32)
            self.observation_space = gymnasium.spaces.Dict({"proprioception": body, CAMERA: frames})
        else:
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (STATE,), np.float32)
        self._worlds: dict[str, Any] = {}
        self.task: Task = ALL_TASKS[0]

    @property
    def unwrapped(self) -> Any:
        """Itself, which has the simulator's ``_data`` of the present world."""
        return self

    @property
    def world(self) -> Any:
        """OGBench's environment of the present task."""
        name = self.task.world
        if name not in self._worlds:
            kind = {"ob_type": "pixels", "width": self._size, "height": self._size} if self.pixels else {}
            made = ogbench.make_env(name, mode="data_collection", terminate_at_goal=False, visualize_info=False, **kind)
            if self.pixels:
                _light_up(made.unwrapped)
                if not self._worlds:
                    _close_at_exit(self)  # registered after the graphics library's own end, it comes before
            self._worlds[name] = made.unwrapped
        return self._worlds[name]

    @property
    def _data(self) -> Any:
        return self.world._data

    @property
    def stages(self) -> int:
        """Stages that have been gone through."""
        return self._stage

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray | dict[str, np.ndarray], dict[str, Any]]:
        """Begin ``options["task_id"]``, or any; ``options["taught"]`` gives an instruction of the demonstrations'.

        Raises:
            ThalwegError: there is no such task.
        """
        super().reset(seed=seed)
        options = options or {}
        number = options.get("task_id") or int(self.np_random.integers(1, len(ALL_TASKS) + 1))
        self.task = task(number)
        world = self.world
        np.random.seed(int(self.np_random.integers(2**31)))  # OGBench draws from NumPy's global generator
        world.reset(seed=int(self.np_random.integers(2**31)))
        self._arrange(self.np_random)
        self._stage = self._steps = 0
        said = self.task.instruction(self.np_random, held_out=not options.get("taught", False))
        return self.observation(), {"instruction": said, "stage": 0}

    def _arrange(self, rng: np.random.Generator) -> None:
        world, data = self.world, self._data
        count = CUBES[self.task.world]
        for cube, place in enumerate(self.task.start(rng, count)):
            yaw = rng.uniform(0, 2 * np.pi)
            data.joint(f"object_joint_{cube}").qpos[:] = [*place, HEIGHT, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
            data.mocap_pos[world._cube_target_mocap_ids[cube]] = (0, 0, -0.3)  # out of sight
        if self.task.world == "scene":
            data.joint("drawer_slide").qpos[0] = rng.uniform(-0.01, 0.0)
            data.joint("window_slide").qpos[0] = rng.uniform(0.0, 0.01)
            world._cur_button_states = np.array([0 if locked else 1 for locked in self.task.locked])
            world._apply_button_states()
        world.set_state(data.qpos.copy(), data.qvel.copy(), *self._buttons())
        world.pre_step()
        world.post_step()

    def _buttons(self) -> list[np.ndarray]:
        return [self.world._cur_button_states] if self.task.world == "scene" else []

    def step(self, action: np.ndarray) -> tuple[np.ndarray | dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Act; the episode ends when the last stage is done, or at the task's limit."""
        self.world.step(action)
        self._steps += 1
        while self._stage < len(self.task.stages) and self.done(self.task.stages[self._stage]):
            self._stage += 1
        success = self._stage == len(self.task.stages)
        info = {"success": success, "stage": self._stage}
        return self.observation(), float(success), success, self._steps >= self.task.limit, info

    def observation(self) -> np.ndarray | dict[str, np.ndarray]:
        """What is observed now."""
        if self.pixels:
            return {"proprioception": self._state()[:PROPRIOCEPTION], CAMERA: self.world.render(camera=_VIEW)}
        return self._state()

    def _state(self) -> np.ndarray:
        observed = self.world.compute_observation()
        cubes = 9 * CUBES[self.task.world]
        state = np.zeros(STATE, np.float32)
        state[: PROPRIOCEPTION + cubes] = observed[: PROPRIOCEPTION + cubes]
        fixtures = observed[PROPRIOCEPTION + cubes :]
        state[STATE - 12 : STATE - 12 + len(fixtures)] = fixtures
        return state

    def target(self, stage: Stage) -> np.ndarray:
        """``(3,)`` where a ``place`` stage puts its cube now, in metres."""
        if stage.to == "drawer":
            return self.world._drawer_center.copy()
        if stage.to in PLACES:
            return np.array([*PLACES[stage.to], HEIGHT])
        below = self._data.joint(f"object_joint_{str(stage.to).removeprefix('on:')}").qpos[:3]
        return below + [0, 0, 2 * HEIGHT]

    def done(self, stage: Stage) -> bool:
        """Whether what the stage asks for is the case now."""
        world, data = self.world, self._data
        if stage.kind == "button":
            return int(world._cur_button_states[stage.what]) == stage.to
        if stage.kind == "drawer":
            return abs(data.joint("drawer_slide").qpos[0] - (-0.16 if stage.to == "open" else 0.0)) <= _NEAR
        if stage.kind == "window":
            return abs(data.joint("window_slide").qpos[0] - (0.2 if stage.to == "open" else 0.0)) <= _NEAR
        place = data.joint(f"object_joint_{stage.what}").qpos[:3]
        if data.qpos[world._gripper_opening_joint_id] / 0.8 > _LET_GO:
            return False
        if stage.to == "drawer":
            return bool(world._is_in_drawer(place))
        away = place - self.target(stage)
        return bool(np.linalg.norm(away[:2]) <= _NEAR and abs(away[2]) <= _LEVEL)

    def render(self) -> np.ndarray:
        """The present world's frame."""
        return self.world.render()

    def close(self) -> None:
        """Let go of what renders; it comes back when it is needed."""
        for world in self._worlds.values():
            if world._renderer is not None:
                world._renderer.close()
                world._renderer = None


def _close_at_exit(env: LongHorizon) -> None:
    """Close it before the graphics library ends, which would complain of what is still open."""
    alive = weakref.ref(env)

    def close() -> None:
        if (left := alive()) is not None:
            left.close()

    atexit.register(close)


def _light_up(world: Any) -> None:
    """Render once a step, without shadows and multisampling, from coarser meshes: on a CPU that is what takes time."""
    world._ob_type = "states"  # it is built to be seen; when to render is decided here
    quality = world._model.vis.quality
    quality.shadowsize = quality.offsamples = 0
    _coarsen(world._model)
    world._renderer.close()
    world._renderer = None


def _coarsen(model: Any) -> None:
    """Merge the corners of fine meshes' triangles within ``_CELL``, less than half a pixel.

    The arm and the gripper come with 180,000 triangles, of which an eighth is left. Collisions stay as they are.
    """
    for mesh in np.flatnonzero(model.mesh_facenum > _MANY):
        first, count = model.mesh_faceadr[mesh], model.mesh_facenum[mesh]
        corners = model.mesh_vert[model.mesh_vertadr[mesh] :][: model.mesh_vertnum[mesh]]
        cells = np.floor(corners / _CELL).astype(np.int64)
        _, chosen, cell = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        faces = chosen[cell.ravel()[model.mesh_face[first : first + count]]]
        ordered = np.sort(faces, axis=1)
        _, kept = np.unique(ordered, axis=0, return_index=True)
        kept = np.sort(kept[(np.diff(ordered[kept], axis=1) > 0).all(axis=1)])
        for values in (model.mesh_facenormal, model.mesh_facetexcoord):
            values[first : first + len(kept)] = values[first + kept]
        model.mesh_face[first : first + len(kept)] = faces[kept]
        model.mesh_facenum[mesh] = len(kept)
