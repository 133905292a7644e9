"""OLMAR and the s-score: laws on a real environment, plain loops beside them, a market whose answer is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.agents.online_rules import OLMAR, SScore
from fiduciary.core.checks import check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, View
from fiduciary.data import Panel
from fiduciary.envs import PortfolioWeights
from fiduciary.evaluation.rollout import rollout
from fiduciary.factors import Factor
from fiduciary.markets import dynamics
from fiduciary.markets.costs import Costs

QUICK = {"olmar": OLMAR(), "s-score": SScore(lookback=40, window=20)}


def _walk(bars, symbols, seed, volatility=0.02):
    return dynamics.random_walk(bars=bars, symbols=symbols, volatility=volatility, rng=np.random.default_rng(seed))


def _obs(close, weights=None):
    """What an account sees at the last of `close` [L, N]."""
    quotes = torch.from_numpy(np.array(close)).unsqueeze(-1)
    length, n = quotes.shape[:2]
    weights = torch.zeros(1, n) if weights is None else torch.as_tensor(weights, dtype=torch.float32).reshape(1, n)
    account = torch.cat((weights.abs().sum(-1, keepdim=True), weights), dim=-1)
    view = View(torch.zeros(length, n, 1), torch.tensor([length - 1]), 1, quotes)
    return Obs(view, account, torch.ones(1, n + 1, dtype=torch.bool))


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [0.0, 0.3])
@pytest.mark.parametrize("name", QUICK)
def test_rules_keep_the_contract_of_a_policy(name, short):
    rule = type(QUICK[name])(**{**vars(QUICK[name]), "short": short})
    check_policy(rule, PortfolioWeights(_walk(120, 4, 0), short=short), batch=4)


@pytest.mark.parametrize("name", QUICK)
def test_no_rule_sees_the_future_and_each_trades(name):
    env, rule = PortfolioWeights(_walk(120, 4, 1)), QUICK[name]
    state, carry, traded = env.init(1, torch.Generator()), None, 0.0
    for _ in range(60):
        other = env.perturb(state, torch.Generator().manual_seed(1))
        assert not torch.equal(env.observe(state).world.quotes, other.observe(state).world.quotes)
        again, _ = rule.act(other.observe(state), carry, None)
        action, carry = rule.act(env.observe(state), carry, None)
        assert torch.equal(action, again)
        state, step = env.step(state, action)
        traded += float(step.traded.abs().sum() / env.cash)
    assert traded > 0.5


@given(st.integers(0, 10_000), st.lists(st.floats(0.01, 100), min_size=4, max_size=4))
@settings(max_examples=25)
def test_rules_do_not_know_the_units_of_prices(seed, units):
    close = _walk(60, 4, seed)["close"]
    for rule in QUICK.values():
        plain, scaled = (rule.act(_obs(prices), None, None)[0] for prices in (close, close * units))
        assert torch.allclose(plain, scaled, atol=1e-9)


# --- OLMAR -----------------------------------------------------------------------------------------------------------


def _nearest_point(y):
    """Projection on the simplex by bisection of its threshold: another method than the rule's."""
    low, high = y.min() - 1.0, y.max()
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.maximum(y - middle, 0).sum() > 1 else (low, middle)
    return np.maximum(y - low, 0)


@pytest.mark.parametrize("seed", range(3))
def test_olmar_is_a_plain_loop(seed):
    close = _walk(60, 5, seed)["close"]
    rule, carry, b = OLMAR(epsilon=10, window=5), None, np.full(5, 0.2)
    for t in range(4, 60):
        action, carry = rule.act(_obs(close[: t + 1]), carry, None)
        x = close[t - 4 : t + 1].mean(0) / close[t]
        away = x - x.mean()
        b = _nearest_point(b + max(0.0, (10 - b @ x) / (away @ away)) * away)
        assert float(action[0, 0]) == pytest.approx(0.0, abs=1e-12)
        np.testing.assert_allclose(action[0, 1:], b, atol=1e-9)


def test_olmar_leaves_out_what_has_no_history_and_stands_on_flat_prices():
    close = _walk(10, 3, 0)["close"].copy()
    close[:8, 1] = np.nan
    action = OLMAR().act(_obs(close), None, None)[0]
    assert float(action[0, 2]) == 0 and float(action.sum()) == pytest.approx(1)
    assert OLMAR().act(_obs(close[:3]), None, None)[0].tolist() == [[1, 0, 0, 0]]
    flat = OLMAR().act(_obs(np.full((10, 4), 3.0)), None, None)[0]
    assert flat.tolist() == [[0, 0.25, 0.25, 0.25, 0.25]]


def test_olmar_buys_what_fell():
    close = np.full((5, 2), 100.0)
    close[-1, 0] = 80.0
    assert OLMAR().act(_obs(close), None, None)[0].tolist() == [[0, 1, 0]]


