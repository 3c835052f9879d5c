"""Two critics as functions of a vector's parts, perhaps behind an encoder that they share."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from optix_core.errors import ConfigError
from optix_tf.training.parameters import Network
from optix_tf.training.trainable import Trainable


class EncodedCritic(keras.Model):
    """A critic that encodes observations before it sees actions.

    Args:
        encoder: Observations to features ``[B, F]``; both critics may share one, which is then evaluated once.
        trunk: ``[B, F + A]`` to ``[B, 1]``.
    """

    def __init__(self, encoder: Any, trunk: Any) -> None:
        super().__init__(dtype=trunk.variable_dtype)
        self.encoder, self.trunk = encoder, trunk
        self.built = True

    def call(self, observations: Any, actions: Any, training: bool | None = None) -> Any:
        """``[B, 1]``."""
        features = self.encoder(observations, training=training)
        return self.trunk(tf.concat([features, actions], axis=-1), training=training)


@dataclass(frozen=True, slots=True)
class TwinCritics:
    """Both critics; results are ``[B]`` each.

    The two are evaluated one after the other: their products are too large for a batched one to gain anything.

    Attributes:
        first: One critic, or what follows its encoder.
        second: The other.
        encoders: Of both, the same object where they share it; None: they take observations as they are.
        apart: Whether critics take observations and actions apart, not as one row ``[B, obs + A]``.
    """

    first: Network
    second: Network
    encoders: tuple[Network, Network] | None = None
    apart: bool = False

    @property
    def shareable(self) -> bool:
        """Whether equality is by value."""
        return self.encoders is None and self.first.shareable and self.second.shareable

    def values(self, parts: Sequence[Any], observations: Any, actions: Any) -> tuple[Any, Any]:
        """``[B]`` of each."""
        inputs = self._inputs(parts, observations, actions, 0)
        others = inputs
        if self.encoders is not None and self.encoders[0] is not self.encoders[1]:
            others = self._inputs(parts, observations, actions, 1)
        return tf.reshape(self.first(parts, *inputs), (-1,)), tf.reshape(self.second(parts, *others), (-1,))

    def first_values(self, parts: Sequence[Any], observations: Any, actions: Any) -> Any:
        """``[B]`` of the first."""
        return tf.reshape(self.first(parts, *self._inputs(parts, observations, actions, 0)), (-1,))

    def _inputs(self, parts: Sequence[Any], observations: Any, actions: Any, which: int) -> tuple[Any, ...]:
        if self.encoders is not None:
            return (tf.concat([self.encoders[which](parts, observations), actions], axis=1),)
        if self.apart:
            return observations, actions
        rows = tf.shape(actions)[0]
        return (tf.concat([tf.reshape(observations, (rows, -1)), actions], axis=1),)


def critic_models(critic1: Any, critic2: Any) -> dict[str, Any]:
    """What of two critics a :class:`~optix_tf.training.trainable.Trainable` shall hold, by name.

    Raises:
        ConfigError: They are one model.
    """
    if critic1 is critic2:
        raise ConfigError("critic1 and critic2 are one model; their errors must differ, so pass two")
    if not (type(critic1) is EncodedCritic and type(critic2) is EncodedCritic):
        return {"critic1": critic1, "critic2": critic2}
    if critic1.encoder is critic2.encoder:
        encoders = {"encoder": critic1.encoder}
    else:
        encoders = {"encoder1": critic1.encoder, "encoder2": critic2.encoder}
    return {**encoders, "critic1": critic1.trunk, "critic2": critic2.trunk}


def twin_critics(training: Trainable, critic1: Any, critic2: Any) -> TwinCritics:
    """Both as functions of the parts of ``training``, which holds their :func:`critic_models`.

    Raises:
        ConfigError: They cannot be told how to be called, or differ in it, or have another number of outputs than 1.
    """
    if type(critic1) is EncodedCritic and type(critic2) is EncodedCritic:
        first, second = training.network(critic1.encoder), training.network(critic2.encoder)
        return TwinCritics(training.network(critic1.trunk), training.network(critic2.trunk), (first, second))
    for critic in (critic1, critic2):
        plain = training.perceptron(critic)
        if plain is not None and plain[0].sizes[-1] != 1:
            raise ConfigError(f"a critic has {plain[0].sizes[-1]} outputs; expected 1, the value")
    apart = {_takes_both(critic) for critic in (critic1, critic2)}
    if len(apart) != 1:
        raise ConfigError(
            "one critic takes a row of observation and action, the other takes the two apart; give both one form"
        )
    return TwinCritics(training.network(critic1), training.network(critic2), None, apart.pop())


def _takes_both(critic: Any) -> bool:
    """Whether a model takes observations and actions apart."""
    inputs = getattr(critic, "inputs", None)
    if inputs is not None:  # a model of Keras's functional kind
        n = len(inputs)
    else:
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        accepted = [p for p in inspect.signature(critic.call).parameters.values() if p.kind in kinds]
        n = sum(p.default is inspect.Parameter.empty for p in accepted)
    if n not in {1, 2}:
        raise ConfigError(
            f"{type(critic).__name__} takes {n} arguments; a critic takes one row of observation and action, or the "
            "two apart"
        )
    return n == 2
