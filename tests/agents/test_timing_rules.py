"""Timing rules: laws on real environments, TA-Lib and plain loops beside them, luck at the pace it promises."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import talib
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fiduciary.agents.rules import quoted
from fiduciary.agents.timing_rules import (
    MACD,
    MEMORY,
    RSI,
    TIMING,
    Bollinger,
    DualThrust,
    Momentum,
    MovingAverage,
    RandomTrades,
)
from fiduciary.core.checks import check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, View
from fiduciary.data.panel import BARS
from fiduciary.envs import StockTrading
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue

# Look-backs that fill within a short walk.
QUICK = {
    **TIMING, "momentum": Momentum(40, 5), "moving-average": MovingAverage(5, 20), "rsi": RSI(5, 40.0, 60.0),
    "macd": MACD(3, 6, 4), "luck": RandomTrades(0.2, 0.1),
}  # fmt: skip


def _bars(length, seed, volatility=0.02):
    """[L, 5] prices and volumes of a random walk."""
    panel = dynamics.random_walk(bars=length, volatility=volatility, rng=np.random.default_rng(seed))
    return panel.values[:, 0].copy()


def _obs(bars, legal=(True, True, True)):
    """What is seen at the last of `bars` [L, P] or [B, L, P]."""
    quotes = torch.from_numpy(bars[None] if bars.ndim == 2 else bars)
    batch, length, fields = quotes.shape
    place = torch.arange(1, batch + 1) * length - 1
    since = torch.arange(batch) * length
    view = View(torch.zeros(batch * length, 1), place, 1, quotes.reshape(-1, fields), since)
    return Obs(view, torch.zeros(batch, 1), torch.tensor([legal] * batch))


def _act(rule, bars, **options):
    return rule.act(_obs(bars, **options), None, None)[0].tolist()


def _env(seed=0, **options):
    walk = dynamics.random_walk(bars=160, volatility=0.03, rng=np.random.default_rng(seed))
    return StockTrading(walk, venue=venue.US, costs=costs.linear(5), **options)


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_rules_keep_the_contract_of_a_policy_and_trade(name, env):
    check_policy(QUICK[name], env)
    assert len(np.unique(rollout(_env(), QUICK[name], rng=torch.Generator()).action)) == 3


@pytest.mark.parametrize("name", QUICK)
def test_no_rule_sees_the_future(name):
    env, moved = _env(), 0
    state = env.init(1, torch.Generator())
    rule = QUICK[name]
    for _ in range(120):
        other = env.perturb(state, torch.Generator().manual_seed(1))
        moved += not torch.equal(env.observe(state).world.quotes, other.observe(state).world.quotes)
        again = rule.act(other.observe(state), None, None)[0]
        action = rule.act(env.observe(state), None, None)[0]
        assert torch.equal(action, again)
        state, _ = env.step(state, action)
    assert moved > 100


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_rules_do_not_know_the_unit_of_price(seed, unit):
    bars = _bars(300, seed)
    for rule in TIMING.values():
        assert _act(rule, bars) == _act(rule, bars * [unit, unit, unit, unit, 1.0])


@pytest.mark.parametrize("name", TIMING)
def test_nothing_is_done_before_the_look_back_is_filled_nor_what_is_not_legal(name):
    rule = TIMING[name]
    assert _act(rule, _bars(4, 0)) == [0]
    assert all(_act(rule, _bars(300, seed), legal=(True, False, False)) == [0] for seed in range(5))


def test_a_batch_decides_as_each_account_alone():
    bars = np.stack([_bars(300, seed, 0.05) for seed in range(40)])
    for rule in TIMING.values():
        together = _act(rule, bars)
        assert together == [_act(rule, alone)[0] for alone in bars]
    assert {0, 1, 2} == set(_act(Bollinger(period=20, width=1.0), bars))


# --- other implementations -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_rsi_and_macd_are_talibs_on_the_same_bars(seed):
    close = _bars(300, seed)[:, 3].copy()
    prices = torch.from_numpy(close).unsqueeze(0)
    for period in (5, 14):
        assert float(RSI(period).index(prices)) == pytest.approx(talib.RSI(close, period)[-1], rel=1e-9)
    for periods in ((12, 26, 9), (3, 6, 4)):
        assert float(MACD(*periods).histogram(prices)) == pytest.approx(talib.MACD(close, *periods)[2][-1], abs=1e-9)


def test_what_the_finite_look_back_forgets_is_small():
    close = _bars(3000, 1)[:, 3].copy()
    rsi, macd = talib.RSI(close, 14), talib.MACD(close)[2]
    for t in range(400, 3000, 50):
        past = torch.from_numpy(close[: t + 1]).unsqueeze(0)
        assert float(RSI().index(past[:, -MEMORY * 14 - 1 :])) == pytest.approx(rsi[t], abs=0.05)
        assert float(MACD().histogram(past[:, -MEMORY * 26 :])) == pytest.approx(macd[t], abs=1e-6 * close[t])


def test_flat_prices_have_the_rsi_of_talib_and_no_macd():
    flat = torch.full((1, 300), 0.1, dtype=torch.float64)
    assert float(RSI().index(flat)) == talib.RSI(np.full(300, 0.1), 14)[-1] == 0.0
    assert float(MACD().histogram(flat)) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_bands_averages_and_momentum_are_those_of_talib_and_pandas(seed):
    bars = _bars(400, seed, 0.03)
    close = bars[:, 3].copy()
    _, middle, lower = talib.BBANDS(close, 20, 2.0, 2.0)
    fast, slow = talib.SMA(close, 50), talib.SMA(close, 200)
    growth = pd.Series(close).shift(21) / pd.Series(close).shift(252) - 1
    for t in range(260, 400):
        seen = bars[: t + 1]
        assert _act(Bollinger(), seen) == [1 if close[t] < lower[t] else 2 if close[t] >= middle[t] else 0]
        assert _act(MovingAverage(), seen) == [1 if fast[t] > slow[t] else 2]
        assert _act(Momentum(), seen) == [1 if growth[t] > 0 else 2]


@pytest.mark.parametrize("seed", range(3))
def test_dual_thrust_is_a_plain_loop(seed):
    bars = _bars(100, seed)
    opening, high, low, close, _ = bars.T
    for t in range(4, 100):
        past = slice(t - 4, t)
        spread = max(max(high[past]) - min(close[past]), max(close[past]) - min(low[past]))
        wanted = 1 if close[t] > opening[t] + 0.5 * spread else 2 if close[t] < opening[t] - 0.5 * spread else 0
        assert _act(DualThrust(), bars[: t + 1]) == [wanted]


# --- luck ------------------------------------------------------------------------------------------------------------


def _expected(buy, sell, steps):
    """Trades and bars in the stock, by the recursion of the docstring."""
    held, trades, bars = 0.0, 0.0, 0.0
    for _ in range(steps):
        bars += held
        trades += (1 - held) * buy + held * sell
        held = held * (1 - sell) + (1 - held) * buy
    return trades, bars


@given(st.lists(st.booleans(), min_size=5, max_size=80))
def test_luck_expects_the_trades_and_the_exposure_that_it_matches(wants):
    exposure = np.array([False, *wants], dtype=float)
    traded = np.diff(exposure)
    luck = RandomTrades.matching(traded, np.ones_like(exposure), exposure)
    # At the bounds no pace has both; elsewhere both are exact.
    assume(1e-9 < luck.buy < 1.0 - 1e-9 and 1e-9 < luck.sell < 1.0 - 1e-9)
    wanted = (np.count_nonzero(traded), exposure[:-1].sum())
    assert _expected(luck.buy, luck.sell, len(wants)) == pytest.approx(wanted, abs=1e-6)


def test_matching_buy_and_hold_buys_at_once_and_holds():
    luck = RandomTrades.matching(np.array([1.0, 0, 0, 0]), np.ones(5), np.array([0.0, 1, 1, 1, 1]))
    assert (luck.buy, luck.sell) == pytest.approx((1.0, 0.0))
    never = RandomTrades.matching(np.zeros(4), np.ones(5), np.zeros(5))
    assert (never.buy, never.sell) == (0.0, 0.0)


def test_luck_keeps_its_promise_in_an_environment():
    env = _env(window=2)
    path = rollout(env, MovingAverage(5, 20), rng=torch.Generator())
    luck = RandomTrades.matching(path.traded, path.wealth, path.exposure)
    state, trades, held = env.init(4000, torch.Generator()), 0.0, 0.0
    rng = torch.Generator().manual_seed(3)
    for _ in range(env.spec.horizon):
        held += float((state.shares > 0).double().mean())
        state, step = env.step(state, luck.act(env.observe(state), None, rng)[0])
        trades += float((step.traded != 0).double().mean())
    assert trades == pytest.approx(np.count_nonzero(path.traded), rel=0.05)
    assert held == pytest.approx(np.count_nonzero(path.exposure[:-1]), rel=0.05)


def test_seeds_of_luck_differ_and_repeat():
    actions = [rollout(_env(), RandomTrades(0.5, 0.5, seed), rng=torch.Generator()).action for seed in (0, 0, 1)]
    assert (actions[0] == actions[1]).all() and (actions[0] != actions[2]).any()


# --- what cannot be meant --------------------------------------------------------------------------------------------


def test_a_world_with_one_quote_quotes_its_close():
    bars = _bars(300, 0)
    for name in set(TIMING) - {"dual-thrust"}:
        assert _act(TIMING[name], bars) == _act(TIMING[name], bars[:, 3:4])
    with pytest.raises(ConfigError, match="price that a rule reads must be one of close"):
        _act(DualThrust(), bars[:, 3:4])


def test_quotes_have_names_and_are_named_fully():
    bars = _bars(30, 0)
    swapped = replace(Bollinger(), fields=("close", "open"))
    assert _act(swapped, bars[:, [3, 0]]) == _act(Bollinger(), bars)
    with pytest.raises(ConfigError, match=r"fields=env\.spec\.quotes"):
        _act(Bollinger(), bars[:, :2])
    with pytest.raises(ConfigError, match="a view without quotes"):
        quoted(_obs(bars)._replace(world=View(torch.zeros(30, 1), torch.tensor([29]), 1)), "close", 5, BARS)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Momentum(10, 10), lambda: MovingAverage(20, 5), lambda: MACD(26, 12), lambda: RandomTrades(1.5, 0.0),
        lambda: RandomTrades.matching(np.zeros(3), np.ones(4), np.ones(4)),
    ],
)  # fmt: skip
def test_settings_that_cannot_mean_what_they_say(make):
    with pytest.raises(ConfigError):
        make()
