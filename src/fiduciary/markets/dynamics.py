"""How artificial worlds move: panels whose truth is known, to learn what a verdict is worth."""

import math
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.panel import BARS, Panel

Floats = NDArray[np.float64]
_START = np.datetime64("2000-01-03")
_DAYS_A_YEAR = 252


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


@dataclass(frozen=True)
class Garch:
    """Returns whose size remembers and whose direction does not (Bollerslev 1986, 1987), and their closed-form moments.

        r_t = sigma_t z_t,    z_t: Student's t with `dof` degrees of freedom, scaled to variance 1
        sigma_t^2 = omega + alpha r_tm1^2 + beta sigma_tm1^2,    omega = volatility^2 (1 - alpha - beta)

    Attributes:
        volatility: unconditional daily standard deviation of simple returns.
        alpha: weight of the last return.
        beta: weight of the last variance.
        dof: degrees of freedom of the innovations.

    Raises:
        ConfigError: the fourth moment does not exist: dof <= 4 or beta^2 + 2 alpha beta + kappa alpha^2 >= 1, where
            kappa = 3 (dof - 2) / (dof - 4) is the kurtosis of the innovations.
    """

    volatility: float = 0.02
    alpha: float = 0.08
    beta: float = 0.9
    dof: float = 8.0

    def __post_init__(self) -> None:
        if not (self.volatility > 0 and self.alpha >= 0 and self.beta >= 0 and self.dof > 4 and self._fourth > 0):
            raise ConfigError(
                "a GARCH market must have a volatility > 0 and a fourth moment", str(self),
                remedy="lower `alpha` or `beta`, or raise `dof` above 4",
            )  # fmt: skip

    @property
    def innovation_kurtosis(self) -> float:
        """E[z^4] = 3 (dof - 2) / (dof - 4)."""
        return 3 * (self.dof - 2) / (self.dof - 4)

    @property
    def _fourth(self) -> float:
        return 1 - self.beta**2 - 2 * self.alpha * self.beta - self.innovation_kurtosis * self.alpha**2

    @property
    def kurtosis(self) -> float:
        """E[r^4] / E[r^2]^2 = kappa (1 - (alpha + beta)^2) / (1 - beta^2 - 2 alpha beta - kappa alpha^2)."""
        return self.innovation_kurtosis * (1 - (self.alpha + self.beta) ** 2) / self._fourth

    def acf_of_squares(self, lags: int) -> Floats:
        """[lags] autocorrelations of r^2 at lags 1, 2, ... (Bollerslev 1988).

        rho_1 = alpha (1 - alpha beta - beta^2) / (1 - 2 alpha beta - beta^2),    rho_k = (alpha + beta)^(k-1) rho_1
        """
        a, b = self.alpha, self.beta
        return np.asarray(a * (1 - a * b - b**2) / (1 - 2 * a * b - b**2) * (a + b) ** np.arange(lags))


_LARGEST_RETURN = 0.5


def garch(*, bars: int, symbols: int = 1, law: Garch | None = None, rng: np.random.Generator) -> Panel:
    """Prices with fat tails and clusters of volatility, and without drift: E[P_t+1 | past] = P_t.

    Simple returns follow `law`, cut to +-50 %: symmetric, so the martingale stays exact, and rare enough that the moments do.
    Bars open where the last one closed.

    Args:
        bars: T, trading days (weekdays from 2000-01-03).
        symbols: N independent stocks, named GARCH1, GARCH2, ...
        law: of their returns; None = `Garch()`.
        rng: source of all randomness.
    """
    law = law or Garch()
    z = rng.standard_t(law.dof, (bars, symbols)) * np.sqrt(1 - 2 / law.dof)
    omega = law.volatility**2 * (1 - law.alpha - law.beta)
    r, variance = np.empty_like(z), np.full(symbols, law.volatility**2)
    for t in range(bars):
        r[t] = (np.sqrt(variance) * z[t]).clip(-_LARGEST_RETURN, _LARGEST_RETURN)
        variance = omega + law.alpha * r[t] ** 2 + law.beta * variance
    close = 100.0 * np.cumprod(1 + r, axis=0)
    volume = np.exp(13 + 0.5 * rng.standard_normal(close.shape))
    names = [f"GARCH{n + 1}" for n in range(symbols)]
    return _panel(close / (1 + r), close, volume, symbols=names, source=f"{law} without drift", rng=rng)


