"""Every alarm rings for what it is made for, and is silent on a clean study."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary import data
from fiduciary.core.types import Split
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.factors import Factor, Scaler
from fiduciary.markets import costs, dynamics, venue
from fiduciary.records import schema
from fiduciary.study import alarms, leaks
from fiduciary.study.book import Book, Draw

FIRST = int(np.datetime64("2010-01-01").astype(int))


def _market(seed=0, bars=300, symbols=2):
    return dynamics.random_walk(bars=bars, symbols=symbols, rng=np.random.default_rng(seed))


def _env(panel, **options):
    return StockTrading(panel, costs=costs.linear(5), venue=venue.US, window=5, **options)


def _cut(panel, gap=0):
    days, middle = [str(day) for day in panel.dates], len(panel.dates) // 2
    return splits.dates(train=(days[40], days[middle]), test=(days[middle + 1 + gap], days[-1]))


def _kinds(found):
    return [alarm.kind for alarm in found]


def _leaks(env, cut):
    folds = env.folds(cut)
    return [*leaks.look_ahead(folds), *leaks.fitted_ahead(env, cut), *leaks.impossible_fills(folds)]


# --- the problem -----------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**31), st.sampled_from(["next_open", "next_close"]))
@settings(max_examples=2)
def test_a_clean_problem_rings_nothing(seed, execution):
    panel = _market(seed)
    env = _env(panel, execution=execution, cash_rate=0.02)
    assert _leaks(env, _cut(panel)) == []
    assert leaks.unadjusted_splits(panel) == [] == leaks.survivorship(panel)


def _tomorrow(bars):
    return np.append(bars["close"][1:], bars["close"][-1]) / bars["close"]


def _of_all_time(bars):
    return bars["close"] / bars["close"].mean()


@pytest.mark.parametrize("peek", [_tomorrow, _of_all_time])
@given(st.integers(0, 2**31))
@settings(max_examples=2)
def test_a_factor_that_knows_the_future_is_caught(peek, seed):
    panel = _market(seed)
    env = _env(panel, factors=(Factor("peek", 1, peek, ("close",)),))
    (alarm,) = leaks.look_ahead(env.folds(_cut(panel)))
    assert alarm.kind == "look-ahead" and "In the test of RW" in alarm.text and "must not move" in alarm.text


def test_an_account_that_cannot_trade_proves_nothing_and_rings_nothing():
    panel = _market(symbols=1)
    poor = _env(panel, cash=1.0)
    assert leaks.look_ahead(replace(poor, venue=venue.CHINA_A).folds(_cut(panel))) == []


@dataclass(frozen=True, eq=False)
class Fitted(StockTrading):
    """Scales what `wrong` says by all bars there are."""

    wrong: str = "both"

    def folds(self, split):
        def leak(env):
            return env and replace(env, scaler=Scaler.fit(replace(env, scaler=None).world.features[40:].numpy()))

        if self.wrong == "test":
            return {name: fold._replace(test=leak(fold.test)) for name, fold in super().folds(split).items()}
        return {name: type(fold)(*map(leak, fold)) for name, fold in super().folds(split).items()}


@pytest.mark.parametrize("wrong", ["both", "test"])
def test_a_scaler_fitted_on_the_test_is_caught(wrong):
    panel = _market()
    env = Fitted(panel, costs=costs.linear(5), venue=venue.US, window=5, wrong=wrong)
    (alarm,) = leaks.fitted_ahead(env, _cut(panel))
    assert alarm.kind == "look-ahead" and "was fitted on dates after the training" in alarm.text
    assert leaks.look_ahead(env.folds(_cut(panel))) == []  # each check has its own prey
    assert leaks.fitted_ahead(_env(panel), _cut(panel, gap=3)) == []


@dataclass(frozen=True, eq=False)
class Cheap(StockTrading):
    """Fills under the low of the day."""

    @property
    def world(self):
        return super().world._replace(fill=super().world.fill * 0.97)


def test_fills_that_nobody_gets_are_caught():
    panel = _market()
    (seen,) = leaks.impossible_fills(_env(panel, execution="close").folds(_cut(panel)))
    assert seen.kind == "unobservable fill" and "was filled at that price" in seen.text
    (cheap,) = leaks.impossible_fills(Cheap(panel, costs=costs.linear(5), venue=venue.US, window=5).folds(_cut(panel)))
    assert cheap.kind == "unobservable fill" and "outside that day's range" in cheap.text


def test_the_price_of_a_fill_is_worked_back_exactly():
    panel = _market(symbols=1)
    env = _env(panel, cash_rate=0.05)
    for fill in leaks._purchases(env, torch.Generator().manual_seed(0)):
        day = np.searchsorted(panel.dates, np.datetime64(fill.then, "D"))
        assert fill.price == pytest.approx(panel["open"][day, 0], rel=1e-12)
        assert fill.seen == panel["close"][day - 1, 0]


def test_survivors_alone_ring_and_one_delisting_silences():
    panel = _market(bars=800, symbols=3)
    (alarm,) = leaks.survivorship(panel)
    assert "All 3 symbols are alive at the end of 3 years" in alarm.text
    assert leaks.survivorship(panel.select(["RW1"])) == []
    assert leaks.survivorship(panel.between(None, "2001")) == []
    values, mask = panel.values.copy(), panel.mask.copy()
    values[600:, 1], mask[600:, 1] = np.nan, False
    assert leaks.survivorship(replace(panel, values=values, mask=mask)) == []


def _jumped(panel, at, ratio, bars=10_000, volume=True):
    values = panel.values.copy()
    values[at : at + bars, 0, :4] *= ratio
    if volume:
        values[at : at + bars, 0, 4] /= ratio
    return replace(panel, values=values)


@given(
    st.integers(0, 2**31), st.integers(20, 270), st.sampled_from([1 / 2, 2 / 3, 1 / 3, 1 / 10, 1 / 20, 2.0, 5.0, 10.0]),
    st.booleans(),
)  # fmt: skip
@settings(max_examples=30)
def test_an_unadjusted_split_is_caught_wherever_it_is(seed, at, ratio, volume):
    (alarm,) = leaks.unadjusted_splits(_jumped(_market(seed), at, ratio, volume=volume))
    assert alarm.kind == "unadjusted split" and "RW1 opened on" in alarm.text


def test_what_comes_back_is_of_no_split_ratio_or_moves_with_its_volume_is_no_split():
    panel = _market()
    assert leaks.unadjusted_splits(_jumped(panel, 100, 0.5, bars=2)) == []
    assert leaks.unadjusted_splits(_jumped(panel, 100, 0.82)) == []
    down = _jumped(panel, 100, 0.5, volume=False).values.copy()
    down[100:, 0, 4] /= 10
    assert leaks.unadjusted_splits(replace(panel, values=down)) == []
    wild = dynamics.random_walk(bars=500, volatility=0.15, rng=np.random.default_rng(0))
    assert leaks.unadjusted_splits(wild) == []  # it moves by a third every other week


def test_the_sample_of_real_shares_rings_for_its_survivors_only():
    panel = data.sample("us-stocks")
    assert _kinds([*leaks.survivorship(panel), *leaks.unadjusted_splits(panel)]) == ["survivorship"]
    env = StockTrading(panel, costs=costs.linear(5), venue=venue.US)
    cut = splits.dates(train=("2004-10", "2009"), test=("2010", "2012"))
    assert _leaks(env, cut) == []


# --- the protocol and the policies, on cells made by hand ------------------------------------------------------------


def _path(growth, *, traded=None, action=None, start=FIRST):
    """An account of log returns `growth` [T]."""
    n = len(growth)
    wealth = 1_000 * np.exp(np.concatenate(([0.0], np.cumsum(growth))))
    rng = np.random.default_rng(abs(int(1e9 * np.sum(growth))))
    return schema.Path(
        days=list(range(start, start + n + 1)), wealth=wealth.tolist(), mark=wealth.tolist(), exposure=[1.0] * (n + 1),
        action=rng.integers(0, 3, n).tolist() if action is None else action,
        traded=rng.normal(0, 100, n).tolist() if traded is None else traded, fees=[0.0] * n,
    )  # fmt: skip


def _cell(policy, test, *, account="A", seed=None, train_return=0.1, train_days=(FIRST - 500, FIRST - 1)):
    return schema.Cell(
        account=account, policy=policy, seed=seed, train_return=train_return, train_days=train_days, test=test, curve=[]
    )


def _noise(seed, n=250, mean=0.0, volatility=0.01):
    return np.random.default_rng(seed).normal(mean, volatility, n)


ROLES = {"learner": "candidate", "hold": "benchmark", "cash": "baseline"}


def _book(learned, hold=None, roles=ROLES, more=()):
    """A learner with one cell for each of `learned`, the benchmark and cash, on account A."""
    hold = _path(_noise(99)) if hold is None else hold
    cells = [*learned, _cell("hold", hold), _cell("cash", _path(np.zeros(250), traded=[0.0] * 250)), *more]
    return Book(cells, list(dict.fromkeys(cell.account for cell in cells)), roles)


def _degenerate(learned, space="discrete", hold=None):
    book = _book(learned, hold)
    return alarms.degenerate(book.cells, book.roles, "hold", space)


def test_a_policy_that_decides_something_rings_nothing():
    assert _degenerate([_cell("learner", _path(_noise(s)), seed=s) for s in range(3)]) == []


@pytest.mark.parametrize(
    ("kind", "test", "space"),
    [
        ("never traded", _path(_noise(1) * 0, traded=[0.0] * 250), "discrete"),
        ("copy", _path(_noise(99)), "discrete"),
        ("copy", _path(0.5 * _noise(99) + _noise(2) / 200, traded=[1.0] * 250), "discrete"),
        ("constant", _path(_noise(1), action=[1] * 250, traded=[5.0] * 250), "discrete"),
        ("constant", _path(_noise(1), traded=[0.0, 900.0] + [0.0] * 248), "discrete"),
        ("constant", _path(_noise(1), action=[[0.2, 0.8]] * 250, traded=[1.0] * 250), "simplex"),
        ("saturated", _path(_noise(1), action=[[1.0, -1.0], [-1.0, 1.0]] * 125, traded=[1.0] * 250), "box"),
        ("saturated", _path(_noise(1), action=[[0.0, 1.0], [1.0, 0.0]] * 125, traded=[1.0] * 250), "simplex"),
    ],
)
def test_a_learner_that_learned_nothing_is_caught(kind, test, space):
    weights = None if space == "discrete" else np.random.default_rng(0).dirichlet((5, 5), 250).tolist()
    sound = _cell("learner", _path(_noise(7), action=weights), seed=0)
    (alarm,) = _degenerate([sound, _cell("learner", test, seed=1)], space)
    assert alarm.kind == kind and alarm.text.startswith("learner ") and "in 1 of 2 tests (A seed 1)" in alarm.text


def test_a_rule_may_be_constant_on_purpose_but_not_idle():
    steady = _path(_noise(1), action=[[0.5, 0.5]] * 250, traded=[1.0] * 250)
    assert _degenerate([_cell("learner", steady)], "simplex") == []
    assert _kinds(_degenerate([_cell("learner", _path(_noise(1), traded=[0.0] * 250))])) == ["never traded"]


def test_inner_weights_are_not_saturated():
    weights = np.random.default_rng(0).dirichlet((5, 5, 5), 250).tolist()
    assert _degenerate([_cell("learner", _path(_noise(1), action=weights), seed=0)], "simplex") == []


def test_an_alarm_names_a_few_places_and_counts_the_rest():
    idle = _path(_noise(1), traded=[0.0] * 250)
    (alarm,) = _degenerate([_cell("learner", idle, seed=s) for s in range(10)])
    assert alarm.text.endswith(
        "in 10 of 10 tests (A seed 0, A seed 1, A seed 2, A seed 3, A seed 4, A seed 5 and 4 more)."
    )


def test_dates_that_meet_are_caught_as_asked_for_and_as_used():
    clean, bad = Split(("2005-01-01", "2009-12-31"), ("2010-01-01", "2012-12-31")), ("2005-01-01", "2010-03-01")
    fair, foul = (_cell("learner", _path(_noise(0)), seed=0, train_days=(0, last)) for last in (FIRST - 1, FIRST + 5))
    assert alarms.overlap([clean], [fair]) == []
    (asked,) = alarms.overlap([clean, clean._replace(train=bad)], [fair])
    assert "share 2010-01-01 to 2010-03-01" in asked.text
    (used,) = alarms.overlap([clean], [fair, foul, foul])
    assert "learner learned 1970-01-01 to 2010-01-06" in used.text and "1 more" in used.text
    # A gap around the test is what walk-forward and k-fold splits are made of.
    assert alarms.overlap([clean._replace(train=bad, without=(("2009-12-01", "2010-03-01"),))], [fair]) == []


def test_training_that_goes_on_after_its_test_is_told():
    later = Split(("2005-01-01", "2013-12-31"), ("2010-01-01", "2010-12-31"), None, (("2009-12-01", "2011-02-01"),))
    (alarm,) = alarms.learned_later([later, later._replace(train=("2005-01-01", "2009-11-30"))])
    assert alarm.kind == "learned later" and "In 1 of 2 splits" in alarm.text and "2013-12-31" in alarm.text


def test_a_benchmark_that_did_nothing_and_a_yardstick_of_other_days():
    roles = {**ROLES, "index": "yardstick"}
    index = _cell("index", _path(_noise(3), start=FIRST - 10))
    book = _book([_cell("learner", _path(_noise(1)), seed=0)], more=[index], roles=roles)
    assert alarms.silent(book) == []
    assert _kinds(alarms.other_days(book)) == ["other days"]
    dead = _book([_cell("learner", _path(_noise(1)), seed=0)], hold=_path(np.zeros(250), traded=[0.0] * 250))
    assert _kinds(alarms.silent(dead)) == ["silent benchmark"] and alarms.other_days(dead) == []


@pytest.mark.parametrize(("past", "edge", "rings"), [(3.0, -0.001, True), (3.0, 0.002, False), (1.0, -0.001, False)])
def test_a_past_learned_by_heart(past, edge, rings):
    hold = _noise(99)
    book = _book([_cell("learner", _path(hold + edge), seed=s, train_return=past) for s in (0, 1)], hold=_path(hold))
    assert _kinds(alarms.memorised(_result(book))) == ["memorised"] * rings


# --- what is claimed -------------------------------------------------------------------------------------------------


def _judgement(word="evidence for", difference=0.1):
    return schema.Judgement(
        candidate="learner", benchmark="hold", word=word, difference=difference, low=0.0, high=0.2, p_value=0.01, level=0.05,
        trials=1, block=5.0, reason="",
    )  # fmt: skip


def _evidence(conditions=(), months=None):
    """Evidence in which only these matter; conditions are (name, difference)."""
    return {
        "learner": schema.Evidence.model_construct(
            candidate="learner", months=months or {},
            conditions=[
                schema.Condition(kind="costs", name=name, value=0, bars=250, difference=d, low=d - 1, high=d + 1)
                for name, d in conditions
            ],
        )
    }  # fmt: skip


def _result(book):
    return schema.Result.model_construct(
        benchmark="hold", rows=book.rows(), judgements=[_judgement("no evidence")], evidence=[]
    )


def test_an_edge_that_dies_of_costs_or_delay_is_fragile():
    survives = [
        ("costs x 0", 0.2),
        ("costs x 2", 0.01),
        ("costs x 5", -0.3),
        ("1 bar later", 0.02),
        ("2 bars later", -0.1),
    ]
    assert alarms.fragile(_judgement(), _evidence(survives)) == []
    dies = [("costs x 2", -0.01), ("1 bar later", -0.02)]
    (dear, late) = alarms.fragile(_judgement(), _evidence(dies))
    assert "+10.0% a year, turns into -1.0% with costs x 2" in dear.text and "1 bar later" in late.text
    assert alarms.fragile(_judgement("no evidence"), _evidence(dies)) == []  # nobody claims anything


def test_an_edge_of_one_month_or_one_account_is_concentrated():
    even = {f"2010-{m:02d}": 0.01 for m in range(1, 9)}
    one = {**dict.fromkeys(even, -0.001), "2010-03": 0.2}
    book = _book([_cell("learner", _path(_noise(1, mean=0.01)), seed=0)])
    assert alarms.concentrated(_judgement(), _evidence(months=even), book) == []
    (alarm,) = alarms.concentrated(_judgement(), _evidence(months=one), book)
    assert alarm.kind == "concentrated" and "Without 2010-03, its best month" in alarm.text
    assert alarms.concentrated(_judgement("no evidence"), _evidence(months=one), book) == []
    both = [
        _cell("learner", _path(_noise(1, mean=edge)), account=a, seed=0) for a, edge in (("A", 0.01), ("B", -0.001))
    ]
    flat = [_cell(policy, _path(_noise(1)), account="B") for policy in ("hold", "cash")]
    lucky = _book(both, hold=_path(_noise(1)), more=flat)
    (alarm,) = alarms.concentrated(_judgement(), _evidence(months=even), lucky)
    assert "Without A, its best account" in alarm.text


def _lottery(edges, word="no evidence"):
    hold = _noise(99)
    learned = [
        _cell("learner", _path(hold + _noise(s, volatility=0.003, mean=edge)), seed=s) for s, edge in enumerate(edges)
    ]
    return alarms.seed_lottery(_judgement(word), _book(learned, hold=_path(hold)))


def test_one_lucky_seed_is_a_lottery():
    (alarm,) = _lottery([0.003, -0.002, -0.002])
    assert alarm.kind == "seed lottery" and "best seed alone" in alarm.text
    assert _lottery([0.003, -0.002, -0.002], "evidence for") == []
    assert _lottery([0.003]) == []
    assert _lottery([0.003, 0.003, 0.002]) == []  # no seed lost


def test_seeds_without_skill_are_seldom_a_lottery():
    rng = np.random.default_rng(0)
    rings = sum(bool(_lottery_of_noise(rng)) for _ in range(20))
    assert rings <= 4  # 2.5 % of 20 and five standard deviations


def _lottery_of_noise(rng):
    hold = rng.normal(0, 0.01, 250)
    learned = [_cell("learner", _path(hold + rng.normal(0, 0.003, 250)), seed=s) for s in range(5)]
    return alarms.seed_lottery(_judgement("no evidence"), _book(learned, hold=_path(hold)))


# --- all together ----------------------------------------------------------------------------------------------------


def test_all_alarms_of_a_clean_study_are_none_and_every_kind_has_a_meaning():
    panel = _market()
    cells = [_cell("learner", _path(_noise(s)), seed=s) for s in range(2)]
    book = _book(cells)
    assert alarms.ring(_env(panel), [_cut(panel)], book.cells, book, _result(book)) == []
    free = replace(_env(panel), costs=costs.Costs(), execution="close")
    found = alarms.ring(free, [_cut(panel)], book.cells, book, _result(book))
    assert _kinds(found) == ["unobservable fill", "free trading"]  # told once, by the problem itself
    assert set(alarms.FAULTS.values()) | set(_kinds(found)) < set(alarms.KINDS)


def test_a_row_is_the_mean_over_seeds_never_the_best():
    book = _book([_cell("learner", _path(_noise(s)), seed=s) for s in range(4)])
    each = [book.figures("A", "learner", Draw(s))["rate_of_return"] for s in range(4)]
    (row,) = [row for row in book.rows() if row.account == "total" and row.policy == "learner"]
    assert row.figures["rate_of_return"].mean == pytest.approx(np.mean(each)) != pytest.approx(max(each))
    assert row.figures["rate_of_return"].n == 4
