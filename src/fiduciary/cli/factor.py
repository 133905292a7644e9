"""`fiduciary factor`: look at factors, hold them to their law, compute and judge them."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from cyclopts import App, Parameter

from fiduciary.cli.parts import examples, pairs, print_rich, say
from fiduciary.core.errors import ConfigError

if TYPE_CHECKING:
    from fiduciary.data import Panel
    from fiduciary.evaluation.cross_section import Marks
    from fiduciary.evaluation.factor_evaluation import Evaluation
    from fiduciary.factors import Factor, Formula

LISTED = 60
"""Characters of a definition in a table."""
TABLE_ROWS = 20

factor_app = App(
    name="factor", help="Look at factors, hold them to their law, compute and judge them.", help_epilogue=""
)

Names = Annotated[list[str] | None, Parameter(negative=(), allow_leading_hyphen=True)]
Renamed = Annotated[list[str] | None, Parameter(name="--columns", negative=())]


@factor_app.command(
    name="list", help_epilogue=examples("fiduciary factor list", "fiduciary factor list --family alpha158")
)
def list_factors(*, family: str | None = None, store: str | None = None) -> None:
    """List the families of the library, the factors of one, or those of a store.

    Parameters
    ----------
    family:
        A family of the library, or a TOML file of formulas.
    store:
        A historical store (folder or URL) whose stored factors to list.
    """
    from rich.markup import escape
    from rich.table import Table

    if family is None and store is None:
        from fiduciary.factors.library import LIBRARY

        table = Table("family", "factors", "longest look-back", "reads")
        for name, factors in LIBRARY.items():
            needs = sorted({field for factor in factors for field in factor.needs})
            table.add_row(name, str(len(factors)), str(max(f.lookback for f in factors)), ", ".join(needs))
    else:
        table = Table("factor", "look-back", "reads", "definition")
        for factor in _stored(store) if store else chosen([family or ""]):
            text = _text(factor)
            short = text if len(text) <= LISTED else f"{text[: LISTED - 1]}…"
            table.add_row(escape(factor.name), str(factor.lookback), ", ".join(factor.needs), escape(short))
    print_rich(table)


@factor_app.command(
    help_epilogue=examples("fiduciary factor show KMID", "fiduciary factor show reversal --store history")
)
def show(name: str, /, *, store: str | None = None) -> None:
    """Say what a factor is; of a stored one also its versions, values and users.

    Parameters
    ----------
    name:
        Of a factor in the library, or in the store.
    store:
        A historical store (folder or URL).
    """
    from fiduciary.reports.factor_sheet import define

    if store is not None:
        return say(_lineage(store, name))
    from fiduciary.data.panel import position
    from fiduciary.factors.library import LIBRARY

    position(name, sorted({factor.name for family in LIBRARY.values() for factor in family}), "factor")
    for family, factors in LIBRARY.items():
        for factor in factors:
            if factor.name == name:
                found = define(factor)
                say("\n".join((
                    f"{name} ({family})", f"  {found.text}", *([f"  {found.about}"] if found.about else []),
                    f"  look-back {found.lookback}, reads {', '.join(found.needs)}", f"  sha256 {found.sha256}",
                )))  # fmt: skip
    return None


@factor_app.command(
    help_epilogue=examples(
        'fiduciary factor check "-delta(close, 5) / ref(close, 5)"', "fiduciary factor check factors.toml",
        "fiduciary factor check my_module:my_factor --source prices.parquet",
    )
)  # fmt: skip
def check(
    what: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    source: str = "us-stocks",
    columns: Renamed = None,
    seed: int = 0,
) -> None:
    """Hold factors to their law: no value moves when everything after it is redrawn.

    Parameters
    ----------
    what:
        A formula, a TOML file of formulas, a family of the library, or your own function of a panel as module:name,
        imported from the current directory.
    source:
        Bars to try it on: a shipped sample or a CSV or Parquet file.
    columns:
        our-name=their-name where a file's columns are called differently; repeatable.
    seed:
        Root of the check's randomness.
    """
    from rich.table import Table

    from fiduciary.core.checks import check_factor

    own = _own(what)
    factors = [own] if own is not None else chosen([what])
    panel = priced(source, columns, factors if own is None else ()).panel
    table = Table("law", "trials", title="all laws hold")
    for factor in factors:
        law = check_factor(factor, panel, seed=seed)
        table.add_row(law.name, str(law.trials))
    print_rich(table)


@factor_app.command(
    help_epilogue=examples(
        "fiduciary factor compute us-stocks --factors alpha158 --out alpha158.parquet",
        "fiduciary factor compute history --table bars_1d --factors factors.toml --store history",
    )
)
def compute(
    source: str,
    /,
    *,
    factors: Names = None,
    out: Path | None = None,
    store: str | None = None,
    table: str | None = None,
    as_of: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    columns: Renamed = None,
) -> None:
    """Compute factors and write them to a file, or keep them in a store with their lineage.

    Parameters
    ----------
    source:
        A shipped sample, a CSV or Parquet file, or the folder or URL of a historical store.
    factors:
        Families, TOML files or formulas; repeatable.
    out:
        A Parquet or CSV file: date, symbol, one column for each factor.
    store:
        A historical store; what it holds already is gone on from.
    table:
        Of a historical store: its bars; default bars_1d.
    as_of:
        Of a historical store: what was known then.
    start, stop:
        First and last date.
    columns:
        our-name=their-name where a file's columns are called differently; repeatable.
    """
    from fiduciary.reports.words import counted

    wanted = chosen(factors)
    if (out is None) == (store is None):
        raise ConfigError("`fiduciary factor compute` must have one of --out and --store", "both" if out else "neither")
    panel = priced(source, columns, wanted, table=table, as_of=as_of, start=start, stop=stop).panel
    if store is not None:
        kept = _store(store)
        for factor in wanted:
            kept.define(factor)
        runs = kept.update([factor.name for factor in wanted], panel)
        return say(f"{counted(sum(run.rows for run in runs), 'value')} of {counted(len(runs), 'factor')}: {store}")
    assert out is not None
    _write(out, panel, wanted)
    return say(f"{counted(len(wanted), 'factor')} of {counted(len(panel.symbols), 'symbol')}: {out}")


@factor_app.command(
    help_epilogue=examples(
        "fiduciary factor evaluate us-stocks --factors alpha158",
        "fiduciary factor evaluate prices.parquet --columns symbol=ticker --factors factors.toml --horizon 1 --out runs/mine",
    )
)
def evaluate(
    source: str,
    /,
    *,
    factors: Names = None,
    horizon: int = 5,
    horizons: Annotated[list[int] | None, Parameter(negative=())] = None,
    entry: Literal["open", "close"] = "open",
    quantiles: int = 5,
    cost_bps: float = 10.0,
    fewest: int = 20,
    table: str | None = None,
    as_of: str | None = None,
    universe: str | None = None,
    start: str | None = None,
    stop: str | None = None,
    columns: Renamed = None,
    sheets: int = 10,
    out: Path = Path("runs/factors"),
) -> None:
    """Judge factors by what came after, with costs and the number of factors tried, and write a page on each.

    Parameters
    ----------
    source:
        A shipped sample, a CSV or Parquet file, or the folder or URL of a historical store.
    factors:
        Families, TOML files or formulas; repeatable.
    horizon:
        Bars over which they are judged.
    horizons:
        Bars over which they are shown; repeatable. Default: 1, 5, 10, 20 and the judged one.
    entry:
        Price at which orders fill on the next bar.
    quantiles:
        Groups of each date; portfolios hold the outer ones.
    cost_bps:
        Basis points paid on every unit of money bought or sold.
    fewest:
        Symbols that a date needs to say anything.
    table:
        Of a historical store: its bars; default bars_1d.
    as_of:
        Of a historical store: what was known then.
    universe:
        Of a historical store: members of this index on each date.
    start, stop:
        First and last date judged; factors see what was before.
    columns:
        our-name=their-name where a file's columns are called differently; repeatable.
    sheets:
        Pages of the factors with the smallest q-values.
    out:
        Folder of the pages; trials are counted in trials.jsonl beside it.
    """
    import shlex

    import numpy as np

    from fiduciary.evaluation.factor_evaluation import Terms
    from fiduciary.evaluation.factor_evaluation import evaluate as judge
    from fiduciary.factors import tabulate
    from fiduciary.records.identity import count_trials, digest, revision
    from fiduciary.reports import factor_sheet

    if out.exists() and not out.is_dir():
        raise ConfigError("`--out` must be a folder", f"the file {out}", remedy="name a new folder")
    shown = tuple(sorted({*(horizons or (1, 5, 10, 20)), horizon}))
    terms = Terms(shown, horizon, entry, quantiles, cost_bps, fewest)
    wanted = chosen(factors)
    bars = priced(source, columns, wanted, table=table, as_of=as_of, stop=stop, universe=universe)
    longest = max([horizon, *(horizons or ())])
    if longest >= len(bars.panel.dates):
        raise ConfigError(
            "a horizon must be shorter than the bars", f"{longest} bars ahead of {len(bars.panel.dates)} dates",
            remedy="choose a shorter one, or load more history",
        )  # fmt: skip
    values = tabulate(bars.panel, wanted, dtype=np.float32)
    members = bars.panel.mask if bars.members is None else bars.members
    if start is not None:
        from fiduciary.data import span

        members = members & (np.arange(len(members)) >= span(bars.panel.dates, start, None).start)[:, None]
    tried = [digest((factor_sheet.define(factor).sha256, terms)) for factor in wanted]
    trials = count_trials(
        out.parent / "trials.jsonl", f"factors, {horizon} bars, {digest(list(bars.panel.symbols))}", tried
    )
    found = judge(bars.panel, values, terms, universe=members, trials=trials)
    origin = factor_sheet.Origin(revision(), as_of or "", bars.universe, shlex.join(["fiduciary", *sys.argv[1:]]))
    page = factor_sheet.write(found, out, factors=wanted, origin=origin, sheets=sheets)
    print_rich(_ranking(found))
    say(f"{factor_sheet.headline(found)}\nreport: {page}")


# --- what was asked for ----------------------------------------------------------------------------------------------


class _Source(NamedTuple):
    """Bars, who was in the universe on each date (None = everyone with a bar), and that in words."""

    panel: "Panel"
    members: "Marks | None"
    universe: str


def priced(
    source: str, columns: Sequence[str] | None, factors: "Sequence[Factor | Formula]", *, table: str | None = None,
    as_of: str | None = None, start: str | None = None, stop: str | None = None, universe: str | None = None,
) -> _Source:  # fmt: skip
    """Bars with the fields that the factors read."""
    from fiduciary.data import BARS, SAMPLES, load
    from fiduciary.data.stored import Stored, is_store

    names = pairs(columns)
    needs, stored = {field for factor in factors for field in factor.needs}, is_store(source)
    for name, value in {"table": table, "as-of": as_of, "universe": universe}.items():
        if value is not None and not stored:
            raise ConfigError(f"`--{name}` belongs to a historical store", source)
    fields = None if source in SAMPLES or stored else (*BARS, *sorted(needs - {*BARS, "vwap"}))
    view = Stored(table or "bars_1d", as_of or "") if stored else None
    panel = load(source, columns=names or None, fields=fields, stored=view)
    if start is not None or stop is not None:
        panel = panel.between(start, stop)
    if "vwap" in needs - {*panel.fields}:
        from fiduciary.factors.library.fields import with_vwap

        panel = with_vwap(panel)
    if universe is None:
        return _Source(panel, None, "")
    from fiduciary.data.history import History
    from fiduciary.data.history.files import ends
    from fiduciary.data.reference import Reference

    known = ends(as_of)[1] if as_of else None
    members = Reference(History(source)).members(universe, panel.dates, panel.symbols, as_of=known)
    return _Source(panel, members, f"members of {universe} on that day")


def chosen(named: Sequence[str] | None) -> "list[Factor | Formula]":
    """Factors of families, TOML files and formulas; a formula is called by its text."""
    from fiduciary.factors import Formula
    from fiduciary.factors.formula_files import expression, read_formulas
    from fiduciary.factors.library import LIBRARY

    if not named:
        raise ConfigError(
            "`--factors` must name a family, a TOML file or a formula", "none", remedy=f"one of {', '.join(LIBRARY)}"
        )
    out: list[Factor | Formula] = []
    for each in named:
        if each in LIBRARY:
            out += LIBRARY[each]
        elif each.endswith(".toml"):
            out += read_formulas(each)
        elif each.isidentifier():
            from fiduciary.data.panel import position

            position(each, list(LIBRARY), "family")
        else:
            expr = expression(each)
            out.append(Formula(str(expr), expr))
    return out


def _own(what: str) -> Any:
    """The function at "module:name", or None where `what` is something else.

    Raises:
        ConfigError: there is no such module or name.
    """
    module, colon, name = what.partition(":")
    if not colon or not name.isidentifier() or not module.replace(".", "").isidentifier():
        return None
    import importlib

    if "" not in sys.path:
        sys.path.insert(0, "")  # the current directory, as `python -m` would have it
    try:
        found = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ConfigError(
            "an own factor must be module:name, importable from the current directory", f"no module {error.name!r}"
        ) from None
    if found is None:
        raise ConfigError(f"module {module!r} must have {name!r}", "no such name in it")
    return found


def _stored(store: str) -> "list[Formula]":
    kept = _existing(store)
    return [kept.formula(name) for name in kept.names()]


def _store(place: str) -> Any:
    from fiduciary.data.history import History
    from fiduciary.factors.store import FactorStore

    return FactorStore(History(place))


def _existing(place: str) -> Any:
    """The store at `place`, which must hold factors."""
    kept = _store(place)
    if not kept.names():
        tables = kept.history.tables()
        raise ConfigError(
            "a store must hold factors", f"{', '.join(tables) or 'no table'} in {place}",
            remedy="keep some with `fiduciary factor compute --store`" if tables else "check the path",
        )  # fmt: skip
    return kept


# --- what is shown ---------------------------------------------------------------------------------------------------


def _text(factor: "Factor | Formula") -> str:
    from fiduciary.reports.factor_sheet import define

    return define(factor).text


def _lineage(store: str, name: str) -> str:
    found = _existing(store).lineage(name)
    lines = [name]
    for version in found.versions:
        lines += [f"  version {version.number}, {version.defined:%Y-%m-%d %H:%M} UTC, sha256 {version.sha256[:12]}"]
        lines += [f"    {version.definition}", *([f"    {version.about}"] if version.about else [])]
    lines += [f"  reads {', '.join(found.fields)}"]
    for noun, names in (("made of", found.parents), ("part of", found.children)):
        lines += [f"  {noun} {', '.join(names)}"] if names else []
    for run in found.runs:
        span = f"{run.first:%Y-%m-%d} to {run.last:%Y-%m-%d}"
        lines += [f"  computed {run.computed:%Y-%m-%d %H:%M} UTC on {span}, data {run.data[:12]}, code {run.code[:12]}"]
    lines += [f"  used by {who} (sha256 {sha256[:12]})" for who, sha256 in found.users]
    return "\n".join(lines)


def _ranking(found: "Evaluation") -> Any:
    """The factors with the smallest q-values."""
    from rich import box
    from rich.markup import escape
    from rich.table import Column, Table

    from fiduciary.reports.factor_sheet import ranked, signed, signed_percent

    table = Table(
        Column("factor", no_wrap=True), "foretells", "pays", "rank IC", "t", "q", "long-short, net", "coverage",
        box=box.SIMPLE_HEAD,
    )  # fmt: skip
    place = found.terms.place
    for each in ranked(found)[:TABLE_ROWS]:
        mean = each.look.rank_ic[place]
        table.add_row(
            escape(each.name), each.foretells.word, each.pays.word, signed(mean.mean), signed(mean.t, 1),
            f"{each.foretells.q_value:.3f}", signed_percent(each.look.long_short.net.mean), f"{each.look.coverage:.0%}",
        )  # fmt: skip
    if len(found.findings) > TABLE_ROWS:
        table.caption = f"and {len(found.findings) - TABLE_ROWS} more in the report"
    return table


def _write(out: Path, panel: "Panel", factors: "Sequence[Factor | Formula]") -> None:
    import io

    import numpy as np
    import polars as pl

    from fiduciary.core.files import write_atomic
    from fiduciary.factors import tabulate

    if out.suffix not in (".parquet", ".csv"):
        raise ConfigError("`--out` must end in .parquet or .csv", str(out))
    table = tabulate(panel, factors)
    t, n = np.nonzero(panel.mask)
    columns = {"date": panel.dates[t], "symbol": np.array(panel.symbols)[n]}
    frame = pl.DataFrame(columns | {name: values[t, n] for name, values in zip(table.names, table.values, strict=True)})
    buffer = io.BytesIO()
    frame.fill_nan(None).write_csv(buffer) if out.suffix == ".csv" else frame.fill_nan(None).write_parquet(buffer)
    write_atomic(out, buffer.getvalue())
