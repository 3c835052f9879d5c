"""What :class:`BatchPipeline` and :class:`VectorBatchPipeline` share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optix_core.base_agent import BaseAgent
from optix_core.base_pipeline import BasePipeline
from optix_core.errors import ConfigError, ResumeError
from optix_core.pipelines.actor import Actor
from optix_core.pipelines.collector import WindowCollector
from optix_core.pipelines.faults import FaultPolicy, OnEnvError, OnNonFinite
from optix_core.pipelines.stepper import Stepper
from optix_core.rl.spaces import SpaceInfo
from optix_core.seeding import fresh_root_seed
from optix_core.state import State
from optix_core.types import EpisodeData


class SteppingPipeline(BasePipeline):
    """A pipeline that steps N environments itself, a window at a time.

    Subclasses call ``__init__`` and make the stepper.
    """

    def __init__(
        self,
        agent: BaseAgent | None,
        window_size: int,
        *,
        seed: int | None,
        on_env_error: OnEnvError,
        on_nonfinite: OnNonFinite,
        keep_infos: bool,
        strict: bool,
    ) -> None:
        if window_size < 1:
            raise ConfigError(f"window_size is {window_size}; a window needs at least 1 step")
        self.window_size = int(window_size)
        self.root_seed = fresh_root_seed() if seed is None else int(seed)
        self._agent: Any = agent
        self._keep_infos, self._strict = keep_infos, strict
        self._policy = FaultPolicy(on_env_error, on_nonfinite)
        self._stepper: Stepper | None = None
        self._collector: WindowCollector | None = None
        self._actor: Actor | None = None
        self._limit: int | None = None
        self._loaded = False

    @abstractmethod
    def _make_stepper(self) -> Stepper:
        """The environments, for ``self.root_seed`` and ``self._policy``."""

    @property
    def is_live(self) -> bool:
        """False: environments wait for their actions."""
        return False

    @property
    def agent(self) -> BaseAgent | None:
        """Who acts."""
        return self._agent

    @property
    def n_envs(self) -> int:
        """Number of environments, N."""
        return self._require_stepper().n_envs

    @property
    def observation_space(self) -> SpaceInfo:
        """Facts about the observation space of one environment."""
        return self._require_stepper().observation_space

    @property
    def action_space(self) -> SpaceInfo:
        """Facts about the action space of one environment."""
        return self._require_stepper().action_space

    @property
    def steps_per_window(self) -> int:
        """``window_size * n_envs``."""
        return self.window_size * self.n_envs

    @property
    def resume_level(self) -> str:
        """``exact`` if a resumed run continues episodes in the middle, else ``restart-episode``."""
        return self._require_stepper().resume_level

    def set_agent(self, agent: BaseAgent) -> None:
        """Let ``agent`` act from the next window on (capabilities are looked up here, once)."""
        self._agent = agent
        self._actor = None

    def setup(self) -> None:
        """Get ready. A second call starts afresh, with the first episodes of the same seed.

        A state loaded before the first ``setup`` is kept.
        """
        if self._loaded:
            self._loaded = False
            return
        self._policy.clear()
        self._collector = self._make_collector()

    def episodes(self) -> Iterator[EpisodeData]:
        """An endless iterator of windows; each is collected when it is asked for."""
        if self._collector is None:
            self.setup()
        while True:
            yield self.collect()

    def collect(self) -> EpisodeData:
        """The next window."""
        if self._collector is None:
            self.setup()
        assert self._collector is not None
        if self._actor is None:
            self._actor = Actor(self._agent, self.action_space, self.observation_space)
        steps, self._limit = self._limit or self.window_size, None
        return self._collector.collect(steps, self._actor)

    def limit_next_window(self, steps: int) -> bool:
        """See :meth:`BasePipeline.limit_next_window`; False if not even one step per environment fits."""
        per_env = steps // self.n_envs
        if per_env < 1:
            return False
        self._limit = min(per_env, self.window_size)
        return True

    def teardown(self) -> None:
        """Close the environments. Safe to call twice."""
        if self._stepper is not None:
            self._stepper.close()
        self._collector = self._limit = None
        self._loaded = False

    def state_dict(self) -> State:
        """Seeds, counters, running episodes and their environments' states, as of the last window border."""
        collector = self._collector
        return {
            "root_seed": self.root_seed,
            "resume_level": self.resume_level,
            "collector": None if collector is None else collector.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state`` was taken; environments are brought back inside their episodes and checked.

        Raises:
            ResumeError: An environment cannot be brought back, or the state belongs to another pipeline.
        """
        if "collector" not in state:
            raise ResumeError(f"this is not a state of {type(self).__name__}: it has {sorted(state)}")
        collector, stepper = self._make_collector(), self._require_stepper()
        stepper.root_seed = int(state["root_seed"])
        try:
            if state["collector"] is not None:
                to_env: Callable[[Any], Any] = int if self.action_space.kind == "discrete" else _itself
                collector.load_state_dict(state["collector"], to_env)
        except BaseException:
            stepper.root_seed = self.root_seed
            raise
        self._loaded = self._collector is None
        self._collector, self.root_seed = collector, stepper.root_seed

    def _make_collector(self) -> WindowCollector:
        return WindowCollector(
            self._require_stepper(), self._policy, keep_infos=self._keep_infos, strict=self._strict
        )

    def _require_stepper(self) -> Stepper:
        if self._stepper is None:
            self._stepper = self._make_stepper()
        return self._stepper


def _itself(action: Any) -> Any:
    return action
