"""A process that outlives the learner by a moment, to kill what the learner could not.

Actors die with the learner by themselves. What an environment has started in its turn does not, and it may be stuck
where no Python code of ours runs. The guard holds one end of a pipe: when the other end closes, for whatever
reason, it kills the process groups it was told of.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys

_PROGRAM = """
import os, signal
groups, text = set(), b""
while True:
    chunk = os.read(0, 4096)
    if not chunk:
        break
    text += chunk
    *lines, text = text.split(b"\\n")
    for line in lines:
        group = int(line[1:])
        groups.add(group) if line[:1] == b"+" else groups.discard(group)
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class Guard:
    """Kills process groups when this process ends or :meth:`close` was forgotten."""

    def __init__(self) -> None:
        read, self._write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                process_group=0,
            )
        except BaseException:
            os.close(self._write)
            raise
        finally:
            os.close(read)
        self.pid = self._process.pid

    def watch(self, group: int) -> None:
        """Kill this process group, too."""
        self._tell(f"+{group}\n")

    def forget(self, group: int) -> None:
        """This group is gone; its number may belong to somebody else soon."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End the guard, which kills what it still watches. Safe to call twice."""
        if self._write >= 0:
            os.close(self._write)
            self._write = -1
            self._process.wait()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard; actors still die with us
            os.write(self._write, line.encode())
