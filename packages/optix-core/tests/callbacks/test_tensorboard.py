from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from optix_core import TensorBoardCallback
from optix_core.errors import ConfigError, MissingDependencyError
from optix_core.runs.run_directory import RunDirectory
from optix_core.runs.scalar_export import export_csv, export_tensorboard

EventAccumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator"
).EventAccumulator

RUNS = Path("runs") / "tensor_optix"


def read(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {
        tag: [(s.step, s.wall_time, s.value) for s in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
    }


def exported(run_dir: Path) -> dict[str, list[tuple[int, float, float]]]:
    return read(export_tensorboard(RunDirectory.open(run_dir)).path)


def test_live_and_exported_files_hold_equal_scalars(quick, tmp_path):
    optimizer = quick(callbacks=[TensorBoardCallback()], max_episodes=60)
    optimizer.run()
    live = read(tmp_path / RUNS / "r")
    assert live == exported(optimizer.run_dir)
    assert {"score/primary", "score/best", "score/low", "events/improvement", "metrics/val_score"} <= set(
        live
    )
    assert any(tag.startswith("hyperparams/") for tag in live)
    steps = [step for step, _, _ in live["metrics/train_return"]]
    assert steps == sorted(set(steps))
    assert steps[-1] <= 60 * 64


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_resumed_run_has_no_point_twice_and_equals_its_export(quick, tmp_path, at, crash):
    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[TensorBoardCallback(), crash(at)]).run()
    optimizer = quick(callbacks=[TensorBoardCallback()], resume=True)
    optimizer.run()
    live = read(tmp_path / RUNS / "r")
    assert live == exported(optimizer.run_dir)
    for tag in ("metrics/train_return", "score/primary"):
        steps = [step for step, _, _ in live[tag]]
        assert steps == sorted(set(steps))
    assert len(list((tmp_path / RUNS / "r").iterdir())) == 1  # the interrupted session's file was replaced


def test_two_runs_lie_apart_and_a_shared_folder_keeps_both(quick, tmp_path):
    for name in ("a", "b"):
        quick(name, callbacks=[TensorBoardCallback(), TensorBoardCallback("shared")], max_episodes=3).run()
    assert sorted(p.name for p in (tmp_path / RUNS).iterdir()) == ["a", "b"]
    assert len(list((tmp_path / "shared").iterdir())) == 2


def test_the_comment_ends_the_name_of_the_folder_or_of_the_file(quick, tmp_path):
    quick(
        callbacks=[TensorBoardCallback(comment="-x"), TensorBoardCallback("tb", "-y")], max_episodes=2
    ).run()
    assert read(tmp_path / RUNS / "r-x")
    assert [p.name.endswith("-y") for p in (tmp_path / "tb").iterdir()] == [True]


def test_the_writing_thread_ends_with_the_run(quick, crash):
    before = set(threading.enumerate())
    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[TensorBoardCallback(), crash(2)]).run()
    assert set(threading.enumerate()) <= before


def test_outside_of_the_loop_windows_are_the_steps(tmp_path, monkeypatch):
    from optix_core.types import EvalMetrics

    monkeypatch.chdir(tmp_path)
    callback = TensorBoardCallback()
    callback.on_loop_start()
    for window in range(3):
        callback.on_episode_end(window, EvalMetrics(float(window), {"loss": 1.0}, window))
        callback.on_hyperparam_update({"lr": 0.1 + window}, {"lr": 1.1 + window})
    callback.on_loop_stop()
    found = read(tmp_path / RUNS)
    assert [(s, v) for s, _, v in found["score/primary"]] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert [s for s, _, _ in found["hyperparams/lr"]] == [1, 2, 3]
    assert [v for _, _, v in found["spsa/step_magnitude"]] == pytest.approx([10.0, 1 / 1.1, 1 / 2.1])


def test_wrong_arguments_are_refused():
    with pytest.raises(ConfigError, match="no argument flush"):
        TensorBoardCallback(flush=3)
    with pytest.raises(ConfigError, match="flush_secs is 0"):
        TensorBoardCallback(flush_secs=0)


def test_without_tensorboard_construction_says_how_to_install_it(monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'optix-core\[tensorboard\]'"):
        TensorBoardCallback()


def test_writing_needs_no_framework():
    import subprocess

    code = (
        "import sys, optix_core; optix_core.TensorBoardCallback('x');"
        "print([m for m in ('tensorflow', 'torch', 'jax') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_table_reads_back_exactly_the_same_points(quick):
    import csv

    from optix_core.runs.scalar_export import rows

    optimizer = quick(max_episodes=20)
    optimizer.run()
    run = RunDirectory.open(optimizer.run_dir)
    written = export_csv(run)
    with written.path.open() as stream:
        found = [(int(r["seq"]), int(r["step"]), r["tag"], float(r["value"])) for r in csv.DictReader(stream)]
    expected = [(e.seq, e.step, tag, v) for e, values in rows(run.log().read()) for tag, v in values.items()]
    assert found == expected
    assert written.points == len(found) > 50
    assert written.tags == len({tag for _, _, tag, _ in found})


def test_exporting_again_replaces_the_first_export(quick, tmp_path):
    optimizer = quick(max_episodes=3)
    optimizer.run()
    first = exported(optimizer.run_dir)
    assert exported(optimizer.run_dir) == first
    assert len(list((optimizer.run_dir / "tensorboard").iterdir())) == 1
