"""Every loss of every backend is core's float64 definition: its value, and its gradient by the network's outputs.

Data avoids ties (a ratio on the clip's edge, equal critics), where frameworks choose different subgradients; those have
tests of their own at the end, as has every difference between frameworks that is known to matter.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.append(str(Path(__file__).parent))

import loss_backends
import numpy as np
import pytest

from optix_core.rl import reference

B, A, NVEC = 32, 4, (3, 2, 2)
VALUE, GRADIENT = 1e-11, 1e-11

BACKENDS = pytest.mark.parametrize("kind", loss_backends.INSTALLED, ids=lambda kind: kind.name)


def having(method):
    """Backends that offer ``method``."""
    return pytest.mark.parametrize(
        "kind",
        [kind for kind in loss_backends.INSTALLED if hasattr(kind, method)],
        ids=lambda kind: kind.name,
    )


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def test_at_least_one_backend_is_compared():
    assert loss_backends.INSTALLED


def require_equal(found, wanted):
    """Raise AssertionError unless value and all gradients agree."""
    value, gradients = found
    assert abs(value - wanted.value) < VALUE
    assert set(gradients) == set(wanted.gradients)
    for name, gradient in wanted.gradients.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=0, atol=GRADIENT, err_msg=name)


# --- PPO ---------------------------------------------------------------------------------------------------------


def policy_case(head, rng, *, masked=False):
    """Outputs, actions, masks and the reference's policy for one kind of action."""
    if head == "categorical":
        outputs, actions = rng.standard_normal((B, A)), rng.integers(A, size=B)
        masks = None
        if masked:
            masks = rng.random((B, A)) < 0.6
            masks[np.arange(B), actions] = True
        return outputs, actions, masks, reference.categorical(outputs, actions, masks), "logits"
    if head == "multi_categorical":
        outputs = rng.standard_normal((B, sum(NVEC)))
        actions = np.stack([rng.integers(n, size=B) for n in NVEC], axis=1)
        return outputs, actions, None, reference.multi_categorical(outputs, actions, NVEC), "logits"
    if head == "bernoulli":
        outputs, actions = rng.standard_normal((B, A)), rng.integers(2, size=(B, A)).astype(np.int8)
        return outputs, actions, None, reference.bernoulli(outputs, actions), "logits"
    outputs, actions = 0.5 * rng.standard_normal((B, 2 * A)), rng.standard_normal((B, A))
    policy = reference.gaussian(outputs[:, :A], outputs[:, A:], actions)
    return outputs, actions, None, policy, ""


HEADS = [
    ("categorical", False), ("categorical", True), ("multi_categorical", False), ("bernoulli", False),
    ("gaussian", False),
]  # fmt: skip


@having("policy_loss")
@pytest.mark.parametrize("head,masked", HEADS)
@pytest.mark.parametrize("coef", [0.0, 0.03])
def test_ppo_policy_loss(kind, head, masked, coef, rng):
    check_policy_loss(kind(), head, rng, masked=masked, coef=coef)


def check_policy_loss(backend, head, rng, *, masked=False, coef=0.03):
    outputs, actions, masks, policy, name = policy_case(head, rng, masked=masked)
    old = policy.log_probs + 0.3 * rng.standard_normal(B)
    advantages = rng.standard_normal(B)
    wanted = reference.ppo_policy_loss(policy, old, advantages, 0.2, coef)
    ratios = np.exp(policy.log_probs - old)
    assert (ratios > 1.2).any()
    assert (ratios < 0.8).any()
    gradients = (
        {"outputs": wanted.gradients[name]}
        if name
        else {"outputs": np.concatenate([wanted.gradients["mean"], wanted.gradients["log_std"]], axis=1)}
    )
    found = backend.policy_loss(head, outputs, actions, masks, old, advantages, 0.2, coef, nvec=NVEC)
    require_equal(found, reference.Loss(value=wanted.value, gradients=gradients))


@having("value_loss")
@pytest.mark.parametrize("clip", [None, 0.3])
def test_ppo_value_loss(kind, clip, rng):
    values, targets = rng.standard_normal((2, B))
    old = values + 0.4 * rng.standard_normal(B)
    wanted = reference.ppo_value_loss(values, targets, old_values=old, clip=clip)
    require_equal(kind().value_loss(values, targets, old, clip), wanted)


# --- DQN ---------------------------------------------------------------------------------------------------------


