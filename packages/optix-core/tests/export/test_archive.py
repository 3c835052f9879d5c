"""Policies in files: the same actions after a round trip, and clear errors."""

from __future__ import annotations

import json

import gymnasium as gym
import numpy as np
import pytest

from optix_core.errors import ConfigError, CorruptCheckpoint, IncompatibleCheckpoint, SpaceError
from optix_core.export import GraphBuilder, PolicyArchive, PolicyGraph, export_numpy, export_onnx
from optix_core.rl.spaces import BoxScaler, describe_space
from optix_core.rl.structured import pack

RNG = np.random.default_rng(0)
ACTIONS = gym.spaces.Box(np.array([-2.0, 0.0], np.float32), np.array([2.0, 5.0], np.float32))


def f(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


class Linear:
    """A policy of one layer over a Dict observation, with a memory if asked for."""

    def __init__(self, *, recurrent: bool = False, slip: float = 0.0) -> None:
        self.space = gym.spaces.Dict(
            {"pose": gym.spaces.Box(-9, 9, (3,), np.float32), "mode": gym.spaces.Discrete(4)}
        )
        self.observation_dtype = describe_space(self.space).dtype
        self.memory_size = 2 if recurrent else 0
        self.weight, self.bias, self.slip = f(2, 7 + self.memory_size), f(2), slip
        self.scaler = BoxScaler(ACTIONS)

    def _unit(self, observations, memory):
        ones = np.eye(4, dtype=np.float32)[observations["mode"]]
        return np.concatenate([observations["pose"], ones, memory], axis=1) @ self.weight.T + self.bias

    def act_batch(self, observations, *, deterministic):
        assert deterministic
        return self._unit(observations, np.zeros((len(observations), 0), np.float32))

    def act_batch_with_memory(self, observations, memory, *, deterministic):
        assert deterministic
        unit = self._unit(observations, memory)
        return unit, np.tanh(unit)

    def env_actions(self, actions):
        return self.scaler.to_box(actions)

    def policy_graph(self) -> PolicyGraph:
        b = GraphBuilder()
        parts = b.observations(self.space)
        x = [b.add("cast", parts["pose",][0]), b.add("one_hot", parts["mode",][0], n=[4], start=[0])]
        before = b.memory(2) if self.memory_size else None
        unit = b.mlp(
            b.add("concat", *x, *([before] if before else [])),
            [(self.weight + self.slip, self.bias)],
            ["linear"],
        )
        if before:
            b.remember(before, b.add("activation", unit, name="tanh"))
        action = b.add("to_box", unit, weights=self.scaler.constants())
        return b.finish(
            action,
            action_space=describe_space(ACTIONS),
            named={"unit": unit},
            info={"agent": "Linear", "ranges": {"mode": [0, 3]}},
        )


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("export", [export_numpy, export_onnx])
def test_what_is_written_acts_as_the_agent(export, recurrent, tmp_path):
    if export is export_onnx:
        pytest.importorskip("onnxruntime")
    agent = Linear(recurrent=recurrent)
    found = export(agent, tmp_path / "policy")
    assert found.observations >= 1000
    assert found.largest_difference <= 1e-5
    sidecar = json.loads((tmp_path / "policy.json").read_text())
    assert sidecar["verification"]["observations"] == found.observations
    assert sidecar["memory_size"] == agent.memory_size
    assert sorted(p.name for p in tmp_path.iterdir()) == ["policy", "policy.json"]


@pytest.mark.parametrize("recurrent", [False, True])
def test_an_archive_acts_on_single_observations_and_remembers(recurrent, tmp_path):
    agent = Linear(recurrent=recurrent)
    export_numpy(agent, tmp_path / "p.safetensors")
    policy = PolicyArchive.load(tmp_path / "p.safetensors")
    memory = np.zeros((1, agent.memory_size), np.float32)
    agent.space.seed(0)
    for t in range(5):
        if t == 3:
            policy.reset()
            memory = np.zeros_like(memory)
        seen = agent.space.sample()
        row = pack(seen, agent.observation_dtype)[None]
        unit, memory = (
            agent.act_batch_with_memory(row, memory, deterministic=True)
            if recurrent
            else (agent.act_batch(row, deterministic=True), memory)
        )
        action = policy.act(seen)
        assert ACTIONS.contains(action)
        np.testing.assert_allclose(action, agent.env_actions(unit)[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("export", [export_numpy, export_onnx])
def test_a_file_that_differs_from_the_agent_is_not_written(export, tmp_path):
    if export is export_onnx:
        pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigError, match="was not written: its actions differ"):
        export(Linear(slip=1e-3), tmp_path / "policy")
    assert list(tmp_path.iterdir()) == []


def test_bad_files_and_observations_are_refused(tmp_path):
    path = tmp_path / "p.safetensors"
    export_numpy(Linear(), path)
    policy = PolicyArchive.load(path)
    with pytest.raises(SpaceError, match=r"input pose is of shape \(1, 2\); expected \(1, 3\)"):
        policy.act({"pose": np.zeros(2, np.float32), "mode": 1})
    with pytest.raises(SpaceError, match="input mode is missing"):
        policy.act({"pose": np.zeros(3, np.float32)})
    data = path.read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptCheckpoint, match="not a readable policy file"):
        PolicyArchive.load(tmp_path / "half")
    (tmp_path / "newer").write_bytes(data.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    with pytest.raises(IncompatibleCheckpoint, match="policy format 9"):
        PolicyArchive.load(tmp_path / "newer")
    with pytest.raises(FileNotFoundError):
        PolicyArchive.load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="there is no directory"):
        export_numpy(Linear(), tmp_path / "no" / "p")


def test_agents_without_a_description_are_told_what_is_missing(tmp_path):
    with pytest.raises(ConfigError, match=r"has no policy_graph\(\)"):
        export_numpy(object(), tmp_path / "p")
