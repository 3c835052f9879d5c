"""Is the small network right, does the template's mutator pass, and does each seeded fault fail its check?"""

from __future__ import annotations

import importlib.util
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.plugin import MutatorSpec
from optix_core.plugins import scaffold
from optix_core.testing import TinyGraph
from optix_core.testing.components import MUTATOR_CHECKS
from optix_core.testing.mutator_checks import CHECKS
from optix_core.testing.report import run_checks
from optix_core.testing.subjects import ComponentSubject
from optix_core.topology import Budget, NeuronView, Proposal, Signals


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> types.ModuleType:
    folder = scaffold.create(tmp_path_factory.mktemp("plugin"), "optix-missing-edge", kind="mutator")
    path = folder / "src/optix_missing_edge/mutator.py"
    spec = importlib.util.spec_from_file_location("template_mutator", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert Path(path).exists()
    return module


def described(**changes: Any) -> MutatorSpec:
    values: dict[str, Any] = {
        "name": "x",
        "factory": "a.b:c",
        "operation": "grow",
        "function_preserving": True,
        "needs": frozenset({"edge_gradients"}),
        **changes,
    }
    return MutatorSpec(**values)


def report(factory: Any, spec: MutatorSpec | None = None, **kwargs: Any) -> Any:
    subject = ComponentSubject(name="x", factory=factory, spec=spec or described(), **kwargs)
    return run_checks("x", CHECKS, subject)


def run(graph: TinyGraph, steps: int, seed: int = 0) -> np.ndarray:
    n_in = sum(n.role == "input" for n in graph.neurons())
    seen = np.random.default_rng(seed).normal(size=(steps, 2, n_in))
    return np.stack([graph.step(x) for x in seen])


def test_an_impulse_arrives_after_the_delay() -> None:
    graph = TinyGraph()
    for name, role in (("i", "input"), ("o", "output")):
        graph.put(NeuronView(id=name, role=role, activation="linear"))
    graph.add_edge("i", "o", weight=2.0, delay=3)
    graph.reset(1)
    out = [graph.step(np.array([[x]])).item() for x in (1.0, 0, 0, 0, 0)]
    assert out == [0.0, 0.0, 0.0, 2.0, 0.0]


def test_a_step_without_delay_goes_through_all_levels() -> None:
    graph = TinyGraph()
    for name, role in (("o", "output"), ("i", "input"), ("h", "hidden")):
        graph.put(NeuronView(id=name, role=role, activation="tanh" if name == "h" else "linear"))
    graph.bias["h"] = 0.5
    graph.add_edge("i", "h", weight=2.0)
    graph.add_edge("h", "o", weight=3.0)
    graph.reset(1)
    assert graph.step(np.array([[0.1]])).item() == pytest.approx(3.0 * np.tanh(0.7))
    with pytest.raises(ValueError, match="close a cycle"):
        graph.add_edge("o", "h")
    graph.add_edge("o", "h", delay=1)


@pytest.mark.parametrize("seed", range(5))
def test_relays_and_twins_change_nothing_in_the_middle_of_an_episode(seed: int) -> None:
    one, two = TinyGraph.random(seed), TinyGraph.random(seed)
    for graph in (one, two):
        graph.reset(2)
        run(graph, 6)
    rng = np.random.default_rng(seed)
    hidden = [n.id for n in two.neurons() if n.role == "hidden"]
    with two.edit() as edit:
        edit.split_neuron(hidden[0], rng)
        for edge in list(two.edges())[:: max(1, len(two.edges()) // 4)]:
            edit.insert_on_edge(edge.id)
    assert np.allclose(run(one, 10, 1), run(two, 10, 1), rtol=0.0, atol=1e-12)


def test_a_failed_edit_leaves_nothing_behind() -> None:
    graph = TinyGraph.random(0)
    before = (graph.neurons(), graph.edges())
    with pytest.raises(ValueError, match="no neuron"), graph.edit() as edit:
        edit.add_neuron()
        edit.add_edge("nobody", graph.neurons()[-1].id)
    assert (graph.neurons(), graph.edges()) == before


def test_dale_is_enforced() -> None:
    graph = TinyGraph.random(0)
    last = graph.neurons()[-1].id
    inhibitory = graph.add_neuron(cell="inhibitory")
    with pytest.raises(ValueError, match="inhibitory"):
        graph.add_edge(inhibitory, last, weight=0.5)
    edge = graph.add_edge(inhibitory, last, weight=-0.5)
    graph.insert_on_edge(edge)
    assert [e.weight for e in graph.edges()[-2:]] == [-1.0, 0.5]


def test_the_templates_mutator_passes(template: types.ModuleType) -> None:
    found = report(template.MissingEdgeMutator)
    assert found.ok, str(found)
    assert {r.id for r in found.results if r.outcome == "skipped"} == {"mutator-young"}
    assert len(MUTATOR_CHECKS) > len(CHECKS)


def faulty(base: type) -> dict[str, tuple[type, MutatorSpec]]:
    class Vague(base):
        def propose(self, *args: Any) -> Any:
            return [replace(p, reason=" ") for p in super().propose(*args)]

    class Meddles(base):
        def propose(self, graph: Any, *args: Any) -> Any:
            graph.add_neuron()
            return super().propose(graph, *args)

    class Unseeded(base):
        def apply(self, edit: Any, proposal: Proposal, rng: Any) -> None:
            super().apply(edit, proposal, rng)
            edit.set_weight(edit.edges()[-1].id, 1e-9 * np.random.default_rng().random())

    class Spends(base):
        def apply(self, edit: Any, proposal: Proposal, rng: Any) -> None:
            super().apply(edit, proposal, rng)
            super().apply(edit, proposal, rng)

    class Loud(base):
        def apply(self, edit: Any, proposal: Proposal, rng: Any) -> None:
            super().apply(edit, proposal, rng)
            edit.set_weight(edit.edges()[-1].id, 0.5)

    class Guesses(base):
        def propose(self, graph: Any, signals: Signals, budget: Budget, rng: Any) -> Any:
            if not signals.edge_gradients and budget.edges:
                ends = graph.neurons()[-1].id
                return [Proposal(targets=(ends, ends), gain=1.0, reason="why not", edges=1,
                                 payload={"delay": 1})]  # fmt: skip
            return super().propose(graph, signals, budget, rng)

    class Shrinks(base):
        def propose(self, *args: Any) -> Any:
            return [replace(p, edges=0) for p in super().propose(*args)]

        def apply(self, edit: Any, proposal: Proposal, rng: Any) -> None:
            edit.remove_edge(edit.edges()[0].id)

    class Explodes(base):
        def apply(self, edit: Any, proposal: Proposal, rng: Any) -> None:
            super().apply(edit, proposal, rng)
            edit.set_weight(edit.edges()[-1].id, float("inf"))

    class Impatient:
        def propose(self, graph: Any, signals: Signals, budget: Budget, rng: Any) -> Any:
            return [Proposal(targets=(graph.edges()[0].id,), gain=1.0, reason="it is there", edges=-1)][
                : budget.changes
            ]

        def apply(self, edit: Any, proposal: Proposal, rng: Any) -> None:
            edit.remove_edge(proposal.targets[0])

    said = described()
    return {
        "mutator-contract": (Vague, said),
        "mutator-pure": (Meddles, said),
        "mutator-seed": (Unseeded, said),
        "mutator-budget": (Spends, said),
        "mutator-preserves": (Loud, said),
        "mutator-needs": (Guesses, said),
        "mutator-operation": (Shrinks, described(function_preserving=False)),
        "mutator-valid": (Explodes, described(function_preserving=False)),
        "mutator-young": (
            Impatient,
            described(operation="prune", function_preserving=False, needs=frozenset()),
        ),
    }


@pytest.mark.parametrize("check", [c.id for c in CHECKS])
def test_a_mutators_fault_is_found(template: types.ModuleType, check: str) -> None:
    factory, spec = faulty(template.MissingEdgeMutator)[check]
    found = report(factory, spec)
    assert [r.id for r in found.failures] == [check], str(found)


def test_other_graphs_can_be_given(template: types.ModuleType) -> None:
    asked: list[int] = []

    def graphs(seed: int) -> TinyGraph:
        asked.append(seed)
        return TinyGraph.random(seed, inputs=1, hidden=2, outputs=1)

    found = report(template.MissingEdgeMutator, graphs=graphs)
    assert found.ok, str(found)
    assert asked
