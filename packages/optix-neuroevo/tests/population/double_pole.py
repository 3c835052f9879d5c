"""Two poles of different length on one cart, balanced at the same time (Wieland 1991).

Poles of 1 m and 0.1 m (half lengths 0.5 and 0.05) of 0.1 and 0.01 kg on a cart of 1 kg; friction of the joints 2e-6.
An episode is over beyond 2.4 m or 36 degrees. The force is 10 N times the action in [-1, 1], held for two Runge-Kutta
steps of 0.01 s. It begins at rest with the long pole 4 degrees off.
"""

from __future__ import annotations

import math

import numpy as np

from optix_neuroevo import NeuronGraph

GRAVITY, CART, FRICTION, DT = -9.8, 1.0, 2e-6, 0.01
POLES = ((0.5, 0.1), (0.05, 0.01))  # half length, mass
SCALE = (2.4, 2.0, 0.63, 2.0, 0.63, 2.0)

Pole = tuple[float, float, float, float, float, float]


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
    b = slopes(tuple(s + 0.5 * DT * d for s, d in zip(state, a, strict=False)), force)  # type: ignore[arg-type]
    c = slopes(tuple(s + 0.5 * DT * d for s, d in zip(state, b, strict=False)), force)  # type: ignore[arg-type]
    e = slopes(tuple(s + DT * d for s, d in zip(state, c, strict=False)), force)  # type: ignore[arg-type]
    return tuple(  # type: ignore[return-value]
        s + DT / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
        for s, k1, k2, k3, k4 in zip(state, a, b, c, e, strict=False)
    )


def balanced(graph: NeuronGraph, limit: int) -> int:
    """For how many actions of the graph both poles stay up, ``limit`` at most."""
    state: Pole = (0.0, 0.0, math.radians(4.0), 0.0, 0.0, 0.0)
    graph.reset_state()
    observation = np.zeros(6, np.float32)
    for step in range(limit):
        for i in range(6):
            observation[i] = state[i] / SCALE[i]
        force = 10.0 * min(max(float(graph.forward(observation)[0]), -1.0), 1.0)
        state = advance(advance(state, force), force)
        if abs(state[0]) > 2.4 or abs(state[2]) > 0.628319 or abs(state[4]) > 0.628319:
            return step
    return limit