def block_permuted(panel: Panel, rng: np.random.Generator, *, block: int = 20) -> Panel:
    """The panel's own bars, all symbols together, in blocks put in random order, and without drift: nothing lasts.

    A bar goes with its gap from the close before, its range and its volume. Correlations between symbols, fat tails and, within
    blocks, dependence stay; so nothing that a policy sees tells the direction of a block that has not begun.

    The mean log move is taken out: with it, staying out would lose what holding earns, and "evidence for" would be rarer
    than where nothing is to be gained or lost. See `_driftless` for what takes its place. Only dates on which every symbol
    has a bar are used.

    Args:
        panel: prices, `close` among them; other fields than prices move with their bars.
        rng: source of all randomness.
        block: bars in a block; the first one is shortened by chance.

    Raises:
        ConfigError: `block` is below one, or the dates with bars of every symbol are fewer than two blocks.
    """
    panel = _complete(panel, 2 * block + 1)
    if block < 1:
        raise ConfigError("`block` must be at least 1 bar", str(block))
    moves = _moves(panel)
    edges = np.arange(int(rng.integers(1, block + 1)), len(moves), block)
    blocks = np.split(np.arange(len(moves)), edges)
    order = np.concatenate([blocks[k] for k in rng.permutation(len(blocks))])
    return _rebuilt(panel, _driftless(moves, block, rng)[order], order, f"in blocks of {block}, permuted")


def phase_randomised(panel: Panel, rng: np.random.Generator) -> Panel:
    """Another history with the panel's spectra: Fourier phases of its log moves drawn anew, the same for all symbols.

    Every autocorrelation and cross-correlation of the moves over the whole panel stays (Theiler et al. 1992; several series:
    Prichard and Theiler 1994); skewness, fat tails, clusters of volatility and the mean go. Ranges and volumes stay on their
    days and so say nothing about the moves.

    What stays is an edge for whoever finds it: linear dependence, real or by chance, is the same in training and test. The
    autocorrelations of T bars without memory are of size 1 / sqrt(T), so a linear forecast by k lags that knew them all would
    explain about k / T of the variance. A rate of "evidence for" above that of the other nulls on this one may be skill.

    Args:
        panel: prices, `close` among them.
        rng: source of all randomness.

    Raises:
        ConfigError: fewer than 3 dates have bars of every symbol.
    """
    panel = _complete(panel, 3)
    moves = _moves(panel)
    spectrum = np.fft.rfft(moves, axis=0)
    phase = rng.uniform(0, 2 * np.pi, len(spectrum))
    # A mean of 0 would make the test pay back what training gained: the mean takes the size of the slowest wave instead.
    spectrum[0] = np.sqrt(2) * (spectrum[1] * np.exp(1j * phase[0])).real
    phase[0] = 0.0
    if len(moves) % 2 == 0:
        phase[-1] = 0.0  # like the mean, the fastest wave of an even number of bars has a sign and no phase
    turned = np.fft.irfft(spectrum * np.exp(1j * phase)[:, None, None], n=len(moves), axis=0)
    return _rebuilt(panel, turned, np.arange(len(moves)), "phases randomised")


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


class Edge(NamedTuple):
    """A market in which the best policy's advantage over holding is known; see `planted_edge`.

    Attributes:
        panel: one symbol, "EDGE".
        up: [T] bool, the regime that the volume of bar t shows and that moves the price over bar t+1.
        mean: E[d], d = log return of the best policy less that of holding, per bar.
        deviation: long-run standard deviation of d per bar, that of sqrt(T) times its mean over T bars.
    """

    panel: Panel
    up: NDArray[np.bool_]
    mean: float
    deviation: float

    def power(self, bars: int, *, level: float = 0.05) -> float:
        """Probability that a two-sided test of E[d] = 0 on so many bars finds the best policy better (normal approximation).

        power = Phi(sqrt(bars) mean / deviation - z),    z = Phi^-1(1 - level / 2)
        """
        normal = NormalDist()
        return normal.cdf(math.sqrt(bars) * self.mean / self.deviation - normal.inv_cdf(1 - level / 2))


