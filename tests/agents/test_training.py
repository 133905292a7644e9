"""The common loop: the guard of the optimiser, early stopping across a kill."""

import pytest
import torch
from torch import nn

from fiduciary.agents import DQN, MLP, Training
from fiduciary.agents.training import Optimiser, validate
from fiduciary.core.errors import NumericsError
from fiduciary.evaluation import splits
from watching import KilledError, Watch, weights


def two_layers():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    return net, Optimiser(net, 0.1, Training(), updates=10), torch.ones(4, 2)


def test_the_guard_names_the_gradient_that_is_bad_and_changes_nothing():
    net, optimiser, x = two_layers()
    before = nn.utils.parameters_to_vector(net.parameters()).clone()
    net[1].bias.register_hook(lambda g: g * torch.nan)
    with pytest.raises(NumericsError, match=r"the gradient of 1\.bias"):
        optimiser.step(net(x).sum(), x=x)
    assert torch.equal(nn.utils.parameters_to_vector(net.parameters()), before)


def test_finite_gradients_whose_norm_overflows_are_no_silent_standstill():
    net, optimiser, x = two_layers()
    with pytest.raises(NumericsError, match="the gradient's norm"):
        optimiser.step(1e30 * net(x).sum(), x=x)


def test_gradients_are_clipped_to_their_norm():
    net, optimiser, x = two_layers()
    optimiser.step(1e6 * net(x).sum(), x=x)
    norm = torch.cat([p.grad.flatten() for p in net.parameters()]).norm()
    assert float(norm) == pytest.approx(Training().clip, rel=1e-5)


@pytest.mark.parametrize("keep_every", [1, 3])
def test_a_fit_that_is_killed_on_its_way_to_an_early_end_ends_there_with_the_same_policy(env, keep_every):
    days = [str(day) for day in env.panel.dates]
    cut = splits.dates(train=(days[30], days[89]), valid=(days[90], days[119]), test=(days[120], days[-1]))
    fold = env.folds(cut)["RW1"]
    how = Training(keep_every=keep_every, validate_every=2, patience=2)
    agent = DQN(net=MLP((8,)), updates=400, accounts=8, batch=32, warm_up=64, replay=512, lr=1e-2, training=how)

    def fit(watch, seed=5):
        return agent.fit(fold.train, rng=torch.Generator().manual_seed(seed), watch=watch, valid=fold.valid)

    whole = fit(unbroken := Watch())
    end = unbroken.curve[-1][0]
    assert end < 400, "validation must end the fit early, or nothing is tested"
    assert validate(fold.valid, whole) == unbroken.curve[-1][2]["valid"]
    with pytest.raises(KilledError):
        fit(watch := Watch(die_after=end - 3))
    watch.die_after = None
    assert torch.equal(weights(fit(watch, seed=99)), weights(whole))
    assert watch.curve[-1] == unbroken.curve[-1]
    if keep_every == 1:  # the last state kept is one at which learning was over
        assert torch.equal(weights(fit(watch, seed=98)), weights(whole))


@pytest.mark.slow
def test_a_compiled_step_teaches_the_same(env):
    small = {"net": MLP((4,)), "updates": 5, "accounts": 8, "batch": 16, "warm_up": 16}
    one, other = (
        DQN(**small, training=Training(compiled=compiled)).fit(env, rng=torch.Generator().manual_seed(0))
        for compiled in (False, True)
    )
    assert torch.allclose(weights(one), weights(other), atol=1e-9)
