"""Both update engines give the same parameters, and those that the mathematics says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from optix_core.agents.ppo_update import PPOBatch
from optix_core.errors import ConfigError

KINDS = ("discrete", "gaussian", "gaussian2")
ACTIVATIONS = (nn.Tanh, nn.ReLU, nn.ELU, nn.Sigmoid)


def spy(agent):
    """Let the batches that ``agent`` learns from be seen; the update is made as usual."""
    seen, update = [], agent._networks.update

    def wrapped(batch, hp, rng):
        seen.append(batch)
        return update(batch, hp, rng)

    agent._networks.update = wrapped
    return seen


def perturbed_batch(agent, make):
    """A batch whose old log-probs and values differ from the current ones, so that clips are active on both sides."""
    seen = spy(agent)
    agent.learn(make.window(agent))
    batch = seen[0]
    rng = np.random.default_rng(3)
    return PPOBatch(
        observations=batch.observations,
        actions=batch.actions,
        log_probs=batch.log_probs + rng.normal(0, 0.4, len(batch)),
        values=batch.values + rng.normal(0, 0.3, len(batch)),
        advantages=batch.advantages,
        targets=batch.targets,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("value_clip", [0.0, 0.2])
def test_a_full_update_gives_equal_parameters(make, kind, activation, value_clip):
    results = []
    for engine in ("closed_form", "autograd"):
        # 120 samples in minibatches of 32: the last one is smaller
        agent = make.by_hand(
            kind,
            activation=activation,
            dtype=torch.float64,
            engine=engine,
            hyperparams={"value_clip": value_clip, "entropy_coef": 0.03, "max_grad_norm": 0.3},
        )
        window = make.window(agent)
        diagnostics = [agent.learn(window) for _ in range(3)]
        results.append((agent._networks.flat.to_numpy(), diagnostics))
    (closed, closed_reports), (auto, auto_reports) = results
    np.testing.assert_allclose(closed, auto, rtol=1e-6, atol=1e-9)
    for ours, theirs in zip(closed_reports, auto_reports, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("kind", KINDS)
def test_in_single_precision_they_agree_to_rounding(make, kind):
    results = []
    for engine in ("closed_form", "autograd"):
        agent = make.by_hand(kind, engine=engine, lr=1e-3)
        agent.learn(make.window(agent))
        results.append(agent._networks.flat.to_numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value_clip", [0.0, 0.2])
def test_closed_form_gradients_are_those_of_finite_differences(make, kind, value_clip):
    """One batch with active clips, against central differences of the loss as ``losses.py`` states it."""
    closed = make.by_hand(kind, dtype=torch.float64, engine="closed_form", hyperparams={"entropy_coef": 0.05})
    auto = make.by_hand(kind, dtype=torch.float64, engine="autograd", hyperparams={"entropy_coef": 0.05})
    batch = perturbed_batch(closed, make)
    hp = closed.get_hyperparams().params | {"value_clip": value_clip}
    point = closed._networks.flat.to_numpy()
    engine = closed._networks.engine
    engine._surrogate(batch.observations, batch.actions, batch.log_probs, batch.advantages, hp)
    engine._value(batch.observations, batch.targets, batch.values, hp)
    gradient = closed._networks.flat.grad.numpy().copy()

    def loss(parameters):
        from optix_torch.policy_gradient import losses

        auto._networks.flat.assign(parameters)
        with torch.no_grad():
            nets = auto._networks
            head = losses.categorical if kind == "discrete" else losses.gaussian
            log_probs, entropy = head(
                nets.actor(torch.from_numpy(batch.observations).double()), torch.from_numpy(batch.actions)
            )
            values = nets.critic(torch.from_numpy(batch.observations).double())[:, 0]
            old, advantages, targets, old_values = (
                torch.from_numpy(x) for x in (batch.log_probs, batch.advantages, batch.targets, batch.values)
            )
            policy = losses.ppo_clip_loss(log_probs, old, advantages, hp["clip_ratio"]).mean()
            value = (
                losses.clipped_value_loss(values, targets, old_values, value_clip)
                if value_clip
                else losses.value_loss(values, targets)
            ).mean()
            return float(policy + hp["vf_coef"] * value - hp["entropy_coef"] * entropy.mean())

    rng = np.random.default_rng(0)
    for i in rng.choice(len(point), 60, replace=False):
        step = np.zeros_like(point)
        step[i] = 1e-6
        assert gradient[i] == pytest.approx(
            (loss(point + step) - loss(point - step)) / 2e-6, rel=1e-4, abs=1e-7
        )


def test_engines_can_take_turns_on_one_optimizer_state(make):
    """Moments written by one are read by the other: turns give the same as autograd alone."""
    mixed = make.by_hand(dtype=torch.float64, engine="closed_form")
    alone = make.by_hand(dtype=torch.float64, engine="autograd")
    other = make.by_hand(dtype=torch.float64, engine="autograd")
    window = make.window(alone)
    alone.learn(window)
    alone.learn(window)
    mixed.learn(window)
    other.load_state_dict(mixed.state_dict())
    other.learn(window)
    np.testing.assert_allclose(
        other._networks.flat.to_numpy(), alone._networks.flat.to_numpy(), rtol=1e-6, atol=1e-9
    )


def test_target_kl_stops_after_the_epoch_that_exceeds_it(make):
    for engine in ("closed_form", "autograd"):
        agent = make.by_hand(engine=engine, hyperparams={"target_kl": 1e-9, "n_epochs": 7})
        report = agent.learn(make.window(agent))
        # the second epoch is the first that starts away from the policy that acted, if the first step moved at all
        assert report["n_updates"] in {4, 8}
        free = make.by_hand(engine=engine, hyperparams={"n_epochs": 7})
        assert free.learn(make.window(free))["n_updates"] == 28


class Odd(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_the_closed_form_is_chosen_where_it_applies_and_refused_with_a_reason_elsewhere(make):
    from optix_torch import TorchPPOAgent

    assert make.by_hand()._networks.engine_name == "closed_form"
    assert make.by_hand(engine="autograd")._networks.engine_name == "autograd"

    def agent(actor, critic, optimizer=None, engine="closed_form"):
        parameters = [*{id(p): p for p in [*actor.parameters(), *critic.parameters()]}.values()]
        return TorchPPOAgent(
            actor, critic, optimizer or torch.optim.Adam(parameters, 1e-3), device="cpu", engine=engine
        )

    plain, critic = make.sequential(3, 8, 4), make.sequential(3, 8, 1)
    with pytest.raises(ConfigError, match="the actor is no plain stack"):
        agent(Odd(plain), critic)
    with pytest.raises(ConfigError, match="the critic is no plain stack"):
        agent(plain, Odd(critic))
    trunk = nn.Linear(3, 8)
    with pytest.raises(ConfigError, match="share layers"):
        agent(
            nn.Sequential(trunk, nn.Tanh(), nn.Linear(8, 4)), nn.Sequential(trunk, nn.Tanh(), nn.Linear(8, 1))
        )
    with pytest.raises(ConfigError, match="SGD"):
        agent(plain, critic, torch.optim.SGD([*plain.parameters(), *critic.parameters()], 1e-3))
    decay = torch.optim.Adam([*plain.parameters(), *critic.parameters()], 1e-3, weight_decay=0.1)
    with pytest.raises(ConfigError, match="plain Adam"):
        agent(plain, critic, decay)
    with pytest.raises(ConfigError, match="'fast'; it must be one of auto, closed_form, autograd"):
        agent(plain, critic, engine="fast")
    assert agent(Odd(plain), critic, engine="auto")._networks.engine_name == "autograd"


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_a_reward_that_is_not_finite_ends_the_update_and_leaves_the_weights(make, engine):
    agent = make.by_hand(engine=engine)
    window = make.window(agent)
    window.rewards[3, 1] = np.nan
    before = agent._networks.flat.to_numpy()
    report = agent.learn(window)
    assert report["n_updates"] == 0
    assert report["n_skipped"] == 3
    assert np.isnan(report["policy_loss"])
    np.testing.assert_array_equal(agent._networks.flat.to_numpy(), before)


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_one_sample_that_is_not_finite_costs_one_step_per_epoch(make, engine):
    """Its minibatch is skipped and counted, the others are learned from."""
    agent = make.by_hand(engine=engine)
    seen = spy(agent)
    agent.learn(make.window(agent))
    batch = seen[0]
    batch.targets[17] = np.inf
    report = agent._networks.engine.update(batch, agent.get_hyperparams().params, np.random.default_rng(0))
    assert (report.n_updates, report.n_skipped, report.diverged) == (9, 3, False)
    assert np.isfinite(agent._networks.flat.to_numpy()).all()


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_steps_that_blow_the_weights_up_are_taken_back(make, engine):
    agent = make.by_hand(engine=engine, dtype=torch.float32)
    window = make.window(agent)
    agent.learn(window)
    before, state = agent._networks.flat.to_numpy(), agent.state_dict()
    agent._networks.training.set_learning_rate(
        1e39
    )  # beyond what validation allows, as a broken schedule might
    report = agent.learn(window)
    assert np.isnan(report["policy_loss"])
    np.testing.assert_array_equal(agent._networks.flat.to_numpy(), before)
    then, now = (s["actor_critic"]["optimizer"]["state"]["0"] for s in (state, agent.state_dict()))
    np.testing.assert_array_equal(now["exp_avg"], then["exp_avg"])


def test_broken_twins_are_found(make, monkeypatch):
    """The parity test can fail: plausible slips in the closed form change the parameters visibly."""
    from optix_torch.policy_gradient import surrogates
    from optix_torch.training import backward

    def update():
        agent = make.by_hand(dtype=torch.float64, hyperparams={"entropy_coef": 0.03})
        agent.learn(make.window(agent))
        return agent._networks.flat.to_numpy()

    def slipped(y, delta):
        np.multiply(delta, 1.0 - y, out=delta)

    good = update()
    slips = [
        (backward, "DERIVATIVES", {**backward.DERIVATIVES, "tanh": slipped}),
        (surrogates, "LOG_RATIO_BOUND", 1e-3),
    ]
    for module, name, broken in slips:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, broken)
            assert not np.allclose(update(), good, rtol=1e-6, atol=1e-9), name
