"""Single neurons as objects: what ``NeuronGraph.add_neuron(neuron=...)`` takes, and what can be stepped alone.

A graph copies a prototype's parameters into its arrays and keeps no reference to it.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.neurons.activations import code_of, in_place
from optix_neuroevo.neurons.types import NUMPY, NeuronType, neuron_type

CELL_TYPES: tuple[str, ...] = ("excitatory", "inhibitory", "any")
"""Which signs a neuron's outgoing weights may have: not negative, not positive, or either (Dale's law)."""


class Neuron:
    """A point neuron: ``h = f(x + b)``.

    Args:
        activation: A name of :data:`~optix_neuroevo.neurons.activations.ACTIVATIONS`.
        neuron_id: Its id in a graph; a random UUID if none is given.
        max_delay: How many past activations it keeps.
        cell_type: A name of :data:`CELL_TYPES`.
        bias: b.

    Attributes:
        parameters: ``[K]`` float64, in the order of its type's parameters.
        is_recurrent: Whether gradients flow through its own state.

    Raises:
        ValueError: An unknown activation or cell type, or a negative delay.
    """

    type_name: ClassVar[str] = "point"

    def __init__(
        self,
        activation: str = "tanh",
        neuron_id: str | None = None,
        max_delay: int = 1,
        cell_type: str = "any",
        *,
        bias: float = 0.0,
    ) -> None:
        code_of(activation)
        if cell_type not in CELL_TYPES:
            raise ValueError(f"unknown cell type {cell_type!r}; there are {', '.join(CELL_TYPES)}")
        if max_delay < 0:
            raise ValueError(f"max_delay must not be negative; got {max_delay}")
        self.activation = activation
        self.neuron_id = str(uuid.uuid4()) if neuron_id is None else neuron_id
        self.max_delay = max_delay
        self.cell_type = cell_type
        self.bias = float(bias)
        self.type: NeuronType = neuron_type(self.type_name)
        self.parameters: NDArray[np.float64] = np.zeros(len(self.type.parameters))
        self.reset_state()

    @property
    def is_recurrent(self) -> bool:
        """Whether gradients flow through its own state."""
        return self.type.is_recurrent

    def reset_state(self) -> None:
        """Forget: state, current activation and history become zero."""
        self._state = [np.zeros(1) for _ in self.type.state]
        self._current = 0.0
        self._history: list[float] = []

    def step(self, weighted_sum: float) -> float:
        """The activation for this step's weighted input; it becomes the current one."""
        if self.type.step is None:
            value = np.array([weighted_sum + self.bias])
            function = in_place(self.activation)
            if function is not None:
                function(value)
            self._current = float(value[0])
        else:
            x = np.array([float(weighted_sum)])
            h, after = self.type.step(x, self._state, list(self.parameters), NUMPY)
            self._state, self._current = list(after), float(h[0])
        return self._current

    def push_history(self) -> None:
        """Make the current activation the most recent of the past ones."""
        self._history = [self._current, *self._history][: self.max_delay]

    def get_delayed(self, delay: int) -> float:
        """The current activation (0), or the one so many pushes ago; 0.0 beyond what is kept."""
        if delay == 0:
            return self._current
        return self._history[delay - 1] if delay <= len(self._history) else 0.0

    def expand_history(self, max_delay: int) -> None:
        """Keep at least so many past activations from now on."""
        self.max_delay = max(self.max_delay, max_delay)

    def init_history_from_buffer(self, buffer: list[float]) -> None:
        """Take over past activations, the most recent first."""
        self._history = [float(value) for value in buffer][: self.max_delay]

    def importance(self, incident_weight_sum: float) -> float:
        """Sum of incident ``|w|`` times ``|h| + 1e-8``."""
        return float(incident_weight_sum) * (abs(self._current) + 1e-8)

    def can_merge_with(self, other: Neuron) -> bool:
        """Whether the other is of the same concrete type."""
        return type(self) is type(other)

    def make_relay(self) -> Neuron:
        """A linear point neuron of the same cell type: the one that passes on exactly what it gets."""
        return Neuron("linear", max_delay=self.max_delay, cell_type=self.cell_type)

    def split_copy(self) -> Self:
        """A neuron with the same parameters and an id of its own; it has not seen anything yet."""
        twin = self._like()
        twin.parameters = self.parameters.copy()
        return twin

    def _like(self) -> Self:
        return type(self)(
            activation=self.activation, max_delay=self.max_delay, cell_type=self.cell_type, bias=self.bias
        )


class _TypedNeuron(Neuron):
    """A neuron with parameters of its own instead of bias and activation.

    Args:
        neuron_id: As for :class:`Neuron`.
        max_delay: As for :class:`Neuron`.
        cell_type: As for :class:`Neuron`.
        rng: Draws the initial parameters; without one they are those of seed 0.
    """

    def __init__(
        self,
        neuron_id: str | None = None,
        max_delay: int = 1,
        cell_type: str = "any",
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__("linear", neuron_id, max_delay, cell_type)
        if self.type.initial is not None:
            self.parameters = np.asarray(self.type.initial(rng or np.random.default_rng(0), 1)[0], np.float64)

    def _like(self) -> Self:
        return type(self)(max_delay=self.max_delay, cell_type=self.cell_type)

    def __getattr__(self, name: str) -> Any:
        kind = self.__dict__.get("type")
        if kind is not None and name in kind.parameters:
            return float(self.parameters[kind.parameters.index(name)])
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")


class GRUNeuron(_TypedNeuron):
    """A scalar gated recurrent unit; its state is data to gradients (see :func:`~.builtin.gru_step`)."""

    type_name = "gru"


class LSTMNeuron(_TypedNeuron):
    """A scalar long short-term memory; its state is data to gradients (see :func:`~.builtin.lstm_step`)."""

    type_name = "lstm"


class TrainableGRUNeuron(_TypedNeuron):
    """A scalar gated recurrent unit through whose state gradients flow."""

    type_name = "trainable_gru"


class TrainableLSTMNeuron(_TypedNeuron):
    """A scalar long short-term memory through whose state gradients flow."""

    type_name = "trainable_lstm"


class MorphNeuron(_TypedNeuron):
    """The identity when new; learning can turn it into tanh (see :func:`~.builtin.morph_step`)."""

    type_name = "morph"
