"""A whole compiled update equals the float64 definitions: weights and everything that is reported."""

from __future__ import annotations

import copy
import dataclasses

import keras
import naive_ppo
import numpy as np
import pytest
import tensorflow as tf
from gymnasium import spaces

from optix_core.agents import ppo_agent
from optix_core.rl.batching import standardize
from optix_core.rl.masking import with_masks
from optix_core.types import HyperparamSet
from optix_tf import Adam, GaussianActor, TFGaussianPPOAgent, TFPPOAgent
from optix_tf.policy_gradient import losses, update
from optix_tf.training import adam

OBS = 3
SPACES = {
    "categorical": spaces.Discrete(5),
    "multi_categorical": spaces.MultiDiscrete([3, 2]),
    "bernoulli": spaces.MultiBinary(4),
    "gaussian": spaces.Box(-1.0, 1.0, (2,)),
    "gaussian_net": spaces.Box(-1.0, 1.0, (2,)),
}
WIDTH = {"categorical": 5, "multi_categorical": 5, "bernoulli": 4, "gaussian": 2, "gaussian_net": 4}
HP = {
    "n_epochs": 2, "minibatch_size": 16, "entropy_coef": 0.03, "vf_coef": 0.7, "gamma": 0.9, "gae_lambda": 0.8,
    "clip_ratio": 0.1, "max_grad_norm": 0.6, "learning_rate": 1e-2, "value_clip": 0.0, "target_kl": 0.0,
}  # fmt: skip
EPS = 1e-5


class Case:
    """An agent in double precision, a window it acted in, and what its update should give."""

    def __init__(
        self,
        make,
        kind="categorical",
        *,
        masked=False,
        compiler="graph",
        recorded=False,
        optimizer=None,
        **hp,
    ):
        self.hp = {**HP, **hp}
        self.head = kind.removesuffix("_net")
        actor = make.sequential(OBS, 8, WIDTH[kind], seed=1, dtype="float64")
        self.actor, self.critic = actor, make.sequential(OBS, 7, 1, seed=2, dtype="float64")
        self.log_std = None
        if kind == "gaussian":
            actor = GaussianActor(actor, 2, -0.3)
            self.log_std = np.full(2, -0.3)
        optimizer = Adam(self.hp["learning_rate"], epsilon=EPS) if optimizer is None else optimizer
        more = {"action_space": SPACES[kind], "seed": 0, "device": "cpu", "compiler": compiler}
        if self.head == "gaussian":
            self.agent = TFGaussianPPOAgent(actor, self.critic, optimizer, 2, self.hp, **more)
        else:
            self.agent = TFPPOAgent(actor, self.critic, optimizer, self.hp, **more)
        self.window = make.window(self.agent, t=19, n=3)
        self.window.terminated[4, 0], self.window.truncated[4, 0] = True, False
        self.nvec = (3, 2) if kind == "multi_categorical" else ()
        self.masks = None
        if masked:
            rng = np.random.default_rng(3)
            self.masks = rng.random((19, 3, WIDTH[kind])) < 0.6
            self.masks[..., [0, 3]] = True
            seen = with_masks(self.window.observations, self.masks)
            self.window.actions = np.stack([self.agent.act_batch(row) for row in seen])
        self.old = None
        if recorded:
            self.old = np.random.default_rng(4).normal(-1.6, 0.3, 57)
            self.window.log_probs = self.old.reshape(19, 3)

    def expected(self, eps=EPS):
        return naive_ppo.update(
            self.actor, self.critic, self.window, self.hp, copy.deepcopy(self.agent._streams.minibatch),
            head=self.head, eps=eps, log_std=self.log_std, nvec=self.nvec, masks=self.masks, old=self.old,
        )  # fmt: skip

    def learn(self):
        window = copy.copy(self.window)
        if self.masks is not None:
            window.observations = with_masks(window.observations, self.masks)
            rng = np.random.default_rng(5)
            window.final_obs = with_masks(window.final_obs, rng.random((3, self.masks.shape[-1])) < 0.5)
            ends = window.boundary_observations
            window.boundary_observations = with_masks(ends, np.zeros((len(ends), self.masks.shape[-1]), bool))
        return self.agent.learn(window)

    def check(self):
        """The largest difference of a weight."""
        wanted = self.expected()
        report = self.learn()
        for name in (
            "policy_loss",
            "value_loss",
            "entropy",
            "grad_norm",
            "approx_kl",
            "clip_fraction",
            "n_updates",
        ):
            assert report[name] == pytest.approx(wanted[name], rel=1e-7, abs=1e-10), name
        found = float(np.abs(self.agent._networks.training.host - wanted["vector"]).max())
        assert found < 1e-9
        return found


