"""Network bodies by law: shapes, files, stretches against windows, causality, permutation equivariance."""

import json
from dataclasses import replace

import pytest
import torch

from fiduciary.agents import EIIE, GRU, LSTM, MLP, TCN, Head, Transformer
from fiduciary.agents.nets import Ensemble, describe, encode_once, rebuild
from fiduciary.core.errors import ConfigError
from fiduciary.core.types import Spec, View

W = 6
ONE = Spec("one", ("hold", "buy", "sell"), ("x", "y"), ("position",), W, 10, "USD", ())
MANY = replace(
    ONE, actions=("cash", "A", "B", "C"), account=("exposure", "A", "B", "C"), assets=("A", "B", "C"), space="simplex"
)
BLANK = replace(ONE, features=(), window=1, account=("a", "b", "c", "d"))
BODIES = [
    MLP((8,)),
    MLP((), Head((8, 8), "tanh")),
    LSTM(8, 4),
    GRU(8, 4),
    TCN(8),
    Transformer(8, 2, 1),
    Ensemble(LSTM(4, 4), 2),
]
RECURRENT = (LSTM, GRU)


def _world(spec, bars=40):
    shape = (bars, len(spec.assets), len(spec.features)) if spec.assets else (bars, len(spec.features))
    return torch.randn(shape)


@pytest.mark.parametrize("spec", [ONE, MANY])
@pytest.mark.parametrize("body", [*BODIES, EIIE(4, 3, 5)])
def test_every_body_reads_every_world_and_survives_a_file(body, spec):
    if isinstance(body, EIIE) and not spec.assets:
        pytest.skip("an EIIE scores assets")
    torch.manual_seed(0)
    outputs, account = len(spec.actions), torch.rand(5, len(spec.account))
    net = body.build(spec, outputs)
    view = View(_world(spec), torch.tensor([9, 30, 9, 12, 9]), W)
    out = net(view.window(), account)
    assert out.shape == (5, outputs)
    assert torch.allclose(net.read(view, account), out, atol=1e-5)
    again = rebuild(json.loads(json.dumps(describe(body)))).build(spec, outputs)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(view.window(), account), out)
    # A critic reads the action beside the account and gives one number; every parameter of it learns.
    critic = body.build(spec, 1, extra=outputs)
    critic(view.window(), torch.cat((account, torch.rand(5, outputs)), -1)).sum().backward()
    unused = [name for name, p in critic.named_parameters() if p.grad is None]
    assert unused == (["cash_score"] if isinstance(body, EIIE) else [])


@pytest.mark.parametrize("body", [MLP((8,)), MLP((), Head((8,)))])
def test_a_world_that_shows_nothing_leaves_the_account(body):
    net = body.build(BLANK, 3)
    account = torch.rand(5, 4)
    out = net.read(View(torch.zeros(1, 0), torch.zeros(5, dtype=torch.int64), 1), account)
    assert out.shape == (5, 3)
    assert not torch.equal(out[0], out[1])


@pytest.mark.parametrize("spec", [ONE, MANY])
@pytest.mark.parametrize("body", [*BODIES, EIIE(4, 3, 5)])
def test_a_stretch_encodes_every_bar_after_its_lead_in(body, spec):
    """Equal to the windowed form everywhere, save for recurrent bodies: there at the first encoding, whose past is equal."""
    if isinstance(body, EIIE) and not spec.assets:
        pytest.skip("an EIIE scores assets")
    torch.manual_seed(0)
    net, bars = body.build(spec, len(spec.actions)), _world(spec)
    stretches = torch.stack([bars[3:18], bars[20:35]])
    got = net.stretch(stretches, W)
    windows = torch.stack([torch.stack([bars[s + k : s + k + W] for k in range(10)]) for s in (3, 20)])
    expected = net.encode(windows.flatten(0, 1)).unflatten(0, (2, 10))
    assert got.shape == expected.shape
    carried = isinstance(body, (*RECURRENT, Ensemble))
    assert torch.allclose(got[:, 0], expected[:, 0], atol=1e-5)
    assert torch.allclose(got, expected, atol=1e-5) != carried


@pytest.mark.parametrize("body", [LSTM(8, 4), GRU(8, 4)])
def test_a_recurrent_stretch_is_blind_to_what_follows(body):
    torch.manual_seed(0)
    net, bars = body.build(ONE, 3), _world(ONE)
    other = bars.clone()
    other[15:] += 1.0
    assert torch.equal(net.stretch(bars[None], W)[:, : 15 - W + 1], net.stretch(other[None], W)[:, : 15 - W + 1])
    assert not torch.equal(net.stretch(bars[None], W)[:, 15 - W + 1], net.stretch(other[None], W)[:, 15 - W + 1])


def test_each_bar_is_encoded_once_however_many_accounts_stand_there(monkeypatch):
    net = MLP((8,)).build(ONE, 3)
    seen = []
    monkeypatch.setattr(net, "encode", lambda window: seen.append(len(window)) or torch.zeros(len(window), 8))
    encode_once(net, View(_world(ONE), torch.tensor([9, 30, 9, 12, 9]), W))
    assert seen == [3]


def test_an_eiie_relabels_its_scores_when_assets_are_relabelled():
    torch.manual_seed(0)
    net, window, account = EIIE().build(MANY, 4), torch.randn(5, W, 3, 2), torch.rand(5, 4)
    order = torch.tensor([2, 0, 1])
    scores = net(window, account)
    swapped = net(window[:, :, order], torch.cat((account[:, :1], account[:, 1:][:, order]), -1))
    assert torch.allclose(swapped[:, 1:], scores[:, 1:][:, order], atol=1e-6)
    assert torch.equal(swapped[:, 0], scores[:, 0])
    value = EIIE().build(MANY, 1)
    moved = value(window[:, :, order], torch.cat((account[:, :1], account[:, 1:][:, order]), -1))
    assert torch.allclose(moved, value(window, account), atol=1e-6)


def test_an_eiie_of_one_asset_or_of_a_discrete_problem_is_refused():
    with pytest.raises(ConfigError, match="an EIIE scores assets"):
        EIIE().build(ONE, 3)
    with pytest.raises(ConfigError, match="an EIIE scores assets"):
        EIIE().build(replace(MANY, space="discrete"), 4)


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP((0,)), lambda: Head((0,)), lambda: GRU(0), lambda: TCN(layers=0), lambda: Transformer(width=0),
        lambda: Transformer(width=9, heads=2), lambda: Head((3,), "gelu"), lambda: EIIE(size=0),
    ],
)  # fmt: skip
def test_shapes_that_cannot_be_are_refused(make):
    with pytest.raises(ConfigError):
        make()
