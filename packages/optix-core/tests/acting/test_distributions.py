"""Distributions over actions against their definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.acting import MLPSpec, NumpyPolicy, PolicySpec, distribution, heads
from optix_core.acting.policy import require_usable
from optix_core.errors import IncompatibleCheckpoint, NumericalDivergence
from optix_core.rl.masking import with_masks

NVEC = (2, 3, 1, 4)
RAGGED, EVEN = (3, 2), (3, 3)


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def components(row, nvec):
    return [softmax(part) for part in np.split(row, np.cumsum(nvec)[:-1])]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-500, 500), min_size=10, max_size=10))
def test_components_are_softmaxes_of_their_own_even_when_saturated(logits):
    log_p = heads.multi_categorical_log_probs(np.array([logits]), NVEC)[0]
    for part, expected in zip(
        np.split(log_p, np.cumsum(NVEC)[:-1]), components(np.array(logits), NVEC), strict=True
    ):
        assert math.isclose(np.exp(part).sum(), 1.0, rel_tol=1e-9)
        np.testing.assert_allclose(np.exp(part), expected, atol=1e-12)


@pytest.mark.parametrize("nvec", [RAGGED, EVEN, (4,)])
def test_probabilities_of_all_multi_discrete_actions_sum_to_one_and_give_the_entropy(nvec):
    row = np.random.default_rng(0).normal(0, 2, sum(nvec))
    every = np.array(list(itertools.product(*map(range, nvec))))
    d = distribution("multi_categorical", sum(nvec), nvec)
    log_p = d.log_probs(np.tile(row, (len(every), 1)), every)
    assert np.exp(log_p).sum() == pytest.approx(1.0)
    assert d.entropies(row[None])[0] == pytest.approx(-(np.exp(log_p) * log_p).sum())
    by_hand = [
        math.prod(p[a] for p, a in zip(components(row, nvec), action, strict=True)) for action in every
    ]
    np.testing.assert_allclose(np.exp(log_p), by_hand)
    assert d.greedy(row[None])[0].tolist() == every[int(np.argmax(by_hand))].tolist()


def test_probabilities_of_all_bit_patterns_sum_to_one_and_give_the_entropy():
    row = np.array([0.3, -2.0, 5.0])
    every = np.array(list(itertools.product((0, 1), repeat=3)), np.int8)
    d = distribution("bernoulli", 3)
    log_p = d.log_probs(np.tile(row, (8, 1)), every)
    assert np.exp(log_p).sum() == pytest.approx(1.0)
    assert d.entropies(row[None])[0] == pytest.approx(-(np.exp(log_p) * log_p).sum())
    assert d.greedy(row[None])[0].tolist() == [1, 0, 1]


def test_saturated_bits_have_finite_log_probs_and_no_entropy():
    row = np.array([[900.0, -900.0]])
    d = distribution("bernoulli", 2)
    assert d.log_probs(row, np.array([[1, 0]]))[0] == 0.0
    assert d.log_probs(row, np.array([[0, 1]]))[0] == -1800.0
    assert d.entropies(row)[0] == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize("head,nvec", [("categorical", ()), ("multi_categorical", RAGGED), ("bernoulli", ())])
def test_samples_have_the_probabilities_that_are_claimed(head, nvec):
    row = np.random.default_rng(1).normal(0, 1, 5)
    d = distribution(head, 5, nvec)
    n = 100_000
    outputs = np.tile(row, (n, 1)).astype(np.float32)
    drawn = d.sample(outputs, np.random.default_rng(2))
    kinds, counts = np.unique(drawn, axis=0, return_counts=True)
    expected = np.exp(d.log_probs(np.tile(row, (len(kinds), 1)), kinds))
    spread = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(counts / n - expected) < 5 * spread + 1e-5).all()
    assert counts.sum() == n
    assert expected.sum() > 0.99


def test_types_and_shapes_of_actions():
    rng, outputs = np.random.default_rng(0), np.zeros((7, 4), np.float32)
    cases = {
        "categorical": ((), np.int64, (7,)),
        "multi_categorical": ((1, 3), np.int64, (7, 2)),
        "bernoulli": ((), np.int8, (7, 4)),
        "gaussian": ((), np.float32, (7, 2)),
    }
    for head, (nvec, dtype, shape) in cases.items():
        d = distribution(head, 2 if head == "gaussian" else 4, nvec)
        for actions in (d.sample(outputs, rng), d.greedy(outputs)):
            assert (actions.dtype, actions.shape) == (dtype, shape), head
            assert d.log_probs(outputs, actions).shape == d.entropies(outputs).shape == (7,)


def test_gaussian_entropies_are_those_of_the_density():
    d = distribution("gaussian", 2, log_std=np.array([0.3, -9.0]))
    expected = 0.5 * math.log(2 * math.pi * math.e) * 2 + 0.3 - 5.0  # clamped
    np.testing.assert_allclose(d.entropies(np.zeros((3, 2))), expected)


# --- masks ------------------------------------------------------------------------------------------------------------


def test_masks_leave_the_distribution_over_what_is_allowed():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (50, 6))
    masks = rng.random((50, 6)) < 0.5
    masks[:, 2] = True
    masked = heads.mask_logits(logits, masks)
    d = distribution("categorical", 6)
    p = np.exp(heads.categorical_log_probs(masked))
    kept = np.where(masks, np.exp(logits), 0.0)
    np.testing.assert_allclose(p, kept / kept.sum(1, keepdims=True), rtol=1e-12)
    entropy = [-(q[q > 0] * np.log(q[q > 0])).sum() for q in p]
    np.testing.assert_allclose(d.entropies(masked), entropy, rtol=1e-12)
    assert masks[np.arange(50), d.sample(masked, rng)].all()
    assert masks[np.arange(50), d.greedy(masked)].all()


def policy(head="categorical", n=5, nvec=(), seed=0):
    spec = PolicySpec(MLPSpec.build((3, 8, n), "tanh"), head, n, nvec)
    parameters = np.random.default_rng(seed).standard_normal(spec.layout.size).astype(np.float32)
    return NumpyPolicy(spec, parameters)


@pytest.mark.parametrize("head,nvec", [("categorical", ()), ("multi_categorical", RAGGED)])
def test_a_policy_reads_masks_from_its_observations(head, nvec):
    ours, rng = policy(head, 5, nvec), np.random.default_rng(0)
    x = rng.standard_normal((400, 3)).astype(np.float32)
    masks = rng.random((400, 5)) < 0.4
    masks[:, [1, 4]] = True
    observations = with_masks(x, masks)
    for deterministic in (True, False):
        actions = ours.act(observations, rng, deterministic=deterministic).reshape(400, -1)
        columns = actions + heads.component_starts(nvec or (5,))
        assert np.take_along_axis(masks, columns, axis=1).all()
    p = ours.probabilities(observations)
    assert (p[~masks] == 0).all()
    assert not (ours.probabilities(x)[~masks] == 0).any()
    free = with_masks(x, np.ones_like(masks))
    np.testing.assert_array_equal(ours.outputs(free), ours.outputs(x))


def test_masks_that_allow_nothing_or_do_not_fit_are_refused():
    x = np.zeros((2, 3), np.float32)
    masks = np.array([[True] * 5, [False] * 5])
    with pytest.raises(ValueError, match="mask of observation 1 allows nothing"):
        policy().outputs(with_masks(x, masks))
    masks = np.array([[True, True, True, False, False], [True] * 5])
    with pytest.raises(ValueError, match="component 1 of observation 0 allows nothing"):
        policy("multi_categorical", 5, RAGGED).outputs(with_masks(x, masks))
    with pytest.raises(ValueError, match=r"shape \(2, 4\) do not go with a categorical policy"):
        policy().outputs(with_masks(x, np.ones((2, 4), bool)))
    with pytest.raises(ValueError, match="do not go with a bernoulli policy"):
        policy("bernoulli").outputs(with_masks(x, np.ones((2, 5), bool)))


# --- specs and states -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head,n,nvec",
    [
        ("multi_categorical", 5, ()),
        ("multi_categorical", 5, (2, 2)),
        ("multi_categorical", 5, (5, 0)),
        ("categorical", 5, (3, 2)),
        ("bernoulli", 5, (3, 2)),
    ],
)
def test_specs_refuse_components_that_do_not_add_up(head, n, nvec):
    with pytest.raises(ValueError, match="nvec is"):
        PolicySpec(MLPSpec.build((3, n), "tanh"), head, n, nvec)


@pytest.mark.parametrize("head,nvec", [("multi_categorical", RAGGED), ("bernoulli", ())])
def test_a_policy_rebuilt_from_its_state_acts_the_same(head, nvec):
    ours = policy(head, 5, nvec)
    again = NumpyPolicy.from_state(ours.state_dict())
    x = np.random.default_rng(3).standard_normal((20, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        ours.act(x, np.random.default_rng(0)), again.act(x, np.random.default_rng(0))
    )
    assert again.spec == ours.spec
    with pytest.raises(IncompatibleCheckpoint):
        NumpyPolicy.from_state(ours.state_dict() | {"nvec": [2, 2]})


def test_a_whole_component_of_minus_infinity_is_no_policy():
    outputs = np.array([[0.0, 1.0, -np.inf, 2.0, 1.0], [0.0, 1.0, 2.0, -np.inf, -np.inf]])
    require_usable(outputs, categorical=True)
    require_usable(outputs[:1], categorical=True, nvec=RAGGED)
    with pytest.raises(NumericalDivergence, match="observation 1 of 2"):
        require_usable(outputs, categorical=True, nvec=RAGGED)
    with pytest.raises(NumericalDivergence):
        require_usable(outputs[:1], categorical=False)
