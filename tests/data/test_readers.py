"""Files -> panels: what goes in comes out, and what is wrong is said."""

import hashlib
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data import BARS, load, read
from longform import put, sound
from real_data import SHARED

ASHARES = SHARED / "ashares"
needs_ashares = pytest.mark.skipif(not ASHARES.is_dir(), reason=f"{ASHARES} is not on this machine")
TICKER = {"symbol": "ticker"}


def write(frame, path):
    if path.name.endswith("parquet"):
        frame.write_parquet(path)
    else:
        frame.write_csv(path)
    return path


@pytest.fixture
def two():
    return pl.concat([sound(0, 6, "B"), sound(1, 4, "A", start=1)])


@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet", "BARS.CSV"])
def test_round_trip(two, tmp_path, name):
    path = write(two, tmp_path / name)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    panel = read(path, currency="CNY")
    assert (panel.symbols, panel.fields, panel.currency, panel.source) == (("B", "A"), BARS, "CNY", str(path))
    assert panel.mask.sum(axis=0).tolist() == [6, 4]
    for n, symbol in enumerate(panel.symbols):
        bars = two.filter(pl.col("symbol") == symbol)
        rows = panel.mask[:, n]
        assert panel.dates[rows].tolist() == bars["date"].to_list()
        np.testing.assert_array_equal(panel.values[rows, n], bars.select(BARS).to_numpy())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.sets(st.tuples(st.integers(0, 9), st.sampled_from("AB")), min_size=1), st.integers(0, 99))
def test_csv_and_parquet_agree_and_nothing_is_filled(tmp_path, cells, seed):
    both = pl.concat([sound(seed, 10, "A"), sound(seed + 1, 10, "B")])
    kept = both[[day + 10 * (symbol == "B") for day, symbol in sorted(cells)]]
    panels = [read(write(kept, tmp_path / f"bars.{kind}")) for kind in ("csv", "parquet")]
    assert panels[0].digest() == panels[1].digest()
    assert panels[0].mask.sum() == len(cells)
    assert np.isnan(panels[0].values[~panels[0].mask]).all()


def test_columns_fields_and_symbols(two, tmp_path):
    path = write(two.rename({"symbol": "ticker", "close": "last"}), tmp_path / "bars.csv")
    panel = read(path, columns=TICKER | {"close": "last"}, fields=("close",), symbols=("A",), name="mine")
    assert (panel.symbols, panel.fields, panel.source) == (("A",), ("close",), "mine")
    assert panel.values.shape == (4, 1, 1)


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y%m%d", "%Y-%m-%d 00:00:00", "%Y-%m-%dT00:00:00"])
def test_dates_as_text(two, tmp_path, form):
    panel = read(write(two.with_columns(pl.col("date").dt.strftime(form)), tmp_path / "bars.csv"))
    assert panel.digest() == read(write(two, tmp_path / "same.csv")).digest()


def test_dates_as_integers_and_midnights(two, tmp_path):
    same = read(write(two, tmp_path / "same.parquet")).digest()
    for cells in (pl.col("date").dt.strftime("%Y%m%d").cast(pl.Int64), pl.col("date").cast(pl.Datetime("ns"))):
        assert read(write(two.with_columns(cells), tmp_path / "bars.parquet")).digest() == same


def test_adjusted_close_undoes_a_split(tmp_path):
    frame = sound().with_columns(adj_close=pl.col("close") * 3)
    late = pl.int_range(8) >= 4
    halves = [pl.when(late).then(pl.col(c) / 2).otherwise(pl.col(c)).alias(c) for c in ("open", "high", "low", "close")]
    shares = pl.when(late).then(pl.col("volume") * 2).otherwise(pl.col("volume")).alias("volume")
    path = write(frame.with_columns(*halves, shares), tmp_path / "bars.parquet")
    assert [fault.kind for fault in read(path).faults] == ["split-like jump"]
    panel = read(path, columns={"adj_close": "adj_close"})
    assert panel.faults == ()
    np.testing.assert_allclose(panel["close"][:, 0], frame["close"] / 2, rtol=1e-12)
    np.testing.assert_allclose(panel["volume"][:, 0], frame["volume"] * 2, rtol=1e-12)
    volume = read(path, columns={"adj_close": "adj_close"}, fields=("volume",))  # close is read, not kept
    np.testing.assert_array_equal(volume["volume"], panel["volume"])


