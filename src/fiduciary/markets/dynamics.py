"""How artificial worlds move: panels whose truth is known, to learn what a verdict is worth."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import BARS, Panel

Floats = NDArray[np.float64]
_START = np.datetime64("2000-01-03")


def random_walk(
    *, bars: int, symbols: int = 1, volatility: float = 0.02, opening_gap: float = 0.5, rng: np.random.Generator
) -> Panel:
    """Prices without drift or memory: E[P_t+1 | past] = P_t, so no policy has an edge before costs.

    Args:
        bars: T, trading days (weekdays from 2000-01-03).
        symbols: N independent walks, named RW1, RW2, ...
        volatility: daily standard deviation of log returns.
        opening_gap: share of the daily variance that falls between close and open.
        rng: source of all randomness.
    """
    steps = rng.standard_normal((2, bars, symbols))
    night, day = volatility * np.sqrt(opening_gap), volatility * np.sqrt(1 - opening_gap)
    gaps = night * steps[0] - night**2 / 2
    moves = day * steps[1] - day**2 / 2
    close = 100.0 * np.exp(np.cumsum(gaps + moves, axis=0))
    open_ = close * np.exp(-moves)
    volume = np.exp(13 + 0.5 * rng.standard_normal(close.shape))
    names = [f"RW{n + 1}" for n in range(symbols)]
    return _panel(open_, close, volume, symbols=names, source="random walk without drift", rng=rng)


class Planted(NamedTuple):
    """A market with a signal in it.

    Attributes:
        panel: one symbol, "PLANTED".
        up: [T] bool, the regime that the volume of bar t shows and that moves the price over bar t+1.
        moves: [T] log move from open to close of each bar.
    """

    panel: Panel
    up: NDArray[np.bool_]
    moves: Floats

    def best_log_growth(self, first: int, last: int, commission_bps: float) -> float:
        """Log growth of the best policy that decides at the closes of bars first .. last-1, in closed form.

        Hold exactly while the regime is up. Every rise is collected whole, since a bar opens where the last one closed;
        every entry costs log(1 + c) and every exit -log(1 - c), c the commission; no sale after the last decision.

            growth = sum_{t = first}^{last-1} up_t * move_t+1 - entries * log(1 + c) + exits * log(1 - c)

        It is the best one as long as runs earn more than a round trip costs (`planted` refuses parameters that do not).
        """
        held = self.up[first:last]
        changes = np.diff(np.concatenate(([0], held.astype(int))))
        c = commission_bps * 1e-4
        trades = (changes > 0).sum() * np.log1p(c) - (changes < 0).sum() * np.log1p(-c)
        return float(self.moves[first + 1 : last + 1][held].sum() - trades)


def planted(
    *, bars: int, edge: float = 0.01, noise: float = 0.01, runs: tuple[int, int] = (5, 20), rng: np.random.Generator
) -> Planted:
    """One stock whose volume tells the direction of the next bar.

    Regimes alternate, up and down, in pairs of runs of equal random length, so that the price comes back and its level
    stays where a policy has learned. The log move of bar t+1 is +edge or -edge by the regime of bar t, plus noise; bars open
    where the last one closed; volume is four times larger when the regime is up.

    Args:
        bars: T.
        edge: size of the expected log move.
        noise: standard deviation of its noise.
        runs: shortest and longest run, in bars.
        rng: source of all randomness.

    Raises:
        ConfigError: the shortest run would not pay for a round trip at 50 bp.
    """
    if runs[0] * edge < 0.02:
        raise ConfigError(
            "the shortest run must earn more than a dear round trip (2 %)", f"{runs[0]} bars of {edge:.2%}"
        )
    up = _alternating(bars, runs, rng)
    moves = np.zeros(bars)
    moves[1:] = np.where(up[:-1], edge, -edge) + noise * rng.standard_normal(bars - 1)
    close = 100.0 * np.exp(np.cumsum(moves))
    open_ = close * np.exp(-moves)
    volume = 1e6 * np.where(up, 2.0, 0.5) * np.exp(0.1 * rng.standard_normal(bars))
    source = f"planted signal: edge {edge:.2%} a day, noise {noise:.2%}, runs of {runs[0]} to {runs[1]} days"
    panel = _panel(open_[:, None], close[:, None], volume[:, None], symbols=["PLANTED"], source=source, rng=rng)
    return Planted(panel, up, moves)


def _alternating(bars: int, runs: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    lengths = rng.integers(runs[0], runs[1] + 1, size=bars // (2 * runs[0]) + 1)
    pattern = np.concatenate([np.repeat((True, False), length) for length in lengths])
    return pattern[:bars]


def _panel(
    open_: Floats, close: Floats, volume: Floats, *, symbols: list[str], source: str, rng: np.random.Generator
) -> Panel:
    """Add highs and lows around opens and closes, and a weekday calendar."""
    wick = np.exp(np.abs(0.003 * rng.standard_normal((2, *close.shape))))
    high, low = np.maximum(open_, close) * wick[0], np.minimum(open_, close) / wick[1]
    dates = np.busday_offset(_START, np.arange(len(close)), roll="forward")
    values = np.stack((open_, high, low, close, volume), axis=-1)
    return Panel(dates, tuple(symbols), BARS, values, np.ones(close.shape, dtype=bool), source=source)


def redrawn(panel: Panel, after: int, rng: torch.Generator) -> Panel:
    """`panel` with every bar later than day `after` (since 1970-01-01) drawn anew: another path of prices, other volumes."""
    later = panel.dates.astype("datetime64[D]").astype(np.int64) > after
    shape = (int(later.sum()), len(panel.symbols))
    path = torch.randn(shape, generator=rng, dtype=torch.float64).mul(0.05).cumsum(0).exp().numpy()
    size = torch.randn(shape, generator=rng, dtype=torch.float64).exp().numpy()
    values = panel.values.copy()
    for f, name in enumerate(panel.fields):
        values[later, :, f] *= size if name == "volume" else path
    return replace(panel, values=values)
