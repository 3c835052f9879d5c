"""Adding, removing and setting, one valid step at a time."""

from __future__ import annotations

import numpy as np

from optix_neuroevo.graph import weights
from optix_neuroevo.graph.structure import INPUT, ROLES, Array
from optix_neuroevo.graph.transactions import ChangingGraph
from optix_neuroevo.neurons.activations import code_of
from optix_neuroevo.neurons.prototypes import CELL_TYPES, Neuron
from optix_neuroevo.neurons.types import neuron_type


class BuildableGraph(ChangingGraph):
    """A graph that neurons and edges can be added to and removed from."""

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


def _drop(added: dict[str, None], removed: dict[str, None], name: str) -> None:
    if name in added:
        del added[name]
    else:
        removed[name] = None
