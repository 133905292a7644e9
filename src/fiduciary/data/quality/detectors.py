"""What can be wrong with one symbol's bars though every row is sound: found in how rows follow one another.

A move is judged against the symbol's own moves nearby, by their median absolute deviation, so that a crisis excuses what a
calm year would not. With x the log close, r its changes and s_t = 1.4826 median |r - median r| over `AROUND` bars on either
side, a candidate is |r_t| > max(`UNUSUAL` s_t, `LEAST`); what it is depends on what follows:

    comes back, from a power of ten of the price    decimal shift (within `BRIEF` bars) or price unit
    comes back within `RETURN` bars                 outlier
    stays, at a power of ten, volume unmoved        price unit: pence for pounds
    stays, at the ratio of a split                  unadjusted split
    stays, beyond 30 %                              large jump

Statistic: Leys et al. 2013, "Detecting outliers: do not use standard deviation around the mean", J. Exp. Soc. Psychol. 49.
"""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.data.validation import JUMP, SPLIT_SLACK, SPLITS, Floats, History

Ints = NDArray[np.int64]

FEWEST = 30
"""Bars below which nothing is usual, and so nothing unusual."""
AROUND, UNUSUAL, LEAST = 30, 8.0, 0.05
"""Bars on either side that say what is usual; robust standard deviations beyond which a move is not; least log move."""
RETURN, BRIEF = 2, 20
"""Bars within which a wrong tick comes back, and within which a wrong decimal point does."""
LEVEL = 5
"""Bars on both sides of a jump whose median price must have moved with it."""
VOLUME_AROUND = 20
"""The same for volume, which moves more by itself."""
UNIT_AROUND = 60
"""The same for a change of its unit: a share locked at its price limit trades next to nothing for up to forty days."""
RARE = 0.01
"""Expected number of runs of equal closes, by chance, below which a run is reported."""
REPEATS = 3
"""Equal closes in a row, after the first, below which nothing is stale."""
TEN = float(np.log(10.0))


class Hit(NamedTuple):
    """One finding.

    Attributes:
        kind, severity, fact, remedy: as in `Fault`.
        rows: [M] rows of the symbol that are in doubt, the first one the most.
    """

    kind: str
    severity: Literal["error", "warning"]
    rows: Ints
    fact: str
    remedy: str


Detector = Callable[[History], Iterator[Hit]]


# --- moves -----------------------------------------------------------------------------------------------------------


def jumps(history: History) -> Iterator[Hit]:
    """Moves of the close that are none of the symbol's own, by what follows them; see the module."""
    close = history.columns.get("close")
    if close is None or len(close) < FEWEST or not (close > 0).all():
        return  # broken prices are for the rules of validation
    x = np.log(close)
    r = np.diff(x)
    explained = 0
    for t in (np.flatnonzero(np.abs(r) > max(LEAST, UNUSUAL / 2 * spread(r))) + 1).tolist():
        usual = spread(r[max(0, t - 1 - AROUND) : t + AROUND])
        if t >= explained and abs(r[t - 1]) > max(LEAST, UNUSUAL * usual) and (hit := _judged(history, x, t, usual)):
            explained = int(hit.rows[-1]) + 2 if hit.rows[0] == t else t
            yield hit


def _judged(history: History, x: Floats, t: int, usual: float) -> Hit | None:
    """What the move onto bar t is, or None."""
    jump = float(x[t] - x[t - 1])
    words = f"close {np.exp(x[t - 1]):.6g} -> {np.exp(x[t]):.6g}"
    if _is_power_of_ten(jump, usual):
        return _of_ten(history, x, t, usual, words)
    back = np.abs(x[t + 1 : t + 1 + RETURN] - x[t - 1]) < abs(jump) / 3
    if back.any():
        return Hit(
            "outlier", "warning", np.arange(t, t + 1 + int(np.argmax(back))), f"{words} and back",
            "compare another source; a wrong tick must not be traded, a real crash needs nothing",
        )  # fmt: skip
    level = np.median(x[t : t + LEVEL]) - np.median(x[max(0, t - LEVEL) : t])
    if abs(level - jump) > abs(jump) / 2:
        return None
    if (ratio := _split_ratio(history, t)) and not _shift(history, t) * np.sign(jump) > abs(jump) / 2:
        return _split(t, words, ratio)
    if abs(np.expm1(jump)) > JUMP:
        return Hit(
            "large jump", "warning", np.array([t]), words, "check the source; a real move needs nothing",
        )  # fmt: skip
    return None


