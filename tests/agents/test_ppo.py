"""PPO: distributions, contract, exact resume, optima of small problems, cut-offs, sequences, errors."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import distributions as peer

from fiduciary.agents.distributions import Categorical, Dirichlet, Gaussian, family
from fiduciary.agents.nets import LSTM, MLP, Head, Net
from fiduciary.agents.policies import load
from fiduciary.agents.ppo import PPO, RewardScale, Samples, _Run, read_stretches
from fiduciary.agents.training import Training
from fiduciary.core.checks import check_agent
from fiduciary.core.errors import ConfigError
from fiduciary.envs import tabular
from fiduciary.evaluation import splits
from watching import resumes_exactly, weights

FLAT = MLP((), Head((32,), "tanh"))
SMALL = PPO(net=FLAT, updates=6, accounts=8, steps=16, batch=32, epochs=2, training=Training(keep_every=2, clip=0.5))
OPTIMAL = PPO(
    net=FLAT, updates=30, accounts=128, steps=16, batch=512, epochs=8, gamma=0.9, std=1.0, lr=1e-2,
    training=Training(schedule="linear", clip=0.5),
)  # fmt: skip
PROBLEMS = {
    "chain": lambda space: tabular.chain(3, space=space),
    "trading": lambda space: tabular.trading(space=space),
    "garnet": lambda space: tabular.garnet(6, 2, 3, seeded(7), space=space),
}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def share_of_optimum(agent, problem, *, seed=0):
    policy = agent.fit(problem, rng=seeded(seed))
    reached = float(problem.initial @ problem.values(policy, agent.gamma))
    return reached / problem.solve(agent.gamma).value


@pytest.fixture
def train(env):
    dates = env.panel.dates
    cut = splits.dates(train=(str(dates[30]), str(dates[99])), test=(str(dates[100]), str(dates[-1])))
    return env.folds(cut)["RW1"].train


# --- distributions ---------------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_an_independent_implementation():
    outputs, every = 3 * torch.randn(50, 4, generator=seeded(0)), torch.ones(50, 4, dtype=torch.bool)
    gaussian = Gaussian(4, std=0.7)
    alpha = 1 + torch.nn.functional.softplus(outputs.double())
    for ours, theirs in (
        (Categorical(4), peer.Categorical(logits=outputs)),
        (gaussian, peer.Independent(peer.Normal(outputs, 0.7), 1)),
        (Dirichlet(4), peer.Dirichlet(alpha)),
    ):
        drawn = ours.draw(outputs, every, seeded(1))
        assert torch.allclose(ours.log_prob(outputs, every, drawn), theirs.log_prob(drawn), atol=1e-4)
        assert torch.allclose(ours.entropy(outputs, every), theirs.entropy(), atol=1e-4)


def test_illegal_actions_are_never_drawn_and_legal_ones_as_often_as_they_should_be():
    legal = torch.tensor([True, False, True]).expand(20_000, -1)
    logits = torch.tensor([0.0, 9.0, 1.0]).expand(20_000, -1).requires_grad_()
    drawn = Categorical(3).draw(logits.detach(), legal, seeded(0))
    often = torch.bincount(drawn, minlength=3) / 20_000
    assert often[1] == 0 and abs(float(often[2]) - math.e / (1 + math.e)) < 0.01
    Categorical(3).entropy(logits, legal).sum().backward()
    assert bool(logits.grad.isfinite().all()) and not bool(logits.grad[:, 1].any())


def test_components_that_do_not_trade_count_for_nothing():
    gaussian, outputs, drawn = Gaussian(2, std=0.5), torch.zeros(1, 2), torch.tensor([[0.3, 7.0]])
    legal = torch.tensor([[True, False]])
    alone = Gaussian(1, std=0.5)
    one = torch.ones(1, 1, dtype=torch.bool)
    assert gaussian.log_prob(outputs, legal, drawn).item() == pytest.approx(
        alone.log_prob(outputs[:, :1], one, drawn[:, :1]).item()
    )
    assert gaussian.entropy(outputs, legal).item() == pytest.approx(alone.entropy(outputs[:, :1], one).item())


@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_an_action_and_its_draw_stand_for_each_other(space):
    one = family(tabular.chain(space=space).spec, std=2.0)
    legal = torch.ones(200, one.outputs, dtype=torch.bool)
    action = one.action(one.draw(torch.zeros(200, one.outputs), legal, seeded(0)))
    assert torch.allclose(one.action(one.drawn(action)).double(), action.double(), atol=1e-6)


# --- contract and resume ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_keeps_the_contract_in_every_space(space):
    assert check_agent(SMALL, tabular.chain(3, space=space))


@pytest.mark.parametrize(
    "options",
    [
        {"net": MLP((8,), Head((8,)))},
        {"net": LSTM(8, 8), "sequence": True},
        {"clip_value": 0.2, "target_kl": 1e-4, "entropy": 0.01, "normalize": False, "orthogonal": False},
    ],
)
def test_keeps_the_contract_with_every_option(train, options):
    assert check_agent(replace(SMALL, **options), train)


@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_a_killed_fit_resumes_bit_for_bit(space):
    agent = replace(SMALL, scale_rewards=True, target_kl=0.01)
    assert resumes_exactly(agent, tabular.chain(3, space=space, horizon=20), die_after=4)


@pytest.mark.parametrize("sequence", [False, True])
def test_a_killed_fit_on_a_market_resumes_bit_for_bit(train, sequence):
    agent = replace(SMALL, net=LSTM(8, 8), sequence=sequence, training=Training(keep_every=2, validate_every=3))
    assert resumes_exactly(agent, train, die_after=2, valid=train)


@pytest.mark.parametrize("space", ["discrete", "box", "simplex"])
def test_a_policy_survives_its_file(space, tmp_path):
    env = tabular.chain(3, space=space)
    policy = SMALL.fit(env, rng=seeded(0))
    policy.save(str(tmp_path / "p.safetensors"))
    again = load(str(tmp_path / "p.safetensors"), env.spec)
    assert torch.equal(env.values(policy, 0.9), env.values(again, 0.9))


# --- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS)
def test_finds_the_optimum_with_discrete_actions(problem):
    assert share_of_optimum(OPTIMAL, PROBLEMS[problem]("discrete")) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "space"), [("chain", "box"), ("garnet", "box"), ("chain", "simplex"), ("trading", "simplex")]
)
def test_finds_the_optimum_with_continuous_actions(problem, space):
    assert share_of_optimum(replace(OPTIMAL, updates=100, lr=3e-3), PROBLEMS[problem](space)) > 0.99


@pytest.mark.parametrize(("ends", "worth"), [(False, 2.0), (True, 1.0)])
def test_values_go_on_beyond_a_cut_off_and_stop_at_an_end(ends, worth):
    """One step that pays 1, then it is over, or only the episode is: 1 or 1 + 0.5 + 0.25 + ... = 2."""
    move = torch.zeros(2, 1, 2, dtype=torch.float64)
    move[0, 0, int(ends)] = move[1, 0, 1] = 1.0
    start = torch.tensor([1.0, 0.0], dtype=torch.float64)
    once = tabular.Tabular(move, torch.tensor([[1.0], [0.0]], dtype=torch.float64), start=start, horizon=1)
    run = _Run(replace(SMALL, gamma=0.5, lr=1e-2), once, seeded(0))
    for _ in range(60):
        run.advance()
    value = run.critic.read(run.accounts.obs.world, run.accounts.obs.account)[0].item()
    assert value == pytest.approx(worth, rel=0.02)


def test_the_passes_end_once_the_policy_is_too_far_from_the_old_one():
    steps = []
    for target in (None, 1e-9):
        run = _Run(replace(SMALL, target_kl=target), tabular.chain(3), seeded(0))
        run.advance()
        steps.append(run.optimiser.done)
    assert steps[0] == SMALL.epochs * SMALL.parts and steps[1] < steps[0]


def test_scaled_rewards_are_divided_by_the_spread_of_returns():
    r, last = torch.randn(3, 40, 5, generator=seeded(0)), torch.rand(3, 40, 5, generator=seeded(1)) < 0.1
    scale, returns, running = RewardScale(0.9, 5, torch.device("cpu")), [], np.zeros(5)
    for block in range(3):
        scaled = scale(r[block], last[block])
        for t in range(40):
            running = 0.9 * running + r[block, t].numpy()
            returns.append(running)
            running = running * ~last[block, t].numpy()
        assert torch.allclose(scaled, r[block] / float(np.std(returns)), rtol=1e-4)


# --- sequences -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [MLP((8,), Head((8,))), LSTM(8, 8)])
def test_a_stretch_reads_what_windows_read(train, body):
    """Without memory at every bar; with memory at the first bar of a stretch, and where an episode begins anew."""
    short = replace(train, episode=7)
    run = _Run(replace(SMALL, net=body, sequence=True), short, seeded(0))
    with torch.no_grad():
        samples = run._collect()
        stretched = read_stretches(run.actor, run.accounts.obs.world, samples)
        windowed = run.actor.read(run.accounts.obs.world._replace(bar=samples.bar), samples.account)
    first = samples.bar == samples.start
    assert first.sum() > SMALL.accounts, "some episodes must end inside the rollout"
    same = torch.ones_like(first) if isinstance(body, MLP) else first
    assert torch.allclose(stretched[same], windowed[same], atol=1e-5)


def test_what_lies_beyond_a_stretch_never_reaches_the_gradient(env):
    """Behind the last bar of one symbol begins the next one, whose look-back is not filled."""
    run = _Run(replace(SMALL, net=LSTM(8, 8), sequence=True), env, seeded(0))
    end = int(env.world.last[0])
    assert not env.world.features[end + 1 : end + 5].isfinite().all()
    bar = torch.tensor([end - 20, end - 10, end])
    nothing = torch.zeros(3)
    samples = Samples(bar, torch.zeros(3, 1), None, nothing, torch.tensor([end - 20, end - 20, end]), *[nothing] * 3)
    read_stretches(run.actor, run.accounts.obs.world, samples).sum().backward()
    assert all(p.grad.isfinite().all() for p in run.actor.parameters())


def test_gradient_steps_of_a_single_sample_are_finite(train):
    policy = replace(SMALL, accounts=1, steps=3, batch=2).fit(train, rng=seeded(0))  # 3 = 2 + 1
    assert weights(policy).isfinite().all()


@pytest.mark.parametrize("sequence", [False, True])
def test_the_first_gradient_step_starts_from_the_policy_that_acted(train, sequence):
    run = _Run(replace(SMALL, net=LSTM(8, 8), sequence=sequence), train, seeded(0))
    samples = run._collect()
    again = run.family.log_prob(run._read(run.actor, samples), samples.legal, samples.drawn)
    assert torch.allclose(again, samples.log_prob, atol=1e-5)
    rows = torch.cat(list(run._parts()))
    assert torch.equal(rows.sort().values, torch.arange(len(samples.bar))), "a pass reads every sample once"


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, "`lr` must be positive"),
        ({"gamma": 1.1}, "`gamma` must lie"),
        ({"entropy": -1.0}, "`entropy` must not be negative"),
        ({"target_kl": 0.0}, "`target_kl` must be positive"),
        ({"batch": 1_000}, "`batch` must fit into a rollout"),
        ({"batch": 8, "sequence": True}, "`batch` must hold a whole rollout of an account"),
    ],
)
def test_wrong_options_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def test_a_sequence_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="`sequence` needs a world that shows something"):
        replace(SMALL, sequence=True).fit(tabular.chain(3), rng=seeded(0))


def test_a_first_policy_is_almost_uniform(train):
    run = _Run(replace(SMALL, net=MLP()), train, seeded(0))
    assert isinstance(run.actor, Net)
    with torch.no_grad():
        assert run.actor.read(run.accounts.obs.world, run.accounts.obs.account).abs().max() < 0.1
