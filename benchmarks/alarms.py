"""A fault of every kind planted in the whole pipeline, 20 times each: how many are caught, and how many clean studies ring."""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fiduciary.agents.rules import BuyAndHold, Cash
from fiduciary.agents.weight_rules import BuyShares, EqualWeight, HoldWeights
from fiduciary.core import seeds as streams
from fiduciary.core.types import Obs, Split
from fiduciary.data import Panel
from fiduciary.envs import PortfolioWeights, ShareTrading, StockTrading
from fiduciary.evaluation import splits
from fiduciary.factors import Factor, Scaler
from fiduciary.markets import costs, dynamics, venue
from fiduciary.study import Study, Yardstick
from fiduciary.study.alarms import KINDS
from rows import Figure, row

TRIALS, WORKERS = 20, 2
BARS, START, CUT = 320, 20, 140
VOLUME = Factor("volume", 1, lambda bars: np.log(bars["volume"]), ("volume",))
PEEK = Factor("tomorrow", 1, lambda bars: np.append(bars["close"][1:], bars["close"][-1]) / bars["close"], ("close",))
LUCKY = 0.25


# --- policies that need no training ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Follow:
    """Hold while the volume is high, mistaken at one bar in twenty, not the same for every seed; `sign` -1 = the reverse."""

    seed: int = 0
    sign: int = 1

    def act(self, obs: Obs, carry: Any, rng: Any) -> tuple[torch.Tensor, Any]:
        up = (obs.world.window()[:, -1, 0] * self.sign > 0) ^ ((obs.world.bar * 7919 + self.seed) % 20 == 0)
        return torch.where(up & obs.legal[:, 1], 1, torch.where(~up & obs.legal[:, 2], 2, 0)), carry


@dataclass(frozen=True)
class Once:
    """Buy at bar `bar`, and that is all."""

    bar: int

    def act(self, obs: Obs, carry: Any, rng: Any) -> tuple[torch.Tensor, Any]:
        return torch.where((obs.world.bar >= self.bar) & obs.legal[:, 1], 1, 0), carry


@dataclass(frozen=True)
class Spins:
    """Weights or orders that depend on the bar alone: inner ones, or only `bounds`."""

    seed: int
    bounds: bool

    def act(self, obs: Obs, carry: Any, rng: Any) -> tuple[torch.Tensor, Any]:
        draw = torch.rand(
            obs.legal.shape, dtype=torch.float64, generator=streams.generator(self.seed, int(obs.world.bar[0]))
        )
        return (torch.where(draw < 0.5, -1.0, 1.0) if self.bounds else draw / draw.sum(-1, keepdim=True)), carry


@dataclass(frozen=True)
class Memory:
    """Knows which training days rise, and sells what it has after them."""

    rises: torch.Tensor
    last: int

    def act(self, obs: Obs, carry: Any, rng: Any) -> tuple[torch.Tensor, Any]:
        up = (obs.world.bar < self.last) & self.rises[obs.world.bar]
        return torch.where(up & obs.legal[:, 1], 1, torch.where(~up & obs.legal[:, 2], 2, 0)), carry


@dataclass(frozen=True)
class Taught:
    """An agent that comes out as `teach` says of its environment and seed."""

    teach: Callable[[Any, int], Any]

    def fit(self, env: Any, *, rng: torch.Generator, watch: Any = None, valid: Any = None) -> Any:
        return self.teach(env, int(torch.randint(1_000, (1,), generator=rng)))


def by_heart(env: StockTrading, seed: int) -> Memory:
    opens = env.world.fill
    return Memory(torch.cat((opens[2:] > opens[1:-1], torch.zeros(2, dtype=torch.bool))), int(env.world.last[0]))


def lucky(seed: int) -> bool:
    rng = streams.generator(seed, "PLANTED", "learner", "fit")
    return bool(torch.randint(1_000, (1,), generator=rng) < 1_000 * LUCKY)


# --- faulty environments ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Fitted(StockTrading):
    """Its scaler was fitted on all dates."""

    def folds(self, split: Split) -> Any:
        def leak(env: Any) -> Any:
            return env and replace(env, scaler=Scaler.fit(replace(env, scaler=None).world.features[START:].numpy()))

        return {name: type(fold)(*map(leak, fold)) for name, fold in super().folds(split).items()}


@dataclass(frozen=True, eq=False)
class Cheap(StockTrading):
    """Its purchases are filled below the low of the day, and it says nothing of it."""

    @property
    def world(self) -> Any:
        return super().world._replace(fill=super().world.fill * 0.97)


