"""Actor, critic and optimizer as one thing that evaluates, acts, updates itself and can be stored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from optix_core.acting import MLPSpec, NumpyPolicy, PolicySpec
from optix_core.acting.distributions import Head
from optix_core.agents.function_policy import FunctionPolicy
from optix_core.agents.plain_actor import policy_spec
from optix_core.agents.ppo_update import Engine, PPOBatch, UpdateReport
from optix_core.errors import ConfigError
from optix_torch.acting.mirror import torch_forward
from optix_torch.device import resolve_device
from optix_torch.networks.encoder_modules import Encoded
from optix_torch.networks.mlp import GaussianActor, as_function, standard_mlp
from optix_torch.policy_gradient import losses
from optix_torch.policy_gradient.autograd import AutogradEngine, Distribution
from optix_torch.policy_gradient.closed_form import ClosedFormEngine
from optix_torch.training import storage
from optix_torch.training.trainable import Trainable

ENGINES = ("auto", "closed_form", "autograd")


class ActorCritic:
    """Two networks on one flat parameter vector.

    Both modules are put into eval mode and stay there: a dropout mask or batch statistics that differ between acting
    and learning would make the probability ratio differ from 1 before the first step. Where both are
    :class:`~optix_torch.networks.encoder_modules.Encoded` with the same encoder, a gradient step computes it once.

    Args:
        actor: ``[B, *obs]`` to logits, or to means and log standard deviations ``[B, 2 A]`` (Gaussian).
        critic: ``[B, *obs]`` to ``[B]`` or ``[B, 1]``; may share layers with the actor.
        optimizer: Over the parameters of both.
        head: What the actor's outputs mean, see :mod:`optix_core.acting.distributions`.
        n_actions: A; None if it is to be found out from the actor.
        nvec: Choices of each component; ``multi_categorical`` only.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.
        engine: ``"auto"`` takes the closed form where it applies, ``"closed_form"`` insists on it, ``"autograd"``
            avoids it.

    Attributes:
        policy: Acts; always has the current weights.
        training: Both networks and the optimizer.
        engine_name: The engine that was chosen.

    Raises:
        ConfigError: The closed form was asked for and does not apply, or the networks or the device cannot be used.
    """

    def __init__(
        self,
        actor: nn.Module,
        critic: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        head: Head,
        n_actions: int | None,
        device: str | torch.device,
        engine: str,
        nvec: Sequence[int] = (),
    ) -> None:
        if engine not in ENGINES:
            raise ConfigError(f"engine is {engine!r}; it must be one of {', '.join(ENGINES)}")
        self.device = resolve_device(device)
        self.actor, self.critic = actor.to(self.device).eval(), critic.to(self.device).eval()
        actor_shape, critic_shape = _actor_shape(actor, head, n_actions, tuple(nvec)), standard_mlp(critic)
        ours = [p for p in (actor_shape[1] if actor_shape else actor.parameters()) if p.requires_grad]
        theirs = [p for p in (critic_shape[1] if critic_shape else critic.parameters()) if p.requires_grad]
        self.training = Trainable(
            {"actor": actor, "critic": critic}, [*ours, *theirs], optimizer, self.refresh
        )
        self.flat = self.training.flat
        self._mirror: NDArray[Any] | None = None
        self.policy = self._make_policy(actor_shape, head, n_actions, nvec)
        obstacle = _obstacle(self.device, actor_shape, critic_shape, optimizer, joined=self.training.joined)
        if engine == "closed_form" and obstacle:
            raise ConfigError(f"engine='closed_form' is not possible here: {obstacle}; use engine='auto'")
        self.engine: Engine
        if engine == "autograd" or obstacle:
            self.engine_name = "autograd"
            parts, encoder = _shared_encoder(actor, critic)
            self.engine = AutogradEngine(
                _function(parts[0]),
                _function(parts[1]),
                _torch_distribution(head, nvec),
                self.flat,
                optimizer,
                joined=self.training.joined,
                encoder=encoder,
            )
        else:
            self.engine_name = "closed_form"
            assert actor_shape
            assert critic_shape
            assert isinstance(optimizer, torch.optim.Adam)
            self.engine = ClosedFormEngine(actor_shape[0], critic_shape[0], self.flat, optimizer)

    def update(self, batch: PPOBatch, hp: Mapping[str, Any], rng: np.random.Generator) -> UpdateReport:
        """One PPO update. Parameters that would not be finite afterwards are put back as they were before."""
        parameters, optimizer = self.flat.to_numpy(), storage.optimizer_state(self.training.optimizer)
        report = self.engine.update(batch, hp, rng)
        if not self.flat.is_finite():
            report.diverged = True
            self.flat.assign(parameters)
            storage.load_optimizer(self.training.optimizer, optimizer, owner="this agent")
        self.refresh()
        return report

    def refresh(self) -> None:
        """Bring the host's copy of the weights up to date; only needed where they live on another device."""
        if self._mirror is not None:
            self._mirror[:] = self.flat.vector.detach()[: len(self._mirror)].cpu().numpy()

    def _make_policy(
        self, shape: tuple[PolicySpec, Any] | None, head: Head, n_actions: int | None, nvec: Sequence[int]
    ) -> NumpyPolicy | FunctionPolicy:
        if shape is None:
            return FunctionPolicy(torch_forward(self.actor, self.flat), head, n_actions, nvec)
        size = shape[0].layout.size
        if self.device.type == "cpu":
            return NumpyPolicy(shape[0], self.flat.arrays()[0][:size])
        self._mirror = self.flat.to_numpy()[:size]
        return NumpyPolicy(shape[0], self._mirror)


