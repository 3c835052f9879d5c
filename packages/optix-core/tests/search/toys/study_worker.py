"""One process that works on a shared study: ``study_worker.py STORAGE NAME SLOW MARKER``.

With SLOW, every training waits in the middle of its first window until it is killed, having written MARKER.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import dial

from optix_core.search import TrialOrchestrator


def main() -> None:
    storage, name, slow, marker = sys.argv[1:5]

    def hang(agent):
        Path(marker).write_text(str(agent.params["setting"]))
        time.sleep(600)

    def make_agent(params, seed=0):
        return dial.DialAgent(params, seed, on_learn=hang if slow == "slow" else None)

    search = TrialOrchestrator(
        make_agent,
        dial.pipeline_factory(),
        {"setting": ("float", -1.0, 1.0)},
        n_trials=6,
        trial_steps=40,
        n_startup_trials=3,
        storage=storage,
        study_name=name,
        top_k=1,
        confirm_seeds=3,
    )
    with search:
        search.run()
        print(json.dumps(search.report.as_data()))


if __name__ == "__main__":
    main()