@pytest.mark.parametrize(
    "kind,options",
    [
        ("categorical", {"value_clip": 0.2}),
        ("categorical", {"masked": True, "recorded": True}),
        ("multi_categorical", {"masked": True}),
        ("bernoulli", {}),
        ("gaussian", {"recorded": True}),
        ("gaussian_net", {"value_clip": 0.1}),
    ],
)
def test_updates_of_every_head(make, kind, options):
    Case(make, kind, **options).check()


@pytest.mark.parametrize("kind", ["multi_categorical", "gaussian"])
def test_updates_compiled_by_xla(make, kind):
    case = Case(make, kind, masked=kind != "gaussian", compiler="auto")
    assert case.agent._networks.xla
    case.check()


def test_both_sides_of_the_clip_are_met(make):
    """Otherwise the comparison would say little."""
    case = Case(make, recorded=True)
    assert 0.2 < case.learn()["clip_fraction"] < 0.9


@pytest.mark.parametrize("size", [5, 16, 40, 57, 500])
def test_minibatches_of_other_sizes_than_the_first(make, size):
    """Larger ones are computed in several chunks, smaller ones in a part of one; the first update sets the size."""
    case = Case(make)
    case.learn()
    first = case.agent._networks.n_compilations
    case.agent._networks.training.adopt(
        case.agent._networks.training.vector,
        case.agent._networks.training.optimizer.init(case.agent._networks.training.vector),
    )
    case.hp = {**case.hp, "minibatch_size": size}
    case.agent.set_hyperparams(HyperparamSet({"minibatch_size": size}))
    case.check()
    assert case.agent._networks.n_compilations == first


def test_the_update_stops_where_the_policy_has_moved_too_far(make):
    case = Case(make, target_kl=1e-4, n_epochs=6)
    rng = copy.deepcopy(case.agent._streams.minibatch)
    wanted = naive_ppo.update(case.actor, case.critic, case.window, case.hp, rng, head="categorical", eps=EPS)
    assert wanted["n_updates"] == 4  # one epoch of four minibatches
    case.check()
    # epochs that were not made leave the stream of minibatches alone, as in the other frameworks
    assert case.agent._streams.minibatch.bit_generator.state == rng.bit_generator.state


def test_single_precision_stays_close(make):
    case = Case(make)
    wanted = case.expected()
    actor, critic = make.sequential(OBS, 8, 5, seed=1), make.sequential(OBS, 7, 1, seed=2)
    agent = TFPPOAgent(
        actor,
        critic,
        Adam(1e-2, epsilon=EPS),
        case.hp,
        seed=0,
        device="cpu",
        action_space=SPACES["categorical"],
        compiler="graph",
    )
    agent._streams.minibatch.bit_generator.state = case.agent._streams.minibatch.bit_generator.state
    agent.learn(case.window)
    np.testing.assert_allclose(agent._networks.training.host, wanted["vector"], atol=2e-4)


# --- planted mutants: slips that implementations have made; the comparison above must see each ---


def _entropy_dropped(monkeypatch):
    right = losses.categorical
    monkeypatch.setattr(losses, "categorical", lambda *a: (right(*a)[0], tf.stop_gradient(right(*a)[1])))


def _entropy_of_forbidden_actions(monkeypatch):
    right = losses.categorical
    monkeypatch.setattr(losses, "categorical", lambda x, a, m=None: (right(x, a, m)[0], right(x, a)[1]))


