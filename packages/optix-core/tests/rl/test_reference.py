"""The reference losses: gradients against finite differences, values against definitions written another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import integrate, special, stats

from optix_core.rl import reference
from optix_core.rl.projections import categorical_support
from optix_core.rl.reference import numerical_gradient

RNG = np.random.default_rng


def agrees(analytic: Any, function: Callable[[Any], float], x: Any, tolerance: float = 1e-6) -> bool:
    expected = numerical_gradient(function, x)
    assert np.shape(analytic) == expected.shape
    scale = max(1e-3, float(np.abs(expected).max()))
    return bool(np.abs(np.asarray(analytic) - expected).max() <= tolerance * scale)


def test_finite_differences_know_a_derivative_and_notice_a_wrong_one() -> None:
    x = RNG(0).normal(size=(2, 3))
    assert agrees(np.cos(x), lambda v: float(np.sin(v).sum()), x, 1e-9)
    assert not agrees(np.cos(x) * (1 + 2e-6), lambda v: float(np.sin(v).sum()), x)


# -- PPO -------------------------------------------------------------------------------------------


def heads(seed: int) -> dict[str, tuple[dict[str, Any], Callable[..., Any]]]:
    """Outputs by name, and what evaluates actions under them."""
    rng, n = RNG(seed), 7
    masks = rng.random((n, 5)) < 0.6
    allowed = rng.integers(0, 5, n)
    masks[np.arange(n), allowed] = True
    several = np.ones((n, 9), bool)
    several[:, [1, 4]] = False
    bits, numbers = rng.integers(0, 2, (n, 4)), rng.normal(size=(n, 3))
    choices = np.stack([rng.integers(0, k, n) for k in (2, 3, 4)], axis=1)
    first = choices.copy()
    first[:, 0], first[:, 1] = 0, np.where(first[:, 1] == 2, 0, first[:, 1])
    return {
        "categorical": (
            {"logits": rng.normal(size=(n, 5))},
            lambda logits: reference.categorical(logits, allowed),
        ),
        "categorical masked": (
            {"logits": rng.normal(size=(n, 5))},
            lambda logits: reference.categorical(logits, allowed, masks),
        ),
        "multi_categorical": (
            {"logits": rng.normal(size=(n, 9))},
            lambda logits: reference.multi_categorical(logits, choices, (2, 3, 4)),
        ),
        "multi_categorical masked": (
            {"logits": rng.normal(size=(n, 9))},
            lambda logits: reference.multi_categorical(logits, first, (2, 3, 4), several),
        ),
        "bernoulli": (
            {"logits": rng.normal(size=(n, 4))},
            lambda logits: reference.bernoulli(logits, bits),
        ),
        "gaussian": (
            {"mean": rng.normal(size=(n, 3)), "log_std": 0.3 * rng.normal(size=3)},
            lambda mean, log_std: reference.gaussian(mean, log_std, numbers),
        ),
        "gaussian with state-dependent deviations": (
            {"mean": rng.normal(size=(n, 3)), "log_std": 0.3 * rng.normal(size=(n, 3))},
            lambda mean, log_std: reference.gaussian(mean, log_std, numbers),
        ),
        "gaussian beyond the bounds": (
            {"mean": rng.normal(size=(n, 3)), "log_std": np.array([-5.5, 0.0, 2.5])},
            lambda mean, log_std: reference.gaussian(mean, log_std, numbers * 0.01),
        ),
    }


@pytest.mark.parametrize("name", list(heads(0)))
@pytest.mark.parametrize("entropy_coef", [0.0, 0.1])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_policy_gradients(name: str, entropy_coef: float, seed: int) -> None:
    outputs, evaluate = heads(seed)[name]
    rng = RNG(seed + 100)
    now = evaluate(**outputs).log_probs
    # half of the ratios within the clip, and half on either side of it; none near a kink
    shifts = np.array([0.05, -0.1, 0.5, -0.5, 0.6, -0.7, 0.02])
    advantages = rng.choice([-1.0, 1.0], 7) * rng.uniform(0.5, 2.0, 7)

    def loss(**changed: Any) -> Any:
        return reference.ppo_policy_loss(
            evaluate(**{**outputs, **changed}), now - shifts, advantages, 0.2, entropy_coef
        )

    found = loss()
    assert set(found.gradients) == set(outputs)
    for output, value in outputs.items():
        step = value_by(loss, output)
        if name == "gaussian beyond the bounds":
            assert np.abs(found.gradients["log_std"][[0, 2]]).max() == 0.0
            if output == "mean":
                continue  # deviations of exp(-5): differences of step 1e-3 say nothing
        assert agrees(found.gradients[output], step, value), output


def value_by(loss: Callable[..., Any], output: str) -> Callable[[Any], float]:
    return lambda x: loss(**{output: x}).value


def test_log_probabilities_and_entropies_are_those_of_scipy() -> None:
    rng = RNG(3)
    logits, n = rng.normal(size=(6, 5)) * 3, 6
    actions = rng.integers(0, 5, n)
    p = special.softmax(logits, axis=1)
    found = reference.categorical(logits, actions)
    np.testing.assert_allclose(found.log_probs, np.log(p[np.arange(n), actions]), rtol=1e-12)
    np.testing.assert_allclose(found.entropies, stats.entropy(p, axis=1), rtol=1e-12)

    bits = rng.integers(0, 2, (n, 5))
    found = reference.bernoulli(logits, bits)
    np.testing.assert_allclose(
        found.log_probs, stats.bernoulli.logpmf(bits, special.expit(logits)).sum(1), rtol=1e-10
    )
    np.testing.assert_allclose(
        found.entropies, stats.bernoulli(special.expit(logits)).entropy().sum(1), rtol=1e-10
    )

    mean, log_std, u = rng.normal(size=(n, 2)), rng.normal(size=2), rng.normal(size=(n, 2))
    found = reference.gaussian(mean, log_std, u)
    law = stats.norm(mean, np.exp(log_std))
    np.testing.assert_allclose(found.log_probs, law.logpdf(u).sum(1), rtol=1e-12)
    np.testing.assert_allclose(found.entropies, law.entropy().sum(1), rtol=1e-12)


def test_masked_choices_are_those_of_a_smaller_policy() -> None:
    logits = RNG(4).normal(size=(3, 5))
    masks = np.array([[1, 0, 1, 0, 1]] * 3, bool)
    small = reference.categorical(logits[:, ::2], [0, 1, 2])
    found = reference.categorical(logits, [0, 2, 4], masks)
    np.testing.assert_allclose(found.log_probs, small.log_probs, rtol=1e-14)
    np.testing.assert_allclose(found.entropies, small.entropies, rtol=1e-14)
    assert not found.d_log_probs["logits"][:, 1::2].any()
    assert not found.d_entropies["logits"][:, 1::2].any()
    assert reference.categorical(logits, [1, 1, 1], masks).log_probs.tolist() == [-math.inf] * 3
    assert np.isfinite(reference.categorical([[1e4, -1e4]], [0]).d_entropies["logits"]).all()


def test_the_clip_counts_on_one_side_only() -> None:
    policy = reference.categorical(np.zeros((4, 2)), [0, 0, 0, 0])
    old = policy.log_probs - np.log([1.5, 1.5, 0.5, 0.5])
    found = reference.ppo_policy_loss(policy, old, [1.0, -1.0, 1.0, -1.0], 0.2)
    np.testing.assert_allclose(found.each, [-1.2, 1.5, -0.5, 0.8])
    moving = np.abs(found.gradients["logits"]).sum(1) > 0
    assert moving.tolist() == [False, True, True, False]


@pytest.mark.parametrize("clip", [None, 0.2])
def test_value_gradients(clip: float | None) -> None:
    rng = RNG(5)
    values, targets = rng.normal(size=20), rng.normal(size=20)
    old = values + np.where(np.arange(20) % 2, 0.1, -0.6)

    def loss(v: Any) -> Any:
        return reference.ppo_value_loss(v, targets, old_values=old, clip=clip)

    found = loss(values)
    assert agrees(found.gradients["values"], lambda v: loss(v).value, values)
    if clip is None:
        assert found.value == pytest.approx(np.mean((values - targets) ** 2))
    else:
        assert found.value >= np.mean((values - targets) ** 2)
        assert (found.gradients["values"] == 0).any()
        assert (found.gradients["values"] != 0).any()
        with pytest.raises(ValueError, match="old_values"):
            reference.ppo_value_loss(values, targets, clip=clip)


def test_rounding_inside_the_clip_stops_no_gradient() -> None:
    rng = RNG(13)
    values, targets = rng.normal(size=5000), rng.normal(size=5000)
    old = values + rng.uniform(-0.19, 0.19, 5000)
    clipped = reference.ppo_value_loss(values, targets, old_values=old, clip=0.2)
    np.testing.assert_array_equal(
        clipped.gradients["values"], reference.ppo_value_loss(values, targets).gradients["values"]
    )


# -- Q-learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["huber", "squared"])
@pytest.mark.parametrize("weighted", [False, True])
def test_td_gradients(kind: Any, weighted: bool) -> None:
    rng = RNG(6)
    q, actions = rng.normal(size=(9, 4)), rng.integers(0, 4, 9)
    errors = np.array([0.3, -0.4, 2.0, -3.0, 0.9, -0.9, 1.1, -1.1, 0.0])
    targets = q[np.arange(9), actions] - errors
    weights = rng.uniform(0.1, 1.0, 9) if weighted else None

    def loss(x: Any) -> Any:
        return reference.td_loss(x, actions, targets, weights, kind=kind)

    found = loss(q)
    assert agrees(found.gradients["q"], lambda x: loss(x).value, q)
    np.testing.assert_allclose(found.each, errors, atol=1e-12)
    w = np.ones(9) if weights is None else weights
    expected = special.huber(1.0, errors) if kind == "huber" else errors**2
    assert found.value == pytest.approx(float((w * expected).mean()), rel=1e-12)


def test_q_targets() -> None:
    q = np.array([[1.0, 5.0, 2.0], [4.0, 3.0, 9.0], [7.0, 8.0, 6.0]])
    online = np.array([[9.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]])
    r, d = [1.0, 2.0, 3.0], [0.9, 0.5, 0.0]
    np.testing.assert_allclose(reference.q_targets(r, d, q), [5.5, 6.5, 3.0])
    np.testing.assert_allclose(reference.q_targets(r, d, q, chosen_by=online), [1.9, 3.5, 3.0])
    masks = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 0]], bool)
    np.testing.assert_allclose(reference.q_targets(r, d, q, masks=masks), [2.8, 4.0, 3.0])


def distributions(rng: np.random.Generator, *shape: int) -> Any:
    return special.softmax(rng.normal(size=shape), axis=-1)


@pytest.mark.parametrize("kind", ["cross_entropy", "kl"])
def test_c51_gradients(kind: Any) -> None:
    rng = RNG(7)
    logits, actions = rng.normal(size=(5, 3, 6)), rng.integers(0, 3, 5)
    targets, weights = distributions(rng, 5, 6), rng.uniform(0.1, 1.0, 5)
    targets[0] = [0, 0, 1, 0, 0, 0]

    def loss(x: Any) -> Any:
        return reference.c51_loss(x, actions, targets, weights, kind=kind)

    found = loss(logits)
    assert agrees(found.gradients["logits"], lambda x: loss(x).value, logits)
    taken = special.softmax(logits, axis=-1)[np.arange(5), actions]
    expected = special.kl_div(targets, taken).sum(1) if kind == "kl" else -(targets * np.log(taken)).sum(1)
    np.testing.assert_allclose(found.each, expected, rtol=1e-10)


def test_c51_targets_choose_by_the_mean_and_keep_all_mass() -> None:
    rng, support = RNG(8), categorical_support(-1.0, 1.0, 5)
    target, online = distributions(rng, 4, 3, 5), distributions(rng, 4, 3, 5)
    rewards, discounts = np.array([0.5, -2.0, 0.0, 1.0]), np.array([0.9, 0.9, 0.0, 1.0])
    for chosen_by in (None, online):
        found = reference.c51_targets(rewards, discounts, target, support, chosen_by=chosen_by)
        np.testing.assert_allclose(found.sum(1), 1.0, rtol=1e-12)
        best = ((target if chosen_by is None else chosen_by) @ support).argmax(1)
        for b in range(4):  # mass by mass
            expected = np.zeros(5)
            for z, p in zip(support, target[b, best[b]], strict=True):
                place = (np.clip(rewards[b] + discounts[b] * z, -1.0, 1.0) + 1.0) / 0.5
                for atom in range(5):
                    expected[atom] += p * max(0.0, 1.0 - abs(place - atom))
            np.testing.assert_allclose(found[b], expected, atol=1e-12)
    masks = np.zeros((4, 3), bool)
    masks[:, 2] = True
    only = reference.c51_targets(rewards, discounts, target, support, masks=masks)
    same = reference.c51_targets(rewards, discounts, target[:, 2:], support)
    np.testing.assert_array_equal(only, same)


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 5)])
def test_dueling_gradients(shape: tuple[int, ...]) -> None:
    rng = RNG(9)
    values, advantages, d = (
        rng.normal(size=(4, 1, *shape[2:])),
        rng.normal(size=shape),
        rng.normal(size=shape),
    )
    found = reference.dueling_gradients(d)
    assert agrees(found["values"], lambda v: float((d * reference.dueling(v, advantages)).sum()), values)
    assert agrees(found["advantages"], lambda a: float((d * reference.dueling(values, a)).sum()), advantages)
    np.testing.assert_allclose(reference.dueling(values, advantages).mean(1), values[:, 0], atol=1e-12)


# -- actor-critic ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mean", [0.0, 1.5, -6.0, 10.0])
def test_the_squashed_density_integrates_to_one(mean: float) -> None:
    """Its integral over actions, taken over u where the mass of saturated actions is."""

    def mass(u: float) -> float:
        noise = (u - mean) / math.exp(0.2)
        found = reference.squashed_gaussian([[mean]], [[0.2]], [[noise]])
        slope = 4.0 / (math.exp(u) + math.exp(-u)) ** 2  # d a / d u
        return float(np.exp(found.log_probs[0])) * slope

    total, _ = integrate.quad(mass, mean - 12, mean + 12, limit=200)
    assert total == pytest.approx(1.0, abs=1e-9)


def test_the_correction_is_exact_where_the_usual_form_stops() -> None:
    found = reference.squashed_gaussian([[10.0], [-30.0]], [[0.0], [0.0]], [[0.0], [0.0]])
    correction = -found.log_probs - 0.5 * math.log(2 * math.pi)
    np.testing.assert_allclose(correction, 2 * math.log(2) - 2 * np.array([10.0, 30.0]), rtol=1e-8)
    assert np.isfinite(found.d_log_probs["mean"]).all()
    moderate = reference.squashed_gaussian([[0.3, -1.2]], [[-0.5, 0.1]], [[0.7, -0.4]])
    u = np.array([0.3, -1.2]) + np.exp([-0.5, 0.1]) * [0.7, -0.4]
    expected = stats.norm.logpdf(u, [0.3, -1.2], np.exp([-0.5, 0.1])) - np.log(1 - np.tanh(u) ** 2)
    assert moderate.log_probs[0] == pytest.approx(expected.sum(), rel=1e-12)


def critics(actions: Any) -> tuple[Any, Any, Any, Any]:
    """Two smooth functions of actions ``[B, 3]`` with their gradients."""
    a = np.asarray(actions)
    q1 = np.sin(a).sum(1) - (a**2).sum(1)
    q2 = np.cos(2 * a).sum(1) - 2.6
    return q1, q2, np.cos(a) - 2 * a, -2 * np.sin(2 * a)


def test_sac_actor_gradients() -> None:
    rng = RNG(10)
    outputs = {"mean": rng.normal(size=(8, 3)), "log_std": 0.4 * rng.normal(size=(8, 3))}
    noise = rng.normal(size=(8, 3))

    def loss(**changed: Any) -> Any:
        policy = reference.squashed_gaussian(**{**outputs, **changed}, noise=noise)
        return reference.sac_actor_loss(policy, *critics(policy.actions), alpha=0.2)

    found = loss()
    q1, q2, *_ = critics(reference.squashed_gaussian(**outputs, noise=noise).actions)
    assert 0 < (q1 < q2).sum() < 8, "both critics have to be the smaller one somewhere"
    for output, value in outputs.items():
        assert agrees(found.gradients[output], value_by(loss, output), value), output


def test_log_std_has_no_gradient_beyond_its_bounds() -> None:
    found = reference.squashed_gaussian(
        np.zeros((1, 3)), [[-25.0, 0.0, 3.0]], np.ones((1, 3)), log_std_bounds=(-20.0, 2.0)
    )
    for gradient in (found.d_log_probs["log_std"][0], found.d_actions["log_std"][0]):
        assert (gradient != 0).tolist() == [False, True, False]
    np.testing.assert_allclose(found.actions[0], np.tanh(np.exp([-20.0, 0.0, 2.0])))


def test_critic_gradients_and_targets() -> None:
    rng = RNG(11)
    q1, q2, y, w = (rng.normal(size=6) for _ in range(4))

    def loss(a: Any, b: Any) -> Any:
        return reference.twin_critic_loss(a, b, y, np.abs(w), factor=0.5)

    found = loss(q1, q2)
    assert agrees(found.gradients["q1"], lambda x: loss(x, q2).value, q1)
    assert agrees(found.gradients["q2"], lambda x: loss(q1, x).value, q2)
    plain = reference.twin_critic_loss(q1, q2, y).value
    assert plain == pytest.approx(np.mean((q1 - y) ** 2) + np.mean((q2 - y) ** 2))
    soft = reference.soft_targets(
        [1.0, 1.0, 0.0], [0.9, 0.0, 1.0], [2.0, 5.0, 4.0], [3.0, 5.0, 1.0], [-1.0, -1.0, 2.0], 0.5
    )
    np.testing.assert_allclose(soft, [1 + 0.9 * (2 + 0.5), 1.0, 0.0])
    np.testing.assert_allclose(
        reference.td3_targets([1.0, 1.0, 0.0], [0.9, 0.0, 1.0], [2.0, 5.0, 4.0], [3.0, 5.0, 1.0]),
        [2.8, 1.0, 1.0],
    )


@pytest.mark.parametrize("by_alpha", [False, True])
def test_temperature_gradients_push_the_entropy_to_its_target(by_alpha: bool) -> None:
    log_probs = np.array([0.5, 1.5, -0.3])

    def loss(x: Any) -> Any:
        return reference.temperature_loss(float(x), log_probs, -2.0, by_alpha=by_alpha)

    found = loss(-1.2)
    assert agrees(found.gradients["log_alpha"], lambda x: loss(x).value, np.array(-1.2))
    # the entropy is about -0.57, above the target of -2: descent has to lower alpha
    assert found.gradients["log_alpha"] > 0


def test_td3_actor_and_smoothing() -> None:
    actions = RNG(12).uniform(-1, 1, (5, 3))

    def loss(a: Any) -> Any:
        q1, _, d_q1, _ = critics(a)
        return reference.td3_actor_loss(q1, d_q1)

    assert agrees(loss(actions).gradients["actions"], lambda a: loss(a).value, actions)
    smoothed = reference.smoothed_actions([[0.9, 0.0, -0.2]], [[0.3, -9.0, 0.1]], 0.5)
    np.testing.assert_allclose(smoothed, [[1.0, -0.5, -0.1]])


def test_agents_do_not_import_it() -> None:
    """It is an anchor for tests; no module but its own may lean on it."""
    from pathlib import Path

    import optix_core

    package = Path(optix_core.__file__).parent
    for path in package.rglob("*.py"):
        if "reference" not in path.parts:
            assert "rl.reference" not in path.read_text(encoding="utf-8"), path
