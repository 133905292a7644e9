"""The feed: bars from the real-time store -> factor values, as they come; and a day replayed faster than it was.

    feed = Feed(live, "bars_1m", Stream(SIM, symbols))
    for moment, values in feed.step(wait_s=1.0).values: ...          # [K, N]
"""

from collections.abc import Iterator
from datetime import datetime
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.live import Live
from fiduciary.data.panel import position
from fiduciary.data.tables import Column, Table
from fiduciary.factors.stream import Stream

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]

FACTOR_VALUES = Table(
    "factor_values",
    (Column("bars", "text"), Column("symbol", "text"), Column("factor", "text"), Column("value")),
    ("bars", "symbol", "factor"),
)  # fmt: skip
"""What a feed told: `bars` names the table they were made of, `known_time` is when the store took the value."""


class Fed(NamedTuple):
    """What came of the rows that one step found.

    Attributes:
        values: (`event_time`, [K, N] values of the bars of that moment, NaN where unknown and where there was no bar).
        late: rows that came too late for the stream: corrections, and bars older than one of the symbol already taken.
            `tabulate` over the stores' rows has them right.
    """

    values: list[tuple[datetime, Floats]]
    late: int


class Feed:
    """Reads a table of bars from where it stopped and pushes every new bar into a stream, each symbol's in order of time.

    State: the cursor `after`, the newest bar of each symbol, and the stream's own.

    Args:
        live: the store.
        table: name of a table whose key is `symbol`.
        stream: factors and symbols; bars of other symbols are passed over.
        after: cursor to begin from; 0 = the first row that is still in the store.
        keep: whether the values are appended to the store, as `FACTOR_VALUES`.

    Raises:
        ConfigError: no such table, another key, or a field that a factor needs is missing.
    """

    def __init__(self, live: Live, table: str, stream: Stream, *, after: int = 0, keep: bool = False) -> None:
        schema = live.schema(table)
        if schema.keys != ("symbol",):
            raise ConfigError("a feed must read a table with the key symbol", f"{table!r} with {schema.keys}")
        for name in stream.needs:
            position(name, schema.fields, "field that a factor needs")
        self._live, self._table, self._stream, self._keep, self.after = live, table, stream, keep, after
        self._places = {symbol: n for n, symbol in enumerate(stream.symbols)}
        self._newest = np.full(len(stream.symbols), np.datetime64("0001", "us"))

    def step(self, *, wait_s: float = 0.0, limit: int = 10_000) -> Fed:
        """Take the rows that have come since the last step, at most `limit`; wait so long for a first one."""
        rows, self.after = self._live.follow(self._table, self.after, limit=limit, wait_s=wait_s)
        values, late = [], 0
        for moment, columns, bars in self._bars(rows):
            fresh = self._newest[columns] < np.datetime64(moment.replace(tzinfo=None))
            late += int((~fresh).sum())
            if fresh.any():
                values.append((moment, self._push(moment, columns[fresh], {f: bars[f][fresh] for f in bars})))
        if self._keep and values:
            self._live.append(FACTOR_VALUES, self._told(values), source=f"feed of {self._table}")
        return Fed(values, late)

    def _bars(self, rows: "pl.DataFrame") -> Iterator[tuple[datetime, NDArray[np.intp], dict[str, Floats]]]:
        """(moment, [n] places of the symbols, {field: [n]}) of rows that came one after another."""
        import polars as pl

        own = rows.with_columns(
            pl.col("symbol").replace_strict(self._places, default=None, return_dtype=pl.Int64).alias("place")
        ).drop_nulls("place")
        # A symbol that comes twice with one time is a correction: the second one begins another group.
        again = pl.int_range(pl.len()).over("event_time", "place").alias("again")
        for part in own.with_columns(again).partition_by("event_time", "again", maintain_order=True):
            fields = {name: part[name].to_numpy() for name in self._stream.needs}
            yield part["event_time"][0], part["place"].to_numpy(), fields

    def _push(self, moment: datetime, columns: NDArray[np.intp], bars: dict[str, Floats]) -> Floats:
        mask = np.zeros(len(self._newest), bool)
        mask[columns], self._newest[columns] = True, np.datetime64(moment.replace(tzinfo=None))
        wide = {name: np.full(len(mask), np.nan) for name in bars}
        for name, values in bars.items():
            wide[name][columns] = values
        return self._stream.push(wide, mask)

    def _told(self, values: list[tuple[datetime, Floats]]) -> "pl.DataFrame":
        import polars as pl

        parts: list[dict[str, Any]] = []
        for moment, table in values:
            k, n = np.nonzero(np.isfinite(table))
            parts.append(
                {"event_time": moment, "bars": self._table, "symbol": np.array(self._stream.symbols)[n],
                 "factor": np.array(self._stream.names)[k], "value": table[k, n]}
            )  # fmt: skip
        return pl.concat([pl.DataFrame(part) for part in parts])


class Replayed(NamedTuple):
    """How long bars took from their arrival to their factor values.

    Attributes:
        p50_ms, p99_ms, worst_ms: percentiles over all bars of all symbols, in milliseconds of wall time.
        bars: taken, one per symbol and moment.
        moments: distinct times of bars.
        speed: asked for, in times of real time.
        late_ms: by how much the last bar came after its time was due; a replay that cannot keep up shows here and above.
    """

    p50_ms: float
    p99_ms: float
    worst_ms: float
    bars: int
    moments: int
    speed: float
    late_ms: float


def replay(live: Live, bars: "pl.DataFrame", feed: Feed, *, speed: float = 1_000.0) -> Replayed:
    """Let bars come as they did, only faster: into the store, out of it, through the factors.

    The bars of one moment come together, when it is their time. Latency counts from then and not from when the store had
    time for them, so that a queue counts in full.

    Args:
        live: the store that the feed reads.
        bars: rows of its table.
        feed: made for it; should have read what was there before.
        speed: times real time.

    Raises:
        ConfigError: no bars, or a speed that is not above zero.
        DataError: the store refuses the rows.
    """
    if not len(bars) or not speed > 0:
        raise ConfigError("a replay must have bars and a speed above zero", f"{len(bars)} bars, speed {speed}")
    groups = bars.sort("event_time").partition_by("event_time", maintain_order=True)
    first, latencies, counts, start = groups[0]["event_time"][0], [], [], perf_counter()
    for group in groups:
        due = start + (group["event_time"][0] - first).total_seconds() / speed
        sleep(max(due - perf_counter(), 0.0))
        began = perf_counter()
        live.append(feed.table, group, source="replay")
        taken = sum(int((~np.isnan(values).all(axis=0)).sum()) for _, values in feed.step().values)
        latencies.append(1e3 * (perf_counter() - due))
        counts.append(taken)
    each = np.repeat(latencies, counts)
    p50, p99 = np.percentile(each, [50, 99]) if len(each) else (np.nan, np.nan)
    return Replayed(float(p50), float(p99), max(latencies), len(each), len(groups), speed, 1e3 * (began - due))
