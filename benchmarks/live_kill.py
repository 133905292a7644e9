"""Kill -9 of a writer, and immediate restarts of the PostgreSQL server, at random moments: rows lost and rows doubled."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fiduciary.data.live import connect
from rows import ROOT, Figure, row

TRIALS = 50
TESTS = ROOT / "tests" / "data"
sys.path.append(str(TESTS))
from killed_writer import SYMBOLS, faults  # noqa: E402
from postgres_cluster import Cluster, cluster  # noqa: E402


class Writer:
    """The writer in a process of its own; `acknowledged` batches are its debt."""

    def __init__(self, url: str, first: int) -> None:
        command = [sys.executable, str(TESTS / "killed_writer.py"), url, str(first)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.first = first
        self.process.stdout.readline()

    def kill(self) -> int:
        """Batches acknowledged before it died."""
        self.process.kill()
        return max([self.first + 1, *map(int, self.process.communicate()[0].split())])


def _figure(url: str, acknowledged: int, what: str, trials: int) -> Figure:
    with connect(url) as live:
        lost, doubled = faults(live.log("bars_1m"), acknowledged)
    note = (
        f"rows acknowledged and lost ({lost}), doubled or left of half a batch ({doubled}); {what} at random moments, "
        f"{acknowledged} batches of {SYMBOLS} rows acknowledged"
    )
    return Figure(lost + doubled, "rows", 0, "lower", trials, note)


def killed(url: str, rng: np.random.Generator, back_end: str) -> Figure:
    acknowledged = 0
    for _ in range(TRIALS):
        writer = Writer(url, acknowledged)
        time.sleep(rng.uniform(0, 0.3))
        acknowledged = writer.kill()
    return _figure(url, acknowledged, f"{back_end}: writer killed with -9", TRIALS)


def restarted(server: Cluster, rng: np.random.Generator) -> Figure:
    url = server.fresh()
    writer = Writer(url, 0)
    for _ in range(TRIALS):
        time.sleep(rng.uniform(0.05, 0.5))
        server.restart()
    assert writer.process.poll() is None
    return _figure(
        url, writer.kill(), "PostgreSQL: server restarted (pg_ctl restart -m immediate) under one writer", TRIALS
    )


def measure() -> dict[str, Figure]:
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    with tempfile.TemporaryDirectory() as folder, cluster() as server:
        return {
            "sqlite": killed(str(Path(folder) / "live.db"), rng, "SQLite"),
            "postgres": killed(server.fresh(), rng, "PostgreSQL"),
            "server": restarted(server, rng),
        }


row(5, measure)
