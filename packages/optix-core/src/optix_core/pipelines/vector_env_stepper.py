"""Stepping a gymnasium VectorEnv, and environments in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from numpy.typing import NDArray

from optix_core.errors import ConfigError, EnvironmentFault, ResumeError
from optix_core.pipelines.env_state import continue_episode
from optix_core.pipelines.factories import EnvFactory
from optix_core.pipelines.faults import Fault
from optix_core.pipelines.reading import ObservationReader, mask_method, offers_masks
from optix_core.pipelines.stepper import Ended
from optix_core.rl.masking import ACTION_MASK
from optix_core.rl.spaces import describe_space
from optix_core.seeding import Domain, derive_seed
from optix_core.state import State


class VectorEnvStepper:
    """A VectorEnv that resets in the step that ends an episode (``AutoresetMode.SAME_STEP``).

    First episodes start with derived seeds; how later ones are seeded is the VectorEnv's own business. Their
    middle cannot be restored, so a resumed run begins new episodes.

    Args:
        venv: The vector environment.
        root_seed: Seed of the first episodes and of the action space.

    Raises:
        ConfigError: Another autoreset mode.
    """

    resume_level = "restart-episode"

    def __init__(self, venv: VectorEnv[Any, Any, Any], *, root_seed: int) -> None:
        mode = venv.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ConfigError(
                f"the VectorEnv has autoreset mode {getattr(mode, 'name', mode)}: its reset steps would be "
                "trained on as if they were transitions. Build it with autoreset_mode=AutoresetMode.SAME_STEP "
                "(an argument of SyncVectorEnv, AsyncVectorEnv and of make_vec's vector_kwargs), or give a "
                "list of functions."
            )
        self.venv: Any = venv  # partly typed, and call() is not part of the base class
        self.n_envs = int(venv.num_envs)
        self.observation_space = describe_space(self.venv.single_observation_space)
        self.action_space = describe_space(self.venv.single_action_space)
        self.root_seed, self.moved = root_seed, False
        self.infos: list[dict[str, Any]] = [{} for _ in range(self.n_envs)]
        self._seeds: list[int | None] = [None] * self.n_envs
        self._restarts = 0
        self.offers_masks = False
        self._read_with(ObservationReader(self.observation_space, self.action_space))

    @property
    def reader(self) -> ObservationReader:
        """See :attr:`Stepper.reader`."""
        return self._reader

    def _read_with(self, reader: ObservationReader) -> None:
        self._reader = reader
        self._plain = reader.plain_shape is not None

    def start(self, *, masks: bool) -> NDArray[Any]:
        """See :meth:`Stepper.start`."""
        self._restarts = 0
        return self._reset(masks=masks)

    def _reset(self, *, masks: bool) -> NDArray[Any]:
        seeds = [derive_seed(self.root_seed, Domain.ENV, n, self._restarts) for n in range(self.n_envs)]
        self.venv.single_action_space.seed(derive_seed(self.root_seed, Domain.ACTION_SPACE, 0))
        observations, infos = self.venv.reset(seed=list(seeds))
        self._seeds = list(seeds)
        return self._first(observations, infos, ["start of the first episode"] * self.n_envs, masks=masks)

    def _first(self, observations: Any, infos: Any, where: Sequence[str], *, masks: bool) -> NDArray[Any]:
        """What a reset of all environments gave, as ``[N, *obs]``."""
        self.offers_masks = self._masks_offered(infos)
        masked = self.offers_masks and masks
        self._read_with(ObservationReader(self.observation_space, self.action_space, masked=masked))
        row = self._reader.rows(self.n_envs)
        self._put(row, observations, infos, "reset", lambda: where[0])
        for n in range(self.n_envs):
            self._check(n, row[n, ...], None, "reset", where[n])
        return row

    def _masks_offered(self, infos: Any) -> bool:
        if not offers_masks(self.observation_space, self.action_space, self.venv, infos):
            if any(mask_method(env) is not None for env in getattr(self.venv, "envs", ())):
                self._refuse_methods()
            return False
        if ACTION_MASK not in infos:
            self._refuse_methods()
        return True

    def _refuse_methods(self) -> None:
        raise ConfigError(
            "the environments of this VectorEnv offer action masks through action_masks(), which cannot say what "
            "the masks were where an episode has just ended. Let them put the masks into info['action_mask'], or "
            "give a list of functions instead of a VectorEnv."
        )

    def _put(
        self,
        row: NDArray[Any],
        observations: Any,
        infos: Mapping[str, Any],
        call: str,
        where: Callable[[], str],
    ) -> None:
        self._reader.put_batch(row, observations)
        if self._reader.masked:
            for n in range(self.n_envs):
                given = _of_env(infos, ACTION_MASK, n)
                self._reader.put_mask(row, n, given, env_index=n, call=call, where=where)

    def step(
        self,
        acted: NDArray[Any],
        actions: list[Any],
        row: NDArray[Any],
        rewards: list[float],
        where: Callable[[], str],
    ) -> list[Ended | Fault] | None:
        """See :meth:`Stepper.step`."""
        try:
            observations, raw, terminated, truncated, infos = self.venv.step(acted)
        except Exception as error:
            text = f"the vector environment raised {error!r}, {where()}. The original traceback is above."
            raise EnvironmentFault(text, code="E-ENV-RAISED") from error
        if self._plain:
            row[...] = observations
        else:
            self._put(row, observations, infos, "step", where)
        rewards[:] = np.asarray(raw, np.float64).tolist()
        for n, reward in enumerate(rewards):
            if not np.isfinite(reward):
                fault = Fault(
                    kind="reward",
                    env_index=n,
                    method="step",
                    action=actions[n],
                    detail=f"the reward is {reward}",
                )
                raise fault.as_error(where())
        if not self._reader.finite(row):
            for n in range(self.n_envs):
                self._check(n, row[n, ...], actions[n], "step", where())
        ended = np.flatnonzero(np.logical_or(terminated, truncated)).tolist()
        return (
            [self._ended(n, actions[n], terminated, truncated, infos, where) for n in ended]
            if ended
            else None
        )

    def _ended(
        self,
        index: int,
        action: Any,
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        infos: Mapping[str, Any],
        where: Callable[[], str],
    ) -> Ended:
        if "final_obs" not in infos:
            raise EnvironmentFault(
                f"environment {index}, {where()}: an episode ended, but the VectorEnv did not put its last "
                "observation into info['final_obs'], as the SAME_STEP autoreset mode demands"
            )
        final = self._reader.one(
            infos["final_obs"][index],
            {ACTION_MASK: _of_env(infos.get("final_info", {}), ACTION_MASK, index)},
            None,
            env_index=index,
            call="step",
            where=where,
            terminated=bool(terminated[index]),
        )
        self._check(index, final, action, "step", where())
        seed = self._seed_of(index)
        self._begun(index)
        return Ended(
            env_index=index,
            final_observation=final,
            terminated=bool(terminated[index]),
            truncated=bool(truncated[index]),
            seed=seed,
        )

    def _seed_of(self, index: int) -> int | None:
        """The seed of the running episode, if it is known."""
        return self._seeds[index]

    def _begun(self, index: int) -> None:
        """A new episode has begun in the step that ended the last one."""
        self._seeds[index] = None

    def _check(self, index: int, observation: NDArray[Any], action: Any, method: Any, where: str) -> None:
        if not self._reader.finite(observation):
            detail = self._reader.nonfinite(observation)
            raise Fault(
                kind="observation", env_index=index, method=method, action=action, detail=detail
            ).as_error(where)

    def step_one(
        self, index: int, action: Any, row: NDArray[Any], rewards: list[float], where: Callable[[], str]
    ) -> Ended | Fault | None:
        """See :meth:`Stepper.step_one`."""
        raise NotImplementedError("a VectorEnv cannot step one environment")

    def restart(self, index: int, *, rebuild: bool) -> NDArray[Any]:
        """See :meth:`Stepper.restart`."""
        raise NotImplementedError("a VectorEnv cannot restart one environment")

    def restart_all(self, *, masks: bool) -> NDArray[Any]:
        """See :meth:`Stepper.restart_all`."""
        self._restarts += 1
        return self._reset(masks=masks)

    def mark(self, index: int) -> State:
        """See :meth:`Stepper.mark`."""
        return {"episode": self._restarts, "seed": self._seeds[index], "action_space_rng": None}

    def env_state(self, index: int) -> State | None:
        """None: what is in a process of its own is repeated, not copied."""
        del index

    def restore(
        self, snapshots: Sequence[Mapping[str, Any]], to_env: Callable[[Any], Any], *, masked: bool
    ) -> NDArray[Any]:
        """See :meth:`Stepper.restore`."""
        del to_env
        self._restarts = int(snapshots[0]["episode"])
        return self.restart_all(masks=masked)

    def close(self) -> None:
        """See :meth:`Stepper.close`."""
        self.venv.close()


class AsyncStepper(VectorEnvStepper):
    """One process per environment, with the seeds and the exact resume of the plain list.

    Args:
        env_fns: Functions that build one environment each; sent to the processes with cloudpickle, so lambdas will do.
        root_seed: As for :class:`ListStepper`.
        fresh_env_per_episode: Build a new object for every episode.
    """

    resume_level = "exact"

    def __init__(self, env_fns: Sequence[EnvFactory], *, root_seed: int, fresh_env_per_episode: bool) -> None:
        workers = [partial(WorkerEnv, make, n, fresh=fresh_env_per_episode) for n, make in enumerate(env_fns)]
        venv = AsyncVectorEnv(workers, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)
        super().__init__(venv, root_seed=root_seed)
        self._episodes = [0] * self.n_envs

    def _reset(self, *, masks: bool) -> NDArray[Any]:
        self.venv.call("start_at", self.root_seed, self._episodes)
        observations, infos = self.venv.reset()
        where = [f"start of episode {episode}" for episode in self._episodes]
        return self._first(observations, infos, where, masks=masks)

    def start(self, *, masks: bool) -> NDArray[Any]:
        """See :meth:`Stepper.start`."""
        self._episodes = [0] * self.n_envs
        return self._reset(masks=masks)

    def restart_all(self, *, masks: bool) -> NDArray[Any]:
        """See :meth:`Stepper.restart_all`."""
        self._episodes = [episode + 1 for episode in self._episodes]
        return self._reset(masks=masks)

    def _seed_of(self, index: int) -> int:
        return derive_seed(self.root_seed, Domain.ENV, index, self._episodes[index])

    def _begun(self, index: int) -> None:
        self._episodes[index] += 1

    def mark(self, index: int) -> State:
        """See :meth:`Stepper.mark`."""
        return {"episode": self._episodes[index], "seed": self._seed_of(index), "action_space_rng": None}

    def restore(
        self, snapshots: Sequence[Mapping[str, Any]], to_env: Callable[[Any], Any], *, masked: bool
    ) -> NDArray[Any]:
        """See :meth:`Stepper.restore`."""
        del to_env  # the processes look at their own action space
        self.moved = True
        reader = ObservationReader(self.observation_space, self.action_space, masked=masked)
        row = reader.rows(self.n_envs)
        all_of_them = [dict(snapshot) for snapshot in snapshots]
        replies = self.venv.call("continue_from", self.root_seed, all_of_them, masked)
        for reply in replies:
            if isinstance(reply, str):
                raise ResumeError(reply)
        for n, reply in enumerate(replies):
            row[n] = reply
        self.moved = False
        self._episodes = [int(snapshot["episode"]) for snapshot in snapshots]
        self.offers_masks = masked
        self._read_with(reader)
        return row


class WorkerEnv(gym.Wrapper[Any, Any, Any, Any]):
    """An environment in a process of its own that derives its seeds itself, because autoreset passes none.

    Args:
        make: Builds the environment.
        index: Which of the N environments this is.
        fresh: Build a new object for every episode.
    """

    def __init__(self, make: EnvFactory, index: int, *, fresh: bool) -> None:
        super().__init__(make())
        self._make, self._index, self._fresh = make, index, fresh
        self._root_seed, self._episode, self._used = 0, -1, False
        self._masks = mask_method(self.env)

    def start_at(self, root_seed: int, episodes: Sequence[int]) -> None:
        """The next reset begins episode ``episodes[index]``."""
        self._root_seed, self._episode = root_seed, episodes[self._index] - 1
        self.env.action_space.seed(derive_seed(root_seed, Domain.ACTION_SPACE, self._index))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin the next episode; ``seed`` is ignored, each episode has its own."""
        del seed
        if self._fresh and self._used:
            self._replace()
        self._used = True
        self._episode += 1
        own = derive_seed(self._root_seed, Domain.ENV, self._index, self._episode)
        observation, info = self.env.reset(seed=own, options=options)
        return observation, self._with_mask(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """The environment's step; masks it offers through a method travel in the info."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated, truncated, self._with_mask(info)

    def _with_mask(self, info: dict[str, Any]) -> dict[str, Any]:
        if self._masks is None or ACTION_MASK in info:
            return info
        return {**info, ACTION_MASK: self._masks()}

    def continue_from(
        self, root_seed: int, snapshots: Sequence[Mapping[str, Any]], masked: bool
    ) -> NDArray[Any] | str:
        """Repeat the episode of a snapshot in a fresh object; its last observation, or what went wrong."""
        snapshot = snapshots[self._index]
        if self._used:
            self._replace()
        self._used = True
        self._root_seed, self._episode = root_seed, int(snapshot["episode"])
        actions = describe_space(self.action_space)
        reader = ObservationReader(describe_space(self.observation_space), actions, masked=masked)
        to_env: Callable[[Any], Any] = int if actions.kind == "discrete" else np.asarray
        try:
            return continue_episode(self.env, snapshot, to_env, self._index, reader)
        except ResumeError as error:
            return error.message

    def _replace(self) -> None:
        self.env.close()
        self.env = self._make()
        self._masks = mask_method(self.env)


def _of_env(infos: Mapping[str, Any], key: str, index: int) -> Any:
    """What environment ``index`` put into its info under ``key``; None if it did not."""
    if key not in infos:
        return None
    present = infos.get(f"_{key}")
    return infos[key][index] if present is None or present[index] else None
