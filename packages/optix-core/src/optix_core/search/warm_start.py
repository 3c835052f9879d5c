"""From a search to the main run: the winner's hyperparameters, and its weights to begin with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from optix_core.errors import ConfigError, ResumeError, SearchError
from optix_core.search.orchestrator import TrialOrchestrator
from optix_core.search.seeded import call_seeded
from optix_core.search.training import check_in_force

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.runs.run_directory import RunInfo

DEFAULT_WINDOWS = 30
"""Windows of one trial where the main run has no budget to take a fraction of."""
RECORD = "search"
"""Where the configuration in ``run.json`` says what a search found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingPoint:
    """What a search found for a run to begin with.

    Attributes:
        trial: The winning trial.
        params: Its hyperparameters.
        score: Its score, on fresh seeds if it was confirmed.
        study: The study's name.
        weights: What its agent saved; None to begin with fresh weights.
    """

    trial: int
    params: Mapping[str, Any]
    score: float
    study: str
    weights: Path | None

    @classmethod
    def of(cls, search: TrialOrchestrator, *, weights: bool = True) -> StartingPoint:
        """The winner of a search that has ended."""
        winner = search.report.winner
        return cls(
            trial=winner.number,
            params=dict(winner.params),
            score=winner.score,
            study=search.study_name,
            weights=search.winner_weights() if weights else None,
        )

    @property
    def numbers(self) -> dict[str, Any]:
        """What the decision log keeps."""
        return {
            "trial": self.trial,
            "params": dict(self.params),
            "score": self.score,
            "study": self.study,
            "weights": self.weights is not None,
        }

    def give_to(self, agent: BaseAgent) -> None:
        """Make sure that ``agent`` has the hyperparameters, and load the weights.

        Raises:
            SearchError: They do not fit.
            ConfigError: The agent has other hyperparameters.
        """
        check_in_force(agent, self.params)
        if self.weights is None:
            return
        try:
            agent.load_weights(str(self.weights))
        except Exception as error:
            raise SearchError(
                f"the weights of trial {self.trial} cannot be loaded into {type(agent).__name__}: {error} If trials "
                "use another architecture on purpose (trial_agent_factory), take only the winner's hyperparameters: "
                "warm_start=False.",
                code="E-WARM-START",
            ) from error


