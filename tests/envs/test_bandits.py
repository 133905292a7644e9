"""Bandits: contract, pay and regret by hand, the Bayes-optimal policy against exact fractions."""

import math
from fractions import Fraction
from functools import cache

import pytest
import torch

from fiduciary.agents.rules import Random
from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle
from fiduciary.envs.bandits import Always, BernoulliBandit, LinearBandit, lai_robbins, log_slope, regrets

ENVS = [BernoulliBandit(2, 10), BernoulliBandit(3, 8), BernoulliBandit((0.9, 0.2), 12), LinearBandit(4, 3, horizon=10)]


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("env", ENVS, ids=lambda env: env.spec.name)
def test_contract(env):
    check_env(env, batch=6)


@pytest.mark.parametrize("env", ENVS, ids=lambda env: env.spec.name)
def test_observations_and_steps_are_blind_to_the_future(env):
    state, arm = env.init(1, _rng()), torch.zeros(1, dtype=torch.int64)
    for _ in range(4):
        state, _step = env.step(state, arm)
    others = [env.perturb(state, _rng(seed)) for seed in range(20)]
    seen = env.observe(state).account
    assert all(torch.equal(seen, other.observe(state).account) for other in others)
    assert any(not torch.equal(env.step(state, arm)[1].reward, other.step(state, arm)[1].reward) for other in others)
    later = env.perturb(env.step(state, arm)[0], _rng(1))
    assert torch.equal(env.step(state, arm)[1].reward, later.step(state, arm)[1].reward)


def test_pulls_by_hand():
    env = BernoulliBandit((0.25, 0.75), 3)
    state = env.init(1, _rng())._replace(uniform=torch.tensor([[0.3, 0.2, 0.8]], dtype=torch.float64))
    for arm, paid in ((0, 0.0), (0, 1.0), (1, 0.0)):
        state, step = env.step(state, torch.tensor([arm]))
        assert float(step.reward) == paid
    assert env.observe(state).account.tolist() == [[0.0, 1.0, 1.0, 0.0, 1.0]]
    assert float(state.regret) == 1.0 and step.last.all() and float(step.discount) == 0.0
    again, step = env.step(state, torch.tensor([0]))
    assert float(step.reward) == 0.0 and torch.equal(again.counts, state.counts)


def test_an_arm_pays_its_mean():
    n, env = 20_000, BernoulliBandit((0.1, 0.6), 1)
    for arm, mean in enumerate(env.arms):
        paid = env.step(env.init(n, _rng(1)), torch.full((n,), arm))[1].reward
        assert abs(float(paid.mean()) - mean) < 4 * math.sqrt(mean * (1 - mean) / n)


def test_linear_statistics_are_sums_over_what_was_chosen():
    env, rng = LinearBandit(4, 3, horizon=6), _rng(1)
    state = env.init(5, _rng())
    assert torch.allclose(state.theta.norm(dim=-1), torch.ones(5, dtype=torch.float64))
    gram, moment, regret = torch.zeros(5, 3, 3), torch.zeros(5, 3), torch.zeros(5)
    for t in range(6):
        arm = Random().act(env.observe(state), None, rng)[0]
        contexts = state.context[:, t]
        x = contexts[torch.arange(5), arm]
        means = (contexts.double() @ state.theta.unsqueeze(-1)).squeeze(-1)
        state, step = env.step(state, arm)
        noise = step.reward - means[torch.arange(5), arm]
        torch.testing.assert_close(noise, state.noise[:, t])
        gram += x.unsqueeze(-1) * x.unsqueeze(-2)
        moment += step.reward.float().unsqueeze(-1) * x
        regret += (means.amax(-1) - means[torch.arange(5), arm]).float()
    account = env.observe(state).account
    torch.testing.assert_close(account[:, 12:21].unflatten(-1, (3, 3)), gram)
    torch.testing.assert_close(account[:, 21:], moment)
    torch.testing.assert_close(state.regret.float(), regret)


# --- the answer ------------------------------------------------------------------------------------------------------


def _bayes(horizon, gamma=Fraction(1)):
    @cache
    def value(s1, f1, s2, f2):
        if s1 + f1 + s2 + f2 == horizon:
            return Fraction(0)
        p, q = Fraction(s1 + 1, s1 + f1 + 2), Fraction(s2 + 1, s2 + f2 + 2)
        first = p * (1 + gamma * value(s1 + 1, f1, s2, f2)) + (1 - p) * gamma * value(s1, f1 + 1, s2, f2)
        second = q * (1 + gamma * value(s1, f1, s2 + 1, f2)) + (1 - q) * gamma * value(s1, f1, s2, f2 + 1)
        return max(first, second)

    return value(0, 0, 0, 0)


@pytest.mark.parametrize("horizon", [1, 2, 5, 10])
def test_the_bayes_optimal_value_is_exact(horizon):
    env = BernoulliBandit(2, horizon)
    assert isinstance(env, Oracle)
    assert env.solve(1.0).value == pytest.approx(float(_bayes(horizon)), rel=1e-13)
    assert env.solve(0.5).value == pytest.approx(float(_bayes(horizon, Fraction(1, 2))), rel=1e-13)


@pytest.mark.parametrize("env", [BernoulliBandit(2, 10), BernoulliBandit((0.3, 0.8), 10)], ids=["drawn", "fixed"])
def test_the_oracle_s_value_is_attained(env):
    solution, n = env.solve(1.0), 20_000
    check_policy(solution.policy, env)
    state = env.init(n, _rng(1))
    for _ in range(env.horizon):
        state, _step = env.step(state, solution.policy.act(env.observe(state), None, None)[0])
    earned = env.wealth(state) - 1.0
    assert abs(float(earned.mean()) - solution.value) < 4 * float(earned.std()) / math.sqrt(n)


# --- regret ----------------------------------------------------------------------------------------------------------


def test_regret_of_one_arm_and_of_chance():
    env = BernoulliBandit((0.9, 0.8), 50)
    steady = regrets(env, Always(1), runs=3, rng=_rng())
    torch.testing.assert_close(steady, (0.1 * torch.arange(1, 51, dtype=torch.float64)).expand(3, -1))
    chance = regrets(env, Random(), runs=400, rng=_rng())[:, -1]
    assert float(chance.mean()) == pytest.approx(2.5, abs=4 * float(chance.std()) / 20)


def test_a_logarithm_has_its_own_slope_and_a_line_a_growing_one():
    t = torch.arange(1, 2001, dtype=torch.float64)
    assert log_slope((3.0 * t.log() + 7.0).expand(2, -1)) == pytest.approx(3.0)
    assert log_slope(t.expand(2, -1)) > 1.5 * log_slope(t[:1000].expand(2, -1))


def test_lai_and_robbins_by_hand():
    kl = 0.8 * math.log(0.8 / 0.9) + 0.2 * math.log(0.2 / 0.1)
    assert lai_robbins((0.9, 0.8)) == pytest.approx(0.1 / kl)
    assert lai_robbins((0.9, 0.9)) == 0.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: BernoulliBandit(1),
        lambda: BernoulliBandit((0.5, 1.5)),
        lambda: BernoulliBandit(2, 0),
        lambda: LinearBandit(1),
        lambda: LinearBandit(4, 1),
        lambda: BernoulliBandit(2, 100).solve(1.0),
    ],
)
def test_what_is_no_bandit_is_refused(make):
    with pytest.raises(ConfigError):
        make()
