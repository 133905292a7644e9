"""The laws of the contracts, shipped to users: `check_env`, `check_policy`, `check_agent`, `check_factor`.

Each returns its findings (law -> trials and worst figure) and raises `ContractError` at the first law that is broken.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fiduciary.core import trees
from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.core.types import Agent, Env, Policy, Space, Spec, Step, View

MONEY_TOLERANCE = 1e-9
SIMPLEX_TOLERANCE = 1e-5
FACTOR_TOLERANCE = 1e-9


Floats = NDArray[np.float64]


class Law(NamedTuple):
    """A law that held: over how many trials, and the worst deviation seen."""

    name: str
    trials: int
    worst: float


def random_action(space: Space, legal: Tensor, rng: torch.Generator | None) -> Tensor:
    """Uniform over the legal actions; of a continuous action, over the box or the simplex."""
    if space == "discrete":
        return torch.multinomial(legal.double(), 1, generator=rng).squeeze(-1)
    uniform = torch.rand(legal.shape, generator=rng, dtype=torch.float64, device=legal.device)
    if space == "box":
        return 2.0 * uniform - 1.0
    exponential = -torch.log1p(-uniform)
    return exponential / exponential.sum(-1, keepdim=True)


def corners(spec: Spec) -> Tensor:
    """Actions that span the space, one a row: every discrete action, or the extremes and the middle of a continuous one."""
    n = len(spec.actions)
    if spec.space == "discrete":
        return torch.arange(n)
    one = torch.eye(n, dtype=torch.float64)
    middle = torch.zeros(1, n, dtype=torch.float64)
    return torch.cat((one, -one, middle)) if spec.space == "box" else torch.cat((one, middle + 1.0 / n))


def check_env(env: Env[Any], *, seed: int = 0, batch: int = 16, steps: int = 200, blind: int = 20) -> list[Law]:
    """Hold an environment to its contract under random legal actions.

    Args:
        env: the environment.
        seed: root of all randomness of the check.
        batch: accounts side by side.
        steps: steps of each trial, cut to the horizon.
        blind: presents at which the future is redrawn.

    Raises:
        ContractError: naming the law, what was seen and where.
    """
    steps = min(steps, env.spec.horizon)
    return [
        _shapes(env, batch, seed),
        _conserves_money(env, batch, steps, seed),
        _deterministic(env, batch, steps, seed),
        _batch_is_many_singles(env, batch, steps, seed),
        future_blind(env, seed=seed, batch=batch, steps=steps, blind=blind),
    ]


def check_policy(policy: Policy, env: Env[Any], *, seed: int = 0, batch: int = 16, steps: int = 100) -> list[Law]:
    """Hold a policy to its contract: legal int64 actions, and the same ones when asked twice."""
    steps = min(steps, env.spec.horizon)
    first, again = (_actions(policy, env, batch, steps, seed) for _ in range(2))
    _demand(torch.equal(first, again), "a greedy policy must decide the same twice", "two different action sequences")
    return [Law("legal actions, the same twice", first.numel(), 0.0)]


def check_agent(agent: Agent, env: Env[Any], *, seed: int = 0) -> list[Law]:
    """Hold an agent to its contract: equal seeds give policies that act equally, and both keep the policy's contract."""
    first, again = (agent.fit(env, rng=torch.Generator().manual_seed(seed)) for _ in range(2))
    batch, steps = 16, min(100, env.spec.horizon)
    same = torch.equal(_actions(first, env, batch, steps, seed), _actions(again, env, batch, steps, seed))
    _demand(same, "equal seeds must give equal policies", "different actions after two fits with one seed")
    return [*check_policy(first, env, seed=seed), Law("equal seeds, equal policies", steps * batch, 0.0)]


