"""The holder of the state machine's state: a thin shell over the pure functions of :mod:`.transition`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from optix_core.errors import ConfigError
from optix_core.loop.answers import count_non_improvement, decide_dormant, decide_probe, restart
from optix_core.loop.degradation import below_fixed_threshold, examine_drop
from optix_core.loop.evidence import examine
from optix_core.loop.history import push_score
from optix_core.loop.records import (
    Decision,
    DormantReport,
    LoopConfig,
    LoopSnapshot,
    ProbeReport,
    WindowReport,
)
from optix_core.loop.transition import decide
from optix_core.state import State
from optix_core.types import LoopState

CONTROLLER_DEFAULTS: Mapping[str, Any] = {
    "improvement_margin": 0.0,
    "score_smoothing": 2,
    "min_consecutive_degradations": 3,
    "convergence_patience": 5,
    "cv_threshold": 0.05,
    "gap_threshold": 0.20,
    "target_score": None,
}
"""Options that a controller takes too; at these values it leaves the scheduler's own in force."""


class BackoffScheduler:
    """Judges scores and paces what is expensive.

    The loop calls :meth:`step` once per window, which is all that is needed. The ``record_*`` methods and the questions
    ``is_*`` drive the same state by hand. Each score is remembered once, and the best is never lowered.

    The *interval* paces tuner calls only: it grows with every evaluation without improvement. Evaluation is never
    backed off.

    Args:
        base_interval: See :class:`~optix_core.loop.config.LoopConfig`, as for all that follow.
        backoff_factor: See there.
        max_interval_episodes: See there.
        plateau_threshold: See there.
        dormant_threshold: See there.
        degradation_threshold: None (default) tests a drop against the noise; a number uses the fixed rule
            *score < best - |best| (1 - degradation_threshold)*, which depends on where the task's zero lies.
        min_degradation_drop: In score units; None means a tenth of the observed range.
        min_episodes_before_dormant: See there.
        min_episodes_before_degradation: See there.
        noise_k: See there.
        score_window: See there.
        trend_window: See there.
        options: Every other field of ``LoopConfig`` by name.

    Raises:
        ConfigError: An option is unknown or out of its range.
    """

    def __init__(
        self,
        base_interval: int = 1,
        backoff_factor: float = 2.0,
        max_interval_episodes: int = 100,
        plateau_threshold: int = 5,
        dormant_threshold: int = 20,
        degradation_threshold: float | None = None,
        min_degradation_drop: float | None = None,
        min_episodes_before_dormant: int = 0,
        min_episodes_before_degradation: int = 5,
        noise_k: float = 2.0,
        score_window: int = 20,
        trend_window: int = 8,
        **options: Any,
    ) -> None:
        _check_names(options)
        self._config = LoopConfig(
            base_interval=base_interval,
            backoff_factor=backoff_factor,
            max_interval_episodes=max_interval_episodes,
            plateau_threshold=plateau_threshold,
            dormant_threshold=dormant_threshold,
            degradation_threshold=degradation_threshold,
            min_degradation_drop=min_degradation_drop,
            min_episodes_before_dormant=min_episodes_before_dormant,
            min_episodes_before_degradation=min_episodes_before_degradation,
            noise_k=noise_k,
            score_window=score_window,
            trend_window=trend_window,
            **options,
        )
        self._snapshot = LoopSnapshot(interval=base_interval)
        self._unjudged = False  # the newest score was recorded, but no verdict on it was

    # ---------------------------------------------------------------- the loop's way

    def step(self, report: WindowReport) -> Decision:
        """Judge one window; see :func:`~optix_core.loop.transition.decide`."""
        return self._take(decide(self._snapshot, report, self._config))

    def step_probe(self, report: ProbeReport) -> Decision:
        """Judge a probe; see :func:`~optix_core.loop.transition.decide_probe`."""
        return self._take(decide_probe(self._snapshot, report, self._config))

    def step_dormant(self, report: DormantReport) -> Decision:
        """Judge the answer to SPAWN; see :func:`~optix_core.loop.transition.decide_dormant`."""
        return self._take(decide_dormant(self._snapshot, report, self._config))

    def set_baseline(self, score: float) -> None:
        """Tell the score of the untrained policy: the lower end of the range, which a fast learner climbs unseen.

        Ignored if it is not finite, and once scores were seen.
        """
        if math.isfinite(score) and not self._snapshot.scores:
            self._snapshot = replace(self._snapshot, low=float(score))

    def configure(self, **options: Any) -> None:
        """Change options before or between windows; those at ``CONTROLLER_DEFAULTS`` leave what is in force.

        Raises:
            ConfigError: An option is unknown or out of its range; nothing is changed then.
        """
        _check_names(options)
        changes = {
            k: v for k, v in options.items() if k not in CONTROLLER_DEFAULTS or v != CONTROLLER_DEFAULTS[k]
        }
        self._config = replace(self._config, **changes)

    @property
    def config(self) -> LoopConfig:
        """The options in force."""
        return self._config

    @property
    def snapshot(self) -> LoopSnapshot:
        """Everything the state machine remembers."""
        return self._snapshot

    def state_dict(self) -> State:
        """The snapshot and the options as plain data."""
        return {
            "snapshot": self._snapshot.to_state(),
            "config": asdict(self._config),
            "unjudged": self._unjudged,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`. Options stay those of this object: a resumed run may have a new target.

        Raises:
            ValueError: This is no state of a scheduler; nothing is changed then.
        """
        if "snapshot" not in state:
            raise ValueError("this is no state of a BackoffScheduler: snapshot is missing")
        snapshot = LoopSnapshot.from_state(state["snapshot"])
        self._snapshot = replace(snapshot, scores=snapshot.scores[-self._config.max_history :])
        self._unjudged = bool(state.get("unjudged", False))

    # ---------------------------------------------------------------- by hand

    @property
    def current_state(self) -> LoopState:
        """ACTIVE, COOLING, DORMANT or WATCHDOG."""
        return self._snapshot.state

    @property
    def current_interval(self) -> int:
        """Windows between two tuner calls."""
        return self._snapshot.interval

    @property
    def consecutive_non_improvements(self) -> int:
        """Evaluations since the last improvement."""
        return self._snapshot.consecutive_non_improvements

    @property
    def best_score(self) -> float | None:
        """Running maximum of the confirmed score; None before the first."""
        return self._snapshot.best

    @property
    def total_episodes(self) -> int:
        """Finite scores seen so far."""
        return self._snapshot.evaluations

    def record_score(self, score: float) -> None:
        """Remember a score, without a verdict. NaN and infinities are failed evaluations and are only counted."""
        if not math.isfinite(score):
            self._snapshot = replace(self._snapshot, failed_streak=self._snapshot.failed_streak + 1)
            return
        self._snapshot = push_score(self._snapshot, score, self._config)
        self._unjudged = True

    def record_improvement(self, score: float) -> None:
        """The run improved to ``score``, which is remembered unless ``record_score`` just did; the best never falls."""
        if not self._unjudged:
            self.record_score(score)
        self._unjudged = False
        best = self._snapshot.best
        if math.isfinite(score) and (best is None or score > best):
            self._snapshot = replace(self._snapshot, best=score)
        self._reset_counters()

    def record_non_improvement(self) -> None:
        """The newest score brought nothing: count it, widen the interval, cool down or go dormant."""
        self._unjudged = False
        self._snapshot = count_non_improvement(self._snapshot, self._config)

    def record_degradation(self) -> None:
        """A drop was confirmed: ACTIVE again, counter and interval as at the start."""
        self._snapshot = replace(self._snapshot, degradations=self._snapshot.degradations + 1)
        self._reset_counters()

    def record_restart(self) -> None:
        """Training goes on after DORMANT: history and counters are cleared, the best stays."""
        self._unjudged = False
        self._take(restart(self._snapshot, self._config))

    def reactivate(self, factor: float) -> None:
        """Training has got new means: ACTIVE again, counters at 0, the interval times ``factor``, history stays.

        Args:
            factor: In (0, 1]; for 0 see :meth:`record_restart`.
        """
        interval = max(self._config.base_interval, int(self._snapshot.interval * factor))
        self._reset_counters()
        self._snapshot = replace(self._snapshot, interval=interval)

    def should_adapt(self, window: int) -> bool:
        """Whether something expensive is due at ``window``; evaluation is always due."""
        return window % self._snapshot.interval == 0

    def is_improving(self) -> bool:
        """Whether the scores rise, by the one-sided t-test."""
        return bool(self._snapshot.scores) and examine(self._snapshot, self._config).rising

    def is_degrading(self) -> bool:
        """Whether the newest scores lie below the best level, confirmed."""
        return examine_drop(self._snapshot, self._config).degraded

    def check_degradation(self, score: float) -> bool:
        """Whether ``score`` as the next one would confirm a drop; with ``degradation_threshold``, lies below that."""
        if not math.isfinite(score):
            return False
        if self._config.degradation_threshold is not None:
            return below_fixed_threshold(self._snapshot, self._config, score)
        return examine_drop(push_score(self._snapshot, score, self._config), self._config).degraded

    def is_converged(self, cv_threshold: float | None = None, gap_threshold: float | None = None) -> bool:
        """Whether the gain still to be expected is bounded below ``cv_threshold`` of the observed range.

        Args:
            cv_threshold: Share of the observed range; None takes the option.
            gap_threshold: How far, as a share of that range, the level may lie below the best one; None takes the
                option.
        """
        changes: dict[str, Any] = {}
        if cv_threshold is not None:
            changes |= {"delta": cv_threshold, "cv_threshold": None}
        if gap_threshold is not None:
            changes["gap_threshold"] = gap_threshold
        config = replace(self._config, **changes)
        if not self._snapshot.scores:
            return False
        evidence = examine(self._snapshot, config)
        return evidence.equivalent and evidence.near_best

    def _take(self, decision: Decision) -> Decision:
        self._snapshot = decision.snapshot
        self._unjudged = False
        return decision

    def _reset_counters(self) -> None:
        self._snapshot = replace(
            self._snapshot,
            state=LoopState.ACTIVE,
            consecutive_non_improvements=0,
            converged_streak=0,
            interval=self._config.base_interval,
        )


def _check_names(options: Mapping[str, Any]) -> None:
    known = {f.name for f in fields(LoopConfig)}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigError(f"the loop has no option {', '.join(unknown)}; it has {', '.join(sorted(known))}")
