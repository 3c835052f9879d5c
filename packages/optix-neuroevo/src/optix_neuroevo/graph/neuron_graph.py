"""A directed graph of scalar neurons whose structure may change while it acts and learns.

One step computes ``h_v(t) = f_v(b_v + sum of w h_u(t - d))`` over the edges ``(u -> v, w, d)`` that enter v. Edges of
delay 0 are resolved within the step, so they must not form a cycle; past activations are zero before an episode
begins. An input neuron's activation is its element of the observation. What a neuron of another type does with its
weighted input is said in :mod:`optix_neuroevo.neurons`.

Everything lies in arrays by *slot*: a removed neuron or edge leaves a free slot, nothing ever moves, and parameters
that PyTorch trains share memory with the arrays that numpy acts with. The *plan* (what is computed in which order) is
made anew only after the structure has changed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_core.state import State
from optix_neuroevo.graph import weights
from optix_neuroevo.graph.delta import GraphDelta, OperationRefused
from optix_neuroevo.graph.edit import Edit
from optix_neuroevo.graph.elements import Edge, NeuronView, ParamRef
from optix_neuroevo.graph.parameters import ParameterArray
from optix_neuroevo.graph.state_layout import HISTORY, VARIABLE, StateLayout
from optix_neuroevo.graph.tables import Table
from optix_neuroevo.neurons.activations import ACTIVATIONS, code_of
from optix_neuroevo.neurons.prototypes import CELL_TYPES, Neuron
from optix_neuroevo.neurons.types import NeuronType, neuron_type

if TYPE_CHECKING:
    from torch import nn

    from optix_neuroevo.plan.compile import Plan
    from optix_neuroevo.plan.probe import Probe

Array = NDArray[Any]
Listener = Callable[[GraphDelta], None]

ROLES = ("input", "hidden", "output")
INPUT, HIDDEN, OUTPUT = 0, 1, 2
DALE_MODES = ("clamp", "softplus")
FORMAT = 1

_NEURON = {
    "uid": np.int64, "role": np.int8, "type": np.int16, "activation": np.int8, "cell": np.int8,
    "region": np.int16, "position": np.int64, "born": np.int64, "keep": np.int32,
}  # fmt: skip
_EDGE = {
    "uid": np.int64, "src": np.int32, "dst": np.int32, "delay": np.int32, "form": np.int8, "born": np.int64,
}  # fmt: skip


class NeuronGraph:
    """A graph of neurons; see the module's text for what it computes.

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

    # --- construction --------------------------------------------------------------------------------------------

    def add_neuron(
        self,
        role: str = "hidden",
        activation: str = "tanh",
        neuron_id: str | None = None,
        max_delay: int = 1,
        cell_type: str = "any",
        neuron: Neuron | str | None = None,
        *,
        region: str = "main",
        bias: float = 0.0,
    ) -> str:
        """Add a neuron without edges.

        Args:
            role: ``"input"``, ``"hidden"`` or ``"output"``. The order of insertion among inputs and among outputs is
                the order in observations and in outputs.
            activation: Of a point neuron.
            neuron_id: Its id; made up if None.
            max_delay: Above 1: how many past activations it keeps even if no edge needs them yet, so that an edge
                with a delay that is added in the middle of an episode finds them.
            cell_type: Which sign its outgoing weights have: ``"excitatory"``, ``"inhibitory"`` or ``"any"``.
            neuron: A prototype, whose id, activation, cell type and parameters are taken (an explicit ``neuron_id``
                wins), or the name of a neuron type. None: a point neuron.
            region: A label.
            bias: Of a point neuron.

        Returns:
            Its id.

        Raises:
            ValueError: An unknown name, or the id is taken.
        """
        if role not in ROLES:
            raise ValueError(f"unknown role {role!r}; there are {', '.join(ROLES)}")
        kind, own = neuron_type("point"), None
        if isinstance(neuron, Neuron):
            kind, own = neuron.type, neuron.parameters
            activation, cell_type, bias = neuron.activation, neuron.cell_type, neuron.bias
            max_delay = max(max_delay, neuron.max_delay)
            neuron_id = neuron_id if neuron_id is not None else neuron.neuron_id
        elif neuron is not None:
            kind = neuron_type(neuron)
        if cell_type not in CELL_TYPES:
            raise ValueError(f"unknown cell type {cell_type!r}; there are {', '.join(CELL_TYPES)}")
        if max_delay < 0:
            raise ValueError(f"max_delay must not be negative; got {max_delay}")
        activation_code = code_of(activation if kind.is_point else "linear")
        if neuron_id is not None and neuron_id in self._neuron_slot:
            raise ValueError(f"there is a neuron {neuron_id!r} already")
        if role == "input":
            kind, own = neuron_type("point"), None
        with self._change("add_neuron") as edit:
            uid = self._uid()
            name = neuron_id if neuron_id is not None else self._free_name("n", uid, self._neuron_slot)
            slot = self.neurons.take(
                uid=uid, role=ROLES.index(role), type=self._type_code(kind), activation=activation_code,
                cell=CELL_TYPES.index(cell_type), region=self._region_code(region),
                position=self._next_position, born=self.version, keep=max_delay if max_delay > 1 else 0,
            )  # fmt: skip
            self._next_position += 1
            self._reserve()
            self._neuron_slot[name], self._neuron_name[slot] = slot, name
            self._name_of_uid[uid] = name
            edit.record.neurons_added[name] = None
            self.parameter_arrays["bias"].values[slot] = bias
            edit.parameter_added("bias", slot)
            if kind.parameters:
                array = self.parameter_arrays[kind.name]
                if own is None:
                    own = (
                        np.zeros(len(kind.parameters))
                        if kind.initial is None
                        else kind.initial(self.rng, 1)[0]
                    )
                array.values[slot] = own
                edit.parameter_added(kind.name, slot)
        return name

    def add_edge(
        self, src: str, dst: str, weight: float = 0.0, delay: int = 0, edge_id: str | None = None
    ) -> str:
        """Add an edge; parallel edges are legal and add up.

        Args:
            src: Id of the neuron it reads.
            dst: Id of the neuron it adds to.
            weight: Effective weight. In mode ``"softplus"`` it gets the sign of the source's cell type.
            delay: In steps. 0 is within the same step.
            edge_id: Its id; made up if None.

        Returns:
            Its id.

        Raises:
            ValueError: Unknown neurons, a taken id, a negative delay, an edge into an input, a weight that is not
                finite, or an edge of delay 0 that would close a cycle.
        """
        source, target = self.slot_of(src), self.slot_of(dst)
        if edge_id is not None and edge_id in self._edge_slot:
            raise ValueError(f"there is an edge {edge_id!r} already")
        if delay < 0 or int(delay) != delay:
            raise ValueError(f"a delay is a number of steps, 0 or more; got {delay}")
        if not np.isfinite(weight):
            raise ValueError(f"the weight of {src} -> {dst} must be finite; got {weight}")
        if self.neurons["role"][target] == INPUT:
            raise ValueError(
                f"{dst} is an input neuron: its activation is its element of the observation, and an edge into it "
                "would have no effect; let the edge end at a hidden or output neuron"
            )
        if delay == 0 and self.would_cycle(src, dst):
            raise ValueError(
                f"an edge {src} -> {dst} of delay 0 would close a cycle within one step; give it a delay of at "
                "least 1"
            )
        theta, form = weights.stored(float(weight), int(self.neurons["cell"][source]), self.dale_mode)
        with self._change("add_edge") as edit:
            uid = self._uid()
            name = edge_id if edge_id is not None else self._free_name("e", uid, self._edge_slot)
            slot = self.edges.take(
                uid=uid, src=source, dst=target, delay=int(delay), form=form, born=self.version
            )
            self._reserve()
            self._edge_slot[name], self._edge_name[slot] = slot, name
            if delay == 0:
                fed = self._same_step.setdefault(source, {})
                fed[target] = fed.get(target, 0) + 1
            edit.record.edges_added[name] = None
            self.parameter_arrays["theta"].values[slot] = theta
            edit.parameter_added("theta", slot)
        return name

    def remove_edge(self, edge_id: str) -> None:
        """Remove an edge.

        Raises:
            ValueError: There is no such edge.
        """
        slot = self.edge_slot_of(edge_id)
        with self._change("remove_edge") as edit:
            if self.edges["delay"][slot] == 0:
                source, target = int(self.edges["src"][slot]), int(self.edges["dst"][slot])
                fed = self._same_step[source]
                fed[target] -= 1
                if not fed[target]:
                    del fed[target]
            self.edges.free(slot)
            del self._edge_slot[edge_id], self._edge_name[slot]
            self._clear("theta", slot)
            edit.parameter_removed("theta", slot)
            _drop(edit.record.edges_added, edit.record.edges_removed, edge_id)

    def remove_neuron(self, neuron_id: str) -> None:
        """Remove a neuron and all edges that touch it.

        Raises:
            ValueError: There is no such neuron.
        """
        slot = self.slot_of(neuron_id)
        with self._change("remove_neuron") as edit:
            src, dst = self.edges["src"], self.edges["dst"]
            for edge in np.flatnonzero(self.edges.alive & ((src == slot) | (dst == slot))).tolist():
                self.remove_edge(self._edge_name[edge])
            kind = self.type_of(neuron_id)
            self._same_step.pop(slot, None)
            self.neurons.free(slot)
            del self._neuron_slot[neuron_id], self._neuron_name[slot]
            for name in ("bias", *([kind.name] if kind.parameters else [])):
                self._clear(name, slot)
                edit.parameter_removed(name, slot)
            _drop(edit.record.neurons_added, edit.record.neurons_removed, neuron_id)

    def set_weight(self, edge_id: str, weight: float) -> None:
        """Give an edge another effective weight.

        Raises:
            ValueError: There is no such edge, or Dale's law forbids the weight.
        """
        slot = self.edge_slot_of(edge_id)
        cell = int(self.neurons["cell"][self.edges["src"][slot]])
        if not np.isfinite(weight) or not weights.allowed(weight, cell):
            raise ValueError(
                f"edge {edge_id!r} cannot have weight {weight}: its source is {CELL_TYPES[cell]}"
            )
        theta, form = weights.stored(float(weight), cell, self.dale_mode)
        with self._change("set_weight", structural=bool(form != self.edges["form"][slot])) as edit:
            self.edges["form"][slot] = form
            self.parameter_arrays["theta"].values[slot] = theta
            edit.parameter_changed("theta", slot)

    def set_bias(self, neuron_id: str, bias: float) -> None:
        """Give a neuron another bias; only point neurons use it."""
        slot = self.slot_of(neuron_id)
        with self._change("set_bias", structural=False) as edit:
            self.parameter_arrays["bias"].values[slot] = bias
            edit.parameter_changed("bias", slot)

    def set_parameters(self, neuron_id: str, values: Array) -> None:
        """Give a neuron of a type with parameters other ones, ``[K]``.

        Raises:
            ValueError: It has none, or another number of them.
        """
        kind, slot = self.type_of(neuron_id), self.slot_of(neuron_id)
        if np.shape(values) != (len(kind.parameters),) or not kind.parameters:
            raise ValueError(f"a {kind.name} neuron has {len(kind.parameters)} parameters of its own")
        with self._change("set_parameters", structural=False) as edit:
            self.parameter_arrays[kind.name].values[slot] = values
            edit.parameter_changed(kind.name, slot)

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

    # --- weights and parameters ----------------------------------------------------------------------------------

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

    def effective_weights(self) -> Array:
        """Effective weights ``[edge slots]``, zero in free ones; a new array."""
        sign = weights.SIGNS[self.neurons["cell"][self.edges["src"]]].astype(self.dtype)
        theta = self.parameter_arrays["theta"].values
        return np.where(self.edges.alive, weights.effective(theta, self.edges["form"], sign), 0).astype(
            self.dtype
        )

    def enforce_dale(self) -> None:
        """Move stored weights into the range that Dale's law leaves them; call it after every gradient step."""
        bounded_below, bounded_above = self._cache("dale", self._dale_slots)
        theta = self.parameter_arrays["theta"].values
        if len(bounded_below):
            theta[bounded_below] = np.maximum(theta[bounded_below], 0.0)
        if len(bounded_above):
            theta[bounded_above] = np.minimum(theta[bounded_above], 0.0)
        self.touch()

    def parameters(self) -> list[nn.Parameter]:
        """PyTorch parameters on the memory of :attr:`parameter_arrays`; the objects stay the same as long as the graph.

        A neuron type that the graph did not have before brings a further one.
        """
        return [array.parameter() for array in self.parameter_arrays.values()]

    def named_parameters(self) -> list[tuple[str, nn.Parameter]]:
        """:meth:`parameters` with their names."""
        return [(name, array.parameter()) for name, array in self.parameter_arrays.items()]

    def touch(self) -> None:
        """Say that parameter values were written to by something other than PyTorch or this graph."""
        self._values += 1

    @property
    def values_version(self) -> int:
        """Grows with every change of parameter values that the graph or PyTorch knows of."""
        stamp = self._values
        for array in self.parameter_arrays.values():
            stamp += array.version
        return stamp

    @property
    def structure_version(self) -> int:
        """Grows with every change after which the plan has to be made anew."""
        return self._structure

    # --- changes -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def edit(
        self,
        operation: str,
        *,
        promise: str = "none",
        probe: Probe | None = None,
        tolerance: float | None = None,
    ) -> Iterator[Edit]:
        """Make several changes one: all or nothing, one delta, one migration of memory.

        Edits may be nested; the outermost one is what listeners hear of, and an inner one that fails undoes only
        itself.

        Args:
            operation: Its name.
            promise: See :class:`~optix_neuroevo.graph.delta.GraphDelta`; of the outermost edit.
            probe: Observations on which outputs before and after are compared.
            tolerance: Largest absolute change of an output over the probe.

        Raises:
            OperationRefused: Outputs changed by more than the tolerance; the graph is as before.
            ValueError: A tolerance without a probe, on which alone it could be checked.
        """
        if tolerance is not None and probe is None:
            raise ValueError("a tolerance needs a probe: observations on which the change is measured")
        outer = self._edit
        self._hold()
        edit = outer or Edit(self, operation, self.state_layout(), promise)
        saved, record, layout = self._snapshot(), edit.mark(), self.state_layout()
        before = None if probe is None else probe.outputs(self)
        self._edit = edit
        change: float | None = None
        try:
            yield edit
            if probe is not None and before is not None:
                moved = probe.migrated(edit.migration(layout, len(record.rules)))
                change = float(np.abs(moved.outputs(self) - before).max(initial=0.0))
                if tolerance is not None and not change <= tolerance:
                    raise OperationRefused(
                        f"{operation} changes an output by {change:.3g} on the probe; the tolerance is "
                        f"{tolerance:.3g}, so nothing was changed"
                    )
                edit.note(output_change=change)
        except BaseException:
            self._restore(saved)
            edit.record = record
            raise
        finally:
            self._edit = outer
        if outer is None:
            self._commit(edit, change)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Let ``listener`` hear of every committed change; returns a function that ends this."""
        self._listeners.append(listener)

        def unsubscribe() -> None:
            self._listeners.remove(listener)

        return unsubscribe

    # --- running -------------------------------------------------------------------------------------------------

    def state_layout(self) -> StateLayout:
        """What one environment's memory consists of."""
        return self._cache("layout", self._make_layout)

    @property
    def memory_size(self) -> int:
        """M, the length of one environment's memory."""
        return self.state_layout().size

    def plan(self) -> Plan:
        """The compiled plan; made anew only if the structure has changed since the last call."""
        from optix_neuroevo.plan.compile import compile_plan

        return self._cache("plan", lambda: compile_plan(self))

    def compile_forward(self) -> None:
        """Compile now; otherwise the first step after a change does."""
        self.plan()

    def invalidate_compile(self) -> None:
        """Let the next step compile anew. Never needed: the graph knows when its structure has changed."""
        self._hold()
        self._structure += 1

    def forward(self, observation: Any) -> Array:
        """One step of the graph's own environment: observation ``[n_in]`` to outputs ``[n_out]``, a new array.

        The graph keeps this environment's memory; :meth:`reset_state` forgets it.

        Raises:
            ValueError: The observation has another size.
        """
        if self._fast is None or self._fast.structure != self._structure:
            from optix_neuroevo.plan.numpy_step import SingleStepper

            if self._edit is not None:
                raise ConfigError("a graph cannot act inside an edit: its memory follows when the edit ends")
            fast = SingleStepper(self)
            if self._memory is not None:
                fast.set_memory(self._memory)
            self._memory, self._fast = None, fast
        return self._fast.step(observation)

    __call__ = forward

    def step(self, observations: Array, memory: Array) -> tuple[Array, Array]:
        """One step of N environments.

        Args:
            observations: ``[N, n_in]``.
            memory: ``[N, M]`` before this step, zeros where an episode begins; not written to.

        Returns:
            Outputs ``[N, n_out]`` and memory after the step ``[N, M]``; new arrays.

        Raises:
            ValueError: A shape is wrong.
        """
        from optix_neuroevo.plan.numpy_step import stepper_of

        return stepper_of(self, len(observations)).step(observations, memory)

    def reset_state(self) -> None:
        """Forget what the graph's own environment left: an episode begins."""
        self.memory = np.zeros(self.memory_size, self.dtype)

    @property
    def memory(self) -> Array:
        """The own environment's memory ``[M]``; a copy."""
        if self._fast is not None:
            return self._fast.memory()
        return np.zeros(self.memory_size, self.dtype) if self._memory is None else self._memory.copy()

    @memory.setter
    def memory(self, values: Array) -> None:
        if np.shape(values) != (self.memory_size,):
            raise ValueError(f"memory has shape {np.shape(values)}, expected {(self.memory_size,)}")
        if self._fast is not None:
            self._fast.set_memory(np.asarray(values, self.dtype))
        else:
            self._memory = np.array(values, self.dtype)

    def activation_of(self, neuron_id: str) -> float:
        """A neuron's activation in the last :meth:`forward`; 0.0 before the first one since the last change."""
        slot = self.slot_of(neuron_id)
        return 0.0 if self._fast is None else float(self._fast.activation(slot))

    # --- keeping -------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """A copy of everything: structure, parameters, memory of the own environment, generator."""
        from optix_neuroevo.graph.keeping import state_of

        return state_of(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what :meth:`state_dict` described, whatever the graph is now; all or nothing.

        PyTorch parameters stay the same objects. Ids that were used since are not given out again.

        Raises:
            IncompatibleCheckpoint: It is not the state of a graph that this version can read.
        """
        from optix_neuroevo.graph.keeping import restore

        if self._edit is not None:
            raise ConfigError("a graph cannot be loaded inside one of its own edits")
        saved = self._snapshot()
        try:
            restore(self, state)
        except (KeyError, TypeError, ValueError) as error:
            self._restore(saved)
            if isinstance(error, IncompatibleCheckpoint):
                raise
            raise IncompatibleCheckpoint(f"this is not the state of a neuron graph: {error!r}") from error

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> NeuronGraph:
        """A new graph from what :meth:`state_dict` described."""
        graph = cls(str(state.get("dale_mode", "clamp")), dtype=str(state.get("dtype", "float32")), seed=0)
        graph.load_state_dict(state)
        return graph

    def copy(self) -> NeuronGraph:
        """An independent graph that is equal to this one; listeners are not copied."""
        return NeuronGraph.from_state(self.state_dict())

    def to_networkx(self) -> Any:
        """The graph as a ``networkx.MultiDiGraph``; see :func:`optix_neuroevo.export.to_networkx`."""
        from optix_neuroevo.export.drawing import to_networkx

        return to_networkx(self)

    # --- inside --------------------------------------------------------------------------------------------------

    def _edges(self, chosen: Array) -> list[Edge]:
        return [
            self.get_edge(self._edge_name[slot])
            for slot in np.flatnonzero(self.edges.alive & chosen).tolist()
        ]

    def _ids(self, chosen: Array) -> list[str]:
        slots = np.flatnonzero(chosen)
        ordered = slots[np.argsort(self.neurons["position"][slots], kind="stable")]
        return [self._neuron_name[slot] for slot in ordered.tolist()]

    def _uid(self) -> int:
        uid = self._next_uid
        self._next_uid += 1
        return uid

    @staticmethod
    def _free_name(prefix: str, uid: int, taken: Mapping[str, int]) -> str:
        name = f"{prefix}{uid}"
        while name in taken:
            name += "'"
        return name

    def _type_code(self, kind: NeuronType) -> int:
        if kind.name not in self._type_names:
            self._type_names.append(kind.name)
        if kind.parameters and kind.name not in self.parameter_arrays:
            empty = np.zeros((self.neurons.capacity, len(kind.parameters)), self.dtype)
            self.parameter_arrays[kind.name] = ParameterArray(kind.name, empty)
        return self._type_names.index(kind.name)

    def _region_code(self, region: str) -> int:
        if region not in self._region_names:
            self._region_names.append(region)
        return self._region_names.index(region)

    def _reserve(self) -> None:
        for name, array in self.parameter_arrays.items():
            array.reserve(self.edges.capacity if name == "theta" else self.neurons.capacity)

    def _clear(self, name: str, slot: int) -> None:
        array = self.parameter_arrays[name]
        array.values[slot] = 0
        if array.grad is not None:
            array.grad[slot] = 0

    @contextlib.contextmanager
    def _change(self, operation: str, *, structural: bool = True) -> Iterator[Edit]:
        """One valid change: part of the edit that is open, or one of its own."""
        if self._edit is not None:
            yield self._edit
            self._changed(structural)
            return
        if structural:
            self._hold()
        heard = bool(self._listeners) or (structural and self._memory is not None)
        edit = Edit(self, operation, self.state_layout() if heard else _NO_LAYOUT, "none")
        self._edit = edit
        try:
            yield edit
        finally:
            self._edit = None
        self._changed(structural)
        if heard:
            self._commit(edit, None)
        else:
            self.version += 1

    def _hold(self) -> None:
        """Take the memory of the own environment out of what is compiled."""
        if self._fast is not None:
            self._memory, self._fast = self._fast.memory(), None

    def _changed(self, structural: bool) -> None:
        self._structure += structural
        self._values += 1

    def _commit(self, edit: Edit, change: float | None) -> None:
        self.version += 1
        delta = edit.delta(change)
        if self._memory is not None:
            self._memory = delta.migration(self._memory)
        for listener in list(self._listeners):
            listener(delta)

    def _cache(self, name: str, make: Callable[[], Any]) -> Any:
        found = self._cached.get(name)
        if found is None or found[0] != self._structure:
            found = (self._structure, make())
            self._cached[name] = found
        return found[1]

    def _dale_slots(self) -> tuple[Array, Array]:
        cell = self.neurons["cell"][self.edges["src"]]
        form, alive = self.edges["form"], self.edges.alive
        free = alive & (form == weights.FREE)
        below = (free & (cell == weights.EXCITATORY)) | (alive & (form == weights.RECTIFIED))
        return np.flatnonzero(below), np.flatnonzero(free & (cell == weights.INHIBITORY))

    def depths(self) -> NDArray[np.int64]:
        """How many past activations each neuron slot keeps: its largest outgoing delay, or what it was told to."""
        depth = self.neurons["keep"].astype(np.int64)
        chosen = self.edges.alive
        np.maximum.at(depth, self.edges["src"][chosen], self.edges["delay"][chosen])
        depth[~self.neurons.alive] = 0
        return depth

    def _make_layout(self) -> StateLayout:
        depth = self.depths()
        slots = self.neurons.slots()
        counts = depth[slots]
        owners = np.repeat(slots, counts)
        lags = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
        sizes = np.array([len(neuron_type(name).state) for name in self._type_names])
        held = sizes[self.neurons["type"][slots]]
        holders = np.repeat(slots, held)
        variables = np.arange(len(holders)) - np.repeat(np.cumsum(held) - held, held)
        uid = self.neurons["uid"]
        kind = np.repeat(np.array([HISTORY, VARIABLE], np.int8), [len(owners), len(holders)])
        return StateLayout(
            uid=uid[np.concatenate([owners, holders])],
            kind=kind,
            index=np.concatenate([lags, variables]).astype(np.int32),
        )

    def _snapshot(self) -> dict[str, Any]:
        return {
            "neurons": self.neurons.copy_arrays(),
            "edges": self.edges.copy_arrays(),
            "parameters": {name: array.values.copy() for name, array in self.parameter_arrays.items()},
            "types": list(self._type_names),
            "regions": list(self._region_names),
            "neuron_slot": dict(self._neuron_slot),
            "edge_slot": dict(self._edge_slot),
            "position": self._next_position,
            "uid": self._next_uid,
            "rng": self.rng.bit_generator.state,
        }

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self.neurons.set_arrays(saved["neurons"])
        self.edges.set_arrays(saved["edges"])
        self._type_names, self._region_names = list(saved["types"]), list(saved["regions"])
        self.parameter_arrays = {
            name: array for name, array in self.parameter_arrays.items() if name in saved["parameters"]
        }
        for name, values in saved["parameters"].items():
            if name in self.parameter_arrays:
                self.parameter_arrays[name].replace(np.array(values, self.dtype))
            else:
                self.parameter_arrays[name] = ParameterArray(name, np.array(values, self.dtype))
        self._neuron_slot, self._edge_slot = dict(saved["neuron_slot"]), dict(saved["edge_slot"])
        self._neuron_name = {slot: name for name, slot in self._neuron_slot.items()}
        self._edge_name = {slot: name for name, slot in self._edge_slot.items()}
        self._name_of_uid |= {int(self.neurons["uid"][s]): n for n, s in self._neuron_slot.items()}
        self._next_position, self._next_uid = int(saved["position"]), int(saved["uid"])
        self.rng.bit_generator.state = saved["rng"]
        self._same_step = {}
        for slot in np.flatnonzero(self.edges.alive & (self.edges["delay"] == 0)).tolist():
            fed = self._same_step.setdefault(int(self.edges["src"][slot]), {})
            target = int(self.edges["dst"][slot])
            fed[target] = fed.get(target, 0) + 1
        self._changed(structural=True)


_NO_LAYOUT = StateLayout(uid=np.zeros(0, np.int64), kind=np.zeros(0, np.int8), index=np.zeros(0, np.int32))


def _drop(added: dict[str, None], removed: dict[str, None], name: str) -> None:
    if name in added:
        del added[name]
    else:
        removed[name] = None
