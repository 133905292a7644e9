"""Factors kept: definitions as text with every version, values with their lineage, and who uses them.

    store = FactorStore(History("history"), states=Path("states"))
    store.define(Formula("reversal", parse("-delta(close, 5) / ref(close, 5)")))
    panel = history.panel("bars_1d")
    store.materialise(["reversal"], panel)                              # all bars, by `tabulate`
    store.update(["reversal"], history.panel("bars_1d"))                # the new bars only, by `Stream`
    store.values("reversal", as_of="2024-03-01")

All of it lies in four tables of the same historical store, so that each question is as of a time, nothing is overwritten, and
whatever reads Delta Lake reads it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.core.files import write_atomic
from fiduciary.data.history import History
from fiduciary.data.history.files import When
from fiduciary.data.panel import Panel, position
from fiduciary.data.tables import Column, Table
from fiduciary.factors.factor import Factor
from fiduciary.factors.formula import Formula
from fiduciary.factors.parse import parse
from fiduciary.factors.stream import Stream
from fiduciary.factors.table import FactorTable, tabulate
from fiduciary.records.identity import digest, revision

if TYPE_CHECKING:
    import polars as pl

OWN = (Column("factor", "text"), Column("sha256", "text"))
DEFINITIONS = Table(
    "factor_definitions",
    (*OWN, Column("definition", "text"), Column("about", "text", optional=True), Column("needs", "text"),
     Column("lookback", "int", unit="bars", low=1)),
    ("factor",),
)  # fmt: skip
"""`event_time` is when it was defined; the latest is the one in force."""
VALUES = Table(
    "factor_values", (*OWN, Column("symbol", "text"), Column("value", optional=True)), ("factor", "sha256", "symbol")
)
"""`event_time` is the bar. A value that a correction of the bars took away is empty."""
RUNS = Table(
    "factor_runs",
    (*OWN, Column("data", "text"), Column("bars", "text"), Column("code", "text"), Column("first", "time"),
     Column("last", "time"), Column("rows", "int", low=0)),
    ("factor", "sha256"),
)  # fmt: skip
"""`event_time` is when it was computed, `data` the SHA-256 of the fields read, `bars` where they came from."""
USERS = Table("factor_users", (*OWN, Column("who", "text")), ("factor", "sha256", "who"))
"""`event_time` is when somebody said so."""


class Version(NamedTuple):
    """One definition of a factor: the how-manieth of its name (1 the first), and when it was made."""

    number: int
    sha256: str
    definition: str
    about: str
    defined: datetime


class Run(NamedTuple):
    """One computation of a factor.

    Attributes:
        sha256: of the definition.
        data: SHA-256 of dates, symbols and fields read.
        bars: where they came from, in words.
        code: revision of the code.
        first, last: bars covered.
        rows: values computed.
        computed: when.
    """

    sha256: str
    data: str
    bars: str
    code: str
    first: datetime
    last: datetime
    rows: int
    computed: datetime


class Lineage(NamedTuple):
    """Where a factor comes from and where it goes.

    Attributes:
        name: the factor's.
        versions: every definition, oldest first; the last is in force.
        fields: of the bars that it reads.
        parents: stored factors that stand in its definition.
        children: stored factors in whose definitions it stands.
        runs: computations of the definition in force, oldest first.
        users: (who, SHA-256 of the definition that they use).
    """

    name: str
    versions: tuple[Version, ...]
    fields: tuple[str, ...]
    parents: tuple[str, ...]
    children: tuple[str, ...]
    runs: tuple[Run, ...]
    users: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FactorStore:
    """A store of factors over a historical store.

    Attributes:
        history: where everything is kept.
        states: a folder for the states of streams, so that `update` need not replay the past; None = it does. They may be
            deleted at any time.
    """

    history: History
    states: Path | None = None

    # --- definitions -------------------------------------------------------------------------------------------------

    def define(self, factor: Formula | Factor) -> Version:
        """Keep a definition; the same again changes nothing, another makes a new version and the old one stays.

        Raises:
            ConfigError: a factor that no expression says, so that text could not say it either, or text that is not read back.
        """
        formula = _formula(factor)
        parse(str(formula.expr))  # a field may be called like an operator, and then its text cannot be read
        past = self._versions(formula.name)
        if past and past[-1].sha256 == formula.expr.digest():
            return past[-1]
        import polars as pl

        new = Version(len(past) + 1, formula.expr.digest(), str(formula.expr), formula.about, datetime.now(UTC))
        row = {
            "event_time": new.defined, "factor": formula.name, "sha256": new.sha256, "definition": new.definition,
            "about": new.about, "needs": " ".join(formula.needs), "lookback": formula.lookback,
        }  # fmt: skip
        self._append(DEFINITIONS, pl.DataFrame([row]))
        return new

    def names(self) -> tuple[str, ...]:
        """Factors that are defined."""
        found = self._read(DEFINITIONS)
        return () if found is None else tuple(found["factor"].unique().sort())

    def versions(self, name: str) -> tuple[Version, ...]:
        """Every definition of a factor, oldest first.

        Raises:
            ConfigError: no such factor; the nearest is named.
        """
        past = self._versions(name)
        if not past:
            position(name, self.names(), "stored factor")
        return past

    def formula(self, name: str, version: int = -1) -> Formula:
        """A stored definition as a formula; the version in force unless another is named (1 the first).

        Raises:
            ConfigError: no such factor or version.
        """
        past = self.versions(name)
        if version != -1 and not 1 <= version <= len(past):
            raise ConfigError(f"a version of {name!r} must be 1 to {len(past)}", str(version))
        chosen = past[version if version == -1 else version - 1]
        return Formula(name, parse(chosen.definition), chosen.about)

    # --- values ------------------------------------------------------------------------------------------------------

    def materialise(self, names: Sequence[str], panel: Panel, *, delay: timedelta | None = None) -> tuple[Run, ...]:
        """Compute factors on all bars of `panel` and keep what is new or has changed.

        Args:
            names: factors, in force.
            panel: [T, N, F] bars.
            delay: None = a value is known from now on; else `delay` after its bar's label, which is an assumption.

        Raises:
            ConfigError: no such factor, or a field is missing.
        """
        formulas = [self.formula(name) for name in names]
        return self._keep(formulas, tabulate(panel, formulas), panel, delay)

    def update(self, names: Sequence[str], panel: Panel, *, delay: timedelta | None = None) -> tuple[Run, ...]:
        """Compute factors on the bars of `panel` that are newer than those computed, each in time independent of the past.

        Where the past cannot be gone on from (never computed, redefined, a bar corrected, other symbols) all is computed
        again; `stale` says which.

        Args:
            names: factors, in force.
            panel: [T, N, F] bars, the old ones too.
            delay: as in `materialise`.

        Raises:
            ConfigError: no such factor, or a field is missing.
        """
        formulas = [self.formula(name) for name in names]
        last = [run for formula in formulas if (run := self._last(formula)) and _unchanged(formula, run, panel)]
        if len(last) < len(formulas) or len({run.last for run in last}) > 1:
            return self.materialise(names, panel, delay=delay)
        split = int(np.searchsorted(panel.dates, np.datetime64(last[0].last.replace(tzinfo=None)), side="right"))
        if split == len(panel.dates):
            return tuple(last)
        stream = self._stream(formulas, panel, split)
        table = stream.replay(_rows(panel, slice(split, None)))
        self._save(stream, formulas, panel)
        return self._keep(formulas, table, panel, delay)

    def stale(self, name: str, panel: Panel) -> str:
        """Why the kept values of a factor are not those of `panel`, or "" where they are."""
        formula = self.formula(name)
        if (run := self._last(formula)) is None:
            return "redefined since it was computed" if self._computed(name) else "never computed"
        if not _unchanged(formula, run, panel):
            return "bars, or their symbols, have changed since it was computed"
        return "there are newer bars" if _time(panel.dates[-1]) > run.last else ""

    def values(
        self,
        name: str,
        *,
        version: int = -1,
        as_of: When | None = None,
        start: When | None = None,
        stop: When | None = None,
    ) -> "pl.DataFrame":
        """`event_time`, `symbol` and `value` of a factor, as `History.read` understands the times.

        Raises:
            ConfigError: no such factor or version, or nothing was computed.
        """
        where = {"factor": name, "sha256": self.formula(name, version).expr.digest()}
        columns = ["event_time", "symbol", "value"]
        rows = self.history.read(VALUES.name, as_of=as_of, start=start, stop=stop, where=where, columns=columns)
        return rows.filter(rows["value"].is_not_null())

    # --- lineage -----------------------------------------------------------------------------------------------------

    def use(self, name: str, who: str) -> None:
        """Say that somebody (a study, a policy) uses the definition in force; said again, it changes nothing."""
        import polars as pl

        sha256 = self.versions(name)[-1].sha256
        if (who, sha256) not in self.used_by(name):
            row = {"event_time": datetime.now(UTC), "factor": name, "sha256": sha256, "who": who}
            self._append(USERS, pl.DataFrame([row]))

    def used_by(self, name: str) -> tuple[tuple[str, str], ...]:
        """(who, SHA-256 of the definition that they use), in the order in which they said so."""
        found = self._read(USERS, {"factor": name})
        return () if found is None else tuple(found.sort("event_time").select("who", "sha256").iter_rows())

    def lineage(self, name: str) -> Lineage:
        """Where a factor comes from and where it goes."""
        own = self.formula(name)
        others = [self.formula(other) for other in self.names() if other != name]
        inside, runs = set(own.expr.walk()), self._runs(own)
        return Lineage(
            name, self.versions(name), own.needs, tuple(other.name for other in others if other.expr in inside),
            tuple(other.name for other in others if own.expr in set(other.expr.walk())), runs, self.used_by(name),
        )  # fmt: skip

    # --- inside ------------------------------------------------------------------------------------------------------

    def _read(self, table: Table, where: Mapping[str, str] | None = None) -> "pl.DataFrame | None":
        return self.history.read(table.name, where=where) if table.name in self.history.tables() else None

    def _append(
        self, table: Table, rows: "Sequence[Mapping[str, object]] | pl.DataFrame", known: datetime | None = None
    ) -> int:
        import polars as pl

        frame = rows if isinstance(rows, pl.DataFrame) else pl.DataFrame(rows)
        return self.history.append(table, frame, source="factor store", known=known).rows

    def _runs(self, formula: Formula) -> tuple[Run, ...]:
        found = self._read(RUNS, {"factor": formula.name, "sha256": formula.expr.digest()})
        if found is None:
            return ()
        columns = ("sha256", "data", "bars", "code", "first", "last", "rows", "event_time")
        return tuple(Run(*row) for row in found.sort("event_time").select(columns).iter_rows())

    def _last(self, formula: Formula) -> Run | None:
        return (self._runs(formula) or (None,))[-1]

    def _computed(self, name: str) -> bool:
        found = self._read(RUNS, {"factor": name})
        return found is not None and len(found) > 0

    def _versions(self, name: str) -> tuple[Version, ...]:
        found = self._read(DEFINITIONS, {"factor": name})
        if found is None:
            return ()
        rows = found.sort("event_time").select("sha256", "definition", "about", "event_time").iter_rows()
        return tuple(Version(number, *row) for number, row in enumerate(rows, 1))

    def _keep(
        self, formulas: Sequence[Formula], table: FactorTable, panel: Panel, delay: timedelta | None
    ) -> tuple[Run, ...]:
        """Keep the values of `table`, of the newest bars of `panel` or of all; the runs that made them last.

        Runs are written after values, so that a kill in between leaves values that are computed again, and no run without.
        """
        import polars as pl

        frames = [_long(formula, table) for formula in formulas]
        if len(table.dates) == len(panel.dates):
            frames += [
                gone
                for frame, formula in zip(frames, formulas, strict=True)
                if len(gone := self._gone(formula, frame, panel))
            ]
        values = pl.concat(frames)
        if delay is not None:
            values = values.with_columns(known_time=pl.col("event_time") + delay)
        self._append(VALUES, values)
        now, first, last = datetime.now(UTC), _time(panel.dates[0]), _time(panel.dates[-1])
        runs = tuple(
            Run(f.expr.digest(), _data(f, panel), panel.source, revision(), first, last, len(frame), now)
            for f, frame in zip(formulas, frames, strict=False)
        )
        entries = [{"event_time": now, "factor": f.name} | run._asdict() for f, run in zip(formulas, runs, strict=True)]
        self._append(RUNS, pl.DataFrame(entries).drop("computed"))
        return runs

    def _gone(self, formula: Formula, frame: "pl.DataFrame", panel: Panel) -> "pl.DataFrame":
        """Kept values of which `frame` knows nothing though `panel` has their symbol and their look-back, emptied."""
        import polars as pl

        where = {"factor": formula.name, "sha256": formula.expr.digest()}
        kept = self._read(VALUES, where)
        told = panel.dates[formula.lookback - 1 :]
        if kept is None or not len(told):
            return frame.clear()
        span = pl.col("event_time").is_between(_time(told[0]), _time(told[-1]))
        left = kept.filter(span, pl.col("symbol").is_in(panel.symbols), pl.col("value").is_not_null()).join(
            frame, on=["event_time", "symbol"], how="anti"
        )
        return left.select(frame.columns).with_columns(value=pl.lit(None, pl.Float64))

    def _stream(self, formulas: Sequence[Formula], panel: Panel, split: int) -> Stream:
        """A stream that has seen the first `split` bars of `panel`: from its saved state where there is one, else replayed."""
        stream, past = Stream(formulas, panel.symbols), _rows(panel, slice(split))
        path = self._state(formulas, past)
        if path is not None and path.exists():
            from safetensors import SafetensorError
            from safetensors.numpy import load

            try:
                stream.restore(load(path.read_bytes()))
            except (SafetensorError, DataError) as problem:
                raise DataError(
                    "the saved state of a stream must be readable",
                    str(path),
                    cause=str(problem),
                    remedy="delete it: it is made again",
                ) from problem
        else:
            stream.replay(past)
        return stream

    def _save(self, stream: Stream, formulas: Sequence[Formula], panel: Panel) -> None:
        path = self._state(formulas, panel)
        if path is not None:
            from safetensors.numpy import save

            write_atomic(path, save(stream.state()))

    def _state(self, formulas: Sequence[Formula], panel: Panel) -> Path | None:
        """Where the state after the bars of `panel` is kept; its name says all that it depends on."""
        if self.states is None:
            return None
        return self.states / f"{digest([(f.name, f.expr.digest(), _data(f, panel)) for f in formulas])}.safetensors"


def _formula(factor: Formula | Factor) -> Formula:
    if isinstance(factor, Formula):
        return factor
    if factor.twin is None:
        raise ConfigError(
            "a stored factor must be an expression",
            f"{factor.name!r}, a function",
            remedy="give it a `twin`, or write it as one",
        )
    return Formula(factor.name, factor.twin)


# --- bars ------------------------------------------------------------------------------------------------------------


def _rows(panel: Panel, rows: slice) -> Panel:
    return replace(panel, dates=panel.dates[rows], values=panel.values[rows], mask=panel.mask[rows])


def _long(formula: Formula, table: FactorTable) -> "pl.DataFrame":
    """The known values of one factor as rows of `VALUES`."""
    import polars as pl

    values = table[formula.name]
    t, n = np.nonzero(np.isfinite(values))
    times = table.dates.astype("datetime64[us]")[t]
    return pl.DataFrame({"event_time": times, "symbol": np.array(table.symbols)[n], "value": values[t, n]}).select(
        pl.col("event_time").dt.replace_time_zone("UTC"), pl.lit(formula.name).alias("factor"),
        pl.lit(formula.expr.digest()).alias("sha256"), "symbol", "value",
    )  # fmt: skip


def _data(formula: Formula, panel: Panel) -> str:
    """Identity of what a formula reads of a panel."""
    places = [position(name, panel.fields, "field that a factor needs") for name in formula.needs]
    return replace(panel, fields=formula.needs, values=panel.values[:, :, places], faults=()).digest()


def _unchanged(formula: Formula, run: Run, panel: Panel) -> bool:
    """Whether the bars up to the last one of a run are those it was computed from."""
    split = int(np.searchsorted(panel.dates, np.datetime64(run.last.replace(tzinfo=None)), side="right"))
    return split > 0 and _data(formula, _rows(panel, slice(split))) == run.data


def _time(date: np.datetime64) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=int(date.astype("datetime64[us]").astype(np.int64))
    )
