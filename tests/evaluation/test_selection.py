"""Data snooping, confidence sets and backtest overfitting: arch, enumeration by hand, limits, and error rates."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from fiduciary.core.errors import ConfigError
from fiduciary.evaluation import selection


def _noise(k, bars, seed, common=0.5):
    rng = np.random.default_rng(seed)
    return 0.01 * (rng.standard_normal((k, bars)) + common * rng.standard_normal(bars))


# --- data snooping ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("studentised", [False, True])
def test_reality_check_and_spa_equal_arch_on_the_same_days(studentised, monkeypatch):
    """arch 8.0 does not divide by omega whatever `studentize` says: Hansen's statistic is its own of scaled differences."""
    from arch.bootstrap import SPA, StationaryBootstrap

    d, block, draws = _noise(6, 300, 0) + 2e-4 * np.arange(-3, 3)[:, None], 5, 400
    omega = np.sqrt(selection.long_run_variance(d, block))[:, None]
    theirs = SPA(np.zeros(300), -(d / omega if studentised else d).T, block_size=block, reps=draws, seed=1)
    theirs.compute()
    resampler = StationaryBootstrap(block, d.T, seed=1)
    days = np.array([resampler.index.copy() for _ in resampler.bootstrap(draws)])
    given_days = iter(np.split(days, range(50, draws, 50)))
    monkeypatch.setattr(selection, "stationary_indices", lambda *_: next(given_days))
    ours = selection.superiority(d, rng=np.random.default_rng(0), block=block, draws=draws)
    names = (
        {"consistent": ours.spa, "lower": ours.lower, "upper": ours.upper}
        if studentised
        else {"upper": ours.reality_check}
    )
    assert {k: (p * (draws + 1) - 1) / draws for k, p in names.items()} == pytest.approx(
        {k: theirs.pvalues[k] for k in names}
    )


def test_long_run_variance_equals_arch_and_the_variance_of_resampled_means():
    from arch.bootstrap import SPA

    x = _noise(3, 200, 1)
    theirs = SPA(np.zeros(200), -x.T, block_size=7)
    theirs._compute_variance()
    got = selection.long_run_variance(x, 7)
    assert got == pytest.approx(theirs._loss_diff_var, rel=1e-9)
    means = selection._means(x, 7.0, 4_000, np.random.default_rng(0))
    assert 200 * means.var(axis=0) == pytest.approx(got, rel=0.1)


@settings(max_examples=15, deadline=None)
@given(some.integers(0, 10_000), some.integers(1, 8), some.floats(-0.002, 0.002))
def test_p_values_keep_their_order(seed, k, edge):
    got = selection.superiority(_noise(k, 120, seed) + edge, rng=np.random.default_rng(seed), block=2.0, draws=200)
    assert 0 < got.lower <= got.spa <= got.upper <= 1


def test_a_true_edge_is_seen_and_a_copy_changes_nothing():
    d = _noise(5, 400, 2)
    d[3] += 0.004
    alone, with_copy = (
        selection.superiority(x, rng=np.random.default_rng(0), block=1.0) for x in (d, np.vstack((d, np.zeros(400))))
    )
    assert max(alone[:4]) < 0.001 and alone == with_copy
    assert selection.superiority(np.zeros((2, 400)), rng=np.random.default_rng(0))[:4] == (1.0, 1.0, 1.0, 1.0)


def test_bad_candidates_cost_the_reality_check_power_but_not_the_spa():
    """Hansen (2005): the reality check can be made to see nothing by adding poor and volatile alternatives."""
    d = _noise(1, 400, 3, common=0.0) + 0.0015
    poor = 10 * _noise(20, 400, 4, common=0.0) - 0.05
    got = selection.superiority(np.vstack((d, poor)), rng=np.random.default_rng(0), block=1.0)
    assert got.spa < 0.05 < got.reality_check


def test_errors_of_the_snooping_tests_are_as_stated_where_nothing_is_better():
    """Four standard errors of a count of 150 null worlds."""
    p = np.array(
        [
            selection.superiority(_noise(8, 200, 100 + k), rng=np.random.default_rng(k), block=1.0, draws=200)[:2]
            for k in range(150)
        ]
    )
    for column in p.T:
        assert abs((column < 0.1).mean() - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 150)


# --- confidence set --------------------------------------------------------------------------------------------------


def test_confidence_set_holds_the_best_and_drops_the_hopeless():
    r = _noise(5, 500, 5) + np.array([0.0, 0.0, 0.0, -0.005, -0.01])[:, None]
    p = selection.confidence_set(r, rng=np.random.default_rng(0))
    assert p.max() == 1.0 == p[r.mean(axis=1).argmax()]
    assert (p[3:] < 0.01).all() and (p[:3] > 0.1).all()


