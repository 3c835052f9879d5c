"""The asynchronous learner: its gradient is IMPALA's, its counters add up, lockstep repeats itself bit by bit."""

from __future__ import annotations

import hashlib
import inspect
import math

import numpy as np
import pytest
import torch
from actor_envs import CartPole, Pendulum
from conftest import agent_for, weights

from optix_core import make_agent
from optix_core.errors import CheckpointNotSaved, ConfigError, NumericalDivergence
from optix_distributed import AsyncActorLearner
from optix_distributed.learning.checkpoints import PeriodicCheckpoints
from optix_distributed.learning.parts import parts_of_agent
from optix_distributed.learning.update import VTraceSettings, VTraceUpdate
from optix_distributed.learning.vtrace_torch import vtrace


def digest(one):
    return hashlib.sha256(weights(one).tobytes()).hexdigest()


def test_the_contract_s_parameters_come_first_and_in_order():
    names = list(inspect.signature(AsyncActorLearner).parameters)
    assert names[:14] == [
        "actor", "critic", "optimizer", "env_factory", "n_actors", "trajectory_len", "max_queue_size", "gamma",
        "rho_bar", "c_bar", "entropy_coef", "vf_coef", "max_grad_norm", "seed",
    ]  # fmt: skip


def test_it_reports_what_the_contract_says(learner):
    one = learner(slots_per_actor=2)
    result = one.run(600)
    for name in (
        "total_steps", "total_updates", "steps_per_second", "elapsed", "collected_per_second", "discarded", "lag_mean",
        "lag_max", "restarts", "interrupted", "learner_busy", "actor_busy",
    ):  # fmt: skip
        assert name in result
    assert result["total_steps"] >= 600
    assert result["total_steps"] == result["steps_trained"] == one.total_steps
    assert result["total_updates"] == one.total_updates > 0
    assert result["steps_per_second"] == pytest.approx(result["total_steps"] / result["elapsed"])
    accounted = result["steps_trained"] + result["discarded"] + result["steps_lost"]
    under_way = 2 * 2 * one.settings.slot_steps + 2 * one.settings.slot_steps
    assert accounted <= result["steps_collected"] <= accounted + under_way
    before = weights(one)
    again = one.run(1200)
    assert again["total_steps"] >= 1200
    assert not np.array_equal(before, weights(one))


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_the_gradient_is_that_of_the_paper(networks, engine, monkeypatch):
    """Adam's first step moves every parameter by the sign of its gradient; SGD tells the gradient itself."""
    actor, critic, _ = networks()
    optimizer = torch.optim.SGD([*actor.parameters(), *critic.parameters()], lr=1.0)
    if engine == "closed_form":
        optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=1e-3)
    with AsyncActorLearner(
        actor, critic, optimizer, CartPole(), 1, 16, backend="inline", max_grad_norm=1e9
    ) as one:
        assert one._networks.engine_name == engine
        one.collection.publish()
        window = one.collection.collect(1, 1)
        rng = np.random.default_rng(0)
        window.log_probs = window.log_probs + 0.3 * rng.standard_normal(window.log_probs.shape).astype(
            np.float32
        )
        obs = torch.from_numpy(window.observations).float()
        after = torch.from_numpy(window.next_observations()).float()
        values, following = critic(obs).squeeze(-1), critic(after).squeeze(-1)
        logits = torch.log_softmax(actor(obs), -1)
        log_probs = logits.gather(-1, torch.from_numpy(window.actions)[..., None]).squeeze(-1)
        vs, advantages, _, _ = vtrace(
            torch.from_numpy(window.log_probs), log_probs, torch.from_numpy(window.rewards).float(), values, following,
            torch.from_numpy(window.terminated), torch.from_numpy(window.truncated), gamma=0.99,
        )  # fmt: skip
        entropy = -(logits.exp() * logits).sum(-1)
        loss = (
            -(advantages * log_probs).mean() + 0.5 * 0.5 * ((values - vs) ** 2).mean() - 0.01 * entropy.mean()
        )
        gradient = torch.cat(
            [g.reshape(-1) for g in torch.autograd.grad(loss, [*actor.parameters(), *critic.parameters()])]
        )
        before = weights(one)
        one.update(window)
        moved = weights(one) - before
        if engine == "autograd":
            np.testing.assert_allclose(moved, -gradient.numpy(), rtol=2e-4, atol=2e-5)
        else:
            np.testing.assert_allclose(
                one._networks.flat.grad.numpy(), gradient.numpy(), rtol=2e-4, atol=2e-5
            )


