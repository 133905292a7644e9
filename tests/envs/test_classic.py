"""Batched physics against Gymnasium's, step by step."""

import itertools

import numpy as np
import pytest
import torch

from fiduciary.core.checks import check_env
from fiduciary.envs.classic import CartPole, Pendulum

gymnasium = pytest.importorskip("gymnasium")


def _rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("env", [CartPole(), Pendulum()], ids=lambda env: env.spec.name)
def test_contract(env):
    check_env(env)
    state = env.init(4, _rng())
    assert env.perturb(state, _rng()) is env


@pytest.mark.parametrize("seed", range(20))
def test_cart_pole_equals_gymnasium(seed):
    peer, env = gymnasium.make("CartPole-v1"), CartPole()
    peer.reset(seed=seed)
    # The second half of the seeds balances a little by pushing towards the lean, so that some episodes live long.
    state, draws, balance = env.init(1, _rng(seed)), np.random.default_rng(seed), seed >= 10
    peer.unwrapped.state = state.x[0].numpy().copy()
    last = False
    while not last:
        lean = float(state.x[0, 2] + 0.5 * state.x[0, 3])
        action = int(lean > 0) if balance and draws.random() < 0.98 else int(draws.integers(2))
        seen, reward, terminated, truncated, _info = peer.step(action)
        state, step = env.step(state, torch.tensor([action]))
        np.testing.assert_allclose(state.x[0].numpy(), peer.unwrapped.state, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(env.observe(state).account[0].numpy(), seen, rtol=1e-5, atol=1e-6)
        assert float(step.reward) == reward
        assert (float(step.discount) == 0.0) == terminated
        last = terminated or truncated
        assert bool(step.last) == last
    assert float(env.wealth(state)) == 10_000.0 + float(state.t)


def test_a_cart_leaves_the_track_where_gymnasium_s_does():
    peer, env = gymnasium.make("CartPole-v1").unwrapped, CartPole()
    peer.reset(seed=0)
    start = np.array([-2.2, -1.0, 0.0, 0.0])
    peer.state, state = start, env.init(1, _rng())._replace(x=torch.tensor(start).unsqueeze(0))
    for k in itertools.count():
        terminated = peer.step(k % 2)[2]
        state, step = env.step(state, torch.tensor([k % 2]))
        assert bool(step.last) == terminated
        if terminated:
            break
    assert state.x[0, 0] < -2.4 and state.x[0, 2].abs() < 0.2


def test_cart_pole_is_cut_off_after_500_steps_and_not_ended():
    peer, env = gymnasium.make("CartPole-v1"), CartPole()
    assert env.spec.horizon == peer.spec.max_episode_steps == 500
    state = env.init(1, _rng())._replace(x=torch.zeros(1, 4, dtype=torch.float64))
    for _ in range(500):
        x = state.x[0]
        push = 0.1 * x[0] + 0.3 * x[1] + 10 * x[2] + 2 * x[3]
        state, step = env.step(state, (push > 0).long().unsqueeze(0))
    assert bool(step.last) and float(step.discount) == 1.0
    state, step = env.step(state, torch.tensor([0]))
    assert float(step.reward) == 0.0 and int(state.t) == 500


def test_a_fallen_pole_stays_fallen():
    env = CartPole()
    state = env.init(1, _rng())
    for _ in range(100):
        state, step = env.step(state, torch.tensor([1]))
    assert bool(step.last) and float(step.discount) == 0.0 and float(step.reward) == 0.0 and int(state.t) < 15


@pytest.mark.parametrize("seed", range(5))
def test_pendulum_equals_gymnasium(seed):
    peer, env = gymnasium.make("Pendulum-v1"), Pendulum()
    peer.reset(seed=seed)
    state, draws = env.init(1, _rng(seed)), np.random.default_rng(seed)
    peer.unwrapped.state = state.x[0].numpy().copy()
    for k in range(200):
        action = draws.uniform(-1, 1) if seed else 1.0  # one that turns round and round, into the speed limit
        seen, reward, terminated, truncated, _info = peer.step(np.array([2.0 * action]))
        state, step = env.step(state, torch.tensor([[action]], dtype=torch.float64))
        np.testing.assert_allclose(state.x[0].numpy(), peer.unwrapped.state, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(env.observe(state).account[0].numpy(), seen, rtol=1e-5, atol=1e-5)
        assert float(step.reward) == pytest.approx(float(reward), rel=1e-9, abs=1e-9)
        assert not terminated and float(step.discount) == 1.0
        assert bool(step.last) == truncated == (k == 199)


@pytest.mark.parametrize(("env", "name"), [(CartPole(), "CartPole-v1"), (Pendulum(), "Pendulum-v1")])
def test_first_positions_fill_gymnasium_s_range(env, name):
    ours = env.init(4_000, _rng()).x.numpy()
    peer = gymnasium.make(name)
    theirs = np.stack([(peer.reset(seed=k), peer.unwrapped.state)[1] for k in range(500)])
    bound = np.abs(ours).max(0)
    assert (np.abs(theirs) <= bound * 1.01).all() and (np.abs(theirs).max(0) > bound * 0.97).all()
    np.testing.assert_allclose(ours.std(0), bound / np.sqrt(3), rtol=0.05)


def test_a_pendulum_s_step_is_differentiable():
    env = Pendulum()
    state = env.init(8, _rng())
    action = torch.zeros(8, 1, dtype=torch.float64, requires_grad=True)
    after, _step = env.step(state, action)
    after.x[:, 1].sum().backward()
    torch.testing.assert_close(action.grad, torch.full((8, 1), 0.05 * 3.0 * 2.0, dtype=torch.float64))