def _is_power_of_ten(jump: float, usual: float) -> bool:
    power = round(abs(jump) / TEN)
    return power >= 1 and abs(abs(jump) - power * TEN) <= _slack(power, usual)


def _slack(power: int, usual: float) -> float:
    """Room for the day's own move on top of a factor of 10**power; nothing else makes a price a hundred times another."""
    return TEN / 4 if power > 1 else max(0.1, 6.0 * usual)


def _of_ten(history: History, x: Floats, t: int, usual: float, words: str) -> Hit | None:
    """A move by 10, 100, ...: it comes back, or units were traded the other way (a split), or the price has another unit."""
    jump = float(x[t] - x[t - 1])
    power = round(abs(jump) / TEN)
    back = np.flatnonzero(np.abs(np.diff(x[t:]) + jump) <= _slack(power, usual)) + 1
    if len(back) and back[0] <= BRIEF:
        return Hit(
            "decimal shift", "error", np.arange(t, t + int(back[0])), f"{words}, {10**power} times, and back",
            "the decimal point slipped: load these bars again or correct them",
        )  # fmt: skip
    split = _shift(history, t) * np.sign(jump) < -abs(jump) / 2 if "volume" in history.columns else power == 1
    if split and not len(back):
        return _split(t, words, 10**power)
    end = t + int(back[0]) if len(back) else len(x)
    rows = np.arange(t, end) if len(back) or end - t <= t else np.arange(t)  # the shorter side is the likelier mistake
    return Hit(
        "price unit", "error", rows, f"{words}: {10**power} times and volume unmoved",
        "pence for pounds or another currency from here on: convert one side, see `reference.convert`",
    )  # fmt: skip


def _split(t: int, words: str, ratio: float) -> Hit:
    return Hit(
        "unadjusted split", "warning", np.array([t]), f"{words}, nearly {ratio:g} for 1 or 1 for {ratio:g}",
        "append the split to `corporate_actions` and adjust; a real move needs nothing",
    )  # fmt: skip


def _split_ratio(history: History, t: int) -> float:
    """The common split that the move onto bar t is nearly, 0 if none; by the open where there is one, which is cleaner."""
    close = history.columns["close"]
    opened = history.columns.get("open", close)
    overnight = np.log(opened[1:] / close[:-1])
    levels = np.log([float(split) for split in SPLITS])
    distance = np.abs(abs(overnight[t - 1]) - levels)
    near = int(np.argmin(distance))
    usual = spread(overnight[max(0, t - 1 - AROUND) : t + AROUND])
    return float(SPLITS[near]) if distance[near] <= max(SPLIT_SLACK, 3.0 * usual) else 0.0


def _shift(history: History, t: int) -> float:
    """How far the log volume moved from before bar t to after it; 0 where there is none."""
    volume = np.log1p(history.columns.get("volume", np.zeros(len(history.dates))))
    return float(np.median(volume[t : t + VOLUME_AROUND]) - np.median(volume[max(0, t - VOLUME_AROUND) : t]))


def wicks(history: History) -> Iterator[Hit]:
    """A high or low far outside open and close, by the symbol's own moves: a wrong tick, or a crash within the day."""
    names = ("open", "high", "low", "close")
    if not all(name in history.columns for name in names) or len(history.dates) < FEWEST:
        return
    stack = np.stack([history.columns[name] for name in names])
    if not (stack > 0).all():
        return
    opened, high, low, close = np.log(stack)
    r = np.diff(close, prepend=close[0])
    length = np.maximum(high - np.maximum(opened, close), np.minimum(opened, close) - low)
    rows = np.flatnonzero(length > max(LEAST, UNUSUAL / 2 * spread(r)))
    far = [t for t in rows.tolist() if length[t] > UNUSUAL * spread(r[max(0, t - AROUND) : t + 1 + AROUND])]
    if far:
        t = far[0]
        yield Hit(
            "outlier", "warning", np.array(far), f"low {np.exp(low[t]):.6g}, high {np.exp(high[t]):.6g} around close "
            f"{np.exp(close[t]):.6g}", "compare another source; stops and limits would have been filled there",
        )  # fmt: skip


