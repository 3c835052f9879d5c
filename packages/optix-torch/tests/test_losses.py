"""Losses against float64 definitions, their gradients, and what they mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from optix_torch.policy_gradient import losses


def tensor(values, *, grad=False):
    return torch.tensor(np.asarray(values, np.float64), requires_grad=grad)


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return {
        "log_probs": rng.normal(-1, 0.4, 60),
        "old": rng.normal(-1, 0.4, 60),
        "advantages": rng.normal(0, 1, 60),
        "clip": 0.2,
    }


def reference_ppo(log_probs, old, advantages, clip):
    out = []
    for new, before, a in zip(log_probs, old, advantages, strict=True):
        r = math.exp(new - before)
        out.append(-min(r * a, min(max(r, 1 - clip), 1 + clip) * a))
    return np.array(out)


def test_the_surrogate_is_equation_7(data):
    ours = losses.ppo_clip_loss(
        tensor(data["log_probs"]), tensor(data["old"]), tensor(data["advantages"]), 0.2
    )
    np.testing.assert_allclose(ours, reference_ppo(**data), rtol=1e-12)


def test_its_gradient_is_that_of_finite_differences(data):
    x = tensor(data["log_probs"], grad=True)
    losses.ppo_clip_loss(x, tensor(data["old"]), tensor(data["advantages"]), 0.2).sum().backward()
    h = 1e-6
    up = reference_ppo(data["log_probs"] + h, data["old"], data["advantages"], 0.2)
    down = reference_ppo(data["log_probs"] - h, data["old"], data["advantages"], 0.2)
    np.testing.assert_allclose(x.grad, (up - down) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    "ratio,advantage,has_gradient",
    [
        (1.5, 1.0, False),
        (0.5, -1.0, False),
        (1.5, -1.0, True),
        (0.5, 1.0, True),
        (1.0, 1.0, True),
        (1.0, -1.0, True),
    ],
)
def test_the_clip_stops_only_what_pushes_further_out(ratio, advantage, has_gradient):
    x = tensor([math.log(ratio)], grad=True)
    losses.ppo_clip_loss(x, tensor([0.0]), tensor([advantage]), 0.2).sum().backward()
    assert float(x.grad[0]) == pytest.approx(-ratio * advantage if has_gradient else 0.0)


@pytest.mark.parametrize("gap", [-1e4, 1e4])
@pytest.mark.parametrize("advantage", [-1.0, 1.0])
def test_ratios_that_would_overflow_stay_finite(gap, advantage):
    x = torch.tensor([gap], requires_grad=True)  # float32
    loss = losses.ppo_clip_loss(x, torch.zeros(1), torch.tensor([advantage]), 0.2)
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(x.grad).all()


def test_value_losses_are_squared_errors():
    v, y, old = tensor([1.0, 2.0, -1.0]), tensor([0.0, 2.5, 3.0]), tensor([0.9, 1.0, 1.0])
    np.testing.assert_allclose(losses.value_loss(v, y), [1.0, 0.25, 16.0])
    # clipped values: 1.0, 1.2, 0.8
    np.testing.assert_allclose(losses.clipped_value_loss(v, y, old, 0.2), [1.0, 1.3**2, 16.0])


def test_categorical_log_probs_and_entropy_are_their_definitions():
    logits, actions = np.random.default_rng(0).normal(0, 2, (9, 4)), np.arange(9) % 4
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    log_probs, entropy = losses.categorical(tensor(logits), torch.from_numpy(actions))
    np.testing.assert_allclose(log_probs, np.log(p[np.arange(9), actions]), rtol=1e-12)
    np.testing.assert_allclose(entropy, -(p * np.log(p)).sum(1), rtol=1e-12)


def test_an_action_that_is_ruled_out_adds_no_entropy_and_no_gradient():
    logits = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    log_probs, entropy = losses.categorical(logits, torch.tensor([0]))
    (log_probs + entropy).sum().backward()
    assert float(entropy.detach()) == pytest.approx(math.log(2))
    assert torch.isfinite(logits.grad).all()


def test_gaussian_log_probs_and_entropy_agree_with_torch():
    rng = np.random.default_rng(0)
    mean, log_std, u = rng.normal(size=(7, 2)), rng.normal(0, 0.5, (7, 2)), rng.normal(size=(7, 2))
    log_probs, entropy = losses.gaussian(tensor(np.concatenate([mean, log_std], 1)), tensor(u))
    reference = torch.distributions.Normal(tensor(mean), tensor(np.exp(log_std)))
    np.testing.assert_allclose(log_probs, reference.log_prob(tensor(u)).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(entropy, reference.entropy().sum(-1), rtol=1e-12)


def test_standard_deviations_are_clamped():
    log_probs, entropy = losses.gaussian(tensor([[0.0, 99.0]]), tensor([[0.0]]))
    assert float(log_probs) == pytest.approx(-2.0 - 0.5 * math.log(2 * math.pi))
    assert float(entropy) == pytest.approx(2.0 + 0.5 * math.log(2 * math.pi * math.e))


def test_approximate_kl_is_never_negative_and_unbiased():
    rng = np.random.default_rng(0)
    p, q = np.array([0.2, 0.5, 0.3]), np.array([0.4, 0.4, 0.2])
    draws = rng.choice(3, 200_000, p=p)
    estimates = losses.approximate_kl(tensor(np.log(q / p)[draws])).numpy()
    assert (estimates >= 0).all()
    exact = (p * np.log(p / q)).sum()
    assert abs(estimates.mean() - exact) < 5 * estimates.std() / math.sqrt(len(draws))
