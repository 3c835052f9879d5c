"""A network of regions is one graph whose neurons know their region; pathways are ordinary edges.

So everything that works for a graph works across regions: gradients, delays, Dale's law, pruning, plasticity. A pathway
without delay arrives in the same step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.errors import ConfigError
from optix_neuroevo.graph.neuron_graph import NeuronGraph


@dataclass(frozen=True, slots=True)
class InterRegionEdge:
    """One edge between regions, as it is now.

    Attributes:
        edge_id: Its id in :attr:`BrainNetwork.graph`.
        src_region: Where it begins.
        src_neuron: Id inside that region.
        dst_region: Where it ends.
        dst_neuron: Id inside that region.
        weight: In effect.
        delay: In steps.
    """

    edge_id: str
    src_region: str
    src_neuron: str
    dst_region: str
    dst_neuron: str
    weight: float
    delay: int


@dataclass(frozen=True, slots=True)
class Pathway:
    """Edges that were made together.

    Attributes:
        pathway_id: Its id.
        src_region: Where they begin.
        dst_region: Where they end.
        edge_ids: Those of them that still exist.
    """

    pathway_id: str
    src_region: str
    dst_region: str
    edge_ids: tuple[str, ...]


class BrainNetwork:
    """Regions and pathways.

    Args:
        name: For summaries.
        output_regions: Regions whose outputs are the network's; None: all. Outputs of others are hidden neurons of the
            whole.
        dale_mode: Of the whole; see :class:`~optix_neuroevo.graph.neuron_graph.NeuronGraph`.
        seed: Of initial parameters, and of which neurons pathways connect.

    Attributes:
        graph: The whole. Neurons are called ``region/id`` in it.
    """

    def __init__(
        self,
        name: str = "brain",
        output_regions: Sequence[str] | None = None,
        *,
        dale_mode: str = "clamp",
        seed: int = 0,
    ) -> None:
        self.name = name
        self.output_regions = None if output_regions is None else tuple(output_regions)
        self.graph = NeuronGraph(dale_mode, seed=seed)
        self._rng = np.random.default_rng(seed)
        self._regions: list[str] = []
        self._inputs: dict[str, list[str]] = {}  # ids of true inputs in the whole graph
        self._pathways: dict[str, tuple[str, str, list[str]]] = {}

    # --- building ---

    def add_region(self, name: str, graph: NeuronGraph) -> None:
        """Copy a graph into the whole; later changes of the original do not reach it.

        Raises:
            ValueError: There is a region of that name, or the name is not usable.
        """
        if name in self._regions or not name or "/" in name:
            raise ValueError(
                f"{name!r} is a region already, or no name for one: a text without '/', used once"
            )
        out = self.output_regions is None or name in self.output_regions
        with self.graph.edit("add_region"):
            for neuron_id in graph.all_neuron_ids():
                n = graph.get_neuron(neuron_id)
                role = "hidden" if n.role == "output" and not out else n.role
                added = self.graph.add_neuron(
                    role, n.activation, f"{name}/{neuron_id}", int(graph.neurons["keep"][n.slot]), n.cell_type,
                    n.type_name, region=name, bias=n.bias.item(),
                )  # fmt: skip
                if n.parameters is not None:
                    self.graph.set_parameters(added, np.array(n.parameters.data))
            for edge in graph.all_edges():
                self.graph.add_edge(
                    f"{name}/{edge.src}", f"{name}/{edge.dst}", edge.effective_weight, edge.delay,
                    f"{name}/{edge.edge_id}",
                )  # fmt: skip
        self._regions.append(name)
        self._inputs[name] = [f"{name}/{i}" for i in graph.input_ids]

    def add_pathway(
        self,
        src: str,
        dst: str,
        n_connections: int = 4,
        delay: int = 1,
        weight_init: float = 0.0,
        pathway_id: str | None = None,
    ) -> str:
        """Connect random pairs, none twice: hidden and output neurons of ``src`` to inputs and hidden ones of ``dst``.

        What arrives at an input neuron is added to its observation.

        Args:
            src: Region.
            dst: Region.
            n_connections: Number of edges; fewer if there are not so many pairs.
            delay: In steps; 0 arrives in the same step.
            weight_init: Effective weight of all.
            pathway_id: Its id; made up if None.

        Returns:
            Its id.

        Raises:
            ValueError: Unknown regions, a taken id, or no pair that could be connected.
        """
        self._known(src)
        self._known(dst)
        name = pathway_id or f"{src}->{dst}#{len(self._pathways)}"
        if name in self._pathways or n_connections < 1:
            raise ValueError(
                f"there is a pathway {name!r} already, or n_connections ({n_connections}) is below 1"
            )
        pairs = [
            (a, b)
            for a in self._members(src, ("hidden", "output"))
            for b in [*self._inputs[dst], *self._members(dst, ("hidden",))]
            if a != b and (delay > 0 or not self._would_cycle(a, b))
        ]
        if not pairs:
            raise ValueError(f"no neurons of {src} and {dst} can be connected with delay {delay}")
        edges: list[str] = []
        with self.graph.edit("add_pathway"):
            for k in self._rng.permutation(len(pairs)).tolist():
                a, b = pairs[k]
                if len(edges) == n_connections:
                    break
                if delay > 0 or not self._would_cycle(a, b):
                    edges.append(self.graph.add_edge(a, self._target(b), weight_init, delay))
        self._pathways[name] = (src, dst, edges)
        return name

    def add_inter_region_edge(
        self,
        src_region: str,
        src_neuron: str,
        dst_region: str,
        dst_neuron: str,
        weight: float = 0.0,
        delay: int = 1,
        edge_id: str | None = None,
    ) -> str:
        """One edge between two neurons, named as inside their regions.

        Raises:
            ValueError: See :meth:`NeuronGraph.add_edge`.
        """
        self._known(src_region)
        self._known(dst_region)
        target = self._target(f"{dst_region}/{dst_neuron}")
        return self.graph.add_edge(f"{src_region}/{src_neuron}", target, weight, delay, edge_id)

    def remove_inter_region_edge(self, edge_id: str) -> None:
        """Take one edge away.

        Raises:
            ValueError: There is no such edge between regions.
        """
        if edge_id not in {e.edge_id for e in self.all_inter_region_edges()}:
            raise ValueError(f"there is no edge {edge_id!r} between regions")
        self.graph.remove_edge(edge_id)

    # --- asking ---

    @property
    def region_names(self) -> list[str]:
        """Regions in the order in which they were added."""
        return list(self._regions)

    def get_region(self, name: str) -> NeuronGraph:
        """A copy of a region as it is now, with the ids that its neurons have inside it.

        Outputs that the whole does not show are outputs of the copy's hidden neurons no more.

        Raises:
            ValueError: There is no such region.
        """
        self._known(name)
        whole, start = self.graph, f"{name}/"
        copy = NeuronGraph(whole.dale_mode, dtype=whole.dtype, seed=0)
        members = self._members(name, ("input", "hidden", "output"))
        for neuron_id in members:
            n = whole.get_neuron(neuron_id)
            added = copy.add_neuron(
                n.role, n.activation, neuron_id.removeprefix(start), cell_type=n.cell_type, neuron=n.type_name,
                bias=n.bias.item(),
            )  # fmt: skip
            if n.parameters is not None:
                copy.set_parameters(added, np.array(n.parameters.data))
        inside = set(members)
        for e in whole.all_edges():
            if e.src in inside and e.dst in inside:
                copy.add_edge(
                    e.src.removeprefix(start), e.dst.removeprefix(start), e.effective_weight, e.delay
                )
        return copy

    def get_pathway(self, pathway_id: str) -> Pathway:
        """A pathway as it is now.

        Raises:
            ValueError: There is none of that id.
        """
        if pathway_id not in self._pathways:
            raise ValueError(f"there is no pathway {pathway_id!r}")
        src, dst, edges = self._pathways[pathway_id]
        return Pathway(pathway_id, src, dst, tuple(e for e in edges if self.graph.has_edge(e)))

    def all_inter_region_edges(self) -> list[InterRegionEdge]:
        """All edges between regions."""
        found: list[InterRegionEdge] = []
        for e in self.graph.all_edges():
            src, dst = self.graph.get_neuron(e.src), self.graph.get_neuron(e.dst)
            if src.region != dst.region:
                found.append(
                    InterRegionEdge(
                        e.edge_id, src.region, e.src.partition("/")[2], dst.region, e.dst.partition("/")[2],
                        e.effective_weight, e.delay,
                    )
                )  # fmt: skip
        return found

    def summary(self) -> dict[str, Any]:
        """Regions with their numbers of neurons, and the number of edges between them."""
        return {
            "name": self.name,
            "regions": {n: len(self._members(n, ("input", "hidden", "output"))) for n in self._regions},
            "pathways": len(self._pathways),
            "inter_region_edges": len(self.all_inter_region_edges()),
            "n_neurons": self.graph.n_neurons(),
            "n_edges": self.graph.n_edges(),
        }

    # --- running ---

    def forward(self, observations: Mapping[str, Any]) -> NDArray[Any]:
        """One step: an observation for each region, zeros for those that get none; outputs one after another.

        Raises:
            ValueError: An observation is of an unknown region, or has another size.
        """
        for name in observations:
            self._known(name)
        parts: list[NDArray[Any]] = []
        for name in self._regions:
            size = len(self._inputs[name])
            given = np.asarray(observations.get(name, np.zeros(size)), self.graph.dtype).reshape(-1)
            if given.shape != (size,):
                raise ValueError(
                    f"region {name!r} has {size} inputs; its observation has {given.size} numbers"
                )
            parts.append(given)
        return self.graph.forward(np.concatenate(parts) if parts else np.zeros(0))

    __call__ = forward

    def reset_state(self) -> None:
        """Forget: an episode begins."""
        self.graph.reset_state()

    def enforce_dale(self) -> None:
        """See :meth:`NeuronGraph.enforce_dale`."""
        self.graph.enforce_dale()

    def columns(self, views: Mapping[str, Iterable[int]] | None, obs_dim: int) -> NDArray[np.int64]:
        """Which number of an observation each input of the whole reads.

        Args:
            views: For each region with inputs the numbers that it sees, as many as it has inputs. None: one region
                after another if the observation has as many numbers as there are inputs; or all of it for every region.
            obs_dim: Numbers in one observation.

        Raises:
            ConfigError: Sizes do not fit.
        """
        found: list[int] = []
        total = sum(len(ids) for ids in self._inputs.values())
        for name in self._regions:
            size = len(self._inputs[name])
            if views is not None:
                seen = [int(i) for i in views.get(name, ())]
            elif total == obs_dim:
                seen = list(range(len(found), len(found) + size))
            else:
                seen = list(range(obs_dim)) if size else []
            if len(seen) != size or any(not 0 <= i < obs_dim for i in seen):
                raise ConfigError(
                    f"region {name!r} has {size} inputs and would see {seen} of {obs_dim} numbers; pass "
                    "views={region: [numbers]} with one number for each input"
                )
            found += seen
        return np.array(found, np.int64)

    def _known(self, name: str) -> None:
        if name not in self._regions:
            raise ValueError(f"there is no region {name!r}; there are {', '.join(self._regions) or 'none'}")

    def _members(self, name: str, roles: Sequence[str]) -> list[str]:
        views = [self.graph.get_neuron(i) for i in self.graph.all_neuron_ids()]
        return [v.neuron_id for v in views if v.region == name and v.role in roles]

    def _would_cycle(self, src: str, dst: str) -> bool:
        """Within the step, also where ``dst`` is an input, which would get a relay behind it."""
        return self.graph.would_cycle(src, dst)

    def _target(self, neuron_id: str) -> str:
        """Where an edge to a neuron has to end: an input gets a relay behind it that passes on the sum."""
        if self.graph.get_neuron(neuron_id).role != "input":
            return neuron_id
        relay = f"{neuron_id}+"
        if not self.graph.has_neuron(relay):
            view = self.graph.get_neuron(neuron_id)
            with self.graph.edit("relay"):
                out = self.graph.edges_from(neuron_id)
                self.graph.add_neuron("hidden", "linear", relay, cell_type=view.cell_type, region=view.region)
                sign = -1.0 if view.cell_type == "inhibitory" else 1.0
                self.graph.add_edge(neuron_id, relay, sign)
                for e in out:
                    self.graph.remove_edge(e.edge_id)
                    # what an inhibitory input sends is turned around before it is added to, and back behind it
                    if sign < 0:
                        raise ValueError(
                            f"{neuron_id} is an inhibitory input; a pathway cannot be added to what it sends"
                        )
                    self.graph.add_edge(relay, e.dst, e.effective_weight, e.delay, e.edge_id)
        return relay
