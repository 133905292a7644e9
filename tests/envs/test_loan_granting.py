"""Loan granting: contract, sweep, and the threshold's value against brute force."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle, Sweepable
from fiduciary.envs.loan_granting import GRANT, REFUSE, LoanGranting

ENV = LoanGranting()


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_contract():
    check_env(replace(ENV, horizon=12), batch=6)
    assert isinstance(ENV, Oracle) and isinstance(ENV, Sweepable)
    check_policy(ENV.solve(1.0).policy, ENV)


def test_what_a_loan_pays_by_hand():
    env = LoanGranting(intercept=0.0, weights=(1.0,), interest=0.5, loss=0.4, funding=0.1, horizon=3)
    uniform = torch.tensor([[[0.5, 0.49], [0.5, 0.51], [0.5, 0.1], [0.5, 0.5]]], dtype=torch.float64)  # x = 0, p = 1/2
    state = env.init(1, _rng())._replace(uniform=uniform)
    rewards = []
    for action in (GRANT, GRANT, REFUSE):
        assert env.observe(state).account.tolist() == [[0.0]]
        state, step = env.step(state, torch.tensor([action]))
        rewards.append(float(step.reward))
    assert rewards == pytest.approx([-0.5, 0.4, 0.0])
    assert step.last.all() and float(step.discount) == 1.0 and float(env.wealth(state)) == pytest.approx(99.9)
    assert float(env.step(state, torch.tensor([GRANT]))[1].reward) == 0.0


def test_observations_and_steps_are_blind_to_the_future():
    state, grant = ENV.init(1, _rng()), torch.tensor([GRANT])
    for _ in range(7):
        state, _step = ENV.step(state, grant)
    other = ENV.perturb(state, _rng(1))
    assert torch.equal(ENV.observe(state).account, other.observe(state).account)
    then = [env.observe(env.step(state, grant)[0]).account for env in (ENV, other)]
    assert not torch.isclose(*then).any()
    later = ENV.perturb(ENV.step(state, grant)[0], _rng(1))
    assert torch.equal(ENV.step(state, grant)[1].reward, later.step(state, grant)[1].reward)


def test_the_sweep_pays_what_loans_pay_and_repeats():
    sweep, again = (replace(ENV, applicants=20_000).sweep() for _ in range(2))
    assert torch.equal(sweep.reward, again.reward)
    granted = sweep.reward[:, 0, GRANT]
    p = ENV.default_probability(sweep.account[:, 0])
    expected = (1 - p) * ENV.interest - p * ENV.loss - ENV.funding
    assert granted.unique().tolist() == pytest.approx([-ENV.loss - ENV.funding, ENV.interest - ENV.funding], abs=1e-12)
    gap = granted - expected
    assert abs(float(gap.mean())) < 4 * float(gap.std()) / math.sqrt(len(gap))
    assert (sweep.reward[:, 0, REFUSE] == 0).all() and sweep.chained.sum() == len(sweep.bar) - 1


@settings(max_examples=8, deadline=None)
@given(
    intercept=st.floats(-4, 1),
    weights=st.lists(st.floats(0.1, 2), min_size=1, max_size=4),
    interest=st.floats(0.05, 0.5),
    loss=st.floats(0.1, 1),
    gamma=st.floats(0, 1),
)
def test_the_value_is_the_integral_of_what_is_worth_granting(intercept, weights, interest, loss, gamma):
    env = LoanGranting(intercept, tuple(weights), interest, loss, 0.02, horizon=7)
    norm = math.hypot(*weights)

    def gain(z):
        p = 1 / (1 + math.exp(-(intercept + norm * z)))
        return max(0.0, (1 - p) * interest - p * loss - 0.02) * stats.norm.pdf(z)

    cut = (math.log(env.threshold / (1 - env.threshold)) - intercept) / norm
    each = integrate.quad(gain, -40, min(cut, 40), limit=500, points=[-8, min(cut, 8)])[0] if cut > -12 else 0.0
    assert env.solve(gamma).value == pytest.approx(each * sum(gamma**k for k in range(7)), abs=1e-7)


def test_the_threshold_is_exact_and_its_value_is_attained():
    assert ENV.threshold == pytest.approx(0.09 / 0.72)
    p = ENV.threshold
    assert (1 - p) * ENV.interest - p * ENV.loss == pytest.approx(ENV.funding)
    solution, n = ENV.solve(1.0), 20_000
    state = ENV.init(n, _rng(1))
    for _ in range(ENV.horizon):
        state, _step = ENV.step(state, solution.policy.act(ENV.observe(state), None, None)[0])
    earned = ENV.wealth(state) - ENV.capital
    assert abs(float(earned.mean()) - solution.value) < 4 * float(earned.std()) / math.sqrt(n)
    sweep = ENV.sweep()
    p = ENV.default_probability(sweep.account[:, 0]).numpy()
    # On many applicants no other cut-off earns more in expectation.
    worth = (1 - p) * ENV.interest - p * ENV.loss - ENV.funding
    cuts = np.linspace(0.02, 0.5, 25)
    assert all(worth[p < cut].sum() <= worth[p < ENV.threshold].sum() for cut in cuts)


@pytest.mark.parametrize(
    "change", [{"weights": ()}, {"weights": (0.0,)}, {"horizon": 0}, {"funding": 0.2}, {"loss": -0.12}], ids=str
)
def test_what_is_no_lending_is_refused(change):
    with pytest.raises(ConfigError):
        LoanGranting(**change)
