"""Algorithms of Stable-Baselines3 train unchanged on our problems, and their models are judged as our policies."""

import numpy as np
import pytest
import torch
from adapter_problems import ruin
from stable_baselines3 import A2C, DQN, PPO, SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from fiduciary import Study, rules, splits
from fiduciary.adapters import GymEnv, GymVectorEnv, SB3Policy, SB3VecEnv
from fiduciary.core.checks import check_policy
from fiduciary.core.errors import ConfigError
from fiduciary.envs import StockTrading
from fiduciary.envs.portfolio_weights import PortfolioWeights
from fiduciary.envs.share_trading import ShareTrading
from fiduciary.evaluation.rollout import rollout
from fiduciary.markets import costs, dynamics, venue
from fiduciary.records.identity import effective

PPO_SMALL = {"n_steps": 32, "batch_size": 32, "n_epochs": 2}
OFF = {"learning_starts": 50, "buffer_size": 1_000, "train_freq": (8, "step"), "batch_size": 32}
TRAINED = [
    (PPO, "discrete", PPO_SMALL), (PPO, "box", PPO_SMALL), (PPO, "simplex", PPO_SMALL), (A2C, "discrete", {}),
    (DQN, "discrete", {**OFF, "target_update_interval": 50}), (SAC, "box", OFF), (SAC, "simplex", OFF),
]  # fmt: skip
WAYS = {"single": lambda problem, kind: GymEnv(problem, observation=kind)}
WAYS["batch"] = lambda problem, kind: SB3VecEnv(problem, 4, observation=kind)


def _train(algorithm, env, options, steps=200, policy="MlpPolicy"):
    model = algorithm(policy, env, seed=0, device="cpu", **options)
    before = [part.clone() for part in model.policy.state_dict().values()]
    model.learn(steps)
    after = model.policy.state_dict().values()
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), "nothing was learned"
    return model


def _trading(bars=160):
    walk = dynamics.random_walk(bars=bars, symbols=2, volatility=0.05, rng=np.random.default_rng(0))
    return StockTrading(walk, cash=200_000, costs=costs.CHINA_A, venue=venue.CHINA_A, window=4)


# --- training --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("algorithm", "space", "options"), TRAINED)
def test_trains_unchanged_and_fills_the_policy_slot(algorithm, space, options, way):
    """Through either door; then the policy keeps its contract and lives through the judge's rollout."""
    problem = ruin(space)
    model = _train(algorithm, WAYS[way](problem, "flat"), options)
    policy = SB3Policy(model, problem.spec)
    assert check_policy(policy, problem)
    path = rollout(problem, policy, rng=torch.Generator().manual_seed(1))
    assert np.isfinite(path.wealth).all() and len(path.wealth) > 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("algorithm", "options"), [(DQN, OFF), (PPO, PPO_SMALL)])
def test_stock_trading_from_a_dict_of_observations(algorithm, options, way):
    env = _trading()
    model = _train(algorithm, WAYS[way](env, "dict"), options, policy="MultiInputPolicy")
    assert check_policy(SB3Policy(model, env.spec), env)


@pytest.mark.parametrize("kind", [PortfolioWeights, ShareTrading])
def test_portfolios_and_shares_train_unchanged(kind):
    """Real continuous problems: weights on the simplex, and orders in a box."""
    walk = dynamics.random_walk(bars=200, symbols=3, rng=np.random.default_rng(0))
    problem = kind(walk, window=4, episode=30)
    policy = SB3Policy(_train(SAC, SB3VecEnv(problem, 4), OFF), problem.spec)
    assert check_policy(policy, problem)
    assert len(rollout(problem, policy, rng=torch.Generator()).wealth) == 31


@pytest.mark.parametrize("algorithm", [PPO, SAC])
@pytest.mark.parametrize("space", ["box", "simplex"])
def test_a_policy_earns_what_its_model_earns_in_gymnasiums_loop(algorithm, space):
    """Independent path: `model.predict` played by hand through `GymEnv` against our rollout of the policy."""
    problem = ruin(space)
    model = _train(algorithm, GymEnv(problem), PPO_SMALL if algorithm is PPO else OFF)
    for seed in range(5):
        start = problem.init(1, torch.Generator().manual_seed(seed))
        env = GymEnv(problem)
        obs, _ = env.reset(options={"state": start})
        wealth, last = [100.0], False
        while not last:
            action, _ = model.predict(obs, deterministic=True)
            obs, _, terminated, truncated, info = env.step(action)
            wealth.append(info["wealth"])
            last = terminated or truncated
        path = rollout(problem, SB3Policy(model, problem.spec), rng=torch.Generator().manual_seed(seed))
        assert path.wealth == pytest.approx(np.array(wealth), rel=1e-6)


