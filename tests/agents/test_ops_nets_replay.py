"""Losses against numbers computed by hand; networks and replay by law."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.agents import LSTM, ops
from fiduciary.agents.nets import Encodings
from fiduciary.agents.replay import Replay, Transitions
from fiduciary.core.types import Spec, View

SPEC = Spec("toy", ("a", "b", "c"), ("x", "y", "z"), ("position",), 5, 10, "USD", ())
Q = torch.tensor([[1.0, 5.0, 3.0], [2.0, -1.0, 4.0]])
LEGAL = torch.tensor([[True, False, True], [True, True, False]])


def test_targets_and_loss_by_hand():
    r, discount = torch.tensor([1.0, -1.0]), torch.tensor([0.9, 0.0])
    assert ops.td_target(r, discount, Q, LEGAL).tolist() == pytest.approx([1 + 0.9 * 3, -1.0])
    online = torch.tensor([[9.0, 10.0, 1.0], [0.0, 1.0, 2.0]])  # prefers action 0, then 1, among the legal
    assert ops.double_td_target(r, discount, Q, online, LEGAL).tolist() == pytest.approx([1 + 0.9 * 1, -1.0])
    assert float(ops.squared_td_loss(Q, torch.tensor([2, 0]), torch.tensor([3.7, -1.0]))) == pytest.approx(
        (0.49 + 9) / 2
    )


def test_no_gradient_flows_into_the_target():
    q, y = Q.clone().requires_grad_(), torch.tensor([1.0, 2.0], requires_grad=True)
    ops.squared_td_loss(q, torch.tensor([0, 1]), y).backward()
    assert y.grad is None
    assert q.grad.tolist() == [[0, 0, 0], [0, -3.0, 0]]  # 2 / B (Q - y)


def test_dueling_keeps_the_mean_and_the_order():
    value, advantage = torch.tensor([[2.0]]), torch.tensor([[1.0, 4.0, 1.0]])
    assert ops.dueling(value, advantage).tolist() == [[1.0, 4.0, 1.0]]


def test_exploration_is_legal_and_as_frequent_as_stated():
    q, legal = Q[:1].expand(20_000, 3), torch.tensor([[True, True, False]]).expand(20_000, 3)
    action = ops.epsilon_greedy(q, legal, 0.15, torch.Generator().manual_seed(0))
    share = torch.bincount(action, minlength=3) / len(action)
    assert share.tolist() == pytest.approx([0.075, 0.925, 0.0], abs=0.01)


@pytest.mark.parametrize("duel", [False, True])
def test_encodings_equal_the_network(duel):
    torch.manual_seed(0)
    net, bars = LSTM(8, 4).build(SPEC, 3, duel=duel), torch.randn(40, 3)
    index, account = torch.tensor([9, 30, 9, 12]), torch.rand(4, 1)
    cached = Encodings(net, View(bars, index, 5))
    windows = torch.stack([bars[i - 4 : i + 1] for i in index])
    expected = net(windows, account)
    for _ in range(2):  # computed, then read back
        assert torch.allclose(cached.read(index, account), expected, atol=1e-6)
    with torch.no_grad():
        net.outputs.bias += 1
        net.encoder.second.weight_hh_l0 *= 2
    cached.refresh()
    assert torch.allclose(cached.read(index, account), net(windows, account), atol=1e-6)


def test_the_head_can_value_an_action_by_market_and_position_together():
    """Holding must be worth more to a holder in a rising market only: not additive in market and position."""
    torch.manual_seed(0)
    net = LSTM(8, 4).build(SPEC, 3)
    h = torch.tensor([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]]).repeat_interleave(2, 0)
    account = torch.tensor([[0.0], [1.0], [0.0], [1.0]])
    y = (h[:, :1] * account).expand(4, 3)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.05)
    for _ in range(300):
        loss = ((net.head(h, account) - y) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 1e-3


def _batch(start, size):
    x = torch.arange(start, start + size)
    return Transitions(
        x, x[:, None].float(), x % 3, x.float(), x.float(), x + 1, x[:, None].float(), (x % 2 == 0)[:, None]
    )


@given(st.lists(st.integers(1, 7), min_size=1, max_size=10), st.integers(7, 20))
def test_replay_holds_exactly_the_newest_transitions(sizes, capacity):
    replay, total = Replay(capacity), 0
    for size in sizes:
        replay.add(_batch(total, size))
        total += size
    kept = set(replay.ring[0][: len(replay)].tolist())
    assert kept == set(range(max(0, total - capacity), total))
    drawn = replay.sample(50, torch.Generator().manual_seed(0))
    assert torch.equal(drawn.bar_t, drawn.bar_tm1 + 1)  # fields stay together
    copy = Replay(capacity)
    copy.load(replay.state())
    same = copy.sample(50, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(drawn, same, strict=True))
