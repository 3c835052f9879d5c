"""Ensembles, variants and first aid with agents that have networks."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch

from optix_core.base_agent import BatchActionProbabilities, StepwiseLearning
from optix_core.errors import SpaceError
from optix_core.evolution import EnsembleAgent, PolicyManager
from optix_core.factory import make_agent
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.rl.spaces import describe_space
from optix_core.rl_optimizer import RLOptimizer
from optix_core.runs.decision_log import DecisionLog
from optix_core.testing.agents.front import check_agent
from optix_core.testing.tiny_envs import TinyBox, TinyDiscrete
from optix_core.testing.windows import collect
from optix_core.types import HyperparamSet

QUICK = {"hidden_sizes": (8,)}
REPLAYING = {"learning_starts": 20, "batch_size": 8, **QUICK}


def members(name, env, count=2, seed=0, **options):
    return [
        make_agent(
            name, env, seed=seed + 50 * k, **(REPLAYING if name in {"DQN", "SAC"} else QUICK) | options
        )
        for k in range(count)
    ]


def ensemble(name, env, count=2, seed=0, **options):
    agents = members(name, env, count, seed, **options)
    manager = PolicyManager(seed=seed)
    for k, agent in enumerate(agents):
        manager.add_agent(agent, 1.0 + k)
    return EnsembleAgent(
        manager, agents[0], agent_factory=lambda: members(name, env, 1, seed=seed + 999, **options)[0]
    )


@pytest.mark.parametrize(
    "name, kinds",
    [
        ("PPO", ("discrete", "multi_discrete", "multi_binary")),
        ("GaussianPPO", ("box",)),
        ("DQN", ("discrete",)),
        pytest.param("SAC", ("box",), marks=pytest.mark.slow),
    ],
)
def test_the_conformance_kit_is_green_over_torch_members(name, kinds):
    def build(ctx):
        if describe_space(ctx.action_space).kind not in kinds:
            raise SpaceError("a name of an algorithm would find an agent for this space, too")
        return ensemble(name, ctx.env, seed=ctx.seed)

    report = check_agent(build, action_spaces=kinds)
    assert report.ok, str(report)


@pytest.mark.parametrize("name", ["PPO", "DQN", "GaussianPPO", "SAC"])
def test_ensemble_act_is_a_valid_action_and_learn_works(name):
    """On-policy and off-policy, for choices and for a Box."""
    env = TinyDiscrete() if name in {"PPO", "DQN"} else TinyBox()
    agent = ensemble(name, env, count=3)
    assert isinstance(agent, StepwiseLearning) == (name in {"DQN", "SAC"})
    for window in range(4):
        data = collect(agent, env, 33, seed=window, window=window)
        for observation in data.observations[::5]:
            for deterministic in (False, True):
                assert env.action_space.contains(agent.act(observation, deterministic=deterministic))
        found = agent.learn(data)
        assert all(math.isfinite(v) for v in found.values() if isinstance(v, float))


def test_the_acting_member_learns_from_its_own_actions():
    """The probability ratio before the first step is 1: KL and clipping after an update of step size 0 are 0."""
    env = TinyDiscrete()
    agent = ensemble("PPO", env, count=3)
    for member in agent.policy_manager.agents:
        member.set_hyperparams(HyperparamSet({"learning_rate": 1e-12}))
    for window in range(3):
        found = agent.learn(collect(agent, env, 33, seed=window, window=window))
        assert found["member"] == window
        assert found["approx_kl"] == pytest.approx(0.0, abs=1e-9)
        assert found["clip_fraction"] == 0.0


def test_probabilities_in_batches_are_those_of_single_observations():
    env = TinyDiscrete()
    agent = members("PPO", env, 1)[0]
    assert isinstance(agent, BatchActionProbabilities)
    seen = np.random.default_rng(0).random((5, *env.observation_space.shape), np.float32)
    np.testing.assert_allclose(
        agent.action_probs_batch(seen), [agent.action_probs(row) for row in seen], rtol=1e-6
    )


def test_greedy_batches_agree_with_single_actions_where_actions_have_other_names():
    class Shifted(TinyDiscrete):
        def __init__(self):
            super().__init__()
            self.action_space = gym.spaces.Discrete(int(self.action_space.n), start=5)

    env = Shifted()
    agent = ensemble("PPO", env, count=3)
    seen = np.random.default_rng(0).random((20, *env.observation_space.shape), np.float32)
    batch = agent.env_actions(agent.act_batch(seen, deterministic=True))
    assert batch.tolist() == [agent.act(row, deterministic=True) for row in seen]
    assert set(batch.tolist()) <= set(range(5, 5 + int(env.action_space.n)))


class Masked(gym.Env):
    """Two of four actions are allowed, others in every step; what is not allowed raises."""

    observation_space = gym.spaces.Dict(
        {"observation": gym.spaces.Box(-1, 1, (3,), np.float32), "action_mask": gym.spaces.MultiBinary(4)}
    )
    action_space = gym.spaces.Discrete(4)

    def _seen(self):
        self.allowed = self.rng.choice(4, 2, replace=False).tolist()
        mask = np.isin(np.arange(4), self.allowed).astype(np.int8)
        return {"observation": self.rng.uniform(-1, 1, 3).astype(np.float32), "action_mask": mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.rng, self.t = np.random.default_rng(seed), 0
        return self._seen(), {}

    def step(self, action):
        assert int(action) in self.allowed
        self.t += 1
        return self._seen(), 1.0, False, self.t >= 10, {}


@pytest.mark.parametrize("name", ["PPO", "DQN"])
def test_what_a_mask_forbids_is_never_done(name):
    env = Masked()
    agent = ensemble(name, env, count=3)
    pipeline, validation = (
        BatchPipeline(env, window_size=32, seed=0),
        EvaluationPipeline(Masked, episodes=4, seed=0),
    )
    for one in (pipeline, validation):
        one.set_agent(agent)
        one.setup()
    windows = pipeline.episodes()
    for _ in range(4):
        agent.learn(next(windows))
    assert [e.episode_return for e in validation.evaluate(0).episodes] == [10.0] * 4
    observation, _ = env.reset(seed=1)
    for deterministic in (True, False) * 5:
        observation, *_ = env.step(agent.act(observation, deterministic=deterministic))


def test_noise_from_a_seed_is_the_same_whatever_was_drawn_before():
    env = TinyDiscrete()
    one, two = members("PPO", env, 1)[0], members("PPO", env, 1)[0]
    two.perturb_weights(0.0)
    for agent in (one, two):
        agent.perturb_weights(0.1, seed=4)
    observation = np.ones(env.observation_space.shape, np.float32)
    np.testing.assert_array_equal(one.action_probs(observation), two.action_probs(observation))
    two.perturb_weights(0.1, seed=5)
    assert not np.array_equal(one.action_probs(observation), two.action_probs(observation))


def optimizer(path, agent, *, windows, env=TinyDiscrete, **options):
    return RLOptimizer(
        agent=agent,
        pipeline=BatchPipeline(env(), window_size=32, seed=3),
        val_pipeline=EvaluationPipeline(env, episodes=4, seed=3),
        optimizer="fixed",
        run_dir=path,
        max_episodes=windows,
        validation_share=100.0,
        probe_windows=0,
        confirm_episodes=8,
        handle_signals=False,
        **options,
    )


def told(path, kind):
    return [e.numbers for e in DecisionLog(path / "events.jsonl").read() if e.kind == kind]


def test_an_ensemble_trains_in_a_run_and_resumes_exactly(tmp_path):
    whole = ensemble("PPO", TinyDiscrete())
    optimizer(tmp_path / "whole", whole, windows=9).run()
    cut = ensemble("PPO", TinyDiscrete())
    optimizer(tmp_path / "cut", cut, windows=5).run()
    again = ensemble("PPO", TinyDiscrete(), seed=77)
    optimizer(tmp_path / "cut", again, windows=9, resume=True).run()
    np.testing.assert_equal(again.state_dict()["members"], whole.state_dict()["members"])
    assert again.acting_member == whole.acting_member


def test_spawn_on_dormant_continues_training_with_a_network(tmp_path):
    """Hyperparameters move inside their ranges, weights a little, and windows go on."""
    agent = members("PPO", TinyDiscrete(), 1)[0]
    manager = PolicyManager(max_spawns=2, seed=1)
    result = optimizer(
        tmp_path / "run",
        agent,
        windows=300,
        callbacks=[manager.as_callback(agent, lambda: members("PPO", TinyDiscrete(), 1, seed=8)[0])],
        plateau_threshold=2,
        dormant_threshold=8,
        convergence_patience=1,
        delta=0.5,
    ).run()
    spawned = told(tmp_path / "run", "spawned")
    assert len(spawned) == 2
    assert result.stop_reason.name == "VARIANTS_USED_UP"
    for one in spawned:
        assert one["weight_noise"] > 0
        assert one["changed"]
        for name, (_, after) in one["changed"].items():
            low, high = type(agent).default_param_bounds[name]
            assert low <= after <= high
    assert manager.ensemble_size >= 2
    observation = np.zeros(TinyDiscrete().observation_space.shape, np.float32)
    assert TinyDiscrete().action_space.contains(manager.ensemble_action(observation, deterministic=True))


def test_diagnostic_controller_leaves_entropy_coef_of_a_gaussian_policy_alone(tmp_path):
    """With the agent itself: its standard deviation is 0.1."""
    agent = members("GaussianPPO", TinyBox(), 1)[0]
    with torch.no_grad():
        agent._networks.actor.log_std.fill_(math.log(0.1))
    agent.set_hyperparams(HyperparamSet({"entropy_coef": 0.01, "learning_rate": 1e-6}))
    optimizer(
        tmp_path / "run", agent, windows=12, env=TinyBox, diagnostic_controller=True, diag_min_episodes=2
    ).run()
    entropies = [w["diagnostics"]["entropy"] for w in told(tmp_path / "run", "window")]
    assert all(e < 0 for e in entropies)
    assert agent.get_hyperparams().params["entropy_coef"] == 0.01
    assert "ENTROPY_COLLAPSE" not in [d["rule"] for d in told(tmp_path / "run", "diagnostic")]
