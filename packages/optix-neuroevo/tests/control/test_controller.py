"""Does the controller grow on a plateau and only there, does probation undo exactly, and does it survive going back?"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from optix_core import Optimizer
from optix_core.errors import ConfigError
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.runs.decision_log import DecisionLog
from optix_core.topology import EdgeGradients, GateVote, Proposal, Signals
from optix_core.types import EvalMetrics
from optix_neuroevo.agents.graph_agent import GraphAgent
from optix_neuroevo.control.controller import TopologyController
from optix_neuroevo.control.gates import (
    AllOf,
    AnyOf,
    GradientUtilisation,
    MissingGradient,
    NotImproving,
    StructuredResiduals,
    lacking,
)
from optix_neuroevo.control.trial import Trial
from optix_neuroevo.graph.wiring import layered_graph
from optix_neuroevo.mutators.editing import GraphEditor

VIEW: Any = None  # gates of scores do not look at the graph


class Always:
    """A gate that is open."""

    def vote(self, graph: Any, signals: Any, scores: Any) -> GateVote:
        return GateVote(grow=True, reason="open")


class Fake:
    """A run to be attached to: it keeps what is logged."""

    def __init__(self, agent: Any) -> None:
        self.agent, self.events, self.scheduler = agent, [], None

    def log(self, kind: str, **numbers: Any) -> None:
        self.events.append((kind, numbers))


def controlled(agent: GraphAgent, **options: Any) -> tuple[TopologyController, Fake]:
    settings = {
        "gates": [Always()],
        "min_score_buffer": 3,
        "grow_cooldown": 2,
        "prune_edge_patience": 0,
        **options,
    }
    controller = TopologyController.for_graph(agent.graph, **settings)
    run = Fake(agent)
    controller.attach(run)
    controller.on_loop_start()
    return controller, run


def made(seed: int = 0, **kwargs: Any) -> GraphAgent:
    options = {"recurrent_delay": 1, **kwargs}
    return GraphAgent(layered_graph(4, 5, 3, np.random.default_rng(seed), **options), 4, 2, seed=seed)


def metrics(score: float, window: int) -> EvalMetrics:
    return EvalMetrics(score, {}, window, timestamp=0.0)


def feed(controller: TopologyController, scores: Any, agent: Any = None, windows: Any = None) -> None:
    for i, score in enumerate(scores):
        if agent is not None:
            agent.learn(next(windows))
        controller.on_episode_end(i, metrics(float(score), i))


def windows_of(agent: Any) -> Any:
    pipeline = VectorBatchPipeline([lambda: gym.make("CartPole-v1")] * 2, agent, 32, seed=3)
    pipeline.setup()
    return pipeline.episodes()


def actions(run: Fake) -> list[str]:
    return [numbers["action"] for _, numbers in run.events]


# --- gates ---


def false_alarms(gate: Any, make: Any, checks: int = 2000) -> float:
    rng = np.random.default_rng(0)
    return float(np.mean([gate.vote(VIEW, Signals(), make(rng)).grow for _ in range(checks)]))


def ar1(rng: np.random.Generator, n: int, a: float) -> np.ndarray:
    y = np.zeros(n)
    for t in range(1, n):
        y[t] = a * y[t - 1] + rng.normal()
    return y


def test_a_rise_is_no_plateau_and_a_plateau_is_one() -> None:
    gate = NotImproving()
    assert false_alarms(gate, lambda rng: np.arange(60) * 0.5 + rng.normal(size=60)) <= 0.001
    for a in (0.0, 0.5):
        assert false_alarms(gate, lambda rng, a=a: ar1(rng, 60, a)) > 0.9
    rise = np.concatenate([np.linspace(0, 50, 60), np.full(30, 50.0)])
    assert gate.vote(VIEW, Signals(), (rise + np.random.default_rng(1).normal(size=90)).tolist()).grow


def test_white_noise_is_no_structure() -> None:
    gate = StructuredResiduals()
    assert false_alarms(gate, lambda rng: rng.normal(size=100)) <= 0.002
    assert false_alarms(gate, lambda rng: ar1(rng, 100, 0.9)) > 0.95


def test_three_signals_together_do_not_grow_out_of_noise_or_while_scores_rise() -> None:
    gates = (NotImproving(), StructuredResiduals())
    rng = np.random.default_rng(0)
    white = [all(g.vote(VIEW, Signals(), s).grow for g in gates) for s in rng.normal(size=(3000, 100))]
    assert np.mean(white) <= 0.001
    slow = [
        all(g.vote(VIEW, Signals(), s).grow for g in gates)
        for s in np.arange(100) * 0.3 + rng.normal(size=(1000, 100))
    ]
    assert np.mean(slow) <= 0.001


def test_gates_without_measurements_stay_shut() -> None:
    for gate in (GradientUtilisation(), MissingGradient()):
        assert not gate.vote(VIEW, Signals(), [0.0] * 50).grow
    assert GradientUtilisation(threshold=0.5).vote(VIEW, Signals(utilisation=0.6), []).grow
    assert not GradientUtilisation(threshold=0.7).vote(VIEW, Signals(utilisation=0.6), []).grow


class Says:
    """A gate with a fixed vote."""

    def __init__(self, grow: bool) -> None:
        self._grow = grow

    def vote(self, graph: Any, signals: Signals, scores: Any) -> GateVote:
        return GateVote(grow=self._grow, reason=f"says {self._grow}", numbers={"x": 1.0})


@pytest.mark.parametrize("a", [False, True])
@pytest.mark.parametrize("b", [False, True])
def test_gates_are_put_together_by_and_and_or(a: bool, b: bool) -> None:
    both, either = (kind(a=Says(a), b=Says(b)).vote(VIEW, Signals(), []) for kind in (AllOf, AnyOf))
    assert both.grow == (a and b)
    assert either.grow == (a or b)
    for vote in (both, either):
        assert vote.numbers == {"a.x": 1.0, "b.x": 1.0, "a.grow": float(a), "b.grow": float(b)}
        assert f"says {a}" in vote.reason
        assert f"says {b}" in vote.reason


def test_by_default_a_missing_gradient_is_enough_and_a_busy_network_too() -> None:
    wandering = np.cumsum(np.random.default_rng(0).normal(size=100)).tolist()
    graph = made().graph
    editor = GraphEditor(graph)
    slots = graph.neurons.slots().tolist()
    into = [n for n in map(graph.neuron_at, slots) if graph.get_neuron(n).role != "input"]
    gradient = np.zeros((len(into), len(slots)))
    gradient[0, 0] = 1.0
    found = EdgeGradients(
        delay=1, src=tuple(map(graph.neuron_at, slots)), dst=tuple(into), gradient=gradient,
        deviation=np.full_like(gradient, 0.1),
    )  # fmt: skip
    gate = lacking()
    assert gate.vote(editor, Signals(edge_gradients=(found,), utilisation=0.0), [1.0] * 50).grow
    assert gate.vote(editor, Signals(utilisation=0.9), wandering).grow
    assert not gate.vote(editor, Signals(utilisation=0.2), wandering).grow
    assert not gate.vote(editor, Signals(utilisation=0.9), [1.0, 0.0] * 25).grow


# --- growing ---


def test_it_waits_for_scores_and_cooldown_and_says_why_it_refuses() -> None:
    agent = made()
    controller, run = controlled(agent, gates=None, min_score_buffer=3)
    feed(controller, [1.0, 2.0, 3.0])
    assert actions(run) == ["begin", "refused"]
    votes = run.events[-1][1]["votes"]
    assert set(votes) == {"not_improving", "lacking"}
    for gate in ("missing_gradient", "structured_residuals", "gradient_utilisation"):
        assert any(name.split(".")[-2:-1] == [gate] for name in votes["lacking"]), gate
    assert "30 wanted" in run.events[-1][1]["why"]
    assert controller.stats["grow_count"] == 0


@pytest.mark.parametrize("op", ["insert_edge", "split_neuron", "add_edge", "gradmax", "optix-neuroevo:rigl"])
def test_every_way_to_grow_is_found_by_name_and_logged_with_numbers(op: str) -> None:
    agent = made()
    controller, run = controlled(agent, grow_op=op)
    windows = windows_of(agent)
    feed(controller, [1.0, 1.0, 1.0], agent, windows)
    kind, numbers = run.events[-1]
    assert kind == "topology"
    assert numbers["action"] == "grown", numbers
    assert numbers["proposal"]["reason"]
    assert numbers["graph"]["edges"]
    found = agent.learn(next(windows))
    assert found["ratio_error"] < 1e-4


def test_probation_undoes_exactly_what_did_not_pay() -> None:
    agent = made()
    controller, run = controlled(agent, grow_op="split_neuron", probation=3)
    windows = windows_of(agent)
    feed(controller, [5.0, 5.1], agent, windows)
    agent.learn(next(windows))
    before = agent.state_dict()
    controller.on_episode_end(2, metrics(4.9, 2))
    assert controller.stats["on_probation"]
    assert agent.graph.n_neurons() == 13
    feed(controller, [5.0, 5.1, 4.9], agent, windows)
    assert actions(run)[-1] == "reverted"
    assert agent.graph.n_neurons() == 12
    after = agent.state_dict()
    for name in ("theta", "bias"):
        here, there = (s["graph"]["networks"]["graph"]["parameters"][name] for s in (after, before))
        assert np.array_equal(here, there)
    for name, entry in before["graph"]["optimizer"]["state"].items():
        for key, values in entry.items():
            assert np.array_equal(after["graph"]["optimizer"]["state"][name][key], values)
    assert after["streams"] == before["streams"]


def test_what_paid_is_kept() -> None:
    agent = made()
    controller, run = controlled(agent, grow_op="split_neuron", probation=3)
    feed(controller, [5.0, 5.1, 4.9], agent, windows_of(agent))
    feed(controller, [9.0, 9.1, 9.2])
    assert actions(run)[-1] == "kept"
    assert agent.graph.n_neurons() == 13
    assert run.events[-1][1]["bound"] > 0


def test_a_trial_is_judged_by_the_difference_and_its_error() -> None:
    def trial(after: list[float]) -> Trial:
        return Trial(
            region="main",
            mutator="x",
            reason="y",
            state={},
            before=[1.0, 2.0, 3.0],
            structure=[],
            after=after,
        )

    assert trial([5.0, 6.0, 7.0]).verdict(0.95)[0]
    assert not trial([2.0, 3.0, 4.0]).verdict(0.99)[0]
    assert not trial([1.0, 2.0, 3.0]).verdict(0.5 + 1e-9)[0]


def test_a_run_that_goes_back_ends_the_trial() -> None:
    agent = made()
    controller, run = controlled(agent, grow_op="split_neuron", probation=5)
    windows = windows_of(agent)
    agent.learn(next(windows))
    state = agent.state_dict()
    feed(controller, [5.0, 5.1, 4.9], agent, windows)
    agent.load_state_dict(state)
    controller.on_episode_end(9, metrics(5.0, 9))
    assert "abandoned" in actions(run)
    assert not controller.stats["on_probation"]


def test_budgets_hold() -> None:
    agent = made()
    controller, run = controlled(agent, grow_op="split_neuron", max_neurons=5)
    feed(controller, [1.0] * 6, agent, windows_of(agent))
    assert controller.stats["grow_count"] == 0
    assert "no mutator has a proposal" in run.events[-1][1]["why"]


class AddsDelay:
    """A mutator that gives a network without memory one."""

    def propose(self, graph: Any, signals: Any, budget: Any, rng: Any) -> Any:
        first, last = graph.neurons()[0].id, graph.neurons()[-1].id
        return [Proposal(targets=(first, last), gain=1.0, reason="memory", edges=1)]

    def apply(self, edit: Any, proposal: Any, rng: Any) -> None:
        edit.add_edge(*proposal.targets, delay=1)


@pytest.mark.parametrize("capacity, grows", [(0, False), (1, True)])
def test_a_memory_without_room_refuses_the_change_and_leaves_the_graph(capacity: int, grows: bool) -> None:
    graph = layered_graph(4, 5, 3, np.random.default_rng(0))
    agent = GraphAgent(graph, 4, 2, seed=0, memory_capacity=capacity)
    controller, run = controlled(agent, grow_op=AddsDelay())
    edges = graph.n_edges()
    feed(controller, [1.0] * 3, agent, windows_of(agent))
    assert graph.n_edges() == edges + grows
    refusals = [n["why"] for _, n in run.events if n["action"] == "refused"]
    assert any("memory_capacity" in why for why in refusals) != grows


# --- shrinking ---


def test_idle_edges_go_after_their_patience_and_new_ones_are_spared() -> None:
    agent = made()
    graph = agent.graph
    weak = graph.all_edge_ids()[0]
    graph.set_weight(weak, 1e-7)
    options = {"prune_edge_patience": 3, "min_prune_observations": 1, "maturation_window": 2}
    controller, run = controlled(agent, min_score_buffer=10**6, merge_similarity_threshold=1.0, **options)
    windows = windows_of(agent)
    for i in range(8):
        agent.learn(next(windows))
        if graph.has_edge(weak):
            graph.set_weight(weak, 1e-7)
        new = graph.add_edge(graph.input_ids[0], graph.hidden_ids[0], 0.0, 1) if i == 5 else None
        controller.on_episode_end(i, metrics(1.0, i))
        if new:
            young = new
    assert "pruned" in actions(run)
    assert not graph.has_edge(weak)
    assert graph.has_edge(young)


def test_twins_are_merged() -> None:
    agent = made(recurrent_delay=0)
    graph = agent.graph
    from optix_neuroevo.operations.split import split_neuron

    split_neuron(graph, graph.hidden_ids[0], rng=np.random.default_rng(0))
    options = {"min_prune_observations": 1, "maturation_window": 0, "merge_check_interval": 2}
    controller, run = controlled(agent, min_score_buffer=10**6, merge_similarity_threshold=0.99, **options)
    feed(controller, [1.0] * 2, agent, windows_of(agent))
    assert "merged" in actions(run)
    assert controller.stats["merge_count"] == 1


def test_every_growth_in_a_row_that_was_undone_doubles_the_cooldown() -> None:
    agent = made()
    controller, run = controlled(agent, grow_op="split_neuron", probation=2, min_score_buffer=2)
    windows, grown = windows_of(agent), list[int]()
    for window in range(40):
        before = controller.stats["grow_count"]
        feed(controller, [5.0 + 0.1 * (window % 2)], agent, windows)
        grown += [window] * (controller.stats["grow_count"] - before)
    assert actions(run).count("reverted") >= 3
    assert "kept" not in actions(run)
    # two windows of probation, then the cooldown of 2, doubled
    gaps = np.diff(grown[:4]).tolist()
    assert gaps == [2 + 4, 2 + 8, 2 + 16]
    again, _ = controlled(made(), grow_op="split_neuron", probation=2, min_score_buffer=2)
    again.load_state_dict(controller.state_dict())
    assert (
        again.state_dict()["regions"]["main"]["undone"]
        == controller.state_dict()["regions"]["main"]["undone"]
    )


# --- keeping ---


def test_it_continues_from_its_state_with_a_growth_on_probation() -> None:
    agent, other = made(), made()
    controller, _ = controlled(agent, grow_op="split_neuron", probation=3)
    feed(controller, [5.0, 5.1, 4.9], agent, windows_of(agent))
    again, run = controlled(other, grow_op="split_neuron", probation=3)
    other.load_state_dict(agent.state_dict())
    again.load_state_dict(controller.state_dict())
    assert again.stats == controller.stats
    feed(again, [5.0, 5.1, 4.9])
    assert actions(run)[-1] == "reverted"
    assert other.graph.n_neurons() == 12


@pytest.mark.parametrize("bad", [{"probation": 1}, {"grow_cooldown": -1}, {"backoff_reset_factor": 2.0}])
def test_numbers_out_of_range_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        TopologyController.for_graph(made().graph, **bad)


def test_in_a_run_it_is_added_by_the_agent_and_its_decisions_are_in_the_log(tmp_path: Any) -> None:
    agent = made()
    agent.add_companions(
        TopologyController.for_graph(agent.graph, grow_op="split_neuron", gates=[Always()], min_score_buffer=2,
                                     grow_cooldown=1, probation=2)
    )  # fmt: skip
    run = Optimizer(
        agent, "CartPole-v1", n_envs=2, window_size=32, max_episodes=8, validation_episodes=0, seed=1,
        checkpoint_dir=tmp_path, optimizer="fixed",
    )  # fmt: skip
    run.run()
    assert run.run_dir is not None
    events = [e for e in DecisionLog(run.run_dir / "events.jsonl").read() if e.kind == "topology"]
    found = [e.numbers["action"] for e in events]
    assert found[0] == "begin"
    assert "grown" in found
