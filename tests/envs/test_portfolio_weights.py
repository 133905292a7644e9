"""Portfolio weights: laws, the slow twin, the fee equation, gradients, closed forms, and blindness of the split."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fiduciary.agents.weight_rules import CashWeights, EqualWeight, HoldWeights
from fiduciary.core.checks import check_env
from fiduciary.core.errors import ConfigError
from fiduciary.data import BARS, Panel
from fiduciary.envs.portfolio_weights import PortfolioWeights, Rates, after_costs
from fiduciary.envs.portfolio_weights_twin import Twin
from fiduciary.evaluation import splits
from fiduciary.factors import SIM
from fiduciary.markets import costs, dynamics

CLOSE = tuple(factor for factor in SIM if factor.name == "close")
FREE = costs.Costs()
EXECUTIONS = ("next_open", "next_close", "close")
OPTIONS = (
    {"costs": FREE},
    {"costs": costs.Costs(10, 10, 5), "cash_rate": 0.03, "reward": "simple"},
    {"impact": 1.0, "turnover_limit": 0.3, "cash_rate": -0.01, "starts": "random", "episode": 30},
    {"short": 0.4, "borrow_rate": 0.2, "costs": costs.Costs(20, 10, 5)},
    {"short": 1.0, "impact": 2.0, "turnover_limit": 0.7, "borrow_rate": 0.2},
)


def _walk(seed=0, *, bars=60, symbols=3, volatility=0.04, suspended=True):
    """Random walks, one asset listed late, with days without a bar and days without volume."""
    walk = dynamics.random_walk(bars=bars, symbols=symbols, volatility=volatility, rng=np.random.default_rng(seed))
    values, mask = walk.values.copy(), walk.mask.copy()
    values[..., 4] *= 1e-3  # about a hundred million a day would hide the impact
    if suspended:
        values[5::11, 0, 4] = 0
        mask[20:24, 1] = False
        mask[:12, -1] = False
        mask[-6:, -1] = False
        values[~mask] = np.nan
    return replace(walk, values=values, mask=mask)


def _panel(opens, closes):
    """[T, N] opens and closes on consecutive days, always traded."""
    opens, closes = np.array(opens, dtype=float), np.array(closes, dtype=float)
    dates = np.datetime64("2020-01-01") + np.arange(len(opens))
    values = np.stack((opens, np.maximum(opens, closes), np.minimum(opens, closes), closes, np.ones_like(opens)), -1)
    names = tuple("ABCDEFG"[: opens.shape[1]])
    return Panel(dates, names, BARS, values, np.ones(opens.shape, dtype=bool))


def _env(panel, **options):
    return PortfolioWeights(panel, CLOSE, **{"cash": 1_000.0, "window": 1, "costs": FREE} | options)


def _points(steps, batch, assets, seed):
    """Points of the simplex, many of them near or at its corners."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(assets + 1, 0.3), size=(steps, batch))
    p[::4, 0] = np.eye(assets + 1)[rng.integers(0, assets + 1, size=len(p[::4]))]
    return torch.from_numpy(p)


def _live(env, actions, batch=1):
    state, steps = env.init(batch, torch.Generator()), []
    for action in actions:
        state, step = env.step(state, torch.as_tensor(action, dtype=torch.float64).expand(batch, -1))
        steps.append(step)
    return state, steps


# --- laws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("options", OPTIONS)
def test_the_contract_holds_with_every_option(execution, options):
    check_env(PortfolioWeights(_walk(), CLOSE, window=3, execution=execution, **options), batch=4, steps=30, blind=12)


any_options = st.fixed_dictionaries(
    {
        "execution": st.sampled_from(EXECUTIONS),
        "short": st.sampled_from([0.0, 0.3, 1.0]),
        "impact": st.sampled_from([0.0, 1.0, 10.0]),
        "turnover_limit": st.sampled_from([None, 0.05, 0.5]),
        "costs": st.builds(costs.Costs, *[st.floats(0, 200)] * 3),
        "reward": st.sampled_from(["log", "simple"]),
    }
)


