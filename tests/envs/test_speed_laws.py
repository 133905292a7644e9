"""What was made fast says the same as what is easy to read: windows, columns known beforehand, short cuts of the costs."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.core.types import View
from fiduciary.envs import StockTrading
from fiduciary.markets import costs, venue

money = st.floats(-1e7, 1e7)
bps = st.sampled_from([0.0, 2.5, 10.0])


@given(st.integers(1, 6), st.integers(0, 4), st.booleans(), st.integers(0, 2**31))
def test_a_window_is_its_bars_one_after_the_other(length, features, assets, seed):
    rng = torch.Generator().manual_seed(seed)
    bars = torch.rand(10, 3, features, generator=rng) if assets else torch.rand(10, features, generator=rng)
    bar = torch.randint(length - 1, 10, (7,), generator=rng)
    view = View(bars, bar, length)
    for b, window in zip(bar.tolist(), view.window(), strict=True):
        assert torch.equal(window, torch.stack([bars[t] for t in range(b - length + 1, b + 1)]))
    out = torch.empty_like(view.window())
    assert view.window(out=out) is out and torch.equal(out, view.window())


def test_a_window_is_a_copy_that_leaves_the_world_as_it_is():
    bars = torch.rand(10, 2)
    before = bars.clone()
    View(bars, torch.tensor([4, 5]), 3).window().zero_()
    assert torch.equal(bars, before)


def test_bars_that_lie_otherwise_in_memory_give_the_same_windows():
    bars, bar = torch.rand(10, 3), torch.tensor([2, 9, 5])
    assert torch.equal(View(bars.T.contiguous().T, bar, 3).window(), View(bars, bar, 3).window())


@pytest.mark.parametrize("bar", [1, 10])
def test_a_window_that_leaves_the_world_is_refused(bar):
    with pytest.raises(IndexError):
        View(torch.rand(10, 2), torch.tensor([5, bar]), 3).window()


@given(st.sampled_from([0.0, 0.1, 1.0, 3.0, 100.0]), st.integers(0, 5), st.sampled_from([-1, 0, 1]))
def test_enough_is_having_a_whole_lot_left(lot, lots, side):
    """Right at the edge, where rounding could tell the two apart."""
    units = torch.tensor([lots * (lot or 1.0)], dtype=torch.float64)
    units = torch.nextafter(units, torch.full_like(units, side * math.inf)) if side else units
    rules = venue.Venue(lot=lot)
    assert torch.equal(rules.enough(units), rules.whole_lots(units) > 0)


@given(st.lists(money, min_size=1, max_size=8), bps, bps, bps, st.sampled_from([0.0, 5.0]))
def test_costs_are_those_of_the_formula_written_out(traded, commission_bps, stamp_duty_bps, slippage_bps, minimum_fee):
    c = costs.Costs(commission_bps, stamp_duty_bps, slippage_bps, minimum_fee)
    fees, impact = (
        c.fees(torch.tensor(traded, dtype=torch.float64)),
        c.impact(torch.tensor(traded, dtype=torch.float64)),
    )
    for x, fee, slip in zip(traded, fees.tolist(), impact.tolist(), strict=True):
        commission = max(abs(x) * (commission_bps * 1e-4), minimum_fee) if x else 0.0
        assert fee == commission + max(-x, 0.0) * (stamp_duty_bps * 1e-4)
        assert slip == abs(x) * (slippage_bps * 1e-4)


@given(st.lists(money, min_size=1, max_size=8), st.floats(0.01, 1e4), bps, bps, st.sampled_from([0.0, 5.0]))
def test_what_is_affordable_is_the_smaller_of_two_bounds(cash, price, commission_bps, slippage_bps, minimum_fee):
    c = costs.Costs(commission_bps, 0.0, slippage_bps, minimum_fee)
    units = c.affordable(torch.tensor(cash, dtype=torch.float64), torch.full((len(cash),), price, dtype=torch.float64))
    commission, slip = commission_bps * 1e-4, slippage_bps * 1e-4
    for x, bought in zip(cash, units.tolist(), strict=True):
        by_rate, by_minimum = x / (price * (1.0 + commission + slip)), (x - minimum_fee) / (price * (1.0 + slip))
        assert bought == max(0.0, min(by_rate, by_minimum))


@pytest.mark.parametrize("rate", [0.0, 0.05])
def test_what_the_world_knows_beforehand_is_what_a_bar_by_bar_reading_gives(walk, rate):
    env = StockTrading(walk, window=5, venue=venue.CHINA_A, cash_rate=rate)
    world, panel = env.world, walk
    days = panel.dates.astype("datetime64[D]").astype(int)
    for n in range(2):
        offset = n * len(days)
        for t in range(1, len(days)):
            fill, before = panel["open"][t, n], panel["close"][t - 1, n]
            assert bool(world.buyable[offset + t]) == (fill < before * (1 + (0.1 - 0.002)))
            assert bool(world.sellable[offset + t]) == (fill > before * (1 - (0.1 - 0.002)))
            interest = math.expm1((days[t] - days[t - 1]) / 365 * math.log1p(rate))
            assert float(world.interest[offset + t]) == pytest.approx(interest, abs=1e-15)
    assert not world.buyable.all() and not world.sellable.all()  # the limits were met
