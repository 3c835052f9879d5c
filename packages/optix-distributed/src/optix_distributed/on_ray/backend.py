"""Actors on a Ray cluster, supervised as those of one machine are: same limits, same counters, same errors.

The learner asks and the actors answer: every granted slot is one call under way, so the number of slots bounds what is
in flight. Weights are put into the object store once per version, by the learner, and calls name the version. Ray does
not restart anything by itself: a lost trajectory would be made again behind the learner's back. A lost actor, or one on
a lost machine, is replaced here; answers of a former life are not listened to.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from optix_core.errors import ConfigError
from optix_distributed.backend import NEWEST, Filled
from optix_distributed.boot import Boot, packed
from optix_distributed.on_ray.actor import LOOK, RemoteActor
from optix_distributed.on_ray.lives import Held, Life, RaySeat, release
from optix_distributed.on_ray.looks import Looks
from optix_distributed.on_ray.needs import needs_of
from optix_distributed.on_ray.placing import Placement
from optix_distributed.on_ray.session import connect
from optix_distributed.supervised import SILENCE_S, SupervisedBackend
from optix_distributed.supervision import Limits

logger = logging.getLogger("optix.distributed")

POLITE_S = 3.0
"""Seconds to close environments before an actor is killed."""
KEPT_VERSIONS = 2
"""As many as local actors can still ask for."""
PREPARE, COLLECT, LOOKED = "prepare", "collect", "look"


class RayBackend(SupervisedBackend[RaySeat]):
    """Supervises ``plan.n_actors`` actors on a cluster.

    Args:
        boot: What every actor is told.
        limits: What supervision allows.
        address: See :func:`~optix_distributed.on_ray.session.connect`.
        placement: ``"spread"`` or ``"reserve"``.
        resources: That each actor takes; None: one CPU.

    Raises:
        ConfigError: Something cannot be sent to the actors, the cluster cannot be reached, or it has too little room.
    """

    def __init__(
        self,
        boot: Boot,
        limits: Limits,
        *,
        address: str | None = None,
        placement: str = "spread",
        resources: Mapping[str, float] | None = None,
    ) -> None:
        plan = boot.plan
        super().__init__(
            plan, limits, [RaySeat(actor_id=a, restarts=limits.restarts()) for a in range(plan.n_actors)]
        )
        data = packed(boot)
        self._views: dict[tuple[int, int], dict[str, NDArray[Any]]] = {}
        self._weights: dict[int, Any] = {}
        self._calls: dict[Any, tuple[RaySeat, Life, str]] = {}
        self._looks = Looks(self._seats, limits.actor_timeout_s)
        self._started = False
        api: Any = ray  # whose stubs know neither concurrency groups nor what calls give
        self._remote = api.remote(concurrency_groups={LOOK: 1}, max_restarts=0, max_task_retries=0)(
            RemoteActor
        )
        needs = needs_of(resources)
        in_flight = sum(
            int(np.prod(shape)) * np.dtype(kind).itemsize for shape, kind in plan.fields().values()
        )
        store = 2 * in_flight * plan.n_actors * plan.slots_per_actor + 8 * plan.weight_bytes
        session = connect(address, cpus=needs.get("CPU", 0.0) * plan.n_actors, store_bytes=store)
        self._held = Held(session)
        # also when this process ends without close(), or this object is forgotten
        self._finalizer = weakref.finalize(self, release, self._held)
        try:
            self._held.placement = Placement(
                needs, plan.n_actors, least=self.limits.min_actors, reserve=placement == "reserve"
            )
            self._boot = ray.put(data)
        except BaseException:
            self._finalizer()
            raise

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Start all actors; weights must have been published. They report when they have something."""
        if not self._started:
            self._started = True
            self._held.placement.reserve()
            for seat in self._seats:
                self._spawn(seat)

    def close(self) -> None:
        """End all actors and give everything back; safe to call twice."""
        if not self._finalizer.alive:
            return
        if self._held.session.is_up:
            self._take_leave()
        self._calls.clear()
        self._views.clear()
        self._weights.clear()
        self.ready.clear()
        for seat in self._seats:
            seat.life = None
        del self._boot
        self._finalizer()

    def _take_leave(self) -> None:
        """Let environments be closed by their actors, as far as these answer."""
        lives = [seat.life for seat in self._seats if seat.life is not None and seat.life.ready]
        calls: list[Any] = []
        for life in lives:
            life.handle.stop.options(concurrency_group=LOOK).remote()
            calls.append(life.handle.close.remote())
        if calls:
            ray.wait(calls, num_returns=len(calls), timeout=POLITE_S)

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return not self._finalizer.alive

    @property
    def pids(self) -> list[int]:
        """Process ids of the actors that run, each on its machine."""
        return [seat.life.pid for seat in self._seats if seat.life is not None and seat.life.ready]

    # ------------------------------------------------------------------ weights and slots

    def publish(self, payload: NDArray[np.uint8]) -> int:
        """Put new weights into the object store; returns their version."""
        self._check_connected()
        self.version += 1
        self._weights[self.version] = ray.put(payload)
        self._weights.pop(self.version - KEPT_VERSIONS, None)
        return self.version

    def grant(self, actor_id: int, slot: int, version: int = NEWEST) -> None:
        """Ask an actor for a trajectory, with the newest weights or those of a version."""
        seat = self._seats[actor_id]
        seat.grants[slot] = version
        self._views.pop((actor_id, slot), None)
        if seat.life is not None and seat.life.ready:
            self._ask(seat, seat.life, slot)

    def view(self, filled: Filled) -> dict[str, NDArray[Any]]:
        """The arrays of a trajectory; they may not be written to."""
        return self._views[filled.actor_id, filled.slot]

    # ------------------------------------------------------------------ supervision

    def poll(self, timeout: float) -> None:
        """Hear what there is to hear, waiting at most ``timeout`` seconds, and replace who is dead or stuck."""
        self._check_connected()
        self._respawn_due()
        for seat, life in self._looks.ask():
            self._calls[life.looking] = seat, life, LOOKED
        calls = list(self._calls)
        if not calls:
            time.sleep(min(timeout, SILENCE_S))
            return
        if timeout > 0:
            ray.wait(calls, num_returns=1, timeout=timeout)
        for call in ray.wait(calls, num_returns=len(calls), timeout=0)[0]:
            if call in self._calls:  # else its actor has died a moment ago
                self._hear(call)
        for seat, life, stuck in self._looks.unanswered():
            self._died(seat, life, stuck.ending, why=stuck.why, stuck=True)

    def _check_connected(self) -> None:
        if not self._held.session.is_up:  # Ray would start another cluster of its own accord
            raise ConfigError("Ray was shut down while actors were at work; make another learner or pipeline")

    def _spawn(self, seat: RaySeat) -> None:
        self._begin(seat)
        options = self._held.placement.of(seat.actor_id)
        handle = self._remote.options(**options).remote(self._boot, seat.actor_id, seat.incarnation)
        now = time.monotonic()
        seat.life = life = Life(handle=handle, began=now, told_of=now)
        self._held.handles[seat.actor_id] = handle
        self._calls[handle.prepare.remote()] = seat, life, PREPARE

    def _ask(self, seat: RaySeat, life: Life, slot: int) -> None:
        wanted = seat.grants[slot]
        version = self.version if wanted == NEWEST else wanted
        if version not in self._weights:
            raise ValueError(f"version {version} of the weights is gone; the newest is {self.version}")
        has_it = wanted == NEWEST and life.version == version
        call = life.handle.collect.remote(version, None if has_it else self._weights[version])
        life.requests[call] = slot
        self._calls[call] = seat, life, COLLECT

    def _hear(self, call: Any) -> None:
        seat, life, kind = self._calls.pop(call)
        if kind == COLLECT:
            life.arrived.add(call)
            while (
                life.requests and (first := next(iter(life.requests))) in life.arrived and seat.life is life
            ):
                life.arrived.discard(first)
                self._filled(seat, life, first, life.requests.pop(first))
            return
        answer = self._answer(seat, life, call)
        if answer is None:
            return
        if kind == PREPARE:
            life.ready, life.pid = True, answer["pid"]
            for slot in list(seat.grants):
                self._ask(seat, life, slot)
        else:
            stuck = self._looks.heard(seat, life, answer)
            if stuck is not None:
                self._died(seat, life, stuck.ending, failure=stuck.why, stuck=True)

    def _answer(self, seat: RaySeat, life: Life, call: Any) -> dict[str, Any] | None:
        """What a call gave; None if its actor is dead now."""
        try:
            answer: dict[str, Any] = ray.get(call)
        except RayError as error:
            text = str(error).strip()
            self._died(seat, life, f"is lost: {type(error).__name__}", why=text)
            return None
        life.seen = time.monotonic()
        if "failure" in answer:
            life.stats[:] = np.maximum(life.stats, answer.get("stats", 0))
            self._died(seat, life, "ended with an exception", failure=answer["failure"])
            return None
        return answer

    def _filled(self, seat: RaySeat, life: Life, call: Any, slot: int) -> None:
        answer = self._answer(seat, life, call)
        if not answer:
            return
        life.stats[:] = np.maximum(life.stats, answer["stats"])
        life.version = answer["version"]
        self._views[seat.actor_id, slot] = answer["arrays"]
        self._delivered(seat, slot, version=life.version, steps=answer["steps"])

    def _died(
        self,
        seat: RaySeat,
        life: Life,
        ending: str,
        *,
        failure: str = "",
        why: str = "",
        stuck: bool = False,
    ) -> None:
        """Bury an actor; replace it, go on without it, or raise."""
        self._end(seat, life.stats)
        seat.life = None
        self._calls = {call: of for call, of in self._calls.items() if of[1] is not life}
        self._held.handles.pop(seat.actor_id, None)
        ray.kill(life.handle, no_restart=True)
        self.limits.after_death(
            seat, self._seats, ending=ending, failure=failure, why=failure or why, stuck=stuck
        )

    # ------------------------------------------------------------------ numbers

    def totals(self) -> NDArray[np.int64]:
        """Per actor and over all its lives, ``[A, 8]``; of present lives as they last told."""
        return np.stack([s.past + (0 if s.life is None else s.life.stats) for s in self._seats])
