"""Experience replay that stores where a bar is, never what it looks like: tens of bytes a transition."""

from typing import NamedTuple

import torch
from torch import Tensor

from fiduciary.agents import ops


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
    """A ring of the last `capacity` transitions, sampled uniformly with replacement.

    Where `accounts` accounts step side by side and every step is added whole, the ring is [time, accounts]: what an account
    did next lies `accounts` places on, so n steps and stretches are read by index and nothing is stored twice.

    Args:
        capacity: transitions; rounded down to whole steps of all accounts.
        accounts: transitions per `add`; 1 = any number, and then no order in time is known.
    """

    def __init__(self, capacity: int, *, accounts: int = 1) -> None:
        self.capacity, self.accounts, self.added = capacity - capacity % accounts, accounts, 0
        self.ring: list[Tensor] = []

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, batch: Transitions, last_t: Tensor | None = None) -> Tensor:
        """Append B transitions, overwriting the oldest; returns their places [B].

        `last_t` [B] bool tells where an episode ended, for whichever reason: no n-step return reaches across it.
        """
        parts = (*batch, torch.zeros_like(batch.r_t, dtype=torch.bool) if last_t is None else last_t)
        if not self.ring:
            self.ring = [part.new_zeros((self.capacity, *part.shape[1:])) for part in parts]
        place = (torch.arange(len(batch.r_t), device=batch.r_t.device) + self.added) % self.capacity
        for slot, part in zip(self.ring, parts, strict=True):
            slot[place] = part
        self.added += len(batch.r_t)
        return place

    def sample(self, size: int, rng: torch.Generator) -> Transitions:
        """Draw `size` transitions."""
        return self.rows(self.draw(size, rng))

    def draw(self, size: int, rng: torch.Generator) -> Tensor:
        """Places [size] of transitions, uniform with replacement."""
        return torch.randint(len(self), (size,), generator=rng, device=rng.device)

    def rows(self, place: Tensor) -> Transitions:
        """The transitions at `place` [B]."""
        return Transitions(*(slot[place] for slot in self.ring[:-1]))

    def along(self, place: Tensor, length: int) -> Tensor:
        """Places [B, length] of what the accounts at `place` [B] did from there on.

        Past an account's newest transition they go on with its oldest.
        """
        ahead = self.accounts * torch.arange(length, device=place.device)
        return (place.unsqueeze(-1) + ahead) % len(self)

    def returns(self, place: Tensor, n: int, gamma: float) -> Transitions:
        """Transitions over n steps from `place` [B]: r_t is their return, discount_t their discount, gamma included.

        They reach less far where the episode, or what is known of it, ends sooner. A truncated end keeps its discount, so
        that its value is bootstrapped from the state it was cut off in; a terminated one has discount 0.
        """
        path = self.along(place, n)
        steps, last = self.rows(path), self.ring[-1][path]
        known = (self.added - 1 - place) % len(self) // self.accounts  # steps that the same account made since
        gone = last.long().cumsum(-1) - last.long()  # ends before this step
        live = (gone == 0) & (torch.arange(n, device=place.device) <= known.unsqueeze(-1))
        r_t, discount_t = ops.n_step_return(steps.r_t, gamma * steps.discount_t, live)
        end = torch.arange(len(place), device=place.device), live.sum(-1) - 1
        bar_tm1, account_tm1, a_tm1 = (part[:, 0] for part in steps[:3])
        after = (steps.bar_t[end], steps.account_t[end], steps.legal_t[end])
        return Transitions(bar_tm1, account_tm1, a_tm1, r_t, discount_t, *after)

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


class Priorities:
    """Proportional prioritisation of the places of a ring (Schaul et al. 2016, section 3.3).

    A draw is one cumulative sum over all places: up to some 10^5 of them that is faster in tensors than the log2 levels of
    a sum tree, and it is exact, where a tree gathers rounding.

    Args:
        capacity: places.
        alpha: P(i) = p_i^alpha / sum_k p_k^alpha; 0 = uniform.
        device: where draws are made.
    """

    FLOOR = 1e-6
    """Added to the size of every error, so that nothing is never drawn again."""

    def __init__(self, capacity: int, alpha: float, device: torch.device) -> None:
        self.alpha = alpha
        self.power = torch.zeros(capacity, dtype=torch.float64, device=device)  # p^alpha; 0 = empty
        self.top = torch.ones((), dtype=torch.float64, device=device)

    def add(self, place: Tensor) -> None:
        """Give new transitions at `place` [B] the largest priority seen so far: each is likely to be drawn once."""
        self.power[place] = self.top

    def draw(self, size: int, rng: torch.Generator, *, beta: float) -> tuple[Tensor, Tensor]:
        """Places [size], one from each of as many equal shares of the sum, and importance weights [size] float32.

        w_i = (P(i) / min_k P(k))^-beta, which is (N P(i))^-beta divided by its maximum over the draw.
        """
        below = self.power.cumsum(0)
        inside = torch.rand(size, generator=rng, dtype=below.dtype, device=rng.device)
        share = torch.arange(size, device=rng.device) + inside
        place = torch.searchsorted(below, share / size * below[-1])
        power = self.power[place]
        return place, (power / power.min()).pow(-beta).float()

    def update(self, place: Tensor, error: Tensor) -> None:
        """Set p = |error| + floor at `place` [B]."""
        power = (error.detach().double().abs() + self.FLOOR) ** self.alpha
        self.power[place] = power
        self.top = torch.maximum(self.top, power.max())

    def state(self) -> dict[str, Tensor]:
        """What `load` needs to continue."""
        return {"power": self.power.clone(), "top": self.top}

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from `state`."""
        self.power, self.top = state["power"], state["top"]
