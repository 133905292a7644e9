"""The laws must hold for our environment, and must fail for environments that break them."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fiduciary.agents.rules import BuyAndHold, Cash, Random
from fiduciary.core.checks import check_agent, check_env, check_factor, check_policy, future_blind
from fiduciary.core.errors import ConfigError, ContractError
from fiduciary.core.types import View
from fiduciary.envs import ShareTrading, StockTrading
from fiduciary.factors import SIM, SIM_RELATIVE, Factor
from fiduciary.markets.costs import CHINA_A
from fiduciary.markets.venue import Venue


@pytest.mark.parametrize("execution", ["next_open", "next_close", "close"])
def test_stock_trading_keeps_every_law(env, execution):
    laws = check_env(replace(env, execution=execution), batch=8, steps=100)
    assert [law.name for law in laws] == [
        "shapes, types and finite windows",
        "money conserved",
        "equal seeds, equal runs",
        "batch of B equals B of one",
        "future-blind observations and steps",
    ]
    assert all(law.trials > 0 for law in laws)


def test_a_day_without_any_trade_breaks_no_law(walk):
    values = walk.values.copy()
    first = int(ShareTrading(walk).world.first)
    values[first, :, walk.fields.index("volume")] = 0.0
    env = ShareTrading(replace(walk, values=values))
    assert not env.observe(env.init(1, torch.Generator())).legal.any()
    assert check_env(env, batch=2, steps=20, blind=5)


@dataclass(frozen=True, eq=False)
class _PeeksAhead(StockTrading):
    def observe(self, state):
        obs = super().observe(state)
        ahead = (state.t + 1).clamp(max=state.end)
        return obs._replace(world=View(obs.world.bars, ahead, obs.world.length))


@dataclass(frozen=True, eq=False)
class _PrintsMoney(StockTrading):
    def step(self, state, action):
        after, step = super().step(state, action)
        return after._replace(cash=after.cash + 0.01), step


@dataclass(frozen=True, eq=False)
class _MixesAccounts(StockTrading):
    def step(self, state, action):
        after, step = super().step(state, action)
        return after, step._replace(reward=step.reward - step.reward.mean())


class _Restless(StockTrading):
    calls = 0

    def step(self, state, action):
        after, step = super().step(state, action)
        type(self).calls += 1
        return after, step._replace(reward=step.reward + self.calls)


@dataclass(frozen=True, eq=False)
class _DeafPerturbation(StockTrading):
    def perturb(self, state, rng):
        return self


@dataclass(frozen=True, eq=False)
class _RewardsTheFuture(StockTrading):
    def step(self, state, action):
        after, step = super().step(state, action)
        later = torch.minimum(state.t + 5, state.end)
        return after, step._replace(reward=step.reward + self.world.close[later])


@dataclass(frozen=True, eq=False)
class _FillsOnlyWinners(StockTrading):
    def step(self, state, action):
        later = torch.minimum(state.t + 5, state.end)
        wins = self.world.close[later] > self.world.close[state.t]
        return super().step(state, torch.where(wins, action, 0))


@dataclass(frozen=True, eq=False)
class _PeeksInItsSecondWorld(StockTrading):
    def observe(self, state):
        obs = super().observe(state)
        second = state.t >= self.world.first[1]
        ahead = torch.where(second, (state.t + 1).clamp(max=state.end), state.t)
        return obs._replace(world=View(obs.world.bars, ahead, obs.world.length))


@dataclass(frozen=True, eq=False)
class _QuotesAdjusted(StockTrading):
    """Prices divided by the last one, as adjustment for later dividends does."""

    def observe(self, state):
        obs = super().observe(state)
        return obs._replace(world=obs.world._replace(quotes=obs.world.quotes / obs.world.quotes[-1]))


@dataclass(frozen=True, eq=False)
class _LosesNumbers(StockTrading):
    def step(self, state, action):
        after, step = super().step(state, action)
        return after, step._replace(ledger=step.ledger._replace(carry=step.ledger.carry * torch.nan))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (_RewardsTheFuture, "a step must not move when everything after the next bar is redrawn"),
        (_FillsOnlyWinners, "a step must not move when everything after the next bar is redrawn"),
        (_PeeksInItsSecondWorld, "an observation must not move"),
        (_QuotesAdjusted, "an observation must not move"),
        (_LosesNumbers, "the ledger must explain wealth"),
        (_PeeksAhead, "must not move when everything later is redrawn"),
        (_PrintsMoney, "the ledger must explain wealth"),
        (_MixesAccounts, "a batch of B must equal B batches of one"),
        (_Restless, "equal seeds must give equal runs"),
        (_DeafPerturbation, "or the law proves nothing"),
    ],
)
def test_a_broken_law_is_found_and_named(walk, broken, rule):
    with pytest.raises(ContractError, match=rule):
        check_env(broken(walk, window=5, costs=CHINA_A, venue=Venue(lot=0)), batch=4, steps=40)


def test_the_law_of_the_future_stands_alone(env):
    assert future_blind(env, blind=5, steps=40) == ("future-blind observations and steps", 5, 0.0)
    with pytest.raises(ContractError, match=r"a different observation on \d{4}-\d{2}-\d{2} \(trial 0\)"):
        future_blind(_PeeksAhead(env.panel, window=5))


@pytest.mark.parametrize("factor", [*SIM, *SIM_RELATIVE])
def test_every_shipped_factor_is_causal(walk, factor):
    assert check_factor(factor, walk) == (f"factor {factor.name} is causal", 20, 0.0)


def _centred(bars):
    return bars["close"] - bars["close"].mean()


def _next_open(bars):
    return np.append(bars["open"][1:], 0.0)


def _next_volume(bars):
    return np.append(bars["volume"][1:], 0.0)


@pytest.mark.parametrize("compute", [_centred, _next_open, _next_volume])
def test_a_factor_that_looks_ahead_is_named_with_the_date(walk, compute):
    with pytest.raises(
        ContractError, match=r"factor 'sly' must not move .* RW1 on \d{4}-\d{2}-\d{2} after redrawing from"
    ):
        check_factor(Factor("sly", 3, compute), walk, trials=1)


def _next_sign(bars):
    return np.append(np.sign(bars["close"] - bars["open"])[1:], 0.0)


def _share_of_history(bars):
    return np.linspace(0.0, 1.0, len(bars["close"]))


def _filled_from_behind(bars):
    return np.concatenate((np.full(20, bars["close"][:20].mean()), bars["close"][20:]))


@pytest.mark.parametrize("compute", [_next_sign, _share_of_history, _filled_from_behind])
def test_a_look_ahead_that_no_price_path_moves_is_found(walk, compute):
    for seed in range(5):
        with pytest.raises(ContractError, match="must not move"):
            check_factor(Factor("sly", 1, compute), walk, seed=seed)


def test_a_factor_sees_each_symbol_on_its_own_bars(walk):
    mask, values = walk.mask.copy(), walk.values.copy()
    mask[50:60, 0], mask[5:, 1] = False, False
    values[~mask] = np.nan
    panel = replace(walk, mask=mask, values=values)
    seen = []
    check_factor(Factor("length", 10, lambda bars: seen.append(len(bars["close"])) or bars["close"]), panel, trials=3)
    assert set(seen[::2]) == {150}
    assert all(113 <= bars <= 150 for bars in seen[1::2])
    with pytest.raises(ConfigError, match="must be tried on more than 200 bars"):
        check_factor(Factor("long", 200, _centred), panel)


@pytest.mark.parametrize("policy", [BuyAndHold(), Cash(), Random()])
def test_rules_keep_the_contract_of_policies(env, policy):
    assert check_policy(policy, env)


def test_an_illegal_action_is_refused(env):
    class AlwaysSells:
        def act(self, obs, carry, rng):
            return torch.full((len(obs.legal),), 2), carry

    with pytest.raises(ContractError, match="legal actions"):
        check_policy(AlwaysSells(), env)


def test_an_agent_that_ignores_its_seed_is_found(env):
    class Coin:
        def __init__(self, side):
            self.side = side

        def act(self, obs, carry, rng):
            return obs.legal[:, 1].long() * self.side, carry

    class Fickle:
        fits = 0

        def fit(self, env, *, rng, watch=None, valid=None):
            self.fits += 1
            return Coin(self.fits % 2)

    with pytest.raises(ContractError, match="equal seeds must give equal policies"):
        check_agent(Fickle(), env)
