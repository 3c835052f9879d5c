"""A policy that acts with numpy alone, and the arrays it can be rebuilt from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import heads
from optix_core.acting.mlp import MLP, MLPSpec
from optix_core.acting.parameters import ParameterLayout
from optix_core.errors import IncompatibleCheckpoint, NumericalDivergence
from optix_core.state import State

FORMAT = 1


class Normalizes(Protocol):
    """Maps raw observations ``[N, *obs]`` to what the network was trained on, without changing any statistics."""

    def normalize(self, x: NDArray[Any], /) -> NDArray[Any]:
        """``[N, *obs]`` to ``[N, *obs]``."""
        ...


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What the network's outputs are.

    Attributes:
        network: Its shape.
        head: ``"categorical"``: the outputs are logits. ``"gaussian"``: they are the means, or means followed by
            logarithms of standard deviations when there are twice as many outputs as action dimensions.
        n_actions: Number of actions (categorical) or of action dimensions (Gaussian).
    """

    network: MLPSpec
    head: Literal["categorical", "gaussian"]
    n_actions: int

    def __post_init__(self) -> None:
        widths = {"categorical": (self.n_actions,), "gaussian": (self.n_actions, 2 * self.n_actions)}
        if self.head not in widths:
            raise ValueError(f"unknown head {self.head!r}; there are {', '.join(widths)}")
        if self.network.sizes[-1] not in widths[self.head]:
            raise ValueError(
                f"a {self.head} head for {self.n_actions} actions needs {' or '.join(map(str, widths[self.head]))} "
                f"outputs; the network has {self.network.sizes[-1]}"
            )

    @property
    def has_log_std(self) -> bool:
        """Whether the standard deviations are parameters of their own, the same for all observations."""
        return self.head == "gaussian" and self.network.sizes[-1] == self.n_actions

    @property
    def layout(self) -> ParameterLayout:
        """The network's arrays, then ``log_std [A]`` if there is one."""
        inner = self.network.layout
        if not self.has_log_std:
            return inner
        return ParameterLayout((*inner.names, "log_std"), (*inner.shapes, (self.n_actions,)))


class NumpyPolicy:
    """Samples or picks actions for N observations.

    Args:
        spec: What the network's outputs are.
        parameters: A flat buffer that fits ``spec.layout``. It is viewed, not copied, so it is always current.
        observation_normalizer: Applied to raw observations first.
    """

    def __init__(
        self,
        spec: PolicySpec,
        parameters: NDArray[Any],
        observation_normalizer: Normalizes | None = None,
    ) -> None:
        views = spec.layout.views(parameters)
        self.spec = spec
        self.parameters = parameters
        self.observation_normalizer = observation_normalizer
        self.network = MLP(spec.network, parameters[: spec.network.layout.size])
        self._log_std = views.get("log_std")
        self._categorical = spec.head == "categorical"

    def outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Network outputs ``[N, out]`` for raw observations ``[N, *obs]``, in a buffer that the next call overwrites.

        Raises:
            NumericalDivergence: An output is NaN, or infinite other than a logit of -inf.
        """
        if self.observation_normalizer is not None:
            observations = self.observation_normalizer.normalize(observations)
        outputs = self.network.forward(observations)
        # one dot product finds nearly all that is not finite; only then is it worth a closer look
        if not math.isfinite(np.vdot(outputs, outputs)):
            require_usable(outputs, categorical=self._categorical)
        return outputs

    def act(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool = False
    ) -> NDArray[Any]:
        """Policy actions for raw observations ``[N, *obs]``, a fresh array: int64 ``[N]``, or ``[N, A]`` unbounded.

        ``deterministic`` takes the most probable action, or the mean, and draws nothing from ``rng``.
        """
        outputs = self.outputs(observations)
        if self._categorical:
            return outputs.argmax(axis=1) if deterministic else heads.sample_categorical(outputs, rng)
        mean, log_std = self.mean_and_log_std(outputs)
        return mean.copy() if deterministic else heads.sample_gaussian(mean, log_std, rng)

    def mean_and_log_std(self, outputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The Gaussian's parameters: means ``[N, A]`` and clamped log standard deviations ``[A]`` or ``[N, A]``."""
        a = self.spec.n_actions
        log_std = self._log_std if self._log_std is not None else outputs[:, a:]
        return outputs[:, :a], np.clip(log_std, *heads.LOG_STD_BOUNDS)

    def log_probs(self, observations: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
        """Log-probabilities (or densities) ``[N]`` of policy actions."""
        outputs = self.outputs(observations)
        if self._categorical:
            log_probs = heads.categorical_log_probs(outputs)
            return np.take_along_axis(log_probs, np.asarray(actions)[:, None], axis=1)[:, 0]
        return heads.gaussian_log_probs(*self.mean_and_log_std(outputs), np.asarray(actions))

    def probabilities(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Probabilities ``[N, A]`` of all actions; categorical policies only."""
        if not self._categorical:
            raise TypeError("a Gaussian policy has a density, not probabilities; use log_probs")
        return np.exp(heads.categorical_log_probs(self.outputs(observations)))

    def state_dict(self) -> State:
        """A copy of the spec and parameters as plain data (the normaliser has a state of its own)."""
        return {
            "format": FORMAT,
            "head": self.spec.head,
            "n_actions": self.spec.n_actions,
            "sizes": list(self.spec.network.sizes),
            "activations": list(self.spec.network.activations),
            "parameters": self.parameters.copy(),
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, Any], observation_normalizer: Normalizes | None = None
    ) -> NumpyPolicy:
        """The policy that :meth:`state_dict` described, on a buffer of its own.

        Raises:
            IncompatibleCheckpoint: The state has another format, or its parts don't fit each other.
        """
        if state.get("format") != FORMAT:
            raise IncompatibleCheckpoint(
                f"policy format {state.get('format')!r}; this version reads format {FORMAT}"
            )
        try:
            network = MLPSpec(tuple(state["sizes"]), tuple(state["activations"]))
            spec = PolicySpec(network, state["head"], int(state["n_actions"]))
            return cls(spec, np.array(state["parameters"]), observation_normalizer)
        except (KeyError, ValueError) as error:
            raise IncompatibleCheckpoint(f"this is not the state of a policy: {error!r}") from error


def require_usable(outputs: NDArray[Any], *, categorical: bool) -> None:
    """Raise unless actions can be drawn: finite outputs, where single logits (not all of a row) may be -inf.

    Raises:
        NumericalDivergence: They can't; nothing must be sent to the environment then.
    """
    usable = np.isfinite(outputs)
    if categorical:
        usable = (usable | np.isneginf(outputs)) & usable.any(axis=1, keepdims=True)
    if not usable.all():
        row = int(np.argmin(usable.all(axis=1)))
        raise NumericalDivergence(
            f"the policy network gave {outputs[row].tolist()} for observation {row} of {len(outputs)}; no action "
            "was taken. Its weights or the observation are not finite, or so large that they overflow: restore earlier "
            "weights, lower learning_rate, or normalise the observations (normalize_observations=True).",
            code="E-POLICY-NONFINITE",
        )
