"""Splits: laws by property, an independent library, and examples by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Split
from fiduciary.evaluation import splits

DAILY = np.arange("2001-01-01", "2011-01-01", dtype="datetime64[D]")
TRADING = DAILY[np.is_busday(DAILY)]


def _calendar(bars, seed):
    """Random dates with gaps of up to a week."""
    return np.datetime64("2001-01-01") + np.cumsum(np.random.default_rng(seed).integers(1, 8, bars))


def _bars(calendar, bounds):
    """Places of `calendar` within two dates."""
    return np.flatnonzero((calendar >= np.datetime64(bounds[0])) & (calendar <= np.datetime64(bounds[1])))


def _trained(calendar, split):
    """Places of the training, without its gaps."""
    gaps = [_bars(calendar, gap) for gap in split.without]
    return np.setdiff1d(_bars(calendar, split.train), np.concatenate(gaps) if gaps else [])


# --- by date ---------------------------------------------------------------------------------------------------------


def test_whole_years_and_months_at_both_ends():
    got = splits.dates(train=("2005", "2009-02"), test=("2009-03-01", "2011"))
    assert got.train == ("2005-01-01", "2009-02-28")
    assert got.test == ("2009-03-01", "2011-12-31")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (("2005", "2010"), ("2010-06", "2011"), "strictly after the training"),
        (("2010", "2005"), ("2011", "2012"), "`train` must run forwards"),
        (("2005", "soon"), ("2011", "2012"), "`train` must hold dates"),
        (("2005",), ("2011", "2012"), "must be two dates"),
    ],
)
def test_wrong_splits_are_refused(train, test, message):
    with pytest.raises(ConfigError, match=message):
        splits.dates(train=train, test=test)


# --- walking forward -------------------------------------------------------------------------------------------------

# Of a sparse calendar and its purge a month may leave a single bar, which is refused.
amounts = st.integers(5, 60) | st.sampled_from(["2m", "1y", "45d"])


@settings(max_examples=60)
@given(amounts, amounts, st.just(0) | amounts, st.booleans(), st.integers(0, 3), st.integers(0, 9))
def test_parts_follow_each_other_and_tests_tile_the_calendar(train, test, valid, expanding, purge, seed):  # noqa: PLR0917
    calendar = _calendar(900, seed)
    got = splits.walk_forward(calendar, train=train, test=test, valid=valid, expanding=expanding, purge=purge)
    for split in got:
        order = [bars for bars in (split.train, split.valid, split.test) if bars is not None]
        assert len(order) == 2 + (valid != 0) and all(first <= last for first, last in order)
        for before, after in pairwise(order):
            # Exactly the purged bars lie between two parts.
            assert _bars(calendar, after)[0] - _bars(calendar, before)[-1] == purge + 1
        assert splits.overlaps(split) == [] and split.without == () and split.path == 0
    tested = np.concatenate([_bars(calendar, split.test) for split in got])
    assert np.array_equal(tested, np.arange(tested[0], tested[-1] + 1))
    firsts = [_bars(calendar, split.train)[0] for split in got]
    assert firsts == [0] * len(got) if expanding else all(a < b for a, b in pairwise(firsts))


@pytest.mark.parametrize("expanding", [False, True])
@given(st.integers(4, 60), st.integers(2, 40), st.integers(0, 3), st.integers(70, 300))
@settings(max_examples=40)
def test_bars_walk_as_in_an_independent_library(expanding, train, test, purge, bars):
    skfolio = pytest.importorskip("skfolio.model_selection")
    other = skfolio.WalkForward(train_size=train, test_size=test, expand_train=expanding, purged_size=purge)
    calendar = _calendar(bars, 0)
    if train + purge + test > bars:
        return
    got = splits.walk_forward(calendar, train=train + purge, test=test, expanding=expanding, purge=purge)
    theirs = list(other.split(np.zeros((bars, 1))))
    assert len(got) == len(theirs)
    for split, (learnt, tested) in zip(got, theirs, strict=True):
        assert np.array_equal(_bars(calendar, split.train), learnt)
        assert np.array_equal(_bars(calendar, split.test), tested)


def test_calendar_walks_as_in_an_independent_library():
    skfolio, pd = pytest.importorskip("skfolio.model_selection"), pytest.importorskip("pandas")
    frame = pd.DataFrame(np.zeros(len(TRADING)), index=pd.DatetimeIndex(TRADING))
    theirs = list(skfolio.WalkForward(train_size=12, test_size=3, freq="MS").split(frame))
    got = splits.walk_forward(TRADING, train="12m", test="3m")
    # Their walk ends with the last period whose end has a bar; ours knows that December is over.
    assert len(got) - len(theirs) in {0, 1} and len(theirs) > 30
    for split, (learnt, tested) in zip(got, theirs, strict=False):
        assert np.array_equal(_bars(TRADING, split.train), learnt)
        assert np.array_equal(_bars(TRADING, split.test), tested)


def test_years_by_hand():
    got = splits.walk_forward(TRADING, train="3y", valid="6m", test="1y", purge=1)
    assert [split.test for split in got[:2]] == [("2004-07-01", "2005-06-30"), ("2005-07-01", "2006-06-30")]
    assert got[0].train == ("2001-01-01", "2003-12-30") and got[0].valid == ("2004-01-01", "2004-06-29")
    assert got[-1].test == ("2009-07-01", "2010-06-30")


def test_the_last_test_may_lack_days_but_not_weeks():
    # The year 2010 ends on a Friday: nothing is missing; without its last week it still counts, without two it does not.
    for missing, whole in ((0, True), (5, True), (10, False)):
        calendar = TRADING[: len(TRADING) - missing]
        assert (splits.walk_forward(calendar, train="5y", test="1y")[-1].test[0] == "2010-01-01") is whole
    assert len(splits.walk_forward(TRADING[:19], train=10, test=5)) == 1


def test_the_last_day_of_a_long_month_is_the_last_of_a_short_one():
    assert str(splits._later(np.datetime64("2004-01-31"), splits.Size(months=1))) == "2004-02-29"
    assert str(splits._later(np.datetime64("2004-01-31"), splits.Size(months=2, days=1))) == "2004-04-01"


def test_steps_may_leave_gaps_but_not_overlap():
    got = splits.walk_forward(DAILY[:100], train=20, test=10, step="30d")
    assert [split.test[0] for split in got] == ["2001-01-21", "2001-02-20", "2001-03-22"]
    with pytest.raises(ConfigError, match="`step` is shorter than `test`"):
        splits.walk_forward(DAILY, train=20, test=10, step=9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": 0}, "`train` must be a positive number of bars"),
        ({"test": "0y"}, "`test` must be a positive number"),
        ({"valid": "6w"}, "`valid` must be a positive number"),
        ({"valid": -1}, "`valid` must be a positive number"),
        ({"step": 0}, "`step` must be a positive number"),
        ({"purge": -1}, "`purge` must be a number of bars, not negative"),
        ({"purge": 20}, "the training must hold two bars or more"),
        ({"valid": 5, "purge": 5}, "the validation must hold two bars or more"),
        ({"train": "9y", "test": "2y"}, r"one training, validation and test, got 3652 dates .* load more history"),
    ],
)
def test_walks_that_cannot_be_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        splits.walk_forward(DAILY, **({"train": 20, "test": 10} | change))


# --- k-fold and combinatorial ----------------------------------------------------------------------------------------

counts = st.tuples(st.integers(2, 7), st.integers(1, 3)).filter(lambda pair: pair[1] < pair[0])


@settings(max_examples=60)
@given(counts, st.integers(0, 8), st.integers(0, 8), st.integers(0, 9))
def test_paths_tile_history_and_training_keeps_its_distance(count, purge, embargo, seed):
    groups, tests = count
    calendar = _calendar(210, seed)
    got = splits.combinatorial(calendar, groups, tests, purge=purge, embargo=embargo)
    choices = math.comb(groups, tests)
    assert len(got) == choices * tests
    paths = {split.path for split in got}
    assert paths == set(range(choices * tests // groups))
    for path in paths:
        tested = np.concatenate([_bars(calendar, split.test) for split in got if split.path == path])
        assert np.array_equal(np.sort(tested), np.arange(len(calendar)))
    for first in range(0, len(got), tests):
        together = got[first : first + tests]
        assert len({(split.train, split.without) for split in together}) == 1
        near = np.concatenate(
            [
                np.arange(bars[0] - purge, bars[-1] + embargo + 1)
                for bars in (_bars(calendar, split.test) for split in together)
            ]
        )
        assert np.array_equal(_trained(calendar, together[0]), np.setdiff1d(np.arange(len(calendar)), near))
        assert all(splits.overlaps(split) == [] for split in together)
        assert all(split.train[0] < gap[0] <= gap[1] < split.train[1] for split in together for gap in split.without)


@settings(max_examples=40)
@given(st.integers(3, 7), st.integers(2, 3), st.integers(0, 4), st.integers(0, 4))
def test_combinations_as_in_an_independent_library(groups, tests, purge, embargo):
    skfolio = pytest.importorskip("skfolio.model_selection")
    if tests >= groups:
        return
    bars = groups * 20
    calendar = _calendar(bars, 1)
    # Its embargo comes on top of a purge after the test; ours is the whole distance after it.
    other = skfolio.CombinatorialPurgedCV(groups, tests, purged_size=purge, embargo_size=embargo)
    got = splits.combinatorial(calendar, groups, tests, purge=purge, embargo=purge + embargo)
    flat = [
        (learnt, tested, path)
        for (learnt, parts), paths in zip(other.split(np.zeros((bars, 1))), other.get_path_ids(), strict=True)
        for tested, path in zip(parts, paths, strict=True)
    ]
    for split, (learnt, tested, path) in zip(got, flat, strict=True):
        assert np.array_equal(_trained(calendar, split), learnt)
        assert np.array_equal(_bars(calendar, split.test), tested)
        assert split.path == path


def test_folds_by_hand():
    got = splits.kfold(DAILY[:11], 3, purge=1, embargo=2)
    assert [split.test for split in got] == [
        ("2001-01-01", "2001-01-04"), ("2001-01-05", "2001-01-08"), ("2001-01-09", "2001-01-11")
    ]  # fmt: skip
    assert got[0].train == ("2001-01-07", "2001-01-11") and got[0].without == ()
    assert got[1].train == ("2001-01-01", "2001-01-11") and got[1].without == (("2001-01-04", "2001-01-10"),)
    assert got[2].train == ("2001-01-01", "2001-01-07") and {split.path for split in got} == {0}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: splits.kfold(DAILY, 1), "parts to test and others to learn from"),
        (lambda: splits.kfold(DAILY[:5], 6), "6, over 5 bars"),
        (lambda: splits.combinatorial(DAILY, 4, 4), "4 tested out of 4"),
        (lambda: splits.kfold(DAILY, 4, embargo=-1), "`embargo` must be a number of bars"),
        (lambda: splits.kfold(DAILY[:20], 2, purge=9, embargo=10), "some bars must be left to learn from"),
        (lambda: splits.kfold(DAILY[::-1], 4), "`calendar` must hold two increasing dates"),
    ],
)
def test_parts_that_cannot_be_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


# --- overlaps --------------------------------------------------------------------------------------------------------


def test_overlaps_are_named():
    dirty = Split(("2001", "2003"), ("2003-06", "2004"), valid=("2003-12-30", "2003-12-31"))
    assert splits.overlaps(dirty) == [
        "Training and test share 2003-06-01 to 2003-12-31.",
        "Training and validation share 2003-12-30 to 2003-12-31.",
        "Test and validation share 2003-12-30 to 2003-12-31.",
    ]


def test_gaps_in_the_training_overlap_nothing_but_what_they_miss():
    split = Split(
        ("2001", "2005"), ("2002", "2003"), without=(("2002", "2002-12-30"), ("2003-01-02", "2003"), ("1999", "2000"))
    )
    assert splits.overlaps(split) == ["Training and test share 2002-12-31 to 2003-01-01."]
    assert splits.overlaps(split._replace(without=(("2000", "2004"),))) == []
