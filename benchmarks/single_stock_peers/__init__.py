"""Steps per second of trading environments, each in a process of its own with one thread: what the rows compare.

A worker is a script that measures once for every line it reads and prints the figure; a worker not asked uses no processor,
so ours and the peer's can be measured in turn, and two of ours at the same time.
"""

import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

from rows import SCRATCH, Figure

HERE = Path(__file__).parent
PAIRS = 9
BATCH, WINDOWS_BATCH = 16_384, 4_096


class Rate(NamedTuple):
    """Steps by the clock, and by the processor's own time, which a busy machine does not stretch."""

    a_second: float
    a_cpu_second: float


class Worker:
    """A process that measures when asked."""

    def __init__(self, script: str, *arguments: object, python: Path | str = sys.executable) -> None:
        command = [str(python), str(HERE / script), *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait()

    def ask(self) -> None:
        """Start one measurement."""
        print(file=self._process.stdin, flush=True)

    def answer(self) -> Rate:
        """The measurement that was asked for."""
        return Rate(*map(float, self._process.stdout.readline().split()))

    def rate(self) -> Rate:
        """Measure once."""
        self.ask()
        return self.answer()


def venv(*requirements: str) -> Path:
    """The Python of an environment under `.bench/` that holds `requirements`; made at first use."""
    folder = SCRATCH / requirements[0]
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
        (folder / "ready").touch()
    return python


def compare(script: str, *arguments: object, requirement: str, what: str) -> Figure:
    """Ours over the peer's, both with windows, pair after pair, one thread each."""
    peer_worker = Worker(script, *arguments, python=venv(requirement))
    with Worker("ours.py", WINDOWS_BATCH, "windows") as ours, peer_worker as peer:
        ours.rate(), peer.rate()  # warm
        pairs = [(ours.rate(), peer.rate()) for _ in range(PAIRS)]
    ratios = sorted(mine.a_second / theirs.a_second for mine, theirs in pairs)
    by_cpu = median(mine.a_cpu_second / theirs.a_cpu_second for mine, theirs in pairs)
    mine, theirs = (median(rate.a_second for rate in rates) for rates in zip(*pairs, strict=True))
    note = (
        f"StockTrading, {WINDOWS_BATCH:,} accounts, windows of 30 x 10 copied out: {mine:,.0f} account-steps/s; {what}: "
        f"{theirs:,.0f} steps/s; one process with one thread each, in turn; {by_cpu:.1f} times by CPU seconds"
    )
    spread = (round(ratios[0], 1), round(ratios[-1], 1))
    return Figure(
        round(median(ratios), 1), "times the peer's steps/s", None, "higher", PAIRS, note, spread, requirement,
        round(theirs),
    )  # fmt: skip