@settings(max_examples=60)
@given(any_options, st.integers(0, 2**31))
def test_accounts_equal_the_slow_twin_and_money_is_conserved(options, seed):
    env = PortfolioWeights(_walk(seed, bars=45), CLOSE, window=2, cash_rate=0.05, borrow_rate=0.3, **options)
    batch = 2
    state, twins = env.init(batch, torch.Generator()), [Twin(env) for _ in range(batch)]
    for action in _points(env.spec.horizon, batch, 3, seed):
        before = env.wealth(state)
        state, step = env.step(state, action)
        gap = (env.wealth(state) - before - step.ledger.total()).abs() / before.abs()
        assert gap.max() <= 1e-9 and (step.ledger.fees <= 0).all() and (step.ledger.impact <= 0).all()
        for b, twin in enumerate(twins):
            expected = twin.step(action[b].tolist())
            near = 1e-10 * max(twin.wealth, 1.0) + 1e-9 * sum(map(abs, twin.held))
            assert float(state.cash[b]) == pytest.approx(twin.cash, abs=near)
            assert state.held[b].tolist() == pytest.approx(twin.held, abs=near)
            if twin.wealth > 0:
                assert float(step.reward[b]) == pytest.approx(expected, rel=1e-7, abs=1e-9)


@settings(max_examples=200)
@given(
    st.integers(1, 8), st.floats(0, 0.3), st.floats(0, 0.3), st.sampled_from([0.0, 1e-3, 0.03]), st.integers(0, 2**31)
)
def test_the_fee_equation_is_solved_to_machine_precision(assets, buy, sell, impact, seed):
    rng = np.random.default_rng(seed)
    now, wanted = (torch.from_numpy(rng.dirichlet(np.full(assets + 1, 0.4), size=64)) for _ in range(2))
    wealth = torch.from_numpy(np.exp(rng.uniform(-3, 6, size=(64, 1))))
    held, aim, k = now[:, 1:] * wealth, wanted[:, 1:], torch.full((64, assets), impact, dtype=torch.float64)
    rates = Rates((buy + sell) / 2, (buy - sell) / 2, k if impact else None)
    left = after_costs(aim, held, wealth, rates)
    x = aim * left - held
    cost = buy * x.clamp(min=0).sum(-1) + sell * (-x).clamp(min=0).sum(-1) + (k * x.abs() ** 1.5).sum(-1)
    residual = (left.squeeze(-1) + cost - wealth.squeeze(-1)).abs() / wealth.squeeze(-1)
    assert (left > 0).all() and (left <= wealth).all()
    assert residual.max() < 1e-12


def test_an_order_that_costs_more_than_there_is_is_refused():
    """Selling 1,000 costs 0.5 x 1000^1.5, far more than it brings."""
    held, budget = torch.tensor([[1_000.0]], dtype=torch.float64), torch.tensor([[1_000.0]], dtype=torch.float64)
    rates = Rates(0.0, 0.0, torch.full((1, 1), 0.5, dtype=torch.float64))
    assert float(after_costs(torch.zeros_like(held), held, budget, rates)) == 0
    assert float(after_costs(torch.ones_like(held), held, budget, rates)) == 1_000


# --- gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("options", OPTIONS[:2] + OPTIONS[3:] + ({"impact": 3.0, "costs": costs.Costs(50, 50, 50)},))
def test_steps_are_differentiable_in_their_actions(execution, options):
    env = PortfolioWeights(_walk(3, suspended=False), CLOSE, window=2, execution=execution, **options)
    start = env.init(2, torch.Generator().manual_seed(0))
    start, _ = env.step(start, torch.full((2, 4), 0.25, dtype=torch.float64))

    def growth(scores):
        state, total = start, 0.0
        for score in scores:
            state, step = env.step(state, score.softmax(-1))
            total = total + step.reward
        return total, state.held / env.cash, step.ledger.fees / env.cash, env.observe(state).account.double()

    scores = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: growth(s)[:3], scores, eps=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(growth(scores)[3].sum(), scores)
    assert gradient.isfinite().all() and (gradient != 0).any()
    with torch.no_grad():
        plain = growth(scores)
    assert all(torch.equal(a, b) for a, b in zip(plain, growth(scores), strict=True))


def test_gradients_stay_finite_at_corners_and_after_the_end():
    env = PortfolioWeights(_walk(3), CLOSE, window=2, impact=1.0, turnover_limit=0.5, episode=4)
    for corner in torch.eye(4, dtype=torch.float64):
        action = corner.expand(1, 4).clone().requires_grad_()
        state, total = env.init(1, torch.Generator()), 0.0
        for _ in range(6):
            state, step = env.step(state, action)
            total = total + step.reward.sum()
        assert torch.autograd.grad(total, action)[0].isfinite().all()


# --- closed forms ----------------------------------------------------------------------------------------------------


