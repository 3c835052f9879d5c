"""A run's schedule of hyperparameters, put in force again at the same environment steps."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from optix_core.base_optimizer import BaseOptimizer
from optix_core.errors import ConfigError

if TYPE_CHECKING:
    from optix_core.base_agent import BaseAgent
    from optix_core.runs.decision_log import LogEvent
    from optix_core.state import State
    from optix_core.types import History, HyperparamSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Hyperparameters that came into force together.

    Attributes:
        step: Environment steps learned from at that moment; 0 or less: from the beginning.
        values: The new values, by name.
        cause: What changed them: ``"start"``, ``"tuner"``, ``"rollback"``, ``"probe"``, ``"replay"`` or ``"other"``.
    """

    step: int
    values: Mapping[str, Any]
    cause: str = "tuner"


class ScheduleReplay(BaseOptimizer):
    """Tunes nothing: puts recorded values in force when as many environment steps are done as were in the record.

    What changed hyperparameters in the recorded run does not matter: a tuner, a rollback that restored earlier ones,
    a probe, a recovery from divergence. Values that only the branches of a trial had are not part of the schedule;
    the environment steps that branches took are counted, as they were in the run. Between changes, values are held:
    if the new run restores a checkpoint with others, the scheduled ones come back after the same window. With windows
    of another length a change comes at the first border at or after its step.

    Args:
        changes: In the order of their steps.
        run: The directory of a run to read them from instead; see :meth:`from_run`.
        source: Where they are from, for the log.
        agent: Which agent the record belongs to (``plugin`` and ``spec``, or ``class``); None: any.

    Raises:
        ConfigError: Both ``changes`` and ``run`` are given, steps decrease, or see :meth:`from_run`.
    """

    def __init__(
        self,
        changes: Sequence[Change] = (),
        *,
        run: str | Path | None = None,
        source: str = "",
        agent: Mapping[str, Any] | None = None,
    ) -> None:
        if run is not None:
            if changes:
                raise ConfigError("ScheduleReplay: both changes and run are given; give one of them")
            found, agent = _read(Path(run))
            changes, source = found, source or str(run)
        self.changes: tuple[Change, ...] = tuple(changes)
        self.source = source
        self.agent = None if agent is None else dict(agent)
        self._steps = [change.step for change in self.changes]
        if self._steps != sorted(self._steps):
            raise ConfigError("ScheduleReplay: the steps of changes decrease; sort them")

    @classmethod
    def from_run(cls, path: str | Path) -> Self:
        """The schedule of the run in directory ``path``.

        Raises:
            ConfigError: There is no run, it has no decision log, or the log does not begin with the run's start.
        """
        return cls(run=path)

    @property
    def names(self) -> tuple[str, ...]:
        """Every hyperparameter that the schedule sets, in order of appearance."""
        return tuple(dict.fromkeys(name for change in self.changes for name in change.values))

    def check(self, agent: BaseAgent) -> None:
        """Does the schedule fit ``agent``?

        Raises:
            ConfigError: It belongs to another agent, or sets a hyperparameter that this one does not have.
        """
        from optix_core.plugins.hints import did_you_mean

        origin = f"the schedule of {self.source}" if self.source else "the schedule"
        mine = _identity(getattr(agent, "optix_spec_info", None) or {"class": type(agent).__name__})
        recorded = _identity(self.agent or {})
        if recorded is not None and mine is not None and recorded != mine:
            raise ConfigError(
                f"{origin} belongs to the agent {recorded}, and this is {mine}. Replay it with that agent, or build "
                "ScheduleReplay(changes) from the values that this one should get."
            )
        known = sorted(agent.get_hyperparams().params)
        for name in self.names:
            if name not in known:
                raise ConfigError(
                    f"{origin} sets {name!r}, which {mine or type(agent).__name__} does not have."
                    f"{did_you_mean(name, known)} It has: {', '.join(known)}."
                )

    def values_at(self, steps: int) -> dict[str, Any]:
        """The scheduled values in force after ``steps`` environment steps, by name."""
        values: dict[str, Any] = {}
        for change in self.changes[: bisect_right(self._steps, steps)]:
            values.update(change.values)
        return values

    def change_at(self, steps: int) -> Change | None:
        """The newest change at or before ``steps``."""
        index = bisect_right(self._steps, steps)
        return self.changes[index - 1] if index else None

    def suggest(self, current_hyperparams: HyperparamSet, metrics_history: History) -> HyperparamSet:
        """An unchanged copy: the schedule goes by environment steps, see :meth:`values_at`."""
        del metrics_history
        return current_hyperparams.copy()

    def state_dict(self) -> State:
        """The whole schedule, so that a resumed run keeps it whatever becomes of the recorded one."""
        return {
            "changes": [{"step": c.step, "values": dict(c.values), "cause": c.cause} for c in self.changes],
            "source": self.source,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the schedule of ``state``."""
        changes = tuple(
            Change(step=int(c["step"]), values=dict(c["values"]), cause=str(c["cause"]))
            for c in state["changes"]
        )
        self.source = str(state["source"])
        self.changes, self._steps = changes, [change.step for change in changes]


def schedule_of(events: Iterable[LogEvent]) -> list[Change]:
    """Every change of hyperparameters in a decision log, preceded by the values at the start of what changes later.

    Raises:
        ConfigError: The log does not say with which values the run started.
    """
    start: dict[str, Any] | None = None
    known: dict[str, Any] = {}
    changes: list[Change] = []
    border = 0  # environment steps at the end of the last window: those of the next one have its values
    for event in events:
        if event.kind == "started":
            start = dict(event.numbers.get("hyperparams") or {})
            known |= start
        found, step, cause = _changed(event), event.step, str(event.numbers.get("cause") or "tuner")
        if event.kind == "window":
            step, border, cause = border, event.step, "other"
        values = {name: value for name, value in found.items() if name not in known or known[name] != value}
        if values:
            known |= values
            changes.append(Change(step=step, values=values, cause=cause))
    if start is None:
        raise ConfigError("its decision log has no entry of the run's start, so its schedule is unknown")
    names = dict.fromkeys(name for change in changes for name in change.values)
    first = {name: start[name] for name in names if name in start}
    return [Change(step=0, values=first, cause="start"), *changes] if first else changes


def _changed(event: LogEvent) -> dict[str, Any]:
    """Values that ``event`` put in force, or shows to be."""
    if event.kind == "tuned":
        pairs = cast("Mapping[str, Sequence[Any]]", event.numbers.get("changed") or {})
        return {name: pair[1] for name, pair in pairs.items()}
    if event.kind == "window":  # what anything else changed shows in the next window
        return dict(cast("Mapping[str, Any]", event.numbers.get("hyperparams") or {}))
    return {}


def _read(path: Path) -> tuple[list[Change], dict[str, Any] | None]:
    """Schedule and agent of the run in ``path``."""
    from optix_core.errors import CheckpointError
    from optix_core.runs.run_directory import LOG_NAME, RunDirectory

    try:
        run = RunDirectory.open(path)
        if not (run.path / LOG_NAME).exists():
            raise ConfigError(
                f"{run.path} has no decision log ({LOG_NAME}), so there is no schedule to replay"
            )
        changes = schedule_of(run.log().read())
    except CheckpointError as error:
        raise ConfigError(f"{path} cannot be replayed: {error.message}", code=error.code) from error
    except ConfigError as error:
        raise ConfigError(f"{path} cannot be replayed: {error.message}") from None
    agent = run.info.config.get("agent")
    return changes, dict(cast("Mapping[str, Any]", agent)) if isinstance(agent, Mapping) else None


def _identity(info: Mapping[str, Any]) -> str | None:
    """``plugin:spec``, or the class; None if neither is known."""
    if info.get("plugin") and info.get("spec"):
        return f"{info['plugin']}:{info['spec']}"
    return str(info["class"]) if info.get("class") else None
