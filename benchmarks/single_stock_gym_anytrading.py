"""Steps per second of StockTrading against gym-anytrading, windows included."""

from rows import Figure, row
from single_stock_peers import compare


def measure() -> Figure:
    what = "StocksEnv, one environment, windows of 30 x 2 as views"
    return compare("anytrading.py", requirement="gym-anytrading==2.0.0", what=what)


if __name__ == "__main__":
    row(3, measure)
