"""One training of one graph agent; the argument and the last line of output are JSON. Run by run.py.

Trained through :class:`optix_core.Optimizer` without tuning, rollback and early stop, scored by training returns; at
the end 20 greedy episodes on seeds that training never saw.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import tasks
import torch
from common import machine, versions
from safetensors import safe_open

from optix_core import EvaluationPipeline, Optimizer, make_agent
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import DecisionLog
from optix_core.seeding import Domain, derive_seed
from optix_core.topology import GateVote
from optix_neuroevo.control.controller import TopologyController

torch.set_num_threads(1)


class AtWindow:
    """A gate that opens once, after so many scores, whatever they say."""

    def __init__(self, window):
        self._window, self._asked = window, 0

    def vote(self, graph, signals, scores):
        self._asked += 1
        return GateVote(grow=self._asked == self._window, reason=f"window {self._asked}")


def grows_once_at_random(job, agent):
    """The control of the controller: the same way to grow, at a time that nothing decided."""
    window = int(np.random.default_rng(job["seed"]).integers(5, 60))
    agent.add_companions(
        TopologyController.for_graph(
            agent.graph, grow_op="add_edge", gates=[AtWindow(window)], min_score_buffer=2, seed=job["seed"]
        )
    )


def fixed(agent):
    """A final size from the start: both inputs reach all hidden neurons one step late, too."""
    graph = agent.graph
    for src in graph.input_ids:
        for dst in graph.hidden_ids:
            graph.add_edge(src, dst, 0.0, 1)


def built(job, env):
    """A graph that grows by the defaults of ``make_agent`` unless the job says otherwise, or a perceptron."""
    options = dict(job["agent"])
    growth = job["growth"]
    if growth == "perceptron":
        return make_agent("PPO", env, seed=job["seed"], **options)
    if growth != "default":
        options["grow_cooldown"] = None
    agent = make_agent("PPO", env, neuroevo=True, seed=job["seed"], **options)
    if growth == "random":
        grows_once_at_random(job, agent)
    elif growth == "fixed":
        fixed(agent)
    return agent


def n_parameters(agent):
    """Numbers that learning changes."""
    graph = getattr(agent, "graph", None)
    if graph is None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.safetensors"
            agent.save_weights(str(path))
            with safe_open(path, "np") as file:
                return sum(file.get_tensor(n).size for n in file.keys() if "norm" not in n)  # noqa: SIM118
    own = sum(
        max(1, len(graph.type_of(n).parameters)) for n in graph.all_neuron_ids() if n not in graph.input_ids
    )
    return graph.n_edges() + own + sum(p.numel() for p in agent._networks.extras.values())


def run(job):
    factory = tasks.factory(job["env"])
    agent = built(job, factory())
    size = getattr(agent, "graph", None)
    before = 0 if size is None else size.n_edges()
    cpu = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        training = Optimizer(
            agent,
            factory,
            n_envs=job["n_envs"],
            window_size=job["window_size"],
            max_steps=job["budget"],
            validation_episodes=0,
            checkpoint_dir=folder,
            seed=job["seed"],
            optimizer="fixed",
            rollback_on_degradation=False,
            min_episodes_before_dormant=10**6,
        )
        windows = []
        # the weights at the end are what is measured, not the best ones that a run puts back
        last = {}

        class Keep(LoopCallback):
            def on_episode_end(self, episode_id, eval_metrics):
                if training.controller.trainer.steps_left() < 1:
                    last["state"] = agent.state_dict()

        training.add_callback(Keep())
        training.run()
        for event in DecisionLog(training.run_dir / "events.jsonl").read():
            if event.kind == "window":
                diagnostics = event.numbers["diagnostics"]
                error = diagnostics.get("ratio_error", 0.0)
                windows.append((event.step, event.numbers["train_return"], error))
            elif event.kind == "topology" and event.numbers["action"] not in {"refused", "begin"}:
                job.setdefault("events", []).append([event.step, event.numbers["action"]])
    agent.load_state_dict(last["state"])
    cpu = time.process_time() - cpu
    evaluation = EvaluationPipeline(
        factory, agent, episodes=20, seed=derive_seed(job["seed"], Domain.VALIDATION, 99)
    )
    evaluation.setup()
    returns = [record.episode_return for record in evaluation.evaluate(0).episodes]
    evaluation.teardown()
    return {
        "returns": returns,
        "mean": math.fsum(returns) / len(returns),
        "curve": [[s, round(r, 1)] for s, r, _ in windows[:: max(1, len(windows) // 40)] if r is not None],
        "max_ratio_error": max(e for _, _, e in windows),
        "edges": [before, 0 if size is None else size.n_edges()],
        "neurons": 0 if size is None else size.n_neurons(),
        "parameters": n_parameters(agent),
        "events": job.get("events", []),
        "cpu_seconds": round(cpu, 1),
        "machine": machine(),
        "versions": versions(),
    }


if __name__ == "__main__":
    print(json.dumps(run(json.loads(sys.argv[1]))))
