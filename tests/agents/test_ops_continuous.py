"""Targets, densities and projections of the continuous learners, against hand numbers and torch.distributions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal, Normal, TanhTransform, TransformedDistribution

from fiduciary.agents import ops


def test_min_td_target_takes_the_smaller_critic_and_no_value_after_the_end():
    q_t = torch.tensor([[2.0, 5.0], [3.0, 4.0]])
    y = ops.min_td_target(torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]), q_t)
    assert y.tolist() == [2.0, 1.0]


def test_soft_td_target_pays_for_entropy():
    q_t, log_prob = torch.tensor([[2.0], [3.0]]), torch.tensor([-1.5])
    y = ops.soft_td_target(torch.tensor([1.0]), torch.tensor([0.5]), q_t, log_prob, torch.tensor(0.2))
    assert y.item() == pytest.approx(1.0 + 0.5 * (2.0 + 0.2 * 1.5))


def test_critics_loss_adds_up_over_critics_and_stops_at_the_target():
    q, y = torch.tensor([[1.0, 2.0], [0.0, 4.0]], requires_grad=True), torch.tensor([1.0, 3.0], requires_grad=True)
    loss = ops.critics_loss(q, y)
    assert loss.item() == pytest.approx((0 + 1) / 2 + (1 + 1) / 2)
    loss.backward()
    assert y.grad is None


@pytest.mark.parametrize(("log_prob", "sign"), [(-0.5, -1), (-3.0, 1)])
def test_temperature_rises_while_entropy_is_below_its_target(log_prob, sign):
    """Target 1 nat: entropy 0.5 is too little, so descending must raise log alpha (negative gradient); 3 is too much."""
    log_alpha = torch.tensor(0.3, requires_grad=True)
    loss = ops.temperature_loss(log_alpha, torch.tensor([log_prob]), 1.0)
    assert loss.item() == pytest.approx(-0.3 * (log_prob + 1.0))
    loss.backward()
    assert math.copysign(1, log_alpha.grad.item()) == sign


def test_squashed_density_is_that_of_torch():
    rng = torch.Generator().manual_seed(0)
    mean, log_std, noise = (torch.randn(50, 3, generator=rng, dtype=torch.float64) for _ in range(3))
    u = mean + log_std.exp() * noise
    theirs = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform(cache_size=1))
    a = theirs.transforms[0](u)
    assert torch.allclose(ops.squashed_log_prob(u, mean, log_std), theirs.log_prob(a).sum(-1), atol=1e-9)


def test_squashed_density_stays_finite_deep_in_the_walls():
    u = torch.tensor([[60.0], [-60.0]], requires_grad=True)
    value = ops.squashed_log_prob(u, torch.zeros_like(u), torch.zeros_like(u))
    value.sum().backward()
    assert bool(value.isfinite().all() and u.grad.isfinite().all())


@pytest.mark.parametrize("a", [2, 3, 6])
def test_logistic_normal_density_is_that_of_the_log_ratios(a):
    """y_i = u_i - u_A is Gaussian with covariance diag + const; dy / dw has determinant prod 1 / w."""
    rng = torch.Generator().manual_seed(a)
    mean, log_std, noise = (torch.randn(20, a, generator=rng, dtype=torch.float64) for _ in range(3))
    u, var = mean + log_std.exp() * noise, (2 * log_std).exp()
    covariance = torch.diag_embed(var[:, :-1]) + var[:, -1, None, None]
    y, m = u[:, :-1] - u[:, -1:], mean[:, :-1] - mean[:, -1:]
    wanted = MultivariateNormal(m, covariance).log_prob(y) - u.log_softmax(-1).sum(-1)
    assert torch.allclose(ops.logistic_normal_log_prob(u, mean, log_std), wanted, atol=1e-9)
    assert torch.allclose(ops.logistic_normal_log_prob(u + 5.0, mean, log_std), wanted, atol=1e-9)


def test_logistic_normal_density_integrates_to_one():
    w = (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000
    u = torch.stack((w.log(), (1 - w).log()), -1)
    mean, log_std = torch.tensor([0.3, -0.5], dtype=torch.float64), torch.tensor([-0.2, 0.4], dtype=torch.float64)
    assert ops.logistic_normal_log_prob(u, mean, log_std).exp().mean().item() == pytest.approx(1.0, abs=1e-6)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_projection_is_the_nearest_point_of_the_simplex(x):
    """w is the projection iff (x - w) . (v - w) <= 0 for every corner v (the obtuse-angle criterion)."""
    x = torch.tensor(x, dtype=torch.float64)
    w = ops.project_simplex(x)
    assert w.min() >= 0
    assert w.sum().item() == pytest.approx(1.0)
    assert bool(((torch.eye(len(x), dtype=torch.float64) - w) @ (x - w) <= 1e-9).all())


def test_projection_by_hand_and_at_rest():
    x = torch.tensor([[0.5, 0.5, -1.0], [2.0, 0.0, 0.0], [0.2, 0.3, 0.5]])
    assert torch.allclose(ops.project_simplex(x), torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.2, 0.3, 0.5]]))
