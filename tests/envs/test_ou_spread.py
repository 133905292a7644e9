"""The spread: laws, moments of its process, the best rule against another dynamic program, a closed form and textbook rules."""

import math

import numpy as np
import pytest
import torch

from fiduciary.agents.rules import Random
from fiduciary.agents.training import totals
from fiduciary.core import trees
from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, Oracle, Sweepable
from fiduciary.envs.ou_spread import Bands, OUSpread, Pair, SScore
from fiduciary.envs.tabular import nothing

GAMMA = 0.9
ENVS = [OUSpread(horizon=40), OUSpread(0.5, mu=7.0, sigma=2.0, fee=0.3, horizon=40), OUSpread(space="box", horizon=40)]


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("env", ENVS, ids=str)
def test_contract_and_oracle(env):
    check_env(env, batch=4)
    assert isinstance(env, Oracle)
    check_policy(env.solve(GAMMA).policy, env)
    check_policy(SScore(space=env.space), env)


def test_what_comes_later_is_not_seen():
    env = OUSpread()
    state, _step = env.step(env.init(1, _rng()), torch.tensor([2]))
    other = env.perturb(state, _rng(1))
    assert torch.equal(env.observe(state).account, other.observe(state).account)
    (after, _), (otherwise, _) = env.step(state, torch.tensor([0])), other.step(state, torch.tensor([0]))
    assert after.x != otherwise.x
    assert trees.equal(env.perturb(after, _rng(1)).step(state, torch.tensor([0])), env.step(state, torch.tensor([0])))


def test_the_process_has_its_stationary_law_and_memory():
    env = OUSpread(0.3, mu=5.0, sigma=1.5, horizon=10)
    state = env.init(40_000, _rng())
    first = state.x
    for _ in range(4):
        before = state.x
        state, _step = env.step(state, torch.ones(len(first), dtype=torch.int64))
    deviation = 1.5 / math.sqrt(0.6)
    for x in (first, state.x):
        assert float(x.mean()) == pytest.approx(5.0, abs=4 * deviation / 200)
        assert float(x.std()) == pytest.approx(deviation, rel=0.02)
    both = torch.stack((before, state.x))
    assert float(torch.corrcoef(both)[0, 1]) == pytest.approx(math.exp(-0.3), abs=0.02)


def test_without_costs_the_best_rule_bets_on_every_deviation():
    """V = deviation (1 - e^-theta) E|z| / (1 - gamma), E|z| = sqrt(2 / pi)."""
    env = OUSpread(0.2, fee=0.0)
    solution = env.solve(GAMMA)
    value = env.deviation * (1.0 - math.exp(-0.2)) * math.sqrt(2.0 / math.pi) / (1.0 - GAMMA)
    assert solution.value == pytest.approx(value, rel=1e-4)
    sides = solution.policy.position
    middle = sides.shape[1] // 2
    assert (sides[:, :middle] == 1).all() and (sides[:, middle + 1 :] == -1).all()


def test_another_dynamic_program_agrees():
    """Gauss-Hermite quadrature and linear interpolation in NumPy, instead of a kernel on the grid."""
    env = OUSpread()
    z, memory = np.linspace(-6, 6, 601), math.exp(-env.theta)
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    weights /= weights.sum()
    ahead = memory * z[:, None] + math.sqrt(1 - memory**2) * nodes
    value = np.zeros((3, len(z)))
    for _ in range(120):
        expected = [np.interp(ahead, z, row) @ weights for row in value]
        earned = [p * env.deviation * (memory - 1) * z + GAMMA * expected[p + 1] for p in (-1, 0, 1)]
        value = np.stack([np.max([earned[p + 1] - env.fee * abs(p - q) for p in (-1, 0, 1)], 0) for q in (-1, 0, 1)])
    law = np.exp(-(z**2) / 2)
    assert env.solve(GAMMA).value == pytest.approx(value[1] @ law / law.sum(), rel=2e-3)


@pytest.mark.parametrize("env", [OUSpread(), OUSpread(space="box")], ids=["whole", "box"])
def test_the_value_is_that_of_its_policy_and_rules_fall_short(env):
    solution = env.solve(GAMMA)
    best = totals(env, solution.policy, accounts=3_000, gamma=GAMMA)
    assert float(best.mean()) == pytest.approx(solution.value, abs=4.0 * float(best.std()) / math.sqrt(len(best)))
    rules = [SScore(o, c, env.space) for o, c in ((1.25, 0.5), (1.0, 0.0), (0.5, 0.1), (0.3, 0.3))]
    for rule in (*rules, Random(env.space)):
        gap = best - totals(env, rule, accounts=3_000, gamma=GAMMA)
        assert float(gap.mean()) > 2.0 * float(gap.std()) / math.sqrt(len(gap))


def test_dearer_trading_widens_the_band():
    widths = []
    for fee in (0.0, 0.1, 0.3):
        policy = OUSpread(fee=fee).solve(GAMMA).policy
        assert isinstance(policy, Bands)
        assert (policy.position.diff() <= 0).all()  # the higher the spread, the shorter
        assert (policy.position.diff(dim=0) >= 0).all()  # what is held is let be first
        widths.append(int((policy.position[1] == 0).sum()))
    assert widths == sorted(set(widths))


def test_the_score_rule_opens_stays_and_closes():
    score = torch.tensor([-1.3, -1.0, -0.4, 1.0, 1.3, 1.3, -1.0, 1.0])
    held = torch.tensor([0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    obs = Obs(nothing(score), torch.stack((held, score), -1), torch.ones(8, 3, dtype=torch.bool))
    wanted = torch.tensor([2, 2, 1, 1, 0, 0, 1, 1])
    assert torch.equal(SScore().act(obs, None, None)[0], wanted)
    assert torch.equal(SScore(space="box").act(obs, None, None)[0].squeeze(-1), wanted - 1.0)


def test_a_sweep_says_what_a_step_does():
    env = OUSpread()
    assert isinstance(env, Sweepable)
    sweep = env.sweep()
    x = sweep.account[:50, 0, 1].double() * env.deviation + env.mu
    memory = math.exp(-env.theta)
    noise = (x[1:] - x[:-1] * memory) / (env.deviation * math.sqrt(1 - memory**2))
    rest = torch.zeros(49, dtype=torch.int64)
    for p in range(3):
        state = Pair(
            rest, x[:-1], torch.full((49,), p - 1.0).double(), torch.zeros(49).double(), noise[:, None].expand(49, 150)
        )
        assert torch.equal(env.observe(state).account, sweep.account[:49, p])
        for a in range(3):
            after, step = env.step(state, torch.full((49,), a))
            torch.testing.assert_close(step.reward, sweep.reward[:49, p, a], rtol=0, atol=1e-5)
            assert torch.equal(sweep.following[:49, p, a], (after.position + 1).long())
    with pytest.raises(ConfigError, match="discrete"):
        OUSpread(space="box").sweep()


def test_settings_that_mean_nothing_are_refused():
    for bad in ({"theta": 0.0}, {"sigma": -1.0}, {"fee": -0.1}, {"horizon": 0}, {"space": "simplex"}):
        with pytest.raises(ConfigError):
            OUSpread(**bad)
    with pytest.raises(ConfigError, match="gamma"):
        OUSpread().solve(1.0)
