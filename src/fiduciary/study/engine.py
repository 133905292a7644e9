"""Run cells in this process or in several, with one progress bar. One torch thread each: small networks are slower on two."""

import multiprocessing as mp
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from queue import Empty
from typing import Any

from fiduciary.core.errors import RecordError
from fiduciary.study.cells import Key, Task, compute

_inbox: Any = None


def run(tasks: Sequence[Task], *, workers: int, total: int, progress: bool) -> None:
    """Compute `tasks`; `total` counts the cells that were done before, too."""
    if not tasks:
        return
    with _Bar(len(tasks), total, enabled=progress) as bar:
        if min(workers, len(tasks)) > 1:
            _in_processes(tasks, min(workers, len(tasks)), bar)
        else:
            with one_thread():
                for task in tasks:
                    compute(task, bar.tell)


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread inside, so that results do not depend on the machine's cores; restored after."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_processes(tasks: Sequence[Task], workers: int, bar: "_Bar") -> None:
    context, others = mp.get_context("spawn"), set(mp.active_children())
    inbox = context.Queue()
    with ProcessPoolExecutor(workers, context, _start_worker, (inbox,)) as pool:
        pending: set[Future[None]] = {pool.submit(_work, task) for task in tasks}
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_EXCEPTION)
                _drain(inbox, bar)
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
        _drain(inbox, bar)


def _drain(inbox: Any, bar: "_Bar") -> None:
    while True:
        try:
            bar.tell(*inbox.get_nowait())
        except Empty:
            return


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
    """Rich progress on standard error: cells and updates done, updates per second, the latest training reward."""

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
        shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self._bar.update(
            self._task, completed=self._done_before + sum(self._seen.values()),
            figures=f"{finished}/{self._total} agents · {key.account} seed {key.seed}: {shown}",
        )  # fmt: skip
