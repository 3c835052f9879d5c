"""What a search found, with everything needed to judge it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optix_core.errors import ConfigError
from optix_core.stats.comparison import Comparison, MeanInterval


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trial of the search.

    Attributes:
        number: Its number in the study.
        state: ``complete``, ``pruned``, ``diverged`` (its training gave no finite numbers), ``failed`` (it raised),
            ``returned`` (its process died or was interrupted; its parameters were queued again), ``running`` or
            ``waiting``.
        params: Hyperparameters.
        score: What it was worth: over its seeds where it is complete, the last report where it was pruned, else None.
        seed_scores: The score of each seed that was trained to the end.
        steps: Environment steps learned from.
        seconds: How long it took; None while it runs.
        error: What went wrong, if something did.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    score: float | None = None
    seed_scores: tuple[float, ...] = ()
    steps: int = 0
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One of the best trials, trained again on seeds that the search never used.

    Attributes:
        number: The trial.
        params: Its hyperparameters.
        search_score: What the search thought it was worth.
        fresh_seeds: The seeds it was trained on again.
        fresh_scores: What came of each; shorter than ``fresh_seeds`` if one failed.
        fresh: Their aggregate with its 95 % interval; None if there are none.
        error: Why it is out of the running, if it is.
    """

    number: int
    params: Mapping[str, Any]
    search_score: float
    fresh_seeds: tuple[int, ...] = ()
    fresh_scores: tuple[float, ...] = ()
    fresh: MeanInterval | None = None
    error: str | None = None

    @property
    def score(self) -> float:
        """The fresh score where there is one, else that of the search."""
        return self.search_score if self.fresh is None else self.fresh.mean

    @property
    def optimism(self) -> Comparison | None:
        """Search score minus fresh score, with the interval that the fresh score's uncertainty leaves; None without.

        The search picks the highest of many noisy scores, so it promises too much (winner's curse). This is how much.
        """
        if self.fresh is None:
            return None
        return Comparison(
            difference=self.search_score - self.fresh.mean,
            low=self.search_score - self.fresh.high,
            high=self.search_score - self.fresh.low,
            episodes=self.fresh.n,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchReport:
    """The result of a search.

    Attributes:
        study: Its name.
        direction: ``maximize`` or ``minimize``.
        trial_steps: Environment steps of one training.
        n_seeds: Seeds per trial.
        aggregate: How the scores of seeds become one.
        trials: Every trial of the study, also those of other processes.
        candidates: The best trials, the winner first.
        runner_up: Fresh score of the winner minus that of the second, seed by seed, with a 95 % interval; None
            without two candidates on the same seeds.
        steps: Environment steps learned from, by all processes, in trials and on fresh seeds.
        seconds: What this process took.
    """

    study: str
    direction: str
    trial_steps: int
    n_seeds: int
    aggregate: str
    trials: tuple[TrialRecord, ...]
    candidates: tuple[Candidate, ...]
    runner_up: Comparison | None
    steps: int
    seconds: float

    @property
    def winner(self) -> Candidate:
        """The trial to use."""
        return self.candidates[0]

    def count(self, *states: str) -> int:
        """Trials in these states."""
        return sum(trial.state in states for trial in self.trials)

    def as_data(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "study": self.study,
            "direction": self.direction,
            "trial_steps": self.trial_steps,
            "n_seeds": self.n_seeds,
            "aggregate": self.aggregate,
            "trials": [asdict(trial) for trial in self.trials],
            "winner": candidate_data(self.winner),
            "candidates": [candidate_data(candidate) for candidate in self.candidates],
            "runner_up": None if self.runner_up is None else comparison_data(self.runner_up),
            "steps": self.steps,
            "seconds": self.seconds,
        }

    def lines(self) -> list[str]:
        """What a person wants to know, without the table of trials."""
        counts = ", ".join(
            f"{self.count(state)} {state}"
            for state in ("complete", "pruned", "diverged", "failed", "returned")
            if self.count(state)
        )
        best = self.winner
        found = [
            f"study    {self.study}: {counts}; {self.steps:,} environment steps",
            f"winner   trial {best.number}: " + ", ".join(f"{k} {shown(v)}" for k, v in best.params.items()),
        ]
        optimism = best.optimism
        if best.fresh is None or optimism is None:
            found.append(f"score    {shown(best.search_score)} in the search, not confirmed on fresh seeds")
            return found
        promised = f"the search promised {shown(best.search_score)}"
        found += [
            f"score    {span(best.fresh.mean, best.fresh.low, best.fresh.high)} over {best.fresh.n} fresh seeds",
            f"optimism {span(optimism.difference, optimism.low, optimism.high)}: {promised}",
        ]
        second = self.runner_up
        if second is not None:
            verdict = "ahead of" if second.decided else "not clearly ahead of"
            found.append(
                f"second   {verdict} trial {self.candidates[1].number}: "
                f"{span(second.difference, second.low, second.high)} over {second.episodes} paired seeds"
            )
        out = [c for c in self.candidates if c.error is not None]
        found += [f"out      trial {c.number}: {c.error}" for c in out]
        return found


def trials_frame(trials: Iterable[TrialRecord]) -> Any:
    """Every trial as a row of a pandas DataFrame.

    Raises:
        ConfigError: pandas is missing.
    """
    try:
        import pandas as pd  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "trials_dataframe() needs pandas: pip install pandas. Without it, report.trials has the same rows."
        ) from error
    rows: list[dict[str, Any]] = []
    for t in trials:
        row: dict[str, Any] = {"number": t.number, "state": t.state, "score": t.score, "steps": t.steps}
        rows.append({**row, "seconds": t.seconds, **{f"params_{k}": v for k, v in t.params.items()}})
    frame: Any = pd
    return frame.DataFrame(rows)


def candidate_data(candidate: Candidate) -> dict[str, Any]:
    """A candidate as plain data, with what follows from it."""
    optimism = candidate.optimism
    return {
        **asdict(candidate),
        "score": candidate.score,
        "optimism": None if optimism is None else comparison_data(optimism),
    }


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    return {**asdict(comparison), "decided": comparison.decided}


def shown(value: Any) -> str:
    """A value for a person."""
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value)
    )


def span(centre: float, low: float, high: float) -> str:
    """A number with its interval."""
    return f"{shown(centre)} [{shown(low)}, {shown(high)}]"
