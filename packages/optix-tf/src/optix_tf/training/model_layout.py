"""Where the variables of each model lie in the vector, and the models as functions of its parts.

Plain perceptrons lie in it as ``MLPSpec.layout`` says (weights ``[out, in]``), so that numpy can act on a copy of it
and other frameworks have the same vector; everything else lies there as Keras has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from optix_core.errors import ConfigError
from optix_tf.networks.layers import Encoded
from optix_tf.networks.mlp import GaussianActor, standard_mlp
from optix_tf.training.flat_variables import FlatVariables
from optix_tf.training.parameters import Behind, KerasNetwork, Network, Perceptron


def laid_out(models: Mapping[str, Any]) -> tuple[FlatVariables, dict[int, Network]]:
    """The trainable variables of all models, and each model by its ``id`` as a function of the parts of their vector.

    Raises:
        ConfigError: A model is not built or has nothing to train, types differ, or Keras runs on another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras runs on {keras.backend.backend()}, but optix-tf needs TensorFlow: set KERAS_BACKEND=tensorflow "
            "before the first import of keras"
        )
    places = _Places()
    for name, model in models.items():
        places.enrol(name, model)
    return FlatVariables(places.variables, places.turned, owner=" and ".join(models)), places.networks


class _Places:
    """What has been given a place so far; models may share layers."""

    def __init__(self) -> None:
        self.variables: list[Any] = []
        self.turned: list[bool] = []
        self.networks: dict[int, Network] = {}

    def enrol(self, name: str, model: Any) -> None:
        """Give ``model`` its places."""
        if id(model) not in self.networks:
            self.networks[id(model)] = self._network(name, model)

    def _network(self, name: str, model: Any) -> Network:
        if type(model) is Encoded:
            self.enrol(f"{name}.encoder", model.encoder)
            self.enrol(f"{name}.trunk", model.trunk)
            return Behind(self.networks[id(model.encoder)], self.networks[id(model.trunk)])
        if not getattr(model, "built", False):
            raise ConfigError(
                f"the model {name} is not built, so its weights do not exist yet: begin it with keras.Input(shape), or "
                "call it once on an observation"
            )
        gaussian = model if type(model) is GaussianActor and model.log_std.trainable else None
        plain = standard_mlp(model.mean if gaussian is not None else model)
        if plain is None:
            return self._as_keras_has_it(model)
        spec, variables = plain
        before = list(self.turned)
        at = [self._place(variable, turned=len(variable.shape) == 2) for variable in variables]
        if any(i < len(before) and not before[i] and len(self.variables[i].shape) == 2 for i in at):
            return self._as_keras_has_it(model)  # it shares a layer with a model that has it so already
        log_std = None if gaussian is None else self._place(gaussian.log_std, turned=False)
        return Perceptron(spec, tuple(at), log_std)

    def _as_keras_has_it(self, model: Any) -> Network:
        at = [self._place(variable, turned=False) for variable in model.trainable_variables]
        return KerasNetwork(model, [(i, self.turned[i]) for i in at])

    def _place(self, variable: Any, *, turned: bool) -> int:
        """The place of ``variable``: a new one, unless it has one, where it then stays as it is."""
        for i, known in enumerate(self.variables):
            if known is variable:
                return i
        self.variables.append(variable)
        self.turned.append(turned)
        return len(self.variables) - 1
