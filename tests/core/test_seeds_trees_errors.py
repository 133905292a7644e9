import pickle

import torch
from hypothesis import given
from hypothesis import strategies as st

from fiduciary.core import seeds, trees
from fiduciary.core.errors import ConfigError, DataError
from fiduciary.core.types import Ledger, Step

names = st.lists(st.text(max_size=5) | st.integers(), max_size=4)


@given(st.integers(0, 2**31), names, names)
def test_streams_depend_on_every_name(root, one, other):
    same = [str(x) for x in one] == [str(x) for x in other]
    assert (seeds.child(root, *one) == seeds.child(root, *other)) == same


def test_streams_are_reproducible_and_independent():
    draw = [torch.rand(3, generator=seeds.generator(0, "fit", k)) for k in (1, 1, 2)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])


def _step(n):
    x = torch.arange(float(n))
    return Step(x, x + 1, x > 1, Ledger(x, x, x, x * 2), x)


def test_trees_come_apart_and_together():
    step = _step(4)
    assert trees.equal(trees.rebuild(step, trees.leaves(step)), step)
    assert trees.equal(
        trees.pick(step, 2), Step(*(v[2:3] if v is not step.ledger else Ledger(*(u[2:3] for u in v)) for v in step))
    )
    mixed = trees.where(torch.tensor([True, False, True, False]), step, _step(4)._replace(reward=torch.zeros(4)))
    assert mixed.reward.tolist() == [0.0, 0.0, 2.0, 0.0]


def test_errors_say_everything_and_survive_pickling():
    error = DataError("dates must increase", "AAPL 2001-01-01 twice", cause="a bad merge", remedy="drop one")
    assert str(error) == "dates must increase, got AAPL 2001-01-01 twice: a bad merge; drop one"
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is DataError
    assert (str(back), back.remedy) == (str(error), "drop one")
    assert not isinstance(back, ConfigError)