def test_one_asset_all_in_and_all_out():
    """Buying with everything: V' = V / (1 + b). Selling everything: V' = V (1 - c)."""
    env = _env(_panel([[10.0]] * 4, [[10.0]] * 4), costs=costs.Costs(commission_bps=100, stamp_duty_bps=50))
    bought, _ = _live(env, [[0, 1]])
    assert float(env.wealth(bought)) == pytest.approx(1_000 / 1.01, rel=1e-14)
    sold, _ = _live(env, [[0, 1], [1, 0]])
    assert float(env.wealth(sold)) == pytest.approx(1_000 / 1.01 * (1 - 0.015), rel=1e-14)


def test_impact_follows_the_square_root_law():
    """x + k x^1.5 = V with k = Y sigma / sqrt(A), sigma and A of the last 20 bars before the order."""
    walk = _walk(1, symbols=1, suspended=False)
    env = _env(walk, impact=0.7, cash=1e5, dates=(str(walk.dates[30]), None))
    _, (step,) = _live(env, [[0, 1]])
    close, volume = walk["close"][10:31, 0], walk["volume"][10:31, 0]
    k = 0.7 * np.diff(np.log(close)).std() / math.sqrt((close * volume)[1:].mean())
    x = float(step.traded)
    assert x + k * x**1.5 == pytest.approx(1e5, rel=1e-12) and x < 9.99e4
    assert float(step.ledger.impact) == pytest.approx(-k * x**1.5) and float(step.ledger.fees) == 0


def test_without_costs_wealth_grows_by_the_weighted_returns():
    walk = _walk(2, suspended=False)
    env = _env(walk, execution="close")
    actions = _points(30, 1, 3, 0)
    _, steps = _live(env, actions[:, 0])
    first = env.world.first
    returns = walk["close"][first + 1 : first + 31] / walk["close"][first : first + 30] - 1
    expected = np.log1p((actions[:, 0, 1:].numpy() * returns).sum(-1))
    assert [float(step.reward) for step in steps] == pytest.approx(expected.tolist(), abs=1e-13)
    assert all(float(step.ledger.fees) == 0 == float(step.ledger.impact) for step in steps)


@settings(max_examples=25)
@given(
    st.sampled_from(EXECUTIONS), st.lists(st.floats(0, 300), min_size=2, max_size=2, unique=True), st.integers(0, 99)
)
def test_dearer_trades_never_leave_more_wealth(execution, rates, seed):
    low, high = sorted(rates)
    walk, actions = _walk(seed), _points(25, 1, 3, seed)[:, 0]
    wealth = []
    for bps in (0.0, low, high):
        env = _env(walk, costs=costs.linear(bps), execution=execution)
        wealth.append(float(env.wealth(_live(env, actions)[0])))
    assert wealth[0] >= wealth[1] * (1 - 1e-12) and wealth[1] >= wealth[2] * (1 - 1e-12)


def test_weights_drift_with_prices_and_wait_for_the_fill():
    """Half and half bought at opens of 10 and 20; closes of 15 and 20: 3/5 and 2/5."""
    env = _env(_panel([[9, 9], [10, 20], [15, 20]], [[9, 9], [15, 20], [15, 10]]))
    state, (step,) = _live(env, [[0, 0.5, 0.5]])
    # Sized at closes of 9 and 9, the halves have become 10/9 and 20/9 by the open: 1/3 and 2/3.
    assert step.traded[0].tolist() == pytest.approx([1_000 / 3, 2_000 / 3])
    assert float(env.wealth(state)) == pytest.approx(500 + 2_000 / 3)
    assert env.observe(state).account[0].tolist() == pytest.approx([1, 3 / 7, 4 / 7])
    assert float(step.ledger.pnl) == pytest.approx(500 / 3)


@pytest.mark.parametrize("execution", EXECUTIONS)
@pytest.mark.parametrize("short", [0.0, 0.5])
def test_who_asks_for_what_is_held_trades_nothing(execution, short):
    """Also through suspensions and overnight gaps."""
    env = PortfolioWeights(
        _walk(4), CLOSE, window=2, execution=execution, short=short, costs=costs.linear(50), cash=1.0
    )
    state, (step,) = _live(env, [[0.1, 0.5, 0.2, 0.2]])
    for _ in range(env.spec.horizon - 1):
        weights = state.held / env.wealth(state).unsqueeze(-1)
        risky = (weights + short) / (1 + 3 * short)
        if (risky < 0).any():  # drifted beyond the bound
            break
        state, step = env.step(state, torch.cat((1 - risky.sum(-1, keepdim=True), risky), -1))
        assert step.traded.abs().max() < 1e-12


# --- rules of the market ---------------------------------------------------------------------------------------------


