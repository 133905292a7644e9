"""The order: laws, a numerical optimiser, Monte Carlo, and the numbers of Almgren and Chriss (2001)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from fiduciary.agents.training import totals
from fiduciary.core import trees
from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle
from fiduciary.envs.almgren_chriss import AlmgrenChriss, Schedule


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_contract_and_oracle():
    env = AlmgrenChriss()
    check_env(env)
    assert isinstance(env, Oracle)
    check_policy(env.solve().policy, env)


def test_what_comes_later_is_not_seen():
    env, half = AlmgrenChriss(), torch.zeros(1, 1)
    state, _step = env.step(env.init(1, _rng()), half)
    other = env.perturb(state, _rng(1))
    assert torch.equal(env.observe(state).account, other.observe(state).account)
    (after, _), (otherwise, _) = env.step(state, half), other.step(state, half)
    assert after.price != otherwise.price
    assert trees.equal(env.perturb(after, _rng(1)).step(state, half), env.step(state, half))


REFERENCE = {
    0.0: (662_500.00, 1.083e12, (800_000.0, 600_000.0, 400_000.0, 200_000.0)),
    1e-7: (670_057.46, 9.247186e11, (757_882.4, 544_564.3, 351_939.7, 172_688.8)),
    1e-6: (911_226.99, 3.641286e11, (541_955.6, 289_854.2, 147_897.5, 62_141.8)),
}


@pytest.mark.parametrize("risk_aversion", REFERENCE)
def test_reference_trajectories(risk_aversion):
    mean, variance, left = REFERENCE[risk_aversion]
    env = AlmgrenChriss(risk_aversion)
    x = env.trajectory()
    cost = env.shortfall(x)
    assert (cost.mean, cost.variance) == pytest.approx((mean, variance), rel=1e-7)
    assert x[1:-1].numpy() == pytest.approx(np.array(left), abs=0.06)
    assert env.solve().value == pytest.approx(-(mean + risk_aversion * variance) / env.shares, rel=1e-7)


@pytest.mark.parametrize(
    "env", [AlmgrenChriss(), AlmgrenChriss(3e-7, steps=8, days=3.0, permanent=1e-6)], ids=["paper", "other"]
)
def test_an_optimiser_finds_the_same_schedule(env):
    def loss(share):
        x = torch.from_numpy(np.concatenate(([1.0], share, [0.0]))) * env.shares
        cost = env.shortfall(x)
        return (cost.mean + env.risk_aversion * cost.variance) / env.shares

    found = optimize.minimize(loss, np.linspace(1, 0, env.steps + 1)[1:-1], tol=1e-12)
    assert env.solve().value == pytest.approx(-found.fun, rel=1e-9)
    assert env.trajectory()[1:-1].numpy() / env.shares == pytest.approx(found.x, abs=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=5))
def test_rewards_add_up_to_the_objective_and_no_schedule_beats_the_best(shares):
    env = AlmgrenChriss()
    share = torch.tensor(shares, dtype=torch.float64)
    left = torch.cat((torch.ones(1).double(), (1.0 - share).cumprod(0)[:-1], torch.zeros(1).double())) * env.shares
    cost = env.shortfall(left)
    value = float(totals(env, Schedule(share), accounts=1))
    assert value == pytest.approx(-(cost.mean + env.risk_aversion * cost.variance) / env.shares, rel=1e-9)
    assert value <= env.solve().value + 1e-12


def test_realised_shortfall_has_the_stated_mean_and_variance():
    env = AlmgrenChriss()
    state, policy = env.init(40_000, _rng()), env.solve().policy
    start = env.wealth(state)
    for _ in range(env.steps):
        state, step = env.step(state, policy.act(env.observe(state), None, None)[0])
    assert step.last.all() and (step.discount == 0).all() and (state.left == 0).all()
    shortfall, cost = start - env.wealth(state), env.shortfall(env.trajectory())
    assert float(shortfall.mean()) == pytest.approx(cost.mean, abs=4.0 * (cost.variance / 40_000) ** 0.5)
    assert float(shortfall.var()) == pytest.approx(cost.variance, rel=0.03)


def test_settings_that_mean_nothing_are_refused():
    for bad in ({"shares": 0.0}, {"steps": 0}, {"risk_aversion": -1.0}, {"spread": -1.0}, {"permanent": 1e-5}):
        with pytest.raises(ConfigError):
            AlmgrenChriss(**bad)
    with pytest.raises(ConfigError, match="undiscounted"):
        AlmgrenChriss().solve(0.9)
