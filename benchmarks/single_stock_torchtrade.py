"""Steps per second of StockTrading against TorchTrade's vectorised environment, windows included."""

from rows import Figure, row
from single_stock_peers import WINDOWS_BATCH, compare


def measure() -> Figure:
    what = f"VectorizedSequentialTradingEnv, {WINDOWS_BATCH:,} environments, windows of 30 x 10"
    return compare("torchtrade_vectorised.py", WINDOWS_BATCH, requirement="torchtrade==0.1.0", what=what)


if __name__ == "__main__":
    row(3, measure)
