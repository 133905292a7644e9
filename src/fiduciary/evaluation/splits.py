"""Which dates to learn on and which to be judged on.

    dates           one split, by hand
    walk_forward    learn on the past, be judged on what follows, move on: the default for a claim
    kfold           each part of history is the test once; the rest, what comes later included, is learned on
    combinatorial   every choice of k parts out of N is the test once, and the tests add up to several paths

A split knows dates alone. Whatever is fitted to data (scalers, normalisations) is fitted by `Env.folds` on the training
dates of each split, so no split can borrow it from another.

Training dates may hold gaps, `Split.without`. No episode stands in a gap, so no reward of the test is ever learned; a window
may still look back over one, which shows bars of the test to the policy. An `embargo` of the window plus the longest
look-back of the factors keeps those away too.
"""

import re
from collections.abc import Sequence
from itertools import accumulate, combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Split
from fiduciary.data.panel import moment

Dates = NDArray[np.datetime64]
Days = tuple[np.datetime64, np.datetime64]
_NOUNS = {"train": "training", "valid": "validation", "test": "test"}
_DAY = np.timedelta64(1, "D")
_WEEK = np.timedelta64(7, "D")


def dates(*, train: tuple[str, str], test: tuple[str, str], valid: tuple[str, str] | None = None) -> Split:
    """One split by date; `"2010"` means the whole year, at either end.

    Raises:
        ConfigError: a bound is no date, a range runs backwards, or training, validation and test do not follow each other.
    """
    named = {"train": train, "valid": valid, "test": test}
    ranges = {name: _days(name, bounds) for name, bounds in named.items() if bounds is not None}
    for name, (first, last) in ranges.items():
        if first > last:
            raise ConfigError(f"`{name}` must run forwards", f"{first} to {last}", remedy="swap its two dates")
    for (before, (_, last)), (after, (first, _)) in pairwise(ranges.items()):
        if first <= last:
            was, then = _NOUNS[before], _NOUNS[after]
            raise ConfigError(
                f"the {then} must lie strictly after the {was}", f"{was} to {last}, {then} from {first}",
                cause="the policy would be judged on dates that it has learned", remedy="move one of the two",
            )  # fmt: skip
    iso = {name: (str(first), str(last)) for name, (first, last) in ranges.items()}
    return Split(iso["train"], iso["test"], iso.get("valid"))


class Size(NamedTuple):
    """A length of time: bars on top of days on top of months."""

    bars: int = 0
    months: int = 0
    days: int = 0

    def plus(self, other: "Size", times: int = 1) -> "Size":
        """This and `times` the other."""
        return Size(*(a + times * b for a, b in zip(self, other, strict=True)))


def walk_forward(
    calendar: Dates, *, train: int | str, test: int | str, valid: int | str = 0, expanding: bool = False,
    purge: int = 0, step: int | str | None = None,
) -> tuple[Split, ...]:  # fmt: skip
    """Splits that follow each other through time: training, then validation, then a test that nothing before it has seen.

    Sizes are bars (250) or calendar time ("3y", "6m", "90d"). Splits measured in months or years begin on the first of the
    calendar's first month. By default the tests follow each other without a gap, so together they are one long test. A test
    for which the calendar is too short is left out; one of months or years that lacks no more than its last week is kept.

    Args:
        calendar: [T] increasing dates of the bars, such as `panel.dates`.
        train: length of the training; with `expanding`, of the first one.
        test: length of each test.
        valid: length of the validation between the two; 0 = none.
        expanding: every training begins with the calendar; otherwise it keeps its length and moves on.
        purge: bars left out at the end of each training and each validation.
        step: from one test to the next; None = the length of a test.

    Raises:
        ConfigError: a size is not positive or cannot be read, tests would overlap, the calendar is too short for one split,
            or a part of a split holds no bar.
    """
    _demand_increasing(calendar)
    _demand_count("purge", purge)
    learn, judge = _size("train", train), _size("test", test)
    choose = _size("valid", valid) if valid != 0 else Size()
    stride = judge if step is None else _size("step", step)
    origin = calendar[0].astype("datetime64[D]")
    if any(size.months for size in (learn, choose, judge, stride)):
        origin = origin.astype("datetime64[M]").astype("datetime64[D]")
    splits: list[Split] = []
    while True:
        start = Size().plus(stride, times=len(splits))
        ends = list(accumulate((learn, choose, judge), Size.plus, initial=start))
        if _too_late(calendar, origin, ends[-1], judge):
            break
        a, b, c, d = (_place(calendar, origin, size) for size in ends)
        between = None if choose == Size() else (b, c - purge)
        splits.append(_split(calendar, (0 if expanding else a, b - purge), between, (c, d)))
    _demand_apart(splits, f"{_words(calendar)} for {train}, {valid} and {test}")
    return tuple(splits)


