import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.envs import StockTrading
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue

rates = st.floats(0, 200)


@given(rates, rates, rates, st.floats(0, 20), st.floats(100, 1e6), st.floats(1, 50))
def test_what_is_affordable_can_be_paid_and_no_more(  # noqa: PLR0917
    commission, duty, slip, minimum, cash, price
):
    c = costs.Costs(commission, duty, slip, minimum)
    units = c.affordable(torch.tensor([cash], dtype=torch.float64), torch.tensor([price], dtype=torch.float64))
    bill = lambda n: float(n * price + c.fees(n * price) + c.impact(n * price))  # noqa: E731
    assert bill(units) <= cash * (1 + 1e-12)
    assert bill(units * 1.001 + 1e-6) > cash


@given(st.floats(-1e6, 1e6), rates, rates)
def test_fees_are_symmetric_but_for_the_duty(money, commission, duty):
    c = costs.Costs(commission, duty)
    there, back = c.fees(torch.tensor([money])), c.fees(torch.tensor([-money]))
    assert float(abs(there - back)) == pytest.approx(abs(money) * duty * 1e-4, rel=1e-4, abs=1e-2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: costs.Costs(commission_bps=-1), "`commission_bps` must lie in"),
        (lambda: costs.Costs(minimum_fee=-1), "`minimum_fee` must be a number"),
        (lambda: costs.Costs(minimum_fee=float("nan")), "`minimum_fee` must be a number"),
        (lambda: venue.Venue(price_limit=10), "`price_limit` must lie between"),
        (lambda: venue.Venue(lot=-1), "`lot` must be 0"),
        (lambda: venue.Venue(lot=float("nan")), "`lot` must be 0"),
        (lambda: venue.Venue(hold_days=-1), "`hold_days` must not"),
        (lambda: venue.Venue(price_limit=0.0), "`price_limit` must lie between"),
        (lambda: dynamics.planted(bars=100, edge=0.001, rng=np.random.default_rng(0)), "the shortest run must earn"),
    ],
)
def test_wrong_rules_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_random_walk_has_no_drift_and_no_memory():
    panel = dynamics.random_walk(bars=4_000, symbols=8, rng=np.random.default_rng(0))
    r = panel["close"][1:] / panel["close"][:-1] - 1
    error = r.std() / np.sqrt(r.size)
    assert abs(r.mean()) < 4 * error
    assert r.std() == pytest.approx(0.02, rel=0.03)
    memory = np.corrcoef(r[1:].ravel(), r[:-1].ravel())[0, 1]
    assert abs(memory) < 4 / np.sqrt(r.size)


class _Oracle:
    """Holds exactly while the planted regime is up."""

    def __init__(self, up):
        self.up = torch.from_numpy(up)

    def act(self, obs, carry, rng):
        up = self.up[obs.world.bar]
        return torch.where(up & obs.legal[:, 1], 1, torch.where(~up & obs.legal[:, 2], 2, 0)), carry


@pytest.mark.parametrize("bps", [0.0, 5.0, 30.0])
def test_the_closed_form_of_the_planted_market_is_what_its_oracle_earns(bps):
    market = dynamics.planted(bars=600, rng=np.random.default_rng(3))
    env = StockTrading(market.panel, costs=costs.linear(bps), venue=venue.Venue(lot=0))
    path = rollout(env, _Oracle(market.up), rng=torch.Generator())
    best = market.best_log_growth(int(env.world.first), int(env.world.last), bps)
    assert np.log(path.wealth[-1] / path.wealth[0]) == pytest.approx(best, rel=1e-9)


def test_no_policy_beats_the_closed_form_when_there_is_no_noise():
    """Dynamic program over (bar, position) of a noiseless planted market: the same optimum."""
    market = dynamics.planted(bars=200, noise=0.0, rng=np.random.default_rng(4))
    first, last, c = 0, 199, 5e-4
    cash, stock = 0.0, -np.inf
    for t in range(first, last):
        to_stock = max(stock, cash - np.log1p(c))
        cash, stock = max(cash, stock + np.log1p(-c)), to_stock + market.moves[t + 1]
    assert max(cash, stock) == pytest.approx(market.best_log_growth(first, last, 5), rel=1e-9)
