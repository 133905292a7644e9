"""Rules over weights: points of the simplex, legal, and what they ask for."""

import numpy as np
import pytest
import torch

from fiduciary.agents.weight_rules import BuyShares, CashWeights, EqualWeight, HoldWeights
from fiduciary.core.checks import check_policy
from fiduciary.core.types import Obs, View
from fiduciary.envs.portfolio_weights import PortfolioWeights
from fiduciary.envs.share_trading import ShareTrading
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import dynamics


def _obs(weights, legal=None):
    weights = torch.tensor(weights)
    account = torch.cat((weights.abs().sum(-1, keepdim=True), weights), dim=-1)
    tradable = (
        torch.ones(len(weights), weights.shape[1] + 1, dtype=torch.bool) if legal is None else torch.tensor(legal)
    )
    return Obs(
        View(torch.zeros(1, weights.shape[1], 1), torch.zeros(len(weights), dtype=torch.int64), 1), account, tradable
    )


def _act(policy, obs):
    return policy.act(obs, None, None)[0]


@pytest.mark.parametrize("short", [0.0, 0.5])
@pytest.mark.parametrize("policy", [EqualWeight, HoldWeights, CashWeights])
def test_rules_keep_the_contract_of_a_policy(policy, short):
    walk = dynamics.random_walk(bars=80, symbols=3, volatility=0.1, rng=np.random.default_rng(0))
    rule = policy() if policy is EqualWeight else policy(short)
    check_policy(rule, PortfolioWeights(walk, window=2, short=short), batch=4)


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
