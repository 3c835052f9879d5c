"""Checkpoints of every released format are still read, to the bit.

``golden/`` holds one run directory per format version, written once by
``python test_golden.py VERSION`` and never again.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from optix_core.checkpoints import CheckpointStore
from optix_core.state import SealedArray

GOLDEN = Path(__file__).with_name("golden")


def states(version: str) -> dict[str, Any]:
    """Every kind of leaf that a state can hold in this format."""
    sealed = {} if version == "1.0" else {"replay": {"segments": sealed_arrays()}}
    dtypes = (
        "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"
    )
    return {
        "agent": {
            "weights": {name: np.arange(6).reshape(2, 3).astype(name) for name in dtypes.split()},
            "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
            "zero_d": np.array(2.5, np.float32),
            "empty": np.zeros((0, 4), np.int16),
            "rng": np.random.Generator(np.random.PCG64(7)).bit_generator.state,
            **sealed,
        },
        "loop": {
            "numbers": [0, -1, 2**127, 0.1, -0.0, 5e-324, math.inf, -math.inf, None, True, "ü\ud800"],
            "scalars": [np.float32(0.1), np.int8(-3), np.bool_(True)],
            "$odd": {"a/b": np.array([math.nan, -0.0]), "$array": "text", "~": {}},
            "python": list(random.Random(1).getstate()[1][:5]),
        },
    }


def sealed_arrays() -> list[Any]:
    rows = np.arange(24, dtype=np.uint8).reshape(3, 8)
    return [SealedArray(rows), SealedArray(np.array(0.5)), SealedArray(rows.copy())]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, SealedArray):
        return type(b) is SealedArray and same(np.asarray(a), np.asarray(b)) and a.digest == b.digest
    if isinstance(a, np.ndarray | np.generic):
        return type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@pytest.mark.parametrize("version", sorted(p.name for p in GOLDEN.glob("*")))
def test_released_formats_are_read(version: str) -> None:
    store = CheckpointStore(GOLDEN / version)
    loaded = store.load("best")
    assert same(states(version), loaded.components)
    assert (loaded.info.step, loaded.info.window, loaded.info.score) == (12_000, 6, 1.5)
    assert not same({**states(version), "agent": {}}, loaded.components)


def test_there_is_one_for_the_present_format() -> None:
    from optix_core.checkpoints.manifest import VERSION

    assert (GOLDEN / f"{VERSION[0]}.{VERSION[1]}").is_dir()


if __name__ == "__main__":
    CheckpointStore(GOLDEN / sys.argv[1]).save(
        states(sys.argv[1]), step=12_000, window=6, score=1.5, metrics={"x": 1.0}
    )
