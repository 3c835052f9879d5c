"""Memory without a name, shared by descriptor.

A memfd belongs to the processes that hold a descriptor of it and to nothing else: when the last of them is gone,
however it went, so is the memory. Named segments outlive a killed group of processes, and lie in a file system
that containers often limit to 64 MB.
"""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from optix_core.errors import ConfigError
from optix_core.replay.memory import available_memory

LINE = 64
"""Bytes of a cache line; every array begins on one."""


MOST_OF_MEMORY = 0.8
"""The share of available memory that a region may take."""


class SharedRegion:
    """A block of memory that several processes see.

    Args:
        fd: A descriptor of it; the region owns it from now on.
        nbytes: Its size.
    """

    def __init__(self, fd: int, nbytes: int) -> None:
        self.fd, self.nbytes = fd, nbytes
        self._map = mmap.mmap(fd, nbytes, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._bytes: NDArray[np.uint8] | None = np.frombuffer(self._map, np.uint8)

    @classmethod
    def create(cls, nbytes: int) -> SharedRegion:
        """A region of zeros, all of whose pages exist: too little memory is an error here, not a signal later.

        Raises:
            ConfigError: The system has no memfd.
            OSError: There is not so much memory.
        """
        if not hasattr(os, "memfd_create"):
            raise ConfigError(
                "actors in processes of their own share memory through memfd, which only Linux has; leave "
                "runner= away, "
                "or use n_envs= with async_envs=True"
            )
        room = available_memory()
        if (
            room is not None and nbytes > MOST_OF_MEMORY * room
        ):  # trying it would take everything there is first
            raise _too_much(nbytes, f"{room / 2**20:,.0f} MiB are available")
        fd = os.memfd_create("optix-distributed", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, nbytes)
            return cls(fd, nbytes)
        except OSError as error:
            os.close(fd)
            raise _too_much(nbytes, str(error.strerror)) from error

    def array(self, offset: int, shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
        """A view of ``shape`` and ``dtype`` that begins ``offset`` bytes into the region."""
        assert self._bytes is not None
        kind = np.dtype(dtype)
        size = kind.itemsize * math.prod(shape)
        return self._bytes[offset : offset + size].view(kind).reshape(tuple(shape))

    def close(self) -> None:
        """Give the memory up. Views that still exist keep the mapping, but not the descriptor; safe to call twice."""
        if self._bytes is None:
            return
        self._bytes = None
        os.close(self.fd)
        with contextlib.suppress(BufferError):  # somebody still holds a view: the mapping goes with it
            self._map.close()


def _too_much(nbytes: int, why: str) -> OSError:
    return OSError(
        errno.ENOMEM,
        f"{nbytes / 2**20:,.0f} MiB of shared memory for weights and trajectories cannot be had ({why}); use fewer "
        "actors, fewer environments per actor or shorter trajectories",
    )


class Layout:
    """Hands out consecutive places, each on a cache line of its own."""

    def __init__(self) -> None:
        self.nbytes = 0

    def take(self, shape: Sequence[int], dtype: DTypeLike) -> int:
        """The offset of the next array."""
        offset = self.nbytes
        self.nbytes += -(-np.dtype(dtype).itemsize * math.prod(shape) // LINE) * LINE
        return offset
