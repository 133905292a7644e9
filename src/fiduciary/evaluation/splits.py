"""Which dates to learn on and which to be judged on."""

from itertools import pairwise

import numpy as np

from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Split
from fiduciary.data.panel import moment

_NOUNS = {"train": "training", "valid": "validation", "test": "test"}


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


def _days(name: str, bounds: tuple[str, str]) -> tuple[np.datetime64, np.datetime64]:
    if len(bounds) != 2:
        raise ConfigError(f"`{name}` must be two dates, first and last", repr(bounds))
    try:
        return moment(bounds[0])[0], moment(bounds[1])[1] - np.timedelta64(1, "D")
    except ConfigError as error:
        raise ConfigError(f"`{name}` must hold dates as YYYY, YYYY-MM or YYYY-MM-DD", error.fact) from None