# --- no moves --------------------------------------------------------------------------------------------------------


def stale_prices(history: History) -> Iterator[Hit]:
    """Closes repeated on bars that traded, more often than the symbol's own unchanged closes and its tick explain."""
    close = history.columns.get("close")
    if close is None or len(close) < FEWEST:
        return
    traded = history.columns.get("volume", np.ones(len(close))) > 0
    same = np.append(False, (np.diff(close) == 0) & traded[1:])
    edges = np.flatnonzero(np.diff(np.concatenate(([False], same, [False]))))
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    moves = np.abs(np.diff(close))
    # A move of s ticks in the mean absolute is rounded to none with a chance of about 1 / (pi s).
    rounded = moves[moves > 0].min() / (np.pi * moves.mean()) if moves.any() else 0.0
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        share = max((same.sum() - length + 1) / (len(close) + 2), rounded)
        if length >= REPEATS and len(close) * share**length < RARE:
            yield Hit(
                "stale price", "warning", np.arange(start, start + length),
                f"close {close[start]:.6g} repeated {length} times while shares were traded",
                "the feed stood still: load these bars again, or leave them out",
            )  # fmt: skip


# --- units -----------------------------------------------------------------------------------------------------------


def volume_unit(history: History) -> Iterator[Hit]:
    """Volume that steps by 100, 1000 or 10000 within one bar and stays, while the price does not: lots for shares."""
    if not {"volume", "close"} <= history.columns.keys():
        return
    traded = np.flatnonzero((history.columns["volume"] > 0) & (history.columns["close"] > 0))
    if len(traded) < FEWEST:
        return
    v, x = np.log(history.columns["volume"][traded]), np.log(history.columns["close"][traded])
    step, usual = np.diff(v), spread(np.diff(v))
    for t in (np.flatnonzero(np.abs(step) > max(1.2 * TEN, 3.0 * usual)) + 1).tolist():
        before, after = v[max(0, t - UNIT_AROUND) : t], v[t : t + UNIT_AROUND]
        shift, sides = float(np.median(after) - np.median(before)), min(len(before), len(after))
        power, still = round(abs(shift) / TEN), abs(x[t] - x[t - 1]) < TEN / 4
        near = 2 <= power <= 4 and abs(abs(shift) - power * TEN) < 0.25 * TEN and shift * step[t - 1] > 0
        if near and still and sides >= LEVEL and usual < TEN / 2:
            yield Hit(
                "volume unit", "error" if sides == UNIT_AROUND else "warning", traded[t:] if len(v) - t <= t else traded[:t],
                f"volume about {10**power} times as {'large' if shift > 0 else 'small'} from row {t} on, price unmoved",
                "lots for shares: multiply one side; near the ends of a history a true rush looks the same",
            )  # fmt: skip


def turnover(history: History) -> Iterator[Hit]:
    """Amount that is 100, 1000 or 10000 times volume x close, or that part of it: volume in lots, amount in thousands.

    Where the two do not agree up to powers of ten, as with adjusted prices, nothing can be said.
    """
    if not {"volume", "close", "amount"} <= history.columns.keys():
        return
    amount, money = history.columns["amount"], history.columns["volume"] * history.columns["close"]
    traded = np.flatnonzero((amount > 0) & (money > 0))
    power = np.log10(amount[traded] / money[traded])
    rows = traded[np.abs(np.round(power)) >= 2]
    if len(rows) and np.mean(np.abs(power - np.round(power)) < 0.15) > 0.95:
        yield Hit(
            "volume unit", "error", rows,
            f"amount {amount[rows[0]]:.6g} is {amount[rows[0]] / money[rows[0]]:.3g} times volume x close",
            "volume in lots, or amount in thousands: bring both to single units",
        )  # fmt: skip


DETECTORS: tuple[Detector, ...] = (jumps, wicks, stale_prices, volume_unit, turnover)


def spread(x: Floats) -> float:
    """Standard deviation of the bulk: 1.4826 times the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(x - np.median(x)))) if len(x) else 0.0
