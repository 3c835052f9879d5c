"""The ``verbose=True`` account of every evaluated window, in plain lines."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from types import TracebackType

    from optix_core.loop.records import Decision
    from optix_core.loop.training import Progress
    from optix_core.types import EvalMetrics


class VerboseWriter:
    """Writes one block per evaluated window to stdout or to a file.

    The file is opened when the run starts and closed when it ends.

    Args:
        enabled: Write at all. A ``path`` alone also enables it.
        path: File to append to instead of stdout.
    """

    def __init__(self, *, enabled: bool, path: str | None = None) -> None:
        self._enabled = enabled or path is not None
        self._path = path
        self._stream: TextIO | None = None

    def __enter__(self) -> Self:
        if self._enabled:
            # Line buffered, so that a reader sees every window at once.
            to_file = self._path is not None
            self._stream = (
                Path(self._path or "").open("a", buffering=1, encoding="utf-8") if to_file else sys.stdout
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        if self._stream is not None and self._path is not None:
            self._stream.close()
        self._stream = None

    def decision(self, progress: Progress, decision: Decision, metrics: EvalMetrics | None) -> None:
        """One evaluated window with the numbers behind its verdict."""
        if self._stream is None:
            return
        score = "no score" if metrics is None else f"score {metrics.primary_score:.6g}"
        actions = ", ".join(a.name.lower() for a in decision.actions) or "go on"
        states = " -> ".join(
            [old.name for old, _, _ in decision.transitions] + [decision.snapshot.state.name]
        )
        verdict = "probe" if decision.verdict is None else decision.verdict.name.lower()
        lines = [
            f"window {progress.windows}  step {progress.steps}  {score}  {verdict}",
            f"  state  {states}   actions: {actions}",
        ]
        numbers = "  ".join(
            f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in decision.numbers.items()
            if value is not None
        )
        if numbers:
            lines.append(f"  {numbers}")
        self._stream.write("\n".join(lines) + "\n")
