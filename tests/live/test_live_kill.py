"""LV10 with a real kill: whatever survives in the agent was learned from no item twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

DRIVER = Path(__file__).with_name("live_driver.py")
ITEMS = 1200


def start(folder):
    command = [sys.executable, str(DRIVER), str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_lv10_killed_again_and_again_no_item_is_trained_on_twice(tmp_path):
    rng, folder, kills = random.Random(5), tmp_path / "run", 0
    while kills < 4:
        with start(folder) as process:
            assert process.stdout.readline() == "running\n", process.stderr.read()
            time.sleep(rng.uniform(0.1, 0.6))
            if process.poll() is None:
                process.kill()
                kills += 1
            else:
                break
    with start(folder) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    words = out.split()
    assert words[1:3] == ["done", "SOURCE_ENDED"], out[:200]
    trained = [int(word) for word in words[3:]]
    assert kills >= 2
    assert len(trained) == len(set(trained)), "an item was used twice"
    assert trained == sorted(trained)
    lost = ITEMS - 1 - len(trained)  # item 0 only begins an episode
    assert lost >= 1, "no run was resumed in the middle"
    assert lost <= kills + 1, "a resumed run loses one transition, the one that was under way"
    assert trained[-1] == ITEMS - 1
