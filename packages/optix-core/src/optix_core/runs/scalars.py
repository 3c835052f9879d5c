"""Which curves a run has: every event of its log as tagged numbers.

This is the one home of the tags. Loggers use it while a run goes on, exporters afterwards, so that both hold the same.

| tag | from |
|---|---|
| ``score/primary``, ``score/low``, ``score/high`` | every evaluation, with the 95 % interval of the mean return |
| ``score/best`` | the best score so far |
| ``score/at_degradation`` | the score of a confirmed drop |
| ``metrics/*`` | diagnostics of every window, metrics of every evaluation, ``train_return``, ``steps_per_second`` |
| ``hyperparams/*`` | values in force, whenever they change |
| ``spsa/step_magnitude`` | Euclidean norm of the relative changes of one tuning step, where it is above zero |
| ``events/improvement``, ``plateau``, ``convergence``, ``degradation`` | 1 when it happens, once |
| ``live/*``, ``rnd/*``, ``actors/*`` | counters of live sources, numbers of the exploration bonus, of actor processes |

Numbers that are not finite are left out. The step of a point is that of its event: environment steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from optix_core.runs.decision_log import LogEvent

_ENTERED = {"COOLING": "plateau", "DORMANT": "convergence", "WATCHDOG": "convergence"}
_COUNTERS = ("live", "rnd", "actors")


class ScalarReader:
    """Turns events, in their order, into tagged numbers."""

    def __init__(self) -> None:
        self._clock: tuple[int, float] | None = None
        self._shown: tuple[int, set[str]] = (-1, set())

    def read(self, event: LogEvent) -> dict[str, float]:
        """The numbers of one event by tag; empty where it has none."""
        numbers = event.numbers
        if event.kind == "window":
            return self._window(event)
        if event.kind == "decision":
            return self._decision(event)
        if event.kind in {"started", "resumed"}:
            self._clock = None
            return _tagged("hyperparams", _table(numbers, "hyperparams"))
        if event.kind == "baseline":
            return _tagged("score", {"primary": numbers.get("score")})
        if event.kind == "tuned":
            return _tuned(_table(numbers, "changed"), by_tuner=numbers.get("cause", "tuner") == "tuner")
        if event.kind in _COUNTERS:
            return _tagged(event.kind, numbers)
        return {}

    def _window(self, event: LogEvent) -> dict[str, float]:
        numbers = event.numbers
        found: dict[str, Any] = {}
        elapsed = number(numbers.get("elapsed"))
        if elapsed is not None:
            if self._clock is not None and elapsed > self._clock[1]:
                found["steps_per_second"] = (event.step - self._clock[0]) / (elapsed - self._clock[1])
            self._clock = event.step, elapsed
        if not numbers.get("branch"):  # what a branch trained may be thrown away; only its speed counts
            found |= {**_table(numbers, "diagnostics"), "train_return": numbers.get("train_return")}
        tagged = _tagged("metrics", found)
        self._shown = event.step, set(tagged)
        return tagged | _tagged("hyperparams", _table(numbers, "hyperparams"))

    def _decision(self, event: LogEvent) -> dict[str, float]:
        data = event.numbers
        numbers = _table(data, "numbers")
        found: dict[str, float] = {}
        if data.get("verdict") is not None:
            low, high = data.get("interval") or (None, None)
            found |= _tagged("score", {"primary": numbers.get("score"), "low": low, "high": high})
        found |= _tagged("score", {"best": numbers.get("best")})
        step, shown = self._shown
        metrics = _tagged("metrics", _table(data, "metrics"))
        # without validation an evaluation repeats its window's diagnostics
        found |= {tag: value for tag, value in metrics.items() if step != event.step or tag not in shown}
        if "SAVE_BEST" in (data.get("actions") or ()):
            found["events/improvement"] = 1.0
        if data.get("verdict") == "DEGRADED":
            found |= _tagged("score", {"at_degradation": numbers.get("score")})
            found["events/degradation"] = 1.0
        for _, new, _ in data.get("transitions") or ():
            if new in _ENTERED:
                found[f"events/{_ENTERED[new]}"] = 1.0
        return found


def number(value: Any) -> float | None:
    """``value`` as a float if it is a finite number, numpy's included; truth values are none."""
    if isinstance(value, np.generic):
        value = cast("np.generic[Any]", value).item()
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def step_magnitude(changed: Mapping[str, Any]) -> float:
    """Euclidean norm of the relative changes ``(new - old) / |old|``; from 0 the change itself counts."""
    total = 0.0
    for pair in changed.values():
        old, new = (number(item) for item in pair)
        if old is not None and new is not None:
            total += ((new - old) / (abs(old) or 1.0)) ** 2
    return math.sqrt(total)


def _tuned(changed: Mapping[str, Any], *, by_tuner: bool) -> dict[str, float]:
    found = _tagged("hyperparams", {name: pair[1] for name, pair in changed.items()})
    size = step_magnitude(changed) if by_tuner else 0.0
    return {**found, "spsa/step_magnitude": size} if size > 0.0 else found


def _tagged(group: str, values: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{group}/{name}": found for name, value in values.items() if (found := number(value)) is not None
    }


def _table(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Any = data.get(name)
    return cast("Mapping[str, Any]", found) if isinstance(found, Mapping) else {}
