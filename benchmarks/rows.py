"""What every row shares: measure, print one line, write `results/<row>.json`."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
SCRATCH = ROOT / ".bench"
SHARED = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Figure:
    """What a row measured.

    Attributes:
        value: the measured figure, in `unit`.
        target: what the issue asks for, or None.
        n: repetitions or trials behind the value.
        interval: 95 % interval or range, or None.
        note: what exactly was measured.
        peer, peer_value: the same figure of a named peer in the same run, or None.
    """

    value: float
    unit: str
    target: float | None
    better: Literal["higher", "lower"]
    n: int
    note: str
    interval: tuple[float, float] | None = None
    peer: str | None = None
    peer_value: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.better == "higher" else self.value <= self.target


def row(issue: int, measure: Callable[[], Figure | dict[str, Figure]], *, publish: bool = True) -> None:
    """Measure, print, and keep the row; `publish=False` keeps it out of the repository (data that may not be shown).

    A script that measures several things against one peer in one run returns them by name: rows SCRIPT_NAME.
    """
    script = Path(sys.argv[0]).stem
    started = time.monotonic()
    measured = measure()
    seconds = round(time.monotonic() - started, 1)
    figures = {script: measured} if isinstance(measured, Figure) else {f"{script}_{k}": v for k, v in measured.items()}
    folder = RESULTS if publish else SCRATCH / "results"
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        entry: dict[str, Any] = {
            "row": name, "issue": issue, **asdict(figure), "met": figure.met, "command": f"make bench ROW={script}",
            "commit": _commit(), "seconds": seconds, "hardware": _hardware(),
        }  # fmt: skip
        (folder / f"{name}.json").write_text(json.dumps(entry, indent=1) + "\n")
        target = "" if figure.target is None else f", target {figure.target:g}: {'met' if figure.met else 'NOT MET'}"
        print(f"{name}: {figure.value:g} {figure.unit} (n={figure.n}{target}); {figure.note}")


def violated(check: Callable[[], object]) -> bool:
    """Whether a contract check finds its law broken; it raises at the first violation, which is printed."""
    from fiduciary.core.errors import ContractError

    try:
        check()
    except ContractError as error:
        print(f"  {error}")
        return True
    return False


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    # Results are written by the rows themselves and say nothing about the code.
    changed = git("status", "--porcelain", "--", ".", ":!benchmarks/results", ":!benchmarks/README.md")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _hardware() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, CPython {platform.python_version()}"
