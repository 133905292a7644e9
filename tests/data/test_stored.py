"""A study reads a store: as of a time, adjusted by the store's own actions, of a universe as it was."""

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from fiduciary.applications.stock_investment import Source
from fiduciary.core.errors import ConfigError
from fiduciary.data import load
from fiduciary.data.history import History
from fiduciary.data.stored import Stored
from fiduciary.data.tables import BARS_1D, CORPORATE_ACTIONS, MEMBERSHIP

DAYS = [datetime(2024, 1, day, tzinfo=UTC) for day in (2, 3, 4, 5)]
THEN, NOW = datetime(2024, 1, 8, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)


def bars(symbol, closes, days=DAYS):
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    return pl.DataFrame({"event_time": days, "symbol": symbol, **prices, "volume": 100.0})


@pytest.fixture
def store(tmp_path):
    history = History(tmp_path / "store")
    history.append(BARS_1D, bars("AAA", [10.0, 11.0, 6.0, 6.6]), source="test", known=THEN)
    history.append(BARS_1D, bars("BBB", [20.0, 20.0], DAYS[:2]), source="test", known=THEN)
    history.append(BARS_1D, bars("AAA", [7.0], DAYS[3:]), source="test", known=NOW)
    split = {"event_time": [DAYS[2]], "symbol": ["AAA"], "kind": ["split"], "value": [2.0]}
    history.append(CORPORATE_ACTIONS, pl.DataFrame(split), source="test", known=THEN)
    members = {"event_time": [DAYS[0], DAYS[0], DAYS[2]], "universe": "index", "symbol": ["AAA", "BBB", "BBB"],
               "member": [True, True, False]}  # fmt: skip
    history.append(MEMBERSHIP, pl.DataFrame(members), source="test", known=THEN)
    return str(tmp_path / "store")


def test_a_store_is_a_source_and_a_later_correction_is_not_known_before(store):
    assert load(store)["close"][-1, 0] == 7.0
    panel = load(store, stored=Stored(as_of="2024-01-31"))
    assert panel.symbols == ("AAA", "BBB") and panel["close"][-1, 0] == 6.6
    assert [fault.kind for fault in panel.faults] == ["split-like jump", "early end"]


def test_adjusted_by_its_own_actions(store):
    panel = load(store, symbols=["AAA"], stored=Stored(as_of="2024-01-31", adjust="splits"))
    np.testing.assert_allclose(panel["close"][:, 0], [5.0, 5.5, 6.0, 6.6])
    assert not panel.faults


def test_a_universe_holds_what_left_it_later(store):
    assert load(store, stored=Stored(universe="index", on="2024-01-03")).symbols == ("AAA", "BBB")
    assert load(store, stored=Stored(universe="index", on="2024-01-04")).symbols == ("AAA",)


def test_a_study_reads_it(store):
    assert Source(store, fields=("close",), stored=Stored(adjust="splits")).panel().fields == ("close",)


def test_what_makes_no_sense(store, tmp_path):
    with pytest.raises(ConfigError, match="must come together"):
        Stored(universe="index")
    with pytest.raises(ConfigError, match="symbols or a universe"):
        load(store, symbols=["AAA"], stored=Stored(universe="index", on="2024-01-03"))
    with pytest.raises(ConfigError, match="bars_1d"):
        load(store, stored=Stored(table="bars_1h"))
    with pytest.raises(ConfigError, match="belongs to a store"):
        load("us-stocks", stored=Stored())
    with pytest.raises(ConfigError, match="belong to files"):
        load(store, columns={"symbol": "ticker"})
