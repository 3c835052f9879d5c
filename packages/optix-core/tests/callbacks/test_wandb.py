from __future__ import annotations

import sys
import types

import pytest

from optix_core import WandbCallback
from optix_core.errors import MissingDependencyError
from optix_core.runs.run_directory import RunDirectory
from optix_core.runs.scalar_export import rows


class Session:
    """Keeps rows as wandb does: those below the last step are dropped, those at one step are one row."""

    def __init__(self, rows=None):
        self.rows = {} if rows is None else rows
        self.dropped = self.finished = 0

    @property
    def step(self):
        return max(self.rows) + 1 if self.rows else 0

    def log(self, values, step):
        if self.rows and step < max(self.rows):
            self.dropped += 1
        else:
            self.rows.setdefault(step, {}).update(values)

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    module = types.ModuleType("wandb")
    module.calls, module.sessions, module.kept = [], [], None

    def init(**options):
        module.calls.append(options)
        module.sessions.append(Session(module.kept))
        return module.sessions[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def expected(run_dir):
    found = {}
    for event, values in rows(RunDirectory.open(run_dir).log().read()):
        found.setdefault(event.step, {}).update(values)
    return found


def test_every_point_arrives_under_a_step_that_never_falls(quick, wandb):
    optimizer = quick(callbacks=[WandbCallback("p", tags=("a", "b"), group="g", mode="offline")])
    optimizer.run()
    [options], [session] = wandb.calls, wandb.sessions
    assert session.dropped == 0
    assert session.rows == expected(optimizer.run_dir)
    assert session.finished == 1
    config = options.pop("config")
    assert options == {
        "project": "p",
        "name": "r",
        "tags": ["a", "b"],
        "group": "g",
        "resume": None,
        "mode": "offline",
    }
    assert config["hyperparams"] == dict(quick("other").agent.get_hyperparams().params)
    assert config["budget"]["max_windows"] == 30


def test_given_name_and_config_are_kept(quick, wandb):
    quick(callbacks=[WandbCallback(name="n", config={"a": 1})], max_episodes=2).run()
    assert wandb.calls[0]["name"] == "n"
    assert wandb.calls[0]["config"] == {"a": 1}


def test_a_continued_run_sends_nothing_twice_and_misses_nothing(quick, wandb, crash):
    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[WandbCallback(resume="allow"), crash(9)]).run()
    assert wandb.sessions[0].finished == 1
    wandb.kept = dict(wandb.sessions[0].rows)
    optimizer = quick(callbacks=[WandbCallback(resume="allow")], resume=True)
    optimizer.run()
    session = wandb.sessions[1]
    assert session.dropped == 0
    wanted = expected(optimizer.run_dir)
    assert set(session.rows) == set(wanted)
    for step, row in wanted.items():
        timing = {"metrics/steps_per_second"}
        assert {k: v for k, v in row.items() if k not in timing} == {
            k: v for k, v in session.rows[step].items() if k not in timing
        }


def test_a_new_run_of_wandb_gets_the_whole_history_of_a_resumed_run(quick, wandb, crash):
    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[crash(9)]).run()
    optimizer = quick(callbacks=[WandbCallback()], resume=True)
    optimizer.run()
    assert wandb.sessions[0].rows == expected(optimizer.run_dir)


def test_failing_to_begin_is_reported_and_training_goes_on(quick, wandb):
    def fails(**options):
        raise RuntimeError("not logged in")

    wandb.init = fails
    result = quick(callbacks=[WandbCallback()], max_episodes=3).run()
    assert result.windows == 3
    assert result.callback_faults == {"WandbCallback": 1}


def test_without_wandb_construction_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'optix-core\[wandb\]'"):
        WandbCallback()
    with pytest.raises(ImportError):
        WandbCallback()
