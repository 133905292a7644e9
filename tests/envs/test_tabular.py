"""Finite processes: laws, the twin of mixed and pure actions, chance against the kernel, and answers known in closed form."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.checks import check_env, check_policy, random_action
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle
from fiduciary.envs import tabular
from fiduciary.envs.tabular import Table, Tabular

GAMMA = 0.95


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _all(space):
    two = [tabular.chain(space=space), tabular.garnet(6, 2, 3, _rng(), space=space), tabular.stopping(space=space)]
    return two if space == "box" else [*two, tabular.trading(space=space), tabular.execution(space=space)]


PROBLEMS = [problem for space in ("discrete", "box", "simplex") for problem in _all(space)]


@pytest.mark.parametrize("env", PROBLEMS, ids=lambda env: f"{env.name}-{env.space}")
def test_contract_and_oracle(env):
    check_env(env, batch=6, steps=40)
    assert isinstance(env, Oracle)
    solution = env.solve(GAMMA)
    check_policy(solution.policy, env)
    assert solution.value == pytest.approx(float(env.initial @ env.values(solution.policy, GAMMA)), abs=1e-12)


@pytest.mark.parametrize("env", PROBLEMS, ids=lambda env: f"{env.name}-{env.space}")
def test_the_solution_satisfies_bellman_and_no_policy_beats_it(env):
    best = env.values(env.solve(GAMMA).policy, GAMMA)
    q = env.reward + GAMMA * env.transition @ best
    torch.testing.assert_close(q.amax(-1), best, rtol=1e-11, atol=1e-11)
    every = env.observe(env.init(len(best), _rng())).legal[:1].expand(len(best), -1)
    for seed in range(20):
        other = env.values(Table(random_action(env.spec.space, every, _rng(seed))), GAMMA)
        assert (other <= best + 1e-9).all()


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_mixing_does_not_help_and_corners_are_the_pure_actions(space):
    for pure, mixed in zip(_all("discrete"), _all(space), strict=False):
        assert pure.solve(GAMMA).value == pytest.approx(mixed.solve(GAMMA).value, abs=1e-10)
        actions = len(pure.actions or pure.reward[0])
        a, b = pure.init(64, _rng(1)), mixed.init(64, _rng(1))
        for k in range(pure.horizon):
            action = torch.randint(0, actions, (64,), generator=_rng(k))
            corner = torch.eye(actions)[action] if space == "simplex" else 2.0 * action.unsqueeze(-1) - 1.0
            (a, pure_step), (b, mixed_step) = pure.step(a, action), mixed.step(b, corner)
            assert torch.equal(a.s, b.s) and torch.equal(pure_step.last, mixed_step.last)
            torch.testing.assert_close(pure_step.reward, mixed_step.reward)


def test_value_iteration_equals_the_best_of_all_policies():
    env = tabular.garnet(4, 3, 2, _rng(3))
    every = [env.values(Table(torch.tensor(p)), 0.9) for p in itertools.product(range(3), repeat=4)]
    best = torch.stack(every).amax(0)
    torch.testing.assert_close(
        tabular.value_iteration(env.transition, env.reward, 0.9).amax(-1), best, rtol=0, atol=1e-11
    )
    torch.testing.assert_close(env.values(env.solve(0.9).policy, 0.9), best, rtol=0, atol=1e-12)


@given(seed=st.integers(0, 10_000), weight=st.floats(0, 1))
@settings(max_examples=10)
def test_chance_follows_the_mixed_kernel(seed, weight):
    n = 20_000
    env = tabular.garnet(5, 2, 3, _rng(seed), space="simplex")
    state = env.init(n, _rng(seed + 1))._replace(s=torch.zeros(n, dtype=torch.int64))
    mixture = torch.tensor([[weight, 1.0 - weight]], dtype=torch.float64)
    after, step = env.step(state, mixture.expand(n, 2))
    kernel = (mixture[0].unsqueeze(-1) * env.transition[0]).sum(0)
    seen = torch.bincount(after.s, minlength=5) / n
    assert (seen[kernel == 0] == 0).all()
    assert ((seen - kernel).abs() <= 6 * (kernel * (1 - kernel) / n).sqrt() + 1e-12).all()
    torch.testing.assert_close(step.reward, ((mixture * env.reward[0]).sum()).expand(n))


def test_what_is_earned_is_the_value_less_what_lies_beyond_the_cut_off():
    env = tabular.trading(horizon=60)
    policy, n = env.solve(0.9).policy, 20_000
    state, total = env.init(n, _rng(5)), torch.zeros(20_000, dtype=torch.float64)
    for k in range(env.horizon):
        state, step = env.step(state, policy.act(env.observe(state), None, None)[0])
        total += 0.9**k * step.reward
    assert step.last.all() and (step.discount == 1).all()
    assert abs(float(total.mean()) - env.solve(0.9).value) < 4 * float(total.std()) / math.sqrt(n) + 0.9**60 * 10


def test_an_impossible_state_is_never_drawn():
    cdf = tabular.cumulate(torch.tensor([[0.0, 0.3, 0.0, 0.7, 0.0]], dtype=torch.float64))
    draws = torch.tensor([0.0, 0.3 - 1e-12, 0.3, 1.0 - 2**-53], dtype=torch.float64)
    assert tabular.invert(cdf.expand(4, 5), draws).tolist() == [1, 1, 3, 3]
    # Ten tenths add up to less than 1; what is drawn in between is the last that can be.
    tenths = tabular.cumulate(torch.tensor([[0.1] * 10 + [0.0]], dtype=torch.float64))
    assert tabular.invert(tenths, draws[3:]).tolist() == [9]


# --- closed forms ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("states", "gamma"), [(5, 0.9), (5, 0.5), (9, 0.99)])
def test_chain_without_slip(states, gamma):
    env = tabular.chain(states, slip=0.0)
    wanted = max(gamma ** (states - 1), 0.2) / (1 - gamma)
    assert env.solve(gamma).value == pytest.approx(wanted, rel=1e-10)


def test_trading_follows_the_regime_only_where_it_pays_the_cost():
    # Flat in the good regime for ever, or buy and hold it until it turns: the closed form of a two-state renewal.
    gamma, stay = 0.9, 0.9
    cheap = tabular.trading(cost=0.5, persistence=stay).solve(gamma).policy.action
    assert cheap.tolist()[0] == 1 and cheap.tolist()[1] in (0, 1) and cheap.tolist()[3] == 2
    dear = tabular.trading(cost=50.0, persistence=stay).solve(gamma).policy.action
    assert (dear[[0, 2]] != 1).all()
    one = tabular.trading((1.0, 1.0), cost=0.5)
    assert float(one.values(one.solve(gamma).policy, gamma)[0]) == pytest.approx(1 / (1 - gamma) - 0.5, rel=1e-10)


def test_stopping_is_the_perpetual_put():
    """V(j) = max_b (K - S_b) q^(j - b), q the root of q = gamma (up q^2 + down) below 1, where the edges are far away."""
    gamma, up, size, levels = 0.99, 0.5, 0.05, 401
    q = (1 - math.sqrt(1 - 4 * gamma**2 * up * (1 - up))) / (2 * gamma * up)
    wanted = max((1.0 - math.exp(size * b)) * q**-b for b in range(-100, 1))
    assert tabular.stopping(levels, up=up, step=size).solve(gamma).value == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize(("lots", "steps"), [(6, 3), (6, 1), (8, 4)])
def test_execution_without_risk_sells_evenly(lots, steps):
    assert tabular.execution(lots, steps, impact=2.0).solve(1.0).value == pytest.approx(-2.0 * lots**2 / steps)


def test_execution_with_risk_equals_the_best_of_all_schedules():
    lots, steps, impact, risk = 5, 4, 1.0, 0.4

    def cost(schedule):
        left = [lots - sum(schedule[: k + 1]) for k in range(steps)]
        return impact * sum(x**2 for x in schedule) + risk * sum(x**2 for x in left)

    best = min(cost(x) for x in itertools.product(range(lots + 1), repeat=steps) if sum(x) == lots)
    assert tabular.execution(lots, steps, impact=impact, risk=risk).solve(1.0).value == pytest.approx(-best)


# --- ends, chance and errors -----------------------------------------------------------------------------------------


def test_an_end_is_terminal_and_a_cut_off_is_not():
    env = tabular.stopping(5, horizon=3)
    state, step = env.step(env.init(2, _rng()), torch.tensor([0, 1]))
    assert step.discount.tolist() == [1.0, 0.0] and step.last.tolist() == [False, True]
    for _ in range(4):
        state, step = env.step(state, torch.zeros(2, dtype=torch.int64))
    assert step.discount.tolist() == [1.0, 0.0] and step.last.all() and (step.reward == 0).all()
    assert state.t.tolist() == [3, 1]


def test_perturb_redraws_what_comes_and_nothing_that_was():
    env = tabular.garnet(6, 2, 4, _rng())
    start = env.init(1, _rng(1))
    action = torch.zeros(1, dtype=torch.int64)

    def path(problem, state, steps):
        out = []
        for _ in range(steps):
            state, _step = problem.step(state, action)
            out.append(int(state.s))
        return out

    state = start
    for _ in range(10):
        state, _step = env.step(state, action)
    other = env.perturb(state, _rng(2))
    assert path(env, start, 10) == path(other, start, 10)
    assert path(env, state, 50) != path(other, state, 50)


def test_rewards_are_differentiable_in_mixed_actions():
    env = tabular.garnet(4, 3, 2, _rng(), space="simplex")
    state = env.init(8, _rng())
    action = torch.full((8, 3), 1 / 3, dtype=torch.float64, requires_grad=True)
    env.step(state, action)[1].reward.sum().backward()
    # Weights are divided by their sum, so only the part of the gradient that keeps it is left.
    reward = env.reward[state.s]
    torch.testing.assert_close(action.grad, reward - reward.mean(-1, keepdim=True))


@pytest.mark.parametrize(
    "change",
    [
        {"transition": torch.ones(5, 2, 5, dtype=torch.float64)},
        {"transition": torch.ones(5, 3, 5, dtype=torch.float64) / 5},
        {"reward": torch.full((5, 2), math.nan, dtype=torch.float64)},
        {"start": torch.ones(4, dtype=torch.float64) / 4},
        {"start": torch.ones(5, dtype=torch.float64)},
        {"horizon": 0},
        {"actions": ("one",)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_process_is_refused(change):
    with pytest.raises(ConfigError):
        replace(tabular.chain(), **change)


def test_a_box_needs_two_actions_and_a_discount_of_one_an_end(monkeypatch):
    monkeypatch.setattr(tabular, "SWEEPS", 1_000)
    with pytest.raises(ConfigError, match="two actions"):
        tabular.trading(space="box")
    with pytest.raises(ConfigError, match="settle"):
        Tabular(torch.ones(1, 1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)).solve(1.0)
