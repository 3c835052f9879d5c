"""An ensemble is one agent: valid actions, sound training, the whole conformance kit."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest

from optix_core.base_agent import BaseAgent, StepwiseLearning
from optix_core.errors import ConfigError, CorruptCheckpoint, IncompatibleCheckpoint
from optix_core.evolution import EnsembleAgent, PolicyManager
from optix_core.evolution.combining import combined, vote
from optix_core.testing.agents.front import check_agent
from optix_core.testing.fakes import ScriptedAgent, flat_window
from optix_core.testing.linear_agent import LinearAgent
from optix_core.testing.tiny_envs import TinyBox, TinyDiscrete
from optix_core.testing.windows import collect
from optix_core.types import EvalMetrics, HyperparamSet


def linear_ensemble(ctx, *, members=3, **more):
    manager = PolicyManager(seed=ctx.seed)
    agents = [
        LinearAgent(ctx.observation_space, ctx.action_space, seed=ctx.seed + 100 * k, **more)
        for k in range(members)
    ]
    for k, agent in enumerate(agents):
        # values begin at zero: until a member has learned once, no future counts for it, whatever ended an episode
        agent.learn(collect(agent, ctx.env, 33, seed=k))
        manager.add_agent(agent, weight=1.0 + k)
    return EnsembleAgent(manager, agents[0])


def test_the_conformance_kit_is_green_over_toy_members():
    report = check_agent(linear_ensemble, action_spaces=("discrete", "box"))
    assert report.ok, str(report)


class Fixed(BaseAgent):
    """Always the same action."""

    def __init__(self, action, *, on_policy=True, probs=None):
        self.action, self._on, self.learned, self.down = action, on_policy, [], 0
        if probs is not None:
            self.action_probs = lambda observation: np.asarray(probs)

    is_on_policy = property(lambda self: self._on)

    def act(self, observation, *, deterministic=False):
        return self.action

    def learn(self, episode_data):
        self.learned.append(episode_data)
        return {"loss": 0.5}

    def get_hyperparams(self):
        return HyperparamSet({})

    def set_hyperparams(self, hyperparams):
        pass

    def save_weights(self, path):
        pass

    def load_weights(self, path):
        pass

    def teardown(self):
        self.down += 1


def manager_of(*agents, weights=None, **options):
    manager = PolicyManager(**options)
    for agent, weight in zip(agents, weights or [1.0] * len(agents), strict=True):
        manager.add_agent(agent, weight)
    return manager


def test_ensemble_act_is_a_valid_action_and_learn_works():
    """With agents that learn, for choices and for a Box."""
    for env in (TinyDiscrete(), TinyBox()):
        members = [LinearAgent(env.observation_space, env.action_space, seed=k) for k in range(3)]
        manager = manager_of(*members)
        agent = EnsembleAgent(manager, members[0])
        for window in range(7):
            data = collect(agent, env, 33, seed=window, window=window)
            for observation in data.observations:
                for deterministic in (False, True):
                    for action in (
                        agent.act(observation, deterministic=deterministic),
                        manager.ensemble_action(observation, deterministic=deterministic),
                    ):
                        assert env.action_space.contains(action)
            assert agent.learn(data)["member"] == window % 3


def test_the_mean_of_probabilities_decides():
    members = [Fixed(2, probs=[0.0, 0.45, 0.55]), Fixed(1, probs=[0.0, 0.9, 0.1])]
    manager = manager_of(*members, weights=[2.0, 1.0])
    assert (
        manager.ensemble_action(None, deterministic=True) == 1
    )  # 0.6 against 0.4, though the heavier one votes 2


def test_without_probabilities_the_weights_vote():
    members = [Fixed(2), Fixed(1), Fixed(1, probs=[0.0, 1.0])]
    assert manager_of(*members, weights=[3.0, 1.0, 1.0]).ensemble_action(None, deterministic=True) == 2
    assert manager_of(*members, weights=[1.0, 1.0, 1.0]).ensemble_action(None, deterministic=True) == 1


def test_sampled_choices_come_in_the_proportions_of_the_weights():
    manager = manager_of(Fixed(0), Fixed(5), weights=[1.0, 3.0], seed=4)
    drawn = [manager.ensemble_action(None) for _ in range(2000)]
    assert set(drawn) == {0, 5}
    assert drawn.count(5) / 2000 == pytest.approx(0.75, abs=0.04)


def test_continuous_actions_are_averaged_inside_the_box():
    box = gym.spaces.Box(np.float32(-2.0), np.float32(1.0), (2,), np.float32)
    low, high = (np.full(2, v, np.float32) for v in (-2.0, 1.0))
    action = manager_of(Fixed(low), Fixed(high), weights=[1.0, 2.0]).ensemble_action(None)
    assert box.contains(action)
    np.testing.assert_allclose(action, 0.0, atol=1e-6)
    thirds = manager_of(*[Fixed(high.astype(np.float64)) for _ in range(3)]).ensemble_action(None)
    assert (thirds == 1.0).all()  # rounding never leaves the box


def test_an_unbounded_member_counts_only_as_far_as_the_environment_sees():
    env = TinyBox()
    members = [LinearAgent(env.observation_space, env.action_space, seed=k) for k in range(2)]
    members[0]._weights["policy"][-1] = 50.0
    members[1]._weights["policy"][-1] = -0.5
    agent = EnsembleAgent(manager_of(*members), members[0])
    zeros = np.zeros((1, *env.observation_space.shape), np.float32)
    policy = agent.act_batch(zeros, deterministic=True)
    np.testing.assert_allclose(policy, 0.25, atol=1e-6)
    np.testing.assert_allclose(
        agent.env_actions(policy)[0], agent.act(zeros[0], deterministic=True), atol=1e-6
    )


def test_votes_are_counted_per_component_and_ties_are_fair():
    rows = np.array([[[0, 1]], [[0, 2]], [[3, 2]]])
    assert vote(rows, [0.3, 0.3, 0.4]).tolist() == [[0, 2]]
    assert vote(np.array([[4], [1]]), [0.5, 0.5]).tolist() == [1]


def test_one_member_alone_acts_as_itself():
    assert combined([Fixed(7)], [1.0], None, np.random.default_rng(0), deterministic=False) == 7


def test_no_members_no_action():
    with pytest.raises(RuntimeError, match="add_agent"):
        PolicyManager().ensemble_action(None)


def test_on_policy_members_learn_only_what_they_acted():
    members = [Fixed(0), Fixed(1), Fixed(2)]
    agent = EnsembleAgent(manager_of(*members), members[0])
    assert agent.is_on_policy
    for turn in range(6):
        acted = agent.act_batch(np.zeros((4, 1)))
        assert acted.tolist() == [turn % 3] * 4
        agent.learn(flat_window(4, episode_id=turn))
    assert [[w.episode_id for w in m.learned] for m in members] == [[0, 3], [1, 4], [2, 5]]
    assert not isinstance(agent, StepwiseLearning)


def test_off_policy_members_share_all_experience():
    class Stepwise(Fixed):
        def __init__(self, action):
            super().__init__(action, on_policy=False)
            self.seen = []

        def observe(self, *arrays):
            self.seen.append(arrays)

    members = [Stepwise(0), Stepwise(1)]
    agent = EnsembleAgent(manager_of(*members), members[0])
    assert not agent.is_on_policy
    assert isinstance(agent, StepwiseLearning)
    step = tuple(np.zeros(2) for _ in range(6))
    agent.observe(*step)
    agent.learn(flat_window(4))
    assert [len(m.seen) for m in members] == [1, 1]
    assert [len(m.learned) for m in members] == [1, 1]


def test_a_member_that_diverges_is_noticed():
    class Diverged(Fixed):
        def learn(self, episode_data):
            return {"loss": float("nan")}

    members = [Fixed(0, on_policy=False), Diverged(1, on_policy=False)]
    found = EnsembleAgent(manager_of(*members), members[0]).learn(flat_window(4))
    assert found["loss"] == 0.5
    assert np.isnan(found["member1_loss"])


def test_kinds_are_not_mixed_and_memories_are_refused():
    with pytest.raises(ConfigError, match="holds one kind"):
        manager_of(Fixed(0), Fixed(0, on_policy=False))

    class Recurrent(Fixed):
        memory_size = 3

        def act_batch_with_memory(self, observations, memory, *, deterministic=False):
            return observations, memory

        def env_actions(self, actions):
            return actions

    with pytest.raises(ConfigError, match="memory"):
        manager_of(Fixed(0), Recurrent(0))
    with pytest.raises(ConfigError, match="memory"):
        EnsembleAgent(PolicyManager(), Recurrent(0))
    manager_of(Recurrent(0))  # alone it may have variants


def test_the_primary_is_the_first_member():
    first, second = Fixed(0), Fixed(1)
    with pytest.raises(ConfigError, match="primary"):
        EnsembleAgent(manager_of(first), second)
    assert EnsembleAgent(PolicyManager(), second).policy_manager.agents == (second,)


def trained(seed, members=2):
    env = TinyDiscrete()
    agents = [LinearAgent(env.observation_space, env.action_space, seed=seed + k) for k in range(members)]
    agent = EnsembleAgent(manager_of(*agents, seed=seed), agents[0])
    for window in range(3):
        agent.learn(collect(agent, env, 33, seed=window, window=window))
    return agent


def fresh(seed=9, members=2):
    env = TinyDiscrete()
    agents = [LinearAgent(env.observation_space, env.action_space, seed=seed + k) for k in range(members)]
    return EnsembleAgent(
        manager_of(*agents),
        agents[0],
        agent_factory=lambda: LinearAgent(env.observation_space, env.action_space, seed=77),
    )


@pytest.mark.parametrize("members", [1, 2, 4])
def test_a_state_brings_exactly_its_members(members):
    agent, other = trained(3, members), fresh(members=2)
    other.load_state_dict(agent.state_dict())
    assert other.policy_manager.ensemble_size == members
    for key, member in agent.state_dict()["members"].items():
        for name, weights in member["weights"].items():
            np.testing.assert_array_equal(other.state_dict()["members"][key]["weights"][name], weights)
    assert other.acting_member == agent.acting_member


def test_missing_members_are_an_error_without_a_factory_and_nothing_changes():
    other = fresh()
    other._factory = None
    before = other.state_dict()
    with pytest.raises(IncompatibleCheckpoint, match="agent_factory"):
        other.load_state_dict(trained(3, 3).state_dict())
    np.testing.assert_equal(other.state_dict(), before)


def test_a_member_that_does_not_fit_changes_nothing():
    other, state = fresh(), trained(3).state_dict()
    before = other.state_dict()
    state["members"]["1"]["weights"]["policy"] = np.zeros((9, 9))
    with pytest.raises(IncompatibleCheckpoint):
        other.load_state_dict(state)
    np.testing.assert_equal(other.state_dict(), before)


def test_checkpoints_hold_all_members_and_survive_a_prune(tmp_path):
    from optix_core.checkpoints.registry import CheckpointRegistry

    registry, agent = CheckpointRegistry(tmp_path), trained(3, 3)
    wanted = agent.state_dict()
    registry.save(agent, EvalMetrics(1.0, {}, 0), agent.get_hyperparams())
    assert agent.policy_manager.prune(1)
    agent._factory = fresh()._factory
    registry.load_best(agent)
    assert agent.policy_manager.ensemble_size == 3
    for key in wanted["members"]:
        np.testing.assert_equal(
            agent.state_dict()["members"][key]["weights"], wanted["members"][key]["weights"]
        )


def test_teardown_reaches_every_member():
    members = [Fixed(0), Fixed(1)]
    EnsembleAgent(manager_of(*members), members[0]).teardown()
    assert [m.down for m in members] == [1, 1]


def test_scripted_agents_can_be_members(tmp_path):
    """Agents with the six methods only: weights of all are saved and restored as a folder."""
    agents = [ScriptedAgent(actions=(k,), hyperparams={"rate": k}) for k in range(2)]
    agent = EnsembleAgent(manager_of(*agents, weights=[1.0, 3.0]), agents[0])
    agents[1].learned = 5
    agent.save_weights(str(tmp_path / "w"))
    agents[1].learned = 0
    agent.policy_manager.boost(agents[0], 9.0)
    agent.load_weights(str(tmp_path / "w"))
    assert agents[1].learned == 5
    assert agent.policy_manager.weights == [0.25, 0.75]


def test_one_damaged_member_leaves_all_as_they_were(tmp_path):
    agent, other = trained(3), fresh()
    agent.save_weights(str(tmp_path / "w"))
    (tmp_path / "w" / "member-1" / "weights").write_bytes(b"damaged")
    before = other.state_dict()
    with pytest.raises(CorruptCheckpoint):
        other.load_weights(str(tmp_path / "w"))
    np.testing.assert_equal(other.state_dict()["members"], before["members"])
    with pytest.raises(IncompatibleCheckpoint, match="2 members"):
        fresh(members=3).load_weights(str(tmp_path / "w"))