def q_case(rng, *, masked):
    rewards, discounts = rng.standard_normal(B), rng.choice([0.0, 0.97], B)
    following, chosen_by = rng.standard_normal((2, B, A))
    masks = None
    if masked:
        masks = rng.random((B, A)) < 0.5
        masks[discounts > 0, 0] = True
        masks[np.flatnonzero(discounts == 0.0)[0]] = False  # a terminal state may allow nothing
    return rewards, discounts, following, chosen_by, masks


@having("q_targets")
@pytest.mark.parametrize("masked", [False, True])
def test_q_targets(kind, masked, rng):
    rewards, discounts, following, chosen_by, masks = q_case(rng, masked=masked)
    for chooser in (chosen_by, following):
        found = kind().q_targets(rewards, discounts, following, chooser, masks)
        wanted = reference.q_targets(rewards, discounts, following, chosen_by=chooser, masks=masks)
        np.testing.assert_allclose(found, wanted, rtol=0, atol=VALUE)


@having("td_loss")
def test_td_loss(kind, rng):
    q, actions, targets, weights = (
        2 * rng.standard_normal((B, A)), rng.integers(A, size=B), rng.standard_normal(B), rng.random(B),
    )  # fmt: skip
    wanted = reference.td_loss(q, actions, targets, weights)
    assert (
        np.abs(wanted.each).max() > 1.0 > np.abs(wanted.each).min()
    )  # both pieces of the Huber loss are met
    *found, errors = kind().td_loss(q, actions, targets, weights)
    require_equal(found, wanted)
    np.testing.assert_allclose(errors, wanted.each, rtol=0, atol=VALUE)


@having("dueling")
def test_dueling_values(kind, rng):
    outputs = rng.standard_normal((B, 1 + A))
    wanted = reference.dueling(outputs[:, :1], outputs[:, 1:])
    np.testing.assert_allclose(kind().dueling(outputs), wanted, rtol=0, atol=VALUE)


# --- SAC and TD3 -------------------------------------------------------------------------------------------------


@having("soft_targets")
def test_soft_targets(kind, rng):
    rewards, q1, q2, log_probs = rng.standard_normal((4, B))
    arguments = (rewards, rng.choice([0.0, 0.97], B), q1, q2, log_probs, 0.3)
    np.testing.assert_allclose(
        kind().soft_targets(*arguments), reference.soft_targets(*arguments), rtol=0, atol=VALUE
    )


@having("td3_targets")
def test_td3_targets(kind, rng):
    rewards, q1, q2 = rng.standard_normal((3, B))
    arguments = (rewards, rng.choice([0.0, 0.97], B), q1, q2)
    np.testing.assert_allclose(
        kind().td3_targets(*arguments), reference.td3_targets(*arguments), rtol=0, atol=VALUE
    )


@having("smoothed_actions")
def test_smoothed_actions(kind, rng):
    actions, noise = np.tanh(2 * rng.standard_normal((B, A))), 0.4 * rng.standard_normal((B, A))
    wanted = reference.smoothed_actions(actions, noise, 0.5)
    assert (np.abs(noise) > 0.5).any()
    assert (np.abs(wanted) == 1.0).any()
    np.testing.assert_allclose(kind().smoothed_actions(actions, noise, 0.5), wanted, rtol=0, atol=VALUE)


@having("critic_loss")
def test_twin_critic_loss(kind, rng):
    q1, q2, targets = rng.standard_normal((3, B))
    weights = rng.random(B)
    wanted = reference.twin_critic_loss(q1, q2, targets, weights)
    require_equal(kind().critic_loss(q1, q2, targets, weights), wanted)


@having("sac_actor_loss")
def test_sac_actor_loss(kind, rng):
    check_sac_actor_loss(kind(), rng)


def check_sac_actor_loss(backend, rng):
    mean, log_std, noise = rng.standard_normal((3, B, A))
    mean[0], log_std[0], log_std[1] = 9.0, -21.0, 2.5  # saturated, and beyond the clamp on both sides
    slopes, offsets, alpha = rng.standard_normal((2, B, A)), rng.standard_normal((2, B)), 0.3
    policy = reference.squashed_gaussian(mean, log_std, noise, log_std_bounds=(-20.0, 2.0))
    q = [(policy.actions * s).sum(axis=1) + o for s, o in zip(slopes, offsets, strict=True)]
    wanted = reference.sac_actor_loss(policy, *q, *slopes, alpha)
    value, gradients = backend.sac_actor_loss(mean, log_std, noise, slopes, offsets, alpha)
    assert abs(value - wanted.value) < 1e-9
    for name, gradient in wanted.gradients.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=0, atol=1e-9, err_msg=name)