def kfold(calendar: Dates, folds: int, *, purge: int = 0, embargo: int = 0) -> tuple[Split, ...]:
    """Each of `folds` equal parts of history is the test once; the rest is learned on, but for the bars around the test.

    The training holds what came after the test too: a policy learns regimes that nobody could have known. It shows how
    results depend on the period; a claim rests on `walk_forward`. Source: Lopez de Prado (2018), Advances in Financial
    Machine Learning, section 7.4.

    Args:
        calendar: [T] increasing dates of the bars.
        folds: how many parts; the first T mod `folds` of them are a bar longer.
        purge: bars left out of the training before each test.
        embargo: bars left out of the training after each test.

    Raises:
        ConfigError: fewer than two folds, a negative number of bars, or a split whose test or training is empty.
    """
    return combinatorial(calendar, folds, 1, purge=purge, embargo=embargo)


def combinatorial(calendar: Dates, groups: int, tests: int, *, purge: int = 0, embargo: int = 0) -> tuple[Split, ...]:
    """Combinatorial purged cross-validation: every choice of `tests` out of `groups` equal parts of history is tested once.

    C(N, k) choices give k splits each, one for each part that is tested, all with the training of their choice. Each part is
    tested C(N, k) k / N times, once on each of as many paths: the splits of one `Split.path` tile history exactly once. As
    in `kfold`, the training holds what came after a test. Source: Lopez de Prado (2018), Advances in Financial Machine
    Learning, section 12.4.

    Args:
        calendar: [T] increasing dates of the bars.
        groups: N; the first T mod N of them are a bar longer.
        tests: k < N.
        purge: bars left out of the training before each test.
        embargo: bars left out of the training after each test.

    Raises:
        ConfigError: numbers that cannot mean what they say, or a split whose test or training is empty.
    """
    _demand_increasing(calendar)
    for name, count in (("purge", purge), ("embargo", embargo)):
        _demand_count(name, count)
    if not 0 < tests < groups <= len(calendar):
        raise ConfigError(
            "there must be parts to test and others to learn from, each of a bar or more",
            f"{tests} tested out of {groups}, over {len(calendar)} bars",
        )
    edges = [0, *np.cumsum([len(part) for part in np.array_split(calendar, groups)]).tolist()]
    splits, tested = [], [0] * groups
    for chosen in combinations(range(groups), tests):
        train, without = _around(calendar, [(edges[g], edges[g + 1]) for g in chosen], purge, embargo)
        for g in chosen:
            test = _between(calendar, edges[g], edges[g + 1])
            splits.append(Split(train, test, without=without, path=tested[g]))
            tested[g] += 1
    return tuple(splits)


def overlaps(split: Split) -> list[str]:
    """Dates that training (but for its gaps), validation and test share, in sentences; none = a clean split."""
    train = [_days("train", split.train)]
    for hole in split.without:
        first, last = _days("without", hole)
        train = [
            part
            for a, b in train
            for part in ((a, min(b, first - _DAY)), (max(a, last + _DAY), b))
            if part[0] <= part[1]
        ]
    parts = {"training": train, "test": [_days("test", split.test)]}
    if split.valid is not None:
        parts["validation"] = [_days("valid", split.valid)]
    return [
        f"{one.capitalize()} and {other} share {max(a, c)} to {min(b, d)}."
        for one, other in combinations(parts, 2)
        for a, b in parts[one] for c, d in parts[other] if max(a, c) <= min(b, d)
    ]  # fmt: skip


def _around(
    calendar: Dates, tests: Sequence[tuple[int, int]], purge: int, embargo: int
) -> tuple[tuple[str, str], tuple[tuple[str, str], ...]]:
    """Training dates and their gaps around `tests` [first, stop), in order."""
    starts = [0, *(stop + embargo for _, stop in tests)]
    stops = [*(first - purge for first, _ in tests), len(calendar)]
    kept = [(start, stop) for start, stop in zip(starts, stops, strict=True) if start < stop]
    if not kept:
        raise ConfigError(
            "some bars must be left to learn from", f"none beside the tests of {_words(calendar)}",
            cause=f"`purge` {purge} and `embargo` {embargo} take the rest", remedy="make fewer groups or load more history",
        )  # fmt: skip
    gaps = tuple(_between(calendar, stop, start) for (_, stop), (start, _) in pairwise(kept))
    return _between(calendar, kept[0][0], kept[-1][1]), gaps


