"""Minibatches are partitions, and standardising never blows up noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.rl.batching import make_minibatches, minibatch_indices, standardize


@given(st.integers(0, 200), st.integers(1, 70), st.integers(0, 1000))
def test_indices_are_one_permutation_in_pieces(n, size, seed):
    pieces = list(minibatch_indices(n, size, np.random.default_rng(seed)))
    assert len(pieces) == -(-n // size)
    assert all(len(piece) == size for piece in pieces[:-1])
    assert sorted(np.concatenate([np.empty(0, int), *pieces]).tolist()) == list(range(n))


def test_the_order_comes_from_the_generator_and_from_nothing_else():
    state = np.random.get_state()[1].copy()  # noqa: NPY002 - the stream that must not move
    first = np.concatenate(list(minibatch_indices(50, 8, np.random.default_rng(1))))
    again = np.concatenate(list(minibatch_indices(50, 8, np.random.default_rng(1))))
    other = np.concatenate(list(minibatch_indices(50, 8, np.random.default_rng(2))))
    assert (first == again).all()
    assert (first != other).any()
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_rows_stay_together():
    data = {"a": np.arange(10), "b": np.arange(10)[:, None] * 10.0}
    batches = list(make_minibatches(data, 4, rng=np.random.default_rng(0)))
    assert [len(batch["a"]) for batch in batches] == [4, 4, 2]
    for batch in batches:
        np.testing.assert_array_equal(batch["a"] * 10.0, batch["b"][:, 0])
    assert sorted(np.concatenate([batch["a"] for batch in batches]).tolist()) == list(range(10))


def test_without_shuffling_the_order_is_kept():
    batches = list(make_minibatches({"a": np.arange(5)}, 2, shuffle=False))
    assert [batch["a"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


def test_bad_requests():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="differ in length"):
        next(make_minibatches({"a": np.ones(3), "b": np.ones(4)}, 2, rng=rng))
    with pytest.raises(ValueError, match="needs rng="):
        next(make_minibatches({"a": np.ones(3)}, 2))
    with pytest.raises(ValueError, match="empty"):
        next(make_minibatches({}, 2, rng=rng))
    with pytest.raises(ValueError, match="at least 1"):
        next(make_minibatches({"a": np.ones(3)}, 0, rng=rng))
    with pytest.raises(ValueError, match="size >= 1"):
        next(minibatch_indices(3, 0, rng))


def test_standardize_has_mean_zero_and_population_deviation_one():
    result = standardize([1.0, 2.0, 3.0, 4.0])
    assert result.mean() == pytest.approx(0.0)
    assert result.std() == pytest.approx(1.0)
    np.testing.assert_allclose(result * 1.118033988749895, [-1.5, -0.5, 0.5, 1.5])


@pytest.mark.parametrize("values", [[], [7.0]])
def test_fewer_than_two_values_become_zeros(values):
    assert (standardize(values) == 0.0).all()


@given(st.floats(-1e9, 1e9), st.integers(2, 50))
def test_equal_values_are_only_centred(value, n):
    result = standardize(np.full(n, value))
    assert np.abs(result).max() <= 1e-6 * max(1.0, abs(value))


def test_rounding_noise_is_not_blown_up():
    noisy = 1e6 + np.array([0.0, 1e-9, -1e-9])
    assert np.abs(standardize(noisy)).max() < 1e-6


@given(st.floats(1e-6, 1e6))
def test_scale_does_not_matter(scale):
    x = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(standardize(scale * x), standardize(x), rtol=1e-6)
