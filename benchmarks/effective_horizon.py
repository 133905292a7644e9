"""How far ahead small financial problems make one look: k and the effective horizon, by exact dynamic programming."""

import torch

from fiduciary.envs.tabular import Tabular, execution, stopping, trading
from fiduciary.evaluation.effective_horizon import effective_horizon
from rows import Figure, row

SHALLOW = 3


def problems() -> dict[str, Tabular]:
    """Trading with costs, optimal stopping and execution on a grid, from easy to hard."""
    trade = {
        f"trading, cost {cost:g}, regime stays {stay:g}": trading(cost=cost, persistence=stay, horizon=20)
        for stay in (0.6, 0.9, 0.98)
        for cost in (0.1, 0.5, 1.5, 3.0)
    }
    stop = {
        f"stopping, {horizon} steps, up {up:g}": stopping(21, up=up, horizon=horizon)
        for horizon in (5, 10, 20)
        for up in (0.4, 0.5, 0.6)
    }
    sell = {
        f"execution, {lots} lots in {steps}, risk {risk:g}": execution(lots, steps, risk=risk)
        for lots, steps in ((4, 4), (8, 4), (8, 8))
        for risk in (0.0, 0.1, 0.5)
    }
    return trade | stop | sell


def measure() -> Figure:
    torch.set_num_threads(1)
    found = {name: effective_horizon(problem) for name, problem in problems().items()}
    print(f"{'problem':42} {'k':>3} {'H':>7} {'stochastic H':>13} {'optimal':>9} {'random':>9}")
    for name, it in found.items():
        print(f"{name:42} {it.k:3d} {it.horizon:7.1f} {it.stochastic:13.1f} {it.optimal:9.3f} {it.random:9.3f}")
    shallow = sum(it.k <= SHALLOW for it in found.values())
    deepest = max(found, key=lambda name: found[name].k)
    note = (
        f"problems whose k is at most {SHALLOW}: acting greedily after {SHALLOW - 1} backups of the random policy's values is "
        f"optimal; deepest: {deepest}, k = {found[deepest].k}"
    )
    return Figure(shallow, f"of {len(found)} problems", None, "higher", len(found), note)


if __name__ == "__main__":
    row(3, measure)
