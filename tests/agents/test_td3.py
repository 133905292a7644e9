"""TD3: smoothing, delay and twin critics, contract, exact resume, optimum of small problems, refusals."""

from dataclasses import replace

import pytest
import torch

from fiduciary.agents import MLP, Head, Training, ops
from fiduciary.agents.td3 import TD3, _Run
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import classic, tabular
from watching import resumes_exactly

SMALL = TD3(
    net=MLP(head=Head((8,))), updates=41, accounts=4, batch=16, warm_up=24, replay=200, training=Training(keep_every=10)
)


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_the_target_reads_the_smaller_critic_at_the_smoothed_action(space):
    run = _Run(replace(SMALL, gamma=0.9), tabular.chain(3, space=space), torch.Generator().manual_seed(0))
    run.advance()
    run.means.read()
    now = run._batch(run.replay.sample(16, run.rng))
    kept = run.rng.get_state()
    noise = (0.2 * run.noise(now.a_tm1)).clamp(-0.5, 0.5)
    run.rng.set_state(kept)
    outputs = run.frozen.outputs(now.s_t)
    a_t = (outputs.tanh() + noise).clamp(-1, 1) if space == "box" else ops.project_simplex(outputs.softmax(-1) + noise)
    nothing, joined = torch.zeros(16, 1, 0), torch.cat((now.s_t.account, a_t), -1)
    each = [net(nothing, joined).squeeze(-1) for net in run.frozen.critic.nets]
    y = now.r_t + now.discount_t * torch.minimum(*each)
    joined = torch.cat((now.s_tm1.account, now.a_tm1), -1)
    wanted = sum(((y - net(nothing, joined).squeeze(-1)) ** 2).mean() for net in run.online.critic.nets)
    run.learn(now)
    assert run.figures()["loss"] == pytest.approx(wanted.item(), rel=1e-4)


def test_the_actor_and_the_copies_wait():
    run = _Run(replace(SMALL, delay=3), tabular.chain(space="box"), torch.Generator().manual_seed(0))
    moved = []
    for _ in range(6):
        was = [p.clone() for p in (*run.online.actor.parameters(), *run.frozen.parameters())]
        run.advance()
        run.done += 1
        moved.append(any(not torch.equal(a, b) for a, b in zip(was, _slow(run), strict=True)))
    assert moved == [False, False, True] * 2


def _slow(run):
    return (*run.online.actor.parameters(), *run.frozen.parameters())


@pytest.mark.parametrize("env", [classic.Pendulum(), tabular.trading(space="simplex")])
def test_keeps_the_contract_and_resumes_exactly(env):
    assert check_agent(SMALL, env)
    assert resumes_exactly(SMALL, env, die_after=20)


@pytest.mark.slow
def test_finds_the_optimum_of_trading():
    env = tabular.trading(space="simplex")
    agent = TD3(
        net=MLP(head=Head((32,))), updates=1_500, gamma=0.9, tau=0.02, noise=1.0, lr=2e-3, smoothing=0.05,
        smoothing_clip=0.1,
    )  # fmt: skip
    policy = agent.fit(env, rng=torch.Generator().manual_seed(0))
    assert float(env.initial @ env.values(policy, 0.9)) >= 0.99 * env.solve(0.9).value


def test_discrete_problems_and_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="TD3 needs continuous actions"):
        SMALL.fit(tabular.chain(), rng=torch.Generator())
    for name in ("delay", "smoothing", "smoothing_clip", "noise"):
        with pytest.raises(ConfigError, match=f"`{name}` must be positive"):
            replace(SMALL, **{name: 0})
