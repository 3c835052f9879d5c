"""What flows between environment, pipeline, agent, evaluator and loop.

A *window* is the unit of training: a fixed number of environment steps, without forced resets. For historical
reasons it is called an episode in names (``EpisodeData``, ``episode_id``). A *complete episode* of the
environment is an
:class:`EpisodeRecord`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LoopState(Enum):
    """Where the autonomous loop stands."""

    ACTIVE = auto()
    """Scores improve, or there is too little evidence to say otherwise."""
    COOLING = auto()
    """No improvement for a while; convergence is being examined."""
    DORMANT = auto()
    """Converged: the gain still to be expected is bounded below what was asked for."""
    WATCHDOG = auto()
    """Converged and kept under observation; degradation there rolls back to the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeRecord:
    """One complete episode, carried across window borders.

    Attributes:
        env_index: Which of the N environments, 0 to N-1.
        step: Time index inside the window at which the episode ended, 0 to T-1.
        episode_return: Undiscounted sum of rewards over the whole episode.
        length: Number of steps of the whole episode.
        terminated: The episode ended in a terminal state (False: a time limit cut it).
        seed: The seed its ``reset`` was called with, if one was.
    """

    env_index: int
    step: int
    episode_return: float
    length: int
    terminated: bool
    seed: int | None = None


@dataclass(slots=True)
class EpisodeData:
    """One window of experience, raw.

    Arrays are ``[T, ...]`` for one environment and time-major ``[T, N, ...]`` for N (``n_envs`` is None for
    the former);
    :meth:`time_major` always gives ``[T, N, ...]``. ``terminated`` and ``truncated`` stay apart: a learner
    masks its bootstrap
    with ``terminated`` only, and cuts traces at either.

    Observations with parts (Dict and Tuple spaces, action masks) are structured arrays: ``*obs`` is empty then, and
    every element is a record (:mod:`optix_core.rl.structured`).

    Attributes:
        observations: ``[T(, N), *obs]`` what the policy saw.
        actions: ``[T(, N), *act]`` what the policy emitted (before any mapping to the environment's space).
        rewards: ``[T(, N)]`` float64.
        terminated: ``[T(, N)]`` bool, a terminal state was reached.
        truncated: ``[T(, N)]`` bool, the episode was cut (time limit); its successor state has a value.
        infos: Per-step info dicts if the pipeline was asked to keep them, else empty.
        episode_id: Index of the window in the run.
        values: ``[T(, N)]`` behaviour values, only from sources that record them.
        log_probs: ``[T(, N)]`` behaviour log-probabilities, only where data may be stale.
        timestamp: Wall clock at creation, information only.
        metadata: Anything a source wants to pass on.
        episode_starts: For one environment: indices where an episode begins, always containing 0. For N:
            ``[T, N]`` bool.
        final_obs: ``[(N,) *obs]`` the observation that truly followed the last step, before any reset.
        hidden_states: ``[T(, N), M]`` float32, a recurrent agent's memory before each step; zeros where an episode
            starts.
        n_envs: N, or None for flat single-environment data.
        boundary_steps: ``[K, 2]`` int, (t, n) of every step that ended an episode inside the window, in time order.
        boundary_observations: ``[K, *obs]`` what truly followed each of those steps, before the reset.
        episodes: The complete episodes that ended in this window.
        intrinsic_rewards: ``[T(, N)]`` float64, a bonus that agents learn from besides ``rewards`` (its weight is
            applied already), None if there is none. Scores and episode returns never contain it.
    """

    observations: NDArray[Any]
    actions: NDArray[Any]
    rewards: NDArray[Any]
    terminated: NDArray[Any]
    truncated: NDArray[Any]
    infos: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    episode_id: int = 0
    values: NDArray[Any] | None = None
    log_probs: NDArray[Any] | None = None
    timestamp: float = field(default_factory=time.time)
    metadata: dict[str, Any] = field(default_factory=dict[str, Any])
    episode_starts: NDArray[Any] | list[int] | None = None
    final_obs: NDArray[Any] | None = None
    hidden_states: NDArray[Any] | None = None
    n_envs: int | None = None
    boundary_steps: NDArray[Any] | None = None
    boundary_observations: NDArray[Any] | None = None
    episodes: tuple[EpisodeRecord, ...] = ()
    intrinsic_rewards: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        self.observations = np.asarray(self.observations)
        self.actions = np.asarray(self.actions)
        self.rewards = np.asarray(self.rewards, dtype=np.float64)
        self.terminated = np.asarray(self.terminated, dtype=np.bool_)
        self.truncated = np.asarray(self.truncated, dtype=np.bool_)
        lead = self.rewards.shape
        for name in ("terminated", "truncated"):
            if getattr(self, name).shape != lead:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, but rewards has {lead}")
        for name in ("observations", "actions"):
            if getattr(self, name).shape[: len(lead)] != lead:
                raise ValueError(
                    f"{name} has shape {getattr(self, name).shape}; its leading axes must be those of rewards, {lead}"
                )
        if self.intrinsic_rewards is not None and self.intrinsic_rewards.shape != lead:
            raise ValueError(
                f"intrinsic_rewards has shape {self.intrinsic_rewards.shape}, but rewards has {lead}"
            )
        if self.n_envs is not None and (len(lead) != 2 or lead[1] != self.n_envs):
            raise ValueError(f"n_envs is {self.n_envs}, but rewards has shape {lead}; expected [T, N]")

    @property
    def dones(self) -> NDArray[np.bool_]:
        """``terminated | truncated``: where an episode ended for either reason. Not for masking a bootstrap."""
        return self.terminated | self.truncated

    @property
    def learning_rewards(self) -> NDArray[Any]:
        """What agents learn from: ``rewards``, plus ``intrinsic_rewards`` where there are any."""
        return self.rewards if self.intrinsic_rewards is None else self.rewards + self.intrinsic_rewards

    @property
    def total_reward(self) -> float:
        """Sum of all rewards in the window, over all environments."""
        return float(self.rewards.sum())

    @property
    def length(self) -> int:
        """T, the number of steps per environment."""
        return int(self.rewards.shape[0])

    @property
    def n_steps(self) -> int:
        """T * N, the number of environment steps in the window."""
        return int(self.rewards.size)

    def time_major(self, name: str) -> NDArray[Any]:
        """The array field ``name`` as ``[T, N, ...]``, a view."""
        value = getattr(self, name)
        if value is None:
            raise ValueError(f"this window has no {name}")
        array: NDArray[Any] = np.asarray(value)
        return array if self.n_envs is not None else array[:, None]

    def next_observations(self) -> NDArray[Any]:
        """``[T(, N), *obs]``: what truly followed each step, before any reset.

        Raises:
            ValueError: The window lacks ``final_obs``, so the last successor is unknown.
        """
        if self.final_obs is None:
            raise ValueError("final_obs is missing, so the successor of the last step is unknown")
        records = self.observations.dtype.names is not None  # whose padding is to hold no chance bytes
        following = np.zeros_like(self.observations) if records else np.empty_like(self.observations)
        following[:-1] = self.observations[1:]
        following[-1] = self.final_obs
        if (
            self.boundary_steps is not None
            and self.boundary_observations is not None
            and len(self.boundary_steps)
        ):
            t, n = self.boundary_steps[:, 0], self.boundary_steps[:, 1]
            if self.n_envs is None:
                following[t] = self.boundary_observations
            else:
                following[t, n] = self.boundary_observations
        return following


