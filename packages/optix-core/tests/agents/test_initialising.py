"""First weights: orthogonal, of the right length, evenly distributed, and drawn from the given generator only."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.agents.initialising import orthogonal


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3, 3), (1, 6)])
def test_rows_or_columns_are_orthogonal(shape):
    found = orthogonal(shape, 1.5, np.random.default_rng(0))
    assert found.shape == shape
    assert found.dtype == np.float32
    matrix = found.reshape(shape[0], -1)
    small = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(small, 1.5**2 * np.eye(len(small)), atol=1e-5)


def test_directions_are_evenly_distributed():
    """Without the correction of signs, the diagonal would always have one sign."""
    rng = np.random.default_rng(0)
    diagonal = np.array([np.diagonal(orthogonal((3, 3), 1.0, rng)) for _ in range(2_000)])
    assert abs(diagonal.mean()) < 0.05
    assert abs((np.square(diagonal)).mean() - 1 / 3) < 0.02


def test_equal_generators_give_equal_weights_and_so_many_draws():
    one, two = np.random.default_rng(3), np.random.default_rng(3)
    np.testing.assert_array_equal(orthogonal((4, 6), 1.0, one), orthogonal((4, 6), 1.0, two))
    two = np.random.default_rng(3)
    two.standard_normal(24)
    assert one.random() == two.random()
