"""Which agent does a name give for which spaces: the right one, or an error that names those that can."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from optix_core.errors import AgentResolutionError
from optix_core.factory import make_agent, resolve_agent
from optix_torch import plugin

ACTIONS = {
    "discrete": Discrete(3),
    "multi_discrete": MultiDiscrete([2, 3]),
    "multi_binary": MultiBinary(2),
    "box": Box(-2.0, 1.0, (2,)),
}
NO_ACTIONS = {"dict": Dict({"a": Discrete(2)}), "tuple": Tuple((Discrete(2), Discrete(2)))}
OBSERVATIONS = {
    "box": Box(-1.0, 1.0, (3,)),
    "image": Box(0, 255, (36, 36, 1), np.uint8),
    "discrete": Discrete(4),
    "multi_discrete": MultiDiscrete([2, 3]),
    "multi_binary": MultiBinary(3),
    "dict": Dict({"goal": Box(-1.0, 1.0, (2,)), "at": Discrete(3)}),
    "tuple": Tuple((Box(-1.0, 1.0, (2,)), Discrete(2))),
}
CHOICES = ("discrete", "multi_discrete", "multi_binary")
EXPECTED = {
    "PPO": {**dict.fromkeys(CHOICES, "TorchPPOAgent"), "box": "TorchGaussianPPOAgent"},
    "GaussianPPO": {"box": "TorchGaussianPPOAgent"},
    "RecurrentPPO": dict.fromkeys(ACTIONS, "TorchRecurrentPPOAgent"),
    "DQN": {"discrete": "TorchDQNAgent"},
    "Rainbow": {"discrete": "TorchRainbowDQNAgent"},
    "SAC": {"box": "TorchSACAgent"},
    "TD3": {"box": "TorchTD3Agent"},
}
"""By name and action space; every observation space fits every agent."""
OFFERED = {name for spec in plugin.optix_agents() for name in (spec.name, spec.algorithm)}


class Spaces(gym.Env):
    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space


def asked(name):
    if name not in OFFERED:
        pytest.skip(f"{name} is not offered")
    return f"torch:{name}"


def test_the_table_knows_every_name_that_is_offered():
    assert set(EXPECTED) >= OFFERED - {"RainbowDQN"}


@pytest.mark.parametrize("seen", OBSERVATIONS)
@pytest.mark.parametrize("done", ACTIONS)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_name_gives_the_agent_that_fits(name, done, seen):
    env = Spaces(OBSERVATIONS[seen], ACTIONS[done])
    expected = EXPECTED[name].get(done)
    if expected is None:
        with pytest.raises(AgentResolutionError) as caught:
            resolve_agent(asked(name), env)
        message = str(caught.value)
        assert name in message
        assert "Agents that can act there" in message
        able = [known for known, fits in EXPECTED.items() if done in fits and known in OFFERED]
        assert any(known in message.partition("Agents that can act there")[2] for known in able)
        return
    agent = make_agent(asked(name), env, seed=0, device="cpu")
    assert type(agent).__name__ == expected
    assert agent.act(OBSERVATIONS[seen].sample()) in ACTIONS[done]


@pytest.mark.parametrize("done", NO_ACTIONS)
@pytest.mark.parametrize("name", EXPECTED)
def test_actions_with_parts_are_refused_with_what_to_do(name, done):
    with pytest.raises(AgentResolutionError, match=r"no loaded agent can act in a .* action space"):
        resolve_agent(asked(name), Spaces(OBSERVATIONS["box"], NO_ACTIONS[done]))


@pytest.mark.parametrize("done", ACTIONS)
def test_without_a_name_there_is_an_agent_for_every_action_space(done):
    agent = make_agent(Spaces(OBSERVATIONS["box"], ACTIONS[done]), seed=0, device="cpu")
    assert agent.act(np.zeros(3, np.float32)) in ACTIONS[done]
