"""Steps per second of `ShareTrading` over those of FinRL's NumPy environment, as `share_env_finrl` measures them."""

import numpy as np

from rows import Figure, row
from share_env_finrl import BATCH, rates, ratio


def measure() -> Figure:
    runs, _worst = rates()
    value, interval, theirs = ratio("arrays", runs)
    mine = np.median([run.size for run in runs])
    return Figure(
        round(value, 1), "times the steps per second", 100, "higher", len(runs),
        f"median of pairs; ours {mine:,.0f} steps/s by FinRL's rule, batch {BATCH}; one core each; "
        f"pro rata {np.median([run.prorata / run.arrays for run in runs]):,.0f} times",
        interval=(round(interval[0], 1), round(interval[1], 1)),
        peer="FinRL 0.3.7 env_stocktrading_np", peer_value=round(theirs, 1),
    )  # fmt: skip


row(3, measure)
