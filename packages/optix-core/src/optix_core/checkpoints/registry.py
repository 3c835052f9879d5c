"""Policies of a run: saved when they are good, found again by score, restored into the agent.

The loop's view of :class:`~optix_core.checkpoints.store.CheckpointStore`. An agent with ``state_dict`` and
``load_state_dict`` is stored and restored completely (weights, optimizer, normalisers, random streams); one
with only the six methods of BaseAgent by its ``save_weights``.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from optix_core.base_agent import BaseAgent
from optix_core.checkpoints.codec import Encoded, decode_value, encode_components
from optix_core.checkpoints.compatibility import architecture_keys, check_compatible, describe_agent, fits
from optix_core.checkpoints.filesystem import FileSystem
from optix_core.checkpoints.lock import RunLock
from optix_core.checkpoints.reader import CheckpointInfo, LoadedCheckpoint
from optix_core.checkpoints.reporting import Report, warn
from optix_core.checkpoints.retention import by_score
from optix_core.checkpoints.store import CheckpointStore
from optix_core.errors import CheckpointNotSaved, CorruptCheckpoint, IncompatibleCheckpoint
from optix_core.state import State, Stateful
from optix_core.types import EvalMetrics, HyperparamSet, PolicySnapshot

FAILURES_ALLOWED = 3
"""So many saves in a row may fail before it is an error."""

AGENT = "agent"
RANKED_REASON = "improvement"


class CheckpointRegistry:
    """Stored policies in one directory.

    Args:
        checkpoint_dir: The directory; created if missing. Several registries, also in other processes, may
            read it while one writes.
        max_snapshots: How many checkpoints remain. The best and the newest always do.
        fs: System calls, replaced in tests.
        durability: See :class:`~optix_core.checkpoints.store.CheckpointStore`.
        on_save_error: "warn": a failed save is reported and the next one tried, and only the third in a row
            raises. "raise": the first does.
        run_id: Written into every checkpoint.
        report: Receives one sentence per event worth a person's attention; the default is a Python warning.
        unsafe_no_lock: See :class:`~optix_core.checkpoints.lock.RunLock`.

    Raises:
        CheckpointError: The directory cannot be made.
    """

    def __init__(
        self,
        checkpoint_dir: str | Path,
        max_snapshots: int | None = 10,
        *,
        fs: FileSystem | None = None,
        durability: str = "power",
        on_save_error: str = "warn",
        run_id: str | None = None,
        report: Report = warn,
        unsafe_no_lock: bool = False,
    ) -> None:
        if on_save_error not in {"warn", "raise"}:
            raise ValueError(f'on_save_error is {on_save_error!r}; it is "warn" or "raise"')
        self.store = CheckpointStore(
            checkpoint_dir,
            fs=fs,
            keep=max_snapshots,
            durability=durability,
            run_id=run_id,
            report=report,
            unsafe_no_lock=unsafe_no_lock,
        )
        self._raise_at = 1 if on_save_error == "raise" else FAILURES_ALLOWED
        self._report = report
        self._failures = 0
        self._parent: CheckpointInfo | None = None

    @property
    def checkpoint_dir(self) -> Path:
        """Where the checkpoints lie, as an absolute path."""
        return self.store.run_dir

    @property
    def best(self) -> PolicySnapshot | None:
        """The stored policy with the highest finite score, by the manifests; of equal scores the earlier."""
        ranked = by_score(self.store.list())
        return snapshot_of(ranked[0]) if ranked else None

    def snapshots(self) -> list[PolicySnapshot]:
        """Everything stored, in the order of saving."""
        return [snapshot_of(info) for info in self.store.list()]

    def lock(self) -> RunLock:
        """The writer's lock, for a ``with`` statement around a run; single saves take it by themselves.

        Raises:
            CheckpointLocked: On entering, if another process writes here.
        """
        return self.store.lock()

    def preflight(self, agent: BaseAgent | None = None) -> None:
        """Make sure, before training, that the directory can hold a run: access, syncing, locking, space.

        Raises:
            CheckpointError: It cannot, and why; :class:`CheckpointLocked` if another process writes there.
        """
        state = encode_components({AGENT: agent.state_dict()}) if isinstance(agent, Stateful) else Encoded()
        self.store.preflight(
            sum(array.nbytes for array in state.arrays.values()),
            sum(array.file_size for array in state.sealed.values()),
        )

    def save(
        self,
        agent: BaseAgent,
        eval_metrics: EvalMetrics | None,
        hyperparams: HyperparamSet,
        *,
        training: Mapping[str, State] | None = None,
        step: int | None = None,
        window: int | None = None,
        reason: str = RANKED_REASON,
        kind: str = "exact",
        keep_always: bool = False,
    ) -> PolicySnapshot | None:
        """Store the agent as it is.

        Args:
            agent: Whose state is stored.
            eval_metrics: What it achieved. The score takes part in "best" if it is finite and ``reason`` is
                "improvement".
            hyperparams: The values in force.
            training: State of everything else that a resumed run needs, by component.
            step: Environment steps learned from; without it, checkpoints are numbered.
            window: Windows learned from; without it, the metrics' ``episode_id``.
            reason: "improvement", "periodic", "signal", "final" or another word.
            kind: What resuming can promise, "exact" or "boundary". Without ``training``, or for an agent
                without ``state_dict``, it is "weights" whatever is asked for.
            keep_always: Never remove it.

        Returns:
            What was stored, or None if the disk refused; that has been reported then, and earlier checkpoints
            are intact.

        Raises:
            CheckpointNotSaved: Saving failed three times in a row (once with ``on_save_error="raise"``).
            NonFiniteState: The agent's arrays hold NaN or infinity.
            CheckpointLocked: Another process writes here.
        """
        components: dict[str, State] = {}
        opaque: Callable[[Path], None] | None = None
        if isinstance(agent, Stateful):
            components[AGENT] = agent.state_dict()
        else:

            def write_weights(path: Path) -> None:
                agent.save_weights(str(path))

            opaque = write_weights
        if training is not None and AGENT in training:
            raise ValueError(
                f"training has a component {AGENT!r}; the agent's state is taken from the agent itself"
            )
        components |= dict(training or {})
        if step is None:
            step = 1 + max((info.step for info in self.store.list()), default=-1)
        if window is None:
            window = 0 if eval_metrics is None else eval_metrics.episode_id
        ranked = eval_metrics is not None and reason == RANKED_REASON
        try:
            info = self.store.save(
                components,
                step=step,
                window=window,
                kind="weights" if opaque is not None or training is None else kind,
                score=eval_metrics.primary_score if ranked and eval_metrics is not None else None,
                metrics=_stored_metrics(eval_metrics, hyperparams),
                agent_info=describe_agent(agent),
                parent=self._parent,
                opaque=opaque,
                reason=reason,
                keep_always=keep_always,
                architecture_keys=architecture_keys(agent),
            )
        except CheckpointNotSaved as error:
            self._failures += 1
            if self._failures >= self._raise_at:
                raise CheckpointNotSaved(
                    f"{error.message} This was failure {self._failures} in a row."
                ) from error
            self._report(error.message)
            return None
        self._failures = 0
        return snapshot_of(info)

    def load(self, agent: BaseAgent, name: str | Path, *, weights_only: bool = False) -> PolicySnapshot:
        """Restore one checkpoint into ``agent``.

        Args:
            agent: Left as it was if anything is wrong.
            name: "latest", "best", a snapshot's id or the path of its directory.
            weights_only: Restore what acts and leave optimizer, random streams and the like as they are.

        Raises:
            CorruptCheckpoint: It is damaged.
            IncompatibleCheckpoint: It belongs to another agent or architecture.
            CheckpointError: There is no such checkpoint.
        """
        return self.restore(agent, self.store.load(name), weights_only=weights_only)

    def load_best(self, agent: BaseAgent, *, weights_only: bool = False) -> PolicySnapshot | None:
        """Restore the best policy that fits the agent; None if nothing with a finite score is stored.

        Raises:
            CorruptCheckpoint: Something is stored, and all of it is damaged.
            IncompatibleCheckpoint: Everything with a score belongs to another agent or architecture.
        """
        loaded = self.store.find(lambda infos: self._ranked_for(agent, infos), "best")
        return None if loaded is None else self.restore(agent, loaded, weights_only=weights_only)

    def _ranked_for(self, agent: BaseAgent, infos: Sequence[CheckpointInfo]) -> Sequence[CheckpointInfo]:
        """Best first, of those that ``agent`` can take; if it can take none, all, so that loading says why."""
        ranked = by_score(infos)
        state = agent.state_dict() if isinstance(agent, Stateful) else None
        fitting = [info for info in ranked if fits(agent, state, info)]
        return fitting or ranked

    def load_ensemble(
        self, agent: BaseAgent, top_k: int = 3, score_band: float = 0.1
    ) -> PolicySnapshot | None:
        """Restore the mean of the weights of several good policies.

        Candidates score at least ``best - |best| * score_band``; the ``top_k`` best of them are averaged.
        With fewer than two, the best alone is restored. What is not weights (optimizer, random streams) is
        the best one's.

        Returns:
            The best snapshot, or None if nothing with a finite score is stored.

        Raises:
            NotImplementedError: The agent cannot average weights.
            CheckpointError: As for :meth:`load`; the agent is left as it was.
        """
        ranked = self._ranked_for(agent, self.store.list())
        if not ranked:
            return self.load_best(agent)
        top = ranked[0].score or 0.0
        chosen = [i for i in ranked if (i.score or 0.0) >= top - abs(top) * score_band][: max(top_k, 1)]
        if len(chosen) < 2:
            return self.load_best(agent)
        if getattr(type(agent), "average_weights", BaseAgent.average_weights) is BaseAgent.average_weights:
            raise NotImplementedError(
                f"{type(agent).__name__} cannot average weights, so there is no ensemble of {len(chosen)} "
                "policies to load. Use load_best, or implement average_weights."
            )
        loaded = [self.store.load(info.name) for info in chosen]
        with tempfile.TemporaryDirectory(prefix="optix-ensemble-") as scratch, _Undo(agent):
            paths: list[str] = []
            for index, checkpoint in reversed(
                list(enumerate(loaded))
            ):  # the best last, so that its other state remains
                self.restore(agent, checkpoint)
                path = str(Path(scratch) / f"weights-{index}")
                agent.save_weights(path)
                paths.append(path)
            agent.average_weights(paths[::-1])
        return snapshot_of(chosen[0])

    def latest_training_state(self) -> LoadedCheckpoint | None:
        """The newest intact checkpoint that a run can continue from, or None if there is none.

        Restore it with :meth:`restore`; its ``components`` are what was passed as ``training``, and "agent".

        Raises:
            CorruptCheckpoint: There are some, and all are damaged.
        """

        def order(infos: Sequence[CheckpointInfo]) -> Sequence[CheckpointInfo]:
            return [info for info in reversed(infos) if set(info.manifest.components) - {AGENT}]

        return self.store.find(order, "newest")

    def restore(
        self, agent: BaseAgent, loaded: LoadedCheckpoint, *, weights_only: bool = False
    ) -> PolicySnapshot:
        """Put a verified checkpoint into ``agent``, completely or not at all.

        Raises:
            IncompatibleCheckpoint: It belongs to another agent or architecture; the agent was not touched.
        """
        state = loaded.components.get(AGENT)
        if state is not None and isinstance(agent, Stateful):
            check_compatible(
                agent.state_dict(), loaded, keys=architecture_keys(agent), agent=describe_agent(agent)
            )
            with _Undo(agent):
                if weights_only:
                    _load_weights_only(agent, state)
                else:
                    agent.load_state_dict(state)
        elif loaded.weights is not None:
            with _Undo(agent):
                agent.load_weights(str(loaded.weights))
        else:
            kind = type(agent).__name__
            raise IncompatibleCheckpoint(
                f"{loaded.info.path} holds the complete state of "
                f"{loaded.info.manifest.agent.get('id', 'an agent')}, and {kind} has no load_state_dict to "
                "take it. Load it with the agent that wrote it."
            )
        return snapshot_of(loaded.info)

    def continue_from(self, loaded: LoadedCheckpoint) -> None:
        """Note that the run goes on from this checkpoint: it is kept, and later ones name it as their parent."""
        self._parent = loaded.info
        self.store.protect(loaded.info.name)


def snapshot_of(info: CheckpointInfo) -> PolicySnapshot:
    """A checkpoint as the loop sees it.

    Raises:
        CorruptCheckpoint: Its metrics are not what :meth:`CheckpointRegistry.save` writes.
    """
    manifest = info.manifest
    try:
        stored = cast("dict[str, Any]", decode_value(manifest.metrics))
        metrics = EvalMetrics(
            primary_score=float(stored.get("primary_score", math.nan)),
            metrics=dict(stored.get("metrics", {})),
            episode_id=int(stored.get("episode_id", manifest.window)),
            timestamp=float(stored.get("timestamp", manifest.created)),
            episode_returns=tuple(float(value) for value in stored.get("episode_returns", ())),
        )
        hyperparams = HyperparamSet(
            dict(stored.get("hyperparams", {})), metrics.episode_id, metrics.timestamp
        )
    except (TypeError, ValueError) as error:
        raise CorruptCheckpoint(f"{info.path} has metrics that cannot be read: {error}.") from None
    return PolicySnapshot(
        info.name, metrics, hyperparams, str(info.path), metrics.episode_id, manifest.created
    )


def _stored_metrics(metrics: EvalMetrics | None, hyperparams: HyperparamSet) -> dict[str, Any]:
    stored: dict[str, Any] = {"hyperparams": dict(hyperparams.params)}
    if metrics is not None:
        stored |= {
            "primary_score": float(metrics.primary_score),
            "metrics": dict(metrics.metrics),
            "episode_id": metrics.episode_id,
            "timestamp": metrics.timestamp,
            "episode_returns": list(metrics.episode_returns),
        }
    return stored


def _load_weights_only(agent: BaseAgent, state: State) -> None:
    """Weights of ``state``, everything else as it is now: by way of the agent's own weights file."""
    stateful = cast("Stateful", agent)
    present = stateful.state_dict()
    with tempfile.TemporaryDirectory(prefix="optix-weights-") as scratch:
        path = str(Path(scratch) / "weights")
        stateful.load_state_dict(state)
        agent.save_weights(path)
        stateful.load_state_dict(present)
        agent.load_weights(path)


class _Undo:
    """Leaves the agent as it was if the block fails, for agents that can say how they were."""

    def __init__(self, agent: BaseAgent) -> None:
        self._agent = agent
        self._before = agent.state_dict() if isinstance(agent, Stateful) else None

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is not None and self._before is not None:
            cast("Stateful", self._agent).load_state_dict(self._before)
