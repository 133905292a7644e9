"""The shape of a record. `result` is a function of question, data and seeds alone: a run that was killed and resumed, or
run again elsewhere, ends with the same one. What belongs to the occasion (times, machine) stands in `occasion`."""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

Number = Annotated[
    float,
    BeforeValidator(lambda x: math.nan if x is None else x),
    PlainSerializer(lambda x: x if math.isfinite(x) else None, when_used="json"),
]
"""A float whose NaN is written as null, since JSON has no NaN."""


class Strict(BaseModel):
    """Immutable; an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Path(Strict):
    """One account over T steps of the test; lists of T+1 values, except `traded`, `fees` and `action` with T.

    `days` count from 1970-01-01; money in the study's currency; `exposure` is a fraction of wealth.
    """

    days: list[int]
    wealth: list[float]
    mark: list[float]
    exposure: list[float]
    action: list[int] | list[list[float]]
    traded: list[float]
    fees: list[float]


class Trial(Strict):
    """One try of a search: the settings and their value, log growth of wealth on the validation dates.

    The value is NaN where the trial came to nothing: it diverged, lost everything, or was refused by the agent.
    """

    parameters: dict[str, Any]
    value: Number


class Cell(Strict):
    """One policy on one account with one seed (None for rules, which need none).

    Attributes:
        account, policy, seed: which cell this is.
        train_return: rate of return of one pass through the training dates (hindsight: it was learned there); NaN where none
            was made, as for rules that are only shown beside.
        train_days: first and last day of that pass, from 1970-01-01, or None.
        valid_return, valid_days: the same of the validation dates, by which it was chosen; None where there are none.
        test: the account through the test dates.
        curve: progress of training: `update` and figures such as `loss` and `reward`.
        trials: of the search for its settings, in order; none where nothing was searched.
        policy_file: learned weights, relative to the run folder, or "".
        split: place of the test among those of a study with several.
        path: which pass through history that test belongs to; 0 where there is one.
        stress: wealth [T+1] of the same policy through the same test under other conditions, such as "costs x 2" or "2 bars
            later"; none for what is not judged.
    """

    account: str
    policy: str
    seed: int | None
    train_return: Number
    train_days: tuple[int, int] | None = None
    valid_return: float | None = None
    valid_days: tuple[int, int] | None = None
    test: Path
    curve: list[dict[str, Number]]
    trials: list[Trial] = []
    policy_file: str = ""
    split: int = 0
    path: int = 0
    stress: dict[str, list[float]] = {}


class Estimate(Strict):
    """Mean over seeds with a 95 % interval; the bounds are NaN for rules and single seeds."""

    mean: Number
    low: Number
    high: Number
    n: int


class Row(Strict):
    """The figures of one policy on one account ("total" = all accounts together)."""

    account: str
    policy: str
    role: Literal["candidate", "benchmark", "baseline", "yardstick"]
    figures: dict[str, Estimate]


class Judgement(Strict):
    """Verdict on one candidate against the benchmark, all accounts together."""

    candidate: str
    benchmark: str
    word: Literal["evidence for", "evidence against", "no evidence"]
    difference: Number
    low: Number
    high: Number
    p_value: Number
    level: float
    trials: int
    block: Number
    reason: str


class Difference(Strict):
    """One figure of the candidate minus that of a rival, with its 95 % interval over days and seeds."""

    rival: str
    figure: str
    value: Number
    low: Number
    high: Number
    p_value: Number


class Condition(Strict):
    """The difference of annual log growth to the benchmark under one condition.

    Attributes:
        kind: "costs" (trading costs times `value`), "lag" (orders `value` bars later), "regime" or "split" (a part of the
            test; `value` counts them).
        name: in words, such as "costs x 2", "1 bar later", "falling, volatile".
        bars: of the test that it covers.
        difference, low, high: with a 95 % interval; NaN bounds where too few bars allow none.
    """

    kind: Literal["costs", "lag", "regime", "split"]
    name: str
    value: float
    bars: int
    difference: Number
    low: Number
    high: Number


class SharpeTest(Strict):
    """What the candidate's Sharpe ratio, annualised, is worth.

    Attributes:
        sharpe: of the mean account over seeds.
        low, high: 95 % interval for dependent returns (Lo 2002).
        ledoit_wolf: two-sided p-value of its difference to the benchmark's (Ledoit and Wolf 2008).
        psr: probability that the true ratio is above zero (Bailey and Lopez de Prado 2012).
        dsr: the same above the best of `trials` without skill (Bailey and Lopez de Prado 2014).
        trials: tried for the question so far, reruns and search included.
        expected_best: annual ratio that the best of so many without skill would show.
    """

    sharpe: Number
    low: Number
    high: Number
    ledoit_wolf: Number
    psr: Number
    dsr: Number
    trials: int
    expected_best: Number


class Power(Strict):
    """What a test of this length could have shown about annual log growth over the benchmark, at 80 % power.

    Attributes:
        edge: the difference found.
        power: probability that a true edge of that size gives "evidence for" in a test of this length.
        detectable: smallest true edge that a test of this length finds.
        years: length of the shortest test that finds an edge of the size found; NaN where the edge is not positive.
    """

    edge: Number
    power: Number
    detectable: Number
    years: Number


class Evidence(Strict):
    """All that stands behind the judgement of one candidate.

    Attributes:
        candidate: whose.
        differences: every figure against every rival.
        sharpe: tests of its Sharpe ratio.
        null: 201 evenly spaced quantiles (0 to 100 %) of the difference of annual log growth if there were no skill.
        conditions: the same difference under stress and in parts of the test.
        power: what the test could have shown.
        middle: interquartile mean of annual log growth over seeds and accounts, with stratified bootstrap interval.
        months: YYYY-MM -> log growth over the benchmark in that month.
    """

    candidate: str
    differences: list[Difference]
    sharpe: SharpeTest
    null: list[Number]
    conditions: list[Condition]
    power: Power
    middle: Estimate
    months: dict[str, Number]


class Selection(Strict):
    """Whether the best of all that were tried is more than the luckiest.

    Attributes:
        reality_check: p-value that no candidate beats the benchmark (White 2000).
        spa: the same, consistent version of Hansen (2005); `spa_lower`, `spa_upper` its bounds.
        confidence_set: policy -> p-value of the model confidence set (Hansen, Lunde and Nason 2011) of log returns.
        pbo: probability of backtest overfitting (Bailey et al. 2017) of choosing the best among all policies shown that do not
            know the future; NaN with fewer than two.
        configurations: how many those are.
    """

    reality_check: Number
    spa: Number
    spa_lower: Number
    spa_upper: Number
    confidence_set: dict[str, Number]
    pbo: Number
    configurations: int


class Alarm(Strict):
    """A sign that the result may not mean what it says; `kind` is a name of `study.alarms.KINDS`."""

    kind: str
    text: str


class Dates(Strict):
    """The dates of one split, as they were used."""

    train: tuple[str, str]
    valid: tuple[str, str] | None = None
    test: tuple[str, str]
    without: list[tuple[str, str]] = []


class Data(Strict):
    """One data set that the study read."""

    name: str
    source: str
    currency: str
    sha256: str
    symbols: list[str]
    first: str
    last: str
    faults: list[str]


class Result(Strict):
    """The deterministic part of a record.

    `train`, `valid` and `test` are the first and last days that were really used, over all `splits`; `searched` says how
    many settings were tried for each account and seed of a candidate that looked for its own; `cells` holds the SHA-256 of
    every cell that the figures were computed from, by its path below the run folder.
    """

    question: str
    benchmark: str
    judgements: list[Judgement]
    rows: list[Row]
    accounts: list[str]
    seeds: list[int]
    train: tuple[str, str]
    valid: tuple[str, str] | None = None
    test: tuple[str, str]
    currency: str
    capital: float
    bars_per_year: float
    assumptions: list[str]
    alarms: list[Alarm]
    data: list[Data]
    effective: dict[str, Any]
    searched: dict[str, int] = {}
    splits: list[Dates] = []
    evidence: list[Evidence] = []
    selection: Selection | None = None
    cells: dict[str, str]


class Occasion(Strict):
    """When, where and with what the run was made; `wall_seconds` are those of the last of its `sessions`."""

    arguments: list[str]
    revision: str
    versions: dict[str, str]
    machine: str
    started: str
    finished: str
    wall_seconds: float
    sessions: int


class Record(Strict):
    """What a run leaves behind."""

    format: Literal[2] = 2
    identity: str
    result: Result
    occasion: Occasion
