"""The A-share study with five seeds, on files that may not be shown: prints its table, keeps it in `.bench/`."""

import subprocess
import sys
from pathlib import Path

from fiduciary.records import Run
from rows import ROOT, SCRATCH, SHARED, Figure, row

STOCKS, INDEX = (
    SHARED / "ashares/ashare_daily_qfq_2010_2021.parquet",
    SHARED / "ashares/cn_index_daily_2005_2021.parquet",
)


def measure() -> Figure:
    if not STOCKS.exists():
        print(f"ashares: skipped, {STOCKS} is not on this machine")
        sys.exit(0)
    folder = SCRATCH / "ashares"
    command = [
        Path(sys.executable).with_name("fiduciary"), "run", "studies/stock-investment-ashares.toml", "--seeds", "5",
        "--set", f"data.source={STOCKS}", "--set", f"index.source={INDEX}", "--out", folder,
    ]  # fmt: skip
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    run = Run(folder)
    mean, hold = run.figure("rate_of_return", "lstm-dqn"), run.figure("rate_of_return", "buy-and-hold").mean
    note = f"rate of return, 5 stocks x 5 seeds; verdict: {run.verdict.word}"
    return Figure(
        mean.mean, "", None, "higher", mean.n, note, (mean.low, mean.high), "buy and hold of the same stocks", hold
    )


row(2, measure, publish=False)
