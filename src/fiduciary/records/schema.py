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
        train_return: rate of return of one pass through the training dates (hindsight: it was learned there).
        train_days: first and last day of that pass, from 1970-01-01.
        valid_return, valid_days: the same of the validation dates, by which it was chosen; None where there are none.
        test: the account through the test dates.
        curve: progress of training: `update` and figures such as `loss` and `reward`.
        trials: of the search for its settings, in order; none where nothing was searched.
        policy_file: learned weights, relative to the run folder, or "".
    """

    account: str
    policy: str
    seed: int | None
    train_return: Number
    train_days: tuple[int, int]
    valid_return: float | None = None
    valid_days: tuple[int, int] | None = None
    test: Path
    curve: list[dict[str, float]]
    trials: list[Trial] = []
    policy_file: str = ""


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

    `train`, `valid` and `test` are the first and last days that were really used; `searched` says how many settings were
    tried for each account and seed of a candidate that looked for its own; `cells` holds the SHA-256 of every cell that the
    figures were computed from, by its path below the run folder.
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
    alarms: list[str]
    data: list[Data]
    effective: dict[str, Any]
    searched: dict[str, int] = {}
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

    format: Literal[1] = 1
    identity: str
    result: Result
    occasion: Occasion
