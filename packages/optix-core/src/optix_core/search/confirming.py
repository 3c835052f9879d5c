"""Who wins: the best trials, trained again on seeds that the search never used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna

from optix_core.errors import NumericalDivergence, SearchError
from optix_core.search.plan import Plan, Workspace
from optix_core.search.report import Candidate, TrialRecord
from optix_core.search.scoring import Aggregate, interval_of
from optix_core.search.stopping import Interrupted
from optix_core.search.study import FRESH
from optix_core.search.training import Trainer
from optix_core.search.trials import traceback_of
from optix_core.stats.comparison import Comparison, compare_returns


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshRun:
    """One training on a fresh seed.

    Attributes:
        score: What it was worth.
        weights: Its policy, if this process trained it.
    """

    score: float
    weights: Path | None


class Confirmer:
    """Trains candidates on the plan's fresh seeds. What the study knows already is not trained again.

    Args:
        study: Keeps the results.
        plan: The numbers.
        trainer: Trains once.
        workspace: Where trainings keep their files.
        interrupted: Whether a stop was requested.
    """

    def __init__(
        self,
        study: optuna.Study,
        plan: Plan,
        trainer: Trainer,
        workspace: Workspace,
        *,
        interrupted: Callable[[], bool],
    ) -> None:
        self._study, self._plan, self._trainer, self._workspace = study, plan, trainer, workspace
        self._interrupted = interrupted
        self.policies: dict[int, Path] = {}
        """The best policy of each candidate that was trained here."""

    def confirm(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Candidates with their scores on fresh seeds; fewer if a stop was requested meanwhile.

        Raises:
            SearchError: A training failed.
        """
        done: list[Candidate] = []
        for candidate in candidates:
            try:
                done.append(self._one(candidate))
            except Interrupted:
                break
        return done

    def _one(self, candidate: Candidate) -> Candidate:
        """One candidate; hyperparameters that diverge on one seed in a few are out of the running."""
        runs: list[FreshRun] = []
        error = None
        for seed in self._plan.fresh_seeds:
            try:
                runs.append(self._train(candidate, seed))
            except NumericalDivergence as divergence:
                error = f"diverged on fresh seed {seed}: {divergence.message}"
                break
            self._keep_best(candidate.number, runs)
        scores = tuple(run.score for run in runs)
        return dataclasses.replace(
            candidate,
            fresh_seeds=self._plan.fresh_seeds,
            fresh_scores=scores,
            fresh=interval_of(scores, self._plan.aggregate) if error is None else None,
            error=error,
        )

    def _keep_best(self, number: int, runs: Sequence[FreshRun]) -> None:
        here = [(self._plan.sign * run.score, run.weights) for run in runs if run.weights is not None]
        here = [(score, path) for score, path in here if path.exists()]
        if here:
            self.policies[number] = max(here)[1]
        self._workspace.tidy(*self.policies.values())

    def _train(self, candidate: Candidate, seed: int) -> FreshRun:
        key = f"{FRESH}{candidate.number}:{seed}"
        stored = self._study.user_attrs.get(key)
        if stored is not None:
            return FreshRun(score=float(stored["score"]), weights=None)
        place = self._workspace.path / f"fresh-{candidate.number}-{seed}"
        try:
            outcome = self._trainer.train(candidate.params, seed, place, self._watch)
        except (NumericalDivergence, Interrupted):
            raise
        except Exception as error:
            raise SearchError(
                f"trial {candidate.number} failed when it was trained again on fresh seed {seed}:\n"
                f"{traceback_of(error)}"
            ) from error
        self._study.set_user_attr(key, {"score": outcome.score, "steps": outcome.steps})
        return FreshRun(score=outcome.score, weights=outcome.weights)

    def _watch(self, steps: int, score: float | None) -> None:
        del steps, score
        if self._interrupted():
            raise Interrupted


def candidates_of(records: Sequence[TrialRecord], plan: Plan) -> list[Candidate]:
    """The best completed trials with different hyperparameters, best first, as many as the plan wants confirmed.

    Raises:
        SearchError: No trial was completed.
    """
    complete = [
        Candidate(number=r.number, params=r.params, search_score=r.score)
        for r in records
        if r.state == "complete" and r.score is not None
    ]
    if not complete:
        states = [record.state for record in records]
        counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
        raise SearchError(
            f"no trial was completed: {counts or 'there were no trials'}. Give the search more trials or more "
            "trial_steps, or narrow its ranges."
        )
    found: list[Candidate] = []
    for candidate in ranked(complete, sign=plan.sign):
        new = all(dict(candidate.params) != dict(other.params) for other in found)
        if new and len(found) < max(1, plan.top_k):
            found.append(candidate)
    return found


def ranked(candidates: Sequence[Candidate], *, sign: float) -> list[Candidate]:
    """Best first, equal ones in the order of their trials; those out of the running last."""

    def place(candidate: Candidate) -> tuple[bool, float, int]:
        out = candidate.error is not None
        return out, math.inf if out else -sign * candidate.score, candidate.number

    return sorted(candidates, key=place)


def lead(order: Sequence[Candidate], how: Aggregate) -> Comparison | None:
    """By how much the first is ahead of the second, seed by seed; None if that cannot be said."""
    valid = [c for c in order[:2] if c.error is None and c.fresh is not None]
    if len(valid) < 2:
        return None
    first, second = valid[0].fresh_scores, valid[1].fresh_scores
    if how == "mean":
        return compare_returns(first, second, paired=True, confidence=0.95)
    interval = interval_of([a - b for a, b in zip(first, second, strict=True)], how)
    return Comparison(difference=interval.mean, low=interval.low, high=interval.high, episodes=interval.n)
