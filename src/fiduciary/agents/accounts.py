"""Many accounts that step side by side and begin again when their episodes end: where learners get experience."""

from typing import Any

import torch
from torch import Tensor

from fiduciary.core import trees
from fiduciary.core.types import Env, Obs, Step


class Accounts:
    """A batch of accounts in progress.

    Attributes:
        obs: what a policy may know now.
        steps: account-steps so far.
    """

    def __init__(self, env: Env[Any], batch: int, rng: torch.Generator, *, compiled: bool = False) -> None:
        self.env, self.batch, self.rng, self.steps = env, batch, rng, 0
        self._step = torch.compile(env.step) if compiled else env.step
        self.present = env.init(batch, rng)
        self.obs = env.observe(self.present)

    def step(self, action: Tensor) -> tuple[Step, Obs]:
        """Step every account; returns the step and what it led to, before the accounts that ended were opened anew."""
        self.present, step = self._step(self.present, action)
        after = self.obs = self.env.observe(self.present)
        self.steps += self.batch
        if step.last.any():
            self.present = trees.where(step.last, self.env.init(self.batch, self.rng), self.present)
            self.obs = self.env.observe(self.present)
        return step, after

    def state(self) -> dict[str, Any]:
        """What `load` needs to continue, the random stream included."""
        return {"present": trees.leaves(self.present), "rng": self.rng.get_state(), "steps": self.steps}

    def load(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.present = trees.rebuild(self.present, state["present"])
        self.obs = self.env.observe(self.present)
        self.rng.set_state(state["rng"])
        self.steps = state["steps"]