def _clip_of_one_side(monkeypatch):
    def loss(new, old, advantages, clip):
        ratio = tf.exp(new - old)
        return -tf.minimum(ratio, 1.0 + clip) * advantages

    monkeypatch.setattr(losses, "ppo_clip_loss", loss)


def _half_value_loss(monkeypatch):
    monkeypatch.setattr(losses, "value_loss", lambda v, r: 0.5 * tf.square(v - r))


def _epsilon_inside(monkeypatch):
    def step(self, gradient, vector, state, rate, allowed=True):
        m, v, t = state
        t, m, v = t + 1.0, m + 0.1 * (gradient - m), 0.999 * v + 0.001 * gradient**2
        scale = tf.sqrt(1.0 - tf.pow(tf.cast(0.999, t.dtype), t)) / (1.0 - tf.pow(tf.cast(0.9, t.dtype), t))
        return vector - rate * scale * m / (tf.sqrt(v) + self.epsilon), (m, v, t)

    monkeypatch.setattr(adam.Adam, "step", step)


def _kl_as_a_difference(monkeypatch):
    monkeypatch.setattr(losses, "approximate_kl", lambda log_ratios: -log_ratios)


def _mean_over_padded_rows(monkeypatch):
    right = update.make_update

    def make_update(*args):
        inner = right(*args)

        def changed(vector, state, data, plan, hp):
            return inner(
                vector, state, data, plan._replace(size=tf.fill(tf.shape(plan.size), plan.size[0])), hp
            )

        return changed

    monkeypatch.setattr("optix_tf.policy_gradient.actor_critic.make_update", make_update)


MUTANTS = {
    "entropy dropped": (_entropy_dropped, {}),
    "entropy of forbidden actions": (_entropy_of_forbidden_actions, {"masked": True}),
    "clip of one side": (_clip_of_one_side, {"recorded": True}),
    "half the value loss": (_half_value_loss, {}),
    "epsilon inside the correction": (_epsilon_inside, {}),
    "k1 for k3": (_kl_as_a_difference, {}),
    "size of full minibatches for the last": (_mean_over_padded_rows, {}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(make, monkeypatch, name):
    from optix_tf.training import compiling

    plant, options = MUTANTS[name]
    compiling._shared.cache_clear()
    plant(monkeypatch)
    try:
        case = Case(make, **options)
        with pytest.raises(AssertionError):
            case.check()
    finally:
        compiling._shared.cache_clear()


@pytest.mark.parametrize("what", ["truncation", "targets", "norm"])
def test_mutants_of_the_host_are_caught(make, monkeypatch, what):
    """A time limit taken for an end, targets from standardised advantages, a gradient that is not clipped."""
    case = Case(make)
    assert case.window.truncated.any()
    wanted = case.expected()
    right = ppo_agent.ppo_batch

    def with_other_targets(*args):
        batch = right(*args)
        return dataclasses.replace(batch, targets=standardize(batch.targets - batch.values) + batch.values)

    if what == "truncation":
        case.window.terminated = case.window.terminated | case.window.truncated
    elif what == "targets":
        monkeypatch.setattr(ppo_agent, "ppo_batch", with_other_targets)
    else:
        case.agent.set_hyperparams(HyperparamSet({"max_grad_norm": 1e9}))
    case.learn()
    assert np.abs(case.agent._networks.training.host - wanted["vector"]).max() > 1e-5


def test_keras_adam_differs_as_documented(make):
    """Its epsilon is the paper's epsilon-hat: with an epsilon that matters, the steps are others."""
    plain = Case(make, optimizer=keras.optimizers.Adam(1e-2, epsilon=1e-7))
    wanted = plain.expected(eps=1e-7)
    plain.learn()
    close = np.abs(plain.agent._networks.training.host - wanted["vector"]).max()
    other = Case(make, optimizer=keras.optimizers.Adam(1e-2, epsilon=1e-2))
    other.learn()
    far = np.abs(other.agent._networks.training.host - wanted["vector"]).max()
    assert close < 1e-4 < far
