"""Experience replay that stores where a bar is, never what it looks like: tens of bytes a transition."""

from typing import NamedTuple

import torch
from torch import Tensor


class Transitions(NamedTuple):
    """B transitions from t-1 to t; bars are indices into the shared world.

    Attributes:
        bar_tm1, bar_t: [B] int64.
        account_tm1, account_t: [B, K] float32.
        a_tm1: [B] int64.
        r_t: [B] float32.
        discount_t: [B] float32, 0 where the step terminated.
        legal_t: [B, A] bool.
    """

    bar_tm1: Tensor
    account_tm1: Tensor
    a_tm1: Tensor
    r_t: Tensor
    discount_t: Tensor
    bar_t: Tensor
    account_t: Tensor
    legal_t: Tensor


class Replay:
    """A ring of the last `capacity` transitions, sampled uniformly with replacement."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.added = capacity, 0
        self.ring: list[Tensor] = []

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, batch: Transitions) -> None:
        """Append B transitions, overwriting the oldest."""
        if not self.ring:
            self.ring = [part.new_zeros((self.capacity, *part.shape[1:])) for part in batch]
        place = (torch.arange(len(batch.r_t), device=batch.r_t.device) + self.added) % self.capacity
        for slot, part in zip(self.ring, batch, strict=True):
            slot[place] = part
        self.added += len(batch.r_t)

    def sample(self, size: int, rng: torch.Generator) -> Transitions:
        """Draw `size` transitions."""
        place = torch.randint(len(self), (size,), generator=rng, device=rng.device)
        return Transitions(*(slot[place] for slot in self.ring))

    def state(self) -> dict[str, object]:
        """What `load` needs to continue; only the filled part."""
        return {"added": self.added, "ring": [slot[: len(self)].clone() for slot in self.ring]}

    def load(self, state: dict[str, object]) -> None:
        """Continue from `state`."""
        self.added = int(state["added"])  # type: ignore[call-overload]
        self.ring = []
        for part in state["ring"]:  # type: ignore[attr-defined]
            slot = part.new_zeros((self.capacity, *part.shape[1:]))
            slot[: len(part)] = part
            self.ring.append(slot)
