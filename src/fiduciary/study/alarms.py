"""Signs that a result may not mean what it says: each a small pure function, and `ring` for all of them.

Three kinds of evidence are asked, in this order: the problem itself (its data, factors and fills), the protocol (dates), and
what the policies did. A threshold stands beside its reason; docs/alarms.md says what to do about each alarm.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fiduciary.core import seeds
from fiduciary.core.types import Alarm, Space, Split
from fiduciary.evaluation import inference
from fiduciary.evaluation.metrics import log_returns
from fiduciary.evaluation.splits import overlaps
from fiduciary.records import schema
from fiduciary.study.book import TOTAL, Book, Role
from fiduciary.study.leaks import Charted, fitted_ahead, impossible_fills, look_ahead, survivorship, unadjusted_splits
from fiduciary.study.stress import name_of_costs, name_of_lag

if TYPE_CHECKING:
    from fiduciary.study.study import Problem

KINDS = {
    "look-ahead": "An observation, a step or something fitted changes when the future is redrawn: the result is worthless.",
    "overlap": "A policy is judged on dates that it has learned.",
    "learned later": "A policy learned on dates after those it is judged on.",
    "unobservable fill": "Orders are filled at a price that could not be had after the decision.",
    "free trading": "Trading costs nothing.",
    "free borrowing": "Borrowing shares costs nothing.",
    "survivorship": "The data hold only what lived to the end.",
    "unadjusted split": "A price jumps as it does in a share split, and nothing was lost or won.",
    "never traded": "A candidate did nothing: what it shows is cash.",
    "copy": "A candidate does what the benchmark does.",
    "constant": "A learner decides the same whatever it sees.",
    "saturated": "A learner's actions stick to the bounds of what it may do.",
    "memorised": "A candidate was far better where it learned than where it is judged.",
    "silent benchmark": "A benchmark or yardstick did nothing: what it shows is cash.",
    "other days": "A yardstick was measured over other days.",
    "fragile": "The edge is lost at twice the costs or one bar later.",
    "concentrated": "The edge hangs on one account or one month.",
    "seed lottery": "The luckiest seed alone would have been called evidence.",
}
"""What each kind of alarm means."""

SATURATED_SHARE, AT_BOUND = 0.95, 1e-3
"""Share of the actions of a learner that lie at a bound, and how near that is."""
COPY_CORRELATION = 0.999
"""Of daily log returns with the benchmark's: a policy that is out of the market one day in a hundred stays below."""
FAULTS = {
    "never traded": "never traded",
    "did exactly what the benchmark does": "copy",
    f"moved as one with the benchmark (daily returns correlated above {COPY_CORRELATION:g})": "copy",
    "decided the same whatever it saw": "constant",
    f"held its actions at their bounds in over {SATURATED_SHARE:.0%} of bars": "saturated",
}
"""What a policy can be said to have done instead of deciding -> kind of alarm, the gravest first."""
FEWEST_MONTHS = 6
"""In fewer, one month is a large part of any test."""
FEW = 6
"""Places that an alarm names before it counts the rest."""
HARSHER = (name_of_costs(2.0), name_of_lag(1))
"""Conditions that an edge must survive."""


def ring(
    problem: "Problem", splits: Sequence[Split], cells: Sequence[schema.Cell], book: Book, result: schema.Result
) -> list[Alarm]:
    """All alarms of a study, the gravest first; what the problem says of itself included.

    Args:
        problem: the study's environment.
        splits: the study's splits.
        cells: as stored, one for each split.
        book: the same, end to end.
        result: with judgements, rows and evidence.
    """
    last = splits[-1]  # of several, the one that has the most history behind it
    folds = problem.folds(last)
    candidates = [cell for cell in cells if book.roles[cell.policy] == "candidate"]
    found = [
        *look_ahead(folds),
        *fitted_ahead(problem, last),
        *overlap(splits, candidates),
        *learned_later(splits),
        *problem.spec.alarms,
    ]
    said = {alarm.kind for alarm in problem.spec.alarms}
    found += [alarm for alarm in impossible_fills(folds) if alarm.kind not in said]
    if isinstance(problem, Charted):
        found += [*survivorship(problem.panel), *unadjusted_splits(problem.panel)]
    found += degenerate(cells, book.roles, result.benchmark, problem.spec.space)
    found += [*memorised(result), *silent(book), *other_days(book)]
    evidence = {each.candidate: each for each in result.evidence}
    for judgement in result.judgements:
        found += [
            *fragile(judgement, evidence),
            *concentrated(judgement, evidence, book),
            *seed_lottery(judgement, book),
        ]
    return found


# --- the protocol ----------------------------------------------------------------------------------------------------


