"""The networks of one agent for continuous actions, as what is trained, what acts, and what is compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from optix_core.agents.mirror import Mirror
from optix_core.errors import ConfigError
from optix_tf.continuous.twin import critic_models, twin_critics
from optix_tf.device import resolve_device
from optix_tf.networks.forward import forward_of
from optix_tf.training.targets import TargetVector
from optix_tf.training.trainable import Trainable


class ActorAndCritics:
    """An actor, two critics and their slow copies, which follow when weights are set from outside.

    Args:
        actor: ``[B, *obs]`` to ``[B, out]``.
        critic1: Observations and actions to ``[B, 1]``, see :func:`~optix_tf.continuous.twin.twin_critics`.
        critic2: Another one.
        actor_optimizer: Of optix-tf or Keras.
        critic_optimizer: Another one.
        observation_normalizer: Applied to observations before acting.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``.

    Attributes:
        model: The actor's.
        actor: Its parameters and optimizer.
        critics: Those of both critics.
        target: The critics' slow copy.
        slow_actor: The actor's; only TD3 uses it.
        mirror: Evaluates the actor for acting.
        device: As TensorFlow names it.
        dtype: Of all parameters.

    Raises:
        ConfigError: Networks, optimizers or the device cannot be used together.
    """

    def __init__(
        self,
        actor: Any,
        critic1: Any,
        critic2: Any,
        actor_optimizer: Any,
        critic_optimizer: Any,
        observation_normalizer: Any,
        *,
        device: str,
    ) -> None:
        self.device, self.model = resolve_device(device), actor
        if actor_optimizer is critic_optimizer:
            raise ConfigError("actor and critics have one optimizer; each needs its own")
        with tf.device(self.device):
            self.actor = Trainable({"actor": actor}, actor_optimizer, self._actor_changed)
            self.critics = Trainable(critic_models(critic1, critic2), critic_optimizer, self._critics_changed)
            self.slow_actor, self.target = TargetVector(self.actor), TargetVector(self.critics)
        self.dtype = self.actor.layout.dtype
        if self.critics.layout.dtype != self.dtype:
            raise ConfigError(
                f"the actor's parameters are {self.dtype}, those of the critics {self.critics.layout.dtype}; make them "
                "of one type"
            )
        self.twin = twin_critics(self.critics, critic1, critic2)
        self.mirror = Mirror(forward_of(self.actor, actor), observation_normalizer)

    @property
    def key(self) -> tuple[Any, ...]:
        """What an update is made of: layouts, actor, critics; see :func:`optix_tf.training.rounds.rounds`."""
        return (self.actor.layout, self.critics.layout), self.actor.network(self.model), self.twin

    @property
    def shareable(self) -> bool:
        """Whether functions compiled for these networks depend on their shapes alone."""
        return self.actor.shareable and self.critics.shareable and self.twin.shareable

    def settings(self, values: dict[str, Any], names: tuple[str, ...]) -> Any:
        """Hyperparameters of an update as one vector, in the order of ``names``."""
        rates = {"actor_rate": self.actor.learning_rate(), "critic_rate": self.critics.learning_rate()}
        found = {**values, **rates, "max_norm": values["max_grad_norm"] or np.inf}
        return np.array([found[name] for name in names], self.dtype)

    def _actor_changed(self) -> None:
        self.slow_actor.copy()

    def _critics_changed(self) -> None:
        self.target.copy()

    def publish(self) -> None:
        """Write the parameters into the variables of the models."""
        self.actor.publish()
        self.critics.publish()
