"""The promises of live pipelines, LV1 to LV10, each by its name."""

from __future__ import annotations

import gc
import random
import sys
import threading
import time
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core import LivePipeline
from optix_core.errors import MalformedItem, ResumeError, StreamError, StreamStalled
from optix_core.pipelines.live import EnvSource
from optix_core.pipelines.live.buffer import Exhausted, ItemBuffer
from optix_core.pipelines.live.producer import Backoff

QUICK = {"reconnect_delay": (0.001, 0.004), "seed": 0}


class Agent:
    """Acts with the whole part of what it sees and keeps what it is told."""

    def __init__(self):
        self.told = []

    def act(self, observation):
        return int(observation[0])

    def observe(self, observations, actions, rewards, following, terminated, truncated):
        self.told.append(
            (float(observations[0, 0]), float(following[0, 0]), bool(terminated[0]), bool(truncated[0]))
        )


def item(k, *, reward=0.0, terminated=False, truncated=False, **info):
    return ([float(k)], reward, terminated, truncated, info)


class Script:
    """Yields what it is told to: items, exceptions to raise, and functions to call."""

    def __init__(self, *streams):
        self.streams = list(streams)
        self.opened = 0

    def stream(self):
        self.opened += 1
        for part in self.streams[min(self.opened, len(self.streams)) - 1]:
            if isinstance(part, Exception):
                raise part
            if callable(part):
                part()
            else:
                yield part


def steps(n=1000, **options):
    return {"episode_boundary_fn": LivePipeline.every_n_steps(n), "end_on_done": False, **QUICK, **options}


def run(source, agent=None, *, windows=100, **options):
    pipeline = LivePipeline(source, agent or Agent(), **options)
    try:
        return list(islice(pipeline.episodes(), windows)), pipeline
    finally:
        pipeline.teardown()


def pairs(windows):
    """(observation, what followed) of every transition."""
    return [
        (float(o[0]), float(f[0]))
        for w in windows
        for o, f in zip(w.observations, w.next_observations(), strict=True)
    ]


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


