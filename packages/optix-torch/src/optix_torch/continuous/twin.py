"""An actor and two critics as functions of tensors, the critics with their slow copies.

Plain perceptrons are evaluated by :class:`~optix_torch.continuous.perceptrons.Perceptrons`, both critics of one shape
at once; any other module is evaluated as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from optix_core.acting import MLPSpec
from optix_core.acting.policy import Normalizes
from optix_core.errors import ConfigError
from optix_torch.acting.mirror import Mirror
from optix_torch.continuous.critics import both_values, called_with_both, joined
from optix_torch.continuous.perceptrons import Perceptrons
from optix_torch.device import resolve_device
from optix_torch.networks.mlp import as_function, standard_mlp
from optix_torch.training.flat import FlatParameters
from optix_torch.training.targets import TargetNetwork
from optix_torch.training.trainable import Trainable

Array = NDArray[np.floating[Any]]
ENGINES = ("auto", "closed_form", "autograd")


class Actor:
    """The policy's network, trained and perhaps with a slow copy.

    Results and derivatives are numpy arrays; observations are tensors as ``FlatParameters.tensor`` makes them.

    Args:
        module: ``[B, *obs]`` to ``[B, out]``.
        optimizer: Over its parameters.
        observation_normalizer: Applied to observations before acting.
        device: As for the agents.
        engine: One of :data:`ENGINES`.
        with_target: Whether there is a slow copy.

    Attributes:
        training: The network and its optimizer.
        mirror: Evaluates it on the host, for raw observations.
        target_network: None without one.

    Raises:
        ConfigError: The engine cannot be used, or the optimizer lacks parameters.
    """

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        observation_normalizer: Normalizes | None,
        *,
        device: str | torch.device,
        engine: str,
        with_target: bool = False,
    ) -> None:
        module.to(resolve_device(device)).eval()
        plain = _plain_shapes(engine, "the actor", module)
        parameters = plain[1] if plain else [p for p in module.parameters() if p.requires_grad]
        self.module = module
        self.training = Trainable({"actor": module}, parameters, optimizer, self._set_from_outside)
        flat = self.training.flat
        self.mirror = Mirror(module, flat, observation_normalizer)
        self.target_network = TargetNetwork(module, flat) if with_target else None
        self._function, self._graph = _function(module), torch.empty(0)
        self._closed = Perceptrons(plain[0], flat) if plain else None
        self._target: Callable[[Any], Tensor] | None = None
        if self.target_network is not None:
            copy = self.target_network
            if plain:
                self._target = Perceptrons(plain[0], copy.flat, memory=self._closed).forward
            else:
                self._target = _function(copy.module)

    def outputs(self, observations: Any) -> Array:
        """``[B, out]``; :meth:`backward` may follow."""
        if self._closed is not None:
            return _array(self._closed.forward(observations))
        self._graph = self._function(observations)
        return _array(self._graph)

    def outputs_of_both(self, observations: Any, following: Any) -> tuple[Array, Array]:
        """``[B, out]`` for each; :meth:`backward` may follow for the first."""
        if self._closed is not None:
            b = len(observations)
            found = _array(self._closed.forward(torch.cat([observations, following]), b))
            return found[:b], found[b:]
        with torch.no_grad():
            after = _array(self._function(following))
        return self.outputs(observations), after

    def target_outputs(self, observations: Any) -> Array:
        """``[B, out]`` of the slow copy."""
        assert self._target is not None
        with torch.no_grad():
            return _array(self._target(observations))

    def backward(self, by_outputs: Array) -> None:
        """Make ``training.flat.grad`` the gradient of a loss, given its derivative by the outputs."""
        _backward(self.training.flat, self._closed, self._graph, by_outputs)

    def _set_from_outside(self) -> None:
        self.mirror.refresh()
        if self.target_network is not None:
            self.target_network.copy()


class TwinCritics:
    """Two critics, trained by one optimizer, and their slow copies.

    Results and derivatives are numpy arrays, actions too; observations are tensors.

    Args:
        critic1: Observations and actions, as one row ``[B, obs + A]`` or, if its ``forward`` has two parameters, apart,
            to ``[B]`` or ``[B, 1]``.
        critic2: Another of the same kind.
        optimizer: Over the parameters of both.
        device: As for the agents.
        engine: One of :data:`ENGINES`.

    Attributes:
        modules: Both, by name.
        training: Both networks and their optimizer.
        target: Their slow copies.

    Raises:
        ConfigError: The critics cannot be told how to be called, the engine cannot be used, or the optimizer lacks
            parameters.
    """

    def __init__(
        self,
        critic1: nn.Module,
        critic2: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: str | torch.device,
        engine: str,
    ) -> None:
        if critic1 is critic2:
            raise ConfigError("critic1 and critic2 are one module; their errors must differ, so pass two")
        both = nn.ModuleDict({"critic1": critic1, "critic2": critic2})
        both.to(resolve_device(device)).eval()
        plain = _plain_shapes(engine, "the critics", critic1, critic2)
        if plain and plain[0].sizes[-1] != 1:
            raise ConfigError(f"a critic has {plain[0].sizes[-1]} outputs; expected 1, the value")
        parameters = plain[1] if plain else [p for p in both.parameters() if p.requires_grad]
        self.modules = {"critic1": critic1, "critic2": critic2}
        self.training = Trainable(self.modules, parameters, optimizer, self._set_from_outside)
        flat = self.training.flat
        self.target = TargetNetwork(both, flat)
        self._graph = torch.empty(0)
        self._closed: Perceptrons | None = None
        if plain:
            self._closed = Perceptrons(plain[0], flat, 2)
            self._first = self._closed.one(0)
            self._closed_target = Perceptrons(plain[0], self.target.flat, 2, memory=self._closed)
        else:
            copies: Any = self.target.module
            self._pair = both_values(critic1, critic2)
            self._target_pair = both_values(copies["critic1"], copies["critic2"])
            self._alone = called_with_both(critic1)

    def values(self, observations: Any, actions: Array) -> Array:
        """``[2, B]``; :meth:`backward` may follow."""
        if self._closed is not None:
            return _array(self._closed.forward(self._row(observations, actions)))[..., 0]
        self._graph = self._pair(observations, self._tensor(actions))
        return _array(self._graph)

    def backward(self, by_values: Array) -> None:
        """Make ``training.flat.grad`` the gradient of a loss, given its derivative ``[2, B]`` by the values."""
        given = by_values if self._closed is None else by_values[..., None]
        _backward(self.training.flat, self._closed, self._graph, given)

    def target_values(self, observations: Any, actions: Array) -> Array:
        """``[2, B]`` of the slow copies."""
        if self._closed is not None:
            return _array(self._closed_target.forward(self._row(observations, actions)))[..., 0]
        with torch.no_grad():
            return _array(self._target_pair(observations, self._tensor(actions)))

    def least(self, observations: Any, actions: Array) -> tuple[Array, Array]:
        """The smaller value ``[B]``, and its derivative ``[B, A]`` by the actions."""
        if self._closed is None:
            return self._climbed(lambda o, a: self._pair(o, a).min(dim=0).values, observations, actions)
        values = self._closed.forward(self._row(observations, actions)).squeeze(-1)
        smaller, chosen = values.min(dim=0)
        slopes = self._closed.slopes(chosen, self._closed.spec.sizes[0] - actions.shape[1])
        return _array(smaller), _array(slopes)

    def first(self, observations: Any, actions: Array) -> tuple[Array, Array]:
        """The first critic's value ``[B]``, and its derivative ``[B, A]`` by the actions."""
        if self._closed is None:
            return self._climbed(lambda o, a: self._alone(o, a).reshape(-1), observations, actions)
        values = self._first.forward(self._row(observations, actions)).squeeze(-1)
        return _array(values), _array(self._first.slopes(None, self._first.spec.sizes[0] - actions.shape[1]))

    def _climbed(
        self, function: Callable[[Any, Tensor], Tensor], observations: Any, actions: Array
    ) -> tuple[Array, Array]:
        a = self._tensor(actions).requires_grad_()
        values = function(observations, a)
        (slopes,) = torch.autograd.grad(values.sum(), a)  # the weights' gradients are not made
        return _array(values), _array(slopes)

    def _row(self, observations: Tensor, actions: Array) -> Tensor:
        return joined(observations, self._tensor(actions))

    def _tensor(self, actions: Array) -> Tensor:
        tensor: Tensor = self.training.flat.tensor(actions)
        return tensor

    def _set_from_outside(self) -> None:
        self.target.copy()


