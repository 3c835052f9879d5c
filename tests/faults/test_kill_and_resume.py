"""SIGKILL at random moments: ``optix resume`` always continues, and ends with the same bits as a run never killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from optix_core.checkpoints.store import CheckpointStore
from optix_core.runs.decision_log import DecisionLog
from optix_core.state import arrays_in

pytest.importorskip("torch")

WINDOWS = 30
SETTINGS = f"CartPole-v1 n_envs=2 window_size=256 max_episodes={WINDOWS} checkpoint_every=2 --seed 7".split()

# Few gradient steps, so that the time goes into filling a replay memory of several segments, which then wraps around.
OFF_POLICY = [
    *("CartPole-v1", "algorithm=DQN", "--seed", "7"),
    *("n_envs=4", "window_size=2048", "max_episodes=5", "checkpoint_every=1", "tuner.name=fixed"),
    *("agent.replay_capacity=36000", "agent.train_freq=64", "agent.learning_starts=100"),
]


def optix(*words):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "optix_core", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def outcome(run):
    """What must not depend on kills: final weights and optimizer, best score, every decision with its numbers."""
    loaded = CheckpointStore(run).load("latest")
    digest = hashlib.sha256()
    for name, array in sorted(arrays_in(loaded.components["agent"]).items()):
        digest.update(name.encode() + array.tobytes())
    decisions = []
    for event in DecisionLog(run / "events.jsonl").read():
        if event.kind == "decision":
            numbers = {k: v for k, v in event.numbers["numbers"].items() if k != "elapsed"}
            decisions.append(
                (event.window, event.step, event.numbers["verdict"], json.dumps(numbers, sort_keys=True))
            )
    finished = [
        event.numbers for event in DecisionLog(run / "events.jsonl").read() if event.kind == "finished"
    ]
    assert len(finished) == 1
    confirmation = dict(finished[0]["confirmation"])
    # A checkpoint that is taken again after a kill gets a suffix to its name; its contents are compared above.
    confirmation["snapshot_id"] = confirmation["snapshot_id"].split("-r")[0]
    return digest.hexdigest(), decisions, finished[0]["best_score"], confirmation


def drill(tmp_path, kills, seed, settings=SETTINGS):
    """Kill a run again and again until it gets through; returns how many kills hit a process that was training."""
    rng = random.Random(seed)
    run = tmp_path / f"killed-{seed}"
    process = optix("train", *settings, "--run-dir", str(run))
    hits = 0
    while hits < kills:
        deadline = time.monotonic() + 60
        while not (run / ".lock").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        try:
            process.wait(timeout=rng.uniform(0.1, 1.5))  # a quick machine is through after three seconds
            break  # it got through
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            hits += 1
            process = optix("resume", str(run))
    finish(process)
    return run, hits


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    finish(optix("train", *SETTINGS, "--run-dir", str(run)))
    return outcome(run)


def test_a_few_kills_change_no_bit(tmp_path, undisturbed):
    run, hits = drill(tmp_path, kills=3, seed=0)
    assert hits > 0
    assert outcome(run) == undisturbed


def test_kills_change_no_bit_of_a_run_with_replay_segments(tmp_path):
    finish(optix("train", *OFF_POLICY, "--run-dir", str(tmp_path / "undisturbed")))
    run, hits = drill(tmp_path, kills=2, seed=1, settings=OFF_POLICY)
    assert hits > 0
    assert outcome(run) == outcome(tmp_path / "undisturbed")
    store = CheckpointStore(run)
    sealed = [len(info.manifest.segments) for info in store.list()]
    assert max(sealed) >= 2, f"no segment was ever full: {sealed}"
    assert set(store.verify().values()) == {None}


@pytest.mark.slow
def test_fifty_kills_change_no_bit(tmp_path, undisturbed):
    total, seed = 0, 1
    while total < 50:
        run, hits = drill(tmp_path, kills=8, seed=seed)
        assert outcome(run) == undisturbed, f"seed {seed} after {hits} kills"
        total, seed = total + hits, seed + 1


def test_resuming_a_finished_run_does_nothing_and_says_so(tmp_path):
    run = tmp_path / "run"
    finish(
        optix(
            "train", "CartPole-v1", "window_size=64", "max_episodes=2", "--seed", "1", "--run-dir", str(run)
        )
    )
    before = sorted(p.name for p in run.iterdir())
    assert "finished" in finish(optix("resume", str(run)))
    assert sorted(p.name for p in run.iterdir()) == before


def test_a_new_limit_lets_a_finished_run_go_on(tmp_path):
    run = tmp_path / "run"
    settings = ["CartPole-v1", "window_size=64", "tuner.name=fixed", "--seed", "1"]
    finish(optix("train", *settings, "max_episodes=4", "--run-dir", str(run)))
    finish(optix("resume", str(run), "max_episodes=9"))
    windows = [event.window for event in DecisionLog(run / "events.jsonl").read() if event.kind == "window"]
    assert windows == list(range(1, 10))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_run_with_its_state_saved_and_resume_continues_exactly(
    tmp_path, undisturbed, number
):
    run = tmp_path / "run"
    process = optix("train", *SETTINGS, "--run-dir", str(run))
    while not (run / ".lock").exists():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(1.0)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number, output
    finish(optix("resume", str(run)))
    assert outcome(run) == undisturbed
