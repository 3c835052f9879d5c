"""The protocols are complete and their verdicts can miss."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module", autouse=True)
def importable():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


def parts():
    from autonomy import protocols, run, verdicts

    return protocols, run, verdicts


def test_every_job_has_a_file_of_its_own_and_every_arm_is_paired(tmp_path):
    protocols, run, _ = parts()
    jobs = [job for name in protocols.PROTOCOLS for job in protocols.jobs_of(name)]
    assert len({run.path_of(tmp_path, job) for job in jobs}) == len(jobs)
    assert len({run.digest(job) for job in jobs}) == len(jobs)
    arms = {}
    for job in protocols.jobs_of("tuning"):
        arms.setdefault((job.task, job.seed), set()).add(job.arm)
    assert all(found - {"tuned"} == set(protocols.ARMS) for found in arms.values())
    assert {job.seed for job in jobs if job.protocol == "tuning"} == set(range(5))
    assert sum(job.protocol == "rollback" for job in jobs) == 50
    assert sum(job.protocol == "stopping" and job.arm == "optix" for job in jobs) == 25
    assert sum(job.settings["runs"] for job in protocols.jobs_of("quiet")) == 200


def test_stored_results_of_other_settings_do_not_count(tmp_path):
    protocols, run, _ = parts()
    job = protocols.jobs_of("quiet")[0]
    path = run.path_of(tmp_path, job)
    run.write_json(path, {"digest": run.digest(job), "runs": 20, "false_rollbacks": 0})
    assert run.stored(tmp_path, job) is not None
    run.write_json(path, {"digest": "of something else", "runs": 20, "false_rollbacks": 0})
    assert run.stored(tmp_path, job) is None


def stopped(protocols, level, best, reason="converged", steps=50_000):
    jobs = [job for job in protocols.jobs_of("stopping") if job.task == "cartpole"]
    results = {
        "optix": {"returns": [level] * 10, "stop_reason": reason, "steps": steps},
        "never": {"returns": [best] * 10, "stop_reason": "max_steps", "steps": 300_000},
    }
    return [(job, results[job.arm]) for job in jobs]


@pytest.mark.parametrize(
    "level, steps, missed", [(500.0, 50_000, 0), (200.0, 50_000, 2), (500.0, 200_000, 1)]
)
def test_stopping_early_and_stopping_late_are_seen(level, steps, missed):
    protocols, _, verdicts = parts()
    verdict = verdicts.stopping(stopped(protocols, level, 500.0, steps=steps))
    assert sum(not held for _, held in verdict.bounds) == missed


def tuned(protocols, scores):
    """``scores[start][arm]`` for CartPole, a little different for every seed."""
    found = []
    for job in protocols.jobs_of("tuning"):
        name, start = job.task.split("/")
        if name == "cartpole":
            level = 490.0 if job.arm == "tuned" else scores.get(start, {}).get(job.arm, 100.0)
            curve = [(0, level + job.seed), (job.settings["steps"], level)]
            found.append(
                (job, {"returns": [level + job.seed] * 10, "curve": curve, "commits": 0, "trials": 1})
            )
    return found


def test_tuning_is_judged_by_recovery_and_against_every_control():
    protocols, _, verdicts = parts()
    good = {"good": {"default": 490.0}, "lr-high": {"default": 450.0}, "lr-low": {"default": 450.0}}
    verdict = verdicts.tuning(tuned(protocols, good))
    assert all(held for _, held in verdict.bounds)
    assert len(verdict.bounds) == 10
    for start, arm, level in (
        ("lr-high", "walk", 460.0),
        ("lr-low", "default", 300.0),
        ("good", "default", 400.0),
    ):
        worse = {name: dict(arms) for name, arms in good.items()}
        worse[start][arm] = level
        verdict = verdicts.tuning(tuned(protocols, worse))
        assert [text for text, held in verdict.bounds if not held], (start, arm)


def test_the_area_is_the_mean_over_all_steps():
    _, _, verdicts = parts()
    assert verdicts.area([(50, 10.0), (75, 30.0)], 100, 2.0) == pytest.approx(
        (50 * 2 + 25 * 10 + 25 * 30) / 100
    )
    assert verdicts.area([], 100, 2.0) == 2.0


def test_a_collapse_that_nobody_undid_is_a_miss():
    protocols, _, verdicts = parts()
    undone = {"collapsed": 5, "rolled_back": 8, "evaluations": 4, "after": [400.0], "best_before": 420.0}
    never = {"collapsed": 5, "rolled_back": None, "evaluations": None, "after": [], "best_before": 420.0}
    late = {**undone, "evaluations": 9}
    jobs = protocols.jobs_of("rollback")
    for result, holds in ((undone, True), (never, False), (late, False)):
        verdict = verdicts.rollback([(jobs[0], undone), (jobs[2], result)])
        assert [held for _, held in verdict.bounds] == [holds]


def test_false_rollbacks_are_counted_against_the_stated_rate():
    protocols, _, verdicts = parts()
    jobs = protocols.jobs_of("quiet")
    for false, holds in ((0, True), (1, True), (2, False)):
        verdict = verdicts.quiet([(jobs[0], {"runs": 20, "false_rollbacks": false})])
        assert [held for _, held in verdict.bounds] == [holds]
    assert verdicts.quiet([]).text() == "Not run yet.\n"
