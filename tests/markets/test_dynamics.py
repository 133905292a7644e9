"""Markets whose truth is known keep their laws: no drift, no memory where none is promised, and the edge that they state."""

import numpy as np
import pytest
from arch.univariate import GARCH
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.data import Panel, sample
from fiduciary.markets import dynamics
from fiduciary.markets.dynamics import Garch

MILD = Garch(alpha=0.1, beta=0.5, dof=20)
"""Its eighth moment is small enough for the sample to show the fourth."""


@pytest.fixture(scope="module")
def stocks() -> Panel:
    return sample("us-stocks", symbols=["IBM", "GOOG"]).between("2004", "2006")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def log_moves(panel: Panel) -> np.ndarray:
    return np.diff(np.log(panel["close"]), axis=0)


MADE = {
    "garch": lambda panel, seed: dynamics.garch(bars=len(panel.dates), symbols=2, rng=rng(seed)),
    "block-permuted": lambda panel, seed: dynamics.block_permuted(panel, rng=rng(seed)),
    "phase-randomised": lambda panel, seed: dynamics.phase_randomised(panel, rng=rng(seed)),
    "edge": lambda panel, seed: dynamics.planted_edge(bars=len(panel.dates), sharpe=2, rng=rng(seed)).panel,
}


# --- laws of all -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MADE)
@settings(max_examples=10)
@given(seed=st.integers(0, 10_000))
def test_bars_are_bars_and_depend_on_the_seed_alone(name, stocks, seed):
    panel, again, other = (MADE[name](stocks, s) for s in (seed, seed, seed + 1))
    open_, high, low, close = (panel[field] for field in ("open", "high", "low", "close"))
    assert (low > 0).all() and panel.fields == stocks.fields
    assert (high >= np.maximum(open_, close) * (1 - 1e-12)).all()
    assert (low <= np.minimum(open_, close) * (1 + 1e-12)).all()
    assert panel.digest() == again.digest() != other.digest()


