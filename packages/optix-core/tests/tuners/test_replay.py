"""A recorded schedule: what is read from a log, when it comes into force, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from optix_core import Optimizer, RLOptimizer
from optix_core.errors import ConfigError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.runs.decision_log import DecisionLog
from optix_core.runs.run_directory import RunDirectory
from optix_core.testing import LinearAgent, TinyDiscrete
from optix_core.tuners import Change, ScheduleReplay, SPSAOptimizer
from optix_core.types import HyperparamSet

START = {"learning_rate": 0.05, "gamma": 0.99}


def agent(seed: int = 0) -> LinearAgent:
    env = TinyDiscrete()
    return LinearAgent(env.observation_space, env.action_space, seed=seed)


def record(path: Path, *events: tuple[str, int, dict[str, Any]], config: dict | None = None) -> Path:
    run = RunDirectory.create(
        path, name="recorded", config={"agent": {"class": "LinearAgent"}, **(config or {})}
    )
    with run.log() as log:
        for kind, step, numbers in events:
            log.write(kind, window=step // 10, step=step, **numbers)
    return run.path


def started(values: dict[str, Any] = START) -> tuple[str, int, dict[str, Any]]:
    return "started", 0, {"hyperparams": values}


def tuned(step: int, cause: str = "tuner", **pairs: list[Any]) -> tuple[str, int, dict[str, Any]]:
    return "tuned", step, {"changed": pairs, "not_taken": {}, "cause": cause}


def train(tuner: Any, path: Path, **options: Any) -> tuple[Optimizer, list[Any]]:
    optimizer = Optimizer(
        agent(),
        TinyDiscrete,
        window_size=32,
        optimizer=tuner,
        run_dir=path,
        **{"seed": 1, "max_episodes": 20, "validation_episodes": 4, "confirm_episodes": 0, **options},
    )
    optimizer.run()
    return optimizer, list(DecisionLog(path / "events.jsonl").read())


def in_force(events: list[Any]) -> dict[int, dict[str, Any]]:
    """Hyperparameters with which each window of the main line was trained, by its last step."""
    found, now = {}, {}
    for event in events:
        if event.kind == "window" and not event.numbers.get("branch"):
            now |= event.numbers.get("hyperparams", {})
            found[event.step] = dict(now)
    return found


def test_values_hold_from_their_step_on(tmp_path: Path) -> None:
    path = record(
        tmp_path,
        started(),
        tuned(100, learning_rate=[0.05, 0.1]),
        tuned(200, "rollback", learning_rate=[0.1, 0.05]),
        tuned(300, "probe", gamma=[0.99, 0.95]),
    )
    replay = ScheduleReplay.from_run(path)
    assert replay.names == ("learning_rate", "gamma")
    at = {step: replay.values_at(step) for step in (0, 99, 100, 199, 200, 300, 10**9)}
    assert at[0] == at[99] == at[200] == at[199] | {"learning_rate": 0.05} == START
    assert at[100] == {"learning_rate": 0.1, "gamma": 0.99}
    assert at[300] == at[10**9] == {"learning_rate": 0.05, "gamma": 0.95}
    assert [change.cause for change in replay.changes] == ["start", "tuner", "rollback", "probe"]


def test_what_never_changed_is_left_to_the_new_run(tmp_path: Path) -> None:
    replay = ScheduleReplay.from_run(record(tmp_path, started(), tuned(64, gamma=[0.99, 0.9])))
    assert replay.names == ("gamma",)
    assert ScheduleReplay.from_run(record(tmp_path / "b", started())).changes == ()


def test_what_anything_else_changed_is_seen_in_the_next_window(tmp_path: Path) -> None:
    path = record(
        tmp_path,
        started(),
        ("window", 32, {"hyperparams": START}),
        ("window", 64, {}),
        ("window", 96, {"hyperparams": {"learning_rate": 0.025}}),  # halved after the window that ended at 64
    )
    replay = ScheduleReplay.from_run(path)
    assert replay.changes[-1] == Change(step=64, values={"learning_rate": 0.025}, cause="other")


def test_a_run_replays_to_the_same_values_at_the_same_steps_with_another_seed(tmp_path: Path) -> None:
    tuner = SPSAOptimizer(
        LinearAgent.default_param_bounds, log_params=["learning_rate"], mode="two_probe", every=1, seed=0
    )
    _, recorded = train(tuner, tmp_path / "a")
    changes = [e for e in recorded if e.kind == "tuned"]
    assert len(changes) >= 5
    replay = ScheduleReplay.from_run(tmp_path / "a")
    optimizer, events = train(replay, tmp_path / "b", seed=7)
    assert in_force(events) == in_force(recorded)
    assert {e.kind for e in events if e.kind in {"trial", "replayed"}} == {"replayed"}
    ours = [e for e in events if e.kind == "tuned"]
    assert {e.numbers["cause"] for e in ours} == {"replay"}
    first = next(e for e in events if e.kind == "replayed")
    assert first.numbers["source"] == str(tmp_path / "a")
    assert first.numbers["values"] == replay.values_at(first.step)
    # and a replay can itself be replayed
    assert in_force(train(ScheduleReplay.from_run(tmp_path / "b"), tmp_path / "c")[1]) == in_force(recorded)
    assert optimizer.agent.get_hyperparams().params.keys() == agent().get_hyperparams().params.keys()


def test_the_steps_of_branches_count(tmp_path: Path) -> None:
    tuner = SPSAOptimizer(
        LinearAgent.default_param_bounds, 0.3, log_params=["learning_rate"], every=2, seed=0, confidence=0.1
    )
    logs = []
    for name, chosen in (("a", lambda: tuner), ("b", lambda: ScheduleReplay.from_run(tmp_path / "a"))):
        env = gym.make("CartPole-v1")
        Optimizer(
            LinearAgent(env.observation_space, env.action_space, seed=0),
            "CartPole-v1",
            window_size=64,
            optimizer=chosen(),
            run_dir=tmp_path / name,
            seed=1,
            max_episodes=40,
            validation_episodes=4,
            confirm_episodes=0,
            probe_windows=0,
            min_episodes_before_dormant=1000,
        ).run()
        env.close()
        logs.append(list(DecisionLog(tmp_path / name / "events.jsonl").read()))
    recorded, events = logs
    assert sum(e.kind == "trial" and e.numbers["committed"] for e in recorded) >= 2
    assert not any(e.kind == "trial" for e in events)
    changes = [(e.step, e.numbers["changed"]) for e in recorded if e.kind == "tuned"]
    assert [(e.step, e.numbers["changed"]) for e in events if e.kind == "tuned"] == changes


def test_scheduled_values_come_back_if_something_else_changed_them(tmp_path: Path) -> None:
    from optix_core.loop_callback import LoopCallback

    learner = agent()

    class Meddles(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics) -> None:
            learner.set_hyperparams(HyperparamSet({"gamma": 0.5}))

    seen = []

    class Looks(LoopCallback):
        def on_hyperparam_update(self, old_params, new_params) -> None:
            seen.append((old_params["gamma"], new_params["gamma"]))

    Optimizer(
        learner,
        TinyDiscrete,
        window_size=32,
        optimizer=ScheduleReplay([Change(step=0, values={"gamma": 0.9})]),
        max_episodes=4,
        callbacks=[Meddles(), Looks()],
        checkpoint_dir=tmp_path,
        seed=0,
    ).run()
    assert seen == [(0.99, 0.9)] + [(0.5, 0.9)] * 3


def test_a_resumed_replay_goes_on(tmp_path: Path) -> None:
    schedule = [Change(step=0, values={"gamma": 0.98}), Change(step=320, values={"gamma": 0.9})]
    train(ScheduleReplay(schedule), tmp_path / "a", max_episodes=6)
    train(ScheduleReplay(), tmp_path / "a", max_episodes=14, resume=True)  # its state holds the schedule
    events = list(DecisionLog(tmp_path / "a" / "events.jsonl").read())
    assert [(e.step, e.numbers["changed"]) for e in events if e.kind == "tuned"] == [
        (0, {"gamma": [0.99, 0.98]}),
        (320, {"gamma": [0.98, 0.9]}),
    ]


# --- what is refused ------------------------------------------------------------------------------------------------


def test_a_directory_without_a_run_or_without_a_log(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be replayed"):
        ScheduleReplay.from_run(tmp_path / "nowhere")
    bare = RunDirectory.create(tmp_path, name="bare", config={}).path
    (bare / "events.jsonl").unlink(missing_ok=True)
    with pytest.raises(ConfigError, match=r"has no decision log \(events.jsonl\)"):
        ScheduleReplay.from_run(bare)


def test_a_log_that_does_not_begin_with_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no entry of the run's start"):
        ScheduleReplay.from_run(record(tmp_path, tuned(10, gamma=[0.99, 0.9])))


def test_another_agent_is_refused_before_anything_happens(tmp_path: Path) -> None:
    path = record(
        tmp_path, started(), tuned(10, gamma=[0.99, 0.9]), config={"agent": {"class": "OtherAgent"}}
    )
    with pytest.raises(ConfigError, match="belongs to the agent OtherAgent, and this is LinearAgent"):
        RLOptimizer(
            agent(),
            BatchPipeline(TinyDiscrete(), window_size=16, seed=0),
            optimizer=ScheduleReplay.from_run(path),
            run_dir=tmp_path / "new",
        )
    assert not (tmp_path / "new").exists()


def test_names_that_the_agent_does_not_have_are_refused() -> None:
    replay = ScheduleReplay([Change(step=0, values={"gama": 0.9})])
    with pytest.raises(
        ConfigError, match=r"sets 'gama', which LinearAgent does not have. Did you mean 'gamma'\?"
    ):
        replay.check(agent())


def test_steps_in_disorder_and_two_sources_are_refused(tmp_path: Path) -> None:
    changes = [Change(step=5, values={"gamma": 0.9}), Change(step=4, values={"gamma": 0.8})]
    with pytest.raises(ConfigError, match="steps of changes decrease"):
        ScheduleReplay(changes)
    with pytest.raises(ConfigError, match="both changes and run"):
        ScheduleReplay(changes[:1], run=tmp_path)


def test_the_name_alone_is_not_enough() -> None:
    with pytest.raises(ConfigError, match=r"ScheduleReplay\.from_run"):
        RLOptimizer(agent(), BatchPipeline(TinyDiscrete(), window_size=16, seed=0), optimizer="replay")


def test_its_state_is_plain_data() -> None:
    replay = ScheduleReplay([Change(step=3, values={"gamma": 0.9}, cause="probe")], source="x")
    other = ScheduleReplay()
    other.load_state_dict(json.loads(json.dumps(replay.state_dict())))
    assert (other.changes, other.source) == (replay.changes, "x")
    assert other.values_at(3) == {"gamma": 0.9}
