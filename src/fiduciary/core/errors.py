"""One exception tree. Every message says the rule, the fact, the likely cause and the remedy.

FiduciaryError
├── ConfigError      a study, an option or an argument cannot mean what it says
├── DataError        input data break a rule; nothing was computed from them
├── ContractError    an environment, policy, agent or factor breaks its law
├── RecordError      a run folder is corrupt, busy or belongs to another study
└── NumericsError    a tensor became infinite or NaN while learning
"""

from collections.abc import Iterable


class FiduciaryError(Exception):
    """Base of all errors that Fiduciary raises on purpose.

    Args:
        rule: what must hold.
        fact: what was found instead, with the place (file, key, symbol, date).
        cause: the likely reason, when one is known.
        remedy: what the reader can do about it.
    """

    def __init__(self, rule: str, fact: str, *, cause: str = "", remedy: str = "") -> None:
        self.rule, self.fact, self.cause, self.remedy = rule, fact, cause, remedy
        tail = "; ".join(part for part in (cause, remedy) if part)
        super().__init__(f"{rule}, got {fact}" + (f": {tail}" if tail else ""))

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions travel between worker processes; the default would replay only the message.
        return _rebuild, (type(self), self.rule, self.fact, self.cause, self.remedy)


def _rebuild(kind: type[FiduciaryError], rule: str, fact: str, cause: str, remedy: str) -> FiduciaryError:
    return kind(rule, fact, cause=cause, remedy=remedy)


class ConfigError(FiduciaryError):
    """A study, an option or an argument cannot mean what it says."""


class DataError(FiduciaryError):
    """Input data break a rule; nothing was computed from them."""


class ContractError(FiduciaryError):
    """An environment, policy, agent or factor breaks its law."""


class RecordError(FiduciaryError):
    """A run folder is corrupt, busy or belongs to another study."""


class NumericsError(FiduciaryError):
    """A tensor became infinite or NaN while learning."""


def nearest(name: str, names: Iterable[str]) -> str:
    """The one of `names` that `name` was probably meant to be, whatever its case, or ""."""
    import difflib

    folded = {other.lower(): other for other in names}
    found = difflib.get_close_matches(name.lower(), list(folded), n=1)
    return folded[found[0]] if found else ""
