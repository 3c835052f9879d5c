"""Priorities against a plain list of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import ConfigError
from optix_core.replay import PrioritizedReplay
from optix_core.replay.sum_tree import SumTree


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 1000))
def test_a_leaf_is_found_where_its_mass_lies(capacity, seed):
    rng = np.random.default_rng(seed)
    tree = SumTree(capacity)
    tree.leaves[:] = rng.random(capacity) ** 4 * (rng.random(capacity) < 0.7)
    tree.leaves[rng.integers(capacity)] = 1.0
    tree.rebuild()
    edges = np.cumsum(tree.leaves)
    fractions = rng.random(500)
    found = tree.find(fractions)
    assert (tree.leaves[found] > 0).all()
    assert tree.total == pytest.approx(edges[-1], rel=1e-12)
    expected = edges.searchsorted(fractions * edges[-1], side="right")
    near = np.abs(edges[np.minimum(found, expected)] - fractions * edges[-1]) < 1e-9 * edges[-1]
    assert ((found == expected) | near).all()


@pytest.mark.parametrize("capacity", [1, 16, 255, 256, 257, 5000])
def test_an_updated_tree_has_the_bits_of_a_rebuilt_one(capacity):
    rng = np.random.default_rng(capacity)
    tree, fresh = SumTree(capacity), SumTree(capacity)
    for _ in range(60):
        if rng.random() < 0.5:
            indices = rng.integers(capacity, size=rng.integers(1, 70))
            tree.leaves[indices] = rng.random(len(indices)) * 10.0 ** rng.integers(-8, 8)
            tree.refresh(indices)
        else:
            low = int(rng.integers(capacity))
            high = int(rng.integers(low, capacity)) + 1
            tree.leaves[low:high] = rng.random(high - low)
            tree.refresh_span(low, high)
    fresh.leaves[:] = tree.leaves
    fresh.rebuild()
    assert tree._middle.tobytes() == fresh._middle.tobytes()
    assert tree._top.tobytes() == fresh._top.tobytes()


@pytest.mark.parametrize("fraction", [0.0, np.nextafter(1.0, 0.0)])
def test_the_ends_of_the_mass_find_leaves_that_have_some(fraction):
    tree = SumTree(1000)
    tree.leaves[[3, 700]] = 0.1, 0.2
    tree.rebuild()
    assert tree.find(np.asarray([fraction])).tolist() == [3 if fraction == 0.0 else 700]
    tree.leaves[:] = 0.0
    tree.rebuild()
    with pytest.raises(ValueError, match="add up to 0"):
        tree.find(np.asarray([fraction]))


def test_leading_and_trailing_groups_without_mass_are_passed_over():
    tree = SumTree(5000)
    tree.leaves[[2000, 3000]] = 1.0, 3.0
    tree.rebuild()
    fractions = np.asarray([0.0, 0.2499, 0.2501, np.nextafter(1.0, 0.0), 1.0])
    assert tree.find(fractions).tolist() == [2000, 2000, 3000, 3000, 3000]


def test_the_end_of_the_mass_is_in_the_last_leaf():
    tree = SumTree(5000)
    tree.leaves[:] = 0.1
    tree.rebuild()
    assert tree.find(np.asarray([np.nextafter(1.0, 0.0), 1.0])).tolist() == [4999, 4999]


def test_rounding_at_edges_never_finds_a_leaf_of_0():
    rng = np.random.default_rng(0)
    for _ in range(200):
        tree = SumTree(300)
        tree.leaves[:] = rng.random(300) * 10.0 ** rng.integers(-12, 3, 300) * (rng.random(300) < 0.3)
        tree.leaves[rng.integers(300)] = 1e-9
        tree.rebuild()
        edges = np.cumsum(tree.leaves) / tree.leaves.sum()
        near = np.concatenate([edges, np.nextafter(edges, 0.0), np.nextafter(edges, 1.0)]).clip(0.0, 1.0)
        assert (tree.leaves[tree.find(near)] > 0).all()


def filled(stream, capacity=20, steps=20, **options):
    return stream(1, 0, end=0.0).feed(PrioritizedReplay(capacity, **options), steps)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.6, 1.0])
def test_rows_are_drawn_as_often_as_a_plain_computation_says(stream, alpha):
    buffer = filled(stream, alpha=alpha, eps=0.01)
    raw = np.random.default_rng(1).exponential(size=20)
    buffer.update_priorities(np.arange(20), raw)
    p = (raw.astype(np.float32) + 0.01) ** alpha
    p /= p.sum()
    rng, batches = np.random.default_rng(2), 4000
    counts = np.bincount(
        np.concatenate([buffer.sample(16, rng).indices for _ in range(batches)]), minlength=20
    )
    n = 16 * batches
    # Drawing one from each of 16 ranges varies no more than drawing independently.
    assert (np.abs(counts - n * p) < 5 * np.sqrt(n * p * (1 - p))).all()


def test_each_range_of_equal_mass_gives_one_row(stream):
    buffer = filled(stream, alpha=0.0)
    for seed in range(20):
        assert sorted(buffer.sample(20, np.random.default_rng(seed)).indices.tolist()) == list(range(20))


def test_weights_are_those_of_the_definition_divided_by_the_largest(stream):
    buffer = filled(stream, alpha=0.7, eps=0.0)
    raw = np.random.default_rng(1).exponential(size=20) + 0.1
    buffer.update_priorities(np.arange(20), raw)
    p = raw.astype(np.float32).astype(np.float64) ** 0.7
    for beta in (0.0, 0.4, 1.0):
        batch = buffer.sample(8, np.random.default_rng(0), beta=beta)
        expected = (20 * (p / p.sum())[batch.indices]) ** -beta
        np.testing.assert_allclose(batch.weights, expected / expected.max(), rtol=1e-6)
        assert batch.weights.dtype == np.float32
        assert batch.weights.max() == 1.0


def test_new_rows_get_the_largest_raw_priority_whatever_alpha_is(stream):
    """10 stays 10, and is not raised to alpha once more."""
    source = stream(1, 0, end=0.0)
    buffer = source.feed(PrioritizedReplay(20, alpha=0.5), 3)
    assert buffer.priorities(np.arange(3)).tolist() == [1.0, 1.0, 1.0]
    buffer.update_priorities(np.asarray([0]), [10.0])
    source.feed(buffer, 1)
    assert buffer.priorities(np.asarray([3])).tolist() == [10.0]
    assert buffer._tree.leaves[3] == buffer._tree.leaves[0]
    buffer.update_priorities(np.asarray([0]), [0.5])
    source.feed(buffer, 1)
    assert buffer.priorities(np.asarray([4, 0])).tolist() == [10.0, 0.5]
    assert buffer.max_priority == 10.0


def test_rows_before_an_update_do_not_get_its_maximum(stream):
    """Rows enter the tree late, but with the priority of their time."""
    source = stream(1, 0, end=0.0)
    buffer = source.feed(PrioritizedReplay(20), 3)
    buffer.update_priorities(np.asarray([0]), [10.0])
    assert buffer.priorities(np.asarray([2])).tolist() == [1.0]


def test_alpha_can_be_changed_and_nothing_is_lost(stream):
    buffer = filled(stream, alpha=0.0)
    raw = np.linspace(0.1, 2.0, 20)
    buffer.update_priorities(np.arange(20), raw)
    buffer.set_alpha(0.6)
    assert len(buffer) == 20
    expected = (raw.astype(np.float32).astype(np.float64) + 1e-6) ** 0.6
    np.testing.assert_allclose(buffer._tree.leaves, expected, rtol=1e-12)
    np.testing.assert_allclose(buffer._tree.total, expected.sum(), rtol=1e-12)
    buffer.set_alpha(0.0)
    assert set(buffer._tree.leaves.tolist()) == {1.0}


@settings(max_examples=60, deadline=None)
@given(
    n_envs=st.integers(1, 3),
    capacity=st.integers(3, 50),
    bursts=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    seed=st.integers(0, 1000),
)
def test_priorities_follow_rows_around_the_ring(stream, n_envs, capacity, bursts, seed):
    rng = np.random.default_rng(seed)
    source, buffer = stream(n_envs, seed), PrioritizedReplay(capacity, alpha=0.6)
    plain, head, largest = np.zeros(capacity, np.float32), 0, np.float32(1.0)
    for steps in bursts:
        for _ in range(steps):
            source.feed(buffer, 1)
            for _ in range(n_envs):
                plain[head % capacity] = largest
                head += 1
        batch = buffer.sample(5, rng)
        given_now = rng.exponential(size=5).astype(np.float32)
        buffer.update_priorities(batch.indices, given_now)
        for row, value in zip(batch.indices, given_now, strict=True):
            plain[row] = value
        largest = max(largest, given_now.max())
        size = len(buffer)
        np.testing.assert_array_equal(buffer.priorities(np.arange(size)), plain[:size])
        leaves = (plain[:size].astype(np.float64) + 1e-6) ** 0.6
        np.testing.assert_allclose(buffer._tree.leaves[:size], leaves, rtol=1e-12)
        assert (buffer._tree.leaves[size:] == 0).all()
        assert buffer._tree.total == pytest.approx(leaves.sum(), rel=1e-12)
        assert batch.indices.max() < size


@pytest.mark.parametrize("steps", [0, 1, 13, 20, 33])
def test_a_stored_buffer_continues_bit_for_bit(stream, steps):
    source, rng = stream(2, 1), np.random.default_rng(0)
    buffer = source.feed(PrioritizedReplay(30, alpha=0.4), steps)
    for _ in range(10 if steps else 0):
        batch = buffer.sample(8, rng)
        buffer.update_priorities(batch.indices, rng.exponential(size=8))
    state = buffer.state_dict()
    again = PrioritizedReplay(30, alpha=0.9)
    again.load_state_dict(state)
    assert again.alpha == 0.4
    for seed in range(10):
        arguments = source.step()
        buffer.add(*arguments)
        again.add(*arguments)
        a, b = (x.sample(8, np.random.default_rng(seed), n_step=2) for x in (buffer, again))
        for name in ("indices", "weights", "rewards", "observations"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
        for x in (buffer, again):
            x.update_priorities(a.indices, a.rewards**2)
    assert buffer._tree._top.tobytes() == again._tree._top.tobytes()
    assert buffer._tree.leaves.tobytes() == again._tree.leaves.tobytes()


def test_a_snapshot_keeps_its_priorities(stream):
    buffer = filled(stream)
    state = buffer.state_dict()
    before = state["priorities"].copy()
    buffer.update_priorities(np.arange(20), np.full(20, 7.0))
    assert (state["priorities"] == before).all()
    buffer.load_state_dict(state)
    assert (buffer.priorities(np.arange(20)) == before).all()
    assert buffer.max_priority == 1.0
    with pytest.raises(ValueError, match="damaged"):
        buffer.load_state_dict({**state, "priorities": before[:3]})


def test_a_smaller_state_leaves_nothing_of_a_fuller_buffer(stream):
    state = stream(1, 0).feed(PrioritizedReplay(20), 3).state_dict()
    buffer = stream(1, 1).feed(PrioritizedReplay(20), 15)
    buffer.update_priorities(np.arange(15), np.full(15, 9.0))
    buffer.load_state_dict(state)
    assert buffer.sample(300, np.random.default_rng(0)).indices.max() == 2
    assert buffer._tree.total == pytest.approx(3.0, rel=1e-5)


def test_clear_forgets_priorities_too(stream):
    source = stream(1, 0)
    buffer = source.feed(PrioritizedReplay(20), 20)
    buffer.update_priorities(np.arange(20), np.full(20, 50.0))
    buffer.clear()
    stream(1, 1).feed(buffer, 4)
    assert buffer.priorities(np.arange(4)).tolist() == [1.0] * 4
    assert buffer.sample(64, np.random.default_rng(0)).indices.max() == 3


def test_bad_priorities_change_nothing(stream):
    buffer = filled(stream)
    for bad in ([-1.0, 1.0], [np.nan, 1.0], [np.inf, 1.0]):
        with pytest.raises(ValueError, match="finite"):
            buffer.update_priorities(np.asarray([0, 1]), bad)
    with pytest.raises(ValueError, match="as many"):
        buffer.update_priorities(np.asarray([0, 1]), [1.0])
    assert buffer.priorities(np.arange(20)).tolist() == [1.0] * 20
    with pytest.raises(ValueError, match="beta"):
        buffer.sample(2, np.random.default_rng(0), beta=1.5)
    for make in (lambda: PrioritizedReplay(4, alpha=-0.1), lambda: PrioritizedReplay(4, eps=-1.0)):
        with pytest.raises(ConfigError):
            make()
    with pytest.raises(ConfigError, match="alpha"):
        buffer.set_alpha(1.5)


def test_a_row_given_twice_keeps_the_last_priority(stream):
    buffer = filled(stream, alpha=1.0, eps=0.0)
    buffer.update_priorities(np.asarray([4, 4, 4]), [1.0, 9.0, 2.0])
    assert buffer.priorities(np.asarray([4])).tolist() == [2.0]
    assert buffer._tree.total == 21.0
