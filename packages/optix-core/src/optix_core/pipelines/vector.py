"""Several environments at once, in one process by default."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gymnasium.vector import VectorEnv

from optix_core.base_agent import BaseAgent
from optix_core.errors import ConfigError
from optix_core.pipelines.factories import EnvFactory
from optix_core.pipelines.faults import OnEnvError, OnNonFinite
from optix_core.pipelines.stepper import Stepper
from optix_core.pipelines.stepping import ListStepper
from optix_core.pipelines.stepping_pipeline import SteppingPipeline
from optix_core.pipelines.vector_env_stepper import AsyncStepper, VectorEnvStepper


class VectorBatchPipeline(SteppingPipeline):
    """Steps N environments with one batched ``act`` per step; yields time-major windows ``[T, N, ...]``.

    Every environment makes exactly ``window_size`` steps per window. Resetting costs no step: where an episode
    ends, the next row holds the first observation of the next one, and what truly followed is in
    ``boundary_observations``.

    Args:
        env_fns: Functions that build one environment each, or a gymnasium ``VectorEnv`` whose autoreset mode is
            SAME_STEP.
        agent: Who acts; may be set later. ``act_batch`` is used if offered, else ``act`` per environment.
        window_size: Steps per environment and window, T.
        async_envs: One process per environment (gymnasium's AsyncVectorEnv). Pays off only where one step takes longer
            than about a millisecond.
        seed: Root seed; episode k of environment n always starts with the same derived seed. Fresh if None.
        on_env_error: As for :class:`BatchPipeline`; ``restart`` needs environments in this process.
        on_nonfinite: As for :class:`BatchPipeline`; ``truncate`` needs environments in this process.
        keep_infos: Keep info dicts, ``infos[t * N + n]``.
        fresh_env_per_episode: Build a new object for every episode.
        strict: Raise if an observation lies outside the observation space.

    Raises:
        ConfigError: No environments, or an option that this way of stepping cannot honour.
        SpaceError: The environments' spaces differ, or are of a kind that optix does not know.
    """

    def __init__(
        self,
        env_fns: Sequence[EnvFactory] | VectorEnv[Any, Any, Any],
        agent: BaseAgent | None = None,
        window_size: int = 256,
        async_envs: bool = False,
        *,
        seed: int | None = None,
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
        self._fresh, self._async = fresh_env_per_episode, async_envs
        self._vector_env: VectorEnv[Any, Any, Any] | None = None
        self._env_fns: list[EnvFactory] = []
        if isinstance(env_fns, VectorEnv):
            self._vector_env = env_fns
            if async_envs:
                raise ConfigError(
                    "async_envs=True builds environments from functions; a VectorEnv already has its own way"
                )
        else:
            self._env_fns = _checked_functions(env_fns)
        if self._vector_env is not None or async_envs:
            self._refuse_what_needs_a_list(on_env_error, on_nonfinite, keep_infos=keep_infos)
        self._require_stepper()

    @property
    def env_factory(self) -> Callable[[], Any] | None:
        """Builds one more environment like the first, or None if a VectorEnv was given."""
        return self._env_fns[0] if self._env_fns else None

    def _make_stepper(self) -> Stepper:
        if self._vector_env is not None:
            return VectorEnvStepper(self._vector_env, root_seed=self.root_seed)
        if self._async:
            return AsyncStepper(self._env_fns, root_seed=self.root_seed, fresh_env_per_episode=self._fresh)
        return ListStepper(
            [make() for make in self._env_fns],
            self._env_fns,
            root_seed=self.root_seed,
            policy=self._policy,
            fresh_env_per_episode=self._fresh,
            keep_infos=self._keep_infos,
        )

    def teardown(self) -> None:
        """Close the environments (and their processes). Safe to call twice."""
        super().teardown()
        if self._async:
            self._stepper = None  # closed processes cannot be used again; a new setup starts new ones

    def _refuse_what_needs_a_list(
        self, on_env_error: OnEnvError, on_nonfinite: OnNonFinite, *, keep_infos: bool
    ) -> None:
        asked = {
            "on_env_error='restart'": on_env_error == "restart",
            "on_nonfinite='truncate'": on_nonfinite == "truncate",
            "keep_infos=True": keep_infos,
            "fresh_env_per_episode=True": self._fresh and self._vector_env is not None,
        }
        refused = [name for name, wanted in asked.items() if wanted]
        if refused:
            way = "a VectorEnv" if self._vector_env is not None else "async_envs=True"
            raise ConfigError(
                f"{' and '.join(refused)} cannot be honoured with {way}: it needs single environments in this "
                "process. Give a list of functions and leave async_envs=False."
            )


def _checked_functions(env_fns: Sequence[EnvFactory]) -> list[EnvFactory]:
    functions = list(env_fns)
    if not functions or not all(callable(make) for make in functions):
        found = [type(make).__name__ for make in functions]
        raise ConfigError(
            "env_fns must be a non-empty list of functions that build one environment each, for example "
            f"[lambda: gymnasium.make('CartPole-v1')] * 8, or a gymnasium VectorEnv; got {found}"
        )
    return functions
