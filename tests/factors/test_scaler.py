"""Standardisation by law: mean 0 and deviation 1 on the rows it was fitted on, finite and clipped everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fiduciary.core.errors import ConfigError, DataError
from fiduciary.factors import Scaler


@given(st.integers(0, 999), st.floats(1e-3, 1e6), st.floats(-1e3, 1e3))
def test_fitted_rows_become_standard(seed, scale, shift):
    values = np.random.default_rng(seed).normal(size=(50, 3)) * scale + shift
    z = Scaler.fit(values, clip=100.0).transform(values)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-8)
    np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-8)


@given(arrays(np.float64, (6, 2), elements=st.floats(-1e9, 1e9)), st.floats(0.5, 20))
def test_scores_are_finite_and_clipped(values, clip):
    z = Scaler.fit(values[:3], clip=clip).transform(values)
    assert np.isfinite(z).all()
    assert np.abs(z).max() <= clip


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.3, 1e12])
def test_a_constant_feature_becomes_zero_and_a_change_of_it_its_size(constant):
    scaler = Scaler.fit(np.full((7, 1), constant))
    assert scaler.std.tolist() == [1.0]
    np.testing.assert_allclose(scaler.transform(np.array([[constant], [constant + 2]]))[:, 0], [0, 2], atol=1e-3)


def test_constant_scale_does_not_matter():
    values = np.random.default_rng(0).lognormal(size=(40, 2))
    np.testing.assert_allclose(
        Scaler.fit(values * [3, 1e-3]).transform(values * [3, 1e-3]), Scaler.fit(values).transform(values), rtol=1e-9
    )


def test_any_leading_shape_and_nan_pass_through():
    values = np.random.default_rng(0).normal(size=(4, 5, 3))
    values[0, 0, 0] = np.nan
    scaler = Scaler.fit(values.reshape(-1, 3)[1:].astype(np.float32))
    z = scaler.transform(values.astype(np.float32))
    assert (z.shape, z.dtype) == ((4, 5, 3), np.float64)
    assert np.isnan(z).sum() == 1
    assert np.isnan(z[0, 0, 0])


@pytest.mark.parametrize("values", [np.empty((0, 2)), np.ones(3), np.array([[1.0, np.nan]]), np.array([[np.inf]])])
def test_only_finite_rows_can_be_fitted(values):
    with pytest.raises(DataError, match=r"rows .M, F. of finite values"):
        Scaler.fit(values)


@pytest.mark.parametrize(
    "arguments", [(np.zeros(2), np.zeros(2)), (np.zeros(2), np.ones(3)), (np.zeros(1), np.ones(1), 0.0)]
)
def test_wrong_constants(arguments):
    with pytest.raises(ConfigError, match="`std` > 0"):
        Scaler(*arguments)


def test_constants_are_read_only():
    scaler = Scaler.fit(np.ones((2, 1)))
    with pytest.raises(ValueError, match="read-only"):
        scaler.mean[0] = 1.0
