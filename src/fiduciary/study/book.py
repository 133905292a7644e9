"""Figures of all cells: accounts and their total, every policy, intervals over seeds."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fiduciary.evaluation import metrics
from fiduciary.evaluation.inference import over_seeds
from fiduciary.records import schema
from fiduciary.records.paths import chained, total
from fiduciary.study.evidence import Track

TOTAL, CASH = "total", "cash"
Role = Literal["candidate", "benchmark", "baseline", "yardstick"]


class Draw(NamedTuple):
    """One of the runs of a policy whose spread shows the luck of training: its seed and its pass through history."""

    seed: int | None
    path: int = 0


RULE = Draw(None)


class Book:
    """Reads cells, the tests of all splits end to end; computes nothing twice.

    Args:
        cells: every finished cell of the study.
        accounts: the study's own accounts, in order.
        roles: policy -> role, in the order of the rows.

    Attributes:
        parts: the cells as stored, one for each split.
        cells: the same, end to end.
    """

    def __init__(self, cells: Sequence[schema.Cell], accounts: Sequence[str], roles: Mapping[str, Role]) -> None:
        self.cells, self.accounts, self.roles = chained(cells), list(accounts), dict(roles)
        self.parts = list(cells)
        self._tracks: dict[str, Track] = {}
        self._cells = {(cell.account, cell.policy, Draw(cell.seed, cell.path)): cell for cell in self.cells}
        self._totals = {
            (policy, draw): total([cell.test for cell in self.of(policy, draw)])
            for policy, draw in dict.fromkeys((policy, draw) for _, policy, draw in self._cells)
        }

    @property
    def bars_per_year(self) -> float:
        """Of the total's calendar."""
        return self._per_year(self._parts_of(TOTAL, CASH))

    def _parts_of(self, account: str, policy: str) -> list[schema.Path]:
        """One pass of `policy` through its tests, split by split; several accounts together."""
        groups: dict[int, list[schema.Path]] = {}
        seed = self.draws(policy)[0].seed
        for cell in self.parts:
            if (cell.policy, cell.seed, cell.path) == (policy, seed, 0) and account in (TOTAL, cell.account):
                groups.setdefault(cell.split, []).append(cell.test)
        return [total(paths) for paths in groups.values()]

    @staticmethod
    def _per_year(tests: Sequence[schema.Path]) -> float:
        """Bars that a year of the tests' calendar holds; what lies between two tests is no time."""
        bars, days = zip(*((len(test.days) - 1, test.days[-1] - test.days[0]) for test in tests), strict=True)
        return float(sum(bars) * metrics.DAYS_PER_YEAR / sum(days))

    def draws(self, policy: str) -> list[Draw]:
        """Seeds and passes through history with which `policy` was run."""
        return [draw for name, draw in self._totals if name == policy]

    def total(self, policy: str, draw: Draw = RULE) -> schema.Path:
        """All accounts of one policy and draw, added up."""
        return self._totals[policy, draw]

    def track(self, policy: str) -> Track:
        """All draws of a policy as arrays over the days of the study; what its cells hold under stress too.

        An account that ended early, or has no bar on a day, keeps its last value.
        """
        if policy not in self._tracks:
            self._tracks[policy] = self._track(policy)
        return self._tracks[policy]

    def _track(self, policy: str) -> Track:
        draws, days = self.draws(policy), np.array(self.total(CASH).days)
        names = self.of(policy, draws[0])[0].stress
        accounts = [[_on(days, cell.test) for cell in self.of(policy, draw)] for draw in draws]
        return Track(
            name=policy, role=self.roles[policy], days=days, accounts=np.array(accounts).swapaxes(0, 1),
            wealth=np.array([_on(days, self.total(policy, draw)) for draw in draws]),
            stress={name: np.array([_on(days, _stressed(self.of(policy, draw), name)) for draw in draws]) for name in names},
        )  # fmt: skip

    def covers(self, policy: str) -> bool:
        """Whether a policy, an index perhaps, was measured from the first to the last day of the study."""
        mine, theirs = self.total(CASH).days, self.total(policy, self.draws(policy)[0]).days
        return theirs[0] <= mine[0] and theirs[-1] >= mine[-1]

    def risk_free(self) -> NDArray[np.float64]:
        """Returns of idle cash over the bars of the total, [T]."""
        return _cash_returns(self.total(CASH), np.array(self.total(CASH).days))

    def test_dates(self) -> tuple[str, str]:
        """First and last day of the accounts' tests."""
        days = self.total(CASH).days
        return _iso(days[0]), _iso(days[-1])

    def train_dates(self) -> tuple[str, str]:
        """First and last day of training, over all accounts."""
        first, last = zip(*(cell.train_days for cell in self.of(CASH) if cell.train_days), strict=True)
        return _iso(min(first)), _iso(max(last))

    def valid_dates(self) -> tuple[str, str] | None:
        """First and last day of validation, over all accounts, if there is one."""
        known = [cell.valid_days for cell in self.of(CASH) if cell.valid_days]
        return (_iso(min(first for first, _ in known)), _iso(max(last for _, last in known))) if known else None

    def rows(self) -> list[schema.Row]:
        """Total first, then account by account; within each, candidates, benchmark, baselines, yardsticks."""
        rows = [self._row(TOTAL, policy) for policy in self.roles]
        own = [policy for policy, role in self.roles.items() if role != "yardstick"]
        return rows + [self._row(account, policy) for account in self.accounts for policy in own]

    def _row(self, account: str, policy: str) -> schema.Row:
        each = [self.figures(account, policy, draw) for draw in self.draws(policy)]
        figures = {name: _estimate(name, [one[name] for one in each]) for name in each[0]}
        return schema.Row(account=account, policy=policy, role=self.roles[policy], figures=figures)

    def figures(self, account: str, policy: str, draw: Draw) -> dict[str, float]:
        """All figures of one draw of a policy on one account, or on their total."""
        cells = self.of(policy, draw) if account == TOTAL else [self.cell(account, policy, draw)]
        path = self.total(policy, draw) if account == TOTAL else cells[0].test
        cash = self.total(CASH) if account == TOTAL else self.cell(account, CASH).test
        days = np.array(path.days)
        figures = metrics.summary(
            days,
            np.array(path.wealth),
            risk_free=_cash_returns(cash, days),
            # Every account's own fills: the path of the total nets a purchase here against a sale there.
            traded=np.concatenate([cell.test.traded for cell in cells]),
            fees=np.array(path.fees),
            per_year=self._per_year(self._parts_of(account, policy)),
        )
        figures["exposure"] = float(np.mean(path.exposure))
        capital = [cell.test.wealth[0] for cell in cells]
        figures["train_return"] = float(np.average([cell.train_return for cell in cells], weights=capital))
        if all(cell.valid_return is not None for cell in cells):
            figures["valid_return"] = float(np.average([cell.valid_return or 0.0 for cell in cells], weights=capital))
        return figures

    def of(self, policy: str, draw: Draw = RULE) -> list[schema.Cell]:
        """One draw of a policy, account by account."""
        return [cell for (_, name, which), cell in self._cells.items() if (name, which) == (policy, draw)]

    def cell(self, account: str, policy: str, draw: Draw = RULE) -> schema.Cell:
        """One draw of a policy on one account."""
        return self._cells[account, policy, draw]


def _cash_returns(cash: schema.Path, days: np.ndarray) -> np.ndarray:
    """Returns of idle cash over the bars of another calendar: its last known balance on each of them."""
    place = np.searchsorted(np.array(cash.days), days, side="right") - 1
    return metrics.returns(np.array(cash.wealth)[place.clip(min=0)])


def _stressed(cells: Sequence[schema.Cell], name: str) -> schema.Path:
    """All accounts together under one condition; wealth alone is that condition's."""
    return total([cell.test.model_copy(update={"wealth": cell.stress[name]}) for cell in cells])


def _on(days: NDArray[np.int64], path: schema.Path) -> NDArray[np.float64]:
    """Wealth of one account on the days of the total: its last known one."""
    known: NDArray[np.float64] = np.array(path.wealth)[(np.searchsorted(path.days, days, side="right") - 1).clip(min=0)]
    return known


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _estimate(name: str, values: list[float]) -> schema.Estimate:
    within = metrics.RANGE.get(name, (-np.inf, np.inf))
    return schema.Estimate(**over_seeds(values, within)._asdict())
