"""Where does one line of progress go? Terminal, pipe or notebook; none of them can stop a run."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any, Literal, TextIO

Mode = Literal["auto", "terminal", "plain", "notebook", "off"]

_NARROWEST = 20  # columns; a terminal that reports fewer does not know its width
_USUAL = 80


class LineWriter:
    """Writes lines that stay, and one line that is overwritten.

    A stream that was closed, a pipe whose reader has gone, and characters that an encoding lacks are all survived: the
    first two end the output, the last become ``?``.

    Args:
        stream: Where to write; None: standard output at the time of writing.
        mode: ``"terminal"`` overwrites with a carriage return, ``"plain"`` writes every line, ``"notebook"`` updates
            one display, ``"off"`` writes nothing; ``"auto"`` finds out.
    """

    def __init__(self, stream: TextIO | None = None, mode: Mode = "auto") -> None:
        self._stream = stream
        self._wanted: Mode = mode
        self._mode: Mode | None = None
        self._pending = 0  # columns of the overwritable line now on the screen
        self._display: Any = None
        self.dead = False

    @property
    def mode(self) -> Mode:
        """What was found out, or what was asked for."""
        if self._mode is None:
            self._mode = self._found() if self._wanted == "auto" else self._wanted
        return self._mode

    def line(self, text: str) -> None:
        """A line that stays."""
        if self.mode == "off":
            return
        self.clear()
        self._write(text + "\n")

    def status(self, text: str) -> None:
        """A line that the next one replaces; in plain mode it stays as well."""
        mode = self.mode
        if mode == "plain":
            self._write(text + "\n")
        elif mode == "notebook":
            self._update(text)
        elif mode == "terminal":
            shown = _fitted(text, self._columns() - 1)
            self._write("\r" + shown.ljust(self._pending))
            self._pending = len(shown)

    def clear(self) -> None:
        """Take the overwritable line off the terminal."""
        if self._pending:
            self._write("\r" + " " * self._pending + "\r")
            self._pending = 0

    def close(self) -> None:
        """Leave the cursor at the start of a fresh line, with the last status still to be read."""
        if self._pending:
            self._write("\n")
            self._pending = 0

    def _target(self) -> TextIO | None:
        return sys.stdout if self._stream is None else self._stream

    def _found(self) -> Mode:
        shell = sys.modules.get("IPython")
        if self._stream is None and shell is not None:
            active = shell.get_ipython()
            if active is not None and type(active).__name__ == "ZMQInteractiveShell":
                return "notebook"
        stream = self._target()
        try:
            terminal = stream is not None and stream.isatty()
        except (OSError, ValueError, AttributeError):
            terminal = False
        return "terminal" if terminal and os.environ.get("TERM") != "dumb" else "plain"

    def _columns(self) -> int:
        stream = self._target()
        try:
            columns = int(os.environ.get("COLUMNS", "0"))
        except ValueError:
            columns = 0
        if columns <= 0 and stream is not None:
            try:
                columns = os.get_terminal_size(stream.fileno()).columns
            except (OSError, ValueError, AttributeError):
                columns = shutil.get_terminal_size((_USUAL, 24)).columns
        return columns if columns >= _NARROWEST else _USUAL

    def _write(self, text: str) -> None:
        stream = self._target()
        if self.dead or stream is None:
            return
        try:
            try:
                stream.write(text)
            except UnicodeEncodeError:
                encoding = getattr(stream, "encoding", None) or "ascii"
                stream.write(text.encode(encoding, "replace").decode(encoding))
            stream.flush()
        except (OSError, ValueError):  # the reader has gone, or the stream is closed: nobody listens any more
            self.dead = True

    def _update(self, text: str) -> None:
        if self._display is None:
            from importlib import import_module

            show = import_module("IPython.display").display
            self._display = show({"text/plain": text}, raw=True, display_id=True)
        else:
            self._display.update({"text/plain": text}, raw=True)


def _fitted(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 2, 0)] + ".."
