"""What a live source is, and how an action finds its way to it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, SupportsIndex, cast, runtime_checkable

from optix_core.errors import ConfigError


@runtime_checkable
class LiveSource(Protocol):
    """Anything with ``stream()``; three more methods are used where a source has them.

    ``send(action)`` or ``send(action, seq)``: carry out the action that was chosen for the last observation, the one
    with number ``seq``; called from the thread that trains. ``resume_from(seq)``: the next ``stream()`` begins behind
    item ``seq``. ``close()``: end a ``stream()`` that is waiting for something; called from another thread.

    ``observation_space`` and ``action_space`` are read if they exist.
    """

    def stream(self) -> Iterator[tuple[Any, float, bool, bool, dict[str, Any]]]:
        """Yield items ``(observation, reward, terminated, truncated, info)``; called in a thread of its own.

        Reward and flags say what the action for the observation *before* brought; those of an episode's first item are
        ignored. Returning ends the run, an exception is a disconnection.

        Keys of ``info`` that mean something: ``seq`` (int, counts items by one), ``answers`` (the ``seq`` whose action
        led to this item), ``seed`` (of the episode that begins here), ``action_mask``.
        """
        ...


@dataclass(slots=True)
class Item:
    """What the source yielded, and how it got here.

    Attributes:
        index: How many items came before it.
        raw: As it was yielded.
        seq: The source's own number.
        arrived: When, on the monotonic clock.
        gap: Something before it is missing.
        reconnected: It is the first one of a connection other than the first.
    """

    index: int
    raw: Any
    seq: int | None
    arrived: float
    gap: bool = False
    reconnected: bool = False

    @property
    def id(self) -> int:
        """How the source is told which observation an action is for."""
        return self.index if self.seq is None else self.seq


def number_of(raw: Any) -> int | None:
    """``seq`` of an item, None if it has none or is no item at all."""
    if not isinstance(raw, tuple | list):
        return None
    parts = cast("tuple[Any, ...]", raw)
    if len(parts) != 5 or not isinstance(parts[4], dict):
        return None
    seq = cast("dict[str, Any]", parts[4]).get("seq")
    return int(seq) if isinstance(seq, SupportsIndex) and not isinstance(seq, bool) else None


def check_source(source: Any) -> None:
    """Complain about an object that is no source.

    Raises:
        ConfigError: It has no ``stream``.
    """
    if callable(getattr(source, "stream", None)):
        return
    text = f"{type(source).__name__} is no data source: it has no method stream() that yields items"
    if hasattr(source, "step") and hasattr(source, "reset"):
        text += ". It looks like an environment: wrap it as EnvSource(env), or use BatchPipeline(env)"
    raise ConfigError(text)


def sender(source: Any) -> Callable[[Any, int], None] | None:
    """The source's ``send`` as a function of action and number; None if it has none."""
    send = getattr(source, "send", None)
    if not callable(send):
        return None
    found: Callable[..., Any] = send
    try:
        parameters = inspect.signature(found).parameters
        numbered = "seq" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    except (TypeError, ValueError):  # implemented in C: no signature to read
        numbered = False

    def call(action: Any, seq: int) -> None:
        if numbered:
            found(action, seq=seq)
        else:
            found(action)

    return call
