"""The recurrent core that most graphs have, stepped through with as few operations as can be.

One level of point neurons that read each other one step later. Arguments are those of
:class:`~optix_neuroevo.plan.sequence_core.CoreRun`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.activations import in_place
from optix_neuroevo.plan.sequence_layout import Core

Array = NDArray[Any]


def resets_of(keep: Array | None, steps: int) -> list[bool]:
    """At which steps any memory is emptied."""
    return [False] * steps if keep is None else (keep == 0).any(axis=1).tolist()


def is_simple(core: Core) -> bool:
    """One level of point neurons, whose own past activations are all from one step ago, and neighbours."""
    return (
        len(core.levels) == 1
        and all(g.type.step is None for g in core.levels[0].groups)
        and len(core.history) > 0
        and isinstance(core.shift, slice)
        and core.shift.start >= len(core.history)
    )


def simple_forward(
    core: Core, matrix: Array, z: Array, given: Array, memory: Array, keep: Array | None
) -> None:
    """A product, a sum and an activation per step."""
    n_past = len(core.history)
    assert isinstance(core.shift, slice)
    functions = [
        (slice(g.start - core.start, g.stop - core.start), f)
        for g in core.levels[0].groups
        if (f := in_place(g.activation)) is not None
    ]
    whole = len(functions) == 1 and len(core.levels[0].groups) == 1
    activation = functions[0][1] if whole else None
    tanh = np.tanh if whole and core.levels[0].groups[0].activation == "tanh" else None
    resets = resets_of(keep, len(z))
    # of one environment, vectors: their products are faster than those with matrices of one column
    bare = (lambda a: a[..., 0]) if z.shape[2] == 1 else (lambda a: a)
    past, now = bare(z[:, core.shift]), bare(z[:, n_past:])
    before: Array = bare(np.ascontiguousarray(memory[core.history - 1]))
    dot, add = np.dot, np.add
    for x, outside, after, emptied, t in zip(now, bare(given), past, resets, range(len(z)), strict=True):
        if emptied and keep is not None:
            before = before * keep[t]
        dot(matrix, before, x)
        add(x, outside, x)
        if tanh is not None:  # the usual case, without a function around it
            tanh(x, x)
        elif activation is not None:
            activation(x)
        else:
            for place, function in functions:
                function(x[place])
        before = after
    z[0, :n_past] = memory[core.history - 1]
    z[1:, :n_past] = z[:-1, core.shift]
    if keep is not None:
        z[:, :n_past] *= keep[:, None]


def simple_back(
    core: Core, matrix: Array, arriving: Array, slopes: Array, delta: Array, keep: Array | None
) -> None:
    """Three operations per step."""
    n_past = len(core.history)
    transposed = np.ascontiguousarray(matrix.T)
    assert isinstance(core.shift, slice)
    readers = slice(core.shift.start - n_past, core.shift.stop - n_past)
    resets = resets_of(keep, len(delta))
    bare = (lambda a: a[..., 0]) if delta.shape[2] == 1 else (lambda a: a)
    back: Array = bare(np.zeros((n_past, delta.shape[2]), delta.dtype))
    add, multiply, dot = np.add, np.multiply, np.dot
    backwards = (bare(a)[::-1] for a in (arriving, arriving[:, readers], slopes, delta))
    steps = range(len(delta) - 1, -1, -1)
    for here, read, slopes_now, d, emptied, t in zip(*backwards, resets[::-1], steps, strict=True):
        add(read, back, read)
        multiply(here, slopes_now, d)
        dot(transposed, d, back)
        if emptied and keep is not None:
            back *= keep[t]
