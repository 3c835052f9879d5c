"""Signals and sudden death: everything is saved, and a resumed run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parent / "plugin"
COMMAND = (sys.executable, "-W", "ignore", "-m", "optix_core", "--plugins", "", "-p", "linear_agent_plugin")
SLOW = (
    "faulty_envs:Slow-v0",
    "--allow-import",
    "window_size=16",
    "validation.episodes=3",
    "confirm_episodes=4",
)
QUICK = ("CartPole-v1", "window_size=256", "max_steps=10240", "validation.episodes=4", "checkpoint_every=1")


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OPTIX_")}
    return {**kept, "PYTHONPATH": str(PLUGINS), "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}


def start(folder: Path, *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *argv],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_for(run: Path, kind: str, process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        log = run / "events.jsonl"
        if log.is_file() and f'"kind":"{kind}"' in log.read_text():
            return
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.1)
    raise AssertionError(f"no {kind} event within a minute")


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_ends_with_its_status_and_resume_continues(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = start(tmp_path, "train", *SLOW, "--run-dir", "r")
    wait_for(tmp_path / "r", "window", process)
    process.send_signal(number)
    status, out, err = finish(process)
    assert status == 128 + number, err
    assert f"stopped by signal {int(number)}" in out
    windows = int(out.split("steps, ")[1].split(" windows")[0])
    status, out, err = finish(
        start(tmp_path, "resume", "r", f"max_steps={16 * (windows + 2)}", "--allow-import", "--json")
    )
    assert status == 0, err
    assert json.loads(out)["windows"] == windows + 2
    status, out, _ = finish(start(tmp_path, "explain", "r", "--json"))
    decisions = [chapter["decision"] for chapter in json.loads(out)["story"]]
    assert [d for d in decisions if d in {"end: signal", "resumed", "end: max_steps"}][-2:] == [
        "resumed",
        "end: max_steps",
    ]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "train", *SLOW, "window_size=5000", "--run-dir", "r")
    wait_for(tmp_path / "r", "started", process)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None  # in the middle of a window of 100 seconds
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    status, _, _ = finish(process)
    assert status in {130, -signal.SIGINT}
    assert time.monotonic() - began < 20


def digest(document: str) -> tuple:
    found = json.loads(document)
    return tuple(
        found[name]
        for name in ("confirmation", "steps", "windows", "validation_steps", "best_score", "snapshot")
    )


def test_a_killed_run_resumes_to_the_same_result(tmp_path: Path) -> None:
    began = time.monotonic()
    status, out, err = finish(start(tmp_path, "train", *QUICK, "--json", "--run-dir", "whole"))
    took = time.monotonic() - began
    assert status == 0, err
    expected = digest(out)
    moments, kills = random.Random(0), 0
    process = start(tmp_path, "train", *QUICK, "--json", "--run-dir", "r")
    wait_for(tmp_path / "r", "started", process)
    while kills < 2:
        time.sleep(moments.uniform(0.3, 0.6) * took)
        process.kill()
        process.communicate()
        kills += 1
        process = start(tmp_path, "resume", "r", "--json")
    status, out, err = finish(process)
    assert kills > 0
    assert status == 0, err
    assert digest(out) == expected


def test_a_reader_that_leaves_does_not_stop_training(tmp_path: Path) -> None:
    read, write = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, "train", *QUICK, "max_steps=2048", "--run-dir", "r"],
        cwd=tmp_path,
        env=environment(),
        stdout=write,
    )
    os.close(write)
    os.close(read)
    assert process.wait(timeout=120) in {0, 128 + 13}
    log = (tmp_path / "r" / "events.jsonl").read_text()
    assert '"kind":"finished"' in log


def test_an_ascii_terminal_without_width_trains(tmp_path: Path) -> None:
    done = subprocess.run(
        [*COMMAND, "train", *QUICK, "max_steps=1024", "--run-dir", "r"],
        cwd=tmp_path,
        env={**environment(), "LC_ALL": "C", "PYTHONIOENCODING": "ascii", "COLUMNS": "0", "NO_COLOR": "1"},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    done.stdout.decode("ascii")
    assert b"\x1b" not in done.stdout


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell's way to close a stream")
def test_training_with_standard_output_closed_is_no_failure(tmp_path: Path) -> None:
    words = " ".join([*COMMAND[0:1], *(f"'{word}'" for word in COMMAND[1:])])
    done = subprocess.run(
        ["/bin/sh", "-c", f"{words} train {' '.join(QUICK)} max_steps=1024 --run-dir r >&-"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert '"kind":"finished"' in (tmp_path / "r" / "events.jsonl").read_text()
