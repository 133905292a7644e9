"""Kill -9 of the roll-over at random moments, then run it again: rows lost and rows doubled over both stores."""

import os
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from fiduciary.data.history import History
from fiduciary.data.live import connect
from fiduciary.data.rollover import rollover
from fiduciary.data.tables import BARS_1M
from rows import ROOT, Figure, row

TRIALS, DAYS = 50, 4
TESTS = ROOT / "tests" / "data"
sys.path.append(str(TESTS))
from killed_rollover import bars, faults  # noqa: E402
from postgres_cluster import cluster  # noqa: E402


def killed(url: str, history: Path, rng: np.random.Generator, back_end: str) -> Figure:
    """Every trial brings `DAYS` new days; the next one takes up what the last one left, and a last run moves the rest."""
    died = 0
    with connect(url) as live:
        for trial in range(TRIALS):
            live.append(BARS_1M, bars(DAYS, trial * DAYS), source="row")
            command = [sys.executable, str(TESTS / "killed_rollover.py"), url, str(history)]
            mover = subprocess.Popen(command, stdout=subprocess.PIPE)
            mover.stdout.readline()
            time.sleep(rng.uniform(0, 0.3))
            mover.kill()
            died += mover.wait() != 0
            mover.stdout.close()
        left = live.dates("bars_1m")
        rollover(live, History(history), before=date(2024, 1, 2) + timedelta(days=TRIALS * DAYS))
        assert not live.dates("bars_1m")
        lost, doubled = faults(live, History(history), TRIALS * DAYS)
    note = (
        f"rows lost ({lost}) and doubled ({doubled}) of {len(bars(DAYS)) * TRIALS}; {back_end}: {died} of {TRIALS} roll-overs "
        f"died at work by kill -9 at random moments, a last one moved {len(left)} of {TRIALS * DAYS} days"
    )
    return Figure(lost + doubled, "rows", 0, "lower", TRIALS, note)


def measure() -> dict[str, Figure]:
    rng = np.random.default_rng(int.from_bytes(os.urandom(4)))
    with tempfile.TemporaryDirectory() as scratch, cluster() as server:
        folder = Path(scratch)
        return {
            "sqlite": killed(str(folder / "live.db"), folder / "from-sqlite", rng, "SQLite"),
            "postgres": killed(server.fresh(), folder / "from-postgres", rng, "PostgreSQL"),
        }


row(5, measure)
