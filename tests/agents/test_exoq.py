"""ExoQ: the sweep against the environment, the update against a plain loop, the optimum against dynamic programming."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fiduciary.agents import GRU, LSTM, MLP, Head, Training, load
from fiduciary.agents.exoq import ExoQ, _Run, _stretches
from fiduciary.agents.rules import Random
from fiduciary.agents.training import validate
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Obs, View
from fiduciary.envs import StockTrading
from fiduciary.evaluation import splits
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from watching import resumes_exactly, weights

SMALL = ExoQ(net=LSTM(8, 8), updates=30, sequence=16, training=Training(keep_every=10))


@pytest.fixture
def fold(env):
    days = [str(day) for day in env.panel.dates]
    cut = splits.dates(train=(days[30], days[89]), valid=(days[90], days[119]), test=(days[120], days[-1]))
    return env.folds(cut)["RW1"]


@pytest.mark.parametrize("execution", ["next_open", "close"])
@pytest.mark.parametrize("hold_days", [0, 1, 3])
def test_the_sweep_is_what_step_would_do(walk, execution, hold_days):
    """Walk through the environment at random; where the account is all in or all out, the sweep foretells the step."""
    rules = venue.Venue(lot=0, hold_days=hold_days, price_limit=0.1)
    env = StockTrading(walk, costs=costs.CHINA_A, venue=rules, window=5, execution=execution, risk_aversion=0.0)
    sweep, state, rng = env.sweep(), env.init(2, torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1)
    row = {int(bar): k for k, bar in enumerate(sweep.bar)}
    states, trades = sweep.legal.shape[1], 0
    place = torch.zeros(2, dtype=torch.int64)
    for _ in range(100):
        obs = env.observe(state)
        rows = torch.tensor([row[int(t)] for t in state.t])
        assert torch.equal(sweep.legal[rows, place], obs.legal)
        assert torch.allclose(sweep.account[rows, place], obs.account, atol=1e-3)
        action = Random().act(obs, None, rng)[0]
        state, step = env.step(state, action)
        assert torch.allclose(sweep.reward[rows, place, action], step.reward, atol=1e-12)
        place = sweep.following[rows, place, action]
        assert torch.equal(place > 0, state.shares > 0)
        trades += int((step.traded != 0).sum())
    assert states == 2 + max(0, hold_days - (execution != "close"))
    assert trades > 10


def test_validation_by_sweep_equals_a_rollout(fold):
    policy = SMALL.fit(fold.train, rng=torch.Generator().manual_seed(0))
    for half in (fold.hindsight, fold.valid):
        path = rollout(
            neutral := replace(half, risk_aversion=0.0, cash_rate=0.0, venue=venue.Venue(lot=0)),
            policy,
            rng=torch.Generator(),
        )
        assert validate(neutral, policy) == pytest.approx(path.reward.sum(), abs=1e-9)


@pytest.mark.parametrize("net", [MLP((8,), Head()), MLP((8,), Head((8,)))])
@pytest.mark.parametrize("sequence", [0, 16])
def test_an_update_descends_the_loss_of_a_plain_loop(fold, net, sequence):
    agent = replace(SMALL, net=net, sequence=sequence, gamma=0.9)
    run = _Run(agent, sweep := fold.train.sweep(), fold.train.spec, torch.Generator().manual_seed(0))
    window, errors = fold.train.spec.window, []
    for t in sorted(set(run.rows.tolist())):  # stretches overlap; every row counts once
        for p in range(2):
            for a in range(3):
                if not sweep.legal[t, p, a] or not sweep.chained[t]:
                    continue
                q, after = (_q(run.online, sweep, row, window) for row in (t, t + 1))
                follows = sweep.following[t, p, a]
                best = after[follows][sweep.legal[t + 1, follows]].max()
                errors.append(float(sweep.reward[t, p, a] + 0.9 * best - q[p, a]) ** 2)
    run.advance()
    assert run.figures()["loss"] == pytest.approx(np.mean(errors), rel=1e-4)


@torch.no_grad()
def _q(net, sweep, row, window):
    bar = int(sweep.bar[row])
    return net(sweep.bars[bar - window + 1 : bar + 1].expand(2, -1, -1), sweep.account[row])


def test_stretches_cover_every_row_within_its_chain(env):
    sweep = env.sweep()
    rows, bars = _stretches(sweep, 5, 40)
    assert set(rows.tolist()) == set(range(len(sweep.bar)))
    assert torch.equal(bars[:, 4:].flatten(), sweep.bar[rows])
    inside = rows.reshape(-1, 40)[:, :-1].flatten()
    assert bool(sweep.chained[inside].all())


def test_finds_the_optimum_of_a_world_that_it_can_tell_apart():
    """Within 1 % of backward induction on the same bars: every bar looks different, so nothing need be averaged over."""
    market = dynamics.planted(bars=150, noise=0.005, rng=np.random.default_rng(0))
    env = StockTrading(market.panel, costs=costs.linear(10), venue=venue.Venue(lot=0), window=3, risk_aversion=0.0)
    dates = [str(day) for day in market.panel.dates]
    fold = env.folds(splits.dates(train=(dates[40], dates[120]), test=(dates[121], dates[-1])))["PLANTED"]
    how = Training(schedule="cosine")
    net = MLP((128,), Head((64,)))
    agent = ExoQ(net=net, updates=1_500, sequence=0, gamma=0.9, lr=2e-3, copy_every=2, training=how)
    policy = agent.fit(fold.train, rng=torch.Generator().manual_seed(0))
    sweep, window = fold.train.sweep(), fold.train.spec.window
    bar = sweep.bar.repeat_interleave(2)
    obs = Obs(View(sweep.bars, bar, window), sweep.account.flatten(0, 1), sweep.legal.flatten(0, 1))
    chosen = policy.act(obs, None, None)[0].reshape(-1, 2, 1)
    best = ours = torch.zeros(2, dtype=torch.float64)
    values = []
    for t in range(len(sweep.bar) - 1, -1, -1):
        q = sweep.reward[t] + 0.9 * best[sweep.following[t]]
        best = q.masked_fill(~sweep.legal[t], -torch.inf).max(-1).values
        q = sweep.reward[t] + 0.9 * ours[sweep.following[t]]
        ours = q.gather(-1, chosen[t]).squeeze(-1)
        values.append((best.sum(), ours.sum()))
    best_value, value = (float(sum(column)) for column in zip(*values[10:], strict=True))
    assert value == pytest.approx(best_value, rel=0.01)


def test_validation_stops_early_and_keeps_the_best(fold):
    agent = replace(SMALL, updates=400, lr=0.05, training=Training(validate_every=5, patience=3))
    watched = []

    class Seen:
        def restore(self):
            return None

        def keep(self, state):
            pass

        def progress(self, done, total, figures):
            watched.append((done, total, figures))

    policy = agent.fit(fold.train, rng=torch.Generator().manual_seed(0), watch=Seen(), valid=fold.valid)
    done, total, figures = watched[-1]
    assert done == total < 400
    assert validate(fold.valid, policy) == pytest.approx(figures["valid"])


@pytest.mark.parametrize("options", [{}, {"ensemble": 2, "noise": 0.1}, {"net": GRU(4, 4), "sequence": 0}])
def test_keeps_the_contract_and_resumes_exactly(fold, options):
    agent = replace(SMALL, **options)
    assert check_agent(agent, fold.train)
    for valid in (None, fold.valid):
        assert resumes_exactly(agent, fold.train, die_after=20, valid=valid)


def test_an_ensemble_survives_its_file(fold, tmp_path):
    policy = replace(SMALL, ensemble=3).fit(fold.train, rng=torch.Generator().manual_seed(0))
    policy.save(str(tmp_path / "p.safetensors"))
    again = load(str(tmp_path / "p.safetensors"), fold.test.spec)
    assert torch.equal(weights(policy), weights(again))
    one, other = (rollout(fold.test, each, rng=torch.Generator()) for each in (policy, again))
    assert np.array_equal(one.action, other.action)


def test_a_problem_without_a_grid_is_refused(fold):
    class NoGrid:
        spec = fold.train.spec

    with pytest.raises(ConfigError, match="every action in every account state"):
        SMALL.fit(NoGrid(), rng=torch.Generator())


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="`noise` and `sequence`"):
        ExoQ(noise=-1)
    with pytest.raises(ConfigError, match="`ensemble` must be positive"):
        ExoQ(ensemble=0)
