"""An actor and two critics as functions of tensors, the critics with their slow copies.

Plain perceptrons are evaluated by :class:`~optix_torch.perceptrons.Perceptrons`, both critics of one shape at once; any
other module is evaluated as it is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optix_core.acting import MLPSpec
from optix_core.acting.policy import Normalizes
from optix_core.errors import ConfigError
from optix_torch.device import resolve_device
from optix_torch.mirror import Mirror
from optix_torch.networks import as_function, standard_mlp
from optix_torch.perceptrons import Perceptrons
from optix_torch.targets import TargetNetwork
from optix_torch.trainable import Trainable

ENGINES = ("auto", "closed_form", "autograd")


class EncodedCritic(nn.Module):
    """A critic that encodes observations before it sees actions.

    Args:
        encoder: Observations to features ``[B, F]``; both critics may share one, which is then evaluated once.
        trunk: ``[B, F + A]`` to ``[B, 1]``.
    """

    def __init__(self, encoder: nn.Module, trunk: nn.Module) -> None:
        super().__init__()
        self.encoder, self.trunk = encoder, trunk

    def forward(self, observations: Any, actions: Tensor) -> Tensor:
        """``[B, 1]``."""
        return self.trunk(torch.cat([self.encoder(observations), actions], dim=-1))


class Actor:
    """The policy's network, trained and perhaps with a slow copy.

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
        online: Differentiable.
        target_network: None without one.
        target: The slow copy as a function.

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
        self.online: Perceptrons | Evaluated
        if plain:
            self.online = Perceptrons(plain[0], flat)
        else:
            self.online = Evaluated(_function(module), flat.parameters)
        self.target_network = TargetNetwork(module, flat) if with_target else None
        if self.target_network is not None:
            copy = self.target_network
            if plain and isinstance(self.online, Perceptrons):
                self.target: Callable[[Any], Tensor] = Perceptrons(plain[0], copy.flat, memory=self.online)
            else:
                self.target = _function(copy.module)

    def _set_from_outside(self) -> None:
        self.mirror.refresh()
        if self.target_network is not None:
            self.target_network.copy()


class TwinCritics:
    """Two critics, trained by one optimizer, and their slow copies.

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
        leaves: What gradients are taken by, for ``backward(inputs=...)``.

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
        self._closed: Perceptrons | None = None
        self.leaves: Sequence[Tensor] = flat.parameters
        if plain:
            self._closed = Perceptrons(plain[0], flat, 2)
            self.leaves = self._closed.leaves
            self._first = self._closed.one(0)
            self._closed_target = Perceptrons(plain[0], self.target.flat, 2, memory=self._closed)
        else:
            copies: Any = self.target.module
            self._pairs = _pair(critic1, critic2)
            self._target_pairs = _pair(copies["critic1"], copies["critic2"])
            self._alone = _called_with_pair(critic1)

    def _set_from_outside(self) -> None:
        self.target.copy()

    def values(self, observations: Any, actions: Tensor, *, frozen: bool = False) -> Tensor:
        """``[2, B]``, differentiable; by actions only, if ``frozen`` (or if ``backward(inputs=...)`` says so)."""
        if self._closed is not None:
            return self._closed(_row(observations, actions), frozen=frozen).squeeze(-1)
        return self._pairs(observations, actions)

    def first_value(self, observations: Any, actions: Tensor) -> Tensor:
        """``[B]`` of the first critic alone, differentiable by actions."""
        if self._closed is not None:
            return self._first(_row(observations, actions), frozen=True).squeeze(-1)
        return self._alone(observations, actions).reshape(-1)

    def target_values(self, observations: Any, actions: Tensor) -> Tensor:
        """``[2, B]`` of the slow copies."""
        if self._closed is not None:
            return self._closed_target(_row(observations, actions)).squeeze(-1)
        return self._target_pairs(observations, actions)


class Evaluated:
    """Any function of tensors, behind the interface of :class:`~optix_torch.perceptrons.Perceptrons`."""

    def __init__(self, function: Callable[[Any], Tensor], leaves: Sequence[Tensor]) -> None:
        self._function, self.leaves = function, leaves

    def __call__(self, inputs: Any) -> Tensor:
        """``[B, out]``."""
        return self._function(inputs)


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


def _row(observations: Any, actions: Tensor) -> Tensor:
    flat = observations if observations.ndim == 2 else observations.reshape(len(observations), -1)
    return torch.cat([flat, actions], dim=-1)


def _called_with_pair(critic: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    """``critic`` as a function of observations and actions."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    accepted = [p for p in inspect.signature(critic.forward).parameters.values() if p.kind in kinds]
    required = sum(p.default is inspect.Parameter.empty for p in accepted)
    if required == 2:
        return critic
    if required != 1:
        raise ConfigError(
            f"{type(critic).__name__}.forward takes {required} arguments; a critic takes one row of observation and "
            "action, or the two apart"
        )
    return lambda observations, actions: critic(_row(observations, actions))


def _pair(critic1: nn.Module, critic2: nn.Module) -> Callable[[Any, Tensor], Tensor]:
    """Both as one function ``[2, B]``; an encoder that they share is evaluated once."""
    if isinstance(critic1, EncodedCritic) and isinstance(critic2, EncodedCritic):
        first, second = critic1, critic2
        if first.encoder is second.encoder:

            def encoded(observations: Any, actions: Tensor) -> Tensor:
                features = torch.cat([first.encoder(observations), actions], dim=-1)
                return torch.stack([first.trunk(features).reshape(-1), second.trunk(features).reshape(-1)])

            return encoded
    one, other = _called_with_pair(critic1), _called_with_pair(critic2)
    return lambda observations, actions: torch.stack(
        [one(observations, actions).reshape(-1), other(observations, actions).reshape(-1)]
    )
