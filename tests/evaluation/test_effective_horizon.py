"""Effective horizon: problems small enough for pencil and paper, and plain recursion as the independent twin."""

import functools
import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.envs import tabular
from fiduciary.envs.tabular import Tabular
from fiduciary.evaluation import effective_horizon as eh
from fiduciary.evaluation.effective_horizon import effective_horizon


def _deterministic(moves, rewards, horizon):
    """States numbered as listed; the first is the start."""
    following = torch.tensor(moves)
    transition = torch.nn.functional.one_hot(following, len(moves)).double()
    start = torch.eye(len(moves), dtype=torch.float64)[0]
    return Tabular(transition, torch.tensor(rewards, dtype=torch.float64), start=start, horizon=horizon)


def _lock(n):
    """Only the right action, n times in a row, pays 1; a wrong one leads to the dead end."""
    moves = [[min(k + 1, n), n] for k in range(n)] + [[n, n]]
    return _deterministic(moves, [[float(k == n - 1), 0.0] for k in range(n)] + [[0.0, 0.0]], n)


def test_one_decision():
    found = effective_horizon(_deterministic([[0, 0]], [[1.0, 0.0]], 1))
    assert (found.k, found.gap, found.optimal, found.random) == (1, 1.0, 1.0, 0.5)
    assert (found.horizon, found.episodes, found.stochastic) == (1.0, 1, 1.0)


def test_one_decision_of_chance_takes_what_hoeffding_says():
    # Two states that follow at random make the problem stochastic, so trying once is not enough: 2 ln(4 T A) = 4.16.
    half = torch.full((2, 2, 2), 0.5, dtype=torch.float64)
    found = effective_horizon(Tabular(half, torch.tensor([[1.0, 0.0]] * 2, dtype=torch.float64), horizon=1))
    assert (found.k, found.gap, found.episodes) == (1, 1.0, 5)
    assert found.horizon == pytest.approx(1 + math.log2(5)) and found.stochastic == 1.0


def test_a_trap_needs_two_steps():
    """Right at once is (1 - 5) / 2 = -2 for whoever stumbles on, against 0; it is 1 for whoever looks one step further."""
    trap = _deterministic([[1, 2], [2, 2], [2, 2]], [[0.0, 0.0], [1.0, -5.0], [0.0, 0.0]], 2)
    assert eh.random_values(trap)[0, 0].tolist() == [-2.0, 0.0]
    assert eh.backup(trap, eh.random_values(trap))[0, 0].tolist() == [1.0, 0.0]
    found = effective_horizon(trap)
    assert (found.k, found.optimal, found.random, found.horizon) == (2, 1.0, -1.0, 2.0)
    # The smallest of the gaps 1 and 6 over a spread of 6 each.
    assert found.gap == pytest.approx(1 / 6)


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_a_lock_is_greedy_at_once_but_its_horizon_is_its_length(n):
    """Q^k of the right action is 2^-(n - k), of the wrong one 0: k + log2(1 / gap^2) = k + 2 (n - k), least at k = n."""
    found = effective_horizon(_lock(n))
    assert found.k == 1
    assert found.stochastic == pytest.approx(n) and found.horizon == n
    assert eh.random_values(_lock(n))[0, 0].tolist() == [0.5 ** (n - 1), 0.0]


def test_rewards_at_every_step_need_no_foresight():
    found = effective_horizon(_deterministic([[0, 0]], [[1.0, 0.0]], 30))
    # The gap is 1 at every step, over spreads of 30 to 1.
    assert found.k == 1 and found.gap == pytest.approx(1 / 30)
    assert found.stochastic == pytest.approx(1 + 2 * math.log2(30))
    assert found.episodes == math.ceil(2 * math.log(4 * 30 * 2) * 900) and found.horizon == pytest.approx(
        1 + math.log2(found.episodes)
    )


def test_ties_between_good_actions_are_harmless_and_ties_with_bad_ones_are_not():
    alike = _deterministic([[0, 0]], [[1.0, 1.0]], 3)
    assert effective_horizon(alike)[:3] == (1, 1.0, 1.0)
    # Random behaviour finds both ways worth 1; one of them is worth 2 to whoever knows how to go on.
    tied = _deterministic([[1, 2], [3, 3], [3, 3], [3, 3]], [[0.0, 0.0], [2.0, 0.0], [1.0, 1.0], [0.0, 0.0]], 2)
    found = effective_horizon(tied)
    assert found.k == 2 and found.optimal == 2.0


def test_only_states_that_matter_count():
    """The trap of above costs nothing behind an action that Q^1 refuses, and k = 2 behind one that it takes."""
    trap = [[2, 3], [3, 3], [3, 3]]
    rewards = [[0.0, 0.0], [1.0, -5.0], [0.0, 0.0]]
    assert effective_horizon(_deterministic([[3, 1], *trap], [[9.0, 0.0], *rewards], 3)).k == 1
    assert effective_horizon(_deterministic([[3, 1], *trap], [[0.0, 9.0], *rewards], 3)).k == 2


def _coarse(seed, horizon, branching):
    """A random process from a fixed start; few different rewards make ties."""
    drawn = tabular.garnet(4, 2, branching, torch.Generator().manual_seed(seed), horizon=horizon)
    return Tabular(drawn.transition, (2 * drawn.reward).round(), start=torch.eye(4).double()[0], horizon=horizon)


@given(seed=st.integers(0, 100_000), horizon=st.integers(1, 5), branching=st.integers(1, 2))
@settings(max_examples=60)
def test_k_equals_the_one_that_every_greedy_policy_shows(seed, horizon, branching):
    problem = _coarse(seed, horizon, branching)
    assert effective_horizon(problem).k == _slow_k(problem)


