"""The statements of the real-time store, in the SQL that both back ends speak.

A version of a row says the same as another under the same keys when all its columns but `known_time` and `source` agree.
Times are stored as whole microseconds since 1970, UTC. Names of our own hold a dot, which no name of a table or column may.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from fiduciary.core.errors import ConfigError
from fiduciary.data.tables import Kind, Table

ROW, ROUND = '"store.row"', '"store.round"'
LONGEST_NAME = 50
"""PostgreSQL cuts names at 63 bytes without a word; ours add a little to a table's."""
DAY_US = 86_400_000_000

STORE = (
    'CREATE TABLE IF NOT EXISTS "store.format" ("version" {int} NOT NULL)',
    'CREATE TABLE IF NOT EXISTS "store.tables" ("name" {text} PRIMARY KEY, "schema" {text} NOT NULL)',
    'CREATE TABLE IF NOT EXISTS "store.refused" ("sha256" {text} PRIMARY KEY, "name" {text} NOT NULL, '
    '"received" {time} NOT NULL, "source" {text} NOT NULL, "reason" {text} NOT NULL, "row" {text} NOT NULL)',
    'CREATE TABLE IF NOT EXISTS "store.moved" ("name" {text} NOT NULL, "day" {time} NOT NULL, "generation" {int} NOT NULL, '
    '"last_row" {int} NOT NULL, "rows" {int} NOT NULL, "sha256" {text} NOT NULL, "done" {int} NOT NULL, '
    'PRIMARY KEY ("name", "day", "generation"))',
)


@dataclass(frozen=True)
class Dialect:
    """Where the two back ends differ.

    Attributes:
        mark: the placeholder of a value.
        same: equality that holds between two nulls.
        number: type of the column that numbers rows as they arrive; numbers grow and are never given twice.
        types: of each kind of column. Text compares by bytes.
        after: what follows a table's columns in `CREATE TABLE`.
    """

    mark: str
    same: str
    number: str
    types: Mapping[str, str]
    after: str = ""

    def store(self) -> list[str]:
        """Statements that make an empty store, unless another connection just has."""
        return [statement.format_map(self.types) + self.after for statement in STORE]


def kinds(table: Table) -> dict[str, Kind]:
    """Columns of a stored row, in order."""
    own: dict[str, Kind] = {column.name: column.kind for column in table.columns}
    return {"event_time": "time", **own, "known_time": "time", "source": "text"}