def test_a_turnover_limit_moves_part_of_the_way():
    env = _env(_panel([[10.0, 10]] * 9, [[10.0, 10]] * 9), turnover_limit=0.25)
    state, steps = _live(env, [[0, 1, 0]] * 3 + [[0, 0, 1]])
    assert [step.traded[0].tolist() for step in steps[:3]] == [[250, 0]] * 3
    # A switch trades both sides; the part left in cash is invested in the same proportion.
    x = steps[3].traded[0]
    assert float(x.abs().sum()) == pytest.approx(250) and x.tolist() == pytest.approx([-250 * 3 / 7, 250 * 4 / 7])
    state, steps = _live(env, [[0, 1, 0]] * 6)
    assert state.held[0].tolist() == pytest.approx([1_000, 0]) and float(steps[-1].traded.abs().sum()) == 0


@given(st.floats(0, 2), st.integers(0, 999))
def test_no_order_goes_shorter_than_the_bound(short, seed):
    env = _env(_walk(seed, bars=20, suspended=False), short=short, execution="close", costs=costs.linear(20))
    state = env.init(8, torch.Generator())
    action = _points(1, 8, 3, seed)[0]
    _, step = env.step(state, action)
    weights = step.traded / (env.cash + step.ledger.fees).unsqueeze(-1)
    assert (weights >= -short - 1e-12).all()
    assert torch.allclose(weights, (1 + 3 * short) * action[:, 1:] - short, atol=1e-12)


def test_short_positions_pay_to_borrow_and_their_proceeds_earn():
    env = _env(_panel([[10.0]] * 3, [[10.0]] * 3), short=1.0, execution="close", borrow_rate=0.365, cash_rate=0.1)
    _, (step,) = _live(env, [[1, 0]])
    assert float(step.traded) == -1_000
    assert float(step.ledger.carry) == pytest.approx(2_000 * (1.1 ** (1 / 365) - 1) - 1_000 * 0.001)


def test_ruin_ends_the_problem_for_good():
    env = _env(_panel([[10.0]] * 5, [[10], [10], [25], [5], [5]]), short=1.0)
    state, steps = _live(env, [[1, 0]] * 4)
    assert [float(step.discount) for step in steps] == [1, 0, 0, 0]
    assert [bool(step.last) for step in steps] == [False, True, True, True]
    assert float(env.wealth(state)) == -500 and float(steps[2].ledger.total()) == 0
    assert float(steps[1].reward) == pytest.approx(math.log(1e-6)) and float(steps[2].reward) == 0
    assert env.observe(state).account.abs().sum() == 0


def test_suspended_assets_keep_their_holding_and_the_rest_is_divided():
    panel = _panel([[10.0, 10, 10]] * 4, [[10.0, 10, 10]] * 4)
    values, mask = panel.values.copy(), panel.mask.copy()
    values[2, 0], mask[2, 0] = np.nan, False
    env = _env(replace(panel, values=values, mask=mask))
    state, steps = _live(env, [[0, 0.5, 0.25, 0.25], [0.25, 0.25, 0.5, 0]])
    # 500 are locked in A; cash : B = 1 : 2 divide the other 500.
    assert steps[1].traded[0].tolist() == pytest.approx([0, 500 * 2 / 3 - 250, -250])
    assert env.observe(state).legal.tolist() == [[True, False, True, True]]
    _, steps = _live(env, [[0, 0.5, 0.25, 0.25], [0, 1, 0, 0]])
    assert steps[1].traded.abs().sum() == 0  # a wish for suspended assets alone changes nothing


def test_an_asset_is_unknown_before_its_first_bar_and_keeps_its_value_after_its_last():
    walk = _walk(5)
    env = PortfolioWeights(walk, CLOSE, window=2, costs=FREE)
    state = env.init(1, torch.Generator())
    assert env.observe(state).world.window()[0, :, -1].abs().max() == 0
    for _ in range(env.spec.horizon):
        assert env.observe(state).world.window().isfinite().all()
        t, listed = int(state.t), bool(walk.mask[: int(state.t) + 1, -1].any())
        state, step = env.step(state, torch.full((1, 4), 0.25))
        assert (float(step.traded[0, -1]) != 0) == (listed and bool(walk.mask[t + 1, -1]))
    assert float(state.held[0, -1]) > 0 and not walk.mask[-1, -1]


