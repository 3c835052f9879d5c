"""Random network distillation (Burda et al. 2018, arXiv:1810.12894): what cannot be predicted yet is new.

A fixed random network maps observations to features, and a second one learns to predict them. Its error is large
where it has seen little. Observations are whitened and clipped to [-5, 5] (section 2.4), and errors are divided by the
running deviation of their discounted sums, so that the bonus has one scale whatever the observations are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError, SpaceError
from optix_core.exploration.perceptron import Floats, Perceptron
from optix_core.normalizers import RunningMeanStd
from optix_core.rl.masking import split_masks
from optix_core.rl.structured import leaves
from optix_core.seeding import Domain, generator
from optix_core.state import State, generator_state, restore_generator

CLIP = 5.0
"""Bound of whitened observations, in standard deviations."""


class RandomNetworkDistillation:
    """Novelty of observations, and how it is learned.

    Args:
        obs_dim: Numbers in one observation, all axes and parts together (action masks do not count).
        embedding_dim: Features, and width of the hidden layers.
        predictor_lr: Step of Adam.
        norm_eps: Added to the variance that novelty is divided by.
        gamma: Discount of the sums whose deviation that is.
        batch_size: Observations per step of the predictor.
        epochs: Times that each window is gone through.
        seed: Root seed of both networks and of the order of minibatches.

    Raises:
        ConfigError: A number is out of its range.
    """

    def __init__(
        self,
        obs_dim: int,
        embedding_dim: int = 64,
        *,
        predictor_lr: float = 1e-3,
        norm_eps: float = 1e-8,
        gamma: float = 0.99,
        batch_size: int = 64,
        epochs: int = 4,
        seed: int = 0,
    ) -> None:
        counts = {
            "obs_dim": obs_dim,
            "embedding_dim": embedding_dim,
            "batch_size": batch_size,
            "epochs": epochs,
        }
        for name, count in counts.items():
            if count < 1:
                raise ConfigError(f"{name} is {count}; it must be at least 1")
        if not (predictor_lr > 0 and norm_eps > 0 and 0 <= gamma < 1):
            raise ConfigError(
                f"predictor_lr is {predictor_lr}, norm_eps {norm_eps}, gamma {gamma}; expected both of the former "
                "positive and gamma in [0, 1)"
            )
        self.obs_dim, self.learning_rate, self.epsilon, self.gamma = obs_dim, predictor_lr, norm_eps, gamma
        self.batch_size, self.epochs = batch_size, epochs
        self.target = Perceptron(obs_dim, embedding_dim, embedding_dim, generator(seed, Domain.NOVELTY, 0))
        self.predictor = Perceptron(obs_dim, embedding_dim, embedding_dim, generator(seed, Domain.NOVELTY, 1))
        self.seen = RunningMeanStd((obs_dim,))
        self.returns = RunningMeanStd(())
        self._running: Floats = np.zeros(
            0
        )  # [N] discounted sums so far; they go on over the ends of episodes
        self._rng = generator(seed, Domain.NOVELTY, 2)

    def flat(self, observations: NDArray[Any]) -> Floats:
        """``[B, *obs]`` as ``[B, obs_dim]`` float64: parts side by side, without action masks.

        Raises:
            SpaceError: They have another number of components.
        """
        plain, _ = split_masks(observations)
        rows = [np.asarray(values, np.float64).reshape(len(plain), -1) for _, values in leaves(plain)]
        joined = np.concatenate(rows, axis=1)
        if joined.shape[1] != self.obs_dim:
            raise SpaceError(
                f"obs_dim is {self.obs_dim}, but one observation has {joined.shape[1]} numbers; pass "
                f"obs_dim={joined.shape[1]}"
            )
        return joined

    def errors(self, flat: Floats) -> Floats:
        """``[B]``: squared distance between prediction and target, whitened by what was seen before."""
        white = self._white(flat)
        return np.square(self.predictor(white) - self.target(white)).sum(axis=1)

    def novelty(self, observations: NDArray[Any]) -> Floats:
        """``[B]``, on the scale of what came before; zeros before there is a scale. Changes nothing."""
        return self.errors(self.flat(observations)) / self._scale()

    def window(self, successors: NDArray[Any]) -> Floats:
        """Novelty ``[T, N]`` of the observations ``[T, N, *obs]`` that a window's steps led to, and learn from them.

        Order: whitening takes them in, novelty is measured, its scale takes that in, and then the predictor learns.
        """
        steps, n_envs = successors.shape[:2]
        flat = self.flat(successors.reshape(steps * n_envs, *successors.shape[2:]))
        self.seen.update(flat)
        errors = self.errors(flat).reshape(steps, n_envs)
        running = self._running_of(n_envs)
        sums = np.empty_like(errors)
        for t in range(steps):
            running = self.gamma * running + errors[t]
            sums[t] = running
        self._running = running
        self.returns.update(sums.reshape(-1))
        found = errors / self._scale()
        self._learn(flat)
        return found

    def _running_of(self, n_envs: int) -> Floats:
        return self._running if len(self._running) == n_envs else np.zeros((n_envs,))

    def _white(self, flat: Floats) -> Floats:
        return np.asarray(self.seen.normalize(flat, CLIP), np.float64)

    def _scale(self) -> float:
        """What novelty is divided by; infinite while nothing is known about its size."""
        variance = float(self.returns.var) if self._running.size else 0.0
        return float(np.sqrt(variance + self.epsilon)) if variance > 0.0 else np.inf

    def _learn(self, flat: Floats) -> None:
        white = self._white(flat)
        targets = self.target(white)
        for _ in range(self.epochs):
            order = self._rng.permutation(len(white))
            for start in range(0, len(order), self.batch_size):
                rows = order[start : start + self.batch_size]
                self.predictor.descend(white[rows], targets[rows], self.learning_rate)

    def state_dict(self) -> State:
        """Both networks, statistics and the random stream."""
        return {
            "target": self.target.state_dict(),
            "predictor": self.predictor.state_dict(),
            "seen": self.seen.state_dict(),
            "returns": self.returns.state_dict(),
            "running": self._running.copy(),
            "rng": generator_state(self._rng),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there.

        Raises:
            ValueError: The state belongs to networks of other sizes.
        """
        target, predictor = self.target.state_dict(), self.predictor.state_dict()
        try:
            self.target.load_state_dict(state["target"])
            self.predictor.load_state_dict(state["predictor"])
            self.seen.load_state_dict(state["seen"])
        except ValueError:
            self.target.load_state_dict(target)
            self.predictor.load_state_dict(predictor)
            raise
        self.returns.load_state_dict(state["returns"])
        self._running = np.array(state["running"], np.float64)
        restore_generator(self._rng, state["rng"])
