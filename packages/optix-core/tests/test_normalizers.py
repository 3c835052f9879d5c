"""Running statistics are the exact ones, and odd input does no harm."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optix_core.checkpoints.codec import decode_components, encode_components
from optix_core.normalizers import ObsNormalizer, RewardNormalizer, RunningMeanStd
from optix_core.rl.masking import split_masks, with_masks
from optix_core.state import Stateful


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 30), st.just(2)), elements=st.floats(-1e3, 1e3)),
    st.lists(st.integers(0, 30), max_size=4),
)
def test_batches_of_any_cut_give_the_statistics_of_the_whole(samples, cuts):
    statistics = RunningMeanStd((2,))
    edges = sorted({0, len(samples), *(c for c in cuts if c < len(samples))})
    for a, b in pairwise(edges):
        statistics.update(samples[a:b])
    np.testing.assert_allclose(statistics.mean, samples.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(statistics.var, samples.var(axis=0), atol=1e-8)
    assert statistics.count == pytest.approx(len(samples) + 1e-4)


def test_before_the_first_sample():
    statistics = RunningMeanStd((2,))
    assert statistics.mean.tolist() == [0, 0]
    assert statistics.var.tolist() == [1, 1]
    assert statistics.count == 1e-4
    np.testing.assert_allclose(statistics.normalize([0.5, -20.0]), [0.5, -10.0])


def test_one_sample_is_a_batch_of_one_and_windows_may_be_time_major():
    one, many = RunningMeanStd((3,)), RunningMeanStd((3,))
    data = np.random.default_rng(0).normal(size=(4, 5, 3))
    for sample in data.reshape(-1, 3):
        one.update(sample)
    many.update(data)
    np.testing.assert_allclose(one.mean, many.mean)
    np.testing.assert_allclose(one.var, many.var)
    scalar = RunningMeanStd()
    scalar.update(3.0)
    scalar.update([5.0, 7.0])
    assert float(scalar.mean) == pytest.approx(5.0)
    with pytest.raises(ValueError, match=r"\(3,\) expected"):
        one.update(np.zeros((5, 2)))


@pytest.mark.parametrize("constant", [5.0, 0.1, -1 / 3, 1e9, 1.7e9 + 0.3])
def test_a_constant_becomes_exactly_zero(constant):
    statistics = RunningMeanStd((1,))
    for n in (7, 1, 993):
        statistics.update(np.full((n, 1), constant))
    assert statistics.normalize(np.array([[constant]])) == 0.0
    assert statistics.var == 0.0


def test_noise_on_a_constant_is_not_blown_up():
    rng = np.random.default_rng(0)
    statistics = RunningMeanStd((1,))
    statistics.update(np.full((1000, 1), 5.0))
    assert abs(float(statistics.normalize([5.001])[0])) < 0.2
    statistics.update(5.0 + 1e-3 * rng.normal(size=(1000, 1)))
    assert np.abs(statistics.normalize(5.0 + 1e-3 * rng.normal(size=(1000, 1)))).max() < 0.5


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e6, 1.7e9, 1e12])
def test_an_offset_costs_no_digits(offset):
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(4000, 1))
    statistics = RunningMeanStd((1,))
    for part in np.split(noise + offset, 40):
        statistics.update(part)
    plain = (noise - noise.mean()) / noise.std()
    np.testing.assert_allclose(statistics.normalize(noise + offset), plain, atol=1e-3)
    assert len(np.unique(statistics.normalize(noise + offset))) > 3500


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_left_out_and_counted(bad):
    statistics, clean = RunningMeanStd((2,)), RunningMeanStd((2,))
    good = np.random.default_rng(0).normal(size=(5, 2))
    statistics.update(np.vstack([good[:2], [[bad, 0.0]], good[2:]]))
    clean.update(good)
    np.testing.assert_array_equal(statistics.mean, clean.mean)
    np.testing.assert_array_equal(statistics.var, clean.var)
    assert statistics.rejected == 1
    before = statistics.state_dict()
    statistics.update(np.empty((0, 2)))
    np.testing.assert_equal(statistics.state_dict(), before)


def test_dtypes_and_clipping():
    statistics = RunningMeanStd((1,))
    statistics.update([[0.0], [2.0]])
    assert statistics.normalize(np.zeros(1, np.float32)).dtype == np.float32
    assert statistics.normalize(np.zeros(1)).dtype == np.float64
    assert statistics.normalize([[1000.0]], clip=3.0) == 3.0


def test_observation_normalizer():
    normalizer = ObsNormalizer(3, clip=2.0)
    data = np.random.default_rng(0).normal(3.0, 2.0, size=(500, 3))
    normalizer.update(data)
    scaled = normalizer.normalize(data)
    assert np.abs(scaled).max() == 2.0
    np.testing.assert_allclose(normalizer.mean, data.mean(axis=0))
    np.testing.assert_allclose(normalizer.var, data.var(axis=0))
    unclipped = ObsNormalizer(shape=(3,), clip=100.0)
    unclipped.update(data)
    np.testing.assert_allclose(unclipped.normalize(data).std(axis=0), 1.0, rtol=1e-6)
    for wrong in ((), (3,)):
        with pytest.raises(TypeError, match="either obs_shape or shape"):
            ObsNormalizer(*wrong, **({"shape": (3,)} if wrong else {}))


def test_normalizing_does_not_learn():
    normalizer = ObsNormalizer((1,))
    normalizer.normalize(np.ones((5, 1)))
    assert normalizer.mean == 0.0


def reward_scale_by_definition(rewards, boundary, gamma):
    """Population deviation of the discounted running returns, environment by environment."""
    returns = []
    for n in range(rewards.shape[1]):
        running = 0.0
        for t in range(len(rewards)):
            running = gamma * running + rewards[t, n]
            returns.append(running)
            if boundary[t, n]:
                running = 0.0
    return np.std(returns)


@given(
    hnp.arrays(np.float64, (12, 2), elements=st.floats(-10, 10)),
    hnp.arrays(np.bool_, (12, 2)),
    st.integers(0, 12),
    st.floats(0, 1),
)
def test_rewards_are_divided_by_the_deviation_of_running_returns(rewards, boundary, cut, gamma):
    normalizer = RewardNormalizer(gamma, n_envs=2, clip=1e9)
    normalizer.update(rewards[:cut], boundary[:cut])
    normalizer.update(rewards[cut:], boundary[cut:])
    deviation = reward_scale_by_definition(rewards, boundary, gamma)
    if deviation > 1e-3:
        np.testing.assert_allclose(normalizer.normalize(rewards), rewards / deviation, rtol=1e-2, atol=1e-12)


def test_step_by_step_is_the_same_as_by_window():
    rng = np.random.default_rng(0)
    rewards, boundary = rng.normal(size=(20, 3)), rng.random((20, 3)) < 0.2
    steps, whole = RewardNormalizer(n_envs=3), RewardNormalizer(n_envs=3)
    for r, b in zip(rewards, boundary, strict=True):
        steps.step(r, b)
    whole.update(rewards, boundary)
    np.testing.assert_allclose(steps.running_returns, whole.running_returns)
    np.testing.assert_allclose(steps.normalize(rewards), whole.normalize(rewards))


def test_running_returns_by_hand():
    normalizer = RewardNormalizer(0.5)
    for r in (1.0, 2.0, 4.0):
        normalizer.step(r)
    assert normalizer.running_returns.tolist() == [4 + 0.5 * (2 + 0.5)]
    normalizer.reset()
    assert normalizer.running_returns.tolist() == [0.0]
    assert normalizer.statistics.count == pytest.approx(3, abs=1e-3)


def test_rewards_are_not_shifted_and_are_clipped():
    normalizer = RewardNormalizer(0.0, clip=2.0)
    normalizer.update(np.array([[9.0], [11.0]]), np.zeros((2, 1), bool))
    np.testing.assert_allclose(normalizer.normalize([0.0, 0.5, 100.0]), [0.0, 0.5, 2.0])


def test_nothing_seen_and_nothing_varied_change_nothing():
    normalizer = RewardNormalizer()
    assert normalizer.normalize([0.5]) == pytest.approx(0.5)
    normalizer.step(0.0)
    normalizer.step(0.0)
    assert normalizer.normalize([0.5]) == pytest.approx(0.5)


def test_a_reward_that_is_not_finite_reaches_nothing():
    normalizer, clean = RewardNormalizer(), RewardNormalizer()
    for r in (1.0, np.nan, 2.0, np.inf):
        normalizer.step(r)
    assert np.isfinite(normalizer.running_returns).all()
    assert normalizer.statistics.rejected == 2
    for r in (1.0, 2.0):
        clean.step(r)
    np.testing.assert_array_equal(normalizer.running_returns, clean.running_returns)


def test_states_continue():
    rng = np.random.default_rng(0)
    for make, feed in (
        (lambda: ObsNormalizer((2,)), lambda n: n.update(rng.normal(size=(5, 2)))),
        (lambda: RewardNormalizer(n_envs=2), lambda n: n.step(rng.normal(size=2))),
    ):
        first, second = make(), make()
        assert isinstance(first, Stateful)
        feed(first)
        second.load_state_dict(first.state_dict())
        state = rng.bit_generator.state
        feed(first)
        rng.bit_generator.state = state
        feed(second)
        np.testing.assert_equal(first.state_dict(), second.state_dict())
    with pytest.raises(ValueError, match=r"this normaliser has \(3,\)"):
        ObsNormalizer(3).load_state_dict(ObsNormalizer(2).state_dict())
    with pytest.raises(ValueError, match="this normaliser has 1"):
        RewardNormalizer().load_state_dict(RewardNormalizer(n_envs=2).state_dict())


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"gamma is 1.1"):
        RewardNormalizer(1.1)
    with pytest.raises(ValueError, match="n_envs is 0"):
        RewardNormalizer(n_envs=0)
    with pytest.raises(ValueError, match="must both be"):
        RewardNormalizer().update(np.ones(3), np.zeros(3, bool))


PARTS = np.dtype(
    [
        ("camera", np.uint8, (2, 2)),
        ("inner", np.dtype([("0", np.int64), ("1", np.float32, (3,))], align=True)),
        ("far", np.float64),
    ],
    align=True,
)


def parts(rng, n, shift=0.0):
    rows = np.zeros(n, PARTS)
    rows["camera"] = rng.integers(0, 256, (n, 2, 2))
    rows["inner"]["0"] = rng.integers(0, 5, n)
    rows["inner"]["1"] = rng.normal(5, 2, (n, 3)) + shift
    rows["far"] = rng.normal(1e6, 10, n)
    return rows


def test_parts_of_floats_have_statistics_of_their_own():
    rng = np.random.default_rng(0)
    rows = parts(rng, 400)
    normalizer = ObsNormalizer(dtype=PARTS)
    assert list(normalizer.parts) == [("inner", "1"), ("far",)]
    normalizer.update(rows.reshape(20, 20))
    before = rows.copy()
    found = normalizer.normalize(rows)
    assert found.dtype == PARTS
    assert (rows == before).all()
    np.testing.assert_array_equal(found["camera"], rows["camera"])
    np.testing.assert_array_equal(found["inner"]["0"], rows["inner"]["0"])
    alone = ObsNormalizer(3)
    alone.update(rows["inner"]["1"])
    np.testing.assert_array_equal(found["inner"]["1"], alone.normalize(rows["inner"]["1"]))
    np.testing.assert_allclose(found["far"].mean(), 0.0, atol=1e-6)
    np.testing.assert_allclose(found["far"].std(), 1.0, atol=1e-6)
    with pytest.raises(TypeError, match="by part"):
        normalizer.mean


def test_states_of_parts_continue():
    rng = np.random.default_rng(0)
    first, second = ObsNormalizer(dtype=PARTS), ObsNormalizer(dtype=PARTS)
    first.update(parts(rng, 50))
    encoded = encode_components({"n": first.state_dict()})
    second.load_state_dict(decode_components(encoded.document, encoded.arrays)["n"])
    more = parts(rng, 30, shift=3.0)
    first.update(more)
    second.update(more)
    assert (first.normalize(more) == second.normalize(more)).all()
    with pytest.raises(ValueError, match="have none"):
        ObsNormalizer(3).load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="of a single array"):
        first.load_state_dict(ObsNormalizer(3).state_dict())
    other = ObsNormalizer(dtype=np.dtype([("far", np.float64)]))
    with pytest.raises(ValueError, match=r"'inner\.1', 'far'"):
        other.load_state_dict(first.state_dict())


def test_masks_stay_beside():
    rng = np.random.default_rng(0)
    plain, masks = rng.normal(3, 2, (50, 4)).astype(np.float32), rng.random((50, 3)) < 0.5
    one, other = ObsNormalizer(4), ObsNormalizer(4)
    one.update(plain)
    other.update(with_masks(plain, masks))
    inner, found = split_masks(other.normalize(with_masks(plain, masks)))
    np.testing.assert_array_equal(inner, one.normalize(plain))
    np.testing.assert_array_equal(found, masks)


def test_integers_are_left_alone():
    normalizer = ObsNormalizer((2, 2), dtype=np.dtype(np.uint8))
    images = np.full((3, 2, 2), 7, np.uint8)
    normalizer.update(images)
    assert normalizer.normalize(images).dtype == np.uint8
    normalizer.load_state_dict(normalizer.state_dict())
    with pytest.raises(TypeError, match="structured dtype"):
        ObsNormalizer(dtype=np.dtype(np.float32))
    with pytest.raises(TypeError, match="structured dtype"):
        ObsNormalizer(3, dtype=PARTS)