def test_execution_conventions_fill_at_their_price():
    panel = _panel([[10.0], [11], [12], [13]], [[10.5], [11.5], [12.5], [13.5]])
    units = {}
    for execution in EXECUTIONS:
        env = _env(panel, execution=execution, dates=("2020-01-02", None))
        state, _ = _live(env, [[0, 1]])
        units[execution] = 1_000 * 12.5 / float(env.wealth(state))
    assert units == pytest.approx({"next_open": 12, "next_close": 12.5, "close": 11.5})


def test_an_episode_ends_as_a_truncation_and_stands_still_after():
    env = _env(_panel([[10.0]] * 4, [[10.0], [11], [12], [13]]), cash_rate=0.1)
    _, steps = _live(env, [[0.5, 0.5]] * 5)
    assert [bool(step.last) for step in steps] == [False, False, True, True, True]
    assert all(float(step.discount) == 1 for step in steps)
    assert float(steps[-1].ledger.total()) == 0 == float(steps[-1].traded.abs().sum())


# --- splitting and settings ------------------------------------------------------------------------------------------


def test_the_training_half_cannot_see_the_test_half():
    walk = _walk(1, bars=200)
    cut = splits.dates(
        train=(str(walk.dates[30]), str(walk.dates[119])), test=(str(walk.dates[120]), str(walk.dates[-1])),
        valid=None,
    )  # fmt: skip
    values = walk.values.copy()
    values[120:] *= np.random.default_rng(2).lognormal(size=values[120:].shape)
    one, other = (PortfolioWeights(p, window=5).folds(cut)["portfolio"] for p in (walk, replace(walk, values=values)))
    assert np.array_equal(one.train.scaler.mean, other.train.scaler.mean)
    assert np.array_equal(one.train.scaler.std, other.train.scaler.std)
    assert torch.equal(one.train.world.features[:120], other.train.world.features[:120])
    assert (one.train.world.last, one.test.world.first) == (119, 120)
    assert one.train.starts == "random" and one.test.starts == one.hindsight.starts == "first"
    assert not torch.equal(one.test.world.features[120:], other.test.world.features[120:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 500}, "`window` and look-backs must leave"),
        ({"dates": ("1990", "1991")}, "there must be bars between 1990 and 1991"),
        ({"execution": "yesterday"}, "`execution` must be one of next_open"),
        ({"reward": "money"}, "`reward` must be one of log, simple"),
        ({"cash": -1.0}, "`cash` must be positive"),
        ({"turnover_limit": 0.0}, "`turnover_limit` must be positive"),
        ({"cash_rate": -1.5}, "`cash_rate` must be a number above -1"),
        ({"short": -0.1}, "`short` must be a number, not negative"),
        ({"impact": float("nan")}, "`impact` must be a number, not negative"),
        ({"costs": costs.Costs(minimum_fee=5)}, "`costs.minimum_fee` must be 0"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(change, message):
    with pytest.raises(ConfigError, match=message):
        _ = replace(_env(_walk()), **change).spec


def test_impact_needs_volumes():
    walk = _walk(suspended=False)
    closes = replace(walk, fields=("close",), values=walk.values[..., 3:4].copy())
    assert _env(closes, execution="next_close").spec.horizon > 0
    with pytest.raises(ConfigError, match="volume"):
        _ = _env(closes, execution="next_close", impact=1.0).spec


def test_flattering_choices_are_alarms():
    alarms = _env(_walk(), execution="close", short=0.1).spec.alarms
    assert [alarm.kind for alarm in alarms] == ["unobservable fill", "free trading", "free borrowing"]
    assert _env(_walk(), costs=costs.linear(5), short=0.1, borrow_rate=0.01).spec.alarms == ()


def test_rules_keep_their_weights_in_the_environment():
    """Equal weights cost more than holding; cash stays cash, whatever may be sold short."""
    for short in (0.0, 0.5):
        env = PortfolioWeights(_walk(6, suspended=False), CLOSE, window=2, short=short, execution="close")
        turnover = {}
        for policy in (EqualWeight(), HoldWeights(short), CashWeights(short)):
            state, carry, traded = env.init(1, torch.Generator()), None, []
            for _ in range(20):
                action, carry = policy.act(env.observe(state), carry, None)
                state, step = env.step(state, action)
                traded.append(float(step.traded.abs().sum()) / env.cash)
            turnover[type(policy).__name__] = traded
        assert max(turnover["CashWeights"]) < 1e-12
        assert turnover["HoldWeights"][0] == turnover["EqualWeight"][0] == pytest.approx(1.0, rel=1e-3)
        assert max(turnover["HoldWeights"][1:]) < 1e-6 < min(turnover["EqualWeight"][1:])
