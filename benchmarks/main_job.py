"""Wall time of the main job, as a user starts it: `fiduciary run studies/stock-investment.toml`, three seeds."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rows import ROOT, Figure, row


def measure() -> Figure:
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            Path(sys.executable).with_name("fiduciary"),
            "run",
            "studies/stock-investment.toml",
            "--out",
            f"{scratch}/run",
        ]
        started = time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - started
    return Figure(round(seconds, 1), "s", 180, "lower", 1, "12 agents (4 stocks x 3 seeds), record and report included")


row(2, measure)
