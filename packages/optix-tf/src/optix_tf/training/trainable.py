"""Keras models, their parameters as one vector, and the optimizer that steps it: what is trained, stored, restored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from optix_core.acting import MLPSpec
from optix_core.agents.weights import Arrays, require_same
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.state import State
from optix_tf.arrays import array_of
from optix_tf.networks.layers import Encoded
from optix_tf.networks.mlp import GaussianActor, standard_mlp
from optix_tf.training.adam import Adam
from optix_tf.training.keras_optimizer import KerasOptimizer
from optix_tf.training.known import layers_in
from optix_tf.training.parameters import Behind, KerasNetwork, Layout, Network, Perceptron


class Trainable:
    """Named models and one optimizer over their trainable variables.

    While it lives, the vector is what counts: compiled updates take it and give it back (:meth:`adopt`). The models'
    own variables are read at construction and written by :meth:`publish`, which agents call at the end of each
    ``learn`` and whenever weights are set; so they are always those of the last window.

    Plain perceptrons lie in the vector as ``MLPSpec.layout`` says (weights ``[out, in]``), so that numpy can act on
    its copy and other frameworks have the same vector; everything else lies there as Keras has it.

    Args:
        models: By name; built; they may share layers.
        optimizer: :class:`~optix_tf.training.adam.Adam`, or any of Keras.
        changed: Called whenever weights were set from outside; syncs targets, for example.
        perturbable: Whether ``perturb_weights`` reaches these parameters; no for a temperature.

    Attributes:
        models: By name.
        layout: Of the vector.
        vector: ``[P]``, an eager tensor: the present parameters.
        state: Of the optimizer, eager tensors.
        optimizer: Steps the vector inside compiled functions.
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
        _require_tensorflow()
        self.models, self.perturbable, self._changed = dict(models), perturbable, changed
        self._variables: list[Any] = []
        self._turned: list[bool] = []
        self._networks: dict[int, Network] = {}
        for name, model in self.models.items():
            self._enrol(name, model)
        dtypes = {str(variable.dtype) for variable in self._variables}
        if len(dtypes) != 1 or not dtypes <= {"float32", "float64"}:
            raise ConfigError(
                f"{' and '.join(self.models)} need trainable variables of one type, float32 or float64; found "
                f"{', '.join(sorted(dtypes)) or 'none'}"
            )
        shapes = [tuple(int(size) for size in variable.shape) for variable in self._variables]
        turned = [shape[::-1] if t else shape for shape, t in zip(shapes, self._turned, strict=True)]
        self.layout = Layout(tuple(turned), dtypes.pop())
        self.host: NDArray[Any] = self._read()
        self.vector: Any = tf.constant(self.host.copy())
        self.optimizer = self._usable(optimizer)
        self.state: tuple[Any, ...] = self.optimizer.init(self.vector)
        self._rate = optimizer.learning_rate if isinstance(optimizer, Adam) else self.learning_rate()
        self._fresh = self._published = True

    @property
    def shareable_optimizer(self) -> bool:
        """Whether the optimizer is a function of its state, and not an object of Keras with variables of its own."""
        return isinstance(self.optimizer, Adam)

    @property
    def shareable(self) -> bool:
        """Whether functions compiled for these networks and this optimizer depend on their shapes alone."""
        return isinstance(self.optimizer, Adam) and all(
            network.shareable for network in self._networks.values()
        )

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
        self.vector, self.state = vector, tuple(state)
        self._fresh = self._published = False
        if refresh:
            self.refresh()

    def snapshot(self) -> Any:
        """What a compiled update changes before it is adopted: what an optimizer of Keras keeps; nothing for ours."""
        return self.optimizer.arrays() if isinstance(self.optimizer, KerasOptimizer) else None

    def reject(self, snapshot: Any) -> None:
        """Leave everything as it was at :meth:`snapshot`, instead of adopting an update."""
        if isinstance(self.optimizer, KerasOptimizer):
            self.optimizer.load_arrays(snapshot, owner="this agent")
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
        for variable, values in zip(self._variables, self._pieces(self.host), strict=True):
            variable.assign(values)
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
        found = tape.gradient(loss, [variable.value for variable in self._variables])
        missing = [
            tf.zeros(variable.shape, variable.dtype) if part is None else tf.convert_to_tensor(part)
            for part, variable in zip(found, self._variables, strict=True)
        ]
        return self._as_vector(missing)

    def is_finite(self) -> bool:
        """Whether every parameter is a finite number."""
        self.refresh()
        return bool(np.isfinite(self.host).all())

    def learning_rate(self) -> float:
        """As the optimizer has it."""
        return self.optimizer.learning_rate() if isinstance(self.optimizer, KerasOptimizer) else self._rate

    def set_learning_rate(self, value: float) -> None:
        """From the next step on; moments are kept."""
        if isinstance(self.optimizer, KerasOptimizer):
            self.optimizer.set_learning_rate(value)
        self._rate = value

    def arrays(self) -> Arrays:
        """Copies of all weights, those that are not trained too, as ``model/place.name`` in the form Keras has them."""
        self.refresh()
        trained = {
            id(variable): values
            for variable, values in zip(self._variables, self._pieces(self.host), strict=True)
        }
        return {
            f"{prefix}/{name}": np.array(trained[id(variable)])
            if id(variable) in trained
            else array_of(variable)
            for prefix, model in self.models.items()
            for name, variable in _named(model)
        }

    def load_arrays(self, arrays: Mapping[str, NDArray[Any]], *, owner: str) -> None:
        """Take over what :meth:`arrays` gave.

        Raises:
            IncompatibleCheckpoint: Names or shapes differ; nothing is changed then.
        """
        require_same(self.arrays(), arrays, owner=owner)
        for prefix, model in self.models.items():
            for name, variable in _named(model):
                variable.assign(arrays[f"{prefix}/{name}"])
        np.copyto(self.host, self._read())
        self.vector = tf.constant(self.host.copy())
        self._fresh = self._published = True
        self._changed()

    def state_dict(self) -> State:
        """Weights and optimizer."""
        return {"networks": self.arrays(), "optimizer": self.optimizer_state()}

    def load_state_dict(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`state_dict`.

        Raises:
            IncompatibleCheckpoint: It belongs to other networks or another optimizer.
        """
        require_same(self.arrays(), state["networks"], owner=owner)
        self.load_optimizer(state["optimizer"], owner=owner)
        self.load_arrays(state["networks"], owner=owner)

    def optimizer_state(self) -> State:
        """The optimizer's kind and what it keeps, as arrays."""
        if isinstance(self.optimizer, KerasOptimizer):
            return {"kind": type(self.optimizer.optimizer).__name__, "arrays": self.optimizer.arrays()}
        arrays = {str(i): np.array(part) for i, part in enumerate(self.state)}
        return {"kind": type(self.optimizer).__name__, "arrays": arrays}

    def load_optimizer(self, state: Mapping[str, Any], *, owner: str) -> None:
        """Continue from :meth:`optimizer_state`.

        Raises:
            IncompatibleCheckpoint: It is of another kind or of other parameters; nothing is changed then.
        """
        own = self.optimizer_state()
        if state["kind"] != own["kind"]:
            raise IncompatibleCheckpoint(
                f"the optimizer state is of {state['kind']}, but {owner} is trained by {own['kind']}"
            )
        if isinstance(self.optimizer, KerasOptimizer):
            self.optimizer.load_arrays(dict(state["arrays"]), owner=owner)
            return
        require_same(own["arrays"], state["arrays"], owner=f"the optimizer of {owner}")
        self.state = tuple(
            tf.constant(np.array(state["arrays"][str(i)], self.layout.dtype)) for i in range(len(self.state))
        )

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

    def _enrol(self, name: str, model: Any) -> None:
        """Give ``model`` its places in the vector."""
        if id(model) in self._networks:
            return
        if type(model) is Encoded:
            self._enrol(f"{name}.encoder", model.encoder)
            self._enrol(f"{name}.trunk", model.trunk)
            self._networks[id(model)] = Behind(
                self._networks[id(model.encoder)], self._networks[id(model.trunk)]
            )
            return
        if not getattr(model, "built", False):
            raise ConfigError(
                f"the model {name} is not built, so its weights do not exist yet: begin it with keras.Input(shape), or "
                "call it once on an observation"
            )
        gaussian = model if type(model) is GaussianActor and model.log_std.trainable else None
        plain = standard_mlp(model.mean if gaussian is not None else model)
        if plain is None:
            at = [self._place(variable, turned=False) for variable in model.trainable_variables]
            self._networks[id(model)] = KerasNetwork(model, [(i, self._turned[i]) for i in at])
            return
        spec, variables = plain
        before = list(self._turned)
        at = [self._place(variable, turned=len(variable.shape) == 2) for variable in variables]
        if any(i < len(before) and not before[i] and len(self._variables[i].shape) == 2 for i in at):
            # another model has such a layer already, as Keras has it
            self._networks[id(model)] = KerasNetwork(
                model,
                [
                    (i, self._turned[i])
                    for i in (self._place(v, turned=False) for v in model.trainable_variables)
                ],
            )
            return
        log_std = None if gaussian is None else self._place(gaussian.log_std, turned=False)
        self._networks[id(model)] = Perceptron(spec, tuple(at), log_std)

    def _place(self, variable: Any, *, turned: bool) -> int:
        for i, known in enumerate(self._variables):
            if known is variable:
                return i
        self._variables.append(variable)
        self._turned.append(turned)
        return len(self._variables) - 1

    def _usable(self, optimizer: Any) -> Adam | KerasOptimizer:
        if isinstance(optimizer, Adam):
            return optimizer
        if isinstance(optimizer, keras.optimizers.Optimizer):
            return KerasOptimizer(optimizer, self._variables, self._as_variables, self._as_vector)
        raise ConfigError(
            f"the optimizer is {type(optimizer).__module__}.{type(optimizer).__qualname__}; it must be "
            "optix_tf.Adam or an optimizer of keras.optimizers (those of tf_keras and tf.compat are others)"
        )

    def _as_variables(self, vector: Any) -> list[Any]:
        parts = self.layout.split(vector)
        return [tf.transpose(part) if t else part for part, t in zip(parts, self._turned, strict=True)]

    def _as_vector(self, values: Sequence[Any]) -> Any:
        turned = zip(values, self._turned, strict=True)
        return self.layout.join(
            [tf.transpose(value) if t else tf.convert_to_tensor(value) for value, t in turned]
        )

    def _pieces(self, vector: NDArray[Any]) -> list[NDArray[Any]]:
        """Views of ``vector`` as values of the variables."""
        cut = np.split(vector, np.cumsum(self.layout.sizes)[:-1])
        shaped = [piece.reshape(shape) for piece, shape in zip(cut, self.layout.shapes, strict=True)]
        return [piece.T if t else piece for piece, t in zip(shaped, self._turned, strict=True)]

    def _read(self) -> NDArray[Any]:
        """The variables of the models as a vector."""
        values = [array_of(variable) for variable in self._variables]
        turned = [value.T if t else value for value, t in zip(values, self._turned, strict=True)]
        return np.concatenate([value.reshape(-1) for value in turned])


def _named(model: Any) -> list[tuple[str, Any]]:
    """All variables of a model with names that do not depend on how many layers were made before it."""
    return [(f"{i}.{variable.name}", variable) for i, variable in enumerate(model.variables)]


def learning_rate_of(optimizer: Any) -> dict[str, float]:
    """What the optimizer starts with, as a hyperparameter; nothing where it has no such number."""
    rate = getattr(optimizer, "learning_rate", None)
    try:
        return {"learning_rate": float(rate if isinstance(rate, float | int) else array_of(rate))}
    except (
        AttributeError,
        TypeError,
        ValueError,
    ):  # a schedule, or no optimizer at all: refused where it is used
        return {}


def _require_tensorflow() -> None:
    if keras.backend.backend() != "tensorflow":
        raise ConfigError(
            f"Keras runs on {keras.backend.backend()}, but optix-tf needs TensorFlow: set KERAS_BACKEND=tensorflow "
            "before the first import of keras"
        )
