"""What tests send to other processes, which import this module by the search path they are given."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def note(folder):
    """Leave the number of this process in a folder."""
    Path(folder, str(os.getpid())).touch()


def four_to_two(rng):
    """A graph without hidden neurons."""
    from optix_neuroevo import NeuronGraph

    graph = NeuronGraph(seed=0)
    for name in ("a", "b", "c", "d"):
        graph.add_neuron("input", neuron_id=name)
    for out in ("left", "right"):
        graph.add_neuron("output", "linear", out, bias=float(rng.standard_normal()))
        for name in ("a", "b", "c", "d"):
            graph.add_edge(name, out, float(rng.standard_normal()))
    return graph


def make_search(folder, driver=None):
    """A search whose trials take a moment; processes leave their numbers in ``folder``.

    Args:
        folder: Holds everything.
        driver: The only process that survives its trials; None: all do.
    """
    import dial  # core's toy for searches, which needs no framework

    from optix_core.search import TrialOrchestrator

    def agent(params, seed=0):
        note(folder)
        if driver not in {None, os.getpid()}:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.3)
        return dial.make_agent(params, seed=seed)

    return TrialOrchestrator(
        agent,
        dial.pipeline_factory(),
        {"setting": ("float", -1.0, 1.0)},
        n_trials=6,
        trial_steps=100,
        top_k=1,
        confirm_seeds=1,
        storage=f"journal:{folder}/trials.log",
        study_name="s",
        workdir=folder / "work",
    )
