"""Two poles of different length on one cart, balanced at the same time (Wieland 1991).

Poles of 1 m and 0.1 m (half lengths 0.5 and 0.05) of 0.1 and 0.01 kg on a cart of 1 kg; friction of the joints 2e-6.
An episode is over beyond 2.4 m or 36 degrees. The force is 10 N times the action in [-1, 1], held for two Runge-Kutta
steps of 0.01 s. It begins at rest with the long pole 4 degrees off.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from optix_neuroevo import NeuronGraph

GRAVITY, CART, FRICTION, DT = -9.8, 1.0, 2e-6, 0.01
POLES = ((0.5, 0.1), (0.05, 0.01))  # half length, mass
SCALE = (2.4, 2.0, 0.63, 2.0, 0.63, 2.0)

FALLEN = 0.628319
ALL, UNMOVING = (0, 1, 2, 3, 4, 5), (0, 2, 4)
TRIED = (
    (-2.16, 2.16),
    (-1.35, 1.35),
    (-math.radians(3.6), math.radians(3.6)),
    (-math.radians(8.6), math.radians(8.6)),
)

Pole = tuple[float, float, float, float, float, float]
START: Pole = (0.0, 0.0, math.radians(4.0), 0.0, 0.0, 0.0)


def slopes(state: Pole, force: float) -> Pole:
    """Time derivatives of ``x, dx, angle 1, its rate, angle 2, its rate``."""
    _, dx, a1, w1, a2, w2 = state
    total_force, total_mass = force, CART
    parts = []
    for angle, rate, (half, mass) in ((a1, w1, POLES[0]), (a2, w2, POLES[1])):
        sine, cosine = math.sin(angle), math.cos(angle)
        rub = FRICTION * rate / (mass * half)
        total_force += mass * half * rate * rate * sine + 0.75 * mass * cosine * (rub + GRAVITY * sine)
        total_mass += mass * (1.0 - 0.75 * cosine * cosine)
        parts.append((half, sine, cosine, rub))
    ddx = total_force / total_mass
    dd = [-0.75 / half * (ddx * cosine + GRAVITY * sine + rub) for half, sine, cosine, rub in parts]
    return dx, ddx, w1, dd[0], w2, dd[1]


def advance(state: Pole, force: float) -> Pole:
    """One classical Runge-Kutta step."""
    a = slopes(state, force)
    b = slopes(_moved(state, a, 0.5 * DT), force)
    c = slopes(_moved(state, b, 0.5 * DT), force)
    e = slopes(_moved(state, c, DT), force)
    mean = [k1 + 2.0 * (k2 + k3) + k4 for k1, k2, k3, k4 in zip(a, b, c, e, strict=True)]
    return _moved(state, mean, DT / 6.0)


def _moved(state: Pole, by: Sequence[float], times: float) -> Pole:
    x, dx, a1, w1, a2, w2 = state
    d0, d1, d2, d3, d4, d5 = by
    return (
        x + times * d0, dx + times * d1, a1 + times * d2, w1 + times * d3, a2 + times * d4, w2 + times * d5,
    )  # fmt: skip


def path(graph: NeuronGraph, limit: int, start: Pole, seen: Sequence[int]) -> Iterator[Pole]:
    """States after each action of a graph that sees these elements of them, until a pole falls, ``limit`` at most."""
    graph.reset_state()
    observation, state = np.zeros(len(seen), np.float32), start
    for _ in range(limit):
        for i, element in enumerate(seen):
            observation[i] = state[element] / SCALE[element]
        force = 10.0 * min(max(float(graph.forward(observation)[0]), -1.0), 1.0)
        state = advance(advance(state, force), force)
        if abs(state[0]) > 2.4 or abs(state[2]) > FALLEN or abs(state[4]) > FALLEN:
            return
        yield state


def balanced(graph: NeuronGraph, limit: int, start: Pole = START, seen: Sequence[int] = ALL) -> int:
    """For how many actions of the graph both poles stay up, ``limit`` at most."""
    return sum(1 for _ in path(graph, limit, start, seen))


def damped(graph: NeuronGraph, limit: int = 1000) -> float:
    """The fitness of Gruau, Whitley & Pyeatt (1996) for graphs that see no velocities.

    A tenth for balancing ``limit`` steps, nine tenths for doing it calmly: 0.75 by the sum of the absolute position,
    angle of the long pole and their velocities over the last 100 steps. A network that shakes the cart to balance
    without knowing velocities would otherwise do well.
    """
    last: deque[float] = deque(maxlen=100)
    steps = 0
    for x, dx, a1, w1, _, _ in path(graph, limit, START, UNMOVING):
        steps += 1
        last.append(abs(x) + abs(dx) + abs(a1) + abs(w1))
    calm = 0.75 / sum(last) if steps >= 100 else 0.0
    return 0.1 * steps / limit + 0.9 * calm


def starts() -> Iterator[Pole]:
    """The 625 starts on which solutions without velocities are tried: five values of four elements of the state."""
    shares = (0.05, 0.25, 0.5, 0.75, 0.95)
    x, dx, a1, w1 = ([low + (high - low) * s for s in shares] for low, high in TRIED)
    for state in itertools.product(x, dx, a1, w1):
        yield (*state, 0.0, 0.0)
