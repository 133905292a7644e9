"""Risk of a hedged short call against a table computed with a second library, and learned hedges against the exact optimum.

`worst`: the largest deviation from the table, in its tolerance of 1e-4. `learned`: entropic risk (a = 50) of Pathwise at 10 bp;
`shortfall`: expected shortfall of the worst tenth of another Pathwise, which was taught just that.
"""

import math
import time
from dataclasses import replace

import torch

from fiduciary.agents import MLP, Head, Pathwise, Training
from fiduciary.core.types import Policy
from fiduciary.envs.hedging import Book, DeltaHedge, Hedging
from fiduciary.markets.brownian import Brownian
from rows import Figure, row

TOLERANCE, PAIRS, CHUNKS, SEEDS = 1e-4, 100_000, 5, (0, 1, 2)
TABLE = {
    (0.0, False): (0.022574, 0.023042, 0.030618),
    (1.0, False): (0.022763, 0.023234, 0.030854),
    (10.0, False): (0.024469, 0.024971, 0.033012),
    (1.0, True): (0.022644, 0.024615, 0.038109),
    (10.0, True): (0.023200, 0.030853, 0.053829),
}
"""(fee in bp, Whalley-Wilmott band for a = 1 rather than the delta) -> entropic a = 1, a = 50, shortfall of the worst tenth."""
GATE, SHORTFALL_GATE = 0.0246, 0.0327
AGENT = Pathwise(
    net=MLP((), Head((64, 64))), utility="reward", updates=700, accounts=512, horizon=20, sequence=False,
    training=Training(schedule="cosine", clip=1e9),
)  # fmt: skip


@torch.no_grad()
def profit(env: Hedging, policy: Policy, *, seed: int) -> torch.Tensor:
    """Profit and loss over antithetic pairs of paths."""
    price = env.stock.draw(PAIRS, torch.Generator().manual_seed(seed))
    price = torch.cat((price, antithetic(price, env.stock)))
    none = torch.zeros_like(price[:, 0])
    state = Book(none.long(), price, none, none + env.capital)
    for _ in range(env.steps):
        state, _step = env.step(state, policy.act(env.observe(state), None, None)[0])
    return env.wealth(state) - env.capital


def antithetic(price: torch.Tensor, world: Brownian) -> torch.Tensor:
    """The same worlds with every normal variable negated."""
    trend = 2.0 * world.drift * torch.arange(world.steps + 1)
    return world.spot * torch.exp(trend - (price / world.spot).log())


def risks(env: Hedging, policy: Policy) -> tuple[float, float, float]:
    """Entropic risk for a = 1 and a = 50, and expected shortfall of the worst tenth."""
    p = torch.cat([profit(env, policy, seed=seed) for seed in range(1_000, 1_000 + CHUNKS)])
    worst = p.sort().values[: len(p) // 10]
    return entropic(p, 1.0), entropic(p, 50.0), -float(worst.mean())


def entropic(p: torch.Tensor, a: float) -> float:
    return float((torch.logsumexp(-a * p, 0) - math.log(len(p))) / a)


def taught(agent: Pathwise, env: Hedging) -> tuple[list[tuple[float, ...]], list[float]]:
    """The three risks and the CPU seconds of each seed."""
    found, seconds = [], []
    for seed in SEEDS:
        started = time.process_time()
        policy = agent.fit(env, rng=torch.Generator().manual_seed(seed))
        seconds.append(time.process_time() - started)
        found.append(risks(env, policy))
    return list(zip(*found, strict=True)), seconds


def measure() -> dict[str, Figure]:
    torch.set_num_threads(1)
    gaps, shown = [], []
    for (fee_bps, banded), wanted in TABLE.items():
        env = Hedging(fee_bps=fee_bps, risk_aversion=1.0)
        found = risks(env, DeltaHedge(env, banded=banded))
        gaps += [abs(x - y) / TOLERANCE for x, y in zip(found, wanted, strict=True)]
        shown.append(f"{'band' if banded else 'delta'} {fee_bps:g} bp " + "/".join(f"{x:.6f}" for x in found))
    env = Hedging()
    best = -env.certainty(env.solve(1.0).value)
    (_, learned, _), seconds = taught(AGENT, env)
    # Against a large capital growth is in proportion to profit, so that the worst growth is the worst profit.
    tail = replace(AGENT, utility="cvar", tail=0.1, updates=500, accounts=1024)
    (_, _, shortfall), _ = taught(tail, Hedging(capital=10.0))
    paths = AGENT.updates * AGENT.accounts
    return {
        "worst": Figure(
            max(gaps), "tolerances", 1.0, "lower", len(gaps),
            f"largest deviation from the table in units of 1e-4, {2 * PAIRS * CHUNKS:,} paths in antithetic pairs; "
            + "; ".join(shown),
        ),
        "learned": Figure(
            max(learned), "money", GATE, "lower", len(SEEDS),
            f"entropic risk (a = 50) at 10 bp of Pathwise, the worst of seeds {SEEDS}: {[round(x, 6) for x in learned]}; exact "
            f"optimum {best:.6f}; {[round(x, 1) for x in seconds]} CPU seconds for {paths:,} paths each",
        ),
        "shortfall": Figure(
            max(shortfall), "money", SHORTFALL_GATE, "lower", len(SEEDS),
            f"expected shortfall of the worst tenth at 10 bp, the worst of seeds {SEEDS}: {[round(x, 6) for x in shortfall]}",
        ),
    }  # fmt: skip


if __name__ == "__main__":
    row(4, measure)
