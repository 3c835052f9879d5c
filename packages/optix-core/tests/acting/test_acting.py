"""Numpy networks and heads against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.acting import LOG_STD_BOUNDS, MLP, MLPSpec, NumpyPolicy, ParameterLayout, PolicySpec, heads
from optix_core.errors import IncompatibleCheckpoint, NumericalDivergence

ACTIVATIONS = {
    "tanh": np.tanh,
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "linear": lambda x: x,
}


def random_policy(head="categorical", n=3, outputs=None, sizes=(4, 16, 8), seed=0, dtype=np.float32):
    spec = PolicySpec(MLPSpec.build((*sizes, outputs or n), "tanh"), head, n)
    parameters = np.random.default_rng(seed).standard_normal(spec.layout.size).astype(dtype) * 0.3
    return NumpyPolicy(spec, parameters)


def test_views_share_memory_and_lie_in_order():
    layout = ParameterLayout(("a", "b"), ((2, 3), (4,)))
    buffer = layout.zeros()
    views = layout.views(buffer)
    views["a"][1, 2] = 5.0
    views["b"][0] = 7.0
    assert layout.size == 10
    assert buffer.tolist() == [0, 0, 0, 0, 0, 5, 7, 0, 0, 0]


@pytest.mark.parametrize("buffer", [np.zeros(9, np.float32), np.zeros((2, 5)), np.zeros(20)[::2]])
def test_a_buffer_that_does_not_fit_is_refused(buffer):
    with pytest.raises(ValueError, match="contiguous buffer of shape"):
        ParameterLayout(("a", "b"), ((2, 3), (4,))).views(buffer)


def test_layouts_need_one_shape_per_unique_name():
    with pytest.raises(ValueError, match="repeat"):
        ParameterLayout(("a", "a"), ((1,), (1,)))
    with pytest.raises(ValueError, match="2 names for 1"):
        ParameterLayout(("a", "b"), ((1,),))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("output", ACTIVATIONS)
@pytest.mark.parametrize("n", [1, 5])
def test_the_forward_pass_is_its_definition(activation, output, n):
    spec = MLPSpec.build((3, 7, 5, 2), activation, output)
    rng = np.random.default_rng(1)
    parameters = rng.standard_normal(spec.layout.size)
    x = rng.standard_normal((n, 3)) * 3
    expected, arrays = x, spec.layout.views(parameters)
    for i, name in enumerate(spec.activations):
        expected = ACTIVATIONS[name](expected @ arrays[f"{i}.weight"].T + arrays[f"{i}.bias"])
    np.testing.assert_allclose(MLP(spec, parameters).forward(x), expected, rtol=1e-12, atol=1e-12)


def test_large_inputs_raise_no_warning_and_saturate():
    for activation in ("tanh", "sigmoid", "elu", "relu"):
        mlp = MLP(MLPSpec((1, 1), (activation,)), np.array([1e4, 0.0], np.float32))
        out = [float(mlp.forward(np.array([[x]]))[0, 0]) for x in (-100.0, 100.0)]
        assert np.isfinite(out).all()
        assert out[0] == {"tanh": -1.0, "sigmoid": 0.0, "elu": -1.0, "relu": 0.0}[activation]


def test_training_the_buffer_changes_the_next_forward():
    policy = random_policy()
    x = np.ones((2, 4), np.float32)
    before = policy.outputs(x).copy()
    policy.parameters *= 1.5
    assert not np.allclose(policy.outputs(x), before)


def test_every_batch_size_gives_the_same_rows():
    policy = random_policy()
    x = np.random.default_rng(2).standard_normal((30, 4)).astype(np.float32)
    whole = policy.outputs(x).copy()
    for n in (1, 2, 3, 5, 6, 7, 10, 11, 12, 15):  # more sizes than are kept
        rows = np.concatenate([policy.outputs(x[i : i + n]).copy() for i in range(0, 30, n)])
        np.testing.assert_allclose(rows, whole, rtol=1e-5, atol=1e-6)


def test_observations_of_any_shape_and_type_are_flattened():
    policy = random_policy(sizes=(6, 8))
    x = np.arange(12).reshape(2, 2, 3)
    np.testing.assert_array_equal(
        policy.outputs(x).copy(), policy.outputs(x.reshape(2, 6).astype(np.float32))
    )


@pytest.mark.parametrize("width", [1, 3, 5])
def test_a_wrong_number_of_features_is_refused(width):
    with pytest.raises(ValueError, match=f"{width} features, expected 4"):
        random_policy().act(np.zeros((2, width)), np.random.default_rng(0))


@pytest.mark.parametrize("head", ["categorical", "gaussian"])
def test_actions_are_fresh_arrays(head):
    policy, rng = random_policy(head), np.random.default_rng(0)
    for deterministic in (False, True):
        first = policy.act(np.ones((3, 4), np.float32), rng, deterministic=deterministic)
        kept = first.copy()
        policy.act(np.full((3, 4), -2.0, np.float32), rng, deterministic=deterministic)
        np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("head", ["categorical", "gaussian"])
def test_greedy_actions_draw_nothing(head):
    policy, rng = random_policy(head), np.random.default_rng(0)
    before = rng.bit_generator.state
    policy.act(np.ones((3, 4)), rng, deterministic=True)
    assert rng.bit_generator.state == before


def test_samples_follow_the_softmax():
    logits = np.log(np.array([0.1, 0.2, 0.65, 0.05])) + 3.0
    n = 200_000
    actions = heads.sample_categorical(np.tile(logits, (n, 1)), np.random.default_rng(0))
    frequency = np.bincount(actions, minlength=4) / n
    # five standard deviations of a binomial proportion
    assert (np.abs(frequency - np.exp(logits - 3.0)) < 5 * np.sqrt(frequency * (1 - frequency) / n)).all()
    assert actions.dtype == np.int64


def test_an_action_that_is_ruled_out_is_never_drawn():
    logits = np.tile(np.array([0.0, -np.inf, 0.0], np.float32), (5000, 1))
    assert set(heads.sample_categorical(logits, np.random.default_rng(0)).tolist()) == {0, 2}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-700, 700), min_size=1, max_size=6))
def test_categorical_log_probs_normalise_even_when_saturated(logits):
    log_p = heads.categorical_log_probs(np.array([logits]))
    assert math.isclose(np.exp(log_p).sum(), 1.0, rel_tol=1e-9)
    np.testing.assert_allclose(log_p[0] - log_p[0, 0], np.array(logits) - logits[0], rtol=1e-9, atol=1e-9)


def test_the_gaussian_density_integrates_to_one_and_has_the_given_moments():
    grid = np.linspace(-30, 30, 200_001)[:, None]
    mean, log_std = np.full_like(grid, 1.5), np.array([0.7])
    density = np.exp(heads.gaussian_log_probs(mean, log_std, grid))
    width = 60 / 200_000
    assert math.isclose(density.sum() * width, 1.0, rel_tol=1e-9)
    assert math.isclose((grid[:, 0] * density).sum() * width, 1.5, rel_tol=1e-9)
    assert math.isclose(((grid[:, 0] - 1.5) ** 2 * density).sum() * width, math.exp(1.4), rel_tol=1e-9)


def test_gaussian_log_probs_add_over_dimensions():
    mean, log_std, u = np.array([[0.3, -1.0]]), np.array([0.1, -0.5]), np.array([[0.0, 2.0]])
    apart = [
        heads.gaussian_log_probs(mean[:, i : i + 1], log_std[i : i + 1], u[:, i : i + 1])[0] for i in (0, 1)
    ]
    assert math.isclose(heads.gaussian_log_probs(mean, log_std, u)[0], sum(apart), rel_tol=1e-12)


def test_gaussian_samples_have_mean_and_spread():
    n = 100_000
    mean = np.tile(np.array([2.0, -1.0], np.float32), (n, 1))
    draws = heads.sample_gaussian(mean, np.array([0.5, -2.0], np.float32), np.random.default_rng(0))
    assert draws.dtype == np.float32
    std = np.exp([0.5, -2.0])
    assert (np.abs(draws.mean(0) - [2.0, -1.0]) < 5 * std / math.sqrt(n)).all()
    np.testing.assert_allclose(draws.std(0), std, rtol=0.02)


@pytest.mark.parametrize("outputs", [2, 4])
def test_standard_deviations_come_from_parameters_or_outputs_and_are_clamped(outputs):
    policy = random_policy("gaussian", n=2, outputs=outputs)
    assert policy.spec.has_log_std == (outputs == 2)
    if policy.spec.has_log_std:
        policy.spec.layout.views(policy.parameters)["log_std"][:] = [-50.0, 50.0]
    else:
        policy.spec.layout.views(policy.parameters)["2.bias"][2:] = [-50.0, 50.0]
    log_std = policy.mean_and_log_std(policy.outputs(np.zeros((1, 4))))[1]
    np.testing.assert_array_equal(np.ravel(log_std), LOG_STD_BOUNDS)


def test_policy_log_probs_agree_with_its_probabilities():
    policy = random_policy()
    x = np.random.default_rng(0).standard_normal((5, 4))
    p = policy.probabilities(x)
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-6)
    actions = np.array([0, 1, 2, 1, 0])
    np.testing.assert_allclose(np.exp(policy.log_probs(x, actions)), p[np.arange(5), actions], rtol=1e-6)
    with pytest.raises(TypeError, match="density"):
        random_policy("gaussian").probabilities(x)


@pytest.mark.parametrize("head", ["categorical", "gaussian"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_stop_before_an_action(head, bad):
    policy = random_policy(head)
    policy.network.spec.layout.views(policy.network.parameters)["2.bias"][1] = bad
    for deterministic in (False, True):
        with pytest.raises(NumericalDivergence, match="no action was taken") as caught:
            policy.act(np.zeros((2, 4)), np.random.default_rng(0), deterministic=deterministic)
        assert caught.value.code == "E-POLICY-NONFINITE"


def test_one_logit_may_be_minus_infinity_but_not_all():
    policy = random_policy()
    bias = policy.network.spec.layout.views(policy.network.parameters)["2.bias"]
    bias[0] = -np.inf
    assert 0 not in policy.act(np.zeros((200, 4)), np.random.default_rng(0))
    bias[:] = -np.inf
    with pytest.raises(NumericalDivergence):
        policy.act(np.zeros((1, 4)), np.random.default_rng(0))


def test_large_but_finite_outputs_are_used():
    policy = random_policy("gaussian")
    policy.network.spec.layout.views(policy.network.parameters)["2.bias"][:] = 3e30  # its square overflows
    assert np.isfinite(policy.act(np.zeros((1, 4)), np.random.default_rng(0))).all()


class Halve:
    def normalize(self, x):
        return x / 2


def test_the_observation_normaliser_is_applied_first():
    plain = random_policy()
    wrapped = NumpyPolicy(plain.spec, plain.parameters, Halve())
    x = np.random.default_rng(0).standard_normal((3, 4))
    np.testing.assert_array_equal(wrapped.outputs(x).copy(), plain.outputs(x / 2))


@pytest.mark.parametrize("head, outputs", [("categorical", 3), ("gaussian", 3), ("gaussian", 6)])
def test_a_policy_rebuilt_from_its_state_acts_the_same_on_memory_of_its_own(head, outputs):
    policy = random_policy(head, outputs=outputs)
    state = policy.state_dict()
    twin = NumpyPolicy.from_state(state)
    x = np.random.default_rng(0).standard_normal((6, 4))
    np.testing.assert_array_equal(
        twin.act(x, np.random.default_rng(5)), policy.act(x, np.random.default_rng(5))
    )
    policy.parameters[:] = 0.0
    assert np.abs(state["parameters"]).sum() > 0
    assert np.abs(twin.parameters).sum() > 0


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"sizes": [4, 3]}, {"head": "poisson"}, {"parameters": np.zeros(3)}, {"n_actions": 7}],
)
def test_states_that_do_not_fit_are_refused(change):
    with pytest.raises(IncompatibleCheckpoint):
        NumpyPolicy.from_state(random_policy().state_dict() | change)


def test_specs_refuse_what_cannot_be():
    with pytest.raises(ValueError, match="unknown activation 'swish'"):
        MLPSpec((1, 2), ("swish",))
    with pytest.raises(ValueError, match="as many activations"):
        MLPSpec((1, 2, 3), ("tanh",))
    with pytest.raises(ValueError, match="all positive"):
        MLPSpec((0, 2), ("tanh",))
    with pytest.raises(ValueError, match="needs 3 or 6 outputs"):
        PolicySpec(MLPSpec((4, 5), ("linear",)), "gaussian", 3)
