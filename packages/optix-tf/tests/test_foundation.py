"""Networks, the parameter vector, Adam, Keras optimizers, shapes: what every agent of this distribution stands on."""

from __future__ import annotations

import random

import keras
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from optix_core.acting import MLP
from optix_core.errors import ConfigError, IncompatibleCheckpoint
from optix_tf import Adam, GaussianActor
from optix_tf.networks.encoders import network, observation_input
from optix_tf.networks.layers import Encoded
from optix_tf.networks.mlp import mlp, standard_mlp
from optix_tf.training.compiling import Compiled, compiled
from optix_tf.training.parameters import KerasNetwork, Perceptron
from optix_tf.training.shapes import padded, rounded_up
from optix_tf.training.trainable import Trainable


def rng(seed=0):
    return np.random.default_rng(seed)


# --- networks ---


def test_standard_networks_are_orthogonal_and_draw_from_their_generator_only():
    python, numpy = random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    model = mlp((4, 8, 3), "tanh", output_gain=0.01, rng=rng())
    first, last = (layer.kernel.numpy() for layer in model.layers)
    np.testing.assert_allclose(first @ first.T, 2.0 * np.eye(4), atol=1e-5)
    np.testing.assert_allclose(last.T @ last, 1e-4 * np.eye(3), atol=1e-8)
    assert not any(layer.bias.numpy().any() for layer in model.layers)
    assert random.getstate() == python
    assert (np.random.get_state()[1] == numpy).all()  # noqa: NPY002
    again = mlp((4, 8, 3), "tanh", output_gain=0.01, rng=rng())
    np.testing.assert_array_equal(again.layers[0].kernel.numpy(), first)


def plain(*layers):
    model = keras.Sequential([keras.Input((3,)), *layers])
    return standard_mlp(model)


def test_what_is_a_plain_perceptron():
    dense = keras.layers.Dense
    spec, variables = plain(dense(4, "relu"), dense(5), keras.layers.Activation("tanh"), dense(2))
    assert spec.sizes == (3, 4, 5, 2)
    assert spec.activations == ("relu", "tanh", "linear")
    assert [tuple(v.shape) for v in variables] == [(3, 4), (4,), (4, 5), (5,), (5, 2), (2,)]
    assert plain(keras.layers.Flatten(), dense(4), keras.layers.ELU())[0].activations == ("elu",)


@pytest.mark.parametrize(
    "layers",
    [
        lambda: [keras.layers.Dense(4, use_bias=False)],
        lambda: [keras.layers.Dense(4, "swish")],
        lambda: [keras.layers.Dense(4, kernel_regularizer="l2")],
        lambda: [keras.layers.Dense(4, trainable=False)],
        lambda: [keras.layers.Dense(4), keras.layers.Dropout(0.1)],
        lambda: [keras.layers.Dense(4, "tanh"), keras.layers.ReLU()],
        lambda: [keras.layers.Dense(4), keras.layers.ReLU(max_value=6.0)],
        lambda: [keras.layers.Dense(4), keras.layers.LayerNormalization()],
    ],
)
def test_what_is_none(layers):
    assert plain(*layers()) is None


def test_the_mirror_and_the_compiled_network_are_the_model(make):
    model = GaussianActor(make.sequential(3, 8, 2), 2, -0.7)
    training = Trainable({"actor": model, "critic": make.sequential(3, 5, 1, seed=1)}, Adam())
    x = rng().standard_normal((6, 3)).astype(np.float32)
    spec, piece = training.perceptron(model)
    inner = piece[: spec.layout.size]
    np.testing.assert_allclose(MLP(spec, inner).forward(x), model.mean(x).numpy(), atol=1e-6)
    np.testing.assert_allclose(piece[spec.layout.size :], -0.7)
    parts = training.layout.split(training.vector)
    np.testing.assert_allclose(training.network(model)(parts, x), model(x).numpy(), atol=1e-6)


def test_models_that_share_layers_share_their_places(make):
    body = keras.Sequential([keras.Input((3,)), keras.layers.Dense(6, "tanh")])
    actor, critic = (keras.Sequential([body, keras.layers.Dense(n)]) for n in (4, 1))
    training = Trainable({"actor": actor, "critic": critic}, Adam())
    assert sum(training.layout.sizes) == 3 * 6 + 6 + 6 * 4 + 4 + 6 + 1
    x = rng().standard_normal((2, 3)).astype(np.float32)
    parts = training.layout.split(training.vector)
    for model in (actor, critic):
        np.testing.assert_allclose(training.network(model)(parts, x), model(x).numpy(), atol=1e-6)


def test_any_keras_model_is_a_function_of_the_vector():
    inputs = keras.Input((3,))
    hidden = keras.layers.LayerNormalization()(keras.layers.Dense(5, "swish")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(hidden)))
    training = Trainable({"model": model}, Adam())
    assert isinstance(training.network(model), KerasNetwork)
    assert not training.shareable
    x = rng().standard_normal((4, 3)).astype(np.float32)
    outputs = training.network(model)(training.layout.split(training.vector), x)
    np.testing.assert_allclose(outputs, model(x, training=False).numpy(), atol=1e-6)


