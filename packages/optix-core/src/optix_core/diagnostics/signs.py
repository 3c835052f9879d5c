"""Signs of trouble in what learning reports. They only look; what follows from them is the controller's."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optix_core.base_agent import ActionProbabilities
from optix_core.state import State

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent

LOSSES = ("loss", "policy_loss", "actor_loss", "value_loss", "critic_loss", "q_loss")


class Signs:
    """Remembers what is needed to tell trouble from the usual.

    Args:
        spike: Multiple of the usual size that makes a loss a spike.
        window: Losses remembered per name.
        floor: Share of the highest entropy seen below which it has collapsed.
        low: Percent of the range of scores seen that counts as the bottom.
        patience: Windows at the minimum of exploration.

    Attributes:
        at_minimum: Windows in a row that exploration has been at its minimum.
    """

    def __init__(self, *, spike: float, window: int, floor: float, low: float, patience: int) -> None:
        self._spike, self._window, self._floor = spike, window, floor
        self._low, self._patience = low, patience
        self._losses: dict[str, deque[float]] = {}
        self._highest_entropy: float | None = None
        self._continuous = False
        self._scores: deque[float] = deque(maxlen=patience)
        self._range: tuple[float, float] | None = None
        self.at_minimum = 0

    def spiked(self, numbers: Mapping[str, float]) -> str | None:
        """Why a loss is far above its usual size, or None."""
        told: str | None = None
        for name in (name for name in LOSSES if name in numbers):
            before, now = (
                self._losses.setdefault(name, deque[float](maxlen=self._window)),
                numbers[name],
            )
            usual = math.fsum(map(abs, before)) / len(before) if len(before) >= 2 else 0.0
            if usual > 0 and now > self._spike * usual and told is None:
                told = f"{name} is {now:.4g}, {now / usual:.1f} times its usual size"
            before.append(now)
        return told

    def collapsed(self, agent: BaseAgent, numbers: Mapping[str, float], discrete: Any) -> str | None:
        """Why the entropy of choices has collapsed, or None; ``discrete`` says whether actions are choices."""
        entropy = numbers.get("entropy")
        if entropy is None:
            return None
        self._continuous = self._continuous or entropy < 0
        choices = isinstance(agent, ActionProbabilities) if discrete is None else bool(discrete)
        if not choices or self._continuous:
            return None
        highest = max(entropy, self._highest_entropy or 0.0)
        self._highest_entropy = highest
        if entropy >= self._floor * highest:
            return None
        return f"entropy is {entropy:.4g}, less than {self._floor:g} of the highest seen ({highest:.4g})"

    def stuck(self, agent: BaseAgent, numbers: Mapping[str, float]) -> str | None:
        """Why exploration should begin again, or None."""
        score = numbers.get("score", numbers.get("episode_reward"))
        if score is not None:
            low, high = self._range or (score, score)
            self._range = min(low, score), max(high, score)
            self._scores.append(score)
        least = value_of(agent, "epsilon_min")
        epsilon = numbers.get("epsilon", value_of(agent, "epsilon"))
        at_minimum = epsilon is not None and least is not None and epsilon <= least * (1 + 1e-9)
        self.at_minimum = self.at_minimum + 1 if at_minimum else 0
        if self.at_minimum < self._patience or not self._scores or self._range is None:
            return None
        (low, high), mean = self._range, math.fsum(self._scores) / len(self._scores)
        share = 0.0 if high == low else 100.0 * (mean - low) / (high - low)
        if share > self._low:
            return None
        return (
            f"exploration has been at its minimum for {self.at_minimum} windows, and the mean score {mean:.4g} lies "
            f"in the lowest {self._low:g} % of those seen ({low:.4g} to {high:.4g})"
        )

    def state_dict(self) -> State:
        """All that is remembered."""
        return {
            "losses": {name: list(values) for name, values in self._losses.items()},
            "highest_entropy": self._highest_entropy,
            "continuous": self._continuous,
            "scores": list(self._scores),
            "range": None if self._range is None else list(self._range),
            "at_minimum": self.at_minimum,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._losses = {n: deque(map(float, v), maxlen=self._window) for n, v in state["losses"].items()}
        self._highest_entropy, self._continuous = state["highest_entropy"], bool(state["continuous"])
        self._scores = deque(map(float, state["scores"]), maxlen=self._patience)
        self._range = None if state["range"] is None else (float(state["range"][0]), float(state["range"][1]))
        self.at_minimum = int(state["at_minimum"])


def value_of(agent: BaseAgent, name: str) -> float | None:
    """A numeric hyperparameter in force; None if the agent has none of that name."""
    value = agent.get_hyperparams().params.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
