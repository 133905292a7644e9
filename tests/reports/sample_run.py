"""A small finished run with known series, written as a study would write it."""

import datetime
from pathlib import Path as FilePath

import numpy as np

from fiduciary.evaluation import inference, metrics
from fiduciary.records import Run
from fiduciary.records.folder import Manifest, RunFolder
from fiduciary.records.paths import total
from fiduciary.records.schema import Alarm, Cell, Data, Estimate, Judgement, Occasion, Path, Record, Result, Row

ACCOUNTS = ("AAPL", "GOOG", "IBM", "MSFT")
ROLES = {"lstm-dqn": "candidate", "buy-and-hold": "benchmark", "cash": "baseline", "S&P 500": "yardstick"}
CASH, STEPS = 125_000.0, 250
FIRST = (datetime.date(2011, 1, 3) - datetime.date(1970, 1, 1)).days
DAYS = (12753, 14974)
QUESTION = "Does LSTM-DQN beat buying and holding the same stocks, after costs?"


def weekdays(count: int) -> np.ndarray:
    days = np.arange(FIRST, FIRST + 2 * count)
    return days[(days + 3) % 7 < 5][:count]


def prices(name: str) -> np.ndarray:
    rng = np.random.default_rng(sum(name.encode()) + 3)
    return 100 * np.exp(np.cumsum(rng.normal(0.0004, 0.013, STEPS + 1)))


def path(mark: np.ndarray, held: np.ndarray, capital: float = CASH) -> Path:
    """Hold the share `held` [T] of wealth over each step; every change of it is a trade at 5 basis points."""
    change = np.diff(held, prepend=0.0)
    wealth, fees, traded = [capital], [], []
    for step, (share, change_t) in enumerate(zip(held, change, strict=True)):
        fees.append(-abs(change_t) * wealth[-1] * 0.0005)
        traded.append(change_t * wealth[-1])
        wealth.append(wealth[-1] * (1 + share * (mark[step + 1] / mark[step] - 1)) + fees[-1])
    return Path(
        days=weekdays(STEPS + 1).tolist(), wealth=wealth, mark=mark.tolist(), exposure=[0.0, *held.tolist()],
        action=np.where(change > 0, 1, np.where(change < 0, 2, 0)).tolist(), traded=traded, fees=fees,
    )  # fmt: skip


