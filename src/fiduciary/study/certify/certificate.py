"""What a ladder showed: one climb for every (rung, agent, seed), and where each agent stands."""

import math
from collections.abc import Iterable, Mapping
from statistics import fmean, variance
from typing import TYPE_CHECKING

from fiduciary.records.schema import Strict
from fiduciary.study.certify.rung import Rung

if TYPE_CHECKING:
    from rich.table import Table


class Climb(Strict):
    """One agent on one rung with one seed.

    Attributes:
        rung, agent, seed: which; rules, which learn nothing, have seed 0.
        digest: SHA-256 of the problem, the settings, the code and the versions: what must agree to be kept.
        value, oracle: certainty equivalents on the same worlds.
        regret, error: in % of the rung's scale, and its standard error over worlds.
        seconds: of learning.
        refused: why the agent does not claim the rung, or "".
    """

    rung: str
    agent: str
    seed: int
    digest: str
    value: float = 0.0
    oracle: float = 0.0
    regret: float = 0.0
    error: float = 0.0
    seconds: float = 0.0
    refused: str = ""


class Standing(Strict):
    """One agent on one rung, over its seeds.

    Attributes:
        rung, agent: which.
        value, oracle, regret, seconds: means over seeds; regret in % of the scale.
        error: standard error of the mean regret, %: over worlds, which all seeds share, and over seeds.
        worst: largest regret of a seed, %.
        seeds: how many.
        bar: largest regret allowed, %, or None.
        refused: why the agent does not claim the rung, or "".
    """

    rung: str
    agent: str
    value: float
    oracle: float
    regret: float
    error: float
    worst: float
    seconds: float
    seeds: int
    bar: float | None
    refused: str

    @property
    def passed(self) -> bool | None:
        """Whether every seed is within the bar; None where there is none."""
        return None if self.bar is None or self.refused else self.worst <= self.bar


class Certificate(Strict):
    """What the ladder showed.

    Attributes:
        standings: in the order of the ladder.
        wall_seconds: of this session.
        code: revision of the code.
        machine: in words.
    """

    standings: list[Standing]
    wall_seconds: float
    code: str
    machine: str

    @property
    def passed(self) -> bool:
        """Whether every bar was met."""
        return all(standing.passed is not False for standing in self.standings)


def standings(climbs: Iterable[Climb], rungs: Mapping[str, Rung]) -> list[Standing]:
    """Where each agent stands, in the order of its first climb."""
    groups: dict[tuple[str, str], list[Climb]] = {}
    for climb in climbs:
        groups.setdefault((climb.rung, climb.agent), []).append(climb)
    return [_standing(group, rungs[rung]) for (rung, _agent), group in groups.items()]


def _standing(climbs: list[Climb], rung: Rung) -> Standing:
    agent, regrets = climbs[0].agent, [climb.regret for climb in climbs]
    bound = rung.bar is not None and agent in rung.held
    # All seeds are judged on the same worlds, so more seeds average out the luck of learning alone.
    within = fmean(climb.error**2 for climb in climbs)
    between = variance(regrets) / len(regrets) if len(regrets) > 1 else 0.0
    means = {part: fmean(getattr(climb, part) for climb in climbs) for part in ("value", "oracle", "regret", "seconds")}
    return Standing(
        rung=rung.name, agent=agent, **means, error=math.sqrt(within + between), worst=max(regrets), seeds=len(climbs),
        bar=100.0 * rung.bar if bound and rung.bar is not None else None, refused=climbs[0].refused,
    )  # fmt: skip


def cells(standing: Standing) -> tuple[str, ...]:
    """A row of the table, cell by cell, under `COLUMNS`."""
    if standing.refused:
        return (standing.rung, standing.agent, *[""] * 6, "does not claim")
    mark = {None: "", True: "met", False: "MISSED"}[standing.passed]
    bar = "" if standing.bar is None else f"{standing.bar:g} %: {mark}"
    figures = (f"{standing.value:.5g}", f"{standing.oracle:.5g}", f"{standing.regret:.2f} ± {standing.error:.2f}")
    rest = (f"{standing.worst:.2f}", f"{standing.seconds:.1f}", str(standing.seeds), bar)
    return (standing.rung, standing.agent, *figures, *rest)


COLUMNS = ("rung", "agent", "value", "oracle", "regret %", "worst seed %", "seconds", "seeds", "bar")


def table(result: Certificate) -> "Table":
    """The certificate as a table for a terminal."""
    from rich.table import Table

    shown = Table(
        caption="value and oracle: certainty equivalents on the same worlds; regret: mean over seeds ± standard error "
        f"(worlds and seeds), in % of the rung's scale; seconds of learning a seed. {result.wall_seconds / 60:.1f} minutes"
    )
    for k, name in enumerate(COLUMNS):
        shown.add_column(name, justify="left" if k in (0, 1, 8) else "right")
    for before, standing in zip([None, *result.standings], result.standings, strict=False):
        if before is not None and before.rung != standing.rung:
            shown.add_section()
        shown.add_row(*cells(standing))
    return shown
