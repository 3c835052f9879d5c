"""An actor and two critics on one device, with their optimizers and slow copies."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from optix_core.errors import ConfigError
from optix_core.seeding import Domain, fresh_root_seed, generator
from optix_jax.acting.host import HostNetwork
from optix_jax.continuous.twin import ActorFunction, TwinCritics
from optix_jax.device import resolve_device
from optix_jax.networks.flax_modules import network_of, observation_example, takes_both
from optix_jax.networks.network import Network, Params, tree_network
from optix_jax.training.optimizers import as_optimizer
from optix_jax.training.targets import Target
from optix_jax.training.trainable import Trainable


class ActorCritics:
    """What SAC and TD3 train.

    Args:
        actor: ``[B, *obs]`` to ``[B, out]``; a flax module or a network.
        critic1: A flax module or a network; or both critics as :class:`TwinCritics`.
        critic2: Another one; None with a ``TwinCritics``.
        action_dim: A.
        actor_optimizer: Anything that ``as_optimizer`` takes.
        critic_optimizer: The same.
        learning_rate: Where no optimizer is given.
        device: As for the agents.
        observation_space: Perhaps None.
        seed: Of linen's parameters.
        slow_actor: Whether the actor has a slow copy.

    Attributes:
        actor: ``{"actor": ...}`` and its optimizer.
        critics: Both critics (and their encoder) and their optimizer.
        functions: Of the actor and of the critics, and their optimizers: what an update is made of.
        target: The critics' slow copies.
        target_actor: The actor's; None without one.
        network: The actor's.
        host: The actor, for acting.
        device: Where all of it lives.

    Raises:
        ConfigError: They cannot be used together.
    """

    def __init__(
        self,
        actor: Any,
        critic1: Any,
        critic2: Any,
        action_dim: int,
        actor_optimizer: Any,
        critic_optimizer: Any,
        *,
        learning_rate: float,
        device: Any,
        observation_space: Any,
        seed: int | None,
        slow_actor: bool = False,
    ) -> None:
        rng = generator(fresh_root_seed() if seed is None else seed, Domain.INIT, 1)
        self.device = resolve_device(device)
        seen = observation_example(observation_space)
        self.network = network_of(actor, seen, rng=rng, what="the actor")
        twin = _twin(critic1, critic2, seen, action_dim, rng)
        stepping = as_optimizer(actor_optimizer, learning_rate)
        self.actor = Trainable({"actor": self.network}, stepping, self.device, self._actor_changed)
        self.critics = Trainable(
            twin.networks,
            as_optimizer(critic_optimizer, stepping.learning_rate),
            self.device,
            self._critics_changed,
        )
        self.functions = (
            ActorFunction(self.network.apply),
            twin.functions,
            self.actor.optimizer,
            self.critics.optimizer,
        )
        self.target = Target(self.critics)
        self.target_actor = Target(self.actor) if slow_actor else None
        self.host = HostNetwork(self.network, lambda: self.actor.params["actor"])

    def _actor_changed(self) -> None:
        self.host.refresh()
        if self.target_actor is not None:
            self.target_actor.copy()

    def _critics_changed(self) -> None:
        self.target.copy()


def temperature(log_alpha: float) -> Network:
    """One number ``[1]``, the logarithm of a temperature, in the form of a network."""

    def apply(params: Params) -> jax.Array:
        return jnp.exp(params["log_alpha"])

    return tree_network(apply, {"log_alpha": np.full(1, log_alpha, np.float32)})


def _twin(critic1: Any, critic2: Any, seen: Any, action_dim: int, rng: np.random.Generator) -> TwinCritics:
    if isinstance(critic1, TwinCritics):
        if critic2 is not None:
            raise ConfigError("critic1 is a TwinCritics, which is both critics; leave critic2 out")
        return critic1
    if critic1 is critic2:
        raise ConfigError("critic1 and critic2 are one module; their errors must differ, so pass two")
    apart = takes_both(critic1)
    if apart != takes_both(critic2):
        raise ConfigError(
            "one critic takes observations and actions as one row and the other takes them apart"
        )
    actions = np.zeros((1, action_dim), np.float32)
    if apart:
        example: tuple[Any, ...] = (seen, actions)
    elif isinstance(seen, np.ndarray):
        example = (np.concatenate([seen.reshape(1, -1).astype(np.float32), actions], axis=1),)
    else:
        example = (None,)
    first, other = (
        network_of(critic, *example, rng=rng, what=f"critic{i}") for i, critic in ((1, critic1), (2, critic2))
    )
    for network in (first, other):
        if network.spec is not None and network.spec.sizes[-1] != 1:
            raise ConfigError(f"a critic has {network.spec.sizes[-1]} outputs; expected 1, the value")
    return TwinCritics(critic1=first, critic2=other, takes_both=apart)
