"""How old is each neuron and edge, counted in windows, and which edges grew when?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from optix_core.state import State
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.graph.neuron_graph import NeuronGraph


class GrowthLedger:
    """Births of what came after the graph was handed to its agent.

    Part of the agent's state, so that going back to an earlier policy makes everything as old as it was then.

    Args:
        graph: Whose changes are followed.

    Attributes:
        windows: Windows that the agent has learned from.
    """

    def __init__(self, graph: NeuronGraph) -> None:
        self._graph, self.windows = graph, 0
        self._born: dict[int, int] = {}  # uid to window; neurons and edges are numbered together
        graph.subscribe(self._follow)

    def age_of_neuron(self, neuron_id: str) -> int:
        """Windows since it came; what was there from the start is older than anything that grew."""
        return self._age(int(self._graph.neurons["uid"][self._graph.slot_of(neuron_id)]))

    def age_of_edge(self, edge_id: str) -> int:
        """As :meth:`age_of_neuron`."""
        return self._age(int(self._graph.edges["uid"][self._graph.edge_slot_of(edge_id)]))

    def state_dict(self) -> State:
        """Windows, and births by number."""
        uid = np.array(list(self._born), np.int64)
        return {"windows": self.windows, "uid": uid, "born": np.array(list(self._born.values()), np.int64)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there; load the graph first."""
        self.windows = int(state["windows"])
        self._born = dict(
            zip(np.asarray(state["uid"]).tolist(), np.asarray(state["born"]).tolist(), strict=True)
        )

    def _age(self, uid: int) -> int:
        return self.windows - self._born[uid] if uid in self._born else self.windows + 1

    def _follow(self, delta: GraphDelta) -> None:
        if delta.operation == "load_state_dict":
            return
        g = self._graph
        for name in delta.neurons_added:
            self._born[int(g.neurons["uid"][g.slot_of(name)])] = self.windows
        for name in delta.edges_added:
            self._born[int(g.edges["uid"][g.edge_slot_of(name)])] = self.windows
        alive = set(g.neurons["uid"][g.neurons.alive].tolist()) | set(g.edges["uid"][g.edges.alive].tolist())
        self._born = {uid: window for uid, window in self._born.items() if uid in alive}
