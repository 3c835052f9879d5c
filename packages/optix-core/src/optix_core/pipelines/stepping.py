"""Stepping a plain list of environments in this process.

That is the default because it is the fastest for all but very slow environments: no copying between processes and no
per-step bookkeeping of infos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.pipelines.env_checks import common_spaces, reset_pair, wrong_step
from optix_core.pipelines.env_state import CapturableEnv, continue_episode
from optix_core.pipelines.factories import Env, EnvFactory, check_env
from optix_core.pipelines.faults import Fault, FaultPolicy
from optix_core.pipelines.reading import MaskMethod, ObservationReader, mask_method, offers_masks
from optix_core.pipelines.stepper import Ended
from optix_core.seeding import Domain, derive_seed
from optix_core.state import State, generator_state, restore_generator

_LARGEST = float(np.finfo(np.float64).max)


class ListStepper:
    """N environments in this process, stepped one after another; each episode starts with its own derived seed.

    Args:
        envs: The environments, with equal spaces.
        factories: Per environment, how to build another one like it, or None.
        root_seed: Seed of episode k of environment n is ``derive_seed(root_seed, Domain.ENV, n, k)``.
        policy: What to do about faults.
        fresh_env_per_episode: Build a new object for every episode (needs factories).
        keep_infos: Keep the info dict of every step.
    """

    resume_level = "exact"

    def __init__(
        self,
        envs: Sequence[Env],
        factories: Sequence[EnvFactory | None],
        *,
        root_seed: int,
        policy: FaultPolicy,
        fresh_env_per_episode: bool = False,
        keep_infos: bool = False,
    ) -> None:
        for index, env in enumerate(envs):
            check_env(env, index)
        self.envs = list(envs)
        self.n_envs = len(self.envs)
        self.observation_space, self.action_space = common_spaces(self.envs)
        self.root_seed, self.moved = root_seed, False
        self.infos: list[dict[str, Any]] = [{} for _ in envs]
        self.episode_index = [-1] * self.n_envs
        self.seeds = [0] * self.n_envs
        self._factories = list(factories)
        self._policy = policy
        self._fresh, self._keep_infos = fresh_env_per_episode, keep_infos
        self._used = [False] * self.n_envs
        self._steps = [env.step for env in self.envs]
        self.offers_masks = False
        self._masks_wanted = False
        self._mask_methods: list[MaskMethod | None] = [None] * self.n_envs
        self._known = False
        self._read_with(ObservationReader(self.observation_space, self.action_space))
        self._known = False

    @property
    def reader(self) -> ObservationReader:
        """See :attr:`Stepper.reader`."""
        return self._reader

    def want_masks(self, wanted: bool) -> None:
        """Whether to add action masks; the first reset after that shows whether the environments offer any."""
        self._masks_wanted, self._known = wanted, False

    def _read_with(self, reader: ObservationReader) -> None:
        self._reader, self._known = reader, True
        self._mask_methods = [mask_method(env) if reader.masked else None for env in self.envs]
        self._plain_shape = reader.plain_shape
        # x . 0 is 0 for finite x and NaN otherwise: one pass of BLAS instead of an array of booleans.
        plain_float = reader.plain_shape is not None and reader.dtype.kind == "f"
        size = self.n_envs * int(np.prod(reader.shape, dtype=np.int64))
        self._zeros = np.zeros(size, reader.dtype) if plain_float else None
        self._check_parts = reader.has_floats and not plain_float

    def _look(self, index: int, info: Any) -> None:
        """Find out from a reset what observations look like."""
        self.offers_masks = offers_masks(self.observation_space, self.action_space, self.envs[index], info)
        masked = self.offers_masks and self._masks_wanted
        self._read_with(ObservationReader(self.observation_space, self.action_space, masked=masked))

    def start(self, *, masks: bool) -> NDArray[Any]:
        """See :meth:`Stepper.start`."""
        self.episode_index = [-1] * self.n_envs
        self.want_masks(masks)
        first: list[NDArray[Any]] = []
        for index in range(self.n_envs):
            self._seed_action_space(index)
            first.append(self._begin(index))
        return self._joined(first)

    def _joined(self, observations: Sequence[NDArray[Any]]) -> NDArray[Any]:
        row = self._reader.rows(self.n_envs)
        for index, observation in enumerate(observations):
            row[index] = observation
        return row

    def step(
        self,
        acted: NDArray[Any],
        actions: list[Any],
        row: NDArray[Any],
        rewards: list[float],
        where: Callable[[], str],
    ) -> list[Ended | Fault] | None:
        """See :meth:`Stepper.step`."""
        del acted
        events: list[Ended | Fault] | None = None
        index = 0
        for action in actions:
            event = self._step(index, action, row, rewards, where)
            if event is not None:
                if events is None:
                    events = []
                events.append(event)
            index += 1  # noqa: SIM113 - enumerate makes a tuple per step
        if self._zeros is not None:
            if np.vdot(row.reshape(-1), self._zeros) != 0.0:
                events = self._with_nonfinite(events or [], actions, row)
        elif self._check_parts and not self._reader.finite(row):
            events = self._with_nonfinite(events or [], actions, row)
        if events is not None:
            for event in events:
                if isinstance(event, Ended):
                    row[event.env_index] = self._begin(event.env_index)
        return events

    def step_one(
        self, index: int, action: Any, row: NDArray[Any], rewards: list[float], where: Callable[[], str]
    ) -> Ended | Fault | None:
        """See :meth:`Stepper.step_one`."""
        event = self.advance(index, action, row, rewards, where)
        if isinstance(event, Ended):
            row[index] = self._begin(index)
        return event

    def advance(
        self, index: int, action: Any, row: NDArray[Any], rewards: list[float], where: Callable[[], str]
    ) -> Ended | Fault | None:
        """One step of one environment, without beginning a new episode where one ends."""
        event = self._step(index, action, row, rewards, where)
        if isinstance(event, Fault):
            return event
        fine = (
            np.isfinite(row[index]).all() if self._zeros is not None else self._reader.finite(row[index, ...])
        )
        if not fine:
            return self._nonfinite(index, action, row)
        return event

    def begin_with(self, index: int, seed: int, where: str) -> NDArray[Any]:
        """Start an episode with a seed of the caller's choice.

        Raises:
            EnvironmentFault: The environment raised or gave a first observation that is not finite.
        """
        first = self._reset(index, seed, where, rebuild=False)
        if isinstance(first, Fault):
            raise first.as_error(where)
        return first

    def restart(self, index: int, *, rebuild: bool) -> NDArray[Any]:
        """See :meth:`Stepper.restart`."""
        return self._begin(index, rebuild=rebuild)

    def restart_all(self, *, masks: bool) -> NDArray[Any]:
        """See :meth:`Stepper.restart_all`."""
        self.want_masks(masks)
        return self._joined([self._begin(index) for index in range(self.n_envs)])

    def _step(
        self, index: int, action: Any, row: NDArray[Any], rewards: list[float], where: Callable[[], str]
    ) -> Ended | Fault | None:
        try:
            result = self._steps[index](action)
        except Exception as error:  # noqa: BLE001 - any failure of the environment is reported with where and when
            return Fault(
                kind="error",
                env_index=index,
                method="step",
                action=action,
                detail=f"it raised {error!r}",
                error=error,
            )
        try:
            observation, raw_reward, terminated, truncated, info = result
            reward = float(raw_reward)
        except (TypeError, ValueError):
            raise wrong_step(index, result, where()) from None
        if observation.__class__ is np.ndarray and observation.shape == self._plain_shape:
            row[index] = observation
        else:
            self._reader.put(
                row,
                index,
                observation,
                info,
                self._mask_methods[index],
                env_index=index,
                call="step",
                where=where,
                terminated=bool(terminated),
            )
        if not -_LARGEST <= reward <= _LARGEST:
            return Fault(
                kind="reward", env_index=index, method="step", action=action, detail=f"the reward is {reward}"
            )
        rewards[index] = reward
        if self._keep_infos:
            self.infos[index] = info
        if terminated or truncated:
            return Ended(
                env_index=index,
                final_observation=row[index, ...].copy(),
                terminated=bool(terminated),
                truncated=bool(truncated),
                seed=self.seeds[index],
            )
        return None

    def _begin(self, index: int, *, rebuild: bool = False) -> NDArray[Any]:
        """Start the next episode of one environment and return its first observation."""
        failures = 0
        while True:
            self.episode_index[index] += 1
            seed = derive_seed(self.root_seed, Domain.ENV, index, self.episode_index[index])
            where = f"start of episode {self.episode_index[index]} (seed {seed})"
            first = self._reset(index, seed, where, rebuild=rebuild)
            if not isinstance(first, Fault):
                return first
            failures += 1
            self._policy.admit(first, in_a_row=failures, where=where)
            rebuild = first.kind == "error"

    def _reset(self, index: int, seed: int, where: str, *, rebuild: bool) -> NDArray[Any] | Fault:
        self.seeds[index] = seed
        try:
            if rebuild or (self._fresh and self._used[index]):
                self._replace(index)
            self._used[index] = True
            result = self.envs[index].reset(seed=seed)
        except Exception as error:  # noqa: BLE001 - reported, or counted against the budget
            return Fault(
                kind="error",
                env_index=index,
                method="reset",
                action=None,
                detail=f"it raised {error!r}",
                error=error,
            )
        observation, info = reset_pair(index, result, where)
        if not self._known:
            self._look(index, info)
        first = self._reader.one(
            observation,
            info,
            self._mask_methods[index],
            env_index=index,
            call="reset",
            where=lambda: where,
        )
        if self._reader.finite(first):
            return first
        detail = self._reader.nonfinite(first)
        return Fault(kind="observation", env_index=index, method="reset", action=None, detail=detail)

    def _replace(self, index: int) -> None:
        factory = self._factories[index]
        assert factory is not None  # the pipelines ask for one where this can happen
        fresh = factory()
        self.envs[index].close()
        self._install(index, fresh)
        self._seed_action_space(index, self.episode_index[index] + 1)

    def _install(self, index: int, env: Env) -> None:
        self.envs[index], self._steps[index] = env, env.step
        self._mask_methods[index] = mask_method(env) if self._reader.masked else None

    def _seed_action_space(self, index: int, *more: int) -> None:
        self.envs[index].action_space.seed(derive_seed(self.root_seed, Domain.ACTION_SPACE, index, *more))

    def _with_nonfinite(
        self, events: list[Ended | Fault], actions: list[Any], row: NDArray[Any]
    ) -> list[Ended | Fault]:
        """Replace the events of environments whose observation is not finite."""
        broken = {event.env_index for event in events if isinstance(event, Fault)}
        found = [i for i in range(self.n_envs) if i not in broken and not self._reader.finite(row[i, ...])]
        kept = [event for event in events if event.env_index not in found]
        return kept + [self._nonfinite(i, actions[i], row) for i in found]

    def _nonfinite(self, index: int, action: Any, row: NDArray[Any]) -> Fault:
        detail = self._reader.nonfinite(row[index, ...])
        return Fault(kind="observation", env_index=index, method="step", action=action, detail=detail)

    def mark(self, index: int) -> State:
        """See :meth:`Stepper.mark`."""
        return {
            "episode": self.episode_index[index],
            "seed": self.seeds[index],
            "action_space_rng": generator_state(self.envs[index].action_space.np_random),
        }

    def env_state(self, index: int) -> State | None:
        """See :meth:`Stepper.env_state`."""
        env = self.envs[index]
        return env.get_state() if isinstance(env, CapturableEnv) else None

    def restore(
        self, snapshots: Sequence[Mapping[str, Any]], to_env: Callable[[Any], Any], *, masked: bool
    ) -> NDArray[Any]:
        """See :meth:`Stepper.restore`."""
        built: list[Env] = []
        chosen: list[Env] = []
        reader = ObservationReader(self.observation_space, self.action_space, masked=masked)
        row = reader.rows(self.n_envs)
        try:
            for index, snapshot in enumerate(snapshots):
                env, factory = self.envs[index], self._factories[index]
                if self._used[index] and factory is not None:
                    # A used object may remember earlier episodes; an unused one is as good as a new one.
                    env = factory()
                    built.append(env)
                else:
                    self.moved = True
                chosen.append(env)
                self._used[index] = True
                row[index] = continue_episode(env, snapshot, to_env, index, reader)
        except BaseException:
            for env in built:
                env.close()
            raise
        self.moved = False
        for index, (env, snapshot) in enumerate(zip(chosen, snapshots, strict=True)):
            if env is not self.envs[index]:
                self.envs[index].close()
                self._install(index, env)
            if snapshot["action_space_rng"] is not None:
                restore_generator(env.action_space.np_random, snapshot["action_space_rng"])
            self.episode_index[index], self.seeds[index] = int(snapshot["episode"]), int(snapshot["seed"])
        self.offers_masks, self._masks_wanted = masked, masked
        self._read_with(reader)
        return row

    def close(self) -> None:
        """See :meth:`Stepper.close`."""
        for env in self.envs:
            env.close()
