"""The nouns that everyone speaks: what a policy sees, what a step returns, and the protocols between them.

Time runs in bars. A decision is taken with what is known at the close of bar t; `Env.step` moves to bar t+1.
Money is float64 and signed from the account's side; what networks read is float32. B is the batch: B accounts that live
side by side and never meet.
"""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from fiduciary.core.errors import ConfigError

S = TypeVar("S")


class View(NamedTuple):
    """The last `length` bars as a place in one shared tensor; nothing is copied until a policy insists.

    Attributes:
        bars: [M, F] float32, every bar of the world, shared and read-only; [M, N, F] where it holds N assets side by side.
        bar: [B] int64, the bar that is the present of each account.
        length: W, how many bars a policy may look back over, the present included.
        quotes: [M, P] float64, the raw prices behind the bars, [M, N, P] with N assets; their names are `Spec.quotes`. None
            where there are none. Unscaled and as deep as history goes: what rules read, and networks do not.
        since: [B] int64, the first bar of each account's own world; None = bar 0.
    """

    bars: Tensor
    bar: Tensor
    length: int
    quotes: Tensor | None = None
    since: Tensor | None = None

    def window(self, *, out: Tensor | None = None) -> Tensor:
        """Gather the windows, [B, W, F] or [B, W, N, F], oldest bar first; into `out` of that shape, where given."""
        # W bars in a row lie side by side in memory: a window is a row of this overlapping view, gathered in one copy.
        windows = self.bars.unfold(0, self.length, 1).movedim(-1, 1)
        return torch.index_select(windows, 0, self.bar - (self.length - 1), out=out)

    def history(self, length: int) -> Tensor:
        """The quotes of the last `length` bars, [B, L, P] or [B, L, N, P], the present last; NaN before the world began.

        Raises:
            ConfigError: the world quotes no prices.
        """
        if self.quotes is None:
            raise ConfigError(
                "a rule that reads prices needs a world that quotes them", "a view without quotes",
                cause="the environment shows factors alone", remedy="use a rule of this environment's own",
            )  # fmt: skip
        place = self.bar.unsqueeze(-1) + torch.arange(1 - length, 1, device=self.bar.device)
        known = place >= (0 if self.since is None else self.since.unsqueeze(-1))
        gathered = self.quotes[place.clamp(min=0)]
        return torch.where(known.view(*known.shape, *[1] * (gathered.dim() - 2)), gathered, torch.nan)


class Obs(NamedTuple):
    """What a policy may know at t.

    Attributes:
        world: the exogenous past, as a view.
        account: [B, K] float32, what the agent's own past made of it, in fractions; names in `Spec.account`.
        legal: [B, A] bool, actions allowed now; of a continuous action, components that the market lets through now.
    """

    world: View
    account: Tensor
    legal: Tensor


class Ledger(NamedTuple):
    """Where the change of wealth over one step came from, [B] money each, signed.

    Law: wealth_t - wealth_tm1 == pnl + fees + impact + carry, to 1e-9 of wealth.

    Attributes:
        pnl: price moves on the holding.
        fees: commissions and duties, never positive.
        impact: slippage against the quoted price, never positive.
        carry: interest on idle cash.
    """

    pnl: Tensor
    fees: Tensor
    impact: Tensor
    carry: Tensor

    def total(self) -> Tensor:
        """Sum of all entries, [B] money."""
        return self.pnl + self.fees + self.impact + self.carry


class Step(NamedTuple):
    """What one step returns; `transition` builds it for problems that never terminate.

    Attributes:
        reward: [B] float64.
        discount: [B] float64; 0 where the problem ended (terminated), 1 elsewhere, a truncated end included.
        last: [B] bool, the episode ends here, for whichever reason.
        ledger: where the money went.
        traded: [B] money that changed hands, signed: positive bought, negative sold, 0 no trade; [B, N] with N assets.
    """

    reward: Tensor
    discount: Tensor
    last: Tensor
    ledger: Ledger
    traded: Tensor


