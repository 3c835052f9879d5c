"""What observers of the event stream hear: everything once, in order, whatever happens to the run."""

from __future__ import annotations

import math

import pytest

from optix_core.base_optimizer import BaseOptimizer
from optix_core.callbacks import StreamCallback
from optix_core.errors import NumericalDivergence
from optix_core.loop_callback import LoopCallback
from optix_core.runs.run_directory import RunDirectory
from optix_core.types import EvalMetrics, HyperparamSet, LoopState, PolicySnapshot


class Recorder(StreamCallback):
    def __init__(self):
        self.heard, self.sessions = [], []

    def opened(self, event):
        self.sessions.append("opened")

    def received(self, event):
        self.heard.append(event)

    def closed(self):
        self.sessions.append("closed")


def test_a_listener_hears_every_line_of_the_log_as_it_is_written(quick):
    recorder = Recorder()
    optimizer = quick(callbacks=[recorder])
    optimizer.run()
    logged = list(RunDirectory.open(optimizer.run_dir).log().read())
    assert [(e.seq, e.kind, e.window, e.step, e.time) for e in recorder.heard] == [
        (e.seq, e.kind, e.window, e.step, e.time) for e in logged
    ]
    assert {"started", "baseline", "window", "decision", "finished"} <= {e.kind for e in logged}
    assert recorder.sessions == ["opened", "closed"]
    assert recorder.run_name == "r"


def test_steps_never_fall_and_are_environment_steps(quick):
    recorder = Recorder()
    quick(callbacks=[recorder]).run()
    steps = [e.step for e in recorder.heard]
    assert steps == sorted(steps)
    assert steps[-1] == 30 * 64


def test_a_resumed_run_first_hears_what_the_log_holds(quick, crash):

    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[crash(9)]).run()
    recorder = Recorder()
    optimizer = quick(callbacks=[recorder], resume=True)
    optimizer.run()
    numbers = [e.seq for e in recorder.heard]
    assert numbers == list(range(1, len(numbers) + 1))  # nothing twice, nothing missing
    assert numbers == [e.seq for e in RunDirectory.open(optimizer.run_dir).log().read()]
    assert "resumed" in {e.kind for e in recorder.heard}


