"""Graphs elsewhere: files that compute the same, networkx, DOT and pictures."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from graph_twin import random_graph, random_run, stepped

from optix_core.errors import ConfigError
from optix_core.export import PolicyArchive
from optix_neuroevo import (
    NeuronGraph,
    NeuronType,
    insert_neuron_on_edge,
    layered_graph,
    register_neuron_type,
    split_neuron,
)
from optix_neuroevo.export import export_numpy, export_onnx, to_dot, to_svg


@pytest.mark.parametrize("mode", ["clamp", "softplus"])
def test_a_grown_graph_computes_the_same_from_its_numpy_file(mode, tmp_path):
    for seed in range(6):
        graph = random_graph(seed, mode)
        split_neuron(graph, graph.hidden_ids[0], rng=np.random.default_rng(seed))
        insert_neuron_on_edge(graph, graph.all_edge_ids()[0], neuron="morph")
        path = tmp_path / f"{seed}.safetensors"
        assert export_numpy(graph, path).largest_difference <= 1e-5
        observations, memory, _ = random_run(graph, seed)
        expected, after = stepped(graph, observations, memory)
        archive = PolicyArchive.load(path)
        for row, wanted in zip(observations, expected, strict=True):
            values = archive.values({"observation": row}, memory=memory if graph.memory_size else None)
            np.testing.assert_allclose(values["action"], wanted, atol=1e-5, rtol=1e-5)
            memory = values.get("next_memory", memory)
        np.testing.assert_allclose(memory, after, atol=1e-5, rtol=1e-5)


def test_a_grown_graph_computes_the_same_in_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    for seed in (1, 2, 5):
        graph = random_graph(seed, "softplus")
        split_neuron(graph, graph.hidden_ids[0])
        assert export_onnx(graph, tmp_path / f"{seed}.onnx").largest_difference <= 1e-5
    plain = layered_graph(3, 4, 2, np.random.default_rng(0))
    export_onnx(plain, tmp_path / "plain.onnx")


def test_a_type_that_cannot_be_exported_is_named(tmp_path):
    register_neuron_type(
        NeuronType(name="odd-test", parameters=("a",), step=lambda x, state, p, maths: (p[0] * x, ())),
        replace=True,
    )
    graph = layered_graph(1, 1, 1, np.random.default_rng(0), neuron="odd-test")
    with pytest.raises(ConfigError, match="odd-test"):
        export_numpy(graph, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_networkx_has_every_neuron_and_edge():
    pytest.importorskip("networkx")
    graph = random_graph(3, "softplus")
    made = graph.to_networkx()
    assert set(made.nodes) == set(graph.all_neuron_ids())
    found = {key: (src, dst, data) for src, dst, key, data in made.edges(keys=True, data=True)}
    assert set(found) == set(graph.all_edge_ids())
    for edge in graph.all_edges():
        src, dst, data = found[edge.edge_id]
        assert (src, dst) == (edge.src, edge.dst)
        assert data == {"weight": edge.effective_weight, "delay": edge.delay}
    assert made.nodes["h0"]["type"] == graph.get_neuron("h0").type_name


def test_dot_and_svg_show_everything_and_escape_names():
    graph = NeuronGraph()
    graph.add_neuron("input", neuron_id='<"a">')
    graph.add_neuron("hidden", neuron_id="h & co", cell_type="inhibitory")
    graph.add_neuron("output", "linear", "y")
    graph.add_edge('<"a">', "h & co", 1.0)
    loop = graph.add_edge("h & co", "h & co", -0.5, 3)
    graph.add_edge("h & co", "y", -1.0, 1)
    dot = to_dot(graph)
    assert '"<\\"a\\">" -> "h & co"' in dot
    assert dot.count("->") == 3
    assert dot.count("dashed") == 2
    picture = ET.fromstring(to_svg(graph, title="<b>", highlight=[loop]))
    paths = picture.findall(".//{*}path")
    assert len(paths) == 3
    assert [p.get("class") for p in paths].count("new") == 1
    assert sum(p.get("stroke-dasharray") is not None for p in paths) == 2
    assert len(picture.findall(".//{*}circle")) == 2
    assert len(picture.findall(".//{*}rect")) == 1
    assert picture.find("{*}text").text == "<b>"
    assert "2 weaker edges" in to_svg(graph, most_edges=1)
