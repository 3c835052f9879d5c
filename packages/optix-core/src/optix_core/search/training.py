"""One training of a search: an agent made from hyperparameters, a fixed budget, a score, and nothing left behind."""

from __future__ import annotations

import copy
import inspect
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from optix_core.errors import ConfigError
from optix_core.loop_callback import LoopCallback
from optix_core.rl_optimizer import RLOptimizer
from optix_core.search.seeded import accepts_seed, call_seeded

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.loop.result import RunResult
    from optix_core.types import EvalMetrics

CONFIRM_EPISODES = 20
"""Fresh episodes on which a trained policy is measured, unless told otherwise."""
WEIGHTS = "weights"
OURS = frozenset({
    "agent", "pipeline", "val_pipeline", "agent_factory", "pipeline_factory", "val_pipeline_factory", "param_space",
    "n_trials", "trial_steps_fraction", "trial_agent_factory", "search_options", "optimizer", "checkpoint_dir",
    "run_dir", "resume", "run_config", "seed", "max_steps", "checkpoint_score_fn", "handle_signals", "self",
})  # fmt: skip
"""Parameters of RLOptimizer that a search sets itself."""

Watch = Callable[[int, float | None], None]
"""Called after every window with the environment steps so far and the score if the window was evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one training came to.

    Attributes:
        score: What it is worth; higher is better unless the search has an objective of its own.
        steps: Environment steps learned from.
        validation_steps: Environment steps of evaluations.
        seconds: Run time.
        weights: What ``agent.save_weights`` wrote of the best policy.
    """

    score: float
    steps: int
    validation_steps: int
    seconds: float
    weights: Path


class NoScore(ConfigError):
    """A training ended without a finite score."""


class _Watcher(LoopCallback):
    critical: ClassVar[bool] = True

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.optimizer: RLOptimizer | None = None

    def on_episode_end(self, episode_id: int, eval_metrics: EvalMetrics | None) -> None:
        del episode_id
        loop = None if self.optimizer is None else self.optimizer.controller
        if loop is not None:
            self._watch(loop.progress.steps, None if eval_metrics is None else eval_metrics.primary_score)


