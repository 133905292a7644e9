"""Kill -9 at a random moment, resume, compare with an unbroken run: records that differ."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from fiduciary.records import Run
from rows import ROOT, Figure, row

SCRIPT = ROOT / "tests" / "study" / "killed_run.py"
TRIALS = 20


def _run(folder: Path, workers: int) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, str(SCRIPT), str(folder), str(workers)])


def measure() -> Figure:
    rng, different, killed = np.random.default_rng(int.from_bytes(os.urandom(4))), 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        started, whole = time.monotonic(), Path(scratch) / "whole" / "run"
        assert _run(whole, 1).wait() == 0
        length = time.monotonic() - started
        for trial in range(TRIALS):
            folder = Path(scratch) / str(trial) / "run"
            process = _run(folder, 1 + trial % 2)
            time.sleep(rng.uniform(0, length))
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            killed += not (folder / "record.json").exists()
            time.sleep(0.3)
            assert _run(folder, 1 + trial % 2).wait() == 0
            different += (Run(folder).result, Run(folder).cells) != (Run(whole).result, Run(whole).cells)
    note = f"kills at uniformly random moments, {killed} of {TRIALS} before the record was written; 1 and 2 workers in turn"
    return Figure(different, "records differ", 0, "lower", TRIALS, note)


row(2, measure)
