"""A placebo for the whole pipeline: how often it says "evidence for" where there is no skill, and where there is.

A study is run again and again, from panel to verdict, with nothing changed but its prices: markets in which nothing can be
learned count false positives, and markets with a planted edge of known size compare what is found with what a test of that
length can find. Every run goes through `Study.run` in a folder of its own, so nothing is shared and each is a first trial.
"""

import json
import multiprocessing as mp
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fiduciary.agents import ExoQ
from fiduciary.agents.nets import MLP
from fiduciary.agents.rules import BuyAndHold
from fiduciary.core import seeds as streams
from fiduciary.core.errors import ConfigError, RecordError
from fiduciary.core.files import write_atomic
from fiduciary.core.types import Agent, Obs, Policy
from fiduciary.data import Panel, sample
from fiduciary.data.panel import position
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.factors import SIM_RELATIVE, Bars, Factor
from fiduciary.markets import costs, dynamics
from fiduciary.markets.dynamics import Floats
from fiduciary.markets.venue import Venue
from fiduciary.records import identity
from fiduciary.records.folder import RunFolder
from fiduciary.records.schema import Strict
from fiduciary.study.study import Study
from fiduciary.study.threads import one_thread

if TYPE_CHECKING:
    from rich.console import Group

LEVEL = 0.05
"""Nominal error of a verdict, and of every interval here."""
EDGE = "edge "


# --- markets ---------------------------------------------------------------------------------------------------------


def _volatility(panel: Panel) -> float:
    """Daily standard deviation of the log returns of all symbols."""
    return float(np.nanstd(np.diff(np.log(panel["close"]), axis=0)))


def _like(panel: Panel, make: Callable[..., Panel], **law: Any) -> Panel:
    """The market that `make` makes, on the panel's dates, under its symbols' names, in its currency."""
    market = make(bars=len(panel.dates), symbols=len(panel.symbols), **law)
    return replace(market, dates=panel.dates, symbols=panel.symbols, currency=panel.currency)


NULLS: Mapping[str, Callable[[Panel, np.random.Generator], Panel]] = {
    "random-walk": lambda panel, rng: _like(panel, dynamics.random_walk, volatility=_volatility(panel), rng=rng),
    "garch": lambda panel, rng: _like(panel, dynamics.garch, law=dynamics.Garch(_volatility(panel)), rng=rng),
    "block-permuted": dynamics.block_permuted,
    "phase-randomised": dynamics.phase_randomised,
}
"""Markets without skill, made from a study's own panel: of its dates and volatility, or of its bars."""


# --- studies ---------------------------------------------------------------------------------------------------------


def small_study(agent: Agent | Policy | None = None, *, seeds: int = 3) -> Study:
    """One stock, two years to learn and two to be judged on, free trading: with costs, to trade at random is to lose, and
    false positives are rarer.

    Args:
        agent: who learns; None = ExoQ with a small network, which memorises two years in a second.
        seeds: trainings of each run.
    """
    return Study(
        question="Does the candidate beat holding the stock?",
        env=StockTrading(
            sample("us-stocks", symbols=["IBM"]), SIM_RELATIVE, costs=costs.Costs(), venue=Venue(lot=0), window=5
        ),
        benchmark=BuyAndHold(),
        candidates={"candidate": agent or ExoQ(net=MLP((16,)), updates=60, sequence=0)},
        splits=splits.dates(train=("2008", "2009"), test=("2010", "2011")),
        seeds=range(seeds),
    )


@dataclass(frozen=True)
class ReadsVolume:
    """Hold while volume is high: the best policy of `dynamics.planted_edge`, in `reading_study`."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Buy where the scaled log volume is above its mean on training dates, sell where it is not."""
        high = obs.world.bars[obs.world.bar, -1] > 0
        return torch.where(high, obs.legal[:, 1].long(), 2 * obs.legal[:, 2].long()), carry


def reading_study() -> Study:
    """The study of `small_study` whose candidate need not learn the edge: what it misses, the test has missed."""
    study = small_study(ReadsVolume())
    env: Any = study.env
    return replace(study, env=replace(env, factors=(Factor("log_volume", 1, _log_volume, ("volume",)),)))


def _log_volume(bars: Bars) -> Floats:
    return np.asarray(np.log(bars["volume"]))


# --- results ---------------------------------------------------------------------------------------------------------


class Count(NamedTuple):
    """Verdicts on one kind of market.

    Attributes:
        market: which.
        runs: R, how many.
        found: of them "evidence for".
        against: of them "evidence against".
        low, high: 95 % interval of found / runs (Clopper and Pearson 1934).
        p_values: [R] one-sided, of no advantage over the benchmark; without skill, uniform on [0, 1] or larger.
        power: what `found / runs` should be at a planted edge, if the candidate knew it; None elsewhere.
    """

    market: str
    runs: int
    found: int
    against: int
    low: float
    high: float
    p_values: tuple[float, ...]
    power: float | None = None

    @property
    def rate(self) -> float:
        """Share of "evidence for"."""
        return self.found / self.runs

    @property
    def too_small(self) -> float:
        """p-value that the p-values are not too small (Kolmogorov and Smirnov, one-sided): below 5 % is a bad sign."""
        from scipy.stats import kstest

        return float(kstest(self.p_values, "uniform", alternative="greater").pvalue)


