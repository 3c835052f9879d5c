"""Which step of evolution the score history calls for."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from optix_core.errors import ConfigError
from optix_core.evolution.trends import SHORTEST, gaps, observed_range, scores, trend
from optix_core.state import State
from optix_core.types import EvalMetrics

REMEMBERED = 100


class MetaAction(Enum):
    """What a :class:`MetaController` may ask for."""

    NO_OP = "nothing: what the loop decided stands"
    SPAWN = "go on with a variant"
    PRUNE = "drop the weakest member"
    STOP = "end the run"


class MetaController:
    """Decides from generalisation gap, its slope and the rate of improvement.

    In this order: no variants left, or the last ``max_fruitless`` of them proved no better than what they came from:
    STOP. Fewer than three scores: NO_OP. Training exceeds validation by more than ``gap_threshold``, or that gap grows
    faster than ``gap_slope_threshold`` per evaluation: PRUNE. Scores rise by less than ``improvement_threshold`` per
    evaluation: SPAWN. Else NO_OP. All three thresholds are shares of the observed range of scores, so that unit and
    zero do not matter.

    Args:
        gap_threshold: Share of the range, positive.
        gap_slope_threshold: Share of the range per evaluation, positive.
        improvement_threshold: Share of the range per evaluation, positive.
        window: How many of the newest evaluations count, at least 3.
        max_fruitless: Variants in a row that may fail before it stops, at least 1.

    Attributes:
        numbers: What the last decision was made by: ``gap``, ``gap_slope``, ``improvement_rate`` (shares of ``range``,
            None where unknown) and ``range`` itself.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(
        self,
        gap_threshold: float = 0.2,
        gap_slope_threshold: float = 0.02,
        improvement_threshold: float = 0.01,
        window: int = 10,
        *,
        max_fruitless: int = 3,
    ) -> None:
        for name, value in (
            ("gap_threshold", gap_threshold),
            ("gap_slope_threshold", gap_slope_threshold),
            ("improvement_threshold", improvement_threshold),
        ):
            if not 0 < value < math.inf:
                raise ConfigError(f"{name} is {value}; it must be positive (a share of the observed range)")
        for name, count, least in (("window", window, SHORTEST), ("max_fruitless", max_fruitless, 1)):
            if count < least:
                raise ConfigError(f"{name} is {count}; it must be at least {least}")
        self._gap, self._gap_slope, self._improvement = (
            gap_threshold,
            gap_slope_threshold,
            improvement_threshold,
        )
        self._window, self._max_fruitless = window, max_fruitless
        self._decided: deque[str] = deque(maxlen=REMEMBERED)
        self.numbers: dict[str, float | None] = {}

    def decide(self, history: Sequence[EvalMetrics], pm_status: Mapping[str, Any]) -> MetaAction:
        """The step to take.

        Args:
            history: Evaluations, oldest first.
            pm_status: :meth:`PolicyManager.status`; ``budget_exhausted`` and ``fruitless`` are looked at.
        """
        action = self._decide(history, pm_status)
        self._decided.append(action.name)
        return action

    def _decide(self, history: Sequence[EvalMetrics], status: Mapping[str, Any]) -> MetaAction:
        scale = observed_range(history)
        newest = history[-self._window :]
        rate, gap = trend(scores(newest), scale), gaps(newest)
        widening = trend(gap, scale)
        mean_gap = math.fsum(gap) / len(gap) / scale if gap and scale > 0 else None
        self.numbers = {
            "gap": mean_gap,
            "gap_slope": None if widening is None else widening.slope,
            "improvement_rate": None if rate is None else rate.slope,
            "range": scale,
        }
        if status.get("budget_exhausted", False) or int(status.get("fruitless", 0)) >= self._max_fruitless:
            return MetaAction.STOP
        if rate is None:
            return MetaAction.NO_OP
        if mean_gap is not None and mean_gap > self._gap:
            return MetaAction.PRUNE
        if widening is not None and widening.slope > self._gap_slope:
            return MetaAction.PRUNE
        return MetaAction.SPAWN if rate.slope < self._improvement else MetaAction.NO_OP

    @property
    def decided(self) -> tuple[str, ...]:
        """Names of the newest decisions, oldest first, at most a hundred."""
        return tuple(self._decided)

    def state_dict(self) -> State:
        """The newest decisions."""
        return {"decided": list(self._decided)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            ValueError: A name is no action.
        """
        names = [str(name) for name in state["decided"]]
        unknown = sorted(set(names) - set(MetaAction.__members__))
        if unknown:
            raise ValueError(
                f"{', '.join(unknown)} is no MetaAction; there are {', '.join(MetaAction.__members__)}"
            )
        self._decided = deque(names, maxlen=REMEMBERED)