SPACES = {
    "grid": spaces.Box(-1.0, 1.0, (3, 4), np.float64),
    "choice": spaces.Discrete(6, start=2),
    "choices": spaces.MultiDiscrete([3, 4]),
    "parts": spaces.Dict({"pose": spaces.Box(-9, 9, (3,), np.float32), "mode": spaces.Discrete(4)}),
    "image": spaces.Box(0, 255, (40, 36, 3), np.uint8),
    "image first": spaces.Box(0, 255, (3, 40, 36), np.uint8),
}


@pytest.mark.parametrize(
    "name,width", [("grid", 12), ("choice", 6), ("choices", 7), ("parts", 7), ("image", 512)]
)
def test_encoders_of_every_space(name, width):
    inputs = observation_input(SPACES[name], rng=rng())
    assert inputs.width == width
    assert inputs.is_image == (name == "image")


def test_one_hot_and_parts():
    layer = observation_input(SPACES["parts"], rng=rng()).layer
    given = {"mode": np.array([2.0, 0.0], np.float32), "pose": np.arange(6, dtype=np.float32).reshape(2, 3)}
    np.testing.assert_array_equal(layer(given), [[0, 0, 1, 0, 0, 1, 2], [1, 0, 0, 0, 3, 4, 5]])
    low = observation_input(SPACES["choice"], rng=rng()).layer
    np.testing.assert_array_equal(low(np.array([2.0, 7.0], np.float32)), np.eye(6)[[0, 5]])


def test_images_mean_the_same_with_channels_first_or_last():
    first, last = (observation_input(SPACES[name], rng=rng()).layer for name in ("image first", "image"))
    image = rng(1).integers(0, 256, (2, 3, 40, 36)).astype(np.float32)
    a, b = first(image).numpy(), last(image.transpose(0, 2, 3, 1)).numpy()
    np.testing.assert_allclose(a, b, atol=1e-5)
    assert a.std() > 0.01


def test_users_encoders():
    space = spaces.Box(-1, 1, (3,), np.float32)
    own = keras.Sequential([keras.Input((3,)), keras.layers.Dense(5, "swish")])
    python = random.getstate()
    inputs = observation_input(space, own, rng=rng())
    assert random.getstate() == python
    assert inputs.width == 5
    assert inputs.layer is not own
    x = np.ones((1, 3), np.float32)
    np.testing.assert_array_equal(inputs.layer(x), own(x))
    assert isinstance(network(inputs, keras.layers.Dense(2)), Encoded)

    def seeded(space, *, seed):
        return keras.layers.Dense(4, kernel_initializer=keras.initializers.GlorotUniform(seed))

    weights = [observation_input(space, seeded, rng=rng(3)).layer.kernel.numpy() for _ in range(2)]
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize(
    "encoder,match",
    [
        (3, "must be a Keras layer"),
        (lambda _: "no layer", "expected a Keras layer"),
        (lambda _: keras.layers.Conv2D(2, 3), "cannot read observations"),
        (lambda _: keras.layers.Reshape((3, 1)), r"expected floating ones of shape \(2, F\)"),
        (lambda _: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_encoders_that_are_none_are_refused(encoder, match):
    with pytest.raises(ConfigError, match=match):
        observation_input(spaces.Box(-1, 1, (3,), np.float32), encoder, rng=rng())


# --- what is trained ---


@pytest.mark.parametrize(
    "model,match",
    [
        (lambda: keras.Sequential([keras.layers.Dense(2)]), "not built"),
        (lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="float16")]), "float16"),
        (lambda: keras.Sequential([keras.Input((3,)), keras.layers.Flatten()]), "found none"),
    ],
)
def test_models_that_cannot_be_trained_are_refused(model, match):
    with pytest.raises(ConfigError, match=match):
        Trainable({"model": model()}, Adam())


@pytest.mark.parametrize(
    "optimizer,match",
    [
        (lambda: "adam", "must be optix_tf.Adam"),
        (lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)), "schedule"),
    ],
)
def test_optimizers_that_cannot_be_used_are_refused(make, optimizer, match):
    with pytest.raises(ConfigError, match=match):
        Trainable({"model": make.sequential(3, 2)}, optimizer())


def test_an_optimizer_of_other_variables_is_refused(make):
    optimizer = keras.optimizers.SGD(0.1)
    Trainable({"model": make.sequential(3, 2)}, optimizer)
    with pytest.raises(ConfigError, match="new optimizer"):
        Trainable({"model": make.sequential(3, 2)}, optimizer)


@pytest.mark.parametrize(
    "bad", [{"learning_rate": 0.0}, {"beta_1": 1.0}, {"beta_2": -0.1}, {"epsilon": -1e-9}]
)
def test_settings_that_are_no_adam_are_refused(bad):
    with pytest.raises(ConfigError, match="is no Adam"):
        Adam(**bad)


