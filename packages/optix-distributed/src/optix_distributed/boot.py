"""What an actor is given when it starts, in memory without a name.

An actor is a fresh interpreter, not a fork: threads of a framework are not copied in the middle of something, and the
program that trains is not imported a second time. So what it needs travels as bytes, functions by value.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

from optix_core.acting.remote import ActingSpec
from optix_core.errors import ConfigError
from optix_distributed.shared.plan import MemoryPlan

HEADER = 16
"""Digits of the length of the search path that comes first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Boot:
    """Everything an actor is told once, besides who it is.

    Attributes:
        plan: Of the shared memory.
        spec: Of the policy.
        envs: Callables that make its environments, at least as many as it has; wrapped so that they travel by value.
        seed: Root seed.
        on_env_error: See ``optix_core.pipelines.faults``.
        on_nonfinite: The same.
        strict: Raise if an observation lies outside its space.
    """

    plan: MemoryPlan
    spec: ActingSpec
    envs: Any
    seed: int
    on_env_error: str
    on_nonfinite: str
    strict: bool


def packed(boot: Boot) -> bytes:
    """The bytes of ``boot``, which :func:`unpacked` reads in another process.

    Raises:
        ConfigError: An environment's function cannot be sent to another process; says what about it.
    """
    return sealed(boot, "the function that makes environments", boot.envs)


def sealed(thing: Any, what: str, functions: Any) -> bytes:
    """The bytes of ``thing`` and where to look for modules.

    Args:
        thing: Anything.
        what: What it holds, for the message.
        functions: The functions in it, :func:`wrapped`.

    Raises:
        ConfigError: It cannot be sent to another process; says what about it.
    """
    try:
        body = bytes(ForkingPickler.dumps(thing))
    except Exception as error:
        raise ConfigError(
            f"{what} cannot be sent to another process, because something it refers to "
            f"cannot: {error}{_culprit(functions)}. Make such things inside the function instead of outside",
            code="E-ACTOR-FACTORY",
        ) from error
    path = json.dumps([entry or str(Path.cwd()) for entry in sys.path]).encode()
    return f"{len(path):{HEADER}d}".encode() + path + body


def wrapped(envs: Sequence[Callable[..., Any]]) -> Any:
    """Functions in a form that travels by value, whatever module they are from."""
    from gymnasium.vector.utils import CloudpickleWrapper

    together: Any = list(envs)
    return CloudpickleWrapper(together)


def unpacked(data: bytes) -> Boot:
    """What :func:`packed` packed."""
    found: Boot = opened(data)
    return found


def opened(data: bytes, *, extend_path: bool = False) -> Any:
    """What :func:`sealed` sealed. Looks for modules where the sealing process did.

    Args:
        data: The bytes.
        extend_path: Look there last, after the places where this process looks: it may be another machine.
    """
    stop = HEADER + int(data[:HEADER])
    path = json.loads(data[HEADER:stop])
    if extend_path:
        sys.path += [entry for entry in path if entry not in sys.path]
    else:
        sys.path[:] = path
    reader: Any = ForkingPickler
    return reader.loads(data[stop:])


def in_memory(data: bytes) -> int:
    """A descriptor of nameless memory that holds ``data``."""
    fd = os.memfd_create("optix-boot", os.MFD_CLOEXEC)
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]
    return fd


def _culprit(envs: Any) -> str:
    """Names of variables of the functions that cannot travel by themselves."""
    found: list[str] = []
    for make in envs.fn if hasattr(envs, "fn") else ():
        cells = getattr(make, "__closure__", None) or ()
        names = getattr(getattr(make, "__code__", None), "co_freevars", ())
        for name, cell in zip(names, cells, strict=False):
            try:
                ForkingPickler.dumps(wrapped([cell.cell_contents]))
            except Exception:  # noqa: BLE001 - whatever it raises, this is one that cannot
                found.append(name)
    return f" (it uses {', '.join(sorted(set(found)))})" if found else ""
