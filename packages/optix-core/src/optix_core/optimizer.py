"""The one-line way in: an agent, an environment, and :meth:`Optimizer.run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from optix_core.errors import ConfigError
from optix_core.rl_optimizer import DEFAULT_ROOT, RLOptimizer
from optix_core.seeding import fresh_root_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from optix_core.base_agent import BaseAgent
    from optix_core.base_pipeline import BasePipeline
    from optix_core.loop.backoff_scheduler import BackoffScheduler
    from optix_core.loop.loop_controller import LoopController
    from optix_core.loop.result import RunResult
    from optix_core.loop_callback import LoopCallback
    from optix_core.search.warm_start import StartingPoint
    from optix_core.types import LoopState, PolicySnapshot

MIN_STEPS_PER_ENV = 128


class Optimizer:
    """Trains ``agent`` in ``env`` until the loop decides that training is done.

    ``Optimizer(make_agent(env), env).run()`` is all that is needed: windows, validation on separate
    environments, tuning, checkpoints and the decision to stop are set up from what the agent and the
    environment say of themselves.

    Args:
        agent: What learns.
        env: An environment, its registered id, a callable that makes one, or a list of ``n_envs`` callables.
        n_envs: Environments stepped together, at least 1.
        window_size: Steps per environment in one window. By default
            :func:`~optix_core.window_size.optimal_window_size`, shared among the
            environments but not below 128 for each.
        max_episodes: Windows to learn from at most.
        callbacks: Observers.
        rollback_on_degradation: Restore the best policy (weights, optimizer, hyperparameters, normalisers) on a
            confirmed drop. None: if drops are measured on validation episodes and the agent has ``state_dict``.
        checkpoint_dir: Parent of the run's directory.
        validation_episodes: Complete greedy episodes per validation; 0 lets the training windows' own scores decide.
        seed: Root seed of environments, validation and tuner (the agent has its own); recorded in the run.
            Fresh if None.
        async_envs: Step the environments in processes of their own (pays for expensive environments only).
        pipeline_options: Further arguments of the training pipeline, for example ``on_env_error="restart"``.
        runner: Who collects: the name of a runner such as ``"async"`` (from optix-distributed), whose processes step
            environments while the agent learns. None: this process does.
        runner_options: The runner's options, for example ``{"actors": 8}``.
        **kwargs: Everything that :class:`~optix_core.rl_optimizer.RLOptimizer` takes.

    Raises:
        ConfigError: Arguments that contradict each other.
    """

    def __init__(
        self,
        agent: BaseAgent,
        env: Any,
        n_envs: int = 1,
        window_size: int | None = None,
        max_episodes: int | None = None,
        callbacks: Iterable[LoopCallback] | None = None,
        rollback_on_degradation: bool | None = None,
        checkpoint_dir: str | Path = DEFAULT_ROOT,
        *,
        validation_episodes: int = 10,
        seed: int | None = None,
        async_envs: bool = False,
        pipeline_options: dict[str, Any] | None = None,
        runner: str | None = None,
        runner_options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if n_envs < 1:
            raise ConfigError(f"n_envs is {n_envs}; expected at least 1")
        if runner is None and runner_options:
            raise ConfigError(
                f"runner_options ({', '.join(runner_options)}) need runner=, the name of a runner"
            )
        if runner is not None and async_envs:
            raise ConfigError("runner= has its own processes for environments; leave async_envs=False")
        self.seed = fresh_root_seed() if seed is None else seed
        factories = env_factories(env, n_envs)
        record: dict[str, Any] = {"n_envs": n_envs, "env": env_name(env)}
        if runner is None:
            if window_size is None:
                window_size = default_window(agent, factories)
            pipeline = training_pipeline(
                factories,
                window_size,
                agent=agent,
                env=env,
                seed=self.seed,
                async_envs=async_envs,
                options=pipeline_options or {},
            )
        else:
            from optix_core.runner import RunnerContext, runner_pipeline

            ctx = RunnerContext(
                agent=agent,
                env_factories=factories,
                window_size=window_size,
                seed=self.seed,
                pipeline_options=pipeline_options or {},
            )
            pipeline = runner_pipeline(runner, ctx, runner_options or {})
            record["runner"] = {"name": runner, **(runner_options or {})}
        if "val_pipeline" not in kwargs and "val_pipeline_factory" not in kwargs and validation_episodes > 0:
            kwargs["val_pipeline"] = validation_pipeline(factories[0], validation_episodes, self.seed)
        record["window_size"] = window_size
        self._inner = RLOptimizer(
            agent,
            pipeline,
            max_episodes=max_episodes,
            callbacks=callbacks,
            rollback_on_degradation=rollback_on_degradation,
            checkpoint_dir=checkpoint_dir,
            seed=self.seed,
            run_config={**record, **(kwargs.pop("run_config", None) or {})},
            **kwargs,
        )

    def run(self) -> RunResult:
        """Train until the loop stops; see :meth:`optix_core.rl_optimizer.RLOptimizer.run`."""
        return self._inner.run()

    def start_from(self, start: StartingPoint) -> None:
        """Begin with what a search found; see :meth:`optix_core.rl_optimizer.RLOptimizer.start_from`."""
        self._inner.start_from(start)

    def stop(self) -> None:
        """Ask the run to end after the window under way."""
        self._inner.stop()

    def add_callback(self, callback: LoopCallback) -> None:
        """Let ``callback`` hear everything from now on."""
        self._inner.add_callback(callback)

    @property
    def agent(self) -> BaseAgent:
        """The agent in training; after :meth:`run` it has the best weights."""
        return self._inner.agent

    @property
    def state(self) -> LoopState:
        """Where the state machine stands."""
        return self._inner.state

    @property
    def scheduler(self) -> BackoffScheduler:
        """The holder of the state machine."""
        return self._inner.scheduler

    @property
    def best_snapshot(self) -> PolicySnapshot | None:
        """The best stored policy, None before there is one."""
        return self._inner.best_snapshot

    @property
    def controller(self) -> LoopController | None:
        """The loop itself; None before :meth:`run`."""
        return self._inner.controller

    @property
    def run_dir(self) -> Path | None:
        """Where the run lies."""
        return self._inner.run_dir


def env_name(env: Any) -> str | None:
    """The registered id of ``env`` if it is one or has one."""
    if isinstance(env, str):
        return env
    spec = getattr(env, "spec", None)
    return None if spec is None else str(spec.id)


def env_factories(env: Any, n_envs: int) -> list[Callable[[], Any]]:
    """``n_envs`` callables that each make a fresh environment like ``env``.

    Raises:
        ConfigError: A list of the wrong length, or one environment object that cannot be made again.
    """
    if isinstance(env, list | tuple):
        makers = list(cast("Sequence[Any]", env))
        if len(makers) != n_envs or not all(callable(maker) for maker in makers):
            raise ConfigError(
                f"env is a list of {len(makers)}; expected n_envs={n_envs} callables that each make one environment"
            )
        return makers
    if isinstance(env, str):
        from optix_core.plugins.envs import make_env

        return [lambda: make_env(env)] * n_envs
    from optix_core.pipelines.factories import check_env, is_environment, require_factory

    candidate: Any = env
    if callable(candidate) and not is_environment(candidate):
        return [candidate] * n_envs
    check_env(candidate)
    return [require_factory(env, None, "separate validation, resuming or n_envs > 1")] * n_envs


def default_window(agent: BaseAgent, factories: Sequence[Callable[[], Any]]) -> int:
    """Steps per environment in one window where nobody says how many."""
    total = _optimal_window(agent, factories[0])
    return total if len(factories) == 1 else max(MIN_STEPS_PER_ENV, total // len(factories))


def training_pipeline(
    factories: list[Callable[[], Any]],
    window_size: int,
    *,
    agent: BaseAgent | None = None,
    env: Any = None,
    seed: int,
    async_envs: bool,
    options: dict[str, Any],
) -> BasePipeline:
    """Windows from as many environments as there are factories; ``env``, if it is an environment, is used first."""
    if len(factories) == 1 and not async_envs:
        from optix_core.pipelines.batch import BatchPipeline
        from optix_core.pipelines.factories import is_environment

        own = env if is_environment(env) else factories[0]()
        return BatchPipeline(own, agent, window_size, seed=seed, env_factory=factories[0], **options)
    from optix_core.pipelines.vector import VectorBatchPipeline

    return VectorBatchPipeline(factories, agent, window_size, async_envs, seed=seed, **options)


def _optimal_window(agent: BaseAgent, factory: Callable[[], Any]) -> int:
    """Steps per window for what ``agent`` is: by its declared algorithm, else by whether it is on-policy."""
    from optix_core.factory import spec_info_of
    from optix_core.window_size import optimal_window_size

    declared = (spec_info_of(agent) or {}).get("algorithm")
    env = factory()
    try:
        return optimal_window_size(env, declared or ("ppo" if agent.is_on_policy else "sac"))
    finally:
        env.close()


def validation_pipeline(factory: Callable[[], Any], episodes: int, seed: int) -> BasePipeline:
    """Complete greedy episodes on environments of their own."""
    from optix_core.pipelines.evaluation import EvaluationPipeline

    return EvaluationPipeline(factory, episodes=episodes, seed=seed)
