"""Two problems that every reinforcement learner knows, in batched torch: to tell a slow learner from a wrong one.

`CartPole` and `Pendulum` follow the equations, limits and rewards of Gymnasium's CartPole-v1 and Pendulum-v1, in float64.
Chance picks the first position only; the world shows nothing, the account is the physical observation.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from fiduciary.core.types import Obs, Spec, Step
from fiduciary.envs.tabular import CAPITAL, nothing, paid


class Motion(NamedTuple):
    """Where B bodies are.

    Attributes:
        t: [B] int64, steps taken.
        x: [B, D] float64, positions and speeds in SI units and radians.
        ended: [B] bool, the problem is over.
        wealth: [B] float64, capital plus rewards received.
    """

    t: Tensor
    x: Tensor
    ended: Tensor
    wealth: Tensor


class Body(ABC):
    """A body that moves without chance; a step is differentiable in a continuous action."""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Names, shapes and horizon of this problem."""

    @abstractmethod
    def place(self, draw: Tensor) -> Tensor:
        """First positions [B, D] from `draw` [B, 4] in [0, 1)."""

    @abstractmethod
    def show(self, x: Tensor) -> Tensor:
        """What is seen of `x` [B, D], [B, K]."""

    @abstractmethod
    def move(self, x: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Next positions [B, D], reward [B] and whether the problem is over [B]."""

    def init(self, batch: int, rng: torch.Generator) -> Motion:
        """Draw the first positions."""
        x = self.place(torch.rand((batch, 4), generator=rng, dtype=torch.float64, device=rng.device))
        t = torch.zeros(batch, dtype=torch.int64, device=x.device)
        return Motion(t, x, t.bool(), torch.full_like(x[:, 0], CAPITAL))

    def observe(self, state: Motion) -> Obs:
        """The physical observation; every action is legal."""
        legal = torch.ones(len(state.t), len(self.spec.actions), dtype=torch.bool, device=state.t.device)
        return Obs(nothing(state.t), self.show(state.x).float(), legal)

    def step(self, state: Motion, action: Tensor) -> tuple[Motion, Step]:
        """Move and pay. A body whose episode is over stands still, unpaid."""
        live = ~state.ended & (state.t < self.spec.horizon)
        x, reward, over = self.move(state.x, action)
        x, reward = torch.where(live.unsqueeze(-1), x, state.x), torch.where(live, reward, 0.0)
        t, ended = state.t + live.long(), state.ended | (live & over)
        step = paid(reward, ended=ended, last=ended | (t >= self.spec.horizon))
        return Motion(t, x, ended, state.wealth + reward), step

    def wealth(self, state: Motion) -> Tensor:
        """Capital plus rewards received so far."""
        return state.wealth

    def mark(self, state: Motion) -> Tensor:
        """One: the unit of money."""
        return torch.ones_like(state.wealth)

    def when(self, state: Motion) -> Tensor:
        """Steps taken, as days since 1970-01-01."""
        return state.t


@dataclass(frozen=True)
class CartPole(Body):
    """Push a cart left or right so that its pole stays up: 1 a step, until it leans 12 degrees or leaves the track.

    Barto, Sutton and Anderson (1983), equations of motion as corrected by Florian (2007), Euler steps of 0.02 s.
    """

    @cached_property
    def spec(self) -> Spec:
        """Two pushes, four numbers, 500 steps."""
        return _spec("cart-pole", ("left", "right"), ("position", "velocity", "angle", "angular velocity"), 500)

    def place(self, draw: Tensor) -> Tensor:
        """Each number uniform on [-0.05, 0.05)."""
        return 0.1 * draw - 0.05

    def show(self, x: Tensor) -> Tensor:
        """All of it: position (m), velocity, angle (rad, 0 upright), angular velocity."""
        return x

    def move(self, x: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Pushes of 10 N; cart 1 kg, pole 0.1 kg with its centre of mass at 0.5 m."""
        velocity, angle, spin = x[:, 1], x[:, 2], x[:, 3]
        sin, cos = angle.sin(), angle.cos()
        push = (20.0 * action - 10.0 + 0.05 * spin**2 * sin) / 1.1
        spin_rate = (9.8 * sin - cos * push) / (0.5 * (4.0 / 3.0 - 0.1 * cos**2 / 1.1))
        acceleration = push - 0.05 * spin_rate * cos / 1.1
        x = x + 0.02 * torch.stack((velocity, acceleration, spin, spin_rate), dim=-1)
        over = (x[:, 0].abs() > 2.4) | (x[:, 2].abs() > 12.0 * 2.0 * math.pi / 360.0)
        return x, torch.ones_like(velocity), over

    def perturb(self, state: Motion, rng: torch.Generator) -> "CartPole":
        """The same problem: nothing later is left to chance."""
        return self


@dataclass(frozen=True)
class Pendulum(Body):
    """Swing a pendulum up and hold it there with a torque too weak to lift it at once. Never over, cut off after 200 steps.

    reward = -(angle^2 + 0.1 spin^2 + 0.001 torque^2), angle in [-pi, pi), 0 upright; torque = 2 action, in Nm.
    """

    @cached_property
    def spec(self) -> Spec:
        """One torque, three numbers, 200 steps."""
        names = ("cosine of the angle", "sine of the angle", "angular velocity")
        return _spec("pendulum", ("torque",), names, 200, continuous=True)

    def place(self, draw: Tensor) -> Tensor:
        """Angle uniform on [-pi, pi), angular velocity on [-1, 1)."""
        return (2.0 * draw[:, :2] - 1.0) * torch.tensor([math.pi, 1.0], dtype=torch.float64, device=draw.device)

    def show(self, x: Tensor) -> Tensor:
        """Cosine and sine of the angle, angular velocity (rad/s)."""
        return torch.stack((x[:, 0].cos(), x[:, 0].sin(), x[:, 1]), dim=-1)

    def move(self, x: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A rod of 1 kg and 1 m, gravity 10 m/s^2, at most 8 rad/s, steps of 0.05 s (semi-implicit Euler)."""
        angle, spin = x[:, 0], x[:, 1]
        torque = 2.0 * action[:, 0].double().clamp(-1.0, 1.0)
        wrapped = (angle + math.pi) % (2.0 * math.pi) - math.pi
        reward = -(wrapped**2 + 0.1 * spin**2 + 0.001 * torque**2)
        spin = (spin + 0.05 * (15.0 * angle.sin() + 3.0 * torque)).clamp(-8.0, 8.0)
        x = torch.stack((angle + 0.05 * spin, spin), dim=-1)
        return x, reward, torch.zeros_like(spin, dtype=torch.bool)

    def perturb(self, state: Motion, rng: torch.Generator) -> "Pendulum":
        """The same problem: nothing later is left to chance."""
        return self


def _spec(
    name: str, actions: tuple[str, ...], account: tuple[str, ...], horizon: int, *, continuous: bool = False
) -> Spec:
    return Spec(
        name=name, actions=actions, features=(), account=account, window=1, horizon=horizon, currency="units",
        assumptions=("no friction; Euler steps, as in Gymnasium",), space="box" if continuous else "discrete",
    )  # fmt: skip
