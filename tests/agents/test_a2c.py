"""A2C: contract, exact resume, optimum of small problems, errors."""

import pytest

from fiduciary.agents.a2c import A2C
from fiduciary.agents.training import Training
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import tabular
from test_ppo import FLAT, PROBLEMS, share_of_optimum
from watching import resumes_exactly

SMALL = A2C(net=FLAT, updates=20, accounts=8, training=Training(keep_every=10))


@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_keeps_the_contract_in_every_space(space):
    assert check_agent(SMALL, tabular.chain(3, space=space))


def test_a_killed_fit_resumes_bit_for_bit():
    assert resumes_exactly(SMALL, tabular.chain(3), die_after=10)


@pytest.mark.parametrize("problem", PROBLEMS)
def test_finds_the_optimum(problem):
    agent = A2C(net=FLAT, updates=300, gamma=0.9, lr=1e-2)
    assert share_of_optimum(agent, PROBLEMS[problem]("discrete")) > 0.99


def test_takes_one_step_per_rollout():
    assert (SMALL.as_ppo().parts, SMALL.as_ppo().epochs) == (1, 1)


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="`lr` must be positive"):
        A2C(lr=0)
