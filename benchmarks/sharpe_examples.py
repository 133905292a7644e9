"""Published worked examples of Sharpe statistics, recomputed: the worst deviation in units of the last digit printed."""

import math

from fiduciary.evaluation.sharpe import Moments, deflated, expected_best, iid_error, probabilistic, track_record
from rows import Figure, row

BARS = (12, 24, 36, 48, 60)
LO = {  # ratio -> standard errors for these numbers of returns
    0.5: (0.306, 0.217, 0.177, 0.153, 0.137),
    1.5: (0.421, 0.298, 0.243, 0.210, 0.188),
    3.0: (0.677, 0.479, 0.391, 0.339, 0.303),
}


def examples() -> list[tuple[str, float, float, float]]:
    """Source, ours, printed, unit of the last digit printed."""
    found = [
        ("Lo 2002, table 1", iid_error(ratio, bars), error, 1e-3)
        for ratio, errors in LO.items()
        for bars, error in zip(BARS, errors, strict=True)
    ]
    source = "Bailey and Lopez de Prado 2012"
    found += [
        (source, probabilistic(Moments(0.458, 24, -2.448, 10.164)), 0.913, 1e-3),
        (source, probabilistic(Moments(0.458, 24)), 0.982, 1e-3),
        (source, probabilistic(Moments(0.458, 36, -2.448, 10.164)), 0.953, 1e-3),
    ]
    for per_year, skew, kurtosis, years in (
        (250, 0, 3, 2.73),
        (52, 0, 3, 2.83),
        (12, 0, 3, 3.24),
        (12, -0.72, 5.78, 4.99),
    ):
        of = Moments(2.0 / math.sqrt(per_year), 0, skew, kurtosis)
        found.append((source, track_record(of, 1.0 / math.sqrt(per_year)) / per_year, years, 1e-2))
    source, variance = "Bailey and Lopez de Prado 2014", 0.5 / 250
    found.append((source, expected_best(100, variance), 0.1132, 1e-4))
    for trials, skew, kurtosis, printed in (
        (100, -3.0, 10.0, 0.9004),
        (46, -3.0, 10.0, 0.9505),
        (88, 0.0, 3.0, 0.9505),
    ):
        of = Moments(2.5 / math.sqrt(250), 1250, skew, kurtosis)
        found.append((source, deflated(of, trials=trials, variance=variance), printed, 1e-4))
    found.append(("Bailey, Borwein, Lopez de Prado and Zhu 2014", expected_best(10, 1.0), 1.57, 1e-2))
    return found


def measure() -> Figure:
    found = examples()
    off = [abs(ours - printed) / unit for _, ours, printed, unit in found]
    for (source, ours, printed, _), digits in zip(found, off, strict=True):
        print(f"  {source}: {ours:.5f}, printed {printed} ({digits:.2f} of its last digit)")
    note = f"worst of {len(found)} figures; less than one is how papers round or cut off: " + "; ".join(
        dict.fromkeys(one[0] for one in found)
    )
    return Figure(round(max(off), 3), "of the last digit printed", 1.0, "lower", len(found), note)


if __name__ == "__main__":
    row(4, measure)
