"""Stock investment management by LSTM-DQN: the ready desk of card 1.1 (Comput. Intell. Neurosci. 2022).

A study file names the data, the dates, the market's rules and the agent; this module turns it into a `Study`: independent
accounts of equal capital, one agent each, against buying and holding the same stocks under the same costs, idle cash at
the risk-free rate, and an index.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from fiduciary.agents import DQN
from fiduciary.agents.rules import BuyAndHold
from fiduciary.core.errors import ConfigError
from fiduciary.data import Panel, load
from fiduciary.envs import StockTrading
from fiduciary.envs.stock_trading import Execution
from fiduciary.evaluation import splits
from fiduciary.factors import SIM, SIM_RELATIVE, Factor
from fiduciary.markets.costs import Costs
from fiduciary.markets.venue import Venue
from fiduciary.records.schema import Data
from fiduciary.study import Study, Yardstick

FACTORS: dict[str, tuple[Factor, ...]] = {"sim": SIM, "sim-relative": SIM_RELATIVE}


@dataclass(frozen=True)
class Source:
    """Where bars come from.

    Attributes:
        source: a shipped sample's name, or the path of a CSV or Parquet file in long form.
        symbols: which ones, in this order; none named = all.
        columns: our column name -> the file's, where they differ.
        currency: unit of the prices.
        label: name in the report.
    """

    source: str
    symbols: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    currency: str = "USD"
    label: str = ""

    def panel(self, fields: tuple[str, ...] | None = None) -> Panel:
        """Read and validate.

        Raises:
            ConfigError: no source is given.
            DataError: the bars break a rule.
        """
        if not self.source:
            raise ConfigError(
                "a study must name its data", "an empty `source`", cause="the study leaves the path to you",
                remedy="add --set data.source=PATH (and --set index.source=PATH)",
            )  # fmt: skip
        return load(
            self.source,
            columns=self.columns or None,
            symbols=self.symbols or None,
            fields=fields,
            currency=self.currency,
        )


@dataclass(frozen=True)
class Dates:
    """First and last date of training and test, both ends included; "2010" means the whole year."""

    train: tuple[str, str]
    test: tuple[str, str]


@dataclass(frozen=True)
class Problem:
    """The decision problem; see `envs.StockTrading`.

    Attributes:
        cash: capital of all accounts together.
        factors: "sim", the paper's ten levels, or "sim-relative", the same ten free of scale.
        window: bars in an observation.
        execution: "next_open", "next_close", or "close" (the paper's; optimistic).
        risk_aversion: A in the utility.
        cash_rate: annual rate on idle cash, and the risk-free rate of the Sharpe ratio.
        episode: length of a training episode, in bars.
    """

    cash: float = 500_000.0
    factors: Literal["sim", "sim-relative"] = "sim"
    window: int = 20
    execution: Execution = "next_open"
    risk_aversion: float = 0.2
    cash_rate: float = 0.0
    episode: int = 250


@dataclass(frozen=True)
class StockInvestment:
    """One study file, read.

    Attributes:
        application: always "stock-investment".
        question: what the study asks, fixed before the first run.
        data: the stocks.
        split: the dates.
        index: an index to show beside, optional.
        problem: capital, factors, window, execution, risk aversion.
        costs: what a trade costs.
        venue: lots, holding days, price limits.
        agent: the learner; see `agents.DQN`.
        seeds: one training each.
        notes: further assumptions that the report must state.
    """

    application: Literal["stock-investment"]
    question: str
    data: Source
    split: Dates
    index: Source | None = None
    problem: Problem = field(default_factory=Problem)
    costs: Costs = field(default_factory=Costs)
    venue: Venue = field(default_factory=Venue)
    agent: DQN = field(default_factory=DQN)
    seeds: tuple[int, ...] = (0, 1, 2)
    notes: tuple[str, ...] = ()

    @cached_property
    def env(self) -> StockTrading:
        """The stocks' environment, before any split."""
        return self._trading(self.data.panel(), FACTORS[self.problem.factors], self.problem.window)

    def study(self) -> Study:
        """Read the data and state the study.

        Raises:
            ConfigError, DataError: before anything is computed.
        """
        env = self.env
        named = {"stocks": env.panel}
        yardsticks = {}
        if self.index is not None:
            index = self._index_env(self.index)
            label = self.index.label or index.panel.symbols[0]
            named[label], yardsticks[label] = index.panel, Yardstick(index, BuyAndHold())
        return Study(
            question=self.question, env=env, benchmark=BuyAndHold(), candidates={"lstm-dqn": self.agent},
            splits=splits.dates(train=self.split.train, test=self.split.test), seeds=self.seeds, yardsticks=yardsticks,
            notes=(*self._assumptions(), *self.notes), data=[_data(name, panel) for name, panel in named.items()],
        )  # fmt: skip

    def _trading(self, panel: Panel, factors: tuple[Factor, ...], window: int) -> StockTrading:
        p = self.problem
        return StockTrading(
            panel, factors, cash=p.cash, costs=self.costs, venue=self.venue, window=window, execution=p.execution,
            risk_aversion=p.risk_aversion, cash_rate=p.cash_rate, train_episode=p.episode,
        )  # fmt: skip

    def _index_env(self, index: Source) -> StockTrading:
        """Held in fractions, since nobody buys an index by the lot; filled at the close where it has no open."""
        panel = index.panel()
        if len(panel.symbols) != 1:
            raise ConfigError(
                "an index must be one symbol", ", ".join(panel.symbols), remedy="name it in `index.symbols`"
            )
        close = tuple(factor for factor in SIM if factor.name == "close")
        env = replace(self._trading(panel, close, 1), venue=Venue(lot=0))
        return env if "open" in panel.fields else replace(env, execution="next_close")

    def _assumptions(self) -> list[str]:
        p, c, v = self.problem, self.costs, self.venue
        limit = (
            "no daily price limit"
            if v.price_limit is None
            else f"orders at the {v.price_limit:.0%} daily limit unfilled"
        )
        lot = f"lots of {v.lot:g}" if v.lot else "fractions of a share allowed"
        return [
            f"All in, all out, long only, one order a day and stock; {lot}, a sale at least {v.hold_days} trading day(s) "
            f"after its purchase, {limit}.",
            f"Commission {c.commission_bps:g} bp each way, stamp duty {c.stamp_duty_bps:g} bp on sales, slippage "
            f"{c.slippage_bps:g} bp each way, at least {c.minimum_fee:g} an order; benchmark and index pay the same.",
            "Orders are small against the market: no impact beyond the slippage above.",
            f"Prices are adjusted for splits and dividends where the source says so; idle cash earns {p.cash_rate:.2%} a year.",
            f"Equal accounts out of {p.cash:,.0f}, never rebalanced between stocks; one agent per stock and seed.",
            "On days without a bar (suspension) an account keeps its last value and an order waits for the next open.",
            "Scaler and reward normalisation were fitted on the training dates only.",
        ]


def _data(name: str, panel: Panel) -> Data:
    return Data(
        name=name, source=panel.source, currency=panel.currency, sha256=panel.digest(), symbols=list(panel.symbols),
        first=str(panel.dates[0]), last=str(panel.dates[-1]), faults=[str(fault) for fault in panel.faults],
    )  # fmt: skip
