"""How a training tells the study where it stands, and learns that it is hopeless."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import optuna

from optix_core.search.owners import BEAT_SECONDS, beat
from optix_core.search.stopping import Interrupted


class RungReporter:
    """Reports one training at equal parts of its budget, which all trainings have in common.

    Trials with windows of other lengths are evaluated after other numbers of steps, and Optuna compares reports of
    equal steps only. So at each *rung* the newest evaluation at or before it is reported. With several seeds, a report
    is the mean of the finished seeds and the one under way, and the rungs of later seeds follow those of earlier ones.

    Args:
        trial: Where reports go.
        rung: Environment steps between two rungs.
        budget: Environment steps of the training.
        earlier: Scores of the seeds that are finished.
        seeds: How many seeds there are.
        prunes: Whether to report at all.
        interrupted: Whether a stop was requested.
    """

    def __init__(
        self,
        trial: optuna.Trial,
        *,
        rung: int,
        budget: int,
        earlier: Sequence[float],
        seeds: int,
        prunes: bool,
        interrupted: Callable[[], bool],
    ) -> None:
        self._trial = trial
        self._rung, self._budget = rung, budget
        self._earlier, self._last_seed = tuple(earlier), len(earlier) + 1 == seeds
        self._prunes, self._interrupted = prunes, interrupted
        self._next = rung
        self._newest: float | None = None
        self._beaten = time.monotonic()
        self.steps = 0

    def __call__(self, steps: int, score: float | None) -> None:
        """One window was trained.

        Args:
            steps: Environment steps so far.
            score: Its evaluation, None or NaN if there was none.

        Raises:
            optuna.TrialPruned: Other trials were better at this point.
            Interrupted: A stop was requested.
        """
        self.steps = steps
        if self._interrupted():
            raise Interrupted
        now = time.monotonic()
        if now - self._beaten >= BEAT_SECONDS:
            beat(self._trial)
            self._beaten = now
        if not self._prunes or score is None or not math.isfinite(score):
            return
        told = self._report_rungs(steps, score)
        finished = self._last_seed and steps >= self._budget
        if told and not finished and self._trial.should_prune():
            raise optuna.TrialPruned(f"at {steps:,} of {self._budget:,} environment steps")

    def _report_rungs(self, steps: int, score: float) -> bool:
        told = False
        offset = len(self._earlier) * self._budget
        while self._next <= min(steps, self._budget):
            value = score if self._next == steps else self._newest
            if value is not None:
                mean = math.fsum((*self._earlier, value)) / (len(self._earlier) + 1)
                self._trial.report(mean, offset + self._next)
                told = True
            self._next += self._rung
        self._newest = score
        return told
