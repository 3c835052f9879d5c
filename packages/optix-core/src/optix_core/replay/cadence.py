"""When an off-policy learner takes its gradient steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optix_core.state import State


class Cadence:
    """Counts environment steps, all environments together, and says how many gradient steps are due.

    Attributes:
        env_steps: Steps counted so far.
        unreported: Those of them since :meth:`report`; what tells a learner that a window was shown to it already.
    """

    def __init__(self) -> None:
        self.env_steps = self.unreported = 0

    def advance(self, n_steps: int, *, learning_starts: int, train_freq: int, gradient_steps: int) -> int:
        """Count ``n_steps`` more; the gradient steps due now.

        ``gradient_steps`` become due whenever the count passes a multiple of ``train_freq``, once it is beyond
        ``learning_starts``. The number due depends on the count alone and not on how many environments are stepped at
        once, so the ratio of updates to data stays what was asked for.

        Args:
            n_steps: Environment steps since the last call, at least 0.
            learning_starts: Steps before the first gradient step, at least 0.
            train_freq: Environment steps between rounds of learning, at least 1.
            gradient_steps: Gradient steps per round, at least 1; -1: as many as ``train_freq``.

        Raises:
            ValueError: An argument is out of range; nothing is counted then.

        >>> cadence = Cadence()
        >>> [cadence.advance(8, learning_starts=10, train_freq=4, gradient_steps=1) for _ in range(3)]
        [0, 2, 2]
        """
        if (
            n_steps < 0
            or learning_starts < 0
            or train_freq < 1
            or (gradient_steps < 1 and gradient_steps != -1)
        ):
            raise ValueError(
                f"n_steps={n_steps} and learning_starts={learning_starts} must be at least 0, "
                f"train_freq={train_freq} at least 1, gradient_steps={gradient_steps} at least 1, or -1 for as many "
                "as train_freq"
            )
        before = max(self.env_steps, learning_starts)
        self.env_steps += n_steps
        self.unreported += n_steps
        rounds = max(0, self.env_steps // train_freq - before // train_freq)
        return rounds * (train_freq if gradient_steps == -1 else gradient_steps)

    def report(self) -> None:
        """Begin to count ``unreported`` anew; learners call it at the end of each window."""
        self.unreported = 0

    def state_dict(self) -> State:
        """Both counts."""
        return {"env_steps": self.env_steps, "unreported": self.unreported}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        env_steps, unreported = int(state["env_steps"]), int(state["unreported"])
        self.env_steps, self.unreported = env_steps, unreported
