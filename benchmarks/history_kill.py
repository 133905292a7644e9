"""Kill -9 a writer of the historical store at random moments, start it again: rows lost or doubled."""

import os
import subprocess
import sys
import tempfile
import time
from datetime import timedelta

import numpy as np

from fiduciary.data.history import History
from rows import ROOT, SCRATCH, Figure, row

sys.path.insert(0, str(ROOT / "tests" / "data"))
import killed_historian

TRIALS, OVERLAP, LONG = 50, 3, 1_000_000


def measure() -> Figure:
    rng, safe, worst = np.random.default_rng(int.from_bytes(os.urandom(4))), 0, (0, 0)
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        history = History(folder)
        for _ in range(TRIALS):
            # The last batches are sent again, as a writer does that does not know which of them got in.
            command = [sys.executable, killed_historian.__file__, folder, str(max(0, safe - OVERLAP)), str(LONG)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                process.stdout.readline()
                time.sleep(rng.uniform(0, 0.5))
                process.kill()
                safe = max([safe, *(int(line) + 1 for line in process.stdout if line.endswith("\n"))])
            worst = np.maximum(worst, killed_historian.faults(history, safe))
        history.compact("levels")
        left = len(history.vacuum("levels", older=timedelta(0)))
        lost, doubled = np.maximum(worst, killed_historian.faults(history, safe)).tolist()
    note = (
        f"{TRIALS} kills of a writer of named appends, a third of them with a row for quarantine, {safe} appends in all; "
        f"{lost} rows lost, {doubled} doubled; {left} files of killed writers and before compaction vacuumed"
    )
    return Figure(lost + doubled, "rows lost or doubled", 0, "lower", TRIALS, note)


if __name__ == "__main__":
    row(5, measure)