@dataclass(frozen=True, slots=True)
class EvalMetrics:
    """What one evaluation of a window found.

    Attributes:
        primary_score: The number the loop maximises. NaN means *no score* (for example, no episode completed).
        metrics: Everything else worth logging.
        episode_id: The window it belongs to.
        timestamp: Wall clock, information only.
        episode_returns: Returns of the complete episodes behind the score, for intervals and paired comparisons.
    """

    primary_score: float
    metrics: dict[str, Any]
    episode_id: int
    timestamp: float = field(default_factory=time.time)
    episode_returns: tuple[float, ...] = ()

    def beats(self, other: EvalMetrics, margin: float = 0.0) -> bool:
        """Strictly greater than ``other`` by more than ``margin``.

        NaN never beats anything and is beaten by every number.
        """
        if np.isnan(self.primary_score):
            return False
        if np.isnan(other.primary_score):
            return True
        return self.primary_score > other.primary_score + margin

    def to_state(self) -> dict[str, Any]:
        """Plain data for a checkpoint; metrics that are no numbers, words or truth values are left out."""
        return {
            "primary_score": self.primary_score,
            "metrics": {k: v for k, v in self.metrics.items() if isinstance(v, int | float | str)},
            "episode_id": self.episode_id,
            "timestamp": self.timestamp,
            "episode_returns": list(self.episode_returns),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> EvalMetrics:
        """The metrics that :meth:`to_state` described."""
        return cls(
            primary_score=float(state["primary_score"]),
            metrics=dict(state["metrics"]),
            episode_id=int(state["episode_id"]),
            timestamp=float(state["timestamp"]),
            episode_returns=tuple(float(r) for r in state["episode_returns"]),
        )

    @property
    def generalization_gap(self) -> float | None:
        """``train_score - val_score``, or None without both."""
        if "train_score" in self.metrics and "val_score" in self.metrics:
            return float(self.metrics["train_score"]) - float(self.metrics["val_score"])
        return None


@dataclass(slots=True)
class HyperparamSet:
    """Named hyperparameter values; core never interprets the names."""

    params: dict[str, Any]
    episode_id: int = 0
    timestamp: float = field(default_factory=time.time)

    def copy(self) -> HyperparamSet:
        """An independent set with the same values."""
        return HyperparamSet(dict(self.params), self.episode_id, self.timestamp)


def same_value(a: Any, b: Any) -> bool:
    """Whether two values of a hyperparameter are the same, numbers up to single precision (agents may hold that)."""
    if isinstance(a, bool) or isinstance(b, bool) or not isinstance(a, Real) or not isinstance(b, Real):
        return bool(a == b)
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=0.0)


@dataclass(frozen=True, slots=True)
class PolicySnapshot:
    """A stored policy.

    Attributes:
        snapshot_id: The checkpoint's name inside the run directory.
        eval_metrics: The metrics that decided it was worth saving.
        hyperparams: The values in force at that moment.
        weights_path: Directory that holds it.
        episode_id: The window after which it was taken.
        timestamp: Wall clock, information only.
    """

    snapshot_id: str
    eval_metrics: EvalMetrics
    hyperparams: HyperparamSet
    weights_path: str
    episode_id: int
    timestamp: float = field(default_factory=time.time)


ParamBounds = Mapping[str, tuple[float, float]]
"""Tuning range per hyperparameter: inclusive (low, high)."""

History = Sequence[EvalMetrics]
"""Evaluations, oldest first."""
