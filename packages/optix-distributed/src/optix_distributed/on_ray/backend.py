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
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError

from optix_core.errors import ConfigError
from optix_distributed.backend import NEWEST, Counts, Filled
from optix_distributed.boot import Boot, packed
from optix_distributed.on_ray.actor import LOOK, RemoteActor
from optix_distributed.on_ray.lives import Held, Life, RaySeat, release
from optix_distributed.on_ray.needs import needs_of
from optix_distributed.on_ray.placing import Placement
from optix_distributed.on_ray.session import connect
from optix_distributed.restarts import Restarts
from optix_distributed.shared.plan import STEPS
from optix_distributed.supervision import START_TIMEOUT_S, Limits, OnEnvError, stats_of

logger = logging.getLogger("optix.distributed")

LOOK_S = 1.0
"""Seconds between two looks at an actor: what is known of its steps if it dies is at most so old."""
SILENCE_S = 0.2
"""How long to wait for an answer before looking after the actors."""
POLITE_S = 3.0
"""Seconds to close environments before an actor is killed."""
ROOM_S = 30.0
"""How often to say that an actor waits for room."""
KEPT_VERSIONS = 2
"""As many as local actors can still ask for."""
PREPARE, COLLECT, LOOKED = "prepare", "collect", "look"


class RayBackend:
    """Supervises ``plan.n_actors`` actors on a cluster.

    Args:
        boot: What every actor is told.
        address: See :func:`~optix_distributed.on_ray.session.connect`.
        placement: ``"spread"`` or ``"reserve"``.
        resources: That each actor takes; None: one CPU.
        max_restarts: Replacements of one actor within ``restart_window_s``; more end the run.
        restart_window_s: Seconds.
        min_actors: Go on with so many actors when others are beyond their limit.
        actor_timeout_s: An actor that makes no step for so long is replaced; None: it may take for ever.
        on_env_error: ``"raise"``: an exception in an actor is raised here; ``"restart"``: it counts as a death.

    Raises:
        ConfigError: Something cannot be sent to the actors, the cluster cannot be reached, or it has too little room.
    """

    def __init__(
        self,
        boot: Boot,
        *,
        address: str | None = None,
        placement: str = "spread",
        resources: Mapping[str, float] | None = None,
        max_restarts: int = 3,
        restart_window_s: float = 300.0,
        min_actors: int | None = None,
        actor_timeout_s: float | None = 300.0,
        on_env_error: OnEnvError = "raise",
    ) -> None:
        self.plan = plan = boot.plan
        self._limits = Limits.of(plan.n_actors, min_actors, on_env_error)
        self._timeout = actor_timeout_s
        self._data = packed(boot)
        self._seats = [
            RaySeat(actor_id=a, restarts=Restarts(max_restarts, restart_window_s))
            for a in range(plan.n_actors)
        ]
        self.version = -1
        self.counts = Counts()
        self._ready: deque[Filled] = deque()
        self._views: dict[tuple[int, int], dict[str, NDArray[Any]]] = {}
        self._weights: dict[int, Any] = {}
        self._calls: dict[Any, tuple[RaySeat, Life, str]] = {}
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
                needs, plan.n_actors, least=self._limits.min_actors, reserve=placement == "reserve"
            )
            self._boot = ray.put(self._data)
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
        self._ready.clear()
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

    def grant_all(self) -> None:
        """Grant every slot that nobody has, with the newest weights."""
        taken = {(f.actor_id, f.slot) for f in self._ready}
        for seat in self._seats:
            for slot in range(self.plan.slots_per_actor):
                if slot not in seat.grants and (seat.actor_id, slot) not in taken:
                    self.grant(seat.actor_id, slot)

    def view(self, filled: Filled) -> dict[str, NDArray[Any]]:
        """The arrays of a trajectory; they may not be written to."""
        return self._views[filled.actor_id, filled.slot]

    @property
    def ready(self) -> deque[Filled]:
        """Trajectories that have arrived and were not yet taken."""
        return self._ready

    def take(self, n: int) -> list[Filled]:
        """The ``n`` trajectories that have been ready for longest."""
        return [self._ready.popleft() for _ in range(n)]

    def wait(
        self, enough: Callable[[deque[Filled]], bool], *, interrupted: Callable[[], bool] = lambda: False
    ) -> None:
        """Look after the actors until ``enough`` says that what is ready suffices.

        Raises:
            ActorError: An environment or a policy failed.
            ActorDiedError: An actor died too often.
        """
        self.poll(0.0)
        while not enough(self._ready) and not interrupted():
            self.poll(SILENCE_S)

    # ------------------------------------------------------------------ supervision

    def poll(self, timeout: float) -> None:
        """Hear what there is to hear, waiting at most ``timeout`` seconds, and replace who is dead or stuck."""
        self._check_connected()
        self._respawn_due()
        self._look_around()
        calls = list(self._calls)
        if not calls:
            time.sleep(min(timeout, SILENCE_S))
            return
        if timeout > 0:
            ray.wait(calls, num_returns=1, timeout=timeout)
        for call in ray.wait(calls, num_returns=len(calls), timeout=0)[0]:
            if call in self._calls:  # else its actor has died a moment ago
                self._hear(call)
        self._look_for_the_stuck()

    def _check_connected(self) -> None:
        if not self._held.session.is_up:  # Ray would start another cluster of its own accord
            raise ConfigError("Ray was shut down while actors were at work; make another learner or pipeline")

    def _spawn(self, seat: RaySeat) -> None:
        seat.incarnation += 1
        seat.respawn_at, seat.delivered = None, 0
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
            life.looking, life.look_at = None, time.monotonic() + LOOK_S
            life.stats[:] = np.maximum(life.stats, answer["stats"])
            if self._timeout is not None and answer["silent"] > max(self._timeout, self._start_limit(life)):
                self._replace_stuck(seat, life, answer["silent"])

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
        del seat.grants[slot]
        life.stats[:] = np.maximum(life.stats, answer["stats"])
        life.version = answer["version"]
        seat.delivered += answer["steps"]
        self.counts.delivered += answer["steps"]
        self._views[seat.actor_id, slot] = answer["arrays"]
        self._ready.append(Filled(seat.actor_id, slot, life.version, seat.sequence, answer["steps"]))
        seat.sequence += 1

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
        self.counts.lost += max(0, int(life.stats[STEPS]) - seat.delivered)
        seat.past += life.stats
        seat.life = None
        self._calls = {call: of for call, of in self._calls.items() if of[1] is not life}
        self._held.handles.pop(seat.actor_id, None)
        ray.kill(life.handle, no_restart=True)
        self._limits.after_death(
            seat, self._seats, ending=ending, failure=failure, why=failure or why, stuck=stuck
        )

    def _respawn_due(self) -> None:
        now = time.monotonic()
        for seat in self._seats:
            if seat.respawn_at is not None and now >= seat.respawn_at:
                self._spawn(seat)

    # ------------------------------------------------------------------ who is stuck

    def _look_around(self) -> None:
        """Ask every actor now and then what it has done; the answers are heard with all others."""
        now = time.monotonic()
        for seat in self._seats:
            life = seat.life
            if life is None or life.looking is not None or now < life.look_at:
                continue
            life.looking = life.handle.look.options(concurrency_group=LOOK).remote()
            life.look_at = now
            self._calls[life.looking] = seat, life, LOOKED

    def _look_for_the_stuck(self) -> None:
        """Who does not even answer a look: not yet placed, or stuck where no other thread runs."""
        now = time.monotonic()
        for seat in self._seats:
            life = seat.life
            if life is None:
                continue
            if life.seen is None:
                if now - life.told_of >= ROOM_S:
                    life.told_of = now
                    logger.warning(
                        "actor %d has waited for %.0f s for room on the cluster",
                        seat.actor_id,
                        now - life.began,
                    )
            elif self._timeout is not None and life.looking is not None:
                silent = now - max(life.seen, life.look_at)
                if silent > max(self._timeout, self._start_limit(life)):
                    self._died(
                        seat, life, f"has not answered for {silent:.1f} s", stuck=True,
                        why="it is stuck where no other thread of its process can run",
                    )  # fmt: skip

    def _start_limit(self, life: Life) -> float:
        return 0.0 if life.ready else START_TIMEOUT_S

    def _replace_stuck(self, seat: RaySeat, life: Life, silent: float) -> None:
        call, stack = life.handle.look.options(concurrency_group=LOOK).remote(stack=True), ""
        try:
            answer: Any = ray.get(call, timeout=1.0)
            stack = answer["stack"]
        except RayError as error:
            stack = f"(it did not say where: {type(error).__name__})"
        logger.warning(
            "actor %d has made no step for %.1f s; it is replaced. It was here:\n%s",
            seat.actor_id,
            silent,
            stack,
        )
        why = f"no step for {silent:.1f} s; it was here:\n{stack}"
        self._died(seat, life, "was ended by SIGKILL", failure=why, stuck=True)

    # ------------------------------------------------------------------ numbers

    def totals(self) -> NDArray[np.int64]:
        """Per actor and over all its lives, ``[A, 8]``; of present lives as they last told."""
        return np.stack([s.past + (0 if s.life is None else s.life.stats) for s in self._seats])

    def stats(self) -> dict[str, Any]:
        """Counters so far: steps by what became of them, restarts, queue depth, and rates per actor."""
        alive = sum(seat.life is not None and seat.life.ready for seat in self._seats)
        return stats_of(
            self.totals(), self._seats, lost=self.counts.lost, queue_depth=len(self._ready), alive=alive
        )
