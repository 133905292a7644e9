"""`fiduciary factor`: what it prints, what it writes, and what it refuses."""

import sys
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from fiduciary.cli.factor import factor_app
from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.data import sample
from fiduciary.data.history import History
from fiduciary.data.tables import BARS_1D, MEMBERSHIP
from fiduciary.factors import parse, tabulate
from fiduciary.factors.library import LIBRARY
from fiduciary.factors.store import FactorStore
from real_data import SHARED

TOML = '[factors]\nreversal = "-delta(close, 5) / ref(close, 5)"\nranked = "cs_rank(volume)"\n'
STOCKS = SHARED / "us_equities"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Call a command in a fresh folder; what it printed, spaces made one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "factors.toml").write_text(TOML)

    def call(*tokens: str) -> str:
        monkeypatch.setattr(sys, "argv", ["fiduciary", "factor", *tokens])
        factor_app(list(tokens), exit_on_error=False, print_error=False, result_action="return_value")
        return " ".join(capsys.readouterr().out.split())

    return call


@pytest.fixture
def history(tmp_path):
    """The last months of the shipped sample as a store."""
    panel = sample("us-stocks").between("2012-10", None)
    t, n = np.nonzero(panel.mask)
    frame = pl.DataFrame({"event_time": panel.dates[t], "symbol": np.array(panel.symbols)[n]}).with_columns(
        pl.Series(name, panel[name][t, n]) for name in panel.fields
    )
    History(tmp_path / "history").append(BARS_1D, frame, source="a sample", known=datetime(2019, 1, 1, tzinfo=UTC))
    return str(tmp_path / "history")


def test_list_counts_the_library_and_lists_a_family(run):
    text = run("list")
    for family, factors in LIBRARY.items():
        assert f"│ {family} │ {len(factors)} │" in text
    text = run("list", "--family", "momentum")
    assert all(f"│ {factor.name} │ {factor.lookback} │" in text for factor in LIBRARY["momentum"])
    assert "│ ranked │ 1 │ volume │ cs_rank(volume) │" in run("list", "--family", "factors.toml")


def test_show_tells_the_definition(run):
    kmid = LIBRARY["alpha158"][0]
    text = run("show", "KMID")
    assert text.startswith("KMID (alpha158) (close - open) / open")
    assert kmid.expr.digest() in text
    with pytest.raises(ConfigError, match="did you mean 'KMID'"):
        run("show", "KMIDD")


