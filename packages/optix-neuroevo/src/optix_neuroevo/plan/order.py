"""In which order neurons can be computed: for one step, and for whole sequences at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

PRE, CORE, POST = 0, 1, 2


def peel(n: int, src: Ints, dst: Ints, held: NDArray[np.bool_]) -> Ints:
    """Release nodes whose predecessors are all released, round by round (Kahn 1962, as whole fronts).

    Args:
        n: Number of nodes.
        src: ``[E]`` where edges begin.
        dst: ``[E]`` where they end.
        held: ``[n]`` nodes that are never released.

    Returns:
        ``[n]`` the round in which each was released, which is the length of the longest path to it; -1 for the rest:
        held nodes, nodes on cycles, and all that can be reached from either.
    """
    level = np.full(n, -1, np.int64)
    waiting = np.bincount(dst, minlength=n)
    order = np.argsort(src, kind="stable")
    targets = dst[order]
    first = np.searchsorted(src[order], np.arange(n + 1))
    front = np.flatnonzero((waiting == 0) & ~held)
    this = 0
    while len(front):
        level[front] = this
        counts = first[front + 1] - first[front]
        stops = np.cumsum(counts)
        total = int(stops[-1])
        if not total:
            break
        reached = targets[np.arange(total) + np.repeat(first[front] - (stops - counts), counts)]
        np.subtract.at(waiting, reached, 1)
        free = reached[waiting[reached] == 0]
        front = np.unique(free[~held[free]])
        this += 1
    return level


def phases(n: int, src: Ints, dst: Ints, delay: Ints, stateful: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Divide neurons into those before, inside and after everything recurrent.

    ``PRE`` neurons cannot be reached from a cycle through time or from a neuron with state of its own, ``POST``
    neurons can, but reach none. Over a whole sequence both can be computed for all steps at once, because an edge with
    a delay is only a shift there; just the ``CORE`` has to be stepped through.

    Args:
        n: Number of neurons.
        src: ``[E]`` where edges begin.
        dst: ``[E]`` where they end.
        delay: ``[E]``; those of delay 0 form no cycle.
        stateful: ``[n]`` neurons with state of their own.

    Returns:
        Phase ``[n]`` and level within the phase ``[n]``. In order of phase and level every neuron comes after what
        it reads within the step, and outside the core after everything that it reads.
    """
    nobody = np.zeros(n, np.bool_)
    forward = peel(n, src, dst, stateful)
    phase, level = np.full(n, CORE, np.int64), np.zeros(n, np.int64)
    before = forward >= 0
    phase[before], level[before] = PRE, forward[before]
    rest = ~before[src] & ~before[dst]
    backward = peel(n, dst[rest], src[rest], stateful | before)
    after = backward >= 0
    phase[after] = POST
    for which, chosen in ((CORE, delay == 0), (POST, np.ones(len(src), np.bool_))):
        inside = phase == which
        picked = chosen & inside[src] & inside[dst]
        found = peel(n, src[picked], dst[picked], nobody)
        level[inside] = found[inside]
    assert level.min(initial=0) >= 0, "edges of delay 0 form a cycle"
    return phase, level
