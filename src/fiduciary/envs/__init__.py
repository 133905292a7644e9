"""Decision problems: world, account, reward and horizon; one file each, with its oracle beside it where one exists."""

from fiduciary.envs.almgren_chriss import AlmgrenChriss
from fiduciary.envs.american_put import AmericanPut
from fiduciary.envs.bandits import BernoulliBandit, LinearBandit
from fiduciary.envs.classic import CartPole, Pendulum
from fiduciary.envs.hedging import Hedging
from fiduciary.envs.loan_granting import LoanGranting
from fiduciary.envs.merton import Merton
from fiduciary.envs.ou_spread import OUSpread
from fiduciary.envs.portfolio_weights import PortfolioWeights
from fiduciary.envs.share_trading import RiskOff, ShareTrading, Shorting
from fiduciary.envs.stock_augmented import StockAugmented
from fiduciary.envs.stock_trading import StockTrading
from fiduciary.envs.tabular import Tabular

__all__ = [
    "AlmgrenChriss", "AmericanPut", "BernoulliBandit", "CartPole", "Hedging", "LinearBandit", "LoanGranting", "Merton",
    "OUSpread", "Pendulum", "PortfolioWeights", "RiskOff", "ShareTrading", "Shorting", "StockAugmented", "StockTrading",
    "Tabular",
]  # fmt: skip
