"""Merton's problem: laws, the self-financing fee, one step by quadrature, the closed form in continuous time, rules beaten."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize, stats

from fiduciary.agents.rules import Cash, Random
from fiduciary.agents.training import totals
from fiduciary.core import trees
from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle, Sweepable
from fiduciary.envs.merton import Merton, Portfolio, Rebalance

ENVS = [Merton(), Merton(3.0, fee=0.01, r=0.05), Merton(levels=11), Merton(0.5, levels=3, fee=0.02)]


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _constant(env, weight):
    return Rebalance(torch.full((env.steps, 2), weight, dtype=torch.float64))


@pytest.mark.parametrize("env", ENVS, ids=str)
def test_contract_and_oracle(env):
    check_env(env, batch=4)
    assert isinstance(env, Oracle)
    check_policy(env.solve().policy, env)


def test_what_comes_later_is_not_seen():
    env = Merton(fee=0.01)
    state, _step = env.step(env.init(1, _rng()), torch.tensor([[0.4, 0.6]]))
    other = env.perturb(state, _rng(1))
    assert torch.equal(env.observe(state).account, other.observe(state).account)
    action = torch.tensor([[0.5, 0.5]])
    (after, _), (otherwise, _) = env.step(state, action), other.step(state, action)
    assert after.price != otherwise.price
    later = env.perturb(after, _rng(1))
    assert trees.equal(later.step(state, action), env.step(state, action))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.5))
def test_the_portfolio_pays_its_own_fee(before, after, fee):
    env = Merton(fee=fee)
    one = torch.ones(1, dtype=torch.float64)
    state = Portfolio(torch.zeros(1, dtype=torch.int64), before * one, one, one, torch.zeros(1, env.steps).double())
    _state, step = env.step(state, torch.tensor([[1.0 - after, after]], dtype=torch.float64))
    assert float(step.ledger.fees) == pytest.approx(-fee * abs(float(step.traded)), abs=1e-12)
    assert float(step.traded) == pytest.approx(after * (1.0 + float(step.ledger.fees)) - before, abs=1e-12)


@pytest.mark.parametrize("risk_aversion", [1.0, 2.0, 5.0])
def test_one_step_equals_quadrature(risk_aversion):
    env = Merton(risk_aversion, r=0.02, steps=1)
    step, cash = 1.0 / env.per_year, math.exp(env.r / env.per_year)

    def utility(z, w):
        wealth = w * math.exp((env.mu - env.sigma**2 / 2) * step + env.sigma * math.sqrt(step) * z) + (1 - w) * cash
        return math.log(wealth) if risk_aversion == 1 else (wealth ** (1 - risk_aversion) - 1) / (1 - risk_aversion)

    def loss(w):
        return -integrate.quad(lambda z: utility(z, w) * stats.norm.pdf(z), -9, 9)[0]

    best = optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded")
    solution = env.solve()
    assert solution.value == pytest.approx(-best.fun, abs=1e-6)
    assert float(solution.policy.target[0, 0]) == pytest.approx(best.x, abs=3e-3)


@pytest.mark.parametrize("risk_aversion", [1.0, 2.0, 4.0])
def test_short_steps_approach_mertons_fraction_and_value(risk_aversion):
    env = Merton(risk_aversion, mu=0.17, r=0.02, sigma=0.5, per_year=1_000.0, steps=50)
    solution = env.solve()
    assert solution.policy.target.numpy() == pytest.approx(env.fraction, abs=5e-3)
    years = env.steps / env.per_year
    growth = env.r + (env.mu - env.r) ** 2 / (2.0 * risk_aversion * env.sigma**2)  # Merton 1969, equation 40
    assert env.log_equivalent(solution.value) / years == pytest.approx(growth, rel=2e-3)


@pytest.mark.parametrize("env", ENVS, ids=str)
def test_the_value_is_that_of_its_policy_and_rules_fall_short(env):
    solution = env.solve()
    best = totals(env, solution.policy, accounts=20_000)
    assert float(best.mean()) == pytest.approx(solution.value, abs=4.0 * float(best.std()) / math.sqrt(len(best)))
    rules = [Cash(env.spec.space), Random(env.spec.space)]
    rules += [] if env.levels else [_constant(env, w) for w in (0.2, 1.0)]
    for rule in rules:
        gap = best - totals(env, rule, accounts=20_000)
        assert float(gap.mean()) > 2.0 * float(gap.std()) / math.sqrt(len(gap))


def test_costs_open_a_band_and_cost_value():
    values = [Merton(fee=fee).solve().value for fee in (0.0, 0.01, 0.03)]
    assert values == sorted(values, reverse=True)
    env = Merton(fee=0.02)
    solution = env.solve()
    held = torch.linspace(0.0, 1.0, solution.policy.target.shape[1], dtype=torch.float64)
    first = solution.policy.target[0]
    still = held[(first - held).abs() < 1e-9]
    assert 0.05 < still.max() - still.min() < 0.5
    assert still.min() < env.fraction < still.max()
    # Outside of the band one trades to its nearest edge, no further (Davis and Norman 1990).
    torch.testing.assert_close(first, held.clamp(float(still.min()), float(still.max())), rtol=0, atol=2.6e-3)
    naive, best = (totals(env, p, accounts=10_000) for p in (_constant(env, env.fraction), solution.policy))
    assert float((best - naive).mean()) > 2.0 * float((best - naive).std()) / math.sqrt(len(best))


def test_levels_cannot_beat_any_weight_and_more_of_them_come_near():
    whole, coarse, fine = (Merton(levels=levels).solve().value for levels in (0, 3, 21))
    assert coarse < fine <= whole + 1e-9
    assert fine == pytest.approx(whole, rel=2e-3)


def test_a_sweep_says_what_a_step_does():
    env = Merton(levels=5)
    assert isinstance(env, Sweepable)
    sweep, step = env.sweep(), 1.0 / env.per_year
    log_asset = sweep.reward[:6, 0, -1]  # all in the asset: its own log growth
    noise = (log_asset - (env.mu - env.sigma**2 / 2) * step) / (env.sigma * math.sqrt(step))
    for p in range(5):
        for a in range(5):
            one = torch.ones(6, dtype=torch.float64)
            state = Portfolio(
                torch.zeros(6, dtype=torch.int64), one * p / 4, one, one, noise.unsqueeze(-1).expand(6, 8)
            )
            _state, done = env.step(state, torch.full((6,), a))
            torch.testing.assert_close(done.reward, sweep.reward[:6, p, a], rtol=1e-9, atol=1e-12)
    mean = sweep.reward[:, 0].mean(0)
    expected = [integrate.quad(lambda z, w=w: _log_growth(env, z, w), -9, 9)[0] for w in np.linspace(0, 1, 5)]
    assert mean.numpy() == pytest.approx(expected, abs=1.5e-3)
    for other in (Merton(), Merton(levels=5, fee=0.01), Merton(2.0, levels=5)):
        with pytest.raises(ConfigError, match="discrete weights, free trades and log utility"):
            other.sweep()


def _log_growth(env, z, w):
    step = 1.0 / env.per_year
    asset = math.exp((env.mu - env.sigma**2 / 2) * step + env.sigma * math.sqrt(step) * z)
    return math.log(w * asset + 1 - w) * stats.norm.pdf(z)


def test_settings_that_mean_nothing_are_refused():
    for bad in ({"sigma": 0.0}, {"fee": 1.0}, {"levels": 1}, {"steps": 0}, {"risk_aversion": 0.0}):
        with pytest.raises(ConfigError):
            Merton(**bad)
    with pytest.raises(ConfigError, match="not discounted"):
        Merton().solve(0.9)