@pytest.mark.parametrize("lag", [0, 1])
def test_lockstep_repeats_itself(learner, lag):
    found = []
    for _ in range(2):
        one = learner(sync="lockstep", lag=lag)
        one.run(50 * 128)
        assert one.total_updates == 50
        assert one.stats()["lag_max"] == lag
        found.append(digest(one))
    assert found[0] == found[1]
    other = learner(sync="lockstep", lag=lag, seed=1)
    other.run(50 * 128)
    assert digest(other) != found[0]


def test_lockstep_is_the_same_without_processes(learner):
    one, two = learner(sync="lockstep"), learner(sync="lockstep", backend="inline")
    one.run(20 * 128)
    two.run(20 * 128)
    assert digest(one) == digest(two)


@pytest.mark.parametrize(
    "algorithm, env", [("PPO", CartPole()), ("GaussianPPO", Pendulum()), ("RecurrentPPO", CartPole())]
)
def test_agents_learn(learner, algorithm, env):
    made = env()
    agent = make_agent(algorithm, made, framework="torch", seed=0, entropy_coef=0.02)
    made.close()
    one = learner(env, nets=(agent, None, None))
    assert one.update.settings.entropy_coef == 0.02
    assert one.update.settings.gamma == agent.get_hyperparams().params["gamma"]
    before = weights(one)
    result = one.run(500)
    assert result["total_updates"] > 0
    assert np.isfinite(weights(one)).all()
    assert not np.array_equal(before, weights(one))
    assert agent._networks is one._networks  # the agent itself has learned


def test_callbacks_hear_of_every_update(learner):
    heard = []
    one = learner(callbacks=[heard.append])
    one.run(400)
    assert len(heard) == one.total_updates
    assert {"event", "policy_loss", "lag_mean", "queue_depth", "actor_rates", "restarts", "discarded"} <= set(
        heard[-1]
    )


