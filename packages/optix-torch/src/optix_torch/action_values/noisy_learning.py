"""The loss of distributional Q-learning with noisy networks and its gradient, in closed form and by autograd.

Both engines draw the same noise from the same generator and give equal numbers, up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting import MLP, MLPSpec
from optix_core.errors import ConfigError, HyperparamError, NumericalDivergence
from optix_torch.action_values.noisy_acting import NoisyActing
from optix_torch.action_values.q_learning import require_engine
from optix_torch.networks.noisy import RainbowQNetwork, factors, noisy_layers, reset_noise, switch_noise
from optix_torch.training.backward import Differentiable
from optix_torch.training.flat import FlatParameters
from optix_torch.training.targets import TargetNetwork
from optix_torch.training.trainable import Trainable

Array = NDArray[Any]


class DistributionalEngine(Protocol):
    """Evaluates online and target network with their noise of the moment, and differentiates the loss."""

    def resample(self, rng: np.random.Generator) -> None:
        """New noise for both networks, independent of each other; it holds until the next call."""
        ...

    def online_values(self, observations: Array, atoms: Array) -> Array:
        """``[B, A]``: expected returns under the online network."""
        ...

    def target_probabilities(self, observations: Array, actions: Array) -> Array:
        """``[B, Z]``: the target network's distributions for ``actions`` ``[B]``."""
        ...

    def gradient(
        self, observations: Array, actions: Array, targets: Array, weights: Array
    ) -> tuple[float | Tensor, Array]:
        """Overwrite the gradient by that of ``mean(w * cross entropy(targets, online distribution))``.

        Returns:
            The loss (a tensor where reading it would wait for a device) and the cross entropies ``[B]``.
        """
        ...

    def act_values(self, observations: Array, atoms: Array, rng: np.random.Generator | None) -> Array:
        """``[N, A]``: expected returns with new noise from ``rng``, without noise for None.

        Raises:
            NumericalDivergence: They are not finite.
        """
        ...

    def refresh(self) -> None:
        """The online network has new weights."""
        ...


