"""Curves for Weights & Biases while the run goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optix_core.callbacks.stream_callback import StreamCallback
from optix_core.runs.extras import require
from optix_core.runs.scalars import ScalarReader

if TYPE_CHECKING:
    from optix_core.runs.decision_log import LogEvent


class WandbCallback(StreamCallback):
    """Logs the run's curves (see :mod:`optix_core.runs.scalars` for the tags) over environment steps.

    A run of wandb that is continued (``resume``) knows its last step: what it holds already is not sent again.

    Args:
        project: As in ``wandb.init``.
        name: None: the name of the run's directory.
        config: None: what the run was started with, as its event stream says.
        tags: As in ``wandb.init``.
        group: As in ``wandb.init``.
        resume: As in ``wandb.init``.
        **init_kwargs: Passed on to ``wandb.init``.

    Raises:
        MissingDependencyError: wandb is not installed.
    """

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        config: Mapping[str, Any] | None = None,
        tags: Sequence[str] | None = None,
        group: str | None = None,
        resume: str | bool | None = None,
        **init_kwargs: Any,
    ) -> None:
        self._wandb = require("wandb", extra="wandb", what="WandbCallback")
        self._name = name
        self._config = None if config is None else dict(config)
        self._options: dict[str, Any] = {
            "project": project,
            "tags": None if tags is None else list(tags),
            "group": group,
            "resume": resume,
            **init_kwargs,
        }
        self._session: Any = None
        self._first_step = 0
        self._scalars = ScalarReader()

    def opened(self, event: LogEvent) -> None:
        """Begin or continue the run of wandb."""
        config = self._config
        if config is None and event.kind == "started":
            config = {name: value for name, value in event.numbers.items() if value is not None}
        self._session = self._wandb.init(name=self._name or self.run_name, config=config, **self._options)
        self._first_step = int(getattr(self._session, "step", 0) or 0)
        self._scalars = ScalarReader()

    def received(self, event: LogEvent) -> None:
        """The event's points."""
        values = self._scalars.read(event)
        if values and self._session is not None and event.step >= self._first_step:
            self._session.log(values, step=event.step)

    def closed(self) -> None:
        """End the run of wandb."""
        session, self._session = self._session, None
        if session is not None:
            session.finish()
