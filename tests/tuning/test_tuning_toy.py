"""The gates of benchmarks/tuning, with fewer runs, and proof that they can fail."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from optix_core.tuners import SPSAOptimizer

FILE = Path(__file__).parents[2] / "benchmarks" / "tuning" / "run.py"


@pytest.fixture(scope="module")
def toy() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tuning_toy", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_gates_hold(toy: ModuleType) -> None:
    assert all(toy.gates(toy.table(25)).values())
    assert all(toy.price(toy.table(10, ["fixed", "spsa"], **toy.FROM_THE_OPTIMUM)).values())


def test_a_tuner_that_walks_the_wrong_way_fails_them(
    toy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = SPSAOptimizer.conclude

    def wrong(self, trial, arm_returns, *, paired):
        return right(self, trial, arm_returns[::-1], paired=paired)

    monkeypatch.setattr(SPSAOptimizer, "conclude", wrong)
    found = toy.table(10, ["spsa"], [0.03])
    assert found["spsa", 0.03][0] < 0.9
