"""Every agent on the problems that it claims, as a share of the known optimum: seeds x problems, and the learning curves."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from fiduciary import agents, factors
from fiduciary.core.types import Agent, Fold, Policy
from fiduciary.envs import PortfolioWeights, StockTrading, tabular
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from rows import ROOT, Figure, row
from single_stock_peers import HERE, venv

SEEDS, GAMMA = 3, 0.9
PICTURE = ROOT / "docs" / "images" / "learning-curves.png"
TABLE = ROOT / "docs" / "agents-table.md"
Score = Callable[[Agent, int, "Curve"], float]


class Curve:
    """A Watch that only takes note of the reward while learning."""

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []

    def restore(self) -> dict[str, Any] | None:
        return None

    def keep(self, state: dict[str, Any]) -> None:
        pass

    def progress(self, done: int, total: int, figures: dict[str, float]) -> None:
        if "reward" in figures:
            self.points.append((figures["steps"], figures["reward"]))


def on_table(problem: tabular.Tabular) -> Score:
    """Exact value of the learned policy over that of value iteration, both above the worst policy's."""
    best = problem.solve(GAMMA).value
    worst = -tabular.Tabular(problem.transition, -problem.reward, start=problem.start).solve(GAMMA).value

    def score(agent: Agent, seed: int, curve: Curve) -> float:
        policy = agent.fit(problem, rng=torch.Generator().manual_seed(seed), watch=curve)
        value = float(problem.initial @ problem.values(policy, GAMMA))
        return (value - worst) / (best - worst)

    return score


def on_planted(make: Callable[[dynamics.Planted], Any]) -> Score:
    """Log growth out of sample over the closed-form best."""

    def score(agent: Agent, seed: int, curve: Curve) -> float:
        market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
        dates = [str(day) for day in market.panel.dates]
        cut = splits.dates(train=(dates[60], dates[1_399]), test=(dates[1_400], dates[-1]))
        fold: Fold = next(iter(make(market).folds(cut).values()))
        policy: Policy = agent.fit(fold.train, rng=torch.Generator().manual_seed(seed), watch=curve)
        path, world = rollout(fold.test, policy, rng=torch.Generator()), fold.test.world
        best = market.best_log_growth(int(world.first), int(world.last), 5)
        return float(np.log(path.wealth[-1] / path.wealth[0]) / best)

    return score


def shares(market: dynamics.Planted) -> StockTrading:
    return StockTrading(market.panel, factors.SIM_RELATIVE, costs=costs.linear(5), venue=venue.Venue(lot=0), window=10)


def weights(market: dynamics.Planted) -> PortfolioWeights:
    return PortfolioWeights(market.panel, factors.SIM_RELATIVE, costs=costs.linear(5), window=10)


TRADING = tabular.trading()
TINY = agents.MLP((), agents.Head((64,)))
SMALL = agents.MLP((32,), agents.Head((32,)))
TD = {"net": TINY, "gamma": GAMMA, "updates": 2_000, "lr": 2e-3, "epsilon": 0.3, "copy_every": 50}
MARKET = {"net": SMALL, "gamma": GAMMA, "updates": 2_000}
ON_POLICY = {"gamma": GAMMA, "lr": 2e-3}
PROBLEMS: dict[str, tuple[float, Score, dict[str, Agent]]] = {
    "trading, tabular": (0.99, on_table(TRADING), {
        "DQN": agents.DQN(**TD), "DQN double dueling": agents.DQN(**TD, double=True, dueling=True),
        "DQN n-step prioritised": agents.DQN(**TD, n_step=3, prioritised=True), "QR-DQN": agents.DQN(**TD, quantiles=16),
        "A2C": agents.A2C(net=TINY, updates=1_500, **ON_POLICY), "PPO": agents.PPO(net=TINY, updates=60, **ON_POLICY),
        "Cloning": agents.Cloning(TRADING.solve(GAMMA).policy, net=TINY, updates=300),
        "CMA-ES": agents.CMAES(net=agents.MLP((), agents.Head((8,))), updates=60),
    }),
    "trading, mixed actions": (0.99, on_table(tabular.trading(space="simplex")), {
        "PPO": agents.PPO(net=TINY, updates=150, **ON_POLICY), "DDPG": agents.DDPG(net=TINY, gamma=GAMMA, updates=2_000),
        "TD3": agents.TD3(net=TINY, gamma=GAMMA, updates=2_000), "SAC": agents.SAC(net=TINY, gamma=GAMMA, updates=2_000),
    }),
    "planted signal, shares": (0.9, on_planted(shares), {
        "DQN": agents.DQN(**MARKET), "DQN sequence": agents.DQN(gamma=GAMMA, updates=600, batch=256, sequence=32, lr=3e-3),
        "PPO": agents.PPO(net=SMALL, updates=100, **ON_POLICY), "A2C": agents.A2C(net=SMALL, updates=1_500, **ON_POLICY),
        "ExoQ": agents.ExoQ(), "ExoQ ensemble": agents.ExoQ(ensemble=3, noise=0.1),
    }),
    "planted signal, weights": (0.9, on_planted(weights), {
        "Pathwise": agents.Pathwise(updates=100),
        "Pathwise EIIE": agents.Pathwise(net=agents.EIIE(), sequence=False, updates=150),
        "PPO": agents.PPO(net=SMALL, updates=150, **ON_POLICY), "DDPG": agents.DDPG(net=SMALL, gamma=GAMMA, updates=2_000),
        "TD3": agents.TD3(net=SMALL, gamma=GAMMA, updates=2_000), "SAC": agents.SAC(net=SMALL, gamma=GAMMA, updates=2_000),
    }),
}  # fmt: skip


def measure() -> Figure:
    torch.set_num_threads(1)
    lines, reached, pairs, curves = (
        ["| problem | agent | worst seed | mean | needs |", "|---|---|---:|---:|---:|"],
        0,
        0,
        {},
    )
    only = sys.argv[1:]
    for problem, (need, score, learners) in PROBLEMS.items():
        for name, agent in learners.items():
            if only and name not in only:
                continue
            seen = [Curve() for _ in range(SEEDS)]
            found = [score(agent, seed, curve) for seed, curve in enumerate(seen)]
            lines.append(f"| {problem} | {name} | {min(found):.3f} | {np.mean(found):.3f} | {need:g} |")
            print(lines[-1], flush=True)
            reached, pairs = reached + (min(found) >= need), pairs + 1
            curves[problem, name] = seen
    if not only:
        head = "# Regression table\n\nWritten by `make bench ROW=agents_table`: share of the known optimum.\n\n"
        TABLE.write_text(head + "\n".join(lines) + "\n")
        draw(curves)
    note = (
        f"(agent, problem) pairs whose worst of {SEEDS} seeds reaches its share of the optimum: 99 % of value iteration on "
        "tables (above the worst policy), 90 % of the closed-form log growth out of sample on planted signals"
    )
    return Figure(reached, f"of {pairs} pairs", pairs, "higher", pairs * SEEDS, note)


def draw(curves: dict[tuple[str, str], list[Curve]]) -> None:
    """Mean training reward of a step against environment steps: a panel per problem, a line per seed."""
    table: dict[str, dict[str, list[Any]]] = {problem: {} for problem in PROBLEMS}
    for (problem, name), seen in curves.items():
        if all(curve.points for curve in seen):
            table[problem][name] = [curve.points for curve in seen]
    command = [venv("matplotlib==3.10.0"), HERE / "draw_learning.py", PICTURE]
    subprocess.run(command, input=json.dumps(table), text=True, check=True)


if __name__ == "__main__":
    row(3, measure)
