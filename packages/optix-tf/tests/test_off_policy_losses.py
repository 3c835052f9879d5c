"""Losses and targets of DQN, SAC and TD3: value and gradient against the reference in float64, and that slips show."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from optix_core.agents.squashed import act
from optix_core.rl import reference
from optix_tf.action_values import losses as q_losses
from optix_tf.continuous import losses, squashed

B, A = 24, 3


def tensor(array):
    return tf.constant(np.asarray(array, np.float64))


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def differentiated(function, *arrays):
    """The value of a loss and its gradients by ``arrays``."""
    xs = [tensor(a) for a in arrays]
    with tf.GradientTape() as tape:
        tape.watch(xs)
        value = function(*xs)
    return float(value), [g.numpy() for g in tape.gradient(value, xs)]


# --- the squashed Gaussian ---------------------------------------------------------------------------------------


def policy_outputs(rng):
    mean, log_std, noise = rng.standard_normal((3, B, A))
    mean[0], log_std[0], log_std[1] = 9.0, -21.0, 2.5  # saturated, and beyond the clamp on both sides
    return mean, log_std, noise


def test_draws_densities_and_their_gradients_are_the_references(rng):
    mean, log_std, noise = policy_outputs(rng)
    expected = reference.squashed_gaussian(mean, log_std, noise, log_std_bounds=squashed.LOG_STD_BOUNDS)
    slopes, c = rng.standard_normal((B, A)), rng.standard_normal(B)

    def scalar(outputs):
        actions, log_probs = squashed.sample(outputs, tensor(noise))
        return tf.reduce_sum(actions * slopes) + tf.reduce_sum(log_probs * c)

    value, (gradient,) = differentiated(scalar, np.concatenate([mean, log_std], axis=1))
    wanted = float((expected.actions * slopes).sum() + (expected.log_probs * c).sum())
    assert value == pytest.approx(wanted, rel=1e-12)
    by_each = [
        slopes * expected.d_actions[name] + c[:, None] * expected.d_log_probs[name]
        for name in ("mean", "log_std")
    ]
    np.testing.assert_allclose(gradient, np.concatenate(by_each, axis=1), rtol=0, atol=1e-9)


def test_density_integrates_to_one():
    mean, log_std = 0.4, -0.2
    u = np.linspace(-12, 12, 200_001)
    noise = ((u - mean) / math.exp(log_std))[:, None]
    actions, log_probs = squashed.sample(tensor(np.tile([[mean, log_std]], (len(u), 1))), tensor(noise))
    assert np.trapezoid(np.exp(log_probs.numpy()), actions.numpy()[:, 0]) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("mean", [0.0, 30.0, -1e4, 1e30])
@pytest.mark.parametrize("log_std", [-1e4, -20.0, 2.0, 1e4])
def test_nothing_is_nan_at_extremes(mean, log_std):
    outputs = tf.constant([[mean, log_std]], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        actions, log_probs = squashed.sample(outputs, tf.constant([[1.5]], tf.float32))
        total = tf.reduce_sum(actions) + tf.reduce_sum(log_probs)
    for found in (actions, log_probs, tape.gradient(total, outputs)):
        assert np.isfinite(found.numpy()).all()


def test_acting_and_learning_mean_the_same_policy(rng):
    outputs = rng.standard_normal((B, 2 * A)).astype(np.float32)
    acted = act(outputs, np.random.default_rng(1))
    noise = np.random.default_rng(1).standard_normal((B, A), np.float32)
    learned, _ = squashed.sample(tf.constant(outputs), tf.constant(noise))
    np.testing.assert_allclose(acted, learned.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(act(outputs, None), np.tanh(outputs[:, :A]))


# --- SAC and TD3 -------------------------------------------------------------------------------------------------


def numbers(rng, n, width=None):
    return rng.standard_normal((n, B) if width is None else (n, B, width))


def test_soft_targets(rng):
    rewards, q1, q2, log_probs = numbers(rng, 4)
    discounts = np.where(rng.random(B) < 0.3, 0.0, 0.99)
    found = losses.soft_targets(*map(tensor, (rewards, discounts, q1, q2, log_probs, 0.3)))
    expected = reference.soft_targets(rewards, discounts, q1, q2, log_probs, 0.3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_td3_targets_and_smoothing(rng):
    rewards, q1, q2 = numbers(rng, 3)
    discounts = np.where(rng.random(B) < 0.3, 0.0, 0.99)
    found = losses.td3_targets(*map(tensor, (rewards, discounts, q1, q2)))
    np.testing.assert_allclose(found, reference.td3_targets(rewards, discounts, q1, q2), rtol=0, atol=1e-13)
    actions, noise = np.tanh(2 * rng.standard_normal((B, A))), rng.standard_normal((B, A))
    smooth = losses.smoothed_actions(tensor(actions), tensor(noise), tensor(0.5))
    expected = reference.smoothed_actions(actions, noise, 0.5)
    np.testing.assert_allclose(smooth, expected, rtol=0, atol=1e-13)
    assert (np.abs(expected) == 1.0).any()
    assert (np.abs(noise) > 0.5).any()  # both clips are at work


def test_twin_critic_loss(rng):
    q1, q2, targets = numbers(rng, 3)
    weights = rng.uniform(0.2, 1.0, B)
    expected = reference.twin_critic_loss(q1, q2, targets, weights)
    value, gradients = differentiated(
        lambda a, b: losses.twin_critic_loss(a, b, tensor(targets), tensor(weights))[0], q1, q2
    )
    assert value == pytest.approx(expected.value, rel=1e-13)
    np.testing.assert_allclose(gradients[0], expected.gradients["q1"], rtol=0, atol=1e-14)
    np.testing.assert_allclose(gradients[1], expected.gradients["q2"], rtol=0, atol=1e-14)
    _, sizes = losses.twin_critic_loss(*map(tensor, (q1, q2, targets, weights)))
    np.testing.assert_allclose(sizes, 0.5 * (np.abs(q1 - targets) + np.abs(q2 - targets)), rtol=1e-13)


def linear_critics(rng):
    """Two critics whose values are linear in the actions, so that their slopes are known."""
    slopes, offsets = rng.standard_normal((2, B, A)), rng.standard_normal((2, B))
    return slopes, offsets


def test_sac_actor_loss_is_the_reference_through_the_actions(rng):
    mean, log_std, noise = policy_outputs(rng)
    slopes, offsets = linear_critics(rng)
    chosen = reference.squashed_gaussian(mean, log_std, noise, log_std_bounds=squashed.LOG_STD_BOUNDS)
    q = [(slopes[k] * chosen.actions).sum(axis=1) + offsets[k] for k in range(2)]
    expected = reference.sac_actor_loss(chosen, *q, *slopes, 0.4)

    def loss(outputs):
        actions, log_probs = squashed.sample(outputs, tensor(noise))
        values = [tf.reduce_sum(slopes[k] * actions, axis=1) + offsets[k] for k in range(2)]
        return losses.sac_actor_loss(log_probs, *values, tensor(0.4))

    value, (gradient,) = differentiated(loss, np.concatenate([mean, log_std], axis=1))
    assert value == pytest.approx(expected.value, rel=1e-12)
    wanted = np.concatenate([expected.gradients["mean"], expected.gradients["log_std"]], axis=1)
    np.testing.assert_allclose(gradient, wanted, rtol=0, atol=1e-12)


def test_td3_actor_loss(rng):
    slopes, offsets = linear_critics(rng)
    actions = rng.uniform(-1, 1, (B, A))
    expected = reference.td3_actor_loss((slopes[0] * actions).sum(axis=1) + offsets[0], slopes[0])
    value, (gradient,) = differentiated(
        lambda a: losses.td3_actor_loss(tf.reduce_sum(slopes[0] * a, axis=1) + offsets[0]), actions
    )
    assert value == pytest.approx(expected.value, rel=1e-12)
    np.testing.assert_allclose(gradient, expected.gradients["actions"], rtol=0, atol=1e-14)


def test_temperature_follows_the_entropy(rng):
    log_probs = rng.standard_normal(B)
    expected = reference.temperature_loss(0.2, log_probs, -float(A))
    found = losses.temperature_slope(tensor(log_probs), tensor(-float(A)))
    assert float(found) == pytest.approx(float(expected.gradients["log_alpha"]), rel=1e-13)


# --- DQN ---------------------------------------------------------------------------------------------------------


def q_batch(rng):
    values, following, chosen_by = rng.standard_normal((3, B, A))
    rewards, targets = 2.0 * numbers(rng, 2)
    return values, following, chosen_by, rewards, targets, np.where(rng.random(B) < 0.3, 0.0, 0.97)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_q_targets(rng, double, masked):
    _, following, chosen_by, rewards, _, discounts = q_batch(rng)
    masks = rng.random((B, A)) < 0.6
    masks[discounts > 0, 0] |= ~masks[discounts > 0].any(axis=1)
    masks[np.argmin(discounts)] = False  # a terminal state may allow nothing
    chooser = chosen_by if double else following
    found = q_losses.q_targets(
        tensor(rewards),
        tensor(discounts),
        tensor(following),
        tensor(chooser),
        tf.constant(masks) if masked else None,
    )
    expected = reference.q_targets(
        rewards,
        discounts,
        following,
        chosen_by=chosen_by if double else None,
        masks=masks if masked else None,
    )
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_td_loss(rng):
    values, _, _, _, targets, _ = q_batch(rng)
    actions, weights = rng.integers(A, size=B), rng.uniform(0.2, 1.0, B)
    expected = reference.td_loss(values, actions, targets, weights)
    assert (np.abs(expected.each) > 1).any()
    assert (np.abs(expected.each) < 1).any()
    value, (gradient,) = differentiated(
        lambda q: q_losses.td_loss(q, tf.constant(actions), tensor(targets), tensor(weights))[0], values
    )
    assert value == pytest.approx(expected.value, rel=1e-13)
    np.testing.assert_allclose(gradient, expected.gradients["q"], rtol=0, atol=1e-14)
    _, errors = q_losses.td_loss(tensor(values), tf.constant(actions), tensor(targets), tensor(weights))
    np.testing.assert_allclose(errors, expected.each, rtol=0, atol=1e-14)


# --- slips that these tests notice -------------------------------------------------------------------------------

SLIPS = {
    "the larger critic in the target": (
        losses,
        "soft_targets",
        lambda r, d, a, b, p, t: r + d * (tf.maximum(a, b) - t * p),
        test_soft_targets,
    ),
    "entropy dropped from the target": (
        losses,
        "soft_targets",
        lambda r, d, a, b, p, t: r + d * tf.minimum(a, b),
        test_soft_targets,
    ),
    "critics averaged": (
        losses,
        "twin_critic_loss",
        lambda a, b, y, w: (tf.reduce_mean(w * ((a + b) / 2 - y) ** 2), tf.abs(a - y)),
        test_twin_critic_loss,
    ),
    "weights after the mean": (
        losses,
        "twin_critic_loss",
        lambda a, b, y, w: (
            (tf.reduce_mean((a - y) ** 2) + tf.reduce_mean((b - y) ** 2)) * tf.reduce_mean(w),
            0.5 * (tf.abs(a - y) + tf.abs(b - y)),
        ),
        test_twin_critic_loss,
    ),
    "noise not clipped": (
        losses,
        "smoothed_actions",
        lambda a, n, c: tf.clip_by_value(a + n, -1.0, 1.0),
        test_td3_targets_and_smoothing,
    ),
    "action not clipped": (
        losses,
        "smoothed_actions",
        lambda a, n, c: a + tf.clip_by_value(n, -c, c),
        test_td3_targets_and_smoothing,
    ),
    "entropy dropped from the actor": (
        losses,
        "sac_actor_loss",
        lambda p, a, b, t: tf.reduce_mean(-tf.minimum(a, b)),
        test_sac_actor_loss_is_the_reference_through_the_actions,
    ),
    "temperature runs away": (
        losses,
        "temperature_slope",
        lambda p, t: tf.reduce_mean(p) + t,
        test_temperature_follows_the_entropy,
    ),
    "squared instead of Huber": (
        q_losses,
        "td_loss",
        lambda q, a, y, w: (
            tf.reduce_mean(w * (tf.gather(q, a, batch_dims=1) - y) ** 2),
            tf.gather(q, a, batch_dims=1) - y,
        ),
        test_td_loss,
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips_are_noticed(name, rng, monkeypatch):
    module, function, slip, test = SLIPS[name]
    test(np.random.default_rng(5))
    monkeypatch.setattr(module, function, slip)
    with pytest.raises(AssertionError):
        test(rng)
