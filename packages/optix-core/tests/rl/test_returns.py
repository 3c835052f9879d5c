"""Advantages and returns against their definitions, and against the mistakes that are easy to make."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from optix_core.rl.returns import (
    compute_gae,
    discounted_returns,
    explained_variance,
    generalized_advantage_estimation,
)

FLOATS = st.floats(-10, 10)


@st.composite
def windows(draw):
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 3)))
    arrays = [draw(hnp.arrays(np.float64, shape, elements=FLOATS)) for _ in range(3)]
    terminated = draw(hnp.arrays(np.bool_, shape))
    truncated = draw(hnp.arrays(np.bool_, shape))
    return (*arrays, terminated, terminated | truncated)


def by_definition(rewards, values, next_values, terminated, boundary, *, gamma, gae_lambda):
    """A_t is the sum over k of (gamma lambda)^k delta_{t+k}, up to the end of the episode or of the window."""
    T, N = rewards.shape
    advantages = np.zeros((T, N))
    for n in range(N):
        for t in range(T):
            for k in range(t, T):
                bootstrap = 0.0 if terminated[k, n] else gamma * next_values[k, n]
                delta = rewards[k, n] + bootstrap - values[k, n]
                advantages[t, n] += (gamma * gae_lambda) ** (k - t) * delta
                if boundary[k, n]:
                    break
    return advantages


def with_mistake(mistake):
    """The textbook loop with one thing wrong."""

    def gae(rewards, values, next_values, terminated, boundary, *, gamma, gae_lambda):
        cut = terminated if mistake == "cuts on terminated only" else boundary
        if mistake == "ignores the boundary":
            cut = np.zeros_like(boundary)
        ends = boundary if mistake == "no bootstrap at a time limit" else terminated
        if mistake == "multiplies instead of selecting":
            bootstrap = next_values * (1.0 - ends)
        else:
            bootstrap = np.where(ends, 0.0, next_values)
        deltas = rewards + (1.0 if mistake == "no gamma in delta" else gamma) * bootstrap - values
        decay = gae_lambda if mistake == "no gamma in the sum" else gamma * gae_lambda
        advantages = np.zeros_like(deltas)
        carry = np.zeros_like(deltas[0])
        for t in reversed(range(len(deltas))):
            carry = deltas[t] + decay * np.where(cut[t], 0.0, carry)
            advantages[t] = carry
        return advantages

    return gae


def check_definition(gae):
    rng = np.random.default_rng(0)
    for _ in range(20):
        rewards, values, following = rng.normal(size=(3, 9, 2))
        terminated, truncated = rng.random((2, 9, 2)) < 0.25
        args = (rewards, values, following, terminated, terminated | truncated)
        np.testing.assert_allclose(
            gae(*args, gamma=0.9, gae_lambda=0.7), by_definition(*args, gamma=0.9, gae_lambda=0.7), atol=1e-12
        )


def check_unknown_value_beyond_the_end(gae):
    one, no, yes = np.ones((1, 1)), np.zeros((1, 1), bool), np.ones((1, 1), bool)
    result = gae(one, 0 * one, np.nan * one, yes, yes, gamma=0.9, gae_lambda=0.9)
    assert result == 1.0
    assert np.isnan(gae(one, 0 * one, np.nan * one, no, no, gamma=0.9, gae_lambda=0.9))


MISTAKES = [
    "ignores the boundary",
    "cuts on terminated only",
    "no bootstrap at a time limit",
    "multiplies instead of selecting",
    "no gamma in the sum",
    "no gamma in delta",
]


def test_it_is_its_definition():
    check_definition(generalized_advantage_estimation)


def test_a_critic_may_be_nan_where_nothing_follows():
    check_unknown_value_beyond_the_end(generalized_advantage_estimation)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_every_planted_mistake_is_found(mistake):
    with pytest.raises(AssertionError):
        for check in (check_definition, check_unknown_value_beyond_the_end):
            check(with_mistake(mistake))


def test_the_planted_loop_without_a_mistake_passes():
    check_definition(with_mistake(None))
    check_unknown_value_beyond_the_end(with_mistake(None))


@given(windows(), st.floats(0, 1), st.floats(0, 1))
def test_it_is_its_definition_everywhere(window, gamma, gae_lambda):
    expected = by_definition(*window, gamma=gamma, gae_lambda=gae_lambda)
    found = generalized_advantage_estimation(*window, gamma=gamma, gae_lambda=gae_lambda)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@given(windows(), st.floats(0, 1))
def test_lambda_zero_is_the_td_error(window, gamma):
    rewards, values, following, terminated, _ = window
    found = generalized_advantage_estimation(*window, gamma=gamma, gae_lambda=0.0)
    np.testing.assert_allclose(
        found, rewards + gamma * np.where(terminated, 0, following) - values, atol=1e-12
    )


@given(windows(), st.floats(0, 1), st.floats(0, 1))
def test_a_perfect_critic_has_no_advantage(window, gamma, gae_lambda):
    _, values, following, terminated, boundary = window
    rewards = values - gamma * np.where(terminated, 0, following)
    found = generalized_advantage_estimation(
        rewards, values, following, terminated, boundary, gamma=gamma, gae_lambda=gae_lambda
    )
    np.testing.assert_allclose(found, 0.0, atol=1e-9)


@given(windows(), st.data())
def test_splitting_a_window_at_a_boundary_changes_nothing(window, data):
    rewards, values, following, terminated, boundary = window
    at = data.draw(st.integers(0, len(rewards) - 1))
    boundary = boundary.copy()
    boundary[at] = True
    arrays = (rewards, values, following, terminated, boundary)
    whole = generalized_advantage_estimation(*arrays, gamma=0.9, gae_lambda=0.8)
    head = generalized_advantage_estimation(*(a[: at + 1] for a in arrays), gamma=0.9, gae_lambda=0.8)
    np.testing.assert_allclose(whole[: at + 1], head)
    if at + 1 < len(rewards):
        tail = generalized_advantage_estimation(*(a[at + 1 :] for a in arrays), gamma=0.9, gae_lambda=0.8)
        np.testing.assert_allclose(whole[at + 1 :], tail)


def fixed_point(gae, gamma, *, truncate_every=7, sweeps=1500):
    """Value of an environment whose reward is always 1 and that never terminates: iterate V <- V + A."""
    T = 20
    rewards, no = np.ones((T, 1)), np.zeros((T, 1), bool)
    boundary = (np.arange(T) % truncate_every == truncate_every - 1)[:, None]
    value = 0.0
    for _ in range(sweeps):
        v = np.full((T, 1), value)
        value += 0.5 * float(gae(rewards, v, v, no, boundary, gamma=gamma, gae_lambda=0.95).mean())
    return value


def test_a_constant_reward_is_worth_one_over_one_minus_gamma():
    assert fixed_point(generalized_advantage_estimation, 0.9) == pytest.approx(10.0, abs=1e-6)


def test_that_environment_shows_a_missing_bootstrap_at_time_limits():
    wrong = fixed_point(with_mistake("no bootstrap at a time limit"), 0.9)
    assert wrong < 8.0  # pulled towards the returns of seven-step episodes


def test_hand_made_example():
    advantages, targets = compute_gae(
        [1, 1, 1], [0.5, 0.5, 0.5], [False, False, True], 0.5, 0.5, last_value=99.0
    )
    # delta = 0.75, 0.75, 0.5 ; A2 = 0.5, A1 = 0.75 + 0.125, A0 = 0.75 + 0.25 * 0.875
    np.testing.assert_allclose(advantages, [0.96875, 0.875, 0.5])
    np.testing.assert_allclose(targets, advantages + 0.5)
    assert advantages.dtype == targets.dtype == np.float32


def test_last_value_is_used_when_the_last_step_goes_on():
    advantages, _ = compute_gae([0.0], [0.0], [False], 0.5, 0.5, last_value=4.0)
    assert advantages == [2.0]


def test_discounted_returns_by_hand():
    # column 0: truncated at t=1 (value 10 beyond), then runs out of the window (value 4); column 1: terminates at t=0
    rewards = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    following = np.array([[np.nan, np.nan], [10.0, np.nan], [4.0, 4.0]])
    terminated = np.array([[False, True], [False, False], [False, False]])
    truncated = np.array([[False, False], [True, False], [False, False]])
    returns = discounted_returns(rewards, following, terminated, terminated | truncated, gamma=0.5)
    np.testing.assert_allclose(returns, [[1 + 0.5 * 7, 1], [2 + 0.5 * 10, 2 + 0.5 * 5], [3 + 0.5 * 4, 5]])


@given(windows(), st.floats(0, 1))
def test_with_lambda_one_and_consistent_values_gae_gives_the_returns(window, gamma):
    rewards, values, following, terminated, boundary = window
    # next_values must be the values of the next row wherever the episode goes on
    following = following.copy()
    inner = ~boundary[:-1]
    following[:-1][inner] = values[1:][inner]
    advantages = generalized_advantage_estimation(
        rewards, values, following, terminated, boundary, gamma=gamma, gae_lambda=1.0
    )
    returns = discounted_returns(rewards, following, terminated, boundary, gamma=gamma)
    np.testing.assert_allclose(advantages + values, returns, atol=1e-8)


def test_shapes_and_ranges_are_checked():
    one, no = np.ones((3, 1)), np.zeros((3, 1), bool)
    with pytest.raises(ValueError, match=r"values \(2, 1\)"):
        generalized_advantage_estimation(one, one[:2], one, no, no, gamma=0.9, gae_lambda=0.9)
    with pytest.raises(ValueError, match=r"\[T, N\]"):
        generalized_advantage_estimation(
            *(a[:, 0] for a in (one, one, one, no, no)), gamma=0.9, gae_lambda=0.9
        )
    with pytest.raises(ValueError, match=r"gamma is 1.5"):
        generalized_advantage_estimation(one, one, one, no, no, gamma=1.5, gae_lambda=0.9)
    with pytest.raises(ValueError, match="gae_lambda is nan"):
        generalized_advantage_estimation(one, one, one, no, no, gamma=0.9, gae_lambda=float("nan"))
    with pytest.raises(ValueError, match=r"three arrays \[T\]"):
        compute_gae([1, 2], [1], [True, False])


def test_the_inputs_are_left_alone():
    rng = np.random.default_rng(0)
    arrays = [*rng.normal(size=(3, 5, 2)), rng.random((5, 2)) < 0.3, rng.random((5, 2)) < 0.3]
    before = [a.copy() for a in arrays]
    generalized_advantage_estimation(*arrays, gamma=0.9, gae_lambda=0.9)
    discounted_returns(arrays[0], arrays[2], arrays[3], arrays[4], gamma=0.9)
    for a, b in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_explained_variance():
    y = np.array([1.0, 2.0, 4.0])
    assert explained_variance(y, y) == 1.0
    assert explained_variance(np.full(3, 7.0), y) == pytest.approx(0.0)
    assert explained_variance(-y, y) < 0
    assert np.isnan(explained_variance(y, np.ones(3)))
    assert np.isnan(explained_variance([], []))
