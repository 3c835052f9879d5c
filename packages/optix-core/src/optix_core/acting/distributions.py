"""Distributions over actions, given what a policy network put out: one interface for every kind of action.

==================  =====================  =======================================  ==================================
head                action space           outputs                                  policy actions
==================  =====================  =======================================  ==================================
categorical         Discrete               logits ``[N, A]``                        int64 ``[N]``, from 0
multi_categorical   MultiDiscrete          logits ``[N, sum(nvec)]``                int64 ``[N, K]``, each from 0
bernoulli           MultiBinary            logits ``[N, K]``                        int8 ``[N, K]``
gaussian            Box                    means (and log std) ``[N, A or 2 A]``    ``[N, A]``, unbounded
==================  =====================  =======================================  ==================================

Parts of an action are independent: log-probabilities and entropies are sums over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import heads

Array = NDArray[Any]
Head = Literal["categorical", "multi_categorical", "bernoulli", "gaussian"]
HEADS: tuple[Head, ...] = ("categorical", "multi_categorical", "bernoulli", "gaussian")


class Distribution(Protocol):
    """What outputs ``[N, out]`` mean. Everything that is returned is a fresh array."""

    def sample(self, outputs: Array, rng: np.random.Generator) -> Array:
        """One action per row."""
        ...

    def greedy(self, outputs: Array) -> Array:
        """The most probable action of each row; a mean."""
        ...

    def log_probs(self, outputs: Array, actions: Array) -> Array:
        """Log-probabilities or densities ``[N]`` of actions."""
        ...

    def entropies(self, outputs: Array) -> Array:
        """``[N]``."""
        ...


class Categorical:
    """One of A choices."""

    def sample(self, outputs: Array, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choices ``[N]``."""
        return heads.sample_categorical(outputs, rng)

    def greedy(self, outputs: Array) -> NDArray[np.int64]:
        """The most probable choices ``[N]``."""
        return outputs.argmax(axis=1)

    def log_probs(self, outputs: Array, actions: Array) -> Array:
        """``[N]`` of choices ``[N]``."""
        log_probs = heads.categorical_log_probs(outputs)
        return np.take_along_axis(log_probs, np.asarray(actions)[:, None], axis=1)[:, 0]

    def entropies(self, outputs: Array) -> Array:
        """``[N]``."""
        return heads.entropies(heads.categorical_log_probs(outputs))


class MultiCategorical:
    """One of ``nvec[k]`` choices in each of K components.

    Args:
        nvec: Numbers of choices, all positive.
    """

    def __init__(self, nvec: Sequence[int]) -> None:
        self.nvec = tuple(int(n) for n in nvec)

    def sample(self, outputs: Array, rng: np.random.Generator) -> NDArray[np.int64]:
        """Choices ``[N, K]``."""
        return heads.sample_multi_categorical(outputs, self.nvec, rng)

    def greedy(self, outputs: Array) -> NDArray[np.int64]:
        """The most probable choices ``[N, K]``."""
        return heads.multi_categorical_greedy(outputs, self.nvec)

    def log_probs(self, outputs: Array, actions: Array) -> Array:
        """``[N]`` of choices ``[N, K]``."""
        log_probs = heads.multi_categorical_log_probs(outputs, self.nvec)
        return heads.log_probs_of(log_probs, np.asarray(actions), self.nvec)

    def entropies(self, outputs: Array) -> Array:
        """``[N]``."""
        return heads.entropies(heads.multi_categorical_log_probs(outputs, self.nvec))


class Bernoulli:
    """K bits."""

    def sample(self, outputs: Array, rng: np.random.Generator) -> NDArray[np.int8]:
        """Bits ``[N, K]``."""
        return heads.sample_bernoulli(outputs, rng)

    def greedy(self, outputs: Array) -> NDArray[np.int8]:
        """The more probable value of each bit, ``[N, K]``."""
        return (outputs > 0).astype(np.int8)

    def log_probs(self, outputs: Array, actions: Array) -> Array:
        """``[N]`` of bits ``[N, K]``."""
        return heads.bernoulli_log_probs(outputs, np.asarray(actions))

    def entropies(self, outputs: Array) -> Array:
        """``[N]``."""
        return heads.bernoulli_entropies(outputs)


class Gaussian:
    """A numbers, normal and independent.

    Args:
        n_actions: A.
        log_std: ``[A]``, a view of parameters; None if they are the second half of the outputs.
    """

    def __init__(self, n_actions: int, log_std: Array | None = None) -> None:
        self.n_actions, self.log_std = n_actions, log_std

    def mean_and_log_std(self, outputs: Array) -> tuple[Array, Array]:
        """Means ``[N, A]``, a view, and clamped log standard deviations ``[A]`` or ``[N, A]``."""
        log_std = self.log_std if self.log_std is not None else outputs[:, self.n_actions :]
        return outputs[:, : self.n_actions], np.clip(log_std, *heads.LOG_STD_BOUNDS)

    def sample(self, outputs: Array, rng: np.random.Generator) -> Array:
        """Numbers ``[N, A]``."""
        return heads.sample_gaussian(*self.mean_and_log_std(outputs), rng)

    def greedy(self, outputs: Array) -> Array:
        """The means ``[N, A]``."""
        return outputs[:, : self.n_actions].copy()

    def log_probs(self, outputs: Array, actions: Array) -> Array:
        """``[N]`` of numbers ``[N, A]``."""
        return heads.gaussian_log_probs(*self.mean_and_log_std(outputs), np.asarray(actions))

    def entropies(self, outputs: Array) -> Array:
        """``[N]``."""
        return heads.gaussian_entropies(self.mean_and_log_std(outputs)[1], len(outputs))


def distribution(
    head: Head, n_actions: int, nvec: Sequence[int] = (), log_std: Array | None = None
) -> Distribution:
    """What a head's outputs mean.

    Args:
        head: One of :data:`HEADS`.
        n_actions: Choices, bits or dimensions; ``sum(nvec)`` for several components.
        nvec: Choices of each component; ``multi_categorical`` only.
        log_std: See :class:`Gaussian`.
    """
    if head == "gaussian":
        return Gaussian(n_actions, log_std)
    if head == "multi_categorical":
        return MultiCategorical(nvec)
    return Bernoulli() if head == "bernoulli" else Categorical()