@given(seed=st.integers(0, 100_000), horizon=st.integers(1, 5), branching=st.integers(1, 2))
@settings(max_examples=60)
def test_horizons_equal_the_slow_twin(seed, horizon, branching):
    problem = _coarse(seed, horizon, branching)
    gaps = _slow_gaps(problem)
    plain = [k + math.log2(max(1.0, d**-2)) for k, d in gaps.items() if d > 0]
    tried = [
        k + math.log2(max(1, math.ceil(2 * math.log(4 * horizon * 2**k) / d**2))) for k, d in gaps.items() if d > 0
    ]
    found = effective_horizon(problem)
    exact = branching == 1
    assert found.stochastic == pytest.approx(min(plain))
    assert found.horizon == pytest.approx(min([*tried, horizon] if exact else tried))


def _slow_gaps(problem):
    """d_k for every k, with sets and loops."""
    actions, q, best = range(2), eh.random_values(problem), eh.optimal_values(problem)
    out = {}
    for k in range(1, problem.horizon + 1):
        here, out[k] = {0}, math.inf
        for t in range(problem.horizon):
            following = set()
            for s in here:
                bad = [a for a in actions if best[t, s, a] < best[t, s].max() - 1e-9]
                bar = max((float(q[t, s, a]) for a in bad), default=-math.inf)
                if bad:
                    low, high = _returns(problem, t, s)
                    gap = float(q[t, s].max()) - bar
                    out[k] = min(out[k], gap / (high - low) if gap > 1e-9 else 0.0)
                for a in actions:
                    if q[t, s, a] > bar + 1e-9:
                        following |= {p for p in range(4) if problem.transition[s, a, p] > 0}
            here = following
        q = eh.backup(problem, q)
    return out


def _returns(problem, t, s):
    """The least and the most that can be earned from (t, s)."""
    if t == problem.horizon:
        return 0.0, 0.0
    every = [
        (float(problem.reward[s, a]) + low, float(problem.reward[s, a]) + high)
        for a in range(2)
        for p in range(4)
        if problem.transition[s, a, p] > 0
        for low, high in [_returns(problem, t + 1, p)]
    ]
    return min(low for low, _ in every), max(high for _, high in every)


def _slow_k(problem):
    """The definition, word for word: every greedy policy in Q^k is as good as the best."""
    transition, reward = problem.transition.tolist(), problem.reward.tolist()
    states, actions, horizon = range(4), range(2), problem.horizon

    def action_value(t, s, a, value):
        return reward[s][a] + (0 if t == horizon - 1 else sum(transition[s][a][p] * value(t + 1, p) for p in states))

    @functools.cache
    def at_random(t, s):
        return sum(action_value(t, s, a, at_random) for a in actions) / 2

    @functools.cache
    def best(t, s):
        return max(action_value(t, s, a, best) for a in actions)

    @functools.cache
    def q(k, t, s, a):
        if k == 1:
            return action_value(t, s, a, at_random)
        return action_value(t, s, a, lambda u, p: max(q(k - 1, u, p, b) for b in actions))

    def worst_greedy(k):
        # The least that any greedy choice can lead to.
        @functools.cache
        def value(t, s):
            qs = [q(k, t, s, a) for a in actions]
            return min(action_value(t, s, a, value) for a in actions if qs[a] >= max(qs) - 1e-9)

        return value

    return next(k for k in itertools.count(1) if abs(worst_greedy(k)(0, 0) - best(0, 0)) < 1e-9)


@given(seed=st.integers(0, 100_000), horizon=st.integers(1, 6))
@settings(max_examples=30)
def test_bounds_are_in_order_and_enough_backups_are_optimal(seed, horizon):
    problem = tabular.garnet(4, 3, 2, torch.Generator().manual_seed(seed), horizon=horizon)
    found = effective_horizon(problem)
    assert 1 <= found.k <= horizon and 1 <= found.stochastic <= found.horizon
    assert found.random <= found.optimal and 0 < found.gap <= 1
    q = eh.random_values(problem)
    for _ in range(horizon - 1):
        q = eh.backup(problem, q)
    torch.testing.assert_close(q, eh.optimal_values(problem))


def test_scale_and_shift_of_rewards_change_nothing():
    problem = tabular.trading(cost=2.0, horizon=12)
    other = Tabular(problem.transition, 7.0 * problem.reward - 3.0, horizon=12)
    first, second = effective_horizon(problem), effective_horizon(other)
    assert first.k == second.k and first.horizon == pytest.approx(second.horizon)
    assert first.stochastic == pytest.approx(second.stochastic) and first.gap == pytest.approx(second.gap)


def test_hoeffding_s_number_of_episodes_is_enough_for_greedy_search():
    """GORP with our m finds the lock's key at least half the time, as the bound promises, and so it is a bound."""
    lock, m = _lock(4), effective_horizon(_lock(4))
    assert m.episodes == 1  # H = T: every sequence once
    gap, rng = 0.5**3, torch.Generator().manual_seed(0)
    episodes = math.ceil(2 * math.log(4 * 4 * 2) / gap**2)
    found = 0
    for _ in range(20):
        state = lock.init(1, rng)
        for _t in range(4):
            means = [_mean_return(lock, state, a, episodes, rng) for a in range(2)]
            state, step = lock.step(state, torch.tensor([int(means[1] > means[0])]))
        found += float(step.reward) == 1.0
    assert found >= 10


def _mean_return(lock, state, action, episodes, rng):
    many = type(state)(*(leaf.expand(episodes, *leaf.shape[1:]) for leaf in state))
    many, step = lock.step(many, torch.full((episodes,), action))
    total = step.reward.clone()
    for _ in range(lock.horizon):
        many, step = lock.step(many, torch.randint(0, 2, (episodes,), generator=rng))
        total += step.reward
    return float(total.mean())
