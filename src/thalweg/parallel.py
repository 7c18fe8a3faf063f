"""Jobs spread over worker processes, which never outlive the process that started them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any

from thalweg.errors import ThalwegError

__all__ = ["run_jobs", "worker_count"]


def worker_count(workers: int | None) -> int:
    """``workers``, or one for every core.

    Raises:
        ThalwegError: fewer than one.
    """
    if workers is not None and workers < 1:
        raise ThalwegError(f"workers must be 1 or more, got {workers}; leave it out to use all cores")
    return workers or os.cpu_count() or 1


def run_jobs(
    function: Callable[..., Any],
    jobs: Iterable[tuple],
    finished: Callable[[Any], None],
    *,
    workers: int | None = None,
    kept: str = "",
) -> None:
    """Call ``function(*job)`` for every job in worker processes, and ``finished`` with each result as it comes.

    Whatever ends this early, Ctrl-C included, drops the jobs that have not begun.

    Args:
        function: importable by name, as the workers are spawned.
        jobs: arguments of each call.
        finished: called in this process.
        workers: processes; all cores by default.
        kept: what a killed run leaves, for the message.

    Raises:
        ThalwegError: fewer than one worker, or a worker process was killed.
    """
    jobs = list(jobs)
    if not jobs:
        return
    count = min(worker_count(workers), len(jobs))
    with ProcessPoolExecutor(count, get_context("spawn"), initializer=_begin_worker) as pool:
        try:
            for future in as_completed([pool.submit(function, *job) for job in jobs]):
                finished(future.result())
        except BrokenProcessPool as error:
            raise ThalwegError(
                "a worker process was killed, perhaps for want of memory, or could not start: "
                f'a script must call this under `if __name__ == "__main__":`{kept and f"; {kept}"}'
            ) from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _begin_worker() -> None:
    import torch

    _end_with_parent()
    torch.set_num_threads(1)  # there is a worker for every core


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for ever: end it as well."""
    parent = parent_process()
    Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
