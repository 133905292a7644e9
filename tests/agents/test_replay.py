"""Replay that knows time, against a plain list of episodes; priorities against Schaul et al.'s formulas."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.agents.replay import Priorities, Replay, Transitions

ACCOUNTS, GAMMA = 3, 0.5


def _history(steps, seed, p_end=0.3):
    """Steps of three accounts: transitions and ends; bar = 100 account + time, half of the ends are terminations."""
    rng = torch.Generator().manual_seed(seed)
    out = []
    for t in range(steps):
        bar = 100 * torch.arange(ACCOUNTS) + t
        last = torch.rand(ACCOUNTS, generator=rng) < p_end
        over = last & (torch.rand(ACCOUNTS, generator=rng) < 0.5)
        r = torch.randn(ACCOUNTS, generator=rng)
        account, after = bar[:, None].float(), bar[:, None].float() + 0.5
        legal = torch.ones(ACCOUNTS, 2, dtype=torch.bool)
        out.append((Transitions(bar, account, bar % 2, r, (~over).float(), bar + 1, after, legal), last))
    return out


def _by_hand(history, t, a, n):
    """Return, discount and last bar of n steps of account `a` from time `t`, step by step."""
    r, discount = 0.0, 1.0
    for k in range(t, min(t + n, len(history))):
        now, last = history[k]
        r += discount * float(now.r_t[a])
        discount *= GAMMA * float(now.discount_t[a])
        if last[a]:
            break
    return r, discount, int(now.bar_t[a])


@settings(deadline=None, max_examples=30)
@given(steps=st.integers(1, 14), n=st.integers(1, 6), capacity=st.integers(3, 30), seed=st.integers(0, 5))
def test_n_step_returns_equal_a_walk_through_the_episodes(steps, n, capacity, seed):
    replay, history = Replay(capacity, accounts=ACCOUNTS), _history(steps, seed)
    places = [replay.add(*step).tolist() for step in history]
    oldest = steps - len(replay) // ACCOUNTS
    asked = [(t, a) for t in range(oldest, steps) for a in range(ACCOUNTS)]
    got = replay.returns(torch.tensor([places[t][a] for t, a in asked]), n, GAMMA)
    wanted = [_by_hand(history, t, a, n) for t, a in asked]
    assert got.bar_tm1.tolist() == [100 * a + t for t, a in asked]
    assert got.r_t.tolist() == pytest.approx([w[0] for w in wanted], abs=1e-5)
    assert got.discount_t.tolist() == pytest.approx([w[1] for w in wanted])
    assert got.bar_t.tolist() == [w[2] for w in wanted]
    assert torch.equal(got.account_t[:, 0], got.bar_t - 0.5)  # fields stay together


def test_one_step_is_the_transition_itself():
    replay = Replay(30, accounts=ACCOUNTS)
    for step in _history(10, 0):
        replay.add(*step)
    place = torch.arange(30)
    one, plain = replay.returns(place, 1, GAMMA), replay.rows(place)
    assert all(torch.equal(a, b) for a, b in zip(one, plain._replace(discount_t=GAMMA * plain.discount_t), strict=True))


def test_a_stretch_follows_its_account():
    replay = Replay(30, accounts=ACCOUNTS)
    for step in _history(7, 0):
        replay.add(*step)
    path = replay.along(torch.tensor([1, 9]), 4)  # account 1 from time 0; account 0 from time 3
    assert replay.rows(path).bar_tm1.tolist() == [[100, 101, 102, 103], [3, 4, 5, 6]]


def test_capacity_is_whole_steps():
    replay = Replay(11, accounts=ACCOUNTS)
    for step in _history(5, 0):
        replay.add(*step)
    assert len(replay) == 9


def _priorities(alpha, errors):
    priorities = Priorities(10, alpha, torch.device("cpu"))
    place = torch.arange(len(errors))
    priorities.add(place)
    priorities.update(place, torch.tensor(errors))
    return priorities


def test_draws_are_as_frequent_as_priorities_say():
    priorities = _priorities(0.5, [1.0, -4.0, 9.0])  # p^alpha = 1, 2, 3
    place, _ = priorities.draw(60_000, torch.Generator().manual_seed(0), beta=1.0)
    share = torch.bincount(place, minlength=3) / len(place)
    assert share.tolist() == pytest.approx([1 / 6, 2 / 6, 3 / 6], abs=1e-3)


def test_importance_weights_by_hand():
    priorities = _priorities(0.5, [1.0, -4.0, 9.0])
    place, weight = priorities.draw(300, torch.Generator().manual_seed(0), beta=0.5)
    wanted = torch.tensor([1.0, 2.0**-0.5, 3.0**-0.5])  # (N P)^-beta over its maximum
    assert torch.allclose(weight, wanted[place], atol=1e-4)


def test_importance_weights_make_the_mean_unbiased():
    """With beta = 1, sum w x / sum w estimates the uniform mean, whatever the priorities."""
    priorities, x = _priorities(1.0, [0.1, 1.0, 5.0, 2.0]), torch.tensor([3.0, -1.0, 4.0, 2.0])
    place, weight = priorities.draw(100_000, torch.Generator().manual_seed(0), beta=1.0)
    assert float((weight * x[place]).sum() / weight.sum()) == pytest.approx(2.0, abs=0.02)


def test_alpha_zero_is_uniform_and_needs_no_weights():
    place, weight = _priorities(0.0, [0.1, 100.0]).draw(1_000, torch.Generator().manual_seed(0), beta=0.4)
    assert torch.bincount(place).tolist() == [500, 500]  # one from each equal share
    assert torch.equal(weight, torch.ones(1_000))


def test_new_transitions_get_the_largest_priority_and_empty_places_none():
    priorities = _priorities(1.0, [2.0, 8.0])
    priorities.add(torch.tensor([2]))
    assert priorities.power[2] == priorities.power[1]
    place, _ = priorities.draw(10_000, torch.Generator().manual_seed(0), beta=0.0)
    assert place.max() == 2


def test_priorities_survive_their_state():
    priorities = _priorities(0.6, [2.0, 8.0, 1.0])
    copy = Priorities(10, 0.6, torch.device("cpu"))
    copy.load(priorities.state())
    priorities.add(torch.tensor([3]))
    copy.add(torch.tensor([3]))
    one, other = (p.draw(50, torch.Generator().manual_seed(1), beta=0.5) for p in (priorities, copy))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
