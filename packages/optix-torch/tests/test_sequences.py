"""How windows are cut into sequences: nothing lost, nothing twice, nothing ends inside."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from optix_core.errors import ConfigError
from optix_core.types import EpisodeData
from optix_torch.policy_gradient.sequences import Sequences, memory_before, memory_of_successors

ENDS = st.tuples(st.integers(1, 12), st.integers(1, 4)).flatmap(lambda shape: arrays(np.bool_, shape))


def rows_of(sequences, i):
    return sequences.first[i] + sequences.stride * np.arange(sequences.lengths[i])


@settings(deadline=None)
@given(ENDS, st.integers(0, 6))
def test_every_step_is_in_one_sequence_of_one_episode(ends, limit):
    steps, n_envs = ends.shape
    sequences = Sequences.cut(ends, limit)
    together = np.concatenate([rows_of(sequences, i) for i in range(len(sequences.lengths))])
    assert sorted(together.tolist()) == list(range(steps * n_envs))
    for i in range(len(sequences.lengths)):
        rows = rows_of(sequences, i)
        assert not limit or len(rows) <= limit
        assert len(set((rows % n_envs).tolist())) == 1
        assert not ends.reshape(-1)[rows[:-1]].any()
    if not limit:  # as few as there can be
        assert len(sequences.lengths) == n_envs + ends[:-1].sum()


@settings(deadline=None)
@given(ENDS, st.integers(0, 6), st.integers(1, 20), st.integers(0, 5))
def test_minibatches_hold_every_sequence_once_and_are_packed(ends, limit, size, seed):
    sequences = Sequences.cut(ends, limit)
    minibatches = list(sequences.minibatches(size, np.random.default_rng(seed)))
    assert sorted(np.concatenate([m.rows for m in minibatches]).tolist()) == list(range(ends.size))
    assert sorted(np.concatenate([m.first for m in minibatches]).tolist()) == sorted(sequences.first.tolist())
    for packed in minibatches:
        assert packed.counts == sorted(packed.counts, reverse=True)
        assert packed.counts[0] == len(packed.first)
        assert sum(packed.counts) == len(packed.rows) == packed.there.sum()
        padded = np.full(packed.there.shape, -1)
        padded[packed.there] = packed.rows
        for column, first in zip(padded.T, packed.first, strict=True):
            kept = column[column >= 0]
            np.testing.assert_array_equal(kept, first + sequences.stride * np.arange(len(kept)))


def test_minibatches_are_of_nearly_equal_size_and_random_order():
    sequences = Sequences.cut(np.zeros((64, 16), np.bool_), 16)  # 64 sequences of 16 steps
    rng = np.random.default_rng(0)
    first, second = list(sequences.minibatches(256, rng)), list(sequences.minibatches(256, rng))
    assert [len(m.rows) for m in first] == [256] * 4
    assert not np.array_equal(first[0].first, second[0].first)
    assert [len(m.rows) for m in sequences.minibatches(10**6, rng)] == [1024]


def window(ends=(), hidden=True, n_envs=2, steps=5, size=3):
    terminated = np.zeros((steps, n_envs), np.bool_)
    for t, n in ends:
        terminated[t, n] = True
    return EpisodeData(
        observations=np.zeros((steps, n_envs, 1)),
        actions=np.zeros((steps, n_envs)),
        rewards=np.zeros((steps, n_envs)),
        terminated=terminated,
        truncated=np.zeros_like(terminated),
        n_envs=n_envs,
        boundary_steps=np.array(list(ends)).reshape(-1, 2),
        hidden_states=np.ones((steps, n_envs, size), np.float32) if hidden else None,
    )


def test_memory_is_empty_where_an_episode_begins_and_carried_into_the_window():
    data = window([(1, 0), (4, 1)])
    memory = memory_before(data, 3, owner="X").reshape(5, 2, 3)
    expected = np.ones((5, 2, 3))
    expected[2, 0] = 0.0
    np.testing.assert_array_equal(memory, expected)
    assert data.hidden_states is not None
    assert (data.hidden_states == 1.0).all()  # the window is not written to


def test_successors_are_seen_with_the_memory_from_before_the_reset():
    after = np.arange(10.0).reshape(10, 1)
    np.testing.assert_array_equal(memory_of_successors(window(), after)[:, 0], [8, 9])
    np.testing.assert_array_equal(memory_of_successors(window([(1, 1), (4, 0)]), after)[:, 0], [8, 9, 3, 8])


def test_windows_without_memory_are_refused_with_what_is_needed():
    with pytest.raises(ConfigError, match=r"no hidden_states.*act_batch_with_memory.*float32 \[T, N, M\]"):
        memory_before(window(hidden=False), 3, owner="X")
    with pytest.raises(ConfigError, match=r"shape \(5, 2, 3\).*needs \(5, 2, 4\)"):
        memory_before(window(), 4, owner="X")