def test_adam_is_the_papers():
    adam = Adam(epsilon=1e-3)
    vector = tf.constant([1.0, -2.0], tf.float64)
    state = adam.init(vector)
    x, m, v = vector.numpy(), np.zeros(2), np.zeros(2)
    for t in range(1, 5):
        g = rng(t).standard_normal(2) * 1e-3
        vector, state = adam.step(
            tf.constant(g), vector, state, tf.constant(0.1, tf.float64), tf.constant(True)
        )
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-3)
    np.testing.assert_allclose(vector, x, rtol=1e-12)
    kept, after = adam.step(
        tf.constant([np.nan, 1.0], tf.float64),
        vector,
        state,
        tf.constant(0.1, tf.float64),
        tf.constant(False),
    )
    np.testing.assert_array_equal(kept, vector)
    for old, new in zip(state, after, strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("kind", ["ours", "keras"])
def test_state_comes_back_exactly_and_into_the_models(make, kind):
    def trainable(seed):
        model = make.sequential(3, 6, 2, seed=seed)
        return Trainable(
            {"model": model}, Adam(1e-2) if kind == "ours" else keras.optimizers.Adam(1e-2)
        ), model

    def step(training, k):
        gradient = tf.constant(rng(k).standard_normal(len(training.host)).astype(np.float32))
        rate = np.float32(training.learning_rate())
        vector, state = training.optimizer.step(
            gradient, training.vector, training.state, rate, tf.constant(True)
        )
        training.adopt(vector, state)
        training.publish()

    first, model = trainable(0)
    step(first, 1)
    second, other = trainable(1)
    second.load_state_dict(first.state_dict(), owner="it")
    for training in (first, second):
        step(training, 2)
    np.testing.assert_array_equal(first.host, second.host)
    for a, b in zip(model.variables, other.variables, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    np.testing.assert_allclose(first.arrays()["model/0.kernel"], model.layers[0].kernel.numpy())


def test_weights_and_moments_of_others_are_refused(make):
    training = Trainable({"model": make.sequential(3, 6, 2)}, Adam())
    other = Trainable({"model": make.sequential(3, 5, 2)}, Adam())
    before = training.host.copy()
    with pytest.raises(IncompatibleCheckpoint, match="shape"):
        training.load_arrays(other.arrays(), owner="it")
    keras_own = Trainable({"model": make.sequential(3, 6, 2)}, keras.optimizers.SGD(0.1))
    with pytest.raises(IncompatibleCheckpoint, match="SGD"):
        training.load_state_dict(keras_own.state_dict(), owner="it")
    np.testing.assert_array_equal(training.host, before)


def test_perturbing_multiplies_every_weight(make):
    model = make.sequential(3, 6, 2)
    told = []
    training = Trainable({"model": model}, Adam(), lambda: told.append(1))
    before = training.host.copy()
    training.perturb(0.1, rng(5))
    noise = 1.0 + 0.1 * rng(5).standard_normal(len(before))
    np.testing.assert_allclose(training.host, before * noise.astype(np.float32), rtol=1e-6)
    np.testing.assert_array_equal(training.vector, training.host)
    np.testing.assert_array_equal(model.layers[0].kernel.numpy().T.ravel(), training.host[:18])
    assert told == [1]


# --- compiled functions ---


def test_functions_are_compiled_once_for_each_shape():
    function = Compiled(lambda x, extra: x * 2.0 if extra is None else x + extra["a"], xla=False)
    one, two = np.ones(3, np.float32), np.ones(4, np.float32)
    for x in (one, one + 1, tf.constant(one)):
        np.testing.assert_array_equal(function(x, None), 2.0 * np.asarray(x))
    assert function.n_compilations == 1
    function(two, None)
    np.testing.assert_array_equal(function(one, {"a": one}), [2.0, 2.0, 2.0])
    assert function.n_compilations == 3


def test_equal_networks_share_a_function_and_others_do_not(make):
    def make_function(network):
        return network

    a, b = (Trainable({"m": make.sequential(3, 4, seed=seed)}, Adam()) for seed in (0, 1))
    networks = [next(iter(t._networks.values())) for t in (a, b)]
    assert isinstance(networks[0], Perceptron)
    assert networks[0] == networks[1]
    functions = [compiled(make_function, network, shareable=True, xla=False) for network in networks]
    assert functions[0] is functions[1]
    assert compiled(make_function, networks[0], shareable=False, xla=False) is not functions[0]


@pytest.mark.parametrize("n", [*range(1, 70), 1000, 2047, 2048, 2049, 100_000])
def test_lengths_are_rounded_up_a_little(n):
    found = rounded_up(n)
    assert n <= found <= max(n * 9 // 8 + 1, n)
    assert rounded_up(found) == found
    assert len(padded(np.ones((n, 2)), found)) == found


def test_few_different_lengths_are_left():
    assert len({rounded_up(n) for n in range(1024, 2049)}) <= 9
