"""From results to tables and to bounds that hold or do not."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from autonomy import protocols as p
from common import bootstrap_interval, iqm

RESAMPLES = 10_000


@dataclass
class Verdict:
    """What one protocol showed.

    Attributes:
        head: Names of the columns.
        rows: Cells.
        bounds: Sentences, and whether they hold.
    """

    head: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    bounds: list[tuple[str, bool]] = field(default_factory=list)

    def text(self):
        """Markdown."""
        if not self.rows:
            return "Not run yet.\n"
        lines = [self.head, ("---",) * len(self.head), *self.rows]
        table = "".join("| " + " | ".join(str(cell) for cell in line) + " |\n" for line in lines)
        return (
            table
            + "\n"
            + "".join(f"- {text}: {'holds' if held else '**missed**'}\n" for text, held in self.bounds)
        )


def stopping(results):
    """The defaults beside the same run that nothing stops."""
    found = Verdict(
        (
            "task",
            "runs",
            "stopped by itself",
            "steps (median)",
            "zoo budget",
            "share of the best reachable",
            "false stops",
        )
    )
    pairs = _by(results, lambda job: (job.task, job.seed))
    shares, false, fewer = [], 0, []
    for task in p.STOPPING:
        runs = [arms for (name, _), arms in pairs.items() if name == task.name and len(arms) == 2]
        if not runs:
            continue
        mine = []
        for arms in runs:
            level, best = np.mean(arms["optix"]["returns"]), np.mean(arms["never"]["returns"])
            # a run that never left the level of chance has reached all that it ever does
            gained = max(best, level) - task.random
            mine.append((level - task.random) / gained if gained > 0 else 1.0)
        by_itself = [arms["optix"]["stop_reason"].startswith("converged") for arms in runs]
        wrong = sum(share < p.LEAST_SHARE and own for share, own in zip(mine, by_itself, strict=True))
        steps = float(np.median([arms["optix"]["steps"] for arms in runs]))
        found.rows.append(
            (
                f"`{task.name}`",
                len(runs),
                f"{sum(by_itself)} of {len(runs)}",
                f"{steps:,.0f}",
                f"{task.budget:,}",
                f"{np.median(mine):.3f} (worst {min(mine):.3f})",
                wrong,
            )
        )
        shares += mine
        false += wrong
        fewer.append((task.name, steps < task.budget))
    if shares:
        found.bounds = [
            (
                f"the median run reaches {p.LEAST_SHARE:.0%} of the best its own configuration ever reaches",
                float(np.median(shares)) >= p.LEAST_SHARE,
            ),
            (
                f"{false} of {len(shares)} runs stopped too early (at most 1 in 20)",
                false <= p.MOST_FALSE_STOPS * len(shares),
            ),
            *((f"{name}: fewer steps in the median than the zoo budget", held) for name, held in fewer),
        ]
    return found


def tuning(results):
    """Every arm beside the fixed bad values and the tuned ones, seed by seed."""
    found = Verdict(
        (
            "start",
            "arm",
            "score (IQM)",
            "recovery",
            "area",
            "default minus this arm, 95 %",
            "commits / trials",
        )
    )
    runs_of = defaultdict(dict)
    for job, result in results:
        runs_of[job.task, job.arm][job.seed] = (job, result)
    random = {task.name: task.random for task in p.STOPPING}
    for name, starts in p.STARTS.items():
        tuned = [np.mean(result["returns"]) for _, result in runs_of[f"{name}/good", "tuned"].values()]
        reachable = float(iqm(tuned)) - random[name] if tuned else None
        for task, arm in ((f"{name}/{start}", arm) for start in starts for arm in p.ARMS):
            runs = runs_of[task, arm]
            if not runs or reachable is None:
                continue
            areas = {
                other: {
                    seed: (area(result["curve"], job.settings["steps"], random[name]) - random[name])
                    / reachable
                    for seed, (job, result) in runs_of[task, other].items()
                }
                for other in (arm, "default")
            }
            level = float(iqm([np.mean(result["returns"]) for _, result in runs.values()]))
            low, high = bootstrap_interval([result["returns"] for _, result in runs.values()])
            recovery = (level - random[name]) / reachable
            both = sorted(set(areas[arm]) & set(areas["default"]))
            compared = arm != "default" and len(both) > 1
            gap = _paired([areas["default"][s] - areas[arm][s] for s in both]) if compared else None
            found.rows.append(
                (
                    f"`{task}`",
                    arm,
                    f"{level:.1f} [{low:.1f}, {high:.1f}] n={len(runs)}",
                    f"{recovery:.2f}",
                    f"{np.mean(list(areas[arm].values())):.3f}",
                    "" if gap is None else f"{gap[0]:+.3f} [{gap[1]:+.3f}, {gap[2]:+.3f}]",
                    " / ".join(
                        str(sum(result[key] for _, result in runs.values())) for key in ("commits", "trials")
                    ),
                )
            )
            found.bounds += _bounds_of_tuning(task, arm, recovery, gap)
    return found


def _bounds_of_tuning(task, arm, recovery, gap):
    start = task.partition("/")[2]
    if start in p.REQUIRED_STARTS and arm == "default":
        yield (
            f"{task}: the default tuner recovers {p.LEAST_RECOVERY:.0%} of the tuned return",
            recovery >= p.LEAST_RECOVERY,
        )
    if start in p.REQUIRED_STARTS and arm in p.TO_BEAT and gap is not None:
        yield f"{task}: the default tuner beats {arm} in area", gap[1] > 0
    if start == "good" and arm == "default":
        yield (
            f"{task}: a good start loses at most {p.MOST_COST:.0%} of the tuned return",
            recovery >= 1 - p.MOST_COST,
        )
    if start == "good" and arm == "fixed" and gap is not None:
        yield (
            f"{task}: tuning a good start costs at most {p.MOST_COST:.0%} of the area",
            gap[0] >= -p.MOST_COST,
        )


def area(curve, steps, before):
    """Mean score over all ``steps`` of a run; each evaluation counts until the next one, ``before`` until the first."""
    at = np.asarray([0, *(step for step, _ in curve), steps], dtype=np.float64)
    level = np.asarray([before, *(score for _, score in curve)], dtype=np.float64)
    return float(np.sum(np.diff(np.minimum(at, steps)) * level) / steps)


def rollback(results):
    """Broken runs."""
    found = Verdict(
        ("fault", "runs", "collapsed", "rolled back", "evaluations (median, most)", "went on from the best")
    )
    held = []
    for fault in p.FAULTS:
        runs = [result for job, result in results if job.task == fault]
        hurt = [run for run in runs if run["collapsed"] is not None]
        undone = [run for run in hurt if run["rolled_back"] is not None]
        if not runs:
            continue
        counts = [run["evaluations"] for run in undone] or [0]
        # the next evaluations lie nearer to the best than to the collapse
        well = [
            run for run in undone if run["after"] and np.mean(run["after"][:3]) > 0.5 * run["best_before"]
        ]
        held += [run in well and run["evaluations"] <= p.MOST_EVALUATIONS for run in hurt]
        found.rows.append(
            (fault, len(runs), len(hurt), len(undone), f"{np.median(counts):.0f}, {max(counts)}", len(well))
        )
    if held:
        text = f"{sum(held)} of {len(held)} collapses were undone within {p.MOST_EVALUATIONS} evaluations"
        found.bounds = [(text, all(held))]
    return found


def quiet(results):
    """Runs in which nothing happens."""
    found = Verdict(("runs", "evaluations", "false rollbacks"))
    runs = sum(result["runs"] for _, result in results)
    if runs:
        false = sum(result["false_rollbacks"] for _, result in results)
        found.rows = [(runs, f"{runs * p.QUIET_WINDOWS:,}", false)]
        allowed = p.MOST_FALSE_ROLLBACKS * runs / p.QUIET_RUNS
        found.bounds = [("at most one false rollback in 500 evaluations", false <= allowed)]
    return found


def spawning(results):
    """Three things to do with the rest of the steps; no bound: it is reported whether variants pay."""
    found = Verdict(
        (
            "task",
            "arm",
            "score (IQM)",
            "steps (median)",
            "variants made / taken over",
            "spawn minus this arm, 95 %",
        )
    )
    runs_of = defaultdict(dict)
    for job, result in results:
        runs_of[job.task, job.arm][job.seed] = result
    for task in p.SPAWNING_TASKS:
        ours = {seed: np.mean(result["returns"]) for seed, result in runs_of[task, "spawn"].items()}
        for arm in p.SPAWNING_ARMS:
            runs = runs_of[task, arm]
            if not runs:
                continue
            level = float(iqm([np.mean(result["returns"]) for result in runs.values()]))
            low, high = bootstrap_interval([result["returns"] for result in runs.values()])
            both = sorted(set(runs) & set(ours))
            compared = arm != "spawn" and len(both) > 1
            gap = _paired([ours[s] - np.mean(runs[s]["returns"]) for s in both]) if compared else None
            made, taken = (sum(result[key] for result in runs.values()) for key in ("spawns", "replaced"))
            found.rows.append(
                (
                    f"`{task}`",
                    arm,
                    f"{level:.1f} [{low:.1f}, {high:.1f}] n={len(runs)}",
                    f"{np.median([result['steps'] for result in runs.values()]):,.0f}",
                    f"{made} / {taken}",
                    "" if gap is None else f"{gap[0]:+.1f} [{gap[1]:+.1f}, {gap[2]:+.1f}]",
                )
            )
    return found


VERDICTS = {
    "stopping": stopping,
    "tuning": tuning,
    "rollback": rollback,
    "quiet": quiet,
    "spawning": spawning,
}


def _by(results, key):
    grouped = defaultdict(dict)
    for job, result in results:
        grouped[key(job)][job.arm] = result
    return grouped


def _paired(differences):
    """Mean of paired differences and its 95 % bootstrap interval over seeds."""
    values = np.asarray(differences, dtype=np.float64)
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(values.mean()), float(low), float(high)
