"""A process that trains imports no compiler of PyTorch: it costs more than a second and 70 MiB."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from optix_torch.networks.blank import blank
from optix_torch.training.flat import FlatParameters
from optix_torch.training.light_adam import LightAdam

AGENTS = """
import sys
import gymnasium as gym
from optix_core import BatchPipeline, make_agent
for name, env in (
    ("PPO", "CartPole-v1"), ("PPO", "Pendulum-v1"), ("RecurrentPPO", "CartPole-v1"), ("DQN", "CartPole-v1"),
    ("RainbowDQN", "CartPole-v1"), ("SAC", "Pendulum-v1"), ("TD3", "Pendulum-v1"),
):
    early = {} if "PPO" in name else {"hyperparams": {"learning_starts": 64}}
    agent = make_agent("optix-torch:" + name, gym.make(env), seed=0, **early)
    pipeline = BatchPipeline(gym.make(env), agent, 128)
    pipeline.setup()
    agent.learn(next(pipeline.episodes()))
    pipeline.teardown()
    agent.load_state_dict(agent.state_dict())
    print(name, *[module for module in ("torch._dynamo", "sympy") if module in sys.modules])
"""


def test_no_agent_imports_the_compiler_to_learn_and_to_be_stored():
    done = subprocess.run([sys.executable, "-c", AGENTS], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["PPO", "PPO", "RecurrentPPO", "DQN", "RainbowDQN", "SAC", "TD3"]


def test_the_check_can_see_the_compiler():
    code = "import sys, torch; torch.optim.Adam([torch.zeros(1)]); print('torch._dynamo' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "True\n"
    )


def network() -> nn.Sequential:
    drawn = np.random.default_rng(0)
    layers = nn.Sequential(blank(nn.Linear, 3, 5), nn.Tanh(), blank(nn.Linear, 5, 2))
    for parameter in layers.parameters():
        parameter.data = torch.from_numpy(drawn.standard_normal(parameter.shape).astype(np.float32))
    return layers


def test_it_is_adam_bit_by_bit_and_takes_over_its_state():
    ours, theirs = network(), network()
    light = LightAdam(ours.parameters(), lr=1e-2, eps=1e-5)
    adam = torch.optim.Adam(theirs.parameters(), lr=1e-2, eps=1e-5)
    rows = torch.from_numpy(np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32))
    for step in range(20):
        for net, optimizer in ((ours, light), (theirs, adam)):
            optimizer.zero_grad()
            net(rows).square().mean().backward()
            optimizer.step()
        if step == 9:
            light.load_state_dict(deepcopy(adam.state_dict()))
            adam.load_state_dict(deepcopy(light.state_dict()))
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_flat_vector_is_stepped_by_it_too():
    net = network()
    flat = FlatParameters(list(net.parameters()))
    assert flat.join(LightAdam(net.parameters(), lr=1e-3))


@pytest.mark.parametrize(
    "kind, sizes", [(nn.Linear, (4, 3)), (nn.Conv2d, (3, 8, 2)), (nn.GRU, (4, 3)), (nn.LSTM, (4, 3))]
)
def test_a_blank_layer_draws_nothing_and_works_as_any_other(kind, sizes):
    before = torch.get_rng_state()
    layer = blank(kind, *sizes)
    assert torch.equal(torch.get_rng_state(), before)
    usual = kind(*sizes)
    torch.set_rng_state(before)
    shapes = {name: p.shape for name, p in usual.named_parameters()}
    assert {name: p.shape for name, p in layer.named_parameters()} == shapes
    layer.load_state_dict(usual.state_dict())
    rows = torch.ones((2, 3, 8, 8)) if kind is nn.Conv2d else torch.ones((2, 4))
    ours, theirs = layer(rows), usual(rows)
    assert torch.equal(*(out if isinstance(out, torch.Tensor) else out[0] for out in (ours, theirs)))
