"""States as JSON plus named arrays, and back, exactly.

Arrays leave the tree and are named by their path (``"agent/policy/0/weight"``); what stays is JSON. What JSON
cannot say is an object with one key that begins with a dollar sign; keys of the state itself that do so get a
second one.

===================  ==================================================================================
``{"$array": n}``    the array named n; ``{"$array_f": n}`` the same in Fortran order
``{"$complex": n}``  an array of complex numbers, stored as pairs of floats along a last axis of 2
``{"$sealed": n}``   the sealed array named n, which is stored outside the checkpoint (see segments.py)
``{"$float": t}``    t is "nan", "inf" or "-inf"
``{"$scalar": s}``   s is [dtype, value], a numpy scalar
===================  ==================================================================================

What comes back equals what went in: dtype, shape, memory order and key order, floats and integers to the last
bit. One exception: tuples come back as lists, and NaNs as the one NaN that Python's ``float("nan")`` makes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.checkpoints.jsonio import MAX_DEPTH, JsonObject
from optix_core.errors import CheckpointError, NonFiniteState
from optix_core.state import SEALED_DTYPES, SealedArray, State

Arrays = dict[str, NDArray[Any]]
Stored = dict[str, NDArray[Any] | SealedArray]

ARRAY_DTYPES = frozenset(SEALED_DTYPES)
COMPONENT_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_INT_BITS = 14_000
_LONG = 2**63
"""Python reads decimal integers of at most 4300 digits."""

_COMPLEX = {"complex64": "float32", "complex128": "float64"}
_SPECIAL_FLOATS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class Encoded:
    """A state taken apart: JSON per component, and arrays and sealed arrays by path."""

    document: JsonObject = field(default_factory=dict[str, Any])
    arrays: Arrays = field(default_factory=dict[str, Any])
    sealed: dict[str, SealedArray] = field(default_factory=dict[str, Any])


class CodecProblem(ValueError):
    """A stored document does not decode; the message says where and why."""


def encode_components(components: Mapping[str, Mapping[str, Any]]) -> Encoded:
    """Take states apart.

    Args:
        components: Name (lower case, digits, ``. _ -``) to state.

    Raises:
        CheckpointError: A name or a value cannot be stored; the message names its path.
    """
    result = Encoded()
    for name, state in components.items():
        if not COMPONENT_NAME.fullmatch(name):
            raise _unsavable(
                name, "is not a component name (lower-case letters, digits, '.', '_', '-'; at most 64)"
            )
        result.document[name] = _encode_mapping(state, name, result, 0)
    return result


def decode_components(
    document: Mapping[str, Any], arrays: Mapping[str, NDArray[Any] | SealedArray]
) -> dict[str, State]:
    """Put states together again; every array, sealed or not, is used exactly once.

    Raises:
        CodecProblem: The document refers to arrays that are missing, or does not refer to some.
    """
    unused = dict(arrays)
    result: dict[str, State] = {}
    for name, value in document.items():
        if not isinstance(value, dict):
            raise CodecProblem(f"component {name} is not an object")
        result[name] = _decode_mapping(cast("JsonObject", value), name, unused, 0)
    if unused:
        raise CodecProblem(f"nothing refers to the array {min(unused)!r}")
    return result


def encode_value(value: Any) -> Any:
    """One array-free value as JSON (see the module docstring).

    Raises:
        CheckpointError: It cannot be stored, or holds arrays.
    """
    found = Encoded()
    result = _encode(value, "value", found, 0)
    if found.arrays or found.sealed:
        raise _unsavable("value", "holds an array; convert it with tolist()")
    return result


def decode_value(value: Any) -> Any:
    """The value behind :func:`encode_value`'s JSON.

    Raises:
        CodecProblem: It is not such JSON.
    """
    return _decode(value, "value", {}, 0)


def encode_loosely(value: Any) -> Any:
    """Like :func:`encode_value`, but nothing is refused: for metrics and other things to be logged.

    Numpy scalars become Python numbers, arrays and other sequences lists, keys strings; anything else is
    stored as its ``repr``.
    """
    return _encode_quickly(value, 3)


def _encode_quickly(value: Any, depth: int) -> Any:
    """What is plain already, which most of a log is, passes through; the rest goes the long way, item by item."""
    kind: type = type(value)  # pyright: ignore[reportUnknownVariableType]
    if (
        value is None
        or kind is bool
        or kind is str
        or (kind is float and math.isfinite(value))
        or (kind is int and -_LONG < value < _LONG)
    ):
        return value
    if kind is dict and depth:
        items = cast("dict[Any, Any]", value)
        if all(type(key) is str and not key.startswith("$") for key in items):
            return {key: _encode_quickly(item, depth - 1) for key, item in items.items()}
    return encode_value(_plain(value, 0))


def require_finite(name: str, state: Mapping[str, Any]) -> None:
    """Refuse NaN and infinity in arrays of a component.

    Raises:
        NonFiniteState: Names the first such array, with the number and position of bad elements.
    """
    found = Encoded()
    _encode_mapping(state, name, found, 0)
    for path, array in (found.arrays | {path: sealed.array for path, sealed in found.sealed.items()}).items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = np.argwhere(~np.isfinite(array))
            where = tuple(int(i) for i in bad[0])
            raise NonFiniteState(
                f"{path} {array.dtype}{list(array.shape)} holds {len(bad)} non-finite of {array.size} "
                f"values (first: {float(array[where])} at index {list(where)}). A checkpoint of it would be "
                "useless, so none was written and earlier ones are untouched. Restore the last good "
                "checkpoint and lower the learning rate."
            )


# -- encoding --------------------------------------------------------------------------------------


def _encode_mapping(state: Mapping[str, Any], path: str, into: Encoded, depth: int) -> JsonObject:
    if depth > MAX_DEPTH - 2:  # the document and its component table are two levels more
        raise _unsavable(
            path, f"is nested deeper than {MAX_DEPTH - 2} levels (does the state contain itself?)"
        )
    result: JsonObject = {}
    for key, value in state.items():
        if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may not use types
            raise _unsavable(path, f"has the key {key!r} of type {type(key).__name__}; keys are strings")
        child = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
        result[f"${key}" if key.startswith("$") else key] = _encode(value, child, into, depth + 1)
    return result


def _encode(value: Any, path: str, into: Encoded, depth: int) -> Any:
    if isinstance(value, np.ndarray):
        return _encode_array(cast("NDArray[Any]", value), path, into)
    if isinstance(value, SealedArray):
        into.sealed[path] = value
        return {"$sealed": path}
    if isinstance(value, np.generic):
        return _encode_scalar(cast("np.generic[Any]", value), path)
    if isinstance(value, Mapping):
        return _encode_mapping(cast("Mapping[str, Any]", value), path, into, depth)
    if isinstance(value, list | tuple):
        if depth > MAX_DEPTH - 2:
            raise _unsavable(
                path, f"is nested deeper than {MAX_DEPTH - 2} levels (does the state contain itself?)"
            )
        items = cast("list[Any]", value)
        return [_encode(item, f"{path}/{index}", into, depth + 1) for index, item in enumerate(items)]
    # Exact types: an enum or other subclass would come back as something else.
    if value is None or type(value) in {bool, str}:
        return value
    if type(value) is int:
        if value.bit_length() > MAX_INT_BITS:
            raise _unsavable(
                path, f"is an integer of {value.bit_length()} bits; at most {MAX_INT_BITS} can be stored"
            )
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    raise _unsavable(
        path,
        f"is a {type(value).__module__}.{type(value).__qualname__}; a state may hold None, bool, int, "
        "float, str, numpy arrays and scalars, SealedArray, and dicts, lists and tuples of them. Convert it in "
        "state_dict()",
    )


def _encode_array(value: NDArray[Any], path: str, into: Encoded) -> JsonObject:
    if isinstance(value, np.ma.MaskedArray):
        raise _unsavable(path, "is a masked array; store its data and its mask")
    array: NDArray[Any] = np.asarray(value)
    name = array.dtype.name
    # A wider view would lose the byte order, so only the machine's own is taken.
    if not array.dtype.isnative or (name not in ARRAY_DTYPES and name not in _COMPLEX):
        raise _unsavable(
            path,
            f"is an array of {array.dtype}; supported are {', '.join(sorted(ARRAY_DTYPES | set(_COMPLEX)))}",
        )
    if name in _COMPLEX:
        pairs = np.ascontiguousarray(array).reshape(*array.shape, 1).view(_COMPLEX[name])
        into.arrays[path] = pairs
        return {"$complex": path}
    into.arrays[path] = array
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    return {"$array_f" if fortran else "$array": path}


def _encode_scalar(value: np.generic[Any], path: str) -> JsonObject:
    name = value.dtype.name
    if name not in ARRAY_DTYPES:
        raise _unsavable(path, f"is a numpy scalar of type {name}; convert it to a Python number")
    plain = value.item()
    return {"$scalar": [name, _encode(plain, path, Encoded(), 0)]}


def _unsavable(path: str, why: str) -> CheckpointError:
    return CheckpointError(f"Cannot store {path}: it {why}. Nothing was written.", code="E-CKPT-UNSAVABLE")


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(cast("NDArray[Any]", value).tolist(), depth)
    if isinstance(value, np.generic):
        return _plain(cast("np.generic[Any]", value).item(), depth)
    if depth < MAX_DEPTH // 2:
        if isinstance(value, Mapping):
            items = cast("Mapping[Any, Any]", value).items()
            return {str(key): _plain(item, depth + 1) for key, item in items}
        if isinstance(value, list | tuple):
            return [_plain(item, depth + 1) for item in cast("list[Any]", value)]
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):  # enums and other subclasses reduce to their base
        if isinstance(value, kind):
            reduced = kind(value)
            # Python writes integers of more than 4300 digits in no base but powers of two.
            return (
                hex(reduced) if isinstance(reduced, int) and reduced.bit_length() > MAX_INT_BITS else reduced
            )
    return repr(value)[:1000]


# -- decoding --------------------------------------------------------------------------------------


def _decode_mapping(document: JsonObject, path: str, arrays: Stored, depth: int) -> State:
    result: State = {}
    for key, value in document.items():
        if key.startswith("$$"):
            key = key[1:]  # noqa: PLW2901  # the unescaped key is the key
        elif key.startswith("$"):
            raise CodecProblem(f"{path} has the reserved key {key!r}")
        result[key] = _decode(value, f"{path}/{key}", arrays, depth + 1)
    return result


def _decode(value: Any, path: str, arrays: Stored, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise CodecProblem(f"{path[:200]} is nested too deeply")
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return [_decode(item, f"{path}/{index}", arrays, depth + 1) for index, item in enumerate(items)]
    if not isinstance(value, dict):
        return value
    document = cast("JsonObject", value)
    if len(document) == 1:
        [(key, content)] = document.items()
        if key.startswith("$") and not key.startswith("$$"):
            return _decode_tag(key, content, path, arrays)
    return _decode_mapping(document, path, arrays, depth)


def _decode_tag(tag: str, content: Any, path: str, arrays: Stored) -> Any:
    if tag == "$float" and isinstance(content, str) and content in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[content]
    if tag == "$scalar" and isinstance(content, list) and len(cast("list[Any]", content)) == 2:
        name, number = cast("list[Any]", content)
        if name in ARRAY_DTYPES:
            try:
                return np.dtype(str(name)).type(_decode(number, path, {}, 0))
            except (TypeError, ValueError, OverflowError) as error:
                raise CodecProblem(f"{path} is no {name}: {error}") from None
    if tag in {"$array", "$array_f", "$complex"} and isinstance(content, str):
        if content not in arrays:
            raise CodecProblem(f"{path} refers to the array {content!r}, which is missing or used twice")
        array = arrays.pop(content)
        if isinstance(array, SealedArray):
            raise CodecProblem(f"{path} has the form {tag!r}, and {content!r} is a sealed array")
        if tag == "$array_f":
            return np.asfortranarray(array)
        if tag == "$complex":
            if array.ndim == 0 or array.shape[-1] != 2 or array.dtype.name not in _COMPLEX.values():
                raise CodecProblem(f"{path} is no array of complex numbers")
            kind = next(wide for wide, narrow in _COMPLEX.items() if narrow == array.dtype.name)
            return np.ascontiguousarray(array).view(kind).reshape(array.shape[:-1])
        return array
    if tag == "$sealed" and isinstance(content, str):
        if not isinstance(arrays.get(content), SealedArray):
            raise CodecProblem(
                f"{path} refers to the sealed array {content!r}, which is missing or used twice"
            )
        return arrays.pop(content)
    raise CodecProblem(f"{path} has the unknown form {tag!r}")
