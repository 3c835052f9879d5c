"""Masks go with observations, and allow what they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gymnasium import spaces

from optix_core.errors import SpaceError
from optix_core.rl.masking import (
    allowed,
    is_masked,
    mask_size,
    masked_dtype,
    masked_info,
    nothing_allowed,
    sample_allowed,
    split_masks,
    with_masks,
)
from optix_core.rl.spaces import describe_space
from optix_core.rl.structured import element_dtype

DISCRETE = describe_space(spaces.Discrete(3, start=-1))
MULTI = describe_space(spaces.MultiDiscrete([2, 3], start=[0, 5]))


@pytest.mark.parametrize("lead", [(4,), (2, 4), (0,)])
@pytest.mark.parametrize("shape,dtype", [((5,), np.float32), ((2, 2), np.uint8), ((), np.int64)])
def test_together_and_apart(lead, shape, dtype):
    rng = np.random.default_rng(0)
    observations = rng.integers(0, 200, (*lead, *shape)).astype(dtype)
    masks = rng.random((*lead, 3)) < 0.5
    both = with_masks(observations, masks)
    assert both.shape == lead
    assert both.dtype == masked_dtype(np.dtype(dtype), shape, 3)
    apart, found = split_masks(both)
    np.testing.assert_array_equal(apart, observations)
    np.testing.assert_array_equal(found, masks)
    assert apart.dtype == dtype


def test_observations_without_masks_pass_through():
    plain = np.zeros((3, 2))
    assert split_masks(plain) == (plain, None)
    parts = np.zeros(3, element_dtype(spaces.Dict(a=spaces.Discrete(2), observation=spaces.Discrete(2))))
    assert split_masks(parts)[1] is None


def test_observations_with_parts_nest():
    dtype = element_dtype(spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(2)))
    both = with_masks(np.zeros(4, dtype), np.ones((4, 3), np.int8))
    inner, masks = split_masks(both)
    assert inner.dtype == dtype
    assert masks.dtype == np.bool_


def test_a_dict_space_with_these_keys_means_the_same():
    native = spaces.Dict(observation=spaces.Box(-1, 1, (2,)), action_mask=spaces.Box(0, 1, (3,), np.int8))
    dtype = element_dtype(native)
    assert is_masked(dtype)
    rows = np.zeros(2, dtype)
    rows["action_mask"] = [[1, 0, 1], [0, 0, 2]]
    np.testing.assert_array_equal(split_masks(rows)[1], [[True, False, True], [False, False, True]])


def test_masked_info_is_what_is_written():
    info = masked_info(describe_space(spaces.Box(-1, 1, (2,))), MULTI)
    assert info.dtype == masked_dtype(np.dtype(np.float32), (2,), 5)
    assert is_masked(info.dtype)
    with pytest.raises(SpaceError, match="no separate choices"):
        masked_info(info, describe_space(spaces.Box(-1, 1, (2,))))


def test_leading_axes_must_agree():
    with pytest.raises(ValueError, match="leading"):
        with_masks(np.zeros((3, 2)), np.ones((4, 3)))


def test_sizes():
    assert mask_size(DISCRETE) == 3
    assert mask_size(MULTI) == 5
    assert mask_size(describe_space(spaces.MultiBinary(3))) is None


def test_allowed_against_all_actions():
    for bits in itertools.product([False, True], repeat=3):
        masks = np.array([bits] * 3)
        np.testing.assert_array_equal(allowed(masks, np.array([-1, 0, 1]), DISCRETE), bits)
        assert nothing_allowed(masks[:1], DISCRETE)[0] == (not any(bits))
    actions = np.array(list(itertools.product([0, 1], [5, 6, 7])))
    for bits in itertools.product([False, True], repeat=5):
        masks = np.array([bits] * len(actions))
        expected = [bits[a] and bits[2 + b - 5] for a, b in actions]
        np.testing.assert_array_equal(allowed(masks, actions, MULTI), expected)
        assert nothing_allowed(masks[:1], MULTI)[0] == (not any(expected))


@pytest.mark.parametrize("space", [DISCRETE, MULTI], ids=["discrete", "multi_discrete"])
def test_samples_are_uniform_over_what_is_allowed(space):
    rng = np.random.default_rng(1)
    bits = [True, False, True] if space is DISCRETE else [True, True, True, False, True]
    masks = np.tile(bits, (20_000, 1))
    actions = sample_allowed(masks, space, rng)
    assert actions.shape == (20_000, *space.shape)
    assert allowed(masks, actions, space).all()
    _, counts = np.unique(actions, axis=0, return_counts=True)
    assert len(counts) == (2 if space is DISCRETE else 4)
    share = 20_000 / len(counts)
    assert np.abs(counts - share).max() < 5 * np.sqrt(share)  # 5 standard deviations
    with pytest.raises(ValueError, match="allows nothing"):
        sample_allowed(masks & False, space, rng)
