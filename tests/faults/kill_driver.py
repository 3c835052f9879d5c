"""Kills processes that save and prune without pause, and looks at what is left. Run by test_kill.py, or by hand:

    python tests/faults/kill_driver.py DIRECTORY KILLS [SEED]

Prints one JSON object. A child announces each save before and after it through a pipe, so the parent knows
what was acknowledged when it sent SIGKILL, and whether the kill landed inside a save (the yield; without it the
number of kills means nothing).
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from optix_core.checkpoints import CheckpointRegistry, CheckpointStore
from optix_core.checkpoints.segments import segment_name
from optix_core.errors import CorruptCheckpoint
from optix_core.runs import DecisionLog
from optix_core.state import SealedArray
from optix_core.types import EvalMetrics, HyperparamSet

SCORES = (1.0, 5.0, 3.0, float("nan"), 2.0, 9.0, 4.0, 7.0)


SEGMENTS = 4


class Agent:
    """The least that can be stored completely: weights, and a ring whose segments change one at a time."""

    def __init__(self, k: int) -> None:
        self.k = k

    def ring(self, k: int) -> list[SealedArray]:
        """Segment i was last written at the newest step up to k that leaves the remainder i."""
        return [SealedArray(np.full((40, 40), k - (k - i) % SEGMENTS, np.int32)) for i in range(SEGMENTS)]

    def state_dict(self) -> dict[str, Any]:
        weights = {f"w{i}": np.full((40, 40), self.k, np.float32) for i in range(4)}
        return {"weights": weights, "ring": self.ring(self.k), "k": self.k}

    def load_state_dict(self, state: Any) -> None:
        for array in state["weights"].values():
            assert (array == state["k"]).all(), "weights and counter are of different saves"
        assert state["ring"] == self.ring(state["k"]), "ring and counter are of different saves"
        self.k = state["k"]


def score_of(k: int) -> float:
    """Rises slowly and wobbles, so that best and newest differ and change."""
    return SCORES[k % len(SCORES)] + k // len(SCORES)


def child(directory: Path, pipe: int) -> None:
    """Save for ever."""
    registry = CheckpointRegistry(directory, max_snapshots=3)
    log = DecisionLog(directory / "events.jsonl")
    with registry.lock():
        newest = registry.latest_training_state()
        k = 0 if newest is None else newest.components["loop"]["k"] + 1
        log.truncate_after(0 if newest is None else newest.components["loop"]["seq"])
        while True:
            seq = log.write("save", k, k, score=score_of(k))
            os.write(pipe, b"B%d\n" % k)
            metrics = EvalMetrics(score_of(k), {}, k)
            registry.save(
                Agent(k), metrics, HyperparamSet({}), training={"loop": {"k": k, "seq": seq}}, step=k
            )  # type: ignore[arg-type]
            os.write(pipe, b"A%d\n" % k)
            k += 1


def trial(directory: Path, delay: float) -> tuple[list[str], bool]:
    """Let a child work for ``delay`` seconds after its first save, kill it, and return what it announced."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(directory, write)
        finally:
            os._exit(1)
    os.close(write)
    text = os.read(read, 1)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    while chunk := os.read(read, 65536):
        text += chunk
    os.close(read)
    return text.decode().split(), os.WIFSIGNALED(status)


def check(directory: Path, acknowledged: int, begun: int, best: float) -> list[str]:
    """What is wrong after a kill."""
    problems: list[str] = []
    bad = {name: error for name, error in CheckpointStore(directory).verify().items() if error is not None}
    problems += [f"{name}: {error}" for name, error in bad.items()]
    registry = CheckpointRegistry(directory, max_snapshots=3)
    newest = registry.latest_training_state()
    if newest is None or newest.components["loop"]["k"] < acknowledged:
        problems.append(f"save {acknowledged} was acknowledged and is lost")
    elif newest.components["loop"]["k"] > begun:
        problems.append("a save appeared that nobody began")
    agent = Agent(-1)
    snapshot = registry.load_best(agent)  # type: ignore[arg-type]
    if (
        snapshot is None
        or snapshot.eval_metrics.primary_score < best
        or score_of(agent.k) != snapshot.eval_metrics.primary_score
    ):
        problems.append(f"the best score {best} was acknowledged and is lost")
    events = [e.window for e in DecisionLog(directory / "events.jsonl").read(strict=True)]
    if events != list(range(len(events))) or len(events) < acknowledged + 1:
        problems.append(
            f"the decision log repeats or lacks lines: {events[-5:]}, {acknowledged} acknowledged"
        )
    return problems


def main() -> None:
    """Kill as often as asked for, in several run directories one after the other.

    One save comes first, so that forked children find everything imported.
    """
    place, kills = Path(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    CheckpointRegistry(place / "warm").save(Agent(0), EvalMetrics(0.0, {}, 0), HyperparamSet({}))  # type: ignore[arg-type]
    inside, saves, problems, garbage = 0, 0, list[str](), 0
    directory, acknowledged, last, best = place / "run0", -1, -1, float("-inf")
    for number in range(kills):
        if number % 25 == 0:
            directory, acknowledged, last, best = place / f"run{number}", -1, -1, float("-inf")
        said, killed = trial(directory, rng.uniform(0.0, 0.012))
        if not killed:
            problems.append(f"kill {number}: the child ended by itself")
            break
        done = [int(word[1:]) for word in said if word.startswith("A")]
        begun = [int(word[1:]) for word in said if word.startswith("B")]
        inside += begun[-1:] != done[-1:]
        saves += len(done)
        acknowledged, last = max([acknowledged, *done]), max([last, *begun])
        best = max([best, *(s for s in map(score_of, done) if math.isfinite(s))])
        garbage += any(p.name.startswith((".tmp-", ".trash-")) for p in directory.iterdir())
        if acknowledged >= 0:
            try:
                found = check(directory, acknowledged, last, best)
            except CorruptCheckpoint as error:  # none is usable
                found = [str(error)]
            problems += [f"kill {number}: {text}" for text in found]
        if number % 25 == 24:
            CheckpointStore(directory).gc()
            ours = {".lock", "events.jsonl", "segments"}
            left = {p.name for p in directory.iterdir() if not p.name.startswith("ckpt-")} - ours
            infos = CheckpointStore(directory).list()
            named = {segment_name(e.sha256) for i in infos for e in i.manifest.segments.values()}
            left |= {p.name for p in (directory / "segments").iterdir()} - named
            problems += [f"garbage remains: {left}"] if left else []
            shutil.rmtree(directory)
    print(
        json.dumps(
            {"kills": kills, "inside": inside, "saves": saves, "garbage": garbage, "problems": problems[:20]}
        )
    )


if __name__ == "__main__":
    main()
