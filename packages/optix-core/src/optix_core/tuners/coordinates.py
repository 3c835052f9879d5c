"""Trials along one coordinate at a time, in turn, with a probe distance of its own for each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optix_core.tuners.two_arm import TwoArmTuner

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.tuners.probe import Probe
    from optix_core.tuners.space import Axis


@dataclass(slots=True)
class Distances:
    """Probe distance per coordinate, as a part of its range.

    Attributes:
        common: What all share.
        narrowest: Smallest distance.
        widest: Largest distance.
        factors: What a coordinate has of its own, 1 at first.
    """

    common: float
    narrowest: float
    widest: float
    factors: dict[str, float] = field(default_factory=dict[str, float])

    def of(self, name: str) -> float:
        """The present distance of ``name``."""
        return min(max(self.common * self.factors.get(name, 1.0), self.narrowest), self.widest)

    def scale(self, name: str, factor: float) -> None:
        """Multiply the distance of ``name``; what lies outside the limits is not accumulated."""
        self.factors[name] = min(max(self.of(name) * factor, self.narrowest), self.widest) / self.common

    def state_dict(self) -> State:
        """What changes."""
        return {"common": self.common, "factors": dict(self.factors)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``."""
        common, factors = float(state["common"]), {str(k): float(v) for k, v in state["factors"].items()}
        self.common, self.factors = common, factors


class CoordinateTuner(TwoArmTuner):
    """Probes one parameter after the other; subclasses set :attr:`_distances` in their constructor."""

    _distances: Distances
    _turn: int = 0

    def draw_probe(self, params: Mapping[str, Any]) -> Probe | None:
        """Both sides of the next parameter that can be moved at all."""
        names = [axis.name for axis in self._prober.space(params).axes]
        for _ in names:
            name = names[self._turn % len(names)]
            self._turn += 1
            probe = self._prober.draw(params, self._distances.of(name), only=name)
            if probe is not None:
                return probe
        return None

    def probe_details(self, probe: Probe) -> dict[str, Any]:
        """Which parameter, and how far."""
        axis, _ = probed_axis(probe)
        return {"parameter": axis.name, "probe": probe.c}

    def own_state(self) -> State:
        """Whose turn it is, and the distances."""
        return {"turn": self._turn, "distances": self._distances.state_dict()}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take them up."""
        turn = int(state["turn"])
        self._distances.load_state_dict(state["distances"])
        self._turn = turn


def probed_axis(probe: Probe) -> tuple[Axis, int]:
    """The one axis on which the arms of ``probe`` differ, and its index."""
    for index, (plus, minus) in enumerate(zip(probe.plus, probe.minus, strict=True)):
        if plus != minus:
            return probe.space.axes[index], index
    raise ValueError("the arms of the probe coincide")