class ClosedFormNoisy:
    """A :class:`~optix_torch.networks.noisy.RainbowQNetwork` without encoder on a CPU, in numpy.

    With the noise fixed, such a network is a plain perceptron with the weights ``mu + sigma * noise``. A gradient g by
    these is g by mu and ``g * noise`` by sigma.

    Args:
        spec: Its shape.
        n_actions: A.
        flat: Means, then deviations, and nothing else.
        target: The slow copy.
    """

    def __init__(self, spec: MLPSpec, n_actions: int, flat: FlatParameters, target: TargetNetwork) -> None:
        parameters, gradients = flat.arrays()
        size = spec.layout.size
        self._spec, self._shape = spec, (-1, 1 + n_actions, spec.sizes[-1] // (1 + n_actions))
        self._means, self._deviations = parameters[:size], parameters[size:]
        self._by_means, self._by_deviations = gradients[:size], gradients[size:]
        slow = target.flat.vector.detach().numpy()
        self._slow_means, self._slow_deviations = slow[:size], slow[size:]
        self._noise, self._weights, self._gradient, self._slow_weights = np.empty((4, size), parameters.dtype)
        self._online = Differentiable(spec, self._weights, self._gradient)
        self._target = MLP(spec, self._slow_weights)
        self._acting = NoisyActing(spec, self._means, self._deviations)

    def resample(self, rng: np.random.Generator) -> None:
        """See :meth:`DistributionalEngine.resample`."""
        for means, deviations, weights in (
            (self._means, self._deviations, self._weights),
            (self._slow_means, self._slow_deviations, self._slow_weights),
        ):
            noise = self._noise if weights is self._weights else weights
            _fill(noise, self._spec, rng)
            np.multiply(noise, deviations, out=weights)
            np.add(weights, means, out=weights)

    def online_values(self, observations: Array, atoms: Array) -> Array:
        """``[B, A]``."""
        return expected(self._online.mlp.forward(observations).reshape(self._shape), atoms)

    def target_probabilities(self, observations: Array, actions: Array) -> Array:
        """``[B, Z]``."""
        outputs = self._target.forward(observations).reshape(self._shape)
        return np.exp(_log_probs_of(outputs, actions))

    @np.errstate(over="ignore", invalid="ignore")  # the norm of the gradient tells whether it is finite
    def gradient(
        self, observations: Array, actions: Array, targets: Array, weights: Array
    ) -> tuple[float | Tensor, Array]:
        """See :meth:`DistributionalEngine.gradient`; d cross entropy / d logits = p - target."""
        n = len(actions)
        outputs = self._online.mlp.forward(observations).reshape(self._shape)
        log_probs = _log_probs_of(outputs, actions)
        each = -np.einsum("bz,bz->b", targets, log_probs)
        d_logits = np.exp(log_probs)
        d_logits -= targets
        d_logits *= (weights / n)[:, None]
        # the logits of action a are V + A_a - mean A
        d_outputs = np.empty_like(outputs)
        d_outputs[:, 0] = d_logits
        d_outputs[:, 1:] = (d_logits / (1 - outputs.shape[1]))[:, None]
        d_outputs[np.arange(n), actions + 1] += d_logits
        self._online.backward(d_outputs.reshape(n, -1))
        self._by_means[:] = self._gradient
        np.multiply(self._gradient, self._noise, out=self._by_deviations)
        return float(np.dot(weights, each)) / n, each

    def act_values(self, observations: Array, atoms: Array, rng: np.random.Generator | None) -> Array:
        """``[N, A]``."""
        outputs = self._acting.outputs(observations, rng).reshape(self._shape)
        return _require_finite(expected(outputs, atoms))

    def refresh(self) -> None:
        """Nothing to do: it looks at the memory that training changes."""


class AutogradNoisy:
    """Any module with :class:`~optix_torch.networks.noisy.NoisyLinear` layers, through PyTorch's autograd.

    Args:
        network: ``[B, *obs]`` to log-probabilities or logits ``[B, A, Z]``, in eval mode.
        flat: Its trainable parameters.
        target: The slow copy.
    """

    def __init__(self, network: nn.Module, flat: FlatParameters, target: TargetNetwork) -> None:
        self._network, self._flat, self._slow = network, flat, target.module

    def resample(self, rng: np.random.Generator) -> None:
        """See :meth:`DistributionalEngine.resample`."""
        for network in (self._network, self._slow):
            reset_noise(network, rng)
            switch_noise(network, on=True)

    def online_values(self, observations: Array, atoms: Array) -> Array:
        """``[B, A]``."""
        with torch.no_grad():
            return self._expected(observations, atoms)

    def target_probabilities(self, observations: Array, actions: Array) -> Array:
        """``[B, Z]``."""
        with torch.no_grad():
            logits = self._slow(self._flat.tensor(observations))
            return torch.softmax(logits[np.arange(len(actions)), actions], dim=-1).cpu().numpy()

    def gradient(
        self, observations: Array, actions: Array, targets: Array, weights: Array
    ) -> tuple[float | Tensor, Array]:
        """See :meth:`DistributionalEngine.gradient`."""
        self._flat.grad.zero_()
        logits = self._network(self._flat.tensor(observations))[np.arange(len(actions)), actions]
        each = -(self._flat.tensor(targets) * torch.log_softmax(logits, dim=-1)).sum(-1)
        loss = (each * self._flat.tensor(weights)).mean()
        loss.backward()
        return loss.detach(), each.detach().cpu().numpy()

    def act_values(self, observations: Array, atoms: Array, rng: np.random.Generator | None) -> Array:
        """``[N, A]``."""
        if rng is not None:
            reset_noise(self._network, rng)
        switch_noise(self._network, on=rng is not None)
        with torch.no_grad():
            return _require_finite(self._expected(observations, atoms))

    def refresh(self) -> None:
        """Nothing to do: there is no copy."""

    def _expected(self, observations: Array, atoms: Array) -> Array:
        probabilities = torch.softmax(self._network(self._flat.tensor(observations)), dim=-1)
        return (probabilities @ self._flat.tensor(atoms)).cpu().numpy()


def require_fit(network: nn.Module, n_actions: int, obs_dim: int | None, hp: Mapping[str, Any]) -> None:
    """Check what is said about a network of Rainbow against what it is, as far as it can tell.

    Raises:
        HyperparamError: ``v_min`` is above ``v_max``.
        ConfigError: ``n_actions``, ``obs_dim`` or ``n_atoms`` is not the network's.
    """
    if hp["v_min"] > hp["v_max"]:
        raise HyperparamError(
            f"TorchRainbowDQNAgent: v_min is {hp['v_min']:g}, above v_max, {hp['v_max']:g}; leave both out to have "
            "them chosen from the returns seen in warm-up"
        )
    if isinstance(network, RainbowQNetwork):
        expected = {"n_actions": (n_actions, network.n_actions), "n_atoms": (hp["n_atoms"], network.n_atoms)}
        if obs_dim is not None and network.encoder is None:
            expected["obs_dim"] = (obs_dim, network.sizes[0])
        for name, (said, found) in expected.items():
            if said != found:
                raise ConfigError(
                    f"TorchRainbowDQNAgent: {name} is {said}, but the network was built with {found}"
                )


def noisy_engine(
    engine: str, network: nn.Module, n_actions: int, training: Trainable, target: TargetNetwork
) -> DistributionalEngine:
    """The engine of this name; ``"auto"`` takes the closed form wherever it applies.

    Raises:
        ConfigError: There is no such engine, the closed form was asked for and does not apply, or the network has no
            noisy layers, so that it would not explore.
    """
    require_engine(engine)
    if not noisy_layers(network):
        raise ConfigError(
            "Rainbow explores by noise in the weights, but the network has no NoisyLinear layers; use "
            "RainbowQNetwork.build(obs_dim, n_actions), or layers of optix_torch.NoisyLinear"
        )
    plain = network.perceptron() if isinstance(network, RainbowQNetwork) else None
    if training.flat.vector.device.type != "cpu":
        obstacle = f"it runs on a CPU and the agent is on {training.flat.vector.device}"
    elif plain is None:
        obstacle = "the network is no RainbowQNetwork without encoder"
    elif not training.joined:
        obstacle = "the optimizer is no new, plain Adam over exactly the network's parameters"
    else:
        obstacle = ""
    if engine == "closed_form" and obstacle:
        raise ConfigError(f"engine='closed_form' is not possible here: {obstacle}; use engine='auto'")
    if plain is None or engine == "autograd" or obstacle:
        return AutogradNoisy(network, training.flat, target)
    return ClosedFormNoisy(plain[0], n_actions, training.flat, target)


def expected(outputs: Array, atoms: Array) -> Array:
    """``[B, A]``: means of the distributions whose logits are put together from ``outputs`` ``[B, 1 + A, Z]``."""
    advantages = outputs[:, 1:]
    logits = advantages + (outputs[:, :1] - advantages.mean(axis=1, keepdims=True))
    logits -= logits.max(axis=-1, keepdims=True)
    np.exp(logits, out=logits)
    return (logits @ atoms) / logits.sum(axis=-1)


def _log_probs_of(outputs: Array, actions: Array) -> Array:
    """``[B, Z]``: logarithms of the distributions of ``actions`` ``[B]``."""
    advantages = outputs[:, 1:]
    logits = outputs[:, 0] + advantages[np.arange(len(actions)), actions] - advantages.mean(axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logits


def _fill(noise: Array, spec: MLPSpec, rng: np.random.Generator) -> None:
    """Write the noise of all weights and biases, laid out as they are, drawing as ``NoisyLinear.reset_noise`` does."""
    views = spec.layout.views(noise)
    for i, (n_in, n_out) in enumerate(zip(spec.sizes[:-1], spec.sizes[1:], strict=True)):
        drawn = factors(rng, (n_in + n_out,))
        np.multiply(drawn[n_in:, None], drawn[:n_in], out=views[f"{i}.weight"])
        views[f"{i}.bias"][:] = drawn[n_in:]


def _require_finite(values: Array) -> Array:
    if not math.isfinite(np.vdot(values, values)) and not np.isfinite(values).all():
        row = int(np.argmin(np.isfinite(values).all(axis=1)))
        raise NumericalDivergence(
            f"the network's expected returns are {values[row].tolist()} for observation {row} of {len(values)}; no "
            "action was taken. Its weights or the observation are not finite, or so large that they overflow: restore "
            "earlier weights, lower learning_rate, or normalise the observations.",
            code="E-POLICY-NONFINITE",
        )
    return values
