"""DQN: contract, exact resume, optimum of a small problem by value iteration, save and load, errors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fiduciary.agents import DQN, LSTM, Training, load
from fiduciary.agents.dqn import _Run, _Stretches, _Windows
from fiduciary.agents.nets import GRU, MLP, TCN, Head
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError, NumericsError
from fiduciary.core.types import Ledger, Obs, Spec, Step, View
from fiduciary.envs import StockTrading, tabular
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from watching import Watch, resumes_exactly, weights

SMALL = DQN(
    net=LSTM(8, 8), updates=60, accounts=8, batch=16, warm_up=64, copy_every=20, training=Training(keep_every=20)
)
ALL = {"n_step": 3, "prioritised": True, "quantiles": 8, "double": True, "dueling": True, "epsilon_decay": 30}
OPTIONS = [{}, *({name: value} for name, value in ALL.items()), ALL]


def _slow(*options):
    return [pytest.param(one, marks=pytest.mark.slow) for one in options]


@pytest.fixture
def fold(env):
    dates = env.panel.dates
    return env.folds(splits.dates(train=(str(dates[30]), str(dates[99])), test=(str(dates[100]), str(dates[-1]))))[
        "RW1"
    ]


@pytest.mark.parametrize("options", [*OPTIONS, {"sequence": 4}, {**ALL, "sequence": 4}])
def test_keeps_the_contract_with_every_option(fold, options):
    assert check_agent(replace(SMALL, **options), fold.train)


@pytest.mark.parametrize("options", [{}, ALL, {**ALL, "sequence": 4}, {**ALL, "replay": 200}])
@pytest.mark.parametrize("die_after", [20, 40])
def test_a_killed_fit_resumes_to_the_same_weights_bit_for_bit(fold, options, die_after):
    assert resumes_exactly(replace(SMALL, **options), fold.train, die_after=die_after)


def test_different_seeds_learn_different_weights(fold):
    one, other = (SMALL.fit(fold.train, rng=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(weights(one), weights(other))


def test_a_policy_survives_its_file(fold, tmp_path):
    policy = replace(SMALL, dueling=True).fit(fold.train, rng=torch.Generator().manual_seed(0))
    policy.save(str(tmp_path / "p.safetensors"))
    again = load(str(tmp_path / "p.safetensors"), fold.test.spec)
    one, other = (rollout(fold.test, p, rng=torch.Generator()) for p in (policy, again))
    assert np.array_equal(one.action, other.action)
    for change in ({"features": tuple("abcdefghij")}, {"window": 7}, {"actions": ("a", "b", "c")}):
        with pytest.raises(ConfigError, match=f"must fit its problem's {next(iter(change))}"):
            load(str(tmp_path / "p.safetensors"), replace(fold.test.spec, **change))
    (tmp_path / "q.safetensors").write_bytes(b"not a policy")
    with pytest.raises(ConfigError, match=r"q.safetensors must hold a policy"):
        load(str(tmp_path / "q.safetensors"), fold.test.spec)


@pytest.mark.parametrize("watch", [None, Watch()])
def test_a_loss_that_explodes_is_named_watched_or_not(fold, watch):
    with pytest.raises(NumericsError, match="must stay finite while learning"):
        replace(SMALL, lr=1e30, updates=200).fit(fold.train, rng=torch.Generator().manual_seed(0), watch=watch)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, "`lr` must be positive"),
        ({"gamma": 1.1}, "`gamma` must lie"),
        ({"warm_up": 10**6}, "`warm_up` must fit"),
        ({"replay": 71, "warm_up": 70}, "`warm_up` must fit"),  # 71 holds 8 whole steps of 8 accounts
        ({"n_step": 0}, "`n_step` must be positive"),
        ({"quantiles": -1}, "`quantiles` must not be negative"),
        ({"kappa": 0.0}, "`kappa` must be positive"),
        ({"alpha": 1.1}, "`alpha` must lie"),
        ({"sequence": 5}, "`batch` must be a multiple of `sequence`"),
    ],
)
def test_wrong_options_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


@pytest.mark.parametrize(
    ("change", "env", "message"),
    [
        ({}, tabular.trading(space="simplex"), "DQN needs discrete actions"),
        ({"sequence": 4}, tabular.trading(), "`sequence` needs a world to read"),
    ],
)
def test_problems_that_it_cannot_solve_are_refused(change, env, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change).fit(env, rng=torch.Generator())


def test_exploration_falls_in_a_line_or_not_at_all():
    falling = replace(SMALL, epsilon=1.0, epsilon_last=0.2, epsilon_decay=10)
    assert [falling.exploration(k) for k in (0, 5, 10, 99)] == pytest.approx([1.0, 0.6, 0.2, 0.2])
    assert SMALL.exploration(99) == SMALL.epsilon


def test_a_network_without_width_is_refused():
    with pytest.raises(ConfigError, match="widths of an LSTM"):
        LSTM(0, 8)


@dataclass(frozen=True)
class _Ring:
    """Five bars in a ring, a 0/1 position, reward by (bar, next position): small enough for value iteration."""

    gamma: float = 0.9
    payoff: tuple[float, ...] = (1.0, -2.0, 0.5, 3.0, -1.0)
    cost: float = 0.6

    @property
    def spec(self):
        return Spec("ring", ("hold", "enter", "leave"), tuple("abcde"), ("position",), 1, 40, "", ())

    def init(self, batch, rng):
        t = torch.randint(0, 5, (batch,), generator=rng)
        return t, torch.zeros(batch, dtype=torch.float64), torch.zeros(batch, dtype=torch.int64)

    def observe(self, state):
        t, position, _ = state
        held = position > 0
        legal = torch.stack((torch.ones_like(held), ~held, held), -1)
        return Obs(View(torch.eye(5), t, 1), position[:, None].float(), legal)

    def step(self, state, action):
        t, position, k = state
        after = torch.where(action == 1, 1.0, torch.where(action == 2, 0.0, position)).double()
        traded = after - position
        reward = after * torch.tensor(self.payoff, dtype=torch.float64)[t] - self.cost * traded.abs()
        zero = torch.zeros_like(reward)
        last = k + 1 >= 40
        return ((t + 1) % 5, after, k + 1), Step(
            reward, torch.ones_like(reward), last, Ledger(reward, zero, zero, zero), traded
        )

    def optimal(self):
        """Q [5, 2, 2] over (bar, position, next position) by value iteration to 1e-10."""
        q = np.zeros((5, 2, 2))
        for _ in range(500):
            v = q.max(-1)
            for t in range(5):
                for p in range(2):
                    for n in range(2):
                        q[t, p, n] = n * self.payoff[t] - self.cost * abs(n - p) + self.gamma * v[(t + 1) % 5, n]
        return q


@pytest.mark.parametrize("options", [{}, *_slow({"sequence": 8}, {"sequence": 8, "double": True})])
def test_finds_the_optimal_policy_of_a_small_problem(options):
    ring = _Ring()
    agent = DQN(
        net=LSTM(16, 16), gamma=ring.gamma, updates=1_500, accounts=16, copy_every=25, lr=3e-3, epsilon=0.3, warm_up=200,
        **options,
    )  # fmt: skip
    policy = agent.fit(ring, rng=torch.Generator().manual_seed(0))
    best = ring.optimal()
    t, p = torch.arange(5).repeat_interleave(2), torch.tensor([0.0, 1.0] * 5)
    state = (t, p.double(), torch.zeros_like(t))
    obs = ring.observe(state)
    action, _ = policy.act(obs, None, None)
    chosen = torch.where(action == 1, 1, torch.where(action == 2, 0, p.long()))
    value = best[t, p.long(), chosen]
    assert np.allclose(value, best[t, p.long()].max(-1)), (chosen, best)
    learned = policy.values(obs).masked_fill(~obs.legal, -torch.inf).amax(-1).numpy()
    assert np.abs(learned / best[t, p.long()].max(-1) - 1).max() < 0.05


@pytest.mark.parametrize("options", [ALL, *_slow(*OPTIONS[:-1])])
def test_comes_within_one_percent_of_value_iteration(options):
    _assert_solves(tabular.trading(), options)


@pytest.mark.parametrize("options", [{}, ALL])
def test_comes_within_one_percent_where_episodes_terminate(options):
    _assert_solves(tabular.stopping(), options)


def _assert_solves(env, options):
    agent = DQN(
        net=MLP((), Head((32,))), gamma=0.9, updates=800, accounts=16, copy_every=20, lr=3e-3, epsilon=0.3, warm_up=200
    )
    policy = replace(agent, **options).fit(env, rng=torch.Generator().manual_seed(0))
    assert float(env.initial @ env.values(policy, 0.9)) >= 0.99 * env.solve(0.9).value


# --- sequence mode ---------------------------------------------------------------------------------------------------

WANTED = torch.tensor([[9, 10, 11, 12], [30, 31, 32, 33]])


def _read(net, bars):
    """Outputs [S, L, 3] of stretches and of windows at the bars `WANTED`, and their common account."""
    world, account = View(bars, WANTED.flatten(), 5), torch.rand(8, 1, generator=torch.Generator().manual_seed(1))
    one = _Stretches(net, world, WANTED, 4).read(WANTED.flatten(), account)
    return one.view(2, 4, -1), _Windows(net, world).read(WANTED.flatten(), account).view(2, 4, -1)


@pytest.mark.parametrize("body", [LSTM(8, 4), GRU(8, 4), MLP((8,)), TCN(4, 2, 3)])
def test_a_stretch_equals_the_windowed_form_at_its_first_bar_and_without_longer_memory_at_all(body):
    torch.manual_seed(0)
    net = body.build(Spec("toy", tuple("abc"), tuple("xyz"), ("position",), 5, 10, "USD", ()), 3)
    stretch, windows = _read(net, torch.randn(40, 3))
    assert torch.allclose(stretch[:, 0], windows[:, 0], atol=1e-6)
    assert torch.allclose(stretch, windows, atol=1e-6) is not isinstance(body, LSTM | GRU)


def test_what_lies_beyond_a_stretch_never_reaches_the_gradient():
    net = LSTM(8, 4).build(Spec("toy", tuple("abc"), tuple("xyz"), ("position",), 5, 10, "USD", ()), 3)
    bars = torch.randn(40, 3)
    bars[34:] = torch.nan
    stretch = _Stretches(net, View(bars, WANTED[:, 0], 5), WANTED, 7)
    stretch.read(WANTED.flatten(), torch.rand(8, 1)).sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def test_a_stretch_covers_the_bars_that_it_reaches():
    net = LSTM(8, 4).build(Spec("toy", tuple("abc"), tuple("xyz"), ("position",), 5, 10, "USD", ()), 3)
    wanted = torch.tensor([[9, 10, 30, 8], [30, 33, 34, 31]])
    stretch = _Stretches(net, View(torch.randn(40, 3), wanted[:, 0], 5), wanted, 4)
    assert stretch.covers(wanted.flatten()).tolist() == [True, True, False, False, True, True, False, True]


@pytest.mark.parametrize("options", [{}, ALL])
@pytest.mark.parametrize("body", [MLP((8,)), LSTM(8, 8)])
def test_losses_equal_the_windowed_ones_for_a_body_without_longer_memory(fold, body, options):
    def losses(*, windowed):
        run = _Run(replace(SMALL, net=body, sequence=8, **options), fold.train, torch.Generator().manual_seed(0))
        stretched = run._online

        def online(now):
            reader = _Windows(run.online, run.accounts.obs.world)
            reader.covers = stretched(now).covers
            return reader

        if windowed:
            run._online = online
        for _ in range(5):
            run.advance()
        return run.figures()["loss"]

    close = losses(windowed=True) == pytest.approx(losses(windowed=False), rel=1e-4)
    assert close is isinstance(body, MLP)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"sequence": 32, "batch": 256}])
@pytest.mark.parametrize("seed", [0, 1])
def test_collects_nine_tenths_of_a_planted_signal_out_of_sample(seed, options):
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
    dates = market.panel.dates
    env = StockTrading(market.panel, costs=costs.linear(5), venue=venue.Venue(lot=0))
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    fold = env.folds(cut)["PLANTED"]
    policy = DQN(updates=1_000, **options).fit(fold.train, rng=torch.Generator().manual_seed(seed))
    path = rollout(fold.test, policy, rng=torch.Generator())
    best = market.best_log_growth(int(fold.test.world.first), int(fold.test.world.last), 5)
    assert np.log(path.wealth[-1] / path.wealth[0]) >= 0.9 * best
