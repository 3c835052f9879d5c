"""One environment, one window at a time."""

from __future__ import annotations

from optix_core.base_agent import BaseAgent
from optix_core.pipelines.factories import Env, EnvFactory, env_factory_of, require_factory
from optix_core.pipelines.faults import OnEnvError, OnNonFinite
from optix_core.pipelines.stepping import ListStepper
from optix_core.pipelines.stepping_pipeline import SteppingPipeline
from optix_core.pipelines.window import flattened
from optix_core.types import EpisodeData


class BatchPipeline(SteppingPipeline):
    """Steps one environment; yields flat windows ``[T, ...]`` of exactly ``window_size`` steps.

    The environment runs on over window borders. It is reset where an episode ends, always with ``reset(seed=...)``
    and a seed derived from ``seed`` and the number of the episode, so the same seed gives the same windows and a
    resumed run continues inside its episode.

    Observations with parts are records (:mod:`optix_core.rl.structured`). Where the environment offers action masks and
    the agent says ``accepts_action_masks``, they are records of observation and mask (:mod:`optix_core.rl.masking`).
    The memory of a recurrent agent is kept here and recorded in ``hidden_states``.

    Args:
        env: The environment. The pipeline steps and closes it; nothing else should.
        agent: Who acts; may be set later with :meth:`set_agent`. Only ``act`` is needed.
        window_size: Steps per window, T.
        seed: Root seed; a fresh one if None (see :attr:`root_seed`).
        env_factory: Builds another environment like ``env``. Needed for restarts, for ``fresh_env_per_episode``
            and to resume with certainty; derived from ``env.spec`` where that is possible.
        on_env_error: ``raise``: an exception of the environment stops the run. ``restart``: the transition is
            dropped, the episode cut before it and the environment rebuilt, at most 3 times per 10,000 steps.
        on_nonfinite: ``raise``: NaN or infinity in an observation or reward stops the run. ``truncate``: the
            transition is dropped and the episode cut before it, at most 10 times in a row and in 1 % of the steps.
        keep_infos: Keep every step's info dict in ``EpisodeData.infos``.
        fresh_env_per_episode: Build a new environment object for every episode. For the few environments that
            remember earlier episodes (BipedalWalker), so that runs can be resumed exactly.
        strict: Raise if an observation lies outside the observation space, instead of warning three times and counting.

    Raises:
        ConfigError: ``env`` is no Gymnasium environment, or an option needs a factory and none can be derived.
        SpaceError: A space is of a kind that optix does not know.
    """

    def __init__(
        self,
        env: Env,
        agent: BaseAgent | None = None,
        window_size: int = 200,
        *,
        seed: int | None = None,
        env_factory: EnvFactory | None = None,
        on_env_error: OnEnvError = "raise",
        on_nonfinite: OnNonFinite = "raise",
        keep_infos: bool = False,
        fresh_env_per_episode: bool = False,
        strict: bool = False,
    ) -> None:
        super().__init__(
            agent,
            window_size,
            seed=seed,
            on_env_error=on_env_error,
            on_nonfinite=on_nonfinite,
            keep_infos=keep_infos,
            strict=strict,
        )
        self.env = env
        self._fresh = fresh_env_per_episode
        if on_env_error == "restart":
            self.env_factory = require_factory(env, env_factory, "on_env_error='restart'")
        elif fresh_env_per_episode:
            self.env_factory = require_factory(env, env_factory, "fresh_env_per_episode=True")
        else:
            self.env_factory = env_factory or env_factory_of(env)
        self._require_stepper()

    def _make_stepper(self) -> ListStepper:
        return ListStepper(
            [self.env],
            [self.env_factory],
            root_seed=self.root_seed,
            policy=self._policy,
            fresh_env_per_episode=self._fresh,
            keep_infos=self._keep_infos,
        )

    def collect(self) -> EpisodeData:
        """The next window, flat: ``[T, ...]``; ``episode_starts`` is a list of indices that contains 0."""
        return flattened(super().collect())