# --- studies ---------------------------------------------------------------------------------------------------------


def cut(panel: Panel, first: int = CUT + 1) -> Split:
    days = [str(day) for day in panel.dates]
    return splits.dates(train=(days[START], days[CUT]), test=(days[first], days[-1]))


def market(rng: np.random.Generator, **options: Any) -> Panel:
    """One stock whose volume tells the direction of the next bar."""
    return dynamics.planted(bars=BARS, rng=rng, **options).panel


def study(panel: Panel, kind: type[StockTrading] = StockTrading, learner: Any = None, **options: Any) -> Study:
    """A learner that follows the volume, against buying and holding; `options` of the environment."""
    settings = {"factors": (VOLUME,), "costs": costs.linear(5), "venue": venue.Venue(lot=0), "window": 2} | options
    learner = learner or (lambda env, seed: Follow(seed))
    return Study("?", kind(panel, **settings), BuyAndHold(), {"learner": Taught(learner)}, cut(panel))


def weights(rng: np.random.Generator, learner: Any, **options: Any) -> Study:
    panel = dynamics.random_walk(bars=BARS, symbols=3, rng=rng)
    env = PortfolioWeights(panel, **{"factors": (VOLUME,), "costs": costs.linear(5), "window": 2} | options)
    return Study("?", env, HoldWeights(env.short), {"learner": Taught(learner)}, cut(panel))


def stacked(*panels: Panel) -> Panel:
    """Panels of one calendar side by side."""
    names = tuple(f"S{n}" for n in range(len(panels)))
    values, mask = (np.concatenate([getattr(panel, of) for panel in panels], axis=1) for of in ("values", "mask"))
    return replace(panels[0], symbols=names, values=values, mask=mask)


def moved(panel: Panel, from_bar: int, by: np.ndarray | float) -> Panel:
    """Prices times `by` from a bar on."""
    values = panel.values.copy()
    values[from_bar:, :, :4] *= np.reshape(by, (-1, 1, 1))
    return replace(panel, values=values)


def trending(rng: np.random.Generator) -> Panel:
    """A rising stock whose volume says nothing."""
    return moved(dynamics.random_walk(bars=BARS, volatility=0.01, rng=rng), 0, np.exp(0.003 * np.arange(BARS)))


def overlapping(rng: np.random.Generator) -> Study:
    clean = study(market(rng))
    days, early = clean.env.panel.dates, int(rng.integers(5, 60))
    return replace(clean, splits=Split(clean.splits.train, (str(days[CUT - early]), str(days[-1]))))


def folded(rng: np.random.Generator) -> Study:
    clean = study(market(rng))
    return replace(
        clean, splits=splits.kfold(clean.env.panel.dates[START:], int(rng.integers(3, 6)), purge=2, embargo=4)
    )


def jumped(rng: np.random.Generator) -> Study:
    panel, bar = dynamics.random_walk(bars=BARS, rng=rng), int(rng.integers(10, BARS - 10))
    return study(moved(panel, bar, rng.choice([1 / 2, 2 / 3, 1 / 3, 1 / 5, 1 / 10, 2.0, 10.0])))


def bounded(rng: np.random.Generator) -> Study:
    panel = dynamics.random_walk(bars=BARS, symbols=2, rng=rng)
    env = ShareTrading(panel, factors=(VOLUME,), costs=costs.linear(5), window=2)
    return Study("?", env, BuyShares(), {"learner": Taught(lambda env, seed: Spins(seed, bounds=True))}, cut(panel))


def remembering(rng: np.random.Generator) -> Study:
    panel = dynamics.random_walk(bars=BARS, volatility=0.03, rng=rng)
    return study(moved(panel, CUT, np.exp(0.02 * np.arange(BARS - CUT))), learner=by_heart)


class Idle(Cash):
    """A benchmark that never trades."""


def late(rng: np.random.Generator) -> Study:
    clean = study(market(rng))
    shorter = replace(
        clean.env, panel=clean.env.panel.between(None, str(clean.env.panel.dates[-int(rng.integers(5, 60))]))
    )
    return replace(clean, yardsticks={"index": Yardstick(shorter, BuyAndHold())})


def lottery(rng: np.random.Generator) -> Study:
    """One lucky seed among four."""
    every = range(100)
    chosen = (*[s for s in every if lucky(s)][:1], *[s for s in every if not lucky(s)][:3])
    learner = lambda env, seed: Follow(seed, sign=1 if seed < 1_000 * LUCKY else -1)  # noqa: E731
    return replace(study(market(rng), learner=learner), seeds=chosen)


