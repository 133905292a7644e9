"""Cloning: the student decides as its teacher does, in every space; contract, exact resume, errors."""

from dataclasses import replace

import pytest
import torch

from fiduciary.agents.cloning import Cloning
from fiduciary.agents.nets import MLP, Head
from fiduciary.agents.rules import BuyAndHold, Random
from fiduciary.agents.training import Training
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import tabular
from watching import resumes_exactly

FLAT = MLP((), Head((32,)))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mix", [0.0, 0.5])
@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_a_student_of_the_best_policy_is_worth_as_much(space, mix):
    env = tabular.garnet(6, 2, 3, seeded(7), space=space)
    best = env.solve(0.9)
    student = Cloning(best.policy, net=FLAT, updates=400, lr=1e-2, mix=mix).fit(env, rng=seeded(0))
    assert float(env.initial @ env.values(student, 0.9)) > 0.99 * best.value


@pytest.mark.parametrize("mix", [0.0, 0.3])
def test_learns_what_to_do_where_its_own_errors_lead_only_with_a_share_of_its_own(mix):
    """Without slip the teacher never leaves the first state, so only a student that errs shows it the others."""
    env = tabular.chain(5, slip=0.0)
    visited = []

    class Teacher:
        def act(self, obs, carry, rng):
            visited.append(obs.account.argmax(-1))
            return torch.ones(len(obs.account), dtype=torch.int64), carry

    Cloning(Teacher(), net=FLAT, updates=5, mix=mix).fit(env, rng=seeded(0))
    assert bool(torch.cat(visited).any()) is (mix > 0)


@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_a_killed_fit_resumes_bit_for_bit(space):
    env = tabular.chain(3, space=space)
    agent = Cloning(env.solve(0.9).policy, net=FLAT, updates=30, mix=0.5, training=Training(keep_every=10))
    assert resumes_exactly(agent, env, die_after=20)


def test_keeps_the_contract_and_learns_a_rule_on_a_market(env):
    agent = Cloning(BuyAndHold(), net=MLP((8,), Head((8,))), updates=150, lr=1e-2)
    assert check_agent(replace(agent, updates=5), env)
    policy, state = agent.fit(env, rng=seeded(0)), env.init(16, seeded(1))
    for _ in range(20):
        obs = env.observe(state)
        action, _ = policy.act(obs, None, None)
        assert torch.equal(action, BuyAndHold().act(obs, None, None)[0])
        state, _ = env.step(state, action)


def test_a_teacher_with_memory_is_refused():
    with pytest.raises(ConfigError, match="`teacher` must carry nothing"):
        Cloning(Random(), updates=1).fit(tabular.chain(3), rng=seeded(0))


@pytest.mark.parametrize("change", [{"lr": 0}, {"mix": 1.5}])
def test_wrong_options_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        Cloning(BuyAndHold(), **change)
