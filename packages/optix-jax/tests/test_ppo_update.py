"""A window's compiled update ends where the definitions in float64 end, and slips in it are noticed."""

from __future__ import annotations

import naive_ppo
import numpy as np
import planted
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

from optix_core.rl.masking import with_masks
from optix_jax.training import compiled

# 120 samples: minibatches of 32 leave one of 24
HP = {
    "n_epochs": 2,
    "minibatch_size": 32,
    "learning_rate": 1e-3,
    "entropy_coef": 0.05,
    "clip_ratio": 0.1,
    "max_grad_norm": 0.5,
}
SPACES = {
    "discrete": Discrete(4),
    "even": MultiDiscrete([3, 3]),
    "ragged": MultiDiscrete([2, 3]),
    "bits": MultiBinary(3),
}


def agent_for(make, kind="discrete", **hp):
    if kind == "gaussian":
        return make.built("gaussian", hyperparams=HP | hp, hidden_sizes=(16, 12))
    return make.built("discrete", action_space=SPACES[kind], hyperparams=HP | hp, hidden_sizes=(16, 12))


def moved(make, agent, *, masked=False):
    """A window whose policy and values are not those of the first step any more, so that clips bind."""
    window = make.window(agent, seed=1)
    rng = np.random.default_rng(5)
    if masked:
        masks = rng.random((*window.rewards.shape, agent._actions.n_actions)) < 0.6
        np.put_along_axis(masks, np.asarray(window.actions)[..., None], values=True, axis=-1)
        window.observations = with_masks(window.observations, masks)
        ones = np.ones((*window.final_obs.shape[:-1], masks.shape[-1]), bool)
        window.final_obs = with_masks(window.final_obs, ones)
        beyond = window.boundary_observations
        window.boundary_observations = with_masks(beyond, np.ones((len(beyond), masks.shape[-1]), bool))
    return window


@pytest.mark.parametrize("kind", [*SPACES, "gaussian"])
def test_every_kind_of_action(make, kind):
    agent = agent_for(make, kind)
    naive_ppo.check(agent, moved(make, agent))


def test_masks_and_clipped_values(make):
    agent = agent_for(make, value_clip=0.05)
    naive_ppo.check(agent, moved(make, agent, masked=True))


def test_full_minibatches_of_one_size(make):
    agent = agent_for(make, minibatch_size=40)
    naive_ppo.check(agent, moved(make, agent))


def test_a_minibatch_larger_than_the_window(make):
    agent = agent_for(make, minibatch_size=5000)
    naive_ppo.check(agent, moved(make, agent))


def test_observations_with_parts(make):
    space = Dict({"x": Box(-1, 1, (2,)), "k": Discrete(3)})
    agent = make.built("discrete", observation_space=space, hyperparams=HP, hidden_sizes=(16,))
    window = make.window(make.built("discrete", hyperparams=HP))
    dtype = agent.observation_dtype

    def parts(rows):
        found = np.zeros(rows.shape[:-1], dtype)
        found["x"], found["k"] = rows[..., :2], (rows[..., 2] > 0).astype(int)
        return found

    window.observations, window.final_obs = parts(window.observations), parts(window.final_obs)
    window.boundary_observations = parts(window.boundary_observations)
    naive_ppo.check(agent, window)


def test_statistics_and_scaled_rewards(make):
    agent = make.built(
        "discrete", hyperparams=HP, hidden_sizes=(16, 12), normalize_observations=True, normalize_rewards=True
    )
    agent.learn(moved(make, agent))
    agent._networks.training.moments = agent._networks.training._placed(
        agent._networks.training.optimizer.init(agent._networks.training.params)
    )
    naive_ppo.check(agent, moved(make, agent))


UPDATE = "jax.policy_gradient.actor_critic:ppo_update"
SLIPS = [
    ("entropy dropped", UPDATE, [('- hp["entropy_coef"] * losses[2]', "")], {}),
    ("value loss unweighted", UPDATE, [('hp["vf_coef"] * losses[1]', "losses[1]")], {}),
    ("gradients not clipped", UPDATE, [('max_norm=hp["max_grad_norm"]', "max_norm=jnp.inf")], {}),
    ("actions of other samples", UPDATE, [('window["actions"][rows]', 'window["actions"][rows[::-1]]')], {}),
    ("ratio to this very step", UPDATE, [
        ('= batch["columns"]', '= batch["columns"]\n        old_log_probs = jax.lax.stop_gradient(log_probs)')
    ], {}),
    ("masks forgotten", UPDATE, [('window["masks"][rows],', "None,")], {"masked": True}),
    ("the filled-up minibatch counted whole", "jax.policy_gradient.update:_mean",
     [("if weights is None:", "if True:")], {}),
    ("clipped on one side only", "jax.policy_gradient.update:ppo_clip_loss",
     [("LOG_RATIO_BOUND, jnp.log1p(-clip_ratio)", "LOG_RATIO_BOUND, -LOG_RATIO_BOUND")], {}),
    ("values not clipped", "jax.policy_gradient.update:value_loss",
     [("jnp.where(clip > 0.0, larger, plain)", "plain")], {"value_clip": 0.05}),
    ("one order for all epochs", "jax.policy_gradient.actor_critic:orders",
     [("index[epoch, :n] = epoch_order(n, size, rng)[0]",
       "index[epoch, :n] = epoch_order(n, size, np.random.default_rng(0))[0]")], {}),
    ("epsilon inside of the root", "jax.training.optimizers:Adam.step",
     [("jnp.sqrt(v) * root + self._eps", "jnp.sqrt(v + self._eps) * root")], {}),
    ("moments not corrected", "jax.training.optimizers:Adam.step",
     [("learning_rate / bias1", "learning_rate")], {}),
]  # fmt: skip


