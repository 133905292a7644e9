"""TorchRL trains on ours: frames that its collector gathers through `GymVectorEnv` per second, PPO updates included.

TorchRL is installed into an environment of its own that sees the running one's packages: it has no compiled build for our
PyTorch, and its Python parts suffice here (collector, generalised advantages, clipped loss). `--inside` is the part that
runs there.
"""

import json
import subprocess
import sys
import sysconfig
import time
from pathlib import Path
from typing import Any

from rows import SCRATCH, Figure, row

PEERS = ("torchrl==0.14.1", "tensordict==0.15.3", "pyvers==0.2.3")
FRAMES, ACCOUNTS, SECONDS_AT_MOST = 16_384, 64, 600


def measure() -> Figure:
    run = [str(_python()), "-W", "ignore", __file__, "--inside"]
    done = subprocess.run(run, check=True, capture_output=True, text=True, timeout=SECONDS_AT_MOST)
    found = json.loads(done.stdout.splitlines()[-1])
    note = (
        f"GymWrapper over GymVectorEnv ({ACCOUNTS} accounts, windows of 20 x 10), collecting {found['frames']:,} frames and "
        f"{found['updates']} PPO updates on {found['changed']} of {found['tensors']} weight tensors changed; through GymEnv, "
        f"one account, {FRAMES // ACCOUNTS} frames: {found['single']:,.0f}; both pass check_env_specs; {found['versions']}"
    )
    return Figure(round(found["rate"]), "frames/s", None, "higher", 1, note)


def _python() -> Path:
    """The Python of TorchRL's environment; made at first use."""
    folder = SCRATCH / "torchrl-venv"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        ours, theirs = (
            sysconfig.get_path("purelib"),
            Path(_ask(python, "import sysconfig; print(sysconfig.get_path('purelib'))")),
        )
        (theirs / "running.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *PEERS], check=True)
        (folder / "ready").touch()
    return python


def _ask(python: Path, line: str) -> str:
    return subprocess.run([python, "-c", line], check=True, capture_output=True, text=True).stdout.strip()


# --- inside the environment of TorchRL -------------------------------------------------------------------------------


def inside() -> dict[str, Any]:
    """Check, collect and train through both doors."""
    import numpy as np
    import tensordict
    import torch
    import torchrl
    from torchrl.envs import GymWrapper
    from torchrl.envs.utils import check_env_specs

    from fiduciary.adapters import GymEnv, GymVectorEnv
    from fiduciary.envs import StockTrading
    from fiduciary.markets import dynamics

    torch.set_num_threads(1)
    walk = dynamics.random_walk(bars=2_500, rng=np.random.default_rng(0))
    env = StockTrading(walk, window=20, starts="random", episode=250)
    for door in (GymEnv(env), GymVectorEnv(env, ACCOUNTS)):
        check_env_specs(GymWrapper(door))
    single = train(GymWrapper(GymEnv(env)), frames=FRAMES // ACCOUNTS)
    batch = train(GymWrapper(GymVectorEnv(env, ACCOUNTS)), frames=FRAMES)
    versions = (
        f"torchrl {torchrl.__version__} (Python parts), tensordict {tensordict.__version__}, torch {torch.__version__}"
    )
    return {**batch, "single": single["rate"], "versions": versions}


def train(env: Any, *, frames: int) -> dict[str, Any]:
    """Four rounds of collecting and updating; frames per second and what the updates changed."""
    import torch
    from tensordict.nn import TensorDictModule
    from torch import nn
    from torchrl.collectors import Collector
    from torchrl.modules import ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    torch.manual_seed(0)
    d, a = env.observation_spec["observation"].shape[-1], env.full_action_spec["action"].shape[-1]
    logits = TensorDictModule(_mlp(nn, d, a), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(
        logits, in_keys=["logits"], out_keys=["action"], spec=env.action_spec, return_log_prob=True,
        distribution_class=torch.distributions.OneHotCategorical,
    )  # fmt: skip
    critic = ValueOperator(_mlp(nn, d, 1), in_keys=["observation"])
    loss, advantage = ClipPPOLoss(actor, critic), GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=3e-4)
    before = [weight.clone() for weight in loss.parameters()]
    collector = Collector(env, actor, frames_per_batch=frames // 4, total_frames=frames)
    gathered, updates, began = 0, 0, time.perf_counter()
    for batch in collector:
        gathered += batch.numel()
        advantage(batch)
        parts = loss(batch.reshape(-1))
        total = parts["loss_objective"] + parts["loss_critic"] + parts["loss_entropy"]
        if not bool(total.isfinite()):
            raise RuntimeError(f"a loss must be finite, got {float(total)}")
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        updates += 1
    seconds = time.perf_counter() - began
    collector.shutdown()
    changed = sum(not torch.equal(a, b) for a, b in zip(before, loss.parameters(), strict=True))
    return {
        "rate": gathered / seconds, "frames": gathered, "updates": updates, "changed": changed, "tensors": len(before)
    }  # fmt: skip


def _mlp(nn: Any, inputs: int, outputs: int) -> Any:
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, outputs))


if __name__ == "__main__" and "--inside" in sys.argv:
    print(json.dumps(inside()))
elif __name__ == "__main__":
    row(3, measure)
