"""Calls of one function on the machines of a Ray cluster, each made again where its process is lost."""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from optix_core.errors import ConfigError
from optix_distributed.boot import opened, sealed, wrapped
from optix_distributed.errors import WorkerLostError
from optix_distributed.on_ray import require_ray
from optix_distributed.on_ray.needs import cluster_total, needs_of, options_of

if TYPE_CHECKING:
    from optix_distributed.on_ray.session import RaySession

Item = TypeVar("Item")
Result = TypeVar("Result")
WAIT_S = 0.5
"""How often to look at signals while nothing is finished."""
END_S = 10.0
"""How long to wait for calls to end after they were told to."""
_function: dict[str, Callable[[Any], Any]] = {}
"""In a worker: the function that it was called with last."""


class RayExecutor:
    """An :class:`~optix_core.executor.Executor` whose calls run on a cluster.

    A call whose process dies, by itself or with its machine, is made again elsewhere, so a function may run more than
    once for an item. An exception in a function is raised here, as an instance of its own class, and ends the others.

    Args:
        address: ``"auto"`` or ``"HOST:PORT"``. None: the cluster that this process is connected to, else that of
            ``RAY_ADDRESS``, else one that is started here and ended by :meth:`close`.
        resources: What each call takes of the cluster's, such as ``{"CPU": 2}``; None: one CPU.
        max_lost: So many lost processes of one item end a :meth:`map`.

    Attributes:
        lost: Calls that were made again.

    Raises:
        ConfigError: The cluster cannot be reached, or has no such resources.
        MissingDependencyError: Ray is not installed.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        resources: Mapping[str, float] | None = None,
        max_lost: int = 3,
    ) -> None:
        self._ray = require_ray("RayExecutor")
        from optix_distributed.on_ray.session import connect

        self._needs, self._max_lost, self.lost = needs_of(resources), max_lost, 0
        self._held = _Held(connect(address, cpus=self._needs["CPU"]))
        # also when this process ends without close(), or this object is forgotten
        self._finalizer = weakref.finalize(self, _release, self._held)
        total = cluster_total(self._needs)
        short = [name for name, amount in self._needs.items() if amount > total.get(name, 0.0)]
        if short:
            self.close()
            raise ConfigError(
                f"a call takes {self._needs[short[0]]:g} {short[0]}, and the cluster has "
                f"{total.get(short[0], 0.0):g} in all; ask for less with resources="
            )

    @property
    def workers(self) -> int:
        """How many calls the cluster has room for at once, now; at least 1."""
        total = self._ray.cluster_resources()
        rooms = [total.get(name, 0.0) / amount for name, amount in self._needs.items() if amount > 0]
        return max(1, int(min(rooms, default=1)))

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``function(item)`` for every item, in their order.

        Raises:
            ConfigError: The function cannot be sent to another process, or the executor is closed.
            WorkerLostError: The processes of one item died more than ``max_lost`` times.
            Exception: What ``function`` raised.
        """
        if not self._finalizer.alive or not self._held.session.is_up:
            raise ConfigError("this executor is closed, or Ray was shut down; make another one")
        from ray.exceptions import RayError, RayTaskError

        ray, envelope = self._ray, wrapped([function])
        body = ray.put(sealed(envelope, "the function", envelope))
        call = ray.remote(max_retries=0)(_call)
        call = call.options(**options_of(self._needs))
        given = list(items)
        results: list[Any] = [None] * len(given)
        losses = [0] * len(given)
        todo, calls = deque(range(len(given))), dict[Any, int]()
        try:
            while todo or calls:
                most = 2 * self.workers  # the next ones wait where there will be room
                while todo and len(calls) < most:
                    at = todo.popleft()
                    calls[call.remote(body.hex(), body, given[at])] = at
                for done in ray.wait(list(calls), num_returns=1, timeout=WAIT_S)[0]:
                    at = calls.pop(done)
                    try:
                        results[at] = ray.get(done)
                    except RayTaskError:
                        raise
                    except RayError as error:
                        losses[at] += 1
                        self.lost += 1
                        if losses[at] > self._max_lost:
                            raise WorkerLostError(
                                f"item {at} was given to {losses[at]} processes, one after another, and all of them "
                                f"died; the last one so: {error}"
                            ) from error
                        todo.appendleft(at)
        finally:
            for left in calls:
                ray.cancel(left, force=True)
            if calls:  # whoever is told of a failure may rely on it that nobody works on any more
                ray.wait(list(calls), num_returns=len(calls), timeout=END_S)
        return results

    def close(self) -> None:
        """Leave the cluster, and end it if it was started here. Safe to call twice."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _call(name: str, body: bytes, item: Any) -> Any:
    """In a worker: call the function in ``body``, which is opened once."""
    if name not in _function:
        _function.clear()
        _function[name] = opened(body, extend_path=True).fn[0]
    return _function[name](item)


class _Held:
    def __init__(self, session: RaySession) -> None:
        self.session, self.owner = session, os.getpid()


def _release(held: _Held) -> None:
    if os.getpid() == held.owner:  # a fork of this process has no connection
        held.session.close()
