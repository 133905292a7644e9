"""A finished run with known series, written as a study would write it; its evidence comes from plain formulas."""

import datetime
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath
from statistics import NormalDist

import numpy as np

from fiduciary.evaluation import inference, metrics
from fiduciary.records import Run
from fiduciary.records.folder import Manifest, RunFolder
from fiduciary.records.paths import chained, total
from fiduciary.records.schema import (
    Alarm,
    Cell,
    Condition,
    Data,
    Dates,
    Difference,
    Estimate,
    Evidence,
    Judgement,
    Occasion,
    Path,
    Power,
    Record,
    Result,
    Row,
    Selection,
    SharpeTest,
)

ACCOUNTS = ("AAPL", "GOOG", "IBM", "MSFT")
CASH, STEPS, PER_YEAR = 125_000.0, 250, 252.0
FIRST = (datetime.date(2011, 1, 3) - datetime.date(1970, 1, 1)).days
DAYS = (12753, 14974)
QUESTION = "Does LSTM-DQN beat buying and holding the same stocks, after costs?"
STRESS = {"costs": (0, 2, 5), "lag": (1, 2)}
COMPARED = ("annual_return", "annual_volatility", "annual_sharpe", "max_drawdown", "turnover")
NORMAL = NormalDist()


def weekdays(count: int) -> np.ndarray:
    days = np.arange(FIRST, FIRST + 2 * count)
    return days[(days + 3) % 7 < 5][:count]


def prices(name: str, steps: int) -> np.ndarray:
    rng = np.random.default_rng(sum(name.encode()) + 3)
    return 100 * np.exp(np.cumsum(rng.normal(0.0004, 0.013, steps + 1)))


def path(mark: np.ndarray, held: np.ndarray, days: np.ndarray, *, capital: float = CASH, costs: float = 1.0) -> Path:
    """Hold the share `held` [T] of wealth over each step; every change of it is a trade at 5 basis points."""
    change = np.diff(held, prepend=0.0)
    charge = np.abs(change) * 0.0005 * costs
    wealth = capital * np.cumprod(np.concatenate([[1.0], 1 + held * (mark[1:] / mark[:-1] - 1) - charge]))
    return Path(
        days=days.tolist(), wealth=wealth.tolist(), mark=mark.tolist(), exposure=[0.0, *held.tolist()],
        action=np.where(change > 0, 1, np.where(change < 0, 2, 0)).tolist(), traded=(change * wealth[:-1]).tolist(),
        fees=(-charge * wealth[:-1]).tolist(),
    )  # fmt: skip


def stressed(mark: np.ndarray, held: np.ndarray, days: np.ndarray) -> dict[str, list[float]]:
    late = {k: np.concatenate([np.zeros(k), held[:-k]]) for k in STRESS["lag"]}
    return {f"costs x {m}": path(mark, held, days, costs=m).wealth for m in STRESS["costs"]} | {
        lagged(k): path(mark, each, days).wealth for k, each in late.items()
    }


def lagged(bars: int) -> str:
    return f"{bars} bar{'s' if bars > 1 else ''} later"


