"""What of a network can a mutator see, and what can it do to it?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from numpy.typing import NDArray

Role = Literal["input", "hidden", "output"]
Cell = Literal["excitatory", "inhibitory", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NeuronView:
    """One neuron.

    Attributes:
        id: Its name, never used again once it is removed.
        role: Input neurons carry observations; those of role output are the network's answer, in order.
        type: The neuron type, ``"point"`` for one without state of its own.
        activation: Of a point neuron; other types may ignore it.
        cell: Sign that its outgoing weights must have (Dale's law); ``"any"``: none.
        region: The part of a larger network it belongs to; empty if there is one part only.
        age: Windows since it came; a neuron that was there from the start is older than any grown one.
    """

    id: str
    role: Role
    type: str = "point"
    activation: str = "tanh"
    cell: Cell = "any"
    region: str = ""
    age: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeView:
    """One edge.

    Attributes:
        id: Its name, never used again once it is removed.
        src: The neuron it reads.
        dst: The neuron it feeds.
        weight: The weight in effect, whatever the parameter behind it is.
        delay: Steps ago that it reads its source; 0 is within the same step.
        age: Windows since it came.
    """

    id: str
    src: str
    dst: str
    weight: float
    delay: int
    age: int = 0


class GraphView(Protocol):
    """A network, to look at."""

    def neurons(self) -> Sequence[NeuronView]:
        """All neurons, in the order in which they came."""
        ...

    def edges(self) -> Sequence[EdgeView]:
        """All edges, in the order in which they came."""
        ...

    def would_cycle(self, src: str, dst: str) -> bool:
        """Whether an edge without delay from ``src`` to ``dst`` would close a cycle without delay."""
        ...


class GraphEdit(GraphView, Protocol):
    """A network being changed. What is left inconsistent is refused, and undone, when the edit ends.

    Weights are always those in effect. A weight whose sign the source's cell forbids is refused with a ``ValueError``,
    and so are unknown ids, edges into input neurons, cycles without delay, and the removal of inputs or outputs.
    """

    def add_neuron(
        self, *, activation: str = "tanh", neuron_type: str = "point", cell: Cell = "any", region: str = ""
    ) -> str:
        """A new hidden neuron without edges and without a past; its id."""
        ...

    def add_edge(self, src: str, dst: str, *, weight: float = 0.0, delay: int = 0) -> str:
        """A new edge; its id. With the weight 0 the function stays as it is."""
        ...

    def set_weight(self, edge: str, weight: float) -> None:
        """Give an edge another weight."""
        ...

    def remove_edge(self, edge: str) -> None:
        """Take an edge away."""
        ...

    def remove_neuron(self, neuron: str) -> None:
        """Take a hidden neuron and its edges away, without making up for what it did."""
        ...

    def insert_on_edge(self, edge: str) -> str:
        """Put a relay into an edge so that the function stays as it is; the relay's id."""
        ...

    def split_neuron(self, neuron: str, rng: Any) -> str:
        """Make a twin and share the outgoing weights unequally, so that the function stays as it is; the twin's id."""
        ...

    def prune_neuron(self, neuron: str) -> None:
        """Take a hidden neuron away and let its sources drive its targets as well as they can."""
        ...

    def merge_neurons(self, keep: str, remove: str) -> None:
        """Let ``keep`` do what ``remove`` did, as far as it resembles it, and take ``remove`` away."""
        ...


class MutableGraph(Protocol):
    """A network that can be run and changed: what mutators are tested on."""

    def view(self) -> GraphView:
        """The network as it is."""
        ...

    def edit(self) -> AbstractContextManager[GraphEdit]:
        """A change of the network: all of it takes place at the end of the ``with`` block, or nothing."""
        ...

    def reset(self, batch: int) -> None:
        """Begin ``batch`` episodes."""
        ...

    def step(self, observations: NDArray[Any]) -> NDArray[Any]:
        """Outputs ``[B, n_out]`` for observations ``[B, n_in]``; the network remembers them."""
        ...
