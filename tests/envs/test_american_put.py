"""The put: contract, sweep, oracle against Longstaff and Schwartz's table, regression against the paper's own example."""

import math

import pytest
import torch

from fiduciary.core.checks import check_env, check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Oracle, Sweepable
from fiduciary.envs.american_put import EXERCISE, WAIT, AmericanPut, Regressed, longstaff_schwartz

TABLE = [
    (36, 0.2, 1, 4.477811, 4.472, 0.010),
    (36, 0.2, 2, 4.840226, 4.821, 0.012),
    (36, 0.4, 1, 7.101265, 7.091, 0.020),
    (38, 0.2, 1, 3.250124, 3.244, 0.009),
    (38, 0.4, 2, 7.668027, 7.669, 0.022),
    (42, 0.2, 1, 1.616977, 1.617, 0.007),
    (42, 0.4, 2, 6.244310, 6.243, 0.021),
    (44, 0.4, 1, 3.947686, 3.957, 0.017),
]
"""S, sigma, T; Bermudan with 50 dates a year; the paper's estimate and its standard error (table 1)."""
PAPER = [
    [1.00, 1.09, 1.08, 1.34], [1.00, 1.16, 1.26, 1.54], [1.00, 1.22, 1.07, 1.03], [1.00, 0.93, 0.97, 0.92],
    [1.00, 1.11, 1.56, 1.52], [1.00, 0.76, 0.77, 0.90], [1.00, 0.92, 0.84, 1.01], [1.00, 0.88, 1.22, 1.34],
]  # fmt: skip
"""The eight paths of the paper's section 1."""


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


def _put(spot, sigma, years):
    return AmericanPut(spot=spot, sigma=sigma, years=years, dates=50 * years)


def _live(env, policy, paths=20_000, seed=0):
    state = env.init(paths, _rng(seed))
    for _ in range(env.dates):
        state, step = env.step(state, policy.act(env.observe(state), None, None)[0])
    assert step.last.all() and (step.discount == 0).all() and not state.holds.any()
    return env.wealth(state) - env.capital


def _mean(x):
    return float(x.mean()), float(x.std()) / math.sqrt(len(x))


class Constant:
    def act(self, obs, carry, rng):
        return torch.full_like(obs.world.bar, WAIT), carry


def test_contract():
    env = AmericanPut(dates=12)
    check_env(env)
    assert isinstance(env, Oracle) and isinstance(env, Sweepable)
    check_policy(env.solve(1.0).policy, env)


def test_observations_and_steps_are_blind_to_the_future():
    env = AmericanPut(dates=6)
    state, wait = env.init(1, _rng()), torch.tensor([WAIT])
    for _ in range(3):
        state, _step = env.step(state, wait)
    other = env.perturb(state, _rng(1))
    assert torch.equal(env.observe(state).account, other.observe(state).account)
    for action in (WAIT, EXERCISE):
        assert torch.equal(*(each.step(state, torch.tensor([action]))[1].reward for each in (env, other)))
    after = env.step(state, wait)[0]
    assert not torch.equal(env.observe(after).account, other.observe(after).account)


def test_what_is_paid_by_hand():
    env = AmericanPut(strike=40.0, rate=0.06, years=1.0, dates=2)
    prices = torch.tensor([[36.0, 35.0, 30.0]] * 3, dtype=torch.float64)
    state = env.init(3, _rng())._replace(price=prices)
    state, step = env.step(state, torch.tensor([EXERCISE, WAIT, WAIT]))
    assert step.reward.tolist() == [4.0, 0.0, 0.0] and step.last.tolist() == [True, False, False]
    assert env.observe(state).legal.tolist() == [[True, False], [True, True], [True, True]]
    state, step = env.step(state, torch.tensor([EXERCISE, EXERCISE, WAIT]))
    assert step.reward.tolist() == pytest.approx([0.0, 5.0 * math.exp(-0.03), 10.0 * math.exp(-0.06)])
    assert step.last.all() and env.wealth(state).tolist() == pytest.approx((100.0 + torch.tensor(
        [4.0, 5.0 * math.exp(-0.03), 10.0 * math.exp(-0.06)])).tolist())  # fmt: skip


