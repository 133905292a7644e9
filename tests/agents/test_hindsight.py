"""Hindsight: equal to the best of all sequences, to a linear programme and to a closed form; above whatever else is tried."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fiduciary.agents.hindsight import Hindsight
from fiduciary.agents.rules import BuyAndHold, Random
from fiduciary.agents.weight_rules import EqualWeight, HoldWeights
from fiduciary.core.checks import check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Prophet
from fiduciary.envs import PortfolioWeights, ShareTrading, StockTrading
from fiduciary.evaluation.rollout import rollout
from fiduciary.factors import Factor
from fiduciary.markets import dynamics
from fiduciary.markets.costs import Costs, linear
from fiduciary.markets.venue import US, Venue

LEVEL = (Factor("close", 1, lambda bars: bars["close"], ("close",)),)
FILLS = st.sampled_from(["next_open", "next_close", "close"])
BPS = st.floats(0, 80)
SEED = st.integers(0, 10_000)


def _walk(bars, seed, symbols=1, volatility=0.04):
    return dynamics.random_walk(bars=bars, symbols=symbols, volatility=volatility, rng=np.random.default_rng(seed))


def _weights(bars, seed, symbols=2, volatility=0.03, **options):
    return PortfolioWeights(_walk(bars, seed, symbols, volatility), LEVEL, window=2, **options)


def _attained(env):
    return rollout(env, Hindsight().foresee(env), rng=torch.Generator()).wealth[-1]


def _richest(env, single):
    """Final wealth of the best of all sequences of the actions `single` [K] or [K, A]."""
    every = torch.tensor(list(product(range(len(single)), repeat=env.spec.horizon)))
    state = env.init(len(every), torch.Generator())
    for action in single[every].unbind(1):
        state, _ = env.step(state, action)
    return float(env.wealth(state).max())


# --- exact -----------------------------------------------------------------------------------------------------------


VENUE = st.builds(Venue, st.sampled_from([0, 1, 40]), st.integers(0, 3), st.sampled_from([None, 0.06]))
COSTS = st.builds(Costs, BPS, BPS, BPS, st.sampled_from([0.0, 30.0]))


@given(SEED, FILLS, COSTS, VENUE, st.sampled_from([0.0, 0.5]))
@settings(max_examples=40)
def test_no_sequence_of_orders_beats_hindsight(seed, fill, costs, venue, rate):
    env = StockTrading(
        _walk(9, seed), LEVEL, cash=10_000, costs=costs, venue=venue, window=2, execution=fill, cash_rate=rate
    )
    assert _attained(env) == pytest.approx(_richest(env, torch.arange(3)), rel=1e-12)


def test_the_richest_holder_is_not_always_the_one_to_be():
    """With days to wait and lots, whoever bought at another time may sell earlier: 4 of these markets tell the difference."""
    for seed in range(25):
        env = StockTrading(_walk(9, seed), LEVEL, cash=10_000, costs=Costs(20), venue=Venue(40, 2), window=2)
        assert _attained(env) == pytest.approx(_richest(env, torch.arange(3)), rel=1e-12)


@given(SEED, FILLS, st.tuples(BPS, BPS, BPS))
@settings(max_examples=15)
def test_no_sequence_of_weights_beats_hindsight_and_corners_attain_it(seed, fill, rates):
    env = _weights(7, seed, costs=Costs(*rates), execution=fill)
    corners, inner = torch.eye(3, dtype=torch.float64), torch.full((3, 3), 0.25, dtype=torch.float64)
    inner += 0.25 * corners
    assert _attained(env) == pytest.approx(_richest(env, corners), rel=1e-12)
    assert _attained(env) >= _richest(env, torch.cat((corners, inner))) * (1 - 1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_portfolio_hindsight_is_the_linear_programme_of_money_that_flows(seed):
    """max of what arrives: x_tij >= 0 is money that asset i sends to j at bar t, sum_j x_tij = sum_k gain_ki x_(t-1)ki."""
    buy, sell = 0.003, 0.005
    env = _weights(10, seed, costs=Costs(commission_bps=30, stamp_duty_bps=20), execution="close", cash_rate=0.3)
    close, days = env.panel["close"], env.panel.dates.astype(int)
    first = len(close) - 1 - env.spec.horizon
    steps, n = env.spec.horizon, 3
    fee = np.array([[1 if i == j else (1 - sell * (i > 0)) / (1 + buy * (j > 0)) for j in range(n)] for i in range(n)])
    moves = np.column_stack((1.3 ** (np.diff(days) / 365), close[1:] / close[:-1]))[first:]
    gain = fee * moves[:, None, :]
    balance, supply = np.zeros((steps, n, steps, n, n)), np.zeros((steps, n))
    supply[0, 0] = 1.0
    for t, i in product(range(steps), range(n)):
        balance[t, i, t, i, :] = 1.0
        if t:
            balance[t, i, t - 1, :, i] = -gain[t - 1, :, i]
    worth = np.zeros((steps, n, n))
    worth[-1] = gain[-1]
    found = linprog(-worth.ravel(), A_eq=balance.reshape(steps * n, -1), b_eq=supply.ravel(), method="highs")
    assert _attained(env) / env.cash == pytest.approx(-found.fun, rel=1e-8)


def test_free_trading_at_the_close_collects_every_rise():
    stock = StockTrading(_walk(300, 0), LEVEL, costs=Costs(), venue=Venue(lot=0), window=2, execution="close")
    moves = stock.panel["close"][1:] / stock.panel["close"][:-1]
    first = len(moves) - stock.spec.horizon
    assert _attained(stock) / stock.cash == pytest.approx(np.maximum(moves[first:], 1).prod(), rel=1e-9)
    pair = _weights(300, 0, costs=Costs(), execution="close")
    moves = pair.panel["close"][1:] / pair.panel["close"][:-1]
    first = len(moves) - pair.spec.horizon
    assert _attained(pair) / pair.cash == pytest.approx(np.maximum(moves[first:].max(1), 1).prod(), rel=1e-9)


# --- a bound ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_nothing_beats_hindsight_and_costs_lower_it(seed):
    stocks = [StockTrading(_walk(80, seed), LEVEL, costs=linear(bps), venue=US, window=2) for bps in (0, 20, 200)]
    pairs = [_weights(80, seed, 4, costs=linear(bps)) for bps in (0, 20, 200)]
    for envs, rivals in (
        (stocks, (BuyAndHold(), Random())),
        (pairs, (EqualWeight(), HoldWeights(), Random("simplex"))),
    ):
        bounds = [_attained(env) for env in envs]
        assert bounds[0] > bounds[1] > bounds[2] >= envs[0].cash
        for rival in rivals:
            assert rollout(envs[1], rival, rng=torch.Generator()).wealth[-1] <= bounds[1]


def test_where_prices_only_fall_the_best_is_cash():
    walk = _walk(40, 0, symbols=2, volatility=1e-9)
    falling = replace(walk, values=walk.values * 0.99 ** np.arange(40)[:, None, None])
    assert _attained(PortfolioWeights(falling, LEVEL, window=2)) == 1_000_000
    stock = StockTrading(falling.select(["RW1"]), LEVEL, window=2)
    assert _attained(stock) == stock.cash


def test_a_suspended_asset_stays_where_it_is():
    """Bars without volume: bought before, the asset cannot be left; hindsight knows."""
    walk = _walk(9, 3, symbols=2)
    values = walk.values.copy()
    values[4:7, 0, 4] = 0.0
    env = PortfolioWeights(replace(walk, values=values), LEVEL, window=2, costs=linear(10))
    assert _attained(env) == pytest.approx(_richest(env, torch.eye(3, dtype=torch.float64)), rel=1e-12)


def test_the_plan_is_a_policy_and_hindsight_a_prophet(env):
    assert isinstance(Hindsight(), Prophet)
    for problem in (env, _weights(60, 0, symbols=3)):
        check_policy(Hindsight().foresee(problem), problem, batch=1)


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"impact": 1.0}, "impact"), ({"short": 0.2}, "short"), ({"turnover_limit": 0.1}, "turnover_limit"),
        ({"cash_rate": 0.02}, "cash_rate"),
    ],
)  # fmt: skip
def test_problems_whose_best_is_no_corner_are_refused(options, named):
    with pytest.raises(ConfigError, match=f"`{named}` must be 0 or None"):
        Hindsight().foresee(PortfolioWeights(_walk(80, 0, symbols=2), **options))
    assert _attained(_weights(10, 0, cash_rate=0.02, execution="close")) > 0


def test_other_problems_are_refused():
    with pytest.raises(ConfigError, match="hold, buy and sell one stock"):
        Hindsight().foresee(ShareTrading(_walk(80, 0, symbols=2)))
