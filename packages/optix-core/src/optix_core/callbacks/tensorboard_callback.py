"""Curves for TensorBoard while the run goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.callbacks.stream_callback import StreamCallback
from optix_core.errors import ConfigError
from optix_core.runs.scalars import ScalarReader
from optix_core.runs.tensorboard_files import TensorBoardFile, modules

if TYPE_CHECKING:
    from optix_core.runs.decision_log import LogEvent

DEFAULT_LOG_DIR = Path("runs") / "tensor_optix"
_WRITER_OPTIONS = {"max_queue": "max_queue", "max_queue_size": "max_queue", "filename_suffix": "suffix"}


class TensorBoardCallback(StreamCallback):
    """Writes the run's curves (see :mod:`optix_core.runs.scalars` for the tags) over environment steps.

    A resumed run writes its file anew from the event stream, so that nothing is missing and nothing is twice;
    the file that an interrupted session of the same run left in ``log_dir`` is replaced.

    Args:
        log_dir: Folder of the event file. None: a folder named like the run below ``runs/tensor_optix``
            (``runs/tensor_optix`` itself outside of a run), so that one TensorBoard shows all runs apart.
        comment: Appended to the folder's name, or to the file's name where ``log_dir`` is given.
        flush_secs: Seconds after which what was written is visible, > 0.
        **writer_kwargs: ``max_queue`` (rows that may wait for the disk) and ``filename_suffix``.

    Raises:
        MissingDependencyError: tensorboard is not installed.
        ConfigError: An argument is unknown or out of range.
    """

    def __init__(
        self,
        log_dir: str | Path | None = None,
        comment: str = "",
        flush_secs: float = 10,
        **writer_kwargs: Any,
    ) -> None:
        modules()
        unknown = sorted(set(writer_kwargs) - set(_WRITER_OPTIONS))
        if unknown:
            raise ConfigError(
                f"TensorBoardCallback has no argument {', '.join(unknown)}; besides log_dir, comment and flush_secs "
                f"there are {', '.join(_WRITER_OPTIONS)}"
            )
        if not flush_secs > 0:
            raise ConfigError(f"flush_secs is {flush_secs}; expected a positive number of seconds")
        self._log_dir = None if log_dir is None else Path(log_dir)
        self._comment = comment
        self._flush_secs = flush_secs
        self._options = {_WRITER_OPTIONS[name]: value for name, value in writer_kwargs.items()}
        self._file: TensorBoardFile | None = None
        self._scalars = ScalarReader()

    @property
    def log_dir(self) -> Path:
        """Where the event file goes."""
        if self._log_dir is not None:
            return self._log_dir
        name = self.run_name
        if name is None:
            return DEFAULT_LOG_DIR.with_name(DEFAULT_LOG_DIR.name + self._comment)
        return DEFAULT_LOG_DIR / f"{name}{self._comment}"

    def opened(self, event: LogEvent) -> None:
        """Make the file."""
        options = dict(self._options)
        if self._log_dir is not None and self._comment:
            options["suffix"] = f"{options.get('suffix', '')}{self._comment}"
        self._scalars = ScalarReader()
        self._file = TensorBoardFile(
            self.log_dir, self.run_name or "", flush_secs=self._flush_secs, **options
        )
        self._file.supersede(event.time)

    def received(self, event: LogEvent) -> None:
        """The event's points."""
        values = self._scalars.read(event)
        if values and self._file is not None:
            self._file.add(event.step, event.time, values)

    def closed(self) -> None:
        """Write what waits."""
        file, self._file = self._file, None
        if file is not None:
            file.close()
