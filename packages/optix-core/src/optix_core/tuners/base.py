"""What the tuners of core have in common: their space, their seed, their pace, and probing in ordinary windows."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from optix_core.base_optimizer import BaseOptimizer, Trial, TrialVerdict
from optix_core.errors import ConfigError
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.state import State, generator_state, restore_generator
from optix_core.tuners.gains import DifferenceScale
from optix_core.tuners.probe import Probe, Prober
from optix_core.tuners.space import suits
from optix_core.tuners.two_probe import TwoProbeCycle
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from optix_core.types import History, ParamBounds

Mode = Literal["branched", "two_probe"]
MODES: tuple[str, ...] = ("branched", "two_probe")

_MOST_DOUBLINGS = 3


class SpaceTuner(BaseOptimizer):
    """A tuner on the unit cube that compares two or more sets of values.

    In the mode ``"branched"`` it proposes trials whose arms are trained from one state (:meth:`propose`,
    :meth:`conclude`); in the mode ``"two_probe"`` it measures two arms one after the other in ordinary windows
    (:meth:`suggest`), by what the score gained under each, in random order. Scores enter as standardised
    differences only. Subclasses say which arms (:meth:`draw_probe`) and what follows (:meth:`probed`).

    Attributes:
        label: Name in the decision log.
        mode: How it measures.
        warmup_episodes: Evaluated windows before the first trial.
        windows_per_arm: Training windows per branch.
        every: Evaluated windows from one trial to the next, at least.
        confidence: Of the intervals that decide.
    """

    label: ClassVar[str] = ""

    def __init__(
        self,
        param_bounds: ParamBounds | None,
        log_params: Iterable[str] | None,
        *,
        mode: Mode,
        seed: int | None,
        windows_per_arm: int,
        every: int,
        confidence: float,
        warmup_episodes: int = 0,
    ) -> None:
        self._require("warmup_episodes", warmup_episodes, warmup_episodes >= 0, "0 or more")
        self._require("mode", mode, mode in MODES, "'branched' or 'two_probe'")
        self._require("windows_per_arm", windows_per_arm, windows_per_arm >= 1, "1 or more")
        self._require("every", every, every >= 1, "1 or more")
        self._require("confidence", confidence, 0 < confidence < 1, "in (0, 1)")
        self.mode: Mode = mode
        self.warmup_episodes = warmup_episodes
        self.windows_per_arm = windows_per_arm
        self.every = every
        self.confidence = confidence
        self._seeded = seed is not None
        self._prober = Prober(
            rng=generator(fresh_root_seed() if seed is None else seed, Domain.TUNER),
            bounds=None if param_bounds is None else dict(param_bounds),
            log_params=None if log_params is None else tuple(log_params),
        )
        self._scale = DifferenceScale()
        self._seen = 0
        self._newest = -1
        self._ties = 0
        self._last_start: int | None = None
        self._kicks = 0
        self._pending: tuple[Trial, Probe | None, tuple[float, ...]] | None = None
        self._cycle: TwoProbeCycle | None = None

    @classmethod
    def _require(cls, name: str, value: object, holds: bool, expected: str) -> None:
        """Refuse an argument.

        Raises:
            ConfigError: Unless ``holds``.
        """
        if not holds:
            raise ConfigError(f"{cls.__name__}: {name} is {value!r}; expected a value {expected}")

    @property
    def param_bounds(self) -> ParamBounds | None:
        """Tuning range per hyperparameter, None as long as nobody gave one."""
        return self._prober.bounds

    @property
    def log_params(self) -> tuple[str, ...] | None:
        """Names on a logarithmic scale, None as long as nobody gave them."""
        return self._prober.log_params

    # --- wiring -----------------------------------------------------------------------------------------------------

    def bind(
        self,
        *,
        param_bounds: ParamBounds | None = None,
        log_params: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """Fill in what the constructor was not given; what it was given stays.

        Args:
            param_bounds: Tuning range per hyperparameter.
            log_params: Names on a logarithmic scale.
            seed: Root seed of everything random here.

        Raises:
            ConfigError: ``seed`` comes after the first trial has started.
        """
        if self._prober.log_params is None and log_params is not None:
            # Ranges that were given here may not suit scales that were declared for others.
            own = self._prober.bounds or {}
            self._prober.log_params = tuple(name for name in log_params if suits(name, own))
        if self._prober.bounds is None and param_bounds is not None:
            self._prober.bounds = dict(param_bounds)
        if not self._seeded and seed is not None:
            if self._last_start is not None:
                raise ConfigError("the tuner is already running; bind its seed before the first window")
            self._prober.rng = generator(seed, Domain.TUNER)
            self._seeded = True

    # --- what subclasses say ----------------------------------------------------------------------------------------

    @abstractmethod
    def draw_probe(self, params: Mapping[str, Any]) -> Probe | None:
        """Two arms around ``params``, None if there is nothing to try."""

    @abstractmethod
    def probed(self, probe: Probe, standard: float) -> dict[str, Any]:
        """Values to go on with after two probes in ordinary windows.

        Args:
            probe: What was measured.
            standard: What the score gained under the plus arm minus that under the minus arm, in standard units.
        """

    @abstractmethod
    def begin_trial(self, params: dict[str, Any], history: History) -> Trial | None:
        """The next trial with branches; called after :meth:`observe`, when one is due."""

    @abstractmethod
    def conclude(self, trial: Trial, arm_returns: Sequence[Sequence[float]], *, paired: bool) -> TrialVerdict:
        """See :class:`~optix_core.base_optimizer.BranchingTuner`."""

    def own_state(self) -> State:
        """What a subclass adds to the state."""
        return {}

    def load_own_state(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`own_state`."""

    def witness(self, trial: Trial, arm_returns: Sequence[Sequence[float]]) -> None:
        """See how the arms of another tuner's trial did."""

    # --- branched mode ----------------------------------------------------------------------------------------------

    def propose(self, current_hyperparams: HyperparamSet, metrics_history: History) -> Trial | None:
        """Arms around the present values, or None if it is not yet time or nothing is tunable."""
        if self.mode != "branched":
            return None
        self.observe(metrics_history)
        return self.next_trial(current_hyperparams, metrics_history)

    def next_trial(self, current_hyperparams: HyperparamSet, metrics_history: History) -> Trial | None:
        """As :meth:`propose`, for who has called :meth:`observe`."""
        if not metrics_history or not self._due():
            return None
        trial = self.begin_trial(dict(current_hyperparams.params), metrics_history)
        if trial is not None:
            self._last_start = self._seen
        return trial

    def _taken_up(self, trial: Trial, arm_returns: Sequence[Any]) -> tuple[Probe | None, tuple[float, ...]]:
        """The pending trial's probe, and the returns before it.

        Raises:
            ValueError: ``trial`` is not the one proposed last, or the number of arms differs.
        """
        if self._pending is None or self._pending[0] is not trial:
            raise ValueError("conclude was called with a trial that is not the one proposed last")
        if len(arm_returns) != len(trial.arms):
            raise ValueError(
                f"the trial has {len(trial.arms)} arms, but returns of {len(arm_returns)} came back"
            )
        _, probe, before = self._pending
        self._pending = None
        return probe, before

    # --- two-probe mode ---------------------------------------------------------------------------------------------

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """Values for the next window: those of the probe whose turn it is, else the centre; in branched mode a copy."""
        if self.mode != "two_probe" or not metrics_history:
            return current_hyperparams.copy()
        self.observe(metrics_history)
        return self.next_values(current_hyperparams, metrics_history)

    def next_values(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """As :meth:`suggest`, for who has called :meth:`observe`."""
        score = metrics_history[-1].primary_score
        params = dict(current_hyperparams.params)
        if self._cycle is not None and self._cycle.disturbed(params):
            self._cycle = None
        if self._cycle is not None:
            params = self._advance(self._cycle, score)
        if self._cycle is None and self._due() and math.isfinite(score):
            probe = self.draw_probe(params)
            if probe is not None:
                self._last_start = self._seen
                self._cycle = TwoProbeCycle.start(probe, score, int(self._prober.rng.integers(2)))
                params = self._cycle.applied
        return HyperparamSet(params, current_hyperparams.episode_id)

    def _advance(self, cycle: TwoProbeCycle, score: float) -> dict[str, Any]:
        """One step of ``cycle``; it ends after the second probe, or when there is no score to go by."""
        if not math.isfinite(score):
            self._cycle = None
            return dict(cycle.centre)
        if cycle.middle is None:
            cycle.middle = score
            return cycle.applied
        self._cycle = None
        standard = self._scale.standardise(cycle.difference(score))
        return self.probed(self._prober.rebuild(cycle.centre, cycle.plus, cycle.minus, cycle.c), standard)

    def abandon(self, current: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Forget what is under way.

        Returns:
            The values to return to if those of a probe are in force; ``current`` says what is.
        """
        cycle, self._cycle, self._pending = self._cycle, None, None
        if cycle is None or current is None or cycle.disturbed(current):
            return None
        return dict(cycle.centre)

    @property
    def is_probing(self) -> bool:
        """True while probe values of the two-probe form are in force."""
        return self._cycle is not None

    # --- pace -------------------------------------------------------------------------------------------------------

    def observe(self, history: History) -> None:
        """Count evaluated windows: those in ``history`` since the last call, but at least the one this call follows."""
        fresh = sum(metrics.episode_id > self._newest for metrics in history)
        self._seen += max(fresh, 1)
        self._newest = max((metrics.episode_id for metrics in history), default=self._newest)

    def wait(self) -> None:
        """Start no trial before a full interval from now."""
        self._last_start = self._seen

    def _due(self) -> bool:
        if self._seen <= self.warmup_episodes:
            return False
        wait = self.every * 2 ** min(self._ties, _MOST_DOUBLINGS)
        return self._last_start is None or self._seen - self._last_start >= wait

    def on_rollback(self) -> None:
        """Forget measurements under way and wait a full interval before the next trial."""
        self.abandon()
        self._prober.exact.clear()
        self.wait()

    # --- exploration ------------------------------------------------------------------------------------------------

    def kick(
        self, current_hyperparams: HyperparamSet, exploration: Mapping[str, int]
    ) -> dict[str, Any] | None:
        """A larger exploratory move, to see whether a plateau is the end or a shelf.

        The first kick pushes the exploration parameters only; later ones, and any for an agent that names none, move
        all others too, in random directions. Every value stays inside its range.

        Args:
            current_hyperparams: Values in force.
            exploration: Name to +1 or -1: the direction in which the policy explores more.

        Returns:
            A full set of values, or None if there is no parameter that could move.
        """
        everything = self._kicks > 0
        self._kicks += 1
        return self._prober.kicked(current_hyperparams.params, exploration, everything=everything)

    # --- state ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """Everything that determines later proposals. A trial under way is not part of it: it is proposed again."""
        return {
            "mode": self.mode,
            "rng": generator_state(self._prober.rng),
            "mean_square": self._scale.mean_square,
            "exact": dict(self._prober.exact),
            "seen": self._seen,
            "newest": self._newest,
            "ties": self._ties,
            "last_start": self._last_start,
            "kicks": self._kicks,
            "cycle": None if self._cycle is None else self._cycle.state_dict(),
            **self.own_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            ConfigError: It was written by a tuner in the other mode.
        """
        if state["mode"] != self.mode:
            raise ConfigError(
                f"the stored tuner ran with mode={state['mode']!r} and this one has mode={self.mode!r}; "
                f"construct it with mode={state['mode']!r} to continue"
            )
        rng = generator(0, Domain.TUNER)
        restore_generator(rng, state["rng"])
        mean_square, last = state["mean_square"], state["last_start"]
        cycle = None if state["cycle"] is None else TwoProbeCycle(**copy.deepcopy(dict(state["cycle"])))
        exact = {str(k): float(v) for k, v in state["exact"].items()}
        seen, kicks = int(state["seen"]), int(state["kicks"])
        newest, ties = int(state["newest"]), int(state["ties"])
        self.load_own_state(state)
        self._prober.rng, self._prober.exact = rng, exact
        self._cycle, self._seen, self._kicks = cycle, seen, kicks
        self._newest, self._ties = newest, ties
        self._scale.mean_square = None if mean_square is None else float(mean_square)
        self._last_start = None if last is None else int(last)
        self._pending = None
        self._seeded = True
