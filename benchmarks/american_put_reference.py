"""American puts of Longstaff and Schwartz (2001, table 1): our lattice, our regression on paths, their estimates.

`lattice`: largest deviation from the Bermudan prices of an independent tree. `out_of_sample`: largest excess of the rule that
was regressed, on paths that it has not seen, over the Bermudan price, in standard errors. `in_sample`: largest deviation from
the paper's estimates, in joint standard errors. `speed`: seconds for 100,000 paths of 50 steps beside plain NumPy.
"""

import math
import time

import numpy as np
import torch

from fiduciary.envs.american_put import AmericanPut, Regressed, longstaff_schwartz
from rows import Figure, row

TABLE = [
    (36, 0.2, 1, 4.477811, 4.472, 0.010), (36, 0.2, 2, 4.840226, 4.821, 0.012), (36, 0.4, 1, 7.101265, 7.091, 0.020),
    (38, 0.2, 1, 3.250124, 3.244, 0.009), (38, 0.4, 2, 7.668027, 7.669, 0.022), (42, 0.2, 1, 1.616977, 1.617, 0.007),
    (42, 0.4, 2, 6.244310, 6.243, 0.021), (44, 0.4, 1, 3.947686, 3.957, 0.017),
]  # fmt: skip
"""S, sigma, T, Bermudan price with 50 dates a year, the paper's estimate and its standard error."""
PATHS = 100_000


def numpy_price(price: np.ndarray, strike: float, discount: float) -> float:
    """The same regression in plain NumPy."""
    cash = np.maximum(strike - price[:, -1], 0.0)
    for t in range(price.shape[1] - 2, 0, -1):
        cash *= discount
        now = strike - price[:, t]
        paths = now > 0
        basis = np.vander(price[paths, t] / strike, 4)
        fitted = basis @ np.linalg.lstsq(basis, cash[paths], rcond=None)[0]
        cash[paths] = np.where(now[paths] >= fitted, now[paths], cash[paths])
    return float(discount * cash.mean())


def out_of_sample(env: AmericanPut, policy: Regressed) -> tuple[float, float]:
    """Mean and standard error of the rule on fresh paths."""
    state = env.init(PATHS, torch.Generator().manual_seed(2))
    for _ in range(env.dates):
        state, _step = env.step(state, policy.act(env.observe(state), None, None)[0])
    paid = env.wealth(state) - env.capital
    return float(paid.mean()), float(paid.std()) / math.sqrt(PATHS)


def measure() -> dict[str, Figure]:
    torch.set_num_threads(1)
    lattice, inside, outside, shown, ours, theirs = [], [], [], [], [], []
    for spot, sigma, years, bermudan, published, error in TABLE:
        env = AmericanPut(spot=spot, sigma=sigma, years=years, dates=50 * years)
        discount = math.exp(-env.rate / 50)
        lattice.append(abs(env.solve(1.0).value - bermudan))
        price = env.stock.draw(PATHS, torch.Generator().manual_seed(1))
        started = time.process_time()
        fitted = longstaff_schwartz(price, env.strike, discount=discount)
        ours.append((time.process_time() - started) / years)
        started = time.process_time()
        peer = numpy_price(price.numpy().copy(), env.strike, discount)
        theirs.append((time.process_time() - started) / years)
        assert abs(peer - fitted.price) < 1e-6
        mean, se = out_of_sample(env, Regressed(env, fitted.coefficients))
        inside.append(abs(fitted.price - published) / math.hypot(fitted.error, error))
        outside.append((mean - bermudan) / se)
        shown.append(f"{spot}/{sigma}/{years}: {fitted.price:.4f} in, {mean:.4f} out of sample")
    note = "; ".join(shown)
    return {
        "lattice": Figure(max(lattice), "money", 1e-4, "lower", len(TABLE), "largest deviation from Bermudan prices, K = 40"),
        "out_of_sample": Figure(max(outside), "standard errors", 3.0, "lower", len(TABLE), f"{PATHS:,} fresh paths; {note}"),
        "in_sample": Figure(max(inside), "standard errors", 3.0, "lower", len(TABLE), f"{PATHS:,} paths, cubic; {note}"),
        "speed": Figure(
            float(np.median(ours)), "CPU seconds", None, "lower", len(TABLE),
            f"regression of {PATHS:,} paths of 50 steps on one core, drawing left out; the same price to 1e-6",
            peer="plain NumPy", peer_value=float(np.median(theirs)),
        ),
    }  # fmt: skip


if __name__ == "__main__":
    row(4, measure)
