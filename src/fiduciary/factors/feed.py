"""The feed: bars from the real-time store -> factor values, as they come; and a day replayed faster than it was.

feed = Feed(live, "bars_1m", SIM, symbols)
for moment, values in feed.step(wait_s=1.0).values: ...          # [K, N]
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from time import perf_counter, sleep
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.data.live import Live
from fiduciary.data.panel import Panel, position
from fiduciary.factors.factor import Factor
from fiduciary.factors.formula import Formula
from fiduciary.factors.stream import Stream

if TYPE_CHECKING:
    import polars as pl

Floats = NDArray[np.float64]


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

    State: the cursor `after`, the newest bar of each symbol, and the stream's own. A new feed begins with the rows that are
    still in the store; what is older comes by `warm`.

    Args:
        live: the store.
        table: name of a table whose key is `symbol`.
        factors: K factors with distinct names.
        symbols: N names; bars of others are passed over.
        keep: whether the values are appended to the store, as `factors.store.VALUES`.

    Raises:
        ConfigError: no such table, another key, a field that a factor needs is missing, or `keep` and a factor that is no
            expression.
    """

    def __init__(
        self, live: Live, table: str, factors: Sequence[Factor | Formula], symbols: Sequence[str], *, keep: bool = False
    ) -> None:
        schema, self.stream = live.schema(table), Stream(factors, symbols)
        if schema.keys != ("symbol",):
            raise ConfigError("a feed must read a table with the key symbol", f"{table!r} with {schema.keys}")
        for name in self.stream.needs:
            position(name, schema.fields, "field that a factor needs")
        self.live, self.table, self.after = live, table, 0
        self._digests = [_digest(factor) for factor in factors] if keep else []
        self._places = {symbol: n for n, symbol in enumerate(self.stream.symbols)}
        self._newest = np.full(len(symbols), np.datetime64("0001", "us"))

    def warm(self, panel: Panel) -> None:
        """Take the bars of `panel`, whose symbols must be the feed's, before any of the store."""
        self.stream.replay(panel)
        for n, mask in enumerate(panel.mask.T):
            self._newest[n] = max([self._newest[n], *panel.dates[mask][-1:].astype("datetime64[us]")])

    def step(self, *, wait_s: float = 0.0, limit: int = 10_000) -> Fed:
        """Take the rows that have come since the last step, at most `limit`; wait so long for a first one."""
        rows, self.after = self.live.follow(self.table, self.after, limit=limit, wait_s=wait_s)
        times = rows["event_time"].to_numpy()
        places = np.array([self._places.get(symbol, -1) for symbol in rows["symbol"].to_list()], dtype=np.intp)
        fields = {name: rows[name].to_numpy() for name in self.stream.needs}
        values: list[tuple[datetime, Floats]] = []
        taken = 0
        for moment in np.unique(times):
            here = np.flatnonzero((times == moment) & (places >= 0))
            # Of two rows about one bar the first counts; the other is a correction.
            new = here[np.unique(places[here], return_index=True)[1]]
            new = new[self._newest[places[new]] < moment]
            taken += len(new)
            if len(new):
                bars = {name: column[new] for name, column in fields.items()}
                values.append((moment.astype(datetime).replace(tzinfo=UTC), self._push(moment, places[new], bars)))
        if self._digests and values:
            self._keep(values)
        return Fed(values, int((places >= 0).sum()) - taken)

    def _push(self, moment: np.datetime64, columns: NDArray[np.intp], bars: dict[str, Floats]) -> Floats:
        mask = np.zeros(len(self._newest), bool)
        mask[columns], self._newest[columns] = True, moment
        wide = {name: np.full(len(mask), np.nan) for name in bars}
        for name, values in bars.items():
            wide[name][columns] = values
        return self.stream.push(wide, mask)

    def _keep(self, values: list[tuple[datetime, Floats]]) -> None:
        import polars as pl

        from fiduciary.factors.store import VALUES

        moments, tables = pl.Series([moment for moment, _ in values]), np.stack([table for _, table in values])
        m, k, n = np.nonzero(np.isfinite(tables))
        factors, sha256, symbols = map(np.array, (self.stream.names, self._digests, self.stream.symbols))
        told = pl.DataFrame(
            {"event_time": moments[m], "factor": factors[k], "sha256": sha256[k], "symbol": symbols[n],
             "value": tables[m, k, n]}
        )  # fmt: skip
        self.live.append(VALUES, told, source=f"feed of {self.table}")


def _digest(factor: Factor | Formula) -> str:
    expr = factor.expr if isinstance(factor, Formula) else factor.twin
    if expr is None:
        raise ConfigError("a factor whose values are kept must be an expression", repr(factor.name))
    return expr.digest()


class Replayed(NamedTuple):
    """How long bars took from their arrival to their factor values, in wall time.

    Attributes:
        p50_ms, p99_ms, worst_ms: over all bars of all symbols.
        bars: one per symbol and moment.
        moments: distinct times of bars.
        behind_ms: the longest that bars waited for those before them; in the latencies too.
    """

    p50_ms: float
    p99_ms: float
    worst_ms: float
    bars: int
    moments: int
    behind_ms: float


def replay(feed: Feed, bars: "pl.DataFrame", *, speed: float = 1_000.0) -> Replayed:
    """Let bars come as they did, only faster: into the store, out of it, through the factors.

    The bars of one moment come together, when it is their time. Latency counts from then and not from when the store had
    time for them, so that a queue counts in full.

    Args:
        feed: of the store and table that take the bars; it has read what was there before.
        bars: new rows of that table.
        speed: times real time.

    Raises:
        ConfigError: no bars, or a speed that is not above zero.
    """
    if not len(bars) or not speed > 0:
        raise ConfigError("a replay must have bars and a speed above zero", f"{len(bars)} bars, speed {speed}")
    moments = bars.sort("event_time").partition_by("event_time", maintain_order=True)
    first, start, waited, latencies, counts = moments[0]["event_time"][0], perf_counter(), [], [], []
    for rows in moments:
        due = start + (rows["event_time"][0] - first).total_seconds() / speed
        sleep(max(due - perf_counter(), 0.0))
        waited.append(perf_counter() - due)
        feed.live.append(feed.table, rows, source="replay")
        feed.step()
        latencies.append(perf_counter() - due)
        counts.append(len(rows))
    p50, p99 = (1e3 * np.percentile(np.repeat(latencies, counts), [50, 99])).tolist()
    return Replayed(p50, p99, 1e3 * max(latencies), sum(counts), len(moments), 1e3 * max(waited))
