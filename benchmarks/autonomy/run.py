"""Does the loop stop well, tune well, and undo what went wrong? The protocols of docs/autonomy.md, with their controls.

    python3 dev.py bench autonomy                                # everything; hours
    python3 dev.py bench autonomy -- --protocols rollback,quiet
    python3 dev.py bench autonomy -- --protocols tuning --seeds 1 --tasks cartpole/lr-high
    python3 dev.py bench autonomy -- --show                      # what is stored, nothing is run

One process at a time, on one thread. What is run, and which bounds hold, is written in protocols.py. Results lie in
benchmarks/results/autonomy, one file per run; a further call does only what is missing or was made with other settings.
``python3 dev.py bench report`` writes the tables of docs/autonomy.md. The exit status is 1 if a bound is missed.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from autonomy.protocols import PROTOCOLS, jobs_of
from autonomy.verdicts import VERDICTS
from common import RESULTS, ChildFailed, child, write_json

FOLDER = RESULTS / "autonomy"


def digest(job):
    return hashlib.sha256(json.dumps(dataclasses.asdict(job), sort_keys=True).encode()).hexdigest()


def path_of(folder, job):
    return folder / job.protocol / job.task.replace("/", "-") / f"{job.arm}-{job.seed}.json"


def stored(folder, job):
    """The result of exactly this job, or None."""
    try:
        found = json.loads(path_of(folder, job).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("digest") == digest(job) else None


def measure(folder, job):
    """Run what is missing; its result."""
    found = stored(folder, job)
    if found is None:
        plain = dataclasses.asdict(job)
        found = {"job": plain, "digest": digest(job), **child(sys.executable, HERE / "work.py", plain)}
        write_json(path_of(folder, job), found)
    return found


def results_of(protocol, folder=FOLDER, seeds=None):
    """Everything stored of one protocol: pairs of job and result."""
    pairs = [(job, stored(folder, job)) for job in jobs_of(protocol, seeds)]
    return [(job, found) for job, found in pairs if found is not None]


def main():
    parser = argparse.ArgumentParser(description="stopping, tuning and rollback, with controls")
    parser.add_argument("--protocols", metavar="A,B", default=",".join(PROTOCOLS), help="only these")
    parser.add_argument("--tasks", metavar="A,B", help="only these")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="seeds 0 to N - 1 instead of the protocol's number"
    )
    parser.add_argument("--show", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args()
    names = options.protocols.split(",")
    if unknown := [name for name in names if name not in PROTOCOLS]:
        raise SystemExit(f"no protocol is called {', '.join(unknown)}; there are {', '.join(PROTOCOLS)}")
    tasks = None if options.tasks is None else set(options.tasks.split(","))
    failed = 0
    for name in names:
        for job in jobs_of(name, options.seeds):
            if options.show or (tasks is not None and job.task not in tasks):
                continue
            try:
                found = measure(options.out, job)
            except ChildFailed as error:
                print(f"{name}, {job.task}, {job.arm}, seed {job.seed}: {error}", file=sys.stderr, flush=True)
                failed += 1
                continue
            print(
                f"{name}, {job.task}, {job.arm}, seed {job.seed}: {found['cpu_seconds']:.0f} CPU-s",
                file=sys.stderr,
                flush=True,
            )
        verdict = VERDICTS[name](results_of(name, options.out, options.seeds))
        print(f"\n## {name}\n")
        print(verdict.text())
        failed += sum(not held for _, held in verdict.bounds)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