def future_blind(env: Env[Any], *, seed: int = 0, batch: int = 16, steps: int = 200, blind: int = 20) -> Law:
    """Redraw what lies after the present: no observation may move; after the next bar: no step may move.

    An observation is the window, the quotes back to the first bar, the account and the legal actions.

    Args:
        env: the environment.
        seed: root of all randomness of the check.
        batch: accounts side by side, one of which each trial follows.
        steps: most steps before the present, cut to the horizon.
        blind: presents at which the future is redrawn.

    Raises:
        ContractError: naming the law and the date.
    """
    if not (env.spec.features or env.spec.quotes):
        return Law("future-blind: the world shows nothing", 0, 0.0)
    steps = min(steps, env.spec.horizon)
    rng, moved, first = _rng(seed, 1), 0, corners(env.spec)[:1]
    for trial in range(blind):
        # Account after account in turn, since each may live in a world of its own.
        state = trees.pick(env.init(batch, _rng(seed, trial)), trial % batch)
        for _ in range(int(torch.randint(0, max(1, steps - 1), (1,), generator=rng))):
            state, _step = env.step(state, random_action(env.spec.space, env.observe(state).legal, rng))
        place = f"on {np.datetime64(int(env.when(state)[0]), 'D')} (trial {trial})"
        other = env.perturb(state, rng)
        seen, then = env.observe(state), other.observe(state)
        same = trees.equal((*_shown(seen.world), *seen[1:]), (*_shown(then.world), *then[1:]))
        _demand(
            same and torch.equal(env.wealth(state), other.wealth(state)),
            "an observation must not move when everything later is redrawn",
            f"a different observation {place}",
            cause="a factor or the account looks ahead",
        )
        moved += not all(trees.equal(*pair) for pair in _outcomes(env, other, state))
        for (after, step), again in _outcomes(env, env.perturb(env.step(state, first)[0], rng), state):
            _demand(
                trees.equal((after, step), again),
                "a step must not move when everything after the next bar is redrawn",
                f"a different step {place}",
                cause="a fill, a cost or the reward looks ahead",
            )
    _demand(
        moved > 0, "redrawing the future must change some outcome, or the law proves nothing", f"0 of {blind} moved"
    )
    return Law("future-blind observations and steps", blind, 0.0)


class _Factor(Protocol):
    """`factors.Factor`, which this layer may not import."""

    @property
    def name(self) -> str: ...
    @property
    def lookback(self) -> int: ...
    @property
    def compute(self) -> Callable[[Mapping[str, Floats]], Floats]: ...


class _Panel(Protocol):
    """`data.Panel`, likewise."""

    @property
    def dates(self) -> NDArray[np.datetime64]: ...
    @property
    def symbols(self) -> tuple[str, ...]: ...
    @property
    def fields(self) -> tuple[str, ...]: ...
    @property
    def values(self) -> Floats: ...
    @property
    def mask(self) -> NDArray[np.bool_]: ...


def check_factor(
    factor: _Factor | Callable[[Any], NDArray[np.floating]], panel: _Panel, *, seed: int = 0, trials: int = 20
) -> Law:
    """Hold a factor to its law: nothing up to a date moves when every bar after it is redrawn.

    Each trial draws a date, half of them early, where a gap may be filled from behind: of one symbol for a `Factor`, which
    sees one at a time, and of the panel for all else. Later bars become others of the same symbol, prices on another path and
    volumes in another size, and history ends sooner; of a panel, a third of the later bars is taken away, too.

    Args:
        factor: a `Factor`; a `Formula`; or any function of a panel that returns values [..., T, N], one per date and symbol.
        panel: bars to try it on; of a `Factor`, every symbol that has more bars than the look-back.
        seed: root of all randomness of the check.
        trials: how many dates.

    Raises:
        ContractError: naming the factor, the symbol, the first date whose value moved and that of the first bar redrawn.
        ConfigError: no symbol has more bars than the look-back, or no value is known before the last date.
    """
    if callable(factor):
        return _panel_blind(factor, panel, seed, trials)
    rows = {symbol: np.flatnonzero(panel.mask[:, n]) for n, symbol in enumerate(panel.symbols)}
    long = [symbol for symbol in rows if len(rows[symbol]) > factor.lookback]
    if not long:
        raise ConfigError(f"factor {factor.name!r} must be tried on more than {factor.lookback} bars", "fewer")
    rng = np.random.default_rng(seed)
    for trial in range(trials):
        symbol = long[trial % len(long)]
        own, bars = rows[symbol], panel.values[rows[symbol], panel.symbols.index(symbol)]
        present = factor.lookback - 1 + _drawn(len(own) - factor.lookback, rng)
        known, again = (
            factor.compute(dict(zip(panel.fields, table.T, strict=True)))[factor.lookback - 1 : present + 1]
            for table in (bars, _redrawn(bars, panel.fields, present, rng)[: _end(len(bars), present, rng)])
        )
        moved = np.flatnonzero((known != again) & ~(np.isnan(known) & np.isnan(again)))
        if len(moved):
            first, later = panel.dates[own[factor.lookback - 1 + moved[0]]], panel.dates[own[present + 1]]
            raise ContractError(
                f"factor {factor.name!r} must not move when everything later is redrawn",
                f"another value of {symbol} on {first} after redrawing from {later}",
                cause="the factor looks ahead",
            )
    return Law(f"factor {factor.name} is causal", trials, 0.0)


