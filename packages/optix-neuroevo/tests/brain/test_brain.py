"""Do pathways arrive when they should, get gradients, and can an agent train and grow a brain?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from optix_core.errors import ConfigError
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.types import EvalMetrics
from optix_neuroevo.brain.agent import BrainAgent
from optix_neuroevo.brain.network import BrainNetwork
from optix_neuroevo.control.controller import TopologyController
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.plan.module import GraphModule
from optix_neuroevo.plasticity.hebbian import HebbianHook


def relay(weight: float = 1.0) -> NeuronGraph:
    graph = NeuronGraph(seed=0)
    graph.add_neuron("input", "linear", "i")
    graph.add_neuron("hidden", "linear", "h")
    graph.add_neuron("output", "linear", "o")
    graph.add_edge("i", "h", weight)
    graph.add_edge("h", "o", 1.0)
    return graph


def pair(delay: int, target: str) -> BrainNetwork:
    brain = BrainNetwork(seed=1)
    brain.add_region("a", relay())
    brain.add_region("b", relay())
    brain.add_inter_region_edge("a", "h", "b", target, 2.0, delay)
    return brain


@pytest.mark.parametrize("delay", [0, 1, 3])
@pytest.mark.parametrize("target", ["i", "h"])
def test_a_pathway_arrives_after_its_delay_at_inputs_too(delay: int, target: str) -> None:
    brain = pair(delay, target)
    found = [brain({"a": [float(t == 0)], "b": [0.5]})[1] for t in range(5)]
    expected = [0.5 + 2.0 * (t == delay) for t in range(5)]
    assert found == pytest.approx(expected)
    brain.reset_state()
    assert brain({"a": [0.0]}).tolist() == [0.0, 0.0]  # regions without an observation get zeros


def test_pathway_weights_get_gradients() -> None:
    brain = pair(0, "i")
    module = GraphModule(brain.graph)
    outputs, _ = module(torch.tensor([[[1.0, 0.0]]]))
    outputs[0, 0, 1].backward()
    (edge,) = brain.all_inter_region_edges()
    assert brain.graph.get_edge(edge.edge_id).weight.grad == pytest.approx(1.0)
    assert (edge.src_region, edge.src_neuron, edge.dst_region) == ("a", "h", "b")


def test_pathways_are_seeded_and_without_duplicates() -> None:
    def made(seed: int) -> list[tuple[str, str]]:
        brain = BrainNetwork(seed=seed)
        for name in "ab":
            brain.add_region(name, layered_graph(2, 4, 2, np.random.default_rng(0)))
        path = brain.get_pathway(brain.add_pathway("a", "b", 6, delay=1))
        assert len(path.edge_ids) == 6
        edges = [(e.src_neuron, e.dst_neuron) for e in brain.all_inter_region_edges()]
        assert len(set(edges)) == 6
        return edges

    assert made(3) == made(3)
    assert made(3) != made(4)


def test_same_step_pathways_close_no_cycle() -> None:
    brain = BrainNetwork(seed=0)
    for name in "ab":
        brain.add_region(name, layered_graph(2, 3, 2, np.random.default_rng(0)))
    brain.add_pathway("a", "b", 100, delay=0)
    with pytest.raises(ValueError, match="can be connected"):
        for _ in range(50):
            brain.add_pathway("b", "a", 100, delay=0)


def test_regions_come_back_as_they_went_in() -> None:
    graph = layered_graph(2, 3, 2, np.random.default_rng(0), recurrent_delay=1)
    brain = BrainNetwork()
    brain.add_region("a", graph)
    brain.add_region("b", relay())
    copy = brain.get_region("a")
    for x in np.random.default_rng(0).normal(size=(5, 2)):
        assert np.allclose(copy(x), graph(x), atol=1e-6)
    with pytest.raises(ValueError, match="region already"):
        brain.add_region("a", graph)
    with pytest.raises(ValueError, match="no region 'c'"):
        brain.get_region("c")
    assert brain.summary()["regions"] == {"a": 7, "b": 3}


def test_only_output_regions_show() -> None:
    brain = BrainNetwork(output_regions=["b"])
    brain.add_region("a", relay())
    brain.add_region("b", relay())
    assert brain({"a": [1.0], "b": [2.0]}).tolist() == [2.0]


def brain_for_cartpole() -> BrainNetwork:
    rng = np.random.default_rng(0)
    brain = BrainNetwork(output_regions=["motor"], seed=0)
    brain.add_region("sense", layered_graph(4, 4, 2, rng))
    brain.add_region("motor", layered_graph(4, 4, 3, rng))
    brain.add_pathway("sense", "motor", 6, delay=0, weight_init=0.1)
    brain.add_pathway("motor", "sense", 3, delay=1)
    return brain


def test_an_agent_trains_regions_and_pathways_and_a_controller_grows_them() -> None:
    brain = brain_for_cartpole()
    agent = BrainAgent(brain, 4, 2, seed=0, chunk_len=8)
    controller = TopologyController.for_brain(
        brain, grow_op="split_neuron", gates=[], min_score_buffer=2, grow_cooldown=1, probation=0
    )
    controller.bind(agent)
    hook = HebbianHook.from_brain(brain, hebbian_lr=1e-4)
    hook.bind(agent)
    pipeline = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * 2, agent, 32, seed=3)
    pipeline.setup()
    windows = pipeline.episodes()
    before = {e.edge_id: e.weight for e in brain.all_inter_region_edges()}
    for i in range(4):
        found = agent.learn(next(windows))
        assert found["ratio_error"] < 1e-4
        metrics = EvalMetrics(1.0, {}, i, timestamp=0.0)
        controller.on_episode_end(i, metrics)
        hook.on_episode_end(i, metrics)
    assert all(
        abs(e.weight - before[e.edge_id]) > 0 for e in brain.all_inter_region_edges() if e.edge_id in before
    )
    regions = {r["region"] for r in controller.records if r["action"] == "grown"}
    assert regions == {"sense", "motor"}


def test_views_say_who_sees_what() -> None:
    brain = brain_for_cartpole()
    assert brain.columns(None, 4).tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert brain.columns(None, 8).tolist() == list(range(8))
    with pytest.raises(ConfigError, match="views="):
        brain.columns({"sense": [0, 1]}, 4)
    views: Any = {"sense": [0, 1, 2, 3], "motor": [3, 2, 1, 0]}
    assert brain.columns(views, 4).tolist() == [0, 1, 2, 3, 3, 2, 1, 0]
