"""How anything that changes during training says what it is made of.

A *state* is a nested ``dict`` with string keys whose leaves are ``None``, ``bool``, ``int``, ``float``,
``str``, numpy arrays, :class:`SealedArray` objects, or lists and tuples of such leaves. Nothing else:
checkpoints store arrays as safetensors and the rest as JSON, so that no file of ours can ever run code.
Infinite and NaN floats are allowed as leaves.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from typing import Any, Protocol, Self, final, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

State = dict[str, Any]

SEALED_DTYPES = {
    "bool": "BOOL",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
}
"""Names of array dtypes that can be stored, and what the safetensors format calls them."""


@runtime_checkable
class Stateful(Protocol):
    """Something that can be stored in a checkpoint and continued from it."""

    def state_dict(self) -> State:
        """A copy of everything that determines future behaviour; later changes do not reach it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``; all or nothing: on an error the object is left as it was."""
        ...


def generator_state(rng: np.random.Generator) -> State:
    """The bit generator's state of ``rng`` as plain data."""
    return dict(rng.bit_generator.state)


def restore_generator(rng: np.random.Generator, state: Mapping[str, Any]) -> None:
    """Set ``rng`` to a state from :func:`generator_state`.

    Raises:
        ValueError: The state belongs to another kind of bit generator.
    """
    rng.bit_generator.state = dict(state)


@final
class SealedArray:
    """An array that does not change any more: a leaf of a state that checkpoints store once and share.

    Two of them are equal if their digests are. They have no hash, so collect them by :attr:`digest` (or, while
    identity matters, by plain weak references in a list).

    An owner of large memory may seal a *view* of it, which costs nothing, and has to call :meth:`detach`
    before it writes there again. From then on this object holds a copy, and nobody who has it notices.

    Args:
        array: Row-major, of the machine's byte order, any dtype of :data:`SEALED_DTYPES`; it is not copied.
        digest: The digest if it is known, as when the same content was verified elsewhere; it is believed.

    Raises:
        ValueError: Another dtype (structured rows: pass a ``uint8`` view) or memory order.
    """

    __slots__ = ("__weakref__", "_array", "_digest", "_lock", "_own")
    __hash__ = None  # pyright: ignore[reportAssignmentType]  # hashing megabytes unasked, or by identity, would both surprise

    def __init__(self, array: NDArray[Any], *, digest: str | None = None) -> None:
        if array.dtype.name not in SEALED_DTYPES or not array.dtype.isnative:
            raise ValueError(
                f"an array of {array.dtype} cannot be sealed; pass one of {', '.join(SEALED_DTYPES)}, or a uint8 "
                "view of its rows"
            )
        if not array.flags.c_contiguous:
            raise ValueError("only row-major arrays can be sealed; pass numpy.ascontiguousarray(array)")
        self._array = array.view(np.ndarray)  # an object of its own, also for subclasses
        self._array.flags.writeable = False
        self._own = False
        self._digest = digest
        self._lock = threading.Lock()

    @property
    def array(self) -> NDArray[Any]:
        """The content, read-only; right until the owner of the memory calls :meth:`detach` (copy to keep it)."""
        return self._array

    @property
    def shape(self) -> tuple[int, ...]:
        """As the array's."""
        return self._array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """As the array's."""
        return self._array.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return self._array.nbytes

    @property
    def file_size(self) -> int:
        """Bytes of :meth:`serialized`."""
        return len(self._header()) + self.nbytes

    @property
    def digest(self) -> str:
        """SHA-256 over dtype, shape and bytes, in hex; computed when first asked for (3 ms per MB)."""
        with self._lock:
            if self._digest is None:
                hasher = hashlib.sha256(self._header())
                hasher.update(self._data())
                self._digest = hasher.hexdigest()
            return self._digest

    @property
    def digest_known(self) -> bool:
        """Whether :attr:`digest` costs nothing any more."""
        return self._digest is not None

    def serialized(self) -> bytes:
        """A safetensors file with the one array "data". Its SHA-256 is :attr:`digest`, by definition.

        Raises:
            RuntimeError: The memory changed since the digest was taken; its owner forgot :meth:`detach`.
        """
        with self._lock:
            content = b"".join((self._header(), self._data()))
            digest = hashlib.sha256(content).hexdigest()
            if self._digest is not None and digest != self._digest:
                raise RuntimeError(
                    f"a sealed array {self.dtype}{list(self.shape)} was changed: its owner has to call detach() "
                    "before it writes to the memory"
                )
            self._digest = digest
            return content

    def detach(self) -> None:
        """Copy the content, once; afterwards the memory that it was made from may change."""
        with self._lock:
            if not self._own:
                copied = self._array.copy()
                copied.flags.writeable = False
                self._array, self._own = copied, True

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self._array, dtype=dtype, copy=copy)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, SealedArray):
            return NotImplemented
        return self.dtype == other.dtype and self.shape == other.shape and self.digest == other.digest

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:  # to another process: the content, without the lock
        return _travelled, (self._array.copy(), self._digest)

    def __repr__(self) -> str:
        digest = f", {self._digest[:12]}" if self._digest is not None else ""
        return f"SealedArray({self.dtype}{list(self.shape)}{digest})"

    def _header(self) -> bytes:
        return sealed_header(self.dtype.name, self.shape, self.nbytes)

    def _data(self) -> memoryview:
        return self._array.reshape(-1).view(np.uint8).data


def _travelled(array: NDArray[Any], digest: str | None) -> SealedArray:
    return SealedArray(array, digest=digest)


def sealed_header(dtype: str, shape: tuple[int, ...], nbytes: int) -> bytes:
    """What precedes the bytes in :meth:`SealedArray.serialized`; states dtype and shape in one way only."""
    entry = {"dtype": SEALED_DTYPES[dtype], "shape": list(shape), "data_offsets": [0, nbytes]}
    text = json.dumps({"data": entry}, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)  # the format asks that data begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text


def arrays_in(state: Mapping[str, Any], prefix: str = "") -> dict[str, NDArray[Any]]:
    """All array leaves of ``state``, sealed ones too, as ``{"a/b/c": array}``; list elements count by index."""
    found: dict[str, NDArray[Any]] = {}
    for key, value in state.items():
        path = f"{prefix}{key}"
        if isinstance(value, np.ndarray):
            found[path] = value
        elif isinstance(value, SealedArray):
            found[path] = value.array
        elif isinstance(value, Mapping):
            found.update(arrays_in(value, f"{path}/"))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list | tuple):
            found.update(arrays_in({str(i): v for i, v in enumerate(value)}, f"{path}/"))  # pyright: ignore[reportUnknownArgumentType,reportUnknownVariableType]
    return found
