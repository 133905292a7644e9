"""DDPG: one update by hand, contract, exact resume, optimum of small problems, refusals."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fiduciary.agents import EIIE, LSTM, MLP, Head, Training, load
from fiduciary.agents.actor_critic import nearest
from fiduciary.agents.ddpg import DDPG, _Run
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import PortfolioWeights, tabular
from fiduciary.markets import dynamics
from watching import resumes_exactly, weights

SMALL = DDPG(
    net=MLP((8,), Head((8,))), updates=40, accounts=4, updates_per_step=3, batch=16, warm_up=24, replay=200,
    training=Training(keep_every=10),
)  # fmt: skip


@pytest.fixture
def portfolio():
    panel = dynamics.random_walk(bars=120, symbols=2, rng=np.random.default_rng(0))
    return PortfolioWeights(panel, window=3, starts="random", episode=20)


def test_an_update_is_the_textbook_s():
    """Losses and slow copies recomputed with plain loops from the networks as they were."""
    agent = replace(SMALL, gamma=0.9, tau=0.25, reward_scale=2.0)
    run = _Run(agent, tabular.chain(3, space="box", horizon=4), torch.Generator().manual_seed(0))
    run.advance()
    online, frozen = copy.deepcopy(run.online), copy.deepcopy(run.frozen)
    run.means.read()
    drawn = run.replay.rows(torch.arange(16))
    now = run._batch(drawn)
    run.learn(now)
    errors, values = [], []
    nothing = torch.zeros(1, 1, 0)
    for b in range(16):
        after, before = drawn.account_t[b : b + 1], drawn.account_tm1[b : b + 1]
        a_t = frozen.actor(nothing, after).tanh()
        q_t = frozen.critic(nothing, torch.cat((after, a_t), -1))
        y = 2.0 * drawn.r_t[b] + 0.9 * drawn.discount_t[b] * q_t
        errors.append((y - online.critic(nothing, torch.cat((before, drawn.a_tm1[b : b + 1]), -1))).item() ** 2)
        a = online.actor(nothing, before).tanh()
        values.append(run.online.critic(nothing, torch.cat((before, a), -1)).item())
    figures = run.figures()
    assert figures["loss"] == pytest.approx(sum(errors) / 16, rel=1e-4)
    assert figures["objective"] == pytest.approx(sum(values) / 16, rel=1e-4)
    for was, leads, follows in zip(frozen.parameters(), run.online.parameters(), run.frozen.parameters(), strict=True):
        assert torch.allclose(follows, 0.75 * was + 0.25 * leads, atol=1e-6)


def test_gradient_steps_per_environment_step():
    run = _Run(SMALL, tabular.chain(space="box"), torch.Generator().manual_seed(0))
    steps = []
    for _ in range(7):
        run.advance()
        run.done += 1
        steps.append(run.steps)
    assert steps == [28, 28, 28, 32, 32, 32, 36]


def test_the_actor_s_gradient_leaves_the_critic_alone():
    run = _Run(SMALL, tabular.chain(space="box"), torch.Generator().manual_seed(0))
    run.advance()
    run.online.critic.zero_grad()
    now = run._batch(run.replay.sample(8, run.rng))
    run.judge(now.s_tm1, run.action(run.online.outputs(now.s_tm1))).sum().backward()
    assert all(parameter.grad is None for parameter in run.online.critic.parameters())
    assert all(parameter.requires_grad for parameter in run.online.critic.parameters())
    assert any(parameter.grad.abs().sum() > 0 for parameter in run.online.actor.parameters())


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_noise_leaves_no_action_outside_its_space(space):
    x = 3.0 * torch.randn(100, 3, generator=torch.Generator().manual_seed(0))
    action = nearest(space, x)
    if space == "box":
        assert bool((action.abs() <= 1).all())
    else:
        assert bool((action >= 0).all())
        assert torch.allclose(action.sum(-1), torch.ones(100))


@pytest.mark.parametrize("net", [MLP((8,), Head((8,))), LSTM(4, 4), EIIE(2, 2, 4)])
def test_keeps_the_contract_resumes_exactly_and_survives_its_file(portfolio, net, tmp_path):
    agent = replace(SMALL, net=net)
    assert check_agent(agent, portfolio)
    assert resumes_exactly(agent, portfolio, die_after=20, valid=replace(portfolio, starts="first"))
    policy = agent.fit(portfolio, rng=torch.Generator().manual_seed(0))
    policy.save(str(tmp_path / "p.safetensors"))
    assert torch.equal(weights(policy), weights(load(str(tmp_path / "p.safetensors"), portfolio.spec)))


@pytest.mark.slow
@pytest.mark.parametrize("space", ["box", "simplex"])
def test_finds_the_optimum_of_a_chain(space):
    env = tabular.chain(5, space=space)
    agent = DDPG(net=MLP(head=Head((64,))), updates=3_000, gamma=0.9, tau=0.02, noise=0.3)
    policy = agent.fit(env, rng=torch.Generator().manual_seed(0))
    assert float(env.initial @ env.values(policy, 0.9)) >= 0.99 * env.solve(0.9).value


def test_discrete_problems_and_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="DDPG needs continuous actions"):
        SMALL.fit(tabular.chain(), rng=torch.Generator())
    for change, message in (
        ({"noise": 0}, "`noise`"), ({"tau": 1.5}, "`tau`"), ({"warm_up": 300}, "`warm_up` must fit"),
        ({"updates_per_step": 0}, "`updates_per_step`"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=message):
            replace(SMALL, **change)
