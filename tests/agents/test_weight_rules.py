"""Rules over weights: points of the simplex, legal, and what they ask for."""

import numpy as np
import pytest
import torch

from fiduciary.agents.rules import Random
from fiduciary.agents.weight_rules import (
    BuyShares,
    CashWeights,
    EqualWeight,
    Every,
    FixedMix,
    HoldWeights,
    RandomWeights,
    closes,
    mix,
)
from fiduciary.core.checks import check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, View
from fiduciary.envs.portfolio_weights import PortfolioWeights
from fiduciary.envs.share_trading import ShareTrading
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import dynamics
from fiduciary.markets.costs import Costs


def _obs(weights, legal=None):
    weights = torch.tensor(weights)
    account = torch.cat((weights.abs().sum(-1, keepdim=True), weights), dim=-1)
    tradable = (
        torch.ones(len(weights), weights.shape[1] + 1, dtype=torch.bool) if legal is None else torch.tensor(legal)
    )
    return Obs(
        View(torch.zeros(1, weights.shape[1], 1), torch.zeros(len(weights), dtype=torch.int64), 1), account, tradable
    )


def _walk(volatility=0.1):
    return dynamics.random_walk(bars=80, symbols=3, volatility=volatility, rng=np.random.default_rng(0))


def _act(policy, obs):
    return policy.act(obs, None, None)[0]


@pytest.mark.parametrize("short", [0.0, 0.5])
@pytest.mark.parametrize(
    "make",
    [
        lambda s: EqualWeight(), HoldWeights, CashWeights, lambda s: Every(Random("simplex"), 3, s),
        lambda s: FixedMix((0.2, 0.3, 0.1), s), lambda s: RandomWeights(0.1, 0.8, short=s),
    ],
)  # fmt: skip
def test_rules_keep_the_contract_of_a_policy(make, short):
    check_policy(make(short), PortfolioWeights(_walk(), window=2, short=short), batch=4)


def test_equal_weight_leaves_out_what_does_not_trade():
    obs = _obs([[0.2, 0.3], [0.0, 0.0], [0.5, 0.5]], [[True, True, True], [True, False, True], [True, False, False]])
    assert _act(EqualWeight(), obs).tolist() == [[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0]]


def test_hold_buys_once_and_then_asks_for_what_is_held():
    action = _act(HoldWeights(), _obs([[0.0, 0.0], [0.25, 0.5]]))
    assert action.tolist() == [[0, 0.5, 0.5], [0.25, 0.25, 0.5]]
    # With s = 1/2 and N = 2, w = 2 p - 1/2.
    assert (2 * _act(HoldWeights(0.5), _obs([[0.25, -0.25]])) - 0.5)[0, 1:].tolist() == [0.25, -0.25]


def test_hold_comes_back_to_the_bound_on_short_weights():
    action = _act(HoldWeights(0.5), _obs([[1.25, -0.75]]))
    assert (action >= 0).all() and float(action.sum()) == pytest.approx(1.0) and float(action[0, 2]) == 0


def test_cash_sells_whatever_is_held():
    assert _act(CashWeights(), _obs([[0.5, 0.5]])).tolist() == [[1, 0, 0]]
    assert (2 * _act(CashWeights(0.5), _obs([[0.5, 0.5]])) - 0.5)[0, 1:].tolist() == [0, 0]


def test_buying_shares_spends_the_cash_and_holds():
    market = dynamics.random_walk(bars=80, symbols=3, rng=np.random.default_rng(0))
    env = ShareTrading(market, cash=100_000, window=5, max_shares=1_000)
    assert check_policy(BuyShares(), env)
    path = rollout(env, BuyShares(), rng=torch.Generator())
    assert path.exposure[-1] > 0.98
    assert np.abs(path.traded[5:]).max() < 500  # what rounding to shares left over


# --- rules made of rules, mixes and luck -----------------------------------------------------------------------------


def _wealth(policy, **options):
    return rollout(PortfolioWeights(_walk(), window=2, **options), policy, rng=torch.Generator()).wealth