def test_copies_share_a_p_value_and_order_does_not_matter():
    r = _noise(4, 300, 6)
    p = selection.confidence_set(r, rng=np.random.default_rng(0), block=2.0)
    order = [3, 0, 2, 1, 0, 3]
    assert selection.confidence_set(r[order], rng=np.random.default_rng(0), block=2.0) == pytest.approx(p[order])
    assert (selection.confidence_set(r[[0, 0]], rng=np.random.default_rng(0)) == 1.0).all()


def test_confidence_set_of_two_is_a_bootstrap_test_of_their_difference():
    r = _noise(2, 400, 7)
    r[1] += 0.0015 - (r[1] - r[0]).mean()
    d = r[1] - r[0]
    p = selection.confidence_set(r, rng=np.random.default_rng(0), block=1.0, draws=4_000)
    z = d.mean() / (d.std() / np.sqrt(400))
    assert p.min() == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.015) and p.max() == 1.0


# --- backtest overfitting --------------------------------------------------------------------------------------------


def test_overfitting_by_hand():
    """Means of four blocks: A = 3 3 0 0, B = 1 1 1 1. A is elected unless both of its good blocks are left out.

    Elected on {1, 2}: A (3), which then makes 0 against 1. On {3, 4}: B (1), which then makes 1 against 3. On the other four
    halves: A (1.5), which then makes 1.5 against 1. So PBO = 2 / 6, logits are -+ log 2, and the slope of (3, 0), (1, 1), four
    times (1.5, 1.5) is -5 / 7.
    """
    a, b = np.repeat([3.0, 3.0, 0.0, 0.0], 2), np.ones(8)
    got = selection.overfitting(np.stack((a, b)), blocks=4, performance="mean")
    assert got.pbo == pytest.approx(1 / 3)
    assert sorted(got.logits) == pytest.approx([-math.log(2)] * 2 + [math.log(2)] * 4)
    assert got.slope == pytest.approx(-5 / 7) and got.loss == 0.0


@pytest.mark.parametrize("performance", ["sharpe", "mean"])
def test_overfitting_equals_a_readable_twin(performance):
    r, below, logits = _noise(7, 83, 8), 0, []
    blocks = np.split(np.arange(83), np.arange(1, 6) * 83 // 6)
    for chosen in combinations(range(6), 3):
        inside = np.concatenate([blocks[k] for k in chosen])
        outside = np.setdiff1d(np.arange(83), inside)
        scores = [r[:, half].mean(axis=1) for half in (inside, outside)]
        if performance == "sharpe":
            scores = [s / r[:, half].std(axis=1, ddof=1) for s, half in zip(scores, (inside, outside), strict=True)]
        best = scores[0].argmax()
        w = (1 + (scores[1] < scores[1][best]).sum()) / 8
        logits.append(math.log(w / (1 - w)))
        below += scores[1][best] < 0
    got = selection.overfitting(r, blocks=6, performance=performance)
    assert got.logits == pytest.approx(np.array(logits))
    assert got.loss == below / 20 and got.pbo == np.mean(np.array(logits) <= 0)


def test_pbo_is_a_half_without_skill_and_nought_with_one_that_dominates():
    """Noise elects at random: over 30 worlds the mean is 1/2; one good configuration among them is found in every half."""
    noise = [selection.overfitting(_noise(50, 320, 200 + k, common=0.0), blocks=8) for k in range(30)]
    assert np.mean([x.pbo for x in noise]) == pytest.approx(0.5, abs=0.1)
    skilled = _noise(50, 320, 9)
    skilled[7] += 0.01
    found = selection.overfitting(skilled)
    assert found.pbo == 0.0 and found.loss == 0.0


def test_curve_fitting_is_found():
    """Configurations that differ only in which half of history they fit: what is elected on one half fails on the other."""
    rise = np.repeat([0.01, -0.01], 200)
    r = np.stack((rise, -rise)) + _noise(2, 400, 10, common=0.0)
    found = selection.overfitting(r, blocks=2)
    assert found.pbo == 1.0 and found.loss == 1.0


@given(some.integers(0, 1_000), some.floats(0.1, 10.0))
@settings(max_examples=10, deadline=None)
def test_pbo_knows_neither_the_unit_nor_the_order(seed, scale):
    r = _noise(6, 96, seed)
    got, other = selection.overfitting(r, blocks=6), selection.overfitting(scale * r[::-1], blocks=6)
    assert sorted(got.logits) == pytest.approx(sorted(other.logits)) and got.pbo == other.pbo


@pytest.mark.parametrize(("n", "blocks"), [(1, 4), (3, 5), (3, 0), (3, 60)])
def test_overfitting_refuses_what_it_cannot_say(n, blocks):
    with pytest.raises(ConfigError, match="two configurations or more"):
        selection.overfitting(_noise(n, 100, 0), blocks=blocks)
