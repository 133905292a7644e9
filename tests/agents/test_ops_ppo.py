"""Advantages and clipped losses against hand numbers, definitions and limits."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import tensor

from fiduciary.agents import ops


def column(*numbers):
    return tensor(numbers, dtype=torch.float64).unsqueeze(-1)


def test_advantages_of_three_steps_by_hand():
    # delta = (1 + .9*2 - 1, 0 + .9*3 - 2, 2 + .9*4 - 3) = (1.8, .7, 2.6); carried on by .9*.5
    r, v_tm1, v_t = column(1, 0, 2), column(1, 2, 3), column(2, 3, 4)
    go = torch.zeros(3, 1, dtype=torch.bool)
    advantage = ops.gae(r, torch.full_like(r, 0.9), v_tm1, v_t, go, trace=0.5)
    assert torch.allclose(advantage, column(1.8 + 0.45 * (0.7 + 0.45 * 2.6), 0.7 + 0.45 * 2.6, 2.6))


def test_a_cut_off_bootstraps_an_end_does_not_and_neither_lets_anything_through():
    r, v = column(1, 100), column(5, 7)
    last = tensor([[True], [False]])
    truncated = ops.gae(r, column(0.5, 0.5), v, column(8, 9), last, trace=1.0)
    terminated = ops.gae(r, column(0.0, 0.5), v, column(8, 9), last, trace=1.0)
    assert truncated[0].item() == 1 + 0.5 * 8 - 5
    assert terminated[0].item() == 1 - 5
    assert truncated[1].item() == terminated[1].item() == 100 + 0.5 * 9 - 7


@given(st.integers(0, 2**31), st.floats(0.1, 1.0))
def test_a_full_trace_is_the_discounted_return_and_no_trace_the_one_step_error(seed, gamma):
    rng = torch.Generator().manual_seed(seed)
    r, v = (torch.randn(6 + k, 3, generator=rng, dtype=torch.float64) for k in (0, 1))
    discount, go = torch.full_like(r, gamma), torch.zeros(6, 3, dtype=torch.bool)
    whole = ops.gae(r, discount, v[:-1], v[1:], go, trace=1.0)
    returns = sum(gamma**k * r[k] for k in range(6)) + gamma**6 * v[6]
    assert torch.allclose(whole[0], returns - v[0])
    step = ops.gae(r, discount, v[:-1], v[1:], go, trace=0.0)
    assert torch.allclose(step, r + gamma * v[1:] - v[:-1])


def test_clipped_surrogate_by_hand():
    log_ratio = tensor([1.5, 1.5, 0.5, 0.5]).log()
    advantage = tensor([2.0, -2.0, 2.0, -2.0])
    # min: 1.2*2, -1.5*2, 0.5*2, -0.8*2
    assert ops.clipped_surrogate(log_ratio, advantage, 0.2).item() == pytest.approx(-(2.4 - 3.0 + 1.0 - 1.6) / 4)


def test_nothing_more_is_gained_beyond_the_clip_but_mistakes_are_taken_back():
    log_ratio = tensor([0.5, 0.5, -0.5, -0.5], requires_grad=True)
    ops.clipped_surrogate(log_ratio, tensor([1.0, -1.0, 1.0, -1.0]), 0.2).backward()
    assert [bool(g) for g in log_ratio.grad] == [False, True, True, False]


def test_without_a_clip_it_is_the_policy_gradient():
    log_prob, advantage = torch.randn(5, requires_grad=True), torch.randn(5)
    ops.clipped_surrogate(log_prob - log_prob.detach(), advantage, math.inf).backward()
    assert torch.allclose(log_prob.grad, -advantage / 5)


def test_clipped_value_loss_by_hand():
    v, old, y = tensor([1.0, 1.0, 3.0]), tensor([0.0, 0.9, 0.0]), tensor([1.0, 2.0, 0.0])
    # kept within 0.5 of the old value: 0.5, 1.0, 0.5; the worse of both errors squared: .25, 1, 9
    assert ops.clipped_value_loss(v, old, y, 0.5).item() == pytest.approx((0.25 + 1.0 + 9.0) / 3)
    assert ops.clipped_value_loss(v, old, y, math.inf).item() == pytest.approx((0.0 + 1.0 + 9.0) / 3)
