"""Looking at runs from the command line: callbacks by name, log export, plot, explain."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rich")
pytest.importorskip("tensorboard")
pytest.importorskip("matplotlib")

PLUGINS = Path(__file__).parent / "plugin"
QUICK = (
    "CartPole-v1",
    "window_size=256",
    "validation.episodes=4",
    "checkpoint_every=1",
    "confirm_episodes=4",
)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {tag: [(s.step, s.value) for s in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


@pytest.fixture
def run(optix) -> str:
    status, _, err = optix("train", *QUICK, "max_steps=1024", "--run-dir", "r")
    assert status == 0, err
    return "r"


def test_callbacks_are_named_on_the_command_line(optix, tmp_path):
    status, out, err = optix(
        "train",
        *QUICK,
        "max_steps=1024",
        "--run-dir",
        "r",
        "callbacks=rich,tensorboard",
        "callbacks.tensorboard.log_dir=tb",
        "callbacks.rich.title=mine",
    )
    assert status == 0, err
    assert "new best: score" in out  # the dashboard's plain lines
    assert "state: " not in out  # the usual progress line made room
    assert "done     max_steps" in out
    assert scalars(tmp_path / "tb")["score/primary"]
    recorded = json.loads((tmp_path / "r" / "run.json").read_text())["config"]["train"]["callbacks"]
    assert recorded == {"rich": {"title": "mine"}, "tensorboard": {"log_dir": "tb"}}


def test_callbacks_are_tables_of_a_file(optix, tmp_path):
    (tmp_path / "c.toml").write_text(
        'env = "CartPole-v1"\nmax_steps = 512\nwindow_size = 256\ncallbacks = ["tensorboard"]\n'
    )
    (tmp_path / "d.toml").write_text(
        'env = "CartPole-v1"\nmax_steps = 512\nwindow_size = 256\n[callbacks.tensorboard]\nlog_dir = "x"\n'
    )
    for name, folder in (("c", Path("runs") / "tensor_optix" / "c"), ("d", Path("x"))):
        status, _, err = optix("train", "--config", f"{name}.toml", "--run-dir", name)
        assert status == 0, err
        assert scalars(tmp_path / folder)


def test_with_json_the_dashboard_stays_out_of_standard_output(optix):
    status, out, err = optix("train", *QUICK, "max_steps=512", "--json", "callbacks=rich,progress")
    assert status == 0, err
    assert json.loads(out)["steps"] == 512
    assert "new best" in err


@pytest.mark.parametrize(
    "setting,expected",
    [
        ("callbacks=ritch", "rich"),
        ("callbacks=rich,rich", "names rich twice"),
        ("callbacks=3", "callbacks is 3"),
        ("callbacks.rich.colour=1", "refuses its options (colour)"),
        ("callbacks.rich=1", "must be a table of options"),
        ("callbacks.rich.history=0", "history is 0"),
        ("callbacks.tensorboard.flush=1", "no argument flush"),
        ('callbacks=["rich", 1]', "lists names"),
    ],
)
def test_wrong_callbacks_are_refused_before_anything_starts(optix, tmp_path, setting, expected):
    status, _, err = optix("train", "CartPole-v1", "--run-dir", "r", setting)
    assert status in {1, 2}
    assert expected in err
    assert not (tmp_path / "r").exists()


def test_a_missing_package_is_named_with_its_install_line(optix, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    status, _, err = optix("train", "CartPole-v1", "--run-dir", "r", "callbacks=wandb")
    assert status == 2
    assert "pip install 'optix-core[wandb]'" in err
    assert not (tmp_path / "r").exists()


def test_export_writes_event_files_and_tables(optix, run, tmp_path):
    status, out, _ = optix("log", "export", run, "--to", "tensorboard")
    assert status == 0
    assert out.startswith("wrote ")
    found = scalars(tmp_path / "r" / "tensorboard")
    status, out, _ = optix("log", "export", "r", "--to", "csv", "--out", "deep/er", "--json")
    document = json.loads(out)
    assert Path(document["path"]) == Path("deep/er/scalars.csv")
    with (tmp_path / "deep" / "er" / "scalars.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == document["points"] == sum(map(len, found.values()))
    assert {row["tag"] for row in table} == set(found)


REFUSED = {
    ("log", "export", "r"): "--to",
    ("log", "export", "r", "--to", "html"): "html",
    ("log", "export", "nowhere", "--to", "csv"): "nowhere",
    ("log", "export", "r", "--to", "csv", "--out", "r/run.json"): "Choose another folder",
    ("plot", "r", "--out", "x.gif"): ".png",
    ("plot", "nowhere"): "nowhere",
    ("plot", "r", "--out", "r/run.json/x.png"): "cannot be written",
}


def test_what_cannot_be_written_is_refused(optix, run):
    for argv, expected in REFUSED.items():
        status, out, err = optix(*argv)
        assert (status, out) == (2, ""), argv
        assert expected in err


def test_plot_draws_one_run_or_several(optix, run, tmp_path):
    status, out, _ = optix("plot", run)
    assert (status, out) == (0, f"wrote {tmp_path / 'r' / 'learning_curve.png'}\n")
    assert (tmp_path / "r" / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    optix("train", *QUICK, "max_steps=512", "--run-dir", "s", "--seed", "1")
    status, out, _ = optix("plot", "r", "s", "--json")
    document = json.loads(out)
    assert document["path"] == "learning_curves.png"
    assert set(document["marks"]) == {"r", "s"}
    assert (tmp_path / "learning_curves.png").is_file()


def test_plot_says_when_there_is_nothing_to_draw(optix, tmp_path):
    from optix_core.runs.run_directory import RunDirectory

    RunDirectory.create(tmp_path, name="empty").log().write("started")
    status, _, err = optix("plot", "empty")
    assert status == 2
    assert "no scores yet" in err


def test_without_matplotlib_plot_says_how_to_install_it(optix, run, monkeypatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    status, _, err = optix("plot", run)
    assert status == 2
    assert "pip install 'optix-core[plot]'" in err


def test_explain_tells_what_would_have_changed_each_decision(optix, run):
    status, out, _ = optix("explain", run)
    assert status == 0
    assert "otherwise: a larger max_steps than 1,024 would have gone on" in out
    status, out, _ = optix("explain", run, "--json")
    story = json.loads(out)["story"]
    assert {"kind", "otherwise", "numbers", "decision", "because"} <= set(story[0])
    assert any(chapter["otherwise"] for chapter in story)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_after_a_kill_and_a_resume_every_point_is_there_once(tmp_path):
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "optix_core",
        "--plugins",
        "",
        "-p",
        "linear_agent_plugin",
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPTIX_")}
    env = {**kept, "PYTHONPATH": str(PLUGINS), "OMP_NUM_THREADS": "1"}

    def start(*argv: str) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        return subprocess.Popen([*command, *argv], cwd=tmp_path, env=env, stdout=pipe, stderr=pipe, text=True)

    process = start("train", *QUICK, "max_steps=12288", "--run-dir", "r", "callbacks=tensorboard")
    log = tmp_path / "r" / "events.jsonl"
    for _ in range(600):
        if log.is_file() and log.read_text().count('"kind":"window"') > 8:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert '"kind":"finished"' not in log.read_text()
    process = start("resume", "r")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert "resumed" in {line["kind"] for line in lines}
    windows = [line for line in lines if line["kind"] == "window"]
    steps = [line["step"] for line in windows]
    assert steps == sorted(set(steps))
    exporting = start("log", "export", "r", "--to", "tensorboard")
    exporting.communicate()
    live = scalars(tmp_path / "runs" / "tensor_optix" / "r")
    assert live == scalars(tmp_path / "r" / "tensorboard")
    returns = [line["step"] for line in windows if line["train_return"] is not None and "branch" not in line]
    assert [step for step, _ in live["metrics/train_return"]] == returns
