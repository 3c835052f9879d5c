"""What the scripts of all sides share: one measure by name, printed as one line of JSON."""

from __future__ import annotations

import json
import sys
import time

import numpy as np
from common import machine, versions


def best(function, repeats=7):
    """Seconds of CPU time of one call: the least of several."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def per_call(function, repeats):
    """Seconds of CPU time per call: the best of five runs."""
    found = np.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(repeats // 5):
            function()
        found = min(found, (time.process_time() - start) / (repeats // 5))
    return found


def timed(function):
    """Seconds of CPU time, once."""
    start = time.process_time()
    function()
    return time.process_time() - start


def main(measures):
    """Run the measure that the command line names and print what it found."""
    name = json.loads(sys.argv[1])["measure"]
    print(json.dumps({**measures[name](), "versions": versions(), "machine": machine()}))
