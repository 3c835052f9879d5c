from __future__ import annotations

import io
import os
import sys
import types
from types import SimpleNamespace

import pytest

from optix_core.callbacks import ProgressCallback
from optix_core.callbacks.line_writer import LineWriter
from optix_core.callbacks.progress import duration, number, score_text, short
from optix_core.types import EvalMetrics, HyperparamSet, LoopState, PolicySnapshot


class Terminal(io.StringIO):
    encoding = "utf-8"  # type: ignore[assignment]

    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def metrics(score: float, returns: tuple[float, ...] = ()) -> EvalMetrics:
    return EvalMetrics(score, {}, 0, 0.0, returns)


def snapshot(score: float) -> PolicySnapshot:
    return PolicySnapshot("ckpt-1", metrics(score), HyperparamSet({}), "x", 0)


def run(steps: int = 0, limit: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        progress=SimpleNamespace(steps=steps),
        budget=SimpleNamespace(max_steps=limit),
        state=LoopState.ACTIVE,
        best_snapshot=None,
    )


def test_a_pipe_gets_plain_lines_at_its_interval_and_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    out, clock = io.StringIO(), Clock()
    progress = ProgressCallback(out, clock=clock)
    source = run(limit=100_000)
    progress.attach(source)
    progress.on_loop_start()
    for window in range(25):
        clock.now += 1
        source.progress.steps += 2048
        progress.on_episode_end(window, metrics(10.0 * window))
    progress.on_loop_stop()
    lines = out.getvalue().splitlines()
    assert len(lines) == 3  # after 10 and 20 seconds, and at the end
    assert "\r" not in out.getvalue()
    assert lines[-1] == "51.2k/100k steps  score 240  ACTIVE  2.0k steps/s  0:25"


def test_a_terminal_overwrites_one_line_within_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    out, clock = Terminal(), Clock()
    progress = ProgressCallback(out, clock=clock)
    source = run(steps=123_456, limit=1_000_000)
    progress.attach(source)
    progress.on_loop_start()
    for window in range(3):
        clock.now += 1
        progress.on_improvement(snapshot(500.0))
        progress.on_episode_end(window, metrics(497.0, (490.0, 497.0, 504.0)))
    progress.on_loop_stop()
    text = out.getvalue()
    assert text.count("\r") == 3
    assert text.endswith("\n")
    assert max(len(part) for part in text.replace("\n", "\r").split("\r")) <= 39
    assert "\x1b" not in text


def test_a_shorter_line_wipes_the_longer_one_before_it() -> None:
    out = Terminal()
    writer = LineWriter(out, "terminal")
    writer.status("a long status line")
    writer.status("short")
    writer.line("stays")
    screen = ""
    for piece in out.getvalue().split("\n")[0].split("\r"):
        screen = piece + screen[len(piece) :]
    assert screen.rstrip() == "stays"


def test_state_changes_and_tuning_get_lines_of_their_own() -> None:
    out = io.StringIO()
    progress = ProgressCallback(out)
    source = run(steps=2048)
    progress.attach(source)
    progress.on_loop_start()
    progress.on_plateau(7, LoopState.COOLING)
    source.state = LoopState.COOLING
    progress.on_episode_end(7, None)
    progress.on_hyperparam_update({"learning_rate": 3e-4, "n": 4}, {"learning_rate": 4.123e-4, "n": 4})
    progress.on_degradation(8, metrics(188.0))
    source.state = LoopState.ACTIVE
    progress.on_episode_end(8, None)
    progress.on_dormant(9)
    assert out.getvalue().splitlines() == [
        "[2.0k steps] state: ACTIVE -> COOLING",
        "[2.0k steps] tuned: learning_rate 0.0003 -> 0.0004123",
        "[2.0k steps] degradation: score 188",
        "[2.0k steps] state: COOLING -> ACTIVE",
        "[2.0k steps] state: ACTIVE -> DORMANT",
    ]