def overlap(splits: Sequence[Split], cells: Sequence[schema.Cell]) -> list[Alarm]:
    """Dates of training, validation and test that meet: as asked for, and as they were used."""
    words = [word for split in splits for word in overlaps(split)]
    for cell in cells:
        first, last = cell.test.days[0], cell.test.days[-1]
        if cell.train_days and cell.train_days[0] <= last and first <= cell.train_days[1]:
            learned, judged = (" to ".join(map(_iso, days)) for days in (cell.train_days, (first, last)))
            words.append(f"{cell.policy} learned {learned} and was judged {judged} ({_place(cell)}).")
    more = f" ({len(words) - 1} more like it)" if len(words) > 1 else ""
    return [Alarm("overlap", f"{words[0]} A policy was judged on what it had learned{more}.")] if words else []


def learned_later(splits: Sequence[Split]) -> list[Alarm]:
    """Training that goes on after the test that it serves."""
    later = [split for split in splits if split.train[1] > split.test[0]]
    if not later:
        return []
    text = (
        f"In {len(later)} of {len(splits)} splits the training goes on to {later[0].train[1]} and the test begins on "
        f"{later[0].test[0]}: nobody could have traded so. Walk forward before you claim anything."
    )
    return [Alarm("learned later", text)]


def silent(book: Book) -> list[Alarm]:
    """Benchmarks and yardsticks that never traded."""
    judges = [cell for cell in book.cells if book.roles[cell.policy] in ("benchmark", "yardstick")]
    return [
        Alarm("silent benchmark", f"{cell.policy} never traded {cell.account}: what it shows there is cash.")
        for cell in judges
        if not any(cell.test.traded)
    ]


def other_days(book: Book) -> list[Alarm]:
    """Yardsticks that were measured over other days than the study."""
    mine, found = book.test_dates(), []
    for policy in (name for name, role in book.roles.items() if role == "yardstick"):
        days = book.total(policy).days
        if (theirs := (_iso(days[0]), _iso(days[-1]))) != mine:
            text = f"{policy} was measured from {theirs[0]} to {theirs[1]}, the study from {mine[0]} to {mine[1]}."
            found.append(Alarm("other days", text))
    return found


# --- what the policies did -------------------------------------------------------------------------------------------


def degenerate(cells: Sequence[schema.Cell], roles: Mapping[str, Role], benchmark: str, space: Space) -> list[Alarm]:
    """Candidates that never trade or copy the benchmark; learners that shadow it, are constant or saturated.

    A rule may decide the same every day on purpose; a learner that does has learned nothing.
    """
    holds, found = {(cell.account, cell.split): cell.test for cell in cells if cell.policy == benchmark}, []
    for policy in (name for name, role in roles.items() if role == "candidate"):
        mine = [cell for cell in cells if cell.policy == policy]
        faults = [_fault(cell, holds.get((cell.account, cell.split)), space) for cell in mine]
        for fault, kind in FAULTS.items():
            if where := [cell for cell, its in zip(mine, faults, strict=True) if its == fault]:
                text = f"{policy} {fault} in {len(where)} of {len(mine)} tests ({_places(where)})."
                found.append(Alarm(kind, text))
    return found


def _fault(cell: schema.Cell, hold: schema.Path | None, space: Space) -> str:
    """Which of `FAULTS` a cell has, or ""."""
    test, learned = cell.test, cell.seed is not None
    never, copy, shadow, constant, saturated = FAULTS
    if not any(test.traded):
        return never
    if hold and test.traded == hold.traded:
        return copy
    if learned and hold and _together(test, hold):
        return shadow
    if learned and _constant(test):
        return constant
    return saturated if learned and _saturated(test, space) else ""


def _together(a: schema.Path, b: schema.Path) -> bool:
    """Whether daily log returns move as one."""
    own, other = (log_returns(np.array(path.wealth)) for path in (a, b))
    moving = len(own) == len(other) and own.std() > 0 and other.std() > 0
    return bool(moving and np.corrcoef(own, other)[0, 1] > COPY_CORRELATION)


def _constant(path: schema.Path) -> bool:
    """One action throughout, or no fill after the first."""
    actions = np.array(path.action, dtype=np.float64)
    return bool(np.ptp(actions, axis=0).max() < AT_BOUND) or np.count_nonzero(path.traded) == 1


def _saturated(path: schema.Path, space: Space) -> bool:
    """Components at -1 or 1 of a box; all weight on one component of a simplex."""
    if space == "discrete":
        return False
    size = np.abs(np.array(path.action))
    bound = (size if space == "box" else size.max(axis=1)) >= 1.0 - AT_BOUND
    return bool(bound.mean() > SATURATED_SHARE)


