"""What runs in an actor of a Ray cluster: the same rollout as anywhere, its trajectories sent as arrays."""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_distributed.boot import Boot, opened
from optix_distributed.rollout import Rollout, Stopped, write_slot
from optix_distributed.shared.plan import (
    CPU,
    ENV_ERRORS,
    EPISODES,
    HEARTBEAT,
    NONFINITE,
    STATS,
    STEPS,
    VERSION,
)

LOOK = "look"
"""The concurrency group of calls that are answered while the actor collects."""


class RemoteActor:
    """One incarnation of one actor. Everything of the environment's happens in the thread of :meth:`prepare`.

    Args:
        boot: See :mod:`optix_distributed.boot`.
        actor_id: Which actor.
        incarnation: How often it was replaced before.
    """

    def __init__(self, boot: bytes, actor_id: int, incarnation: int) -> None:
        self._boot, self._who = boot, (actor_id, incarnation)
        self._stats = np.zeros(len(STATS), np.int64)
        self._stats[VERSION] = -1
        self._stopping = threading.Event()
        self._thread = 0
        self._busy = False
        self._rollout: Rollout | None = None
        self._slot: dict[str, NDArray[Any]] = {}

    def prepare(self) -> dict[str, Any]:
        """Make environments and policy; tells the process, or the traceback of a failure."""
        self._begin()
        try:
            boot: Boot = opened(self._boot, extend_path=True)
            self._steps = boot.plan.steps
            self._slot = {name: np.zeros(*what) for name, what in boot.plan.fields().items()}
            self._rollout = Rollout(boot, *self._who, self._on_step)
            return {"pid": os.getpid()}
        except Exception:  # noqa: BLE001 - whatever it was, the learner has to hear of it
            return {"failure": traceback.format_exc()}
        finally:
            self._busy = False

    def collect(self, version: int, weights: NDArray[np.uint8] | None) -> dict[str, Any]:
        """One trajectory.

        Args:
            version: Of ``weights``.
            weights: ``[nbytes]``; None: those that it has.

        Returns:
            ``arrays`` as in a slot of shared memory, without unused rows, ``version``, ``steps`` and ``stats``; or
            ``failure``, a traceback; or nothing if it was told to stop.
        """
        assert self._rollout is not None
        self._begin()
        rollout, stats = self._rollout, self._stats
        try:
            if weights is not None and version != stats[VERSION]:
                rollout.policy.weights[:] = weights
                rollout.policy.changed()
                stats[VERSION] = version
            window, log_probs = rollout.collect(self._steps)
            write_slot(self._slot, window, log_probs)
            stats[EPISODES] += len(window.episodes)
            stats[ENV_ERRORS] = rollout.faults.counts["env_errors"]
            stats[NONFINITE] = rollout.faults.counts["nonfinite"]
            stats[CPU] = time.process_time_ns()
            _, ends, episodes = self._slot["counts"][:3].tolist()
            used = {"boundary_steps": ends, "boundary_observations": ends, "episodes": episodes}
            arrays = {
                name: np.array(array[: used.get(name, len(array))]) for name, array in self._slot.items()
            }
            return {
                "arrays": arrays,
                "version": int(stats[VERSION]),
                "steps": window.n_steps,
                "stats": stats.copy(),
            }
        except Stopped:
            return {}
        except Exception:  # noqa: BLE001 - as above
            return {"failure": traceback.format_exc(), "stats": stats.copy()}
        finally:
            self._busy = False

    def look(self, *, stack: bool = False) -> dict[str, Any]:
        """Numbers of its life so far, and for how many seconds it has been silent with something to do."""
        silent = (time.monotonic_ns() - int(self._stats[HEARTBEAT])) * 1e-9 if self._busy else 0.0
        found: dict[str, Any] = {"stats": self._stats.copy(), "silent": silent}
        if stack:
            frame = sys._current_frames().get(self._thread)
            found["stack"] = "" if frame is None else "".join(traceback.format_stack(frame))
        return found

    def modules(self) -> list[str]:
        """Top-level modules that its process has imported."""
        return sorted({name.partition(".")[0] for name in sys.modules})

    def stop(self) -> None:
        """Collect no more: what is under way ends at its next step."""
        self._stopping.set()

    def close(self) -> None:
        """Close the environments."""
        if self._rollout is not None:
            self._rollout.close()
            self._rollout = None

    def _begin(self) -> None:
        self._thread, self._busy = threading.get_ident(), True
        self._stats[HEARTBEAT] = time.monotonic_ns()

    def _on_step(self, n: int) -> None:
        if self._stopping.is_set():
            raise Stopped
        self._stats[HEARTBEAT] = time.monotonic_ns()
        self._stats[STEPS] += n
