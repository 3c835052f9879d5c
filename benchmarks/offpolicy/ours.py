"""The side of optix-torch for one case; prints one JSON line of figures. Run by run.py."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cases import WARM_UP, make
from common import machine, peak_memory_mib, versions

from optix_core import VectorBatchPipeline, make_agent

WINDOW = 250


def measure(case):
    agent = make_agent(case["algorithm"], make(case["env"]), seed=0, device="cpu", **case["agent"])
    pipeline = VectorBatchPipeline([lambda: make(case["env"])], agent, WINDOW, seed=0)
    pipeline.setup()
    windows = pipeline.episodes()

    def run(steps):
        done = 0
        while done < steps:
            window = next(windows)
            agent.learn(window)
            done += window.n_steps
        return done

    run(WARM_UP + 2 * WINDOW)  # the first updates too: what they allocate and compile is not the steady state
    start = time.process_time()
    steps = run(case["steps"])
    spent = time.process_time() - start
    pipeline.teardown()
    return {"step_us": spent / steps * 1e6, "peak_memory_mib": peak_memory_mib()}


if __name__ == "__main__":
    figures = measure(json.loads(sys.argv[1]))
    print(json.dumps({**figures, "versions": versions(), "machine": machine()}))
