"""An actor and a critic computed as one are what they are apart, and they are only joined where that holds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import naive_ppo
import numpy as np
import optax
import pytest

from optix_core.acting import MLPSpec
from optix_jax.networks.gaussian import gaussian_actor
from optix_jax.networks.mlp import perceptron
from optix_jax.policy_gradient import actor_critic
from optix_jax.policy_gradient.pair import WIDEST, Pair, pair_of
from optix_jax.training.optimizers import Adam, FromOptax

RNG = np.random.default_rng(0)


def made(sizes, activation="tanh", output="linear"):
    spec = MLPSpec.build(sizes, activation, output)
    return perceptron(spec, RNG.standard_normal(spec.layout.size).astype(np.float32))


def tree_of(actor, critic):
    return {"actor": jnp.asarray(actor.params), "critic": jnp.asarray(critic.params)}


CASES = {
    "one hidden layer": (made((3, 5, 2)), made((3, 5, 1))),
    "two": (made((3, 5, 4, 2)), made((3, 5, 4, 1))),
    "three": (made((3, 6, 5, 4, 2), "relu"), made((3, 6, 5, 4, 1), "relu")),
    "outputs of another kind": (made((3, 5, 2), "elu", "tanh"), made((3, 5, 1), "elu", "sigmoid")),
    "deviations": (gaussian_actor(made((3, 5, 4, 2)), 2, -0.5), made((3, 5, 4, 1))),
}


@pytest.mark.parametrize("actor,critic", CASES.values(), ids=CASES)
def test_outputs_and_gradients_are_those_of_both_apart(actor, critic):
    pair = pair_of(actor.apply, critic.apply, Adam())
    assert isinstance(pair, Pair)
    params, x = tree_of(actor, critic), RNG.standard_normal((7, 3)).astype(np.float32)
    vector, moments = pair.inside(params, Adam().init(params))

    def joined(vector):
        return pair(vector, x)

    def apart(params):
        return actor.apply(params["actor"], x), critic.apply(params["critic"], x)[:, 0]

    (found, back), (wanted, reference) = jax.vjp(joined, vector), jax.vjp(apart, params)
    seeds = jax.tree.map(lambda a: RNG.standard_normal(a.shape).astype(np.float32), wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, wanted)
    (gradient,), (each,) = back(seeds), reference(seeds)
    split, _ = pair.outside(gradient, moments)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), split, each)


@pytest.mark.parametrize("actor,critic", CASES.values(), ids=CASES)
def test_the_way_in_and_out_changes_nothing(actor, critic):
    pair = pair_of(actor.apply, critic.apply, Adam())
    assert pair is not None
    params = tree_of(actor, critic)
    moments = (
        Adam()
        .init(params)
        ._replace(mean=jax.tree.map(lambda a: a + 1, params), square=jax.tree.map(lambda a: a + 2, params))
    )
    after = pair.outside(*pair.inside(params, moments))
    jax.tree.map(np.testing.assert_array_equal, after, (params, moments))


def test_what_is_not_alike_stays_apart():
    actor, critic, adam = made((3, 5, 4, 2)), made((3, 5, 4, 1)), Adam()
    assert pair_of(actor.apply, made((3, 5, 5, 1)).apply, adam) is None
    assert pair_of(actor.apply, made((3, 5, 4, 1), "relu").apply, adam) is None
    assert pair_of(made((3, 2)).apply, made((3, 1)).apply, adam) is None  # nothing to join
    wide = WIDEST + 1
    assert pair_of(made((3, wide, 2)).apply, made((3, wide, 1)).apply, adam) is None
    other = FromOptax(optax.inject_hyperparams(optax.adam)(learning_rate=1e-3))
    assert pair_of(actor.apply, critic.apply, other) is None
    assert pair_of(lambda params, x: x, critic.apply, adam) is None


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_an_update_of_networks_apart(make, monkeypatch, kind):
    hp = {"n_epochs": 2, "minibatch_size": 32, "learning_rate": 1e-3, "entropy_coef": 0.05}
    monkeypatch.setattr(actor_critic, "pair_of", lambda *_: None)
    agent = make.built(kind, hyperparams=hp, hidden_sizes=(16, 12))
    naive_ppo.check(agent, make.window(agent, seed=1))
