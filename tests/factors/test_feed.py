"""Bars from the real-time store to factor values: what a feed says is what `tabulate` says."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from fiduciary.core.errors import ConfigError
from fiduciary.data import Panel
from fiduciary.data.live import connect
from fiduciary.data.tables import BARS_1M, NEWS
from fiduciary.factors import SIM, Factor, Formula, parse, tabulate
from fiduciary.factors.feed import Feed, replay

START = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
FIELDS = ("open", "high", "low", "close", "volume")
SYMBOLS = ("A", "B", "C")


def minutes(count: int, *, holes: float = 0.0) -> Panel:
    """Minute bars of three symbols; some are missing."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal((count, 3)), axis=0))
    values = np.stack([close, close * 1.01, close * 0.99, close, 1e4 * rng.random((count, 3))], axis=-1)
    mask = rng.random((count, 3)) >= holes
    mask[0] = True
    values[~mask] = np.nan
    dates = np.datetime64(START.replace(tzinfo=None), "us") + np.arange(count) * np.timedelta64(1, "m")
    return Panel(dates, SYMBOLS, FIELDS, values, mask)


def rows(panel: Panel, first: int = 0, last: int | None = None) -> pl.DataFrame:
    """Its bars from the first to before the last, as rows."""
    t, n = np.nonzero(panel.mask[first:last])
    fields = {name: panel.values[first:last][t, n, f] for f, name in enumerate(panel.fields)}
    return pl.DataFrame({"event_time": panel.dates[first:last][t], "symbol": np.array(panel.symbols)[n], **fields})


def test_feed_says_what_the_batch_says(tmp_path):
    panel = minutes(60, holes=0.2)
    with connect(tmp_path / "live.db") as live:
        live.append(BARS_1M, rows(panel, 0, 0), source="test")
        feed, told = Feed(live, "bars_1m", SIM, SYMBOLS), {}
        for first, last in ((0, 1), (1, 30), (30, 60)):
            live.append(BARS_1M, rows(panel, first, last), source="test")
            fed = feed.step()
            assert fed.late == 0
            told |= dict(fed.values)
    found = np.stack([told[date.replace(tzinfo=UTC)] for date in panel.dates.astype(object)], axis=1)
    np.testing.assert_allclose(found, tabulate(panel, SIM).values, rtol=1e-9, atol=0)


def test_bars_that_come_too_late_are_counted_and_change_nothing(tmp_path):
    panel = minutes(5)
    with connect(tmp_path / "live.db") as live:
        live.append(BARS_1M, rows(panel, 1, 5), source="test")
        feed = Feed(live, "bars_1m", [Formula("sum2", parse("ts_sum(close, 2)"))], ("B", "A"))
        ((_, last),) = feed.step().values[-1:]
        np.testing.assert_allclose(last, panel["close"][3:5, [1, 0]].sum(axis=0)[None], rtol=1e-12)
        live.append(BARS_1M, rows(panel, 0, 1), source="test")
        live.append(BARS_1M, rows(panel, 4, 5).with_columns(volume=1.0), source="test")
        assert feed.step() == ([], 4)
        assert feed.step() == ([], 0)


def test_correction_in_the_same_step_is_late(tmp_path):
    panel = minutes(2)
    with connect(tmp_path / "live.db") as live:
        live.append(BARS_1M, rows(panel), source="test")
        live.append(BARS_1M, rows(panel).with_columns(volume=1.0), source="test")
        fed = Feed(live, "bars_1m", SIM, SYMBOLS).step()
        assert (len(fed.values), fed.late) == (2, 6)
        assert fed.values[0][1][4].tolist() == panel["volume"][0].tolist()


def test_warm_feed_goes_on_from_the_history(tmp_path):
    panel = minutes(40)
    past = panel.between(None, "2024-01-02T14:54")
    with connect(tmp_path / "live.db") as live:
        live.append(BARS_1M, rows(panel, 20, 40), source="test")
        feed = Feed(live, "bars_1m", SIM, SYMBOLS)
        feed.warm(past)
        fed = feed.step()
        assert (len(fed.values), fed.late) == (15, 15)
        np.testing.assert_allclose(fed.values[-1][1], tabulate(panel, SIM).values[:, -1], rtol=1e-9)


def test_values_are_kept_under_their_definition(tmp_path):
    sum2 = Formula("sum2", parse("ts_sum(close, 2)"))
    with connect(tmp_path / "live.db") as live:
        live.append(BARS_1M, rows(minutes(3)), source="test")
        feed = Feed(live, "bars_1m", [sum2], SYMBOLS, keep=True)
        values = feed.step().values
        kept = live.read("factor_values")
        assert len(kept) == 6  # not the first minute
        assert set(kept["sha256"]) == {sum2.expr.digest()}
        assert kept.filter(symbol="B")["value"].to_list() == [table[0, 1] for _, table in values[1:]]
        with pytest.raises(ConfigError, match="must be an expression, got 'f'"):
            Feed(
                live, "bars_1m", [Factor("f", 1, lambda bars: bars["close"], ("close",), memory=1)], SYMBOLS, keep=True
            )


def test_feed_of_a_table_that_is_no_bars_is_refused(tmp_path):
    with connect(tmp_path / "live.db") as live:
        live.append(NEWS, pl.DataFrame({"event_time": [START], "id": ["1"], "headline": ["x"]}), source="test")
        with pytest.raises(ConfigError, match="key symbol"):
            Feed(live, "news", SIM, SYMBOLS)
        live.append(BARS_1M, rows(minutes(1)), source="test")
        with pytest.raises(ConfigError, match="vwap"):
            Feed(live, "bars_1m", [Formula("v", parse("vwap"))], SYMBOLS)


def test_replay_keeps_time_and_counts_every_bar(tmp_path):
    panel = minutes(10, holes=0.2)
    with connect(tmp_path / "live.db") as live:
        live.append(BARS_1M, rows(panel, 0, 0), source="test")
        feed = Feed(live, "bars_1m", SIM, SYMBOLS)
        started = datetime.now(UTC)
        told = replay(feed, rows(panel), speed=3_000)
        assert datetime.now(UTC) - started >= timedelta(minutes=9) / 3_000
        assert (told.bars, told.moments) == (panel.mask.sum(), 10)
        assert 0 < told.p50_ms <= told.p99_ms <= told.worst_ms
        assert told.behind_ms <= told.worst_ms
        assert len(live.read("bars_1m")) == told.bars
        for bars, speed in ((rows(panel).clear(), 1.0), (rows(panel), 0.0)):
            with pytest.raises(ConfigError, match="bars and a speed above zero"):
                replay(feed, bars, speed=speed)
