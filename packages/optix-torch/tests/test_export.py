"""Policies outside of PyTorch: ONNX and numpy files act as the agent does, for every agent and kind of observation."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from optix_core import make_agent
from optix_core.errors import ConfigError
from optix_core.export import PolicyArchive, export_numpy, export_onnx
from optix_core.rl.spaces import describe_space
from optix_core.rl.structured import pack
from optix_core.testing.tiny_envs import SpaceProbe

OBSERVATIONS = {
    "flat": spaces.Box(-np.inf, np.inf, (5,), np.float32),
    "grid": spaces.Box(-1.0, 1.0, (3, 4), np.float64),
    "image": spaces.Box(0, 255, (40, 36, 3), np.uint8),
    "choice": spaces.Discrete(6, start=2),
    "choices": spaces.MultiDiscrete([3, 4]),
    "bits": spaces.MultiBinary(4),
    "parts": spaces.Dict(
        {
            "pose": spaces.Box(-9, 9, (3,), np.float32),
            "mode": spaces.Discrete(4),
            "more": spaces.Tuple((spaces.MultiBinary(3), spaces.Box(0, 1, (2, 2), np.float32))),
        }
    ),
}
ACTIONS = {
    "discrete": spaces.Discrete(4, start=3),
    "multi_discrete": spaces.MultiDiscrete([2, 3, 4]),
    "multi_binary": spaces.MultiBinary(5),
    "box": spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 0.5], np.float32)),
}
AGENTS = {
    "PPO": ["discrete", "multi_discrete", "multi_binary"],
    "GaussianPPO": ["box"],
    "DQN": ["discrete"],
    "Rainbow": ["discrete"],
    "SAC": ["box"],
    "TD3": ["box"],
    "RecurrentPPO": ["discrete", "box"],
}
CASES = [
    (name, actions, observations)
    for name, kinds in AGENTS.items()
    for actions in kinds
    for observations in OBSERVATIONS
    if observations == "flat" or (actions in {"discrete", "box"} and observations != "image")
] + [("PPO", "discrete", "image"), ("SAC", "box", "image")]


def agent_for(name: str, actions: str, observations: str, **options):
    env = SpaceProbe(OBSERVATIONS[observations], ACTIONS[actions])
    agent = make_agent(name, env, seed=1, **options)
    # biases and output layers start (nearly) at zero, which would hide differences
    agent.perturb_weights(0.3)
    for module in agent._trainables[next(iter(agent._trainables))].modules.values():
        with torch.no_grad():
            for parameter in module.parameters():
                noise = np.random.default_rng(parameter.numel()).standard_normal(parameter.shape)
                parameter.add_(torch.from_numpy(0.1 * noise).to(parameter.dtype))
    return agent


@pytest.mark.parametrize("name, actions, observations", CASES, ids=["-".join(case) for case in CASES])
def test_files_act_as_the_agent(name, actions, observations, tmp_path):
    agent = agent_for(name, actions, observations)
    for export in (export_onnx, export_numpy):
        found = export(agent, tmp_path / "policy")
        assert found.observations >= 1000
        assert found.largest_difference <= (1e-4 if observations == "image" else 1e-5)
        assert found.ties <= found.observations // 100


@pytest.mark.parametrize("name", AGENTS)
def test_normalisers_and_options_are_part_of_the_file(name, tmp_path):
    options = {"normalize_observations": True}
    if name == "DQN":
        options["dueling"] = True
    if name == "RecurrentPPO":
        options["cell"] = "gru"
    agent = agent_for(name, AGENTS[name][0], "flat", **options)
    normalizer = agent._observation_normalizer
    assert normalizer is not None
    normalizer.update(np.random.default_rng(0).normal(50.0, 7.0, (500, 5)))
    export_onnx(agent, tmp_path / "policy.onnx")
    export_numpy(agent, tmp_path / "policy.safetensors")
    policy = PolicyArchive.load(tmp_path / "policy.safetensors")
    seen = np.random.default_rng(1).normal(50.0, 7.0, 5).astype(np.float32)
    action = policy.act(seen)
    np.testing.assert_allclose(action, agent.act(seen, deterministic=True), rtol=1e-4, atol=1e-4)
    assert ACTIONS[AGENTS[name][0]].contains(action)


@pytest.mark.parametrize("name", ["PPO", "DQN", "Rainbow"])
def test_masks_are_an_input_on_request(name, tmp_path):
    agent = agent_for(name, "discrete", "flat")
    found = export_onnx(agent, tmp_path / "masked", action_mask=True)
    assert found.largest_difference <= 1e-5
    export_numpy(agent, tmp_path / "masked", action_mask=True)
    graph = agent.policy_graph(action_mask=True)
    policy = PolicyArchive(graph)
    mask = np.array([[False, True, False, True]])
    seen = np.random.default_rng(2).standard_normal((1, 5)).astype(np.float32)
    values = policy.values({"observation": seen, "action_mask": mask})
    assert values["action"][0] in {4, 6}
    free = policy.values({"observation": seen})
    np.testing.assert_array_equal(
        free["action"], agent.env_actions(agent.act_batch(seen, deterministic=True))
    )


def test_a_native_mask_needs_no_request(tmp_path):
    space = spaces.Dict(
        {"observation": spaces.Box(-1, 1, (3,), np.float32), "action_mask": spaces.MultiBinary(4)}
    )
    agent = make_agent("PPO", SpaceProbe(space, spaces.Discrete(4)), seed=0)
    export_onnx(agent, tmp_path / "policy.onnx")
    assert {i.name for i in agent.policy_graph().inputs} == {"observation", "action_mask"}


def test_what_cannot_be_described_says_which_layer(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return x.sin()

    actor, critic = nn.Sequential(nn.Linear(3, 2), Odd()), nn.Linear(3, 1)
    from optix_torch import TorchPPOAgent

    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()])
    agent = TorchPPOAgent(actor, critic, optimizer)
    with pytest.raises(ConfigError, match="a network with a Odd cannot be exported"):
        agent.export_onnx(str(tmp_path / "p.onnx"))
    assert not list(tmp_path.iterdir())


def test_agents_made_by_hand_are_exported_too(tmp_path):
    from optix_torch import TorchPPOAgent

    actor, critic = (
        nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.LayerNorm(8), nn.Linear(8, 2)),
        nn.Linear(3, 1),
    )
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()])
    agent = TorchPPOAgent(actor, critic, optimizer, seed=0)
    agent.export_onnx(str(tmp_path / "p.onnx"))
    export_numpy(agent, tmp_path / "p.safetensors")


def test_a_numpy_file_needs_no_pytorch(tmp_path):
    agent = agent_for("PPO", "discrete", "parts")
    export_numpy(agent, tmp_path / "policy")
    space = OBSERVATIONS["parts"]
    space.seed(3)
    seen = space.sample()
    expected = agent.env_actions(
        agent.act_batch(pack(seen, describe_space(space).dtype)[None], deterministic=True)
    )[0]
    code = (
        "import sys, numpy as np\n"
        "from optix_core.export import PolicyArchive\n"
        f"policy = PolicyArchive.load({str(tmp_path / 'policy')!r})\n"
        f"pose = np.array({seen['pose'].tolist()}, np.float32)\n"
        f"box = np.array({seen['more'][1].tolist()}, np.float32)\n"
        f"bits = np.array({seen['more'][0].tolist()}, np.int8)\n"
        f"print(policy.act({{'pose': pose, 'mode': {int(seen['mode'])}, 'more': (bits, box)}}))\n"
        "assert 'torch' not in sys.modules\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) == expected


def test_training_is_not_touched(tmp_path):
    env = gym.make("CartPole-v1")
    agent = make_agent("PPO", env, seed=0)
    before = agent.state_dict()["streams"]
    agent.export_onnx(str(tmp_path / "p.onnx"))
    assert agent.state_dict()["streams"] == before
