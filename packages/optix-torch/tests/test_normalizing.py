"""Normalised observations and rewards inside the agents."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.normalizers import RewardNormalizer
from optix_core.types import HyperparamSet

BOTH = {"normalize_observations": True, "normalize_rewards": True}


def capture(agent):
    seen, update = [], agent._networks.update
    agent._networks.update = lambda batch, hp, rng: (seen.append(batch), update(batch, hp, rng))[1]
    return seen


def shifted(window, factor=50.0, offset=1000.0):
    """The window as an environment on another scale would have given it."""
    for name in ("observations", "final_obs", "boundary_observations"):
        setattr(window, name, getattr(window, name) * factor + offset)
    return window


@pytest.mark.parametrize("kind", ["discrete", "box"])
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_the_ratio_is_one_although_statistics_move_between_windows(make, kind, engine):
    agent = make.built(kind, engine=engine, **BOTH)
    seen = capture(agent)
    for i in range(3):
        window = shifted(make.window(agent, seed=i))
        window.actions = np.stack([agent.act_batch(row) for row in window.observations])
        flat = window.actions.reshape(-1, *window.actions.shape[2:])
        acted = agent._policy.log_probs(window.observations.reshape(-1, 3), flat)
        agent.learn(window)
        np.testing.assert_allclose(np.exp(seen[-1].log_probs - acted), 1.0, atol=1e-5)


def test_from_the_second_window_on_observations_are_standardised(make):
    agent = make.built(**BOTH)
    seen = capture(agent)
    for i in range(2):
        agent.learn(shifted(make.window(agent, t=400, seed=i)))
    assert np.abs(seen[1].observations.mean(0)).max() < 0.2
    np.testing.assert_allclose(seen[1].observations.std(0), 1.0, atol=0.1)


def test_scaling_rewards_changes_nothing_once_they_are_normalised(make):
    targets = []
    for scale in (1.0, 1000.0):
        agent = make.built(**BOTH)
        seen = capture(agent)
        window = make.window(agent)
        window.rewards *= scale
        agent.learn(window)
        targets.append(seen[0].targets)
    np.testing.assert_allclose(targets[0], targets[1], rtol=1e-5, atol=1e-6)


def test_the_number_of_environments_may_change(make):
    agent = make.built(**BOTH)
    for n in (3, 1, 8):
        assert np.isfinite(agent.learn(make.window(agent, n=n))["policy_loss"])


def test_the_discount_of_reward_scaling_follows_the_agents(make):
    agent = make.built(**BOTH)
    reward = agent._normalizers.reward
    assert isinstance(reward, RewardNormalizer)
    assert reward.gamma == 0.99
    agent.set_hyperparams(HyperparamSet({"gamma": 0.9}))
    assert reward.gamma == 0.9


def test_statistics_are_part_of_the_state(make):
    agent, other = make.built(**BOTH), make.built(seed=5, **BOTH)
    for i in range(2):
        agent.learn(make.window(agent, n=4, seed=i))
    other.load_state_dict(agent.state_dict())  # other has seen no window and knows of one environment only
    ours, theirs = make.window(agent, n=4, seed=9), make.window(other, n=4, seed=9)
    assert agent.learn(ours) == other.learn(theirs)
    np.testing.assert_array_equal(agent._networks.flat.to_numpy(), other._networks.flat.to_numpy())


def test_saved_weights_hold_the_observation_statistics(make, tmp_path):
    agent, other = make.built(**BOTH), make.built(seed=5, **BOTH)
    agent.learn(shifted(make.window(agent)))
    agent.save_weights(str(tmp_path / "a"))
    other.load_weights(str(tmp_path / "a"))
    x = np.random.default_rng(0).standard_normal((20, 3)) * 50 + 1000
    np.testing.assert_array_equal(agent._policy.outputs(x).copy(), other._policy.outputs(x))
    agent.learn(shifted(make.window(agent, seed=1)))
    agent.save_weights(str(tmp_path / "b"))
    other.average_weights([str(tmp_path / "a"), str(tmp_path / "b")])
    np.testing.assert_array_equal(other._normalizers.observation.mean, agent._normalizers.observation.mean)


def test_agents_with_and_without_statistics_refuse_each_others_files(make, tmp_path):
    from optix_core.errors import IncompatibleCheckpoint

    plain, normalised = make.built(), make.built(**BOTH)
    plain.save_weights(str(tmp_path / "plain"))
    with pytest.raises(IncompatibleCheckpoint, match="observation_normalizer/mean is missing"):
        normalised.load_weights(str(tmp_path / "plain"))
    for ours, theirs in ((plain, normalised), (normalised, plain)):
        with pytest.raises(IncompatibleCheckpoint, match="observation_normalizer: this agent has"):
            ours.load_state_dict(theirs.state_dict())


def test_continuous_ppo_normalises_by_default_and_discrete_does_not():
    from optix_core import make_agent
    from optix_core.plugin import AgentContext
    from optix_core.testing.tiny_envs import TinyBox, TinyDiscrete
    from optix_torch import gaussian_ppo, ppo

    for env, build, expected in ((TinyDiscrete(), ppo.build, False), (TinyBox(), gaussian_ppo.build, True)):
        ctx = AgentContext(observation_space=env.observation_space, action_space=env.action_space, seed=0)
        for agent in (make_agent("PPO", env, seed=0), build(ctx)):
            found = agent._normalizers
            assert (found.observation is not None, found.reward is not None) == (expected, expected)
