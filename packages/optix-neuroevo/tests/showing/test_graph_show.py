"""Does ``optix graph show`` tell what happened, in order, with the graphs?"""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core import Optimizer
from optix_core.cli.main import main
from optix_core.topology import GateVote
from optix_neuroevo.agents.graph_agent import GraphAgent
from optix_neuroevo.control.changing import picture
from optix_neuroevo.control.controller import TopologyController
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.showing.story import graph_of


class Always:
    def vote(self, graph: Any, signals: Any, scores: Any) -> GateVote:
        return GateVote(grow=True, reason="the door is open")


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    agent = GraphAgent(layered_graph(4, 3, 3, np.random.default_rng(0)), 4, 2, seed=0)
    agent.add_companions(
        TopologyController.for_graph(agent.graph, grow_op="split_neuron", gates=[Always()], min_score_buffer=2,
                                     grow_cooldown=1, probation=2, prune_edge_patience=0)
    )  # fmt: skip
    run = Optimizer(
        agent, "CartPole-v1", n_envs=2, window_size=32, max_episodes=7, validation_episodes=0, seed=1,
        checkpoint_dir=tmp_path_factory.mktemp("runs"), optimizer="fixed",
    )  # fmt: skip
    run.run()
    assert run.run_dir is not None
    return run.run_dir


def test_the_story_is_told_and_drawn(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "show", str(run_dir)]) == 0
    said = capsys.readouterr().out
    assert "Grown by split_neuron" in said
    assert "the door is open" in said
    html = (run_dir / "graph.html").read_text()
    assert html.count("<svg") >= 2
    assert "<script" not in html


def test_json_and_svg(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "graph.svg"
    assert main(["graph", "show", str(run_dir), "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    actions = [c["action"] for c in document["chapters"]]
    assert actions[:2] == ["begin", "grown"]
    assert actions[2] in {"kept", "reverted"}
    grown = document["chapters"][1]
    assert grown["n_neurons"] == document["chapters"][0]["n_neurons"] + 1
    assert grown["new"]
    assert ET.fromstring(out.read_text()).tag.endswith("svg")


def test_a_file_of_another_kind_is_refused(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "show", str(run_dir), "--out", "x.png"]) != 0
    assert ".html or .svg" in capsys.readouterr().err


def test_a_picture_becomes_the_same_graph_again() -> None:
    graph = layered_graph(3, 4, 2, np.random.default_rng(0), neuron="trainable_gru", recurrent_delay=2)
    again = graph_of(picture(graph) or {})
    assert again.all_neuron_ids() == graph.all_neuron_ids()
    here, there = ({e.edge_id: (e.src, e.dst, e.delay) for e in g.all_edges()} for g in (graph, again))
    assert here == there
