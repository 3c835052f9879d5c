"""What the event stream does for a window: one write, and nothing else. `bench events` measures what that costs."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest

from optix_core.checkpoints.filesystem import FileSystem
from optix_core.runs.decision_log import DecisionLog

DIAGNOSTICS = {f"diagnostic_{i}": 0.1234567 * i for i in range(12)}


class Counting(FileSystem):
    """Counts system calls by name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str):
        if name in vars(FileSystem):
            self.calls[name] += 1
        return super().__getattribute__(name)


@pytest.mark.parametrize("undefined", [{}, {"explained_var": math.nan}])
def test_a_window_is_one_write_and_nothing_else(tmp_path: Path, undefined) -> None:
    fs = Counting()
    log = DecisionLog(tmp_path / "events.jsonl", fs)
    numbers = {"train_return": 123.4, "episodes": 9, "elapsed": 12.5, "diagnostics": DIAGNOSTICS | undefined}
    log.append("window", 0, 0, **numbers)  # opens the file
    fs.calls.clear()
    for window in range(1, 200):
        log.append("window", window, window * 2048, **numbers)
    assert fs.calls == {"write": 199}  # no sync, no reading, no opening
    stored = list(log.read(strict=True))
    assert len(stored) == 200
    assert stored[-1].numbers["diagnostics"].keys() == numbers["diagnostics"].keys()


def test_quick_and_careful_encoding_read_back_alike(tmp_path: Path) -> None:
    import numpy as np

    log = DecisionLog(tmp_path / "events.jsonl")
    plain = {"a": 1, "b": [1.5, None, "x"], "c": {"d": True}}
    odd = {
        "nan": math.nan,
        "$dollar": {"$x": 1},
        "array": np.arange(3),
        "tuple": (1, 2),
        "big": 2**70,
        "deep": [[[[1]]]],
        "object": object,
    }
    log.write("plain", **plain)
    log.write("odd", **odd)
    log.write("escaped", a={"$float": "nan", "$$": 1})
    deep: list = [1]
    for _ in range(100):
        deep = [deep]
    log.write("deep", nested=deep)
    first, second, escaped, third = log.read(strict=True)
    assert escaped.numbers == {"a": {"$float": "nan", "$$": 1}}
    assert first.numbers == plain
    assert math.isnan(second.numbers["nan"])
    assert second.numbers["$dollar"] == {"$x": 1}
    assert second.numbers["array"] == [0, 1, 2]
    assert second.numbers["tuple"] == [1, 2]
    assert second.numbers["big"] == 2**70
    assert second.numbers["object"] == repr(object)
    assert third.kind == "deep"