def test_who_joins_late_hears_the_beginning_too(quick):
    recorder, joined = Recorder(), []

    class Joins(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            if episode_id >= 5 and not recorder.sessions and not joined:
                joined.append(episode_id)
                optimizer.add_callback(recorder)

    optimizer = quick(callbacks=[Joins()])
    optimizer.run()
    assert joined
    assert [e.seq for e in recorder.heard] == list(range(1, len(recorder.heard) + 1))
    assert recorder.heard[0].kind == "started"


def test_a_failing_listener_is_switched_off_and_the_run_goes_on(quick):
    class Fails(StreamCallback):
        tries = 0

        def received(self, event):
            if event.kind == "window":
                Fails.tries += 1
                raise OSError("disk full")

    recorder = Recorder()
    result = quick(callbacks=[Fails(), recorder]).run()
    assert result.windows == 30
    assert Fails.tries == 3
    assert result.callback_faults == {"Fails": 3}
    failures = [e for e in recorder.heard if e.kind == "callback_failed"]
    assert [e.numbers["disabled"] for e in failures] == [False, False, True]


def test_failures_in_a_row_are_those_of_one_kind_of_event(quick):
    tries = []

    class Fails(StreamCallback):
        def received(self, event):
            if event.kind == "decision":
                tries.append(event.seq)
                raise OSError("disk full")

    recorder = Recorder()
    quick(callbacks=[Fails(), recorder]).run()
    decisions = [e.seq for e in recorder.heard if e.kind == "decision"]
    assert len(decisions) > 3
    assert tries == decisions[:3]  # windows went well in between


def test_a_listener_is_closed_when_the_run_fails(quick):
    class Poison(LoopCallback):
        critical = True

        def on_episode_end(self, episode_id, eval_metrics):
            raise NumericalDivergence("planted")

    recorder = Recorder()
    with pytest.raises(NumericalDivergence):
        quick(callbacks=[recorder, Poison()]).run()
    assert recorder.sessions == ["opened", "closed"]
    assert recorder.heard[-1].kind == "failed"


class Halving(BaseOptimizer):
    """Halves the learning rate at every call."""

    def suggest(self, current_hyperparams, metrics_history):
        params = dict(current_hyperparams.params)
        return HyperparamSet(params | {"learning_rate": params["learning_rate"] / 2})

    def on_improvement(self, metrics):
        pass

    def on_plateau(self, metrics_history):
        pass


def test_the_stream_says_every_change_of_hyperparameters_once(quick):
    recorder = Recorder()
    quick(callbacks=[recorder], optimizer=Halving(), validation_share=100.0, max_interval_episodes=1).run()
    told, changes = {}, []
    for event in recorder.heard:
        if event.kind in {"started", "window"} and "hyperparams" in event.numbers:
            new = event.numbers["hyperparams"]
            assert all(told.get(name) != value for name, value in new.items())
            told |= new
            changes.append(new.get("learning_rate"))
    tuned = [e.numbers["changed"]["learning_rate"] for e in recorder.heard if e.kind == "tuned"]
    assert len(tuned) > 2
    values = [tuned[0][0], *(new for _, new in tuned)]
    assert changes in (
        values,
        values[:-1],
    )  # the change after the last window has no window to be in force in


def test_a_resumed_run_tells_only_what_changed_since(quick, crash):
    with pytest.raises(KeyboardInterrupt):
        quick(callbacks=[crash(9)]).run()
    optimizer = quick(resume=True)
    optimizer.run()
    events = list(RunDirectory.open(optimizer.run_dir).log().read())
    after = next(e for e in events if e.kind == "resumed").seq
    first = next(e for e in events if e.seq > after and e.kind == "window" and not e.numbers.get("branch"))
    assert "hyperparams" not in first.numbers


def test_windows_of_branches_say_so(quick):
    recorder = Recorder()
    quick(callbacks=[recorder], max_episodes=60).run()
    trials = [e for e in recorder.heard if e.kind == "trial"]
    branched = [e for e in recorder.heard if e.kind == "window" and e.numbers.get("branch")]
    assert trials
    assert len(branched) >= sum(len(t.numbers["arms"]) * t.numbers["windows"] for t in trials)
    assert any(e.kind == "window" and not e.numbers.get("branch") for e in recorder.heard)


def test_evaluations_carry_the_interval_of_the_mean_return(quick):
    from optix_core.stats.comparison import mean_interval

    recorder, seen = Recorder(), []

    class Looks(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            if eval_metrics is not None:
                seen.append(eval_metrics)

    quick(callbacks=[recorder, Looks()]).run()
    decisions = [e for e in recorder.heard if e.kind == "decision" and e.numbers["verdict"] is not None]
    assert len(decisions) == len(seen) > 2
    for event, metrics in zip(decisions, seen, strict=True):
        expected = mean_interval(metrics.episode_returns)
        assert event.numbers["interval"] == [expected.low, expected.high]
        assert event.numbers["metrics"]["val_score"] == metrics.primary_score
        assert event.numbers["evaluated_episodes"] == len(metrics.episode_returns)


def test_the_interval_is_as_wide_as_the_returns_are_spread():
    from optix_core.loop.cycle import _evaluation
    from optix_core.loop.records import Decision, LoopSnapshot, Verdict

    decision = Decision(snapshot=LoopSnapshot(), verdict=Verdict.STEADY)
    told = _evaluation(decision, metrics(2.0, 0, (1.0, 2.0, 3.0)))
    low, high = told["interval"]
    assert (low + high) / 2 == pytest.approx(2.0)
    assert (high - low) / 2 == pytest.approx(
        4.302652729911275 / math.sqrt(3)
    )  # Student's t, two degrees of freedom
    assert "interval" not in _evaluation(decision, metrics(2.0, 0, (1.0, 2.0)))
    assert "interval" not in _evaluation(decision, metrics(2.0, 0, (1.0, 2.0, math.nan)))
    answer = Decision(snapshot=LoopSnapshot(), verdict=None)
    assert set(_evaluation(answer, metrics(2.0))) == {"train_score"}


# --- outside of the loop ------------------------------------------------------------------------------------------


def metrics(score, window=0, returns=()):
    return EvalMetrics(score, {"loss": 0.5}, window, episode_returns=returns)


def snapshot(score, window):
    return PolicySnapshot("s", metrics(score, window), HyperparamSet({}), "", window)


def test_the_eight_events_become_a_stream_where_there_is_none():
    recorder = Recorder()
    recorder.on_loop_start()
    recorder.on_improvement(snapshot(2.0, 0))
    recorder.on_episode_end(0, metrics(2.0, 0, (1.0, 2.0, 3.0)))
    recorder.on_hyperparam_update({"lr": 0.1}, {"lr": 0.2})
    recorder.on_episode_end(1, None)
    recorder.on_plateau(2, LoopState.COOLING)
    recorder.on_degradation(2, metrics(1.0, 2))
    recorder.on_episode_end(2, metrics(1.0, 2))
    recorder.on_dormant(3)
    recorder.on_loop_stop()
    assert [e.step for e in recorder.heard] == [0, 0, 1, 2, 2, 2, 3]
    assert [e.kind for e in recorder.heard] == ["decision"] * 2 + ["tuned"] + ["decision"] * 4
    assert recorder.heard[1].numbers["numbers"] == {"best": 2.0, "score": 2.0}
    low, high = recorder.heard[1].numbers["interval"]
    assert math.isclose((low + high) / 2, 2.0)
    assert "score" not in recorder.heard[5].numbers["numbers"]  # told with the drop already
    assert recorder.sessions == ["opened", "closed"]


def test_after_the_end_nothing_is_heard_until_the_next_beginning(events):
    recorder = Recorder()
    recorder.on_run_event(events("started"))
    recorder.on_loop_stop()
    recorder.on_run_event(events("callback_failed"))
    assert [e.kind for e in recorder.heard] == ["started"]
    recorder.on_run_event(events("resumed"))
    recorder.on_run_event(events("window"))
    recorder.on_loop_stop()
    recorder.on_loop_stop()
    assert recorder.sessions == ["opened", "closed"] * 2
