"""Searching over whole trainings: propose, train, prune, and name a winner only after fresh seeds.

Holds the parts together: :mod:`~optix_core.search.shared` opens the study, :mod:`~optix_core.search.trials` runs its
trials, each of which :mod:`~optix_core.search.training` trains, and :mod:`~optix_core.search.winning` names the winner.
:mod:`~optix_core.search.sampling` proposes and prunes, :mod:`~optix_core.search.owners` lets processes share a study,
and :mod:`~optix_core.search.stopping` ends it early. Most of this module's length is the description of its arguments.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Callable, Collection, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from optix_core.errors import ConfigError, SearchError
from optix_core.search.plan import Direction, Plan, Workspace
from optix_core.search.report import SearchReport, TrialRecord, trials_frame
from optix_core.search.scoring import Aggregate
from optix_core.search.stopping import Stopping
from optix_core.search.training import Trainer

if TYPE_CHECKING:
    import optuna

    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.loop.result import RunResult


class TrialOrchestrator:
    """Finds hyperparameters by training many times for a short while.

    Each trial trains a fresh agent for exactly ``trial_steps`` environment steps on each of ``n_seeds`` seeds, with the
    tuner off. TPE proposes the next one, hopeless ones are pruned. Then the ``top_k`` best are trained again on
    ``confirm_seeds`` seeds that the search never used, and the best of these wins. What it scores there is what is
    reported, with the difference from what the search promised.

    Args:
        agent_factory: ``(params) -> agent``. A parameter named ``seed`` receives the training's seed.
        pipeline_factory: ``() -> pipeline`` to train on; a parameter named ``seed`` likewise.
        param_space: What to vary, see :mod:`~optix_core.search.space`. None: what the agent declares as tunable.
        n_trials: Trials to complete or prune, over all processes that share the study, at least 1.
        trial_steps: Environment steps of one training, at least 1.
        direction: ``"maximize"``; ``"minimize"`` needs an ``objective``, as scores of the loop are maximised.
        n_startup_trials: Trials drawn at random, and never pruned, before the others are used.
        pruner_warmup_steps: A training is compared with others after each twentieth of its budget; the first
            comparison comes after so many of these.
        pruner_interval: Twentieths between two comparisons, at least 1.
        optuna_verbosity: Optuna's log level while this works; None: warnings.
        rloptimizer_kwargs: Further arguments of :class:`~optix_core.rl_optimizer.RLOptimizer` in trials.
        val_pipeline_factory: ``() -> pipeline`` whose episodes decide, likewise; None: training windows do.
        checkpoint_score_fn: ``agent -> float``; replaces the score.
        study_name: Names the study in ``storage``; one that exists is continued. None: a new unique name.
        storage: Where trials are kept: a URL such as ``"sqlite:///trials.db"``, ``"journal:FILE"``, an Optuna storage,
            or None for memory. Several processes with the same storage and ``study_name`` share the work.
        seed: Root seed of proposals and trainings. None: derived from ``study_name``.
        n_seeds: Seeds per trial; the same for all trials, so that they are compared on equal terms.
        aggregate: ``"mean"`` or ``"iqm"`` (interquartile mean) over seeds.
        top_k: How many of the best are trained again on fresh seeds; 0: none, the search's own best wins.
        confirm_seeds: Fresh seeds for each of them; 0 as for ``top_k``. Fewer than 3 give no interval.
        max_errors: So many trials in a row that raise end the search.
        sampler: ``"tpe"``, ``"random"``, or a function from a seed to an Optuna sampler.
        pruner: ``"median"``, ``"wilcoxon"`` (for several seeds: compares whole seeds), ``"none"``, or an Optuna pruner.
        timeout: Seconds after which no further trial begins.
        objective: What a training's result is worth, instead of its score. Trials are not pruned then.
        workdir: Where trainings keep their files; a temporary directory by default.
        keep_trials: Keep the directory, with the decision log, of every training.
        stale_after: Seconds without a sign of life after which another machine's trial is given up.
        handle_signals: On SIGINT, SIGTERM and SIGHUP give the trial back first (main thread only).
        on_trial: Called with the record of every trial that this process ended.

    Raises:
        ConfigError: Optuna is missing, or an argument cannot be.
    """

    def __init__(
        self,
        agent_factory: Callable[..., BaseAgent],
        pipeline_factory: Callable[..., BasePipeline],
        param_space: Mapping[str, Any] | None = None,
        n_trials: int = 20,
        trial_steps: int = 50_000,
        direction: Direction = "maximize",
        n_startup_trials: int = 10,
        pruner_warmup_steps: int = 5,
        pruner_interval: int = 1,
        optuna_verbosity: int | None = None,
        rloptimizer_kwargs: Mapping[str, Any] | None = None,
        val_pipeline_factory: Callable[..., BasePipeline] | None = None,
        checkpoint_score_fn: Callable[[BaseAgent], float] | None = None,
        study_name: str | None = None,
        storage: Any = None,
        *,
        seed: int | None = None,
        n_seeds: int = 1,
        aggregate: Aggregate = "mean",
        top_k: int = 3,
        confirm_seeds: int = 5,
        max_errors: int = 3,
        sampler: Any = "tpe",
        pruner: Any = "median",
        timeout: float | None = None,
        objective: Callable[[RunResult], float] | None = None,
        workdir: str | Path | None = None,
        keep_trials: bool = False,
        stale_after: float = 600.0,
        handle_signals: bool = True,
        on_trial: Callable[[TrialRecord], None] | None = None,
    ) -> None:
        require_optuna()
        from optix_core.search.shared import SharedStudy
        from optix_core.search.study import seed_of, unique_name

        name = study_name or unique_name()
        self._plan = Plan(
            study_name=name,
            seed=seed_of(name) if seed is None else seed,
            n_trials=n_trials,
            trial_steps=trial_steps,
            direction=direction,
            n_startup_trials=n_startup_trials,
            pruner_warmup_steps=pruner_warmup_steps,
            pruner_interval=pruner_interval,
            n_seeds=n_seeds,
            aggregate=aggregate,
            top_k=top_k,
            confirm_seeds=confirm_seeds,
            max_errors=max_errors,
            timeout=timeout,
            stale_after=stale_after,
        )
        if direction == "minimize" and objective is None:
            raise ConfigError(
                "direction='minimize' needs an objective: the loop keeps the policy with the highest score, so scores "
                "are maximised. Pass objective=lambda result: ... with what is to be small."
            )
        self._trainer = Trainer(
            agent_factory,
            pipeline_factory,
            val_pipeline_factory,
            trial_steps=trial_steps,
            options=rloptimizer_kwargs or {},
            checkpoint_score_fn=checkpoint_score_fn,
            objective=objective,
        )
        self._shared = SharedStudy(
            self._plan,
            storage,
            agent_factory,
            param_space,
            sampler=sampler,
            pruner=pruner if objective is None else "none",
        )
        self._stopping = Stopping(handle_signals=handle_signals)
        self._verbosity = optuna_verbosity
        self._workdir = None if workdir is None else Path(workdir)
        self._keep = keep_trials
        self._on_trial = on_trial
        self._study: optuna.Study | None = None
        self._report: SearchReport | None = None
        self._workspace: Workspace | None = None
        self._weights: Path | None = None

    # ---------------------------------------------------------------- what others see

    @property
    def study_name(self) -> str:
        """The study's name."""
        return self._plan.study_name

    @property
    def storage(self) -> Any:
        """Where trials are kept, as it was given."""
        return self._shared.storage

    @property
    def seed(self) -> int:
        """Root seed of proposals and trainings."""
        return self._plan.seed

    @property
    def study(self) -> optuna.Study | None:
        """The Optuna study; None before :meth:`run`."""
        return self._study

    @property
    def param_space(self) -> dict[str, tuple[Any, ...]] | None:
        """What is varied; None before :meth:`run` if it is to be taken from the agent."""
        space = self._shared.known_space
        return None if space is None else space.forms

    @property
    def report(self) -> SearchReport:
        """Everything that was found.

        Raises:
            SearchError: :meth:`run` has not ended well yet.
        """
        if self._report is None:
            raise SearchError("there is no report before run() has named a winner")
        return self._report

    @property
    def best_params(self) -> dict[str, Any] | None:
        """The winner's hyperparameters; None before there is one."""
        return None if self._report is None else dict(self._report.winner.params)

    @property
    def best_score(self) -> float | None:
        """The winner's score, on fresh seeds if it was confirmed; None before there is one."""
        return None if self._report is None else self._report.winner.score

    @property
    def best_weights_path(self) -> Path | None:
        """What the winner's ``agent.save_weights`` wrote; None if it was trained by another process.

        See :meth:`winner_weights`.
        """
        return self._weights

    @property
    def run_ckpt_dir(self) -> Path | None:
        """The directory with the winner's files; :meth:`cleanup` deletes it. None before :meth:`run` and after that."""
        return None if self._workspace is None else self._workspace.path

    def trials_dataframe(self) -> Any:
        """Every trial as a row of a pandas DataFrame.

        Raises:
            ConfigError: pandas is missing.
            SearchError: Before :meth:`run`.
        """
        return trials_frame(self.report.trials)

    def stop(self) -> None:
        """End the search: the trial under way is given back, and the best so far wins without fresh seeds."""
        self._stopping.request()

    def cleanup(self) -> None:
        """Delete the directory with the winner's files."""
        workspace, self._workspace, self._weights = self._workspace, None, None
        if workspace is not None:
            workspace.delete()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cleanup()

    # ---------------------------------------------------------------- the search

    def run(self) -> tuple[dict[str, Any], float]:
        """Search, confirm, and name the winner.

        Returns:
            Its hyperparameters and its score on fresh seeds; :attr:`report` has the rest.

        Raises:
            SearchError: Too many trials in a row failed (the last traceback is in the message), or none completed.
            ConfigError: The study belongs to something else, or the agent declares nothing to search.
            KeyboardInterrupt: SIGINT came; other signals raise SystemExit. The trial was given back.
        """
        from optix_core.search.winning import name_winner

        self._report = None
        begun = time.monotonic()
        with self._at_work():
            study, workspace = self._try_out()
            win = name_winner(
                study,
                self._shared.space,
                self._plan,
                self._trainer,
                workspace,
                stopping=self._stopping,
                begun=begun,
            )
            self._weights = win.weights
        self._report = win.report
        winner = win.report.winner
        return dict(winner.params), winner.score

    def work(self, seat: str | None = None) -> None:
        """Train trials until the study has enough, without naming a winner: what a process does that only helps.

        Args:
            seat: A name that one process has at a time; trials of whoever had it before are given back at once, also
                those of another machine.

        Raises:
            SearchError: Too many trials in a row failed.
            ConfigError: As for :meth:`run`.
            KeyboardInterrupt: SIGINT came; other signals raise SystemExit. The trial was given back.
        """
        try:
            with self._at_work():
                self._try_out(seat)
        finally:
            self.cleanup()

    def give_back(self, seats: Collection[str]) -> list[int]:
        """Give back the trials of whoever had one of these seats and is gone; their numbers.

        Raises:
            ConfigError: The study belongs to something else.
        """
        return self._shared.give_back(seats)

    def winner_weights(self) -> Path:
        """:attr:`best_weights_path`; the winner is trained again with the same seed if that was done elsewhere.

        Raises:
            SearchError: Before :meth:`run`, or after :meth:`cleanup`.
        """
        if self._workspace is None:
            raise SearchError("there are no weights before run(), and none after cleanup()")
        if self._weights is None:
            from optix_core.search.winning import train_again

            self._weights = train_again(self.report.winner, self._plan, self._trainer, self._workspace)
        return self._weights

    @contextlib.contextmanager
    def _at_work(self) -> Generator[None, None, None]:
        """Listens to signals, lets Optuna say what it may, and leaves no files behind if something is raised."""
        import optuna

        from optix_core.search.storage import optuna_says

        level = optuna.logging.WARNING if self._verbosity is None else self._verbosity
        self.cleanup()
        try:
            with optuna_says(level), self._stopping.listening():
                yield
        except BaseException:
            self.cleanup()
            raise

    def _try_out(self, seat: str | None = None) -> tuple[optuna.Study, Workspace]:
        """Train trials until the study has enough."""
        from optix_core.search.trials import TrialLoop

        self._study = study = self._shared.open()
        self._workspace = workspace = Workspace(self._workdir, self.study_name, keep=self._keep)
        TrialLoop(
            study,
            self._shared.space,
            self._plan,
            self._trainer,
            workspace,
            interrupted=self._stopping,
            on_trial=self._on_trial,
            seat=seat,
        ).run()
        return study, workspace


def require_optuna() -> None:
    """Make sure that Optuna can be imported.

    Raises:
        ConfigError: It cannot.
    """
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "a search over trials needs Optuna, which is not installed: pip install 'optix-core[search]'",
            code="E-NO-OPTUNA",
        )