def learned(account: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng([seed, sum(account.encode())])
    return np.repeat(rng.integers(0, 2, STEPS // 10 + 1), 10)[:STEPS].astype(float)


def curve(seed: int, account: str) -> list[dict[str, float]]:
    rng = np.random.default_rng([7, seed, sum(account.encode())])
    updates = range(50, 2001, 50)
    return [
        {"update": float(u), "loss": float(np.exp(-u / 600) + rng.gamma(2, 0.03)),
         "reward": float(0.05 * (1 - np.exp(-u / 500)) + rng.normal(0, 0.01))}
        for u in updates
    ]  # fmt: skip


def make_cells(accounts: tuple[str, ...], seeds: list[int], candidate: str) -> list[Cell]:
    always, never = np.ones(STEPS), np.zeros(STEPS)
    cells = []
    for account in accounts:
        mark = prices(account)
        rules = {"buy-and-hold": path(mark, always), "cash": path(mark, never)}
        cells += [
            Cell(
                account=account,
                policy=p,
                seed=None,
                train_return=0.2,
                train_days=DAYS,
                test=rules[p],
                curve=[],
            )
            for p in rules
        ]
        cells += [
            Cell(account=account, policy=candidate, seed=seed, train_return=1.0 + seed / 10, train_days=DAYS,
                 test=path(mark, learned(account, seed)), curve=curve(seed, account))
            for seed in seeds
        ]  # fmt: skip
    index = path(prices("S&P 500"), always, CASH * len(accounts))
    return [
        *cells,
        Cell(
            account="S&P 500",
            policy="S&P 500",
            seed=None,
            train_return=0.3,
            train_days=DAYS,
            test=index,
            curve=[],
        ),
    ]


def figures(cells: list[Cell], paths: list[Path]) -> dict[str, Estimate]:
    each = [
        metrics.summary(np.array(p.days), np.array(p.wealth), np.zeros(STEPS), np.array(p.traded), np.array(p.fees))
        | {"train_return": cell.train_return, "exposure": float(np.mean(p.exposure))}
        for cell, p in zip(cells, paths, strict=True)
    ]
    return {name: Estimate(**inference.over_seeds([e[name] for e in each])._asdict()) for name in each[0]}


def make_rows(cells: list[Cell], roles: dict[str, str]) -> list[Row]:
    rows = []
    for policy, role in roles.items():
        own = [cell for cell in cells if cell.policy == policy]
        for account in dict.fromkeys(cell.account for cell in own):
            here = [cell for cell in own if cell.account == account]
            rows.append(Row(account=account, policy=policy, role=role, figures=figures(here, [c.test for c in here])))
        seeds = list(dict.fromkeys(cell.seed for cell in own))
        first = [next(c for c in own if c.seed == seed) for seed in seeds]
        sums = [total([c.test for c in own if c.seed == seed]) for seed in seeds]
        rows.append(Row(account="total", policy=policy, role=role, figures=figures(first, sums)))
    return rows


def make_judgement(cells: list[Cell], candidate: str, seeds: list[int]) -> Judgement:
    def growth(policy: str, seed: int | None) -> np.ndarray:
        paths = [c.test for c in cells if (c.policy, c.seed) == (policy, seed)]
        return metrics.log_returns(np.array(total(paths).wealth))

    verdict = inference.judge(
        np.stack([growth(candidate, seed) for seed in seeds]), growth("buy-and-hold", None), learned=True,
        per_year=252.0, trials=1,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return Judgement(candidate=candidate, benchmark="buy-and-hold", **verdict._asdict())


def build(
    root: FilePath, *, accounts: tuple[str, ...] = ACCOUNTS, seeds: tuple[int, ...] = (0, 1, 2),
    candidate: str = "lstm-dqn", question: str = QUESTION, alarms: tuple[str, ...] = (), faults: tuple[str, ...] = (),
    note: str = "",
) -> Run:  # fmt: skip
    """Write a whole run folder."""
    folder, cells = RunFolder(root), make_cells(accounts, list(seeds), candidate)
    roles = {candidate if name == "lstm-dqn" else name: role for name, role in ROLES.items()}
    arguments = ["fiduciary", "run", "studies/stock-investment.toml", note or "runs/stocks"]
    started = "2025-03-01T09:00:00+00:00"
    known = {"identity": "ab" * 32, "question": question, "started": started, "arguments": arguments}
    folder.write_manifest(Manifest(trials=1, **known))
    for cell in cells:
        folder.write_cell(cell)
    data = Data(
        name="us-stocks", source="Sample shipped with fiduciary; adjusted daily closes", currency="USD",
        sha256="0f" * 32, symbols=list(accounts), first="2004-12-01", last="2013-12-31", faults=list(faults),
    )  # fmt: skip
    result = Result(
        question=question, benchmark="buy-and-hold", judgements=[make_judgement(cells, candidate, list(seeds))],
        rows=make_rows(cells, roles), accounts=list(accounts), seeds=list(seeds), train=("2005", "2010"),
        test=("2011-01-03", "2011-12-19"), currency="USD", capital=CASH * len(accounts), bars_per_year=252.0,
        assumptions=["Orders are decided at the close of day t, filled at the open of day t+1.", "Prices are adjusted.",
                     *([note] if note else [])],
        alarms=[Alarm(kind="", text=text) for text in alarms], data=[data],
        effective={"seeds": list(seeds), "env": {"type": "StockTrading", "note": note}}, cells=folder.cell_digests(),
    )  # fmt: skip
    occasion = Occasion(
        arguments=arguments, revision="c0ffee" * 6 + "abcd+", versions={"python": "3.11.2", "torch": "2.6.0"},
        machine="Linux x86_64, 2 cores", started=started, finished="2025-03-01T09:12:00+00:00",
        wall_seconds=712.4, sessions=2,
    )  # fmt: skip
    folder.write_record(Record(identity="ab" * 32, result=result, occasion=occasion))
    return Run(root)
