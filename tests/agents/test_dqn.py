"""DQN: contract, exact resume, optimum of a small problem by value iteration, save and load, errors."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from fiduciary.agents import DQN, LSTM, Training, load
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError, NumericsError
from fiduciary.core.types import Ledger, Obs, Spec, Step, View
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from watching import Watch, resumes_exactly, weights

SMALL = DQN(
    net=LSTM(8, 8), updates=60, accounts=8, batch=16, warm_up=64, copy_every=20, training=Training(keep_every=20)
)


@pytest.fixture
def fold(env):
    dates = env.panel.dates
    return env.folds(splits.dates(train=(str(dates[30]), str(dates[99])), test=(str(dates[100]), str(dates[-1]))))[
        "RW1"
    ]


@pytest.mark.parametrize("options", [{}, {"double": True}, {"dueling": True}, {"double": True, "dueling": True}])
def test_keeps_the_contract_with_every_option(fold, options):
    assert check_agent(replace(SMALL, **options), fold.train)


@pytest.mark.parametrize("options", [{}, {"double": True, "dueling": True}])
@pytest.mark.parametrize("die_after", [20, 40])
def test_a_killed_fit_resumes_to_the_same_weights_bit_for_bit(fold, options, die_after):
    assert resumes_exactly(replace(SMALL, **options), fold.train, die_after=die_after)


def test_different_seeds_learn_differentweights(fold):
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
    ],
)
def test_wrong_options_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


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


def test_finds_the_optimal_policy_of_a_small_problem():
    ring = _Ring()
    agent = DQN(
        net=LSTM(16, 16), gamma=ring.gamma, updates=1_500, accounts=16, copy_every=25, lr=3e-3, epsilon=0.3, warm_up=200
    )
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


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_collects_nine_tenths_of_a_planted_signal_out_of_sample(seed):
    market = dynamics.planted(bars=1_900, rng=np.random.default_rng(seed))
    dates = market.panel.dates
    env = StockTrading(market.panel, costs=costs.linear(5), venue=venue.Venue(lot=0))
    cut = splits.dates(train=(str(dates[60]), str(dates[1399])), test=(str(dates[1400]), str(dates[-1])))
    fold = env.folds(cut)["PLANTED"]
    policy = DQN(updates=1_000).fit(fold.train, rng=torch.Generator().manual_seed(seed))
    path = rollout(fold.test, policy, rng=torch.Generator())
    best = market.best_log_growth(int(fold.test.world.first), int(fold.test.world.last), 5)
    assert np.log(path.wealth[-1] / path.wealth[0]) >= 0.9 * best
