"""Which dates to learn on and which to be judged on."""

import numpy as np

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Split
from fiduciary.data.panel import moment


def dates(*, train: tuple[str, str], test: tuple[str, str]) -> Split:
    """One split by date; `"2010"` means the whole year, at either end.

    Raises:
        ConfigError: a bound is no date, a range runs backwards, or the test does not lie strictly after the training.
    """
    (train_first, train_last), (test_first, test_last) = _days("train", train), _days("test", test)
    for name, first, last in (("train", train_first, train_last), ("test", test_first, test_last)):
        if first > last:
            raise ConfigError(f"`{name}` must run forwards", f"{first} to {last}", remedy="swap its two dates")
    if test_first <= train_last:
        raise ConfigError(
            "the test must lie strictly after the training", f"training to {train_last}, test from {test_first}",
            cause="the policy would be judged on dates that it has learned", remedy="move one of the two",
        )  # fmt: skip
    return Split((str(train_first), str(train_last)), (str(test_first), str(test_last)))


def _days(name: str, bounds: tuple[str, str]) -> tuple[np.datetime64, np.datetime64]:
    if len(bounds) != 2:
        raise ConfigError(f"`{name}` must be two dates, first and last", repr(bounds))
    try:
        return moment(bounds[0])[0], moment(bounds[1])[1] - np.timedelta64(1, "D")
    except ConfigError as error:
        raise ConfigError(f"`{name}` must hold dates as YYYY, YYYY-MM or YYYY-MM-DD", error.fact) from None
