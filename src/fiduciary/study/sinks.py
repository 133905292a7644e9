"""Show training to others while it runs: TensorBoard, MLflow. The record does not depend on them.

A sink is told by the process that runs the study, never by workers. Its library is looked for when it is made.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import Any, Protocol

from fiduciary.core.errors import ConfigError
from fiduciary.core.extras import need
from fiduciary.records.folder import RunFolder
from fiduciary.study.cells import Key

LONGEST_PARAMETER = 500
MOST_PARAMETERS = 100
MOST_RUNS = 50_000


class Sink(Protocol):
    """Who is told of a study's progress; one run for each trained cell."""

    def progress(self, key: Key, done: int, total: int, figures: dict[str, float]) -> None:
        """Figures of one cell after `done` of `total` updates."""
        ...

    def finish(self, key: Key, settings: dict[str, Any], figures: dict[str, float]) -> None:
        """The cell's settings and its final figures; nothing follows."""
        ...

    def close(self) -> None:
        """The study ended, finished or not."""
        ...


@contextmanager
def closing(sinks: Sequence[Sink]) -> Iterator[None]:
    """Close all of `sinks` in the end, whatever happens."""
    try:
        yield
    finally:
        for sink in sinks:
            sink.close()


class TensorBoard:
    """Event files for `tensorboard --logdir FOLDER`.

    Args:
        folder: where; each cell has a folder of its own below.

    Raises:
        ConfigError: tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._library = need("torch.utils.tensorboard", extra="track", what="the sink tensorboard")
        self._root = RunFolder(Path(folder))
        self._writers: dict[Key, Any] = {}

    def progress(self, key: Key, done: int, total: int, figures: dict[str, float]) -> None:
        """One scalar for each figure."""
        for name, value in figures.items():
            self._writer(key).add_scalar(name, value, done)

    def finish(self, key: Key, settings: dict[str, Any], figures: dict[str, float]) -> None:
        """Hyper-parameters beside the final figures."""
        ended = {f"final/{name}": value for name, value in figures.items()}
        self._writer(key).add_hparams(flat(settings), ended, run_name=".")
        self._writers.pop(key).close()

    def close(self) -> None:
        """Flush what is open."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _writer(self, key: Key) -> Any:
        if key not in self._writers:
            self._writers[key] = self._library.SummaryWriter(str(self._root.cell_folder(*key)))
        return self._writers[key]


class MLflow:
    """Runs of an MLflow experiment, named account/policy/seed; a study that is resumed continues its runs.

    Args:
        uri: tracking store: a server ("http://host:5000") or a database file ("sqlite:///mlflow.db").
        experiment: name of the experiment; one for each run folder keeps resumed runs apart.

    Raises:
        ConfigError: mlflow is not installed, or the store cannot be opened.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        for name, value in (("MLFLOW_DISABLE_TELEMETRY", "true"), ("MLFLOW_LOGGING_LEVEL", "WARNING")):
            os.environ.setdefault(name, value)
        self._library = need("mlflow", extra="track", what="the sink mlflow")
        try:
            self._client = self._library.MlflowClient(tracking_uri=uri)
            known = self._client.get_experiment_by_name(experiment)
            self._experiment = known.experiment_id if known else self._client.create_experiment(experiment)
            before = self._client.search_runs([self._experiment], max_results=MOST_RUNS)
        except (self._library.MlflowException, ImportError, OSError) as error:
            raise ConfigError(
                "an MLflow store must open", f"{uri!r} ({str(error).partition(chr(10))[0]})",
                remedy="give a server (http://…) or a database file (sqlite:///mlflow.db)",
            ) from None  # fmt: skip
        self._before = {run.info.run_name: run.info.run_id for run in before}
        self._runs: dict[Key, str] = {}

    def progress(self, key: Key, done: int, total: int, figures: dict[str, float]) -> None:
        """One metric for each figure."""
        self._log(key, figures, done)

    def finish(self, key: Key, settings: dict[str, Any], figures: dict[str, float]) -> None:
        """Parameters, the final figures, and the end of the run."""
        parameter = self._library.entities.Param
        params = [parameter(name, str(value)[:LONGEST_PARAMETER]) for name, value in flat(settings).items()]
        for first in range(0, len(params), MOST_PARAMETERS):
            self._client.log_batch(self._run(key), params=params[first : first + MOST_PARAMETERS])
        self._log(key, {f"final/{name}": value for name, value in figures.items()}, 0)
        self._client.set_terminated(self._runs.pop(key))

    def close(self) -> None:
        """Mark what is open as killed."""
        while self._runs:
            self._client.set_terminated(self._runs.popitem()[1], status="KILLED")

    def _log(self, key: Key, figures: dict[str, float], step: int) -> None:
        now = int(1000 * time())
        metrics = [self._library.entities.Metric(name, value, now, step) for name, value in figures.items()]
        self._client.log_batch(self._run(key), metrics=metrics)

    def _run(self, key: Key) -> str:
        if key not in self._runs:
            name = f"{key.account}/{key.policy}/seed-{key.seed}"
            known = self._before.get(name)
            self._runs[key] = known or self._client.create_run(self._experiment, run_name=name).info.run_id
            if known:
                self._client.update_run(known, status="RUNNING")
        return self._runs[key]


def flat(settings: dict[str, Any], place: str = "") -> dict[str, str | int | float | bool]:
    """Nested settings by dotted names; what is no plain value as text."""
    out: dict[str, str | int | float | bool] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            out |= flat(value, f"{place}{name}.")
        else:
            out[f"{place}{name}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return out