class Placebo(NamedTuple):
    """What the pipeline says where the truth is known.

    Attributes:
        nulls: markets without skill.
        edges: planted edges, by their annual Sharpe ratio against holding.
    """

    nulls: tuple[Count, ...]
    edges: tuple[Count, ...]

    @property
    def total(self) -> Count:
        """All markets without skill together."""
        p_values = tuple(p for null in self.nulls for p in null.p_values)
        return _count("all", sum(null.found for null in self.nulls), sum(null.against for null in self.nulls), p_values)

    @property
    def holds(self) -> bool:
        """Whether the rate of false positives may be `LEVEL` or less: its interval does not lie above it."""
        return self.total.low <= LEVEL

    @property
    def sentence(self) -> str:
        """The rate, and what it means."""
        if not self.nulls:
            return "No market without skill was run."
        all_ = self.total
        stays = "stays at or under" if all_.high <= LEVEL else "is not shown to be above" if self.holds else "is above"
        return (
            f'"Evidence for" in {all_.found} of {all_.runs} runs without skill: {all_.rate:.1%} [{all_.low:.1%}, '
            f"{all_.high:.1%}]. The rate of false positives {stays} the nominal {LEVEL:.0%}."
        )


def _count(market: str, found: int, against: int, p_values: tuple[float, ...], power: float | None = None) -> Count:
    from scipy.stats import binomtest

    interval = binomtest(found, len(p_values)).proportion_ci(1 - LEVEL, method="exact")
    return Count(market, len(p_values), found, against, float(interval.low), float(interval.high), p_values, power)


def table(result: Placebo) -> "Group":
    """The sentence and a line for each market, to be printed by rich."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Group
    from rich.table import Table

    grid = Table("market", "runs", "for", "against", "rate of for", "95 % interval", "expected", box=SIMPLE_HEAD)
    for each in (*result.nulls, *result.edges):
        expected = f"<= {LEVEL:.0%}" if each.power is None else f"{each.power:.1%}"
        grid.add_row(
            each.market, str(each.runs), str(each.found), str(each.against), f"{each.rate:.1%}",
            f"{each.low:.1%} to {each.high:.1%}", expected,
        )  # fmt: skip
    return Group(result.sentence, grid)


# --- running ---------------------------------------------------------------------------------------------------------


class Line(Strict):
    """One run's verdict, as it is kept."""

    market: str
    number: int
    word: Literal["evidence for", "evidence against", "no evidence"]
    difference: float
    p_value: float
    power: float | None


class _Job(NamedTuple):
    study: Study
    market: str
    number: int
    seed: int


def placebo(
    study: Study | None = None, *, markets: Sequence[str] = tuple(NULLS), runs: int = 50, edges: Sequence[float] = (),
    seed: int = 0, workers: int = 1, folder: str | Path | None = None, progress: bool = True,
) -> Placebo:  # fmt: skip
    """Run `study` on markets whose truth is known and count its verdicts on the first candidate.

    Args:
        study: agents, factors, costs, dates and benchmark, over an environment with a `panel`, whose dates the markets keep;
            yardsticks are left out, and of its seeds only the number counts. None = `small_study()`.
        markets: names of `NULLS`.
        runs: of each market and of each edge.
        edges: annual Sharpe ratios, against holding and before costs, of markets with a planted edge (one symbol each).
        seed: root of the markets' randomness; run k trains with the k-th S seeds, S those of the study.
        workers: processes. More than one needs a script guarded by `if __name__ == "__main__"`.
        folder: keeps every verdict in `placebo.jsonl` as soon as it is known; a killed placebo continues, and more runs,
            markets or edges may be asked for later. None = nothing is kept.
        progress: show a bar on standard error.

    Raises:
        ConfigError: a market is unknown, `runs` or `workers` is below one, or the study has no panel to replace.
        RecordError: the folder holds the placebo of another study, seed or code, or is busy or damaged.
    """
    study = study or small_study()
    planted = [f"{EDGE}{sharpe:g}" for sharpe in edges]
    names = list(dict.fromkeys([*markets, *planted]))
    _refuse(study, markets, names, runs=runs, workers=workers)
    with ExitStack() as stack:
        root = Path(folder or stack.enter_context(TemporaryDirectory()))
        stack.enter_context(RunFolder(root).writing())
        file = root / "placebo.jsonl"
        known = _known(file, identity.digest([study.effective(), seed, identity.code(), identity.versions()]))
        # Every market a little, rather than one after the other: a placebo cut short has seen them all.
        jobs = [_Job(study, name, k, seed) for k in range(runs) for name in names if (name, k) not in known]
        for line in _shown(_computed(jobs, workers), len(jobs), enabled=progress):
            _append(file, line)
            known[line["market"], line["number"]] = line
    counts = {name: _summary(name, [known[name, k] for k in range(runs)]) for name in names}
    return Placebo(tuple(counts[name] for name in markets), tuple(counts[name] for name in planted))


