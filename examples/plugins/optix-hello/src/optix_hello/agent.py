"""A linear actor-critic: a softmax policy that follows GAE advantages, and a value function that explains returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from optix_core.base_agent import BaseAgent
from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint, SpaceError
from optix_core.hyperparams import bounds, log_params, merge, update
from optix_core.plugin import AgentContext
from optix_core.rl.returns import generalized_advantage_estimation
from optix_core.state import generator_state, restore_generator
from optix_core.types import EpisodeData, HyperparamSet

from optix_hello.plugin import HYPERPARAMS


class HelloAgent(BaseAgent):
    """Acts in Discrete spaces and sees flat observations."""

    default_param_bounds = bounds(HYPERPARAMS)
    default_log_params = log_params(HYPERPARAMS)

    def __init__(self, ctx: AgentContext) -> None:
        seen, acted = ctx.observation_space, ctx.action_space
        if not isinstance(acted, spaces.Discrete) or not isinstance(seen, spaces.Box):
            raise SpaceError(f"Hello needs Box observations and Discrete actions, not {seen} and {acted}")
        inputs = int(np.prod(seen.shape)) + 1
        self._first = int(acted.start)
        self._rng = np.random.default_rng(ctx.seed)
        self._params = merge(HYPERPARAMS, ctx.hyperparams, owner="Hello")
        self._weights = {"policy": np.zeros((inputs, int(acted.n))), "value": np.zeros(inputs)}

    def _features(self, observations: Any, rows: int) -> NDArray[np.float64]:
        """[rows, inputs]: flattened observations and a constant 1."""
        flat = np.asarray(observations, dtype=np.float64).reshape(rows, -1)
        return np.hstack([flat, np.ones((rows, 1))])

    def _probabilities(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        scores = features @ self._weights["policy"]
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def act(self, observation: Any, *, deterministic: bool = False) -> int:
        """An action of the environment's space."""
        p = self._probabilities(self._features(observation, 1))[0]
        return self._first + int(p.argmax() if deterministic else self._rng.choice(len(p), p=p))

    def learn(self, episode_data: EpisodeData) -> Mapping[str, Any]:
        """One gradient step from one window."""
        data, hp = episode_data, self._params
        x = self._features(data.observations, data.n_steps)
        following = self._features(data.next_observations(), data.n_steps)
        shape = data.time_major("rewards").shape
        errors = generalized_advantage_estimation(
            data.time_major("rewards"),
            (x @ self._weights["value"]).reshape(shape),
            (following @ self._weights["value"]).reshape(shape),
            data.time_major("terminated"),  # nothing has value after a terminal state...
            data.time_major("dones"),  # ...and a time limit only cuts the trace
            gamma=hp["gamma"],
            gae_lambda=hp["gae_lambda"],
        ).ravel()
        advantages = (errors - errors.mean()) / (errors.std() + 1e-8)
        p, rate = self._probabilities(x), hp["learning_rate"]
        chosen = np.eye(p.shape[1])[data.actions.ravel().astype(int) - self._first]
        self._weights = {
            "policy": self._weights["policy"] + rate * x.T @ (advantages[:, None] * (chosen - p)) / len(x),
            "value": self._weights["value"] + rate * x.T @ errors / (x**2).sum(),
        }
        entropy = -(p * np.log(p + 1e-12)).sum(axis=1).mean()
        return {"entropy": float(entropy), "value_error": float(np.abs(errors).mean())}

    def get_hyperparams(self) -> HyperparamSet:
        """A copy of the values in force."""
        return HyperparamSet(dict(self._params))

    def set_hyperparams(self, hyperparams: HyperparamSet) -> None:
        """Put values in force; a wrong one raises HyperparamError and changes nothing."""
        self._params = update(self._params, hyperparams, HYPERPARAMS, owner="Hello")

    def save_weights(self, path: str) -> None:
        """Write the weights to a file."""
        with Path(path).open("wb") as file:
            np.savez(file, allow_pickle=False, **self._weights)

    def load_weights(self, path: str) -> None:
        """Read the weights from a file, all or nothing."""
        with Path(path).open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as saved:
                    weights = {name: np.array(saved[name]) for name in saved.files}
            except Exception as error:
                raise CorruptCheckpoint(f"{path} holds no readable weights: {error}") from error
        self._adopt(weights, path)

    def _adopt(self, weights: Mapping[str, Any], source: str) -> None:
        wanted = {name: array.shape for name, array in self._weights.items()}
        found = {name: np.shape(array) for name, array in weights.items()}
        if found != wanted:
            raise IncompatibleCheckpoint(f"{source} holds weights of shapes {found}; this agent has {wanted}")
        self._weights = {name: np.array(array) for name, array in weights.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what comes next, for exact resuming."""
        weights = {name: array.copy() for name, array in self._weights.items()}
        return {"weights": weights, "params": dict(self._params), "rng": generator_state(self._rng)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, all or nothing."""
        self._adopt(state["weights"], "the state")
        self._params = dict(state["params"])
        restore_generator(self._rng, state["rng"])


def build(ctx: AgentContext) -> HelloAgent:
    """What the spec's factory string leads to. Options that the spec declares would arrive as keyword arguments."""
    return HelloAgent(ctx)
