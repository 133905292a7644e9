"""10,000 random as-of queries over random bitemporal logs, against the slow twin: answers that are wrong or know the future."""

import sys
import tempfile
from datetime import UTC, datetime

import numpy as np

from fiduciary.core.errors import ConfigError
from fiduciary.data.history import History
from rows import ROOT, SCRATCH, Figure, row

sys.path.insert(0, str(ROOT / "tests" / "data"))
from history_twin import DAY, LEVELS, NOW, START, Row, Twin, frame, held

LOGS, QUERIES, DAYS, SYMBOLS = 100, 100, 30, tuple("ABCDEFGH")


def _batch(rng: np.random.Generator, day: int) -> list[Row]:
    """News of a day, late rows, corrections and restatements; some claim what they cannot have known."""
    found = {}
    for _ in range(rng.integers(1, 60)):
        event = int(rng.integers(0, day + 1))
        known = int(rng.integers(event, DAYS + 5))
        symbol = str(rng.choice(SYMBOLS))
        found[event, symbol, known] = Row(event, symbol, float(rng.integers(1, 5)), known)
    return list(found.values())


def _filled(history: History, rng: np.random.Generator) -> Twin:
    twin, compact = Twin(), rng.integers(2, 6)
    for k, day in enumerate(sorted(rng.integers(0, DAYS, 6))):
        rows = _batch(rng, int(day))
        history.append(LEVELS, frame(rows), source="random")
        twin.append(rows)
        if k == compact:
            history.compact("levels")
    return twin


def _wrong(history: History, twin: Twin, rng: np.random.Generator) -> bool:
    """Whether the store's answer to a random query differs from the twin's, or holds a row known later."""
    known = int(rng.integers(-1, DAYS + 8))
    as_of = None if known > DAYS + 6 else START + known * DAY + DAY / 2 * int(rng.integers(0, 2))
    first, last = sorted(int(day) for day in rng.integers(0, DAYS + 1, 2))
    wanted = [str(name) for name in rng.choice(SYMBOLS, rng.integers(1, len(SYMBOLS)), replace=False)]
    truth = {
        (day, symbol): level
        for (day, symbol), level in twin.read(2 * NOW if as_of is None else known).items()
        if first <= day < last and symbol in wanted
    }
    limits = {"as_of": as_of, "start": START + first * DAY, "stop": START + last * DAY}
    if rng.integers(0, 2):
        rows = history.read("levels", where={"symbol": wanted}, **limits)
        return held(rows) != truth or (len(rows) > 0 and rows["known_time"].max() > (as_of or datetime.now(UTC)))
    try:
        panel = history.panel("levels", symbols=sorted({symbol for _, symbol in truth}), **limits)
    except ConfigError:
        return bool(truth)
    cells = {
        ((panel.dates[t] - np.datetime64(START.date())).astype(int).item(), panel.symbols[n]): panel.values[t, n, 0]
        for t, n in np.argwhere(panel.mask)
    }
    return cells != truth


def measure() -> Figure:
    rng, found = np.random.default_rng(5), 0
    SCRATCH.mkdir(exist_ok=True)
    for _ in range(LOGS):
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            history = History(folder)
            twin = _filled(history, rng)
            found += sum(_wrong(history, twin, rng) for _ in range(QUERIES))
    note = (
        f"{LOGS} random logs of 6 appends and a compaction, with late rows, corrections and claims of the past; half of the "
        "queries as rows, half as a panel, against a plain list of versions"
    )
    return Figure(found, "violations", 0, "lower", LOGS * QUERIES, note)


if __name__ == "__main__":
    row(5, measure)