def _actor_shape(
    actor: nn.Module, head: Head, n_actions: int | None, nvec: tuple[int, ...]
) -> tuple[PolicySpec, Sequence[nn.Parameter]] | None:
    """What a plain actor computes, and its parameters in that order; None for any other module."""
    gaussian = actor if isinstance(actor, GaussianActor) and head == "gaussian" else None
    shape = standard_mlp(gaussian.mean if gaussian else actor)
    if shape is None or (gaussian and not gaussian.log_std.requires_grad):
        return None
    parameters = [*shape[1], gaussian.log_std] if gaussian else shape[1]
    return policy_spec(shape[0], head, n_actions, nvec, log_std=gaussian is not None), parameters


def _shared_encoder(
    actor: nn.Module, critic: nn.Module
) -> tuple[tuple[nn.Module, nn.Module], nn.Module | None]:
    """Both networks behind the encoder that they share, and that encoder; themselves and None if they share none."""
    if type(actor) is Encoded and type(critic) is Encoded and actor.encoder is critic.encoder:
        return (actor.trunk, critic.trunk), actor.encoder
    return (actor, critic), None


def _function(module: nn.Module) -> Callable[[Any], torch.Tensor]:
    """What ``module`` computes, without the cost of calling a module per layer where it is plain."""
    if type(module) is Encoded:
        encoder, trunk = module.encoder, _function(module.trunk)
        return lambda observations: trunk(encoder(observations))
    plain = standard_mlp(module.mean if type(module) is GaussianActor else module)
    if plain is None:
        return module
    if type(module) is not GaussianActor:
        return as_function(*plain)
    means, log_std = as_function(*plain), module.log_std

    def forward(observations: torch.Tensor) -> torch.Tensor:
        mean = means(observations)
        return torch.cat([mean, log_std.expand_as(mean)], dim=-1)

    return forward


def _torch_distribution(head: Head, nvec: Sequence[int]) -> Distribution:
    """``(outputs, actions[, masks]) -> (log-probabilities, entropies)``."""
    if head == "multi_categorical":
        return functools.partial(losses.multi_categorical, nvec=tuple(nvec))
    found: dict[str, Distribution] = {
        "categorical": losses.categorical,
        "bernoulli": losses.bernoulli,
        "gaussian": losses.gaussian,
    }
    return found[head]


def _obstacle(
    device: torch.device,
    actor: tuple[PolicySpec, Sequence[nn.Parameter]] | None,
    critic: tuple[MLPSpec, Sequence[nn.Parameter]] | None,
    optimizer: torch.optim.Optimizer,
    *,
    joined: bool,
) -> str:
    """Why the closed form does not apply; empty if it does."""
    if device.type != "cpu":
        return f"it runs on a CPU and the agent is on {device}"
    if actor is None or critic is None:
        return f"the {'critic' if actor else 'actor'} is no plain stack of Linear layers and activations"
    if {id(p) for p in actor[1]} & {id(p) for p in critic[1]}:
        return "actor and critic share layers"
    if critic[0].sizes[-1] != 1:
        return f"the critic has {critic[0].sizes[-1]} outputs instead of 1"
    return (
        ""
        if joined
        else f"the optimizer ({type(optimizer).__name__}) is no new, plain Adam over exactly these parameters"
    )
