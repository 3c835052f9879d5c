"""Step sizes that fall while training goes on, if they are told how long that will be."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from optix_core.agents.trainable import Trainable
from optix_core.rl.schedules import linear
from optix_core.state import State

DECAYING = ("learning_rate", "clip_ratio")


class Decay:
    """Lets the learning rate and the clip ratio fall linearly to 0 over the environment steps that were asked for.

    The hyperparameters themselves stay what they were set to, so tuners and readers see the values that the fall starts
    from; what they are worth now is applied for the time of one update. An update counts the steps of its own window:
    with windows that add up to exactly ``*_decay_steps`` the last one is made with 0. Without a number of steps (0, the
    default) nothing falls: an autonomous run has no known end.

    Attributes:
        env_steps: Environment steps learned from so far, over all environments.
    """

    def __init__(self) -> None:
        self.env_steps = 0

    @contextmanager
    def applied(self, hp: Mapping[str, Any], n_steps: int, training: Trainable) -> Generator[dict[str, Any]]:
        """Count a window of ``n_steps`` and put in force what is due, in the optimizer too, until the end of the block.

        Yields:
            The hyperparameters, with the values of now.
        """
        self.env_steps += n_steps
        now = dict(hp)
        for name in DECAYING:
            steps = int(hp[f"{name}_decay_steps"])
            if steps:
                now[name] = hp[name] * linear(1.0, 0.0, steps)(self.env_steps)
        if now["learning_rate"] == hp["learning_rate"]:
            yield now
            return
        training.set_learning_rate(now["learning_rate"])
        try:
            yield now
        finally:
            training.set_learning_rate(hp["learning_rate"])

    def state_dict(self) -> State:
        """The count."""
        return {"env_steps": self.env_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting from there."""
        self.env_steps = int(state["env_steps"])
