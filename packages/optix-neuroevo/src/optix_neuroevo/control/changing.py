"""What every change of a controlled graph goes through, and what is known when it is decided."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from optix_core.errors import OptixError
from optix_core.topology import Proposal, Signals, TopologyMutator
from optix_neuroevo.agents.measuring import Measurements
from optix_neuroevo.control.regions import Region
from optix_neuroevo.graph.delta import GraphDelta, OperationRefused
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.mutators.editing import GraphEditor


class GraphChanges:
    """Applies proposals to the graphs of regions and writes down what happens.

    Attributes:
        records: The newest events, without pictures.
    """

    records: deque[dict[str, Any]]
    _regions: list[Region]
    _rng: np.random.Generator
    _agent: Any
    _run: Any
    _windows: int

    def _apply(
        self,
        region: Region,
        name: str,
        what: TopologyMutator,
        proposals: list[Proposal],
        tolerance: float | None = None,
    ) -> GraphDelta | None:
        """All proposals as one change; None if it was refused, which is logged."""
        heard: list[GraphDelta] = []
        unsubscribe = region.graph.subscribe(heard.append)
        measured = self._measurements()
        probe = None if measured is None else measured.probe()
        editor = GraphEditor(region.graph, region=region.label, probe=probe)
        try:
            with region.graph.edit(
                f"mutator {name}", probe=probe, tolerance=None if probe is None else tolerance
            ):
                for proposal in proposals:
                    what.apply(editor, proposal, self._rng)
                self._require_room(region.graph)
        except (OptixError, ValueError) as error:
            self._log(
                "refused", region, mutator=name, proposals=[p.to_dict() for p in proposals], why=str(error)
            )
            return None
        finally:
            unsubscribe()
        if measured is not None:
            measured.forget()
        return heard[-1]

    def _require_room(self, graph: NeuronGraph) -> None:
        capacity = getattr(self._agent, "memory_capacity", None)
        if capacity is not None and graph.memory_size > capacity:
            raise OperationRefused(
                f"the graph's memory would have {graph.memory_size} numbers; the agent has room for {capacity} "
                "(memory_capacity)"
            )

    def _measurements(self) -> Measurements | None:
        return getattr(self._agent, "measurements", None)

    def _signals(self, region: Region) -> Signals:
        measured = self._measurements()
        return Signals() if measured is None else measured.signals(region.graph)

    def _editor(self, region: Region) -> GraphEditor:
        ledger = getattr(self._agent, "ledger", None)
        ages = {} if ledger is None else {"neuron_age": ledger.age_of_neuron, "edge_age": ledger.age_of_edge}
        return GraphEditor(region.graph, region=region.label, **ages)

    def _distinct(self) -> list[Region]:
        return list({id(r.graph): r for r in reversed(self._regions)}.values())

    def _structure_now(self) -> list[int]:
        """Numbers of all neurons and edges there are."""
        found: list[int] = []
        for region in self._distinct():
            for table in (region.graph.neurons, region.graph.edges):
                found += sorted(table["uid"][table.alive].tolist())
        return found

    def _log(self, action: str, region: Region, **numbers: Any) -> None:
        found = {"action": action, "region": region.name, **numbers}
        found |= {"n_neurons": region.graph.n_neurons(), "n_edges": region.graph.n_edges()}
        self.records.append({k: v for k, v in found.items() if k != "graph"} | {"window": self._windows})
        if self._run is not None:
            self._run.log("topology", **found)


def picture(graph: NeuronGraph) -> dict[str, Any] | None:
    """The graph as plain data for the decision log; None if it is too large for a line of it."""
    if graph.n_edges() > 4000:
        return None
    effective = graph.effective_weights()
    e = graph.edges
    return {
        "neurons": [
            [n.neuron_id, n.role, n.type_name, n.activation, n.cell_type, n.region]
            for n in map(graph.get_neuron, graph.all_neuron_ids())
        ],
        "edges": [
            [
                graph.edge_at(s), graph.neuron_at(int(e["src"][s])), graph.neuron_at(int(e["dst"][s])),
                round(float(effective[s]), 5), int(e["delay"][s]),
            ]
            for s in e.slots().tolist()
        ],
    }  # fmt: skip
