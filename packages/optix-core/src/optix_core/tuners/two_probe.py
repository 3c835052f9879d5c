"""The plain form of SPSA: two probes in two windows of ordinary training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optix_core.state import State
from optix_core.tuners.probe import Probe, same_values


@dataclass(slots=True, kw_only=True)
class TwoProbeCycle:
    """A pair of measurements under way.

    The probes are compared by what the score *gained* under each, in random order, so that a learning trend
    favours neither sign.

    Attributes:
        first: Which arm is measured first, 0 (plus) or 1 (minus).
        c: Intended probe distance.
        base: Score before the first probe.
        middle: Score after the first probe, None until it is known.
        centre: Values to come back to.
        plus: Values of the plus arm.
        minus: Values of the minus arm.
    """

    first: int
    c: float
    base: float
    middle: float | None
    centre: dict[str, Any]
    plus: dict[str, Any]
    minus: dict[str, Any]

    @classmethod
    def start(cls, probe: Probe, base: float, first: int) -> TwoProbeCycle:
        """A cycle that begins with arm ``first`` of ``probe``."""
        plus, minus = probe.arms
        return cls(
            first=first, c=probe.c, base=base, middle=None, centre=dict(probe.params), plus=plus, minus=minus
        )

    @property
    def applied(self) -> dict[str, Any]:
        """The values that are in force now."""
        plus_now = (self.first == 0) == (self.middle is None)
        return dict(self.plus if plus_now else self.minus)

    def disturbed(self, current: Mapping[str, Any]) -> bool:
        """Whether someone else changed the values, so that what is measured does not belong to the probe."""
        return not same_values(current, self.applied)

    def difference(self, score: float) -> float:
        """What the score gained under the plus arm minus what it gained under the minus arm."""
        assert self.middle is not None
        gained = ((self.middle - self.base), (score - self.middle))
        return math.copysign(1.0, 0.5 - self.first) * (gained[0] - gained[1])

    def state_dict(self) -> State:
        """All of it."""
        return asdict(self)
