"""What a checkpoint of a run holds besides the agent, and how it is put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optix_core.errors import ResumeError
from optix_core.state import Stateful
from optix_core.types import EvalMetrics, HyperparamSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optix_core.loop.loop_controller import LoopController
    from optix_core.state import State
    from optix_core.types import PolicySnapshot


class RunStorage:
    """Stores and restores a run through the checkpoint registry.

    Attributes:
        pending: What the second half of the newest window still has to do; see :mod:`~optix_core.loop.cycle`.
        recoveries: Restores after a diverged update so far.
    """

    def __init__(self, loop: LoopController) -> None:
        self._loop = loop
        self._border: dict[str, State] | None = None
        self.pending: dict[str, Any] | None = None
        self.recoveries = 0

    def training_state(self) -> dict[str, State]:
        """Everything besides the agent that a resumed run needs, by component."""
        loop = self._loop
        parts: dict[str, State] = {
            "loop": {
                "scheduler": loop.scheduler.state_dict(),
                "progress": loop.progress.state_dict(),
                "history": [metrics.to_state() for metrics in loop.history],
                "pending": self.pending,
                "recoveries": self.recoveries,
                "log_seq": None if loop.decision_log is None else loop.decision_log.last_seq,
            },
            "tuning": loop.tuning.state_dict(),
        }
        if loop.validator is not None:
            parts["validation"] = loop.validator.state_dict()
        for name, part in self._others():
            if isinstance(part, Stateful):
                parts[name] = part.state_dict()
        callbacks = {str(i): c.state_dict() for i, c in enumerate(loop.callbacks) if isinstance(c, Stateful)}
        if callbacks:
            parts["callbacks"] = callbacks
        return parts

    def _others(self) -> tuple[tuple[str, Any], ...]:
        """What is stored if it can say what it is made of."""
        loop = self._loop
        return (
            ("pipeline", loop.pipeline),
            ("evaluator", loop.evaluator),
            ("diagnostics", loop.cycle.diagnostics),
        )

    def resume(self) -> bool:
        """Continue from the newest intact checkpoint; False if there is none, and the run begins.

        Raises:
            CheckpointError: It is damaged or belongs to another agent; nothing was changed.
        """
        loop = self._loop
        latest = loop.registry.latest_training_state()
        if latest is None:
            # Killed before its first checkpoint: from the beginning is exactly where it was.
            if loop.decision_log is not None:
                loop.decision_log.truncate_after(0)
            return False
        latest.require_known({"agent", *self.training_state()})
        loop.registry.restore(loop.agent, latest)
        loop.registry.continue_from(latest)
        try:
            self.load_training_state(latest.components)
        except (KeyError, ValueError) as error:
            raise ResumeError(
                f"{latest.info.path} holds a state that this version cannot take up ({error!r}). Continue it with the "
                "version that wrote it, which its run.json names, or start a new run."
            ) from error
        return True

    def load_training_state(self, training: Mapping[str, Any]) -> None:
        """Continue from :meth:`training_state`.

        Log lines written after it are removed, for they will be written again.
        """
        loop, stored = self._loop, training["loop"]
        for name, part in self._others():
            if name in training and isinstance(part, Stateful):
                part.load_state_dict(training[name])
        for i, callback in enumerate(loop.callbacks):
            if isinstance(callback, Stateful) and str(i) in training.get("callbacks", {}):
                callback.load_state_dict(training["callbacks"][str(i)])
        self._load_counters(training)
        loop.scheduler.load_state_dict(stored["scheduler"])
        loop.history.extend(EvalMetrics.from_state(metrics) for metrics in stored["history"])
        self.pending = stored["pending"]
        self.recoveries = int(stored["recoveries"])
        if loop.decision_log is not None and stored["log_seq"] is not None:
            loop.decision_log.truncate_after(int(stored["log_seq"]))

    def _load_counters(self, training: Mapping[str, Any]) -> None:
        loop = self._loop
        loop.progress.load_state_dict(training["loop"]["progress"])
        loop.tuning.load_state_dict(training["tuning"])
        if loop.validator is not None and "validation" in training:
            loop.validator.load_state_dict(training["validation"])

    def go_back_to(self, border: dict[str, State]) -> None:
        """Forget an interrupted experiment.

        What is stored from now on is the state before it, so that a resumed run repeats it.
        """
        self._load_counters(border)
        self._border = border

    def save(self, reason: str, metrics: EvalMetrics) -> PolicySnapshot | None:
        """Store the agent as it is, with everything a resumed run needs.

        Returns:
            What was stored; None if the disk refused, which the registry has reported then.
        """
        loop = self._loop
        if loop.decision_log is not None:
            # The state names the log's last line, so that line must not be younger than the checkpoint.
            loop.decision_log.sync()
        return loop.registry.save(
            loop.agent,
            metrics,
            loop.agent.get_hyperparams(),
            training=self.training_state() if self._border is None else self._border,
            step=loop.progress.steps,
            window=loop.progress.windows,
            reason=reason,
        )

    def restore(self, snapshot: PolicySnapshot) -> None:
        """Put a stored policy back: weights, optimizer, normalisers and hyperparameters."""
        loop = self._loop
        loop.registry.load(loop.agent, snapshot.snapshot_id)
        loop.agent.set_hyperparams(HyperparamSet(dict(snapshot.hyperparams.params)))
        loop.tuning.on_rollback()
