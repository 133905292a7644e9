"""Allocation rules: laws on a real environment, the same optima by other means, closed forms for two assets."""

import sys
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

pytest.importorskip("skfolio")
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

from fiduciary.agents import allocation_rules
from fiduciary.agents.allocation_rules import ALLOCATION, RISK_AVERSION, Method, Optimised, TopMomentum
from fiduciary.agents.weight_rules import Every
from fiduciary.core.checks import check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, View
from fiduciary.envs import PortfolioWeights
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import dynamics

METHODS = get_args(Method)
QUICK = {method: Optimised(method, lookback=60) for method in METHODS} | {"momentum": TopMomentum(2, 60, 5)}


def _walk(bars, symbols=4, seed=0, volatility=0.02):
    return dynamics.random_walk(bars=bars, symbols=symbols, volatility=volatility, rng=np.random.default_rng(seed))


def _returns(n=4, seed=0, length=252):
    """Returns that share a factor, with risks and means of their own."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal((length, n)) * rng.uniform(0.01, 0.03, n)
    return own + 0.01 * rng.standard_normal((length, 1)) + rng.uniform(-0.001, 0.001, n)


def _obs(close, weights=None, legal=None):
    """What one account sees at the last of `close` [L, N]."""
    quotes = torch.from_numpy(np.array(close)).unsqueeze(-1)
    length, n = quotes.shape[:2]
    held = torch.zeros(1, n) if weights is None else torch.tensor([weights], dtype=torch.float32)
    legal = torch.ones(1, n + 1, dtype=torch.bool) if legal is None else torch.tensor([legal])
    view = View(torch.zeros(length, n, 1), torch.tensor([length - 1]), 1, quotes)
    return Obs(view, torch.cat((held.sum(-1, keepdim=True), held), dim=-1), legal)


def _prices(r):
    return 100 * np.vstack((np.ones((1, r.shape[1])), np.cumprod(1 + r, axis=0)))


def _weights(method, r, **options):
    return Optimised(method, lookback=len(r)).act(_obs(_prices(r), **options), None, None)[0][0].numpy()


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "short"), [*((name, 0.0) for name in QUICK), ("hrp", 0.3), ("momentum", 0.3)])
def test_rules_keep_the_contract_of_a_policy(name, short):
    env = PortfolioWeights(_walk(95), short=short)
    rule = Every(replace(QUICK[name], short=short), 10, short)
    check_policy(rule, env, batch=3)
    path = rollout(env, rule, rng=torch.Generator())
    assert path.exposure[-1] > 0.9 and path.traded[10:].sum() > 0


@pytest.mark.parametrize("name", QUICK)
def test_no_rule_sees_the_future_nor_the_unit_of_a_price(name):
    env, rule = PortfolioWeights(_walk(110)), QUICK[name]
    state = env.init(1, torch.Generator())
    for _ in range(45):
        state, _ = env.step(state, torch.full((1, 5), 0.2).double())
    other = env.perturb(state, torch.Generator().manual_seed(1))
    obs, again = env.observe(state), other.observe(state)
    units = torch.tensor([0.01, 1.0, 7.0, 1000.0], dtype=torch.float64).view(1, 4, 1)
    scaled = obs._replace(world=obs.world._replace(quotes=obs.world.quotes * units))
    assert not torch.equal(obs.world.quotes, again.world.quotes)
    action = rule.act(obs, None, None)[0]
    assert float(action[0, 0]) < 1e-6 and torch.equal(action, rule.act(again, None, None)[0])
    assert torch.allclose(action, rule.act(scaled, None, None)[0], atol=1e-6)


@pytest.mark.parametrize("name", ["hrp", "minimum-variance", "momentum"])
def test_a_batch_decides_as_each_account_alone_and_solves_each_past_once(name, monkeypatch):
    env, rule, solved = PortfolioWeights(_walk(120), starts="random"), QUICK[name], []
    inner = allocation_rules._optimal
    monkeypatch.setattr(allocation_rules, "_optimal", lambda *of: solved.append(of) or inner(*of))
    state = env.init(6, torch.Generator().manual_seed(0))
    state = state._replace(t=torch.tensor([70, 90, 70, 110, 90, 70]))
    obs = env.observe(state)
    together = rule.act(obs, None, None)[0]
    assert len(solved) == (0 if name == "momentum" else 3)
    for b in range(6):
        alone = Obs(obs.world._replace(bar=obs.world.bar[b : b + 1]), obs.account[b : b + 1], obs.legal[b : b + 1])
        assert torch.equal(together[b : b + 1], rule.act(alone, None, None)[0])


# --- closed forms and other solvers ----------------------------------------------------------------------------------


def test_two_assets_have_closed_forms():
    r = _returns(2)
    s = np.linalg.inv(ledoit_wolf(r)[0]) @ np.ones(2)
    sigma, shrunk = r.std(0, ddof=1), np.sqrt(np.diag(ledoit_wolf(r)[0]))
    for method, wanted, tolerance in (
        ("inverse-volatility", 1 / sigma, 1e-9),
        ("minimum-variance", s, 1e-4),
        ("risk-parity", 1 / shrunk, 1e-4),
        ("maximum-diversification", 1 / shrunk, 1e-4),
        ("hrp", 1 / shrunk**2, 1e-6),
    ):
        np.testing.assert_allclose(_weights(method, r), [0, *wanted / wanted.sum()], atol=tolerance, err_msg=method)


def _best(utility, n):
    found = minimize(
        lambda w: -1e4 * utility(w), np.full(n, 1 / n), bounds=[(0, 1)] * n, method="SLSQP", tol=1e-12,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )  # fmt: skip
    assert found.success
    return found.x


def _means(method, r, sigma):
    """mu by the formulas of the sources."""
    n, length, sample = r.shape[1], len(r), r.mean(0)
    if method == "mean-variance":
        return sample
    inverse = np.linalg.inv(sigma)
    if method == "mean-variance-robust":  # Jorion (1986), equations 14 and 17
        least = np.ones(n) @ inverse @ sample / (np.ones(n) @ inverse @ np.ones(n))
        gap = sample - least
        phi = (n + 2) / (n + 2 + length * gap @ inverse @ gap)
        return (1 - phi) * sample + phi * least
    market, views, tau = RISK_AVERSION * sigma @ np.full(n, 1 / n), r[:-21].mean(0), 0.05  # He and Litterman (1999)
    omega = np.diag(np.diag(tau * sigma))
    precision = np.linalg.inv(tau * sigma) + np.linalg.inv(omega)
    return np.linalg.solve(precision, np.linalg.solve(tau * sigma, market) + np.linalg.solve(omega, views))


@pytest.mark.parametrize("method", ["mean-variance", "mean-variance-robust", "black-litterman"])
def test_mean_variance_rules_are_the_optima_of_another_solver(method):
    r = _returns(4, seed=1)
    sigma = ledoit_wolf(r)[0]
    risk = sigma
    mu = _means(method, r, sigma)
    if method == "black-litterman":  # the posterior is less certain of the means
        omega = np.diag(np.diag(0.05 * sigma))
        risk = sigma + np.linalg.inv(np.linalg.inv(0.05 * sigma) + np.linalg.inv(omega))
    wanted = _best(lambda w: w @ mu - RISK_AVERSION / 2 * w @ risk @ w, 4)
    np.testing.assert_allclose(_weights(method, r)[1:], wanted, atol=2e-3)


def test_risk_parity_and_diversification_have_their_defining_property():
    r = _returns(5, seed=2)
    sigma = ledoit_wolf(r)[0]
    w = _weights("risk-parity", r)[1:]
    np.testing.assert_allclose(w * (sigma @ w) / (w @ sigma @ w), 0.2, atol=1e-3)
    ratio = lambda w: w @ np.sqrt(np.diag(sigma)) / np.sqrt(w @ sigma @ w)  # noqa: E731
    best = _best(lambda w: ratio(w) * 1e-2, 5)
    assert ratio(_weights("maximum-diversification", r)[1:]) == pytest.approx(ratio(best), rel=1e-6)
    assert _weights("minimum-variance", r)[1:] == pytest.approx(_best(lambda w: -w @ sigma @ w, 5), abs=2e-3)


def test_hierarchical_risk_parity_is_skfolios():
    from skfolio.moments import LedoitWolf
    from skfolio.optimization import HierarchicalRiskParity
    from skfolio.prior import EmpiricalPrior

    r = _returns(6, seed=3)
    wanted = HierarchicalRiskParity(prior_estimator=EmpiricalPrior(covariance_estimator=LedoitWolf())).fit(r).weights_
    np.testing.assert_allclose(_weights("hrp", r)[1:], wanted, atol=1e-9)


def test_equilibrium_alone_is_equal_weight():
    """Views that say what the prior says leave the prior's optimum, 1 / N, but for tau: doubt about means is a risk, too."""
    r = _returns(4, seed=1)
    market = RISK_AVERSION * ledoit_wolf(r)[0] @ np.full(4, 0.25)
    # A shift of means does not move the covariance.
    shifted = r - r[:-21].mean(0) + market
    np.testing.assert_allclose(_weights("black-litterman", shifted)[1:], 0.25, atol=0.01)


