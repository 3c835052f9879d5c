"""What does the record of a run cost the loop? CPU time of one event, beside plain JSON to an open file.

    python3 dev.py bench events

The decision log writes a line per window with a checksum and a number; the dashboard takes the same event into its
queue. Beside them stands the least that a log could do: ``json.dumps`` and one ``write``. Goals: at most 50 us for a
line and for the queue (a window of training takes tens of milliseconds and more). Medians of blocks that are measured
in turn; the smallest and the largest block stand beside them.
"""

from __future__ import annotations

import io
import json
import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

BLOCKS, EVENTS, GOAL = 15, 1000, 50.0
DIAGNOSTICS = {f"diagnostic_{i}": 0.1234567 * i for i in range(12)}
NUMBERS = {"train_return": 123.4, "episodes": 9, "elapsed": 12.5, "diagnostics": DIAGNOSTICS}
UNDEFINED = NUMBERS | {"diagnostics": DIAGNOSTICS | {"explained_var": math.nan}}


def block_us(call):
    """CPU microseconds per call, over one block."""
    began = time.thread_time()
    for window in range(EVENTS):
        call(window)
    return (time.thread_time() - began) / EVENTS * 1e6


def main():
    from rich.console import Console

    from optix_core import RichDashboardCallback
    from optix_core.runs.decision_log import DecisionLog, LogEvent

    with tempfile.TemporaryDirectory() as folder:
        log = DecisionLog(Path(folder) / "events.jsonl")
        fd = os.open(Path(folder) / "plain.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        dashboard = RichDashboardCallback(console=Console(file=io.StringIO()))
        dashboard.on_loop_start()

        def plain(window):
            head = {
                "seq": window,
                "kind": "window",
                "window": window,
                "step": window * 2048,
                "time": time.time(),
            }
            os.write(fd, json.dumps(head | NUMBERS).encode() + b"\n")

        rows = {
            "plain JSON, one write": plain,
            "decision log": lambda w: log.append("window", w, w * 2048, **NUMBERS),
            "decision log, a NaN among the numbers": lambda w: log.append("window", w, w * 2048, **UNDEFINED),
            "dashboard": lambda w: dashboard.on_run_event(LogEvent(w, "window", w, w * 2048, 0.0, NUMBERS)),
        }
        costs = {name: [] for name in rows}
        for _ in range(BLOCKS):
            for name, call in rows.items():
                costs[name].append(block_us(call))
        dashboard.on_loop_stop()
        log.close()
        os.close(fd)
    missed = False
    plain_us = statistics.median(costs["plain JSON, one write"])
    for name, found in costs.items():
        median = statistics.median(found)
        missed |= median > GOAL
        print(
            f"{name:40}{median:8.1f} us ({min(found):.1f} to {max(found):.1f}){median / plain_us:8.2f} of plain JSON"
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