def _refuse(study: Study, markets: Sequence[str], names: Sequence[str], *, runs: int, workers: int) -> None:
    for name in markets:
        position(name, list(NULLS), "market without skill")
    for name in names:
        if name.startswith(EDGE) and not float(name.removeprefix(EDGE)) >= 0:
            raise ConfigError("an edge is an annual Sharpe ratio, not negative", name.removeprefix(EDGE))
    if not names:
        raise ConfigError("a placebo needs at least one market or edge", "none")
    if runs < 1 or workers < 1:
        raise ConfigError("`runs` and `workers` must be at least 1", f"{runs}, {workers}")
    if not isinstance(getattr(study.env, "panel", None), Panel):
        raise ConfigError("a placebo needs a study of a `panel`, to put other prices there", type(study.env).__name__)


def _computed(jobs: Sequence[_Job], workers: int) -> Iterator[dict[str, Any]]:
    """The jobs' verdicts, in the order in which they are known."""
    if min(workers, len(jobs)) < 2:
        yield from map(_verdict, jobs)
        return
    # An interrupt reaches the whole process group; the parent alone decides what becomes of the workers.
    with mp.get_context("spawn").Pool(workers, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        yield from pool.imap_unordered(_verdict, jobs)


def _verdict(job: _Job) -> dict[str, Any]:
    """Draw the market, run the study on it, and keep the word."""
    env: Any = job.study.env
    rng = streams.numpy_generator(job.seed, "placebo", job.market, job.number)
    edge = None if job.market in NULLS else _edge(env.panel, float(job.market.removeprefix(EDGE)), rng)
    panel = edge.panel if edge else NULLS[job.market](env.panel, rng)
    # Seeds of its own: an unlucky initialisation that every run shared would count many times.
    seeds = range(job.number * len(job.study.seeds), (job.number + 1) * len(job.study.seeds))
    study = replace(job.study, env=replace(env, panel=panel), seeds=seeds, yardsticks={})
    with TemporaryDirectory() as scratch, one_thread():
        # The ledger of trials lies beside the run's folder: in one of its own, every run is a first trial.
        run = study.run(Path(scratch) / "run", progress=False)
        verdict, dates = run.verdict, run.result.test
    power = edge.power(len(panel.between(*dates).dates) - 1, level=LEVEL) if edge else None
    return {
        "market": job.market, "number": job.number, "word": verdict.word, "difference": verdict.difference,
        "p_value": verdict.p_value, "power": power,
    }  # fmt: skip


def _edge(panel: Panel, sharpe: float, rng: np.random.Generator) -> dynamics.Edge:
    edge = dynamics.planted_edge(bars=len(panel.dates), sharpe=sharpe, volatility=_volatility(panel), rng=rng)
    return edge._replace(panel=replace(edge.panel, dates=panel.dates, currency=panel.currency))


def _summary(market: str, lines: Sequence[Mapping[str, Any]]) -> Count:
    words = [line["word"] for line in lines]
    p_values = tuple(_one_sided(line["difference"], line["p_value"]) for line in lines)
    found, against = (words.count(f"evidence {side}") for side in ("for", "against"))
    return _count(market, found, against, p_values, lines[0]["power"])


def _one_sided(difference: float, p_value: float) -> float:
    """Of no advantage over the benchmark; 1 for a copy of it."""
    if difference == 0:
        return 1.0
    return p_value / 2 if difference > 0 else 1 - p_value / 2


def _known(file: Path, mine: str) -> dict[tuple[str, int], dict[str, Any]]:
    """Verdicts kept in `file`, by market and number; a fresh file is made this placebo's own."""
    if not file.exists():
        write_atomic(file, json.dumps({"identity": mine}).encode() + b"\n")
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]  # a kill may have cut the last line short: its run is repeated
    if len(whole) < len(text):
        write_atomic(file, whole)
    try:
        first, *lines = map(json.loads, whole.splitlines())
        kept = {(line["market"], line["number"]): Line(**line) for line in lines}
        known = {place: line.model_dump() for place, line in kept.items()}
    except (ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{file} must hold a verdict on every line", str(error), remedy="restore it, or delete it and run again"
        ) from None
    if first != {"identity": mine}:
        raise RecordError(
            "a placebo's folder must keep to one study", f"another one in {file.parent}",
            cause="settings, data, seed, code or packages have changed since it was started",
            remedy="give another folder",
        )  # fmt: skip
    return known


def _append(file: Path, line: Mapping[str, Any]) -> None:
    with file.open("ab") as out:
        out.write(json.dumps(line).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


def _shown(lines: Iterator[dict[str, Any]], total: int, *, enabled: bool) -> Iterator[dict[str, Any]]:
    """A bar on standard error: runs done, and how many found something."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("placebo"), BarColumn(), TextColumn('{task.completed:.0f}/{task.total:.0f}, "evidence for" in'),
        TextColumn("{task.fields[found]}"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), disable=not enabled) as bar:
        task, found = bar.add_task("", total=total, found=0), 0
        for line in lines:
            found += line["word"] == "evidence for"
            bar.update(task, advance=1, found=found)
            yield line
