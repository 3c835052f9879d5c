from __future__ import annotations

import io
import sys
import threading
import types

import pytest

from optix_core import RichDashboardCallback
from optix_core.callbacks.dashboard_model import MAX_HYPERPARAMS, MEANINGS, DashboardModel
from optix_core.errors import ConfigError, MissingDependencyError
from optix_core.types import LoopState

Console = pytest.importorskip("rich.console").Console

from optix_core.callbacks.dashboard_view import BARS, DashboardView, sparkline  # noqa: E402 - it needs rich

PARAMS = {f"p{i}": float(i) for i in range(8)} | {"learning_rate": 3e-4, "gamma": 0.99}


def decision(events, step, score, **changes):
    numbers = {"score": score, "best": max(score, 7.0)}
    fields = {"verdict": "STEADY", "state": "ACTIVE", "actions": [], "transitions": [], "events": []}
    return events(
        "decision", step // 64, step, numbers=numbers, interval=[score - 1, score + 1], **fields | changes
    )


def told(events):
    yield events("started", budget={"max_steps": 10_000}, hyperparams=PARAMS)
    yield events("baseline", score=1.0, episodes=10)
    yield events("window", 1, 64, diagnostics={}, elapsed=1.0)
    yield decision(events, 64, 7.0, actions=["SAVE_BEST"])
    yield events("window", 2, 128, diagnostics={}, elapsed=1.5)
    yield decision(
        events, 128, 5.0, state="COOLING", transitions=[["ACTIVE", "COOLING", "plateau"]], verdict="STEADY"
    )


def picture(model, width=100, *, ascii_only=False, **options):
    console = Console(record=True, width=width, file=io.StringIO(), color_system=None)
    if ascii_only:
        console = Console(file=io.TextIOWrapper(io.BytesIO(), "ascii"), width=width, color_system=None)
        with console.capture() as captured:
            console.print(DashboardView(model, "optix é", show_hyperparams=True))
        return captured.get()
    console.print(DashboardView(model, "optix", **{"show_hyperparams": True} | options))
    return console.export_text()


@pytest.fixture
def model(events):
    made = DashboardModel(100)
    for event in told(events):
        made.take(event)
    return made


def test_it_shows_scores_state_steps_hyperparameters_and_decisions(model):
    text = picture(model)
    for expected in (
        "128/10.0k steps",
        "2 windows",
        "128 steps/s",
        "5 [4, 6]",
        "COOLING (plateau)",
        "learning_rate  0.0003",
        "gamma          0.99",
        "ACTIVE -> COOLING",
        "new best: score 7",
        "▁█▆",
    ):
        assert expected in text, text
    assert "mean of last 20  6" in text  # of the evaluations, not of the untrained policy


def test_at_most_six_hyperparameters_and_none_on_request(model):
    assert [name for name, _ in model.hyperparam_lines()][:2] == ["learning_rate", "gamma"]
    assert len(model.hyperparam_lines()) == MAX_HYPERPARAMS
    assert "learning_rate" not in picture(model, show_hyperparams=False)


def test_states_have_the_names_of_the_loop_and_what_happened_is_marked(model, events):
    assert set(MEANINGS) == {state.name for state in LoopState} | {"STOPPED"}
    model.take(decision(events, 192, 9.0, actions=["SAVE_BEST"]))
    assert model.label == "ACTIVE (exploring)  IMPROVED"
    model.take(decision(events, 256, 1.0, verdict="DEGRADED"))
    assert model.label.endswith("DEGRADATION")
    model.take(decision(events, 320, 2.0, state="DORMANT"))
    assert model.label == "DORMANT (converged)"
    model.take(events("finished", 5, 320, reason="converged", message="done"))
    assert model.label.startswith("STOPPED")


