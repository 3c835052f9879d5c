"""What a population remembers of its members: where each stood, and how it did among its contemporaries."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.tuners.space import UnitSpace

ENOUGH = 3
"""Members that must be known before any is copied."""
_ROUND_OFF = 1e-12  # relative to the largest score


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a past generation.

    Attributes:
        values: Its tuned hyperparameters.
        advantage: Its score minus the mean of its generation, in units of the running scale of such differences, so
            that members of different times can be ranked: later ones score higher only because they trained longer.
    """

    values: dict[str, float]
    advantage: float


@dataclass(slots=True)
class Ancestry:
    """A first-in-first-out memory of members.

    Attributes:
        size: Most members remembered.
        exploit_percentile: Share of members that count as the bottom, in (0, 0.5].
        top_percentile: Share of members that count as the top, in (0, 0.5].
    """

    size: int
    exploit_percentile: float
    top_percentile: float
    members: deque[Member] = field(default_factory=deque[Member])

    def add(self, values: Mapping[str, float], advantage: float) -> None:
        """Remember one more; the oldest is forgotten if there are too many."""
        self.members.append(Member(dict(values), advantage))
        while len(self.members) > self.size:
            self.members.popleft()

    @property
    def is_known(self) -> bool:
        """Whether there are enough members to copy from."""
        return len(self.members) >= ENOUGH

    def at_bottom(self, advantage: float) -> bool:
        """Whether ``advantage`` lies in the bottom share of what is remembered."""
        if not self.is_known:
            return False
        ranked = sorted(member.advantage for member in self.members)
        threshold = ranked[max(0, int(self.exploit_percentile * len(ranked)) - 1)]
        return advantage <= threshold < ranked[-1]  # where all are alike, nobody is at the bottom

    def top(self) -> list[Member]:
        """The top share, best first."""
        ranked = sorted(self.members, key=lambda member: -member.advantage)
        return ranked[: max(1, math.ceil(self.top_percentile * len(ranked)))]

    def state_dict(self) -> State:
        """All members."""
        return {"members": [{"values": dict(m.values), "advantage": m.advantage} for m in self.members]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        members = [
            Member({str(k): float(v) for k, v in m["values"].items()}, float(m["advantage"]))
            for m in state["members"]
        ]
        self.members = deque(members)


def advantages(scores: Sequence[float]) -> list[float]:
    """Each score minus their mean, exactly 0 where all are equal up to round-off."""
    if max(scores) - min(scores) <= _ROUND_OFF * max(map(abs, scores)):
        return [0.0] * len(scores)
    mean = math.fsum(scores) / len(scores)
    return [score - mean for score in scores]


def perturbed(
    space: UnitSpace,
    params: Mapping[str, Any],
    around: Mapping[str, float],
    scale: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """``params`` with every tuned value drawn uniformly within ``scale`` of the range from ``around``, clipped.

    On a logarithmic scale that is ``x * exp(U(+-scale * ln(high / low)))``.
    """
    result = dict(params)
    for axis in space.axes:
        shift = float(rng.uniform(-scale, scale))
        start = float(around.get(axis.name, params[axis.name]))
        value = axis.value(axis.to_unit(start) + shift)
        if axis.integer and value == round(start):  # too small a shift for a whole number: one step
            value = axis.rounded(start + math.copysign(1.0, shift))
        result[axis.name] = value
    return result
