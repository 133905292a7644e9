"""Root seed -> named, independent random streams.

Each consumer (an agent, a rollout, a bootstrap) asks for its own stream by name, so that adding a consumer moves nobody
else's numbers and a cell gives the same result alone, in any order, or in another process.
"""

import hashlib

import numpy as np
import torch


def child(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed that depends on the root `seed` and on every name, in order."""
    key = "\x1f".join([str(seed), *map(str, names)]).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a torch generator of the stream `names` below the root `seed`."""
    return torch.Generator().manual_seed(child(seed, *names))


def numpy_generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return a NumPy generator of the stream `names` below the root `seed`."""
    return np.random.default_rng(child(seed, *names))
