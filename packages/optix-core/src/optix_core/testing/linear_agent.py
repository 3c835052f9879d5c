"""A real agent without any framework: actor-critic with linear policy and value, for tests that need one that learns.

The advantage is GAE (Schulman et al. 2016, eq. 16), the policy gradient that of Sutton & Barto (2018), section 13.5,
and both
are followed by Adam (Kingma & Ba 2015, algorithm 1). It handles flat observations and discrete or box actions.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent
from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint, SpaceError
from optix_core.hyperparams import bounds, exploration_params, log_params, merge, update
from optix_core.plugin import Hyper
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.rl.spaces import BoxScaler
from optix_core.seeding import Domain, generator
from optix_core.state import State, generator_state, restore_generator
from optix_core.types import EpisodeData, HyperparamSet, ParamBounds

Floats = NDArray[np.float64]
HYPERPARAMS: tuple[Hyper, ...] = (
    Hyper(
        "learning_rate",
        0.05,
        low=0.0,
        high=10.0,
        low_open=True,
        tune=(1e-3, 0.3),
        log=True,
        help="Step of Adam.",
    ),
    Hyper(
        "gamma",
        0.99,
        low=0.0,
        high=1.0,
        tune=(0.9, 0.999),
        log="complement",
        help="Discount per step.",
    ),
    Hyper("gae_lambda", 0.95, low=0.0, high=1.0, help="Mixing of one-step and full returns."),
    Hyper("entropy_coef", 0.01, low=0.0, high=10.0, explores=1, help="Weight of the entropy bonus."),
)


class LinearAgent(BaseAgent):
    """Linear softmax or Gaussian policy with a linear value function.

    Args:
        observation_space: A Box; it is flattened.
        action_space: Discrete, or a bounded Box of one axis.
        seed: Root seed of initial weights (zero here) and of acting.
        hyperparams: Values that differ from the defaults.

    Raises:
        SpaceError: Any other space.
        HyperparamError: An unknown name, or a value outside its valid range.
    """

    default_param_bounds: ClassVar[ParamBounds] = bounds(HYPERPARAMS)
    default_log_params: ClassVar[Sequence[str]] = log_params(HYPERPARAMS)
    default_exploration_params: ClassVar[Mapping[str, int]] = exploration_params(HYPERPARAMS)
    accepts_intrinsic_rewards: ClassVar[bool] = True

    def __init__(
        self,
        observation_space: gym.Space[Any],
        action_space: gym.Space[Any],
        *,
        seed: int = 0,
        hyperparams: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(observation_space, gym.spaces.Box):
            raise SpaceError(
                f"LinearAgent sees Box observations only, not {observation_space}; flatten them first"
            )
        if isinstance(action_space, gym.spaces.Discrete):
            self._outputs, self._discrete, self._first = int(action_space.n), True, int(action_space.start)
        elif (
            isinstance(action_space, gym.spaces.Box)
            and len(action_space.shape) == 1
            and action_space.is_bounded()
        ):
            self._outputs, self._discrete = int(action_space.shape[0]), False
            self._box = BoxScaler(action_space)
        else:
            raise SpaceError(
                f"LinearAgent acts in Discrete and bounded flat Box spaces, not in {action_space}"
            )
        features = int(np.prod(observation_space.shape)) + 1
        self._rng = generator(seed, Domain.POLICY)
        self._weights: dict[str, Floats] = {
            "policy": np.zeros((features, self._outputs)),
            "value": np.zeros((features, 1)),
            "log_std": np.full(self._outputs, -0.5),
        }
        self._mean_gradient = {name: np.zeros_like(w) for name, w in self._weights.items()}
        self._mean_square = {name: np.zeros_like(w) for name, w in self._weights.items()}
        self._updates = 0
        self._params = merge(HYPERPARAMS, hyperparams, owner="LinearAgent")

    # --- acting -----------------------------------------------------------------------------------------------------

    @staticmethod
    def _features(observations: NDArray[Any]) -> Floats:
        """``[B, F]``: flattened observations with a constant 1."""
        flat = np.asarray(observations, dtype=np.float64).reshape(len(observations), -1)
        return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)

    def _probabilities(self, features: Floats) -> Floats:
        """``[B, A]`` softmax of the linear scores."""
        scores = features @ self._weights["policy"]
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """Policy actions: indices ``[N]``, or unbounded Gaussian samples ``[N, A]`` float32."""
        features = self._features(observations)
        if self._discrete:
            probabilities = self._probabilities(features)
            if deterministic:
                return probabilities.argmax(axis=1)
            below = probabilities.cumsum(axis=1) < self._rng.random((len(features), 1))
            return np.minimum(below.sum(axis=1), self._outputs - 1)
        mean = features @ self._weights["policy"]
        noise = (
            0.0 if deterministic else np.exp(self._weights["log_std"]) * self._rng.standard_normal(mean.shape)
        )
        return (mean + noise).astype(np.float32)

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """Indices shifted to the space's start, or samples clipped to [-1, 1] and scaled to the bounds."""
        if self._discrete:
            return actions + self._first
        return self._box.to_box(np.clip(actions, -1.0, 1.0))

    def act(self, observation: Any, *, deterministic: bool = False) -> Any:
        """An action of the environment's space."""
        policy = self.act_batch(np.asarray(observation)[None], deterministic=deterministic)
        return self.env_actions(policy)[0]

    def action_probs_batch(self, observations: NDArray[Any]) -> Floats:
        """``[N, A]`` for observations ``[N, *obs]``."""
        return self._probabilities(self._features(observations))

    def action_probs(self, observation: NDArray[Any]) -> Floats:
        """``[n_actions]``.

        Raises:
            SpaceError: The policy is continuous.
        """
        if not self._discrete:
            raise SpaceError("a continuous policy has no action probabilities")
        return self._probabilities(self._features(np.asarray(observation)[None]))[0]

    # --- learning ---------------------------------------------------------------------------------------------------

    def learn(self, episode_data: EpisodeData) -> Mapping[str, Any]:
        """One Adam step on policy and value from one window."""
        data = episode_data
        n = data.n_envs or 1
        features = self._features(data.observations.reshape(data.n_steps, -1))
        values = (features @ self._weights["value"]).reshape(-1, n)
        successors = self._features(data.next_observations().reshape(data.n_steps, -1))
        following = (successors @ self._weights["value"]).reshape(-1, n)
        advantages = generalized_advantage_estimation(
            data.time_major("learning_rewards"),
            values,
            following,
            data.time_major("terminated"),
            data.time_major("dones"),
            gamma=self._params["gamma"],
            gae_lambda=self._params["gae_lambda"],
        )
        targets = advantages + values
        scale = float(advantages.std())
        normal = ((advantages - advantages.mean()) / (scale + 1e-8)).reshape(-1, 1)
        gradients, entropy = self._gradients(features, data.actions, normal)
        error = (values - targets).reshape(-1, 1)
        gradients["value"] = features.T @ error / len(features)
        self._ascend(gradients)
        return {"value_loss": float(np.mean(error**2)), "entropy": entropy, "advantage_std": scale}

    def _gradients(
        self, features: Floats, actions: NDArray[Any], advantages: Floats
    ) -> tuple[dict[str, Floats], float]:
        """Descent directions of policy loss minus entropy bonus, and the mean entropy."""
        bonus, count = self._params["entropy_coef"], len(features)
        if self._discrete:
            probabilities = self._probabilities(features)
            log_probs = np.log(probabilities + 1e-12)
            entropies = -(probabilities * log_probs).sum(axis=1, keepdims=True)
            score = np.eye(self._outputs)[actions.reshape(-1).astype(np.int64)] - probabilities
            slope = advantages * score - bonus * probabilities * (log_probs + entropies)
            return {"policy": -features.T @ slope / count}, float(entropies.mean())
        std = np.exp(self._weights["log_std"])
        offset = (actions.reshape(count, -1) - features @ self._weights["policy"]) / std
        gradients = {
            "policy": -features.T @ (advantages * offset / std) / count,
            "log_std": -(advantages * (offset**2 - 1.0)).mean(axis=0) - bonus,
        }
        return gradients, float(np.sum(self._weights["log_std"] + 0.5 * np.log(2 * np.pi * np.e)))

    def _ascend(self, gradients: Mapping[str, Floats]) -> None:
        """One Adam step."""
        self._updates += 1
        for name, gradient in gradients.items():
            first, second = self._mean_gradient[name], self._mean_square[name]
            first += 0.1 * (gradient - first)
            second += 0.001 * (gradient**2 - second)
            step = first / (1 - 0.9**self._updates) / (np.sqrt(second / (1 - 0.999**self._updates)) + 1e-8)
            self._weights[name] = self._weights[name] - self._params["learning_rate"] * step
        self._weights["log_std"] = np.clip(self._weights["log_std"], -5.0, 2.0)

    # --- hyperparameters --------------------------------------------------------------------------------------------

    def get_hyperparams(self) -> HyperparamSet:
        """A copy of the values in force."""
        return HyperparamSet(dict(self._params))

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        """Put values in force.

        Raises:
            HyperparamError: An unknown name, or a value outside its valid interval; nothing is changed then.
        """
        self._params = update(self._params, hyperparams, HYPERPARAMS, owner="LinearAgent")

    # --- persistence ------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """Weights, both moments of Adam, the random stream and the values in force."""
        return {
            "weights": {name: w.copy() for name, w in self._weights.items()},
            "mean_gradient": {name: m.copy() for name, m in self._mean_gradient.items()},
            "mean_square": {name: v.copy() for name, v in self._mean_square.items()},
            "updates": self._updates,
            "rng": generator_state(self._rng),
            "hyperparams": dict(self._params),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: The weights have other shapes.
        """
        parts = ("weights", "mean_gradient", "mean_square")
        for part in parts:
            self._require_shapes(state[part])
        restore_generator(self._rng, state["rng"])
        weights, first, second = ({n: np.array(w) for n, w in state[part].items()} for part in parts)
        self._weights, self._mean_gradient, self._mean_square = weights, first, second
        self._updates = int(state["updates"])
        self._params = {name: float(v) for name, v in state["hyperparams"].items()}

    def _require_shapes(self, weights: Mapping[str, Any]) -> None:
        found = {name: tuple(np.shape(w)) for name, w in weights.items()}
        wanted = {name: w.shape for name, w in self._weights.items()}
        if found != wanted:
            raise IncompatibleCheckpoint(f"these weights have shapes {found}, but this agent needs {wanted}")

    def save_weights(self, path: str) -> None:
        """Write the weights to the file ``path``, whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **self._weights)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.partial")
        partial.write_bytes(buffer.getvalue())
        os.replace(partial, target)  # noqa: PTH105 (replaces on every system)

    def load_weights(self, path: str) -> None:
        """Read weights.

        Raises:
            CorruptCheckpoint: The file is not what was written.
            IncompatibleCheckpoint: It belongs to other spaces.
            FileNotFoundError: There is no such file.
        """
        raw = Path(path).read_bytes()
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
                weights = {name: np.array(archive[name]) for name in archive.files}
        except Exception as error:
            raise CorruptCheckpoint(
                f"{path} holds no readable weights ({error}); use another checkpoint"
            ) from error
        self._require_shapes(weights)
        self._weights = weights

    def average_weights(self, paths: Sequence[str]) -> None:
        """Load the mean of several saved weights; all or nothing."""
        before = self._weights
        loaded: list[dict[str, Floats]] = []
        try:
            for path in paths:
                self.load_weights(path)
                loaded.append(self._weights)
        finally:
            self._weights = before
        self._weights = {name: np.mean([w[name] for w in loaded], axis=0) for name in before}

    def perturb_weights(self, noise_scale: float, *, seed: int | None = None) -> None:
        """Multiply every weight by ``1 + noise_scale * N(0, 1)``, from the agent's own stream if no seed is given."""
        rng = self._rng if seed is None else generator(seed, Domain.PERTURBATION)
        self._weights = {
            n: w * (1.0 + noise_scale * rng.standard_normal(w.shape)) for n, w in self._weights.items()
        }