def _split(calendar: Dates, train: tuple[int, int], valid: tuple[int, int] | None, test: tuple[int, int]) -> Split:
    """The split of bars [first, stop)."""
    for name, bars in (("train", train), ("valid", valid), ("test", test)):
        if bars is not None and (held := max(0, bars[1] - bars[0])) < 2:
            raise ConfigError(
                f"the {_NOUNS[name]} must hold two bars or more", f"{held} from {calendar[min(bars[0], len(calendar) - 1)]} on",
                cause="`purge` is as long, or the calendar has a gap", remedy=f"lengthen `{name}` or purge less",
            )  # fmt: skip
    return Split(_between(calendar, *train), _between(calendar, *test), valid and _between(calendar, *valid))


def _demand_apart(splits: Sequence[Split], asked: str) -> None:
    """Demand at least one split and no two tests that overlap."""
    if not splits:
        raise ConfigError(
            "the calendar must hold one training, validation and test", asked,
            remedy="load more history or shorten the split",
        )  # fmt: skip
    for one, other in pairwise(splits):
        if one.test[1] >= other.test[0]:
            raise ConfigError(
                "tests must not overlap", f"{one.test} and {other.test}",
                cause="`step` is shorter than `test`", remedy="leave `step` out",
            )  # fmt: skip


def _place(calendar: Dates, origin: np.datetime64, size: Size) -> int:
    """How many bars lie before `origin` plus `size`."""
    return int(np.searchsorted(calendar, _later(origin, size))) + size.bars


def _too_late(calendar: Dates, origin: np.datetime64, end: Size, test: Size) -> bool:
    """Whether a test that ends there has not come to its end within the calendar."""
    slack = _WEEK if test.months else 0 * _DAY
    return bool(_place(calendar, origin, end) > len(calendar) or _later(origin, end) > calendar[-1] + _DAY + slack)


def _between(calendar: Dates, first: int, stop: int) -> tuple[str, str]:
    return str(calendar[first].astype("datetime64[D]")), str(calendar[stop - 1].astype("datetime64[D]"))


def _size(name: str, size: int | str) -> Size:
    """Read a length of time."""
    found = re.fullmatch(r"(\d+)([ymd])", size) if isinstance(size, str) else None
    count = size if isinstance(size, int) else int(found[1]) if found else 0
    if count <= 0:
        raise ConfigError(
            f"`{name}` must be a positive number of bars, or years, months or days",
            repr(size), remedy='write 250, "3y", "6m" or "90d"',
        )  # fmt: skip
    if found is None:
        return Size(bars=count)
    return Size(days=count) if found[2] == "d" else Size(months=count * {"y": 12, "m": 1}[found[2]])


def _later(day: np.datetime64, size: Size) -> np.datetime64:
    """`day` plus months, then days; a day that a month lacks becomes its last one."""
    month = day.astype("datetime64[M]")
    first, following = ((month + size.months + k).astype("datetime64[D]") for k in (0, 1))
    same: np.datetime64 = min(first + (day - month.astype("datetime64[D]")), following - _DAY)
    return same + np.timedelta64(size.days, "D")


def _demand_increasing(calendar: Dates) -> None:
    if len(calendar) < 2 or not (np.diff(calendar) > np.timedelta64(0, "D")).all():
        raise ConfigError(
            "`calendar` must hold two increasing dates or more", _words(calendar), remedy="pass `panel.dates`"
        )


def _demand_count(name: str, count: int) -> None:
    if count < 0:
        raise ConfigError(f"`{name}` must be a number of bars, not negative", str(count))


def _words(calendar: Dates) -> str:
    return f"{len(calendar)} dates" + (f" from {calendar[0]} to {calendar[-1]}" if len(calendar) else "")


def _days(name: str, bounds: tuple[str, str]) -> Days:
    if len(bounds) != 2:
        raise ConfigError(f"`{name}` must be two dates, first and last", repr(bounds))
    try:
        return moment(bounds[0])[0], moment(bounds[1])[1] - np.timedelta64(1, "D")
    except ConfigError as error:
        raise ConfigError(f"`{name}` must hold dates as YYYY, YYYY-MM or YYYY-MM-DD", error.fact) from None
