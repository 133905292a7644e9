"""30 years x 3,000 stocks of daily bars from the historical store into a panel: seconds, and peak memory over the panel's."""

import numpy as np

from fiduciary.data.tables import BARS_1D
from history_data import readings
from rows import Figure, row

SYMBOLS, DAYS = 3_000, 30 * 252
LABELS = np.datetime64("1990-01-01", "us") + np.arange(DAYS) * np.timedelta64(1, "D")


def measure() -> dict[str, Figure]:
    return readings(BARS_1D, LABELS, SYMBOLS, block=252, seconds=2.0)


if __name__ == "__main__":
    row(5, measure)