@having("temperature_loss")
def test_temperature_loss(kind, rng):
    log_probs = rng.standard_normal(B)
    wanted = reference.temperature_loss(-0.4, log_probs, -2.0)
    require_equal(kind().temperature_loss(-0.4, log_probs, -2.0), wanted)


@having("td3_actor_loss")
def test_td3_actor_loss(kind, rng):
    actions, slopes = rng.standard_normal((2, B, A))
    offsets = rng.standard_normal(B)
    wanted = reference.td3_actor_loss((actions * slopes).sum(axis=1) + offsets, slopes)
    require_equal(kind().td3_actor_loss(actions, slopes, offsets), wanted)


# --- what must be noticed ----------------------------------------------------------------------------------------


@having("policy_loss")
@pytest.mark.parametrize("head", ["categorical", "gaussian"])
def test_a_dropped_entropy_is_noticed(kind, head, rng):
    class Dropped(kind):
        def policy_loss(self, *arguments, **options):
            *others, _ = arguments
            return super().policy_loss(*others, 0.0, **options)

    with pytest.raises(AssertionError):
        check_policy_loss(Dropped(), head, rng)


@having("soft_targets")
def test_a_truncation_that_is_taken_for_a_termination_is_noticed(kind, rng):
    """Discounts of truncated steps are not 0: what followed them had a value."""
    rewards, q1, q2, log_probs = rng.standard_normal((4, B))
    terminated, truncated = rng.random(B) < 0.2, rng.random(B) < 0.2
    right = np.where(terminated, 0.0, 0.97)
    wanted = reference.soft_targets(rewards, right, q1, q2, log_probs, 0.3)
    merged = np.where(terminated | truncated, 0.0, 0.97)
    backend = kind()
    np.testing.assert_allclose(
        backend.soft_targets(rewards, right, q1, q2, log_probs, 0.3), wanted, atol=VALUE
    )
    assert np.abs(backend.soft_targets(rewards, merged, q1, q2, log_probs, 0.3) - wanted).max() > 0.01


@having("sac_actor_loss")
def test_a_density_without_its_correction_is_noticed(kind, rng):
    class Uncorrected(kind):
        def sac_actor_loss(self, mean, log_std, noise, slopes, offsets, alpha):
            value, gradients = super().sac_actor_loss(mean, log_std, noise, slopes, offsets, alpha)
            u = mean + np.exp(np.clip(log_std, -20.0, 2.0)) * noise
            correction = 2.0 * (np.log(2.0) - u - np.logaddexp(0.0, -2.0 * u))
            return value + alpha * correction.sum(axis=1).mean(), gradients

    with pytest.raises(AssertionError):
        check_sac_actor_loss(Uncorrected(), rng)


# --- what frameworks do differently ------------------------------------------------------------------------------

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
needs_jax = pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")

SMALL = (1e-6, 1e-9, 3e-8, 1e-7)
"""Gradients so small that epsilon decides how far Adam goes."""


def paper_adam(gradients, *, rate=0.01, b1=0.9, b2=0.999, eps=1e-8, inside=False):
    """Where Adam leads a parameter that starts at 0 (Kingma and Ba 2015, arXiv:1412.6980, algorithm 1)."""
    p = m = v = 0.0
    for t, g in enumerate(gradients, start=1):
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        root = np.sqrt(v / (1 - b2**t))
        # Keras adds epsilon before the second moment is corrected, which makes it larger by 1 / sqrt(1 - b2^t)
        p -= rate * m / (1 - b1**t) / (root + (eps / np.sqrt(1 - b2**t) if inside else eps))
    return p


def test_where_epsilon_stands_matters_for_small_gradients():
    assert paper_adam(SMALL, inside=True) > 1.05 * paper_adam(SMALL)
    assert abs(paper_adam(SMALL, eps=1e-7) / paper_adam(SMALL) - 1.0) > 0.05


