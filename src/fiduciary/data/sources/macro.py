"""Macro-economic series with their vintages, from FRED or a server that speaks its API, over plain HTTP.

With `vintages` every value comes with the day on which it was published (FRED's `realtime_start`, ALFRED's archive), so that
a revision is another row, known later. A day is all that the archive tells: a value counts as known from the midnight
(UTC) after it. What FRED writes as "." is no value and is left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from fiduciary.data.sources.cache import Licence, Request
from fiduciary.data.sources.fetch import TransientError
from fiduciary.data.sources.http import get_json
from fiduciary.data.sources.source import Offer, Source, secret
from fiduciary.data.tables import MACRO

if TYPE_CHECKING:
    import polars as pl

COLUMNS = {"event_time": "date", "known_time": "known", "series": "series", "value": "value", "unit": "units"}
FIRST, LAST = "1776-07-04", "9999-12-31"
"""FRED's words for "since ever" and "until now"."""


@dataclass(frozen=True)
class Fred(Source):
    """Series of FRED; `names` are its series ids.

    Attributes:
        base_url: of the API.
        token: API key; default: $FRED_API_KEY.
        vintages: ask for every vintage; False = the latest values only, which count as known when they are retrieved. FRED
            refuses more than 2,000 vintages at a time, which a daily series has after eight years.
        page: rows per answer.
        timeout: seconds of silence.
    """

    name: ClassVar[str] = "fred"
    rate: ClassVar[float] = 2.0
    licence: ClassVar[Licence] = Licence(
        "FRED API terms of use (fred.stlouisfed.org/docs/api/terms_of_use.html); series keep their owners' copyright"
    )

    offers: ClassVar[tuple[Offer, ...]] = (Offer(MACRO, COLUMNS, asked="series"),)

    base_url: str = "https://api.stlouisfed.org/fred"
    token: str = field(default="", repr=False)
    vintages: bool = True
    page: int = 100_000
    timeout: float = 30.0

    @property
    def place(self) -> str:
        """The server, and whether vintages are asked for."""
        return f"{self.base_url} {'all vintages' if self.vintages else 'latest vintage'}"

    def ask(self, request: Request) -> "pl.DataFrame":
        """All pages of one series."""
        import polars as pl

        rows = [
            {"date": row["date"], "known": row["realtime_start"], "value": row["value"], "units": units}
            for units, row in self._observations(request)
            if row["value"] != "."
        ]
        frame = pl.DataFrame(rows, schema=dict.fromkeys(("date", "known", "value", "units"), pl.String))
        released = pl.col("known").str.to_date(strict=False).dt.offset_by("1d") if self.vintages else pl.lit(None)
        return frame.with_columns(series=pl.lit(request.symbols[0]), known=released)

    def _observations(self, request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
        """(unit, row) of every page.

        Raises:
            TransientError: a page holds fewer rows than it promises, or is no page of observations.
        """
        parameters = {
            "series_id": request.symbols[0], "api_key": secret(self.token, "FRED_API_KEY", self.name), "file_type": "json",
            "observation_start": str(request.start or FIRST), "observation_end": str(request.stop or LAST),
            "limit": str(self.page),
        }  # fmt: skip
        if self.vintages:
            parameters |= {"realtime_start": FIRST, "realtime_end": LAST}
        offset, count = 0, 1
        while offset < count:
            url = f"{self.base_url}/series/observations"
            page = get_json(url, params={**parameters, "offset": str(offset)}, timeout=self.timeout)
            try:
                count, units, rows = int(page["count"]), str(page["units"]), list(page["observations"])
                yield from ((units, {key: row[key] for key in ("date", "realtime_start", "value")}) for row in rows)
            except (KeyError, TypeError, ValueError) as fault:
                raise TransientError(f"{self.name} must answer with observations", f"a page without {fault}") from None
            if len(rows) != min(self.page, count - offset):
                raise TransientError(
                    f"{request} must be whole", f"{len(rows)} of {min(self.page, count - offset)} rows",
                    cause="the answer was cut short",
                )  # fmt: skip
            offset += max(len(rows), 1)
