"""Rules for bandits: indices by hand, draws against the posterior, regrets and Gittins indices against reference numbers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.agents.bandits import KLUCB, UCB1, LinThompson, LinUCB, Thompson, bernoulli_kl, gittins
from fiduciary.core.checks import check_policy
from fiduciary.core.types import Obs
from fiduciary.envs.bandits import BernoulliBandit, LinearBandit, lai_robbins, log_slope, regrets
from fiduciary.envs.tabular import nothing

SMALL, LINEAR = BernoulliBandit(3, 30), LinearBandit(4, 3, horizon=30)


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _counted(*counts, batch=1):
    """What is seen after (successes, failures) of each arm."""
    account = torch.tensor([[0.5, *(float(n) for arm in counts for n in arm)]]).expand(batch, -1)
    return Obs(nothing(torch.zeros(batch)), account, torch.ones(batch, len(counts), dtype=torch.bool))


@pytest.mark.parametrize("policy", [Thompson(), UCB1(), KLUCB()], ids=repr)
def test_contract(policy):
    check_policy(policy, SMALL)


@pytest.mark.parametrize("policy", [LinUCB(), LinThompson()], ids=repr)
def test_contract_linear(policy):
    check_policy(policy, LINEAR)


@pytest.mark.parametrize("policy", [UCB1(), KLUCB()], ids=repr)
def test_every_arm_is_pulled_once(policy):
    assert policy.act(_counted((3, 0), (0, 0), (0, 0)), None, None)[0].tolist() == [1]
    assert policy.act(_counted((3, 0), (0, 1), (0, 0)), None, None)[0].tolist() == [2]


def test_ucb1_by_hand():
    # 0.5 + sqrt(2 ln 12 / 10) = 1.205 against 1 / 2 + sqrt(2 ln 12 / 2) = 2.076, and against a better one seen as often.
    assert UCB1().act(_counted((5, 5), (1, 1)), None, None)[0].tolist() == [1]
    assert UCB1().act(_counted((5, 5), (6, 4)), None, None)[0].tolist() == [1]
    assert UCB1().act(_counted((90, 10), (7, 3)), None, None)[0].tolist() == [1]
    assert UCB1().act(_counted((90, 10), (70, 30)), None, None)[0].tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)).filter(any), min_size=2, max_size=4))
def test_kl_ucb_chooses_the_arm_that_could_be_best(counts):
    """The index is where n kl = ln t; found here by a fine grid."""
    log_t, q = math.log(sum(map(sum, counts))), torch.linspace(0, 1, 100_001, dtype=torch.float64)[1:-1]
    index = []
    for s, f in counts:
        mean = torch.tensor(s / (s + f), dtype=torch.float64)
        fits = ((s + f) * bernoulli_kl(mean, q) <= log_t) & (q >= mean)
        index.append(float(q[fits].max()) if fits.any() else float(mean))
    chosen = int(KLUCB().act(_counted(*counts), None, None)[0])
    assert index[chosen] >= max(index) - 2e-5


def test_thompson_pulls_as_often_as_an_arm_is_best():
    n = 40_000
    chosen = Thompson().act(_counted((2, 1), (1, 1), batch=n), None, _rng())[0]
    # P(X > Y), X ~ Beta(3, 2), Y ~ Beta(2, 2): the integral of 12 x^2 (1 - x) (3 x^2 - 2 x^3) over [0, 1] is 22 / 35.
    wanted = 22 / 35
    assert abs(float((chosen == 0).double().mean()) - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / n)


def _linear_obs(contexts, gram, moment):
    account = torch.cat((contexts.flatten(), gram.flatten(), moment)).unsqueeze(0)
    return Obs(nothing(torch.zeros(1)), account, torch.ones(1, len(contexts), dtype=torch.bool))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0, 3), st.floats(0.1, 10))
def test_lin_ucb_is_its_formula(seed, alpha, ridge):
    rng = _rng(seed)
    contexts, seen, r = (
        torch.randn(5, 3, generator=rng),
        torch.randn(7, 3, generator=rng),
        torch.randn(7, generator=rng),
    )
    obs = _linear_obs(contexts, seen.T @ seen, seen.T @ r)
    inverse = torch.linalg.inv((seen.T @ seen).double() + ridge * torch.eye(3, dtype=torch.float64))
    theta, x = inverse @ (seen.T @ r).double(), contexts.double()
    index = x @ theta + alpha * torch.einsum("ki,ij,kj->k", x, inverse, x).sqrt()
    assert float(index[LinUCB(alpha, ridge).act(obs, None, None)[0]]) == pytest.approx(float(index.max()), abs=1e-5)


def test_lin_thompson_draws_from_the_posterior():
    """Two arms along the axes: the first wins with probability Phi(difference of means / its standard deviation)."""
    n, gram, moment = 20_000, torch.diag(torch.tensor([3.0, 8.0])), torch.tensor([1.0, 1.5])
    one = _linear_obs(torch.eye(2), gram, moment)
    obs = Obs(nothing(torch.zeros(n)), one.account.expand(n, -1), one.legal.expand(n, -1))
    chosen = LinThompson(scale=0.5).act(obs, None, _rng())[0]
    wanted = float(torch.special.ndtr(torch.tensor((1.0 / 4.0 - 1.5 / 9.0) / (0.5 * math.sqrt(1 / 4 + 1 / 9)))))
    assert abs(float((chosen == 0).double().mean()) - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / n)


# --- regret ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "wanted", "error"),
    [(Thompson(), 7.1, 0.4), (UCB1(), 39.3, 0.5), pytest.param(KLUCB(), 9.4, 0.6, marks=pytest.mark.slow)],
    ids=repr,
)
def test_reference_regrets(policy, wanted, error):
    env = BernoulliBandit((0.9, 0.8), 2_000)
    path = regrets(env, policy, runs=100, rng=_rng(3))
    last = path[:, -1]
    assert abs(float(last.mean()) - wanted) < 4 * math.hypot(error, float(last.std()) / 10)
    assert (log_slope(path) < 2 * lai_robbins(env.arms)) == (not isinstance(policy, UCB1))


def test_reference_regret_of_lin_ucb():
    last = regrets(LinearBandit(), LinUCB(1.0), runs=50, rng=_rng(3))[:, -1]
    assert abs(float(last.mean()) - 2.88) < 4 * math.hypot(0.26, float(last.std()) / math.sqrt(50))


@pytest.mark.parametrize(
    ("state", "index"), [((1, 1), 0.7029), ((1, 2), 0.5001), ((2, 1), 0.8001), ((2, 2), 0.6346), ((3, 1), 0.8452)]
)
def test_gittins_indices_at_a_discount_of_nine_tenths(state, index):
    assert gittins(*state, 0.9) == pytest.approx(index, abs=5.1e-5)


def test_a_gittins_index_at_a_discount_of_99_hundredths():
    assert gittins(2, 2, 0.99) == pytest.approx(0.7844, abs=5.1e-5)
    assert gittins(1, 1, 0.5, depth=40) > 0.5  # what could be learned is worth something
