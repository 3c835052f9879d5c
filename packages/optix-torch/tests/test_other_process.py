"""A checkpoint goes on in another process as it would have in this one, bit by bit, for every agent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import resumed

from optix_core.checkpoints import CheckpointStore


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What agents do here after their checkpoints were written, and what one other process does with those."""
    folder, here = tmp_path_factory.mktemp("runs"), {}
    for name in resumed.AGENTS:
        agent, env = resumed.trained(name)
        CheckpointStore(folder / name, durability="process").save({"agent": agent.state_dict()}, step=101)
        here[name] = resumed.go_on(agent, env)
    program = Path(resumed.__file__)
    done = subprocess.run([sys.executable, program, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return here, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", list(resumed.AGENTS))
def test_it_acts_the_same_and_makes_the_same_next_update(told, name):
    here, there = told[0][name], told[1][name]
    assert here["greedy"] == there["greedy"]
    assert here["actions"] == there["actions"]
    assert here["state"] == there["state"]
    assert json.loads(json.dumps(here["report"])) == there["report"]
    assert here["report"]["n_updates"] > 0


@pytest.mark.parametrize("name", ["PPO", "SAC"])
def test_the_comparison_can_fail(told, name, tmp_path):
    """An agent that only has the weights chooses the same greedy actions, and learns something else."""
    agent, env = resumed.trained(name)
    agent.save_weights(str(tmp_path / "weights"))
    other, _ = resumed.begun(name, seed=99)
    other.load_weights(str(tmp_path / "weights"))
    found = resumed.go_on(other, env)
    assert found["greedy"] == told[1][name]["greedy"]
    assert found["state"] != told[1][name]["state"]
