"""Steps/s of Gym-Trading-Env: one environment, windows of 30 with eight features and the two of the account."""

import numpy as np
import pandas as pd
from gym_trading_env.environments import TradingEnv
from meter import serve

STEPS = 250

rng = np.random.default_rng(0)
close = 100 * np.exp(np.cumsum(0.02 * rng.standard_normal(2_500)))
frame = pd.DataFrame(
    dict.fromkeys(("open", "high", "low", "close"), close), index=pd.bdate_range("2000", periods=2_500)
)
for k in range(8):
    frame[f"feature_{k}"] = rng.standard_normal(len(frame))
env = TradingEnv(
    frame, positions=[0, 1], windows=30, trading_fees=5e-4, initial_position=0, max_episode_duration=STEPS, verbose=0
)
actions = rng.integers(0, 2, size=STEPS).tolist()


def episode() -> int:
    env.reset()
    taken, over = 0, False
    while not over:
        _obs, _reward, done, truncated, _info = env.step(actions[taken])
        taken, over = taken + 1, done or truncated
    return taken


serve(episode)
