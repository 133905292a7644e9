"""Wall time of the set-up of `make run`: an empty virtual environment in a clean clone until the command answers."""

import subprocess
import tempfile
import time

from rows import ROOT, Figure, row


def measure() -> Figure:
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), f"{scratch}/clone"], check=True)
        started = time.monotonic()
        subprocess.run(["make", "--silent", ".venv/.installed"], cwd=f"{scratch}/clone", check=True)
        subprocess.run(
            [".venv/bin/fiduciary", "--version"], cwd=f"{scratch}/clone", check=True, stdout=subprocess.DEVNULL
        )
        seconds = time.monotonic() - started
    note = "clean clone, empty environment, packages from this machine's mirror; no target is set"
    return Figure(round(seconds, 1), "s", None, "lower", 1, note)


row(2, measure)