def _backward(flat: FlatParameters, closed: Perceptrons | None, graph: Tensor, given: Array) -> None:
    delta: Tensor = flat.tensor(given)
    if closed is not None:
        closed.backward(delta)
    else:
        flat.grad.zero_()
        graph.backward(delta, inputs=flat.parameters)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy()


def _plain_shapes(engine: str, what: str, *modules: nn.Module) -> tuple[MLPSpec, list[nn.Parameter]] | None:
    """The one shape that all ``modules`` have, and their parameters, layer by layer; None if they go through autograd.

    Raises:
        ConfigError: The engine is unknown, or the closed form was asked for and does not apply.
    """
    if engine not in ENGINES:
        raise ConfigError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
    if engine == "autograd":
        return None
    shapes = [standard_mlp(module) for module in modules]
    found = [shape for shape in shapes if shape is not None]
    alike = len(found) == len(modules) and all(shape[0] == found[0][0] for shape in found)
    if alike:
        parameters = [p for same in zip(*(shape[1] for shape in found), strict=True) for p in same]
        if len({id(p) for p in parameters}) == len(parameters):
            return found[0][0], parameters
    if engine == "closed_form":
        raise ConfigError(
            f"engine='closed_form' is not possible here: {what} must be plain stacks of Linear layers and activations, "
            "of one shape and with no layer in common; use engine='auto'"
        )
    return None


def _function(module: nn.Module) -> Callable[[Any], Tensor]:
    shape = standard_mlp(module)
    return as_function(*shape) if shape else module
