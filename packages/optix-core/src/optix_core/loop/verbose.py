"""The ``verbose=True`` account of every evaluated window, in plain lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

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

    def __enter__(self) -> VerboseWriter:
        if self._enabled:
            # Line buffered, so that a reader sees every window at once.
            self._stream = sys.stdout if self._path is None else open(self._path, "a", buffering=1, encoding="utf-8")  # noqa: PTH123, SIM115 - closed in __exit__
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
        states = " -> ".join([old.name for old, _, _ in decision.transitions] + [decision.snapshot.state.name])
        lines = [
            f"window {progress.windows}  step {progress.steps}  {score}  {'probe' if decision.verdict is None else decision.verdict.name.lower()}",
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
