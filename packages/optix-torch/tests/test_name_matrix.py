"""Every algorithm with every kind of space: the right agent, or an error that names those that can."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from optix_core import VectorBatchPipeline, make_agent
from optix_core.errors import SpaceError

ACTIONS = {
    "Discrete": Discrete(3),
    "Discrete from 2": Discrete(3, start=2),
    "MultiDiscrete": MultiDiscrete([2, 3]),
    "MultiBinary": MultiBinary(3),
    "Box": Box(-2.0, 2.0, (2,)),
    "unbounded Box": Box(-np.inf, np.inf, (2,)),
    "integer Box": Box(0, 5, (2,), np.int32),
    "Dict": Dict(a=Discrete(2)),
    "Tuple": Tuple([Discrete(2)]),
    "Text": Text(3),
}
OBSERVATIONS = {
    "Box": Box(-1.0, 1.0, (3,)),
    "matrix": Box(-1.0, 1.0, (3, 2), np.float64),
    "image": Box(0, 255, (36, 36, 1), np.uint8),
    "Discrete": Discrete(4, start=1),
    "MultiDiscrete": MultiDiscrete([2, 3]),
    "MultiBinary": MultiBinary(3),
    "Dict": Dict(camera=Box(0, 255, (36, 36, 1), np.uint8), joints=Box(-1.0, 1.0, (2,)), mode=Discrete(2)),
    "Tuple": Tuple([Box(-1.0, 1.0, (2,)), MultiBinary(2)]),
}
ANY = {"Discrete", "Discrete from 2", "MultiDiscrete", "MultiBinary"}
ACTS_IN: dict[str, dict[str, set[str]]] = {
    "PPO": {"TorchPPOAgent": ANY, "TorchGaussianPPOAgent": {"Box", "unbounded Box"}},
    "GaussianPPO": {"TorchGaussianPPOAgent": {"Box", "unbounded Box"}},
    "RecurrentPPO": {"TorchRecurrentPPOAgent": ANY | {"Box", "unbounded Box"}},
    "DQN": {"TorchDQNAgent": {"Discrete", "Discrete from 2"}},
    "Rainbow": {"TorchRainbowDQNAgent": {"Discrete", "Discrete from 2"}},
    "RainbowDQN": {"TorchRainbowDQNAgent": {"Discrete", "Discrete from 2"}},
    "SAC": {"TorchSACAgent": {"Box"}},
    "TD3": {"TorchTD3Agent": {"Box"}},
}
WITHOUT_A_NAME = {
    "Discrete": "TorchPPOAgent",
    "Discrete from 2": "TorchPPOAgent",
    "MultiDiscrete": "TorchPPOAgent",
    "MultiBinary": "TorchPPOAgent",
    "Box": "TorchSACAgent",
}
SMALL = {"off": {"learning_starts": 4, "batch_size": 4, "replay_capacity": 64}, "on": {}}


class Random(gym.Env[Any, Any]):
    """Any spaces; complains about actions that are not in its own."""

    def __init__(self, observations: Any, actions: Any) -> None:
        self.observation_space, self.action_space = observations, actions
        observations.seed(0)
        self._t = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), (action, self.action_space)
        self._t += 1
        return self.observation_space.sample(), 1.0, self._t % 5 == 0, False, {}


def options_of(name: str) -> dict[str, Any]:
    return SMALL["on" if "PPO" in name else "off"]


@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("name", ACTS_IN)
def test_every_algorithm_in_every_action_space(name, actions):
    env = Random(OBSERVATIONS["Box"], ACTIONS[actions])
    wanted = [kind for kind, able in ACTS_IN[name].items() if actions in able]
    if wanted:
        agent = make_agent(name, env, seed=0, device="cpu")
        assert type(agent).__name__ == wanted[0]
        assert env.action_space.contains(agent.act(env.reset()[0]))
        return
    with pytest.raises(SpaceError) as refused:
        make_agent(name, env, seed=0, device="cpu")
    text = str(refused.value)
    if actions in ANY or actions == "Box":
        able = {n for n, kinds in ACTS_IN.items() if any(actions in k for k in kinds.values())} - {
            "RainbowDQN"
        }
        assert name in text
        named = {n for n in able if f":{n}" in text}
        assert named == able - ({"PPO"} if actions == "Box" else set())  # its agent for Box is GaussianPPO
    elif actions.endswith("Box") and (name in {"DQN", "Rainbow", "RainbowDQN"} or actions == "unbounded Box"):
        assert "GaussianPPO" in text
    else:
        assert "wrap" in text.lower()


@pytest.mark.parametrize("actions", WITHOUT_A_NAME)
def test_the_environment_alone_decides(actions):
    env = Random(OBSERVATIONS["Box"], ACTIONS[actions])
    assert type(make_agent(env, device="cpu")).__name__ == WITHOUT_A_NAME[actions]


def test_deterministic_asks_for_td3():
    env = Random(OBSERVATIONS["Box"], ACTIONS["Box"])
    assert type(make_agent(env, device="cpu", deterministic=True)).__name__ == "TorchTD3Agent"


@pytest.mark.parametrize("observations", OBSERVATIONS)
@pytest.mark.parametrize("name", [name for name in ACTS_IN if name != "RainbowDQN"])
def test_every_algorithm_learns_from_every_observation_space(name, observations):
    actions = ACTIONS["Discrete from 2" if "Discrete" in next(iter(ACTS_IN[name].values())) else "Box"]

    def make_env() -> Random:
        return Random(OBSERVATIONS[observations], actions)

    agent = make_agent(name, make_env(), seed=0, device="cpu", **options_of(name))
    pipeline = VectorBatchPipeline([make_env, make_env], agent, 8, seed=0)
    pipeline.setup()
    window = next(iter(pipeline.episodes()))
    report = agent.learn(window)
    pipeline.teardown()
    assert report["n_updates"] > 0
    assert all(np.isfinite(value) for value in report.values() if isinstance(value, float))
