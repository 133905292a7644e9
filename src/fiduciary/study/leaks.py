"""Alarms of the problem itself: factors that look ahead, fits on the test, fills that nobody gets, data that flatter."""

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from fiduciary.core import seeds, trees
from fiduciary.core.checks import corners, future_blind
from fiduciary.core.errors import ContractError
from fiduciary.core.types import Alarm, Env, Fold, Split
from fiduciary.data.panel import Panel
from fiduciary.data.validation import SPLIT_SLACK, SPLITS
from fiduciary.markets.dynamics import redrawn

if TYPE_CHECKING:
    from fiduciary.study.study import Problem

ACCOUNTS, PRESENTS = 8, 8
"""Accounts, and presents in all, at which the future is redrawn: a leak shows at most of them, and a study should not wait."""
SURVIVAL_YEARS = 2.0
"""In a shorter history it is no wonder that nothing was delisted."""
SILENT_BARS = 5
"""A symbol without a bar for longer than that at the end has left; a suspension of a day or two has not."""
UNUSUAL = 8.0
"""Robust standard deviations of a symbol's own moves beyond which a jump is none of them."""
AROUND = 5
"""Bars on both sides of a jump whose median price must have moved with it: a wrong tick comes back."""
PRICE_SLACK = 1e-6
"""Relative rounding of a fill's price against the range of its bar."""


@runtime_checkable
class Charted(Protocol):
    """A problem whose prices can be looked at."""

    @property
    def panel(self) -> Panel:
        """All its bars."""
        ...


