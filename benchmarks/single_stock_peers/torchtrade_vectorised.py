"""Steps/s of TorchTrade's vectorised environment, windows of 30 x 10. Argument: environments."""

import sys

import numpy as np
import pandas as pd
import torch
from meter import serve
from torchtrade.envs.offline import VectorizedSequentialTradingEnv, VectorizedSequentialTradingEnvConfig

STEPS = 250


def ten_features(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.reset_index()
    for k in range(10):
        frame[f"features_{k}"] = frame["close"].pct_change().fillna(0.0) * (k + 1)
    return frame


torch.set_num_threads(1)
batch = int(sys.argv[1])
rng = np.random.default_rng(0)
close = 100 * np.exp(np.cumsum(0.02 * rng.standard_normal(2_500)))
frame = pd.DataFrame({"timestamp": pd.date_range("2000", periods=2_500, freq="h"), "open": close, "high": close, "low": close,
                      "close": close, "volume": 1e6})  # fmt: skip
config = VectorizedSequentialTradingEnvConfig(
    num_envs=batch, time_frames="1Hour", execute_on="1Hour", window_sizes=30, transaction_fee=5e-4,
    action_levels=[0.0, 1.0], max_traj_length=STEPS,
)  # fmt: skip
env = VectorizedSequentialTradingEnv(frame, config, feature_preprocessing_fn=ten_features)
actions = torch.randint(0, 2, (STEPS - 1, batch))


def episode() -> int:
    now = env.reset()
    for action in actions:
        now = env.step(now.set("action", action))["next"]
    return actions.numel()


serve(episode)
