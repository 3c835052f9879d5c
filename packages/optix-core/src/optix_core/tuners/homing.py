"""Values that lie outside of the range declared for them: the first thing to ask about.

A range says where whoever wrote the algorithm expects good values. A start far outside of it is more often a slip (a
learning rate of 1e-5 where 1e-4 to 3e-3 are sensible) than an insight, and small steps from there would cost a run. So
one trial compares the present values with the same ones pulled into their ranges. Nothing changes unless episodes
decide; a user whose odd value is right keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optix_core.tuners.space import Axis, UnitSpace

if TYPE_CHECKING:
    from optix_core.state import State

INSIDE = 0.25
"""How far inside, as a part of the declared range."""

ATTEMPTS = 4
"""Trials before a value outside is left in peace; each trains its arms twice as long as the one before."""


@dataclass(slots=True)
class Homing:
    """Remembers what was asked.

    Attributes:
        attempts: Undecided trials about the values that are outside now.
        settled: Names that are not asked about any more.
    """

    attempts: int = 0
    settled: set[str] = field(default_factory=set[str])

    @property
    def asking(self) -> bool:
        """Whether a question is open."""
        return self.attempts > 0

    def inside(self, space: UnitSpace, params: Mapping[str, Any]) -> dict[str, Any]:
        """Values inside their declared ranges for the parameters that are outside and not settled; {} for none."""
        found: dict[str, Any] = {}
        for axis in space.axes:
            if axis.name not in space.widened or axis.name in self.settled:
                continue
            low, high = space.widened[axis.name]
            declared = Axis(name=axis.name, low=low, high=high, scale=axis.scale, integer=axis.integer)
            found[axis.name] = declared.value(INSIDE if params[axis.name] < low else 1.0 - INSIDE)
        return found

    def windows(self, usual: int) -> int:
        """Training windows per arm of the next trial, where ``usual`` are usual."""
        return usual * 2**self.attempts

    def learned(self, names: Mapping[str, Any], *, decided: bool) -> None:
        """Take in a trial about ``names``: a decision settles them, and so do enough trials without one."""
        self.attempts += 1
        if decided or self.attempts >= ATTEMPTS:
            self.settled |= set(names)
            self.attempts = 0

    def state_dict(self) -> State:
        """Both."""
        return {"attempts": self.attempts, "settled": sorted(self.settled)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        attempts, settled = int(state["attempts"]), {str(name) for name in state["settled"]}
        self.attempts, self.settled = attempts, settled
