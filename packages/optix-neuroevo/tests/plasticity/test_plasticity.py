"""Is Oja's rule Oja's, does it act on weights in effect and in real runs, and are scales always of the base?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from optix_core import Optimizer, make_agent
from optix_core.errors import ConfigError
from optix_core.evolution.regime_detector import RegimeDetector
from optix_core.types import EvalMetrics
from optix_neuroevo.control.controller import TopologyController
from optix_neuroevo.graph.neuron_graph import NeuronGraph
from optix_neuroevo.plasticity.hebbian import HebbianHook
from optix_neuroevo.plasticity.modulation import SCALES, NeuromodulatorSignal
from optix_neuroevo.plasticity.rules import Hebb, Oja


def linear(n: int = 3, cell: str = "any", mode: str = "clamp", delay: int = 0) -> NeuronGraph:
    graph = NeuronGraph(mode, seed=0)
    for i in range(n):
        graph.add_neuron("input", "linear", f"i{i}", cell_type=cell)
    graph.add_neuron("output", "linear", "o")
    sign = -1.0 if cell == "inhibitory" else 1.0
    for i in range(n):
        graph.add_edge(f"i{i}", "o", sign * (0.3 + 0.1 * i), delay)
    return graph


def test_oja_finds_the_first_principal_component_with_length_one() -> None:
    rng, graph = np.random.default_rng(0), linear()
    direction = np.array([2.0, -1.0, 2.0]) / 3.0
    hook = HebbianHook(graph, hebbian_lr=0.02, weight_decay=0.0)
    for _ in range(300):
        for x in rng.normal(size=(8, 1)) * 2.0 * direction + 0.2 * rng.normal(size=(8, 3)):
            graph.forward(x)
            hook.record()
        hook.apply_and_reset()
    found = np.array([e.effective_weight for e in graph.edges_into("o")])
    assert abs(np.linalg.norm(found) - 1.0) < 0.05
    assert abs(found @ direction) > 0.99


def test_hebb_alone_grows_and_only_decay_shrinks() -> None:
    pre, post, w = np.ones((4, 2)), np.full((4, 2), 0.5), np.array([1.0, -1.0])
    assert Hebb().change(pre, post, w, rate=0.1).tolist() == [0.05, 0.05]
    assert Oja().change(pre, post, w, rate=0.1).tolist() == pytest.approx([0.025, 0.075])
    graph = linear()
    before = graph.effective_weights()
    hook = HebbianHook(graph, hebbian_lr=0.0, weight_decay=0.25, rule="hebb")
    graph.forward(np.ones(3))
    hook.record()
    hook.apply()
    assert np.allclose(graph.effective_weights(), 0.75 * before)


def test_a_delayed_edge_is_paired_with_what_it_delivered() -> None:
    graph = linear(1, delay=2)
    hook = HebbianHook(graph)
    sent = [1.0, 2.0, 3.0, 4.0, 5.0]
    for x in sent:
        graph.forward(np.array([x]))
        hook.record()
    assert hook.n_steps_recorded == 5
    (mean,) = hook.mean_coactivation()["main"].values()
    expected = np.mean([0.0, 0.0, *(0.3 * x * x for x in sent[:3])])
    assert mean == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mode", ["clamp", "softplus"])
@pytest.mark.parametrize("cell", ["excitatory", "inhibitory"])
def test_weights_in_effect_move_and_keep_their_sign(mode: str, cell: str) -> None:
    graph = linear(cell=cell, mode=mode)
    sign = 1.0 if cell == "excitatory" else -1.0
    before = np.array([e.effective_weight for e in graph.all_edges()])
    hook = HebbianHook(graph, hebbian_lr=0.0, weight_decay=0.5)
    graph.forward(np.ones(3))
    hook.record()
    hook.apply()
    after = np.array([e.effective_weight for e in graph.all_edges()])
    assert np.allclose(after, 0.5 * before, atol=1e-5)  # decay shrinks weights in effect in both modes
    strong = HebbianHook(graph, hebbian_lr=50.0, weight_decay=0.0, rule="hebb", clip_weight=0.8)
    graph.forward(-sign * np.array([1.0, 1.0, -8.0]))
    strong.record()
    strong.apply()
    found = np.array([e.effective_weight for e in graph.all_edges()])
    assert (found * sign >= 0).all()
    assert np.abs(found).max() <= 0.8 + 1e-5


def test_in_a_run_it_acts_once_per_window(tmp_path: Any) -> None:
    agent: Any = make_agent(
        "PPO",
        gym.make("CartPole-v1"),
        neuroevo=True,
        graph_hidden=3,
        hebbian_lr=1e-3,
        grow_cooldown=5,
        seed=0,
    )
    hook, controller = agent.companion_callbacks(None)
    assert isinstance(hook, HebbianHook)
    assert isinstance(controller, TopologyController)
    assert controller.grow_cooldown == 5
    run = Optimizer(
        agent, "CartPole-v1", n_envs=2, window_size=32, max_episodes=4, validation_episodes=0, seed=0,
        checkpoint_dir=tmp_path, optimizer="fixed",
    )  # fmt: skip
    run.run()
    assert hook.n_applied == 4


def metrics(score: float, i: int) -> EvalMetrics:
    return EvalMetrics(score, {}, i, timestamp=0.0)


def test_scales_are_of_the_base_and_the_base_comes_back() -> None:
    agent: Any = make_agent("PPO", gym.make("CartPole-v1"), neuroevo=True, hebbian_lr=1e-3, seed=0)
    hook, controller = agent.companion_callbacks(None)
    signal = NeuromodulatorSignal(hook=hook, agent=agent, controller=controller)
    base = signal.state
    for regime in ("ranging", "ranging", "volatile", "trending"):
        signal.apply(regime)
        assert hook.hebbian_lr == pytest.approx(1e-3 * SCALES["hebbian_lr"][regime])
        entropy = agent.get_hyperparams().params["entropy_coef"]
        assert entropy == pytest.approx(0.01 * SCALES["entropy"][regime])
        assert controller.grow_cooldown == round(20 * SCALES["grow_gap"][regime])
        assert controller.prune_edge_threshold == pytest.approx(1e-3 * SCALES["prune_threshold"][regime])
    signal.reset_to_base()
    assert signal.state == base


def test_a_detector_drives_it_and_its_state_continues() -> None:
    hook = HebbianHook(linear())
    signal = NeuromodulatorSignal(RegimeDetector(), hebbian_hook=hook)
    for i in range(12):
        signal.on_episode_end(i, metrics(float(i), i))
    assert signal.current_regime == "trending"
    other_hook = HebbianHook(linear())
    other = NeuromodulatorSignal(RegimeDetector(), hebbian_hook=other_hook)
    other.load_state_dict(signal.state_dict())
    assert other.state == signal.state
    assert other_hook.hebbian_lr == pytest.approx(5e-4)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to modulate"):
        NeuromodulatorSignal()
    signal = NeuromodulatorSignal(hook=HebbianHook(linear()))
    with pytest.raises(ConfigError, match="unknown regime"):
        signal.apply("calm")
    with pytest.raises(ConfigError, match="no detector"):
        signal.step([])
    with pytest.raises(ConfigError, match="lacks ranging"):
        NeuromodulatorSignal(hook=HebbianHook(linear()), entropy_scale={"trending": 1.0})
    with pytest.raises(ConfigError, match="weight_decay 0 to 1"):
        HebbianHook(linear(), weight_decay=2.0)
