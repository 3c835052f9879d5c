"""Arrays as safetensors bytes, and back with every bound checked before anything is built from it.

The format (https://github.com/huggingface/safetensors): eight bytes little-endian header length, a JSON
header with dtype, shape and offsets per array, then the data. It holds no code. Writing uses the safetensors
package; reading parses the header here, because a loader must not trust one length in it, and gives arrays
that are views of the one buffer read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.checkpoints.jsonio import JsonObject, JsonProblem, parse_object

MAX_HEADER_BYTES = 8 * 2**20
MAX_TENSORS = 100_000

_DTYPES = {
    "BOOL": "bool",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "U16": "uint16",
    "U32": "uint32",
    "U64": "uint64",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
}


class TensorProblem(ValueError):
    """The bytes are not a safetensors file that optix accepts."""


def serialize(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The arrays as one safetensors file; equal contents give equal bytes, whatever the order of keys."""
    from safetensors.numpy import save

    # The package swaps dimensions of Fortran-ordered input in some releases; row-major copies are always
    # right.
    return save({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)})


def describe(arrays: Mapping[str, NDArray[Any]]) -> dict[str, JsonObject]:
    """Dtype and shape by name, as the manifest stores it."""
    return {name: {"dtype": array.dtype.name, "shape": list(array.shape)} for name, array in arrays.items()}


def deserialize(data: bytearray) -> dict[str, NDArray[Any]]:
    """Arrays of a safetensors file, as writable views of ``data``.

    Raises:
        TensorProblem: A length, type, shape or offset is wrong, or arrays overlap or leave holes.
    """
    if len(data) < 8:
        raise TensorProblem(f"{len(data)} bytes are too few for a header")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER_BYTES or 8 + length > len(data):
        raise TensorProblem(f"the header claims {length} bytes of a file of {len(data)}")
    try:
        header = parse_object(memoryview(data)[8 : 8 + length], MAX_HEADER_BYTES)
    except JsonProblem as error:
        raise TensorProblem(f"the header is broken: {error}") from None
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise TensorProblem(f"{len(header)} arrays, more than the {MAX_TENSORS} allowed")
    start = 8 + length
    spans = {name: _span(name, entry, len(data) - start) for name, entry in header.items()}
    expected = 0
    for name in sorted(spans, key=lambda n: spans[n][2:]):
        begin, end = spans[name][2:]
        if begin != expected:
            raise TensorProblem(f"{name!r} begins at {begin}; {expected} was expected")
        expected = end
    if start + expected != len(data):
        raise TensorProblem(f"{len(data) - start - expected} bytes after the last array")
    result: dict[str, NDArray[Any]] = {}
    for name, (dtype, shape, begin, _) in spans.items():
        flat = np.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=start + begin)
        # Views keep memory at one copy; an odd address (possible in foreign files only) would slow every use.
        result[name] = (flat if flat.flags.aligned else flat.copy()).reshape(shape)
    return result


def _span(name: str, entry: Any, available: int) -> tuple[np.dtype[Any], tuple[int, ...], int, int]:
    if not isinstance(entry, dict):
        raise TensorProblem(f"{name!r} has no description")
    fields = cast("JsonObject", entry)
    dtype_name = fields.get("dtype")
    if not isinstance(dtype_name, str) or dtype_name not in _DTYPES:
        raise TensorProblem(f"{name!r} has the unsupported dtype {dtype_name!r}")
    dtype = np.dtype(_DTYPES[dtype_name])
    shape, offsets = fields.get("shape"), fields.get("data_offsets")
    if not _naturals(shape) or not _naturals(offsets) or len(cast("list[int]", offsets)) != 2:
        raise TensorProblem(f"{name!r} has a broken shape or offsets: {shape!r}, {offsets!r}")
    dimensions = tuple(cast("list[int]", shape))
    begin, end = cast("list[int]", offsets)
    if (
        len(dimensions) > 32
        or not begin <= end <= available
        or end - begin != math.prod(dimensions) * dtype.itemsize
    ):
        raise TensorProblem(
            f"{name!r} of shape {list(dimensions)} does not fit bytes {begin} to {end} of {available}"
        )
    return dtype, dimensions, begin, end


def _naturals(value: Any) -> bool:
    if not isinstance(value, list):
        return False
    return all(type(item) is int and item >= 0 for item in cast("list[Any]", value))
