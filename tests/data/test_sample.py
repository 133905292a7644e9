"""Facts of the shipped samples."""

import gzip
import hashlib
import re
import subprocess
import sys
from datetime import date
from itertools import pairwise

import numpy as np
import polars as pl
import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.data import BARS, Panel, describe, load, sample
from fiduciary.data.sample import FOLDER


@pytest.fixture(scope="module")
def stocks():
    return sample("us-stocks")


@pytest.fixture(scope="module")
def raw():
    return pl.read_csv(FOLDER / "us-stocks.csv.gz", try_parse_dates=True)


def own(panel, field, symbol):
    n = panel.symbols.index(symbol)
    return panel[field][panel.mask[:, n], n]


def test_axes(stocks):
    assert stocks.values.shape == (3270, 4, 5)
    assert (stocks.symbols, stocks.fields, stocks.currency) == (("AAPL", "GOOG", "IBM", "MSFT"), BARS, "USD")
    assert (str(stocks.dates[0]), str(stocks.dates[-1])) == ("2000-03-01", "2013-03-01")
    assert str(stocks.dates[np.argmax(stocks.mask[:, 1])]) == "2004-08-19"
    assert stocks.mask.sum(axis=0).tolist() == [3270, 2148, 3270, 3270]
    assert [(fault.kind, fault.symbol) for fault in stocks.faults] == [
        ("large jump", "AAPL"),  # the profit warning of 2000-09-29: halved within a day, and no split
        ("late start", "GOOG"),
    ]


def test_last_prices_are_as_traded(stocks, raw):
    assert stocks["close"][-1, 0] == 430.47
    last = raw.filter(pl.col("date") == raw["date"].max()).select("open", "high", "low", "close", "volume").to_numpy()
    np.testing.assert_array_equal(stocks.values[-1], last)


@pytest.mark.parametrize("symbol", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_returns_are_those_of_the_adjusted_close_and_turnover_is_conserved(stocks, raw, symbol):
    bars = raw.filter(pl.col("symbol") == symbol)
    adjusted = bars["adj_close"].to_numpy()
    close = own(stocks, "close", symbol)
    np.testing.assert_allclose(close[1:] / close[:-1], adjusted[1:] / adjusted[:-1], rtol=1e-12)
    turnover = (bars["close"] * bars["volume"]).to_numpy()
    np.testing.assert_allclose(close * own(stocks, "volume", symbol), turnover, rtol=1e-12)


def test_the_order_of_prices_survives_adjustment_exactly(stocks):
    o, h, low, c = (stocks[name][stocks.mask] for name in ("open", "high", "low", "close"))
    assert (low <= np.minimum(o, c)).all()
    assert (h >= np.maximum(o, c)).all()


def test_index(stocks):
    index = sample("sp500")
    assert (index.symbols, index.fields, index.faults) == (("SP500",), ("close",), ())
    np.testing.assert_array_equal(index.dates, stocks.dates)
    assert (index["close"][0, 0], index["close"][-1, 0]) == (1379.19, 1518.2)


def test_symbols_and_fields_narrow_a_sample(stocks):
    narrow = load("us-stocks", symbols=["MSFT", "AAPL"], fields=("close",))
    np.testing.assert_array_equal(narrow["close"], stocks["close"][:, [3, 0]])


def test_wrong_names_name_the_nearest():
    for call in (sample, load):
        with pytest.raises(ConfigError, match="did you mean 'us-stocks'"):
            call("us-stock")
    with pytest.raises(ConfigError, match="did you mean 'AAPL'"):
        sample("us-stocks", symbols=("APPL",))
    with pytest.raises(ConfigError, match="a field must be one of close"):
        sample("sp500", fields=("open",))
    with pytest.raises(ConfigError, match="belong to files"):
        load("sp500", currency="CNY")


@pytest.mark.parametrize("name", ["us-stocks", "sp500"])
def test_files_are_those_of_the_readme_and_carry_no_time(name):
    content = (FOLDER / f"{name}.csv.gz").read_bytes()
    readme = (FOLDER / "README.md").read_text()
    assert hashlib.sha256(content).hexdigest() in readme
    assert hashlib.sha256(gzip.decompress(content)).hexdigest() in readme
    assert content[4:8] == bytes(4)


def test_the_readme_keeps_what_the_licences_ask_for():
    readme = " ".join((FOLDER / "README.md").read_text().split())
    for words in ("Public domain", "Quandl WIKI Prices", "The skfolio developers", "Redistributions of source code"):
        assert re.search(words, readme)


def test_describe(stocks):
    told = describe(stocks)
    apple, google = told.symbols[:2]
    close = own(stocks, "close", "AAPL")
    assert (told.first, told.last, told.dates, told.digest) == ("2000-03-01", "2013-03-01", 3270, stocks.digest())
    assert (google.first, google.bars, google.missing) == ("2004-08-19", 2148, 0)
    assert (apple.last_close, apple.min_close, apple.max_close) == (430.47, close.min(), close.max())
    assert apple.total_return == pytest.approx(close[-1] / close[0] - 1)
    steps = [np.log(b / a) for a, b in pairwise(close)]
    mean = sum(steps) / len(steps)
    a_year = 3269 * 365.25 / (date(2013, 3, 1) - date(2000, 3, 1)).days
    assert apple.volatility == pytest.approx((a_year * sum((s - mean) ** 2 for s in steps) / (len(steps) - 1)) ** 0.5)


@pytest.mark.parametrize(("step", "told"), [(7, "10.8%"), (1, "28.7%")])
def test_volatility_is_annualised_by_the_symbols_own_calendar(step, told):
    """Alternating log returns of one size: sigma 1.5 % per bar, whatever a bar is."""
    bars = 1001
    dates = np.datetime64("2010-01-04") + step * np.arange(bars)
    close = np.exp(np.cumsum(np.where(np.arange(bars) % 2, 0.015, -0.015)))
    values, mask = np.full((bars, 2, 1), np.nan), np.ones((bars, 2), bool)
    mask[1::2, 1] = False
    values[:, 0, 0], values[::2, 1, 0] = close, close[: (bars + 1) // 2]
    weekly, sparse = describe(Panel(dates, ("A", "B"), ("close",), values, mask)).symbols
    assert f"{weekly.volatility:.1%}" == told
    assert sparse.volatility == pytest.approx(weekly.volatility / 2**0.5, rel=1e-2)


@pytest.mark.parametrize("bars", [1, 2])
def test_volatility_of_too_few_bars_is_nan(bars):
    dates = np.datetime64("2010-01-04") + np.arange(bars)
    panel = Panel(dates, ("A",), ("close",), np.ones((bars, 1, 1)), np.ones((bars, 1), bool))
    assert np.isnan(describe(panel).symbols[0].volatility)


def test_import_is_cheap():
    code = "import sys, fiduciary.data; print(*({'polars', 'pandas', 'torch', 'talib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
