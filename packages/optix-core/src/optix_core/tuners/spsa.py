"""SPSA: all tunable hyperparameters are perturbed at once, and two measurements give a direction.

A hyperparameter acts on how fast the score improves, not on the score, so measurements of two windows in a row are
confounded by the learning itself. The default mode therefore trains two *branches* from the same state, and compares
them on the same episodes. The plain form, which probes during ordinary training, is kept as ``mode="two_probe"``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from optix_core.base_optimizer import BaseOptimizer, Trial, TrialVerdict
from optix_core.errors import ConfigError
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_core.state import State, generator_state, restore_generator
from optix_core.stats.comparison import MIN_EPISODES, Comparison, compare_returns
from optix_core.tuners.gains import DifferenceScale, Gains, gradient
from optix_core.tuners.probe import Probe, Prober
from optix_core.tuners.two_probe import TwoProbeCycle
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from optix_core.types import EvalMetrics, History, ParamBounds

Mode = Literal["branched", "two_probe"]

_MOST_DOUBLINGS = 3


class SPSAOptimizer(BaseOptimizer):
    """Simultaneous-perturbation tuner on the normalised space of :mod:`optix_core.tuners.space`.

    Scores enter only as standardised differences, so their unit and offset change nothing.

    Args:
        param_bounds: Tuning range per hyperparameter; None lets the loop fill in what the agent declares.
        perturbation_scale: First probe distance c, as a part of the range, in (0, 0.5].
        learning_rate: First step size a, as a part of the range, in (0, 1].
        min_perturbation: Smallest probe distance, in (0, perturbation_scale].
        gradient_clip: Largest standardised slope per parameter, > 0.
        log_params: Names on a logarithmic scale; ``"1-gamma"`` puts ``1 - gamma`` on one. None: as above.
        warmup_episodes: Evaluated windows before the first trial.
        mode: ``"branched"`` trains both arms from one state; ``"two_probe"`` probes during ordinary training.
        seed: Root seed of the directions; None lets the loop fill in the run's (or takes a fresh one).
        windows_per_arm: Training windows per branch.
        every: At most one trial per so many evaluated windows; those inside a trial don't count. While both arms score
            exactly the same (a ceiling), the wait doubles with every trial, up to eight times.
        confidence: Of the interval that has to exclude zero before the centre moves (branched mode).

    Raises:
        ConfigError: An argument is outside its range.
    """

    def __init__(
        self,
        param_bounds: ParamBounds | None = None,
        perturbation_scale: float = 0.05,
        learning_rate: float = 0.1,
        min_perturbation: float = 1e-4,
        gradient_clip: float = 1.0,
        log_params: Sequence[str] | None = None,
        warmup_episodes: int = 0,
        *,
        mode: Mode = "branched",
        seed: int | None = None,
        windows_per_arm: int = 2,
        every: int = 8,
        confidence: float = 0.95,
    ) -> None:
        _require("perturbation_scale", perturbation_scale, 0 < perturbation_scale <= 0.5, "in (0, 0.5]")
        _require("learning_rate", learning_rate, 0 < learning_rate <= 1, "in (0, 1]")
        small = 0 < min_perturbation <= perturbation_scale
        _require("min_perturbation", min_perturbation, small, "in (0, perturbation_scale]")
        _require("gradient_clip", gradient_clip, gradient_clip > 0, "above 0")
        _require("warmup_episodes", warmup_episodes, warmup_episodes >= 0, "0 or more")
        _require("mode", mode, mode in {"branched", "two_probe"}, "'branched' or 'two_probe'")
        _require("windows_per_arm", windows_per_arm, windows_per_arm >= 1, "1 or more")
        _require("every", every, every >= 1, "1 or more")
        _require("confidence", confidence, 0 < confidence < 1, "in (0, 1)")
        self.gradient_clip = gradient_clip
        self.warmup_episodes = warmup_episodes
        self.mode: Mode = mode
        self.windows_per_arm = windows_per_arm
        self.every = every
        self.confidence = confidence
        self._seeded = seed is not None
        self._prober = Prober(
            rng=generator(fresh_root_seed() if seed is None else seed, Domain.TUNER),
            bounds=None if param_bounds is None else dict(param_bounds),
            log_params=None if log_params is None else tuple(log_params),
        )
        self._gains = Gains(probe=perturbation_scale, step=learning_rate, narrowest=min_perturbation)
        self._scale = DifferenceScale()
        self._seen = 0
        self._newest = -1
        self._ties = 0
        self._last_start: int | None = None
        self._kicks = 0
        self._pending: tuple[Trial, Probe, tuple[float, ...]] | None = None
        self._cycle: TwoProbeCycle | None = None

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

        Raises:
            ConfigError: ``seed`` comes after the first trial has started.
        """
        if self._prober.bounds is None and param_bounds is not None:
            self._prober.bounds = dict(param_bounds)
        if self._prober.log_params is None and log_params is not None:
            self._prober.log_params = tuple(log_params)
        if not self._seeded and seed is not None:
            if self._last_start is not None:
                raise ConfigError("the tuner is already running; bind its seed before the first window")
            self._prober.rng = generator(seed, Domain.TUNER)
            self._seeded = True

    def state_dict(self) -> State:
        """Everything that determines later proposals. A trial under way is not part of it: it is proposed again."""
        return {
            "mode": self.mode,
            "rng": generator_state(self._prober.rng),
            "gains": self._gains.state_dict(),
            "mean_square": self._scale.mean_square,
            "exact": dict(self._prober.exact),
            "seen": self._seen,
            "newest": self._newest,
            "ties": self._ties,
            "last_start": self._last_start,
            "kicks": self._kicks,
            "cycle": None if self._cycle is None else self._cycle.state_dict(),
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
        self._gains.load_state_dict(state["gains"])
        self._prober.rng, self._prober.exact = rng, exact
        self._cycle, self._seen, self._kicks = cycle, seen, kicks
        self._newest, self._ties = newest, ties
        self._scale.mean_square = None if mean_square is None else float(mean_square)
        self._last_start = None if last is None else int(last)
        self._pending = None
        self._seeded = True

    # --- events -----------------------------------------------------------------------------------------------------

    def on_improvement(self, metrics: EvalMetrics) -> None:
        """Progress is being made: probe more gently."""
        del metrics
        self._gains.narrow()

    def on_plateau(self, metrics_history: History) -> None:
        """Nothing moves: probe twice as far."""
        del metrics_history
        self._gains.widen(2.0)

    def on_rollback(self) -> None:
        """Forget measurements under way and wait a full interval before the next trial."""
        self._pending = None
        self._cycle = None
        self._prober.exact.clear()
        self._last_start = self._seen

    @property
    def is_probing(self) -> bool:
        """True while probe values of the two-probe form are in force."""
        return self._cycle is not None

    # --- branched mode ----------------------------------------------------------------------------------------------

    def propose(self, current_hyperparams: HyperparamSet, metrics_history: History) -> Trial | None:
        """Two arms, one on either side of the present values, or None if it is not yet time or nothing is tunable."""
        if self.mode != "branched":
            return None
        self._count(metrics_history)
        if not self._due() or not metrics_history:
            return None
        probe = self._prober.draw(current_hyperparams.params, self._gains.c)
        if probe is None:
            return None
        self._last_start = self._seen
        details: dict[str, Any] = {"trial": self._gains.trials + 1, "probe": probe.c, "step": self._gains.a}
        details["parameters"] = {
            axis.name: [probe.arms[0][axis.name], probe.params[axis.name], probe.arms[1][axis.name]]
            for axis in probe.space.axes
        }
        if probe.space.widened:
            details["widened"] = {name: list(declared) for name, declared in probe.space.widened.items()}
        if probe.space.skipped:
            details["skipped"] = dict(probe.space.skipped)
        trial = Trial(arms=probe.arms, windows=self.windows_per_arm, label="spsa", details=details)
        self._pending = (trial, probe, metrics_history[-1].episode_returns)
        return trial

    def conclude(self, trial: Trial, arm_returns: Sequence[Sequence[float]], *, paired: bool) -> TrialVerdict:
        """Move the centre if the interval of the difference excludes zero; else return to it.

        Either way the better branch's weights are kept, so that its training is not lost, unless both branches fell
        significantly below the evaluation before the trial.

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
        self._gains.trials += 1
        a = self._gains.a
        finished = [bool(len(r)) and all(math.isfinite(x) for x in r) for r in arm_returns]
        if not any(finished):
            self._gains.narrow(0.5)
            details: dict[str, Any] = {"outcome": "both arms diverged"}
            return TrialVerdict(params=dict(probe.params), keep_arm=None, committed=False, details=details)
        if all(finished):
            result = compare_returns(*arm_returns, paired=paired, confidence=self.confidence)
            winner = 0 if result.difference >= 0 else 1
            details = _numbers(result, paired=paired)
            standard = self._scale.standardise(result.difference)
            moves = result.decided
            self._ties = self._ties + 1 if result.low == result.high == 0 else 0
        else:  # an arm that diverged loses whatever the other returned
            winner = finished.index(True)
            details = {"outcome": f"arm {1 - winner} diverged"}
            standard = 1.0 if winner == 0 else -1.0
            moves = True
        worse = _fell(arm_returns[winner], before, self.confidence)
        details["better_arm"] = winner
        if worse is not None:
            details["both_below_start"] = _numbers(worse, paired=False)
        keep = None if worse is not None else winner
        if not moves:
            self._gains.widen()
            details["outcome"] = "undecided: the interval includes zero, back to the centre"
            return TrialVerdict(params=dict(probe.params), keep_arm=keep, committed=False, details=details)
        self._gains.narrow()
        arm = probe.plus if winner == 0 else probe.minus
        slopes = gradient(standard, probe.plus, probe.minus, probe.c, self.gradient_clip)
        # At least as far as the arm that was shown to be better, at most what the gain sequence allows beyond it.
        steps = [
            math.copysign(max(a * abs(g), abs(u_arm - u)), u_arm - u)
            for g, u_arm, u in zip(slopes, arm, probe.centre, strict=True)
        ]
        details.setdefault("outcome", "decided: the centre moves towards the better arm")
        details["standardised"] = standard
        params = self._prober.moved(probe, steps)
        return TrialVerdict(params=params, keep_arm=keep, committed=True, details=details)

    # --- two-probe mode ---------------------------------------------------------------------------------------------

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """Values for the next window: those of the probe whose turn it is, else the centre; in branched mode a copy."""
        if self.mode != "two_probe" or not metrics_history:
            return current_hyperparams.copy()
        self._count(metrics_history)
        score = metrics_history[-1].primary_score
        params = dict(current_hyperparams.params)
        if self._cycle is not None and self._cycle.disturbed(params):
            self._cycle = None
        if self._cycle is not None:
            params = self._advance(self._cycle, score)
        if self._cycle is None and self._due() and math.isfinite(score):
            probe = self._prober.draw(params, self._gains.c)
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
        self._gains.trials += 1
        probe = self._prober.rebuild(cycle.centre, cycle.plus, cycle.minus, cycle.c)
        slopes = gradient(standard, probe.plus, probe.minus, probe.c, self.gradient_clip)
        return self._prober.moved(probe, [self._gains.a * g for g in slopes])

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

    def _count(self, history: History) -> None:
        """Count evaluated windows: those in ``history`` since the last call, but at least the one this call follows."""
        fresh = sum(metrics.episode_id > self._newest for metrics in history)
        self._seen += max(fresh, 1)
        self._newest = max((metrics.episode_id for metrics in history), default=self._newest)

    def _due(self) -> bool:
        if self._seen <= self.warmup_episodes:
            return False
        wait = self.every * 2 ** min(self._ties, _MOST_DOUBLINGS)
        return self._last_start is None or self._seen - self._last_start >= wait


def _require(name: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise ConfigError(f"SPSAOptimizer: {name} is {value!r}; expected a value {expected}")


def _numbers(result: Comparison, *, paired: bool) -> dict[str, Any]:
    bounded = math.isfinite(result.low)
    return {
        "difference": result.difference,
        "low": result.low if bounded else None,
        "high": result.high if bounded else None,
        "episodes": result.episodes,
        "paired": paired,
    }


def _fell(after: Sequence[float], before: Sequence[float], confidence: float) -> Comparison | None:
    """The comparison with the evaluation before the trial if even the better arm is significantly below it."""
    if min(len(after), len(before)) < MIN_EPISODES or not all(math.isfinite(x) for x in before):
        return None
    result = compare_returns(after, before, paired=False, confidence=confidence)
    return result if result.high < 0 else None
