"""The projection against one atom at a time, and on every target that lands on an atom."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optix_core.rl.projections import categorical_support, clipped_share, project_categorical


def one_by_one(p, r, d, z):
    """Mass of each atom goes to its nearest atoms in proportion: triangular weights (equation 7 of the paper)."""
    delta = z[1] - z[0]
    out = np.zeros_like(p)
    for b in range(len(p)):
        for j, mass in enumerate(p[b]):
            target = min(max(r[b] + d[b] * z[j], z[0]), z[-1])
            out[b] += mass * np.clip(1.0 - np.abs(target - z) / delta, 0.0, 1.0)
    return out


def distributions(rng, b, n):
    return rng.dirichlet(np.full(n, 0.3), size=b)


@given(
    n=st.integers(2, 60),
    low=st.floats(-200, 100),
    width=st.floats(0.01, 300),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    seed=st.integers(0, 1000),
)
def test_equals_the_definition_and_keeps_the_mass(n, low, width, gamma, seed):
    rng = np.random.default_rng(seed)
    z = categorical_support(low, low + width, n)
    p = distributions(rng, 8, n)
    r = rng.normal(size=8) * width
    d = np.where(rng.random(8) < 0.3, 0.0, gamma)
    projected = project_categorical(p, r, d, z)
    np.testing.assert_allclose(projected, one_by_one(p, r, d, z), atol=1e-9)
    np.testing.assert_allclose(projected.sum(axis=1), 1.0, atol=1e-12)
    assert (projected >= 0).all()


@pytest.mark.parametrize("low, high, n", [(-10.0, 10.0, 51), (0.0, 100.0, 101), (-0.3, 0.7, 11)])
def test_no_mass_is_lost_where_targets_are_atoms(low, high, n):
    """Terminal rewards equal to each atom, to both ends and far beyond; and shifts by whole atoms."""
    z = categorical_support(low, high, n)
    r = np.concatenate([z, [low, high, low - 1e6, high + 1e6, np.nextafter(high, np.inf)]])
    p = distributions(np.random.default_rng(0), len(r), n)
    projected = project_categorical(p, r, np.zeros(len(r)), z)
    np.testing.assert_allclose(projected.sum(axis=1), 1.0, atol=1e-12)
    np.testing.assert_allclose(projected[:n], np.eye(n), atol=1e-12)
    np.testing.assert_allclose(projected[n:, [0, -1]], [[1, 0], [0, 1], [1, 0], [0, 1], [0, 1]], atol=1e-12)
    delta = z[1] - z[0]
    for k in range(-n, n + 1):
        shifted = project_categorical(p[:1], [k * delta], [1.0], z)
        np.testing.assert_allclose(shifted.sum(), 1.0, atol=1e-12)
        expected = np.zeros(n)
        np.add.at(expected, np.clip(np.arange(n) + k, 0, n - 1), p[0])
        np.testing.assert_allclose(shifted[0], expected, atol=1e-12)


def test_the_mean_moves_as_bellman_says_while_nothing_is_clipped():
    rng = np.random.default_rng(1)
    z = categorical_support(-10.0, 10.0, 51)
    p, r, d = distributions(rng, 20, 51), rng.uniform(-0.5, 0.5, 20), np.full(20, 0.9)
    np.testing.assert_allclose(project_categorical(p, r, d, z) @ z, r + d * (p @ z), atol=1e-12)
    assert clipped_share(p, r, d, z) == 0.0


def test_the_share_beyond_the_support_is_the_mass_that_is_moved():
    z = categorical_support(0.0, 1.0, 2)
    assert clipped_share([[0.25, 0.75]], [0.5], [1.0], z) == 0.75
    assert clipped_share([[0.25, 0.75]], [5.0], [0.0], z) == 1.0
    assert clipped_share([[0.25, 0.75]], [1.0], [0.0], z) == 0.0


@pytest.mark.parametrize(
    "bad", [(0.0, 0.0, 5), (1.0, 0.0, 5), (0.0, 1.0, 1), (0.0, np.inf, 5), (np.nan, 1.0, 5)]
)
def test_a_support_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="v_min < v_max"):
        categorical_support(*bad)


def test_shapes_that_do_not_agree_are_refused():
    z = categorical_support(0.0, 1.0, 3)
    for p, r, d in (
        (np.ones((2, 4)), [0, 0], [0, 0]),
        (np.ones((2, 3)), [0], [0, 0]),
        (np.ones((2, 3)), [0, 0], 0.9),
    ):
        with pytest.raises(ValueError, match="expected probabilities"):
            project_categorical(p, r, d, z)