@dataclass(frozen=True)
class Layout:
    """One table's statements.

    Raises:
        ConfigError: a name is longer than `LONGEST_NAME`.
    """

    table: Table
    dialect: Dialect

    def __post_init__(self) -> None:
        for name in (self.table.name, *kinds(self.table)):
            if len(name) > LONGEST_NAME:
                raise ConfigError(f"names in a real-time store must have at most {LONGEST_NAME} letters", repr(name))

    @property
    def name(self) -> str:
        """The table, quoted."""
        return f'"{self.table.name}"'

    @property
    def stage(self) -> str:
        """The temporary table that rows pass on their way in, quoted."""
        return f'"stage.{self.table.name}"'

    @property
    def keys(self) -> tuple[str, ...]:
        """What a row is about."""
        return ("event_time", *self.table.keys)

    @cached_property
    def columns(self) -> str:
        """Of a row, quoted, in order."""
        return listed(kinds(self.table))

    @cached_property
    def create(self) -> str:
        """The table, empty."""
        unique = f"UNIQUE ({listed([*self.keys, 'known_time'])})"
        return f"CREATE TABLE {self.name} ({ROW} {self.dialect.number}, {self._typed}, {unique}){self.dialect.after}"

    @cached_property
    def create_stage(self) -> str:
        """The stage, if this connection has none yet."""
        return f"CREATE TEMP TABLE IF NOT EXISTS {self.stage} ({self._typed}, {ROUND} {self.dialect.types['int']})"

    @cached_property
    def settle(self) -> str:
        """Staged rows that state their `known_time` -> the table, but for those under a taken key and `known_time`."""
        taken = f"SELECT 1 FROM {self.name} AS t WHERE {self._about('t', 's')} AND t.known_time = s.known_time"
        return (
            f"INSERT INTO {self.name} ({self.columns}) SELECT {self.columns} FROM {self.stage} AS s "
            f"WHERE NOT EXISTS ({taken}) ORDER BY {ROUND}, {listed(self.keys)}"
        )

    @cached_property
    def settle_stamped(self) -> str:
        """Staged rows of one round -> the table, but for those that say what is known already, or under a taken key.

        Of a day that has moved, the table no longer has all that is known: there the history tells repeats.
        """
        moved = (
            f'SELECT 1 FROM "store.moved" AS m WHERE m."name" = \'{self.table.name}\' AND m."done" = 1 '
            f'AND m."day" <= s.event_time AND s.event_time < m."day" + {DAY_US}'
        )
        skip = f"prior.known_time = s.known_time OR ({self._repeats} AND NOT EXISTS ({moved}))"
        return (
            f"INSERT INTO {self.name} ({self.columns}) SELECT {self.columns} FROM {self.stage} AS s "
            f"WHERE s.{ROUND} = {self.dialect.mark} AND NOT EXISTS (SELECT 1 FROM {self._prior} WHERE {skip}) "
            f"ORDER BY {listed(self.keys)}"
        )

    @cached_property
    def restamp(self) -> str:
        """Staged rows that claim the `known_time` of a version which they correct: known from now on, in a round after all."""
        mark, clash = self.dialect.mark, f"prior.known_time = s.known_time AND NOT ({self._repeats})"
        later = f"CASE WHEN known_time > {mark} THEN known_time ELSE {mark} END + 1 + {ROUND}"
        return (
            f"UPDATE {self.stage} AS s SET known_time = {later}, {ROUND} = {ROUND} + {mark} "
            f"WHERE EXISTS (SELECT 1 FROM {self._prior} WHERE {clash})"
        )

    def widen(self, known: int) -> list[str]:
        """Add the table's own columns but for the first so many; the stage is to be made anew."""
        new = [
            f'ALTER TABLE {self.name} ADD COLUMN "{column.name}" {self.dialect.types[column.kind]}'
            for column in self.table.columns[known:]
        ]
        return [f"DROP TABLE IF EXISTS {self.stage}", *new]

    def latest(self, tests: Sequence[str]) -> str:
        """Of every key the last version with `known_time` <= the first value, if it passes the tests of `r`; sorted."""
        mark = self.dialect.mark
        newer = f"{self._about('later', 'r')} AND later.known_time > r.known_time AND later.known_time <= {mark}"
        return (
            f"SELECT {self.columns} FROM {self.name} AS r WHERE {' AND '.join([f'r.known_time <= {mark}', *tests])} "
            f"AND NOT EXISTS (SELECT 1 FROM {self.name} AS later WHERE {newer}) ORDER BY {listed(self.keys)}"
        )

    def versions(self, tests: Sequence[str]) -> str:
        """Every version that passes the tests of `r`, with its row number first; sorted."""
        where = " AND ".join(["TRUE", *tests])
        return (
            f"SELECT {ROW}, {self.columns} FROM {self.name} AS r WHERE {where} "
            f"ORDER BY {listed([*self.keys, 'known_time'])}"
        )

    @cached_property
    def following(self) -> str:
        """At most so many rows after a row number, with theirs first, in the order of arrival."""
        mark = self.dialect.mark
        return f"SELECT {ROW}, {self.columns} FROM {self.name} WHERE {ROW} > {mark} ORDER BY {ROW} LIMIT {mark}"

    @cached_property
    def days(self) -> str:
        """First microseconds of the days that hold rows; `%` is below zero before 1970."""
        day = f"event_time - (event_time % {DAY_US} + {DAY_US}) % {DAY_US}"
        return f"SELECT DISTINCT {day} AS day FROM {self.name} ORDER BY day"

    @cached_property
    def delete(self) -> str:
        """Rows of a span of event times up to a row number."""
        mark = self.dialect.mark
        return f"DELETE FROM {self.name} WHERE event_time >= {mark} AND event_time < {mark} AND {ROW} <= {mark}"

    @property
    def _typed(self) -> str:
        optional = {column.name for column in self.table.columns if column.optional}
        return ", ".join(
            f'"{name}" {self.dialect.types[kind]}{"" if name in optional else " NOT NULL"}'
            for name, kind in kinds(self.table).items()
        )

    @property
    def _prior(self) -> str:
        """The version that was known when a staged row was. `LIMIT` keeps it one look into the index per row."""
        return (
            f"(SELECT * FROM {self.name} AS t WHERE {self._about('t', 's')} AND t.known_time <= s.known_time "
            "ORDER BY t.known_time DESC LIMIT 1) AS prior"
        )

    @property
    def _repeats(self) -> str:
        values = [column.name for column in self.table.columns if column.name not in self.table.keys]
        return " AND ".join(["TRUE", *(f'prior."{name}" {self.dialect.same} s."{name}"' for name in values)])

    def _about(self, left: str, right: str) -> str:
        return " AND ".join(f'{left}."{key}" = {right}."{key}"' for key in self.keys)


def listed(names: Iterable[str]) -> str:
    """Names, quoted, with commas between."""
    return ", ".join(f'"{name}"' for name in names)
