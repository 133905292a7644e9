"""Gymnasium's own checkers, its slow vector environment as the twin of ours, and both kinds of end."""

import copy
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from adapter_problems import ruin
from gymnasium.utils.env_checker import check_env as gymnasium_check
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as sb3_check

from fiduciary.adapters import GymEnv, GymVectorEnv
from fiduciary.adapters.gymnasium import native
from fiduciary.core import trees
from fiduciary.core.checks import check_env
from fiduciary.core.errors import ConfigError

SPACES = ["discrete", "box", "simplex"]
OBSERVATIONS = ["flat", "dict"]


@pytest.mark.parametrize("space", SPACES)
def test_the_small_problem_keeps_every_law(space):
    assert check_env(ruin(space))


@pytest.mark.parametrize("observation", OBSERVATIONS)
@pytest.mark.parametrize("space", SPACES)
def test_both_libraries_checkers_pass(space, observation):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*infinity")  # features have no bounds
        warnings.filterwarnings("ignore", message=".*not different from the unwrapped|.*environment.*spec|.*render")
        warnings.filterwarnings("ignore", message=".*image")  # [W, N, F] has the shape of one
        gymnasium_check(GymEnv(ruin(space), observation=observation))
        sb3_check(GymEnv(ruin(space), observation=observation))


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_checkers_pass_stock_trading(env, observation):
    for account in range(2):
        gym_env = GymEnv(env, account=account, observation=observation)
        gymnasium_check(gym_env, skip_render_check=True)
        sb3_check(gym_env)


@settings(max_examples=30)
@given(st.sampled_from(SPACES), st.sampled_from(OBSERVATIONS), st.integers(1, 6), st.integers(0, 2**31))
def test_a_vector_equals_gymnasiums_own_loop_over_single_accounts(space, observation, batch, seed):
    """Observations, rewards, both kinds of end, last observations and infos, over several episodes of each account."""
    problem = ruin(space, starts="first")
    ours = GymVectorEnv(problem, batch, observation=observation)
    singles = [lambda b=b: GymEnv(problem, account=b, observation=observation) for b in range(batch)]
    theirs = SyncVectorEnv(singles, autoreset_mode=AutoresetMode.SAME_STEP)
    assert ours.single_observation_space == theirs.single_observation_space
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert ours.autoreset_mode == theirs.autoreset_mode  # where TorchRL looks
    assert _same(ours.reset(seed=seed), theirs.reset(seed=seed))
    ours.action_space.seed(seed)
    for _ in range(40):
        action = ours.action_space.sample()
        mine, other = ours.step(action), theirs.step(action)
        assert _same(mine, other)
        assert ours.observation_space.contains(mine[0])


@pytest.mark.parametrize("space", SPACES)
def test_given_starts_open_equal_accounts(space):
    problem = ruin(space)
    start = problem.init(5, torch.Generator().manual_seed(4))
    vector = GymVectorEnv(problem, 5)
    vector.reset(seed=0, options={"state": start})
    singles = [GymEnv(problem) for _ in range(5)]
    for b, single in enumerate(singles):
        single.reset(seed=b, options={"state": trees.pick(start, b)})
    vector.action_space.seed(1)
    action = vector.action_space.sample()
    obs, reward, *_ = vector.step(action)
    for b, single in enumerate(singles):
        alone, r, *_ = single.step(action[b])
        assert np.array_equal(obs[b], alone) and reward[b] == r


def test_ends_are_told_apart():
    """Ruin terminates, the last bar truncates, and a random player meets both."""
    vector = GymVectorEnv(ruin("box", floor=0.97), 64)
    vector.reset(seed=0)
    vector.action_space.seed(0)
    seen = np.zeros(2, dtype=int)
    for _ in range(60):
        _, _, terminated, truncated, info = vector.step(vector.action_space.sample())
        assert not (terminated & truncated).any()
        last = info["final_info"]["wealth"] if "final_info" in info else np.zeros(64)
        assert ((last < 97) == terminated)[terminated | truncated].all()
        seen += terminated.sum(), truncated.sum()
    assert (seen > 50).all()


@pytest.mark.parametrize("make", [GymEnv, lambda problem: GymVectorEnv(problem, 4)])
def test_all_randomness_comes_from_the_seed(make):
    def play(seed, env):
        env.action_space.seed(0)
        out = [env.reset(seed=seed)]
        for _ in range(30):
            out.append(env.step(env.action_space.sample()))
            if isinstance(env, GymEnv) and (out[-1][2] or out[-1][3]):
                out.append(env.reset())
        return out

    one = make(ruin("box"))
    torch.manual_seed(1)
    first, (other, again) = play(7, one), (play(8, one), play(7, one))
    torch.manual_seed(2)
    assert _same(first, again) and _same(first, play(7, make(ruin("box"))))
    assert not _same(first[0], other[0])


