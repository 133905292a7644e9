"""Wall time of `fiduciary --help` and `import fiduciary`, the worse of the two medians."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

from rows import Figure, row

COMMANDS = ([str(Path(sys.executable).with_name("fiduciary")), "--help"], [sys.executable, "-c", "import fiduciary"])


def _median(command: list[str], repeats: int = 9) -> float:
    times = []
    for _ in range(repeats + 1):
        started = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        times.append(time.monotonic() - started)
    return statistics.median(times[1:])


def measure() -> Figure:
    help_time, import_time = (_median(command) for command in COMMANDS)
    note = f"--help {help_time:.2f} s, import {import_time:.2f} s, medians of 9 after a warm-up"
    return Figure(round(max(help_time, import_time), 3), "s", 0.5, "lower", 9, note)


row(2, measure)
