"""Videos of recorded episodes, or the reason why there are none."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from thalweg.trace import Trace

__all__ = ["Video", "render_videos"]

_BACKENDS = ("egl", "osmesa")
_SECONDS_PER_EPISODE = 180
_TYPES = {".mp4": "video/mp4", ".webp": "image/webp"}


@dataclass(frozen=True)
class Video:
    """A video as data URIs, so that the page needs no other file."""

    media: str
    uri: str
    poster: str


def render_videos(environment: str, traces: Sequence[Trace]) -> tuple[dict[Path, Video], str]:
    """Replay ``traces`` in their simulator: videos by trace path, and why some are missing (or ``""``)."""
    traces = [trace for trace in traces if trace.qpos is not None and trace.qvel is not None]
    if not traces:
        return {}, "the traces hold no simulator states"
    paths, reasons = [str(trace.head.path.resolve()) for trace in traces], []
    backends = dict.fromkeys([os.environ.get("MUJOCO_GL") or _BACKENDS[0], *_BACKENDS])
    with tempfile.TemporaryDirectory() as folder:
        for backend in backends:
            left = [path for path in paths if not _files(Path(folder), path)]
            reason = _run(environment, Path(folder), left, backend)
            if not reason:
                reasons = []
                break
            reasons.append(reason)
        return _collect(Path(folder), traces), "; ".join(dict.fromkeys(reasons))


def _run(environment: str, folder: Path, paths: list[str], backend: str) -> str:
    """Film in a process of its own; returns why that failed, or ``""``."""
    search = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-m", "thalweg.report.render", environment, str(folder), *paths]
    settings = {**os.environ, "MUJOCO_GL": backend, "PYTHONPATH": search}
    try:
        done = subprocess.run(
            command, env=settings, capture_output=True, text=True, timeout=_SECONDS_PER_EPISODE * len(paths)
        )
    except subprocess.TimeoutExpired:
        return f"rendering took more than {_SECONDS_PER_EPISODE} s an episode"
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else _last_error(done.stderr, done.returncode)


def _last_error(stderr: str, code: int) -> str:
    """The first traceback's message: what follows it are failures to clean up."""
    lines = stderr.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("Traceback")), len(lines))
    after = [line for line in lines[begin + 1 :] if line and not line.startswith(" ")]
    if not after:
        return f"the renderer ended with code {code}"
    return re.sub(r"^thalweg\S+: |; choose one of .*", "", after[0].strip())[:300]


def _files(folder: Path, trace: str) -> list[Path]:
    stem = Path(trace).stem
    return [path for suffix in _TYPES if (path := folder / f"{stem}{suffix}").exists()]


def _collect(folder: Path, traces: Sequence[Trace]) -> dict[Path, Video]:
    videos = {}
    for trace in traces:
        files = _files(folder, str(trace.head.path))
        poster = folder / f"{trace.head.path.stem}.jpg"
        if files and poster.exists():
            media = _TYPES[files[0].suffix]
            videos[trace.head.path] = Video(media, _uri(files[0], media), _uri(poster, "image/jpeg"))
    return videos


def _uri(path: Path, media: str) -> str:
    return f"data:{media};base64,{base64.b64encode(path.read_bytes()).decode()}"
