"""Learning rate and clip ratio that fall: by how much, what others see of it, and that a resumed agent goes on so."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core import make_agent
from optix_core.agents.decay import Decay
from optix_core.testing.tiny_envs import SpaceProbe

AGENTS = ["PPO", "GaussianPPO", "RecurrentPPO"]


def seen_by(agent, monkeypatch):
    """What each update is called with: learning rate of the optimizer, learning rate and clip ratio."""
    networks, found = agent._networks, []
    update = networks.update

    def spy(batch, hp, rng):
        found.append((networks.training.learning_rate(), hp["learning_rate"], hp["clip_ratio"]))
        return update(batch, hp, rng)

    monkeypatch.setattr(networks, "update", spy)
    return found


@pytest.mark.parametrize("steps", [0, 64])
@pytest.mark.parametrize("name", AGENTS)
def test_both_fall_linearly_to_zero_and_stay_there(name, steps, monkeypatch):
    agent, windows = built(name, steps, 6)
    found = seen_by(agent, monkeypatch)
    for window in windows:
        agent.learn(window)
        assert agent.get_hyperparams().params["learning_rate"] == 2e-3  # what it falls from
        assert agent._networks.training.learning_rate() == 2e-3
    left = [0.75, 0.5, 0.25, 0.0, 0.0, 0.0] if steps else [1.0] * 6
    np.testing.assert_allclose([f[0] for f in found], 2e-3 * np.array(left), rtol=1e-12)
    assert [f[1] for f in found] == [f[0] for f in found]
    np.testing.assert_allclose([f[2] for f in found], 0.2 * np.array(left), rtol=1e-12)


@pytest.mark.parametrize("name", AGENTS)
def test_a_resumed_agent_goes_on_falling(name, monkeypatch):
    agent, windows = built(name, 64, 3)
    for window in windows[:2]:
        agent.learn(window)
    other, _ = built(name, 64, 0)
    other.load_state_dict(agent.state_dict())
    found = seen_by(other, monkeypatch)
    other.learn(windows[2])
    assert found[0][0] == 2e-3 * 0.25


def test_nothing_changes_at_the_end_of_the_fall():
    agent, windows = built("PPO", 16, 2)
    agent.learn(windows[0])
    before = agent._networks.flat.to_numpy()
    agent.learn(windows[1])
    np.testing.assert_array_equal(agent._networks.flat.to_numpy(), before)


def test_an_error_in_an_update_leaves_the_rate_as_it_was():
    agent, _ = built("PPO", 64, 0)
    hp, training = agent.get_hyperparams().params, agent._networks.training
    with pytest.raises(KeyError), Decay().applied(hp, 16, training):
        raise KeyError
    assert training.learning_rate() == 2e-3


def built(name, steps, n):
    """An agent and ``n`` windows of 16 steps that it collected."""
    from gymnasium import spaces

    from optix_core.pipelines import BatchPipeline

    actions = spaces.Box(-1, 1, (2,), np.float32) if name == "GaussianPPO" else spaces.Discrete(3)
    env = SpaceProbe(spaces.Box(-1, 1, (4,), np.float32), actions)
    agent = make_agent(
        name,
        env,
        seed=0,
        learning_rate=2e-3,
        learning_rate_decay_steps=steps,
        clip_ratio_decay_steps=steps,
        n_epochs=1,
        minibatch_size=16,
    )
    pipeline = BatchPipeline(env, agent, window_size=16, seed=0)
    pipeline.setup()
    windows = pipeline.episodes()
    return agent, [next(windows) for _ in range(n)]