def look_ahead(folds: Mapping[str, Fold], *, seed: int = 0) -> list[Alarm]:
    """Redraw what lies after a few presents of the test: what an account saw may not move, nor what a step did."""
    chosen = _some(folds)
    for account, fold in chosen:
        try:
            future_blind(fold.test, seed=seed, batch=1, blind=PRESENTS // len(chosen))
        except ContractError as error:
            # Without a cause nothing was found: an account that cannot trade proves neither the one nor the other.
            if error.cause:
                return [Alarm("look-ahead", f"In the test of {account}, {error}. What is shown cannot be had in life.")]
    return []


def fitted_ahead(problem: "Problem", split: Split, *, seed: int = 0) -> list[Alarm]:
    """Redraw all prices after the last training date: scalers and all else that was fitted may not move."""
    if not (isinstance(problem, Charted) and is_dataclass(problem)):
        return []
    end = np.datetime64(split.train[1], "D")
    later = problem.panel.dates[problem.panel.dates > end]
    panel = redrawn(problem.panel, int(end.astype(np.int64)), seeds.generator(seed, "alarms", "redrawn"))
    twins = replace(problem, panel=panel).folds(split)
    for account, fold in _some(problem.folds(split)):
        if not _same_before(fold, twins[account], later, seeds.generator(seed, "alarms", "open")):
            text = (
                f"What {account} sees up to {end} changes when only later prices are redrawn: something, such as a scaler, "
                "was fitted on dates after the training, so the test was known before it was taken."
            )
            return [Alarm("look-ahead", text)]
    return []


def _same_before(fold: Fold, twin: Fold, later: NDArray[np.datetime64], rng: torch.Generator) -> bool:
    """Whether training, and what the test shows of bars before the dates `later`, are bit for bit the same."""
    state, opening = fold.train.init(8, rng), fold.test.init(1, rng)
    now, then = fold.train.observe(state), twin.train.observe(state)
    shown, known = fold.test.observe(opening), twin.test.observe(opening)
    same = torch.equal(now.world.window(), then.world.window()) and trees.equal(now[1:], then[1:])
    for action in corners(fold.train.spec):
        asked = action.expand(8, *action.shape)
        same = same and trees.equal(fold.train.step(state, asked), twin.train.step(state, asked))
    today = np.datetime64(int(fold.test.when(opening)[0]), "D")
    # An account has at most as many bars after the training as there are dates: the rest of its window lies before.
    rows = max(0, shown.world.length - int((later <= today).sum()))
    return same and torch.equal(shown.world.window()[:, :rows], known.world.window()[:, :rows])


def impossible_fills(folds: Mapping[str, Fold], *, seed: int = 0) -> list[Alarm]:
    """Purchases from cash whose price lies outside the bar in which they were filled, such as the close just observed.

    A purchase of x money that gains g by the close of that bar, where a unit is worth p, was filled at p x / (x + g). Only
    accounts of a single symbol with highs and lows tell: those of several do not say what each one gained. Fills that
    flatter but stay within the range, such as at the low, are not found.
    """
    for account, fold in _some(folds):
        if (panel := _chart(fold.train)) is None:
            continue
        for fill in _purchases(fold.train, seeds.generator(seed, "alarms", "fills")):
            if text := _impossible(fill, panel):
                return [Alarm("unobservable fill", f"{account} {text}")]
    return []


class _Fill(NamedTuple):
    """A purchase: days of the decision and of the bar after it, the close that was seen, and the price of the fill."""

    decided: int
    then: int
    seen: float
    price: float


def _chart(env: Env[Any]) -> Panel | None:
    """The bars of an account of one symbol, if they tell highs and lows."""
    panel = env.panel if isinstance(env, Charted) else None
    return panel if panel and len(panel.symbols) == 1 and {"high", "low"} <= set(panel.fields) else None


def _purchases(env: Env[Any], rng: torch.Generator) -> Iterator[_Fill]:
    """What every action buys at 32 presents."""
    state = env.init(32, rng)
    idle = env.observe(state).account[:, 0] == 0
    for action in corners(env.spec):
        after, step = env.step(state, action.expand(32, *action.shape))
        spent = step.traded.reshape(32, -1).sum(-1)
        price = spent * env.mark(after) / (spent + step.ledger.pnl)
        columns = (env.when(state), env.when(after), env.mark(state), price)
        yield from (_Fill(*row) for row in zip(*(each[(spent > 0) & idle].tolist() for each in columns), strict=True))


def _impossible(fill: _Fill, panel: Panel) -> str:
    """Why nobody gets this price, or ""."""
    decided, then = (np.datetime64(day, "D") for day in (fill.decided, fill.then))
    low, high = (float(panel[name][np.searchsorted(panel.dates, then), 0]) for name in ("low", "high"))
    if low * (1 - PRICE_SLACK) <= fill.price <= high * (1 + PRICE_SLACK):
        return ""
    if abs(fill.price / fill.seen - 1.0) <= PRICE_SLACK:
        return f"decided on {decided} at the close of {fill.seen:.6g} and was filled at that price: results are optimistic."
    return (
        f"was filled on {then} at {fill.price:.6g}, outside that day's range of {low:.6g} to {high:.6g}: nobody could have "
        "had that price, and what it earned is worth nothing."
    )


def survivorship(panel: Panel) -> list[Alarm]:
    """Several symbols over years, and not one has left by the end."""
    years = (panel.dates[-1] - panel.dates[0]).astype(int) / 365.25
    n = len(panel.symbols)
    if n < 2 or years < SURVIVAL_YEARS or not panel.mask[-SILENT_BARS:].any(axis=0).all():
        return []
    text = (
        f"All {n} symbols are alive at the end of {years:.0f} years of data: what failed on the way was never there to be "
        "bought, so every policy that buys, the benchmark too, looks better than it could have been."
    )
    return [Alarm("survivorship", text)]


def unadjusted_splits(panel: Panel) -> list[Alarm]:
    """Overnight jumps by a split's ratio, far outside the symbol's own moves, that do not come back."""
    found = [jump for n in range(len(panel.symbols)) for jump in _split_jumps(panel, n)]
    if not found:
        return []
    symbol, date, ratio = found[0]
    text = (
        f"{symbol} opened on {date} at {ratio:.3g} times its last close, as in a share split, and {len(found)} such "
        "jump(s) stay in the data: a policy that holds through one loses or wins what no shareholder did. Adjust the prices."
    )
    return [Alarm("unadjusted split", text)]


def _split_jumps(panel: Panel, n: int) -> Iterator[tuple[str, np.datetime64, float]]:
    """(symbol, date, price ratio) of every jump of one symbol."""
    bars = panel.mask[:, n]
    close, dates = panel["close"][bars, n], panel.dates[bars]
    jump = np.log((panel["open"][bars, n] if "open" in panel.fields else close)[1:] / close[:-1])
    levels = np.log([float(split) for split in SPLITS])
    # The day's own move lies on top of the split.
    near = np.abs(np.abs(jump)[:, None] - levels).min(axis=1) <= max(SPLIT_SLACK, 3.0 * _spread(jump))
    for t in np.flatnonzero(near & (np.abs(jump) > UNUSUAL * _spread(np.diff(np.log(close))))).tolist():
        before, after = (
            np.median(np.log(part)) for part in (close[max(0, t + 1 - AROUND) : t + 1], close[t + 1 :][:AROUND])
        )
        if abs(after - before - jump[t]) < 0.5 * abs(jump[t]) and not _volume_follows(panel, n, t + 1, jump[t]):
            yield panel.symbols[n], dates[t + 1], float(np.exp(jump[t]))


def _spread(x: NDArray[np.float64]) -> float:
    """Standard deviation of the bulk, from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(x - np.median(x)))) if len(x) else 0.0


def _volume_follows(panel: Panel, n: int, t: int, jump: float) -> bool:
    """Whether the units traded moved with the price from bar t on: in a split they move against it."""
    if "volume" not in panel.fields:
        return False
    volume = np.log1p(panel["volume"][panel.mask[:, n], n])
    shift = np.median(volume[t : t + 4 * AROUND]) - np.median(volume[max(0, t - 4 * AROUND) : t])
    # Medians of so few bars differ by chance; a difference of that size says nothing.
    chance = 3.0 * 1.2533 * _spread(np.diff(volume)) / np.sqrt(4 * AROUND)
    return bool(shift * np.sign(jump) > max(abs(jump) / 2, chance))


def _some(folds: Mapping[str, Fold]) -> list[tuple[str, Fold]]:
    return list(folds.items())[:ACCOUNTS]
