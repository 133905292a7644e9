"""`fiduciary data`: get data, and look at them before anything is computed from them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter, Token

from fiduciary.cli.parts import examples, pairs, print_rich, say
from fiduciary.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from fiduciary.data.pull import Plan, Pulled

SHOWN = 50
"""Symbols in a table; those with something to say come first where there are more."""
FOLDERS = ("files", "kaggle", "posts")
"""Sources whose place is a path, and which need nothing else."""

data_app = App(name="data", help="Get data, and look at them before anything is computed from them.", help_epilogue="")


def _day(kind: type, tokens: Sequence[Token]) -> date:
    try:
        return date.fromisoformat(tokens[0].value)
    except ValueError:
        raise ValueError(f"a day must read YYYY-MM-DD, got {tokens[0].value!r}") from None


Day = Annotated[date | None, Parameter(converter=_day)]
Many = Annotated[list[str] | None, Parameter(negative=())]
Overrides = Annotated[
    list[str] | None,
    Parameter(name="--set", help="Change one setting of a plan, as key=value; repeatable.", negative=()),
]


@data_app.command(
    help_epilogue=examples(
        "fiduciary data pull plan.toml --store history",
        "fiduciary data pull files=prices --store history",
        "fiduciary data pull yahoo --symbols AAPL --symbols MSFT --start 2010-01-01 --known published --exchange XNYS",
    )
)
def pull(
    source: str,
    /,
    *,
    overrides: Overrides = None,
    table: str | None = None,
    symbols: Many = None,
    start: Day = None,
    stop: Day = None,
    known: Literal["retrieved", "published"] | None = None,
    exchange: str | None = None,
    into: str | None = None,
    store: str = "history",
    cache: Path = Path("pieces"),
) -> None:
    """Get data into a store; what was got is kept, and the same command continues where it stopped.

    Parameters
    ----------
    source:
        A plan (TOML), or the name of a source, with =PATH for files, kaggle and posts. Options override a plan.
    table:
        What to get, such as bars_1d (the default), corporate_actions, fundamentals, macro or news.
    symbols:
        Whose rows; repeatable. Default: all, where the source knows all.
    start, stop:
        First and last day, YYYY-MM-DD. Default: as far as the source goes, until yesterday.
    known:
        retrieved: rows count as known now (the default). published: an assumption, noted with the rows: bars from their
        session's close on, releases from their date on.
    exchange:
        Whose closes those are, such as XNYS.
    into:
        Another name for the table.
    store:
        The history: a folder, or the URL of an object store.
    cache:
        Folder that keeps every answer, with its licence and the time it came.
    """
    from fiduciary.data.pull import pull as carry

    given = _given(
        table=table,
        symbols=symbols and tuple(symbols),
        start=start,
        stop=stop,
        known=known,
        exchange=exchange,
        into=into,
    )
    _report(carry, _plan(source, overrides or (), given), store, cache)


@data_app.command(
    help_epilogue=examples(
        "fiduciary data update plan.toml --store history",
        "fiduciary data update files=prices --store history",
    )
)
def update(
    source: str,
    /,
    *,
    overrides: Overrides = None,
    table: str | None = None,
    symbols: Many = None,
    known: Literal["retrieved", "published"] | None = None,
    exchange: str | None = None,
    into: str | None = None,
    store: str = "history",
    cache: Path = Path("pieces"),
) -> None:
    """Get what came since the last event held of each symbol, and what was corrected shortly before it.

    Parameters
    ----------
    source:
        A plan (TOML), or the name of a source, with =PATH for files, kaggle and posts. Options override a plan.
    table:
        What to get; default: bars_1d.
    symbols:
        Whose rows; repeatable. Default: those held.
    known:
        retrieved or published; see pull.
    exchange:
        Whose closes published bars are known from.
    into:
        Another name for the table.
    store:
        The history: a folder, or the URL of an object store.
    cache:
        Folder that keeps every answer.
    """
    from fiduciary.data.pull import update as carry

    given = _given(table=table, symbols=symbols and tuple(symbols), known=known, exchange=exchange, into=into)
    _report(carry, _plan(source, overrides or (), given), store, cache)


@data_app.command(
    help_epilogue=examples(
        "fiduciary data describe us-stocks",
        "fiduciary data describe prices.parquet --columns symbol=ticker",
        "fiduciary data describe history",
    )
)
def describe(source: str, /, *, columns: Many = None) -> None:
    """Say what is in a data source: range, gaps, returns, faults; of a store its tables, licences and assumptions.

    Parameters
    ----------
    source:
        A shipped sample (us-stocks, sp500), a CSV or Parquet file in long form, or a store.
    columns:
        our-name=their-name where a file's columns are called differently; repeatable.
    """
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from fiduciary.data import BARS, SAMPLES, load
    from fiduciary.data import describe as summarise
    from fiduciary.data.stored import is_store

    if is_store(source):
        return _describe_store(source)
    names = pairs(columns)
    found = summarise(load(source, columns=names or None, fields=None if source in SAMPLES else BARS))
    table = Table("symbol", "first", "last", "bars", "last close", "return", "vol. p.a.", box=box.SIMPLE_HEAD)
    for s in found.symbols:
        table.add_row(
            escape(s.symbol), s.first, s.last, str(s.bars), f"{s.last_close:,.2f}", f"{s.total_return:+.1%}",
            f"{s.volatility:.1%}",
        )  # fmt: skip
    print_rich(
        f"{escape(found.source)}, {found.currency}, {found.first} to {found.last}, {found.dates} dates, {found.digest[:12]}"
    )
    print_rich(table)
    for fault in found.faults:
        say(str(fault))
    return None


@data_app.command(
    help_epilogue=examples(
        "fiduciary data check history",
        "fiduciary data check history --table bars_1d --exchange XNYS",
        "fiduciary data check prices.parquet --columns symbol=ticker",
    )
)
def check(source: str, /, *, columns: Many = None, table: Many = None, exchange: str = "") -> None:
    """Look for what is wrong: broken rules, stale tables, gaps, outliers, splits, slipped clocks; exit 2 if there is an error.

    Parameters
    ----------
    source:
        A store, a shipped sample, or a CSV or Parquet file in long form.
    columns:
        our-name=their-name where a file's columns are called differently; repeatable.
    table:
        Of a store; repeatable. Default: all.
    exchange:
        Whose calendar bars must keep, such as XNYS; default: none.
    """
    from rich.console import Console
    from rich.progress import track

    from fiduciary.data import BARS, SAMPLES, load
    from fiduciary.data.history import History
    from fiduciary.data.holdings import audit
    from fiduciary.data.quality import inspect
    from fiduciary.data.stored import is_store
    from fiduciary.reports.words import counted

    if is_store(source):
        history, now = History(source), datetime.now(UTC)
        names = track(table or history.tables(), "checking", console=Console(stderr=True), transient=True)
        faults = [fault for name in names for fault in audit(history, name, now=now, exchange=exchange)]
        for name in table or history.tables():
            if held := history.quarantined(name).height:
                say(f"{name}: {counted(held, 'refused row')} in quarantine, not checked: see History.quarantined")
    else:
        panel = load(source, columns=pairs(columns) or None, fields=None if source in SAMPLES else BARS)
        faults = [anomaly.fault for anomaly in inspect(panel, exchange=exchange)]
    for fault in faults:
        say(str(fault))
    errors = sum(fault.severity == "error" for fault in faults)
    if errors:
        raise DataError(f"{source} must hold no error", f"{errors} of them and {len(faults) - errors} warnings")
    say(f"{source}: no error, {len(faults)} warnings")


@data_app.command(
    help_epilogue=examples(
        "fiduciary data rollover live.db --store history",
        "fiduciary data rollover postgresql://user@host/database --store s3://bucket/history --before 2024-03-01",
    )
)
def rollover(live: str, /, *, store: str = "history", before: Day = None, table: Many = None) -> None:
    """Move closed days of a real-time store into a history, each exactly once; a killed move continues.

    Parameters
    ----------
    live:
        The real-time store: a file, or postgresql://...
    store:
        The history: a folder, or the URL of an object store.
    before:
        The first day (UTC) that stays. Default: today.
    table:
        What to move; repeatable. Default: all.
    """
    from fiduciary.data.history import History
    from fiduciary.data.live import connect
    from fiduciary.data.rollover import rollover as move

    if "://" not in live and not Path(live).is_file():
        raise ConfigError(
            "a real-time store must exist before it rolls over", f"no file {live}", remedy="check the path"
        )
    with connect(live) as open_store:
        moved = move(open_store, History(store), before=before or datetime.now(UTC).date(), tables=table)
    for each in moved:
        say(f"{each.table} {each.day}: {each.rows:,} rows, {each.repeated:,} known before, sha256 {each.sha256[:12]}")
    say(f"{len(moved)} days moved to {store}")


@data_app.command(
    help_epilogue=examples(
        "fiduciary data replay minutes.parquet --speed 1000",
        "fiduciary data replay us-stocks --start 2012 --factors momentum --speed 10000000",
    )
)
def replay(
    source: str,
    /,
    *,
    factors: str = "sim",
    speed: float = 1_000.0,
    live: str | None = None,
    table: str = "bars_1d",
    start: str | None = None,
    stop: str | None = None,
    columns: Many = None,
) -> None:
    """Play bars through a real-time store and factors as they came, only faster, and say how long each took.

    Parameters
    ----------
    source:
        A shipped sample, a CSV or Parquet file of daily bars, or a history.
    factors:
        sim (the ten of the stock study), a family of the library, a TOML file of formulas, or a formula.
    speed:
        Times real time.
    live:
        The real-time store that takes the bars: a new file, or postgresql://... Default: a file that is deleted afterwards.
    table:
        Of a history: its bars.
    start, stop:
        First and last date.
    columns:
        our-name=their-name where a file's columns are called differently; repeatable.
    """
    from tempfile import TemporaryDirectory

    import numpy as np
    from rich.console import Console

    from fiduciary.cli.factor import chosen, priced
    from fiduciary.data.live import connect
    from fiduciary.data.quality import long_form
    from fiduciary.data.stored import is_store
    from fiduciary.data.tables import Column, bars
    from fiduciary.factors import SIM
    from fiduciary.factors.feed import Feed
    from fiduciary.factors.feed import replay as play
    from fiduciary.reports.words import counted

    wanted = SIM if factors == "sim" else chosen([factors])
    panel = priced(source, columns, wanted, table=table if is_store(source) else None, start=start, stop=stop).panel
    taken, rows = bars(table.removeprefix("bars_")), long_form(panel).rename({"date": "event_time"})
    own = tuple(Column(name) for name in panel.fields if name not in taken.fields)
    taken = replace(taken, columns=(*taken.columns, *own))
    if speed > 0:
        minutes = (panel.dates[-1] - panel.dates[0]) / np.timedelta64(1, "m") / speed
        Console(stderr=True).print(f"{len(rows):,} bars play for {minutes:,.1f} minutes", highlight=False)
    with TemporaryDirectory() as folder, connect(live or Path(folder) / "live.db") as open_store:
        if taken.name in open_store.tables() and open_store.days(taken.name):
            raise ConfigError(
                "a replay must start with no bars in its real-time store", f"rows of {taken.name} in {live}",
                remedy="name a new file, or another database",
            )  # fmt: skip
        open_store.append(taken, rows.clear(), source=source)
        told = play(Feed(open_store, taken.name, wanted, panel.symbols), rows, speed=speed)
    say(
        f"{told.bars:,} bars of {len(panel.symbols)} symbols, {counted(len(wanted), 'factor')}, {speed:g} times real time: "
        f"from arrival to value p50 {told.p50_ms:.2f} ms, p99 {told.p99_ms:.2f} ms, worst {told.worst_ms:.1f} ms"
    )


def _given(**options: Any) -> dict[str, Any]:
    """Options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _plan(source: str, overrides: Sequence[str], given: dict[str, Any]) -> "Plan":
    """A plan from its file or from a source's name, with options on top."""
    from fiduciary.core.config import read
    from fiduciary.data.panel import position
    from fiduciary.data.pull import Plan
    from fiduciary.data.sources import SOURCES

    if source.endswith(".toml"):
        if not Path(source).is_file():
            raise ConfigError("a plan must be a TOML file", f"no file {source}", remedy="check the path")
        return read(source, Plan, [*overrides, *(f"{key}={_toml(value)}" for key, value in given.items())])
    name, _, path = source.partition("=")
    kind: Any = SOURCES[list(SOURCES)[position(name, list(SOURCES), "source that is no plan (TOML)")]]
    if bool(path) != (name in FOLDERS) or overrides or name == "sql":
        rule = "a source's path follows it, as in files=prices, and any other setting stands in a plan (TOML)"
        raise ConfigError(rule, " ".join((source, *overrides)))
    return Plan(kind(Path(path)) if path else kind(), **given)