class Trainer:
    """Trains with given hyperparameters, always under the same conditions.

    The tuner is off, convergence does not end the training early, and the budget of environment steps is met exactly
    where the pipeline can shorten its last window.

    Args:
        agent_factory: ``(params) -> agent``; a parameter named ``seed`` receives the training's seed.
        pipeline_factory: ``() -> pipeline``, likewise.
        val_pipeline_factory: ``() -> pipeline`` for validation, likewise; None: training windows decide.
        trial_steps: Environment steps of one training.
        options: Further arguments of :class:`~optix_core.rl_optimizer.RLOptimizer`.
        checkpoint_score_fn: As for RLOptimizer.
        objective: What a finished training is worth instead of its score.

    Raises:
        ConfigError: An option is unknown, or one that a search sets itself.
    """

    def __init__(
        self,
        agent_factory: Callable[..., BaseAgent],
        pipeline_factory: Callable[..., BasePipeline],
        val_pipeline_factory: Callable[..., BasePipeline] | None,
        *,
        trial_steps: int,
        options: Mapping[str, Any],
        checkpoint_score_fn: Callable[[BaseAgent], float] | None,
        objective: Callable[[RunResult], float] | None,
    ) -> None:
        self._agent_factory = agent_factory
        self._pipeline_factory = pipeline_factory
        self._val_pipeline_factory = val_pipeline_factory
        self._trial_steps = trial_steps
        self._options: dict[str, Any] = {
            "keep_watching": True,
            "probe_windows": 0,
            "confirm_episodes": CONFIRM_EPISODES,
            "checkpoint_every": 1_000_000_000,
            "max_snapshots": 1,
            "durability": "process",
            **checked_options(options),
        }
        self._checkpoint_score_fn = checkpoint_score_fn
        self._objective = objective
        self._root_seeds: dict[int, int] = {}

    def train(self, params: Mapping[str, Any], seed: int, place: Path, watch: Watch) -> Outcome:
        """Train once in the directory ``place``, which must not exist.

        Whatever happens, environments and agent are released.

        Raises:
            NoScore: There was no finite score.
            Exception: As the agent, the environment or ``watch`` did.
        """
        begun = time.monotonic()
        agent = call_seeded(self._agent_factory, seed, dict(params))
        pipelines: list[BasePipeline] = []
        try:
            check_in_force(agent, params)
            pipeline = call_seeded(self._pipeline_factory, seed)
            pipelines.append(pipeline)
            self._check_seed(pipeline, seed)
            validation = None
            if self._val_pipeline_factory is not None:
                validation = call_seeded(self._val_pipeline_factory, seed)
                pipelines.append(validation)
            watcher = _Watcher(watch)
            options = {
                name: copy.deepcopy(v) if name == "evaluator" else v for name, v in self._options.items()
            }
            optimizer = RLOptimizer(
                agent,
                pipeline,
                optimizer="fixed",
                val_pipeline=validation,
                checkpoint_score_fn=self._checkpoint_score_fn,
                max_steps=self._trial_steps,
                callbacks=[watcher, *options.pop("callbacks", ())],
                run_dir=place,
                handle_signals=False,
                seed=seed,
                **options,
            )
            watcher.optimizer = optimizer
            result = optimizer.run()
            weights = place / WEIGHTS
            agent.save_weights(str(weights))
            return Outcome(
                score=self._score(result),
                steps=result.steps,
                validation_steps=result.validation_steps,
                seconds=time.monotonic() - begun,
                weights=weights,
            )
        finally:
            for made in pipelines:
                made.teardown()  # the loop has done so already if it ran; twice is safe
            agent.teardown()

    def _score(self, result: RunResult) -> float:
        if self._objective is not None:
            score, what = float(self._objective(result)), "the objective gave"
        elif result.confirmation is not None and self._checkpoint_score_fn is None:
            score, what = result.confirmation.mean, "the confirmed score is"
        else:
            score = math.nan if result.best_score is None else float(result.best_score)
            what = "the best score is"
        if not math.isfinite(score):
            raise NoScore(
                f"{what} {score} after {result.steps:,} steps and {result.episodes} complete episodes. A trial needs "
                "at least one complete episode and a finite return: raise trial_steps, or look at the environment's "
                "rewards."
            )
        return score

    def _check_seed(self, pipeline: BasePipeline, seed: int) -> None:
        """Different seeds must give different episodes, or several seeds would be one measurement repeated."""
        root = getattr(pipeline, "root_seed", None)
        if not isinstance(root, int) or accepts_seed(self._pipeline_factory):
            return
        other = next((s for s, r in self._root_seeds.items() if r == root and s != seed), None)
        self._root_seeds[seed] = root
        if other is not None:
            raise ConfigError(
                f"pipeline_factory makes the same seed ({root}) every time, so several seeds would repeat one "
                "measurement. Give it a parameter seed=None and pass that on: "
                "lambda seed=None: BatchPipeline(make_env(), window_size=..., seed=seed)"
            )


def checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` if RLOptimizer has all of them and none is a search's own.

    Raises:
        ConfigError: Otherwise.
    """
    known = set(inspect.signature(RLOptimizer.__init__).parameters)
    for name in options:
        if name in OURS:
            raise ConfigError(f"rloptimizer_kwargs: {name} is set by the search itself; leave it out")
        if name not in known:
            from optix_core.plugins.hints import did_you_mean

            raise ConfigError(
                f"rloptimizer_kwargs: RLOptimizer has no {name!r}.{did_you_mean(name, known - OURS)}"
            )
    return dict(options)


def check_in_force(agent: BaseAgent, params: Mapping[str, Any]) -> None:
    """Make sure that ``agent`` has the values it was asked for; a factory that drops them makes a search pointless.

    Names that are no hyperparameters of the agent (a layer's size, say) cannot be checked.

    Raises:
        ConfigError: A value differs.
    """
    in_force = agent.get_hyperparams().params
    for name, wanted in params.items():
        found = in_force.get(name, wanted)
        same = found == wanted
        if not same and _is_number(found) and _is_number(wanted):
            same = math.isclose(found, wanted, rel_tol=1e-5)
        if not same:
            raise ConfigError(
                f"agent_factory was given {name}={wanted!r}, but the agent it made has {found!r}. Let it pass on what "
                "it is given: lambda params: make_agent(env, **params)"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
