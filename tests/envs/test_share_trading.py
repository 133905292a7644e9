"""Many stocks in shares: laws for every option, the slow twin, accounts by hand, and invariances."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.checks import check_env
from fiduciary.core.errors import ConfigError
from fiduciary.data import BARS, Panel
from fiduciary.envs import RiskOff, ShareTrading, Shorting
from fiduciary.envs.share_trading import WORST
from fiduciary.envs.share_trading_twin import Twin
from fiduciary.evaluation import splits
from fiduciary.factors import SIM
from fiduciary.markets import costs, dynamics, venue
from fiduciary.markets.turbulence import turbulence

CLOSE = tuple(factor for factor in SIM if factor.name == "close")
FREE = costs.Costs()

any_costs = st.builds(
    costs.Costs,
    commission_bps=st.floats(0, 50),
    stamp_duty_bps=st.floats(0, 50),
    slippage_bps=st.floats(0, 50),
    minimum_fee=st.sampled_from([0.0, 0.0, 5.0]),
)
any_venue = st.builds(venue.Venue, lot=st.sampled_from([0, 1, 10]), price_limit=st.sampled_from([None, 0.05]))
any_shorting = st.none() | st.builds(Shorting, borrow_rate=st.floats(0, 0.5), limit=st.floats(0, 1))


def _ragged(symbols=4, bars=60, seed=0):
    """Random walks with a suspension, a late listing, a delisting and days without volume."""
    walk = dynamics.random_walk(bars=bars, symbols=symbols, volatility=0.05, rng=np.random.default_rng(seed))
    values, mask = walk.values.copy(), walk.mask.copy()
    mask[20:26, 1], mask[:10, 2], mask[45:, 3] = False, False, False
    values[~mask] = np.nan
    values[::7, 0, 4] = 0
    return replace(walk, values=values, mask=mask)


def _flat(closes, opens=None, days=None):
    """[T, N] closes, one volume a day."""
    closes = np.array(closes, dtype=float)
    opens = closes if opens is None else np.array(opens, dtype=float)
    dates = np.datetime64("2020-01-01") + (np.arange(len(closes)) if days is None else np.array(days))
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    values = np.stack((opens, high, low, closes, np.ones_like(closes)), axis=-1)
    symbols = tuple("ABCDEFGH"[: closes.shape[1]])
    return Panel(dates, symbols, BARS, values, np.ones(closes.shape, dtype=bool))


def _live(env, actions):
    state, steps = env.init(1, torch.Generator()), []
    for action in actions:
        state, step = env.step(state, torch.tensor([action], dtype=torch.float64))
        steps.append(step)
    return state, steps


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution", ["next_open", "next_close", "close"])
@pytest.mark.parametrize("priority", ["prorata", "size"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shorting": Shorting(0.1, 1.0), "reward": "log"},
        {"risk_off": RiskOff(6.0, lookback=10), "costs": costs.Costs(5, 10, 5, minimum_fee=20)},
        {"shorting": Shorting(), "risk_off": RiskOff(1.0), "venue": venue.Venue(lot=10, price_limit=0.05)},
    ],
    ids=["plain", "short-log", "turbulence-minimum", "short-index-limit"],
)
def test_laws_hold_for_every_option(execution, priority, options):
    panel = _ragged()
    if "risk_off" in options and options["risk_off"].threshold == 1.0:
        level = float(np.nanmedian(panel["close"][:, 0]))
        options = {**options, "risk_off": RiskOff(level, index=panel.select(panel.symbols[:1]))}
    env = ShareTrading(
        panel,
        CLOSE,
        cash=20_000,
        execution=execution,
        priority=priority,
        window=2,
        starts="random",
        cash_rate=0.03,
        **options,
    )
    laws = check_env(env, batch=3, steps=25, blind=4)
    assert laws[1].worst < 1e-12


@settings(max_examples=25)
@given(
    any_costs, any_venue, any_shorting, st.sampled_from(["next_open", "next_close", "close"]),
    st.sampled_from(["prorata", "size"]), st.sampled_from(["wealth", "log"]),
    st.sampled_from([None, 3.0, "index"]), st.integers(0, 2**31),
)  # fmt: skip
def test_accounts_equal_the_slow_twin(c, v, shorting, execution, priority, reward, off, seed):  # noqa: PLR0917
    panel = _ragged(seed=seed)
    if off == "index":
        index = panel.select(panel.symbols[:1])
        risk_off = RiskOff(
            float(index["close"][30, 0]), index=replace(index, dates=index.dates - np.timedelta64(1, "D"))
        )
    else:
        risk_off = None if off is None else RiskOff(off, lookback=12)
    if priority == "size" and not v.lot:
        v = replace(v, lot=1)
    env = ShareTrading(
        panel, CLOSE, cash=15_000, costs=c, venue=v, execution=execution, priority=priority, reward=reward,
        shorting=shorting, risk_off=risk_off, window=2, cash_rate=0.05,
    )  # fmt: skip
    batch = 3
    # Drawn from a wider box and cut to the right one, so that its corners occur.
    actions = torch.rand(env.spec.horizon, batch, 4, generator=torch.Generator().manual_seed(seed)).double() * 2.4 - 1.2
    actions = actions.clamp(-1, 1)
    state, twins = env.init(batch, torch.Generator()), [Twin(env) for _ in range(batch)]
    for action in actions:
        before = env.wealth(state)
        state, step = env.step(state, action)
        gap = (env.wealth(state) - before - step.ledger.total()).abs() / before.abs().clamp(min=1)
        assert gap.max() <= 1e-9
        assert (step.ledger.fees <= 0).all() and (step.ledger.impact <= 0).all()
        for b, twin in enumerate(twins):
            if twin.ruined:
                continue
            earned = twin.step(action[b].tolist())
            assert twin.shares == pytest.approx(state.shares[b].tolist(), abs=0 if v.lot else 1e-7)
            assert twin.cash == pytest.approx(float(state.cash[b]), abs=1e-6)
            assert twin.wealth == pytest.approx(float(env.wealth(state)[b]), abs=1e-6)
            assert earned == pytest.approx(float(step.reward[b]), abs=1e-9)
            assert twin.ruined == (float(step.discount[b]) == 0)


@settings(max_examples=20)
@given(st.permutations(range(5)), st.integers(0, 2**31), any_shorting)
def test_prorata_does_not_depend_on_the_order_of_the_symbols(order, seed, shorting):
    walk = dynamics.random_walk(bars=40, symbols=5, volatility=0.05, rng=np.random.default_rng(seed))
    env = ShareTrading(walk, CLOSE, cash=10_000, shorting=shorting)
    other = replace(env, panel=walk.select([walk.symbols[n] for n in order]))
    actions = torch.rand(env.spec.horizon, 1, 5, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    one, two = env.init(1, torch.Generator()), other.init(1, torch.Generator())
    for action in actions:
        (one, _), (two, _) = env.step(one, action), other.step(two, action[:, list(order)])
        assert torch.equal(one.shares[:, list(order)], two.shares)
        assert float(one.cash) == pytest.approx(float(two.cash), abs=1e-6)


def test_rewards_of_an_episode_add_up_to_profit_or_growth():
    actions = torch.rand(40, 1, 4, generator=torch.Generator().manual_seed(1)) * 2 - 1
    for reward in ("wealth", "log"):
        env = ShareTrading(_ragged(), CLOSE, cash=20_000, reward=reward)
        state, total = env.init(1, torch.Generator()), 0.0
        for action in actions:
            state, step = env.step(state, action)
            total += float(step.reward)
        grown = float(env.wealth(state)) / 20_000
        assert total == pytest.approx(grown - 1 if reward == "wealth" else math.log(grown), abs=1e-12)


# --- accounts by hand ------------------------------------------------------------------------------------------------


def test_a_purchase_and_a_sale_with_fees():
    panel = _flat([[10.0, 50], [11, 50], [12, 50], [12, 50]], opens=[[10.0, 50], [10.5, 50], [11.5, 50], [12, 50]])
    c = costs.Costs(commission_bps=10, stamp_duty_bps=20, slippage_bps=5)
    state, steps = _live(ShareTrading(panel, CLOSE, cash=2_000, costs=c, max_shares=100), [[0.579, 0], [-1, 0]])
    # trunc(57.9) = 57 shares at the open of 10.5 are 598.50; 57 at 11.5 bring 655.50.
    assert steps[0].traded.tolist() == [[598.5, 0]] and steps[1].traded.tolist() == [[-655.5, 0]]
    assert float(steps[0].ledger.fees) == pytest.approx(-0.5985)
    assert float(steps[1].ledger.fees) == pytest.approx(-0.6555 - 1.311)
    assert float(steps[0].ledger.impact + steps[1].ledger.impact) == pytest.approx(-(598.5 + 655.5) * 5e-4)
    assert float(state.cash) == pytest.approx(2_000 - 598.5 * 1.0015 + 655.5 * (1 - 0.0035))
    assert float(steps[0].ledger.pnl) == pytest.approx(57 * 0.5)


@pytest.mark.parametrize(("execution", "price"), [("next_open", 12), ("next_close", 12.5), ("close", 11.5)])
def test_execution_conventions_fill_at_their_price(execution, price):
    panel = _flat([[10.5], [11.5], [12.5], [13.5]], opens=[[10], [11], [12], [13]])
    env = ShareTrading(panel, CLOSE, costs=FREE, execution=execution, dates=("2020-01-02", None))
    _, steps = _live(env, [[1.0]])
    assert float(steps[0].traded) == 100 * price


def test_scarce_cash_is_shared_or_goes_to_the_largest_order():
    panel = _flat([[10.0, 20, 30]] * 4)
    env = ShareTrading(panel, CLOSE, cash=1_000, costs=FREE)
    action = [0.3, 0.6, 0.1]  # 30 x 10 + 60 x 20 + 10 x 30 = 1,800
    shared, _ = _live(env, [action])
    assert shared.shares.tolist() == [[16, 33, 5]]  # floor of 30, 60, 10 times 1000 / 1800
    first, _ = _live(replace(env, priority="size"), [action])
    assert first.shares.tolist() == [[0, 50, 0]]
    ties, _ = _live(replace(env, priority="size"), [[0.4, 0.4, 0.4]])
    assert ties.shares.tolist() == [[40, 30, 0]]


def test_sales_of_the_same_step_pay_for_purchases():
    env = ShareTrading(_flat([[10.0, 10]] * 4), CLOSE, cash=1_000, costs=FREE)
    state, _ = _live(env, [[1.0, 0], [-0.5, 1.0]])
    assert state.shares.tolist() == [[50, 50]] and float(state.cash) == 0


def test_a_suspended_stock_keeps_its_price_and_is_not_traded():
    panel = _flat([[10.0, 10]] * 6)
    values, mask = panel.values.copy(), panel.mask.copy()
    mask[2:4, 0], values[2:4, 0] = False, np.nan
    env = ShareTrading(replace(panel, values=values, mask=mask), CLOSE, cash=10_000, costs=FREE)
    state, _ = _live(env, [[1.0, 0], [-1.0, 0]])
    assert state.shares.tolist() == [[100, 0]] and float(env.wealth(state)) == 10_000
    assert env.observe(state).legal.tolist() == [[False, True]]
    assert env.observe(state).account.tolist()[0] == pytest.approx([0.1, 0.1, 0.0])
    state, step = env.step(state, torch.tensor([[-1.0, 0]]))
    assert float(step.traded.abs().sum()) == 0
    state, step = env.step(state, torch.tensor([[-1.0, 0]]))  # back tomorrow
    assert step.traded.tolist() == [[-1_000, 0]]


def test_borrowed_shares_cost_interest_and_stay_under_the_limit():
    panel = _flat([[10.0, 10]] * 3, days=[0, 1, 366])
    env = ShareTrading(panel, CLOSE, cash=1_000, costs=FREE, shorting=Shorting(borrow_rate=0.08, limit=0.5))
    state, steps = _live(env, [[-1.0, 0], [0, 0]])
    assert state.shares.tolist() == [[-50, 0]]  # 500 of 1,000, not the 100 shares that were asked for
    assert float(steps[0].ledger.carry) == 0 and float(steps[1].ledger.carry) == pytest.approx(-500 * 0.08)
    assert float(state.cash) == pytest.approx(1_000 + 500 - 40)
    assert env.observe(state).account[0, 0] == pytest.approx(500 / 960)


def test_a_long_only_account_sells_no_more_than_it_holds():
    state, _ = _live(ShareTrading(_flat([[10.0]] * 4), CLOSE, costs=FREE), [[0.3], [-1.0], [-1.0]])
    assert state.shares.tolist() == [[0]] and float(state.cash) == 1e6


def test_ruin_terminates_and_the_account_stands_still():
    panel = _flat([[10.0], [10], [40], [80], [5]])
    env = ShareTrading(panel, CLOSE, cash=1_000, costs=FREE, shorting=Shorting(0.0, 1.0))
    state, steps = _live(env, [[-1.0], [0], [0], [1.0]])
    assert [float(step.discount) for step in steps] == [1, 0, 0, 0]
    assert [bool(step.last) for step in steps] == [False, True, True, True]
    assert float(env.wealth(state)) == 1_000 - 100 * 30 and float(steps[-1].ledger.total()) == 0
    assert env.observe(state).account.tolist() == [[0, 0]]
    _, steps = _live(replace(env, reward="log"), [[-1.0], [0], [0]])
    assert [float(step.reward) for step in steps] == pytest.approx([0, math.log(WORST), 0])


def test_an_end_of_data_is_a_truncation():
    _, steps = _live(ShareTrading(_flat([[10.0], [11], [12]]), CLOSE), [[1.0], [1.0], [1.0]])
    assert [bool(step.last) for step in steps] == [False, True, True]
    assert all(float(step.discount) == 1 for step in steps) and float(steps[-1].traded) == 0


def test_risk_off_sells_everything_and_refuses_purchases():
    panel = _flat([[10.0, 20]] * 7)
    level = np.array([[10.0], [10], [30], [30], [10], [10], [10]])
    index = replace(_flat(level), symbols=("VIX",))
    for shorting in (None, Shorting()):
        env = ShareTrading(
            panel, CLOSE, cash=10_000, costs=FREE, risk_off=RiskOff(30.0, index=index), shorting=shorting
        )
        state, _ = _live(env, [[1.0, 0.37], [0, 1.0 if shorting is None else -1.0]])
        assert state.shares[0, 0] == 100
        state, step = env.step(state, torch.tensor([[1.0, 1.0]]))
        assert state.shares.tolist() == [[0, 0]]
        state, step = env.step(state, torch.tensor([[1.0, 1.0]]))
        assert float(step.traded.abs().sum()) == 0
        state, step = env.step(state, torch.tensor([[1.0, 1.0]]))
        assert state.shares.tolist() == [[100, 100]]


def test_turbulence_is_the_mahalanobis_distance_from_the_days_before():
    panel = dynamics.random_walk(bars=60, symbols=3, volatility=0.02, rng=np.random.default_rng(3))
    seen = turbulence(panel, lookback=30)
    y = np.log(panel["close"])
    y = np.expm1(np.diff(y, axis=0))
    for t in (31, 45, 59):
        past = y[t - 31 : t - 1]
        gap = y[t - 1] - past.mean(0)
        spread = sum(np.outer(row, row) for row in past - past.mean(0)) / 29
        assert seen[t] == pytest.approx(gap @ np.linalg.solve(spread, gap))
    assert np.isnan(seen[:31]).all() and np.isfinite(seen[31:]).all()
    values = panel.values.copy()
    values[50:] *= 2
    assert np.array_equal(turbulence(replace(panel, values=values), lookback=30)[:50], seen[:50], equal_nan=True)


# --- splitting and settings ------------------------------------------------------------------------------------------


def test_one_fold_whose_scaler_saw_the_training_dates_alone():
    walk = dynamics.random_walk(bars=200, symbols=3, rng=np.random.default_rng(1))
    dates = [str(date) for date in walk.dates]
    cut = splits.dates(train=(dates[30], dates[120]), test=(dates[121], dates[-1]))
    values = walk.values.copy()
    values[121:] *= np.random.default_rng(2).lognormal(size=values[121:].shape)
    (one,), (other,) = (ShareTrading(p, window=5).folds(cut).values() for p in (walk, replace(walk, values=values)))
    assert np.array_equal(one.train.scaler.mean, other.train.scaler.mean)
    assert torch.equal(one.train.world.bars[:121], other.train.world.bars[:121])
    assert not torch.equal(one.test.world.bars[121:], other.test.world.bars[121:])
    assert one.train.starts == "random" and one.hindsight.starts == one.test.starts == "first"
    assert one.valid is None and str(walk.dates[int(one.test.world.first)]) == dates[121]
    seen = one.train.world.bars[30:121].flatten(0, 1)
    assert seen.mean(0).abs().max() < 1e-4 and (seen.std(0, unbiased=False) - 1).abs().max() < 1e-3


def test_float32_actions_order_what_float32_says():
    """0.29 x 100 is 29 in float32 and 28.999... in float64: an order follows the number type of its policy."""
    env = ShareTrading(_flat([[10.0]] * 3), CLOSE)
    orders = [
        env.step(env.init(1, torch.Generator()), torch.tensor([[0.29]], dtype=kind))[0]
        for kind in (torch.float32, torch.float64)
    ]
    assert [float(state.shares) for state in orders] == [29, 28]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"execution": "yesterday"}, "`execution` must be one of next_open"),
        ({"priority": "first"}, "`priority` must be one of prorata, size"),
        ({"reward": "sharpe"}, "`reward` must be one of wealth, log"),
        ({"cash": 0.0}, "`cash` must be positive"),
        ({"cash_rate": -2.0}, "`cash_rate` must be a number above -1"),
        ({"window": 500}, "`window` and look-backs must leave"),
        ({"dates": ("1990", "1991")}, "there must be bars between 1990 and 1991"),
        ({"venue": venue.Venue(hold_days=2)}, "`venue.hold_days` must be 0 or 1"),
        ({"venue": venue.Venue(lot=0), "priority": "size"}, "must have whole lots"),
        ({"venue": venue.Venue(lot=1_000)}, "`max_shares` must be a lot at least"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        _ = replace(ShareTrading(_ragged(), CLOSE), **change).spec


def test_wrong_rules_are_refused():
    with pytest.raises(ConfigError, match="`limit` must be a number"):
        Shorting(limit=-1)
    with pytest.raises(ConfigError, match="`threshold` must be a number"):
        RiskOff(math.nan)
    with pytest.raises(ConfigError, match="`index` must be a panel of one symbol"):
        RiskOff(30.0, index=_ragged())
    with pytest.raises(ConfigError, match="`lookback` must be at least 2"):
        turbulence(_ragged(), lookback=1)