def transition(reward: Tensor, *, last: Tensor, ledger: Ledger, traded: Tensor) -> Step:
    """A step of a problem that never terminates: an end is a truncation, so its value may be bootstrapped."""
    return Step(reward, torch.ones_like(reward), last, ledger, traded)


Space = Literal["discrete", "box", "simplex"]
"""What an action is: [B] int64, the number of one of A; [B, A] in [-1, 1]; [B, A], not negative, rows that add up to 1."""


class Alarm(NamedTuple):
    """A sign that a result may not mean what it says: its kind in a word or two, and a sentence."""

    kind: str
    text: str


@dataclass(frozen=True)
class Spec:
    """What a policy or a network needs to know about an environment before it sees one observation.

    Attributes:
        name: of the decision problem.
        actions: names of the A discrete actions, in the order of their numbers, or of the A components of a continuous one.
        features: names of the world's F features; none = a world that shows nothing.
        account: names of the K account features; the first is the fraction of wealth at risk, where there is wealth.
        window: W, bars in a view.
        horizon: longest episode, in steps.
        currency: unit of money.
        assumptions: what a reader of results must know, in sentences: execution, costs, limits of the model.
        alarms: those assumptions that flatter every result; a report prints them first.
        space: what an action is.
        assets: names of the N assets whose bars stand side by side in a view; none = one.
        quotes: names of the P raw prices of a view, such as open, high, low, close, volume; none = not shown.
        short: s, the largest short weight of one asset in a simplex, whose point p then means weights (1 + N s) p - s.
    """

    name: str
    actions: tuple[str, ...]
    features: tuple[str, ...]
    account: tuple[str, ...]
    window: int
    horizon: int
    currency: str
    assumptions: tuple[str, ...]
    alarms: tuple[Alarm, ...] = ()
    space: Space = "discrete"
    assets: tuple[str, ...] = ()
    quotes: tuple[str, ...] = ()
    short: float = 0.0


class Source(NamedTuple):
    """One data set behind an environment, for the record.

    Attributes:
        source: where it came from, in words.
        currency: unit of its prices.
        sha256: of the data themselves.
        symbols: what it holds.
        first, last: ISO dates.
        faults: what validation found and let pass, in sentences.
    """

    source: str
    currency: str
    sha256: str
    symbols: tuple[str, ...]
    first: str
    last: str
    faults: tuple[str, ...]


class Env(Protocol[S]):
    """A batched decision problem: a world that moves by itself and an account that only actions change.

    An implementation is a frozen dataclass of constants. All randomness is drawn in `init`; `step` is deterministic.
    """

    @property
    def spec(self) -> Spec:
        """Names, shapes, units and horizon."""
        ...

    def init(self, batch: int, rng: torch.Generator) -> S:
        """Draw `batch` worlds and open an account in each."""
        ...

    def observe(self, state: S) -> Obs:
        """The only door between the world and a policy."""
        ...

    def step(self, state: S, action: Tensor) -> tuple[S, Step]:
        """Fill the orders, move to the next bar and account for it. `action` is [B] int64, or [B, A] where continuous."""
        ...

    def wealth(self, state: S) -> Tensor:
        """[B] float64 money: what the account is worth at the present mark."""
        ...

    def mark(self, state: S) -> Tensor:
        """[B] float64 money: the price at which one unit held is valued now; with several assets, the mean of their prices."""
        ...

    def when(self, state: S) -> Tensor:
        """[B] int64: the present, in days since 1970-01-01."""
        ...

    def perturb(self, state: S, rng: torch.Generator) -> "Env[S]":
        """The same problem in which everything later than the present of `state` (batch of one) is redrawn."""
        ...


@runtime_checkable
class Policy(Protocol):
    """Anything that decides: a rule, a formula, a trained network."""

    def act(self, obs: Obs, carry: Any, rng: torch.Generator | None) -> tuple[Tensor, Any]:
        """Return legal actions of the problem's space and the carry of the next call. `carry` starts as None.

        `rng` None = greedy: the same action every time.
        """
        ...


