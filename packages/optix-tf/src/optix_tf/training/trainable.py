"""Keras models, their parameters as one vector, and the optimizer that steps it: what is trained, stored, restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.acting import MLPSpec
from optix_core.agents.weights import Arrays, require_same
from optix_core.state import State
from optix_tf.arrays import array_of
from optix_tf.training.adam import Adam
from optix_tf.training.keras_optimizer import KerasOptimizer
from optix_tf.training.known import layers_in
from optix_tf.training.model_layout import laid_out
from optix_tf.training.optimizer_state import OptimizerState
from optix_tf.training.parameters import Layout, Network, Perceptron


class Trainable:
    """Named models and one optimizer over their trainable variables.

    While it lives, the vector is what counts: compiled updates take it and give it back (:meth:`adopt`). The models'
    own variables are read at construction and written by :meth:`publish`, which agents call at the end of each
    ``learn`` and whenever weights are set; so they are always those of the last window. How they lie in the vector is
    in ``model_layout.py``.

    Args:
        models: By name; built; they may share layers.
        optimizer: :class:`~optix_tf.training.adam.Adam`, or any of Keras.
        changed: Called whenever weights were set from outside; syncs targets, for example.
        perturbable: Whether ``perturb_weights`` reaches these parameters; no for a temperature.

    Attributes:
        models: By name.
        vector: ``[P]``, an eager tensor: the present parameters.
        host: ``[P]``, numpy: the present parameters for acting, always in the same memory.

    Raises:
        ConfigError: A model is not built or has nothing to train, types differ, Keras runs on another backend, or the
            optimizer cannot be used.
    """

    def __init__(
        self,
        models: Mapping[str, Any],
        optimizer: Any,
        changed: Callable[[], None] = lambda: None,
        *,
        perturbable: bool = True,
    ) -> None:
        self.models, self.perturbable, self._changed = dict(models), perturbable, changed
        self._variables, self._networks = laid_out(self.models)
        self.host: NDArray[Any] = self._variables.read()
        self.vector: Any = tf.constant(self.host.copy())
        self._stepping = OptimizerState(optimizer, self._variables, self.vector)
        self._fresh = self._published = True

    @property
    def layout(self) -> Layout:
        """Of the vector."""
        return self._variables.layout

    @property
    def optimizer(self) -> Adam | KerasOptimizer:
        """Steps the vector inside compiled functions."""
        return self._stepping.optimizer

    @property
    def state(self) -> tuple[Any, ...]:
        """Of the optimizer, eager tensors."""
        return self._stepping.moments

    @property
    def shareable_optimizer(self) -> bool:
        """Whether the optimizer is a function of its state, and not an object of Keras with variables of its own."""
        return self._stepping.shareable

    @property
    def shareable(self) -> bool:
        """Whether functions compiled for these networks and this optimizer depend on their shapes alone."""
        return self._stepping.shareable and all(network.shareable for network in self._networks.values())

    def network(self, model: Any) -> Network:
        """``model``, one of :attr:`models`, as a function of the parts of the vector."""
        return self._networks[id(model)]

    def perceptron(self, model: Any) -> tuple[MLPSpec, NDArray[Any]] | None:
        """The shape of a plain ``model`` and its piece of :attr:`host` (with log deviations last); None for others."""
        network = self._networks[id(model)]
        if not isinstance(network, Perceptron):
            return None
        places = [*network.at, *([] if network.log_std is None else [network.log_std])]
        if places != list(range(places[0], places[0] + len(places))):
            return None  # it shares layers with another model, so its parts are scattered
        ends = np.cumsum([0, *self.layout.sizes])
        return network.spec, self.host[ends[places[0]] : ends[places[-1] + 1]]

    def adopt(self, vector: Any, state: tuple[Any, ...], *, refresh: bool = True) -> None:
        """Take over what a compiled update gave.

        Args:
            vector: The parameters.
            state: The optimizer's.
            refresh: Bring :attr:`host` up to date as well; otherwise :meth:`refresh` does it later.
        """
        self.vector, self._stepping.moments = vector, tuple(state)
        self._fresh = self._published = False
        if refresh:
            self.refresh()

    def snapshot(self) -> Any:
        """What a compiled update changes before it is adopted: what an optimizer of Keras keeps; nothing for ours."""
        return self._stepping.snapshot()

    def reject(self, snapshot: Any) -> None:
        """Leave everything as it was at :meth:`snapshot`, instead of adopting an update."""
        if snapshot is not None:  # an optimizer of Keras has stepped the variables themselves
            self._stepping.restore(snapshot)
            self._published = False
            self.publish()

    def refresh(self) -> None:
        """Bring :attr:`host` up to date, in place."""
        if not self._fresh:
            np.copyto(self.host, self.vector.numpy())
            self._fresh = True

    def publish(self) -> None:
        """Write the parameters into the variables of the models."""
        if self._published:
            return
        self.refresh()
        self._variables.write(self.host)
        self._published = True

    def assign(self, values: NDArray[Any]) -> None:
        """Set all parameters ``[P]``; the optimizer keeps its state."""
        np.copyto(self.host, values)
        self.vector = tf.constant(self.host.copy())
        self._fresh, self._published = True, False
        self.publish()
        self._changed()

    def gradient(self, tape: Any, loss: Any) -> Any:
        """The gradient ``[P]`` of a loss that was computed, under ``tape``, from the models' own variables."""
        return self._variables.gradient(tape, loss)

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        return self._stepping.learning_rate()

    def set_learning_rate(self, value: float) -> None:
        """From the next step on; moments are kept."""
        self._stepping.set_learning_rate(value)

    def arrays(self) -> Arrays:
        """Copies of all weights, those that are not trained too, as ``model/place.name`` in the form Keras has them."""
        self.refresh()
        trained = dict(
            zip(map(id, self._variables.variables), self._variables.pieces(self.host), strict=True)
        )
        return {
            name: np.array(trained[id(variable)]) if id(variable) in trained else array_of(variable)
            for name, variable in self._named()
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        """Take over what :meth:`arrays` gave.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        require_same(self.arrays(), arrays, owner=owner)
        for name, variable in self._named():
            variable.assign(arrays[name])
        np.copyto(self.host, self._variables.read())
        self.vector = tf.constant(self.host.copy())
        self._fresh = self._published = True
        self._changed()

    def state_dict(self) -> State:
        """Weights and optimizer."""
        return {"networks": self.arrays(), "optimizer": self._stepping.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It belongs to other networks or another optimizer.
        """
        require_same(self.arrays(), state["networks"], owner=owner)
        self._stepping.load_state_dict(state["optimizer"], owner=owner)
        self.load_arrays(state["networks"], owner=owner)

    def perturb(self, noise_scale: float, rng: np.random.Generator) -> None:
        """Multiply every trainable weight by ``1 + noise_scale * N(0, 1)``."""
        self.refresh()
        noise = 1.0 + noise_scale * rng.standard_normal(len(self.host))
        self.assign(self.host * noise.astype(self.host.dtype))

    def input_width(self) -> int | None:
        """Numbers in one observation, as the first dense layer tells; None if none does."""
        layers: list[Any] = [layer for model in self.models.values() for layer in layers_in(model)]
        dense = [layer for layer in layers if isinstance(layer, keras.layers.Dense)]
        return int(dense[0].kernel.shape[0]) if dense else None  # pyright: ignore[reportOptionalMemberAccess, reportOptionalSubscript, reportArgumentType]

    def _named(self) -> list[tuple[str, Any]]:
        """All variables of all models with names that do not depend on how many layers were made before them."""
        return [
            (f"{prefix}/{i}.{variable.name}", variable)
            for prefix, model in self.models.items()
            for i, variable in enumerate(model.variables)
        ]
