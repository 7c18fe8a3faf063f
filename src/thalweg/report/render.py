"""Replays recorded simulator states and films them, as a process of its own: a bad GL driver can abort it.

python -m thalweg.report.render ENVIRONMENT FOLDER TRACE...
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from thalweg.envs.longhorizon import is_long_horizon, task
from thalweg.errors import ThalwegError
from thalweg.report.scene import Scene, scene_of
from thalweg.trace import Trace, load_trace

__all__ = ["film"]

WIDTH, HEIGHT = 480, 400
STRIDE, MOST_FRAMES = 2, 150
_SHADOW_SIZE = 1024
_DEFAULT_STEP_SECONDS = 0.05
_PLAN_COLOUR, _OBJECT_COLOUR = (0.35, 0.6, 1.0, 0.9), (1.0, 0.65, 0.2, 0.9)
_DOT_METRES = 0.006


def main(arguments: list[str]) -> None:
    environment, folder, *paths = arguments
    for path in paths:
        trace = load_trace(Path(path))
        film(_environment(environment, trace.head.task), environment, trace, Path(folder))


def _environment(environment: str, number: int) -> Any:
    """The environment, or the world of a long-horizon task, ready to be filmed."""
    if is_long_horizon(environment):
        return _ready(task(number).world, mode="data_collection", visualize_info=False)
    return _ready(environment)


@cache
def _ready(environment: str, **options: Any) -> Any:
    from thalweg.envs.ogbench import make_env

    env = make_env(environment, width=WIDTH, height=HEIGHT, **options)
    env.reset(seed=0)
    # Against the defaults this takes a third of the time on a CPU.
    env.unwrapped.model.vis.quality.shadowsize = _SHADOW_SIZE
    env.unwrapped.model.vis.quality.offsamples = 0
    return env


def film(env: Any, environment: str, trace: Trace, folder: Path) -> Path:
    """Render one episode to ``folder``: a video named after the trace, and a poster image (``.jpg``).

    Raises:
        ThalwegError: the trace has no simulator states, or those of another model.
    """
    model = env.unwrapped.model
    if trace.qpos is None or trace.qvel is None:
        raise ThalwegError(f"trace {trace.head.path} has no simulator states (qpos, qvel)")
    if (trace.qpos.shape[1], trace.qvel.shape[1]) != (model.nq, model.nv):
        raise ThalwegError(f"trace {trace.head.path} has states of another model than {environment!r}")
    scene = scene_of(environment, trace)
    stride = max(STRIDE, -(-trace.steps // MOST_FRAMES))
    rate = 1.0 / (stride * (scene.step_seconds or _DEFAULT_STEP_SECONDS))
    shown = [*range(0, trace.steps, stride), trace.steps]
    frames = [_frame(env, scene, trace, step) for step in shown]
    return _encode(frames, rate, folder / trace.head.path.stem)


def _frame(env: Any, scene: Scene, trace: Trace, step: int) -> np.ndarray:
    base = env.unwrapped
    _set_goal(base, scene, trace)
    buttons = () if trace.button_states is None else (trace.button_states[step],)
    base.set_state(trace.qpos[step], trace.qvel[step], *buttons)
    base.pre_step()
    base.post_step()  # colours an object that has arrived
    camera = _camera(scene)
    options = {"camera": camera} if camera else {}
    return base.render(scene_callback=lambda drawn: _draw_plan(drawn, scene, trace, step), **options)


def _set_goal(base: Any, scene: Scene, trace: Trace) -> None:
    for track, body in zip(scene.objects, scene.targets, strict=False):
        mocap = base.model.body(body).mocapid[0]
        base.data.mocap_pos[mocap] = track(trace.goal) * scene.metres


def _camera(scene: Scene) -> Any:
    if scene.camera is None:
        return None
    import mujoco

    camera = mujoco.MjvCamera()
    camera.lookat[:] = scene.camera.lookat
    camera.distance = scene.camera.distance
    camera.azimuth, camera.elevation = scene.camera.azimuth, scene.camera.elevation
    return camera


def _draw_plan(drawn: Any, scene: Scene, trace: Trace, step: int) -> None:
    """The tokens, still ahead, of the plan in force, as dots."""
    import mujoco

    if scene.metres is None:
        return
    for point, colour in _dots(scene, trace, step):
        if drawn.ngeom >= drawn.maxgeom:
            return
        geom = drawn.geoms[drawn.ngeom]
        size = np.full(3, _DOT_METRES)
        mujoco.mjv_initGeom(geom, mujoco.mjtGeom.mjGEOM_SPHERE, size, point, np.eye(3).ravel(), np.float32(colour))
        geom.emission = 0.7
        drawn.ngeom += 1


def _dots(scene: Scene, trace: Trace, step: int) -> Iterator[tuple[np.ndarray, tuple[float, ...]]]:
    decision = int(np.searchsorted(trace.plan_step, step, side="right")) - 1
    if decision < 0:
        return
    ahead = trace.offsets[decision] + trace.plan_step[decision] > step
    ahead &= np.arange(len(ahead)) <= trace.due[decision]
    rows = trace.plan_observations[decision, ahead]
    for track in (scene.effector, *scene.objects):
        colour = _PLAN_COLOUR if track is scene.effector else _OBJECT_COLOUR
        for point in track(rows) * scene.metres:
            yield point, colour


def _encode(frames: list[np.ndarray], rate: float, stem: Path) -> Path:
    from PIL import Image

    Image.fromarray(frames[0]).save(stem.with_suffix(".jpg"), quality=80)
    try:
        return _encode_mp4(frames, rate, stem.with_suffix(".mp4"))
    except (ImportError, OSError, RuntimeError):  # no ffmpeg here
        images = [Image.fromarray(frame) for frame in frames]
        path = stem.with_suffix(".webp")
        images[0].save(path, save_all=True, append_images=images[1:], duration=1000 / rate, loop=0, quality=60)
        return path


def _encode_mp4(frames: list[np.ndarray], rate: float, path: Path) -> Path:
    import imageio_ffmpeg

    options = ["-crf", "27", "-preset", "medium", "-movflags", "+faststart"]
    height, width = frames[0].shape[:2]
    writer = imageio_ffmpeg.write_frames(
        str(path),
        (width, height),
        fps=rate,
        codec="libx264",
        quality=None,
        macro_block_size=2,
        output_params=options,
    )
    writer.send(None)
    for frame in frames:
        writer.send(np.ascontiguousarray(frame))
    writer.close()
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
