"""Are neuron types, growth gates and plasticity rules of other plugins found by name?"""

from __future__ import annotations

import types
from typing import Any

import numpy as np
import pytest

from optix_core.plugin import GrowthGateSpec, NeuronTypeSpec, PlasticityRuleSpec, hookimpl
from optix_core.plugins.registry import default_registry
from optix_core.topology import GateVote
from optix_neuroevo.control.regions import gates
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.neurons import types as registered
from optix_neuroevo.neurons.types import NeuronType
from optix_neuroevo.plasticity.hebbian import HebbianHook


class Never:
    def vote(self, graph: Any, signals: Any, scores: Any) -> GateVote:
        return GateVote(grow=False, reason="never")


class Still:
    def change(self, pre: Any, post: Any, weights: Any, *, rate: float) -> Any:
        return np.zeros_like(weights)


def doubling() -> NeuronType:
    def step(x: Any, state: Any, parameters: Any, maths: Any) -> tuple[Any, Any]:
        return x + x + parameters[0], ()

    return NeuronType(name="test_doubling", parameters=("b",), step=step)


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered, "_TYPES", dict(registered.neuron_types()))
    here = types.ModuleType("plugged_parts_here")
    here.Never, here.Still, here.doubling = Never, Still, doubling  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, here.__name__, here)

    class Plugin:
        OPTIX_API = "1.0"

        @hookimpl
        def optix_neuron_types(self) -> Any:
            return [NeuronTypeSpec(name="test_doubling", factory="plugged_parts_here:doubling")]

        @hookimpl
        def optix_growth_gates(self) -> Any:
            return [GrowthGateSpec(name="test_never", factory="plugged_parts_here:Never")]

        @hookimpl
        def optix_plasticity_rules(self) -> Any:
            return [PlasticityRuleSpec(name="test_still", factory="plugged_parts_here:Still")]

    default_registry().register_plugin(Plugin(), "plugged-parts")


@pytest.mark.usefixtures("plugged")
def test_parts_of_a_plugin_are_found_by_name() -> None:
    graph = NeuronGraph(seed=0)
    graph.add_neuron("input", "linear", "x")
    graph.add_neuron("hidden", neuron_id="h", neuron="test_doubling")
    graph.add_neuron("output", "linear", "y")
    graph.add_edge("x", "h", 1.5)
    graph.add_edge("h", "y", 1.0)
    assert graph.forward([2.0]).tolist() == [6.0]
    assert not gates(["test_never"])["test_never"].vote(None, None, []).grow  # type: ignore[arg-type]
    hook = HebbianHook(graph, weight_decay=0.0, rule="test_still")
    hook.record()
    hook.apply()
    assert graph.forward([2.0]).tolist() == [6.0]


def test_an_unknown_type_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown neuron type 'nothing'"):
        NeuronGraph().add_neuron(neuron="nothing")
