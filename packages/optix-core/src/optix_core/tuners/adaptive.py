"""Several tuners, of which the one that suits the scores is active."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optix_core.base_optimizer import BaseOptimizer, Trial, TrialVerdict
from optix_core.errors import ConfigError
from optix_core.seeding import Domain, derive_seed
from optix_core.tuners.backoff import BackoffOptimizer
from optix_core.tuners.base import MODES, Mode, SpaceTuner
from optix_core.tuners.momentum import MomentumOptimizer
from optix_core.tuners.pbt import PBTOptimizer
from optix_core.tuners.routing import WINDOW, Router
from optix_core.tuners.spsa import SPSAOptimizer
from optix_core.types import HyperparamSet

if TYPE_CHECKING:
    from optix_core.state import State
    from optix_core.types import EvalMetrics, History, ParamBounds

MEMBERS = ("spsa", "momentum", "backoff", "pbt")


class AdaptiveOptimizer(BaseOptimizer):
    """Routes to SPSA, momentum, backoff or PBT by what the scores look like.

    The newest 20 scores decide. A level that fell behind the best one (by more than ``gap_threshold`` of the range of
    scores) asks for PBT; noise that persists from one evaluation to the next, after the learning curve is taken out,
    for momentum; noise that alternates for backoff; anything else for SPSA, with which it starts. Both numbers are
    dimensionless. A switch discards what the tuner that leaves has half measured, and returns to the values
    before it. All tuners see every evaluation and every trial.

    Args:
        param_bounds: Tuning range per hyperparameter; None lets the loop fill in what the agent declares.
        log_params: Names on a logarithmic scale; ``"1-gamma"`` puts ``1 - gamma`` on one. None: as above.
        autocorr_threshold: Autocorrelation of the detrended scores that counts as one, in (0, 1).
        gap_threshold: Share of the range of scores that counts as behind, > 0.
        switch_patience: Evaluations that a tuner gets at least, >= 0.
        switch_confirmation: Evaluations in a row that must ask for the same other tuner, >= 1.
        min_history: Scores needed for an autocorrelation, 5 to 20.
        spsa_perturbation_scale: See :class:`~optix_core.tuners.spsa.SPSAOptimizer`.
        spsa_learning_rate: As above.
        spsa_warmup_episodes: As above.
        momentum_alpha: See :class:`~optix_core.tuners.momentum.MomentumOptimizer`.
        momentum_probe_scale: As above.
        backoff_perturbation_scale: See :class:`~optix_core.tuners.backoff.BackoffOptimizer`.
        pbt_history_size: See :class:`~optix_core.tuners.pbt.PBTOptimizer`.
        pbt_explore_scale: As above.
        pbt_exploit_scale: As above.
        mode: ``"branched"`` or ``"two_probe"``, for all of them.
        seed: Root seed; None lets the loop fill in the run's (or takes a fresh one).
        windows_per_arm: Training windows per branch.
        every: At most one trial of whichever tuner per so many evaluated windows.
        confidence: Of the intervals that decide.

    Raises:
        ConfigError: An argument is outside its range.
    """

    def __init__(
        self,
        param_bounds: ParamBounds | None = None,
        log_params: Sequence[str] | None = None,
        autocorr_threshold: float = 0.3,
        gap_threshold: float = 0.2,
        switch_patience: int = 3,
        switch_confirmation: int = 3,
        min_history: int = 10,
        spsa_perturbation_scale: float = 0.05,
        spsa_learning_rate: float = 0.1,
        spsa_warmup_episodes: int = 0,
        momentum_alpha: float = 0.05,
        momentum_probe_scale: float = 0.05,
        backoff_perturbation_scale: float = 0.05,
        pbt_history_size: int = 50,
        pbt_explore_scale: float = 0.1,
        pbt_exploit_scale: float = 0.05,
        *,
        mode: Mode = "branched",
        seed: int | None = None,
        windows_per_arm: int = 2,
        every: int = 8,
        confidence: float = 0.95,
    ) -> None:
        for name, value, holds, expected in (
            ("autocorr_threshold", autocorr_threshold, 0 < autocorr_threshold < 1, "in (0, 1)"),
            ("gap_threshold", gap_threshold, gap_threshold > 0, "above 0"),
            ("switch_patience", switch_patience, switch_patience >= 0, "of 0 or more"),
            ("switch_confirmation", switch_confirmation, switch_confirmation >= 1, "of 1 or more"),
            ("min_history", min_history, 5 <= min_history <= WINDOW, f"from 5 to {WINDOW}"),
            ("mode", mode, mode in MODES, "'branched' or 'two_probe'"),
        ):
            if not holds:
                raise ConfigError(f"AdaptiveOptimizer: {name} is {value!r}; expected a value {expected}")
        self.mode: Mode = mode
        shared: dict[str, Any] = {
            "log_params": log_params,
            "mode": mode,
            "windows_per_arm": windows_per_arm,
            "every": every,
            "confidence": confidence,
        }
        self._members: dict[str, SpaceTuner] = {
            "spsa": SPSAOptimizer(
                param_bounds,
                spsa_perturbation_scale,
                spsa_learning_rate,
                min(1e-4, spsa_perturbation_scale),
                warmup_episodes=spsa_warmup_episodes,
                seed=_seed_of("spsa", seed),
                **shared,
            ),
            "momentum": MomentumOptimizer(
                param_bounds,
                momentum_alpha,
                probe_scale=momentum_probe_scale,
                seed=_seed_of("momentum", seed),
                **shared,
            ),
            "backoff": BackoffOptimizer(
                param_bounds,
                backoff_perturbation_scale,
                min(1e-4, backoff_perturbation_scale),
                seed=_seed_of("backoff", seed),
                **shared,
            ),
            "pbt": PBTOptimizer(
                param_bounds,
                pbt_history_size,
                explore_scale=pbt_explore_scale,
                exploit_scale=pbt_exploit_scale,
                seed=_seed_of("pbt", seed),
                **shared,
            ),
        }
        self._router = Router(
            autocorr_threshold=autocorr_threshold,
            gap_threshold=gap_threshold,
            patience=switch_patience,
            confirmation=switch_confirmation,
            min_history=min_history,
        )
        self._newest = -1
        self._author: tuple[Trial, SpaceTuner] | None = None
        self._events: list[tuple[str, dict[str, Any]]] = []

    @property
    def active_optimizer(self) -> str:
        """Who is active: ``"spsa"``, ``"momentum"``, ``"backoff"`` or ``"pbt"``."""
        return self._router.active

    @property
    def _active(self) -> SpaceTuner:
        return self._members[self._router.active]

    @property
    def param_bounds(self) -> ParamBounds | None:
        """Tuning range per hyperparameter, None as long as nobody gave one."""
        return self._members["spsa"].param_bounds

    @property
    def log_params(self) -> tuple[str, ...] | None:
        """Names on a logarithmic scale, None as long as nobody gave them."""
        return self._members["spsa"].log_params

    def bind(
        self,
        *,
        param_bounds: ParamBounds | None = None,
        log_params: Sequence[str] | None = None,
        seed: int | None = None,
    ) -> None:
        """Fill in what the constructor was not given; see :meth:`SpaceTuner.bind`.

        Raises:
            ConfigError: ``seed`` comes after the first trial has started.
        """
        for name, member in self._members.items():
            member.bind(param_bounds=param_bounds, log_params=log_params, seed=_seed_of(name, seed))

    def take_events(self) -> list[tuple[str, dict[str, Any]]]:
        """Switches since the last call, as kinds and numbers for the decision log."""
        events, self._events = self._events, []
        return events

    # --- tuning -----------------------------------------------------------------------------------------------------

    def propose(self, current_hyperparams: HyperparamSet, metrics_history: History) -> Trial | None:
        """The next trial of the active tuner, None if it is not yet time."""
        if self.mode != "branched":
            return None
        self._see(metrics_history)
        author = self._active
        trial = author.next_trial(current_hyperparams, metrics_history)
        if trial is not None:
            self._author = (trial, author)
            for member in self._members.values():
                member.wait()
        return trial

    def conclude(self, trial: Trial, arm_returns: Sequence[Sequence[float]], *, paired: bool) -> TrialVerdict:
        """The verdict of the tuner that proposed ``trial``; the others see how its arms did.

        Raises:
            ValueError: ``trial`` is not the one proposed last, or the number of arms differs.
        """
        if self._author is None or self._author[0] is not trial:
            raise ValueError("conclude was called with a trial that is not the one proposed last")
        author = self._author[1]
        verdict = author.conclude(trial, arm_returns, paired=paired)
        self._author = None
        for member in self._members.values():
            if member is not author:
                member.witness(trial, arm_returns)
        return verdict

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """Values for the next window from the active tuner; in branched mode a copy of the present ones."""
        if self.mode != "two_probe" or not metrics_history:
            return current_hyperparams.copy()
        before = self._active
        self._see(metrics_history)
        if self._active is not before:
            centre = before.abandon(current_hyperparams.params)
            if centre is not None:  # the newest score belongs to a probe, so nothing can start from it
                return HyperparamSet(centre, current_hyperparams.episode_id)
        return self._active.next_values(current_hyperparams, metrics_history)

    def _see(self, history: History) -> None:
        """Show every new evaluation to all tuners and to the router."""
        fresh = [metrics for metrics in history if metrics.episode_id > self._newest] or list(history[-1:])
        for member in self._members.values():
            member.observe(history)
        for metrics in fresh:
            self._newest = max(self._newest, metrics.episode_id)
            if math.isfinite(metrics.primary_score):
                switch = self._router.see(metrics.primary_score)
                if switch is not None:
                    self._events.append(("routed", switch.to_log()))

    @property
    def is_probing(self) -> bool:
        """True while probe values of the active tuner are in force."""
        return self._active.is_probing

    def kick(
        self, current_hyperparams: HyperparamSet, exploration: Mapping[str, int]
    ) -> dict[str, Any] | None:
        """A larger exploratory move; see :meth:`SpaceTuner.kick`."""
        return self._members["spsa"].kick(current_hyperparams, exploration)

    # --- events and state -------------------------------------------------------------------------------------------

    def on_improvement(self, metrics: EvalMetrics) -> None:
        """Passed on to all tuners."""
        for member in self._members.values():
            member.on_improvement(metrics)

    def on_plateau(self, metrics_history: History) -> None:
        """Passed on to all tuners."""
        for member in self._members.values():
            member.on_plateau(metrics_history)

    def on_rollback(self) -> None:
        """Forget measurements under way."""
        self._author = None
        for member in self._members.values():
            member.on_rollback()

    def state_dict(self) -> State:
        """Everything that determines later proposals; a trial under way is proposed again."""
        return {
            "mode": self.mode,
            "newest": self._newest,
            "router": self._router.state_dict(),
            "events": [{"kind": kind, "numbers": dict(numbers)} for kind, numbers in self._events],
            "members": {name: member.state_dict() for name, member in self._members.items()},
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
        newest = int(state["newest"])
        events = [(str(e["kind"]), dict(e["numbers"])) for e in state["events"]]
        members = {name: state["members"][name] for name in self._members}
        self._router.load_state_dict(state["router"])
        for name, member in self._members.items():
            member.load_state_dict(members[name])
        self._newest, self._events, self._author = newest, events, None


def _seed_of(name: str, root: int | None) -> int | None:
    """A seed of its own for every member."""
    return None if root is None else derive_seed(root, Domain.TUNER, MEMBERS.index(name))
