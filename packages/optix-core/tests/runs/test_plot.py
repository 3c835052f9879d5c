from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from optix_core.errors import ConfigError, MissingDependencyError
from optix_core.runs.curve import UNMARKED, read_curve
from optix_core.runs.decision_log import LogEvent
from optix_core.runs.explain import story
from optix_core.runs.plot import LINES, STATES, draw, save_plot
from optix_core.types import LoopState

pytest.importorskip("matplotlib")


def events(*, finished: bool = True) -> list[LogEvent]:
    made: list[LogEvent] = []

    def add(kind: str, step: int, **numbers: Any) -> None:
        made.append(LogEvent(len(made) + 1, kind, step // 100, step, 0.0, numbers))

    def decide(step: int, score: float, **changes: Any) -> None:
        fields = {"verdict": "STEADY", "numbers": {"score": score, "best": score}, "state": "ACTIVE"}
        add("decision", step, **fields | {"interval": [score - 1, score + 2]} | changes)

    add("started", 0, budget={}, hyperparams={})
    add("baseline", 0, score=1.0, episodes=10)
    decide(100, 5.0, actions=["SAVE_BEST"])
    add("trial", 100, arms=[{}, {}], committed=False, windows=1, details={})
    add("tuned", 100, changed={"lr": [1.0, 2.0]})
    decide(200, 6.0, transitions=[["ACTIVE", "COOLING", "plateau"]], actions=["SAVE_BEST"])
    add("resumed", 200)
    decide(300, 2.0, transitions=[["COOLING", "ACTIVE", "degraded"]], verdict="DEGRADED")
    add("rolled_back", 300, snapshot="ckpt", score=6.0)
    add("something_new", 350, x=1.0)
    decide(400, float("nan"), verdict="FAILED")
    if finished:
        decide(500, 6.5, transitions=[["ACTIVE", "DORMANT", "converged"]], stop="CONVERGED")
        add("finished", 500, reason="converged", confirmation={"mean": 6.0, "low": 5.0, "high": 7.0,
            "episodes": 50, "snapshot_id": "x"})  # fmt: skip
    return made


def test_a_curve_has_every_score_its_interval_every_state_and_every_decision():
    curve = read_curve("r", events())
    assert [(p.step, p.score, p.low, p.high) for p in curve.points] == [
        (0, 1.0, 1.0, 1.0),
        (100, 5.0, 4.0, 7.0),
        (200, 6.0, 5.0, 8.0),
        (300, 2.0, 1.0, 4.0),
        (500, 6.5, 5.5, 8.5),
    ]
    assert [(s.state, s.start, s.end) for s in curve.spans] == [
        ("ACTIVE", 0, 200),
        ("COOLING", 200, 300),
        ("ACTIVE", 300, 500),
    ]
    told = [c.kind for c in story(events()) if c.kind not in UNMARKED]
    assert [m.kind for m in curve.marks] == told
    assert {"new_best", "trial", "tuned", "resumed", "rolled_back", "something_new", "stop"} <= set(told)
    assert curve.confirmed == (6.0, 5.0, 7.0)
    assert curve.finished
    assert not read_curve("r", events(finished=False)).finished


def test_each_state_has_a_colour():
    assert set(STATES) == {state.name for state in LoopState}
    assert len(set(LINES)) == len(LINES)


def offsets(axes: Any) -> int:
    return sum(len(c.get_offsets()) for c in axes.collections if (c.get_gid() or "").startswith("mark-"))


def test_the_picture_of_one_run_marks_every_decision_with_a_legend():
    curve = read_curve("r", events())
    figure = draw([curve])
    [axes] = figure.axes
    assert offsets(axes) == len(curve.marks)
    texts = [t.get_text() for t in axes.get_legend().get_texts()]
    for expected in ("r", "new best stored (2)", "rollback (1)", "something new (1)", "ACTIVE", "COOLING"):
        assert expected in texts
    assert axes.get_xlabel() == "environment steps"
    shaded = [p for p in axes.patches if p.get_alpha() == 0.12]
    assert [p.get_facecolor()[:3] for p in shaded] == [p.get_edgecolor()[:3] for p in shaded]
    assert len(shaded) == len(curve.spans)


def test_decisions_of_one_moment_do_not_hide_each_other():
    curve = read_curve("r", events())
    assert [m.kind for m in curve.marks if m.step == 100] == ["new_best", "trial", "tuned"]
    figure = draw([curve])
    levels = {c.get_gid() for c in figure.axes[0].collections if (c.get_gid() or "").startswith("mark-")}
    assert {"mark-new_best-0", "mark-trial-1", "mark-tuned-2"} <= levels


def test_several_runs_are_laid_over_each_other_with_a_strip_of_states_for_each():
    curves = [read_curve("a", events()), read_curve("b", events(finished=False))]
    figure = draw(curves)
    axes, strips = figure.axes
    assert [line.get_label() for line in axes.lines[:1]] == ["a"]
    texts = [t.get_text() for t in axes.get_legend().get_texts()]
    assert "a" in texts
    assert "b (not finished)" in texts
    assert [t.get_text() for t in strips.get_yticklabels()] == ["a", "b"]
    assert offsets(axes) == sum(len(c.marks) for c in curves)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_files_are_what_their_names_say(tmp_path: Path, suffix: str):
    out = tmp_path / "deep" / f"x{suffix}"
    save_plot([read_curve("r", events())], out)
    data = out.read_bytes()
    if suffix == ".svg":
        assert ET.fromstring(data).tag.endswith("svg")
        assert b"mark-rolled_back-0" in data
    else:
        assert data.startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])


def test_no_window_and_no_global_state_are_used(tmp_path: Path):
    import subprocess

    code = (
        "import sys; from pathlib import Path; from optix_core.runs.curve import read_curve;"
        "from optix_core.runs.plot import save_plot; from optix_core.runs.decision_log import LogEvent;"
        "e = [LogEvent(1, 'baseline', 0, 0, 0.0, {'score': 1.0})];"
        f"save_plot([read_curve('r', e)], Path({str(tmp_path / 'x.png')!r}));"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_other_files_are_refused_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"x.gif ends in '.gif'; a picture is one of .png, .svg, .pdf"):
        save_plot([read_curve("r", events())], tmp_path / "x.gif")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        save_plot([read_curve("r", events())], tmp_path / "file" / "x.png")


def test_without_matplotlib_the_error_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in [n for n in sys.modules if n.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'optix-core\[plot\]'"):
        save_plot([read_curve("r", events())], tmp_path / "x.png")