def test_equal_seeds_train_equal_models():
    one, again, other = (
        _weights(PPO("MlpPolicy", SB3VecEnv(ruin("box"), 8), seed=seed, device="cpu", **PPO_SMALL).learn(512))
        for seed in (0, 0, 1)
    )
    assert one == again != other


# --- the batch -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observation", ["flat", "dict"])
@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_the_batch_equals_sb3s_own_loop_over_single_accounts(space, observation):
    problem, batch = ruin(space, starts="first", floor=0.95), 6
    ours = SB3VecEnv(problem, batch, observation=observation)
    theirs = DummyVecEnv([lambda b=b: GymEnv(problem, account=b, observation=observation) for b in range(batch)])
    for env in (ours, theirs):
        env.seed(0)
    _equal(ours.reset(), theirs.reset())
    sample = GymVectorEnv(problem, batch).action_space
    sample.seed(0)
    ends = {True: 0, False: 0}
    for _ in range(60):
        action = sample.sample()
        (obs, reward, last, infos), (seen, r, done, told) = ours.step(action), theirs.step(action)
        _equal(obs, seen)
        assert np.array_equal(reward, r) and reward.dtype == r.dtype and np.array_equal(last, done)
        assert len(infos) == batch and len({id(info) for info in infos}) == batch
        for b in np.flatnonzero(last):
            _equal(infos[b].pop("terminal_observation"), told[b].pop("terminal_observation"))
            assert infos[b] == told[b]
            ends[infos[b]["TimeLimit.truncated"]] += 1
    assert ends[True] and ends[False]


def test_what_sb3_asks_of_a_vector_environment():
    env = SB3VecEnv(_trading(), 4)
    env.seed(3)
    first = env.reset()
    env.seed(3)
    assert np.array_equal(first, env.reset())
    masks = np.stack(env.env_method("action_masks"))
    assert masks.shape == (4, 3) and masks.dtype == bool and masks[:, :2].all() and not masks[:, 2].any()
    assert env.has_attr("action_masks") and not env.has_attr("nothing")
    assert np.array_equal(env.env_method("action_masks", indices=[1]), masks[[1]])
    assert env.env_is_wrapped(VecMonitor) == [False] * 4
    with pytest.raises(ConfigError, match="no attributes of their own"):
        env.set_attr("cash", 1.0)
    env.close()


def test_monitor_and_normalisation_wrap_the_batch():
    problem = ruin("box")
    env = VecNormalize(VecMonitor(SB3VecEnv(problem, 8)))
    model = _train(PPO, env, PPO_SMALL, steps=512)
    assert len(model.ep_info_buffer) > 5
    policy = SB3Policy(model, problem.spec)
    assert check_policy(policy, problem)
    state = problem.init(8, torch.Generator().manual_seed(0))
    obs = GymVectorEnv(problem, 8).reset(options={"state": state})[0]
    wanted, _ = model.predict(env.normalize_obs(obs), deterministic=True)
    plain, _ = model.predict(obs, deterministic=True)
    acted, _ = policy.act(problem.observe(state), None, None)
    assert acted.numpy() == pytest.approx(wanted, abs=1e-6) and not np.allclose(wanted, plain)


# --- the policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("algorithm", "options"), [(DQN, OFF), (PPO, PPO_SMALL)])
def test_illegal_actions_give_way_to_the_best_legal_one(algorithm, options):
    problem = ruin("discrete")
    model = _train(algorithm, GymEnv(problem), options)
    policy = SB3Policy(model, problem.spec)
    # A model that wants action 2 above all and action 1 next, whatever it sees.
    head = policy.policy.q_net.q_net[-1] if algorithm is DQN else policy.policy.action_net
    with torch.no_grad():
        head.weight.zero_()
        head.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    obs = problem.observe(problem.init(64, torch.Generator().manual_seed(0)))
    action, _ = policy.act(obs, None, None)
    assert torch.equal(action, torch.where(obs.legal[:, 2], 2, 1))


def test_exploration_draws_from_the_legal_probabilities_and_from_rng_alone():
    problem = ruin("discrete")
    policy = SB3Policy(_train(PPO, GymEnv(problem), PPO_SMALL), problem.spec)
    with torch.no_grad():
        policy.policy.action_net.weight.zero_()
        policy.policy.action_net.bias.copy_(torch.tensor([0.7, 0.1, 0.2]).log())
    state = problem.init(20_000, torch.Generator().manual_seed(0))
    obs = problem.observe(state)
    action, _ = policy.act(obs, None, torch.Generator().manual_seed(1))
    for legal, wanted in ((True, [0.7, 0.1, 0.2]), (False, [0.875, 0.125, 0.0])):
        seen = torch.bincount(action[obs.legal[:, 2] == legal], minlength=3) / (obs.legal[:, 2] == legal).sum()
        assert seen.numpy() == pytest.approx(wanted, abs=0.015)


