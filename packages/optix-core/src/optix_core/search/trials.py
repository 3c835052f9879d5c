"""The trials of a search: propose, train, prune, and make the right state out of whatever happens."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from optix_core.errors import NumericalDivergence, SearchError
from optix_core.search.owners import Owner, claim, give_back, reclaim, register
from optix_core.search.plan import Plan, Workspace
from optix_core.search.report import TrialRecord
from optix_core.search.reporting import RungReporter
from optix_core.search.scoring import aggregated
from optix_core.search.space import SearchSpace
from optix_core.search.stopping import Interrupted
from optix_core.search.storage import wait
from optix_core.search.study import DIVERGED, DONE, ERROR, SCORES, STEPS, record_of
from optix_core.search.training import Trainer

POLL_SECONDS = (0.05, 2.0)
TRACEBACK_CHARS = 4000


class TrialLoop:
    """Works on a study until it has enough trials, together with whoever else does.

    Args:
        study: With its sampler and pruner.
        space: What to vary.
        plan: The numbers.
        trainer: Trains once.
        workspace: Where trainings keep their files.
        interrupted: Whether a stop was requested.
        on_trial: Called with every trial that ended here.
        seat: See :func:`~optix_core.search.owners.register`.
    """

    def __init__(
        self,
        study: optuna.Study,
        space: SearchSpace,
        plan: Plan,
        trainer: Trainer,
        workspace: Workspace,
        *,
        interrupted: Callable[[], bool],
        on_trial: Callable[[TrialRecord], None] | None,
        seat: str | None = None,
    ) -> None:
        self._seat = seat
        self._study, self._space, self._plan = study, space, plan
        self._trainer, self._workspace = trainer, workspace
        self._interrupted, self._on_trial = interrupted, on_trial
        self._by_seed = isinstance(study.pruner, optuna.pruners.WilcoxonPruner)
        self._by_rung = not self._by_seed and not isinstance(study.pruner, optuna.pruners.NopPruner)
        self._me = Owner.here()
        self._errors_in_a_row = 0

    def run(self) -> None:
        """Until ``n_trials`` are complete or pruned, the time is up, or a stop was requested.

        Raises:
            SearchError: Too many in a row failed.
        """
        register(self._study, self._me, self._seat)
        begun, plan = time.monotonic(), self._plan
        pause = POLL_SECONDS[0]
        while not self._interrupted():
            reclaim(self._study, self._me, plan.stale_after, size=len(self._space))
            states = [t.state for t in self._study.get_trials(deepcopy=False)]
            done, running = sum(s in DONE for s in states), states.count(TrialState.RUNNING)
            timed_out = plan.timeout is not None and time.monotonic() - begun >= plan.timeout
            if done >= plan.n_trials or timed_out:
                return
            if done + running >= plan.n_trials:
                wait(pause)  # others work on the last ones; if they die, their trials are ours
                pause = min(2 * pause, POLL_SECONDS[1])
                continue
            pause = POLL_SECONDS[0]
            self._one()

    def _one(self) -> None:
        trial = self._study.ask()
        try:
            claim(trial, self._me)
            params = self._space.suggest(trial)
            if self._is_surplus(trial.number):
                self._return(trial, "surplus")
                return
            score = self._train(trial, params)
        except optuna.TrialPruned:
            self._study.tell(trial, state=TrialState.PRUNED)
        except NumericalDivergence as error:
            # a result, not an accident: such hyperparameters are bad, and the sampler should know
            trial.set_user_attr(DIVERGED, error.message)
            self._study.tell(trial, state=TrialState.PRUNED)
        except Interrupted:
            self._return(trial, "interrupted")
            return
        except Exception as error:  # noqa: BLE001 - recorded, counted, and raised when it goes on
            trial.set_user_attr(ERROR, f"{type(error).__name__}: {error}"[:TRACEBACK_CHARS])
            self._study.tell(trial, state=TrialState.FAIL)
            self._announce(trial.number)
            self._count(error, trial.number)
            return
        except BaseException:
            self._return(trial, "interrupted")
            raise
        else:
            self._study.tell(trial, score)
        self._errors_in_a_row = 0
        self._announce(trial.number)

    def _is_surplus(self, number: int) -> bool:
        """Whether others began the last trials at the same moment; of all that did, the highest numbers give way."""
        counting = self._study.get_trials(deepcopy=False, states=(*DONE, TrialState.RUNNING))
        return sum(t.number < number for t in counting) >= self._plan.n_trials

    def _return(self, trial: optuna.Trial, why: str) -> None:
        frozen = self._study.get_trials(deepcopy=False)[trial.number]
        give_back(self._study, frozen, why, size=len(self._space))

    def _count(self, error: Exception, number: int) -> None:
        self._errors_in_a_row += 1
        if self._errors_in_a_row < self._plan.max_errors:
            return
        times = f"{self._errors_in_a_row} failures in a row" if self._errors_in_a_row > 1 else "a failure"
        raise SearchError(
            f"the search stopped after {times}; this is how trial {number} failed:\n{traceback_of(error)}\nCorrect it "
            "and run the search again; with a storage and a study_name it continues where it was."
        ) from error

    def _announce(self, number: int) -> None:
        if self._on_trial is not None:
            frozen = self._study.get_trials(deepcopy=False)[number]
            self._on_trial(record_of(frozen, self._space, self._study.user_attrs))

    def _train(self, trial: optuna.Trial, params: Mapping[str, Any]) -> float:
        """Train on every seed; returns what the trial is worth."""
        plan = self._plan
        place = self._workspace.path / f"trial-{trial.number}"
        scores: list[float] = []
        policies: list[tuple[float, Path]] = []
        steps = 0
        reporter: RungReporter | None = None
        try:
            for index, seed in enumerate(plan.search_seeds):
                reporter = self._reporter(trial, scores)
                outcome = self._trainer.train(params, seed, place / f"seed-{index}", reporter)
                scores.append(outcome.score)
                policies.append((plan.sign * outcome.score, outcome.weights))
                steps, reporter = steps + outcome.steps, None
                if self._by_seed and len(scores) < plan.n_seeds:
                    trial.report(outcome.score, index)
                    if trial.should_prune():
                        raise optuna.TrialPruned(f"after {len(scores)} of {plan.n_seeds} seeds")
            score = aggregated(scores, plan.aggregate)
            self._workspace.offer(trial.number, score, max(policies)[1], sign=plan.sign)
            return score
        finally:
            trial.set_user_attr(SCORES, scores)
            trial.set_user_attr(STEPS, steps + (0 if reporter is None else reporter.steps))
            self._workspace.tidy()

    def _reporter(self, trial: optuna.Trial, earlier: list[float]) -> RungReporter:
        return RungReporter(
            trial,
            rung=self._plan.rung,
            budget=self._plan.trial_steps,
            earlier=earlier,
            seeds=self._plan.n_seeds,
            prunes=self._by_rung,
            interrupted=self._interrupted,
        )


def traceback_of(error: BaseException) -> str:
    """The end of its traceback."""
    return "".join(traceback.format_exception(error))[-TRACEBACK_CHARS:].rstrip()
