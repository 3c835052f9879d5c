"""A dashboard as rich draws it: fits any width, and any encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from optix_core.callbacks.dashboard_model import DashboardModel

NARROW = 48
"""Columns below which panels would hold more border than text."""
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=+*#@"
_STYLES = {
    "ACTIVE": "bold green",
    "COOLING": "bold yellow",
    "DORMANT": "bold cyan",
    "WATCHDOG": "bold blue",
    "STOPPED": "bold",
}


class DashboardView:
    """Draws a model.

    Args:
        model: What to draw, as it is when it is drawn.
        title: Heading.
        show_hyperparams: Draw the panel of hyperparameters.
    """

    def __init__(self, model: DashboardModel, title: str, *, show_hyperparams: bool) -> None:
        self._model = model
        self._title = title
        self._show_hyperparams = show_hyperparams

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        model, width = self._model, options.max_width
        plain = options.ascii_only
        if width < NARROW:
            yield Text(spelled(model.short_line(), console.encoding), no_wrap=True, overflow="crop")
            return
        inner = width - 4
        score = Group(
            _pairs(model.score_lines()),
            Text(sparkline(model.scores, min(len(model.scores), inner), plain=plain), no_wrap=True),
        )
        state = Text(model.label, style=_STYLES.get(model.state, ""))
        parts: list[Any] = [
            Text(spelled(model.progress(), console.encoding), no_wrap=True, overflow="crop"),
            state,
            Panel(score, title="score", title_align="left", box=box.ROUNDED),
        ]
        if self._show_hyperparams and model.hyperparams:
            rows = _pairs(model.hyperparam_lines())
            parts.append(Panel(rows, title="hyperparameters", title_align="left", box=box.ROUNDED))
        if model.chapters:
            lines = [f"{c.step:>9,}  {c.decision}: {c.because}" for c in list(model.chapters)[-4:]]
            text = Text("\n".join(spelled(line, console.encoding) for line in lines), overflow="crop")
            text.no_wrap = True
            parts.append(Panel(text, title="decisions", title_align="left", box=box.ROUNDED))
        yield Panel(Group(*parts), title=spelled(self._title, console.encoding), box=box.SQUARE)


def sparkline(values: Iterable[float], width: int, *, plain: bool = False) -> str:
    """The last ``width`` values as bars between their lowest and their highest."""
    shown = list(values)[-width:] if width > 0 else []
    if not shown:
        return ""
    bars = PLAIN_BARS if plain else BARS
    low, high = min(shown), max(shown)
    if high == low:
        return bars[len(bars) // 2] * len(shown)
    top = len(bars) - 1
    return "".join(bars[min(int((value - low) / (high - low) * top + 0.5), top)] for value in shown)


def spelled(text: str, encoding: str) -> str:
    """``text`` with ``?`` for what the terminal's encoding lacks."""
    return text.encode(encoding, "replace").decode(encoding)


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=True, overflow="crop")
    for name, value in rows:
        table.add_row(Text(name), Text(value))
    return table
