"""Runs what is missing of learning on actors, keeps one file for each run, and sums them up."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import RESULTS, bootstrap_interval, child, iqm, machine, versions, write_json
from distributed.tasks import TASKS, job_of

FOLDER = RESULTS / "distributed-learning"
SHARE = 0.95
"""Of the synchronous learner's score that others must reach."""


def stored(folder, name, mode, seed):
    """The result of exactly today's job, or None."""
    try:
        found = json.loads(_path(folder, name, mode, seed).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found["digest"] == _digest(job_of(name, mode, seed)) else None


def run(seeds, folder=FOLDER):
    """Run what is missing."""
    for name, task in TASKS.items():
        for seed in range(seeds):
            for mode in task["modes"]:
                found = stored(folder, name, mode, seed)
                if found is None:
                    job = job_of(name, mode, seed)
                    found = {"digest": _digest(job), "job": job, "versions": versions(), "machine": machine()}
                    found |= child(sys.executable, Path(__file__).with_name("learning.py"), job, timeout=3600)
                    write_json(_path(folder, name, mode, seed), found)
                mean = sum(found["returns"]) / len(found["returns"])
                print(f"{name}, {mode}, seed {seed}: {mean:.1f}", flush=True)


def rows(folder=FOLDER, seeds=100):
    """One row for each task and mode that was run: score, interval, what was wanted and whether it was reached."""
    made = []
    for name, task in TASKS.items():
        scores = {}
        for mode in task["modes"]:
            runs = [r for seed in range(seeds) if (r := stored(folder, name, mode, seed)) is not None]
            if not runs:
                continue
            returns = [one["returns"] for one in runs]
            means = [sum(some) / len(some) for some in returns]
            before = [sum(one["before"]) / len(one["before"]) for one in runs]
            low, high = bootstrap_interval(returns)
            scores[mode] = float(iqm(means))
            made.append({
                "title": task["title"], "mode": mode, "steps": task["steps"], "level": task["level"],
                "before": float(iqm(before)), "score": scores[mode], "low": low, "high": high, "n": len(runs),
                "worst": min(means), "every_seed": min(means) >= task["level"],
                "lag": sum(one["lag_mean"] for one in runs) / len(runs),
                "origin": (runs[0]["machine"], {"optix": runs[0]["versions"]}),
            })  # fmt: skip
        together = scores.get("one process")
        for row in made:
            if row["title"] == task["title"] and together is not None and row["mode"] != "one process":
                # of returns below zero, too, five parts of a hundred may be lost
                row["not_worse"] = row["score"] >= together - (1 - SHARE) * abs(together)
    return made


def _path(folder, name, mode, seed):
    return folder / name / f"{mode.replace(' ', '-')}-{seed}.json"


def _digest(job):
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
