"""What happened in gradient steps: how many were made, how many left out, and means of what was measured."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np

from optix_core.state import State

MAX_SKIPPED_IN_A_ROW = 3
"""So many gradient steps in a row that are not finite are a divergence: no further one is made."""


class StepLog:
    """Counts gradient steps and remembers what they measured until it is asked.

    Attributes:
        n_updates: Steps made since the last :meth:`report`.
        n_skipped: Steps left out because the gradient was not finite, since then.
        diverged: Three in a row were; no further step may be made until the next report.
    """

    def __init__(self) -> None:
        self._in_a_row = 0
        self._clear()

    def allows(self, grad_norm: float) -> bool:
        """Whether a step with such a gradient may be made; counts it as made or skipped."""
        if not math.isfinite(grad_norm):
            self.n_skipped += 1
            self._in_a_row += 1
            self.diverged = self.diverged or self._in_a_row >= MAX_SKIPPED_IN_A_ROW
            return False
        self._in_a_row = 0
        self.n_updates += 1
        return True

    def measure(self, measured: Mapping[str, Any]) -> None:
        """Values of one step that was made, numbers or arrays of one number."""
        for name, value in measured.items():
            self._measured[name].append(value)

    def extend(self, grad_norms: Any, **measured: Any) -> int:
        """Steps that compiled code has made, one value each.

        The code leaves out a step whose gradient is not finite, exactly as :meth:`allows` says; after three in a row it
        makes none, which it need not say: such steps are not counted here either.

        Args:
            grad_norms: ``[K]``, before clipping.
            measured: Arrays ``[K]``; values of steps that were left out are ignored.

        Returns:
            How many steps were made.
        """
        made: list[int] = []
        for k, norm in enumerate(np.asarray(grad_norms).tolist()):
            if self.diverged:
                break
            if self.allows(norm):
                made.append(k)
        for name, values in {**measured, "grad_norm": grad_norms}.items():
            array = np.asarray(values)
            self._measured[name] += [float(array[k]) for k in made]
        return len(made)

    def report(self) -> dict[str, float]:
        """Means since the last report, NaN after a divergence; then begin anew."""
        found: dict[str, float] = {
            name: math.nan if self.diverged else self._mean(values)
            for name, values in self._measured.items()
            if values
        }
        if self.diverged:
            found["loss"] = math.nan
        found |= {"n_updates": self.n_updates, "n_skipped": self.n_skipped}
        self._clear()
        return found

    def _mean(self, values: list[Any]) -> float:
        """Of the values of one name."""
        return float(np.mean(values))

    def _clear(self) -> None:
        self.n_updates = self.n_skipped = 0
        self.diverged = False
        self._measured: defaultdict[str, list[Any]] = defaultdict(list)


class StepCount:
    """Gradient steps made so far, for what has its turn every so many of them.

    Attributes:
        count: Over all of training.
    """

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> State:
        """The count."""
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from there."""
        self.count = int(state["count"])
