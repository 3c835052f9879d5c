"""Do the agents learn as well as they should, and as Stable-Baselines3 does with the same settings and budget?

# needs-peers

    python3 dev.py bench learning                                  # all but the slow tasks, five seeds each
    python3 dev.py bench learning --tasks ppo-cartpole --seeds 1
    python3 dev.py bench learning --slow                           # the slow ones as well
    python3 dev.py bench learning --list

One process at a time, on one thread. Settings are the presets'. optix is trained plainly, through its pipelines: no
loop, no tuning, no early stop (ours.py); the peer by its ``learn`` (sb3.py). Then come 100 fresh greedy episodes with
the weights at the end. What a seed scores is their mean; a task scores the interquartile mean over seeds, with a 95 %
interval from resampling seeds and, within each, episodes.

Verdicts: the score has reached the task's level (or, for a control, stays below it); it does not lie below the interval
of the peer. The exit status is 1 if one of them fails.

Results lie in benchmarks/results/learning, one file per task, side and seed; a further run does only what is missing or
was made with other settings. ``python3 dev.py bench report`` writes docs/benchmarks.md from them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from common import RESULTS, ChildFailed, bootstrap_interval, child, iqm, write_json
from learning.tasks import EPISODES, TASKS

SIDES = ("optix", "sb3")


def job_of(task, seed):
    """Everything that decides a result, as plain data: the same for both sides."""
    from optix_core.presets import find_preset

    preset = find_preset(task.preset)
    return {
        "task": task.name,
        "preset": preset.name,
        "env": preset.environments[0],
        "algorithm": preset.algorithm,
        "peer": task.peer,
        "n_envs": preset.n_envs,
        "window_size": preset.window_size,
        "agent": {**preset.agent, **task.changes},
        "budget": task.budget,
        "episodes": EPISODES,
        "seed": seed,
        # named only where it is not PyTorch, with which the first results were made
        **({} if task.framework == "torch" else {"framework": task.framework}),
    }


def digest(job):
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()


def result_path(folder, task, side, seed):
    return folder / task.name / f"{side}-{seed}.json"


def stored(folder, task, side, seed, job):
    """The result of exactly this job, or None."""
    try:
        found = json.loads(result_path(folder, task, side, seed).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if found.get("digest") == digest(job) else None


def measure(task, side, seed, folder, peers):
    """Run what is missing of one task, side and seed; returns its result."""
    job = job_of(task, seed)
    found = stored(folder, task, side, seed, job)
    if found is not None:
        return found
    python, script = (sys.executable, "ours.py") if side == "optix" else (peers, "sb3.py")
    result = {"task": task.name, "side": side, "seed": seed, "digest": digest(job), "job": job}
    result |= child(python, HERE / script, job)
    write_json(result_path(folder, task, side, seed), result)
    return result


def summary(task, results):
    """Scores and verdicts of a task from ``results[side]``, lists of results."""
    row = {"task": task.name, "level": task.level, "below": task.below, "sides": {}}
    for side, found in results.items():
        if not found:
            continue
        runs = [one["returns"] for one in found]
        means = [sum(run) / len(run) for run in runs]
        low, high = bootstrap_interval(runs)
        row["sides"][side] = {
            "score": float(iqm(means)),
            "low": low,
            "high": high,
            "seeds": len(runs),
            "worst": min(means),
            "cpu_seconds": sorted(one["cpu_seconds"] for one in found)[len(found) // 2],
        }
    ours, theirs = row["sides"].get("optix"), row["sides"].get("sb3")
    if ours is not None:
        row["level_met"] = ours["score"] < task.level if task.below else ours["score"] >= task.level
        if theirs is not None and not task.below:
            row["not_below_peer"] = ours["score"] >= theirs["low"]
    return row


def shown(side):
    if side is None:
        return "not run"
    return f"{side['score']:.1f} [{side['low']:.1f}, {side['high']:.1f}] n={side['seeds']}"


def verdict(row):
    words = []
    if "level_met" in row:
        words.append("reached" if row["level_met"] else "MISSED")
    if "not_below_peer" in row:
        words.append("not below the peer" if row["not_below_peer"] else "BELOW THE PEER")
    return ", ".join(words) or "open"


def chosen_tasks(names, slow):
    if not names:
        return [task for task in TASKS if slow or not task.slow]
    known = {task.name: task for task in TASKS}
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise SystemExit(f"no task is called {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def main():
    parser = argparse.ArgumentParser(description="learning beside Stable-Baselines3")
    parser.add_argument("--tasks", metavar="A,B", help="only these")
    parser.add_argument("--slow", action="store_true", help="the slow tasks as well")
    parser.add_argument(
        "--seeds", type=int, metavar="N", help="seeds 0 to N - 1 (default: 5; 3 for slow tasks)"
    )
    parser.add_argument(
        "--only", choices=SIDES, help="run one side; what is stored of the other is still shown"
    )
    parser.add_argument("--list", action="store_true", help="show the tasks and end")
    parser.add_argument("--out", type=Path, default=RESULTS / "learning", help="folder of the results")
    options = parser.parse_args()
    tasks = chosen_tasks(options.tasks, options.slow)
    if options.list:
        for task in TASKS:
            sign = "<" if task.below else ">="
            print(
                f"{task.name:30}{task.preset:32}{task.budget:>9,} steps  {sign} {task.level:g}  {'slow' * task.slow}"
            )
        return 0
    peers = os.environ.get("OPTIX_PEERS_PYTHON")
    if not peers and options.only != "optix":
        raise SystemExit("OPTIX_PEERS_PYTHON is not set; run this through: python3 dev.py bench learning")
    bad = 0
    rows = []
    for task in tasks:
        results = {side: [] for side in SIDES}
        for seed in range(options.seeds or task.seeds):
            for side in SIDES:
                try:
                    if options.only in {None, side} and (side == "optix" or task.peer):
                        results[side].append(measure(task, side, seed, options.out, peers))
                    elif (found := stored(options.out, task, side, seed, job_of(task, seed))) is not None:
                        results[side].append(found)
                except (ChildFailed, ValueError) as error:
                    print(f"{task.name}, {side}, seed {seed}: {error}", file=sys.stderr, flush=True)
                    bad += 1
                    break
                if results[side] and options.only in {None, side}:
                    mean = sum(results[side][-1]["returns"]) / EPISODES
                    cpu = results[side][-1]["cpu_seconds"]
                    print(
                        f"{task.name}, {side}, seed {seed}: {mean:.1f} ({cpu:.0f} CPU-s)",
                        file=sys.stderr,
                        flush=True,
                    )
        rows.append(summary(task, results))
    print(f"{'task':30}{'expected':>10}  {'optix':34}{'peer':34}verdict")
    for row in rows:
        sign = "<" if row["below"] else ">="
        sides = row["sides"]
        bad += row.get("level_met") is False or row.get("not_below_peer") is False
        print(
            f"{row['task']:30}{sign + format(row['level'], 'g'):>10}  {shown(sides.get('optix')):34}"
            f"{shown(sides.get('sb3')):34}{verdict(row)}"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
