"""Carrying out what tuners propose, and the probe that precedes a verdict of convergence."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from optix_core.base_optimizer import BranchingTuner
from optix_core.loop.branching import Experiment, can_branch, continue_from, run_experiment
from optix_core.loop.records import ProbeReport
from optix_core.state import Stateful
from optix_core.stats.comparison import MIN_EPISODES, compare_returns
from optix_core.types import HyperparamSet, same_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.base_optimizer import BaseOptimizer, Trial
    from optix_core.loop.loop_controller import LoopController
    from optix_core.loop.records import Decision
    from optix_core.state import State


@runtime_checkable
class KickingTuner(Protocol):
    """Tuners that can propose one large exploratory move."""

    def kick(
        self, current_hyperparams: HyperparamSet, exploration: Mapping[str, int]
    ) -> dict[str, Any] | None:
        """Hyperparameters far from the present ones.

        ``exploration`` names those whose increase (+1) or decrease (-1) explores more.
        """
        ...


@runtime_checkable
class ScheduledTuner(Protocol):
    """Tuners that follow a fixed schedule over environment steps, whatever the state of the loop."""

    source: str

    def check(self, agent: BaseAgent) -> None:
        """Refuse an agent that the schedule does not fit.

        Raises:
            ConfigError: It does not.
        """
        ...

    def values_at(self, steps: int) -> Mapping[str, Any]:
        """The scheduled values in force after ``steps`` environment steps, by name."""
        ...


@runtime_checkable
class ReportingTuner(Protocol):
    """Tuners that have something of their own to say in the decision log."""

    def take_events(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        """Kinds and numbers since the last call."""
        ...


logger = logging.getLogger("optix.loop")

_NOTHING_FOUND = ProbeReport(gain=math.nan, gain_lower=math.nan, n=0)


class TuningDriver:
    """The loop's side of tuning.

    Calls the tuner, runs its experiments, puts values in force and reports what happened.
    """

    def __init__(self, loop: LoopController, tuner: BaseOptimizer | None, *, probe_windows: int) -> None:
        self._loop = loop
        self._tuner = tuner
        self._probe_windows = probe_windows
        self._in_force: dict[str, Any] | None = None
        self._warned: set[str] = set()

    @property
    def is_probing(self) -> bool:
        """Whether the values in force are an experiment of the tuner."""
        return self._tuner is not None and self._tuner.is_probing

    def announce_limits(self) -> None:
        """At the start: put scheduled values in force; say if the tuner needs branches and there can be none."""
        tuner = self._tuner
        if isinstance(tuner, ScheduledTuner):
            tuner.check(self._loop.agent)
            self.follow_schedule()
        self._in_force = self._loop.agent.get_hyperparams().params
        branched = isinstance(tuner, BranchingTuner) and getattr(tuner, "mode", "branched") == "branched"
        if branched and not can_branch(self._loop.agent, self._loop.validator):
            text = (
                f"{type(tuner).__name__} compares branches, which needs a validation pipeline and an agent with "
                "state_dict; without them it changes nothing"
            )
            self._loop.log("tuning_off", reason=text)
            logger.warning("%s", text)

    def on_plateau(self) -> None:
        """Tell the tuner that scores stopped improving."""
        if self._tuner is not None:
            self._tuner.on_plateau(list(self._loop.history))

    def on_improvement(self) -> None:
        """Tell the tuner of a confirmed improvement."""
        if self._tuner is not None and self._loop.history:
            self._tuner.on_improvement(self._loop.history[-1])

    def on_rollback(self) -> None:
        """Tell the tuner that earlier weights and values are back, and the log which values these are."""
        if self._tuner is not None:
            self._tuner.on_rollback()
        if self._in_force is not None:
            self._announce(self._in_force, wanted={}, cause="rollback")

    def follow_schedule(self) -> None:
        """Put the values in force that a schedule has for the present environment step."""
        tuner = self._tuner
        if not isinstance(tuner, ScheduledTuner):
            return
        agent = self._loop.agent
        before = agent.get_hyperparams().params
        wanted = dict(tuner.values_at(self._loop.progress.steps))
        if not all(same_value(before.get(name), value) for name, value in wanted.items()):
            agent.set_hyperparams(HyperparamSet({**before, **wanted}))
            self._loop.log("replayed", source=tuner.source, values=wanted)
            self._announce(before, wanted=wanted, cause="replay")

    def tune(self) -> None:
        """Let the tuner change hyperparameters: by an experiment with branches if it proposes one, else directly."""
        if self._tuner is None or isinstance(self._tuner, ScheduledTuner):
            return
        loop, tuner = self._loop, self._tuner
        before = loop.agent.get_hyperparams()
        self._in_force = dict(before.params)
        if isinstance(tuner, BranchingTuner) and can_branch(loop.agent, loop.validator):
            trial = tuner.propose(before.copy(), list(loop.history))
            self._report()
            if trial is not None:
                self._trial(tuner, trial, before)
                return
        suggested = tuner.suggest(before.copy(), list(loop.history))
        self._report()
        if suggested.params != before.params:
            loop.agent.set_hyperparams(suggested)
            self._announce(before.params, wanted=suggested.params)

    def _trial(self, tuner: BranchingTuner, trial: Trial, before: HyperparamSet) -> None:
        loop = self._loop
        if not loop.trainer.affords(len(trial.arms) * trial.windows):
            loop.log("trial_skipped", reason="the budget does not cover every arm", label=trial.label)
            return
        experiment = self._run(trial.arms, trial.windows, with_reference=False)
        assert loop.validator is not None
        returns = [list(branch.returns) for branch in experiment.branches]
        verdict = tuner.conclude(trial, returns, paired=loop.validator.paired)
        kept = None if verdict.keep_arm is None else experiment.branches[verdict.keep_arm]
        state = experiment.origin if kept is None or kept.state is None else kept.state
        continue_from(loop.agent, state, {**experiment.origin_params, **verdict.params})
        loop.log(
            "trial",
            label=trial.label,
            arms=[dict(arm) for arm in trial.arms],
            scores=[None if b.metrics is None else b.metrics.primary_score for b in experiment.branches],
            kept_arm=verdict.keep_arm,
            committed=verdict.committed,
            windows=trial.windows,
            details={**trial.details, **verdict.details},
        )
        self._announce(before.params, wanted={**experiment.origin_params, **verdict.params})

    def _report(self) -> None:
        """Write what the tuner says of itself to the log."""
        if isinstance(self._tuner, ReportingTuner):
            for kind, numbers in self._tuner.take_events():
                self._loop.log(kind, **numbers)

    def _announce(
        self, before: Mapping[str, Any], *, wanted: Mapping[str, Any], cause: str = "tuner"
    ) -> None:
        """Report a change of hyperparameters as the agent really took it, and warn of what it did not take."""
        after = self._loop.agent.get_hyperparams().params
        self._in_force = dict(after)
        changed = {k: (before.get(k), v) for k, v in after.items() if before.get(k) != v}
        asked = {k: v for k, v in wanted.items() if not same_value(before.get(k), v)}
        missed = {k: (v, after.get(k)) for k, v in asked.items() if not same_value(v, after.get(k))}
        refused = {k: v for k, v in missed.items() if same_value(before.get(k), v[1])}
        adjusted = {k: v for k, v in missed.items() if k not in refused}
        if changed or missed:
            self._loop.log(
                "tuned",
                changed={k: list(v) for k, v in changed.items()},
                not_taken={k: list(v) for k, v in refused.items()},
                adjusted={k: list(v) for k, v in adjusted.items()},
                cause=cause,
            )
        for name in sorted(missed.keys() - self._warned):
            self._warned.add(name)
            logger.warning(
                "%s did not take %s = %r: it has %r (said once per name; every case is in the decision log)",
                type(self._loop.agent).__name__,
                name,
                *missed[name],
            )
        if changed:
            self._loop.callbacks.fire("on_hyperparam_update", dict(before), dict(after))

    def probe(self) -> Decision:
        """Before convergence is declared: does more training, or training that explores more, still gain anything?

        Branches from the present state: one that goes on unchanged and one with a large exploratory
        move (if the tuner offers one), each compared with the present policy on the same episodes.
        """
        loop = self._loop
        arms = self._probe_arms()
        experiment = (
            None if isinstance(arms, str) else self._run(arms, self._probe_windows, with_reference=True)
        )
        report, arm = (_NOTHING_FOUND, None) if experiment is None else self._judge(experiment)
        decision = loop.scheduler.step_probe(replace(report, can_spawn=loop.dormancy.wanted))
        if experiment is not None:
            branch = None if arm is None else experiment.branches[arm]
            if branch is not None and branch.state is not None and report.gain_lower > 0:
                continue_from(loop.agent, branch.state, branch.params)
            else:
                continue_from(loop.agent, experiment.origin, experiment.origin_params)
        loop.log(
            "probe",
            gain=report.gain,
            gain_lower=report.gain_lower,
            episodes=report.n,
            arm=arm,
            windows=self._probe_windows,
            skipped=arms if isinstance(arms, str) else None,
            arms=[] if experiment is None else [b.params for b in experiment.branches],
        )
        if experiment is not None:
            self._announce(experiment.origin_params, wanted={}, cause="probe")
        return decision

    def _probe_arms(self) -> list[dict[str, Any]] | str:
        """The branches to try, or the reason why there can be none."""
        loop = self._loop
        if not can_branch(loop.agent, loop.validator):
            return "a probe needs a validation pipeline and an agent with state_dict"
        arms: list[dict[str, Any]] = [{}]
        current = loop.agent.get_hyperparams()
        if isinstance(self._tuner, KickingTuner):
            kicked = self._tuner.kick(current.copy(), type(loop.agent).default_exploration_params)
            if kicked is not None:
                arms.append(kicked)
        if not loop.trainer.affords(len(arms) * self._probe_windows):
            return "the budget does not cover every arm"
        return arms

    def _judge(self, experiment: Experiment) -> tuple[ProbeReport, int | None]:
        """The arm whose gain over the reference is best assured; confidence is shared among the arms (Bonferroni)."""
        assert experiment.reference is not None
        assert self._loop.validator is not None
        base = experiment.reference.episode_returns
        # One-sided bounds at 95 %, shared among the arms: the two-sided interval has twice that error.
        confidence = 1.0 - 0.10 / len(experiment.branches)
        best: tuple[ProbeReport, int | None] = _NOTHING_FOUND, None
        for number, branch in enumerate(experiment.branches):
            if min(len(branch.returns), len(base)) < MIN_EPISODES:
                continue
            compared = compare_returns(
                branch.returns, base, paired=self._loop.validator.paired, confidence=confidence
            )
            if best[1] is None or compared.low > best[0].gain_lower:
                best = (
                    ProbeReport(gain=compared.difference, gain_lower=compared.low, n=len(branch.returns)),
                    number,
                )
        return best

    def _run(self, arms: Sequence[Mapping[str, Any]], windows: int, *, with_reference: bool) -> Experiment:
        loop = self._loop
        assert loop.validator is not None
        return run_experiment(
            loop.agent,
            loop.trainer,
            loop.validator,
            arms,
            windows,
            with_reference=with_reference,
            on_window=loop.cycle.observe,
            stop_requested=lambda: loop.stop_requested,
        )

    def state_dict(self) -> State:
        """The tuner's state, if it has one."""
        return {"tuner": self._tuner.state_dict()} if isinstance(self._tuner, Stateful) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue the tuner."""
        if isinstance(self._tuner, Stateful) and "tuner" in state:
            self._tuner.load_state_dict(state["tuner"])
        self._in_force = self._loop.agent.get_hyperparams().params
