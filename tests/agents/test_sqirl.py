"""SQIRL: hand numbers, the limit of exact backups for every k, contract, exact resume, errors."""

from dataclasses import replace

import pytest
import torch

from fiduciary.agents.nets import LSTM, MLP, Head
from fiduciary.agents.sqirl import SQIRL, _Run
from fiduciary.agents.training import Training
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import tabular
from fiduciary.envs.tabular import Tabular
from fiduciary.evaluation import effective_horizon as eh
from fiduciary.evaluation import splits
from watching import Watch, resumes_exactly

TABLE = MLP((), Head())
SMALL = SQIRL(net=MLP((), Head((8,))), episodes=16, gradient_steps=4, batch=8, training=Training(keep_every=1))
EXACT = SQIRL(net=TABLE, episodes=8_000, gradient_steps=100, lr=3e-2)
HAND = replace(EXACT, gradient_steps=300, batch=8_000)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def worth(problem, act):
    """Exact expected return of `act(t)`, actions [S] at every time, by backward induction."""
    s, v = torch.arange(len(problem.reward)), torch.zeros_like(problem.reward[:, 0])
    for t in reversed(range(problem.horizon)):
        v = problem.reward[s, act(t)] + problem.transition[s, act(t)] @ v
    return float(problem.initial @ v)


def learned(agent, problem):
    policy = agent.fit(problem, rng=seeded())
    state = problem.init(len(problem.reward), seeded())._replace(s=torch.arange(len(problem.reward)))
    return worth(problem, lambda t: policy.act(problem.observe(state), t, None)[0])


def trap():
    """Right at once is (1 - 5) / 2 = -2 for whoever stumbles on, against 0; it is 1 for whoever looks one step further."""
    transition = torch.nn.functional.one_hot(torch.tensor([[1, 2], [2, 2], [2, 2]])).double()
    reward = torch.tensor([[0.0, 0.0], [1.0, -5.0], [0.0, 0.0]], dtype=torch.float64)
    return Tabular(transition, reward, start=torch.tensor([1.0, 0.0, 0.0]).double(), horizon=2)


def recorded(agent, problem):
    """Values [m, A] of every regression of the first step, Q^1 first, the slices they were read at, and the run."""
    run = _Run(agent, problem, seeded())
    regress, found = run._regress, []

    def record(net, at, y):
        found.append((regress(net, at, y), at))
        return found[-1][0]

    run._regress = record
    run.advance()
    return found, run


def test_q1_of_two_steps_by_hand():
    [(q, at)], run = recorded(replace(HAND, k=1), trap())
    assert bool(at.alive.all()) and set(at.reward.tolist()) == {1.0, -5.0, 0.0}
    # A table fits the mean return of each action, whose expectation is -2 and 0.
    means = [float(at.reward[at.action == a].mean()) for a in (0, 1)]
    assert q[0].tolist() == pytest.approx(means, abs=0.05)
    assert means == pytest.approx([-2.0, 0.0], abs=0.2)
    assert run.steps == 8_000 + int((at.action == 0).sum())  # the wrong action ends the episode


def test_q2_of_two_steps_by_hand():
    [(q1, last), (q2, first)], run = recorded(replace(HAND, k=2), trap())
    assert torch.equal(last.alive, first.action == 0)
    assert torch.equal(first.discount, last.alive.double()) and not last.discount.any()
    assert q1[last.alive][0].tolist() == pytest.approx([1.0, -5.0], abs=0.05)
    assert q2[0].tolist() == pytest.approx([1.0, 0.0], abs=0.05)
    run.advance()
    state = trap().init(1, seeded())
    assert run.policy().act(trap().observe(state), None, None)[0].item() == 0


def test_gamma_discounts_returns_and_backups():
    [(q, _)], _ = recorded(replace(HAND, k=1, gamma=0.5), trap())
    assert q[0].tolist() == pytest.approx([-1.0, 0.0], abs=0.1)
    [_, (q2, _)], _ = recorded(replace(HAND, k=2, gamma=0.5), trap())
    assert q2[0].tolist() == pytest.approx([0.5, 0.0], abs=0.05)


