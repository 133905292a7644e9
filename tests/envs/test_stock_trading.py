"""Single-stock trading: laws, the slow twin, hand-computed accounts, and blindness of the split."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.data import BARS, Panel
from fiduciary.envs import StockTrading
from fiduciary.envs.stock_trading_twin import Twin
from fiduciary.evaluation import splits
from fiduciary.factors import SIM, Factor
from fiduciary.markets import costs, dynamics, venue

CLOSE = tuple(factor for factor in SIM if factor.name == "close")
HOLD, BUY, SELL = 0, 1, 2

any_costs = st.builds(
    costs.Costs,
    commission_bps=st.floats(0, 50),
    stamp_duty_bps=st.floats(0, 50),
    slippage_bps=st.floats(0, 50),
    minimum_fee=st.floats(0, 50),
)
any_venue = st.builds(
    venue.Venue,
    lot=st.sampled_from([0, 1, 100]),
    hold_days=st.integers(0, 5),
    price_limit=st.sampled_from([None, 0.05, 0.1]),
)


def _panel(opens, closes, days=None):
    opens, closes = np.array(opens, dtype=float), np.array(closes, dtype=float)
    dates = np.datetime64("2020-01-01") + (np.arange(len(opens)) if days is None else np.array(days))
    high, low = np.maximum(opens, closes), np.minimum(opens, closes)
    values = np.stack((opens, high, low, closes, np.ones_like(opens)), axis=-1)[:, None]
    return Panel(dates, ("X",), BARS, values, np.ones((len(opens), 1), dtype=bool))


def _live(env, actions, batch=1):
    state, steps = env.init(batch, torch.Generator()), []
    for action in actions:
        state, step = env.step(state, torch.as_tensor(action).expand(batch))
        steps.append(step)
    return state, steps


@settings(max_examples=40, deadline=None)
@given(any_costs, any_venue, st.sampled_from(["next_open", "next_close", "close"]), st.integers(0, 2**31))
def test_accounts_equal_the_slow_twin_and_money_is_conserved(c, v, execution, seed):
    walk = dynamics.random_walk(bars=60, volatility=0.05, rng=np.random.default_rng(seed))
    values = walk.values.copy()
    values[::7, :, 4] = 0  # some days without volume
    walk = replace(walk, values=values)
    env = StockTrading(walk, CLOSE, cash=50_000, costs=c, venue=v, execution=execution, window=2, cash_rate=0.05)
    batch = 4
    actions = torch.randint(0, 3, (env.spec.horizon, batch), generator=torch.Generator().manual_seed(seed))
    state, twins = env.init(batch, torch.Generator()), [Twin(env) for _ in range(batch)]
    for action in actions:
        before = env.wealth(state)
        state, step = env.step(state, action)
        gap = (env.wealth(state) - before - step.ledger.total()).abs() / before
        assert gap.max() <= 1e-9
        assert (step.ledger.fees <= 0).all() and (step.ledger.impact <= 0).all() and (state.cash >= -1e-6).all()
        for b, twin in enumerate(twins):
            reward = twin.step(int(action[b]))
            assert (twin.cash, twin.shares) == (float(state.cash[b]), float(state.shares[b]))
            assert reward == pytest.approx(float(step.reward[b]), abs=1e-12)


def test_an_account_computed_by_hand():
    """Buy 100-share lots at the open of day 2, sell at the open of day 4: fees, duty, cash."""
    panel = _panel([10, 10, 11, 12, 13], [10, 10.5, 11.5, 12.5, 13])
    env = StockTrading(
        panel, CLOSE, cash=10_000, window=1, venue=venue.Venue(lot=100, hold_days=1), costs=costs.CHINA_A
    )
    state, steps = _live(env, [HOLD, BUY, SELL, HOLD])
    # 10,000 buys floor(10000 / (11 * 1.00025) / 100) = 9 lots at 11: 9,900 and a commission of 2.475.
    assert float(steps[1].traded) == 9_900
    assert float(steps[1].ledger.fees) == pytest.approx(-2.475)
    # 900 shares at 12 bring 10,800, less 2.70 commission and 10.80 duty.
    assert float(steps[2].traded) == -10_800
    assert float(steps[2].ledger.fees) == pytest.approx(-13.5)
    assert float(state.cash) == pytest.approx(10_000 - 9_900 - 2.475 + 10_800 - 13.5)


def test_execution_conventions_fill_at_their_price():
    panel = _panel([10, 11, 12, 13], [10.5, 11.5, 12.5, 13.5])
    fractions = venue.Venue(lot=0)
    env = StockTrading(
        panel, CLOSE, cash=100.0, window=1, venue=fractions, costs=costs.Costs(), dates=("2020-01-02", None)
    )
    shares = {}
    for execution in ("next_open", "next_close", "close"):
        state, _ = _live(replace(env, execution=execution), [BUY])
        shares[execution] = 100 / float(state.shares)
    assert shares == pytest.approx({"next_open": 12, "next_close": 12.5, "close": 11.5})


def test_locked_limits_leave_orders_unfilled():
    panel = _panel([10, 11.0, 10, 9.0, 9], [10, 11.0, 10, 9.0, 9])
    env = StockTrading(panel, CLOSE, cash=10_000, window=1, venue=venue.CHINA_A, costs=costs.Costs())
    _, steps = _live(env, [BUY])  # opens 10 % up: locked
    assert float(steps[0].traded) == 0
    state, steps = _live(env, [HOLD, BUY, SELL])  # bought at 10, then opens 10 % down: locked
    assert [float(step.traded) for step in steps] == [0, 10_000, 0]
    assert float(state.shares) == 1_000


def test_holding_days_are_kept_in_legal_and_in_step():
    panel = _panel([10.0] * 8, [10.0] * 8)
    env = StockTrading(panel, CLOSE, cash=1_000, window=1, venue=venue.Venue(hold_days=3), costs=costs.Costs())
    state, _ = _live(env, [BUY])
    legal = []
    for _ in range(4):
        legal.append(bool(env.observe(state).legal[0, SELL]))
        state, step = env.step(state, torch.tensor([SELL]))
        if legal[-1]:
            assert float(step.traded) == -1_000
            break
        assert float(step.traded) == 0
    assert legal == [False, False, True]


@pytest.mark.parametrize("hold_days", [0, 1, 3])
def test_sales_are_filled_the_stated_number_of_bars_after_their_purchase(walk, hold_days):
    for execution in ("next_open", "next_close", "close"):
        env = StockTrading(walk, CLOSE, venue=venue.Venue(lot=0, hold_days=hold_days), execution=execution, window=2)
        _, steps = _live(env, [BUY, SELL] * 20)
        fills = [(k, float(step.traded[0])) for k, step in enumerate(steps) if float(step.traded[0])]
        waits = [sold - bought for (bought, x), (sold, y) in itertools.pairwise(fills) if x > 0 > y]
        assert waits and min(waits) == max(1, hold_days)


def test_an_order_that_was_illegal_when_given_is_not_filled_by_a_cheaper_open():
    panel = _panel([10, 9.0, 9, 9], [10.0, 9, 9, 9])
    env = StockTrading(panel, CLOSE, cash=950, window=1, venue=venue.Venue(lot=100), costs=costs.Costs())
    state = env.init(1, torch.Generator())
    assert not env.observe(state).legal[0, BUY]
    assert float(env.step(state, torch.tensor([BUY]))[1].traded) == 0


def test_a_symbol_without_bars_in_the_dates_is_named(walk):
    mask, values = walk.mask.copy(), walk.values.copy()
    mask[100:, 1], values[100:, 1] = False, np.nan
    dates = walk.dates
    cut = splits.dates(train=(str(dates[30]), str(dates[99])), test=(str(dates[100]), str(dates[-1])))
    with pytest.raises(ConfigError, match=r"RW2 must have bars from .*leave the symbol out"):
        _ = StockTrading(replace(walk, mask=mask, values=values), window=5).folds(cut)["RW2"].test.spec


def test_a_training_range_of_a_few_bars_is_refused(env):
    dates = env.panel.dates
    cut = splits.dates(train=(str(dates[30]), str(dates[40])), test=(str(dates[100]), str(dates[-1])))
    with pytest.raises(ConfigError, match="RW1 must have at least 30 bars to learn from, got 11"):
        env.folds(cut)


def test_idle_cash_earns_by_the_calendar_day():
    panel = _panel([10.0] * 3, [10.0] * 3, days=[0, 1, 366])
    state, steps = _live(StockTrading(panel, CLOSE, cash=1_000, window=1, cash_rate=0.05), [HOLD, HOLD])
    assert float(steps[1].ledger.carry) == pytest.approx(1_000 * 1.05 ** (1 / 365) * 0.05)
    assert float(state.cash) == pytest.approx(1_000 * 1.05 ** (366 / 365))


def test_reward_is_the_normalised_incremental_utility():
    panel = _panel([10.0, 10, 10, 10], [10.0, 11, 10, 12])
    env = StockTrading(
        panel, CLOSE, cash=1e6, window=1, venue=venue.Venue(lot=0), costs=costs.Costs(), utility=(0.1, 2.0)
    )
    _, steps = _live(env, [BUY, HOLD, HOLD])
    r = np.array([0.1, 10 / 11 - 1, 0.2])
    rbar = np.cumsum(r) / np.arange(1, 4)
    expected = (r - 0.5 * 0.2 * (r - rbar) ** 2 - 0.1) / 2.0
    assert [float(step.reward) for step in steps] == pytest.approx(expected.tolist())


def test_an_episode_ends_as_a_truncation_and_stands_still_after():
    env = StockTrading(_panel([10.0] * 4, [10, 11, 12, 13.0]), CLOSE, cash=1_000, window=1)
    _, steps = _live(env, [BUY, HOLD, HOLD, SELL, SELL])
    assert [bool(step.last) for step in steps] == [False, False, True, True, True]
    assert all(float(step.discount) == 1 for step in steps)
    assert float(steps[-1].ledger.total()) == 0 and float(steps[-1].traded) == 0


def test_suspended_days_are_left_out_never_filled(walk):
    mask = walk.mask.copy()
    mask[80:90, 0] = False
    values = walk.values.copy()
    values[80:90, 0] = np.nan
    env = StockTrading(replace(walk, mask=mask, values=values).select(["RW1"]), window=5)
    days = []
    state, _ = env.init(1, torch.Generator()), None
    for _ in range(env.spec.horizon):
        assert env.observe(state).world.window().isfinite().all()
        days.append(int(env.when(state)))
        state, _step = env.step(state, torch.tensor([HOLD]))
    suspended = walk.dates[80:90].astype("datetime64[D]").astype(int)
    assert not set(days) & set(suspended.tolist())


def test_a_bar_without_volume_fills_no_order():
    panel = _panel([10.0] * 5, [10.0] * 5)
    values = panel.values.copy()
    values[1, 0, 4] = 0  # the day on which the first order would be filled
    env = StockTrading(replace(panel, values=values), CLOSE, cash=1_000, window=1, costs=costs.Costs(), venue=venue.US)
    _, steps = _live(env, [BUY, BUY, HOLD])
    assert [float(step.traded) for step in steps] == [0, 1_000, 0]


def test_the_training_half_cannot_see_the_test_half():
    """Redraw everything after the training dates: scaler, normalisation and every training observation stay the same."""
    walk = dynamics.random_walk(bars=400, rng=np.random.default_rng(1))
    cut = splits.dates(
        train=(str(walk.dates[30]), str(walk.dates[250])), test=(str(walk.dates[251]), str(walk.dates[-1]))
    )
    values = walk.values.copy()
    values[251:] *= np.random.default_rng(2).lognormal(size=values[251:].shape)
    one, other = (StockTrading(p, window=5).folds(cut)["RW1"] for p in (walk, replace(walk, values=values)))
    assert one.train.utility == other.train.utility
    assert np.array_equal(one.train.scaler.mean, other.train.scaler.mean)
    assert np.array_equal(one.train.scaler.std, other.train.scaler.std)
    assert torch.equal(one.train.world.features[:251].nan_to_num(), other.train.world.features[:251].nan_to_num())
    assert torch.equal(one.train.world.last, other.train.world.last) and int(one.train.world.last) == 250
    assert not torch.equal(one.test.world.features[251:], other.test.world.features[251:])


def test_folds_split_capital_and_dates(env):
    dates = env.panel.dates
    cut = splits.dates(train=(str(dates[30]), str(dates[99])), test=(str(dates[100]), str(dates[-1])))
    folds = env.folds(cut)
    assert list(folds) == ["RW1", "RW2"]
    for fold in folds.values():
        assert fold.train.cash == fold.test.cash == 100_000
        assert fold.train.starts == "random" and fold.test.starts == fold.hindsight.starts == "first"
        assert str(dates[int(fold.test.world.first)]) == str(dates[100])
        seen = fold.train.world.features[30:100]
        assert seen.mean(0).abs().max() < 1e-5 and (seen.std(0, unbiased=False) - 1).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 500}, "`window` and look-backs must leave"),
        ({"dates": ("1990", "1991")}, "RW1 must have bars from 1990 to 1991"),
        ({"execution": "yesterday"}, "`execution` must be one of next_open"),
        ({"cash": -1.0}, "`cash` must be positive"),
        ({"cash_rate": -1.5}, "`cash_rate` must be a number above -1"),
        ({"cash_rate": float("nan")}, "`cash_rate` must be a number above -1"),
        ({"window": 0}, "`window` must be positive"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(env, change, message):
    with pytest.raises(ConfigError, match=message):
        _ = replace(env, **change).spec


def test_a_factor_that_looks_ahead_breaks_the_law(walk):
    from fiduciary.core.checks import check_env
    from fiduciary.core.errors import ContractError

    leak = Factor("tomorrow", 1, _tomorrow)
    with pytest.raises(ContractError, match="must not move when everything later is redrawn"):
        check_env(StockTrading(walk, (leak,), window=2), batch=2, steps=40)


def _tomorrow(bars):
    return np.append(bars["close"][1:], bars["close"][-1])