# --- LV1 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "drop_newest"])
def test_lv1_the_books_balance_at_any_moment(overflow):
    rng = random.Random(3)
    bad = ([float("nan")], 0.0, False, False, {})
    found = [bad if rng.random() < 0.005 else item(k) for k in range(3000)]
    looks, done = [], threading.Event()

    def looked_again():
        """Whatever else the machine does, there are looks all along: about every 25 items the stream waits for one."""
        before = len(looks)
        wait_until(lambda: len(looks) > before, 60.0)

    for k in range(0, 3000, 25):
        found.insert(k + k // 25, looked_again)
    pipeline = LivePipeline(Script(found), Agent(), buffer_size=3, overflow=overflow, **steps(50))

    def look():
        while not done.is_set():
            looks.append(pipeline.counters)

    watcher = threading.Thread(target=look)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that the threads really get into each other's way
    try:
        watcher.start()
        windows = list(pipeline.episodes())
    finally:
        done.set()
        watcher.join()
        sys.setswitchinterval(interval)
        pipeline.teardown()
    assert len(looks) > 100
    assert all(seen.balanced for seen in looks)
    assert len({seen.produced for seen in looks}) > 10
    last = pipeline.counters
    assert last.produced == 3000
    assert last.buffered == 0
    assert last.rejected == last.malformed
    assert (last.dropped == 0) == (overflow == "block")
    assert last.malformed > 0 or overflow != "block"
    assert sum(w.length for w in windows) < last.consumed


MOVES = st.sampled_from([1, 1, 1, 1, 1, 2, 3, 0, -1, -2, None])
ACTIONS = st.lists(
    st.one_of(st.tuples(st.just("put"), MOVES), st.just(("take",)), st.just(("again",))), max_size=60
)


@given(
    actions=ACTIONS,
    overflow=st.sampled_from(["drop_oldest", "drop_newest"]),
    window=st.integers(0, 4),
    capacity=st.integers(1, 5),
)
@settings(max_examples=150)
def test_lv1_lv7_whatever_happens_to_the_buffer_it_keeps_count_and_order(actions, overflow, window, capacity):
    buffer = ItemBuffer(capacity, overflow, reorder_window=window, reorder_wait=0.0)
    taken, put, number = [], 0, 10
    for action in actions:
        if action[0] == "put":
            number += action[1] or 0
            buffer.put(item(put) if action[1] is None else item(put, seq=number))
            put += 1
        elif action[0] == "take":
            got = buffer.take(0.0)
            if got is not None:
                taken.append(got)
        else:
            buffer.reconnected(numbers_go_on=True)
        books = buffer.counts()
        assert books["produced"] == put
        assert put == books["consumed"] + books["dropped"] + books["rejected"] + books["buffered"]
        assert books["buffered"] <= capacity + window
    numbered = [got.seq for got in taken if got.seq is not None]
    assert numbered == sorted(set(numbered)), "numbers are taken in order, each once"
    for one, two in pairwise(taken):
        if one.seq is not None and two.seq is not None and two.seq != one.seq + 1:
            assert two.gap, "a missing number is marked"


# --- LV2 ----------------------------------------------------------------------------------------------------------


def test_lv2_a_stall_is_told_and_ends_no_window():
    told, go = [], threading.Event()
    source = Script([item(0), item(1), lambda: go.wait(5), item(2), item(3)])
    states = []

    def on_stall(seconds):
        told.append(seconds)
        states.append(pipeline.stalled)
        go.set()

    pipeline = LivePipeline(source, Agent(), stall_timeout=0.05, on_stall=on_stall, **steps(3))
    (window,) = list(pipeline.episodes())
    assert window.length == 3  # not cut short
    assert len(told) == 1
    assert 0.05 <= told[0] < 2.0
    assert states == [True]
    assert pipeline.stalled is False
    assert pipeline.counters.stalls == 1
    pipeline.teardown()


def test_lv2_where_partial_windows_are_allowed_a_stall_ends_one_and_its_episode():
    go = threading.Event()
    source = Script([item(0), item(1), item(2), lambda: go.wait(5), item(3), item(4), item(5)])
    pipeline = LivePipeline(source, Agent(), stall_timeout=0.05, allow_partial=True, **steps(50))
    stream = pipeline.episodes()
    first = next(stream)
    go.set()
    rest = list(stream)
    pipeline.teardown()
    assert pairs([first]) == [(0, 1), (1, 2)]
    assert first.truncated.tolist() == [False, True]
    assert pairs(rest) == [(3, 4), (4, 5)]  # nothing spans the silence: (2, 3) does not exist
    assert pipeline.counters.gaps == 1


def test_lv2_a_source_that_stays_silent_is_an_error_and_not_an_empty_window():
    release = threading.Event()
    source = Script([item(0), item(1), lambda: release.wait(5)])
    source.close = release.set
    pipeline = LivePipeline(source, Agent(), stall_timeout=0.03, max_stall=0.1, **steps(10))
    with pytest.raises(StreamStalled, match=r"max_stall=0\.1"):
        next(pipeline.episodes())
    pipeline.teardown()


# --- LV3 ----------------------------------------------------------------------------------------------------------

BAD = {
    "arity": ([1.0], 0.0, False),
    "no item": 17,
    "text": "nonsense",
    "nan": ([float("nan")], 0.0, False, False, {}),
    "inf": ([float("inf")], 0.0, False, False, {}),
    "shape": ([1.0, 2.0], 0.0, False, False, {}),
    "ragged": ([[1.0], [2.0, 3.0]], 0.0, False, False, {}),
    "type": (["x"], 0.0, False, False, {}),
    "nothing": (None, 0.0, False, False, {}),
    "reward nan": ([1.0], float("nan"), False, False, {}),
    "reward text": ([1.0], "1.5", False, False, {}),
    "reward bool": ([1.0], True, False, False, {}),
    "reward list": ([1.0], [1.0, 2.0], False, False, {}),
    "flag": ([1.0], 0.0, 1, False, {}),
    "flag text": ([1.0], 0.0, False, "False", {}),
    "info": ([1.0], 0.0, False, False, 3),
}


@pytest.mark.parametrize("name", BAD)
def test_lv3_a_malformed_item_is_rejected_with_its_place_and_the_reason(name):
    source = Script([item(0), item(1), BAD[name], item(3), item(4), item(5)])
    windows, pipeline = run(source, **steps())
    assert pairs(windows) == [(0, 1), (3, 4), (4, 5)]  # no transition spans the hole
    assert windows[0].truncated.tolist() == [True, False, False]
    ((index, reason),) = pipeline.rejections
    assert index == 2
    assert len(reason) > 10
    assert pipeline.counters.malformed == 1
    assert pipeline.counters.gaps == 1


def test_lv3_a_first_item_that_is_bad_decides_nothing():
    windows, _ = run(Script([BAD["nan"], BAD["type"], item(1), item(2)]), **steps())
    assert pairs(windows) == [(1, 2)]


def test_lv3_the_budget_ends_the_run_with_the_reason():
    with pytest.raises(MalformedItem, match=r"item 12 .* 11 in a row"):
        run(Script([item(0), item(1)] + [BAD["nan"]] * 30), **steps())
    seldom = ([item(0), item(1)] * 50 + [BAD["nan"]]) * 10  # 10 in 1010
    _, pipeline = run(Script(seldom), **steps())
    assert pipeline.counters.malformed == 10
    often = ([item(0), item(1)] * 20 + [BAD["nan"]]) * 30  # 1 in 41
    with pytest.raises(MalformedItem, match="1%"):
        run(Script(often), **steps())


# --- LV4 ----------------------------------------------------------------------------------------------------------


def filled(overflow, n=10, capacity=4):
    """A pipeline whose buffer overflowed before anyone looked, and the numbers that were put in."""
    gate = threading.Event()
    source = Script([*(item(k) for k in range(n)), gate.set])
    pipeline = LivePipeline(source, Agent(), buffer_size=capacity, overflow=overflow, **steps())
    agent, gated = pipeline.agent, []

    def act(observation):
        if not gated:
            gated.append(gate.wait(5))
        return 0

    agent.act = act
    return pipeline


def test_lv4_dropping_the_oldest_leaves_the_newest_and_no_transition_over_the_gap():
    pipeline = filled("drop_oldest")
    windows = list(pipeline.episodes())
    pipeline.teardown()
    assert pairs(windows) == [(6, 7), (7, 8), (8, 9)] or pairs(windows)[-3:] == [(6, 7), (7, 8), (8, 9)]
    assert all(b == a + 1 for a, b in pairs(windows))
    assert pipeline.counters.dropped >= 5


def test_lv4_dropping_the_newest_keeps_the_oldest():
    pipeline = filled("drop_newest")
    windows = list(pipeline.episodes())
    pipeline.teardown()
    assert pairs(windows)[:3] == [(0, 1), (1, 2), (2, 3)]
    assert all(b == a + 1 for a, b in pairs(windows))
    assert pipeline.counters.dropped >= 5


@pytest.mark.parametrize("overflow, left", [("drop_oldest", [2, 3, 4]), ("drop_newest", [0, 1, 4])])
def test_lv4_what_follows_a_lost_item_is_marked(overflow, left):
    buffer = ItemBuffer(2, overflow)
    for k in range(4):
        buffer.put(item(k))
    taken = [buffer.take(0.0)]
    buffer.put(item(4))
    taken += [buffer.take(0.0), buffer.take(0.0)]
    assert [got.index for got in taken] == left
    assert [got.gap for got in taken] == [overflow == "drop_oldest", False, overflow == "drop_newest"]


def test_lv4_a_gap_truncates_the_episode_and_gives_no_return():
    class Bursts(Script):
        def stream(self):
            for k in range(200):
                if k % 5 == 0:
                    wait_until(lambda: pipeline.counters.buffered == 0)
                yield item(k, reward=1.0)

    agent = Agent()
    pipeline = LivePipeline(Bursts(), agent, buffer_size=2, overflow="drop_oldest", **steps(20))
    act, agent.act = agent.act, lambda o: (time.sleep(5e-4), act(o))[1]
    windows = list(pipeline.episodes())
    pipeline.teardown()
    assert pipeline.counters.dropped > 0
    assert all(b == a + 1 for a, b in pairs(windows))
    assert sum(int(w.truncated.sum()) for w in windows) > 0
    assert not any(w.terminated.any() for w in windows)
    assert not any(w.episodes for w in windows)  # what was lost may have held rewards
    assert [(a, b) for a, b, _, _ in agent.told] == pairs(windows)
    jumps = [one for one, two in pairwise(agent.told) if two[0] != one[1]]
    assert jumps
    assert all(truncated for _, _, _, truncated in jumps), "a stepwise learner knows where a trace is cut"


def test_lv4_blocking_loses_nothing_and_opens_the_stream_once():
    source = Script([item(k) for k in range(500)])
    agent = Agent()
    act, agent.act = agent.act, lambda o: (time.sleep(1e-4), act(o))[1]
    windows, pipeline = run(source, agent, buffer_size=1, **steps())
    assert pairs(windows) == [(k, k + 1) for k in range(499)]
    assert source.opened == 1
    assert pipeline.counters.dropped == 0


def test_lv4_overflow_can_be_an_error():
    pipeline = filled("error")
    with pytest.raises(StreamError, match="buffer of 4 items is full") as raised:
        list(pipeline.episodes())
    assert raised.value.code == "E-STREAM-OVERFLOW"
    pipeline.teardown()
    assert pipeline.counters.balanced


# --- LV5 ----------------------------------------------------------------------------------------------------------


def test_lv5_a_finite_stream_ends_the_run_and_is_not_opened_again():
    source = Script([item(k) for k in range(5)])
    windows, pipeline = run(source, **steps(3))
    assert [w.length for w in windows] == [3, 1]
    assert source.opened == 1
    assert pipeline.counters.reconnects == 0


def test_lv5_an_exception_is_kept_and_the_stream_opened_again():
    error = ConnectionError("cable pulled")
    windows, pipeline = run(Script([item(0), item(1), error], [item(10), item(11)]), **steps())
    assert pipeline.source_errors == [error]
    assert pipeline.counters.reconnects == 1
    assert pipeline.counters.source_errors == 1
    assert pairs(windows) == [(0, 1), (10, 11)]


def test_lv5_attempts_that_bring_nothing_are_limited_and_end_with_the_original_error():
    source = Script([item(0), item(1), OSError("gone")], [OSError("still gone")])
    began = time.monotonic()
    with pytest.raises(StreamError, match="3 attempts") as raised:
        run(source, **steps(5, max_reconnects=3))
    assert source.opened == 4
    assert str(raised.value.__cause__) == "still gone"
    assert time.monotonic() - began > 0.001 * 0.75 * (1 + 2 + 4)  # it waited longer each time


def test_lv5_without_reconnecting_the_first_exception_ends_the_run_after_what_came_was_taken():
    source = Script([item(0), item(1), item(2), OSError("gone")])
    pipeline = LivePipeline(source, Agent(), reconnect_on_disconnect=False, **steps(2))
    stream = pipeline.episodes()
    assert next(stream).length == 2
    with pytest.raises(StreamError, match="reconnect_on_disconnect") as raised:
        next(stream)
    assert str(raised.value.__cause__) == "gone"
    pipeline.teardown()


def test_lv5_waits_double_up_to_a_minute_with_seeded_jitter():
    waits = [Backoff(0.5, 60.0, 1)(k, k) for k in range(12)]
    for k, wait in enumerate(waits):
        assert 0.75 * 0.5 * 2**k <= wait <= 1.25 * 0.5 * 2**k or wait == 60.0
        assert wait <= 60.0
    assert waits[-1] == 60.0
    assert waits == [Backoff(0.5, 60.0, 1)(k, k) for k in range(12)]
    assert waits != [Backoff(0.5, 60.0, 2)(k, k) for k in range(12)]


# --- LV6 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bootstrap", [True, False])
def test_lv6_a_reconnect_closes_the_episode(bootstrap):
    source = Script([*(item(k) for k in (100, 101, 102)), OSError()], [item(k) for k in (200, 201, 202)])
    agent = Agent()
    windows, pipeline = run(source, agent, bootstrap_on_reconnect=bootstrap, **steps())
    (window,) = windows
    assert pairs(windows) == [(100, 101), (101, 102), (200, 201), (201, 202)]
    assert window.truncated.tolist() == [False, bootstrap, False, False]
    assert window.terminated.tolist() == [False, not bootstrap, False, False]
    assert window.episode_starts == [0, 2]
    assert window.episodes == ()
    assert pipeline.counters.gaps == 1
    assert agent.told[1] == (101, 102, not bootstrap, bootstrap)


def test_lv6_an_episode_that_had_ended_needs_no_closing():
    source = Script([item(0), item(1, terminated=True), OSError()], [item(5), item(6)])
    (window,), pipeline = run(source, **steps())
    assert window.terminated.tolist() == [True, False]
    assert not window.truncated.any()
    assert [e.length for e in window.episodes] == [1]
    assert pipeline.counters.gaps == 0


# --- LV7 ----------------------------------------------------------------------------------------------------------


def numbered(*numbers):
    return [item(k, seq=k) for k in numbers]


def test_lv7_items_are_put_in_order_and_repeated_ones_dropped():
    windows, pipeline = run(Script(numbered(0, 1, 3, 2, 2, 4, 6, 5, 1, 7)), **steps())
    assert pairs(windows) == [(k, k + 1) for k in range(7)]
    assert pipeline.counters.duplicates == 2
    assert pipeline.counters.gaps == 0
    assert pipeline.counters.missing == 0


def test_lv7_what_comes_too_late_is_rejected_and_leaves_a_gap():
    windows, pipeline = run(Script(numbered(0, 1, 3, 4, 5, 2, 6)), reorder_window=2, **steps())
    assert pairs(windows) == [(0, 1), (3, 4), (4, 5), (5, 6)]
    assert pipeline.counters.late == 1
    assert pipeline.counters.missing == 1
    assert pipeline.counters.gaps == 1


def test_lv7_a_missing_item_does_not_hold_up_a_slow_source():
    go = threading.Event()
    source = Script([*numbered(0, 1, 3, 4), lambda: go.wait(5)])
    pipeline = LivePipeline(source, Agent(), reorder_wait=0.05, **steps(2))
    window = next(pipeline.episodes())
    assert pairs([window]) == [(0, 1), (3, 4)]
    go.set()
    pipeline.teardown()


def test_lv7_without_numbers_the_order_is_trusted():
    windows, pipeline = run(Script([item(k) for k in (0, 5, 5, 2)]), **steps())
    assert pairs(windows) == [(0, 5), (5, 5), (5, 2)]
    assert pipeline.counters.rejected == 0


def test_lv7_numbers_that_begin_anew_with_a_connection_are_no_repetitions():
    windows, pipeline = run(Script([*numbered(0, 1, 2), OSError()], numbered(0, 1)), **steps())
    assert pairs(windows) == [(0, 1), (1, 2), (0, 1)]
    assert pipeline.counters.rejected == 0


# --- LV8 ----------------------------------------------------------------------------------------------------------


def source_threads():
    return [t for t in threading.enumerate() if t.name.startswith("optix-live")]


def started(source, **options):
    pipeline = LivePipeline(source, Agent(), **{**steps(1), **options})
    assert next(pipeline.episodes()).length == 1
    return pipeline


@pytest.mark.parametrize("kind", ["closes", "polls", "swallows", "full", "backs off"])
def test_lv8_teardown_ends_the_thread_whatever_the_source_is_doing(kind):
    release = threading.Event()

    def poll():
        while True:
            time.sleep(0.005)

    def swallow():
        while not release.is_set():
            try:
                time.sleep(0.005)
                raise ValueError
            except ValueError:
                pass

    script = {
        "closes": Script([item(0), item(1), release.wait]),
        "polls": Script([item(0), item(1), poll]),
        "swallows": Script([item(0), item(1), swallow]),
        "full": Script([item(k) for k in range(100)]),
        "backs off": Script([item(0), item(1), OSError()]),
    }[kind]
    if kind == "closes":
        script.close = release.set
    options = {"buffer_size": 1} if kind == "full" else {}
    if kind == "backs off":
        options = {"reconnect_delay": (30.0, 60.0)}
    pipeline = started(script, **options)
    thread = pipeline._producer_thread
    assert thread.is_alive()
    began = time.monotonic()
    pipeline.teardown()
    pipeline.teardown()
    assert time.monotonic() - began < 2.0
    assert not thread.is_alive()
    assert source_threads() == []
    assert pipeline.counters.balanced


def test_lv8_a_call_that_cannot_be_interrupted_is_reported_and_teardown_returns_anyway(caplog):
    release = threading.Event()
    pipeline = started(Script([item(0), item(1), lambda: release.wait(20)]))
    thread = pipeline._producer_thread
    began = time.monotonic()
    pipeline.teardown()
    assert time.monotonic() - began < 2.5
    assert "does not end" in caplog.text
    assert "close()" in caplog.text
    release.set()  # and it ends with that call
    thread.join(5)
    assert not thread.is_alive()


def test_lv8_a_close_that_fails_is_reported_and_everything_ends(caplog):
    release = threading.Event()
    source = Script([item(0), item(1), release.wait])

    def close():
        release.set()
        raise RuntimeError("cannot close")

    source.close = close
    pipeline = started(source)
    pipeline.teardown()
    assert source_threads() == []
    assert "cannot close" in caplog.text


def test_lv8_teardown_wakes_a_trainer_that_waits():
    release = threading.Event()
    source = Script([item(0), release.wait])
    source.close = release.set
    pipeline = LivePipeline(source, Agent(), **steps(5))
    found = []
    trainer = threading.Thread(target=lambda: found.extend(pipeline.episodes()))
    trainer.start()
    wait_until(lambda: pipeline.counters.sent == 0 and pipeline.counters.consumed == 1)
    pipeline.teardown()
    trainer.join(2)
    assert not trainer.is_alive()
    assert found == []


def test_lv8_no_thread_and_no_file_is_left_after_many_runs(kit):
    def files():
        table = Path("/proc/self/fd")
        return len(list(table.iterdir())) if table.is_dir() else 0

    before, opened = threading.enumerate(), files()
    for k in range(20):
        pipeline = LivePipeline(EnvSource(kit.CountingEnv(3), seed=k), kit.CountingAgent(), **steps(4))
        list(islice(pipeline.episodes(), 2))
        pipeline.teardown()
    gc.collect()
    assert threading.enumerate() == before
    assert files() == opened


def test_lv8_setup_after_teardown_begins_anew(kit):
    env = kit.CountingEnv(3)
    pipeline = LivePipeline(EnvSource(env, seed=1), kit.CountingAgent(), **steps(4))
    pipeline.setup()
    first = next(pipeline.episodes())
    pipeline.setup()
    again = next(pipeline.episodes())
    pipeline.teardown()
    kit.assert_same(first, again)
    assert env.closed == 2
    assert source_threads() == []


# --- LV9 ----------------------------------------------------------------------------------------------------------


def test_lv9_an_item_that_answers_another_action_makes_no_transition():
    items = [
        item(0, seq=0),
        item(1, seq=1, answers=0),
        item(2, seq=2, answers=0),  # the action for item 1 had not arrived yet
        item(3, seq=3, answers=2),
    ]
    windows, pipeline = run(Script(items), **steps())
    assert pairs(windows) == [(0, 1), (2, 3)]
    assert pipeline.counters.mismatched == 1
    assert windows[0].truncated.tolist() == [True, False]


def test_lv9_latency_is_recorded_and_late_actions_are_flagged():
    agent = Agent()
    act = agent.act
    agent.act = lambda o: (time.sleep(0.03 if o[0] == 2 else 0.0), act(o))[1]

    class Paced(Script):
        def stream(self):
            for k in range(5):
                yield item(k)
                time.sleep(0.06)

    windows, pipeline = run(Paced(), agent, max_latency=0.025, **steps(3))
    facts = windows[0].metadata["live"]
    assert facts["latency_max"] >= 0.03
    assert 0.0 <= facts["latency_mean"] < 0.025
    assert facts["stale_steps"] == [2]
    assert pipeline.counters.stale >= 1


def test_lv9_an_action_that_was_not_delivered_makes_no_transition():
    class Refusing(Script):
        refused = 0

        def send(self, action):
            if action == 1 and not self.refused:
                self.refused += 1
                raise ConnectionError

    windows, pipeline = run(Refusing([item(k) for k in range(5)]), **steps())
    assert pairs(windows) == [(0, 1), (2, 3), (3, 4)]
    assert pipeline.counters.send_errors == 1
    assert pipeline.counters.gaps == 1

    class Deaf(Script):
        def send(self, action):
            raise ConnectionError("no ears")

    with pytest.raises(StreamError, match="11 actions in a row"):
        run(Deaf([item(k) for k in range(50)]), **steps())


# --- LV10 ---------------------------------------------------------------------------------------------------------


class Log(Script):
    """A stream that can be read again from any place, like a message log."""

    def __init__(self, n=40):
        super().__init__([])
        self.n, self.at, self.asked = n, 0, []

    def resume_from(self, seq):
        self.asked.append(seq)
        self.at = seq + 1

    def stream(self):
        for k in range(self.at, self.n):
            yield item(k, seq=k)


def test_lv10_a_resumed_run_uses_no_item_twice():
    one = LivePipeline(Log(), Agent(), buffer_size=8, **steps(5))
    one.setup()
    before = list(islice(one.episodes(), 3))
    state = one.state_dict()
    one.teardown()  # what was in the buffer is gone

    source = Log()
    two = LivePipeline(source, Agent(), buffer_size=8, **steps(5))
    two.set_agent(Agent())
    two.setup()
    two.load_state_dict(state)  # the order in which the loop does it
    after = list(two.episodes())
    two.teardown()
    assert source.asked == [15]
    seen = [a for a, _ in pairs(before)] + [a for a, _ in pairs(after)]
    assert len(seen) == len(set(seen))
    assert pairs(before) == [(k, k + 1) for k in range(15)]
    assert pairs(after) == [(k, k + 1) for k in range(16, 39)]  # a new episode behind the last item
    assert after[0].episode_starts == [0]
    assert after[0].metadata["continues_episode"] is False
    assert [w.episode_id for w in (*before, *after)] == list(range(8))
    assert two.resume_level == "restart-episode"
    counters = two.counters
    assert counters.balanced
    assert counters.consumed == 40
    assert counters.produced == 40


def test_lv10_a_state_is_that_of_the_last_window_border():
    pipeline = LivePipeline(Log(), Agent(), **steps(5))
    stream = pipeline.episodes()
    next(stream)
    state = pipeline.state_dict()
    wait_until(lambda: pipeline.counters.produced == 40)
    assert pipeline.state_dict() == state
    assert state["live"]["last_number"] == 5
    pipeline.teardown()
    assert pipeline.state_dict() == state


def test_lv10_a_repeating_source_is_filtered_by_its_numbers():
    class Repeats(Log):
        def resume_from(self, seq):
            self.at = max(0, seq - 3)  # it goes back further than it was asked

    one = LivePipeline(Repeats(), Agent(), **steps(5))
    before = list(islice(one.episodes(), 2))
    state = one.state_dict()
    one.teardown()
    two = LivePipeline(Repeats(), Agent(), **steps(5))
    two.load_state_dict(state)
    two.setup()  # a state loaded first is kept
    after = list(two.episodes())
    two.teardown()
    seen = [a for a, _ in pairs(before) + pairs(after)]
    assert len(seen) == len(set(seen))
    assert two.counters.duplicates == 4


def test_lv10_a_source_that_cannot_resume_is_named(caplog):
    one = LivePipeline(Script([item(k) for k in range(9)]), Agent(), **steps(5))
    next(one.episodes())
    state = one.state_dict()
    one.teardown()
    LivePipeline(Script([]), Agent()).load_state_dict(state)
    assert "cannot resume" in caplog.text
    with pytest.raises(ResumeError, match="no state of a LivePipeline"):
        LivePipeline(Script([]), Agent()).load_state_dict({"collector": None})


def test_lv10_a_reconnect_resumes_where_it_was():
    class Breaking(Log):
        broken = False

        def stream(self):
            for thing in super().stream():
                yield thing
                if thing[0] == [7.0] and not self.broken:
                    self.broken = True
                    raise OSError

    source = Breaking(12)
    windows, pipeline = run(source, **steps())
    assert source.asked == [7]
    assert pairs(windows) == [(k, k + 1) for k in range(7)] + [(k, k + 1) for k in range(8, 11)]
    assert pipeline.counters.missing == 0


# --- all together -------------------------------------------------------------------------------------------------


class Chaos:
    """Bursts, silences, exceptions, repeated, exchanged and malformed items, and a mark in each to follow it by."""

    def __init__(self, seed, n=120):
        self.rng, self.n, self.k = random.Random(seed), n, 0

    def stream(self):
        while self.k < self.n:
            fate = self.rng.random()
            k, self.k = self.k, self.k + 1
            if fate < 0.04:
                yield self.rng.choice(list(BAD.values()))
            elif fate < 0.07:
                raise OSError(k)
            elif fate < 0.10:
                time.sleep(0.001)
            elif fate < 0.13:
                yield item(k, seq=k)
                yield item(k, seq=k)
            elif fate < 0.16 and k + 1 < self.n:
                self.k += 1
                yield item(k + 1, seq=k + 1)
                yield item(k, seq=k)
            elif fate < 0.20:
                yield item(k, seq=k, terminated=True)
            else:
                yield item(k, seq=k)


def chaos(seed):
    rng = random.Random(seed)
    agent = Agent()
    windows, pipeline = run(
        Chaos(seed),
        agent,
        windows=10_000,
        buffer_size=rng.choice([1, 4, 1000]),
        overflow=rng.choice(["block", "drop_oldest", "drop_newest"]),
        reorder_wait=0.001,
        max_malformed=1000,
        max_reconnects=None,
        **steps(rng.choice([1, 7, 30])),
    )
    counters = pipeline.counters
    assert counters.balanced
    assert counters.buffered == 0
    found = pairs(windows)
    assert all(b == a + 1 for a, b in found), "a transition joins neighbours only"
    assert len({a for a, _ in found}) == len(found), "no item is used twice"
    told = [(a, b) for a, b, _, _ in agent.told]
    assert told == found, "a stepwise learner is told every transition, once"
    assert all(np.isfinite(w.observations).all() for w in windows)
    assert source_threads() == []
    return counters


def test_chaos_loses_nothing_unnoticed():
    seen = [chaos(seed) for seed in range(60)]
    for name in ("malformed", "duplicates", "missing", "reconnects", "gaps"):
        assert sum(getattr(c, name) for c in seen) > 0, name


@pytest.mark.slow
def test_chaos_for_long():
    for seed in range(1000, 6000):
        chaos(seed)


def test_a_closed_buffer_lets_nobody_wait():
    buffer = ItemBuffer(1, "block")
    assert buffer.put(item(0)) is True
    other = threading.Thread(target=lambda: buffer.put(item(1)))
    other.start()
    wait_until(lambda: buffer.counts()["produced"] == 2)
    assert buffer.counts()["buffered"] == 2
    buffer.close()
    other.join(2)
    assert not other.is_alive()
    assert buffer.counts()["dropped"] == 1
    assert buffer.put(item(2)) is False
    assert buffer.counts()["produced"] == 2
    buffer.take(0.0)
    with pytest.raises(Exhausted):
        buffer.take(0.0)
