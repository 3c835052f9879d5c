"""The losses of DQN and Rainbow, their gradients and targets, against the float64 definitions in core."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

from optix_core.errors import ConfigError
from optix_core.plugin import AgentContext
from optix_core.rl import projections
from optix_core.rl.reference import q_learning as reference
from optix_torch import NoisyLinear, TorchDQNAgent, dqn, rainbow
from optix_torch.action_values.categorical import entropy, project
from optix_torch.action_values.noisy_acting import NoisyActing
from optix_torch.action_values.q_learning import double_q_targets
from optix_torch.networks.noisy import factors, noisy_layers
from optix_torch.networks.q_network import Dueling

B, OBS, A, Z = 32, 3, 4, 11
ENGINES = ("closed_form", "autograd")


def context(**hyperparams):
    return AgentContext(
        observation_space=Box(-10, 10, (OBS,)),
        action_space=Discrete(A),
        seed=3,
        device="cpu",
        hyperparams=hyperparams,
    )


def samples(seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.standard_normal((B, OBS)).astype(np.float32),
        rng.integers(A, size=B),
        (3.0 * rng.standard_normal(B)).astype(np.float32),
        rng.random(B, dtype=np.float32),
    )


def gradients(agent):
    return [p.grad.numpy().copy() for p in agent._network.parameters()]


def in_float64(agent):
    return copy.deepcopy(agent._network).double()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dueling", [False, True])
def test_dqn_loss_and_gradient_are_the_reference(engine, dueling):
    agent = dqn.build(context(), engine=engine, dueling=dueling, hidden_sizes=(16, 12))
    observations, actions, targets, weights = samples()
    loss, errors = agent._engine.gradient(observations, actions, targets, weights)
    exact = in_float64(agent)
    q = exact(torch.from_numpy(observations).double())
    wanted = reference.td_loss(q.detach().numpy(), actions, targets, weights)
    assert (
        np.abs(wanted.each).max() > 1.0 > np.abs(wanted.each).min()
    )  # both pieces of the Huber loss are met
    q.backward(torch.from_numpy(wanted.gradients["q"]))
    assert float(loss) == pytest.approx(wanted.value, abs=1e-6)
    np.testing.assert_allclose(errors, wanted.each, atol=2e-6)
    for found, parameter in zip(gradients(agent), exact.parameters(), strict=True):
        np.testing.assert_allclose(found, parameter.grad.numpy(), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_rainbow_loss_and_gradient_are_the_reference(engine):
    agent = rainbow.build(context(n_atoms=Z), engine=engine, hidden_sizes=(16, 12))
    observations, actions, _, weights = samples()
    targets = np.random.default_rng(1).dirichlet(np.full(Z, 0.3), B).astype(np.float32)
    agent._engine.resample(np.random.default_rng(7))
    loss, entropies = agent._engine.gradient(observations, actions, targets, weights)

    exact = in_float64(agent)
    rng = np.random.default_rng(7)
    for layer in noisy_layers(exact):  # the draws of the engine, by hand
        layer.reset_noise(rng)
        layer.train()
    logits = exact(torch.from_numpy(observations).double())
    wanted = reference.c51_loss(logits.detach().numpy(), actions, targets, weights)
    logits.backward(torch.from_numpy(wanted.gradients["logits"]))
    assert float(loss) == pytest.approx(wanted.value, abs=2e-6)
    np.testing.assert_allclose(entropies, wanted.each, atol=5e-6)
    for found, parameter in zip(gradients(agent), exact.parameters(), strict=True):
        np.testing.assert_allclose(found, parameter.grad.numpy(), atol=1e-6)
    divergences = reference.c51_loss(logits.detach().numpy(), actions, targets, kind="kl").each
    np.testing.assert_allclose(entropies - entropy(targets), divergences, atol=5e-6)


def test_dueling_layer_is_the_reference():
    outputs = torch.randn(5, 1 + A, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    np.testing.assert_allclose(
        Dueling()(outputs), reference.dueling(outputs[:, :1].numpy(), outputs[:, 1:].numpy()), atol=1e-12
    )


@pytest.mark.parametrize("masked", [False, True])
def test_double_q_targets_are_the_reference(masked):
    rng = np.random.default_rng(0)
    rewards, discounts = rng.standard_normal(B), rng.choice([0.0, 0.9], B)
    following, chosen_by = rng.standard_normal((2, B, A))
    masks = rng.random((B, A)) < 0.5 if masked else None
    if masks is not None:
        masks[discounts > 0, 0] = True
        masks[np.flatnonzero(discounts == 0.0)[0]] = False  # a terminal state may allow nothing
    for chooser in (chosen_by, following):
        wanted = reference.q_targets(rewards, discounts, following, chosen_by=chooser, masks=masks)
        found = double_q_targets(rewards, discounts, following, chooser, masks)
        np.testing.assert_allclose(found, wanted)
        assert np.isfinite(found).all()
    assert not np.allclose(
        double_q_targets(rewards, discounts, following, following, masks),
        double_q_targets(rewards, discounts, following, chosen_by, masks),
    )


@pytest.mark.parametrize(
    "v_min,v_max,z", [(-10.0, 10.0, 51), (0.0, 100.0, 11), (-1.0, 3.0, 2), (0.0, 110.0, 51)]
)
def test_projection_is_the_reference_and_loses_nothing(v_min, v_max, z):
    rng = np.random.default_rng(0)
    support = projections.categorical_support(v_min, v_max, z)
    # on atoms, between them, at both ends and beyond; with nothing, something and everything behind
    rewards = np.concatenate([support, rng.uniform(v_min, v_max, 20), [v_min, v_max, v_min - 9, v_max + 9]])
    for discount in (0.0, 0.99**3, 1.0):
        discounts = np.full(len(rewards), discount, np.float32)
        p = rng.dirichlet(np.full(z, 0.5), len(rewards)).astype(np.float32)
        found, clipped = project(rewards.astype(np.float32), discounts, p, v_min, v_max)
        inputs = p, rewards.astype(np.float32), discounts, support
        np.testing.assert_allclose(found, projections.project_categorical(*inputs), atol=1e-6)
        np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)
        # float32 rewards put some atoms a rounding error beyond the ends: those are not counted here
        assert clipped == pytest.approx(projections.clipped_share(*inputs), abs=2e-3)


def test_projection_keeps_a_terminal_reward_on_its_atom():
    p = np.full((1, 5), 0.2, np.float32)
    found, clipped = project(np.array([2.0]), np.array([0.0]), p, 0.0, 4.0)
    np.testing.assert_allclose(found, [[0, 0, 1, 0, 0]])
    assert clipped == 0.0


def test_noise_has_the_moments_of_the_paper():
    f = factors(np.random.default_rng(0), (200_000,)).astype(np.float64)
    # E f = 0, E f^2 = E |x| = sqrt(2 / pi)
    assert abs(f.mean()) < 0.01
    assert (f**2).mean() == pytest.approx(np.sqrt(2 / np.pi), abs=0.01)


def test_noisy_layer_starts_as_the_paper_says():
    layer = NoisyLinear(100, 50, 0.5, generator=torch.Generator().manual_seed(0))
    assert float(layer.mu_w.detach().abs().max()) <= 0.1 + 1e-6
    assert float(layer.mu_w.detach().std()) == pytest.approx(0.1 / np.sqrt(3), rel=0.05)
    assert torch.all(layer.sigma_w == 0.05)
    assert torch.all(layer.sigma_b == 0.05)
    x = torch.randn(4, 100, generator=torch.Generator().manual_seed(1))
    plain = nn.functional.linear(x, layer.mu_w, layer.mu_b)
    torch.testing.assert_close(layer.eval()(x), plain)
    layer.train().reset_noise(np.random.default_rng(0))
    assert not torch.allclose(layer(x), plain)
    weight = layer.mu_w + layer.sigma_w * layer.eps_w
    torch.testing.assert_close(
        layer(x), nn.functional.linear(x, weight, layer.mu_b + layer.sigma_b * layer.eps_b)
    )
    assert set(layer.state_dict()) == {"mu_w", "mu_b", "sigma_w", "sigma_b"}  # noise is no weight


def test_acting_with_noise_is_the_network_with_noisy_weights():
    """One row at a time the factorised form is the noisy layer; the rows of one batch have noise of their own."""
    agent = rainbow.build(context(n_atoms=Z), hidden_sizes=(8,))
    spec, parameters = agent._network.perceptron()
    half = len(parameters) // 2
    means, deviations = (
        np.concatenate([p.detach().numpy().ravel() for p in half_of])
        for half_of in (parameters[:half], parameters[half:])
    )
    acting = NoisyActing(spec, means, deviations)
    row = np.linspace(-1, 1, OBS, dtype=np.float32)[None]
    layers = noisy_layers(agent._network)
    drawn = torch.from_numpy(factors(np.random.default_rng(5), (1, 2 * 8 + OBS + (1 + A) * Z)))[0]
    start = 0
    for layer in layers:
        layer.train()
        layer.noise_in.copy_(drawn[start : start + layer.in_features])
        layer.noise_out.copy_(
            drawn[start + layer.in_features : start + layer.in_features + layer.out_features]
        )
        start += layer.in_features + layer.out_features
    x = torch.from_numpy(row)
    wanted = layers[1](torch.relu(layers[0](x))).detach().numpy()
    np.testing.assert_allclose(acting.outputs(row, np.random.default_rng(5)), wanted, atol=1e-6)
    two = acting.outputs(np.repeat(row, 2, axis=0), np.random.default_rng(5))
    assert np.abs(two[0] - two[1]).max() > 1e-3
    quiet = acting.outputs(np.repeat(row, 2, axis=0), None)
    np.testing.assert_array_equal(quiet[0], quiet[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_online_and_target_noise_are_independent_and_new_each_time(engine):
    agent = rainbow.build(context(n_atoms=Z), engine=engine, hidden_sizes=(8,))
    observations, actions, _, _ = samples()
    atoms, rng = np.linspace(-1, 1, Z, dtype=np.float32), np.random.default_rng(0)

    def evaluate():
        agent._engine.resample(rng)
        online = agent._engine.online_values(observations, atoms).copy()
        target = agent._engine.target_probabilities(observations, actions) @ atoms
        return online[np.arange(B), actions], target

    (online, target), (online_again, target_again) = evaluate(), evaluate()
    assert np.abs(online - target).max() > 1e-4  # equal weights, other noise
    assert np.abs(online - online_again).max() > 1e-4
    assert np.abs(target - target_again).max() > 1e-4


def test_engines_train_alike():
    """Twenty whole gradient steps, draws and priorities included, lead both engines to the same weights."""
    rng = np.random.default_rng(0)
    for module, options in (
        (dqn, {"per_alpha": 0.5}),
        (rainbow, {"n_atoms": Z, "v_min": -5.0, "v_max": 5.0}),
    ):
        found = []
        for engine in ENGINES:
            agent = module.build(
                context(
                    learning_starts=20, batch_size=8, target_update_freq=7, learning_rate=1e-3, **options
                ),
                engine=engine,
                hidden_sizes=(16,),
            )
            rng = np.random.default_rng(0)
            seen = rng.standard_normal((41, 1, OBS)).astype(np.float32)
            for t in range(40):
                agent.observe(
                    seen[t],
                    np.array([t % A]),
                    rng.standard_normal(1),
                    seen[t + 1],
                    np.array([t % 9 == 8]),
                    np.zeros(1, bool),
                )
            assert agent._descent.n_updates == 20
            found.append(agent._training.flat.to_numpy())
        np.testing.assert_allclose(found[0], found[1], atol=1e-6 if module is dqn else 2e-5)


def test_networks_that_do_not_fit_are_refused():
    network = nn.Sequential(nn.Linear(OBS, 8), nn.ReLU(), nn.Linear(8, A + 1))
    with pytest.raises(ConfigError, match="outputs for 5 actions, expected 4"):
        TorchDQNAgent(network, A, torch.optim.Adam(network.parameters()), device="cpu")
    right = nn.Sequential(nn.Linear(OBS, 8), nn.GELU(), nn.Linear(8, A))
    with pytest.raises(ConfigError, match="no plain stack"):
        TorchDQNAgent(right, A, torch.optim.Adam(right.parameters()), device="cpu", engine="closed_form")
    with pytest.raises(ConfigError, match="NoisyLinear"):
        rainbow.TorchRainbowDQNAgent(right, A, OBS, torch.optim.Adam(right.parameters()), device="cpu")
    with pytest.raises(ConfigError, match="engine is 'fast'"):
        dqn.build(context(), engine="fast")
