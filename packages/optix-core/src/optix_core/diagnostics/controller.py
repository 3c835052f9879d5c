"""First aid while training: known signs of trouble, each with one small, bounded, reversible remedy."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from optix_core.diagnostics.signs import Signs, value_of
from optix_core.errors import ConfigError, HyperparamError
from optix_core.state import State
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent

logger = logging.getLogger("optix.diagnostics")

KL_NAMES = ("approx_kl", "kl_div")
REMEMBERED_FIRINGS = 100
RECOVERY = 1.5
"""Factor by which a learning rate climbs back, per quiet spell (as the adaptive step of PPO's reference code does)."""


class Firing(tuple[str, str]):  # noqa: SLOT001 (a tuple cannot have slots with content)
    """``(rule, text)``, and besides: ``window``, and ``param``, ``before``, ``after`` as read back from the agent."""

    window: int
    param: str
    before: float
    after: float

    @classmethod
    def of(cls, rule: str, text: str, *, window: int, param: str, before: float, after: float) -> Firing:
        """One firing."""
        firing = cls((rule, text))
        firing.window, firing.param, firing.before, firing.after = window, param, before, after
        return firing


class DiagnosticController:
    """Watches what ``learn`` reports, and changes one hyperparameter where a rule fires.

    * ``LOSS_SPIKE``: a loss exceeds ``loss_spike_factor`` times the mean absolute value of its last ``loss_window``
      ones: the learning rate is halved.
    * ``KL_TOO_HIGH``: the policy moved by more than twice ``target_kl`` in one window: the learning rate is halved.
    * ``LEARNING_RATE_BACK``: after ``min_episodes`` windows without either, and with a KL below half of ``target_kl``
      where one is reported, a learning rate that was halved here climbs back by half, never above where it came from.
    * ``ENTROPY_COLLAPSE``: the entropy fell below ``entropy_floor`` of the highest seen: the entropy coefficient is
      doubled, up to 0.5. Only where actions are choices: the differential entropy of continuous actions has no floor,
      a small or negative one is no collapse.
    * ``EPSILON_RESET``: exploration has stayed at its minimum for ``epsilon_patience`` windows, and the mean score of
      these lies in the lowest ``epsilon_score_threshold`` percent of the range of scores seen (or nothing but one score
      was ever seen): ``epsilon`` becomes ``epsilon_reset_value`` if it is what decays; where it names
      the start of a schedule, ``epsilon_min`` does, for ``epsilon_patience`` windows, and then is what it was
      (``EPSILON_BACK``).

    A value never leaves its declared tuning range, is read back, and a rule that fired rests for ``min_episodes``
    windows. If somebody else, such as a tuner, changes a value in the meantime, it is theirs: nothing is put back. The
    loop calls it in ordinary windows only, never in those of an experiment.

    Args:
        loss_spike_factor: Above 1.
        loss_window: Losses remembered, at least 2.
        entropy_floor: Share of the highest entropy seen, in (0, 1).
        target_kl: Positive.
        epsilon_patience: Windows, at least 1.
        epsilon_reset_value: In (0, 1].
        epsilon_score_threshold: Percent of the range of scores seen, in [0, 100].
        min_episodes: Windows before any rule may fire, and rest after each firing, at least 1.
        verbose: Report every firing through the logger ``optix.diagnostics``.

    Attributes:
        firings: The newest hundred :class:`Firing` objects, oldest first.

    Raises:
        ConfigError: A value is out of its range.
    """

    def __init__(
        self,
        loss_spike_factor: float = 5,
        loss_window: int = 10,
        entropy_floor: float = 0.05,
        target_kl: float = 0.02,
        epsilon_patience: int = 20,
        epsilon_reset_value: float = 0.3,
        epsilon_score_threshold: float = 20,
        min_episodes: int = 5,
        verbose: bool = False,
    ) -> None:
        for name, value, fine, wanted in (
            ("loss_spike_factor", loss_spike_factor, 1 < loss_spike_factor < math.inf, "above 1"),
            ("loss_window", loss_window, loss_window >= 2, "at least 2"),
            ("entropy_floor", entropy_floor, 0 < entropy_floor < 1, "above 0 and below 1"),
            ("target_kl", target_kl, 0 < target_kl < math.inf, "positive"),
            ("epsilon_patience", epsilon_patience, epsilon_patience >= 1, "at least 1"),
            ("epsilon_reset_value", epsilon_reset_value, 0 < epsilon_reset_value <= 1, "in (0, 1]"),
            (
                "epsilon_score_threshold",
                epsilon_score_threshold,
                0 <= epsilon_score_threshold <= 100,
                "a percentage, 0 to 100",
            ),
            ("min_episodes", min_episodes, min_episodes >= 1, "at least 1"),
        ):
            if not fine:
                raise ConfigError(f"{name} is {value}; it must be {wanted}")
        self._signs = Signs(
            spike=loss_spike_factor,
            window=loss_window,
            floor=entropy_floor,
            low=epsilon_score_threshold,
            patience=epsilon_patience,
        )
        self._kl, self._patience, self._epsilon = target_kl, epsilon_patience, epsilon_reset_value
        self._rest, self._verbose = min_episodes, verbose
        self.firings: list[Firing] = []
        self._calls = 0
        self._resting: dict[str, int] = {}
        self._rate: tuple[float, float] | None = None  # where it came from, and what it was set to here
        self._reset: tuple[float, float, int] | None = None  # epsilon_min before, set here, and when it ends

    # ---------------------------------------------------------------- the loop's way

    def step(self, episode_id: int, agent: BaseAgent, diagnostics: Mapping[str, Any]) -> list[Firing]:
        """Look at one window and act.

        Args:
            episode_id: The window.
            agent: Whose hyperparameters may be changed.
            diagnostics: What ``learn`` returned, and what the loop knows besides: ``score`` (or ``episode_reward``), a
                mean return, and ``discrete_actions``, whether actions are choices. Without the latter, agents that
                offer action probabilities and have never had a negative entropy count as such.

        Returns:
            What fired, as ``(rule, text)``; usually nothing.
        """
        numbers = {
            k: float(v) for k, v in diagnostics.items() if isinstance(v, int | float) and math.isfinite(v)
        }
        self._calls += 1
        fired: list[Firing | None] = []
        spiked, kl = self._signs.spiked(numbers), next((numbers[n] for n in KL_NAMES if n in numbers), None)
        collapsed = self._signs.collapsed(agent, numbers, diagnostics.get("discrete_actions"))
        stuck = self._signs.stuck(agent, numbers)
        if self._calls >= self._rest:
            if spiked is not None:
                fired.append(self._halve(episode_id, agent, "LOSS_SPIKE", spiked))
            if kl is not None and kl > 2 * self._kl and not any(fired):
                text = f"the policy moved by a KL of {kl:.4g}, more than twice the {self._kl:g} aimed at"
                fired.append(self._halve(episode_id, agent, "KL_TOO_HIGH", text))
            if spiked is None and (kl is None or kl < self._kl / 2):
                fired.append(self._climb_back(episode_id, agent))
            if collapsed is not None:
                fired.append(self._more_entropy(episode_id, agent, collapsed))
            if stuck is not None:
                fired.append(self._explore(episode_id, agent, stuck))
        fired.append(self._explored(episode_id, agent))
        found = [firing for firing in fired if firing is not None]
        self.firings = [*self.firings, *found][-REMEMBERED_FIRINGS:]
        for rule, text in found if self._verbose else ():
            logger.warning("%s: %s", rule, text)
        return found

    # ---------------------------------------------------------------- remedies

    def _halve(self, window: int, agent: BaseAgent, rule: str, why: str) -> Firing | None:
        rate = value_of(agent, "learning_rate")
        if rate is None or self._rests("learning_rate"):
            return None
        firing = self._set(window, agent, rule, "learning_rate", rate / 2, why)
        if firing is not None:
            ours = self._rate is not None and _close(self._rate[1], rate)
            origin = self._rate[0] if self._rate is not None and ours else rate
            self._rate = origin, firing.after
        return firing

    def _climb_back(self, window: int, agent: BaseAgent) -> Firing | None:
        rate = value_of(agent, "learning_rate")
        if self._rate is None or rate is None or self._rests("learning_rate"):
            return None
        origin, ours = self._rate
        if not _close(ours, rate):
            self._rate = None  # somebody else has changed it since: it is theirs now
            return None
        why = f"all was quiet since the learning rate was lowered from {origin:.4g}"
        firing = self._set(
            window, agent, "LEARNING_RATE_BACK", "learning_rate", min(origin, rate * RECOVERY), why
        )
        back = origin if firing is None else firing.after
        self._rate = None if back >= origin * (1 - 1e-6) else (origin, back)
        return firing

    def _more_entropy(self, window: int, agent: BaseAgent, why: str) -> Firing | None:
        coefficient = value_of(agent, "entropy_coef")
        if coefficient is None or coefficient <= 0 or coefficient >= 0.5 or self._rests("entropy_coef"):
            return None
        return self._set(window, agent, "ENTROPY_COLLAPSE", "entropy_coef", min(2 * coefficient, 0.5), why)

    def _explore(self, window: int, agent: BaseAgent, why: str) -> Firing | None:
        least, start = value_of(agent, "epsilon_min"), value_of(agent, "epsilon")
        if least is None or self._reset is not None or self._rests("epsilon_min") or self._rests("epsilon"):
            return None
        if start is not None and start <= least * (1 + 1e-9):  # epsilon itself is what decays
            return self._set(window, agent, "EPSILON_RESET", "epsilon", max(start, self._epsilon), why)
        firing = self._set(window, agent, "EPSILON_RESET", "epsilon_min", max(least, self._epsilon), why)
        if firing is not None:
            self._reset = least, firing.after, self._calls + self._patience
        return firing

    def _explored(self, window: int, agent: BaseAgent) -> Firing | None:
        if self._reset is None or self._calls < self._reset[2]:
            return None
        (before, ours, _), self._reset, self._signs.at_minimum = self._reset, None, 0
        now = value_of(agent, "epsilon_min")
        if now is None or not _close(now, ours):
            return None
        return self._set(
            window, agent, "EPSILON_BACK", "epsilon_min", before, f"{self._patience} windows were explored"
        )

    def _rests(self, param: str) -> bool:
        return self._calls < self._resting.get(param, 0)

    def _set(
        self, window: int, agent: BaseAgent, rule: str, param: str, value: float, why: str
    ) -> Firing | None:
        """Put ``value`` in force, within the declared range; None if that changes nothing."""
        params = agent.get_hyperparams().params
        before = float(params[param])
        low, high = agent.default_param_bounds.get(param, (-math.inf, math.inf))
        # a value that the user chose outside of the range may stay there, but is not moved further out
        value = min(max(value, min(low, before)), max(high, before))
        if value == before:
            return None
        try:
            agent.set_hyperparams(HyperparamSet({**params, param: value}))
        except HyperparamError as error:
            logger.warning("%s: %s cannot become %.4g: %s", rule, param, value, error)
            return None
        after = float(agent.get_hyperparams().params[param])
        self._resting[param] = self._calls + self._rest
        if after == before:
            logger.warning("%s: %s stayed %.4g although %.4g was set", rule, param, before, value)
            return None
        text = f"{why}; {param} {before:.4g} -> {after:.4g}"
        return Firing.of(rule, text, window=window, param=param, before=before, after=after)

    # ---------------------------------------------------------------- state

    def state_dict(self) -> State:
        """All that is remembered, the newest firings included."""
        return {
            "calls": self._calls,
            "signs": self._signs.state_dict(),
            "resting": dict(self._resting),
            "rate": None if self._rate is None else list(self._rate),
            "reset": None if self._reset is None else list(self._reset),
            "firings": [[*f, f.window, f.param, f.before, f.after] for f in self.firings],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        self._calls = int(state["calls"])
        self._signs.load_state_dict(state["signs"])
        self._resting = {name: int(until) for name, until in state["resting"].items()}
        self._rate = None if state["rate"] is None else (float(state["rate"][0]), float(state["rate"][1]))
        found = state["reset"]
        self._reset = None if found is None else (float(found[0]), float(found[1]), int(found[2]))
        self.firings = [
            Firing.of(rule, text, window=int(window), param=param, before=float(before), after=float(after))
            for rule, text, window, param, before, after in state["firings"]
        ]


def _close(a: float, b: float) -> bool:
    """Equal up to single precision, in which agents may keep a value."""
    return math.isclose(a, b, rel_tol=1e-6)