def memorised(result: schema.Result) -> list[Alarm]:
    """Candidates with an edge of a factor e on the training dates of which nothing is left in the test."""
    of = {row.policy: row for row in result.rows if row.account == TOTAL}
    past, test = (
        {name: 1 + row.figures[key].mean for name, row in of.items()} for key in ("train_return", "rate_of_return")
    )
    hold, found = result.benchmark, []
    for name in (name for name, row in of.items() if row.role == "candidate"):
        if past[name] >= np.e * past[hold] and test[name] <= test[hold]:
            text = (
                f"{name} memorised its training dates: it multiplied its capital there by {past[name]:,.1f} ({hold} by "
                f"{past[hold]:,.1f}) and in the test by {test[name]:,.2f} ({hold} by {test[hold]:,.2f})."
            )
            found.append(Alarm("memorised", text))
    return found


# --- what is claimed -------------------------------------------------------------------------------------------------


def fragile(judgement: schema.Judgement, evidence: Mapping[str, schema.Evidence]) -> list[Alarm]:
    """Evidence for a candidate whose edge is lost under a condition of `HARSHER`."""
    if not _claimed(judgement, evidence):
        return []
    lost = [c for c in evidence[judgement.candidate].conditions if c.name in HARSHER and c.difference <= 0]
    return [
        Alarm(
            "fragile",
            f"The edge of {judgement.candidate}, {judgement.difference:+.1%} a year, turns into {c.difference:+.1%} with "
            f"{c.name}: what is left of it depends on assumptions that nobody can be sure of.",
        )
        for c in lost
    ]


def concentrated(judgement: schema.Judgement, evidence: Mapping[str, schema.Evidence], book: Book) -> list[Alarm]:
    """Evidence for a candidate whose edge is lost without its best account, or without its best month."""
    if not _claimed(judgement, evidence):
        return []
    months = evidence[judgement.candidate].months
    shares = {"account": _gains(judgement, book), "month": months if len(months) >= FEWEST_MONTHS else {}}
    found = []
    for noun, parts in shares.items():
        best = max(parts, key=parts.__getitem__, default="")
        if len(parts) > 1 and sum(parts.values()) > 0 >= sum(parts.values()) - parts[best]:
            text = (
                f"Without {best}, its best {noun}, the edge of {judgement.candidate} is gone: one {noun} proves little."
            )
            found.append(Alarm("concentrated", text))
    return found


def _gains(judgement: schema.Judgement, book: Book) -> dict[str, float]:
    """Account -> money gained over the benchmark, mean over draws."""
    draws = book.draws(judgement.candidate)
    return {
        account: float(np.mean([book.cell(account, judgement.candidate, draw).test.wealth[-1] for draw in draws]))
        - book.cell(account, judgement.benchmark).test.wealth[-1]
        for account in book.accounts
    }


def seed_lottery(judgement: schema.Judgement, book: Book) -> list[Alarm]:
    """No evidence over all seeds, some below the benchmark, and the best one alone would have been evidence.

    The best of S is judged at a level S times as strict, so that the luck of the draw alone does not ring.
    """
    draws = book.draws(judgement.candidate)
    if len(draws) < 2 or judgement.word == "evidence for":
        return []
    own = np.stack([log_returns(np.array(book.total(judgement.candidate, draw).wealth)) for draw in draws])
    hold = log_returns(np.array(book.total(judgement.benchmark).wealth))
    edges = (own - hold).mean(axis=1) * book.bars_per_year
    best = int(edges.argmax())
    if edges.min() >= 0 or edges[best] <= 0:
        return []
    alone = inference.judge(
        own[best : best + 1], hold, learned=False, per_year=book.bars_per_year, level=judgement.level,
        trials=judgement.trials * len(draws), rng=seeds.numpy_generator(0, "alarms", judgement.candidate),
    )  # fmt: skip
    if alone.word != "evidence for":
        return []
    text = (
        f"{judgement.candidate} gives {judgement.word}, but its best seed alone, {edges[best]:+.1%} a year over the benchmark, "
        f"would have been called evidence; its worst shows {edges.min():+.1%}. Only all seeds together count."
    )
    return [Alarm("seed lottery", text)]


def _claimed(judgement: schema.Judgement, evidence: Mapping[str, schema.Evidence]) -> bool:
    """An edge that nobody claims need not be doubted."""
    return judgement.word == "evidence for" and judgement.candidate in evidence


# --- helpers ---------------------------------------------------------------------------------------------------------


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _places(cells: Sequence[schema.Cell]) -> str:
    more = f" and {len(cells) - FEW} more" if len(cells) > FEW else ""
    dated = any(cell.split for cell in cells)  # of several tests on one account, say which
    return (
        ", ".join(f"{_place(cell)}{f' from {_iso(cell.test.days[0])}' if dated else ''}" for cell in cells[:FEW]) + more
    )


def _place(cell: schema.Cell) -> str:
    return cell.account if cell.seed is None else f"{cell.account} seed {cell.seed}"
