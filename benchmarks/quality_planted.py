"""Every kind of anomaly planted in clean seeded data: how many are found, and how often clean data are called wrong."""

import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial

import numpy as np
import polars as pl

from fiduciary.data import Panel
from fiduciary.data.quality import Anomaly, inspect
from fiduciary.data.reference import sessions
from fiduciary.data.tables import BARS_1D, BARS_1M, FUNDAMENTALS
from rows import Figure, row

TRIALS, BARS = 50, 600
Frame = pl.DataFrame
Planted = tuple[Frame, str, Callable[[Frame], list[Anomaly]]]
"""Rows with the anomaly in them, the symbol that has it, and how they are inspected."""
PRICES = ("open", "high", "low", "close")
HOURS = sessions("XNYS", date(2015, 1, 1), date(2020, 12, 31))


# --- clean data ------------------------------------------------------------------------------------------------------


def daily(rng: np.random.Generator, symbol: str = "A") -> Frame:
    """Two years and more of bars in cents: volatility that clusters, fat tails, volume that follows it."""
    start = int(rng.integers(0, len(HOURS) - BARS))
    hours = HOURS[start : start + BARS]
    noise, variance = rng.standard_t(5, BARS) / np.sqrt(5 / 3), np.empty(BARS)
    variance[0] = 1.0
    for t in range(1, BARS):
        variance[t] = 0.05 + 0.08 * variance[t - 1] * noise[t - 1] ** 2 + 0.87 * variance[t - 1]
    usual = rng.uniform(0.008, 0.025)
    r = usual * np.sqrt(variance) * noise
    x = np.log(rng.uniform(20, 200)) + np.cumsum(r)
    opened = np.append(x[0], x[:-1]) + 0.3 * usual * rng.standard_normal(BARS)
    reach = usual * np.sqrt(variance) * np.abs(rng.standard_normal((2, BARS))) * 0.5
    high, low = np.maximum(opened, x) + reach[0], np.minimum(opened, x) - reach[1]
    traded = rng.uniform(1e5, 1e7) * np.sqrt(variance) * np.exp(0.4 * rng.standard_normal(BARS))
    cents = [np.maximum(np.round(np.exp(p), 2), 0.01) for p in (opened, high, low, x)]
    return pl.DataFrame({
        "event_time": hours["session"], "symbol": symbol, **dict(zip(PRICES, cents, strict=True)), "volume": np.round(traded),
        "known_time": hours["close"] + timedelta(minutes=15),
    }).with_columns(pl.col("event_time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))  # fmt: skip


def minutes(rng: np.random.Generator) -> Frame:
    """Ten sessions of minute bars across a change to summer time, with minutes in which nothing was traded."""
    year = int(rng.integers(2015, 2021))
    march = HOURS.filter(pl.col("session").is_between(date(year, 3, 4), date(year, 3, 18)))
    times = np.concatenate([
        np.arange(o, c, np.timedelta64(1, "m"))
        for o, c in march.select(pl.col("open", "close").dt.replace_time_zone(None)).to_numpy()
    ])  # fmt: skip
    times = times[rng.random(len(times)) < 0.97]
    x = np.round(50 * np.exp(np.cumsum(5e-4 * rng.standard_normal(len(times)))), 2)
    return pl.DataFrame({
        "event_time": times, "symbol": "A", "open": x, "high": x + 0.01, "low": x - 0.01, "close": x,
        "volume": np.round(1e4 * np.exp(0.5 * rng.standard_normal(len(times)))),
    }).with_columns(pl.col("event_time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))  # fmt: skip


def panel(frame: Frame) -> Panel:
    """One symbol's bars."""
    dates = frame["event_time"].dt.date().to_numpy().astype("datetime64[D]")
    values = frame.select(*PRICES, "volume").to_numpy()[:, None, :]
    return Panel(dates, ("A",), (*PRICES, "volume"), values, np.ones((len(dates), 1), bool))


def items(frame: Frame, rng: np.random.Generator) -> Frame:
    """Honest fundamentals of each day: what a vendor that told the truth would have shown at its close."""
    days = frame["event_time"].dt.date()
    year = [days.search_sorted(day - timedelta(days=365), "right") for day in days]
    low = [frame["low"][first : t + 1].min() for t, first in enumerate(year)]
    high = [frame["high"][first : t + 1].max() for t, first in enumerate(year)]
    shares, earned, paid = rng.uniform(1e8, 1e10), rng.uniform(1, 8), rng.uniform(0.5, 4)
    columns = {
        "52_week_low": low, "52_week_high": high, "market_cap": (frame["close"] * shares / 1e6).round(),
        "pe_ttm": (frame["close"] / earned).round(2), "dividend_yield": (100 * paid / frame["close"]).round(2),
    }  # fmt: skip
    wide = frame.select("event_time", "symbol", "known_time").with_columns(
        **{k: pl.Series(v, dtype=pl.Float64) for k, v in columns.items()}
    )
    return wide.unpivot(list(columns), index=["event_time", "symbol", "known_time"], variable_name="item")


of_days = partial(inspect, table=BARS_1D, exchange="XNYS")
of_minutes = partial(inspect, table=BARS_1M, exchange="XNYS")


# --- planting --------------------------------------------------------------------------------------------------------


def scaled(frame: Frame, rows: np.ndarray, factor: float, names: tuple[str, ...] = PRICES) -> Frame:
    """The frame with some columns of some rows multiplied."""
    where = pl.Series(np.isin(np.arange(len(frame)), rows))
    return frame.with_columns(pl.when(where).then(pl.col(name) * factor).otherwise(pl.col(name)) for name in names)


def at(rng: np.random.Generator, length: int = 1, margin: int = 70) -> np.ndarray:
    """Consecutive rows away from both ends."""
    first = int(rng.integers(margin, BARS - margin - length))
    return np.arange(first, first + length)


def bar(change: Callable[[Frame, np.random.Generator], Frame]) -> Callable[[np.random.Generator], Planted]:
    """A change of daily bars."""
    return lambda rng: (change(daily(rng), rng), "A", of_days)


def gone(frame: Frame, rng: np.random.Generator) -> Frame:
    rows = at(rng, int(rng.integers(1, 6)))
    return pl.concat([frame[: rows[0]], frame[int(rows[-1]) + 1 :]])


def frozen(frame: Frame, rng: np.random.Generator) -> Frame:
    rows = at(rng, int(rng.integers(4, 9)))
    held = {name: frame[name].to_numpy().copy() for name in PRICES}
    for name in PRICES:
        held[name][rows] = held["close"][rows[0] - 1]
    return frame.with_columns(**{name: pl.Series(column) for name, column in held.items()})


def tick(frame: Frame, rng: np.random.Generator) -> Frame:
    return scaled(frame, at(rng), float(rng.choice([0.6, 0.7, 1.35, 1.5])))


def wick(frame: Frame, rng: np.random.Generator) -> Frame:
    name, factor = (("high", 1.4), ("low", 0.7))[int(rng.integers(2))]
    return scaled(frame, at(rng), factor, (name,))


def split(frame: Frame, rng: np.random.Generator) -> Frame:
    rows, ratio = np.arange(at(rng)[0], BARS), float(rng.choice([1.5, 2, 3, 4, 5, 10, 20]))
    return scaled(scaled(frame, rows, 1 / ratio), rows, ratio, ("volume",))


def halt(frame: Frame, rng: np.random.Generator) -> Frame:
    rows = at(rng, int(rng.integers(3, 11)))
    still = frozen(frame, rng)
    return scaled(still, rows, 0.0, ("volume",))


def units(frame: Frame, rng: np.random.Generator) -> Frame:
    first = at(rng)[0]
    rows = np.arange(first, BARS) if rng.random() < 0.5 else np.arange(first)
    return scaled(frame, rows, float(rng.choice([100.0, 0.01])), ("volume",))


def lots(frame: Frame, rng: np.random.Generator) -> Frame:
    amount = frame.with_columns(amount=(pl.col("close") * pl.col("volume")).round(0))
    return scaled(amount, np.arange(BARS) if rng.random() < 0.5 else at(rng, 20), 0.01, ("volume",))


def decimal(frame: Frame, rng: np.random.Generator) -> Frame:
    return scaled(frame, at(rng, int(rng.integers(1, 6))), float(rng.choice([10, 100, 0.1, 0.01, 1000])))


def pence(frame: Frame, rng: np.random.Generator) -> Frame:
    first = at(rng)[0]
    rows = [np.arange(first, BARS), np.arange(first), np.arange(first, min(first + 50, BARS))][int(rng.integers(3))]
    return scaled(frame, rows, float(rng.choice([100.0, 0.01])))


def shifted(by: timedelta) -> Callable[[Frame, np.random.Generator], Frame]:
    return lambda frame, rng: frame.with_columns(pl.col("event_time") + by)


def midnight_of(zone: str) -> Callable[[Frame, np.random.Generator], Frame]:
    """Labels at midnight of a zone, which moves with summer time."""
    column = pl.col("event_time")
    return lambda frame, rng: frame.with_columns(column.dt.replace_time_zone(zone).dt.convert_time_zone("UTC"))


def clock(change: Callable[[Frame, np.random.Generator], Frame]) -> Callable[[np.random.Generator], Planted]:
    """A change of minute bars."""
    return lambda rng: (change(minutes(rng), rng), "A", of_minutes)


def no_summer(frame: Frame, rng: np.random.Generator) -> Frame:
    """Local times turned into UTC by the winter's difference all year."""
    local = pl.col("event_time").dt.convert_time_zone("America/New_York").dt.replace_time_zone(None)
    return frame.with_columns((local + timedelta(hours=5)).dt.replace_time_zone("UTC"))


def twice(rng: np.random.Generator) -> Planted:
    """The same share under another name, some days missing, in another unit."""
    one = daily(rng, "A")
    two = scaled(one, np.arange(BARS), float(rng.choice([1.0, 0.25]))).with_columns(symbol=pl.lit("B"))
    return pl.concat([one, two.filter(pl.Series(rng.random(BARS) < 0.9))]).sort("event_time", "symbol"), "B", of_days


def soon(frame: Frame, rng: np.random.Generator) -> Frame:
    lead = timedelta(minutes=int(rng.integers(16, 600)))
    rows = pl.Series(np.isin(np.arange(BARS), at(rng, 30)))
    return frame.with_columns(known_time=pl.col("known_time") - pl.when(rows).then(lead).otherwise(timedelta()))


def late(item: str) -> Callable[[np.random.Generator], Planted]:
    """The last reading of an item under all dates or those of the last year, where it is false by 3 % or more at one."""

    def plant(rng: np.random.Generator) -> Planted:
        while True:
            bars = daily(rng)
            honest = items(bars, rng)
            own, first = honest.filter(pl.col("item") == item)["value"], int(rng.choice([0, BARS - 252]))
            late = own[-1] / own[max(first, 252) :]
            # A copy of what never changed says nothing false.
            if max(late.max(), 1 / late.min()) > 1.03:
                break
        where = (pl.col("item") == item) & (pl.col("event_time") >= bars["event_time"][first])
        planted = honest.with_columns(value=pl.when(where).then(own[-1]).otherwise("value"))
        return planted, "A", partial(inspect, table=FUNDAMENTALS, bars=panel(bars))

    return plant


def assumed(rng: np.random.Generator) -> Planted:
    made = items(daily(rng), rng).with_columns(known_time="event_time", batch=pl.lit(1))
    return made, "fundamentals", partial(inspect, table=FUNDAMENTALS)


def old(rng: np.random.Generator) -> Planted:
    made = daily(rng)
    newest = made["event_time"].max()
    assert isinstance(newest, datetime)
    now = newest + timedelta(days=int(rng.integers(8, 99)))
    return made, "bars_1d", partial(inspect, table=BARS_1D, now=now.astimezone(UTC))


PLANTED: dict[str, tuple[str, Callable[[np.random.Generator], Planted]]] = {
    "one to five sessions left out": ("gap", bar(gone)),
    "four to eight closes repeated": ("stale price", bar(frozen)),
    "a wrong close for one bar": ("outlier", bar(tick)),
    "a wrong high or low": ("outlier", bar(wick)),
    "a split left in": ("unadjusted split", bar(split)),
    "a halt of three to ten days": ("suspended day", bar(halt)),
    "volume in lots on one side": ("volume unit", bar(units)),
    "volume in lots, amount in money": ("volume unit", bar(lots)),
    "a decimal point for one to five bars": ("decimal shift", bar(decimal)),
    "pence for pounds": ("price unit", bar(pence)),
    "a negative price": ("non-positive price", bar(lambda f, g: scaled(f, at(g), -1.0))),
    "high and low swapped": ("crossed prices", bar(lambda f, g: f.rename({"high": "low", "low": "high"}))),
    "a negative volume": ("negative volume", bar(lambda f, g: scaled(f, at(g), -1.0, ("volume",)))),
    "the same day twice": ("duplicate bar", bar(lambda f, g: pl.concat([f, f[at(g)]]).sort("event_time"))),
    "days labelled one early": ("time-zone slip", bar(shifted(timedelta(days=-1)))),
    "days at midnight of New York": ("time-zone slip", bar(midnight_of("America/New_York"))),
    "minutes in New York's time": ("time-zone slip", clock(shifted(timedelta(hours=-5)))),
    "minutes in Shanghai's time": ("time-zone slip", clock(shifted(timedelta(hours=8)))),
    "minutes without summer time": ("time-zone slip", clock(no_summer)),
    "one share under two names": ("same series", twice),
    "known before the close": ("known too soon", bar(soon)),
    "a late 52-week low on early dates": ("snapshot copied", late("52_week_low")),
    "a late 52-week high on early dates": ("snapshot copied", late("52_week_high")),
    "a late market value on early dates": ("snapshot copied", late("market_cap")),
    "a late P/E on early dates": ("snapshot copied", late("pe_ttm")),
    "a late yield on early dates": ("snapshot copied", late("dividend_yield")),
    "one retrieval, known all along": ("knowledge assumed", assumed),
    "a table not updated": ("stale table", old),
}  # fmt: skip
"""What is planted -> (kind of the anomaly that must be found, how)."""


def clean(seed: int) -> list[Anomaly]:
    """Everything said of clean days, minutes and fundamentals."""
    rng = np.random.default_rng((0, seed))
    bars = pl.concat([daily(rng, name) for name in "AB"]).sort("event_time", "symbol")
    alone = daily(rng)
    honest = inspect(items(alone, rng), FUNDAMENTALS, bars=panel(alone))
    return [*of_days(bars), *of_minutes(minutes(rng)), *honest]


def measure(trials: int = TRIALS) -> dict[str, Figure]:
    caught: dict[str, int] = {}
    for what, (kind, plant) in PLANTED.items():
        caught[what] = 0
        for seed in range(trials):
            frame, symbol, look = plant(np.random.default_rng((len(what), seed)))
            caught[what] += any((a.fault.kind, a.fault.symbol) == (kind, symbol) for a in look(frame))
        print(f"  {what:40} {kind:20} found {caught[what]} of {trials}", flush=True)
    said = [anomaly.fault for seed in range(trials) for anomaly in clean(seed)]
    errors = [fault for fault in said if fault.severity == "error"]
    print(f"  clean: {len(errors)} errors; warnings: {dict(Counter(f.kind for f in said if f.severity == 'warning'))}")
    worst = min(caught, key=caught.__getitem__)
    share = 100 * caught[worst] / trials
    note = f"found of the kind found least ({worst}); {len(caught)} kinds, new data each time"
    silent = "errors called on clean data: days of two symbols, minutes and honest fundamentals of one each time"
    return {
        "found": Figure(share, "%", 95.0, "higher", trials * len(caught), note),
        "false": Figure(len(errors), "errors", 0.0, "lower", trials, silent),
    }


if __name__ == "__main__":
    row(5, partial(measure, *map(int, sys.argv[1:])))