def test_it_works_without_being_attached() -> None:
    out = io.StringIO()
    progress = ProgressCallback(out, interval=0)
    progress.on_loop_start()
    progress.on_plateau(3, LoopState.COOLING)
    progress.on_improvement(snapshot(12.0))
    progress.on_episode_end(4, metrics(12.0))
    lines = out.getvalue().splitlines()
    assert lines[0] == "[4 windows] state: ACTIVE -> COOLING"
    assert lines[2].startswith("5 windows  score 12  best 12  ACTIVE")


def test_the_interval_is_that_of_the_mean_return() -> None:
    assert score_text(metrics(10.0, (8.0, 10.0, 12.0))) == "10 [5.032, 14.97]"  # 10 -+ 4.303 * 2 / sqrt(3)
    assert score_text(metrics(10.0, (8.0, 12.0))) == "10"
    assert score_text(metrics(float("nan"))) == "nan"


# --- nothing of this may stop training ------------------------------------------------------------------------------


def exercise(progress: ProgressCallback) -> None:
    progress.on_loop_start()
    progress.on_plateau(1, LoopState.COOLING)
    progress.on_hyperparam_update({"näme": "α"}, {"näme": "β"})
    progress.on_episode_end(1, metrics(float("inf"), (1.0, float("nan"), 2.0)))
    progress.on_loop_stop()


def test_a_closed_stream_is_survived() -> None:
    out = io.StringIO()
    out.close()
    progress = ProgressCallback(out, interval=0)
    exercise(progress)
    assert progress.writer.dead


def test_a_reader_that_left_is_survived() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", encoding="utf-8") as out:
        progress = ProgressCallback(out, interval=0)
        exercise(progress)
        assert progress.writer.dead
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # so that closing the file can flush


def test_an_ascii_locale_is_survived() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    exercise(ProgressCallback(stream, interval=0))
    assert b"n?me ? -> ?" in raw.getvalue()


def test_no_standard_output_at_all_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    exercise(ProgressCallback(interval=0))


@pytest.mark.parametrize("columns", ["0", "-3", "junk", "3"])
def test_a_width_that_means_nothing_is_the_usual_one(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    out = Terminal()
    writer = LineWriter(out, "terminal")
    writer.status("x" * 200)
    assert len(out.getvalue()) == 1 + 79


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert LineWriter(Terminal()).mode == "plain"
    monkeypatch.setenv("TERM", "xterm")
    assert LineWriter(Terminal()).mode == "terminal"


def test_off_is_silent() -> None:
    out = io.StringIO()
    exercise(ProgressCallback(out, mode="off"))
    assert out.getvalue() == ""


def test_a_notebook_updates_one_display(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    class Handle:
        def update(self, data: dict, raw: bool) -> None:
            shown.append("update " + data["text/plain"])

    def display(data: dict, raw: bool, display_id: bool) -> Handle:
        shown.append("display " + data["text/plain"])
        return Handle()

    ZMQInteractiveShell = type("ZMQInteractiveShell", (), {})
    module = types.ModuleType("IPython")
    module.get_ipython = ZMQInteractiveShell  # type: ignore[attr-defined]
    displays = types.ModuleType("IPython.display")
    displays.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", module)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    progress = ProgressCallback(interval=0)
    assert progress.writer.mode == "notebook"
    progress.on_loop_start()
    for i in range(3):
        progress.on_episode_end(i, metrics(float(i)))
    assert [text.split()[0] for text in shown] == ["display", "update", "update"]


def test_numbers_are_short() -> None:
    assert [short(v) for v in (950, 41_000, 100_000, 1_500_000, 2e9)] == [
        "950",
        "41.0k",
        "100k",
        "1.5M",
        "2.0G",
    ]
    assert [duration(v) for v in (41.9, 725, 3723)] == ["0:41", "12:05", "1:02:03"]
    assert [number(v) for v in (497.23, 12345.6, -1.5e7, float("nan"))] == [
        "497.2",
        "12346",
        "-1.5e+07",
        "nan",
    ]
