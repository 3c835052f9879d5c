"""Does a run that has grown, was killed and is resumed end as if nothing had happened, bit for bit?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core import Optimizer
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import DecisionLog
from optix_core.topology import GateVote
from optix_neuroevo.agents.graph_agent import GraphAgent
from optix_neuroevo.control.controller import TopologyController
from optix_neuroevo.graph.wiring import layered_graph


class Killed(BaseException):
    """What ends the process."""


class Killer(LoopCallback):
    critical = True

    def __init__(self, at: int) -> None:
        self.at = at

    def on_episode_end(self, episode_id: int, eval_metrics: Any) -> None:
        if episode_id == self.at:
            raise Killed


class Keeper(LoopCallback):
    critical = True

    def __init__(self, agent: Any) -> None:
        self.agent, self.state = agent, {}

    def on_episode_end(self, episode_id: int, eval_metrics: Any) -> None:
        self.state = self.agent.state_dict()


class Always:
    def vote(self, graph: Any, signals: Any, scores: Any) -> GateVote:
        return GateVote(grow=True, reason="open")


WINDOWS = 12


def run(
    folder: Path, *, kill: int | None = None, resume: bool = False, seed: int = 0
) -> tuple[dict[str, Any], Any]:
    graph = layered_graph(4, 3, 3, np.random.default_rng(0), recurrent_delay=1)
    agent = GraphAgent(graph, 4, 2, seed=seed)
    agent.add_companions(
        TopologyController.for_graph(graph, grow_op=["add_edge", "split_neuron"], gates=[Always()], min_score_buffer=2,
                                     grow_cooldown=1, probation=2, prune_edge_patience=0, seed=3)
    )  # fmt: skip
    keeper = Keeper(agent)
    callbacks = [keeper, Killer(-1 if kill is None else kill)]  # states of callbacks are kept by position
    optimizer = Optimizer(
        agent, "CartPole-v1", n_envs=2, window_size=32, max_episodes=WINDOWS, validation_episodes=0, seed=1,
        run_dir=folder, resume=resume, optimizer="fixed", checkpoint_every=1, callbacks=callbacks,
        rollback_on_degradation=False,
    )  # fmt: skip
    if kill is None:
        optimizer.run()
    else:
        with pytest.raises(Killed):
            optimizer.run()
    return keeper.state, agent


def bits(state: Any) -> Any:
    if isinstance(state, dict):
        # the count of changes and the next number are not computed with
        skip = {"version", "next_uid", "next_position", "born", "uid", "capacity"}
        return {k: bits(v) for k, v in state.items() if k not in skip}
    if isinstance(state, list | tuple):
        return [bits(v) for v in state]
    return state.tobytes() if isinstance(state, np.ndarray) else state


def decisions(folder: Path) -> list[tuple[int, str]]:
    events = DecisionLog(folder / "events.jsonl").read()
    return [(e.window, e.numbers["action"]) for e in events if e.kind == "topology"]


@pytest.mark.parametrize("kill", [3, 6])
def test_killed_and_resumed_across_growth_it_ends_bit_for_bit_the_same(tmp_path: Path, kill: int) -> None:
    straight, one = run(tmp_path / "straight")
    run(tmp_path / "killed", kill=kill)
    resumed, two = run(tmp_path / "killed", resume=True, seed=99)
    grown = [decisions(tmp_path / name) for name in ("straight", "killed")]
    assert grown[0] == grown[1]
    assert {"grown", "reverted"} <= {action for _, action in grown[0]}
    a, b = (bits(s["graph"]["networks"]["graph"]["parameters"]) for s in (straight, resumed))
    assert a == b
    for name in ("decay", "ledger", "streams", "reward_normalizer"):
        assert bits(straight[name]) == bits(resumed[name]), name
    assert bits(straight["graph"]["optimizer"]) == bits(resumed["graph"]["optimizer"])
    assert bits(straight["measuring"]) == bits(resumed["measuring"])
    assert one.graph.all_edge_ids() == two.graph.all_edge_ids()
