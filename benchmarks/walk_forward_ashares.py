"""The walk-forward study of 20 A-shares, on files that may not be shown: prints its tables, keeps them in `.bench/`."""

import sys

from rows import SHARED, Figure, row
from walking import walk

STOCKS, INDEX = (
    SHARED / "ashares/ashare_daily_qfq_2010_2021.parquet",
    SHARED / "ashares/cn_index_daily_2005_2021.parquet",
)


def measure() -> Figure:
    if not STOCKS.exists():
        print(f"walk_forward_ashares: skipped, {STOCKS} is not on this machine")
        sys.exit(0)
    data = [f"data.source={STOCKS}", f"index.source={INDEX}"]
    return walk("walk-forward-ashares.toml", "walk-forward-ashares", *data)


row(4, measure, publish=False)