def test_top_momentum_holds_the_winners_of_the_year_but_the_last_month():
    close = np.full((253, 4), 100.0)
    close[100:, 1], close[100:, 2], close[-21:, 3] = 130.0, 120.0, 500.0
    close[100:, 0] = 90.0
    assert TopMomentum(2).act(_obs(close), None, None)[0].tolist() == [[0, 0, 0.5, 0.5, 0]]
    legal = [True, True, False, True, True]
    assert TopMomentum(2).act(_obs(close, legal=legal), None, None)[0].tolist() == [[0, 0, 0, 0.5, 0.5]]


# --- what is missing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", QUICK)
def test_assets_without_history_are_left_out_and_nothing_at_all_is_cash(name):
    close = _walk(61)["close"].copy()
    close[:30, 1] = np.nan
    action = QUICK[name].act(_obs(close), None, None)[0]
    assert float(action[0, 2]) == 0 and float(action[0, 1:].sum()) == pytest.approx(1)
    close[0] = np.nan
    assert QUICK[name].act(_obs(close), None, None)[0].tolist() == [[1, 0, 0, 0, 0]]
    kept = QUICK[name].act(_obs(close, [0.25, 0.25, 0.0, 0.0]), None, None)[0]
    assert kept.tolist() == [[0.5, 0.25, 0.25, 0, 0]]


