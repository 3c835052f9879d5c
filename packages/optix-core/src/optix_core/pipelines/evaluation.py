"""Complete greedy episodes on environments of their own, repeatable by their index."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent
from optix_core.base_pipeline import BasePipeline
from optix_core.errors import ConfigError
from optix_core.pipelines.actor import Actor, masks_unused
from optix_core.pipelines.factories import Env, EnvFactory, check_env, env_factory_of, is_environment
from optix_core.pipelines.faults import Fault, FaultPolicy
from optix_core.pipelines.reading import ObservationReader
from optix_core.pipelines.stepping import ListStepper
from optix_core.rl.spaces import SpaceInfo
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_core.state import State
from optix_core.types import EpisodeData, EpisodeRecord

COPIES = 8
LARGEST_KEPT = 4096
"""Bytes of an observation up to which evaluations keep all of them unless told otherwise."""
UNLIMITED_EPISODE_STEPS = 100_000


@dataclass(slots=True)
class _Episode:
    """What one evaluation episode has seen so far."""

    seed: int
    observations: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])
    actions: list[NDArray[Any]] = field(default_factory=list[NDArray[Any]])
    rewards: list[float] = field(default_factory=list[float])
    final: NDArray[Any] | None = None
    terminated: bool = False
    cut: bool = False


class EvaluationPipeline(BasePipeline):
    """Runs complete episodes with the agent's greedy actions; training is neither read nor touched.

    Episode ``j`` of evaluation ``i`` always starts with ``derive_seed(seed, Domain.VALIDATION, i, j)``, so two
    policies that are evaluated with the same index meet the same episodes, and an evaluation can be repeated.

    Several episodes run side by side on copies of the environment, with one batched ``act`` per step, where copies
    can be made and the agent offers ``act_batch``.

    Args:
        env_or_factory: A function that builds environments, or an environment. One that is given belongs to this
            pipeline from then on; never pass the one that is trained on.
        agent: Who acts; may be set later.
        episodes: Complete episodes per evaluation.
        seed: Root seed; a fresh one if None (see :attr:`root_seed`).
        max_episode_steps: An episode that is still running after so many steps is cut there (truncated). If None:
            the limit that the environment was registered with takes care, and 100,000 steps otherwise.
        deterministic: Ask for greedy actions. With False, agents draw from their own random stream, which then moves.
        fresh_env_per_episode: Build a new object for every episode, for environments that remember earlier ones.
        keep_observations: Keep every observation of an evaluation in the window it returns. If None: unless one takes
            more than 4 KiB, as images do. Without them, observations have no components, ``[T, 0]``; scores need none.

    Raises:
        ConfigError: A number is below 1, the object is no environment, or ``fresh_env_per_episode`` cannot be honoured.
        SpaceError: A space is of a kind that optix does not know.
    """

    def __init__(
        self,
        env_or_factory: Env | EnvFactory,
        agent: BaseAgent | None = None,
        *,
        episodes: int = 10,
        seed: int | None = None,
        max_episode_steps: int | None = None,
        deterministic: bool = True,
        fresh_env_per_episode: bool = False,
        keep_observations: bool | None = None,
    ) -> None:
        for name, value in (("episodes", episodes), ("max_episode_steps", max_episode_steps)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; it must be at least 1")
        is_env = is_environment(env_or_factory)
        first: Any = env_or_factory if is_env else env_or_factory()  # type: ignore[operator]
        check_env(first)
        self._factory: EnvFactory | None = env_factory_of(first) if is_env else env_or_factory  # type: ignore[assignment]
        if fresh_env_per_episode and self._factory is None:
            raise ConfigError(
                "fresh_env_per_episode=True needs a function that builds environments; pass one instead of an object"
            )
        self.root_seed = fresh_root_seed() if seed is None else int(seed)
        self.n_episodes, self.deterministic = int(episodes), deterministic
        self.max_episode_steps = (
            UNLIMITED_EPISODE_STEPS if max_episode_steps is None else int(max_episode_steps)
        )
        self._fresh, self._keep = fresh_env_per_episode, keep_observations
        self._warned = False
        self._agent: Any = agent
        self._actor: Actor | None = None
        self._stepper = self._make_stepper([first])
        self._index = 0

    @property
    def is_live(self) -> bool:
        """False."""
        return False

    @property
    def observation_space(self) -> SpaceInfo:
        """Facts about the observation space."""
        return self._stepper.observation_space

    @property
    def action_space(self) -> SpaceInfo:
        """Facts about the action space."""
        return self._stepper.action_space

    def set_agent(self, agent: BaseAgent) -> None:
        """Let ``agent`` act from the next evaluation on."""
        self._agent, self._actor = agent, None

    def setup(self) -> None:
        """Nothing to prepare: every evaluation starts from its index alone."""

    def episodes(self) -> Iterator[EpisodeData]:
        """``evaluate(0)``, ``evaluate(1)``, ... or from where :meth:`load_state_dict` said."""
        while True:
            index, self._index = self._index, self._index + 1
            yield self.evaluate(index)

    def teardown(self) -> None:
        """Close the environments. Safe to call twice."""
        self._stepper.close()

    def state_dict(self) -> State:
        """Root seed and the index of the next evaluation."""
        return {"root_seed": self.root_seed, "index": self._index}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with that index."""
        seed, index = int(state["root_seed"]), int(state["index"])
        self.root_seed, self._index = seed, index

    def evaluate(self, index: int, *, episodes: int | None = None) -> EpisodeData:
        """Run complete episodes whose seeds depend only on the root seed and ``index``.

        Args:
            index: Which evaluation, at least 0.
            episodes: How many; as constructed if None.

        Returns:
            The episodes one after another, ``[T, ...]``; each ends with ``terminated`` or ``truncated``.
            ``metadata["cut_by_limit"]`` counts those that were stopped by ``max_episode_steps``,
            ``metadata["observations_kept"]`` says whether there are observations.

        Raises:
            EnvironmentFault: The environment raised, or gave NaN or infinity.
        """
        count = self.n_episodes if episodes is None else int(episodes)
        if index < 0 or count < 1:
            raise ConfigError(
                f"index is {index} and episodes is {count}; expected index >= 0 and episodes >= 1"
            )
        if self._actor is None:
            self._actor = Actor(
                self._agent, self.action_space, self.observation_space, deterministic=self.deterministic
            )
        seeds = [derive_seed(self.root_seed, Domain.VALIDATION, index, j) for j in range(count)]
        finished = self._run(self._actor, seeds, index)
        reader = self._stepper.reader
        return _as_window(finished, index, reader, kept=self._kept(reader))

    def _kept(self, reader: ObservationReader) -> bool:
        if self._keep is not None:
            return self._keep
        return reader.rows(1).nbytes <= LARGEST_KEPT

    def _run(self, actor: Actor, seeds: list[int], index: int) -> list[_Episode]:
        copies = min(len(seeds), COPIES) if actor.batched and self._factory is not None else 1
        stepper = self._grown(copies)
        stepper.want_masks(actor.accepts_masks)
        firsts = [self._first(stepper, slot, index, slot, seeds[slot]) for slot in range(copies)]
        reader = stepper.reader
        if stepper.offers_masks and not reader.masked and not self._warned:
            self._warned = True
            warnings.warn(masks_unused(actor.name), RuntimeWarning, stacklevel=4)
        keep = self._kept(reader)
        rows, memory = reader.rows(stepper.n_envs), np.zeros((stepper.n_envs, actor.memory_size), np.float32)
        rewards = [0.0] * stepper.n_envs
        episodes = [_Episode(seed) for seed in seeds]
        waiting = iter(range(copies, len(seeds)))
        running = {slot: slot for slot in range(copies)}  # slot -> episode
        for slot, first in enumerate(firsts):
            rows[slot] = first

        def begin(slot: int) -> None:
            j = next(waiting, None)
            if j is None:
                running.pop(slot, None)
                return
            running[slot] = j
            rows[slot] = self._first(stepper, slot, index, j, seeds[j])
            memory[slot] = 0.0

        actor.where = partial(_where_now, index, running, episodes)
        while running:
            active = list(running)
            observations = rows[active]
            if actor.memory_size:
                (policy_actions, _, env_actions), memory[active] = actor.remembering(
                    observations, memory[active]
                )
            else:
                policy_actions, _, env_actions = actor(observations)
            for k, slot in enumerate(active):
                episode = episodes[running[slot]]
                steps = len(episode.rewards)
                where = partial(_where, index, running[slot], steps)
                event = stepper.advance(slot, env_actions[k], rows, rewards, where)
                if isinstance(event, Fault):
                    raise event.as_error(where())
                if keep:
                    episode.observations.append(observations[k, ...])
                episode.actions.append(policy_actions[k])
                episode.rewards.append(rewards[slot])
                if event is not None or steps + 1 >= self.max_episode_steps:
                    episode.final = rows[slot, ...].copy() if keep else None
                    episode.terminated = event is not None and event.terminated
                    episode.cut = event is None
                    begin(slot)
        return episodes

    def _first(self, stepper: ListStepper, slot: int, index: int, episode: int, seed: int) -> NDArray[Any]:
        where = f"evaluation {index}, start of episode {episode} (seed {seed})"
        return stepper.begin_with(slot, seed, where)

    def _grown(self, copies: int) -> ListStepper:
        """The stepper, with at least so many environments."""
        missing = copies - self._stepper.n_envs
        if missing > 0:
            assert self._factory is not None
            self._stepper = self._make_stepper(
                [*self._stepper.envs, *(self._factory() for _ in range(missing))]
            )
        return self._stepper

    def _make_stepper(self, envs: list[Env]) -> ListStepper:
        return ListStepper(
            envs,
            [self._factory] * len(envs),
            root_seed=self.root_seed,
            policy=FaultPolicy(),
            fresh_env_per_episode=self._fresh,
        )


