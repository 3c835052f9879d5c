"""A mutator that needs no measurement: growth where only a fitness is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from optix_core.topology import Budget, GraphEdit, GraphView, Proposal, Signals


class AddRandomEdge:
    """Adds an edge that does not exist, drawn from all that are possible, with the weight 0.

    The add-connection mutation of NEAT (Stanley & Miikkulainen 2002, section 3.1). Whoever calls it gives the edge a
    weight: gradients do, or the perturbation of numbers in a population.
    """

    def propose(
        self, graph: GraphView, signals: Signals, budget: Budget, rng: np.random.Generator
    ) -> Sequence[Proposal]:
        """As many as the budget wants, drawn without replacement; all are equally good."""
        del signals
        if budget.edges < 1 or budget.changes < 1:
            return []
        there = {(e.src, e.dst, e.delay) for e in graph.edges()}
        neurons = graph.neurons()
        missing = [
            (s.id, d.id, delay)
            for s in neurons
            for d in neurons
            if d.role != "input"
            for delay in range(budget.max_delay + 1)
            if (s.id, d.id, delay) not in there and (delay or not graph.would_cycle(s.id, d.id))
        ]
        drawn = rng.permutation(len(missing))[: budget.changes].tolist()
        return [
            Proposal(
                targets=tuple(dict.fromkeys((src, dst))), gain=0.0, edges=1,
                reason=f"one of {len(missing)} possible edges: {src} to {dst} with delay {delay}",
                payload={"src": src, "dst": dst, "delay": delay},
            )
            for src, dst, delay in (missing[i] for i in drawn)
        ]  # fmt: skip

    def apply(self, edit: GraphEdit, proposal: Proposal, rng: np.random.Generator) -> None:
        """Add the edge."""
        del rng
        found = proposal.payload
        edit.add_edge(found["src"], found["dst"], weight=0.0, delay=int(found["delay"]))