def _panel_blind(function: Callable[[Any], NDArray[np.floating]], panel: _Panel, seed: int, trials: int) -> Law:
    """The law of a function of whole panels. Sums may round anew where bars are gone, so that 1e-9 of a value is no move."""
    name = getattr(function, "name", getattr(function, "__name__", type(function).__name__))
    if len(panel.dates) < 2:
        raise ConfigError(f"factor {name!r} must be tried on more than 1 date", str(len(panel.dates)))
    true, rng = _values(function, panel, name), np.random.default_rng(seed)
    known = np.asarray((~np.isnan(true.reshape(-1, *panel.mask.shape))).any(axis=(0, 2)))
    if not known[:-1].any():
        raise ConfigError(f"factor {name!r} must be known somewhere before a present", "no value before the last date")
    first = int(known.argmax())
    for _ in range(trials):
        present = first + _drawn(len(known) - 1 - first, rng)
        before, after = (
            table[..., : present + 1, :]
            for table in (true, _values(function, _other_future(panel, present, rng), name))
        )
        moved = ~np.isclose(before, after, rtol=FACTOR_TOLERANCE, atol=0, equal_nan=True)
        if moved.any():
            *_k, t, n = np.argwhere(moved)[moved.nonzero()[-2].argmin()]
            raise ContractError(
                f"factor {name!r} must not move when everything later is redrawn",
                f"another value of {panel.symbols[n]} on {panel.dates[t]} after redrawing from {panel.dates[present + 1]}",
                cause="the factor looks ahead",
            )
    return Law(f"factor {name} is causal", trials, 0.0)


def _values(function: Callable[[Any], NDArray[np.floating]], panel: _Panel, name: str) -> Floats:
    out = np.asarray(function(panel), dtype=np.float64)
    _demand(
        out.shape[-2:] == panel.mask.shape,
        f"factor {name!r} must return [..., T, N], one value per date and symbol",
        f"shape {out.shape} for {panel.mask.shape}",
    )
    return out


def _drawn(places: int, rng: np.random.Generator) -> int:
    """One of the first `places`: uniform, or as often uniform in its logarithm."""
    return int(places ** rng.random()) - 1 if rng.random() < 0.5 else int(rng.integers(places))


