"""Observations with parts (Dict and Tuple spaces) as elements of one numpy array.

An observation of a Dict or Tuple space travels as a record of a structured dtype whose fields are the keys (of a
Tuple: ``"0"``, ``"1"``, ...), nested where spaces are. N of them are an array ``[N]``, a window is ``[T, N]``: what
indexes, copies and stores plain observations does so with these, and every part keeps its dtype. ``batch["camera"]``
is the view ``[N, *shape]`` of one part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from optix_core.rl.spaces import SpaceInfo, describe_space

Path = tuple[str, ...]


class ObservationMismatch(ValueError):
    """An observation has other parts, shapes or dtypes than its space; the message says which."""


def element_dtype(space: Any) -> np.dtype[Any]:
    """The dtype of one observation of ``space``: structured for Dict and Tuple, else that of its array.

    Raises:
        SpaceError: A kind of space that optix does not know.
    """
    return describe_space(space).dtype


def is_structured(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of ``dtype`` hold records."""
    return dtype.names is not None


def leaf_paths(dtype: np.dtype[Any]) -> Iterator[tuple[Path, np.dtype[Any], tuple[int, ...]]]:
    """Every part that is an array of numbers: its path, dtype and shape, depth first; ``()`` for a plain dtype."""
    if dtype.names is None:
        base, shape = dtype.subdtype or (dtype, ())
        if base.names is None:
            yield (), base, shape
            return
        dtype = base
    for name in cast("tuple[str, ...]", dtype.names):
        for path, base, shape in leaf_paths(dtype[name]):
            yield (name, *path), base, shape


def infos_along(info: SpaceInfo, path: Path) -> Iterator[SpaceInfo]:
    """The spaces that the names of ``path`` are looked up in, the outermost first."""
    for name in path:
        yield info
        info = dict(info.fields)[name]


def leaf_infos(info: SpaceInfo) -> Iterator[tuple[Path, SpaceInfo]]:
    """The space of every part that is an array of numbers, in the order of :func:`leaf_paths`."""
    if info.is_array:
        yield (), info
    for name, below in info.fields:
        for path, leaf in leaf_infos(below):
            yield (name, *path), leaf


def part(array: NDArray[Any], path: Path) -> NDArray[Any]:
    """The view ``[..., *shape]`` of one part of ``array`` ``[...]``."""
    for name in path:
        array = array[name]
    return array


def leaves(array: NDArray[Any]) -> list[tuple[Path, NDArray[Any]]]:
    """All parts of ``array`` with their paths; ``array`` itself with path ``()`` if it has none."""
    return [(path, part(array, path)) for path, _, _ in leaf_paths(array.dtype)]


