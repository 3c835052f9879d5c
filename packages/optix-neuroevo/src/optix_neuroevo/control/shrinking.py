"""Shrinking: what does nothing goes, what says the same is merged, if outputs change by little."""

from __future__ import annotations

from optix_core.topology import Budget, Proposal, Signals, TopologyMutator
from optix_neuroevo.control.changing import GraphChanges, picture
from optix_neuroevo.control.regions import Region
from optix_neuroevo.graph.delta import GraphDelta
from optix_neuroevo.mutators.editing import GraphEditor
from optix_neuroevo.mutators.shrinking import MergeTwins, PruneEdge, PruneNeuron


class Shrinking(GraphChanges):
    """At most one kind of shrinking per window."""

    prune_edge_threshold: float
    prune_neuron_threshold: float
    _maturation: int
    _patience: int
    _min_measured: int
    _merge_every: int
    _limits: dict[str, int]
    _grad_eps: float
    _similarity: float
    _tolerance: float
    _counts: dict[str, int]

    def _shrink(self, region: Region) -> bool:
        measured = self._measurements()
        if measured is None or measured.windows < self._min_measured:
            return False
        budget = Budget(
            neurons=0, edges=4096, changes=64, min_hidden=self._limits["hidden"], min_age=self._maturation,
            max_delay=self._limits["delay"],
        )  # fmt: skip
        signals, editor = self._signals(region), self._editor(region)
        if self._prune_edges(region, editor, signals, budget):
            return True
        steps: list[tuple[str, str, TopologyMutator]] = []
        if self.prune_neuron_threshold > 0:
            pruner = PruneNeuron(threshold=self.prune_neuron_threshold, grad_eps=self._grad_eps)
            steps.append(("prune", "prune_neuron", pruner))
        if self._similarity < 1.0 and self._merge_every and self._windows % self._merge_every == 0:
            merger = MergeTwins(similarity=self._similarity, threshold=self.prune_neuron_threshold)
            steps.append(("merge", "merge_twins", merger))
        for kind, name, what in steps:
            for proposal in list(what.propose(editor, signals, budget, self._rng))[:1]:
                delta = self._apply(region, name, what, [proposal], tolerance=self._tolerance)
                if delta is not None:
                    self._shrunk(kind, region, name, [proposal], delta)
                    return True
        return False

    def _prune_edges(self, region: Region, editor: GraphEditor, signals: Signals, budget: Budget) -> bool:
        if not self._patience:
            return False
        what = PruneEdge(threshold=self.prune_edge_threshold)
        weak = {p.targets[0]: p for p in what.propose(editor, signals, budget, self._rng)}
        region.quiet = {edge: region.quiet.get(edge, 0) + 1 for edge in weak}
        due = [p for edge, p in weak.items() if region.quiet[edge] >= self._patience]
        if not due:
            return False
        delta = self._apply(region, "prune_edge", what, due, tolerance=self._tolerance)
        if delta is None:
            for proposal in due:  # look again after another patience
                region.quiet[proposal.targets[0]] = 0
            return False
        self._shrunk("prune", region, "prune_edge", due, delta)
        return True

    def _shrunk(
        self, kind: str, region: Region, name: str, proposals: list[Proposal], delta: GraphDelta
    ) -> None:
        self._counts[kind] += len(proposals)
        self._log(
            "pruned" if kind == "prune" else "merged", region, mutator=name,
            proposals=[p.to_dict() for p in proposals], output_change=delta.output_change,
            graph=picture(region.graph),
        )  # fmt: skip
