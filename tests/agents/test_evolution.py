"""CMAES and CEM: fitness against a plain loop, contract, exact resume, optimum of small problems, refusals."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from fiduciary.agents import EIIE, GRU, LSTM, MLP, TCN, Head, Training, Transformer
from fiduciary.agents.evolution import CEM, CMAES, _Run
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import PortfolioWeights, StockTrading, tabular
from fiduciary.markets import dynamics
from watching import resumes_exactly

NET = MLP(head=Head())
SMALL = CMAES(net=NET, updates=8, accounts=4, training=Training(keep_every=2))
BODIES = [MLP((4,), Head((4,))), LSTM(4, 4), GRU(4, 4), TCN(4, 2, 2), Transformer(4, 2, 1), EIIE(2, 2, 4)]


@pytest.fixture
def portfolio():
    panel = dynamics.random_walk(bars=120, symbols=2, rng=np.random.default_rng(0))
    return PortfolioWeights(panel, window=4, starts="random", episode=5)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_fitness_is_that_of_each_candidate_alone_in_the_same_worlds(portfolio, body):
    run = _Run(replace(SMALL, net=body, gamma=0.9), portfolio, torch.Generator().manual_seed(0))
    size = nn.utils.parameters_to_vector(run.net.parameters()).numel()
    candidates = torch.randn(3, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    kept = run.rng.get_state()
    together = run.fitness(candidates)
    for candidate, fitness in zip(candidates, together, strict=True):
        nn.utils.vector_to_parameters(candidate.float(), run.net.parameters())
        run.rng.set_state(kept)
        state, total = portfolio.init(4, run.rng), 0.0
        for k in range(5):
            state, step = portfolio.step(state, run.policy().act(portfolio.observe(state), None, None)[0])
            total += 0.9**k * float(step.reward.mean())
        assert float(fitness) == pytest.approx(total, abs=1e-7)


def test_rewards_after_the_end_do_not_count():
    env = tabular.stopping(levels=3)
    run = _Run(replace(SMALL, accounts=6), env, torch.Generator().manual_seed(0))
    candidates = torch.zeros(2, nn.utils.parameters_to_vector(run.net.parameters()).numel(), dtype=torch.float64)
    candidates[0, -1], candidates[1, -2] = 5.0, 5.0  # the bias of "stop", and of "wait"
    assert float(run.fitness(candidates)[0]) == 0.0  # exercised at once at the strike: worth nothing
    assert run.steps == 2 * 6 * env.spec.horizon


@pytest.mark.parametrize("agent", [SMALL, replace(SMALL, diagonal=True, population=4), CEM(
    net=NET, updates=8, accounts=4, population=10, training=Training(keep_every=2))])  # fmt: skip
@pytest.mark.parametrize("space", ["discrete", "simplex"])
def test_keeps_the_contract_and_resumes_exactly(agent, space):
    env = tabular.chain(3, space=space, horizon=10)
    assert check_agent(agent, env)
    assert resumes_exactly(agent, env, die_after=4)


def test_obeys_what_is_legal_and_refuses_a_large_covariance(env):
    small = replace(env, starts="random", episode=10)
    assert isinstance(small, StockTrading)
    with pytest.raises(ConfigError, match="at most 5,000 parameters"):
        replace(SMALL, net=MLP((200,))).fit(small, rng=torch.Generator())
    assert check_agent(replace(SMALL, updates=2, diagonal=True), small)


def test_leaves_numpy_s_global_stream_alone():
    np.random.seed(7)
    wanted = np.random.RandomState(7).rand()
    SMALL.fit(tabular.chain(3, horizon=5), rng=torch.Generator().manual_seed(0))
    assert np.random.rand() == wanted


@pytest.mark.parametrize("problem", [tabular.chain, tabular.trading])
@pytest.mark.parametrize("space", ["discrete", "simplex"])
def test_finds_the_optimum_of_a_small_problem(problem, space):
    env = problem(space=space, horizon=40)
    agent = CMAES(net=NET, updates=60, gamma=0.9)
    policy = agent.fit(env, rng=torch.Generator().manual_seed(0))
    assert float(env.initial @ env.values(policy, 0.9)) >= 0.99 * env.solve(0.9).value


@pytest.mark.parametrize("agent", [CMAES(net=NET, updates=60, gamma=0.9), CEM(net=NET, updates=60, gamma=0.9)])
def test_finds_the_optimum_of_a_box(agent):
    env = tabular.chain(space="box", horizon=40)
    policy = agent.fit(env, rng=torch.Generator().manual_seed(0))
    assert float(env.initial @ env.values(policy, 0.9)) >= 0.99 * env.solve(0.9).value


def test_the_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cma", None)
    with pytest.raises(ConfigError, match=r"needs the library cma.*fiduciary\[search\]"):
        SMALL.fit(tabular.chain(), rng=torch.Generator())


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="`sigma` must be positive"):
        CMAES(sigma=0)
    with pytest.raises(ConfigError, match="`population` must be at least 2"):
        CMAES(population=1)
    with pytest.raises(ConfigError, match="`elite` must be two"):
        CEM(population=4, elite=0.25)
    with pytest.raises(ConfigError, match="`jitter`"):
        CEM(jitter=-1)
