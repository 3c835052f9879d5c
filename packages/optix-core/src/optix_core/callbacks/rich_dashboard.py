"""A dashboard in the terminal, drawn by a thread of its own so that training never waits for it."""

from __future__ import annotations

import os
import threading
import time
from abc import abstractmethod
from collections import deque
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self, TextIO

from optix_core.callbacks.line_writer import LineWriter
from optix_core.callbacks.stream_callback import StreamCallback
from optix_core.errors import ConfigError
from optix_core.runs.extras import require

if TYPE_CHECKING:
    from optix_core.callbacks.dashboard_model import DashboardModel
    from optix_core.callbacks.dashboard_view import DashboardView
    from optix_core.runs.decision_log import LogEvent

_SECONDS_BETWEEN_LINES = 10.0
_PATIENCE = 10.0  # seconds for the thread to end; a terminal that takes no output may hold it


class RichDashboardCallback(StreamCallback):
    """State, scores with interval and curve, hyperparameters and the newest decisions, redrawn in place.

    The loop only appends to a queue; a daemon thread draws, and ends with the run. Where output does not go
    to a terminal, or to a dumb one, decisions and now and then the state are printed as plain lines; a notebook gets
    one output that is updated. Names of states are those of :class:`~optix_core.types.LoopState`.

    Args:
        title: Heading.
        history: Scores in the curve, at least 1.
        refresh_per_second: Redraws per second, > 0.
        show_hyperparams: Show the panel of hyperparameters (at most six values).
        transient: Clear the dashboard at the end instead of leaving the last picture.
        console: A ``rich.console.Console`` to draw on; None: standard output.

    Raises:
        MissingDependencyError: rich is not installed.
        ConfigError: An argument is out of range.
    """

    def __init__(
        self,
        title: str = "optix",
        history: int = 100,
        refresh_per_second: float = 4,
        show_hyperparams: bool = True,
        transient: bool = False,
        *,
        console: Any = None,
    ) -> None:
        require("rich", extra="rich", what="RichDashboardCallback")
        if history < 1:
            raise ConfigError(f"history is {history}; expected at least 1 score")
        if not refresh_per_second > 0:
            raise ConfigError(f"refresh_per_second is {refresh_per_second}; expected a positive number")
        self._title = title
        self._history = history
        self._pause = 1.0 / refresh_per_second
        self._show_hyperparams = show_hyperparams
        self._transient = transient
        self._console = console
        self._queue: deque[LogEvent] = deque()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._deaf = False
        self._error: Exception | None = None

    def print_to(self, stream: TextIO) -> None:
        """Draw there; before the run starts."""
        from rich.console import Console

        self._console = Console(file=stream)

    # --- the loop's side ----------------------------------------------------------------------------------------------

    def on_loop_start(self) -> None:
        """Begin to draw."""
        super().on_loop_start()
        self._begin()

    def opened(self, event: LogEvent) -> None:
        """A session begins with an empty queue."""
        del event
        if self._thread is None:
            self._queue.clear()
            self._deaf = False

    def received(self, event: LogEvent) -> None:
        """Queue one event; the first window begins the drawing if nothing did."""
        if self._deaf:
            return
        self._queue.append(event)
        if self._thread is None and event.kind in {"window", "decision"}:
            self._begin()

    def on_loop_stop(self) -> None:
        """The last picture, and the end of the thread.

        Raises:
            RuntimeError: Drawing failed, or the terminal takes no output.
        """
        super().on_loop_stop()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stop.set()
        thread.join(_PATIENCE)
        error, self._error = self._error, None
        if thread.is_alive():
            self._deaf = True
            raise RuntimeError(f"the terminal took no output for {_PATIENCE:g} s; the dashboard gave up")
        if error is not None:
            raise RuntimeError(f"the dashboard could not be drawn: {error}") from error

    def _begin(self) -> None:
        if self._thread is not None or self._ended:
            return
        self._stop = threading.Event()
        self._deaf, self._error = False, None
        self._thread = threading.Thread(target=self._work, name="optix-dashboard", daemon=True)
        self._thread.start()

    # --- the thread's side --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        stop = self._stop
        try:
            screen = self._screen()
            with screen:
                going = True
                while going:
                    going = not stop.wait(self._pause)
                    screen.show(self._queue, last=not going)
        except (OSError, ValueError) as error:  # the reader has gone, or the stream is closed
            self._error = None if _nobody_reads(error) else error
        except Exception as error:  # noqa: BLE001 - raised in on_loop_stop, where the loop reports it
            self._error = error
        finally:
            self._deaf = True
            self._queue.clear()

    def _screen(self) -> Screen:
        from rich.console import Console

        from optix_core.callbacks.dashboard_model import DashboardModel
        from optix_core.callbacks.dashboard_view import DashboardView

        budget = getattr(getattr(self._run, "budget", None), "max_steps", None)
        model = DashboardModel(self._history, budget)
        view = DashboardView(model, self._title, show_hyperparams=self._show_hyperparams)
        own = self._console is None
        console: Any = Console() if own else self._console
        # rich would end the whole process, after pointing its standard output elsewhere
        console.on_broken_pipe = _raise_again
        if own and LineWriter(None).mode == "notebook":
            return NotebookScreen(model, view)
        if console.is_terminal and not console.is_dumb_terminal and os.environ.get("TERM") != "dumb":
            return TerminalScreen(model, view, console, transient=self._transient)
        return LineScreen(model, console.file, self._title)