@pytest.mark.parametrize("name", ["block-permuted", "phase-randomised"])
def test_what_a_stock_gained_in_training_says_nothing_about_its_test(name, stocks):
    # Without a drift of its own, the two halves of every path would add up to the same number: a correlation of -1.
    paths = [log_moves(MADE[name](stocks, seed))[:, 0] for seed in range(400)]
    early, late = np.array([(path[: len(path) // 2].sum(), path[len(path) // 2 :].sum()) for path in paths]).T
    assert abs(np.corrcoef(early, late)[0, 1]) < 4 / np.sqrt(len(paths))
    for half in (early, late):
        assert abs(half.mean()) < 4 * half.std() / np.sqrt(len(paths))


# --- garch -----------------------------------------------------------------------------------------------------------


def test_garch_has_the_moments_of_its_closed_form():
    panel = dynamics.garch(bars=40_000, symbols=8, law=MILD, rng=rng())
    r = panel["close"] / panel["open"] - 1
    squares = r**2 - (r**2).mean()
    acf = [(squares[k:] * squares[:-k]).mean() / (squares**2).mean() for k in (1, 2, 3, 4)]
    assert r.std() == pytest.approx(MILD.volatility, rel=0.01)
    assert (r**4).mean() / (r**2).mean() ** 2 == pytest.approx(MILD.kurtosis, rel=0.02)
    assert acf == pytest.approx(MILD.acf_of_squares(4), abs=0.01)


def test_garch_prices_are_a_martingale():
    panel = dynamics.garch(bars=40_000, symbols=8, rng=rng(1))
    r = panel["close"][1:] / panel["close"][:-1] - 1
    calm = np.abs(r[:-1]) < np.median(np.abs(r))
    for known in (calm, ~calm, r[:-1] > 0, r[:-1] <= 0):
        later = r[1:][known]
        assert abs(later.mean()) < 4 * later.std() / np.sqrt(later.size)


def test_garch_is_that_of_arch():
    law, bars = Garch(), 500
    panel = dynamics.garch(bars=bars, law=law, rng=rng(2))
    z = rng(2).standard_t(law.dof, (bars, 1))[:, 0] * np.sqrt(1 - 2 / law.dof)
    omega = law.volatility**2 * (1 - law.alpha - law.beta)
    theirs, _ = GARCH().simulate(
        [omega, law.alpha, law.beta], bars, lambda size: z[:size], burn=0, initial_value=law.volatility**2
    )
    assert (panel["close"] / panel["open"] - 1)[:, 0] == pytest.approx(theirs, abs=1e-12)


# --- surrogates ------------------------------------------------------------------------------------------------------


def test_a_permuted_panel_keeps_its_bars_and_the_correlations_between_its_symbols(stocks):
    made, full = (
        dynamics.block_permuted(stocks, block=20, rng=rng()),
        dynamics.block_permuted(stocks, block=1, rng=rng()),
    )
    rows = stocks.mask.all(axis=1)
    volumes = stocks["volume"][rows][1:]
    assert np.sort(made["volume"][1:], axis=0) == pytest.approx(np.sort(volumes, axis=0))
    true = log_moves(stocks)[~np.isnan(log_moves(stocks)).any(axis=1)]
    assert np.cov(log_moves(made).T) == pytest.approx(np.cov(true.T), rel=1e-9)
    wicks = lambda panel: np.sort((panel["high"] / np.maximum(panel["open"], panel["close"]))[1:], axis=0)  # noqa: E731
    assert wicks(made) == pytest.approx(wicks(stocks.between(str(made.dates[0]), None)), abs=1e-12)
    place = {volume: t for t, volume in enumerate(volumes[:, 0])}
    for panel, most in ((made, len(volumes) / 20 + 2), (full, len(volumes))):
        breaks = (np.diff([place[volume] for volume in panel["volume"][1:, 0]]) != 1).sum()
        assert most / 2 < breaks <= most


@pytest.mark.parametrize("last", ["2006-10-30", "2006-10-31"])
def test_a_phase_randomised_panel_keeps_spectra_and_nothing_else(stocks, last):
    stocks = stocks.between("2004-08-19", last)
    made = dynamics.phase_randomised(stocks, rng=rng())
    before, after = (np.fft.rfft(log_moves(panel), axis=0)[1:] for panel in (stocks, made))
    assert np.abs(after) == pytest.approx(np.abs(before), rel=1e-6)
    cross = [f[:, 0] * f[:, 1].conj() for f in (before, after)]
    assert cross[1] == pytest.approx(cross[0], rel=1e-6)
    assert abs(np.corrcoef(log_moves(made)[:, 0], log_moves(stocks)[:, 0])[0, 1]) < 4 / np.sqrt(len(stocks.dates))
    assert (made["volume"] == stocks["volume"]).all()


def test_a_panel_of_closes_alone_can_be_shuffled():
    index = sample("sp500").between("2010", "2010")
    for made in (dynamics.block_permuted(index, rng=rng()), dynamics.phase_randomised(index, rng=rng())):
        assert made.fields == ("close",)
        assert log_moves(made).std() == pytest.approx(log_moves(index).std(), rel=1e-9)


# --- planted edge ----------------------------------------------------------------------------------------------------


def advantage(edge: dynamics.Edge) -> np.ndarray:
    """[T - 1] log return of the best policy less that of holding: it earns nothing while the regime is down."""
    return np.where(edge.up[:-1], 0.0, -log_moves(edge.panel)[:, 0])


@pytest.mark.parametrize("sharpe", [0.0, 1.5, 6.0])
def test_the_edge_is_the_one_that_was_asked_for(sharpe):
    edge = dynamics.planted_edge(bars=400_000, sharpe=sharpe, rng=rng())
    d = advantage(edge)
    assert d.mean() == pytest.approx(edge.mean, abs=4 * edge.deviation / np.sqrt(len(d)))
    assert edge.mean / d.std() * np.sqrt(252) == pytest.approx(sharpe, rel=0.01)
    means = d[: len(d) // 200 * 200].reshape(-1, 200).mean(axis=1)
    # Over 200 bars the bias of order run / 200 is below the error of a standard deviation of 2000 means.
    assert means.std() * np.sqrt(200) == pytest.approx(edge.deviation, rel=0.08)


@pytest.mark.parametrize("sharpe", [0.0, 1.5, 3.0])
def test_a_simple_test_has_the_power_of_the_closed_form(sharpe):
    markets = [dynamics.planted_edge(bars=504, sharpe=sharpe, rng=rng(seed)) for seed in range(600)]
    t = [np.sqrt(503) * advantage(edge).mean() / edge.deviation for edge in markets]
    power = markets[0].power(503)
    assert np.mean(np.array(t) > 1.96) == pytest.approx(power, abs=4 * np.sqrt(power * (1 - power) / 600))
    assert markets[0].power(5_000) >= power


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Garch(alpha=0.5, beta=0.6), "a fourth moment"),
        (lambda _: Garch(dof=4.0), "a fourth moment"),
        (lambda _: Garch(volatility=0.0), "a volatility > 0"),
        (lambda stocks: dynamics.block_permuted(stocks, block=0, rng=rng()), "`block` must be at least 1"),
        (lambda stocks: dynamics.block_permuted(stocks, block=500, rng=rng()), "1001 dates with bars of every symbol"),
        (
            lambda stocks: dynamics.phase_randomised(stocks.between("2004-08-19", "2004-08-20"), rng=rng()),
            "needs 3 dates",
        ),
        (lambda _: dynamics.planted_edge(bars=10, sharpe=-1, rng=rng()), "`sharpe` must lie"),
        (lambda _: dynamics.planted_edge(bars=10, sharpe=16, rng=rng()), "`sharpe` must lie"),
        (lambda _: dynamics.planted_edge(bars=10, sharpe=1, run=1.0, rng=rng()), "`run` above 1"),
    ],
)
def test_a_market_that_cannot_be_is_refused(make, message, stocks):
    with pytest.raises(ConfigError, match=message):
        make(stocks)
