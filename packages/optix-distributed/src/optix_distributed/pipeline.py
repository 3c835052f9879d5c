"""Windows for the loop from actors in other processes: everything else of the loop stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from optix_core.acting.remote import acting_of
from optix_core.base_agent import BaseAgent
from optix_core.base_pipeline import BasePipeline
from optix_core.errors import ConfigError
from optix_core.seeding import Domain, derive_seed, fresh_root_seed
from optix_core.state import State
from optix_core.types import EpisodeData
from optix_distributed.collection import Collection
from optix_distributed.settings import CollectionSettings


class DistributedPipeline(BasePipeline):
    """Each window has ``n_actors`` trajectories of ``trajectory_len`` steps of ``envs_per_actor`` environments.

    While the agent learns from one window its actors collect the next, so data is one version old (more with more
    ``slots_per_actor``). Windows say so, and agents correct for it (:mod:`optix_core.agents.ppo_update`).

    Args:
        agent: Who acts; its policy must be one that numpy can compute.
        env_factories: One function, or several that take turns, each of which makes one environment.
        settings: How to collect; see :class:`~optix_distributed.collection.CollectionSettings`.
        seed: Root seed. Fresh if None.

    Raises:
        ConfigError: The agent learns from single steps, or its policy cannot act without its framework.
    """

    def __init__(
        self,
        agent: BaseAgent,
        env_factories: Callable[[], Any] | Sequence[Callable[[], Any]],
        settings: CollectionSettings | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.settings = settings or CollectionSettings(slots_per_actor=1)
        self._factories = [env_factories] if callable(env_factories) else list(env_factories)
        self.root_seed = fresh_root_seed() if seed is None else int(seed)
        self._agent = agent
        self._collection: Collection | None = None
        self._lives = 0
        self._before: dict[str, int] = {}
        acting_of(agent)

    @property
    def env_factory(self) -> Callable[[], Any]:
        """Builds one more environment."""
        return self._factories[0]

    @property
    def is_live(self) -> bool:
        """False: environments wait for their actions."""
        return False

    @property
    def steps_per_window(self) -> int:
        """``n_actors * trajectory_len * envs_per_actor``."""
        return self.settings.n_actors * self.settings.slot_steps

    @property
    def n_envs(self) -> int:
        """Environments of all actors."""
        return self.settings.n_actors * self.settings.envs_per_actor

    @property
    def resume_level(self) -> str:
        """A resumed run begins new episodes."""
        return "restart-episode"

    def set_agent(self, agent: BaseAgent) -> None:
        """Let ``agent`` act; actors of another one are ended."""
        if agent is not self._agent:
            acting_of(agent)
            self.teardown()
            self._agent = agent

    def setup(self) -> None:
        """Nothing is started before the first window is asked for."""
        self.teardown()

    def episodes(self) -> Iterator[EpisodeData]:
        """An endless iterator of windows."""
        while True:
            yield self.collect()

    def collect(self) -> EpisodeData:
        """The next window. The present weights are published first.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
        """
        if self._collection is None:
            seed = derive_seed(self.root_seed, Domain.ENV, self._lives)
            self._lives += 1
            self._collection = Collection(acting_of(self._agent), self._factories, self.settings, seed)
        collection = self._collection
        if not collection.publish() and collection.version < 0:
            raise ConfigError("the agent's weights are not finite, so there is no policy to collect with")
        before = collection.stats()
        try:
            window = collection.collect(self.settings.n_actors, self.settings.n_actors)
        except BaseException:
            self.teardown()
            raise
        assert window is not None
        now = collection.stats()
        discarded = sum(now["steps_discarded"].values())
        facts = {
            "lag_mean": now["lag_mean"],
            "lag_max": now["lag_max"],
            "queue_depth": now["queue_depth"],
            "actor_rates": now["actor_rates"],
            "restarts": now["restarts"],
            "steps_collected": now["steps_collected"],
            "steps_trained": now["steps_trained"],
            "steps_discarded": discarded,
            "steps_lost": now["steps_lost"],
            "actors_alive": now["actors_alive"],
            "learner_busy": now["learner_busy"],
            **{f"rate_{a}": rate for a, rate in enumerate(now["actor_rates"])},
        }
        log = [("actors", facts)]
        if now["restarts"] > before["restarts"]:
            log.append(("actor_restarted", {"restarts": now["restarts"] - before["restarts"]}))
        window.metadata |= {
            "log": log,
            "env_faults": {"env_errors": now["env_errors"], "nonfinite": now["nonfinite"]},
        }
        return window

    def stats(self) -> dict[str, Any]:
        """Counters of the present actors; empty before there are any."""
        return {} if self._collection is None else self._collection.stats()

    def teardown(self) -> None:
        """End the actors. Safe to call twice."""
        if self._collection is not None:
            self._collection.close()
            self._collection = None

    def state_dict(self) -> State:
        """Seeds and how often actors were started, so that a resumed run draws other episodes."""
        return {"root_seed": self.root_seed, "lives": self._lives}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue: actors start anew, in new episodes."""
        self.teardown()
        self.root_seed, self._lives = int(state["root_seed"]), int(state["lives"])

    def with_settings(self, **changes: Any) -> DistributedPipeline:
        """One like this with other settings."""
        return DistributedPipeline(
            self._agent, self._factories, replace(self.settings, **changes), seed=self.root_seed
        )
