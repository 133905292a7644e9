"""Decision problems: world, account, reward and horizon; one file each."""

from fiduciary.envs.classic import CartPole, Pendulum
from fiduciary.envs.portfolio_weights import PortfolioWeights
from fiduciary.envs.share_trading import RiskOff, ShareTrading, Shorting
from fiduciary.envs.stock_augmented import StockAugmented
from fiduciary.envs.stock_trading import StockTrading
from fiduciary.envs.tabular import Tabular

__all__ = [
    "CartPole",
    "Pendulum",
    "PortfolioWeights",
    "RiskOff",
    "ShareTrading",
    "Shorting",
    "StockAugmented",
    "StockTrading",
    "Tabular",
]
