"""A study's view of a store: bars as known at a time, adjusted, of a universe as it was."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fiduciary.core.errors import ConfigError
from fiduciary.data import validation
from fiduciary.data.panel import Panel
from fiduciary.data.quality import long_form
from fiduciary.data.reference import Policy, Reference, adjust


@dataclass(frozen=True)
class Stored:
    """Which bars of a store, as known when.

    Attributes:
        table: of bars.
        as_of: only what was known then, such as "2024-03-01" (its end); "" = all that is known now.
        adjust: "as traded", "splits" or "total return", by the `corporate_actions` of the store known at the same time.
        universe: name of a universe of the store's `membership`; "" = every symbol.
        on: the day whose members are meant. Choose the first day of training: members of a later day have survived until then.

    Raises:
        ConfigError: at construction, if one of `universe` and `on` is given without the other.
    """

    table: str = "bars_1d"
    as_of: str = ""
    adjust: Policy = "as traded"
    universe: str = ""
    on: str = ""

    def __post_init__(self) -> None:
        if bool(self.universe) != bool(self.on):
            raise ConfigError(
                "`universe` and `on` of a store must come together", f"{self.universe!r} on {self.on!r}",
                remedy='say whose members are meant, and of which day: on = "2010-01-04"',
            )  # fmt: skip

    def panel(self, url: str, *, symbols: Sequence[str] | None, fields: Sequence[str] | None, currency: str) -> Panel:
        """Read the store at `url`.

        Raises:
            ConfigError: no such table, symbol, field or universe; both symbols and a universe.
            DataError: the store is damaged.
        """
        from fiduciary.data.history import History
        from fiduciary.data.history.files import ends

        history, as_of = History(url), ends(self.as_of)[1] if self.as_of else None
        reference = Reference(history)
        if self.universe:
            if symbols:
                raise ConfigError("data must name symbols or a universe", "both", remedy="leave one out")
            symbols = reference.universe(self.universe, on=ends(self.on)[0].date(), as_of=as_of)
        panel = history.panel(self.table, as_of=as_of, symbols=symbols, fields=fields, currency=currency)
        if self.adjust != "as traded":
            panel = adjust(panel, reference.actions(panel.symbols, as_of=as_of), policy=self.adjust)
        return replace(panel, faults=tuple(validation.check(long_form(panel), validation.WARNINGS)))


def is_store(source: str) -> bool:
    """Whether a source is the URL of an object store or a folder with tables of a `History`."""
    return "://" in source or any(Path(source).glob("*/_delta_log"))
