"""Has a growth paid? It is on probation until the scores say so, and undone exactly if they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from optix_core.state import State
from optix_core.stats.student_t import exact_t_quantile


@dataclass(slots=True)
class Trial:
    """A growth on probation.

    Attributes:
        region: Which region grew.
        mutator: How.
        reason: Why.
        state: The agent, or the graph, as it was before.
        before: Scores before, oldest first.
        after: Scores since.
        structure: What the graphs' structure was right after.
    """

    region: str
    mutator: str
    reason: str
    state: State
    before: list[float]
    structure: list[int]
    after: list[float] = field(default_factory=list[float])

    def verdict(self, confidence: float) -> tuple[bool, dict[str, float]]:
        """Whether the scores rose, by Welch's one-sided test, and the numbers."""
        x, y = np.asarray(self.before), np.asarray(self.after)
        gain = float(y.mean() - x.mean())
        vx, vy = float(x.var(ddof=1)) / len(x), float(y.var(ddof=1)) / len(y)
        numbers = {"before": float(x.mean()), "after": float(y.mean()), "gain": gain}
        error = math.sqrt(vx + vy)
        if error == 0.0:
            return gain > 0.0, {**numbers, "bound": gain}
        dof = (vx + vy) ** 2 / (vx * vx / (len(x) - 1) + vy * vy / (len(y) - 1))
        bound = gain - exact_t_quantile(confidence, dof) * error
        return bound > 0.0, {**numbers, "standard_error": error, "bound": bound}

    def state_dict(self) -> State:
        """Everything, for checkpoints."""
        return {
            "region": self.region, "mutator": self.mutator, "reason": self.reason, "state": self.state,
            "before": list(self.before), "after": list(self.after), "structure": list(self.structure),
        }  # fmt: skip

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Trial:
        """What :meth:`state_dict` described."""
        return cls(
            region=str(state["region"]), mutator=str(state["mutator"]), reason=str(state["reason"]),
            state=dict(state["state"]), before=[float(s) for s in state["before"]],
            after=[float(s) for s in state["after"]], structure=[int(u) for u in state["structure"]],
        )  # fmt: skip