def _where(index: int, episode: int, step: int) -> str:
    return f"evaluation {index}, episode {episode}, step {step}"


def _where_now(index: int, running: Mapping[int, int], episodes: list[_Episode]) -> str:
    steps = [f"{j} (step {len(episodes[j].rewards)})" for j in running.values()]
    return f"evaluation {index}, among the episodes {', '.join(steps)}"


def _as_window(episodes: list[_Episode], index: int, reader: ObservationReader, *, kept: bool) -> EpisodeData:
    """Complete episodes, one after another, as one flat window."""
    lengths = [len(episode.rewards) for episode in episodes]
    ends = np.cumsum(lengths) - 1
    terminated = np.zeros(int(ends[-1]) + 1, np.bool_)
    terminated[ends] = [episode.terminated for episode in episodes]
    truncated = np.zeros_like(terminated)
    truncated[ends] = [not episode.terminated for episode in episodes]
    if kept:
        finals = np.stack([episode.final for episode in episodes if episode.final is not None])
        observations = np.stack([row for episode in episodes for row in episode.observations])
    else:
        finals = np.empty((len(episodes), 0), reader.dtype)
        observations = np.empty((len(terminated), 0), reader.dtype)
    records = tuple(
        EpisodeRecord(
            env_index=0,
            step=int(end),
            episode_return=float(np.sum(episode.rewards)),
            length=length,
            terminated=episode.terminated,
            seed=episode.seed,
        )
        for episode, length, end in zip(episodes, lengths, ends, strict=True)
    )
    return EpisodeData(
        observations=observations,
        actions=np.stack([action for episode in episodes for action in episode.actions]),
        rewards=np.array([reward for episode in episodes for reward in episode.rewards]),
        terminated=terminated,
        truncated=truncated,
        episode_id=index,
        metadata={
            "episode_records": True,
            "cut_by_limit": sum(episode.cut for episode in episodes),
            "observations_kept": kept,
        },
        episode_starts=[0, *(ends[:-1] + 1).tolist()],
        final_obs=finals[-1, ...],
        boundary_steps=np.column_stack([ends, np.zeros_like(ends)]),
        boundary_observations=finals,
        episodes=records,
    )
