"""Calls of one function for many items: here, or wherever an executor of a backend makes them.

What wants to spread work takes an :class:`Executor` and knows nothing of processes, machines or engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Result = TypeVar("Result")


@runtime_checkable
class Executor(Protocol):
    """Makes many calls, several at a time if it can.

    An executor may make a call again whose process was lost, so a function may run more than once for an item.
    """

    @property
    def workers(self) -> int:
        """How many calls it makes at the same time, at least 1."""
        ...

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``function(item)`` for every item, in their order.

        Function, items and results travel by value to other processes and back. An exception of a call is raised here;
        other calls may have been made by then, or not.
        """
        ...


class SerialExecutor:
    """Makes one call after another, in this process."""

    workers = 1

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """``function(item)`` for every item, in their order."""
        return [function(item) for item in items]
