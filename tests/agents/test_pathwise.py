"""Pathwise: utilities by hand, the gradient against differences, the optimum against dynamic programming."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fiduciary import factors
from fiduciary.agents import EIIE, LSTM, MLP, Head, Training, ops
from fiduciary.agents.pathwise import Pathwise, _Run
from fiduciary.agents.training import totals
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs.hedging import Hedging
from fiduciary.envs.portfolio_weights import PortfolioWeights
from fiduciary.envs.share_trading import ShareTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from watching import resumes_exactly, weights

SMALL = Pathwise(net=LSTM(8, 8), updates=30, accounts=8, horizon=6, training=Training(keep_every=10))


@pytest.fixture
def portfolio(walk):
    days = [str(day) for day in walk.dates]
    cut = splits.dates(train=(days[30], days[89]), valid=(days[90], days[119]), test=(days[120], days[-1]))
    env = PortfolioWeights(walk, factors.SIM_RELATIVE, costs=costs.linear(20), window=5, train_episode=20)
    return env.folds(cut)["portfolio"]


def test_the_mean_of_the_worst_by_hand():
    x = torch.tensor([4.0, -2.0, 1.0, 0.0, 7.0])
    assert float(ops.worst_mean(x, 0.4)) == pytest.approx((-2.0 + 0.0) / 2)
    assert float(ops.worst_mean(x, 0.5)) == pytest.approx((-2.0 + 0.0 + 0.5 * 1.0) / 2.5)
    assert float(ops.worst_mean(x, 1.0)) == pytest.approx(2.0)


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(0.01, 1.0))
def test_the_mean_of_the_worst_is_the_maximum_of_rockafellar_and_uryasev(values, tail):
    x = torch.tensor(values, dtype=torch.float64)
    best = max(float(b - torch.relu(b - x).mean() / tail) for b in x)
    assert float(ops.worst_mean(x, tail)) == pytest.approx(best, abs=1e-9)


def test_the_differential_sharpe_ratio_by_hand():
    r, alive = torch.tensor([[0.02], [0.01]], dtype=torch.float64), torch.tensor([[True], [True]])
    value, moments = ops.differential_sharpe(r, torch.tensor([[0.01], [0.0005]], dtype=torch.float64), 0.1, alive)
    first = (0.0005 * 0.01 - 0.5 * 0.01 * (0.0004 - 0.0005)) / (0.0005 - 0.0001) ** 1.5
    a, b = 0.01 + 0.1 * 0.01, 0.0005 + 0.1 * (0.0004 - 0.0005)
    second = (b * (0.01 - a) - 0.5 * a * (0.0001 - b)) / (b - a**2) ** 1.5
    assert float(value) == pytest.approx((first + second) / 2)
    assert moments.flatten().tolist() == pytest.approx([a + 0.1 * (0.01 - a), b + 0.1 * (0.0001 - b)])
    frozen = ops.differential_sharpe(r, moments, 0.1, torch.tensor([[True], [False]]))[1]
    assert frozen[0].tolist() == pytest.approx([float(moments[0]) + 0.1 * (0.02 - float(moments[0]))])


@pytest.mark.parametrize("utility", ["log", "mean-variance", "cvar"])
def test_the_gradient_is_the_slope_of_the_utility_of_the_whole_path(portfolio, utility, monkeypatch):
    """Central differences along a random direction of the weights, fees and drift included."""
    agent = replace(SMALL, utility=utility, tail=0.3, net=LSTM(4, 4, Head((4,), "tanh")))
    run = _Run(agent, portfolio.train, torch.Generator().manual_seed(0))
    run.net.double()
    run.env.observe(run.present)
    read = run._encode
    monkeypatch.setattr(
        run, "_encode", lambda obs: read(obs._replace(world=obs.world._replace(bars=obs.world.bars.double())))
    )
    head = run.net.head
    monkeypatch.setattr(run.net, "head", lambda h, account: head(h, account.double()))
    seen = []
    monkeypatch.setattr(run.optimiser, "step", lambda loss, **_: seen.append(-loss))
    start, moments, world = run.present, run.moments, run.rng.get_state()

    def utility_at():
        run.present, run.moments = start, moments
        run.rng.set_state(world)
        run.advance()
        return seen[-1]

    parameters = list(run.net.parameters())
    slope = torch.autograd.grad(utility_at(), parameters)
    direction = [torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(1)) for p in parameters]
    values = []
    for size in (1e-5, -2e-5):
        for p, d in zip(parameters, direction, strict=True):
            p.data.add_(d, alpha=size)
        values.append(float(utility_at().detach()))
    difference = (values[0] - values[1]) / 2e-5
    # Accounts are shown to networks as float32, which blurs a difference quotient in its fourth digit.
    assert difference == pytest.approx(
        float(sum((s * d).sum() for s, d in zip(slope, direction, strict=True))), rel=2e-2
    )
    assert difference != 0


def _fit(agent, fold):
    return weights(agent.fit(fold.train, rng=torch.Generator().manual_seed(0)))


def test_checkpointing_changes_nothing_and_truncation_does(portfolio):
    plain = _fit(SMALL, portfolio)
    assert torch.allclose(_fit(replace(SMALL, checkpoint=True), portfolio), plain, atol=1e-6)
    assert torch.equal(_fit(replace(SMALL, truncate=6), portfolio), plain)
    assert not torch.allclose(_fit(replace(SMALL, truncate=1), portfolio), plain, atol=1e-6)


def test_paths_encoded_in_one_pass_or_window_by_window_teach_the_same(portfolio):
    agent = replace(SMALL, net=MLP((8,), Head()))
    one, other = (_fit(replace(agent, sequence=sequence), portfolio) for sequence in (True, False))
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"utility": "sharpe"}, {"net": EIIE(4, 3, 4), "sequence": False}])
def test_keeps_the_contract_and_resumes_exactly(portfolio, options):
    agent = replace(SMALL, **options)
    assert check_agent(agent, portfolio.train)
    for valid in (None, portfolio.valid):
        assert resumes_exactly(agent, portfolio.train, die_after=20, valid=valid)


@pytest.mark.parametrize("utility", ["log", "mean-variance", "sharpe"])
def test_finds_the_optimum_of_a_market_whose_signal_is_certain(utility):
    """Within 1 % of backward induction over bars and positions in {cash, stock}, which full information makes exact."""
    market = dynamics.planted(bars=700, noise=1e-4, rng=np.random.default_rng(0))
    env = PortfolioWeights(market.panel, factors.SIM_RELATIVE, costs=costs.linear(10), window=3, execution="next_open")
    dates = [str(day) for day in market.panel.dates]
    fold = env.folds(splits.dates(train=(dates[60], dates[399]), test=(dates[400], dates[-1])))["portfolio"]
    agent = Pathwise(net=MLP((16,), Head((16,))), utility=utility, updates=150, accounts=64, horizon=8)
    path = rollout(fold.test, agent.fit(fold.train, rng=torch.Generator().manual_seed(0)), rng=torch.Generator())
    growth = {0: 0.0, 1: -np.inf}
    for move in market.moves[401:]:
        buy, sell = -np.log1p(1e-3), np.log1p(-1e-3)
        growth = {
            0: max(growth[0], growth[1] + sell),
            1: max(growth[1], growth[0] + buy) + move,
        }
    assert np.log(path.wealth[-1] / path.wealth[0]) == pytest.approx(max(growth.values()), rel=0.01)


@pytest.mark.parametrize("utility", ["log", "mean-variance", "cvar", "sharpe"])
def test_validation_looks_at_the_utility_that_is_learned(portfolio, utility):
    agent = replace(SMALL, utility=utility, tail=0.3, risk_aversion=3.0)
    policy = agent.fit(portfolio.train, rng=torch.Generator().manual_seed(0))
    wealth = rollout(portfolio.valid, policy, rng=torch.Generator()).wealth
    r = wealth[1:] / wealth[:-1] - 1
    blocks = np.array([np.log1p(r[k : k + 6]).sum() for k in range(0, len(r), 6)])
    sharpe, a, b = 0.0, 0.0, 1e-4
    for each in r:
        sharpe += (b * (each - a) - 0.5 * a * (each**2 - b)) / max(b - a * a, 1e-8) ** 1.5 / len(r)
        a, b = a + 0.01 * (each - a), b + 0.01 * (each**2 - b)
    expected = {
        "log": np.log1p(r).mean(), "mean-variance": r.mean() - 1.5 * r.var(), "sharpe": sharpe,
        "cvar": float(ops.worst_mean(torch.tensor(blocks).repeat_interleave(16), 0.3)) / 6,
    }  # fmt: skip
    assert agent.utility_on(portfolio.valid, policy, device="cpu") == pytest.approx(expected[utility], rel=1e-6)


@pytest.mark.parametrize("lot", [0, 1])
def test_an_environment_without_gradient_is_refused(walk, lot):
    with pytest.raises(ConfigError, match="differentiable in the action"):
        SMALL.fit(ShareTrading(walk, window=5, venue=venue.Venue(lot=lot)), rng=torch.Generator())


def test_discrete_actions_and_wrong_options_are_refused(env):
    with pytest.raises(ConfigError, match="Pathwise needs continuous actions"):
        SMALL.fit(env, rng=torch.Generator())
    for wrong in ({"utility": "sortino"}, {"tail": 0.0}, {"truncate": -1}, {"forget": 2.0}):
        with pytest.raises(ConfigError):
            replace(SMALL, **wrong)


def test_a_reward_that_is_a_utility_is_climbed_to_the_optimum():
    """Hedging without costs: the least entropic risk, which the delta attains but for its dates."""
    env = Hedging(steps=4, fee_bps=0.0)
    body = MLP((), Head((16,)))
    agent = Pathwise(
        net=body, utility="reward", updates=150, accounts=256, horizon=4, sequence=False, training=Training(clip=1e9)
    )
    policy = agent.fit(env, rng=torch.Generator().manual_seed(100))
    best = env.solve(1.0)
    gap = totals(env, best.policy, accounts=5_000) - totals(env, policy, accounts=5_000)
    assert float(gap.mean()) < 0.02 * abs(best.value)
    per_step = totals(env, policy, accounts=16).mean() / env.steps
    assert agent.utility_on(env, policy, device=torch.device("cpu")) == pytest.approx(float(per_step), rel=1e-12)
