"""10 million minute bars from the historical store into a panel: seconds, and peak memory over the panel's."""

import numpy as np

from fiduciary.data.tables import BARS_1M
from history_data import readings
from rows import Figure, row

SYMBOLS, DAYS, MINUTES = 100, 257, 390
LABELS = (
    np.datetime64("2024-01-01T14:30", "us")
    + (np.arange(DAYS)[:, None] * 1440 + np.arange(MINUTES)).ravel() * np.timedelta64(1, "m")
)  # fmt: skip


def measure() -> dict[str, Figure]:
    return readings(BARS_1M, LABELS, SYMBOLS, block=MINUTES * 21, seconds=5.0)


if __name__ == "__main__":
    row(5, measure)
