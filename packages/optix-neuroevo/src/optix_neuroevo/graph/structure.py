"""What a neuron graph consists of, and questions about it; how it changes and runs builds on this.

Long because the questions are many; each is a line or two over the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_neuroevo.graph import weights
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.graph.elements import Edge, NeuronView, ParamRef
from optix_neuroevo.graph.parameters import ParameterArray
from optix_neuroevo.graph.state_layout import StateLayout, depths_of, layout_of
from optix_neuroevo.graph.tables import Table
from optix_neuroevo.neurons.activations import ACTIVATIONS
from optix_neuroevo.neurons.prototypes import CELL_TYPES
from optix_neuroevo.neurons.types import NeuronType, neuron_type

if TYPE_CHECKING:
    from optix_neuroevo.graph.edit import Edit

Array = NDArray[Any]
Listener = Callable[[GraphDelta], None]

ROLES = ("input", "hidden", "output")
INPUT, HIDDEN, OUTPUT = 0, 1, 2
DALE_MODES = ("clamp", "softplus")

_NEURON = {
    "uid": np.int64, "role": np.int8, "type": np.int16, "activation": np.int8, "cell": np.int8,
    "region": np.int16, "position": np.int64, "born": np.int64, "keep": np.int32,
}  # fmt: skip
_EDGE = {
    "uid": np.int64, "src": np.int32, "dst": np.int32, "delay": np.int32, "form": np.int8, "born": np.int64,
}  # fmt: skip


class GraphStructure:
    """What a graph consists of, and questions about it.

    Args:
        dale_mode: ``"clamp"``: weights are stored as they are, and :meth:`enforce_dale` moves them into their range
            after a gradient step. ``"softplus"``: weights of excitatory and inhibitory neurons are stored so that
            they have their sign always; see :mod:`optix_neuroevo.graph.weights`.
        dtype: float32, or float64 for tests of gradients.
        seed: Of the initial parameters of neurons that have any; None draws one from the operating system.

    Attributes:
        dale_mode: As given.
        dtype: As given.
        version: Grows with every change of structure, and with every changed value that an operation made.
        neurons: Neuron slots.
        edges: Edge slots.
        parameter_arrays: ``"theta"`` ``[edge slots]``, ``"bias"`` ``[neuron slots]``, and for each neuron type with
            parameters its name: ``[neuron slots, K]``.
        rng: What initial parameters are drawn from.

    Raises:
        ValueError: An unknown mode or dtype.
    """

    def __init__(self, dale_mode: str = "clamp", *, dtype: Any = np.float32, seed: int | None = None) -> None:
        if dale_mode not in DALE_MODES:
            raise ValueError(f"unknown dale_mode {dale_mode!r}; there are {', '.join(DALE_MODES)}")
        self.dtype = np.dtype(dtype)
        if self.dtype not in {np.dtype(np.float32), np.dtype(np.float64)}:
            raise ValueError(f"a graph computes in float32 or float64, not in {self.dtype}")
        self.dale_mode = dale_mode
        self.version = 0
        self.rng = np.random.default_rng(seed)
        self.neurons = Table(_NEURON)
        self.edges = Table(_EDGE)
        self.parameter_arrays: dict[str, ParameterArray] = {
            "theta": ParameterArray("theta", np.zeros(self.edges.capacity, self.dtype)),
            "bias": ParameterArray("bias", np.zeros(self.neurons.capacity, self.dtype)),
        }
        self._type_names: list[str] = ["point"]
        self._region_names: list[str] = ["main"]
        self._neuron_slot: dict[str, int] = {}
        self._edge_slot: dict[str, int] = {}
        self._neuron_name: dict[int, str] = {}
        self._edge_name: dict[int, str] = {}
        self._name_of_uid: dict[int, str] = {}
        self._same_step: dict[
            int, dict[int, int]
        ] = {}  # neuron slot -> slots it feeds with delay 0 -> how many edges
        self._next_uid = 1
        self._next_position = 0
        self._structure = 0
        self._values = 0
        self._cached: dict[str, tuple[int, Any]] = {}
        self._edit: Edit | None = None
        self._listeners: list[Listener] = []
        self._memory: Array | None = None
        self._outputs: Array | None = None
        self._activations: Array | None = None
        self._fast: Any = None

    # --- questions -----------------------------------------------------------------------------------------------

    def slot_of(self, neuron_id: str) -> int:
        """The slot of a neuron.

        Raises:
            ValueError: There is no such neuron.
        """
        slot = self._neuron_slot.get(neuron_id)
        if slot is None:
            raise ValueError(f"there is no neuron {neuron_id!r} in this graph")
        return slot

    def edge_slot_of(self, edge_id: str) -> int:
        """The slot of an edge.

        Raises:
            ValueError: There is no such edge.
        """
        slot = self._edge_slot.get(edge_id)
        if slot is None:
            raise ValueError(f"there is no edge {edge_id!r} in this graph")
        return slot

    def uid_of(self, neuron_id: str) -> int:
        """The number of a neuron that is never given to another one."""
        return int(self.neurons["uid"][self.slot_of(neuron_id)])

    def neuron_at(self, slot: int) -> str:
        """The id of the neuron in a slot."""
        return self._neuron_name[slot]

    def edge_at(self, slot: int) -> str:
        """The id of the edge in a slot."""
        return self._edge_name[slot]

    def name_of_uid(self, uid: int) -> str:
        """The id of the neuron of that number, if it was ever in this graph."""
        return self._name_of_uid[uid]

    def type_of(self, neuron_id: str) -> NeuronType:
        """The type of a neuron."""
        return self.type_at(self.slot_of(neuron_id))

    def type_at(self, slot: int) -> NeuronType:
        """The type of the neuron in a slot."""
        return neuron_type(self._type_names[self.neurons["type"][slot]])

    @property
    def type_names(self) -> Sequence[str]:
        """Neuron types by their codes in ``neurons["type"]``."""
        return tuple(self._type_names)

    @property
    def region_names(self) -> Sequence[str]:
        """Regions by their codes in ``neurons["region"]``."""
        return tuple(self._region_names)

    def has_neuron(self, neuron_id: str) -> bool:
        """Whether there is one."""
        return neuron_id in self._neuron_slot

    def has_edge(self, edge_id: str) -> bool:
        """Whether there is one."""
        return edge_id in self._edge_slot

    def get_neuron(self, neuron_id: str) -> NeuronView:
        """A neuron, as it is now."""
        slot, n = self.slot_of(neuron_id), self.neurons
        kind = self.type_at(slot)
        own = self.parameter_arrays[kind.name] if kind.parameters else None
        return NeuronView(
            neuron_id, ROLES[n["role"][slot]], kind.name, ACTIVATIONS[n["activation"][slot]],
            CELL_TYPES[n["cell"][slot]], self._region_names[n["region"][slot]],
            ParamRef(self.parameter_arrays["bias"], slot), None if own is None else ParamRef(own, slot), slot,
            int(n["born"][slot]),
        )  # fmt: skip

    def get_edge(self, edge_id: str) -> Edge:
        """An edge, as it is now."""
        slot, e = self.edge_slot_of(edge_id), self.edges
        return Edge(
            edge_id, self._neuron_name[int(e["src"][slot])], self._neuron_name[int(e["dst"][slot])],
            int(e["delay"][slot]), ParamRef(self.parameter_arrays["theta"], slot),
            self.effective_weight(edge_id), slot,
        )  # fmt: skip

    def edges_into(self, neuron_id: str) -> list[Edge]:
        """Edges that end at a neuron, by slot."""
        return self._edges(self.edges["dst"] == self.slot_of(neuron_id))

    def edges_from(self, neuron_id: str) -> list[Edge]:
        """Edges that begin at a neuron, by slot."""
        return self._edges(self.edges["src"] == self.slot_of(neuron_id))

    def edges_between(self, src: str, dst: str, delay: int | None = None) -> list[Edge]:
        """Edges from one neuron to another, of one delay or of any."""
        chosen = (self.edges["src"] == self.slot_of(src)) & (self.edges["dst"] == self.slot_of(dst))
        return self._edges(chosen if delay is None else chosen & (self.edges["delay"] == delay))

    def all_edges(self) -> list[Edge]:
        """All edges, by slot."""
        return self._edges(self.edges.alive)

    def all_edge_ids(self) -> list[str]:
        """Ids of all edges, by slot."""
        return [self._edge_name[slot] for slot in self.edges.slots().tolist()]

    def all_neuron_ids(self) -> list[str]:
        """Ids of all neurons in order of insertion."""
        return self._ids(self.neurons.alive)

    @property
    def input_ids(self) -> list[str]:
        """Ids of input neurons, in the order of the observation."""
        return self._ids(self.neurons.alive & (self.neurons["role"] == INPUT))

    @property
    def hidden_ids(self) -> list[str]:
        """Ids of hidden neurons in order of insertion."""
        return self._ids(self.neurons.alive & (self.neurons["role"] == HIDDEN))

    @property
    def output_ids(self) -> list[str]:
        """Ids of output neurons, in the order of the output."""
        return self._ids(self.neurons.alive & (self.neurons["role"] == OUTPUT))

    def n_neurons(self) -> int:
        """How many neurons there are."""
        return self.neurons.n_alive

    def n_edges(self) -> int:
        """How many edges there are."""
        return self.edges.n_alive

    def cell_type_of(self, neuron_id: str) -> str:
        """``"excitatory"``, ``"inhibitory"`` or ``"any"``."""
        return CELL_TYPES[self.neurons["cell"][self.slot_of(neuron_id)]]

    def would_cycle(self, src: str, dst: str) -> bool:
        """Whether an edge of delay 0 would close a cycle within one step."""
        source, target = self.slot_of(src), self.slot_of(dst)
        if source == target:
            return True
        seen, ahead = {target}, [target]
        while ahead:
            for slot in self._same_step.get(ahead.pop(), ()):
                if slot == source:
                    return True
                if slot not in seen:
                    seen.add(slot)
                    ahead.append(slot)
        return False

    def effective_weight(self, edge_id: str) -> float:
        """What an edge multiplies with."""
        slot = self.edge_slot_of(edge_id)
        chosen = slice(slot, slot + 1)
        sign = weights.SIGNS[self.neurons["cell"][self.edges["src"][chosen]]]
        return float(
            weights.effective(
                self.parameter_arrays["theta"].values[chosen], self.edges["form"][chosen], sign
            )[0]
        )

    @property
    def structure_version(self) -> int:
        """Grows with every change after which the plan has to be made anew."""
        return self._structure

    # --- memory -----------------------------------------------------------------------------------------------------

    def state_layout(self) -> StateLayout:
        """What one environment's memory consists of."""
        return self._cache("layout", lambda: layout_of(self.neurons, self.depths(), self._type_names))

    @property
    def memory_size(self) -> int:
        """M, the length of one environment's memory."""
        return self.state_layout().size

    def depths(self) -> NDArray[np.int64]:
        """How many past activations each neuron slot keeps: its largest outgoing delay, or what it was told to."""
        return depths_of(self.neurons, self.edges)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _edges(self, chosen: Array) -> list[Edge]:
        return [
            self.get_edge(self._edge_name[slot])
            for slot in np.flatnonzero(self.edges.alive & chosen).tolist()
        ]

    def _ids(self, chosen: Array) -> list[str]:
        slots = np.flatnonzero(chosen)
        ordered = slots[np.argsort(self.neurons["position"][slots], kind="stable")]
        return [self._neuron_name[slot] for slot in ordered.tolist()]

    def _cache(self, name: str, make: Callable[[], Any]) -> Any:
        found = self._cached.get(name)
        if found is None or found[0] != self._structure:
            found = (self._structure, make())
            self._cached[name] = found
        return found[1]
