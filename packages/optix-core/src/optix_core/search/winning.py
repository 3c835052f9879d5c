"""From the trials of a study to a winner: the best are trained on fresh seeds, and what comes of it is reported."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import optuna

from optix_core.errors import SearchError
from optix_core.search.confirming import Confirmer, candidates_of, lead, ranked
from optix_core.search.plan import Plan, Workspace
from optix_core.search.report import Candidate, SearchReport
from optix_core.search.space import SearchSpace
from optix_core.search.stopping import Stopping
from optix_core.search.study import fresh_steps, records_of
from optix_core.search.training import Trainer


@dataclass(frozen=True, slots=True, kw_only=True)
class Win:
    """How a search ended.

    Attributes:
        report: Everything that was found.
        weights: The winner's best policy, if this process trained it.
    """

    report: SearchReport
    weights: Path | None


def name_winner(
    study: optuna.Study,
    space: SearchSpace,
    plan: Plan,
    trainer: Trainer,
    workspace: Workspace,
    *,
    stopping: Stopping,
    begun: float,
) -> Win:
    """Train the best trials on fresh seeds, name the winner, and keep only its files.

    Args:
        study: With its trials.
        space: What they varied.
        plan: The numbers.
        trainer: Trains once.
        workspace: Where trainings keep their files.
        stopping: Once somebody has asked to stop, what is confirmed by then decides, else the search's own order.
        begun: When the search began, in seconds of ``time.monotonic``.

    Raises:
        SearchError: No trial was completed, a training failed, or none of the best can be relied on.
        KeyboardInterrupt: SIGINT came; other signals raise SystemExit.
    """
    stopping.raise_signal()
    records = records_of(study, space)
    order = candidates_of(records, plan)
    confirmer = Confirmer(study, plan, trainer, workspace, interrupted=stopping)
    if plan.confirms and not stopping.requested:
        order = ranked(confirmer.confirm(order), sign=plan.sign) or order
    stopping.raise_signal()
    winner = order[0]
    if winner.error is not None:
        raise SearchError(
            f"none of the {len(order)} best trials can be relied on: {winner.error}. Narrow the ranges, or let "
            "trials use more seeds (n_seeds), so that such hyperparameters are found out earlier."
        )
    leader = workspace.leader
    here = leader[2] if leader is not None and leader[0] == winner.number else None
    weights = confirmer.policies.get(winner.number, here)
    workspace.crown(weights)
    report = SearchReport(
        study=plan.study_name,
        direction=plan.direction,
        trial_steps=plan.trial_steps,
        n_seeds=plan.n_seeds,
        aggregate=plan.aggregate,
        trials=records,
        candidates=tuple(order),
        runner_up=lead(order, plan.aggregate),
        steps=sum(record.steps for record in records) + fresh_steps(study),
        seconds=time.monotonic() - begun,
    )
    return Win(report=report, weights=weights)


def train_again(winner: Candidate, plan: Plan, trainer: Trainer, workspace: Workspace) -> Path:
    """Train the winner once more on the seed it did best on; returns what ``agent.save_weights`` wrote.

    Raises:
        Exception: As the agent or the environment did.
    """
    seed = plan.search_seeds[0]
    if winner.fresh_scores:
        scores = [plan.sign * score for score in winner.fresh_scores]
        seed = winner.fresh_seeds[scores.index(max(scores))]
    place = workspace.path / f"again-{winner.number}-{seed}"
    return trainer.train(winner.params, seed, place, lambda _steps, _score: None).weights
