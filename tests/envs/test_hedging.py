"""Hedging: the contract, costs by hand, the oracle against a plain dynamic programme and against reference numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle
from fiduciary.envs.hedging import Book, DeltaHedge, Hedging, half_width

COSTS = (0.0, 1.0, 10.0)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _live(env, policy, paths=10_000, seed=0):
    """(profit and loss, sum of rewards) of each path."""
    state, total = env.init(paths, _rng(seed)), 0.0
    for _ in range(env.steps):
        state, step = env.step(state, policy.act(env.observe(state), None, None)[0])
        total = total + step.reward
    assert step.last.all() and (step.discount == 0).all()
    return env.wealth(state) - env.capital, total


def _entropic(profit, a):
    return float((torch.logsumexp(-a * profit, 0) - math.log(len(profit))) / a)


def _worst_tenth(profit):
    return -float(profit.sort().values[: len(profit) // 10].mean())


class Constant:
    def __init__(self, action):
        self.action = action

    def act(self, obs, carry, rng):
        return torch.full_like(obs.account[:, :1], self.action), carry


@pytest.mark.parametrize("fee_bps", COSTS)
def test_contract(fee_bps):
    env = Hedging(fee_bps=fee_bps, steps=8)
    check_env(env, batch=6)
    assert isinstance(env, Oracle)
    for policy in (env.solve(1.0).policy, DeltaHedge(env), DeltaHedge(env, banded=True)):
        check_policy(policy, env)


def test_observations_and_steps_are_blind_to_the_future():
    env = Hedging(steps=5)
    state = env.init(1, _rng())
    hold = torch.zeros(1, 1)
    for _ in range(3):
        state, _step = env.step(state, hold)
    other = env.perturb(state, _rng(1))
    assert torch.equal(env.observe(state).account, other.observe(state).account)
    assert not torch.equal(env.step(state, hold)[1].reward, other.step(state, hold)[1].reward)
    later = env.perturb(env.step(state, hold)[0], _rng(1))
    assert torch.equal(env.step(state, hold)[1].reward, later.step(state, hold)[1].reward)


def test_profit_costs_and_utility_by_hand():
    env = Hedging(steps=2, fee_bps=100.0, risk_aversion=3.0)
    price = torch.tensor([[1.0, 1.1, 1.2]], dtype=torch.float64)
    state = env.init(1, _rng())._replace(price=price)
    total = 0.0
    for action in (0.0, 0.6):  # hold 0.5, then 0.8
        state, step = env.step(state, torch.tensor([[action]], dtype=torch.float64))
        total += float(step.reward)
    fees = 0.01 * (0.5 * 1.0 + 0.3 * 1.1)
    profit = 0.5 * 0.1 + 0.8 * 0.1 - fees - 0.2
    assert float(env.wealth(state)) - env.capital == pytest.approx(profit, abs=1e-12)
    assert total == pytest.approx((1 - math.exp(-3 * profit)) / 3, abs=1e-12)
    assert env.certainty(total) == pytest.approx(profit, abs=1e-12)
    assert float(step.ledger.fees) == pytest.approx(-0.01 * 0.3 * 1.1)
    again, step = env.step(state, torch.ones(1, 1))
    assert float(step.reward) == 0.0 and torch.equal(env.wealth(again), env.wealth(state))


def test_a_step_is_differentiable_and_the_gradient_is_that_of_the_profit():
    env = Hedging(steps=1, fee_bps=0.0, risk_aversion=1e-6)
    state, action = env.init(8, _rng()), torch.zeros(8, 1, dtype=torch.float64, requires_grad=True)
    env.step(state, action)[1].reward.sum().backward()
    # With next to no risk aversion u(P) = P, and half a unit is held for a whole action.
    torch.testing.assert_close(action.grad[:, 0], 0.5 * (state.price[:, 1] - state.price[:, 0]), rtol=1e-4, atol=1e-9)


# --- the oracle ------------------------------------------------------------------------------------------------------


def _plain_programme(env, nodes=801, holdings=41):
    """Least entropic risk by explicit loops: linear interpolation at 161 nodes of a normal, every holding tried."""
    x = np.linspace(-0.35, 0.35, nodes)
    price, held = env.spot * np.exp(x), np.linspace(0.0, 1.0, holdings)
    z = np.linspace(-8.0, 8.0, 161)
    weight = np.exp(-0.5 * z**2)
    sd = env.sigma * math.sqrt(env.years / env.steps)
    a, c = env.risk_aversion, 1e-4 * env.fee_bps
    cost = np.tile(np.maximum(price - env.strike, 0.0), (holdings, 1))
    for _ in range(env.steps):
        g = np.empty_like(cost)
        for k, h in enumerate(held):
            then = x[:, None] + sd * z - 0.5 * sd**2
            inner = a * (np.interp(then, x, cost[k]) - h * (env.spot * np.exp(then) - price[:, None]))
            g[k] = np.log(np.exp(inner) @ weight / weight.sum()) / a
        cost = np.array([(g + c * price * np.abs(held - h)[:, None]).min(0) for h in held])
    return cost[0, nodes // 2]


@pytest.mark.parametrize(("fee_bps", "a"), [(0.0, 50.0), (10.0, 50.0), (10.0, 1.0)])
def test_the_oracle_equals_a_plain_dynamic_programme(fee_bps, a):
    env = Hedging(steps=4, years=4 / 250, fee_bps=fee_bps, risk_aversion=a)
    assert -env.certainty(env.solve(1.0).value) == pytest.approx(_plain_programme(env), abs=2e-5)


@pytest.mark.parametrize("fee_bps", COSTS)
def test_the_oracle_s_value_is_attained_and_no_rule_beats_it(fee_bps):
    env = Hedging(fee_bps=fee_bps)
    solution = env.solve(1.0)
    best, total = _live(env, solution.policy)
    error = float(total.std()) / math.sqrt(len(total))
    assert float(total.mean()) == pytest.approx(solution.value, abs=4 * error)
    for rule in (DeltaHedge(env), DeltaHedge(env, banded=True), Constant(0.0), Constant(-1.0)):
        other = _live(env, rule)[1]
        assert float((other - total).mean()) <= 4 * float((other - total).std()) / math.sqrt(len(total))
    # With costs, leaving a band alone beats chasing the delta; without, the two are nearly the same.
    gap = _entropic(_live(env, DeltaHedge(env))[0], 50.0) - _entropic(best, 50.0)
    assert (gap > 1e-4) if fee_bps == 10.0 else (0 <= gap < 5e-5)


@pytest.mark.parametrize(
    ("fee_bps", "banded", "wanted"),
    [
        (0.0, False, (0.022574, 0.023042, 0.030618)),
        (1.0, False, (0.022763, 0.023234, 0.030854)),
        (10.0, False, (0.024469, 0.024971, 0.033012)),
        (1.0, True, (0.022644, 0.024615, 0.038109)),
        (10.0, True, (0.023200, 0.030853, 0.053829)),
    ],
)
def test_reference_risks(fee_bps, banded, wanted):
    """Entropic with a = 1 and 50 and expected shortfall of the worst tenth; the band is that of a = 1."""
    env = Hedging(fee_bps=fee_bps, risk_aversion=1.0)
    profit = _live(env, DeltaHedge(env, banded=banded), paths=40_000)[0]
    error = 4 * float(profit.std()) / math.sqrt(len(profit))
    assert [_entropic(profit, 1.0), _entropic(profit, 50.0), _worst_tenth(profit)] == pytest.approx(
        wanted, abs=1e-4 + 4 * error
    )


def test_band_is_as_wide_as_whalley_and_wilmott_say():
    gamma, spot = torch.tensor(7.04954941), torch.tensor(1.0)
    for fee_bps, wanted in ((1.0, 0.195346), (10.0, 0.420861)):
        assert float(half_width(gamma, spot, fee_bps=fee_bps, risk_aversion=1.0)) == pytest.approx(wanted, abs=1e-6)


def test_spread_of_discrete_delta_hedging_is_kamal_and_derman_s():
    """sqrt(pi / 4) vega sigma / sqrt(N), S = K = 100, a month."""
    env = Hedging(spot=100.0, strike=100.0, steps=21, years=1 / 12, fee_bps=0.0, risk_aversion=0.01, capital=100.0)
    profit = _live(env, DeltaHedge(env), paths=20_000)[0]
    assert float(profit.std()) == pytest.approx(0.445250, rel=0.05)
    assert float(_live(replace(env, steps=84), DeltaHedge(replace(env, steps=84)))[0].std()) == pytest.approx(
        0.2226, rel=0.05
    )


def test_utility_is_of_money_whatever_the_capital_and_the_book_is_marked():
    small, large = Hedging(capital=1.0), Hedging(capital=1000.0)
    a, b = (_live(env, DeltaHedge(env), paths=100)[1] for env in (small, large))
    torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)
    state = small.init(3, _rng())
    assert isinstance(state, Book) and (small.wealth(state) - 1.0 + 0.02256457).abs().max() < 1e-8


@pytest.mark.parametrize(
    "change", [{"fee_bps": -1.0}, {"risk_aversion": 0.0}, {"strike": 0.0}, {"steps": 0}, {"capital": -1.0}], ids=str
)
def test_what_is_no_problem_is_refused(change):
    with pytest.raises(ConfigError):
        Hedging(**change)


def test_what_the_oracle_cannot_solve_is_refused():
    with pytest.raises(ConfigError, match="discount of 1"):
        Hedging().solve(0.99)
    with pytest.raises(ConfigError, match="finite"):
        Hedging(risk_aversion=5_000.0).solve(1.0)