PROBLEMS = {
    "trading": tabular.trading(cost=1.75, persistence=0.95, horizon=3),
    "execution": tabular.execution(4, 4),
    "risk": tabular.execution(4, 4, risk=0.1),
}


@pytest.mark.parametrize(("name", "k"), [("trading", 1), ("trading", 2), ("execution", 1), ("execution", 2)])
@pytest.mark.parametrize("scale", [1.0, 1e5])
def test_many_episodes_lead_to_the_greedy_policy_of_exact_backups(name, k, scale):
    """Which is optimal if k suffices, and is not if it does not, whatever the unit of money."""
    problem = replace(PROBLEMS[name], reward=scale * PROBLEMS[name].reward)
    q, best = eh.random_values(problem), eh.optimal_values(problem)
    for _ in range(k - 1):
        q = eh.backup(problem, q)
    limit, optimum = worth(problem, lambda t: q[t].argmax(-1)), eh.effective_horizon(problem).optimal
    assert learned(replace(EXACT, k=k), problem) == pytest.approx(limit, abs=0.01 * abs(optimum))
    assert (abs(limit - optimum) < 0.01 * abs(optimum)) is eh.solved(problem, q, best) is (k == 2)


def test_a_network_with_hidden_layers_solves_what_needs_three_steps():
    agent = SQIRL(net=MLP((), Head((32,))), k=3, episodes=4_000, lr=1e-2, gradient_steps=150)
    assert learned(agent, PROBLEMS["risk"]) == pytest.approx(-5.4, abs=0.054)


def test_more_foresight_than_the_problem_is_long_changes_nothing():
    assert learned(replace(EXACT, k=9, episodes=2_000), trap()) == 1.0


@pytest.fixture
def fold(env):
    dates = env.panel.dates
    return env.folds(splits.dates(train=(str(dates[30]), str(dates[79])), test=(str(dates[80]), str(dates[89]))))["RW1"]


@pytest.mark.parametrize("problem", [PROBLEMS["trading"], PROBLEMS["execution"]])
def test_keeps_the_contract(problem):
    assert check_agent(SMALL, problem)


def test_keeps_the_contract_in_a_market_with_illegal_actions(fold):
    assert check_agent(replace(SMALL, net=LSTM(4, 4), k=3, gradient_steps=2, episodes=6), fold.test)


@pytest.mark.parametrize("die_after", [1, 2])
@pytest.mark.parametrize("k", [1, 3])
def test_a_killed_fit_resumes_to_the_same_weights_bit_for_bit(k, die_after):
    assert resumes_exactly(replace(SMALL, k=k), PROBLEMS["trading"], die_after=die_after)


def test_a_unit_of_work_is_a_step_of_the_episode_and_steps_count_the_living():
    watch = Watch()
    policy = SMALL.fit(PROBLEMS["trading"], rng=seeded(), watch=watch)
    done, total, figures = watch.curve[-1]
    assert (done, total, len(policy.nets), figures["steps"]) == (3, 3, 3, 3 * 3 * 16)
    obs = PROBLEMS["trading"].observe(PROBLEMS["trading"].init(4, seeded()))
    assert torch.equal(policy.act(obs, 2, None)[0], policy.act(obs, 99, None)[0])  # the last network serves ever after


@pytest.mark.parametrize("option", ["k", "episodes", "gradient_steps", "batch", "lr"])
def test_wrong_options_are_refused(option):
    with pytest.raises(ConfigError, match=f"`{option}` must be positive"):
        replace(SMALL, **{option: 0})


def test_a_discount_above_one_is_refused():
    with pytest.raises(ConfigError, match="`gamma` must lie"):
        replace(SMALL, gamma=1.1)


@pytest.mark.parametrize("space", ["box", "simplex"])
def test_continuous_actions_are_refused(space):
    with pytest.raises(ConfigError, match="SQIRL needs discrete actions"):
        SMALL.fit(tabular.chain(space=space), rng=seeded())
