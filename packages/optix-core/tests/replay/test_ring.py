"""The ring against a walk through a plain list, its state against an unbroken run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import ConfigError
from optix_core.replay import ReplayBuffer
from optix_core.replay import segments as segments_module
from optix_core.replay.rows import dtype_from_text, dtype_to_text
from optix_core.state import SealedArray


def check_against_walk(stream, buffer, batch, n_step, gamma):
    for i, row in enumerate(batch.indices.tolist()):
        n, t = stream.origin(buffer, row)
        step = stream.history[n][t]
        total, discount, after, _ = stream.walk(n, t, n_step, gamma)
        np.testing.assert_array_equal(batch.observations[i], step.observation)
        assert batch.actions[i] == step.action
        np.testing.assert_allclose(batch.rewards[i], total, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(batch.discounts[i], discount, rtol=1e-6)
        np.testing.assert_array_equal(batch.next_observations[i], after)


@settings(max_examples=80, deadline=None)
@given(
    n_envs=st.integers(1, 4),
    capacity=st.integers(4, 40),
    steps=st.integers(1, 60),
    n_step=st.integers(1, 7),
    gamma=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    jump=st.sampled_from([0.0, 0.2]),
    seed=st.integers(0, 10_000),
)
def test_every_row_equals_a_walk_through_what_happened(
    stream, n_envs, capacity, steps, n_step, gamma, jump, seed
):
    source = stream(n_envs, seed, jump=jump)
    buffer = source.feed(ReplayBuffer(capacity), steps)
    assert len(buffer) == min(capacity, steps * n_envs)
    everything = buffer.batch(np.arange(len(buffer)), n_step=n_step, gamma=gamma)
    check_against_walk(source, buffer, everything, n_step, gamma)
    assert (everything.weights == 1).all()


def test_a_draw_is_uniform_over_what_is_stored(stream):
    buffer = stream(2, 0).feed(ReplayBuffer(10), 3)
    rng = np.random.default_rng(0)
    counts = np.bincount(buffer.sample(60_000, rng).indices, minlength=10)
    assert (counts[6:] == 0).all()
    assert (np.abs(counts[:6] - 10_000) < 5 * np.sqrt(10_000)).all()


def test_the_reward_of_a_terminal_step_is_there():
    """A window [0, 0, 0, 100 and over] keeps its 100."""
    buffer = ReplayBuffer(10)
    for t in range(4):
        buffer.add([[float(t)]], [0], [100.0 * (t == 3)], [[t + 1.0]], [t == 3], [False])
    batch = buffer.batch(np.arange(4), n_step=3, gamma=0.5)
    assert batch.rewards.tolist() == [0.0, 25.0, 50.0, 100.0]
    assert batch.discounts.tolist() == [0.125, 0.0, 0.0, 0.0]


def test_truncation_keeps_the_discount_also_where_the_limit_fell_on_a_plain_step():
    buffer = ReplayBuffer(4)
    buffer.add([[0.0]], [0], [1.0], [[1.0]], [False], [True])
    buffer.add([[5.0]], [0], [1.0], [[6.0]], [True], [True])
    assert buffer.batch(np.arange(2), gamma=0.9).discounts.tolist() == [np.float32(0.9), 0.0]


@pytest.mark.parametrize("over, cut", [(True, False), (False, True)])
def test_an_end_is_an_end_also_where_the_next_episode_looks_like_its_continuation(over, cut):
    buffer = ReplayBuffer(4)
    for t in range(3):
        buffer.add([[1.0]], [0], [1.0], [[1.0]], [over and t == 1], [cut and t == 1])
    batch = buffer.batch(np.arange(3), n_step=3, gamma=0.5)
    assert batch.rewards.tolist() == [1.5, 1.0, 1.0]
    assert batch.discounts.tolist() == ([0.0, 0.0, 0.5] if over else [0.25, 0.5, 0.5])


def test_images_stay_bytes(stream):
    source = stream(1, 0, dtype=np.uint8)
    batch = source.feed(ReplayBuffer(8), 20).sample(4, np.random.default_rng(0))
    assert batch.observations.dtype == batch.next_observations.dtype == np.uint8
    big = ReplayBuffer(6)  # rows this wide are read field by field
    frames = np.random.default_rng(0).integers(0, 256, (9, 1, 84, 84, 1), dtype=np.uint8)
    for t in range(8):
        big.add(frames[t], [t], [t], frames[t + 1], [False], [False])
    batch = big.batch(np.arange(6), n_step=2, gamma=1.0)
    for i, row in enumerate(batch.actions.tolist()):
        np.testing.assert_array_equal(batch.observations[i], frames[row, 0])
        np.testing.assert_array_equal(batch.next_observations[i], frames[min(row + 2, 8), 0])


def test_records_go_in_and_out_and_their_parts_keep_their_dtypes():
    dtype = np.dtype(
        [("camera", np.uint8, (3,)), ("inner", [("x", np.float64), ("y", np.int16, (2,))])], align=True
    )
    buffer = ReplayBuffer(5)
    rows = np.zeros((6, 1), dtype)
    rows["camera"] = np.arange(18).reshape(6, 1, 3)
    rows["inner"]["x"] = np.arange(6)[:, None] / 3
    for t in range(5):
        buffer.add(rows[t], [0], [0.0], rows[t + 1], [False], [False])
    batch = buffer.batch(np.arange(5), n_step=2)
    assert batch.observations.dtype == dtype
    assert batch.observations["inner"]["x"].tolist() == rows["inner"]["x"][:5, 0].tolist()
    assert batch.next_observations["camera"][:, 0].tolist() == [6, 9, 12, 15, 15]
    assert dtype_from_text(dtype_to_text(buffer.column("observation").dtype)) == dtype
    again = ReplayBuffer(5)
    again.load_state_dict(buffer.state_dict())
    again.add(rows[5], [0], [0.0], rows[0], [False], [False])
    assert not (again.column("flags") != 0).any()  # it continues; padding between fields breaks nothing


def test_a_batch_is_nobody_elses(stream):
    buffer = stream(1, 0).feed(ReplayBuffer(10), 10)
    first = buffer.batch(np.arange(10))
    first.observations[:] = -1
    first.next_observations[:] = -1
    assert (buffer.batch(np.arange(10)).observations != -1).any()
    for array in (first.observations, first.actions, first.rewards, first.next_observations, first.discounts):
        assert array.flags.c_contiguous
        assert array.flags.writeable


def test_negative_zero_is_where_zero_is():
    buffer = ReplayBuffer(4)
    buffer.add([[1.0]], [0], [1.0], [[0.0]], [False], [False])
    buffer.add([[-0.0]], [0], [1.0], [[2.0]], [False], [False])
    assert buffer.batch(np.asarray([0]), n_step=2, gamma=1.0).rewards.tolist() == [2.0]


def test_cut_separates_what_looks_continuous():
    buffer = ReplayBuffer(4)
    buffer.add([[1.0]], [0], [1.0], [[2.0]], [False], [False])
    buffer.cut()
    buffer.add([[2.0]], [0], [1.0], [[3.0]], [False], [False])
    batch = buffer.batch(np.asarray([0]), n_step=2, gamma=0.5)
    assert (batch.rewards.tolist(), batch.discounts.tolist()) == ([1.0], [0.5])


def add_plain(buffer, width=2, dtype=np.float32, n=1, action=0, rewards=None):
    zeros = np.zeros((n, width), dtype)
    no = np.zeros(n, bool)
    buffer.add(zeros, np.full(n, action), np.zeros(n) if rewards is None else rewards, zeros, no, no)


def test_what_does_not_fit_is_refused_with_names():
    buffer = ReplayBuffer(4)
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1, np.random.default_rng(0))
    add_plain(buffer)
    for bad in (
        {"width": 3},
        {"dtype": np.float64},
        {"n": 2},
        {"action": 1.5},
        {"rewards": np.zeros((1, 1))},
    ):
        with pytest.raises(ValueError, match="not like those before"):
            add_plain(buffer, **bad)
    assert len(buffer) == 1
    rng = np.random.default_rng(0)
    for arguments in (
        {"n_step": 0},
        {"n_step": 1.5},
        {"gamma": 1.1},
        {"gamma": -0.1},
        {"gamma": 2.0, "n_step": 2},
    ):
        with pytest.raises(ValueError, match=r"n_step|gamma"):
            buffer.sample(1, rng, **arguments)
    for size in (0, -1, 1.5):
        with pytest.raises(ValueError, match="batch_size"):
            buffer.sample(size, rng)
    for arguments in ({"capacity": 0}, {"capacity": 1.5}, {"capacity": 1, "memory_fraction": 0.0}):
        with pytest.raises(ConfigError):
            ReplayBuffer(**arguments)
    with pytest.raises(ConfigError, match="one step of 5"):
        add_plain(ReplayBuffer(4), n=5)


def test_clear_forgets_rows_and_what_would_have_continued(stream):
    source = stream(1, 0)
    buffer = source.feed(ReplayBuffer(8), 20)
    buffer.clear()
    assert len(buffer) == 0
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(1, np.random.default_rng(0))
    fresh = stream(1, 1)
    fresh.feed(buffer, 5)
    check_against_walk(fresh, buffer, buffer.batch(np.arange(5), n_step=3), 3, 0.99)


# --- state -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_segments(monkeypatch):
    monkeypatch.setattr(segments_module, "SEGMENT_ROWS", 8)
    monkeypatch.setattr("optix_core.replay.store.SEGMENT_ROWS", 8)


def through_storage(state):
    """What a checkpoint gives back: other objects with the same content."""
    copied = dict(state)
    copied["segments"] = [s if s is None else SealedArray(s.array.copy()) for s in state["segments"]]
    copied["open"] = None if state["open"] is None else state["open"].copy()
    return copied


def same_content(a, b):
    assert len(a) == len(b)
    if not len(a):
        return
    first, second = a.batch(np.arange(len(a)), n_step=3), b.batch(np.arange(len(b)), n_step=3)
    for name in ("observations", "actions", "rewards", "next_observations", "discounts"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("steps", [0, 1, 7, 8, 9, 16, 20, 21, 24, 29, 42, 63])
@pytest.mark.parametrize("n_envs, capacity", [(1, 21), (1, 24), (3, 21), (3, 26)])
def test_a_stored_ring_continues_as_if_nothing_had_happened(stream, steps, n_envs, capacity):
    source = stream(n_envs, 3, jump=0.1)
    buffer = source.feed(ReplayBuffer(capacity), steps)
    state = buffer.state_dict()
    again = ReplayBuffer(capacity)
    again.load_state_dict(through_storage(state))
    same_content(buffer, again)
    for _ in range(11):
        arguments = source.step()
        buffer.add(*arguments)
        again.add(*arguments)
    same_content(buffer, again)
    a, b = buffer.state_dict(), again.state_dict()
    assert a["open"].tobytes() == b["open"].tobytes()
    assert a["segments"] == b["segments"]
    assert {k: v for k, v in a.items() if k != "open"} == {k: v for k, v in b.items() if k != "open"}


@pytest.mark.usefixtures("small_segments")
@pytest.mark.parametrize("steps", [5, 16, 30, 50])
@pytest.mark.parametrize("n_envs", [1, 3])
def test_a_snapshot_does_not_change_while_the_ring_goes_on(stream, steps, n_envs):
    source = stream(n_envs, 4, jump=0.3)
    buffer = source.feed(ReplayBuffer(20), steps)
    state = buffer.state_dict()
    before = [None if s is None else s.array.tobytes() for s in state["segments"]], state["open"].tobytes()
    reference = ReplayBuffer(20)
    reference.load_state_dict(state)
    for extra in range(45):
        source.feed(buffer, 1)
        after = [None if s is None else s.array.tobytes() for s in state["segments"]], state["open"].tobytes()
        assert after == before, extra
    buffer.load_state_dict(state)
    same_content(buffer, reference)


@pytest.mark.usefixtures("small_segments")
def test_full_segments_are_views_and_the_same_objects_until_they_change(stream):
    source = stream(1, 5)
    buffer = source.feed(ReplayBuffer(32), 20)
    first = buffer.state_dict()
    digest = first["segments"][0].digest
    assert [s is not None for s in first["segments"]] == [True, True, False, False]
    assert np.shares_memory(first["segments"][0].array, buffer.column("reward"))
    source.feed(buffer, 2)
    second = buffer.state_dict()
    assert second["segments"][0] is first["segments"][0]
    source.feed(buffer, 11)  # wraps into segment 0
    third = buffer.state_dict()
    assert third["segments"][1] is first["segments"][1]
    assert third["segments"][0] is None
    assert not np.shares_memory(first["segments"][0].array, buffer.column("reward"))
    assert SealedArray(first["segments"][0].array).digest == digest


@pytest.mark.usefixtures("small_segments")
def test_nothing_is_copied_for_states_that_nobody_keeps(stream, monkeypatch):
    source = stream(1, 5)
    buffer = source.feed(ReplayBuffer(16), 16)
    copies = []
    monkeypatch.setattr(SealedArray, "detach", lambda _: copies.append(1))
    buffer.state_dict()
    source.feed(buffer, 16)
    assert not copies


@pytest.mark.usefixtures("small_segments")
def test_loading_skips_segments_that_are_in_place(stream, monkeypatch):
    source = stream(1, 6)
    buffer = source.feed(ReplayBuffer(40), 30)
    state = buffer.state_dict()
    source.feed(buffer, 14)  # 30 to 43: the rest of segments 3 and 4, then 0 again
    touched = []
    plain = segments_module.Segments.release
    monkeypatch.setattr(
        segments_module.Segments, "release", lambda self, a, b: (touched.append((a, b)), plain(self, a, b))
    )
    buffer.load_state_dict(state)
    assert touched == [(0, 8), (24, 30)]
    touched.clear()
    buffer.load_state_dict(buffer.state_dict())
    assert touched == [(24, 30)]  # the open one only


@pytest.mark.usefixtures("small_segments")
def test_a_mark_set_late_does_not_reach_a_sealed_segment(stream):
    """Whether a step was cut is known one step later; by then its segment may be sealed."""
    source = stream(1, 7, end=0.0)
    buffer = source.feed(ReplayBuffer(16), 8)
    state = buffer.state_dict()
    before = state["segments"][0].array.tobytes()
    buffer.cut()
    assert state["segments"][0].array.tobytes() == before
    assert buffer.state_dict()["segments"][0] != state["segments"][0]


def test_a_state_of_something_else_changes_nothing(stream):
    source = stream(1, 8)
    buffer = source.feed(ReplayBuffer(10), 6)
    reference = ReplayBuffer(10)
    reference.load_state_dict(through_storage(buffer.state_dict()))
    others = [
        (stream(1, 8).feed(ReplayBuffer(11), 6).state_dict(), "capacity"),
        (stream(1, 8, width=4).feed(ReplayBuffer(10), 6).state_dict(), "same environment"),
        (stream(2, 8).feed(ReplayBuffer(10), 6).state_dict(), "same environment"),
        ({**buffer.state_dict(), "total": 5}, "damaged"),
        ({**buffer.state_dict(), "segments": []}, "damaged"),
    ]
    for state, message in others:
        with pytest.raises(ValueError, match=message):
            buffer.load_state_dict(state)
        same_content(buffer, reference)
    fresh = ReplayBuffer(10)
    with pytest.raises(ValueError, match="damaged"):
        fresh.load_state_dict({**buffer.state_dict(), "total": 5})
    assert (len(fresh), fresh.nbytes) == (0, 0)
    stream(3, 1).feed(fresh, 2)  # and it still takes any kind of row


def test_an_empty_state_empties(stream):
    buffer = stream(1, 9).feed(ReplayBuffer(10), 6)
    buffer.load_state_dict(ReplayBuffer(10).state_dict())
    assert len(buffer) == 0


def test_memory_is_no_more_than_the_fields_need():
    """Observation twice, action, reward, flags; padding to the alignment at most."""
    buffer = ReplayBuffer(100)
    add_plain(buffer, width=17)
    assert buffer.nbytes == 100 * (2 * 17 * 4 + 8 + 4 + 4)
