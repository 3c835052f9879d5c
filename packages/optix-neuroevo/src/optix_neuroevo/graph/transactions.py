"""Changes as transactions: all or nothing, heard of by listeners, and with the memory of environments following."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from optix_neuroevo.graph.delta import OperationRefused
from optix_neuroevo.graph.edit import Edit
from optix_neuroevo.graph.parameters import ParameterArray
from optix_neuroevo.graph.state_layout import StateLayout
from optix_neuroevo.graph.structure import Listener
from optix_neuroevo.graph.weighing import WeightedGraph
from optix_neuroevo.neurons.types import NeuronType

if TYPE_CHECKING:
    from optix_neuroevo.graph.neuron_graph import NeuronGraph
    from optix_neuroevo.plan.probe import Probe


class ChangingGraph(WeightedGraph):
    """A graph that can be changed as a whole or not at all."""

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
        edit = outer or Edit(self._whole(), operation, self.state_layout(), promise)
        saved, record, layout = self._snapshot(), edit.mark(), self.state_layout()
        before = None if probe is None else probe.outputs(self._whole())
        self._edit = edit
        change: float | None = None
        try:
            yield edit
            if probe is not None and before is not None:
                moved = probe.migrated(edit.migration(layout, len(record.rules)))
                change = float(np.abs(moved.outputs(self._whole()) - before).max(initial=0.0))
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

    # --- inside -----------------------------------------------------------------------------------------------------

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
        edit = Edit(self._whole(), operation, self.state_layout() if heard else _NO_LAYOUT, "none")
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

    def _whole(self) -> NeuronGraph:
        return cast("NeuronGraph", self)

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