def test_every_bar_is_the_rule_itself_and_never_again_is_to_hold():
    np.testing.assert_array_equal(_wealth(Every(EqualWeight(), 1)), _wealth(EqualWeight()))
    np.testing.assert_allclose(_wealth(Every(EqualWeight(), 10_000)), _wealth(HoldWeights()), rtol=1e-12)


def test_every_few_bars_the_rule_is_asked_and_keeps_what_it_remembers():
    asked = []

    class Counting:
        def act(self, obs, carry, rng):
            asked.append(carry)
            return torch.tensor([[0.5, 0.5, 0.0]]).double(), (carry or 0) + 1

    rule, carry, actions = Every(Counting(), 3), None, []
    for _ in range(7):
        action, carry = rule.act(_obs([[0.25, 0.5]]), carry, None)
        actions.append(action[0].tolist())
    assert asked == [None, 1, 2]
    assert actions == 2 * [[0.5, 0.5, 0.0], *2 * [[0.25, 0.25, 0.5]]] + [[0.5, 0.5, 0.0]]


def test_a_mix_of_named_assets_keeps_its_weights():
    env = PortfolioWeights(_walk(), window=2, costs=Costs())
    rule = mix(env.spec.assets, {"RW3": 0.6, "RW1": 0.3})
    assert rule == FixedMix((0.3, 0.0, 0.6))
    moves = env.panel["close"][1:] / env.panel["close"][:-1] - 1
    path = rollout(PortfolioWeights(_walk(), window=2, costs=env.costs, execution="close"), rule, rng=torch.Generator())
    first = len(moves) - len(path.reward)
    np.testing.assert_allclose(path.wealth[1:] / path.wealth[:-1] - 1, moves[first:] @ [0.3, 0.0, 0.6], atol=1e-12)
    assert _act(FixedMix((0.6,)), _obs([[0.0, 0.0]])).tolist() == [[0.4, 0.3, 0.3]]


@pytest.mark.parametrize("turnover", [0.01, 0.2])
def test_luck_trades_what_it_promises(turnover):
    path = rollout(PortfolioWeights(_walk(0.01), window=2), RandomWeights(turnover, 0.7), rng=torch.Generator())
    paid = path.traded[20:] / path.wealth[20:-1]
    assert paid.mean() == pytest.approx(turnover, rel=0.15)
    assert path.exposure[1:].mean() == pytest.approx(0.7, abs=0.05)
    again = RandomWeights.matching(path.traded, path.wealth, path.exposure, seed=1)
    assert (again.turnover, again.exposure) == pytest.approx((turnover, 0.7), rel=0.15)
    assert not np.array_equal(path.wealth, _wealth(RandomWeights(turnover, 0.7, seed=1)))


def test_closes_repeat_what_is_missing_and_tell_who_has_them_all():
    nan = np.nan
    rows = [
        [9.0, nan, 5.0, 7.0],
        [nan, nan, 5.0, nan],
        [1.0, nan, 5.0, 7.0],
        [nan, 2.0, 5.5, 7.0],
        [3.0, 2.5, 6.0, 7.0],
    ]
    obs = _obs([[0.0] * 4], [[True, True, True, False, True]])
    view = obs.world._replace(quotes=torch.tensor(rows, dtype=torch.float64).unsqueeze(-1), bar=torch.tensor([4]))
    price, usable = closes(obs._replace(world=view), 4, ("close",))
    assert price[0, :, 0].tolist() == [9.0, 1.0, 1.0, 3.0] and price[0, 2:, 1].tolist() == [2.0, 2.5]
    assert price[0, :, 3].tolist() == [7.0] * 4
    assert usable.tolist() == [[True, False, False, True]]


@pytest.mark.parametrize(
    "make", [lambda: Every(EqualWeight(), 0), lambda: FixedMix((0.7, 0.4)), lambda: mix(("SPY", "AGG"), {"AGH": 0.4})]
)
def test_settings_that_cannot_mean_what_they_say(make):
    with pytest.raises(ConfigError):
        make()
