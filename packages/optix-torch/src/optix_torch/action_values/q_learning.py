"""Deep Q-learning's loss and its gradient, for plain perceptrons in closed form and for any module by autograd.

Both engines write the gradient into the flat vector of the online network and give equal numbers, up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting import MLP, MLPSpec
from optix_core.errors import ConfigError
from optix_torch.networks.mlp import standard_mlp
from optix_torch.networks.q_network import without_dueling
from optix_torch.training.backward import Differentiable
from optix_torch.training.flat import FlatParameters
from optix_torch.training.targets import TargetNetwork
from optix_torch.training.trainable import Trainable

Array = NDArray[Any]
ENGINES = ("auto", "closed_form", "autograd")


def double_q_targets(
    rewards: Array, discounts: Array, following: Array, chosen_by: Array, masks: Array | None = None
) -> Array:
    """``y = r + discount * Q(s', argmax_a C(s', a))``, ``[B]`` (van Hasselt et al. 2016, arXiv:1509.06461, eq. 4).

    Args:
        rewards: ``[B]``, summed over the steps to ``s'``.
        discounts: ``[B]``: gamma to the number of those steps, 0 where they reached a terminal state. A time limit is
            none: what follows it has a value.
        following: ``[B, A]``, the target network's values Q of ``s'``.
        chosen_by: ``[B, A]``, the values C that choose the action: the online network's, or again Q, which is
            Q-learning as Mnih et al. 2015 have it.
        masks: ``[B, A]`` bool, the actions allowed in ``s'``. A row that allows none (a terminal state) chooses the
            first, whose value then counts only if its discount is not 0.
    """
    if masks is not None:
        chosen_by = np.where(masks, chosen_by, -np.inf)
    return rewards + discounts * following[np.arange(len(rewards)), chosen_by.argmax(axis=1)]


class QEngine(Protocol):
    """Evaluates the online and the target network, and differentiates the loss."""

    def online(self, observations: Array) -> Array:
        """``[B, A]`` of the online network; valid until its next evaluation."""
        ...

    def target(self, observations: Array) -> Array:
        """``[B, A]`` of the target network; valid until its next evaluation."""
        ...

    def gradient(
        self, observations: Array, actions: Array, targets: Array, weights: Array
    ) -> tuple[float | Tensor, Array]:
        """Overwrite the gradient by that of ``mean(w * huber(Q(s, a) - y))`` with ``huber`` quadratic up to 1.

        Args:
            observations: ``[B, *obs]``, normalised.
            actions: ``[B]`` int64, from 0.
            targets: ``[B]``, y.
            weights: ``[B]``, w.

        Returns:
            The loss (a tensor where reading it would wait for a device) and the errors ``Q(s, a) - y`` ``[B]``.
        """
        ...


class ClosedFormQ:
    """Plain perceptrons on a CPU, in numpy.

    Args:
        spec: What the network computes, without its dueling layer.
        flat: The online network's parameters, and nothing else.
        target: The slow copy.
        dueling: Whether outputs are a value and advantages, see :class:`~optix_torch.networks.q_network.Dueling`.
    """

    def __init__(self, spec: MLPSpec, flat: FlatParameters, target: TargetNetwork, *, dueling: bool) -> None:
        parameters, gradients = flat.arrays()
        self._online = Differentiable(spec, parameters, gradients)
        self._target = MLP(spec, target.flat.vector.detach().numpy())
        self._dueling, self._dtype = dueling, parameters.dtype

    def online(self, observations: Array) -> Array:
        """``[B, A]``."""
        return self._values(self._online.mlp.forward(observations))

    def target(self, observations: Array) -> Array:
        """``[B, A]``."""
        return self._values(self._target.forward(observations))

    @np.errstate(over="ignore", invalid="ignore")  # the norm of the gradient tells whether it is finite
    def gradient(
        self, observations: Array, actions: Array, targets: Array, weights: Array
    ) -> tuple[float | Tensor, Array]:
        """See :meth:`QEngine.gradient`; d huber / d error is the error clipped to [-1, 1]."""
        n = len(actions)
        rows = np.arange(n)
        values = self.online(observations)
        errors = values[rows, actions] - targets
        slopes = np.minimum(np.maximum(errors, -1.0), 1.0)
        # huber(e) = c (e - c / 2) with c the clipped error: e^2 / 2 inside, |e| - 1/2 outside
        loss = float(np.dot(weights, slopes * (errors - 0.5 * slopes))) / n
        d_errors = slopes * weights / n
        if self._dueling:
            d_outputs = np.empty((n, values.shape[1] + 1), self._dtype)
            d_outputs[:, 0] = d_errors
            d_outputs[:, 1:] = (d_errors / -values.shape[1])[:, None]
            d_outputs[rows, actions + 1] += d_errors
        else:
            d_outputs = np.zeros(values.shape, self._dtype)
            d_outputs[rows, actions] = d_errors
        self._online.backward(d_outputs)
        return loss, errors

    def _values(self, outputs: Array) -> Array:
        return dueling_values(outputs) if self._dueling else outputs


class AutogradQ:
    """Any module, through PyTorch's autograd.

    Args:
        online: ``[B, *obs]`` to ``[B, A]``.
        flat: Its trainable parameters.
        target: The slow copy.
    """

    def __init__(self, online: Callable[[Any], Tensor], flat: FlatParameters, target: TargetNetwork) -> None:
        self._online, self._flat, self._target = online, flat, target

    def online(self, observations: Array) -> Array:
        """``[B, A]``."""
        with torch.no_grad():
            return self._online(self._flat.tensor(observations)).cpu().numpy()

    def target(self, observations: Array) -> Array:
        """``[B, A]``."""
        with torch.no_grad():
            return self._target.module(self._flat.tensor(observations)).cpu().numpy()

    def gradient(
        self, observations: Array, actions: Array, targets: Array, weights: Array
    ) -> tuple[float | Tensor, Array]:
        """See :meth:`QEngine.gradient`."""
        self._flat.grad.zero_()
        chosen = torch.from_numpy(actions).to(self._flat.vector.device)
        values = self._online(self._flat.tensor(observations)).gather(1, chosen[:, None])[:, 0]
        wanted = self._flat.tensor(targets)
        each = nn.functional.smooth_l1_loss(values, wanted, reduction="none")
        loss = (each * self._flat.tensor(weights)).mean()
        loss.backward()
        return loss.detach(), (values.detach() - wanted).cpu().numpy()


def dueling_values(outputs: Array) -> Array:
    """``[B, 1 + A]`` to ``[B, A]``, as :class:`~optix_torch.networks.q_network.Dueling` does."""
    advantages = outputs[:, 1:]
    return advantages + (outputs[:, :1] - advantages.mean(axis=1, keepdims=True))


def q_engine(
    engine: str, network: nn.Module, n_actions: int, training: Trainable, target: TargetNetwork
) -> QEngine:
    """The engine of this name; ``"auto"`` takes the closed form wherever it applies.

    Raises:
        ConfigError: There is no such engine, the closed form was asked for and does not apply, or the network has
            the wrong number of outputs.
    """
    require_engine(engine)
    flat = training.flat
    plain, dueling = without_dueling(network)
    shape = standard_mlp(plain)
    if shape is not None and shape[0].sizes[-1] != n_actions + int(dueling):
        raise ConfigError(
            f"the Q-network has outputs for {shape[0].sizes[-1] - int(dueling)} actions, expected {n_actions}"
        )
    if flat.vector.device.type != "cpu":
        obstacle = f"it runs on a CPU and the agent is on {flat.vector.device}"
    elif shape is None:
        obstacle = "the network is no plain stack of Linear layers and activations"
    elif not training.joined:
        obstacle = "the optimizer is no new, plain Adam over exactly the network's parameters"
    else:
        obstacle = ""
    if engine == "closed_form" and obstacle:
        raise ConfigError(f"engine='closed_form' is not possible here: {obstacle}; use engine='auto'")
    if shape is None or engine == "autograd" or obstacle:
        return AutogradQ(network, flat, target)
    return ClosedFormQ(shape[0], flat, target, dueling=dueling)


def require_engine(engine: str) -> None:
    """Raise ConfigError unless there is an engine of this name."""
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
