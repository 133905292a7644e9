"""Steps per second of StockTrading against Gym-Trading-Env, windows included."""

from rows import Figure, row
from single_stock_peers import compare


def measure() -> Figure:
    what = "TradingEnv, one environment, windows of 30 x 10"
    return compare("trading_env.py", requirement="gym-trading-env==0.3.5", what=what)


if __name__ == "__main__":
    row(3, measure)
