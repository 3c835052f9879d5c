"""The same interface as actors in processes, without any: for debugging, and to know what they save."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_distributed.backend import NEWEST, Counts, Filled
from optix_distributed.boot import Boot
from optix_distributed.rollout import Rollout, write_slot


class InlineBackend:
    """Collects here, one trajectory after another, whenever one is waited for.

    Errors of environments are raised as they are. Nothing can die, so nothing is replaced.
    """

    def __init__(self, boot: Boot) -> None:
        self.plan = plan = boot.plan
        self._rollouts = [Rollout(boot, a, 0) for a in range(plan.n_actors)]
        self._grants: deque[tuple[int, int]] = deque()
        self._views = {
            (a, s): {name: np.zeros(*what) for name, what in plan.fields().items()}
            for a in range(plan.n_actors)
            for s in range(plan.slots_per_actor)
        }
        self._held = set(self._views)
        self.ready: deque[Filled] = deque()
        self.counts = Counts()
        self.version = -1
        self.closed = False
        self.pids: list[int] = []
        self._steps = [0] * plan.n_actors
        self._trajectories = [0] * plan.n_actors
        self._cpu = [0] * plan.n_actors
        self._episodes = 0

    def start(self) -> None:
        """Nothing to start."""

    def publish(self, payload: NDArray[np.uint8]) -> int:
        """New weights, for everything that is collected from now on."""
        self.version += 1
        for rollout in self._rollouts:
            rollout.policy.weights[:] = payload
            rollout.policy.changed()
        return self.version

    def grant(self, actor_id: int, slot: int, version: int = NEWEST) -> None:
        """Collect into that slot when it is waited for."""
        if version not in {NEWEST, self.version}:
            raise ValueError(f"version {version} is gone; this backend has the newest, {self.version}, only")
        self._grants.append((actor_id, slot))
        self._held.discard((actor_id, slot))

    def grant_all(self) -> None:
        """Grant what nobody has."""
        taken = {(f.actor_id, f.slot) for f in self.ready}
        for place in sorted(self._held - taken, key=lambda p: (p[1], p[0])):
            self.grant(*place)

    def view(self, filled: Filled) -> dict[str, NDArray[Any]]:
        """The arrays of a filled slot."""
        return self._views[filled.actor_id, filled.slot]

    def wait(
        self, enough: Callable[[deque[Filled]], bool], *, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Collect until ``enough``."""
        while not enough(self.ready) and not interrupted():
            self.poll(0.0)

    def poll(self, timeout: float) -> None:
        """Collect one trajectory, if one is granted."""
        del timeout
        if not self._grants:
            raise RuntimeError("nothing is granted, so nothing will ever be ready")
        actor, slot = self._grants.popleft()
        began = time.process_time_ns()
        window, log_probs = self._rollouts[actor].collect(self.plan.steps)
        write_slot(self._views[actor, slot], window, log_probs)
        self._cpu[actor] += time.process_time_ns() - began
        self._steps[actor] += window.n_steps
        self._episodes += len(window.episodes)
        self.counts.delivered += window.n_steps
        self._held.add((actor, slot))
        self.ready.append(Filled(actor, slot, self.version, self._trajectories[actor], window.n_steps))
        self._trajectories[actor] += 1

    def take(self, n: int) -> list[Filled]:
        """The ``n`` trajectories that have been ready for longest."""
        return [self.ready.popleft() for _ in range(n)]

    def stats(self) -> dict[str, Any]:
        """As of actors in processes."""
        faults = [rollout.faults.counts for rollout in self._rollouts]
        return {
            "steps_collected": sum(self._steps),
            "steps_lost": 0,
            "episodes_collected": self._episodes,
            "restarts": 0,
            "queue_depth": len(self.ready),
            "env_errors": sum(f["env_errors"] for f in faults),
            "nonfinite": sum(f["nonfinite"] for f in faults),
            "actors_alive": 0,
            "actor_steps": list(self._steps),
            "actor_cpu_s": [round(ns * 1e-9, 3) for ns in self._cpu],
        }

    def close(self) -> None:
        """Close the environments; safe to call twice."""
        if not self.closed:
            self.closed = True
            for rollout in self._rollouts:
                rollout.close()