def planted_edge(
    *, bars: int, sharpe: float, volatility: float = 0.02, run: float = 10.0, rng: np.random.Generator
) -> Edge:
    """One stock without drift whose volume tells, faintly, the direction of the next bar.

    A regime s_t = +-1 turns with probability 1 / `run` on every bar; volume is four times larger when it is up. The log move of
    bar t+1 is delta s_t + volatility * noise, and bars open where the last one closed, so an order decided at the close of
    t and filled at the next open earns it whole. The best policy holds while the regime is up; in logs it beats holding by

        d_t+1 = -1{s_t = -1} (volatility * noise - delta)
        E[d] = delta / 2,    Var[d] = volatility^2 / 2 + delta^2 / 4
        sum of autocovariances at all lags = Var[d] + 2 (delta^2 / 4) rho / (1 - rho),    rho = 1 - 2 / run

    before costs, and delta is such that E[d] / sd[d] * sqrt(252) = `sharpe`.

    Args:
        bars: T.
        sharpe: annual Sharpe ratio of d, the information ratio of the best policy against holding; 0 = nothing to find.
        volatility: standard deviation of the noise.
        run: mean length of a regime, in bars.
        rng: source of all randomness.

    Raises:
        ConfigError: `sharpe` is negative or above 15, or `run` is not above 1.
    """
    if not 0 <= sharpe < _DAYS_A_YEAR**0.5 - 0.5 or run <= 1:
        raise ConfigError("`sharpe` must lie in [0, 15] and `run` above 1 bar", f"{sharpe}, {run}")
    # (delta / 2)^2 = q (volatility^2 / 2 + delta^2 / 4) with q the square of the ratio per bar
    q = sharpe**2 / _DAYS_A_YEAR
    delta = volatility * math.sqrt(2 * q / (1 - q))
    up = (np.cumsum(rng.random(bars) < 1 / run) + rng.integers(2)) % 2 == 0
    moves = volatility * rng.standard_normal(bars)
    moves[1:] += np.where(up[:-1], delta, -delta)
    close = 100.0 * np.exp(np.cumsum(moves))
    volume = 1e6 * np.where(up, 2.0, 0.5) * np.exp(0.1 * rng.standard_normal(bars))
    source = f"planted edge of annual Sharpe ratio {sharpe:g} against holding"
    open_ = close * np.exp(-moves)
    panel = _panel(open_[:, None], close[:, None], volume[:, None], symbols=["EDGE"], source=source, rng=rng)
    rho = 1 - 2 / run
    variance = volatility**2 / 2 + delta**2 / 4 * (1 + 2 * rho / (1 - rho))
    return Edge(panel, up, delta / 2, math.sqrt(variance))


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


def _complete(panel: Panel, least: int) -> Panel:
    """The dates on which every symbol has a bar."""
    rows = panel.mask.all(axis=1)
    if rows.sum() < least:
        raise ConfigError(
            f"a market made of a panel needs {least} dates with bars of every symbol", str(int(rows.sum())),
            remedy="leave out the symbol with the shortest history, or load more",
        )  # fmt: skip
    return replace(panel, dates=panel.dates[rows], values=panel.values[rows], mask=panel.mask[rows])


def _moves(panel: Panel) -> Floats:
    """[T - 1, 2, N] log moves of every bar but the first: from the close before to the open, and on to the close."""
    close = panel["close"]
    open_ = panel["open"][1:] if "open" in panel.fields else close[:-1]
    return np.log(np.stack((open_ / close[:-1], close[1:] / open_), axis=1))


def _driftless(moves: Floats, block: int, rng: np.random.Generator) -> Floats:
    """Moves [T, ...] less their mean, plus a new one: that of T of them drawn in blocks with replacement.

    A mean of exactly 0 would be a pattern of its own: what a symbol gained in training it would lose in the test. With a
    drift of its own variance, sigma^2 / T, blocks are uncorrelated: -sigma^2 / T + sigma^2 / T = 0.
    """
    total, centred = len(moves), moves - moves.mean(axis=0)
    starts = rng.integers(total, size=(-(-total // block), 1))
    drawn = (starts + np.arange(block)).ravel()[:total] % total
    return np.asarray(centred + centred[drawn].mean(axis=0))


def _rebuilt(panel: Panel, moves: Floats, at: NDArray[np.int64], how: str) -> Panel:
    """`panel` with other log moves [T - 1, 2, N]; the range and other fields of bar 1 + t are those of bar 1 + at_t."""
    values, f = panel.values.copy(), {name: k for k, name in enumerate(panel.fields)}
    values[1:] = panel.values[1 + at]
    body = [f[name] for name in ("open", "close") if name in f]
    top, bottom = values[1:, :, body].max(axis=-1), values[1:, :, body].min(axis=-1)
    values[1:, :, f["close"]] = close = panel["close"][0] * np.exp(moves.sum(axis=1).cumsum(axis=0))
    if "open" in f:
        values[1:, :, f["open"]] = close * np.exp(-moves[:, 1])
    for name, old, new in (("high", top, np.max), ("low", bottom, np.min)):
        if name in f:
            values[1:, :, f[name]] *= new(values[1:, :, body], axis=-1) / old
    return replace(panel, values=values, source=f"{panel.source}, {how}", faults=())


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
