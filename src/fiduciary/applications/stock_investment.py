"""Stock investment management by LSTM-DQN: the ready desk of card 1.1 (Comput. Intell. Neurosci. 2022).

A study file names the data, the dates, the market's rules and the agent; this module turns it into a `Study`: independent
accounts of equal capital, one agent each, against buying and holding the same stocks under the same costs, idle cash at
the risk-free rate, and an index.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fiduciary.agents import A2C, CMAES, DQN, PPO, ExoQ
from fiduciary.agents.hindsight import Hindsight
from fiduciary.agents.rules import BuyAndHold
from fiduciary.agents.timing_rules import TIMING
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Agent, Policy, Prophet, Split
from fiduciary.data import Panel, load
from fiduciary.data.panel import position, span
from fiduciary.data.stored import Stored
from fiduciary.envs import StockTrading
from fiduciary.envs.terms import Execution
from fiduciary.evaluation import splits
from fiduciary.factors import SIM, SIM_RELATIVE, Factor, Formula
from fiduciary.factors.formula_files import expression
from fiduciary.markets.costs import Costs
from fiduciary.markets.venue import Venue
from fiduciary.study import Matched, Search, Study, Yardstick

Days = NDArray[np.datetime64]
BASELINES: dict[str, Policy | Prophet | Matched] = {**TIMING, "random": Matched(), "hindsight": Hindsight()}
FACTORS: dict[str, tuple[Factor, ...]] = {"sim": SIM, "sim-relative": SIM_RELATIVE}


@dataclass(frozen=True)
class Source:
    """Where bars come from.

    Attributes:
        source: a shipped sample's name, the path of a CSV or Parquet file in long form, or the folder or URL of a store.
        symbols: which ones, in this order; none named = all.
        columns: our column name -> the file's, where they differ.
        fields: which of open, high, low, close, volume to read; none named = all, and of an index open and close alone,
            since index files often carry no volume, or zeros.
        currency: unit of the prices.
        label: name in the report.
        stored: which bars of a store, as known when.
    """

    source: str
    symbols: tuple[str, ...] = ()
    columns: dict[str, str] = field(default_factory=dict)
    fields: tuple[str, ...] = ()
    currency: str = "USD"
    label: str = ""
    stored: Stored | None = None

    def panel(self, usual: tuple[str, ...] | None = None) -> Panel:
        """Read and validate; `usual` are the fields where none are named.

        Raises:
            ConfigError: no source is given.
            DataError: the bars break a rule.
        """
        if not self.source:
            raise ConfigError(
                "a study must name its data", "an empty `source`", cause="the study leaves the path to you",
                remedy="add --set data.source=PATH (and, for the index, --set index.source=PATH)",
            )  # fmt: skip
        return load(
            self.source,
            columns=self.columns or None,
            symbols=self.symbols or None,
            fields=self.fields or usual,
            currency=self.currency,
            stored=self.stored,
        )


@dataclass(frozen=True)
class Dates:
    """First and last date of training, test and validation, both ends included; "2010" means the whole year.

    Validation lies strictly between the two others; none = the agent is judged as it is after its last update.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    valid: tuple[str, str] | None = None

    def splits(self, calendar: Days) -> tuple[Split, ...]:
        """The one split."""
        return (splits.dates(train=self.train, valid=self.valid, test=self.test),)


@dataclass(frozen=True)
class WalkForward:
    """Learn, test, move on: see `splits.walk_forward`.

    Attributes:
        between: first and last date of all.
        train, test, valid: lengths, in bars or as "3y", "6m", "90d"; valid = 0: none.
        expanding: training always starts on the first date.
        purge: bars left out before each test.
    """

    between: tuple[str, str]
    train: int | str
    test: int | str
    valid: int | str = 0
    expanding: bool = False
    purge: int = 0

    def splits(self, calendar: Days) -> tuple[Split, ...]:
        """One split for each test, in order."""
        return splits.walk_forward(
            calendar[span(calendar, *self.between)], train=self.train, test=self.test, valid=self.valid,
            expanding=self.expanding, purge=self.purge,
        )  # fmt: skip


@dataclass(frozen=True)
class Combinatorial:
    """Combinatorial purged cross-validation: see `splits.combinatorial`. Training may follow the test it serves.

    Attributes:
        between: first and last date of all.
        groups, tests: N groups of dates, of which k are tested at a time.
        purge, embargo: bars left out of training before and after each test; the embargo covers a window of 20 bars and the
            longest look-back of the shipped factors.
    """

    between: tuple[str, str]
    groups: int = 6
    tests: int = 2
    purge: int = 20
    embargo: int = 45

    def splits(self, calendar: Days) -> tuple[Split, ...]:
        """One split for each choice of tests and each of these."""
        return splits.combinatorial(
            calendar[span(calendar, *self.between)], self.groups, self.tests, purge=self.purge, embargo=self.embargo
        )


