"""Targets and losses of the DQN family against numbers computed by hand, closed forms and the plain forms they contain."""

import pytest
import torch

from fiduciary.agents import ops

R = torch.tensor([[1.0, 2.0, 4.0]])
YES, NO = True, False


@pytest.mark.parametrize(
    ("discount", "live", "r", "d"),
    [
        ([0.5, 0.5, 0.5], [YES, YES, YES], 1 + 0.5 * 2 + 0.25 * 4, 0.125),
        ([0.5, 0.5, 0.5], [YES, YES, NO], 1 + 0.5 * 2, 0.25),  # cut off: what follows counts
        ([0.5, 0.0, 0.5], [YES, YES, NO], 1 + 0.5 * 2, 0.0),  # terminated: nothing follows
        ([0.0, 0.5, 0.5], [YES, YES, YES], 1.0, 0.0),
        ([0.5, 0.5, 0.5], [YES, NO, NO], 1.0, 0.5),
    ],
)
def test_n_step_returns_by_hand(discount, live, r, d):
    got = ops.n_step_return(R, torch.tensor([discount]), torch.tensor([live]))
    assert [float(x) for x in got] == pytest.approx([r, d])


def test_quantile_targets_by_hand():
    z = torch.tensor([[[1.0, 3.0], [5.0, 7.0], [0.0, 9.0]]])  # means 2, 6, 4.5
    legal, r, d = torch.tensor([[True, False, True]]), torch.tensor([1.0]), torch.tensor([0.5])
    assert ops.quantile_td_target(r, d, z, z.mean(-1), legal).tolist() == [[1.0, 5.5]]
    assert ops.quantile_td_target(r, d, z, torch.tensor([[3.0, 9.0, 2.0]]), legal).tolist() == [[1.5, 2.5]]


def test_one_quantile_is_the_mean_so_targets_are_the_plain_ones():
    rng = torch.Generator().manual_seed(0)
    r, q, online = (torch.randn(shape, generator=rng) for shape in ((50,), (50, 4), (50, 4)))
    d, legal = torch.rand(50, generator=rng), torch.rand(50, 4, generator=rng) < 0.7
    legal[:, 0] = True
    one = q.unsqueeze(-1)
    assert torch.equal(ops.quantile_td_target(r, d, one, q, legal)[:, 0], ops.td_target(r, d, q, legal))
    double = ops.double_td_target(r, d, q, online, legal)
    assert torch.equal(ops.quantile_td_target(r, d, one, online, legal)[:, 0], double)


def test_quantile_huber_loss_by_hand():
    z, y = torch.tensor([[0.0, 1.0]]), torch.tensor([[0.5, -3.0]])
    # tau 1/4, 3/4; u_1 = 0.5, -3; u_2 = -0.5, -4; Huber with threshold 1: 0.125, 2.5, 0.125, 3.5
    by_hand = (0.25 * 0.125 + 0.75 * 2.5) / 2 + (0.25 * 0.125 + 0.25 * 3.5) / 2
    assert float(ops.quantile_huber_loss(z, y, 1.0)) == pytest.approx(by_hand)
    # threshold 2: 0.125, 2 (3 - 1), 0.125, 2 (4 - 1), divided by 2
    by_hand = (0.25 * 0.125 + 0.75 * 4.0) / 4 + (0.25 * 0.125 + 0.25 * 6.0) / 4
    assert float(ops.quantile_huber_loss(z, y, 2.0)) == pytest.approx(by_hand)


def test_quantile_huber_loss_is_least_at_the_quantiles():
    """With a small threshold the minimiser over many samples is the sample quantile: of U(0, 1), tau itself."""
    y = ((torch.arange(1000) + 0.5) / 1000).unsqueeze(0)
    z = torch.full((1, 5), 0.5, requires_grad=True)
    optimiser = torch.optim.Adam([z], lr=0.01)
    for _ in range(400):
        optimiser.zero_grad()
        ops.quantile_huber_loss(z, y, 1e-3).sum().backward()
        optimiser.step()
    assert z[0].tolist() == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9], abs=0.01)


def test_no_gradient_flows_into_the_samples():
    z, y = torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)
    ops.quantile_huber_loss(z, y, 1.0).sum().backward()
    assert y.grad is None
    assert z.grad.tolist() == [[-0.25, -0.75]]


def test_the_priority_of_a_sequence_by_hand():
    error = torch.tensor([[1.0, -3.0, 100.0], [2.0, 0.0, 0.0]])
    counts = torch.tensor([[True, True, False], [True, False, False]])
    assert ops.sequence_priority(error, counts).tolist() == pytest.approx([0.9 * 3 + 0.1 * 2, 2.0])
