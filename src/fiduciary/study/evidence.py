"""From the wealth of everyone in a test to the evidence of the record: wiring, no statistics of its own."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import inference, metrics, sharpe
from fiduciary.evaluation.selection import BLOCKS, confidence_set, overfitting, superiority
from fiduciary.records import schema

Floats = NDArray[np.float64]
Days = NDArray[np.int64]
Role = Literal["candidate", "benchmark", "baseline", "yardstick"]
Kind = Literal["costs", "lag", "regime", "split"]
REGIMES = ("rising, calm", "rising, volatile", "falling, calm", "falling, volatile")


class Track(NamedTuple):
    """What one policy made of the test, all accounts together unless it says otherwise.

    Attributes:
        name: of the policy.
        role: in the study.
        days: [T+1] since 1970-01-01; the same for everyone.
        wealth: [S, T+1] money, one row per seed; rules have one.
        stress: the same under other conditions, by the names of `records.schema.Cell.stress`.
        accounts: [A, S, T+1] money of each account, or None.
    """

    name: str
    role: Role
    days: Days
    wealth: Floats
    stress: Mapping[str, Floats]
    accounts: Floats | None = None


def evidence(
    candidate: Track,
    benchmark: Track,
    rivals: Sequence[Track],
    *,
    risk_free: Floats,
    per_year: float,
    trials: int,
    splits: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    level: float = 0.05,
) -> schema.Evidence:
    """All that stands behind the judgement of one candidate.

    Args:
        candidate, benchmark: the two that the verdict compares; a condition is compared where both have it in `stress`.
        rivals: everyone to compare figures with; the benchmark too, if it is to be among them.
        risk_free: [T] returns of idle cash.
        per_year: bars in a year.
        trials: tried for the question so far.
        splits: bars [start, end) of each test window, counted from the first return.
        rng: of all resampling; the same one gives the same evidence.
        level: nominal error.

    Raises:
        ConfigError: a rival was measured on other days.
    """
    _same_days(candidate, (benchmark, *rivals))
    own, hold = metrics.returns(candidate.wealth), metrics.returns(benchmark.wealth)
    edge = np.log1p(own) - np.log1p(hold).mean(axis=0)
    # The same blocks as the verdict's own.
    block = inference.block_length(edge.mean(axis=0))
    against = {rival.name: metrics.returns(rival.wealth) for rival in rivals}
    differences = inference.differences(
        own, against, metrics.OF_RETURNS, risk_free=risk_free, per_year=per_year, rng=rng, block=block, level=level
    )
    return schema.Evidence(
        candidate=candidate.name,
        differences=[schema.Difference(**difference._asdict()) for difference in differences],
        sharpe=_sharpe(
            candidate,
            benchmark,
            risk_free=risk_free,
            per_year=per_year,
            trials=trials,
            block=block,
            rng=rng,
            level=level,
        ),
        null=inference.null(edge, per_year=per_year, rng=rng).tolist(),
        conditions=[
            _condition(*part, per_year=per_year, rng=rng, level=level)
            for part in _parts(candidate, benchmark, edge, splits)
            if part[-1].shape[1]
        ],
        power=schema.Power(**inference.power(edge, per_year=per_year, trials=trials, level=level)._asdict()),
        middle=schema.Estimate(**inference.middle(_growth(candidate, per_year), rng=rng, level=level)._asdict()),
        months=_months(candidate.days, edge.mean(axis=0)),
    )


def selection(
    candidates: Sequence[Track],
    benchmark: Track,
    everyone: Sequence[Track],
    *,
    risk_free: Floats,
    rng: np.random.Generator,
) -> schema.Selection:
    """Whether the best of all that were tried is more than the luckiest; every policy stands for the mean over its seeds.

    Args:
        candidates: those tested against the benchmark.
        benchmark: what they must beat.
        everyone: whose log returns the confidence set compares, and, where they differ from cash, the configurations among
            which PBO lets one choose by Sharpe ratio.
        risk_free: [T] returns of idle cash.
        rng: of all resampling.

    Raises:
        ConfigError: someone was measured on other days than the benchmark.
    """
    _same_days(benchmark, (*candidates, *everyone))
    hold = _mean_log_returns(benchmark)
    able = superiority(np.stack([_mean_log_returns(one) - hold for one in candidates]), rng=rng)
    likely = confidence_set(np.stack([_mean_log_returns(one) for one in everyone]), rng=rng)
    excess = np.stack([_mean_excess(one, risk_free) for one in everyone])
    configurations, pbo = excess[excess.std(axis=1) > 1e-12], math.nan
    if len(configurations) > 1 and len(risk_free) >= 2 * BLOCKS:
        pbo = overfitting(configurations).pbo
    return schema.Selection(
        reality_check=able.reality_check, spa=able.spa, spa_lower=able.lower, spa_upper=able.upper,
        confidence_set={one.name: float(p) for one, p in zip(everyone, likely, strict=True)},
        pbo=pbo, configurations=len(configurations),
    )  # fmt: skip


# --- internals -------------------------------------------------------------------------------------------------------


def _same_days(one: Track, others: Sequence[Track]) -> None:
    for other in others:
        if not np.array_equal(one.days, other.days):
            raise ConfigError(
                "policies are compared on the same days", f"other days of {other.name} than of {one.name}",
                remedy="bring its wealth to the days of the test",
            )  # fmt: skip


def _mean_log_returns(track: Track) -> Floats:
    return np.asarray(metrics.log_returns(track.wealth).mean(axis=0))


def _mean_excess(track: Track, risk_free: Floats) -> Floats:
    """Excess returns [T] of the mean account: capital shared equally among the seeds."""
    return metrics.returns(track.wealth.mean(axis=0)) - risk_free


def _growth(track: Track, per_year: float) -> Floats:
    """Annual log growth [S, A] of every seed on every account."""
    accounts = track.wealth[None] if track.accounts is None else track.accounts
    return np.asarray(np.log(accounts[..., -1] / accounts[..., 0]).T * per_year / (len(track.days) - 1))


def _sharpe(
    candidate: Track, benchmark: Track, *, risk_free: Floats, per_year: float, trials: int, block: float,
    rng: np.random.Generator, level: float,
) -> schema.SharpeTest:  # fmt: skip
    """The variance among trials is that among the candidate's seeds, but at least 1 / (T - 1), that of a ratio of zero."""
    own, hold = _mean_excess(candidate, risk_free), _mean_excess(benchmark, risk_free)
    ratio, of = sharpe.interval(own, level=level), sharpe.moments(own)
    by_seed = metrics.sharpe(metrics.returns(candidate.wealth), risk_free)
    variance = max(1.0 / (of.bars - 1), float(np.nan_to_num(by_seed).var(ddof=1)) if len(by_seed) > 1 else 0.0)
    test = sharpe.bootstrap_difference(own, hold, block=min(block, len(own) // sharpe.FEWEST_BLOCKS), rng=rng)
    annual = math.sqrt(per_year)
    return schema.SharpeTest(
        sharpe=ratio.value * annual, low=ratio.low * annual, high=ratio.high * annual, ledoit_wolf=test.p_value,
        psr=sharpe.probabilistic(of), dsr=sharpe.deflated(of, trials=trials, variance=variance), trials=trials,
        expected_best=sharpe.expected_best(trials, variance) * annual,
    )  # fmt: skip


Part = tuple[Kind, str, float, Floats]


def _parts(candidate: Track, benchmark: Track, edge: Floats, splits: Sequence[tuple[int, int]]) -> list[Part]:
    """Kind, name, value and differences [S, bars] of every condition: stress, then regimes, then parts of the test."""
    parts: list[Part] = []
    for name in (name for name in candidate.stress if name in benchmark.stress):
        hold = metrics.log_returns(benchmark.stress[name]).mean(axis=0)
        parts.append((*_stress(name), metrics.log_returns(candidate.stress[name]) - hold))
    regime = regimes(benchmark)
    parts += [("regime", name, float(k), edge[:, regime == k]) for k, name in enumerate(REGIMES)]
    for k, (start, end) in enumerate(splits):
        first, last = candidate.days[[start + 1, end]].astype("datetime64[D]")
        parts.append(("split", f"{first} to {last}", float(k), edge[:, start:end]))
    return parts


def _stress(name: str) -> tuple[Kind, str, float]:
    """Kind, name and value of "costs x 2" or "1 bar later"."""
    words = name.split()
    return ("costs", name, float(words[-1])) if words[0] == "costs" else ("lag", name, float(words[0]))


def _condition(
    kind: Kind, name: str, value: float, edge: Floats, *, per_year: float, rng: np.random.Generator, level: float
) -> schema.Condition:
    low = high = math.nan
    if edge.shape[1] >= inference.FEWEST_BARS:
        judged = inference.judge(
            edge, np.zeros(edge.shape[1]), learned=False, per_year=per_year, trials=1, rng=rng, level=level
        )
        low, high = judged.low, judged.high
    return schema.Condition(
        kind=kind,
        name=name,
        value=value,
        bars=edge.shape[1],
        difference=float(edge.mean()) * per_year,
        low=low,
        high=high,
    )


def regimes(benchmark: Track) -> NDArray[np.int64]:
    """Which of `REGIMES` each bar [T] belongs to, by its month: the sign of the benchmark's return, and its volatility against
    the median month's."""
    r = _mean_log_returns(benchmark)
    _, month = np.unique(_month(benchmark.days), return_inverse=True)
    count = np.bincount(month)
    mean = np.bincount(month, r) / count
    spread = np.sqrt(np.bincount(month, (r - mean[month]) ** 2) / count)
    kind = 2 * (mean < 0.0) + (spread > np.median(spread))
    return np.asarray(kind[month], dtype=np.int64)


def _months(days: Days, edge: Floats) -> dict[str, float]:
    names, month = np.unique(_month(days), return_inverse=True)
    return dict(zip(map(str, names), np.bincount(month, edge).tolist(), strict=True))


def _month(days: Days) -> NDArray[np.datetime64]:
    """YYYY-MM of the day on which each bar ends; days [T+1] -> [T]."""
    return days[1:].astype("datetime64[D]").astype("datetime64[M]")