@needs_jax
def test_adam_of_jax_is_the_papers_and_so_is_that_of_optax():
    import jax.numpy as jnp
    import optax

    from optix_jax.training.optimizers import Adam, FromOptax

    wrong = [paper_adam(SMALL, inside=True), paper_adam(SMALL, eps=1e-7)]
    for optimizer in (Adam(), FromOptax(optax.inject_hyperparams(optax.adam)(learning_rate=0.01))):
        p = jnp.zeros(1)
        state = optimizer.init(p)
        for g in SMALL:
            p, state = optimizer.step(p, jnp.full(1, g), state, jnp.float32(0.01))
        assert float(p[0]) == pytest.approx(paper_adam(SMALL), rel=1e-5)
        assert all(abs(float(p[0]) / w - 1.0) > 0.01 for w in wrong)


@needs_torch
@pytest.mark.parametrize("fused", [False, True])
def test_adam_of_torch_is_the_papers(fused):
    import torch

    p = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([p], lr=0.01, fused=fused)
    for g in SMALL:
        p.grad = torch.full((1,), g)
        optimizer.step()
    assert float(p.detach()) == pytest.approx(paper_adam(SMALL), rel=1e-5)


@needs_torch
@needs_jax
def test_standard_deviations_of_torch_divide_by_n_minus_1_so_core_standardises():
    import jax.numpy as jnp
    import torch

    from optix_core.rl.batching import standardize

    x = np.array([1.0, 2.0, 3.0, 4.0])
    assert float(torch.from_numpy(x).std()) == pytest.approx(np.sqrt(5 / 3))
    assert float(jnp.std(jnp.asarray(x))) == pytest.approx(np.sqrt(5 / 4))
    np.testing.assert_allclose(standardize(x).std(), 1.0, atol=1e-6)


@needs_jax
def test_jax_halves_gradients_at_ties_and_the_losses_do_not():
    """``jnp.minimum`` gives half to each of two equal values; PyTorch, core and our losses all to the first."""
    import jax
    import jax.numpy as jnp

    from optix_jax.continuous import squashed
    from optix_jax.continuous.losses import least

    one = jnp.float32(1.0)
    assert [float(g) for g in jax.grad(jnp.minimum, argnums=(0, 1))(one, one)] == [0.5, 0.5]
    assert [float(g) for g in jax.grad(least, argnums=(0, 1))(one, one)] == [1.0, 0.0]

    def log_prob(log_std):
        outputs = jnp.concatenate([jnp.zeros((1, 1)), jnp.full((1, 1), log_std)], axis=1)
        return squashed.sample(outputs, jnp.zeros((1, 1)))[1][0]

    assert float(jax.grad(log_prob)(squashed.LOG_STD_BOUNDS[1])) == -1.0  # on the bound, not beyond it
    assert float(jax.grad(log_prob)(squashed.LOG_STD_BOUNDS[1] + 1e-3)) == 0.0


@having("q_targets")
def test_of_equal_values_every_framework_chooses_the_first(kind):
    following = np.array([[1.0, 2.0, 2.0, 0.0], [3.0, 3.0, 3.0, 3.0]])
    chooser = np.array([[0.0, 5.0, 5.0, 5.0], [1.0, 1.0, 1.0, 1.0]])
    ones = np.ones(2)
    values = following + np.arange(4)  # so that the choice shows
    np.testing.assert_allclose(kind().q_targets(0 * ones, ones, values, chooser, None), [3.0, 3.0])


@needs_jax
@needs_torch
def test_the_slope_of_a_rectifier_at_zero_is_zero_everywhere():
    import jax
    import torch

    from optix_jax.networks.mlp import ACTIVATIONS

    x = torch.zeros(1, requires_grad=True)
    torch.relu(x).sum().backward()
    assert float(x.grad) == float(jax.grad(ACTIVATIONS["relu"])(0.0)) == 0.0


@needs_jax
def test_jax_narrows_64_bits_so_arrays_are_narrowed_before():
    """Left to itself it narrows too, but to what is stored as 64 bits it would have to do so at every call."""
    from optix_jax.training.compiled import tree_of

    assert tree_of(np.zeros(2)).dtype == np.float32
    assert tree_of(np.zeros(2, np.int64)).dtype == np.int32
    assert tree_of(np.zeros(2, np.uint8)).dtype == np.uint8
    record = np.zeros(3, [("a", np.float64, (2,)), ("b", np.int64)])
    assert {k: (v.dtype, v.shape) for k, v in tree_of(record).items()} == {
        "a": (np.dtype(np.float32), (3, 2)),
        "b": (np.dtype(np.int32), (3,)),
    }
