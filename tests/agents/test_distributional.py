"""Distributional learning with a stock: against exact dynamic programming over (state, stock) on three problems."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from fiduciary.agents import MLP, Head, Training
from fiduciary.agents.distributional import Distributional, _Run
from fiduciary.core.checks import check_agent, check_env
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs
from fiduciary.envs.stock_augmented import StockAugmented
from fiduciary.envs.tabular import Tabular, nothing
from watching import resumes_exactly

SMALL = Distributional(
    net=MLP((), Head((16,))), quantiles=8, updates=40, accounts=8, batch=32, warm_up=64, copy_every=10,
    training=Training(keep_every=10),
)  # fmt: skip


def rounds(outcomes, times):
    """`times` rounds; in each, action a pays what chance draws from outcomes[a] = ((probability, reward), ...).

    A state is a round and the reward that has just been drawn, since a table pays by state and action: the draw shows in the
    state that follows, whose every action pays it and leads to the next round.
    """
    rewards = sorted({reward for row in outcomes for _, reward in row})
    n, a = len(rewards), len(outcomes)
    states = times * (1 + n) + 1
    transition = torch.zeros(states, a, states, dtype=torch.float64)
    reward = torch.zeros(states, a, dtype=torch.float64)
    for k in range(times):
        at = k * (1 + n)
        for action, row in enumerate(outcomes):
            for p, x in row:
                transition[at, action, at + 1 + rewards.index(x)] += p
        for place, x in enumerate(rewards):
            reward[at + 1 + place] = x
            transition[at + 1 + place, :, (k + 1) * (1 + n) if k + 1 < times else states - 1] = 1.0
    transition[-1, :, -1] = 1.0
    start = torch.zeros(states, dtype=torch.float64)
    start[0] = 1.0
    return Tabular(transition, reward, start=start, horizon=2 * times + 1)


PROBLEMS = {
    "safe or risky": rounds((((1.0, 0.1),), ((0.5, 0.5), (0.5, -0.2))), 3),
    "sell now, in parts or later": rounds(
        (((1.0, 0.0),), ((0.8, 0.2), (0.2, -0.1)), ((0.6, 0.5), (0.3, 0.0), (0.1, -0.8))), 2
    ),
    "insured or not": rounds((((1.0, 0.15),), ((0.9, 0.3), (0.1, -1.0)), ((0.5, 0.3), (0.5, 0.1))), 3),
}


def best(problem, f, stock):
    """max_pi E f(c_0 + G), by recursion over (state, stock)."""
    p, r = problem.transition, problem.reward

    @cache
    def value(s, c):
        if bool(problem.absorbing[s]):
            return f(c)
        outcomes = [
            sum(float(p[s, a, n]) * value(int(n), round(c + float(r[s, a]), 9)) for n in p[s, a].nonzero().flatten())
            for a in range(r.shape[1])
        ]
        return max(outcomes)

    return value(0, round(stock, 9))


def law(problem, policy, stock):
    """Exact distribution of G under `policy` started with `stock`: {return: probability}."""
    found, open_ = {}, [(0, 0.0, 1.0)]
    while open_:
        s, gain, chance = open_.pop()
        if bool(problem.absorbing[s]):
            found[round(gain, 9)] = found.get(round(gain, 9), 0.0) + chance
            continue
        action = int(policy.act(_obs(problem, s, stock + gain), None, None)[0])
        row = problem.transition[s, action]
        reward = float(problem.reward[s, action])
        open_ += [(int(n), gain + reward, chance * float(row[n])) for n in row.nonzero().flatten()]
    return found


def _obs(problem, s, stock):
    one_hot = torch.nn.functional.one_hot(torch.tensor([s]), len(problem.reward)).float()
    account = torch.cat((one_hot, torch.tensor([[stock]], dtype=torch.float32)), -1)
    return Obs(nothing(account[:, 0]), account, torch.ones(1, problem.reward.shape[1], dtype=torch.bool))


def cvar(law, tau):
    mean, left = 0.0, tau
    for gain in sorted(law):
        part = min(left, law[gain])
        mean, left = mean + part * gain, left - part
    return mean / tau


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_one_network_serves_every_level_of_risk_within_one_percent(name):
    problem = PROBLEMS[name]
    env = StockAugmented(problem, stock=(-2.0, 2.0))
    agent = Distributional(updates=2_500, lr=3e-3, copy_every=20, training=Training(schedule="cosine"), epsilon=0.5)
    policy = agent.fit(env, rng=torch.Generator().manual_seed(0))
    levels = torch.linspace(-2.0, 2.0, 81, dtype=torch.float64)
    spread = float(problem.reward.max() - problem.reward.min())
    for tau in (0.05, 0.1, 0.25, 0.5, 1.0):
        exact = max(float(b) + best(problem, lambda x: min(x, 0.0), -float(b)) / tau for b in levels)
        chosen = env.serve(policy, tau, rng=torch.Generator().manual_seed(1), episodes=2_000)
        reached = cvar(law(problem, policy, chosen.stock), tau)
        assert reached <= exact + 1e-6, f"tau {tau}: the recursion is no upper bound"
        assert chosen.cvar == pytest.approx(reached, abs=0.05 * spread)
        assert reached >= exact - 0.01 * spread, f"tau {tau}: {reached:.4f} of {exact:.4f}"


@pytest.mark.slow
def test_a_target_is_met_as_well_as_can_be():
    problem = PROBLEMS["safe or risky"]
    how = Training(schedule="cosine")
    agent = Distributional(
        utility="target", updates=3_000, batch=512, lr=2e-3, copy_every=20, epsilon=0.5, training=how
    )
    policy = agent.fit(StockAugmented(problem, stock=(-2.0, 1.0)), rng=torch.Generator().manual_seed(0))
    for goal in (-0.3, 0.0, 0.3, 0.6, 0.9, 1.2):
        exact = best(problem, lambda x: -abs(x), -goal)
        reached = -sum(p * abs(gain - goal) for gain, p in law(problem, policy, -goal).items())
        assert reached >= exact - 0.01 * 2.1, f"goal {goal}: {reached:.4f} of {exact:.4f}"


def test_a_relabelled_stock_follows_its_own_arithmetic():
    env = StockAugmented(PROBLEMS["safe or risky"], stock=(-1.0, 1.0), gamma=0.9)
    run = _Run(replace(SMALL, gamma=0.9), env, torch.Generator().manual_seed(0))
    run.advance()
    now = run.replay.sample(64, run.rng)
    before, after = run._restocked(now)
    assert torch.equal(before[:, :-1], now.account_tm1[:, :-1])
    assert torch.equal(after[:, :-1], now.account_t[:, :-1])
    assert torch.allclose(after[:, -1], (before[:, -1] + now.r_t) / 0.9)
    assert not torch.allclose(before[:, -1], now.account_tm1[:, -1])
    # What was lived obeys the same law, so that a relabelled transition is as true as a lived one.
    assert torch.allclose(now.account_t[:, -1], (now.account_tm1[:, -1] + now.r_t) / 0.9, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_the_stock_carries_what_was_earned(env, gamma):
    rich = StockAugmented(env, stock=(-0.5, 0.5), gamma=gamma)
    assert check_env(rich)
    state, total = rich.init(4, torch.Generator().manual_seed(0)), 0.0
    first = state.stock
    assert len(set(first.tolist())) == 4
    for k in range(20):
        state, step = rich.step(state, torch.ones(4, dtype=torch.int64))
        total = total + gamma**k * step.reward
    assert torch.allclose(gamma**20 * state.stock, first + total)
    assert torch.equal(rich.fixed(0.3).init(2, torch.Generator()).stock, torch.tensor([0.3, 0.3], dtype=torch.float64))


@pytest.mark.parametrize("options", [{}, {"utility": "target", "relabel": False}])
def test_keeps_the_contract_and_resumes_exactly(env, options):
    agent, rich = replace(SMALL, **options), StockAugmented(env, stock=(-1.0, 1.0))
    assert check_agent(agent, rich)
    for valid in (None, rich):
        assert resumes_exactly(agent, rich, die_after=20, valid=valid)


def test_what_cannot_be_is_refused(env):
    with pytest.raises(ConfigError, match="a stock as last account feature"):
        SMALL.fit(env, rng=torch.Generator())
    with pytest.raises(ConfigError, match="`gamma` must be that of the environment"):
        replace(SMALL, gamma=0.9).fit(StockAugmented(env, stock=(-1.0, 1.0), gamma=0.99), rng=torch.Generator())
    with pytest.raises(ConfigError, match="`stock` must be its lowest"):
        StockAugmented(env, stock=(1.0, -1.0))
    with pytest.raises(ConfigError, match="`utility` must be one of"):
        Distributional(utility="sharpe")
    with pytest.raises(ConfigError, match="`tau` must lie"):
        StockAugmented(env, stock=(0.0, 1.0)).serve(None, 0.0, rng=torch.Generator())
