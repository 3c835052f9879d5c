"""Weights as one safetensors file, and the checks that are made before anything is taken over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from optix_core.errors import CorruptCheckpoint, IncompatibleCheckpoint, NonFiniteState

Arrays = dict[str, NDArray[Any]]


def write_tensors(path: str, arrays: Mapping[str, NDArray[Any]], *, kind: str) -> None:
    """Write arrays to ``path`` as safetensors.

    Raises:
        NonFiniteState: One of them holds NaN or infinity; nothing is written.
    """
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFiniteState(f"{name} holds NaN or infinity, so the weights were not written to {path}")
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    Path(path).write_bytes(safetensors.numpy.save(contiguous, metadata={"optix": kind}))


def read_tensors(path: str, *, kind: str) -> Arrays:
    """Read what :func:`write_tensors` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        CorruptCheckpoint: It is no safetensors file, or a damaged one.
        IncompatibleCheckpoint: It holds the weights of another kind of agent.
    """
    data = Path(path).read_bytes()
    try:
        arrays = dict(safetensors.numpy.load(data))
        opened: Any = safetensors.safe_open(path, framework="numpy")
        with opened as file:
            found = dict(file.metadata() or {}).get("optix")
    except safetensors.SafetensorError as error:
        raise CorruptCheckpoint(f"{path} is not a readable safetensors file: {error}") from error
    if found != kind:
        raise IncompatibleCheckpoint(
            f"{path} holds the weights of {found or 'something else'}, not of {kind}"
        )
    return arrays


def mean_of(saved: list[Arrays], *, owner: str) -> Arrays:
    """The element-wise mean, in float64 and cast back; integer arrays are taken from the first.

    Raises:
        IncompatibleCheckpoint: Names or shapes differ.
        ValueError: There is nothing to average.
    """
    if not saved:
        raise ValueError("average_weights needs at least one path")
    for other in saved[1:]:
        require_same(saved[0], other, owner=owner)
    return {
        name: np.mean([arrays[name] for arrays in saved], axis=0, dtype=np.float64).astype(first.dtype)
        if first.dtype.kind == "f"
        else first
        for name, first in saved[0].items()
    }


def require_same(expected: Mapping[str, Any], found: Mapping[str, Any], *, owner: str) -> None:
    """Raise unless both have the same names and, where values are arrays, the same shapes.

    Raises:
        IncompatibleCheckpoint: With the first five differences.
    """
    differences = [f"{name} is missing" for name in expected if name not in found]
    differences += [f"{name} is not expected" for name in found if name not in expected]
    for name in expected:
        if name in found and np.shape(expected[name]) != np.shape(found[name]):
            differences.append(
                f"{name} has shape {list(np.shape(found[name]))}, expected {list(np.shape(expected[name]))}"
            )
    if differences:
        more = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise IncompatibleCheckpoint(
            f"these weights do not fit {owner}: {'; '.join(differences[:5])}{more}. The agent was left as it was; "
            "build it with the networks (hidden_sizes, activation, spaces) that the weights were saved from."
        )