def test_the_sweep_is_what_step_would_do():
    env = AmericanPut(dates=4, paths=50)
    sweep, rows = env.sweep(), env.dates + 1
    state = env.init(50, _rng())._replace(price=env.stock.draw(50, _rng()))  # the sweep's own worlds
    for t in range(env.dates):
        row = torch.arange(50) * rows + t
        obs = env.observe(state)
        assert torch.equal(sweep.account[row, 0], obs.account) and torch.equal(sweep.legal[row, 0], obs.legal)
        for action in (WAIT, EXERCISE):
            after, step = env.step(state, torch.full((50,), action))
            torch.testing.assert_close(sweep.reward[row, 0, action], step.reward)
            assert torch.equal(sweep.discount[row, 0, action], step.discount)
            assert torch.equal(sweep.following[row, 0, action] == 0, after.holds)
        assert sweep.chained[row].all()
        state = env.step(state, torch.zeros(50, dtype=torch.int64))[0]
    assert not sweep.chained[torch.arange(50) * rows + env.dates].any()
    assert (sweep.reward[:, 1] == 0).all() and (sweep.following[:, 1] == 1).all()
    assert not sweep.legal[torch.arange(50) * rows + env.dates, :, EXERCISE].any()


@pytest.mark.parametrize(
    "line", [*TABLE[:1], TABLE[-1], *(pytest.param(line, marks=pytest.mark.slow) for line in TABLE[1:-1])], ids=str
)
def test_prices_of_the_paper(line):
    *problem, bermudan, published, error = line
    env = _put(*problem)
    assert env.solve(1.0).value == pytest.approx(bermudan, abs=1e-5)
    fitted = longstaff_schwartz(env.stock.draw(10_000, _rng(1)), 40.0, discount=math.exp(-0.06 / 50))
    assert abs(fitted.price - published) < 3 * math.hypot(fitted.error, error) + 0.01
    mean, se = _mean(_live(env, Regressed(env, fitted.coefficients), paths=10_000, seed=2))
    assert bermudan - 0.03 - 3 * se < mean < bermudan + 3 * se


def test_the_oracle_equals_quantlib_s_bermudan_tree():
    ql = pytest.importorskip("QuantLib")
    today, count = ql.Date(1, 1, 2024), ql.Actual365Fixed()
    ql.Settings.instance().evaluationDate = today
    dates = [today + int(365 * k / 5) for k in range(1, 6)]
    flat = [ql.YieldTermStructureHandle(ql.FlatForward(today, r, count)) for r in (0.0, 0.06)]
    sigma = ql.BlackVolTermStructureHandle(ql.BlackConstantVol(today, ql.NullCalendar(), 0.3, count))
    process = ql.BlackScholesMertonProcess(ql.QuoteHandle(ql.SimpleQuote(38.0)), *flat, sigma)
    option = ql.VanillaOption(ql.PlainVanillaPayoff(ql.Option.Put, 40.0), ql.BermudanExercise(dates))
    option.setPricingEngine(ql.FdBlackScholesVanillaEngine(process, 400, 800))
    env = AmericanPut(spot=38.0, sigma=0.3, rate=0.06, years=1.0, dates=5)
    assert env.solve(1.0).value == pytest.approx(option.NPV(), abs=2e-3)


def test_the_oracle_s_value_is_attained_and_lies_above_waiting():
    env = AmericanPut(rate=0.1, dates=10)
    solution = env.solve(1.0)
    best = _live(env, solution.policy)
    mean, error = _mean(best)
    assert mean == pytest.approx(solution.value, abs=4 * error)
    waiting = _live(env, Constant())
    assert _mean(best - waiting)[0] > 4 * _mean(best - waiting)[1]
    boundary = solution.policy.price
    assert (boundary.diff() > 0).all() and boundary[-1] < env.strike
    # Impatience brings exercise forward.
    assert env.solve(0.9).value < solution.value and (env.solve(0.9).policy.price > boundary).all()


def test_the_paper_s_eight_paths():
    price, discount = torch.tensor(PAPER, dtype=torch.float64), math.exp(-0.06)
    fitted = longstaff_schwartz(price, 1.10, discount=discount, degree=2)
    assert fitted.price == pytest.approx(0.11443433, abs=5e-9)
    european = discount**3 * float((1.10 - price[:, -1]).clamp(min=0).mean())
    assert european == pytest.approx(0.05638074, abs=5e-9)
    # E[Y | X] of dates 2 and 1 as printed, in powers of X; ours are of X / K.
    powers = 1.10 ** torch.arange(3, dtype=torch.float64)
    date_1, date_2 = (row / powers for row in fitted.coefficients)
    assert date_2.tolist() == pytest.approx([-1.070, 2.983, -1.813], abs=1e-3)
    assert date_1.tolist() == pytest.approx([2.038, -3.335, 1.356], abs=1e-3)


@pytest.mark.parametrize(
    "change", [{"spot": 0.0}, {"dates": 0}, {"paths": 0}, {"sigma": 0.0}, {"years": -1.0}], ids=str
)
def test_what_is_no_put_is_refused(change):
    with pytest.raises(ConfigError):
        AmericanPut(**change)
