"""Decision problems: world, account, reward and horizon; one file each."""

from fiduciary.envs.stock_trading import StockTrading

__all__ = ["StockTrading"]
