"""The factor store: definitions survive text, values equal the batch, nothing is overwritten, lineage is whole."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.data.history import History
from fiduciary.data.panel import Panel
from fiduciary.factors import Factor, Field, Formula, parse, tabulate
from fiduciary.factors.formula_files import read_formulas, write_formulas
from fiduciary.factors.store import FactorStore

REVERSAL = Formula("reversal", parse("delta(close, 3) / ref(close, 3)"), "what fell")
SMOOTH = Formula("smooth", parse("ema(delta(close, 3) / ref(close, 3), 4)"))
RANKED = Formula("ranked", parse("cs_rank(ts_mean(volume, 5))"))
ALL = ("reversal", "smooth", "ranked")


def bars(dates=40, seed=0) -> Panel:
    rng = np.random.default_rng(seed)
    values = 50 + rng.random((dates, 3, 2))
    mask = rng.random((dates, 3)) < 0.9
    mask[:, 0] = True
    values[~mask] = np.nan
    days = np.datetime64("2024-01-01") + np.arange(dates)
    return Panel(days, ("a", "b", "c"), ("close", "volume"), values, mask, source="made up")


def until(panel: Panel, stop: int) -> Panel:
    return replace(panel, dates=panel.dates[:stop], values=panel.values[:stop], mask=panel.mask[:stop])


def corrected(panel: Panel, t: int, n: int, value: float | None) -> Panel:
    values, mask = panel.values.copy(), panel.mask.copy()
    values[t, n, 0] = np.nan if value is None else value
    if value is None:
        values[t, n], mask[t, n] = np.nan, False
    return replace(panel, values=values, mask=mask)


@pytest.fixture
def store(tmp_path) -> FactorStore:
    store = FactorStore(History(tmp_path / "history"), states=tmp_path / "states")
    for formula in (REVERSAL, SMOOTH, RANKED):
        store.define(formula)
    return store


def same(store: FactorStore, panel: Panel, *, rtol: float = 1e-9, **times) -> None:
    """What the store holds is what the batch gives, no more and no less."""
    for name in ALL:
        values = tabulate(panel, [store.formula(name)]).values[0]
        t, n = np.nonzero(np.isfinite(values))
        wanted = pl.DataFrame({
            "event_time": panel.dates[t].astype("datetime64[us]"), "symbol": np.array(panel.symbols)[n], "wanted": values[t, n],
        }).with_columns(pl.col("event_time").dt.replace_time_zone("UTC"))  # fmt: skip
        both = store.values(name, **times).join(wanted, on=["event_time", "symbol"], how="full")
        assert both.null_count().sum_horizontal().item() == 0
        np.testing.assert_allclose(both["value"], both["wanted"], rtol=rtol, atol=1e-12)


# --- definitions -----------------------------------------------------------------------------------------------------


def test_a_definition_survives_the_store_and_a_redefinition_keeps_the_old(store):
    assert store.names() == ("ranked", "reversal", "smooth")
    assert store.formula("reversal") == REVERSAL
    assert store.define(REVERSAL).number == 1
    second = store.define(Formula("reversal", parse("delta(close, 5)")))
    assert second.number == 2
    assert store.formula("reversal").expr == parse("delta(close, 5)")
    assert store.formula("reversal", 1) == REVERSAL
    back = store.define(REVERSAL)
    assert (back.number, back.sha256) == (3, store.versions("reversal")[0].sha256)
    with pytest.raises(ConfigError, match="1 to 3"):
        store.formula("reversal", 4)
    with pytest.raises(ConfigError, match="did you mean 'reversal'"):
        store.formula("reversl")


def test_what_no_expression_says_cannot_be_stored(store):
    with pytest.raises(ConfigError, match="must be an expression"):
        store.define(Factor("f", 1, lambda b: b["close"], ("close",)))
    twin = Factor("twinned", 3, lambda b: b["close"], ("close",), twin=parse("ts_mean(close, 3)"))
    assert store.define(twin).definition == "ts_mean(close, 3)"
    with pytest.raises(ConfigError, match="`log` must be followed"):
        store.define(Formula("named like an operator", Field("log")))
    assert "named like an operator" not in store.names()


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=20)


@settings(max_examples=25, deadline=None)
@given(names=st.lists(TEXT, min_size=1, max_size=3, unique=True), about=TEXT)
def test_formulas_survive_toml(names, about, tmp_path_factory):
    path = tmp_path_factory.mktemp("toml") / "factors.toml"
    formulas = tuple(Formula(name, REVERSAL.expr, about) for name in names)
    write_formulas(path, formulas)
    assert read_formulas(path) == formulas


@pytest.mark.parametrize(
    ("text", "fault"),
    [("", r"table \[factors\]"), ("[factors]\nx = 3", "a formula, or a table"), ("[factors]\nx = 'ref(close, -1)'", "future"),
     ("[factors]\nx = {formula = 'close', wrong = 1}", "a formula, or a table"), ("[factors", "readable TOML")],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_name(text, fault, tmp_path):
    path = tmp_path / "factors.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=fault) as error:
        read_formulas(path)
    assert "factors.toml" in str(error.value) or "'x'" in str(error.value)
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        read_formulas(tmp_path / "absent.toml")


# --- values ----------------------------------------------------------------------------------------------------------


def test_values_are_those_of_the_batch_and_are_written_once(store):
    panel = bars()
    first = store.materialise(ALL, panel)
    same(store, panel, rtol=0)
    written = len(store.history.log("factor_values"))
    assert written == sum(run.rows for run in first)
    again = store.materialise(ALL, panel)
    assert len(store.history.log("factor_values")) == written
    assert first[0].data == first[1].data == again[0].data != first[2].data
    assert store.stale("reversal", panel) == ""


@pytest.mark.parametrize("saved", [True, False])
def test_an_update_computes_the_new_bars_only_and_equals_the_batch(store, saved, monkeypatch):
    panel = bars()
    store = store if saved else replace(store, states=None)
    store.materialise(ALL, until(panel, 20))
    for stop in (21, 30, 40)[not saved :]:
        assert store.stale("smooth", until(panel, stop)) == "there are newer bars"
        if stop > 21:  # from here on no batch is computed any more
            monkeypatch.setattr("fiduciary.factors.store.tabulate", None)
        pushed = []
        if saved and stop > 21:
            monkeypatch.setattr("fiduciary.factors.store.Stream.replay", watched(pushed))
        runs = store.update(ALL, until(panel, stop))
        if saved and stop > 21:
            assert pushed == [{30: 9, 40: 10}[stop]]
        assert store.stale("smooth", until(panel, stop)) == ""
        assert all(run.rows <= 3 * 10 for run in runs)
        same(store, until(panel, stop))
    assert store.update(ALL, panel) == runs


def watched(pushed: list[int]):
    from fiduciary.factors import Stream

    replay = Stream.replay

    def record(stream, panel):
        pushed.append(len(panel.dates))
        return replay(stream, panel)

    return record


@pytest.mark.parametrize("value", [60.0, None])
def test_a_corrected_bar_is_noticed_and_the_old_values_are_kept(store, value):
    panel = bars()
    store.materialise(ALL, until(panel, 30))
    before = datetime.now(UTC)
    fixed = corrected(panel, 20, 0, value)
    assert store.stale("reversal", fixed) == "bars, or their symbols, have changed since it was computed"
    if value is not None:  # the volumes have not moved
        assert store.stale("ranked", fixed) == "there are newer bars"
    store.update(ALL, fixed)
    same(store, fixed)
    same(store, until(panel, 30), as_of=before)


def test_other_bars_take_no_value_away(store):
    """Of fewer symbols, from a later start, to an earlier end: what they do not hold, or no look-back reaches, stays."""
    panel = bars()
    store.materialise(ALL, panel)
    before = {name: len(store.values(name)) for name in ALL}
    late = replace(panel, dates=panel.dates[20:], values=panel.values[20:], mask=panel.mask[20:])
    for other in (panel.select(["a", "c"]), until(panel, 25), until(panel, 2)):
        store.update(ALL, other)
    assert {name: len(store.values(name)) for name in ALL} == before
    store.materialise(["reversal"], late.select(["a"]))
    assert len(store.values("reversal")) == before["reversal"]


def test_a_redefined_factor_is_stale_and_the_values_of_both_are_kept(store):
    panel = bars()
    assert store.stale("reversal", panel) == "never computed"
    store.materialise(["reversal"], panel)
    store.define(Formula("reversal", parse("delta(close, 5)")))
    assert store.stale("reversal", panel) == "redefined since it was computed"
    store.update(["reversal"], panel)
    old, new = store.values("reversal", version=1), store.values("reversal")
    assert len(old) > len(new) > 0


def test_no_value_is_known_before_it_was_computed_unless_a_delay_is_assumed(store):
    panel = bars()
    store.materialise(["reversal"], panel)
    assert len(store.values("reversal", as_of="2024-02-01")) == 0
    store.materialise(["ranked"], panel, delay=timedelta(hours=22))
    known = store.values("ranked", as_of="2024-01-20")
    assert known["event_time"].max() == datetime(2024, 1, 20, tzinfo=UTC)
    assert store.values("ranked", as_of=datetime(2024, 1, 20, 21, tzinfo=UTC))["event_time"].max().day == 19


def test_a_damaged_state_is_named_and_left_alone(store, tmp_path):
    panel = bars()
    store.materialise(ALL, until(panel, 20))
    store.update(ALL, until(panel, 25))
    (path,) = (tmp_path / "states").iterdir()
    path.write_bytes(b"broken")
    with pytest.raises(DataError, match=path.name):
        store.update(ALL, panel)
    assert path.read_bytes() == b"broken"
    path.unlink()
    store.update(ALL, panel)
    same(store, panel)


# --- lineage ---------------------------------------------------------------------------------------------------------


def test_lineage_says_where_a_factor_comes_from_and_where_it_goes(store):
    panel = bars()
    store.materialise(["reversal"], panel)
    store.use("reversal", "studies/reversal.toml")
    store.use("reversal", "studies/reversal.toml")
    store.use("reversal", "a policy")
    found = store.lineage("reversal")
    assert (found.fields, found.parents, found.children) == (("close",), (), ("smooth",))
    assert store.lineage("smooth").parents == ("reversal",)
    (run,) = found.runs
    assert (run.sha256, run.bars, run.rows) == (REVERSAL.expr.digest(), "made up", len(store.values("reversal")))
    assert (run.first, run.last) == (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 9, tzinfo=UTC))
    assert [who for who, _ in found.users] == ["studies/reversal.toml", "a policy"]
    store.define(Formula("reversal", parse("delta(close, 5)")))
    assert store.lineage("reversal").children == ()
    assert {sha256 for _, sha256 in store.used_by("reversal")} == {REVERSAL.expr.digest()}