PLANTED: dict[str, tuple[str, Callable[[np.random.Generator], Study]]] = {
    "a factor knows tomorrow": ("look-ahead", lambda g: study(market(g), factors=(PEEK, VOLUME))),
    "the scaler was fitted on all dates": ("look-ahead", lambda g: study(market(g), Fitted)),
    "the test begins in the training": ("overlap", overlapping),
    "learns on dates after its tests": ("learned later", folded),
    "orders are filled at the close just seen": ("unobservable fill", lambda g: study(market(g), execution="close")),
    "fills below the low": ("unobservable fill", lambda g: study(market(g), Cheap)),
    "no costs": ("free trading", lambda g: study(market(g), costs=costs.Costs())),
    "shares are borrowed for nothing": (
        "free borrowing", lambda g: weights(g, lambda env, seed: Spins(seed, bounds=False), short=0.5, borrow_rate=0.0)
    ),
    "only survivors": (
        "survivorship", lambda g: study(dynamics.random_walk(bars=560, symbols=2, rng=g))
    ),
    "an unadjusted split": ("unadjusted split", jumped),
    "never trades": ("never traded", lambda g: study(market(g), learner=lambda env, seed: Cash())),
    "buys and holds": ("copy", lambda g: study(market(g), learner=lambda env, seed: BuyAndHold())),
    "buys once": (
        "constant", lambda g: study(market(g), learner=lambda env, seed: Once(CUT + 20 + seed % 60))
    ),
    "equal weights whatever happens": ("constant", lambda g: weights(g, lambda env, seed: EqualWeight())),
    "orders at the bounds": ("saturated", bounded),
    "knows its training days by heart": ("memorised", remembering),
    "an idle benchmark": ("silent benchmark", lambda g: replace(study(market(g)), benchmark=Idle())),
    "an index of other days": ("other days", late),
    "a signal gone the next day": ("fragile", lambda g: study(market(g, edge=0.02, runs=(1, 1)))),
    "one stock of two": ("concentrated", lambda g: study(stacked(market(g), trending(g)))),
    "one lucky seed": ("seed lottery", lottery),
}  # fmt: skip
"""What is planted -> (kind of the alarm that must ring, the study)."""

CLEAN: tuple[Callable[[np.random.Generator], Study], ...] = (
    lambda g: study(market(g)),
    lambda g: study(dynamics.random_walk(bars=BARS, symbols=2, rng=g)),
    lambda g: weights(g, lambda env, seed: Spins(seed, bounds=False)),
    lambda g: study(stacked(market(g), market(g))),
)
"""Skill where there is some, none where there is none, weights, and two stocks with skill in both."""


def rung(job: tuple[str, int]) -> dict[str, str]:
    """Kind -> text of all that rings for one trial of a fault, or of the clean studies ("")."""
    torch.set_num_threads(1)
    what, seed = job
    make = PLANTED[what][1] if what else CLEAN[seed % len(CLEAN)]
    with tempfile.TemporaryDirectory() as scratch:
        made = make(np.random.default_rng((len(what), seed)))
        found = made.run(Path(scratch) / "run", progress=False).result.alarms
    return {alarm.kind: alarm.text for alarm in found}


def measure(trials: int = TRIALS) -> dict[str, Figure]:
    assert {kind for kind, _ in PLANTED.values()} == set(KINDS)
    caught: dict[str, int] = {}
    with get_context("spawn").Pool(WORKERS) as pool:
        for what, (kind, _) in PLANTED.items():
            caught[what] = sum(kind in found for found in pool.imap(rung, [(what, seed) for seed in range(trials)]))
            print(f"  {what:40} {kind:20} caught {caught[what]} of {trials}", flush=True)
        clean = pool.map(rung, [("", seed) for seed in range(trials)], chunksize=1)
    for seed, found in enumerate(clean):
        for kind, text in found.items():
            print(f"  clean study {seed}, yet {kind}: {text}")
    worst = min(caught, key=caught.__getitem__)
    note = f"fewest caught of one fault ({worst}); {len(caught)} faults of {len(KINDS)} kinds, a new market and study each time"
    silent = f"clean studies without any alarm; {len(CLEAN)} sorts of study in turn, three seeds each"
    return {
        "caught": Figure(caught[worst], f"of {trials}", trials, "higher", trials * len(caught), note),
        "clean": Figure(clean.count({}), f"of {trials}", trials, "higher", trials, silent),
    }


if __name__ == "__main__":
    row(4, partial(measure, *map(int, sys.argv[1:])))