@pytest.mark.parametrize("width", [1, 5, 20, 47, 48, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(model, width):
    lines = picture(model, width).splitlines()
    assert lines
    assert max(map(len, lines)) <= width
    assert (len(lines) == 1) == (width < 48)


def test_an_ascii_terminal_gets_ascii(model):
    text = picture(model, ascii_only=True)
    assert text.isascii()
    assert "COOLING" in text


def test_sparklines_span_their_values_and_fit():
    assert sparkline(range(8), 8) == BARS
    assert sparkline(range(100), 4) == sparkline(range(96, 100), 10)
    assert len(set(sparkline([3.0] * 5, 5))) == 1
    assert sparkline([], 5) == sparkline([1.0], 0) == ""


def test_the_history_is_bounded(events):
    model = DashboardModel(10)
    for i in range(1, 50):
        model.take(decision(events, i, float(i)))
    assert list(model.scores) == [float(i) for i in range(40, 50)]


def live(**options):
    console = Console(record=True, force_terminal=True, width=90, height=60, file=io.StringIO())
    return RichDashboardCallback(console=console, refresh_per_second=50, **options), console


def dashboards():
    return [t for t in threading.enumerate() if t.name == "optix-dashboard"]


def test_in_the_loop_it_draws_and_its_thread_ends(quick):
    callback, console = live(title="my run")
    result = quick(callbacks=[callback]).run()
    assert result.callback_faults == {}
    assert dashboards() == []
    text = console.export_text()
    assert "my run" in text
    assert "STOPPED" in text


def test_its_thread_ends_when_the_run_is_interrupted(quick, crash):
    callback, _ = live()
    before = sys.stdout
    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[callback, crash(3)]).run()
    assert dashboards() == []
    assert sys.stdout is before


def test_the_loop_only_queues(events, monkeypatch):
    callback, _ = live()
    drawing, may_go_on = threading.Event(), threading.Event()

    def stuck(self, *, last):
        drawing.set()
        assert may_go_on.wait(30)

    monkeypatch.setattr("optix_core.callbacks.rich_dashboard.TerminalScreen.draw", stuck)
    callback.on_loop_start()
    for event in told(events):
        callback.on_run_event(event)
    assert drawing.wait(30)
    for event in list(told(events)) * 100:  # the thread that draws is held, and the loop is not
        callback.on_run_event(event)
    assert not may_go_on.is_set()
    may_go_on.set()
    callback.on_loop_stop()
    assert dashboards() == []


def test_outside_of_the_loop_the_eight_events_are_drawn():
    from optix_core.types import EvalMetrics

    callback, console = live()
    callback.on_loop_start()
    callback.on_episode_end(0, EvalMetrics(12.5, {}, 0))
    callback.on_plateau(1, LoopState.COOLING)
    callback.on_loop_stop()
    text = console.export_text()
    assert "12.5" in text
    assert "COOLING" in text


def test_without_a_terminal_there_are_plain_lines(quick, capsys):
    quick(callbacks=[RichDashboardCallback()]).run()
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "new best: score" in out
    assert out.splitlines()[-1].endswith("STOPPED (the run has ended)")
    assert dashboards() == []


def test_a_notebook_gets_one_output_that_is_updated(quick, monkeypatch):
    shown, updates = [], []

    class Handle:
        def update(self, data, raw):
            updates.append(data["text/plain"])

    display = types.ModuleType("IPython.display")
    display.display = lambda data, raw, display_id: (shown.append(data["text/plain"]), Handle())[1]
    shell = types.ModuleType("IPython")
    shell.get_ipython = type("ZMQInteractiveShell", (), {})
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    result = quick(callbacks=[RichDashboardCallback(title="mine", refresh_per_second=50)]).run()
    assert result.callback_faults == {}
    assert len(shown) == 1
    assert "mine" in shown[0]
    assert "STOPPED" in [*shown, *updates][-1]
    assert "\x1b" not in "".join([*shown, *updates])


def test_a_reader_that_has_gone_harms_nobody(quick):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def isatty(self):
            return True

    console = Console(file=Gone(), force_terminal=True, width=80)
    result = quick(callbacks=[RichDashboardCallback(console=console)], max_episodes=4).run()
    assert result.windows == 4
    assert result.callback_faults == {}
    assert dashboards() == []


def test_a_dashboard_that_cannot_draw_says_so_at_the_end_and_queues_nothing_more(quick, monkeypatch):
    callback, _ = live()

    def fails(*_):
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(DashboardModel, "take", fails)
    result = quick(callbacks=[callback], max_episodes=30).run()
    assert result.windows == 30
    assert len(callback._queue) == 0
    assert dashboards() == []


def test_it_can_be_used_for_a_second_run(quick):
    callback, console = live()
    for name in ("a", "b"):
        quick(name, callbacks=[callback], max_episodes=3).run()
        assert "STOPPED" in console.export_text()
    assert dashboards() == []


@pytest.mark.parametrize("options", [{"history": 0}, {"refresh_per_second": 0}])
def test_wrong_arguments_are_refused(options):
    with pytest.raises(ConfigError):
        RichDashboardCallback(**options)


def test_without_rich_construction_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'optix-core\[rich\]'"):
        RichDashboardCallback()
