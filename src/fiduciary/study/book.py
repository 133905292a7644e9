"""Figures of all cells: accounts and their total, every policy, intervals over seeds, and alarms."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from fiduciary.evaluation import metrics
from fiduciary.evaluation.inference import over_seeds
from fiduciary.records import schema
from fiduciary.records.paths import chained, total

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
    """

    def __init__(self, cells: Sequence[schema.Cell], accounts: Sequence[str], roles: Mapping[str, Role]) -> None:
        self.cells, self.accounts, self.roles = chained(cells), list(accounts), dict(roles)
        self._cells = {(cell.account, cell.policy, Draw(cell.seed, cell.path)): cell for cell in self.cells}
        self._totals = {
            (policy, draw): total([cell.test for cell in self.of(policy, draw)])
            for policy, draw in dict.fromkeys((policy, draw) for _, policy, draw in self._cells)
        }

    @property
    def bars_per_year(self) -> float:
        """Of the total's calendar."""
        return metrics.bars_per_year(np.array(self.total(CASH).days))

    def draws(self, policy: str) -> list[Draw]:
        """Seeds and passes through history with which `policy` was run."""
        return [draw for name, draw in self._totals if name == policy]

    def total(self, policy: str, draw: Draw = RULE) -> schema.Path:
        """All accounts of one policy and draw, added up."""
        return self._totals[policy, draw]

    def test_dates(self) -> tuple[str, str]:
        """First and last day of the accounts' tests."""
        days = self.total(CASH).days
        return _iso(days[0]), _iso(days[-1])

    def train_dates(self) -> tuple[str, str]:
        """First and last day of training, over all accounts."""
        first, last = zip(*(cell.train_days for cell in self.of(CASH)), strict=True)
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

    def alarms(self, benchmark: str) -> list[str]:
        """Signs of a policy that learned nothing that lasts: it never trades, copies the benchmark, or memorised the past."""
        found = [*self._silent(), *self._other_days()]
        for policy in (name for name, role in self.roles.items() if role == "candidate"):
            found += self._memorised(policy, benchmark)
            learned = [cell for cell in self.cells if cell.policy == policy]
            idle = [cell for cell in learned if not any(cell.test.traded)]
            copies = [cell for cell in learned if cell.test.traded == self.cell(cell.account, benchmark).test.traded]
            for what, cells in (("never traded", idle), ("did exactly what the benchmark does", copies)):
                if cells:
                    where = ", ".join(_place(cell) for cell in cells)
                    found.append(f"{policy} {what} in {len(cells)} of {len(learned)} tests ({where}).")
        return found

    def _silent(self) -> list[str]:
        """Benchmarks and yardsticks that never traded: what they show is cash."""
        judges = [cell for cell in self.cells if self.roles[cell.policy] in ("benchmark", "yardstick")]
        silent = [cell for cell in judges if not any(cell.test.traded)]
        return [f"{cell.policy} never traded {cell.account}: what it shows there is cash." for cell in silent]

    def _other_days(self) -> list[str]:
        """Yardsticks that were measured over other days than the study."""
        mine, found = self.test_dates(), []
        for policy in (name for name, role in self.roles.items() if role == "yardstick"):
            days = self.total(policy).days
            theirs = _iso(days[0]), _iso(days[-1])
            if theirs != mine:
                found.append(
                    f"{policy} was measured from {theirs[0]} to {theirs[1]}, the study from {mine[0]} to {mine[1]}."
                )
        return found

    def _memorised(self, policy: str, benchmark: str) -> list[str]:
        """An edge of a factor e on the training dates of which nothing is left in the test."""
        mine, hold = (self._row(TOTAL, name).figures for name in (policy, benchmark))
        (past, past_hold), (test, test_hold) = (
            (1 + mine[name].mean, 1 + hold[name].mean) for name in ("train_return", "rate_of_return")
        )
        if past < np.e * past_hold or test > test_hold:
            return []
        return [
            f"{policy} memorised its training dates: it multiplied its capital there by {past:,.1f} ({benchmark} by "
            f"{past_hold:,.1f}) and in the test by {test:,.2f} ({benchmark} by {test_hold:,.2f})."
        ]

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


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _estimate(name: str, values: list[float]) -> schema.Estimate:
    within = metrics.RANGE.get(name, (-np.inf, np.inf))
    return schema.Estimate(**over_seeds(values, within)._asdict())


def _place(cell: schema.Cell) -> str:
    return cell.account if cell.seed is None else f"{cell.account} seed {cell.seed}"
