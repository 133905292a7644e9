"""Account-steps/s of StockTrading. Arguments: accounts; "windows" to copy the windows out, "indices" to leave them."""

import sys

import numpy as np
import torch
from meter import serve

from fiduciary.envs import StockTrading
from fiduciary.markets import dynamics

STEPS = 250


def main(batch: int, *, windows: bool) -> None:
    torch.set_num_threads(1)
    walk = dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0))
    env = StockTrading(walk, window=30, starts="random", episode=STEPS)  # A-share costs, lots, T+1 and price limits
    rng = torch.Generator().manual_seed(0)
    actions = torch.randint(0, 3, (STEPS, batch), generator=rng)
    out = torch.empty(batch, 30, len(env.spec.features))

    def run() -> int:
        state = env.init(batch, rng)
        taken = int((state.end - state.t).sum())  # an account whose data end sooner is not paid for standing still
        for action in actions:
            obs = env.observe(state)
            if windows:
                obs.world.window(out=out)
            state, _step = env.step(state, action)
        return taken

    serve(run)


main(int(sys.argv[1]), windows=sys.argv[2] == "windows")
