"""The whole ladder of problems with known answers, and its short version: worst regrets, minutes, the table of the docs."""

import sys
from collections.abc import Sequence
from pathlib import Path

from fiduciary.study.certify import COLUMNS, HELD, Certificate, Standing, cells, certify
from fiduciary.study.certify.ladder import ladder
from rows import ROOT, SCRATCH, Figure, row

TABLE = ROOT / "docs" / "certify-table.md"
TABULAR = 1.0


def measure() -> dict[str, Figure]:
    """Climb everything afresh, so that the minutes are those of all of it; names of rungs as arguments try it small."""
    only = sys.argv[1:] or None
    short = certify(rungs=only, short=True, workers=2, folder=None)
    whole = certify(rungs=only, workers=2, folder=SCRATCH / "certify" if only else _fresh(SCRATCH / "certify"))
    if only is None:
        write(whole)
    tables, others = (
        [s for s in whole.standings if s.agent in HELD and (s.bar == TABULAR) is kind] for kind in (True, False)
    )
    note = "largest regret of any seed, % of the rung's scale, of Pathwise, ExoQ and PPO on the rungs that they claim: "
    return {
        "regret": worst(others, note + "all but the tabular ones", 2.0),
        "tabular_regret": worst(tables, note + "the tabular ones", TABULAR),
        "minutes": minutes(whole, "the whole ladder, 3 seeds, 2 processes", 20.0),
        "short_minutes": minutes(short, "the short version, 1 seed, Pathwise, ExoQ and PPO alone, 2 processes", 3.0),
    }


def worst(standings: Sequence[Standing], note: str, target: float) -> Figure:
    """The worst seed of the worst of `standings`."""
    where = max(standings, key=lambda s: s.worst)
    said = f"{note}; worst: {where.agent} on {where.rung}, mean {where.regret:.2f} ± {where.error:.2f}"
    return Figure(where.worst, "%", target, "lower", sum(s.seeds for s in standings), said)


def minutes(certificate: Certificate, note: str, target: float) -> Figure:
    """Wall time of one climb of everything."""
    fits = sum(s.seeds for s in certificate.standings)
    return Figure(certificate.wall_seconds / 60.0, "minutes", target, "lower", fits, note)


def write(certificate: Certificate) -> None:
    """The kept table, for the documentation."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|" + "---:|" * (len(COLUMNS) - 3) + "---|"]
    lines += [f"| {' | '.join(cells(standing))} |" for standing in certificate.standings]
    head = (
        "# Certification table\n\nWritten by `make bench ROW=certify`; how to read it: [certification](certify.md).\n\n"
    )
    assumptions = [f"- {name}: {'; '.join(rung.env.spec.assumptions)}" for name, rung in ladder().items()]
    TABLE.write_text(head + "\n".join(lines) + "\n\nAssumptions of the rungs:\n\n" + "\n".join(assumptions) + "\n")


def _fresh(folder: Path) -> Path:
    """`folder` without the climbs of an earlier run."""
    for kept in folder.glob("climbs/*/*/seed-*.json"):
        kept.unlink()
    return folder


if __name__ == "__main__":
    row(4, measure)
