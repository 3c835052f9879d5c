"""The map between hyperparameter values and the unit cube, shared by every tuner.

A step of 0.1 in the cube means the same for all of them: a tenth of the range. Three scales are known:

* ``linear``: ``u = (x - low) / (high - low)``
* ``log``: the same of ``log x``, for learning rates and other factors
* ``log_complement``: the same of ``-log(1 - x)``, for discounts, where .9 to .99 is as far as .99 to .999
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

from optix_core.errors import ConfigError
from optix_core.types import ParamBounds

Scale = Literal["linear", "log", "log_complement"]
Number = int | float

COMPLEMENT_PREFIX = "1-"
"""``"1-gamma"`` among the logarithmic parameters means that ``1 - gamma`` is tuned on a logarithmic scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One tunable hyperparameter.

    Attributes:
        name: Its name.
        low: Smallest value, maps to 0.
        high: Largest value, maps to 1.
        scale: How values between them are spread.
        integer: Values are rounded to whole numbers.

    Raises:
        ConfigError: The range is empty or does not suit the scale.
    """

    name: str
    low: float
    high: float
    scale: Scale = "linear"
    integer: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(
                f"tuning range of {self.name!r} is ({self.low}, {self.high}); expected two finite numbers, low < high"
            )
        if self.scale == "log" and self.low <= 0:
            raise ConfigError(
                f"tuning range of {self.name!r} starts at {self.low}, but a logarithmic scale needs low > 0; raise "
                f"the lower bound or take {self.name!r} out of log_params"
            )
        if self.scale == "log_complement" and self.high >= 1:
            raise ConfigError(
                f"tuning range of {self.name!r} ends at {self.high}, but log(1 - x) needs high < 1; lower "
                f"the upper bound or take '1-{self.name}' out of log_params"
            )

    def _warp(self, value: float) -> float:
        if self.scale == "log":
            return math.log(value)
        if self.scale == "log_complement":
            return -math.log1p(-value)
        return value

    def to_unit(self, value: float) -> float:
        """The position of ``value``, clipped to [0, 1]."""
        low, high = self._warp(self.low), self._warp(self.high)
        inside = min(max(float(value), self.low), self.high)
        return (self._warp(inside) - low) / (high - low)

    def raw(self, position: float) -> float:
        """The value at ``position``, clipped to the range and not rounded."""
        low, high = self._warp(self.low), self._warp(self.high)
        warped = low + min(max(position, 0.0), 1.0) * (high - low)
        value = warped
        if self.scale == "log":
            value = math.exp(warped)
        elif self.scale == "log_complement":
            value = -math.expm1(-warped)
        return min(max(value, self.low), self.high)

    def value(self, position: float) -> Number:
        """The value at ``position``: an int for integer axes, else a float."""
        return self.rounded(self.raw(position)) if self.integer else self.raw(position)

    def rounded(self, raw: float) -> int:
        """``raw`` as the nearest whole number inside the range (halves go up)."""
        return int(min(max(math.floor(raw + 0.5), math.ceil(self.low)), math.floor(self.high)))

    def holds(self, value: float) -> bool:
        """Whether the scale can represent ``value`` at all, inside the range or not."""
        if self.scale == "log":
            return value > 0
        return value < 1 if self.scale == "log_complement" else True

    def widened(self, value: float) -> Axis:
        """This axis with its range extended to include ``value``."""
        low, high = min(self.low, float(value)), max(self.high, float(value))
        return Axis(name=self.name, low=low, high=high, scale=self.scale, integer=self.integer)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitSpace:
    """The tunable hyperparameters of one set of values.

    Attributes:
        axes: One per tunable parameter, in the order of the values.
        widened: Declared range of every parameter whose present value lies outside it; its axis includes the value.
        skipped: Parameters that have a range and cannot be tuned, with the reason.
    """

    axes: tuple[Axis, ...]
    widened: Mapping[str, tuple[float, float]]
    skipped: Mapping[str, str]

    @classmethod
    def of(cls, params: Mapping[str, Any], bounds: ParamBounds, log_params: Iterable[str] = ()) -> UnitSpace:
        """Axes for all of ``params`` that are numbers and have bounds; flags, texts and the unbounded are left alone.

        Args:
            params: Values in force.
            bounds: Inclusive range per name.
            log_params: Names on a logarithmic scale; ``"1-name"`` puts ``1 - name`` on one.

        Raises:
            ConfigError: A range is empty or does not suit its scale.
        """
        logarithmic = frozenset(log_params)
        axes: list[Axis] = []
        widened: dict[str, tuple[float, float]] = {}
        skipped: dict[str, str] = {}
        for name, value in params.items():
            if name not in bounds:
                continue
            number = as_number(value)
            if number is None:
                skipped[name] = f"its value {value!r} is not a finite number"
                continue
            low, high = bounds[name]
            scale: Scale = "linear"
            if name in logarithmic:
                scale = "log"
            elif COMPLEMENT_PREFIX + name in logarithmic:
                scale = "log_complement"
            axis = Axis(name=name, low=low, high=high, scale=scale, integer=isinstance(number, int))
            if not axis.holds(number):
                skipped[name] = f"its value {value!r} has no place on a {scale} scale"
                continue
            if not low <= number <= high:
                widened[name] = (low, high)
                axis = axis.widened(number)
            axes.append(axis)
        return cls(axes=tuple(axes), widened=widened, skipped=skipped)

    def values(self, positions: Sequence[float]) -> dict[str, Number]:
        """The value of every axis at ``positions``."""
        return {axis.name: axis.value(u) for axis, u in zip(self.axes, positions, strict=True)}


def suits(name: str, bounds: ParamBounds) -> bool:
    """Whether the range of ``name`` (or of ``x`` for ``"1-x"``) can have the logarithmic scale that it asks for."""
    if name in bounds:
        return bounds[name][0] > 0
    complement = bounds.get(name.removeprefix(COMPLEMENT_PREFIX))
    return complement is None or complement[1] < 1


def as_number(value: Any) -> Number | None:
    """``value`` as an int or finite float, or None if it is neither (bools are not numbers here)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
