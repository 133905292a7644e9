"""Sources whose columns their user declares: what they share."""

from abc import ABC
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar
from zoneinfo import available_timezones

from fiduciary.core.errors import ConfigError, DataError, nearest
from fiduciary.data.panel import position
from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.clients import LENGTHS
from fiduciary.data.sources.source import CALENDAR, Offer, Source
from fiduciary.data.tables import TABLES, Table, bars

if TYPE_CHECKING:
    import polars as pl


EVERY = {**TABLES, "calendar": CALENDAR, **{f"bars_{every}": bars(every) for every in LENGTHS}}


@dataclass(frozen=True, kw_only=True)
class Mapped(Source, ABC):
    """A file, an archive or a database that may hold any table.

    Attributes:
        columns: {our column: theirs} where they differ; `event_time` is their `date` unless said otherwise. `known_time` is
            read only where it is mapped. An optional column that they do not have is null.
        adjustment: what was done to the prices, in words.
        zone: time zone of times of day that they write without one.
        terms: of the data, in words.

    Raises:
        ConfigError: there is no such time zone.
    """

    remote: ClassVar[bool] = False

    columns: Mapping[str, str] = field(default_factory=dict)
    adjustment: str = "as traded"
    zone: str = "UTC"
    terms: str = "as the owner of the data says"

    def __post_init__(self) -> None:
        if self.zone != "UTC" and self.zone not in available_timezones():
            near = nearest(self.zone, available_timezones())
            remedy = f"did you mean {near!r}?" if near else "a name such as Europe/London"
            raise ConfigError("`zone` must be a time zone of the IANA database", repr(self.zone), remedy=remedy)

    @property
    def licence(self) -> Licence:
        """The owner's terms."""
        return Licence(self.terms)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Every table: what is there is for the plan to say. `ask` gives our columns, renamed already."""
        return tuple(
            Offer(
                table, {name: name for name in self._theirs(table)}, whole=True, zone=self.zone,
                asked="" if name == "news" else table.keys[0],
            )
            for name, table in EVERY.items()
        )  # fmt: skip

    def demand_mapping(self, table: str) -> Offer:
        """The offer of `table`.

        Raises:
            ConfigError: there is no such table, or `columns` names one that it does not have; the nearest is named.
        """
        offer = self.offer(table)
        for name in self.columns:
            position(name, ["known_time", *offer.columns], f"column of {table}")
        return offer

    def ours(self, frame: "pl.DataFrame", request: Request, place: str, own: str = "") -> "pl.DataFrame":
        """Their rows under our names, those of the request's symbols.

        Args:
            frame: their rows.
            request: the question.
            place: where the rows are, for errors.
            own: the symbol that all rows are of where no column says so, "" = a column must.

        Raises:
            DataError: a column is missing; the nearest is named.
        """
        import polars as pl

        offer, found = self.offer(request.table), []
        optional = {column.name for column in offer.table.columns if column.optional} - set(self.columns)
        for ours, theirs in self._theirs(offer.table).items():
            if theirs in frame.columns:
                found.append(pl.col(theirs).alias(ours))
            elif ours == offer.asked and own:
                found.append(pl.lit(own).alias(ours))
            elif ours in optional:
                found.append(pl.lit(None).alias(ours))
            else:
                near = nearest(theirs, frame.columns)
                raise DataError(
                    f"{place} must have a column {theirs!r}", f"columns {', '.join(frame.columns)}",
                    remedy=f'map it with columns = {{{ours} = "{near or "their name"}"}}',
                )  # fmt: skip
        rows = frame.select(found)
        return rows.filter(pl.col(offer.asked).is_in(request.symbols)) if offer.asked and request.symbols else rows

    def _theirs(self, table: Table) -> dict[str, str]:
        """{our column: theirs}."""
        release = ["known_time"] if "known_time" in self.columns else []
        names = ["event_time", *release, *(column.name for column in table.columns)]
        return {name: self.columns.get(name, "date" if name == "event_time" else name) for name in names}
