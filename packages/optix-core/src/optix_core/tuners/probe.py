"""Two arms around the values in force: how they are drawn, and how the centre moves afterwards."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optix_core.tuners.space import Number, UnitSpace
from optix_core.types import ParamBounds, same_value

_KICK = (0.15, 0.35)  # of the range: how far an exploratory move goes


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """Two arms around a centre: where they lie in the unit cube, and their full sets of values.

    Attributes:
        space: The tunable parameters at that moment.
        centre: Position of the centre, one coordinate per axis.
        plus: Position of the plus arm, after bounds and rounding.
        minus: Position of the minus arm.
        c: Intended distance of either from the centre.
        params: Values of the centre.
        arms: Values of the plus and the minus arm.
    """

    space: UnitSpace
    centre: list[float]
    plus: list[float]
    minus: list[float]
    c: float
    params: dict[str, Any]
    arms: tuple[dict[str, Any], dict[str, Any]]


@dataclass(slots=True)
class Prober:
    """Draws probes and moves centres.

    Attributes:
        rng: Source of all directions.
        bounds: Tuning range per name; None until the loop fills it in.
        log_params: Names on a logarithmic scale; None until the loop fills them in.
        exact: Unrounded centre of whole-number parameters, so that small steps add up.
    """

    rng: np.random.Generator
    bounds: ParamBounds | None = None
    log_params: tuple[str, ...] | None = None
    exact: dict[str, float] = field(default_factory=dict[str, float])

    def space(self, params: Mapping[str, Any]) -> UnitSpace:
        """The tunable part of ``params``."""
        return UnitSpace.of(params, self.bounds or {}, self.log_params or ())

    def draw(self, params: Mapping[str, Any], c: float, only: str | None = None) -> Probe | None:
        """Two arms around ``params`` in a random direction; None if no parameter would differ between them.

        Args:
            params: Values of the centre.
            c: Distance of either arm, as a part of the range.
            only: The one parameter to probe; None: all at once.
        """
        space = self.space(params)
        axes = [axis for axis in space.axes if only in {None, axis.name}]
        if not axes:
            return None
        signs = [int(s) for s in self.rng.choice((-1, 1), size=len(axes))]
        plus, minus = dict(params), dict(params)
        for axis, sign in zip(axes, signs, strict=True):
            u = axis.to_unit(self._centre(axis.name, params[axis.name]))
            for arm, direction in ((plus, sign), (minus, -sign)):
                value = axis.value(u + direction * c)
                if (
                    axis.integer and value == params[axis.name]
                ):  # too small a probe for a whole number: one step
                    value = axis.rounded(params[axis.name] + direction)
                arm[axis.name] = value
        if plus == minus:
            return None
        return self.rebuild(params, plus, minus, c)

    def rebuild(
        self, params: Mapping[str, Any], plus: Mapping[str, Any], minus: Mapping[str, Any], c: float
    ) -> Probe:
        """The probe with these values."""
        space = self.space(params)
        return Probe(
            space=space,
            centre=[axis.to_unit(self._centre(axis.name, params[axis.name])) for axis in space.axes],
            plus=[axis.to_unit(plus[axis.name]) for axis in space.axes],
            minus=[axis.to_unit(minus[axis.name]) for axis in space.axes],
            c=c,
            params=dict(params),
            arms=(dict(plus), dict(minus)),
        )

    def moved(self, probe: Probe, steps: Sequence[float]) -> dict[str, Any]:
        """The centre's values after ``steps``, one per axis of the unit cube; what is not tuned stays exactly."""
        params = dict(probe.params)
        for axis, u, step in zip(probe.space.axes, probe.centre, steps, strict=True):
            if step == 0:
                continue
            raw = axis.raw(u + step)
            if axis.integer:
                self.exact[axis.name] = raw
            params[axis.name] = axis.rounded(raw) if axis.integer else raw
        return params

    def kicked(
        self, current: Mapping[str, Any], exploration: Mapping[str, int], *, everything: bool
    ) -> dict[str, Any] | None:
        """``current`` after a larger move of the exploration parameters, with ``everything`` of all others too.

        Args:
            current: Values in force.
            exploration: Name to +1 or -1.
            everything: Whether to move the other parameters in random directions.

        Returns:
            A full set of values inside the ranges, or None if nothing could move.
        """
        space = self.space(current)
        everything = everything or not any(exploration.get(axis.name) for axis in space.axes)
        params = dict(current)
        for axis in space.axes:
            distance, sign = float(self.rng.uniform(*_KICK)), int(self.rng.choice((-1, 1)))
            direction = exploration.get(axis.name, 0)
            if not direction and not everything:
                continue
            start = axis.to_unit(current[axis.name])
            if not direction and not 0 <= start + sign * distance <= 1:
                sign = -sign
            params[axis.name] = axis.value(start + math.copysign(distance, direction or sign))
        return None if same_values(params, current) else params

    def _centre(self, name: str, value: Number) -> float:
        """The unrounded centre of an integer parameter, as long as ``value`` is still what it rounds to."""
        exact = self.exact.get(name)
        return float(value) if exact is None or abs(exact - value) > 0.5 else exact


def same_values(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether both hold the same values, numbers up to single precision."""
    return a.keys() == b.keys() and all(same_value(value, b[name]) for name, value in a.items())
