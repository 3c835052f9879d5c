"""Where a run is to lie: a new directory, one of a given name, or that of a run to be continued."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.checkpoints.registry import CheckpointRegistry
    from optix_core.runs.run_directory import RunDirectory


class RunPlace:
    """Makes or opens the directory of one run.

    Args:
        root: Parent of a new directory.
        run_dir: Exactly this directory instead of a new one; None: ``root`` gets a new one.
        resume: It exists, with a run to be continued.
        config: What is recorded of a new run besides its agent.
        seed: Root seed to record.
        max_snapshots: Checkpoints kept besides the best and the newest.
        durability: ``"power"`` or ``"process"``.

    Attributes:
        path: Where the run lies; None before there is a directory.
        resume: Whether the run is to be continued.
        config: As given; what is added before :meth:`open` is recorded too.

    Raises:
        ConfigError: ``durability`` is unknown, or it is not said which run to continue.
    """

    def __init__(
        self,
        root: str | Path,
        run_dir: str | Path | None,
        *,
        resume: bool,
        config: Mapping[str, Any],
        seed: int | None,
        max_snapshots: int,
        durability: str,
    ) -> None:
        if durability not in {"power", "process"}:
            raise ConfigError(f"durability is {durability!r}; it must be 'power' or 'process'")
        if resume and run_dir is None:
            raise ConfigError("resume=True needs run_dir, the directory of the run to continue")
        self._root, self._seed = Path(root), seed
        self._registry_options: dict[str, Any] = {"max_snapshots": max_snapshots, "durability": durability}
        self.path = None if run_dir is None else Path(run_dir)
        self.resume = resume
        self.config = dict(config)

    def open(self, agent: BaseAgent) -> RunDirectory:
        """The directory: that of the run to be continued, else a new one for ``agent``.

        Raises:
            CheckpointError: It cannot be made, or holds no run.
        """
        from optix_core.runs.run_directory import RunDirectory

        if self.resume:
            return self.stored()
        config = {
            "agent": getattr(agent, "optix_spec_info", {"class": type(agent).__name__}),
            **self.config,
        }
        if self.path is None:
            directory = RunDirectory.create(self._root, config=config, seed=self._seed)
        else:
            directory = RunDirectory.create(
                self.path.parent, name=self.path.name, config=config, seed=self._seed
            )
        self.path = directory.path
        return directory

    def stored(self) -> RunDirectory:
        """The directory of the run to be continued.

        Raises:
            CheckpointError: There is no run.
        """
        from optix_core.runs.run_directory import RunDirectory

        assert self.path is not None
        return RunDirectory.open(self.path)

    def registry_of(self, directory: RunDirectory) -> CheckpointRegistry:
        """Where its checkpoints go."""
        return directory.registry(**self._registry_options)
