"""SAC: one update by hand, temperature, contract, exact resume, optimum of small problems, refusals."""

import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Dirichlet

from fiduciary.agents import MLP, Head, Training, load
from fiduciary.agents.sac import SAC, _Run
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import classic, tabular
from watching import resumes_exactly

SMALL = SAC(
    net=MLP(head=Head((8,))), updates=40, accounts=4, updates_per_step=3, batch=16, warm_up=24, replay=200,
    training=Training(keep_every=10),
)  # fmt: skip


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_the_target_is_the_smaller_critic_less_the_price_of_certainty(space):
    run = _Run(
        replace(SMALL, gamma=0.9, temperature=0.3), tabular.chain(3, space=space), torch.Generator().manual_seed(0)
    )
    run.advance()
    run.means.read()
    now, alpha = run._batch(run.replay.sample(16, run.rng)), float(run.temperature.alpha)
    kept = run.rng.get_state()
    then = run.draw(now.s_t)
    run.rng.set_state(kept)
    nothing, joined = torch.zeros(16, 1, 0), torch.cat((now.s_t.account, then.action), -1)
    q_t = torch.minimum(*(net(nothing, joined).squeeze(-1) for net in run.frozen.critic.nets))
    y = now.r_t + now.discount_t * (q_t - alpha * then.log_prob)
    joined = torch.cat((now.s_tm1.account, now.a_tm1), -1)
    wanted = sum(((y - net(nothing, joined).squeeze(-1)) ** 2).mean() for net in run.online.critic.nets)
    run.learn(now)
    assert run.figures()["loss"] == pytest.approx(wanted.item(), rel=1e-4)


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_entropy_comes_to_its_target(space):
    env = tabular.chain(3, space=space)
    agent = replace(SMALL, updates=400, batch=32, entropy=-2.0, temperature=0.1, lr=2e-2, gamma=0.5)
    run = _Run(agent, env, torch.Generator().manual_seed(0))
    for _ in range(agent.updates):
        run.advance()
        run.done += 1
        if run.done == agent.updates - 150:
            run.figures()
    assert run.figures()["entropy"] == pytest.approx(-2.0, abs=0.3)


def test_the_default_target_is_the_paper_s_in_a_box_and_as_far_below_uniform_on_the_simplex():
    assert SMALL.target(classic.Pendulum().spec) == -1.0
    spec = tabular.trading(space="simplex").spec
    uniform = float(Dirichlet(torch.ones(3)).entropy())
    assert SMALL.target(spec) == pytest.approx(uniform - 2 * (1 + math.log(2)), abs=1e-5)
    assert replace(SMALL, entropy=-7.0).target(spec) == -7.0


@pytest.mark.parametrize("env", [classic.Pendulum(), tabular.trading(space="simplex")])
def test_keeps_the_contract_and_resumes_exactly(env):
    assert check_agent(SMALL, env)
    assert resumes_exactly(SMALL, env, die_after=20)


def test_the_finished_policy_takes_the_scores_at_their_mean(tmp_path):
    env = tabular.trading(space="simplex")
    policy = SMALL.fit(env, rng=torch.Generator().manual_seed(0))
    policy.save(str(tmp_path / "p.safetensors"))
    obs = env.observe(env.init(8, torch.Generator().manual_seed(1)))
    mean = policy.values(obs)[:, :3]
    for each in (policy, load(str(tmp_path / "p.safetensors"), env.spec)):
        assert torch.equal(each.act(obs, None, None)[0], mean.double().softmax(-1))


@pytest.mark.slow
@pytest.mark.parametrize("env", [tabular.chain(5, space="box"), tabular.trading(space="simplex")])
def test_finds_the_optimum_of_a_small_problem(env):
    agent = SAC(
        net=MLP(head=Head((32,))), updates=2_000, batch=64, gamma=0.9, tau=0.02, temperature=0.1, lr=3e-3,
        entropy=-5.0 * max(1, len(env.spec.actions) - 1), reward_scale=5.0,
    )  # fmt: skip
    policy = agent.fit(env, rng=torch.Generator().manual_seed(0))
    assert float(env.initial @ env.values(policy, 0.9)) >= 0.99 * env.solve(0.9).value


def test_discrete_problems_and_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="SAC needs continuous actions"):
        SMALL.fit(tabular.chain(), rng=torch.Generator())
    with pytest.raises(ConfigError, match="`temperature` must be positive"):
        replace(SMALL, temperature=0)