def test_check_passes_what_is_causal_and_catches_what_is_not(run, tmp_path, monkeypatch):
    assert "all laws hold" in run("check", "-delta(close, 5) / ref(close, 5)")
    assert "factor reversal is causal" in run("check", "factors.toml")
    assert "all laws hold" in run("check", "Mean($close, 5) / $close")  # Qlib's
    (tmp_path / "qlib.toml").write_text('[factors]\nmean = "Mean($close, 5) / $close"\n')
    assert "factor mean is causal" in run("check", "qlib.toml")
    with pytest.raises(ConfigError, match="the future is not known"):
        run("check", "ref(close, -1)")
    (tmp_path / "own_factors.py").write_text(
        "import numpy as np\n"
        "def peeks(panel):\n    return np.roll(panel['close'], -1, axis=0)\n"
        "def sound(panel):\n    return panel['close'] / panel['open']\n"
        "def average(panel):\n    return panel['close'] - np.nanmean(panel['close'], axis=0)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert "all laws hold" in run("check", "own_factors:sound")
    for name in ("peeks", "average"):
        with pytest.raises(ContractError, match=name):
            run("check", f"own_factors:{name}")
    with pytest.raises(ConfigError, match="no such name"):
        run("check", "own_factors:absent")
    with pytest.raises(ConfigError, match="no module 'own_absent'"):
        run("check", "own_absent:peeks")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_compute_writes_what_tabulate_gives(run, kind, tmp_path):
    text = run("compute", "us-stocks", "--factors", "factors.toml", "--start", "2012", "--out", f"values.{kind}")
    assert text == f"2 factors of 4 symbols: values.{kind}"
    read = pl.read_parquet if kind == "parquet" else lambda path: pl.read_csv(path, try_parse_dates=True)
    found = read(tmp_path / f"values.{kind}")
    panel = sample("us-stocks").between("2012", None)
    values = tabulate(panel, [*LIBRARY["momentum"][:0], *_formulas()]).values[0]
    assert found.columns == ["date", "symbol", "reversal", "ranked"]
    assert found["reversal"].null_count() == 4 * 5
    np.testing.assert_allclose(found["reversal"].drop_nulls(), values[np.isfinite(values)])


def _formulas():
    from fiduciary.factors import Formula

    return [Formula("reversal", parse("-delta(close, 5) / ref(close, 5)"))]


def test_compute_keeps_values_in_a_store_and_goes_on_from_them(run, history):
    assert "factors" in run("compute", history, "--factors", "factors.toml", "--stop", "2012-12", "--store", history)
    run("compute", history, "--factors", "factors.toml", "--store", history)
    store = FactorStore(History(history))
    panel = History(history).panel("bars_1d")
    values = tabulate(panel, [store.formula("reversal")]).values[0]
    np.testing.assert_allclose(store.values("reversal")["value"], values[np.isfinite(values)], rtol=1e-9)
    assert "│ reversal │ 6 │ close │" in run("list", "--store", history)
    text = run("show", "reversal", "--store", history)
    assert "version 1" in text
    assert text.count(" computed ") == 2
    assert "part of" not in text


def test_evaluate_says_no_evidence_of_four_stocks_and_counts_trials(run, tmp_path):
    text = run("evaluate", "us-stocks", "--factors", "factors.toml", "--start", "2011", "--out", "out/first")
    assert "No evidence: the widest cross-section holds 4 symbols, and one needs 20 to say anything." in text
    assert text.endswith("report: out/first/index.html")
    assert sorted(path.name for path in (tmp_path / "out/first").iterdir()) == [
        "index.html",
        "ranked.html",
        "reversal.html",
    ]
    page = (tmp_path / "out/first/index.html").read_text()
    assert "fiduciary factor evaluate us-stocks --factors factors.toml --start 2011 --out out/first" in page
    run("evaluate", "us-stocks", "--factors", "factors.toml", "--out", "out/again", "--sheets", "0")
    assert "<dt>Factors tried</dt><dd>2</dd>" in (tmp_path / "out/again/index.html").read_text()
    run("evaluate", "us-stocks", "--factors", "close / open", "--out", "out/other", "--sheets", "0")
    assert "<dt>Factors tried</dt><dd>3</dd>" in (tmp_path / "out/other/index.html").read_text()
    assert sorted(path.name for path in (tmp_path / "out/other").iterdir()) == ["index.html"]


def test_evaluate_reads_a_store_as_of_a_time(run, history):
    text = run("evaluate", history, "--factors", "factors.toml", "--as-of", "2100-01-01", "--out", "out/store")
    assert "report: out/store/index.html" in text
    with pytest.raises(ConfigError):
        run("evaluate", history, "--factors", "factors.toml", "--as-of", "2000-01-01", "--out", "out/early")


def test_evaluate_takes_the_members_of_a_universe_as_known(run, history, tmp_path):
    day = datetime(2012, 10, 1, tzinfo=UTC)
    known = {"AAPL": datetime(2020, 1, 1, tzinfo=UTC), "IBM": datetime(2021, 1, 1, tzinfo=UTC)}
    rows = [
        {"event_time": day, "known_time": t, "universe": "two", "symbol": s, "member": True} for s, t in known.items()
    ]
    History(history).append(MEMBERSHIP, pl.DataFrame(rows), source="made up")
    call = ("evaluate", history, "--factors", "factors.toml", "--universe", "two", "--sheets", "0", "--out")
    run(*call, "out/now")
    page = (tmp_path / "out/now/index.html").read_text()
    assert "2 of 4 symbols" in page
    assert "members of two on that day" in page
    run(*call, "out/then", "--as-of", "2020-06-01")
    assert "1 of 4 symbols" in (tmp_path / "out/then/index.html").read_text()


@pytest.mark.parametrize(
    ("tokens", "fault"),
    [
        (("evaluate", "us-stocks"), "`--factors` must name"),
        (("evaluate", "us-stocks", "--factors", "alpha185"), "did you mean 'alpha158'"),
        (
            ("evaluate", "us-stocks", "--factors", "factors.toml", "--as-of", "2012"),
            "`--as-of` belongs to a historical store",
        ),
        (("evaluate", "us-stocks", "--factors", "factors.toml", "--horizon", "0"), "`horizons` must be 1 bar or more"),
        (("evaluate", "us-stocks", "--factors", "factors.toml", "--horizon", "9999"), "a horizon must be shorter"),
        (("evaluate", "us-stocks", "--factors", "factors.toml", "--out", "factors.toml"), "`--out` must be a folder"),
        (("list", "--store", "nothere"), "no table in nothere"),
        (("show", "x", "--store", "nothere"), "no table in nothere"),
        (("evaluate", "us-stocks", "--factors", "clos / open"), "did you mean 'close'"),
        (("compute", "us-stocks", "--factors", "factors.toml"), "one of --out and --store"),
        (("compute", "us-stocks", "--factors", "factors.toml", "--out", "values.xls"), "must end in .parquet or .csv"),
        (
            ("compute", "us-stocks", "--factors", "factors.toml", "--columns", "a", "--out", "x.csv"),
            "our-name=their-name",
        ),
    ],
)
def test_wrong_wishes_are_refused_before_any_work(run, tokens, fault, tmp_path):
    with pytest.raises(ConfigError, match=fault):
        run(*tokens)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["factors.toml"]


@pytest.mark.slow
@pytest.mark.skipif(not STOCKS.exists(), reason="needs the shared development data")
def test_evaluate_on_75_stocks_finds_the_reversal_and_that_it_does_not_pay(run, tmp_path):
    """Five-day reversal is among the oldest findings (Jegadeesh 1990, Lehmann 1990); costs have long eaten it."""
    files = ("dow30_daily_2000_2022.parquet", "sp500_other45_daily_2000_2022.parquet")
    frames = [pl.read_parquet(STOCKS / name).with_columns(pl.col("ticker").cast(pl.String)) for name in files]
    pl.concat(frames).write_parquet(tmp_path / "prices.parquet")
    text = run(
        "evaluate", "prices.parquet", "--columns", "symbol=ticker", "--columns", "adj_close=adj_close", "--factors",
        "factors.toml", "--out", "out",
    )  # fmt: skip
    assert "reversal evidence for no evidence +0.02" in text
    assert "none paid after costs" in text