def _toml(value: Any) -> str:
    """An option's value as TOML: words, a list of them or a day."""
    return value.isoformat() if isinstance(value, date) else json.dumps(value)


def _report(carry: "Callable[..., Pulled]", plan: "Plan", store: str, cache: Path) -> None:
    """Pull with a progress bar, print what each symbol brought, and fail where one brought nothing."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress
    from rich.table import Table

    from fiduciary.data.history import History
    from fiduciary.data.pull import Means
    from fiduciary.reports.words import counted

    failed = 0
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("no failure", total=None)

        def watch(piece: Any, requests: int) -> None:
            nonlocal failed
            failed += piece.problem is not None
            progress.update(task, advance=1, total=requests, description=f"{failed or 'no'} failed")

        pulled = carry(plan, History(store), Means(cache, watch=watch))
    table = Table("symbol", "new", "corrected", "held already", "refused", "problem", box=box.SIMPLE_HEAD)
    told = sorted(pulled.outcomes, key=lambda each: not (each.problem or each.refused or each.corrections))
    for each in told[:SHOWN] if len(told) > SHOWN else pulled.outcomes:
        table.add_row(escape(each.symbol), *(f"{count:,}" for count in each[1:5]), escape(each.problem))
    print_rich(table)
    more = f" ({len(told) - SHOWN} more symbols)" if len(told) > SHOWN else ""
    totals = [sum(column) for column in zip(*(each[1:5] for each in pulled.outcomes), strict=True)] or [0] * 4
    say(
        f"{store}/{pulled.table}: {totals[0]:,} new, {totals[1]:,} corrected, {totals[2]:,} held already, "
        f"{totals[3]:,} refused{more}; {counted(pulled.asked, 'question')} asked; known as {plan.knowledge}; "
        f"rows of days after {pulled.stop} are left out"
    )
    for note in pulled.notes:
        say(f"note: {note}")
    if pulled.failed:
        raise DataError(
            "every symbol must be answered for", f"no answer for {len(pulled.failed)} of {len(pulled.outcomes)}",
            remedy="the others are stored; see to the problems above, and the same command asks for these again",
        )  # fmt: skip


def _describe_store(url: str) -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from fiduciary.data.history import History
    from fiduciary.data.holdings import holdings

    found = holdings(History(url))
    table = Table(
        "table", "rows", "versions", "symbols", "first", "last", "known from", "known to", "prices", "sources", "refused",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    for each in found:
        times = [f"{t:%Y-%m-%d}" if t else "" for t in (each.first, each.last, each.known_first, each.known_last)]
        table.add_row(
            each.table, f"{each.rows:,}", f"{each.versions:,}", f"{each.symbols:,}", *times, escape(each.adjustment),
            escape(", ".join(each.sources)), f"{each.quarantined:,}",
        )  # fmt: skip
    print_rich(table)
    for each in found:
        for what, texts in (("licence", each.licences), ("known as", each.assumptions)):
            for text in texts:
                say(f"{each.table}: {what}: {text}")
