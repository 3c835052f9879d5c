from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import threading
from pathlib import Path

import pytest

TOYS = Path(__file__).parent / "toys"
sys.path.insert(0, str(TOYS))

import dial  # noqa: E402

WITHOUT_OPTUNA = importlib.util.find_spec("optuna") is None
collect_ignore_glob = ["test_*.py"] if WITHOUT_OPTUNA else []
"""Core's own suite also runs where nothing optional is installed."""
if WITHOUT_OPTUNA:
    Sampler = object
else:
    from optuna.samplers import BaseSampler as Sampler


class Scripted(Sampler):
    """Proposes given values, by the number of the trial."""

    def __init__(self, values):
        self.values = values

    def infer_relative_search_space(self, study, trial):
        return {}

    def sample_relative(self, study, trial, search_space):
        return {}

    def sample_independent(self, study, trial, param_name, param_distribution):
        return self.values[trial.number % len(self.values)]


@pytest.fixture
def scripted():
    return lambda *values: lambda seed: Scripted(values)


@pytest.fixture
def folder(tmp_path):
    """A folder in memory where there is one: databases wait for the disk at every change."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="optix-test-") as name:
        yield Path(name)


@pytest.fixture
def search(folder, monkeypatch):
    """``search(**options)``: a search on the dial whose temporary files lie in a folder of the test."""
    from optix_core.search import TrialOrchestrator

    temporary = folder / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    made = []

    def make(agent_factory=dial.make_agent, pipeline=None, val=None, space=None, **options):
        defaults = {
            "n_trials": 6,
            "trial_steps": 100,
            "top_k": 2,
            "confirm_seeds": 3,
            "n_startup_trials": 3,
            "seed": 1,
        }
        orchestrator = TrialOrchestrator(
            agent_factory,
            pipeline or dial.pipeline_factory(),
            space or {"setting": ("float", -1.0, 1.0)},
            val_pipeline_factory=val,
            **{**defaults, **options},
        )
        made.append(orchestrator)
        return orchestrator

    make.temporary = temporary
    yield make
    for one in made:
        one.cleanup()


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """Environments are closed, agents released and threads ended, whatever a search went through."""
    dial.Dial.open = dial.DialAgent.open = 0
    threads = threading.active_count()
    yield
    assert dial.Dial.open == 0
    assert threading.active_count() == threads
