"""Worst difference of any metric to independent libraries, over random series of returns."""

import sys
from importlib.metadata import version

import numpy as np

from rows import ROOT, Figure, row

SERIES = 1_000
PACKAGES = ("empyrical-reloaded", "skfolio", "scipy")


def measure() -> Figure:
    sys.path.append(str(ROOT / "tests" / "evaluation"))
    from metric_peers import compared, worst_difference

    rng, worst = np.random.default_rng(0), (0.0, "")
    for _ in range(SERIES):
        n = int(rng.integers(30, 1_500))
        benchmark = 0.0003 + 0.01 * rng.standard_t(4, size=n).clip(-20, 20)
        r = rng.uniform(-1, 2) * benchmark + rng.uniform(0.001, 0.02) * rng.standard_normal(n)
        worst = max(worst, worst_difference(r, benchmark, rng.choice([0.0, 1e-4])))
    peers = [(name, library) for name, (_, others) in compared(r, benchmark, 0.0).items() for library in others]
    note = (
        f"{len({name for name, _ in peers})} metrics, {len(peers)} comparisons with "
        f"{', '.join(f'{package} {version(package)}' for package in PACKAGES)}; values above 1 relative; "
        f"worst: {worst[1]}; differences of definition: docs/metrics.md"
    )
    return Figure(worst[0], "absolute difference", 1e-10, "lower", SERIES, note)


if __name__ == "__main__":
    row(4, measure)