def test_up_to_ten_errors_are_listed(tmp_path):
    frame = pl.concat([put(sound(symbol=f"S{k:02}"), 3, close=-1.0) for k in range(12)])
    path = write(frame, tmp_path / "bars.parquet")
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert "12 errors" in message
    assert "S09 2020-01-04: non-positive price" in message
    assert "S10" not in message
    assert "and 2 more" in message
    with pytest.raises(DataError, match="1 error\n"):
        read(path, symbols=("S03",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[[1, 0, 2]], "2020-01-01: unsorted dates: follows 2020-01-02"),
        (lambda f: f[[0, 1, 1]], "2020-01-02: duplicate bar"),
        (lambda f: put(f, 2, open=None), "2020-01-03: non-finite value: open nan"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_nothing_is_repaired(tmp_path, change, message, kind):
    with pytest.raises(DataError, match=message):
        read(write(change(sound()), tmp_path / f"bars.{kind}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"date": ["yesterday"]}, r"'date' of .*bars.csv must hold days as YYYY-MM-DD.*'yesterday' in line 2"),
        ({"date": ["2020-01-01 09:30:00"]}, "09:30:00 in line 2: intraday bars"),
        ({"date": ["01/02/2020"]}, "'01/02/2020' in line 2"),
        ({"close": ["1,000.5"]}, "'close' of .* must hold numbers, got '1,000.5' in line 2"),
        ({"symbol": [" "]}, "must name its symbol, got none in line 2"),
    ],
)
def test_cells_that_are_no_dates_numbers_or_symbols(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read(
            write(sound(length=1).with_columns(**{k: pl.Series(v) for k, v in changes.items()}), tmp_path / "bars.csv")
        )


def test_types_that_are_no_dates_or_numbers(tmp_path):
    for cells in (
        pl.lit(True).alias("date"),
        pl.lit([1.0]).alias("close"),
        pl.lit(datetime(2020, 1, 1, 16)).alias("date"),
    ):
        with pytest.raises(DataError, match="must hold"):
            read(write(sound(length=1).with_columns(cells), tmp_path / "bars.parquet"))


def test_missing_columns(two, tmp_path):
    path = write(two.rename({"symbol": "ticker", "volume": "Volume"}).drop("open"), tmp_path / "bars.csv")
    with pytest.raises(DataError, match=r"'symbol', got columns date, ticker, high.*columns=.\"symbol\": \"ticker\""):
        read(path)
    with pytest.raises(DataError, match=r"'open'.*or leave open out of `fields`"):
        read(path, columns=TICKER)
    with pytest.raises(DataError, match=r"columns=.\"volume\": \"Volume\""):
        read(path, columns=TICKER, fields=("close", "volume"))


@pytest.mark.parametrize("content", [b"", b"\x00\xff\xfe\x01" * 50, b"PAR1 but not really PAR1"])
@pytest.mark.parametrize("name", ["bars.csv", "bars.parquet", "bars.csv.gz"])
def test_corrupt_files_are_named_and_left_alone(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=name):
        read(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("kind", ["csv", "parquet", "csv.gz"])
def test_files_cut_short(two, tmp_path, kind):
    import gzip

    path = tmp_path / f"bars.{kind}"
    full = gzip.compress(two.write_csv().encode()) if kind == "csv.gz" else write(two, path).read_bytes()
    path.write_bytes(full[: len(full) * 2 // 3])
    with pytest.raises(DataError, match="bars"):
        read(path)


def test_no_rows(two, tmp_path):
    for kind in ("csv", "parquet"):
        with pytest.raises(DataError, match="at least one bar"):
            read(write(two.clear(), tmp_path / f"bars.{kind}"))


def test_arguments_that_make_no_sense(two, tmp_path):
    path = write(two, tmp_path / "bars.csv")
    wrong = [
        (lambda: read(tmp_path / "bras.csv"), "existing file.*the folder holds 'bars.csv'"),
        (lambda: read(tmp_path / "no/bars.csv"), "there is no folder"),
        (lambda: read(tmp_path / "bars.xlsx"), r"must end in \.csv, \.csv\.gz, \.parquet"),
        (lambda: read(path, symbols=("C",)), "which holds B, A, got 'C'"),
        (lambda: read(path, symbols="A"), "distinct names in a list"),
        (lambda: read(path, symbols=()), "distinct names in a list"),
        (lambda: read(path, fields="close"), "distinct names of values"),
        (lambda: read(path, fields=("close", "close")), "distinct names of values"),
        (lambda: read(path, columns={"simbol": "ticker"}), "did you mean 'symbol'"),
        (lambda: load(tmp_path / "sp600"), "one of us-stocks, sp500"),
    ]
    for call, message in wrong:
        with pytest.raises(ConfigError, match=message):
            call()


# --- real files ------------------------------------------------------------------------------------------------------


@needs_ashares
def test_adjusted_ashares():
    panel = load(ASHARES / "ashare_daily_qfq_2010_2021.parquet", columns=TICKER, currency="CNY")
    assert panel.values.shape == (2917, 31, 5)
    assert panel.mask.sum() == 86_806
    assert {fault.kind for fault in panel.faults} == {"gap", "late start"}


@needs_ashares
def test_index_file():
    columns = {"symbol": "index"}
    panel = load(ASHARES / "cn_index_daily_2005_2021.parquet", columns=columns, symbols=("000001.SH",), currency="CNY")
    assert panel.values.shape == (4132, 1, 5)
    assert panel.faults == ()
    assert len(panel.between("2012", "2021").dates) == 2431


@needs_ashares
def test_additively_adjusted_prices_are_refused():
    with pytest.raises(DataError) as caught:
        load(ASHARES / "dirty_additive_adjusted_sample.parquet", columns=TICKER)
    message = str(caught.value)
    assert "4 errors" in message
    assert "600519 2001-08-27: non-positive price: open -111.41" in message
    assert "multiplicatively adjusted" in message


@needs_ashares
def test_unadjusted_prices_are_recognised():
    panel = load(ASHARES / "ashare_daily_unadjusted_2010_2021.parquet", columns=TICKER)
    jumps = [fault for fault in panel.faults if fault.kind == "split-like jump"]
    assert len(jumps) > 50
    assert {fault.severity for fault in panel.faults} == {"warning"}


@needs_ashares
def test_intraday_bars_do_not_pass_for_daily_ones():
    with pytest.raises(DataError, match="intraday bars"):
        load(
            ASHARES / "moutai_5min_2012_2019.parquet",
            columns=TICKER | {"date": "dt", "close": "price"},
            fields=("close",),
        )
