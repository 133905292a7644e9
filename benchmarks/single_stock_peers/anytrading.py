"""Steps/s of gym-anytrading: one StocksEnv, windows of 30 with its two features (views: nothing is copied)."""

import numpy as np
import pandas as pd
from gym_anytrading.envs import StocksEnv
from meter import serve

STEPS = 250

rng = np.random.default_rng(0)
close = 100 * np.exp(np.cumsum(0.02 * rng.standard_normal(STEPS + 30)))
env = StocksEnv(pd.DataFrame({"Close": close}), window_size=30, frame_bound=(30, STEPS + 30))
actions = rng.integers(0, 2, size=STEPS).tolist()


def episode() -> int:
    env.reset()
    taken, over = 0, False
    while not over:
        _obs, _reward, done, truncated, _info = env.step(actions[taken])
        taken, over = taken + 1, done or truncated
    return taken


serve(episode)
