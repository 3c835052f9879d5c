"""The arithmetic of the benchmarks, what they keep, and the page that is made of it. Nothing is trained here."""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import trim_mean

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench():
    """Modules of benchmarks/ by name, which is on the path while these tests run."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield importlib.import_module
    sys.path.remove(str(ROOT / "benchmarks"))


def test_interquartile_mean_is_scipys_trimmed_mean(bench):
    iqm = bench("common").iqm
    rng = np.random.default_rng(0)
    for n in range(1, 20):
        values = rng.normal(size=n)
        assert iqm(values) == pytest.approx(trim_mean(values, 0.25))
    assert iqm([1, 2, 3, 4, 1000]) == 3
    np.testing.assert_allclose(iqm([[1, 2, 3, 1000], [0, 0, 1, 1]]), [2.5, 0.5])


def test_intervals(bench):
    interval = bench("common").bootstrap_interval
    assert interval([[5.0] * 100] * 5) == (5.0, 5.0)
    rng = np.random.default_rng(1)
    apart = [rng.normal(10 * i, 0.1, size=100) for i in range(5)]
    low, high = interval(apart)
    assert low < 20 < high
    assert high - low > 10  # seeds differ, and so must what they are resampled from
    assert interval(apart) == interval(apart)
    one_seed = interval([rng.normal(0, 1, size=100)])
    assert 0.2 < one_seed[1] - one_seed[0] < 0.6  # 2 * 1.96 / sqrt(100)


def test_the_interval_covers_the_truth_about_as_often_as_it_says(bench):
    """A known weakness: with five seeds a bootstrap covers less than it says, but not by much."""
    interval = bench("common").bootstrap_interval
    rng = np.random.default_rng(2)
    hits = 0
    for _ in range(100):
        seeds = [rng.normal(rng.normal(0, 1), 1, size=50) for _ in range(5)]
        low, high = interval(seeds, resamples=500)
        hits += low <= 0 <= high
    assert 70 <= hits <= 99


def results(bench, ours, theirs=()):
    make = lambda scores: [{"returns": [s] * 4, "cpu_seconds": 1.0} for s in scores]  # noqa: E731
    return {"optix": make(ours), "sb3": make(theirs)}


def task_of(bench, **changes):
    return dataclasses.replace(bench("learning.tasks").TASKS[0], level=475.0, below=False, **changes)


def test_verdicts(bench):
    summary = bench("learning.run").summary
    task = task_of(bench)
    row = summary(task, results(bench, [500] * 5, [490] * 5))
    assert (row["level_met"], row["not_below_peer"]) == (True, True)
    row = summary(task, results(bench, [474] * 5, [475] * 5))
    assert (row["level_met"], row["not_below_peer"]) == (False, False)
    row = summary(task, results(bench, [480] * 5))
    assert row["level_met"]
    assert "not_below_peer" not in row
    assert "level_met" not in summary(task, results(bench, [], [480]))
    control = dataclasses.replace(task, below=True, level=250)
    row = summary(control, results(bench, [240] * 5, [300] * 5))
    assert row["level_met"]
    assert "not_below_peer" not in row
    assert not summary(control, results(bench, [260] * 5))["level_met"]


def test_every_task_has_a_preset_of_its_budget_or_says_another(bench):
    from optix_core.presets import find_preset

    for task in bench("learning.tasks").TASKS:
        preset = find_preset(task.preset)
        assert task.budget <= preset.max_steps
        job = bench("learning.run").job_of(task, 3)
        assert job["seed"] == 3
        assert json.loads(json.dumps(job)) == job


def test_a_second_run_does_only_what_is_missing(bench, tmp_path, monkeypatch):
    run = bench("learning.run")
    calls = []

    def child(python, script, job):
        calls.append((script.name, job["seed"]))
        return {"returns": [500.0] * job["episodes"], "cpu_seconds": 1.0}

    monkeypatch.setattr(run, "child", child)
    task = task_of(bench)
    for _ in range(2):
        run.measure(task, "optix", 0, tmp_path, "peers")
    assert calls == [("ours.py", 0)]
    run.measure(task, "sb3", 0, tmp_path, "peers")
    run.measure(task, "optix", 1, tmp_path, "peers")
    run.measure(task_of(bench, budget=10), "optix", 0, tmp_path, "peers")  # other settings: done again
    assert calls[1:] == [("sb3.py", 0), ("ours.py", 1), ("ours.py", 0)]
    assert (tmp_path / task.name / "optix-1.json").exists()
    (tmp_path / task.name / "optix-1.json").write_text("{", encoding="utf-8")
    run.measure(task, "optix", 1, tmp_path, "peers")  # damaged: done again
    assert calls[-1] == ("ours.py", 1)


def test_a_child_that_fails_says_why(bench, tmp_path):
    common = bench("common")
    script = tmp_path / "x.py"
    script.write_text("import sys; sys.exit('no such thing')", encoding="utf-8")
    with pytest.raises(common.ChildFailed, match="no such thing"):
        common.child(sys.executable, script)
    script.write_text("import sys, json; print('talk'); print(sys.argv[1])", encoding="utf-8")
    assert common.child(sys.executable, script, {"a": 1}) == {"a": 1}


def speed_document():
    return {
        "kind": "speed",
        "name": "x",
        "title": "X",
        "peer": "Other",
        "command": "python3 dev.py bench x",
        "machine": {"processor": "P", "cores": 2, "memory_gib": 4.0, "system": "S"},
        "versions": {"optix": {"python": "3"}, "other": {"python": "3"}},
        "sides": {"optix": {"time": [1.0, 2.0, 4.0]}, "other": {"time": [3.0, 4.0, 4.0]}},
        "rows": [{"label": "step", "metric": "time", "unit": "us", "better": "lower", "goal": 2.5}],
    }


def test_ratios_are_of_the_same_round(bench):
    rows_of = bench("speed").rows_of
    document = speed_document()
    row = rows_of(document)[0]
    assert (row["ratio"], row["ratio_low"], row["ratio_high"], row["met"]) == (2.0, 1.0, 3.0, False)
    document["rows"][0] |= {"better": "higher", "goal": None}
    row = rows_of(document)[0]
    assert (row["ratio"], row["met"]) == (0.5, None)


def test_the_page_is_made_of_results(bench, tmp_path):
    page_with_results = bench("report.run").page_with_results
    text = "a\n<!-- results: x -->\nold\n<!-- end of results -->\nb\n"
    assert "Not run yet." in page_with_results(text, tmp_path)
    (tmp_path / "x.json").write_text(json.dumps(speed_document()), encoding="utf-8")
    new = page_with_results(text, tmp_path)
    assert (
        "| step, us | 2.00 (1.00 to 4.00) | 4.00 (3.00 to 4.00) | 2.00 (1.00 to 3.00) | 2.5 | **no** |" in new
    )
    assert "optix on P, 2 cores, 4 GiB, S: python 3." in new
    assert "old" not in new
    assert page_with_results(new, tmp_path) == new


def test_the_table_of_learning_holds_what_is_stored(bench, tmp_path):
    run, report, common = bench("learning.run"), bench("report.run"), bench("common")
    task = bench("learning.tasks").TASKS[0]
    machine = {"processor": "P", "cores": 2, "memory_gib": None, "system": "S"}
    assert report.learning(tmp_path) == "Not run yet.\n"
    for side, score in (("optix", 490.0), ("sb3", 480.0)):
        for seed in range(2):
            job = run.job_of(task, seed)
            document = {"side": side, "seed": seed, "digest": run.digest(job), "returns": [score] * 100,
                        "cpu_seconds": 7.0, "machine": machine, "versions": {"python": "3"}}  # fmt: skip
            common.write_json(run.result_path(tmp_path, task, side, seed), document)
    row = next(line for line in report.learning(tmp_path).splitlines() if f"`{task.name}`" in line)
    assert "490.0 [490.0, 490.0] (n=2, worst 490.0)" in row
    assert "480.0 [480.0, 480.0] (n=2, worst 480.0)" in row
    assert row.endswith("| yes | yes | 7 / 7 |")


def test_the_table_of_learning_on_actors_holds_what_is_stored(bench, tmp_path):
    learned, report, common = bench("distributed.learned"), bench("report.run"), bench("common")
    tasks = bench("distributed.tasks")
    machine = {"processor": "P", "cores": 2, "memory_gib": None, "system": "S"}
    assert report.on_actors(tmp_path) == "Not run yet.\n"
    scores = {"asynchronous": (480.0, 470.0), "lockstep": (480.0, 480.0), "one process": (500.0, 500.0)}
    for mode, of_seeds in scores.items():
        for seed, score in enumerate(of_seeds):
            document = {
                "digest": learned._digest(tasks.job_of("cartpole", mode, seed)), "returns": [score] * 100,
                "before": [20.0] * 100, "lag_mean": 1.5, "machine": machine, "versions": {"python": "3"},
            }  # fmt: skip
            common.write_json(learned._path(tmp_path, "cartpole", mode, seed), document)
    rows = [line for line in report.on_actors(tmp_path).splitlines() if line.startswith("| CartPole, ")]
    assert [row.split(" | ")[1] for row in rows] == list(scores)
    assert "475.0 [470.0, 480.0] (n=2, worst 470.0) | 475: **no** | yes |" in rows[0]
    assert "| 475: yes | yes |" in rows[1]
    assert "| 475: yes |  |" in rows[2]
    stale = learned._path(tmp_path, "cartpole", "lockstep", 0)
    document = json.loads(stale.read_text(encoding="utf-8"))
    common.write_json(stale, document | {"digest": "another"})
    assert "(n=1, worst 480.0)" in report.on_actors(tmp_path)


def test_docs_say_what_the_results_say(bench):
    report = bench("report.run")
    for page in report.PAGES:
        text = page.read_text(encoding="utf-8")
        assert report.page_with_results(text) == text, f"write {page.name} anew: python3 dev.py bench report"