@dataclass(frozen=True)
class Problem:
    """The decision problem; see `envs.StockTrading`.

    Attributes:
        cash: capital of all accounts together.
        factors: "sim", the paper's ten levels, "sim-relative", the same ten free of scale, or expressions in the factor
            language, such as ["close / ts_mean(close, 10) - 1"].
        window: bars in an observation.
        execution: "next_open", "next_close", or "close" (the paper's; optimistic).
        risk_aversion: A in the utility.
        cash_rate: annual rate on idle cash, and the risk-free rate of the Sharpe ratio.
        episode: length of a training episode, in bars.
    """

    cash: float = 500_000.0
    factors: Literal["sim", "sim-relative"] | tuple[str, ...] = "sim"
    window: int = 20
    execution: Execution = "next_open"
    risk_aversion: float = 0.2
    cash_rate: float = 0.0
    episode: int = 250


@dataclass(frozen=True)
class Tuning:
    """Settings of the agent to look for on the validation dates; see `study.Search`.

    Attributes:
        space: setting -> range or choices, such as lr = [1e-4, 1e-2, "log"]; "net.first" and a table net alike.
        trials: how many to try; each counts as a trial of the question.
    """

    space: dict[str, Any] = field(default_factory=dict)
    trials: int = 20

    def search(self, agent: Agent) -> Search:
        """The search that these settings describe."""
        return Search(agent, _dotted(self.space), self.trials)


@dataclass(frozen=True)
class StockInvestment:
    """One study file, read.

    Attributes:
        application: always "stock-investment".
        question: what the study asks, fixed before the first run.
        data: the stocks.
        split: the dates; `kind` chooses "dates" (if it is left out), "walk-forward" or "combinatorial".
        costs: what a trade costs; no default, since free trading must be asked for.
        venue: lots, holding days, price limits; no default either.
        index: an index to show beside; none where its `source` is empty.
        problem: capital, factors, window, execution, risk aversion.
        agent: the learner; `kind` chooses among those of `agents` that take discrete actions, "dqn" if it is left out.
        search: which of its settings to look for; none = all as they stand.
        baselines: rules to show beside the benchmark: the names of `agents.timing_rules.TIMING`, "random" (trades as much as
            the agent, by chance) and "hindsight" (the best that could have been done); cash is always there.
        seeds: one training each.
        notes: further assumptions that the report must state.
    """

    application: Literal["stock-investment"]
    question: str
    data: Source
    split: Dates | WalkForward | Combinatorial
    costs: Costs
    venue: Venue
    index: Source | None = None
    problem: Problem = field(default_factory=Problem)
    agent: DQN | ExoQ | PPO | A2C | CMAES = field(default_factory=DQN)
    search: Tuning | None = None
    baselines: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The candidate's: network and agent, such as "lstm-dqn"."""
        return f"{type(self.agent.net).__name__}-{type(self.agent).__name__}".lower()

    @cached_property
    def env(self) -> StockTrading:
        """The stocks' environment, before any split."""
        named = self.problem.factors
        factors = FACTORS[named] if isinstance(named, str) else tuple(Formula(text, expression(text)) for text in named)
        return self._trading(self.data.panel(), factors, self.problem.window)

    def study(self) -> Study:
        """Read the data and state the study.

        Raises:
            ConfigError, DataError: before anything is computed.
        """
        yardsticks = {}
        if self.index is not None and self.index.source:
            index = self._index_env(self.index)
            yardsticks[self.index.label or index.panel.symbols[0]] = Yardstick(index, BuyAndHold())
        agent = self.agent if self.search is None else self.search.search(self.agent)
        every = self.split.splits(self.env.panel.dates)
        return Study(
            question=self.question, env=self.env, benchmark=BuyAndHold(), candidates={self.name: agent},
            baselines={name: self._baseline(name) for name in self.baselines},
            splits=every[0] if len(every) == 1 else every, seeds=self.seeds, yardsticks=yardsticks, notes=self.notes,
        )  # fmt: skip

    def _baseline(self, name: str) -> Policy | Prophet | Matched:
        """The baseline of that name; a rule is told what prices this data has."""
        position(name, list(BASELINES), "baseline")
        who = BASELINES[name]
        # Every timing rule is a dataclass with the names of the prices that it reads.
        told: Policy = replace(who, fields=self.env.panel.fields) if name in TIMING else who  # type: ignore[type-var, assignment]
        return told

    def _trading(self, panel: Panel, factors: tuple[Factor | Formula, ...], window: int) -> StockTrading:
        p = self.problem
        return StockTrading(
            panel, factors, cash=p.cash, costs=self.costs, venue=self.venue, window=window, execution=p.execution,
            risk_aversion=p.risk_aversion, cash_rate=p.cash_rate, train_episode=p.episode,
        )  # fmt: skip

    def _index_env(self, index: Source) -> StockTrading:
        """Held in fractions, since nobody buys an index by the lot; filled at the close where it has no open."""
        panel = index.panel(("open", "close"))
        if len(panel.symbols) != 1:
            raise ConfigError(
                "an index must be one symbol", ", ".join(panel.symbols), remedy="name it in `index.symbols`"
            )
        close = tuple(factor for factor in SIM if factor.name == "close")
        env = replace(self._trading(panel, close, 1), venue=Venue(lot=0))
        return env if "open" in panel.fields else replace(env, execution="next_close")


def _dotted(tables: dict[str, Any], place: str = "") -> dict[str, Any]:
    """Tables below tables as names with dots."""
    out: dict[str, Any] = {}
    for name, value in tables.items():
        out |= _dotted(value, f"{place}{name}.") if isinstance(value, dict) else {f"{place}{name}": value}
    return out
