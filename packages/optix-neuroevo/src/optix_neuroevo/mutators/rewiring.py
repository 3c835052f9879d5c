"""RigL: as many edges as before, in better places (Evci et al. 2020, arXiv:1911.11134)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optix_core.topology import Budget, GraphEdit, GraphView, Proposal, Signals
from optix_neuroevo.mutators.measures import best, missing_edges


class RigL:
    """Drops the weakest edges and puts as many where the gradient of the missing weight is largest, with the weight 0.

    Args:
        fraction: Share of all edges that is moved at once, in (0, 1]; the paper's update fraction, without its decay.
        significance: As for :class:`~optix_neuroevo.mutators.growing.AddMissingEdge`.
    """

    def __init__(self, *, fraction: float = 0.1, significance: float = 0.0) -> None:
        if not 0.0 < fraction <= 1.0:
            raise ValueError(f"fraction is in (0, 1], got {fraction}")
        self._fraction, self._significance = fraction, significance

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """One proposal at most."""
        del rng
        if not budget.changes:
            return []
        edges = graph.edges()
        old = sorted((e for e in edges if e.age >= budget.min_age), key=lambda e: abs(e.weight))
        missing = sorted(
            missing_edges(graph, signals, budget, significance=self._significance),
            key=lambda m: -abs(m.gradient),
        )
        count = min(max(1, round(self._fraction * len(edges))), len(old), len(missing))
        if not count:
            return []
        drop, grow = old[:count], missing[:count]
        return best(
            [
                Proposal(
                    targets=tuple(e.id for e in drop),
                    gain=float(np.sqrt(sum(m.gradient**2 for m in grow))),
                    reason=f"{count} edges of |w| up to {abs(drop[-1].weight):.3g} go, {count} with gradients down to "
                    f"{abs(grow[-1].gradient):.3g} come",
                    payload={"grow": [[m.src, m.dst, m.delay] for m in grow]},
                )
            ],
            budget,
        )

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Move the edges; a new one that would by now close a cycle is left out."""
        del rng
        for edge in proposal.targets:
            edit.remove_edge(edge)
        for src, dst, delay in proposal.payload["grow"]:
            if delay or not edit.would_cycle(src, dst):
                edit.add_edge(src, dst, weight=0.0, delay=int(delay))
