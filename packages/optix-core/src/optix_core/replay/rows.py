"""One step as one record, and its description as text for a state."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

TERMINATED, TRUNCATED, CUT = np.uint8(1), np.uint8(2), np.uint8(4)
"""Bits of ``flags``; ``CUT``: the episode went on, but not in the next row of its environment."""


def row_dtype(observations: NDArray[Any], actions: NDArray[Any]) -> np.dtype[Any]:
    """The record of one step, given arrays ``[N, *obs]`` and ``[N, *act]``; every dtype stays what it is."""
    seen = (observations.dtype, observations.shape[1:])
    return np.dtype(
        [
            ("observation", *seen),
            ("next_observation", *seen),
            ("action", actions.dtype, actions.shape[1:]),
            ("reward", np.float32),
            ("flags", np.uint8),
        ],
        align=True,
    )


def dtype_to_text(dtype: np.dtype[Any]) -> str:
    """``dtype`` as JSON (numpy's array-interface description)."""
    return json.dumps(np.lib.format.dtype_to_descr(dtype), separators=(",", ":"))


def dtype_from_text(text: str) -> np.dtype[Any]:
    """What :func:`dtype_to_text` described."""
    return np.lib.format.descr_to_dtype(_description(json.loads(text)))


def same_rows(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """``[N]``: which of N observations are equal, part by part; padding between the fields of records is not read."""
    same = np.ones(len(a), np.bool_)
    if a.dtype.names is not None:
        for name in a.dtype.names:
            same &= same_rows(a[name], b[name])
    else:
        same &= np.equal(a, b).reshape(len(a), -1).all(axis=1)
    return same


def _description(value: Any) -> Any:
    """JSON knows no tuples; numpy wants fields and shapes as such."""
    if isinstance(value, str):
        return value
    fields = cast("list[list[Any]]", value)
    return [(name, _description(kind), *(tuple(shape) for shape in rest)) for name, kind, *rest in fields]
