"""A policy that acts with numpy alone, and the arrays it can be rebuilt from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from optix_core.acting import heads
from optix_core.acting.distributions import HEADS, Distribution, Gaussian, Head, distribution
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
        head: ``"categorical"``, ``"multi_categorical"``, ``"bernoulli"``: the outputs are logits. ``"gaussian"``: they
            are the means, or means followed by logarithms of standard deviations when there are twice as many outputs
            as action dimensions.
        n_actions: Number of choices (of all components together), of bits, or of action dimensions.
        nvec: Number of choices of each component; ``"multi_categorical"`` only.
    """

    network: MLPSpec
    head: Head
    n_actions: int
    nvec: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise ValueError(f"unknown head {self.head!r}; there are {', '.join(HEADS)}")
        widths = (self.n_actions, 2 * self.n_actions) if self.head == "gaussian" else (self.n_actions,)
        if self.network.sizes[-1] not in widths:
            raise ValueError(
                f"a {self.head} head for {self.n_actions} actions needs {' or '.join(map(str, widths))} "
                f"outputs; the network has {self.network.sizes[-1]}"
            )
        several = self.head == "multi_categorical"
        if several != bool(self.nvec) or (
            several and (min(self.nvec) < 1 or sum(self.nvec) != self.n_actions)
        ):
            raise ValueError(
                f"nvec is {self.nvec} for a {self.head} head with {self.n_actions} choices; a multi_categorical head "
                "needs the positive number of choices of each component, which add up, and no other head has any"
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

    Observations may carry action masks (:mod:`optix_core.rl.masking`): what they forbid has no probability.

    Args:
        spec: What the network's outputs are.
        parameters: A flat buffer that fits ``spec.layout``. It is viewed, not copied, so it is always current.
        observation_normalizer: Applied to raw observations first.

    Attributes:
        distribution: What the outputs mean.
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
        self.distribution: Distribution = distribution(
            spec.head, spec.n_actions, spec.nvec, views.get("log_std")
        )

    def outputs(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Network outputs ``[N, out]`` for raw observations ``[N, *obs]``, in a buffer that the next call overwrites.

        Logits of actions that are masked out are -inf.

        Raises:
            NumericalDivergence: An output is NaN, or infinite other than a logit of -inf.
            ValueError: A mask allows nothing.
        """
        masks: NDArray[np.bool_] | None = None
        if observations.dtype.names is not None:
            from optix_core.rl.masking import split_masks  # not before it is needed: it imports gymnasium

            observations, masks = split_masks(observations)
        if self.observation_normalizer is not None:
            observations = self.observation_normalizer.normalize(observations)
        outputs = self.network.forward(observations)
        # one dot product finds nearly all that is not finite; only then is it worth a closer look
        if not math.isfinite(np.vdot(outputs, outputs)):
            spec = self.spec
            require_usable(outputs, categorical=spec.head.endswith("categorical"), nvec=spec.nvec)
        return outputs if masks is None else allowed_logits(outputs, masks, self.spec.head, self.spec.nvec)

    def act(
        self, observations: NDArray[Any], rng: np.random.Generator, *, deterministic: bool = False
    ) -> NDArray[Any]:
        """Policy actions for raw observations ``[N, *obs]``, a fresh array; see :mod:`optix_core.acting.distributions`.

        ``deterministic`` takes the most probable action, or the mean, and draws nothing from ``rng``.
        """
        outputs = self.outputs(observations)
        return self.distribution.greedy(outputs) if deterministic else self.distribution.sample(outputs, rng)

    def mean_and_log_std(self, outputs: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """The Gaussian's parameters: means ``[N, A]`` and clamped log standard deviations ``[A]`` or ``[N, A]``."""
        assert isinstance(self.distribution, Gaussian)
        return self.distribution.mean_and_log_std(outputs)

    def log_probs(self, observations: NDArray[Any], actions: NDArray[Any]) -> NDArray[Any]:
        """Log-probabilities (or densities) ``[N]`` of policy actions."""
        return self.distribution.log_probs(self.outputs(observations), np.asarray(actions))

    def probabilities(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Probabilities of all choices, ``[N, n_actions]``; of each bit to be 1. Not for a Gaussian policy."""
        return probabilities(self.outputs(observations), self.spec.head, self.spec.nvec)

    def state_dict(self) -> State:
        """A copy of the spec and parameters as plain data (the normaliser has a state of its own)."""
        return {
            "format": FORMAT,
            "head": self.spec.head,
            "n_actions": self.spec.n_actions,
            "nvec": list(self.spec.nvec),
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
            nvec = tuple(int(n) for n in state.get("nvec", ()))
            spec = PolicySpec(network, state["head"], int(state["n_actions"]), nvec)
            return cls(spec, np.array(state["parameters"]), observation_normalizer)
        except (KeyError, ValueError) as error:
            raise IncompatibleCheckpoint(f"this is not the state of a policy: {error!r}") from error


def allowed_logits(
    outputs: NDArray[Any], masks: NDArray[np.bool_], head: Head, nvec: Sequence[int] = ()
) -> NDArray[Any]:
    """Logits ``[N, A]`` with -inf wherever ``masks`` ``[N, A]`` forbids an action; a fresh array.

    Raises:
        ValueError: The head has no separate choices, the masks have another width, or one allows nothing.
    """
    if not head.endswith("categorical") or masks.shape != outputs.shape:
        raise ValueError(
            f"action masks of shape {masks.shape} do not go with a {head} policy whose outputs have shape "
            f"{outputs.shape}"
        )
    some = np.logical_or.reduceat(masks, heads.component_starts(nvec or (masks.shape[1],)), axis=1)
    if not some.all():
        row, component = np.argwhere(~some)[0].tolist()
        where = f"component {component} of observation {row}" if nvec else f"observation {row}"
        raise ValueError(f"the action mask of {where} allows nothing; there is no action to take")
    return heads.mask_logits(outputs, masks)


def probabilities(outputs: NDArray[Any], head: Head, nvec: Sequence[int] = ()) -> NDArray[Any]:
    """Probabilities of all choices, ``[N, A]``, given their logits; of each bit to be 1.

    Raises:
        TypeError: The head is Gaussian.
    """
    if head == "gaussian":
        raise TypeError("a Gaussian policy has a density, not probabilities; use log_probs")
    if head == "bernoulli":
        return heads.bernoulli_probabilities(outputs)
    if head == "multi_categorical":
        return np.exp(heads.multi_categorical_log_probs(outputs, nvec))
    return np.exp(heads.categorical_log_probs(outputs))


def require_usable(outputs: NDArray[Any], *, categorical: bool, nvec: Sequence[int] = ()) -> None:
    """Raise unless actions can be drawn: finite outputs, where single logits (not all of a choice) may be -inf.

    Args:
        outputs: ``[N, out]``.
        categorical: They are logits of choices.
        nvec: Choices of each component, if there are several.

    Raises:
        NumericalDivergence: They can't; nothing must be sent to the environment then.
    """
    usable = np.isfinite(outputs)
    if categorical:
        sizes = tuple(nvec) or (outputs.shape[1],)
        some = np.logical_or.reduceat(usable, heads.component_starts(sizes), axis=1)
        usable = (usable | np.isneginf(outputs)) & np.repeat(some, sizes, axis=1)
    if not usable.all():
        row = int(np.argmin(usable.all(axis=1)))
        raise NumericalDivergence(
            f"the policy network gave {outputs[row].tolist()} for observation {row} of {len(outputs)}; no action "
            "was taken. Its weights or the observation are not finite, or so large that they overflow: restore earlier "
            "weights, lower learning_rate, or normalise the observations (normalize_observations=True).",
            code="E-POLICY-NONFINITE",
        )
