"""Where a live window ends: after so many steps, after so many seconds, or with its episode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from optix_core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class EveryNSteps:
    """After ``n`` steps."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError(f"every_n_steps({self.n}): a window needs at least 1 step")

    def __call__(self, step_count: int, elapsed_seconds: float, last_observation: Any) -> bool:
        """Whether the window is over."""
        del elapsed_seconds, last_observation
        return bool(step_count >= self.n)


@dataclass(frozen=True, slots=True)
class EveryNSeconds:
    """At the first step that is complete ``seconds`` after the window began; measured on a monotonic clock."""

    seconds: float

    def __post_init__(self) -> None:
        if not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise ConfigError(f"every_n_seconds({self.seconds}): the time must be positive")

    def __call__(self, step_count: int, elapsed_seconds: float, last_observation: Any) -> bool:
        """Whether the window is over."""
        del step_count, last_observation
        return bool(elapsed_seconds >= self.seconds)


@dataclass(frozen=True, slots=True)
class OnDone:
    """Nowhere but where an episode ends, which the pipeline sees for itself."""

    def __call__(self, step_count: int, elapsed_seconds: float, last_observation: Any) -> bool:
        """False."""
        del step_count, elapsed_seconds, last_observation
        return False
