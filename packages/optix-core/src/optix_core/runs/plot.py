"""Learning curves as a picture: scores with their interval, states as coloured spans, every decision marked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.errors import ConfigError
from optix_core.runs.curve import RunCurve
from optix_core.runs.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterable

SUFFIXES = (".png", ".svg", ".pdf")
# The palette of Okabe and Ito (2008), which colour-blind readers can tell apart.
LINES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STATES = {"ACTIVE": "#009E73", "COOLING": "#E69F00", "DORMANT": "#56B4E9", "WATCHDOG": "#CC79A7"}
_MARKS: dict[str, tuple[str, str, str]] = {
    # kind: marker, colour, words
    "new_best": ("*", "#E69F00", "new best stored"),
    "trial": ("D", "#CC79A7", "trial of the tuner"),
    "trial_skipped": ("d", "#999999", "trial skipped"),
    "tuned": ("o", "#CC79A7", "hyperparameters changed"),
    "probe": ("P", "#56B4E9", "probe before convergence"),
    "rolled_back": ("v", "#D55E00", "rollback"),
    "diverged": ("X", "#D55E00", "diverged, restored"),
    "failed_evaluation": ("x", "#D55E00", "evaluation failed"),
    "level_accepted": ("_", "#D55E00", "lower level accepted"),
    "stop": ("s", "#000000", "stop"),
    "finished": ("8", "#000000", "end"),
    "interrupted": ("|", "#000000", "interrupted"),
    "resumed": (">", "#000000", "resumed"),
    "failed": ("X", "#000000", "failed"),
    "spawned": ("^", "#009E73", "variant spawned"),
    "variant": ("s", "#009E73", "variant judged"),
    "spawn_skipped": ("v", "#999999", "no variant"),
    "pruned": ("1", "#009E73", "variant pruned"),
    "meta": ("h", "#009E73", "meta decision"),
    "ensemble": ("H", "#009E73", "ensemble"),
    "routed": ("p", "#CC79A7", "tuner switched"),
    "replayed": ("<", "#CC79A7", "schedule replayed"),
    "diagnostic": ("+", "#D55E00", "diagnostic"),
    "regime": ("2", "#0072B2", "regime"),
    "warm_start": ("3", "#009E73", "warm start"),
    "tuning_off": ("4", "#999999", "no tuning"),
}
_OTHERS = "."


def check_plotting(out: Path) -> None:
    """Can a picture be written there?

    Raises:
        MissingDependencyError: matplotlib is not installed.
        ConfigError: The file's name ends in something that is no picture.
    """
    if out.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{out.name} ends in {out.suffix or 'nothing'!r}; a picture is one of {', '.join(SUFFIXES)}"
        )
    require("matplotlib", extra="plot", what="optix plot")


def draw(curves: Sequence[RunCurve]) -> Any:
    """A matplotlib ``Figure`` of one run, or of several laid over each other.

    States of one run are spans behind its curve; those of several runs are strips below, one for each.

    Raises:
        MissingDependencyError: matplotlib is not installed.
    """
    figures = require("matplotlib.figure", extra="plot", what="optix plot")
    several = len(curves) > 1
    figure = figures.Figure(
        figsize=(9.0, 5.0 + (0.25 * len(curves) if several else 0.0)), layout="constrained"
    )
    if several:
        axes, strips = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [12, max(1, len(curves))]}
        )
        _strips(strips, curves)
        bottom = strips
    else:
        axes = bottom = figure.subplots()
        for span in curves[0].spans:
            axes.axvspan(span.start, span.end, color=STATES.get(span.state, "#999999"), alpha=0.12, lw=0)
    for number, curve in enumerate(curves):
        _curve(axes, curve, LINES[number % len(LINES)])
    _marks(axes, curves)
    axes.set_ylabel("score")
    axes.grid(visible=True, alpha=0.25)
    bottom.set_xlabel("environment steps")
    axes.set_title(curves[0].name if not several else f"{len(curves)} runs", fontsize=10)
    _legend(axes, curves)
    return figure


def save_plot(curves: Sequence[RunCurve], out: Path) -> None:
    """Draw ``curves`` into the file ``out``; what it shows is its suffix's format.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        ConfigError: The file cannot be written, or ends in something that is no picture.
    """
    check_plotting(out)
    figure = draw(curves)
    # a figure without pyplot: no window, no global state; the canvas of the format is chosen by the suffix
    require("matplotlib.backends.backend_agg", extra="plot", what="optix plot").FigureCanvasAgg(figure)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=120)
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written: {error.strerror or error}. Choose another: --out FILE"
        ) from error


def _curve(axes: Any, curve: RunCurve, colour: str) -> None:
    steps = [point.step for point in curve.points]
    ended = "" if curve.finished else " (not finished)"
    axes.plot(steps, [p.score for p in curve.points], color=colour, lw=1.5, label=f"{curve.name}{ended}")
    axes.fill_between(
        steps, [p.low for p in curve.points], [p.high for p in curve.points], color=colour, alpha=0.2, lw=0
    )
    if curve.confirmed is not None and steps:
        mean, low, high = curve.confirmed
        last = max(steps[-1], max((span.end for span in curve.spans), default=0))
        axes.errorbar(
            [last], [mean], [[mean - low], [high - mean]], fmt="o", ms=4, color=colour, capsize=4, zorder=4
        )


def _strips(axes: Any, curves: Sequence[RunCurve]) -> None:
    for row, curve in enumerate(curves):
        for span in curve.spans:
            axes.broken_barh(
                [(span.start, span.end - span.start)],
                (row - 0.4, 0.8),
                color=STATES.get(span.state, "#999999"),
            )
    axes.set_yticks(range(len(curves)), [curve.name[:24] for curve in curves], fontsize=7)
    axes.invert_yaxis()


def _marks(axes: Any, curves: Iterable[RunCurve]) -> None:
    """Mark every decision, each kind with its own sign; those of one moment stand below each other."""
    transforms = require("matplotlib.transforms", extra="plot", what="optix plot")
    places: dict[str, dict[int, list[tuple[int, float]]]] = {}
    for curve in curves:
        first = curve.points[0].score if curve.points else 0.0
        stacked: dict[int, int] = {}
        for mark in curve.marks:
            height = first if mark.score is None else mark.score
            level = stacked.get(mark.step, 0)
            stacked[mark.step] = level + 1
            places.setdefault(mark.kind, {}).setdefault(level, []).append((mark.step, height))
    known = [kind for kind in _MARKS if kind in places]
    for kind in [*known, *(kind for kind in places if kind not in _MARKS)]:
        marker, colour, words = _MARKS.get(kind, (_OTHERS, "#999999", kind.replace("_", " ")))
        label = f"{words} ({sum(map(len, places[kind].values()))})"
        for level, points in sorted(places[kind].items()):
            x, y = zip(*points, strict=True)
            below = transforms.offset_copy(axes.transData, axes.figure, y=-9.0 * level, units="points")
            style = {"marker": marker, "color": colour, "s": 36, "zorder": 3, "transform": below}
            axes.scatter(x, y, label=label, gid=f"mark-{kind}-{level}", **style)
            label = "_same"


def _legend(axes: Any, curves: Sequence[RunCurve]) -> None:
    patches = require("matplotlib.patches", extra="plot", what="optix plot")
    handles, labels = axes.get_legend_handles_labels()
    present = [state for state in STATES if any(s.state == state for c in curves for s in c.spans)]
    alpha = 0.3 if len(curves) == 1 else 1.0
    handles += [patches.Patch(color=STATES[state], alpha=alpha) for state in present]
    labels += present
    axes.legend(handles, labels, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), framealpha=0.9)