def test_batches_are_elastic_within_bounds(learner):
    seen = []
    one = learner(min_batch_slots=2, max_batch_slots=3, slots_per_actor=2)
    batch = one.update.batch
    one.update.batch = lambda window: (seen.append(window.n_envs // 4), batch(window))[1]
    one.run(1500)
    assert len(seen) == one.total_updates
    assert set(seen) <= {2, 3}


@pytest.mark.parametrize(
    "options, match",
    [
        ({"min_batch_slots": 5, "slots_per_actor": 2}, "wait for ever"),
        ({"min_batch_slots": 2, "max_batch_slots": 1}, "below"),
        ({"resume": True}, "checkpoint_dir"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"nets": (torch.nn.Linear(4, 2), torch.nn.Linear(4, 1), None)}, "or an agent"),
    ],
)
def test_options_that_cannot_work_are_refused(learner, options, match):
    with pytest.raises(ConfigError, match=match):
        learner(**options)


def test_an_actor_that_numpy_does_not_know_is_refused(learner):
    from torch import nn

    actor, critic = nn.Sequential(nn.Linear(4, 8), nn.ReLU6(), nn.Linear(8, 2)), nn.Linear(4, 1)
    with pytest.raises(ConfigError, match="numpy"):
        learner(nets=(actor, critic, torch.optim.Adam([*actor.parameters(), *critic.parameters()])))


def test_max_queue_size_is_shared_among_actors(learner):
    assert learner(max_queue_size=8).settings.slots_per_actor == 4


def test_updates_that_are_not_finite_change_nothing_and_the_third_in_a_row_ends_the_run(learner):
    one = learner(backend="inline")
    one.run(200)
    before, made = weights(one), one.total_updates
    real = one.update.batch

    def poisoned(window):
        batch, found = real(window)
        batch.advantages[0] = math.nan
        return batch, found

    one.update.batch = poisoned
    with pytest.raises(NumericalDivergence, match="3 updates in a row"):
        one.run(10_000)
    np.testing.assert_array_equal(weights(one), before)
    assert one.total_updates == made
    assert one.update.nonfinite == 3


def test_one_bad_update_is_only_counted(learner):
    one = learner(backend="inline")
    real, calls = one.update.batch, []

    def sometimes(window):
        batch, found = real(window)
        calls.append(1)
        if len(calls) % 3 == 0:
            batch.advantages[:] = math.inf
        return batch, found

    one.update.batch = sometimes
    result = one.run(1000)
    assert result["nonfinite_updates"] > 1
    assert np.isfinite(weights(one)).all()


def test_a_checkpoint_continues_where_it_was_taken(learner, tmp_path):
    one = learner(checkpoint_dir=tmp_path, backend="inline")
    one.run(700)
    moments = one._networks.training.state_dict()["optimizer"]
    one.close()
    two = learner(checkpoint_dir=tmp_path, backend="inline", resume=True)
    assert (two.total_steps, two.total_updates) == (one.total_steps, one.total_updates)
    np.testing.assert_array_equal(weights(one), weights(two))
    again = two._networks.training.state_dict()["optimizer"]
    assert str(again) == str(moments)
    first = two.collection.settings
    assert first == one.collection.settings
    two.run(1400)
    assert two.total_steps >= 1400


def falling_agent(steps):
    return agent_for(CartPole(), "PPO", learning_rate=1e-2, learning_rate_decay_steps=steps)


def test_a_learning_rate_that_falls_does_so_here_too_and_after_a_resume(learner, tmp_path):
    options = {
        "backend": "inline",
        "n_actors": 1,
        "envs_per_actor": 4,
        "trajectory_len": 16,
        "max_batch_slots": 1,
    }
    rates = []
    one = learner(nets=(falling_agent(64 * 8), None, None), checkpoint_dir=tmp_path, **options)
    one.update = Watched(one.update, rates)
    one.run(64 * 5)
    two = learner(nets=(falling_agent(64 * 8), None, None), checkpoint_dir=tmp_path, resume=True, **options)
    two.update = Watched(two.update, rates)
    two.run(64 * 8)
    np.testing.assert_allclose(rates, 1e-2 * (1 - np.arange(1, 9) / 8), atol=1e-12)
    before = weights(two)
    two.run(64 * 10)  # at 0 it stays
    np.testing.assert_array_equal(weights(two), before)


class Watched:
    """An update that notes the learning rate it is made with."""

    def __init__(self, update, rates):
        self._update, self._rates = update, rates

    def __call__(self, window):
        self._rates.append(self._update.networks.training.optimizer.param_groups[0]["lr"])
        return self._update(window)

    def __getattr__(self, name):
        return getattr(self._update, name)


def test_resuming_nothing_begins(learner, tmp_path):
    assert learner(checkpoint_dir=tmp_path, backend="inline", resume=True).total_steps == 0


def test_a_disk_that_refuses_is_reported_and_training_goes_on(learner, tmp_path, monkeypatch):
    heard = []
    one = learner(
        checkpoint_dir=tmp_path / "a", backend="inline", callbacks=[heard.append], checkpoint_every_s=0.0
    )

    def full(*args, **kwargs):
        raise CheckpointNotSaved("no space left on the device")

    monkeypatch.setattr(one._checkpoints.store, "save", full)
    one.run(400)
    assert one.total_steps >= 400
    assert "checkpoint_failed" in {h["event"] for h in heard}
    strict = learner(checkpoint_dir=tmp_path / "b", backend="inline", strict_checkpoints=True)
    monkeypatch.setattr(strict._checkpoints.store, "save", full)
    with pytest.raises(CheckpointNotSaved):
        strict.run(200)


def test_a_checkpoint_that_failed_is_tried_again_soon_and_then_less_often(tmp_path, monkeypatch):
    clock, told = [100.0], []
    monkeypatch.setattr("optix_distributed.learning.checkpoints.time.monotonic", lambda: clock[0])
    kept = PeriodicCheckpoints(tmp_path, 60.0, strict=False, tell=told.append)
    fails, tried = [True], []

    def save(*args, **kwargs):
        tried.append(clock[0] - 100.0)
        if fails[0]:
            raise CheckpointNotSaved("no space left on the device")

    monkeypatch.setattr(kept.store, "save", save)
    with kept.held():
        for _ in range(400):
            fails[0] = len(tried) < 6
            kept.save_if_due(dict, 0)
            clock[0] += 1.0
    assert tried == [60, 65, 75, 95, 135, 195, 255, 315, 375]
    assert len(told) == 6


def test_time_limits_end_a_run(learner):
    assert learner(backend="inline").run(10**9, max_seconds=0.5)["elapsed"] < 5


def test_a_closed_learner_says_so(learner):
    one = learner(backend="inline")
    one.close()
    with pytest.raises(ConfigError, match="closed"):
        one.run(100)


def test_the_update_needs_no_actors():
    env = CartPole()
    made = env()
    agent = make_agent("PPO", made, framework="torch", seed=0)
    made.close()
    networks, normalizers, acting, _ = parts_of_agent(agent)
    assert VTraceUpdate(networks, VTraceSettings(), normalizers, np.random.default_rng(0)).updates == 0
    assert acting.policy is agent._policy