class Sweep(NamedTuple):
    """What every action would do at every bar, from every state of the account's grid.

    Attributes:
        bar: [T] int64, bars at which a decision is taken, as in `View.bar`.
        account: [T, P, K] float32, what `observe` would show of each of the P account states.
        legal: [T, P, A] bool.
        reward: [T, P, A] float64.
        following: [T, P, A] int64, the state of the account at the next bar.
        discount: [T, P, A] float64; 0 where the problem ends with that step.
        chained: [T] bool, whether the bar after t is row t+1 of this sweep; elsewhere the data end.
        bars: [M, F] float32, the world.
    """

    bar: Tensor
    account: Tensor
    legal: Tensor
    reward: Tensor
    following: Tensor
    discount: Tensor
    chained: Tensor
    bars: Tensor


@runtime_checkable
class Sweepable(Protocol):
    """A problem whose account has few enough states to try every action in each: what counterfactual learners need."""

    def sweep(self) -> Sweep:
        """Every (bar, account state, action) at once."""
        ...


class Solution(NamedTuple):
    """The best that can be done.

    Attributes:
        value: expected sum of discounted rewards of the best policy from the start.
        policy: a policy that attains it.
    """

    value: float
    policy: "Policy"


@runtime_checkable
class Oracle(Protocol):
    """A problem whose solution is known."""

    def solve(self, gamma: float) -> Solution:
        """The best value and a policy that attains it, for the discount `gamma` per step."""
        ...


class Split(NamedTuple):
    """Dates to learn on, to be judged on, and to stop learning by; both ends included; made by `evaluation.splits`.

    Attributes:
        train: first and last date of training.
        test: first and last date of the test.
        valid: the same of validation, or None.
        without: ranges of dates within `train` that must not be learned on: tests, and what is purged around them.
        path: which of several passes through history this test belongs to (combinatorial splits); 0 where there is one.
    """

    train: tuple[str, str]
    test: tuple[str, str]
    valid: tuple[str, str] | None = None
    without: tuple[tuple[str, str], ...] = ()
    path: int = 0


class Fold(NamedTuple):
    """One account's problem on both sides of the split; everything fitted was fitted on the training dates alone.

    Attributes:
        train: training episodes, as many as one likes.
        hindsight: one pass through all training dates, to show how much better a policy looks where it learned.
        test: one pass through all test dates.
        valid: one pass through the dates set aside to stop learning by, or None.
    """

    train: Any
    hindsight: Any
    test: Any
    valid: Any = None


class Watch(Protocol):
    """What a learner may tell, and ask of, whoever runs it."""

    def restore(self) -> dict[str, Any] | None:
        """The last state kept, or None at a fresh start."""
        ...

    def keep(self, state: dict[str, Any]) -> None:
        """Keep `state` (tensors and plain values) so that a killed run continues from here."""
        ...

    def progress(self, done: int, total: int, figures: dict[str, float]) -> None:
        """Report work done and the figures that matter."""
        ...


@runtime_checkable
class Agent(Protocol):
    """Learns; never judges itself."""

    def fit(
        self, env: Env[Any], *, rng: torch.Generator, watch: Watch | None = None, valid: Env[Any] | None = None
    ) -> Policy:
        """Learn a policy on `env`; with `valid`, keep the one that did best there."""
        ...


@runtime_checkable
class Repriced(Protocol):
    """A problem that can be lived through again at other costs: what shows whether an edge is only cheap trading."""

    def at_costs(self, multiple: float) -> Env[Any]:
        """The same problem with every cost of trading times `multiple`; 0 = free."""
        ...


@runtime_checkable
class Prophet(Protocol):
    """A rule that knows the future: not a policy to follow but the bound that none can pass."""

    def foresee(self, env: Env[Any]) -> Policy:
        """The best policy for exactly this world, costs included."""
        ...


@runtime_checkable
class Saveable(Protocol):
    """A policy that can be kept in a record and read back."""

    def save(self, path: str) -> None:
        """Write the policy to one file."""
        ...
