"""Acting through any function, for networks that the numpy mirror does not know."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import distribution
from optix_core.acting.distributions import Head
from optix_core.acting.policy import Normalizes, allowed_logits, probabilities, require_usable
from optix_core.errors import ConfigError
from optix_core.rl.masking import split_masks


class FunctionPolicy:
    """Acts like :class:`optix_core.acting.NumpyPolicy`, with any function as its network.

    Args:
        forward: Normalised observations ``[N, *obs]`` to what the head reads ``[N, out]``, as numpy arrays, see
            :mod:`optix_core.acting.distributions`; a Gaussian one gives means and log standard deviations
            ``[N, 2 A]``.
        head: What the outputs mean.
        n_actions: A, if it is known; a wrong number of outputs is refused then.
        nvec: Choices of each component; ``multi_categorical`` only.
        observation_normalizer: Applied to raw observations first.
    """

    def __init__(
        self,
        forward: Callable[[NDArray[Any]], NDArray[Any]],
        head: Head,
        n_actions: int | None,
        nvec: Sequence[int] = (),
        observation_normalizer: Normalizes | None = None,
    ) -> None:
        self._forward = forward
        self._head: Head = head
        self._nvec = tuple(nvec)
        self._width = n_actions if n_actions is None or head != "gaussian" else 2 * n_actions
        self.observation_normalizer = observation_normalizer

    def outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """What the network gives for raw observations ``[N, *obs]``; logits of actions that are masked out are -inf.

        Raises:
            NumericalDivergence: As for ``NumpyPolicy``.
            ConfigError: The network has the wrong number of outputs.
            ValueError: A mask allows nothing.
        """
        observations, masks = split_masks(observations)
        if self.observation_normalizer is not None:
            observations = self.observation_normalizer.normalize(observations)
        outputs = self._forward(observations)
        if outputs.ndim != 2 or (self._width is not None and outputs.shape[1] != self._width):
            raise ConfigError(
                f"the actor gave outputs of shape {outputs.shape} for {len(observations)} observations; expected "
                f"({len(observations)}, {self._width or 'number of actions'})"
            )
        if not math.isfinite(np.vdot(outputs, outputs)):
            require_usable(outputs, categorical=self._head.endswith("categorical"), nvec=self._nvec)
        return outputs if masks is None else allowed_logits(outputs, masks, self._head, self._nvec)

    def act(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool = False
    ) -> NDArray[Any]:
        """Policy actions for raw observations ``[N, *obs]``, a fresh array; see ``optix_core.acting.distributions``."""
        outputs = self.outputs(observations)
        a = outputs.shape[1] // 2 if self._head == "gaussian" else outputs.shape[1]
        meaning = distribution(self._head, a, self._nvec)
        return meaning.greedy(outputs) if deterministic else meaning.sample(outputs, rng)

    def probabilities(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Probabilities of all choices, ``[N, A]``; of each bit to be 1. Not for a Gaussian policy."""
        return probabilities(self.outputs(observations), self._head, self._nvec)
