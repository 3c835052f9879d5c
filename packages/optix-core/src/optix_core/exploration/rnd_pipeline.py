"""Any pipeline, with a bonus for novelty beside its rewards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent, CompanionCallbacks
from optix_core.base_pipeline import BasePipeline
from optix_core.errors import ConfigError, ResumeError
from optix_core.exploration.bonus_agents import with_bonus
from optix_core.exploration.rnd import RandomNetworkDistillation
from optix_core.exploration.schedule import EtaSchedule
from optix_core.loop_callback import LoopCallback
from optix_core.state import State, Stateful
from optix_core.types import EpisodeData

if TYPE_CHECKING:
    from optix_core.loop.loop_controller import LoopController


class RNDPipeline(BasePipeline):
    """Adds ``EpisodeData.intrinsic_rewards``: ``eta`` times the novelty of the observation that each step led to.

    ``rewards``, episode records and therefore scores stay what the environment gave. Agents that learn from windows
    learn from ``EpisodeData.learning_rewards``; those that learn stepwise are told rewards with the bonus, measured
    before the window under way was learned from. Agents that do neither are refused. Novelty is that of
    :class:`~optix_core.exploration.rnd.RandomNetworkDistillation`. Reward and bonus share one value function; there
    is no second critic for the bonus.

    In the loop ``eta`` follows :func:`~optix_core.exploration.schedule.next_eta`. Wrap the training pipeline only:
    validation needs no bonus.

    Args:
        pipeline: Where windows come from.
        obs_dim: Numbers in one observation.
        embedding_dim: Features, and width of the hidden layers.
        eta: Weight of the bonus, in units of reward, >= 0. Novelty has about unit variance of its discounted sums.
        predictor_lr: Step of the predictor's Adam.
        norm_eps: Added to the variance that novelty is divided by.
        gamma: Discount of those sums.
        batch_size: Observations per step of the predictor.
        epochs: Times that the predictor goes through each window.
        seed: Root seed; None: the pipeline's, or 0.

    Attributes:
        eta: The weight in force.
        base_eta: The weight to come back to.
        resting: The loop declared convergence and training has not gone on since.

    Raises:
        ConfigError: A number is out of its range, or ``pipeline`` is none.
    """

    def __init__(
        self,
        pipeline: BasePipeline,
        obs_dim: int,
        embedding_dim: int = 64,
        eta: float = 0.1,
        predictor_lr: float = 1e-3,
        norm_eps: float = 1e-8,
        *,
        gamma: float = 0.99,
        batch_size: int = 64,
        epochs: int = 4,
        seed: int | None = None,
    ) -> None:
        if not isinstance(pipeline, BasePipeline):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"RNDPipeline wraps a pipeline, not a {type(pipeline).__name__}")
        self.pipeline = pipeline
        self.eta = self.base_eta = _checked(eta)
        self.resting = False
        self._rnd_options: dict[str, Any] = {
            "predictor_lr": predictor_lr,
            "norm_eps": norm_eps,
            "gamma": gamma,
            "batch_size": batch_size,
            "epochs": epochs,
            "seed": int(getattr(pipeline, "root_seed", 0)) if seed is None else int(seed),
        }
        self._sizes = int(obs_dim), int(embedding_dim)
        self.rnd = RandomNetworkDistillation(*self._sizes, **self._rnd_options)
        self._was_set_up = False
        agent = getattr(pipeline, "agent", None)
        if agent is not None:
            self.set_agent(agent)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the inner pipeline has."""
        if name.startswith("_") or name == "pipeline":
            raise AttributeError(name)
        return getattr(self.pipeline, name)

    # ---------------------------------------------------------------- the contract of pipelines

    @property
    def is_live(self) -> bool:
        """As the inner pipeline."""
        return self.pipeline.is_live

    @property
    def steps_per_window(self) -> int | None:
        """As the inner pipeline."""
        return self.pipeline.steps_per_window

    def limit_next_window(self, steps: int) -> bool:
        """As the inner pipeline."""
        return self.pipeline.limit_next_window(steps)

    def set_agent(self, agent: BaseAgent) -> None:
        """Let ``agent`` act, and learn with the bonus.

        Raises:
            ConfigError: The agent does not say ``accepts_intrinsic_rewards``.
        """
        self.pipeline.set_agent(with_bonus(agent, self._stepwise))

    def setup(self) -> None:
        """Get the inner pipeline ready. A second call begins afresh, and forgets what was known."""
        self.pipeline.setup()
        if not self._was_set_up:
            self._was_set_up = True
            return
        self.rnd = RandomNetworkDistillation(*self._sizes, **self._rnd_options)
        self.eta, self.resting = self.base_eta, False

    def episodes(self) -> Iterator[EpisodeData]:
        """The inner pipeline's windows, with the bonus beside their rewards."""
        for window in self.pipeline.episodes():
            yield self._with_bonus(window)

    def teardown(self) -> None:
        """Tear the inner pipeline down."""
        self.pipeline.teardown()

    def companion_callbacks(self, run: LoopController) -> list[LoopCallback]:
        """The schedule of ``eta``, and whatever the inner pipeline brings."""
        inner = self.pipeline
        more = inner.companion_callbacks(run) if isinstance(inner, CompanionCallbacks) else []
        return [EtaSchedule(run, self), *more]

    # ---------------------------------------------------------------- the bonus

    def set_eta(self, eta: float) -> None:
        """Put a weight in force, from the next step or window on.

        Raises:
            ConfigError: It is negative or not finite.
        """
        self.eta = _checked(eta)

    def _stepwise(self, next_observations: NDArray[Any]) -> NDArray[np.float64]:
        return self.eta * self.rnd.novelty(next_observations)

    def _with_bonus(self, window: EpisodeData) -> EpisodeData:
        following = window.next_observations()
        flat = window.n_envs is None
        novelty = self.rnd.window(following[:, None] if flat else following)
        window.intrinsic_rewards = self.eta * (novelty[:, 0] if flat else novelty)
        window.metadata["rnd"] = {"eta": self.eta, "novelty_mean": float(novelty.mean())}
        return window

    # ---------------------------------------------------------------- state

    def state_dict(self) -> State:
        """Networks, statistics, the weight, and the inner pipeline's state if it has one."""
        inner = self.pipeline
        return {
            "rnd": self.rnd.state_dict(),
            "eta": self.eta,
            "base_eta": self.base_eta,
            "resting": self.resting,
            "pipeline": inner.state_dict() if isinstance(inner, Stateful) else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            ResumeError: The state is that of another kind of pipeline, or of networks of other sizes.
        """
        if "rnd" not in state:
            raise ResumeError(
                f"this is no state of an RNDPipeline: it has {sorted(state)}. Was the run begun without the bonus?"
            )
        try:
            self.rnd.load_state_dict(state["rnd"])
        except ValueError as error:
            raise ResumeError(f"the stored novelty does not fit: {error}") from error
        inner = self.pipeline
        if isinstance(inner, Stateful) and state["pipeline"] is not None:
            inner.load_state_dict(state["pipeline"])
        self.eta, self.base_eta = _checked(state["eta"]), _checked(state["base_eta"])
        self.resting = bool(state["resting"])


def _checked(eta: float) -> float:
    if not (0.0 <= eta < float("inf")):
        raise ConfigError(f"eta is {eta}; the weight of the bonus must be at least 0 and finite")
    return float(eta)
