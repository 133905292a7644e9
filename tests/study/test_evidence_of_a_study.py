"""Evidence: what goes where in the record, against the judges called by hand."""

import math

import numpy as np
import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import inference, metrics, sharpe
from fiduciary.records import schema
from fiduciary.study.evidence import REGIMES, Track, evidence, regimes, selection

BARS, PER_YEAR = 520, 260.0
DAYS = np.arange("2020-01-01", "2023-01-01", dtype="datetime64[D]")
DAYS = DAYS[np.is_busday(DAYS)][: BARS + 1].astype(np.int64)
SPLITS = [(0, 260), (260, BARS)]
CASH = np.full(BARS, 5e-5)


def _track(name, returns, *, role="baseline", stress=None):
    wealth = 1e5 * np.cumprod(np.concatenate((np.ones((len(returns), 1)), 1.0 + returns), axis=1), axis=1)
    return Track(name, role, DAYS, wealth, stress or {}, np.stack((0.4 * wealth, 0.6 * wealth)))


@pytest.fixture(scope="module")
def tracks():
    rng = np.random.default_rng(0)
    market = rng.normal(2e-4, 0.01, BARS)
    own = market + rng.normal(3e-4, 0.003, (3, BARS))
    dearer = {"costs x 2": _track("", own - 2e-4).wealth, "1 bar later": _track("", np.roll(own, 1, axis=1)).wealth}
    hold = _track(
        "hold", market[None], role="benchmark", stress={name: _track("", market[None]).wealth for name in dearer}
    )
    learner = _track("learner", own, role="candidate", stress=dearer)
    return learner, hold, [hold, _track("noise", rng.normal(0.0, 0.01, (1, BARS))), _track("cash", CASH[None])]


def _evidence(tracks, seed=0, **options):
    common = {
        "risk_free": CASH,
        "per_year": PER_YEAR,
        "trials": 10,
        "splits": SPLITS,
        "rng": np.random.default_rng(seed),
    }
    return evidence(*tracks, **common | options)


@pytest.fixture(scope="module")
def found(tracks):
    return _evidence(tracks)


@pytest.fixture(scope="module")
def other(tracks):
    return _evidence(tracks, seed=1, splits=[(0, 20), (20, BARS)])


def test_evidence_goes_through_json_and_depends_on_the_generator_alone(tracks, found, other):
    assert schema.Evidence.model_validate_json(found.model_dump_json()).model_dump_json() == found.model_dump_json()
    assert _evidence(tracks).model_dump_json() == found.model_dump_json()
    assert other.null != found.null and other.months == found.months


def test_every_figure_is_compared_with_every_rival(tracks, found):
    assert [(x.rival, x.figure) for x in found.differences] == [
        (rival.name, figure) for rival in tracks[2] for figure in metrics.OF_RETURNS
    ]
    volatility = next(x for x in found.differences if (x.rival, x.figure) == ("noise", "annual_volatility"))
    mine, theirs = (
        np.mean([metrics.volatility(metrics.returns(w)) for w in track.wealth]) * PER_YEAR**0.5
        for track in (tracks[0], tracks[2][1])
    )
    assert volatility.value == pytest.approx(mine - theirs) and volatility.low < volatility.value < volatility.high
    flat = next(x for x in found.differences if (x.rival, x.figure) == ("cash", "annual_sharpe"))
    assert math.isnan(flat.value) and math.isnan(flat.p_value)


def test_sharpe_is_annual_and_of_the_mean_account(tracks, found):
    excess = metrics.returns(tracks[0].wealth.mean(axis=0)) - CASH
    of, interval = sharpe.moments(excess), sharpe.interval(excess)
    got = found.sharpe
    assert (got.sharpe, got.low, got.high) == pytest.approx(tuple(np.array(interval)[[0, 2, 3]] * PER_YEAR**0.5))
    assert got.psr == sharpe.probabilistic(of) and got.dsr < got.psr and got.trials == 10
    assert got.expected_best == pytest.approx(sharpe.expected_best(10, 1 / (BARS - 1)) * PER_YEAR**0.5)
    assert 0 < got.ledoit_wolf < 1


def test_seeds_that_differ_more_than_chance_raise_the_bar(tracks):
    learner, hold, rivals = tracks
    apart = learner._replace(
        wealth=_track("", metrics.returns(learner.wealth) + np.array([-0.002, 0, 0.002])[:, None]).wealth
    )
    by_seed = metrics.sharpe(metrics.returns(apart.wealth), CASH)
    got = _evidence((apart, hold, rivals)).sharpe
    assert got.expected_best == pytest.approx(sharpe.expected_best(10, np.var(by_seed, ddof=1)) * PER_YEAR**0.5)


