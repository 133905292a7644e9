"""What the three problems of stocks share: gaps in the training dates, quotes, and costs that are multiplied."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fiduciary.core.checks import check_env, random_action
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Repriced
from fiduciary.envs import PortfolioWeights, ShareTrading, Shorting, StockTrading
from fiduciary.evaluation import splits
from fiduciary.factors import SIM
from fiduciary.markets import costs, dynamics, venue

CLOSE = tuple(factor for factor in SIM if factor.name == "close")
SOME = costs.Costs(commission_bps=10, stamp_duty_bps=10, slippage_bps=5)
ANY = venue.Venue(lot=0)
BARS = 200


def _stock(panel, **options):
    return StockTrading(panel, CLOSE, **{"venue": ANY, "costs": SOME, "window": 3} | options)


def _weights(panel, **options):
    return PortfolioWeights(panel, CLOSE, **{"costs": SOME, "window": 3} | options)


def _shares(panel, **options):
    return ShareTrading(panel, CLOSE, **{"venue": ANY, "costs": SOME, "window": 3} | options)


three = pytest.mark.parametrize("make", [_stock, _weights, _shares])


@pytest.fixture(name="panel")
def _panel():
    """Two random walks; the second is listed on bar 10 and suspended on bars 150 to 152."""
    walk = dynamics.random_walk(bars=BARS, symbols=2, volatility=0.03, rng=np.random.default_rng(0))
    values, mask = walk.values.copy(), walk.mask.copy()
    mask[:10, 1], mask[150:153, 1] = False, False
    values[~mask] = np.nan
    return replace(walk, values=values, mask=mask)


def _dates(panel, first, last):
    return str(panel.dates[first]), str(panel.dates[last])


def _scaled(panel, bars, factor=1.5):
    """Prices and volumes of `bars` times `factor`."""
    values = panel.values.copy()
    values[bars] *= factor
    return replace(panel, values=values)


def _places(panel, days):
    """Places in the calendar at which `days` stand."""
    return np.searchsorted(panel.dates.astype("datetime64[D]").astype(np.int64), days.numpy())


def _lived(env, batch=8, seed=0):
    """States of a whole episode under random actions, and its steps."""
    rng, states, steps = torch.Generator().manual_seed(seed), [env.init(batch, torch.Generator().manual_seed(seed))], []
    for _ in range(env.spec.horizon):
        action = random_action(env.spec.space, env.observe(states[-1]).legal, rng)
        state, step = env.step(states[-1], action)
        states.append(state)
        steps.append(step)
    return states, steps


# --- gaps ------------------------------------------------------------------------------------------------------------


@three
def test_no_episode_stands_in_a_gap(make, panel):
    env = make(panel, without=(_dates(panel, 60, 79), _dates(panel, 120, 124)), starts="random")
    states, steps = _lived(env, batch=64)
    stood = np.stack([_places(env.panel, env.when(state)) for state in states])
    assert not np.isin(stood, [*range(60, 80), *range(120, 125)]).any()
    assert steps[-1].last.all()
    # An episode ends with its stretch: no account leaps over a gap.
    for gap in (60, 120):
        assert ((stood < gap) == (stood[0] < gap)).all()


@three
def test_starts_are_uniform_over_the_bars_of_all_stretches(make, panel):
    panel = panel.select(panel.symbols[:1])
    env = make(panel, without=(_dates(panel, 60, 79), _dates(panel, 120, 124)), starts="random", episode=7)
    state = env.init(40_000, torch.Generator().manual_seed(1))
    started, ended = _places(env.panel, env.when(state)), state.end.numpy()
    stretches = [(2, 59), (80, 119), (125, BARS - 1)]
    allowed = np.concatenate([np.arange(*stretch) for stretch in stretches])
    found, counts = np.unique(started, return_counts=True)
    assert np.array_equal(found, allowed)
    expected = len(started) / len(allowed)
    assert np.abs(counts - expected).max() < 5 * expected**0.5
    last = np.array([next(b for a, b in stretches if a <= t < b) for t in started])
    assert np.array_equal(ended, np.minimum(last, started + 7))


@three
def test_a_gap_outside_the_dates_changes_nothing(make, panel):
    plain = make(panel, dates=_dates(panel, 30, 150), starts="random", episode=20)
    gap = replace(plain, without=(_dates(panel, 151, 180),))
    for one, other in zip(*(_lived(env)[0] for env in (plain, gap)), strict=True):
        assert torch.equal(plain.wealth(one), gap.wealth(other)) and torch.equal(one.t, other.t)


@three
def test_hindsight_runs_through_the_longest_stretch(make, panel):
    split = splits.Split(
        _dates(panel, 20, 180), _dates(panel, 181, 199), None, (_dates(panel, 50, 60), _dates(panel, 150, 155))
    )
    for fold in make(panel).folds(split).values():
        states = _lived(fold.hindsight, batch=1)[0]
        first, last = (int(_places(panel, fold.hindsight.when(state))[0]) for state in (states[0], states[-1]))
        assert (first, last) == (61, 149)
        assert fold.train.without == fold.hindsight.without == split.without and fold.test.without == ()


@three
def test_what_is_fitted_sees_the_remaining_training_bars_alone(make, panel):
    calendar = panel.dates
    (_, middle, _) = splits.kfold(calendar, 3, purge=2, embargo=5)
    walked = splits.walk_forward(calendar, train=100, valid=20, test=30)[0]
    # Prices in a gap reach the bars after it through the look-back of a factor; those of the future reach nothing.
    for split, unseen, factors in ((middle, slice(67 - 2, 134 + 5), CLOSE), (walked, slice(100, None), SIM)):
        plain, other = (replace(make(p), factors=factors).folds(split) for p in (panel, _scaled(panel, unseen)))
        for name, fold in plain.items():
            assert np.array_equal(fold.train.scaler.mean, other[name].train.scaler.mean)
            assert np.array_equal(fold.train.scaler.std, other[name].test.scaler.std)
            assert getattr(fold.train, "utility", 0) == getattr(other[name].train, "utility", 0)
    seen = make(_scaled(panel, slice(64, 65))).folds(middle)
    assert all(
        np.any(seen[name].train.scaler.mean != fold.train.scaler.mean)
        for name, fold in make(panel).folds(middle).items()
    )


@three
def test_what_is_fitted_equals_a_computation_by_hand(make, panel):
    panel = panel.select(panel.symbols[:1])
    split = splits.kfold(panel.dates, 4, embargo=3)[1]
    (fold,) = make(panel).folds(split).values()
    close = panel["close"][:, 0]
    kept = [close[2:50], close[103:]]
    assert fold.train.scaler.mean[0] == pytest.approx(np.concatenate(kept).mean())
    if make is _stock:
        r = np.concatenate([part[1:] / part[:-1] - 1 for part in kept])
        u = r - 0.1 * (r - np.cumsum(r) / np.arange(1, len(r) + 1)) ** 2
        assert fold.train.utility == pytest.approx((u.mean(), u.std(ddof=1)))


def test_a_sweep_covers_every_stretch_and_chains_only_within_one(panel):
    env = _stock(panel, without=(_dates(panel, 60, 79),))
    sweep = env.sweep()
    places = _places(env.panel, env.world.day[sweep.bar])
    assert len(sweep.bar) == (59 - 2) + (199 - 80) + (59 - 12) + (199 - 80 - 3)
    assert not np.isin(places, range(60, 80)).any()
    follows = torch.cat((sweep.bar[1:] == sweep.bar[:-1] + 1, torch.tensor([False])))
    assert torch.equal(sweep.chained, follows) and int((~sweep.chained).sum()) == 4
    # Rewards are those of episodes that stand there.
    whole = _stock(panel).sweep()
    place = torch.searchsorted(whole.bar, sweep.bar)
    assert torch.equal(sweep.reward, whole.reward[place])


@three
def test_the_contract_holds_with_gaps(make, panel):
    assert check_env(make(panel, without=(_dates(panel, 60, 79),), starts="random"), batch=4, steps=60, blind=8)


@three
def test_a_stretch_of_one_bar_is_dropped(make, panel):
    panel = panel.select(panel.symbols[:1])
    env = make(panel, without=(_dates(panel, 0, 20), _dates(panel, 22, 150)), starts="random")
    assert _places(env.panel, env.when(env.init(500, torch.Generator()))).min() == 151


@three
@pytest.mark.parametrize(
    ("without", "message"),
    [
        ((("1990", "2100"),), "`window` and look-backs must leave at least two bars"),
        ((("2005", "2004"),), "`without` must hold ranges that run forwards, got 2005 to 2004"),
        ((("soon", "2004"),), "a date must read YYYY"),
    ],
)
def test_gaps_that_cannot_be_are_refused(make, panel, without, message):
    with pytest.raises(ConfigError, match=message):
        _ = make(panel, without=without).spec


# --- quotes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [_weights, _shares])
def test_quotes_are_the_bars_of_the_panel_side_by_side(make, panel):
    env = make(panel, dates=_dates(panel, 5, 190))
    state = _lived(env, batch=2)[0][7]
    view = env.observe(state).world
    assert env.spec.quotes == panel.fields and view.quotes.dtype == torch.float64 and view.since is None
    t = int(state.t[0])
    expected = np.concatenate((np.full((3, 2, 5), np.nan), panel.values[: t + 1]))
    np.testing.assert_array_equal(view.history(t + 4).numpy(), np.stack([expected] * 2))


def test_quotes_of_a_symbol_are_its_own_bars(panel):
    env = _stock(panel)
    state = _lived(env, batch=2)[0][170]
    view = env.observe(state).world
    assert env.spec.quotes == panel.fields and view.quotes.shape == (panel.mask.sum(), 5)
    for n, history in enumerate(view.history(250).numpy()):
        today = np.datetime64(int(env.when(state)[n]), "D")
        own = panel.values[panel.mask[:, n] & (panel.dates <= today), n]
        np.testing.assert_array_equal(history, np.concatenate((np.full((250 - len(own), 5), np.nan), own)))
    alone = _stock(panel.select(panel.symbols[1:]))
    assert alone.observe(alone.init(3, torch.Generator())).world.since is None


# --- costs -----------------------------------------------------------------------------------------------------------


@three
def test_costs_once_are_the_costs(make, panel):
    env = make(panel)
    assert isinstance(env, Repriced)
    same = env.at_costs(1)
    for one, other in zip(_lived(env)[0], _lived(same)[0], strict=True):
        assert torch.equal(env.wealth(one), same.wealth(other))
    free = env.at_costs(0)
    assert free.costs == costs.Costs() and [alarm.kind for alarm in free.spec.alarms] == ["free trading"]


@three
def test_wealth_falls_with_the_multiple(make, panel):
    wealth = torch.stack([env.wealth(_lived(env, seed=3)[0][-1]) for env in map(make(panel).at_costs, (0, 1, 2, 5))])
    # Orders of shares are rounded by nothing here and every account trades, so dearer is poorer.
    assert (wealth.diff(dim=0) < 0).all()


def test_the_same_fills_cost_the_multiple(panel):
    charge = costs.Costs(commission_bps=10, stamp_duty_bps=10, slippage_bps=5, minimum_fee=30)
    # An account that never runs out of cash fills the same orders at any cost.
    rich = _shares(panel, costs=charge, cash=1e9, max_shares=1_000, venue=venue.US)
    (_, one), (_, three_times) = _lived(rich), _lived(rich.at_costs(3))
    for step, dearer in zip(one, three_times, strict=True):
        assert torch.equal(step.traded, dearer.traded)
        torch.testing.assert_close(dearer.ledger.fees, 3 * step.ledger.fees)
        torch.testing.assert_close(dearer.ledger.impact, 3 * step.ledger.impact)
    assert sum(float(step.ledger.fees.sum()) for step in one) < 0


def test_impact_is_multiplied_and_borrowing_is_not(panel):
    weights = _weights(panel, impact=0.5, short=0.3, borrow_rate=0.02).at_costs(2)
    assert (weights.impact, weights.borrow_rate, weights.costs.slippage_bps) == (1.0, 0.02, 10)
    shares = _shares(panel, shorting=Shorting(borrow_rate=0.02)).at_costs(2)
    assert shares.shorting == Shorting(borrow_rate=0.02)
    free = _shares(panel, shorting=Shorting(borrow_rate=0.0)).spec.alarms
    assert [alarm.kind for alarm in free] == ["free borrowing"]


@pytest.mark.parametrize(
    ("multiple", "message"), [(-1, "not negative"), (float("nan"), "not negative"), (1e4, "basis points")]
)
def test_costs_cannot_be_multiplied_by_anything(multiple, message):
    with pytest.raises(ConfigError, match=message):
        SOME.times(multiple)
