"""Does a topology mutator do what it proposes, keep what it promises, and stay inside its budget?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.plugins.topology_specs import SIGNALS
from optix_core.testing.report import Check, NotApplicable, require
from optix_core.testing.subjects import ComponentSubject
from optix_core.testing.tiny_graph import TinyGraph
from optix_core.topology.mutator import Budget, Proposal, TopologyMutator
from optix_core.topology.signals import EdgeGradients, Signals
from optix_core.topology.view import GraphView, MutableGraph

Graphs = Callable[[int], MutableGraph]
"""A network for a seed, always the same; with hidden neurons, some of them connected with delays."""

SEEDS = (0, 1, 2, 3)
BATCH, BEFORE, AFTER = 3, 6, 12
TOLERANCE = 1e-5
AMPLE = Budget(neurons=8, edges=512, changes=3)


def _graph(subject: ComponentSubject, seed: int) -> MutableGraph:
    return (subject.graphs or TinyGraph.random)(seed)


def signals_for(graph: GraphView, seed: int) -> Signals:
    """Signals that could have been measured, drawn at random; what drives nothing has no gradient."""
    rng = np.random.default_rng(seed)
    neurons, edges = graph.neurons(), graph.edges()
    hidden = [n.id for n in neurons if n.role == "hidden"]
    src, dst = tuple(n.id for n in neurons), tuple(n.id for n in neurons if n.role != "input")
    delays = sorted({0, 1} | {e.delay for e in edges})
    drives = {n.id: sum(abs(e.weight) for e in edges if e.src == n.id) for n in neurons}
    return Signals(
        activity={n.id: float(rng.uniform(0.0, 1.0)) for n in neurons},
        bias_gradients={
            n.id: drives[n.id] * float(rng.uniform(0.0, 1.0)) for n in neurons if n.role != "input"
        },
        correlation={
            (a, b): float(rng.uniform(0.9, 1.0)) for i, a in enumerate(hidden) for b in hidden[i + 1 :]
        },
        edge_gradients=tuple(
            EdgeGradients(delay=d, src=src, dst=dst, gradient=rng.normal(size=(len(dst), len(src))))
            for d in delays
        ),
    )


def shape_of(graph: GraphView) -> dict[str, Any]:
    """All that can be seen of a network."""
    return {
        "neurons": [(n.id, n.role, n.type, n.activation, n.cell, n.region) for n in graph.neurons()],
        "edges": [(e.id, e.src, e.dst, e.weight, e.delay) for e in graph.edges()],
    }


def _counts(graph: GraphView) -> tuple[int, int]:
    return sum(n.role == "hidden" for n in graph.neurons()), len(graph.edges())


def _observations(graph: GraphView, steps: int, seed: int) -> NDArray[Any]:
    n_in = sum(n.role == "input" for n in graph.neurons())
    return np.random.default_rng(seed).normal(size=(steps, BATCH, n_in))


def _propose(
    mutator: TopologyMutator, graph: MutableGraph, seed: int, budget: Budget = AMPLE
) -> Sequence[Proposal]:
    view = graph.view()
    return mutator.propose(view, signals_for(view, seed), budget, np.random.default_rng(seed))


def _apply(mutator: TopologyMutator, graph: MutableGraph, proposal: Proposal, seed: int) -> None:
    with graph.edit() as edit:
        mutator.apply(edit, proposal, np.random.default_rng(seed))


def contract(subject: ComponentSubject) -> None:
    """It has ``propose`` and ``apply``, proposes something somewhere, and proposals are plain data about the graph."""
    mutator, proposed = subject.make(), 0
    require(isinstance(mutator, TopologyMutator), f"{type(mutator).__name__} lacks propose or apply")
    for seed in SEEDS:
        graph = _graph(subject, seed)
        view = graph.view()
        known = {n.id for n in view.neurons()} | {e.id for e in view.edges()}
        found: Sequence[Any] = _propose(mutator, graph, seed)
        for proposal in found:
            proposed += 1
            require(isinstance(proposal, Proposal), f"propose gave a {type(proposal).__name__}")
            unknown = set(proposal.targets) - known
            require(not unknown, f"targets {sorted(unknown)} are neither neurons nor edges of the graph")
            require(bool(proposal.reason.strip()), f"{proposal} has no reason")
            written = json.loads(json.dumps(proposal.to_dict(), allow_nan=False))
            require(written == proposal.to_dict(), f"through JSON, {proposal.to_dict()} became {written}")
    require(proposed, f"it proposed nothing for {len(SEEDS)} graphs of which everything was measured")


def pure(subject: ComponentSubject) -> None:
    """Proposing changes neither the graph nor the signals."""
    for seed in SEEDS:
        graph = _graph(subject, seed)
        view = graph.view()
        given, before = signals_for(view, seed), shape_of(view)
        subject.make().propose(view, given, AMPLE, np.random.default_rng(seed))
        require(shape_of(graph.view()) == before, "propose changed the graph")
        again = signals_for(view, seed)
        same = all(
            np.array_equal(a.gradient, b.gradient)
            for a, b in zip(given.edge_gradients, again.edge_gradients, strict=True)
        )
        require(same and given.activity == again.activity, "propose changed the signals")


def seeded(subject: ComponentSubject) -> None:
    """One seed, the same proposals and the same change."""
    for seed in SEEDS:
        found: list[Any] = []
        for _ in range(2):
            graph, mutator = _graph(subject, seed), subject.make()
            proposals = _propose(mutator, graph, seed)
            if proposals:
                _apply(mutator, graph, proposals[0], seed)
            found.append(([p.to_dict() for p in proposals], shape_of(graph.view())))
        require(found[0] == found[1], "one seed gave two courses; draw from the rng that is passed only")


def budget(subject: ComponentSubject) -> None:
    """Proposals fit the budget, best first, and cost no more than they say."""
    mutator = subject.make()
    for seed in SEEDS:
        for limit in (AMPLE, Budget(neurons=1, edges=2), Budget(neurons=0, edges=0), Budget(changes=1)):
            graph = _graph(subject, seed)
            proposals = list(_propose(mutator, graph, seed, limit))
            require(len(proposals) <= limit.changes, f"{len(proposals)} proposals, {limit.changes} wanted")
            gains = [p.gain for p in proposals]
            require(gains == sorted(gains, reverse=True), f"proposals are not in the order of gain: {gains}")
            for proposal in proposals:
                said = (proposal.neurons, proposal.edges)
                fits = said[0] <= limit.neurons and said[1] <= limit.edges
                require(fits, f"a proposal costs {said} neurons and edges, the budget is {limit}")
            for proposal in proposals[:1]:
                before = _counts(graph.view())
                _apply(mutator, graph, proposal, seed)
                grown = tuple(a - b for a, b in zip(_counts(graph.view()), before, strict=True))
                said = (proposal.neurons, proposal.edges)
                require(
                    grown[0] == said[0] and grown[1] <= said[1],
                    f"a proposal that says it costs {said} neurons and edges cost {grown}",
                )


def young_are_spared(subject: ComponentSubject) -> None:
    """What is younger than ``min_age`` is neither removed nor merged."""
    if _operation(subject) not in {"prune", "merge", "rewire"}:
        raise NotApplicable("it removes nothing")
    for seed in SEEDS:
        graph = _graph(subject, seed)
        found = _propose(subject.make(), graph, seed, Budget(neurons=8, edges=512, min_age=10**9))
        require(not found, f"it would remove what is too young: {[p.to_dict() for p in found]}")


def preserves(subject: ComponentSubject) -> None:
    """A mutator that says so leaves the function as it is, in the middle of episodes."""
    if subject.spec is None:
        raise NotApplicable("it was given without a spec")
    if not subject.spec.function_preserving:
        raise NotApplicable("it does not promise to preserve the function")
    mutator = subject.make()
    for seed in SEEDS:
        one, two = _graph(subject, seed), _graph(subject, seed)
        one.reset(BATCH)
        two.reset(BATCH)
        seen = _observations(one.view(), BEFORE + AFTER, seed)
        for t in range(BEFORE):
            one.step(seen[t])
            two.step(seen[t])
        for proposal in list(_propose(mutator, two, seed))[:1]:
            _apply(mutator, two, proposal, seed)
        for t in range(BEFORE, BEFORE + AFTER):
            a, b = one.step(seen[t]), two.step(seen[t])
            worst = float(np.max(np.abs(a - b)))
            require(worst <= TOLERANCE, f"outputs moved by {worst:.3g} {t - BEFORE + 1} steps after")


def valid(subject: ComponentSubject) -> None:
    """After several changes inputs and outputs are the same, ids are unique, and outputs are finite."""
    mutator = subject.make()
    for seed in SEEDS[:2]:
        graph = _graph(subject, seed)
        ends = [(n.id, n.role) for n in graph.view().neurons() if n.role != "hidden"]
        for turn in range(6):
            for proposal in list(_propose(mutator, graph, 10 * seed + turn))[:1]:
                _apply(mutator, graph, proposal, turn)
        view = graph.view()
        require(
            [(n.id, n.role) for n in view.neurons() if n.role != "hidden"] == ends,
            "inputs or outputs are others now",
        )
        names = [e.id for e in view.edges()] + [n.id for n in view.neurons()]
        require(len(set(names)) == len(names), "an id stands for two things")
        graph.reset(BATCH)
        for seen in _observations(view, 8, seed):
            require(bool(np.isfinite(graph.step(seen)).all()), "outputs are not finite any more")


def operation(subject: ComponentSubject) -> None:
    """The graph changes in the direction that the spec says."""
    wanted, mutator = _operation(subject), subject.make()
    for seed in SEEDS:
        graph = _graph(subject, seed)
        proposals = _propose(mutator, graph, seed)
        if not proposals:
            continue
        before = _counts(graph.view())
        _apply(mutator, graph, proposals[0], seed)
        after = _counts(graph.view())
        right: Mapping[str, bool] = {
            "grow": after[0] >= before[0] and sum(after) > sum(before),
            "split": after[0] > before[0],
            "prune": after[0] <= before[0] and after != before,
            "merge": after[0] < before[0],
            "rewire": after[0] == before[0] and after[1] <= before[1],
        }
        require(right[wanted], f"it says {wanted!r} and went from {before} to {after} neurons and edges")


def without_signals(subject: ComponentSubject) -> None:
    """What its spec says it needs is all it needs; without that it proposes nothing and raises nothing."""
    if subject.spec is None:
        raise NotApplicable("it was given without a spec")
    graph, mutator = _graph(subject, 0), subject.make()
    view, rng = graph.view(), np.random.default_rng
    full, needs = signals_for(view, 0), frozenset(subject.spec.needs)
    only: dict[str, Any] = {name: getattr(full, name) for name in needs}
    mutator.propose(view, Signals(**only), AMPLE, rng(0))
    for name in sorted(needs):
        less: dict[str, Any] = {n: getattr(full, n) for n in SIGNALS if n != name}
        found = mutator.propose(view, Signals(**less), AMPLE, rng(0))
        require(not found, f"it says that it needs {name}, and proposed {len(found)} changes without")


def _operation(subject: ComponentSubject) -> str:
    if subject.spec is None:
        raise NotApplicable("it was given without a spec")
    return str(subject.spec.operation)


CHECKS: tuple[Check[Any], ...] = (
    Check(id="mutator-contract", run=contract, summary="It proposes plain data about the graph it is shown."),
    Check(id="mutator-pure", run=pure, summary="Proposing changes nothing."),
    Check(id="mutator-seed", run=seeded, summary="One seed, one change."),
    Check(id="mutator-budget", run=budget, summary="Proposals fit the budget and cost what they say."),
    Check(id="mutator-young", run=young_are_spared, summary="What is too young is left alone."),
    Check(id="mutator-preserves", run=preserves, summary="A promise to preserve the function is kept."),
    Check(id="mutator-valid", run=valid, summary="The network stays whole after several changes."),
    Check(id="mutator-operation", run=operation, summary="It does what its spec calls it."),
    Check(id="mutator-needs", run=without_signals, summary="It needs the signals that its spec names."),
)