@pytest.mark.parametrize("method", METHODS)
def test_one_asset_gets_everything_and_what_never_moved_nothing(method):
    r = _returns(3)
    r[:, 1:] = 0
    assert _weights(method, r).tolist() == [0, 1, 0, 0]


@pytest.mark.filterwarnings("ignore:The covariance matrix is not positive definite")
@pytest.mark.parametrize("method", METHODS)
def test_twins_are_no_reason_to_fail(method):
    r = _returns(3)
    r[:, 2] = r[:, 1]
    weights = _weights(method, r)
    assert weights.min() >= 0 and weights.sum() == pytest.approx(1) and weights[0] < 1e-6


def test_a_solver_that_fails_leaves_the_weights_alone(monkeypatch):
    from skfolio.exceptions import OptimizationError

    class Failing:
        def fit(self, r):
            raise OptimizationError("no solution")

    monkeypatch.setattr(allocation_rules, "_optimiser", lambda *_: Failing())
    assert _weights("hrp", _returns(2), weights=[0.25, 0.5]).tolist() == [0.25, 0.25, 0.5]


def test_without_skfolio_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skfolio", None)
    with pytest.raises(ConfigError, match=r"fiduciary\[portfolio\]"):
        _weights("hrp", _returns(2))


@pytest.mark.parametrize(
    "make", [lambda: Optimised("markowitz"), lambda: Optimised("hrp", lookback=10), lambda: TopMomentum(2, 21, 21)]
)
def test_settings_that_cannot_mean_what_they_say(make):
    with pytest.raises(ConfigError):
        make()


def test_every_rule_of_the_dictionary_decides_on_its_defaults():
    env = PortfolioWeights(_walk(290), window=255)
    for name, rule in ALLOCATION.items():
        action, _ = rule.act(env.observe(env.init(1, torch.Generator())), None, None)
        assert float(action.sum()) == pytest.approx(1), name
        assert float(action[0, 0]) == pytest.approx(
            {"60-40": 0.4, "s-score": float(action[0, 0])}.get(name, 0), abs=1e-6
        )