def test_null_power_and_middle_are_those_of_the_judges(tracks, found):
    learner, hold, _ = tracks
    edge = metrics.log_returns(learner.wealth) - metrics.log_returns(hold.wealth)
    assert len(found.null) == 201
    assert found.power.edge == pytest.approx(edge.mean() * PER_YEAR)
    assert found.power.model_dump() == pytest.approx(
        inference.power(edge, per_year=PER_YEAR, trials=10)._asdict(), nan_ok=True
    )
    growth = np.log(learner.wealth[:, -1] / learner.wealth[:, 0]) / (BARS / PER_YEAR)
    assert found.middle.low <= found.middle.mean <= found.middle.high and found.middle.n == 3
    assert found.middle.mean == pytest.approx(np.sort(np.repeat(growth, 2))[1:-1].mean())


def test_conditions_cover_stress_regimes_and_splits(tracks, found):
    by_name = {x.name: x for x in found.conditions}
    assert [(x.kind, x.value) for x in found.conditions if x.kind in ("costs", "lag")] == [("costs", 2.0), ("lag", 1.0)]
    plain = found.power.edge
    assert by_name["costs x 2"].difference == pytest.approx(plain - 2e-4 * PER_YEAR, rel=0.02)
    splits = [x for x in found.conditions if x.kind == "split"]
    assert [x.name for x in splits] == ["2020-01-02 to 2020-12-30", "2020-12-31 to 2021-12-29"]
    for kind in ("split", "regime"):
        parts = [x for x in found.conditions if x.kind == kind]
        assert sum(x.bars for x in parts) == BARS
        assert sum(x.bars * x.difference for x in parts) / BARS == pytest.approx(plain)
    assert all(x.low < x.difference < x.high for x in found.conditions if x.bars >= inference.FEWEST_BARS)


def test_a_part_too_short_for_an_interval_has_none(other):
    short = other.conditions[-2]
    assert short.bars == 20 and math.isnan(short.low) and math.isfinite(short.difference)


def test_months_add_up_to_the_whole_edge(found):
    assert list(found.months)[:2] == ["2020-01", "2020-02"] and len(found.months) == 24
    assert sum(found.months.values()) == pytest.approx(found.power.edge * BARS / PER_YEAR)


def test_regimes_are_of_whole_months():
    days = np.arange("2021-01-01", "2021-05-02", dtype="datetime64[D]").astype(np.int64)
    months = days[1:].astype("datetime64[D]").astype("datetime64[M]").astype(int) % 12
    swing = np.where(np.arange(len(months)) % 2, 1.0, -1.0)
    r = np.array([0.01, 0.01, -0.01, -0.01, 0.01])[months] + np.array([0.001, 0.02, 0.001, 0.02, 0.005])[months] * swing
    wealth = np.exp(np.concatenate(([0.0], np.cumsum(r))))[None]
    got = regimes(Track("hold", "benchmark", days, wealth, {}))
    assert [REGIMES[k] for k in got[[0, 40, 70, 100]]] == list(REGIMES)
    assert all(len(set(got[months == m])) == 1 for m in range(4))


def test_other_days_are_refused(tracks):
    learner, hold, _ = tracks
    with pytest.raises(ConfigError, match="the same days, got other days of hold than of learner"):
        _evidence((learner, hold._replace(days=DAYS + 1), []))


def test_a_copy_of_the_benchmark_shows_nothing(tracks):
    hold = tracks[1]
    got = _evidence((hold._replace(name="copy"), hold, [hold]))
    assert all(x.value == 0.0 and x.p_value == 1.0 for x in got.differences) and got.sharpe.ledoit_wolf == 1.0
    assert not any(got.null) and got.power.power == 0.0 and not any(x.difference for x in got.conditions)


@pytest.mark.parametrize("bars", [30, 54])
def test_short_tests_have_evidence_too(tracks, bars):
    short = [
        Track(t.name, t.role, t.days[: bars + 1], t.wealth[:, : bars + 1], {}, None) for t in (tracks[0], tracks[1])
    ]
    got = _evidence((*short, [short[1]]), risk_free=CASH[:bars], splits=[])
    assert math.isfinite(got.power.power) and math.isfinite(got.sharpe.ledoit_wolf)


def test_selection_sees_an_edge_and_names_everyone(tracks):
    learner, hold, rivals = tracks
    candidates = [learner, rivals[1]]
    got, again = (
        selection(candidates, hold, [learner, *rivals], risk_free=CASH, rng=np.random.default_rng(0)) for _ in range(2)
    )
    # Cash does not differ from cash.
    assert got == again and got.configurations == 3 and 0 <= got.pbo <= 1
    assert got.spa_lower <= got.spa <= got.spa_upper < 0.1
    assert set(got.confidence_set) == {"learner", "hold", "noise", "cash"} and max(got.confidence_set.values()) == 1.0
    alone = selection([learner], hold, [learner, rivals[-1]], risk_free=CASH, rng=np.random.default_rng(0))
    assert math.isnan(alone.pbo) and alone.configurations == 1