@pytest.mark.parametrize(("algorithm", "space"), [(PPO, "discrete"), (PPO, "box"), (SAC, "simplex")])
def test_exploration_is_fixed_by_rng_and_leaves_the_global_stream_alone(algorithm, space):
    problem = ruin(space)
    policy = SB3Policy(algorithm("MlpPolicy", GymEnv(problem), seed=0, device="cpu"), problem.spec)
    obs = problem.observe(problem.init(64, torch.Generator().manual_seed(0)))
    torch.manual_seed(5)
    one, again, other = (policy.act(obs, None, torch.Generator().manual_seed(k))[0] for k in (1, 1, 2))
    drawn = torch.rand(())
    torch.manual_seed(5)
    assert torch.equal(one, again) and not torch.equal(one, other) and torch.equal(drawn, torch.rand(()))


def test_further_training_moves_no_policy_but_changes_the_identity():
    problem = ruin("box")
    model = _train(PPO, GymEnv(problem), PPO_SMALL)
    obs = problem.observe(problem.init(8, torch.Generator().manual_seed(0)))
    early = SB3Policy(model, problem.spec)
    before, _ = early.act(obs, None, None)
    assert effective(early) == effective(SB3Policy(model, problem.spec))
    model.learn(64)
    assert torch.equal(before, early.act(obs, None, None)[0])
    assert effective(early)["weights"] != effective(SB3Policy(model, problem.spec))["weights"]
    assert set(effective(early)) == {"type", "spec", "masked", "weights", "scored"}


def test_a_model_of_another_problem_is_refused():
    model = PPO("MlpPolicy", GymEnv(ruin("box")), device="cpu")
    with pytest.raises(ConfigError, match="a model must see what stock-trading gives it"):
        SB3Policy(model, _trading().spec)
    with pytest.raises(ConfigError, match=r"a model must see what ruin gives it.*got Box\(-inf, inf, \(9,\)"):
        SB3Policy(model, ruin("discrete").spec)


def test_a_study_judges_it_beside_the_rules(tmp_path):
    walk = dynamics.random_walk(bars=420, symbols=1, volatility=0.02, rng=np.random.default_rng(0))
    env = StockTrading(walk, costs=costs.linear(5), venue=venue.Venue(lot=0), window=5)
    cut = splits.dates(
        train=(str(walk.dates[60]), str(walk.dates[250])), test=(str(walk.dates[251]), str(walk.dates[-1]))
    )
    (fold,) = env.folds(cut).values()
    policy = SB3Policy(_train(DQN, SB3VecEnv(fold.train, 4), OFF, steps=400), fold.train.spec)
    study = Study("Does DQN of Stable-Baselines3 beat holding?", env, rules.BuyAndHold(), {"sb3": policy}, cut)
    result = study.run(tmp_path / "run", progress=False).result
    row = next(row for row in result.rows if row.policy == "sb3" and row.account == "total")
    path = rollout(fold.test, policy, rng=torch.Generator())
    assert row.role == "candidate" and row.figures["final_wealth"].mean == pytest.approx(path.wealth[-1])


@pytest.mark.slow
def test_ppo_on_the_batch_finds_a_planted_signal():
    """Ten times holding's log growth, on dates that it never saw."""
    market = dynamics.planted(bars=1_500, rng=np.random.default_rng(0))
    dates = market.panel.dates
    env = StockTrading(market.panel, costs=costs.linear(5), venue=venue.Venue(lot=0), window=3)
    cut = splits.dates(train=(str(dates[60]), str(dates[1099])), test=(str(dates[1100]), str(dates[-1])))
    (fold,) = env.folds(cut).values()
    model = PPO("MlpPolicy", SB3VecEnv(fold.train, 64), n_steps=64, batch_size=512, gamma=0.9, seed=0, device="cpu")
    policy = SB3Policy(model.learn(120_000), fold.train.spec)
    growth = [
        np.log(path.wealth[-1] / path.wealth[0])
        for path in (rollout(fold.test, rule, rng=torch.Generator()) for rule in (policy, rules.BuyAndHold()))
    ]
    best = market.best_log_growth(int(fold.test.world.first), int(fold.test.world.last), 5)
    assert growth[0] > 0.5 * best > growth[1]


def _weights(model) -> list[float]:
    return torch.cat([part.flatten() for part in model.policy.state_dict().values()]).tolist()


def _equal(a, b) -> None:
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            _equal(a[key], b[key])
    else:
        assert np.array_equal(a, b) and a.dtype == b.dtype and a.shape == b.shape
