"""Values that depend on how far training is: functions from a step count to a number.

A schedule holds no state; whoever counts steps asks it. Behind their last step all of them stay where they are, because
a run of optix has no known end.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from optix_core.errors import ConfigError

Schedule = Callable[[int], float]
"""Step count, from 0, to the value in force."""


def constant(value: float) -> Schedule:
    """``value`` at every step."""
    return lambda _: value


def linear(start: float, end: float, steps: int) -> Schedule:
    """From ``start`` in a straight line to ``end``, reached exactly at ``steps``; constant from there.

    Raises:
        ConfigError: ``steps`` is less than 1.

    >>> epsilon = linear(1.0, 0.1, 100)
    >>> epsilon(0), epsilon(50), epsilon(100), epsilon(1000)
    (1.0, 0.55, 0.1, 0.1)
    """
    _check(steps)
    return lambda step: end if step >= steps else start + (end - start) * (max(step, 0) / steps)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """From ``start`` along half a cosine to ``end``, reached exactly at ``steps`` (arXiv:1608.03983, equation 5).

    Raises:
        ConfigError: ``steps`` is less than 1.

    >>> lr = cosine(1.0, 0.0, 100)
    >>> lr(0), round(lr(50), 12), lr(100), lr(1000)
    (1.0, 0.5, 0.0, 0.0)
    """
    _check(steps)

    def value(step: int) -> float:
        if step >= steps:
            return end
        return end + (start - end) * (1.0 + math.cos(math.pi * max(step, 0) / steps)) / 2.0

    return value


def warm_up(schedule: Schedule, steps: int, *, start: float = 0.0) -> Schedule:
    """From ``start`` in a straight line to the first value of ``schedule`` during ``steps``, then ``schedule`` from 0.

    Raises:
        ConfigError: ``steps`` is less than 1.

    >>> lr = warm_up(linear(1.0, 0.0, 100), 10)
    >>> lr(0), lr(5), lr(10), lr(60), lr(110)
    (0.0, 0.5, 1.0, 0.5, 0.0)
    """
    _check(steps)
    rise = linear(start, schedule(0), steps)
    return lambda step: rise(step) if step < steps else schedule(step - steps)


def _check(steps: int) -> None:
    if steps < 1:
        raise ConfigError(
            f"a schedule over {steps} steps has no meaning; give it at least 1, or use a constant"
        )