@pytest.mark.parametrize("what,where,edits,how", SLIPS, ids=[slip[0] for slip in SLIPS])
def test_slips_are_caught(make, monkeypatch, what, where, edits, how):
    masked = how.get("masked", False)
    hp = {"n_epochs": 3, "learning_rate": 1e-2, **{k: v for k, v in how.items() if k != "masked"}}
    plain = agent_for(make, **hp)
    naive_ppo.check(plain, moved(make, plain, masked=masked), within=2e-4)
    planted.plant(monkeypatch, where, *edits)
    try:
        agent = agent_for(make, **hp)
        with pytest.raises(AssertionError):
            naive_ppo.check(agent, moved(make, agent, masked=masked), within=2e-4)
    finally:
        compiled._shared.cache_clear()


def test_a_divergence_limit_ends_the_update(make):
    agent = agent_for(make, n_epochs=8, target_kl=1e-9)
    assert agent.learn(moved(make, agent))["n_updates"] == 4  # one epoch
    assert agent_for(make, n_epochs=8).learn(moved(make, agent))["n_updates"] == 32


def test_changing_every_hyperparameter_compiles_nothing(make):
    agent = agent_for(make)
    window = moved(make, agent)
    first = agent.learn(window)["n_compilations"]
    for name, value in {
        "learning_rate": 5e-4,
        "clip_ratio": 0.3,
        "entropy_coef": 0.0,
        "vf_coef": 1.0,
        "gamma": 0.9,
        "gae_lambda": 0.5,
        "n_epochs": 1,
        "max_grad_norm": 10.0,
        "target_kl": 0.5,
        "value_clip": 0.2,
        "learning_rate_decay_steps": 10_000,
        "clip_ratio_decay_steps": 10_000,
    }.items():
        agent.set_hyperparams(type(agent.get_hyperparams())({name: value}))
        assert agent.learn(window)["n_compilations"] == first, name
    assert first <= 1
    # what is a shape is compiled, and says so
    agent.set_hyperparams(type(agent.get_hyperparams())({"minibatch_size": 16}))
    assert agent.learn(window)["n_compilations"] == first + 1


def test_windows_with_other_ends_compile_nothing(make):
    agent = agent_for(make)
    first = agent.learn(make.window(agent, seed=0, ends=0.05))["n_compilations"]
    for seed in range(1, 5):
        report = agent.learn(make.window(agent, seed=seed, ends=0.3))
        assert report["n_compilations"] == first


def test_equal_agents_share_a_program(make):
    one, two = agent_for(make), agent_for(make, learning_rate=2e-3)
    one.learn(moved(make, one))
    assert two.learn(moved(make, two))["n_compilations"] == 0


def test_gradients_that_are_not_finite_are_no_steps(make):
    agent = agent_for(make)
    before = agent._networks.training.arrays()
    window = moved(make, agent)
    window.rewards = np.full_like(window.rewards, 1e300)
    with np.errstate(all="ignore"):
        report = agent.learn(window)
    assert report["n_skipped"] == 3
    assert np.isnan(report["policy_loss"])
    for name, array in agent._networks.training.arrays().items():
        np.testing.assert_array_equal(array, before[name])


def test_one_broken_sample_costs_its_own_minibatches_only(make):
    agent = agent_for(make)
    window = moved(make, agent)
    right = agent._networks.update

    def broken(batch, hp, rng):
        batch.targets[7] = np.nan
        return right(batch, hp, rng)

    agent._networks.update = broken
    report = agent.learn(window)
    assert (report["n_updates"], report["n_skipped"]) == (6, 2)
    assert np.isfinite(report["policy_loss"])


def test_the_mirror_is_current_after_every_update(make):
    agent = agent_for(make, "gaussian")
    window = moved(make, agent)
    agent.learn(window)
    rows = window.observations.reshape(-1, make.OBS)
    network = agent._networks.actor
    outputs = np.asarray(network.apply(agent._networks.training.params["actor"], rows))
    greedy = agent.act_batch(rows, deterministic=True)
    np.testing.assert_allclose(greedy, outputs[:, :2], atol=1e-6)


@pytest.mark.slow
def test_memory_does_not_grow_over_a_thousand_windows(make):
    def resident():
        with open("/proc/self/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1])

    agent = agent_for(make)
    windows = [make.window(agent, seed=k, ends=0.1) for k in range(10)]
    for k in range(100):
        agent.learn(windows[k % 10])
    before = resident()
    for k in range(1000):
        agent.learn(windows[k % 10])
    assert resident() < 1.05 * before
