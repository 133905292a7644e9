"""The Black-Scholes world: moments by law, expectations against closed forms, options against put-call parity and QuantLib."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.markets.brownian import Brownian, call

WORLD = Brownian(36.0, 0.2, 0.06, 0.02, 50)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _f64(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_prices_grow_at_the_rate_with_the_stated_spread():
    n = 40_000
    price = WORLD.draw(n, _rng())
    assert price.shape == (n, 51) and (price[:, 0] == 36.0).all()
    moves = price.log().diff(dim=-1)
    assert float(moves.std()) == pytest.approx(WORLD.sd, rel=0.01)
    assert abs(float(moves.mean()) - WORLD.drift) < 4 * WORLD.sd / math.sqrt(n * 50)
    discounted = price[:, -1] * math.exp(-0.06)
    assert abs(float(discounted.mean()) - 36.0) < 4 * float(discounted.std()) / math.sqrt(n)


@settings(max_examples=20, deadline=None)
@given(sigma=st.floats(0.05, 0.8), rate=st.floats(-0.05, 0.2), power=st.floats(-2, 3))
def test_expectations_of_powers_are_exact(sigma, rate, power):
    world = Brownian(1.0, sigma, rate, 0.02, 3)
    lattice = world.lattice(8)
    middle = len(lattice.log_price) // 2
    found = lattice.expected((power * lattice.log_price).exp())[middle]
    wanted = math.exp(power * world.drift + 0.5 * (power * world.sd) ** 2)
    assert float(found) == pytest.approx(wanted, rel=1e-12)
    rows = lattice.expected(torch.stack((lattice.log_price, lattice.log_price**2)))
    assert rows[:, middle].tolist() == pytest.approx([world.drift, world.sd**2 + world.drift**2], rel=1e-9, abs=1e-14)


def test_a_lattice_prices_a_european_put():
    lattice = WORLD.lattice(20)
    value = (40.0 - lattice.log_price.exp()).clamp(min=0.0)
    for _ in range(50):
        value = math.exp(-0.06 * 0.02) * lattice.expected(value)
    assert float(value[len(value) // 2]) == pytest.approx(3.844308, abs=3e-5)


def test_calls_equal_quantlib_and_are_the_payoff_at_expiry():
    ql = pytest.importorskip("QuantLib")
    spot, years = _f64(0.8, 1.0, 1.0, 1.3), _f64(0.5, 0.08, 1e-4, 2.0)
    mine = torch.stack(call(spot, 1.0, sigma=0.2, years=years), dim=-1)
    for row, s, tau in zip(mine.tolist(), spot.tolist(), years.tolist(), strict=True):
        peer = ql.BlackCalculator(ql.PlainVanillaPayoff(ql.Option.Call, 1.0), s, 0.2 * math.sqrt(tau))
        assert row == pytest.approx([peer.value(), peer.delta(s), peer.gamma(s)], rel=1e-9, abs=1e-12)
    price, delta, gamma = call(_f64(0.9, 1.1), 1.0, sigma=0.2, years=_f64(0.0, 0.0))
    assert price.tolist() == pytest.approx([0.0, 0.1]) and delta.tolist() == [0.0, 1.0] and gamma.tolist() == [0.0, 0.0]


def test_reference_numbers_of_one_call():
    price, delta, gamma = call(_f64(1.0), 1.0, sigma=0.2, years=_f64(20 / 250))
    assert [float(price), float(delta), float(gamma)] == pytest.approx([0.02256457, 0.51128229, 7.04954941], abs=5e-9)


def test_only_what_comes_later_is_redrawn():
    price, every = WORLD.draw(1, _rng()), torch.arange(51)
    other = WORLD.redrawn(torch.tensor([20]), _rng(1))
    old, new = (world.at(price.expand(51, -1), every) for world in (WORLD, other))
    assert torch.equal(old[:21], new[:21]) and not torch.isclose(old[21:], new[21:]).any()


@pytest.mark.parametrize("change", [{"spot": 0.0}, {"sigma": -0.1}, {"dt": 0.0}, {"steps": 0}], ids=str)
def test_what_is_no_world_is_refused(change):
    with pytest.raises(ConfigError):
        Brownian(**{"spot": 1.0, "sigma": 0.2, "rate": 0.0, "dt": 0.1, "steps": 5} | change)