class FactorySearch:
    """The search that RLOptimizer makes before the main run when it is given factories and ``param_space``.

    Args:
        agent_factory: ``(params) -> agent`` of the main run.
        pipeline_factory: ``() -> pipeline``.
        val_pipeline_factory: ``() -> pipeline`` for validation, or None.
        trial_agent_factory: Instead of ``agent_factory`` in trials, or None.
        param_space: See :mod:`~optix_core.search.space`; ``"declared"``: what the agent declares as tunable.
        n_trials: Trials.
        trial_steps_fraction: Environment steps of one trial, as a share of the main run's budget, in (0, 1].
        max_steps: That budget, in environment steps.
        max_windows: Or in windows.
        seed: Root seed, or None.
        warm_start: Begin with the winner's weights.
        checkpoint_score_fn: As for the main run.
        handle_signals: As for the main run.
        options: Further arguments of :class:`~optix_core.search.orchestrator.TrialOrchestrator`.
        run_options: Options of the main run that trials share.

    Raises:
        ConfigError: An argument cannot be, or Optuna is missing.
    """

    def __init__(
        self,
        agent_factory: Callable[..., BaseAgent],
        pipeline_factory: Callable[..., BasePipeline],
        val_pipeline_factory: Callable[..., BasePipeline] | None,
        trial_agent_factory: Callable[..., BaseAgent] | None,
        *,
        param_space: Mapping[str, Any] | str,
        n_trials: int,
        trial_steps_fraction: float,
        max_steps: int | None,
        max_windows: int | None,
        seed: int | None,
        warm_start: bool,
        checkpoint_score_fn: Callable[[BaseAgent], float] | None,
        handle_signals: bool,
        options: Mapping[str, Any],
        run_options: Mapping[str, Any],
    ) -> None:
        if isinstance(param_space, str) and param_space != "declared":
            raise ConfigError(
                f'param_space is {param_space!r}; it must be a mapping of names to ranges, or "declared" for what the '
                "agent declares as tunable"
            )
        if not 0 < trial_steps_fraction <= 1:
            raise ConfigError(
                f"trial_steps_fraction is {trial_steps_fraction!r}; it must be above 0 and at most 1"
            )
        self._agent_factory, self._seed, self._warm_start = agent_factory, seed, warm_start
        given = _checked_options(options)
        nested = cast("Mapping[str, Any]", given.pop("rloptimizer_kwargs", None) or {})
        steps = given.pop("trial_steps", None)
        if steps is None:
            steps = trial_budget(pipeline_factory, trial_steps_fraction, max_steps, max_windows)
        extra: dict[str, Any] = {"seed": seed, "handle_signals": handle_signals, **given}
        self.search = TrialOrchestrator(
            trial_agent_factory or agent_factory,
            pipeline_factory,
            None if isinstance(param_space, str) else param_space,
            n_trials=n_trials,
            trial_steps=steps,
            val_pipeline_factory=val_pipeline_factory,
            rloptimizer_kwargs={**run_options, **nested},
            checkpoint_score_fn=checkpoint_score_fn,
            **extra,
        )

    def run(self) -> tuple[BaseAgent, StartingPoint]:
        """Search, then make the main run's agent.

        Raises:
            SearchError: Nothing was found, or the weights do not fit.
        """
        with self.search as search:
            search.run()
            start = StartingPoint.of(search, weights=self._warm_start)
            return self._agent_with(start), start

    def again(self, info: RunInfo, *, has_checkpoint: bool) -> BaseAgent:
        """The agent of a run that this search began, to be resumed.

        Raises:
            ResumeError: The run was not begun by a search, or has nothing to continue from.
        """
        found = info.config.get(RECORD)
        if not isinstance(found, dict):
            raise ResumeError(
                f"{info.name} was not begun by a search, so its hyperparameters are not those of a winner. Continue it "
                "without param_space."
            )
        if not has_checkpoint:
            raise ResumeError(
                f"{info.name} ended before its first checkpoint, and the weights that it began with are gone. Start a "
                "new run."
            )
        params = cast("dict[str, Any]", found)["params"]
        agent: BaseAgent = call_seeded(self._agent_factory, self._seed, dict(params))
        check_in_force(agent, params)
        return agent

    def _agent_with(self, start: StartingPoint) -> BaseAgent:
        agent: BaseAgent = call_seeded(self._agent_factory, self._seed, dict(start.params))
        try:
            start.give_to(agent)
        except BaseException:
            agent.teardown()
            raise
        return agent


def trial_budget(
    pipeline_factory: Callable[..., BasePipeline],
    fraction: float,
    max_steps: int | None,
    max_windows: int | None,
) -> int:
    """Environment steps of one trial: a share of the main run's budget, or 30 windows if it has none.

    Raises:
        ConfigError: Neither is known.
    """
    if max_steps is not None:
        return max(1, int(max_steps * fraction))
    pipeline = call_seeded(pipeline_factory, 0)
    try:
        per_window = cast("int | None", pipeline.steps_per_window)
    finally:
        pipeline.teardown()
    if per_window is None:
        raise ConfigError(
            "how long a trial may be is unknown: the run has no max_steps and its windows have no fixed length. Give "
            "max_steps, or search_options={'trial_steps': ...}"
        )
    return (
        DEFAULT_WINDOWS * per_window
        if max_windows is None
        else max(1, int(max_windows * per_window * fraction))
    )


def _checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    known = set(inspect.signature(TrialOrchestrator.__init__).parameters) - {"self"}
    taken = {
        "agent_factory": "agent_factory or trial_agent_factory",
        "pipeline_factory": "pipeline_factory",
        "val_pipeline_factory": "val_pipeline_factory",
        "param_space": "param_space",
        "n_trials": "n_trials",
        "checkpoint_score_fn": "checkpoint_score_fn",
    }
    for name in options:
        if name in taken:
            raise ConfigError(f"search_options: {name} is an argument of its own here: {taken[name]}")
        if name not in known:
            from optix_core.plugins.hints import did_you_mean

            raise ConfigError(
                f"search_options: TrialOrchestrator has no {name!r}.{did_you_mean(name, known)}"
            )
    return dict(options)