def learned(account: str, seed: int, steps: int) -> np.ndarray:
    rng = np.random.default_rng([seed, sum(account.encode())])
    return np.repeat(rng.integers(0, 2, steps // 10 + 1), 10)[:steps].astype(float)


def curve(seed: int, account: str) -> list[dict[str, float]]:
    rng = np.random.default_rng([7, seed, sum(account.encode())])
    updates = range(50, 2001, 50)
    return [
        {"update": float(u), "loss": float(np.exp(-u / 600) + rng.gamma(2, 0.03)),
         "reward": float(0.05 * (1 - np.exp(-u / 500)) + rng.normal(0, 0.01))}
        for u in updates
    ]  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """What is run; `judged` False is a record of before there was evidence, as those with several `paths` are here."""

    root: FilePath
    accounts: tuple[str, ...] = ACCOUNTS
    seeds: tuple[int, ...] = (0, 1, 2)
    candidate: str = "lstm-dqn"
    question: str = QUESTION
    alarms: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    note: str = ""
    rivals: int = 0
    splits: int = 1
    judged: bool = True
    trials: int = 1
    paths: int = 1
    roles: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        others = dict.fromkeys((f"switch-{5 + i}" for i in range(self.rivals)), "baseline")
        fixed = {self.candidate: "candidate", "buy-and-hold": "benchmark", "cash": "baseline"}
        object.__setattr__(self, "roles", fixed | others | {"S&P 500": "yardstick"})

    @property
    def steps(self) -> int:
        return STEPS * self.splits

    def held(self, policy: str, account: str, seed: int | None) -> np.ndarray:
        if seed is not None:
            return learned(account, seed, self.steps)
        if policy.startswith("switch-"):
            return (np.arange(self.steps) // int(policy.removeprefix("switch-")) % 2).astype(float)
        return np.full(self.steps, 0.0 if policy == "cash" else 1.0)

    @cached_property
    def cells(self) -> list[Cell]:
        """One for each (account, policy, seed, split)."""
        return list(self.make_cells())

    def make_cells(self) -> Iterator[Cell]:
        days = weekdays(self.steps + 1)
        for policy, role in self.roles.items():
            seeds = self.seeds if role == "candidate" else (None,)
            for account in ("S&P 500",) if role == "yardstick" else self.accounts:
                mark, capital = prices(account, self.steps), CASH * (len(self.accounts) if role == "yardstick" else 1)
                for seed in seeds:
                    held = self.held(policy, account, seed)
                    for split, passed in itertools.product(range(self.splits), range(self.paths)):
                        part, at = (
                            slice(split * STEPS, (split + 1) * STEPS),
                            slice(split * STEPS, (split + 1) * STEPS + 1),
                        )
                        own = role in ("candidate", "benchmark")
                        yield Cell(
                            account=account, policy=policy, seed=seed, train_return=0.2 if seed is None else 1 + seed / 10,
                            train_days=DAYS, test=path(mark[at], held[part] * (1 - passed / 2), days[at], capital=capital),
                            curve=[] if seed is None else curve(seed, account), split=split * self.paths + passed, path=passed,
                            stress=stressed(mark[at], held[part], days[at]) if own and self.judged else {},
                        )  # fmt: skip

    @cached_property
    def whole(self) -> list[Cell]:
        return chained(self.cells)

    def draws(self, policy: str) -> list[int | None]:
        return list(dict.fromkeys(cell.seed for cell in self.whole if cell.policy == policy))

    def wealth(self, policy: str, condition: str = "") -> np.ndarray:
        """[S, T+1] of all accounts together, as judged or under a stress."""
        return np.array([
            np.sum([
                cell.stress[condition] if condition else cell.test.wealth
                for cell in self.whole if (cell.policy, cell.seed) == (policy, seed)
            ], axis=0)
            for seed in self.draws(policy)
        ])  # fmt: skip

    def edge(self, condition: str = "", bars: slice = slice(None)) -> np.ndarray:
        """[S] annual log growth over the benchmark."""
        gap = np.diff(np.log(self.wealth(self.candidate, condition)) - np.log(self.wealth("buy-and-hold", condition)))
        return gap[:, bars].mean(axis=1) * PER_YEAR

    @cached_property
    def rows(self) -> list[Row]:
        rows = []
        for policy, role in self.roles.items():
            own = [cell for cell in self.whole if cell.policy == policy]
            for account in dict.fromkeys(cell.account for cell in own):
                here = [cell for cell in own if cell.account == account]
                rows.append(row(account, policy, role, here, [c.test for c in here]))
            first = [next(c for c in own if c.seed == seed) for seed in self.draws(policy)]
            sums = [total([c.test for c in own if (c.seed, c.path) == (seed, 0)]) for seed in self.draws(policy)]
            rows.append(row("total", policy, role, first, sums))
        return rows

    @cached_property
    def judgement(self) -> Judgement:
        verdict = inference.judge(
            np.diff(np.log(self.wealth(self.candidate))), np.diff(np.log(self.wealth("buy-and-hold")[0])), learned=True,
            per_year=PER_YEAR, trials=self.trials, rng=np.random.default_rng(0),
        )  # fmt: skip
        return Judgement(candidate=self.candidate, benchmark="buy-and-hold", **verdict._asdict())

    @property
    def spread(self) -> float:
        """Standard error of the edge, from the bars of the mean account."""
        gap = np.diff(np.log(self.wealth(self.candidate)).mean(axis=0) - np.log(self.wealth("buy-and-hold")[0]))
        return float(gap.std(ddof=1) / math.sqrt(len(gap)) * PER_YEAR)

    def difference(self, rival: str, figure: str) -> Difference:
        """Interval and p-value of a normal whose spread is a tenth of the figure's own size."""
        rows = {row.policy: row.figures for row in self.rows if row.account == "total"}
        own, other = (rows[policy][figure].mean for policy in (self.candidate, rival))
        value, spread = own - other, 0.1 * (abs(own) + abs(other))
        known = math.isfinite(value)
        return Difference(rival=rival, figure=figure, value=value, **between(value, spread),
                          p_value=2 * NORMAL.cdf(-abs(value) / spread) if known and spread else math.nan)  # fmt: skip

    def conditions(self) -> Iterator[Condition]:
        for kind, name, value in (
            *(("costs", f"costs x {m}", m) for m in STRESS["costs"]), *(("lag", lagged(k), k) for k in STRESS["lag"]),
        ):  # fmt: skip
            yield self.condition(kind, name, value, self.edge(name), self.steps)
        kinds = ("rising, calm", "rising, volatile", "falling, calm", "falling, volatile")
        for i, name in enumerate(kinds):
            yield self.condition("regime", name, i, self.edge(bars=slice(i, None, 4)), self.steps // 4)
        for i in range(self.splits if self.splits > 1 else 0):
            part = slice(i * STEPS, (i + 1) * STEPS)
            yield self.condition("split", f"test {i + 1}", i, self.edge(bars=part), STEPS)

    def condition(self, kind: str, name: str, value: float, edge: np.ndarray, bars: int) -> Condition:
        mean = float(edge.mean())
        wide = self.spread * math.sqrt(self.steps / bars)
        return Condition(kind=kind, name=name, value=value, bars=bars, difference=mean, **between(mean, wide))

    def sharpe(self) -> SharpeTest:
        rows = {row.policy: row.figures["annual_sharpe"].mean for row in self.rows if row.account == "total"}
        own, error = rows[self.candidate], math.sqrt(PER_YEAR / self.steps)
        best = error * NORMAL.inv_cdf(1 - 1 / (self.trials + 1))
        gap = (own - rows["buy-and-hold"]) / error
        return SharpeTest(
            sharpe=own, **between(own, error), ledoit_wolf=2 * NORMAL.cdf(-abs(gap)), psr=NORMAL.cdf(own / error),
            dsr=NORMAL.cdf((own - best) / error), trials=self.trials, expected_best=best,
        )  # fmt: skip

    def evidence(self) -> Evidence:
        edge, spread = self.judgement.difference, self.spread
        detectable = spread * (NORMAL.inv_cdf(0.975) + NORMAL.inv_cdf(0.8))
        luck = NormalDist(0, spread)
        growth = float(np.diff(np.log(self.wealth(self.candidate))).mean() * PER_YEAR)
        gap = np.diff(np.log(self.wealth(self.candidate)).mean(axis=0) - np.log(self.wealth("buy-and-hold")[0]))
        names = np.datetime_as_string(weekdays(self.steps + 1)[1:].astype("datetime64[D]"), unit="M")
        rivals = [name for name in self.roles if name != self.candidate]
        return Evidence(
            candidate=self.candidate, differences=[self.difference(r, f) for r in rivals for f in COMPARED],
            sharpe=self.sharpe(), null=[luck.inv_cdf(min(max(i / 200, 1e-3), 1 - 1e-3)) for i in range(201)],
            conditions=list(self.conditions()),
            power=Power(edge=edge, power=1 - luck.cdf(1.96 * spread - edge), detectable=detectable,
                        years=self.steps / PER_YEAR * (detectable / edge) ** 2 if edge > 0 else math.nan),
            middle=Estimate(mean=growth, **between(growth, spread), n=len(self.seeds) * len(self.accounts)),
            months={str(name): float(gap[names == name].sum()) for name in np.unique(names)},
        )  # fmt: skip

    def selection(self) -> Selection:
        z = self.judgement.difference / self.spread
        growth = {p: float(np.log(self.wealth(p)[:, -1] / self.wealth(p)[:, 0]).mean()) for p in self.roles}
        top = max(growth.values())
        halves = [max(growth, key=lambda p: growth[p] * (1 if i % 2 else -1)) == self.candidate for i in range(4)]
        p_value = NORMAL.cdf(-z)
        return Selection(
            reality_check=min(1.0, 1.2 * p_value), spa=p_value, spa_lower=0.9 * p_value,
            spa_upper=min(1.0, 1.1 * p_value), confidence_set={p: math.exp(5 * (g - top)) for p, g in growth.items()},
            pbo=1 - sum(halves) / 4, configurations=len(self.roles),
        )  # fmt: skip

    def dates(self) -> list[Dates]:
        days = weekdays(self.steps + 1).astype("datetime64[D]")
        starts = [days[split * STEPS] for split in range(self.splits)]
        return [
            Dates(
                train=(str(start - 1900), str(start - 400)), valid=(str(start - 390), str(start - 10)),
                test=(str(start), str(days[(split + 1) * STEPS])), without=[(str(start - 900), str(start - 800))],
            )
            for split, start in enumerate(starts)
        ]  # fmt: skip

    def write(self) -> Run:
        """Write the whole run folder."""
        folder = RunFolder(self.root)
        arguments = ["fiduciary", "run", "studies/stock-investment.toml", self.note or "runs/stocks"]
        started = "2025-03-01T09:00:00+00:00"
        known = {"identity": "ab" * 32, "question": self.question, "started": started, "arguments": arguments}
        folder.write_manifest(Manifest(trials=self.trials, **known))
        for cell in self.cells:
            folder.write_cell(cell)
        result = self.result(folder.cell_digests())
        occasion = Occasion(
            arguments=arguments, revision="c0ffee" * 6 + "abcd+", versions={"python": "3.11.2", "torch": "2.6.0"},
            machine="Linux x86_64, 2 cores", started=started, finished="2025-03-01T09:12:00+00:00",
            wall_seconds=712.4, sessions=2,
        )  # fmt: skip
        folder.write_record(Record(identity="ab" * 32, result=result, occasion=occasion))
        return Run(self.root)

    def result(self, digests: dict[str, str]) -> Result:
        data = Data(
            name="us-stocks", source="Sample shipped with fiduciary; adjusted daily closes", currency="USD",
            sha256="0f" * 32, symbols=list(self.accounts), first="2004-12-01", last="2013-12-31", faults=list(self.faults),
        )  # fmt: skip
        facts = ["Orders are decided at the close of day t, filled at the open of day t+1.", "Prices are adjusted."]
        evidence = (
            {"evidence": [self.evidence()], "selection": self.selection(), "splits": self.dates()}
            if self.judged
            else {}
        )
        return Result(
            question=self.question, benchmark="buy-and-hold", judgements=[self.judgement], rows=self.rows,
            accounts=list(self.accounts), seeds=list(self.seeds), train=("2005", "2010"), test=("2011-01-03", "2011-12-19"),
            currency="USD", capital=CASH * len(self.accounts), bars_per_year=PER_YEAR,
            assumptions=[*facts, *([self.note] if self.note else [])],
            alarms=[Alarm(kind="memorised", text=text) for text in self.alarms], data=[data],
            effective={"seeds": list(self.seeds), "env": {"type": "StockTrading", "note": self.note}}, cells=digests,
            **evidence,
        )  # fmt: skip


def row(account: str, policy: str, role: str, cells: Sequence[Cell], paths: Sequence[Path]) -> Row:
    each = [
        metrics.summary(
            np.array(p.days), np.array(p.wealth), np.zeros(len(p.fees)), np.array(p.traded), np.array(p.fees)
        )
        | {"train_return": cell.train_return, "exposure": float(np.mean(p.exposure))}
        for cell, p in zip(cells, paths, strict=True)
    ]
    figures = {name: Estimate(**inference.over_seeds([float(e[name]) for e in each])._asdict()) for name in each[0]}
    return Row(account=account, policy=policy, role=role, figures=figures)


def between(value: float, spread: float) -> dict[str, float]:
    return {"low": value - 1.96 * spread, "high": value + 1.96 * spread}


def build(root: FilePath, **options: object) -> Run:
    """Write a whole run folder."""
    return Sample(root, **options).write()


def big(root: FilePath) -> Run:
    """25 rivals, 10 seeds, 8 splits of a year each."""
    few, alarm = ACCOUNTS[:2], "Seed 2 is a copy of cash."
    return build(root, accounts=few, rivals=23, seeds=tuple(range(10)), splits=8, trials=24, alarms=(alarm,))