def test_reopened_accounts_start_elsewhere_each_time():
    vector = GymVectorEnv(ruin("discrete"), 8)
    _, info = vector.reset(seed=0)
    dates = [info["day"]]
    for _ in range(80):
        _, _, terminated, truncated, info = vector.step(np.zeros(8, dtype=int))
        if (terminated | truncated).all():
            dates.append(info["day"])
        elif (terminated | truncated).any():
            dates.append(np.where(terminated | truncated, info["day"], dates[-1]))
    assert all(len(np.unique(column)) > 4 for column in np.stack(dates).T)


def test_money_in_the_infos_is_the_problems_own(env):
    vector = GymVectorEnv(env, 2)
    vector.reset(seed=0)
    state = env.init(2, torch.Generator())
    rng = np.random.default_rng(0)
    for _ in range(50):
        action = rng.integers(0, 3, 2)
        state, step = env.step(state, torch.as_tensor(action))
        *_, info = vector.step(action)
        assert np.array_equal(info["wealth"], env.wealth(state).numpy())
        assert np.array_equal(info["fees"], (step.ledger.fees + step.ledger.impact).numpy())
        assert np.array_equal(info["day"], env.when(state).numpy())
        assert np.array_equal(vector.action_masks(), env.observe(state).legal.numpy())


def test_a_flat_observation_is_the_dict_end_to_end(env):
    (flat, _), (parts, _) = (GymEnv(env, observation=kind).reset(seed=0) for kind in ("flat", "dict"))
    assert np.array_equal(flat, np.concatenate([parts[name].ravel() for name in ("world", "account", "legal")]))


@given(st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=6))
def test_box_actions_become_weights(action):
    spec = ruin("simplex").spec
    weights = native(spec, np.array([action], dtype=np.float32), torch.device("cpu"))[0].numpy()
    assert weights.sum() == pytest.approx(1, abs=1e-12) and (weights >= 0).all()
    raised = np.array(action, dtype=np.float64) + 1
    if raised.sum() > 0:
        assert weights * raised.sum() == pytest.approx(raised)


def test_every_corner_and_the_middle_are_reached():
    spec = ruin("simplex").spec
    actions = np.array([[1, -1], [-1, 1], [-1, -1], [0.3, 0.3], [5, -9]], dtype=np.float32)
    weights = native(spec, actions, torch.device("cpu")).numpy()
    assert np.array_equal(weights, [[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5], [1, 0]])


@pytest.mark.parametrize("observation", OBSERVATIONS)
def test_writing_into_what_was_returned_changes_nothing(observation):
    def play(spoil):
        vector = GymVectorEnv(ruin("discrete", floor=0.99), 8, observation=observation)
        out, kept = vector.reset(seed=0), []
        for k in range(20):
            kept.append(copy.deepcopy((out, vector.action_masks())))
            if spoil:
                for array in [*(out[0].values() if observation == "dict" else [out[0]]), vector.action_masks()]:
                    array[:] = 0
                out[-1]["wealth"][:] = out[-1]["day"][:] = 0
            out = vector.step(np.full(8, k % 3))
        return kept

    assert _same(play(spoil=False), play(spoil=True))


def test_gymnasiums_wrappers_work_on_both():
    vector = gym.wrappers.vector.RecordEpisodeStatistics(GymVectorEnv(ruin("box", starts="first"), 4))
    vector.reset(seed=0)
    returns = np.zeros(4)
    for _ in range(12):
        _, reward, terminated, truncated, info = vector.step(np.zeros((4, 2), dtype=np.float32))
        returns += reward
    assert (terminated | truncated)[0] and "episode" in info
    lists = gym.wrappers.vector.DictInfoToList(GymVectorEnv(ruin("box"), 3))
    _, infos = lists.reset(seed=0)
    assert [set(info) for info in infos] == [{"wealth", "fees", "day"}] * 3
    single = gym.wrappers.TimeLimit(gym.wrappers.OrderEnforcing(GymEnv(ruin("box"))), 3)
    single.reset(seed=0)
    assert [single.step(np.zeros(2, dtype=np.float32))[3] for _ in range(3)] == [False, False, True]


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="`observation` must be one of flat, dict, got 'image'"):
        GymEnv(ruin("box"), observation="image")
    with pytest.raises(ConfigError, match="`num_envs` must be at least 1, got 0"):
        GymVectorEnv(ruin("box"), 0)
    for env in (GymEnv(ruin("discrete")), GymVectorEnv(ruin("discrete"), 2)):
        with pytest.raises(gym.error.ResetNeeded):
            env.step(env.action_space.sample())
        with pytest.raises(gym.error.ResetNeeded):
            env.action_masks()


@pytest.mark.parametrize(("name", "library"), [("GymEnv", "gymnasium"), ("SB3Policy", "stable_baselines3")])
def test_a_missing_library_is_named_with_its_remedy(monkeypatch, name, library):
    import fiduciary.adapters

    for module in [module for module in sys.modules if module.startswith("fiduciary.adapters.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"needs .*pip install 'fiduciary\[rl\]'"):
        getattr(fiduciary.adapters, name)


def _same(a, b) -> bool:
    """Equal numbers, types and shapes all the way down."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, np.ndarray) and a.dtype == object:
        return all(_same(x, y) for x, y in zip(a, b, strict=True))
    return data_equivalence(a, b, exact=True)