def empty(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """``np.empty``, but zeros for records, so that the padding between their fields never holds chance bytes."""
    return np.empty(shape, dtype) if dtype.names is None else np.zeros(shape, dtype)


def writer(dtype: np.dtype[Any]) -> Callable[[NDArray[Any], Any, Any], None]:
    """A function ``write(array, index, observation)`` that puts what an environment gave into ``array[index]``.

    It raises :class:`ObservationMismatch` if keys are missing or unknown, or a part has another shape or a dtype that
    would lose its meaning.
    """
    return _record_writer(dtype, ()) if dtype.names is not None else _leaf_writer(dtype, (), ())


def pack(observation: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One observation (a mapping or sequence, nested as its space) as an array ``[]`` of ``dtype``; a copy.

    Raises:
        ObservationMismatch: It does not fit ``dtype``.
    """
    packed = empty((), dtype)
    writer(dtype)(packed, (), observation)
    return packed


def unpack(row: Any, info: SpaceInfo | None = None) -> Any:
    """One record as the environment gave it: a dict, or a tuple where the space is a Tuple. Arrays are views.

    Args:
        row: An array ``[]`` or an element of a structured array; an array without fields is returned as it is.
        info: Its space. Without it, fields named ``"0"``, ``"1"``, ... are taken for those of a Tuple.
    """
    names = row.dtype.names if hasattr(row, "dtype") else None
    if names is None:
        if np.ndim(row) or not hasattr(row, "dtype"):
            return row
        return np.asarray(row) if row.dtype.kind == "f" else row[()]  # a Box without axes; a choice
    parts = dict(info.fields) if info is not None else {}
    values = {name: unpack(row[name], parts.get(name)) for name in names}
    positional = (
        info.kind == "tuple" if info is not None else list(names) == [str(i) for i in range(len(names))]
    )
    return tuple(values.values()) if positional else values


def to_state(array: NDArray[Any]) -> NDArray[Any] | list[NDArray[Any]]:
    """A copy as leaves of a state (:mod:`optix_core.state`): the array, or the list of all its parts."""
    if array.dtype.names is None:
        return array.copy()
    return [values.copy() for _, values in leaves(array)]


def from_state(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array that :func:`to_state` took apart, a copy.

    Raises:
        ObservationMismatch: It has other parts than ``dtype``.
    """
    if dtype.names is None:
        return np.array(value)
    expected = list(leaf_paths(dtype))
    given = cast("Sequence[NDArray[Any]]", value) if isinstance(value, list | tuple) else ()
    if len(given) != len(expected):
        raise ObservationMismatch(
            f"the stored observations have {len(given) or 'no'} parts, {len(expected)} are expected"
        )
    lead: tuple[int, ...] | None = None
    for (path, base, shape), found in zip(expected, given, strict=True):
        cut = found.ndim - len(shape)
        if lead is None:
            lead = found.shape[: max(cut, 0)]
        if found.dtype != base or cut < 0 or found.shape != (*lead, *shape):
            raise ObservationMismatch(
                f"the stored part {label(path)} has shape {found.shape} and dtype {found.dtype}; expected "
                f"{(*lead, *shape)} and {base}"
            )
    array = np.zeros(lead or (), dtype)
    for (path, _, _), found in zip(expected, given, strict=True):
        part(array, path)[...] = found
    return array


def same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two arrays are equal to the last bit in dtype, shape and all parts; NaN equals the same NaN."""
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return all(
        left.tobytes() == right.tobytes()
        for (_, left), (_, right) in zip(leaves(one), leaves(other), strict=True)
    )


def label(path: Path) -> str:
    """A path in words: ``arm.joints``; ``observation`` for the whole."""
    return ".".join(path) or "observation"


def _leaf_writer(
    dtype: np.dtype[Any], shape: tuple[int, ...], path: Path
) -> Callable[[NDArray[Any], Any, Any], None]:
    def write(array: NDArray[Any], index: Any, value: Any) -> None:
        if not (value.__class__ is np.ndarray and value.shape == shape and value.dtype == dtype):
            found = np.asarray(value)
            if found.shape != shape or not np.can_cast(found.dtype, dtype, casting="same_kind"):
                raise ObservationMismatch(
                    f"{label(path)} has shape {found.shape} and dtype {found.dtype}, expected {shape} and {dtype}"
                )
        array[index] = value

    return write


def _record_writer(dtype: np.dtype[Any], path: Path) -> Callable[[NDArray[Any], Any, Any], None]:
    names = cast("tuple[str, ...]", dtype.names)
    parts: list[tuple[str, Callable[[NDArray[Any], Any, Any], None]]] = []
    for name in names:
        base, shape = dtype[name].subdtype or (dtype[name], ())
        below = (*path, name)
        parts.append(
            (name, _leaf_writer(base, shape, below) if base.names is None else _record_writer(base, below))
        )
    by_place = [(int(name), name, write) for name, write in parts] if _positional(names) else None

    def write(array: NDArray[Any], index: Any, value: Any) -> None:
        if isinstance(value, Mapping):
            keyed = cast("Mapping[Any, Any]", value)
            if len(keyed) != len(parts) or any(name not in keyed for name in names):
                raise ObservationMismatch(
                    f"{label(path)} has the keys {sorted(map(str, keyed))}, expected {sorted(names)}"
                )
            for name, put in parts:
                put(array[name], index, keyed[name])
        elif by_place is not None and isinstance(value, tuple | list):
            placed = cast("Sequence[Any]", value)
            if len(placed) != len(parts):
                raise ObservationMismatch(f"{label(path)} has {len(placed)} parts, expected {len(parts)}")
            for place, name, put in by_place:
                put(array[name], index, placed[place])
        elif getattr(value, "dtype", None) == dtype:  # packed already
            array[index] = value
        else:
            wanted = (
                f"a tuple of {len(parts)}"
                if by_place is not None
                else f"a dict with the keys {sorted(names)}"
            )
            raise ObservationMismatch(f"{label(path)} is of type {type(value).__name__}, expected {wanted}")

    return write


def _positional(names: Sequence[str]) -> bool:
    return list(names) == [str(place) for place in range(len(names))]
