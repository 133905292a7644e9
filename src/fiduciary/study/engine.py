"""Run cells in this process, in several, or on a cluster, and tell whoever listens how they get on."""

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from queue import Empty
from typing import Any, Literal, get_args

from fiduciary.core.errors import ConfigError, RecordError
from fiduciary.study import cluster
from fiduciary.study.cells import PACE, Key, Task, Tell, compute
from fiduciary.study.threads import one_thread

Engine = Literal["local", "ray"]
_inbox: Any = None


def require(engine: Engine) -> None:
    """Refuse an engine that cannot run, before any work.

    Raises:
        ConfigError: there is no such engine, or its library is missing.
    """
    if engine not in get_args(Engine):
        raise ConfigError(f"`engine` must be one of {', '.join(get_args(Engine))}", repr(engine))
    if engine == "ray":
        cluster.require()


def run(
    tasks: Sequence[Task], *, workers: int, total: int, progress: bool, engine: Engine = "local",
    listeners: Sequence[Tell] = (),
) -> None:  # fmt: skip
    """Compute `tasks`; `total` counts the trainings that were done before, too."""
    if not tasks:
        return
    workers = min(workers, len(tasks))
    learners = sum(task.key.seed is not None for task in tasks)
    with _Bar(learners, total, enabled=progress) as bar:

        def tell(key: Key, done: int, total: int, figures: dict[str, float]) -> None:
            for listener in (bar.tell, *listeners):
                listener(key, done, total, figures)

        if engine == "ray":
            cluster.run(tasks, workers=workers, tell=tell)
        elif workers > 1:
            _in_processes(tasks, workers, tell)
        else:
            with one_thread():
                for task in tasks:
                    compute(task, tell)


def _in_processes(tasks: Sequence[Task], workers: int, tell: Tell) -> None:
    context, others = mp.get_context("spawn"), set(mp.active_children())
    inbox = context.Queue()
    with ProcessPoolExecutor(workers, context, _start_worker, (inbox,)) as pool:
        pending: set[Future[None]] = {pool.submit(_work, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                _drain(inbox, tell)
                for future in done:
                    future.result()
        except BrokenProcessPool:
            raise RecordError(
                "a worker process must live until its cell is done", "one that ended without a word",
                cause="it was killed, or memory ran out", remedy="run again with fewer workers: finished cells are kept",
            ) from None  # fmt: skip
        except BaseException:
            # Checkpoints make it safe to end workers where they stand; waiting for their cells could take minutes.
            for worker in set(mp.active_children()) - others:
                worker.terminate()
            raise
    _drain(inbox, tell)  # workers that have ended have sent all that they had to say


def _drain(inbox: Any, tell: Tell) -> None:
    while True:
        try:
            message = inbox.get_nowait()
        except Empty:
            return
        tell(*message)


def _start_worker(inbox: Any) -> None:
    global _inbox
    _inbox = inbox
    # An interrupt reaches the whole process group; the parent alone decides what becomes of the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A killed parent cannot stop its workers, and an orphan would go on writing to the run's folder."""
    parent = mp.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(task: Task) -> None:
    with one_thread():
        compute(task, lambda *message: _inbox.put(message))


class _Bar:
    """Rich progress on standard error: cells and updates done, time left, the latest figures of training."""

    def __init__(self, missing: int, total: int, *, enabled: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        self._done_before = total - missing
        self._total = total
        self._seen: dict[Key, float] = {}
        self._bar = Progress(
            TextColumn("training"), BarColumn(), TextColumn("{task.fields[figures]}"), TimeElapsedColumn(),
            TextColumn("left"), TimeRemainingColumn(), console=Console(stderr=True), disable=not enabled,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=float(total), completed=self._done_before, figures="")

    def __enter__(self) -> "_Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def tell(self, key: Key, done: int, total: int, figures: dict[str, float]) -> None:
        """Take note of a cell's progress."""
        self._seen[key] = done / total
        finished = self._done_before + sum(share >= 1 for share in self._seen.values())
        shown = "  ".join(_shown(name, value) for name, value in figures.items())
        self._bar.update(
            self._task, completed=self._done_before + sum(self._seen.values()),
            figures=f"{finished}/{self._total} agents · {key.account} seed {key.seed}: {shown}",
        )  # fmt: skip


def _shown(name: str, value: float) -> str:
    if name == PACE:
        scale, letter = (1e6, "M") if value >= 1e6 else (1e3, "k") if value >= 1e3 else (1.0, "")
        return f"{value / scale:.3g}{letter} {PACE}"
    return f"{name} {value:.0f}" if value.is_integer() else f"{name} {value:.3f}"