class Screen(AbstractContextManager["Screen"]):
    """Where a dashboard is shown."""

    def __init__(self, model: DashboardModel) -> None:
        self.model = model

    def show(self, queue: deque[LogEvent], *, last: bool) -> None:
        """Take what waits in the queue and show how things stand."""
        changed = False
        while queue:
            told = self.model.take(queue.popleft())
            self.told([f"{chapter.decision}: {chapter.because}" for chapter in told])
            changed = True
        if changed or last:
            self.draw(last=last)

    def told(self, decisions: list[str]) -> None:
        """What was decided since."""

    @abstractmethod
    def draw(self, *, last: bool) -> None:
        """The picture as it is now."""

    def __exit__(self, *_: object) -> None:
        """Nothing to put back."""


class TerminalScreen(Screen):
    """Redrawn in place; the terminal is put back whatever happens."""

    def __init__(self, model: DashboardModel, view: DashboardView, console: Any, *, transient: bool) -> None:
        from rich.live import Live

        super().__init__(model)
        self._live = Live(view, console=console, auto_refresh=False, transient=transient)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def draw(self, *, last: bool) -> None:
        """Redraw."""
        del last
        self._live.refresh()

    def __exit__(self, *_: object) -> None:
        self._live.stop()


class NotebookScreen(Screen):
    """The picture as text in one output that is updated."""

    def __init__(self, model: DashboardModel, view: DashboardView) -> None:
        super().__init__(model)
        self._view = view
        self._writer = LineWriter(None, "notebook")

    def draw(self, *, last: bool) -> None:
        """Update."""
        from io import StringIO

        from rich.console import Console

        del last
        console = Console(file=StringIO(), width=100, force_jupyter=False, color_system=None)
        with console.capture() as captured:
            console.print(self._view)
        self._writer.status(captured.get())


class LineScreen(Screen):
    """Plain lines: every decision, and the state now and then."""

    def __init__(self, model: DashboardModel, stream: Any, title: str) -> None:
        super().__init__(model)
        self._title = title
        self._writer = LineWriter(stream, "plain")
        self._shown = time.monotonic()
        self._line = ""

    def told(self, decisions: list[str]) -> None:
        """A line each."""
        for text in decisions:
            self._writer.line(f"[{self.model.step:,} steps] {text}")

    def draw(self, *, last: bool) -> None:
        """The state, if it is time."""
        now = time.monotonic()
        line = self.model.line()
        if line != self._line and (last or now - self._shown >= _SECONDS_BETWEEN_LINES):
            self._shown, self._line = now, line
            self._writer.line(f"{self._title}: {line}")


def _raise_again() -> None:
    """Inside rich's handler of a broken pipe.

    Raises:
        BrokenPipeError: Always.
    """
    raise BrokenPipeError


def _nobody_reads(error: Exception) -> bool:
    return isinstance(error, BrokenPipeError | ConnectionError) or "closed file" in str(error)
