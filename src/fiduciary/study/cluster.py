"""The same cells on a Ray cluster: one CPU and one torch thread each. Every node must see the run's folder under one path."""

import os
from collections.abc import Sequence
from typing import Any

from fiduciary.core.errors import RecordError
from fiduciary.core.extras import need
from fiduciary.study.cells import Task, Tell, compute
from fiduciary.study.threads import one_thread

Message = tuple[Any, ...]


def require() -> Any:
    """The Ray library.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    return need("ray", extra="cluster", what="the engine ray")


def run(tasks: Sequence[Task], *, workers: int, tell: Tell) -> None:
    """Compute `tasks` on the cluster at $RAY_ADDRESS, or on one of `workers` CPUs started here and stopped at the end.

    Raises:
        RecordError: a worker ended before its cell was done.
    """
    ray = require()
    if ray.is_initialized():
        _compute(ray, tasks, tell)
        return
    known = os.environ.get("RAY_ADDRESS")
    ray.init(num_cpus=None if known else workers, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        _compute(ray, tasks, tell)
    finally:
        ray.shutdown()


def _compute(ray: Any, tasks: Sequence[Task], tell: Tell) -> None:
    inbox = ray.remote(num_cpus=0)(_Inbox).remote()
    # No retries: a cell that killed its worker for want of memory would kill the next one too.
    work = ray.remote(num_cpus=1, max_retries=0)(_work)
    pending = [work.remote(task._replace(root=task.root.resolve()), inbox) for task in tasks]
    try:
        while pending:
            done, pending = ray.wait(pending, timeout=0.2)
            _forward(ray, inbox, tell)
            ray.get(done)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise RecordError(
            "a worker must live until its cell is done", f"one that ended without a word ({type(error).__name__})",
            cause="it was killed, its node was lost, or memory ran out",
            remedy="run again, on fewer CPUs a node if memory was short: finished cells are kept",
        ) from None  # fmt: skip
    finally:
        # Checkpoints make it safe to end workers where they stand.
        for one in pending:
            ray.cancel(one, force=True)


def _forward(ray: Any, inbox: Any, tell: Tell) -> None:
    for message in ray.get(inbox.drain.remote()):
        tell(*message)


class _Inbox:
    """Messages of all workers, on their way to the one process that shows them."""

    def __init__(self) -> None:
        self.messages: list[Message] = []

    def put(self, message: Message) -> None:
        self.messages.append(message)

    def drain(self) -> list[Message]:
        taken, self.messages = self.messages, []
        return taken


def _work(task: Task, inbox: Any) -> None:
    import ray

    sent = []
    with one_thread():
        compute(task, lambda *message: sent.append(inbox.put.remote(message)))
    ray.get(sent)  # what a cell has said arrives before its end does
