"""A walk-forward study from its file, and the figure of it that rows keep."""

import subprocess
import sys
from pathlib import Path

from fiduciary.records import Run
from rows import ROOT, SCRATCH, Figure


def walk(study: str, name: str, *settings: str) -> Figure:
    """Run the study with `key=value` settings, show it whole, and return its difference to the benchmark."""
    command = [Path(sys.executable).with_name("fiduciary"), "run", f"studies/{study}", "--out", SCRATCH / name]
    command += [part for setting in settings for part in ("--set", setting)]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    run = Run(SCRATCH / name)
    found, trials, tests = run.verdict, run.result.evidence[0].sharpe, len(run.result.splits)
    note = (
        f"annual log growth minus that of buy-and-hold, after costs; {tests} yearly tests, {len(run.result.accounts)} "
        f"accounts, {len(run.result.seeds)} seeds; interval of the verdict: {found.word}; DSR {trials.dsr:.2f} with "
        f"{trials.trials} trial(s)"
    )
    return Figure(
        round(found.difference, 4), "per year", None, "higher", len(run.result.seeds), note,
        (round(found.low, 4), round(found.high, 4)),
    )  # fmt: skip