# --- the s-score -----------------------------------------------------------------------------------------------------


def _score(r, window, explained):
    """One asset after another, by least squares: section 2 to appendix of the paper."""
    sigma = r.std(0, ddof=1)
    values, vectors = np.linalg.eigh(np.corrcoef(r.T))
    order = np.argsort(values)[::-1]
    m = 1 + int(np.sum(np.cumsum(values[order]) / values.sum() < explained))
    recent = r[-window:]
    factors = recent @ (vectors[:, order[:m]] / sigma[:, None])
    level, spread, kappa = [], [], []
    for i in range(r.shape[1]):
        design = np.column_stack((np.ones(window), factors))
        x = np.cumsum(recent[:, i] - design @ np.linalg.lstsq(design, recent[:, i], rcond=None)[0])
        b, a = np.polyfit(x[:-1], x[1:], 1)
        noise = x[1:] - a - b * x[:-1]
        level.append(a / (1 - b))
        spread.append(np.sqrt(noise.var() / (1 - b**2)))
        kappa.append(-np.log(b) * 252)
    return -(np.array(level) - np.mean(level)) / np.array(spread), np.array(kappa)


@pytest.mark.parametrize("seed", range(5))
def test_s_score_is_that_of_least_squares_one_asset_at_a_time(seed):
    rng = np.random.default_rng(seed)
    r = 0.01 * rng.standard_normal((252, 8)) + 0.01 * rng.standard_normal((252, 1)) * rng.uniform(0.5, 1.5, 8)
    s, quick = SScore().scores(torch.from_numpy(r)[None], torch.ones(1, 8, dtype=torch.bool))
    wanted, kappa = _score(r, 60, 0.55)
    np.testing.assert_allclose(s[0], wanted, rtol=1e-6)
    np.testing.assert_array_equal(quick[0], kappa > 252 / 30)


def _reverting(fall, bars=320, n=20, seed=3):
    """Closes of n assets that share a factor and leave it for short times; the first has just been moved by `fall`."""
    rng = np.random.default_rng(seed)
    common, own = np.cumsum(0.02 * rng.standard_normal(bars)), np.zeros((bars, n))
    for t in range(1, bars):
        own[t] = 0.7 * own[t - 1] + 0.01 * rng.standard_normal(n)
    own[-3:, 0] = np.array([[1 / 3], [2 / 3], [1.0]])[:, 0] * fall
    return 100 * np.exp(common[:, None] + own)


def test_s_score_buys_what_fell_behind_and_sells_it_when_it_is_back():
    action, side = SScore().act(_obs(_reverting(-0.06)), None, None)
    assert float(side[0, 0]) == 1 and float(action[0, 1]) == pytest.approx(1 / 20)
    held = [0.2] + 19 * [0.0]
    action, kept = SScore().act(_obs(_reverting(-0.06), held), side, None)
    assert float(action[0, 1]) == pytest.approx(0.2) and torch.equal(kept, side)  # drifts in between
    action, left = SScore().act(_obs(_reverting(0.0), held), side, None)
    assert float(action[0, 1]) == 0 and float(left[0, 0]) == 0


def test_s_score_shorts_what_ran_ahead_only_where_it_may():
    assert SScore().act(_obs(_reverting(0.06)), None, None)[1].min() >= 0
    action, side = SScore(short=0.01).act(_obs(_reverting(0.06)), None, None)
    assert side[0, 0] == -1
    assert float(action[0, 1]) == 0  # as short as the bound allows, which is less than 1 / 20


def test_s_score_keeps_cash_without_history_and_ignores_what_never_moves():
    rule = SScore(lookback=40, window=20)
    assert rule.act(_obs(_walk(20, 3, 0)["close"]), None, None)[0].tolist() == [[1, 0, 0, 0]]
    close = _reverting(-0.06)
    close[:, 3] = 50.0
    action, side = SScore().act(_obs(close), None, None)
    assert side[0, 3] == 0 and side[0, 0] == 1 and torch.isfinite(action).all()


def test_s_score_earns_where_prices_revert_and_trading_is_free():
    close = _reverting(0.0, bars=500, n=6, seed=2)[..., None]
    dates = np.datetime64("2000-01-03") + np.arange(len(close))
    panel = Panel(dates, tuple("ABCDEF"), ("close",), close, np.ones(close.shape[:2], dtype=bool))
    level = (Factor("close", 1, lambda bars: bars["close"], ("close",)),)
    env = PortfolioWeights(panel, level, costs=Costs(), execution="close", window=300)
    path = rollout(env, SScore(), rng=torch.Generator())
    factor = path.mark[-1] / path.mark[0] - 1
    assert path.wealth[-1] / path.wealth[0] - 1 > abs(factor) * path.exposure.mean() + 0.02


def test_settings_that_cannot_mean_what_they_say():
    with pytest.raises(ConfigError, match="window"):
        SScore(lookback=30, window=60)
