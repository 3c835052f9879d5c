"""What is wrong with an environment, in words, and how often it may be.

The default is to stop at the first fault. Recovery is opt-in, counted and bounded: the faulty transition is
dropped, the episode is cut (truncated) before it, and a new episode begins. A fault is never disguised as a
terminal state with reward 0.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError, EnvironmentFault
from optix_core.state import State

OnEnvError = Literal["raise", "restart"]
OnNonFinite = Literal["raise", "truncate"]

RESTARTS_ALLOWED, RESTART_SPAN = 3, 10_000
NONFINITE_IN_A_ROW, NONFINITE_SHARE = 10, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing an environment did that it must not do.

    Attributes:
        kind: ``error`` (it raised), ``observation`` or ``reward`` (not finite).
        env_index: Which environment.
        method: ``step`` or ``reset``.
        action: What was passed to ``step``.
        detail: What was found.
        error: The exception, for ``error``.
    """

    kind: Literal["error", "observation", "reward"]
    env_index: int
    method: Literal["step", "reset"]
    action: Any
    detail: str
    error: Exception | None = None

    def as_error(self, where: str, *, recoverable: bool = False) -> EnvironmentFault:
        """The error to raise. An original exception becomes its cause.

        Args:
            where: When it happened.
            recoverable: Whether the pipeline has the options that would have recovered from it.
        """
        after = f" after action {shown(self.action)}" if self.method == "step" else ""
        text = f"environment {self.env_index}, {self.method}, {where}{after}: {self.detail}."
        if self.kind == "error":
            text += " The original traceback is above. Fix the environment"
            if recoverable:
                text += (
                    ", or pass on_env_error='restart' to drop the transition and rebuild the environment (at "
                    f"most {RESTARTS_ALLOWED} times per {RESTART_SPAN:,} steps)"
                )
            fault = EnvironmentFault(f"{text}.", code="E-ENV-RAISED")
            fault.__cause__ = self.error
            return fault
        text += " Fix the environment"
        if recoverable:
            text += (
                ", or pass on_nonfinite='truncate' to drop such transitions and cut the episode before them"
            )
        return EnvironmentFault(f"{text}.", code="E-ENV-NONFINITE")


def shown(value: Any, limit: int = 8) -> str:
    """``value`` in one short line."""
    if value is None or isinstance(value, int | float):
        return repr(value)
    flat = np.asarray(value).ravel()
    text = ", ".join(f"{x:.6g}" if isinstance(x, float) else str(x) for x in flat[:limit].tolist())
    return f"[{text}{', ...' if flat.size > limit else ''}]"


def nonfinite_detail(observation: NDArray[Any], name: str = "observation") -> str:
    """Which components of the observation, or of its part ``name``, are not finite, and what they are."""
    bad = np.argwhere(~np.isfinite(observation))
    where = [tuple(index) if len(index) != 1 else index[0] for index in bad[:5].tolist()]
    values = [float(observation[tuple(index)]) for index in bad[:5]]
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    what = "the observation" if name == "observation" else f"{name} of the observation"
    return f"{what} is not finite: component{'s' if len(bad) > 1 else ''} {where}{more} = {values}"


class FaultPolicy:
    """Decides whether a fault stops the run, and counts those that do not.

    Args:
        on_env_error: ``raise``, or ``restart``: rebuild the environment, at most 3 times per 10,000 steps.
        on_nonfinite: ``raise``, or ``truncate``: at most 10 in a row, and 1 % of all steps (10 are always allowed).

    Attributes:
        counts: Tolerated faults so far, ``env_errors`` and ``nonfinite``.
        steps: Environment steps so far, over all environments; kept up to date by the collector.
    """

    def __init__(self, on_env_error: OnEnvError = "raise", on_nonfinite: OnNonFinite = "raise") -> None:
        if on_env_error not in {"raise", "restart"}:
            raise ConfigError(f"on_env_error is {on_env_error!r}; expected 'raise' or 'restart'")
        if on_nonfinite not in {"raise", "truncate"}:
            raise ConfigError(f"on_nonfinite is {on_nonfinite!r}; expected 'raise' or 'truncate'")
        self.on_env_error, self.on_nonfinite = on_env_error, on_nonfinite
        self.counts: dict[str, int] = {"env_errors": 0, "nonfinite": 0}
        self.steps = 0
        self._restarts: deque[int] = deque(maxlen=RESTARTS_ALLOWED)

    def clear(self) -> None:
        """Forget all counts."""
        self.counts = dict.fromkeys(self.counts, 0)
        self.steps = 0
        self._restarts.clear()

    @property
    def recovers(self) -> bool:
        """Whether any kind of fault may be tolerated."""
        return self.on_env_error == "restart" or self.on_nonfinite == "truncate"

    def admit(self, fault: Fault, *, in_a_row: int, where: str) -> None:
        """Count ``fault``, or raise it.

        Args:
            fault: What happened.
            in_a_row: How many faults this environment had without a good transition between, this one included.
            where: Says when, for the message.

        Raises:
            EnvironmentFault: The fault is not tolerated, or not any more.
        """
        steps = self.steps
        if fault.kind == "error":
            if self.on_env_error == "raise":
                raise fault.as_error(where, recoverable=True)
            if len(self._restarts) == RESTARTS_ALLOWED and steps - self._restarts[0] < RESTART_SPAN:
                error = fault.as_error(where, recoverable=True)
                error.add_note(
                    f"restarted {RESTARTS_ALLOWED} times within {RESTART_SPAN:,} steps already; giving up"
                )
                raise error
            self._restarts.append(steps)
            self.counts["env_errors"] += 1
            return
        if self.on_nonfinite == "raise":
            raise fault.as_error(where, recoverable=True)
        allowed = max(NONFINITE_IN_A_ROW, int(NONFINITE_SHARE * steps))
        if in_a_row > NONFINITE_IN_A_ROW or self.counts["nonfinite"] >= allowed:
            error = fault.as_error(where, recoverable=True)
            error.add_note(
                f"dropped {self.counts['nonfinite']} such transitions in {steps:,} steps, {in_a_row - 1} of "
                "them in a row; giving up"
            )
            raise error
        self.counts["nonfinite"] += 1

    def state_dict(self) -> State:
        """Counts and the steps of recent restarts."""
        return {"counts": dict(self.counts), "restarts": list(self._restarts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue counting."""
        counts = {name: int(state["counts"][name]) for name in self.counts}
        restarts = deque((int(step) for step in state["restarts"]), maxlen=RESTARTS_ALLOWED)
        self.counts, self._restarts = counts, restarts
