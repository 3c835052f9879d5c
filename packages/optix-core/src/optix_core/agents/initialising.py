"""First weights, drawn from numpy: networks of every framework that are made with equal generators start equal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def orthogonal(shape: Sequence[int], gain: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """A random matrix whose rows or columns, whichever are fewer, are orthogonal and of length ``gain``.

    Saxe et al. 2014 (arXiv:1312.6120, section 3). The factor Q of a normal matrix is distributed evenly over all such
    matrices once the signs of R's diagonal are taken out (Mezzadri 2007, arXiv:math-ph/0609050, section 5).

    Args:
        shape: ``[out, in]``, or ``[out, in, height, width]``: all axes but the first count as one.
        gain: Length of each row or column.
        rng: Draws ``prod(shape)`` normal numbers, nothing else.
    """
    rows = int(shape[0])
    columns = math.prod(int(size) for size in shape[1:])
    normal = rng.standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(normal)
    q *= np.where(np.diagonal(r) < 0.0, -1.0, 1.0)
    matrix = q if rows >= columns else q.T
    return np.ascontiguousarray((gain * matrix).reshape(tuple(shape)), dtype=np.float32)
