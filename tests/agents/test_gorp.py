"""GORP: hand numbers, optima of problems without chance, failure with too small a k, contract, exact resume, errors."""

from dataclasses import replace

import pytest
import torch

from fiduciary.agents.gorp import GORP, _Run
from fiduciary.agents.training import Training
from fiduciary.core import trees
from fiduciary.core.checks import check_agent, random_action
from fiduciary.core.errors import ConfigError
from fiduciary.envs import tabular
from fiduciary.envs.tabular import Tabular
from fiduciary.evaluation import effective_horizon as eh
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from watching import resumes_exactly

SMALL = GORP(k=2, episodes=4, training=Training(keep_every=1))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def reached(agent, problem):
    return float(rollout(problem, agent.fit(problem, rng=seeded()), rng=seeded()).reward.sum())


def trap():
    """Right at once is (1 - 5) / 2 = -2 for whoever stumbles on, against 0; it is 1 for whoever looks one step further."""
    transition = torch.nn.functional.one_hot(torch.tensor([[1, 2], [2, 2], [2, 2]])).double()
    reward = torch.tensor([[0.0, 0.0], [1.0, -5.0], [0.0, 0.0]], dtype=torch.float64)
    return Tabular(transition, reward, start=torch.tensor([1.0, 0.0, 0.0]).double(), horizon=2)


@pytest.mark.parametrize(("k", "gamma", "values"), [(1, 1.0, (-2.0, 0.0)), (2, 1.0, (1.0, 0.0)), (2, 0.5, (0.5, 0.0))])
def test_values_of_two_steps_by_hand(k, gamma, values):
    run = _Run(GORP(k, 2_000, gamma), trap(), seeded())
    assert run._values().tolist() == pytest.approx(values, abs=0.2 if k == 1 else 1e-12)


@pytest.mark.parametrize(
    ("problem", "k"),
    [
        (trap(), 2), (tabular.execution(4, 4), 2), (tabular.execution(4, 4, risk=0.1), 3), (tabular.execution(6, 3), 2),
        (tabular.chain(5, slip=0.0, horizon=8), 4),
    ],
)  # fmt: skip
def test_finds_the_optimum_where_k_suffices_and_not_where_it_does_not(problem, k):
    """With many continuations it is greedy in the exact Q^k, and k is the smallest that suffices."""
    found = eh.effective_horizon(problem)
    assert found.k == k
    assert reached(GORP(k, 500), problem) == pytest.approx(found.optimal, abs=0.01 * abs(found.optimal))
    assert reached(GORP(k - 1, 500), problem) < found.optimal - 0.01 * abs(found.optimal)


def test_trying_every_sequence_needs_one_continuation():
    problem = tabular.execution(3, 3, risk=0.3)
    assert reached(GORP(3, 1), problem) == pytest.approx(eh.effective_horizon(problem).optimal, abs=1e-12)


def test_branches_leave_the_present_as_it_is():
    run = _Run(SMALL, tabular.execution(4, 4), seeded())
    run.advance()
    before = [leaf.clone() for leaf in trees.leaves(run.present)]
    run._values()
    assert trees.equal(trees.leaves(run.present), before)


@pytest.fixture
def path(env):
    """One pass through the test dates of one stock: without chance, and buying twice is illegal."""
    dates = env.panel.dates
    return env.folds(splits.dates(train=(str(dates[30]), str(dates[79])), test=(str(dates[80]), str(dates[94]))))[
        "RW1"
    ].test


def test_a_single_path_of_a_market_is_searched_with_hindsight(path):
    assert check_agent(SMALL, path)
    state, total = path.init(200, seeded()), 0.0
    for _ in range(path.spec.horizon):
        state, step = path.step(state, random_action("discrete", path.observe(state).legal, seeded(1)))
        total = total + step.reward
    assert reached(GORP(3, 16), path) > float(total.mean())


def test_an_illegal_action_gives_way_to_the_first_legal_one(path):
    policy = SMALL.fit(path, rng=seeded())
    policy.net.actions[:] = 1
    state, carry = path.init(1, seeded()), None
    for _ in range(2):
        obs = path.observe(state)
        action, carry = policy.act(obs, carry, None)
        assert action.item() == (1 if obs.legal[0, 1] else int(obs.legal[0].int().argmax()))
        state, _step = path.step(state, action)
    assert not obs.legal[0, 1]


@pytest.mark.parametrize("die_after", [1, 3])
def test_a_killed_search_resumes_to_the_same_plan(die_after):
    assert resumes_exactly(replace(SMALL, episodes=2), tabular.chain(5, slip=0.0, horizon=6), die_after=die_after)


@pytest.mark.parametrize(
    "problem",
    [tabular.stopping(horizon=10), tabular.trading(horizon=10), tabular.chain(horizon=10), tabular.garnet(4, 2, 2, seeded())],
)  # fmt: skip
def test_problems_with_chance_are_refused(problem):
    with pytest.raises(ConfigError, match="GORP needs a problem without chance"):
        SMALL.fit(problem, rng=seeded())


def test_several_symbols_are_no_single_path(env):
    with pytest.raises(ConfigError, match="several symbols"):
        SMALL.fit(env, rng=seeded())


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_continuous_actions_are_refused(space):
    with pytest.raises(ConfigError, match="GORP needs discrete actions"):
        SMALL.fit(tabular.chain(slip=0.0, space=space), rng=seeded())


@pytest.mark.parametrize(("option", "message"), [("k", "be"), ("episodes", "be"), ("gamma", "lie")])
def test_wrong_options_are_refused(option, message):
    with pytest.raises(ConfigError, match=f"`{option}` must {message}"):
        replace(SMALL, **{option: 1.1 if option == "gamma" else 0})
