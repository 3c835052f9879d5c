"""Do our mutators keep the contract, and do they do what the papers say?"""

from __future__ import annotations

import pkgutil

import numpy as np
import pytest

from optix_core.testing import TinyGraph
from optix_core.testing.mutator_checks import CHECKS, signals_for
from optix_core.testing.report import run_checks
from optix_core.testing.subjects import ComponentSubject
from optix_core.topology import Budget, EdgeGradients, NeuronView, Signals
from optix_neuroevo.mutators.growing import AddMissingEdge, GradMax, Split
from optix_neuroevo.mutators.rewiring import RigL
from optix_neuroevo.mutators.shrinking import MergeTwins, PruneEdge, PruneNeuron
from optix_neuroevo.specs import MUTATORS


@pytest.mark.parametrize("spec", MUTATORS, ids=lambda s: s.name)
def test_each_keeps_the_contract_on_the_small_network(spec) -> None:
    subject = ComponentSubject(name=spec.name, factory=pkgutil.resolve_name(spec.factory), spec=spec)
    report = run_checks(spec.name, CHECKS, subject)
    assert report.ok, str(report)


def chain() -> TinyGraph:
    """One input, two hidden neurons side by side, one output."""
    graph = TinyGraph()
    for name, role in (("i", "input"), ("a", "hidden"), ("b", "hidden"), ("o", "output")):
        graph.put(NeuronView(id=name, role=role, age=100))
    for src, dst, weight in (("i", "a", 0.5), ("i", "b", -0.2), ("a", "o", 1.0), ("b", "o", 1e-6)):
        graph.add_edge(src, dst, weight=weight)
    return graph


def gradients(
    values: dict[tuple[str, str], float], delay: int = 1, deviation: float | None = None
) -> Signals:
    src, dst = ("i", "a", "b", "o"), ("a", "b", "o")
    matrix = np.zeros((3, 4))
    for (s, d), value in values.items():
        matrix[dst.index(d), src.index(s)] = value
    error = None if deviation is None else np.full_like(matrix, deviation)
    return Signals(
        edge_gradients=(EdgeGradients(delay=delay, src=src, dst=dst, gradient=matrix, deviation=error),)
    )


def test_the_steepest_missing_edge_is_added() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    signals = gradients({("i", "a"): -2.0, ("b", "b"): 1.0})
    (proposal,) = AddMissingEdge().propose(graph, signals, Budget(), rng)
    assert proposal.payload == {"edges": [["i", "a", 1]]}
    assert proposal.gain == 2.0
    with graph.edit() as edit:
        AddMissingEdge().apply(edit, proposal, rng)
    added = graph.edges()[-1]
    assert (added.src, added.dst, added.delay, added.weight) == ("i", "a", 1, 0.0)


def test_noise_is_no_reason_to_grow() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    signals = gradients({("i", "a"): -2.0}, deviation=1.0)
    assert not AddMissingEdge(significance=3.0).propose(graph, signals, Budget(), rng)
    assert AddMissingEdge(significance=1.9).propose(graph, signals, Budget(), rng)


def test_edges_that_exist_or_close_cycles_are_not_missing() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    signals = gradients({("i", "a"): 5.0, ("o", "a"): 4.0, ("a", "a"): 3.0, ("a", "b"): 0.1}, delay=0)
    (proposal,) = AddMissingEdge().propose(graph, signals, Budget(), rng)
    assert proposal.payload == {"edges": [["a", "b", 0]]}


def test_gradmax_takes_the_first_singular_vectors() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    signals = gradients({("i", "a"): 3.0, ("i", "o"): 4.0})
    (proposal,) = GradMax(sources=1).propose(graph, signals, Budget(), rng)
    assert proposal.gain == pytest.approx(5.0)  # one non-zero column: its norm
    assert proposal.payload["sources"] == ["i"]
    found = dict(zip(proposal.payload["targets"], np.abs(proposal.payload["weights"]), strict=True))
    assert found == pytest.approx({"o": 0.8, "a": 0.6, "b": 0.0}, abs=1e-12)
    # no other outgoing weights of norm 1 give the incoming weights a larger gradient
    matrix = signals.edge_gradients[0].gradient
    others = np.random.default_rng(1).normal(size=(200, 3))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    assert np.linalg.norm(others @ matrix, axis=1).max() <= proposal.gain + 1e-12


def test_gradmax_adds_a_silent_neuron() -> None:
    graph, rng = TinyGraph.random(3), np.random.default_rng(0)
    (proposal,) = GradMax().propose(graph, signals_for(graph, 0), Budget(), rng)
    with graph.edit() as edit:
        GradMax().apply(edit, proposal, rng)
    new = graph.neurons()[-1].id
    assert {e.weight for e in graph.edges() if e.dst == new} == {0.0}
    assert any(abs(e.weight) > 0.1 for e in graph.edges() if e.src == new)


def test_rigl_moves_the_weakest_to_the_steepest() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    weak = graph.edges()[3].id
    (proposal,) = RigL(fraction=0.25).propose(
        graph, gradients({("a", "a"): 1.0, ("b", "b"): 2.0}), Budget(), rng
    )
    assert proposal.targets == (weak,)
    assert proposal.payload == {"grow": [["b", "b", 1]]}


def test_only_what_neither_matters_nor_learns_is_pruned() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    idle = {"a": 0.5, "b": 1e-5}
    mutator = PruneNeuron()
    still = Signals(activity=idle, bias_gradients={"a": 0.0, "b": 0.0})
    assert [p.targets for p in mutator.propose(graph, still, Budget(), rng)] == [("b",)]
    learning = Signals(activity=idle, bias_gradients={"a": 0.0, "b": 1e-3})
    assert not mutator.propose(graph, learning, Budget(), rng)
    assert not mutator.propose(graph, still, Budget(min_hidden=2), rng)


def test_weak_edges_go_unless_they_are_young() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    weak = graph.edges()[3].id
    assert [p.targets for p in PruneEdge().propose(graph, Signals(), Budget(), rng)] == [(weak,)]
    assert not PruneEdge().propose(graph, Signals(), Budget(min_age=1), rng)


def test_twins_are_merged_into_the_one_that_matters_more() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    signals = Signals(activity={"a": 0.5, "b": 0.5}, correlation={("a", "b"): 0.97})
    (proposal,) = MergeTwins().propose(graph, signals, Budget(), rng)
    assert proposal.targets == ("a", "b")
    assert not MergeTwins(similarity=0.98).propose(graph, signals, Budget(), rng)


def test_the_most_active_neuron_is_split() -> None:
    graph, rng = chain(), np.random.default_rng(0)
    signals = Signals(activity={"a": 0.1, "b": 0.4})
    (proposal,) = Split().propose(graph, signals, Budget(), rng)
    assert proposal.targets == ("b",)
    slopes = Signals(activity={"a": 0.1, "b": 0.4}, bias_gradients={"a": 1.0, "b": 0.01})
    (proposal,) = Split().propose(graph, slopes, Budget(), rng)
    assert proposal.targets == ("a",)