def _end(length: int, present: int, rng: np.random.Generator) -> int:
    """Where another future ends: within the last quarter and after `present`, so that what counts to the end is found."""
    return int(rng.integers(max(present + 2, length - length // 4), length + 1))


def _other_future(panel: Any, present: int, rng: np.random.Generator) -> Any:
    """`panel` with another history after `present`."""
    end = _end(len(panel.dates), present, rng)
    mask, values = panel.mask[:end].copy(), panel.values[:end].copy()
    for n in range(values.shape[1]):
        own = np.flatnonzero(mask[:, n])
        if len(own):
            values[own, n] = _redrawn(values[own, n], panel.fields, int((own <= present).sum()) - 1, rng)
    mask[present + 1 :] &= rng.random(mask[present + 1 :].shape) > 1 / 3
    values[~mask] = np.nan
    return dataclasses.replace(panel, dates=panel.dates[:end], values=values, mask=mask)


def _redrawn(bars: Floats, fields: tuple[str, ...], present: int, rng: np.random.Generator) -> Floats:
    """[M, F] `bars` whose rows after `present` are any of them, on another path: one for all prices, a size for volume."""
    shape = (len(bars) - present - 1, 1)
    path, size = np.exp(np.cumsum(0.05 * rng.standard_normal(shape), axis=0)), np.exp(rng.standard_normal(shape))
    later = bars[rng.integers(len(bars), size=shape[0])] * np.where([name == "volume" for name in fields], size, path)
    return np.concatenate((bars[: present + 1], later))


# --- the laws of an environment --------------------------------------------------------------------------------------


def _shapes(env: Env[Any], batch: int, seed: int) -> Law:
    state = env.init(batch, _rng(seed))
    obs, spec = env.observe(state), env.spec
    window = obs.world.window()
    assets = (len(spec.assets),) if spec.assets else ()
    wanted = (batch, spec.window, *assets, len(spec.features))
    _demand(window.shape == wanted, f"a window must be [B, W, {'N, ' if assets else ''}F]", str(tuple(window.shape)))
    _demand(bool(window.isfinite().all()), "a window must be finite", "NaN or infinity in the first observation")
    _demand(obs.account.shape == (batch, len(spec.account)), "an account must be [B, K]", str(tuple(obs.account.shape)))
    _demand(obs.legal.shape == (batch, len(spec.actions)), "legal must be [B, A]", str(tuple(obs.legal.shape)))
    # A box needs none: on a day without any trade an order is still an action.
    some = spec.space == "box" or bool(obs.legal.any(-1).all())
    _demand(obs.legal.dtype == torch.bool and some, "some action must be legal", "none")
    _demand(env.wealth(state).dtype == torch.float64, "money must be float64", str(env.wealth(state).dtype))
    return Law("shapes, types and finite windows", batch, 0.0)


def _deterministic(env: Env[Any], batch: int, steps: int, seed: int) -> Law:
    first, again = (_run(env, batch, steps, seed) for _ in range(2))
    for k, (a, b) in enumerate(zip(first, again, strict=True)):
        _demand(trees.equal(a, b), "equal seeds must give equal runs", f"a difference in step {k}")
    return Law("equal seeds, equal runs", batch * steps, 0.0)


def _conserves_money(env: Env[Any], batch: int, steps: int, seed: int) -> Law:
    worst = 0.0
    for before, _action, step, after in _run(env, batch, steps, seed):
        was, now = env.wealth(before), env.wealth(after)
        gap = ((now - was - step.ledger.total()).abs() / was.abs().clamp(min=1.0)).max()
        _demand(
            bool(gap <= MONEY_TOLERANCE),  # false for NaN, too
            f"the ledger must explain wealth to {MONEY_TOLERANCE} of it",
            f"a gap of {float(gap):.3g}",
        )
        worst = max(worst, float(gap))
        _demand(bool((step.discount[step.last] >= 0).all()), "discounts must not be negative", "a negative discount")
    return Law("money conserved", batch * steps, worst)


def _batch_is_many_singles(env: Env[Any], batch: int, steps: int, seed: int) -> Law:
    for k, (state, action, step, after) in enumerate(_run(env, batch, steps, seed)):
        for b in range(batch):
            alone, alone_step = env.step(trees.pick(state, b), action[b : b + 1])
            same = trees.equal(alone, trees.pick(after, b)) and trees.equal(alone_step, trees.pick(step, b))
            _demand(same, "a batch of B must equal B batches of one", f"a difference in step {k}, account {b}")
    return Law("batch of B equals B of one", batch * steps, 0.0)


def _shown(world: View) -> tuple[Tensor, ...]:
    """All that a view of one account lets a policy read: its window and, where prices are quoted, its history from bar 0."""
    if world.quotes is None:
        return (world.window(),)
    history = world.history(int(world.bar) + 1)
    return world.window(), history.nan_to_num(), history.isnan()


def _outcomes(env: Env[Any], other: Env[Any], state: Any) -> list[tuple[Any, Any]]:
    """What every action leads to from `state`, in one world and in the other."""
    every = corners(env.spec)
    actions = [every[a : a + 1] for a in range(len(every))]
    return [(env.step(state, action), other.step(state, action)) for action in actions]


# --- helpers ---------------------------------------------------------------------------------------------------------


def _run(env: Env[Any], batch: int, steps: int, seed: int) -> list[tuple[Any, Tensor, Step, Any]]:
    """(state, action, step, next state) of a run under random legal actions."""
    rng, state, out = _rng(seed), env.init(batch, _rng(seed, 2)), []
    for _ in range(steps):
        action = random_action(env.spec.space, env.observe(state).legal, rng)
        after, step = env.step(state, action)
        out.append((state, action, step, after))
        state = after
    return out


def _actions(policy: Policy, env: Env[Any], batch: int, steps: int, seed: int) -> Tensor:
    state, carry, out = env.init(batch, _rng(seed)), None, []
    for k in range(steps):
        obs = env.observe(state)
        action, carry = policy.act(obs, carry, None)
        _legal(action, obs.legal, env.spec, k)
        state, _step = env.step(state, action)
        out.append(action)
    return torch.stack(out)


def _legal(action: Tensor, legal: Tensor, spec: Spec, k: int) -> None:
    """Demand actions of the problem's space, k steps into an episode."""
    if spec.space == "discrete":
        right = action.shape == legal.shape[:1] and action.dtype == torch.int64
        _demand(right, "actions must be [B] int64", f"{action.shape}, {action.dtype}")
        allowed = bool(legal.gather(-1, action.unsqueeze(-1)).all())
        _demand(allowed, "a policy must choose legal actions", f"an illegal one in step {k}")
        return
    right = action.shape == legal.shape and action.dtype.is_floating_point
    _demand(right, "actions must be [B, A] floats", f"{action.shape}, {action.dtype}")
    if spec.space == "box":
        _demand(bool((action.abs() <= 1.0).all()), "actions must lie in [-1, 1]", f"one outside in step {k}")
    else:
        whole = (action.sum(-1) - 1.0).abs().max() < SIMPLEX_TOLERANCE
        _demand(
            bool((action >= 0).all() and whole), "weights must not be negative and add up to 1", f"others in step {k}"
        )


def _rng(*names: int) -> torch.Generator:
    from fiduciary.core.seeds import generator

    return generator(names[0], "check", *names[1:])


def _demand(holds: bool, rule: str, fact: str, *, cause: str = "") -> None:
    if not holds:
        raise ContractError(rule, fact, cause=cause)
