"""Agents without a framework: epsilon-greedy choices, slow copies, PPO's shell, squashed actions, counted steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from optix_core import hyperparams as declared
from optix_core.acting import MLPSpec, NumpyPolicy, PolicySpec
from optix_core.agents import squashed
from optix_core.agents.box_actions import BoxActions
from optix_core.agents.discrete_actions import DiscreteActions
from optix_core.agents.epsilon_greedy import EpsilonGreedyAgent
from optix_core.agents.experience import make_replay
from optix_core.agents.hypers import dqn, ppo, reinforce
from optix_core.agents.model_agent import ModelAgent, targets_of
from optix_core.agents.normalizing import Normalizers
from optix_core.agents.plain_actor import policy_spec
from optix_core.agents.ppo_agent import ChoosingPPOAgent, PPOAgent
from optix_core.agents.ppo_update import UpdateReport
from optix_core.agents.steps import StepCount
from optix_core.agents.streams import Streams
from optix_core.agents.value_agent import best
from optix_core.errors import ConfigError
from optix_core.normalizers import ObsNormalizer, RewardNormalizer
from optix_core.rl.masking import with_masks
from optix_core.types import EpisodeData, HyperparamSet

A, OBS = 3, 2


class Rate:
    """What an agent asks of something trained, where nothing is."""

    perturbable = False

    def __init__(self):
        self.rate = 1e-3

    def learning_rate(self):
        return self.rate

    def set_learning_rate(self, value):
        self.rate = value

    def arrays(self):
        return {}


class Slow:
    """Remembers how it was asked to follow."""

    def __init__(self):
        self.asked = []

    def copy(self):
        self.asked.append("copy")

    def polyak(self, tau):
        self.asked.append(tau)

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        del state


class FirstBest(EpsilonGreedyAgent):
    """Values fall from the first action to the last; nothing is learned."""

    hypers = dqn.HYPERS

    def __init__(self, **hyperparams):
        hp = declared.merge(dqn.HYPERS, {"learning_starts": 0, **hyperparams}, owner="FirstBest")
        self.slow, self.rounds = Slow(), []
        self._begin(
            Rate(), self.slow, hp, n_actions=A, action_space=None, observation_space=None,
            observation_normalizer=None, replay=make_replay(hp), seed=0,
        )  # fmt: skip

    def _greedy(self, observations, masks):
        return best(np.tile(-np.arange(A, dtype=float), (len(observations), 1)), masks)

    def _gradient_steps(self, n):
        self.rounds.append(n)

    def _report(self):
        return {"n_updates": sum(self.rounds)}

    def _describe_values(self, b, x):
        raise NotImplementedError


def step(agent, n=1):
    """One vector step of ``n`` environments."""
    seen, no = np.zeros((n, OBS), np.float32), np.zeros(n, bool)
    agent.observe(seen, np.zeros(n, np.int64), np.zeros(n), seen, no, no)


def test_epsilon_is_the_share_of_uniform_choices():
    agent = FirstBest(epsilon=0.3, epsilon_min=0.3)
    chosen = agent.act_batch(np.zeros((30_000, OBS), np.float32))
    share = np.bincount(chosen, minlength=A) / len(chosen)
    np.testing.assert_allclose(share, [0.7 + 0.1, 0.1, 0.1], atol=0.01)  # uniform ones meet the best one, too
    assert (agent.act_batch(np.zeros((100, OBS), np.float32), deterministic=True) == 0).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 1.0])
def test_no_choice_is_forbidden_by_its_mask(epsilon):
    agent = FirstBest(epsilon=epsilon, epsilon_min=epsilon)
    masks = np.tile([[False, True, True]], (400, 1))
    chosen = agent.act_batch(with_masks(np.zeros((400, OBS), np.float32), masks))
    assert set(chosen) == ({1} if epsilon == 0.0 else {1, 2})


def test_epsilon_falls_by_environment_steps_and_is_reported():
    agent = FirstBest(epsilon=1.0, epsilon_min=0.2, epsilon_decay_steps=8, train_freq=100)
    assert agent.epsilon == 1.0
    step(agent, n=4)
    assert agent.epsilon == pytest.approx(0.6)
    step(agent, n=4)
    step(agent, n=4)
    assert agent.epsilon == pytest.approx(0.2)
    window = EpisodeData(np.zeros((0, OBS)), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
    assert agent.learn(window)["epsilon"] == agent.epsilon


@pytest.mark.parametrize("tau, asked", [(1.0, ["copy", "copy"]), (0.25, [0.25, 0.25])])
def test_the_slow_copy_follows_at_its_own_cadence(tau, asked):
    agent = FirstBest(target_update_freq=3, tau=tau, train_freq=100)
    for _ in range(7):
        step(agent)
    assert agent.slow.asked == asked


class Pair:
    """A plain actor, a critic that gives zeros, and an update that only says what it was given."""

    def __init__(self, head, width):
        spec = PolicySpec(
            MLPSpec.build((OBS, width), "tanh", "linear"), head, width if head != "gaussian" else A
        )
        self.policy = NumpyPolicy(spec, np.zeros(spec.layout.size, np.float32))
        self.training, self.given, self.n_compilations = Rate(), [], 0

    def values(self, observations):
        return np.zeros(len(observations))

    def log_probs(self, observations, actions, masks=None):
        del actions, masks
        return np.zeros(len(observations))

    def update(self, batch, hp, rng):
        del rng
        self.given.append((batch, dict(hp), self.training.rate))
        self.n_compilations += 1
        return UpdateReport(n_updates=1, n_skipped=0, diverged=False)


class Chooses(ChoosingPPOAgent[Pair]):
    hypers = ppo.HYPERS

    def __init__(self, **hyperparams):
        hp = declared.merge(ppo.HYPERS, hyperparams, owner="Chooses")
        self._start(
            Pair("categorical", A), DiscreteActions(Discrete(A, start=5), "Chooses"), hp, observation_space=None,
            observation_normalizer=ObsNormalizer((OBS,)), reward_normalizer=RewardNormalizer(gamma=0.5), seed=1,
        )  # fmt: skip


class Moves(PPOAgent[Pair]):
    hypers = ppo.HYPERS

    def __init__(self):
        hp = declared.merge(ppo.HYPERS, {}, owner="Moves")
        box = Box(np.array([0.0] * A, np.float32), np.array([4.0] * A, np.float32))
        self._start(
            Pair("gaussian", 2 * A), BoxActions(box), hp, observation_space=None, observation_normalizer=None,
            reward_normalizer=None, seed=1,
        )  # fmt: skip


def window_of(agent, t=6, n=2):
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((t, n, OBS)).astype(np.float32)
    actions = np.stack([agent.act_batch(row) for row in observations])
    no = np.zeros((t, n), bool)
    return EpisodeData(
        observations, actions, rng.standard_normal((t, n)), no, no, n_envs=n,
        final_obs=np.zeros((n, OBS), np.float32), boundary_steps=np.zeros((0, 2), int),
        boundary_observations=np.zeros((0, OBS), np.float32),
    )  # fmt: skip


def test_ppo_acts_in_the_environments_actions_and_tells_probabilities():
    agent = Chooses()
    assert agent.act(np.zeros(OBS, np.float32)) in {5, 6, 7}
    policy_actions = agent.act_batch(np.zeros((50, OBS), np.float32))
    assert set(policy_actions) == {0, 1, 2}
    np.testing.assert_array_equal(agent.env_actions(policy_actions), policy_actions + 5)
    np.testing.assert_allclose(agent.action_probs(np.zeros(OBS, np.float32)), [1 / 3] * 3, rtol=1e-6)
    assert agent.action_probs_batch(np.zeros((4, OBS), np.float32)).shape == (4, A)
    acting = agent.numpy_acting()
    assert acting is not None
    assert acting.accepts_masks
    moving = Moves()
    assert not hasattr(moving, "action_probs")
    np.testing.assert_array_equal(moving.act(np.zeros(OBS, np.float32), deterministic=True), [2.0] * A)
    remote = moving.numpy_acting()
    assert remote is not None
    assert not remote.accepts_masks


def test_one_observation_is_drawn_from_a_stream_of_its_own():
    one, other = Chooses(), Chooses()
    for _ in range(5):
        one.act(np.zeros(OBS, np.float32))
    seen = np.zeros((40, OBS), np.float32)
    np.testing.assert_array_equal(one.act_batch(seen), other.act_batch(seen))


def test_ppo_learns_from_a_window_with_the_statistics_that_it_acted_with():
    agent = Chooses(learning_rate=1e-2, learning_rate_decay_steps=24, gamma=0.9)
    window = window_of(agent)
    report = agent.learn(window)
    batch, hp, rate = agent._networks.given[0]
    # statistics have not moved yet, and what is not standardised passes through
    np.testing.assert_allclose(batch.observations, window.observations.reshape(-1, OBS), rtol=1e-5)
    assert np.abs(agent._normalizers.observations(batch.observations) - batch.observations).max() > 0.01
    assert (report["n_updates"], report["n_compilations"]) == (1, 1)
    assert (rate, hp["learning_rate"]) == (pytest.approx(5e-3), pytest.approx(5e-3))  # half of the fall
    assert agent._networks.training.rate == 1e-2
    agent.set_hyperparams(HyperparamSet({"gamma": 0.5}))
    assert agent._normalizers.reward.gamma == 0.5


def test_ppo_makes_no_update_on_an_empty_window():
    agent = Chooses()
    empty = EpisodeData(np.zeros((0, OBS)), np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0))
    assert agent.learn(empty)["n_updates"] == 0
    assert agent._networks.given == []


def test_squashed_actions_have_the_moments_of_their_distribution():
    mean, log_std = 0.4, math.log(0.3)
    drawn = squashed.act(np.tile([[mean, log_std]], (100_000, 1)), np.random.default_rng(0))
    assert drawn.dtype == np.float32
    inverse = np.arctanh(drawn.astype(np.float64))
    assert inverse.mean() == pytest.approx(mean, abs=0.005)
    assert inverse.std() == pytest.approx(0.3, abs=0.005)
    greedy = squashed.act(np.array([[mean, -mean, 0.0, 0.0]]), None)
    np.testing.assert_allclose(greedy, np.tanh([[mean, -mean]]), rtol=1e-6)


def test_deviations_of_squashed_actions_are_clamped():
    rng = np.random.default_rng
    beyond, bound = np.array([[0.0, 50.0]]), np.array([[0.0, squashed.LOG_STD_BOUNDS[1]]])
    np.testing.assert_array_equal(squashed.act(beyond, rng(3)), squashed.act(bound, rng(3)))
    assert np.isfinite(squashed.act(np.array([[0.0, -1e6]]), rng(3))).all()


def test_counted_steps_go_on_from_a_state():
    count = StepCount()
    count.count = 7
    other = StepCount()
    other.load_state_dict(count.state_dict())
    assert other.count == 7


class Lists(ModelAgent):
    """Logits are the observation itself."""

    hypers = reinforce.HYPERS

    def __init__(self):
        hp = declared.merge(reinforce.HYPERS, {}, owner="Lists")
        self._assemble({"model": Rate()}, Streams(0), Normalizers(None, None), hp)

    def learn(self, episode_data):
        raise NotImplementedError

    def _logits(self, observations):
        return observations

    def _row(self, observation):
        return np.asarray(observation)[None]


def test_a_models_logits_are_acted_by():
    agent, logits = Lists(), np.log(np.array([0.7, 0.2, 0.1], np.float32))
    np.testing.assert_allclose(agent.action_probs(logits), [0.7, 0.2, 0.1], rtol=1e-5)
    assert agent.act(logits, deterministic=True) == 0
    drawn = agent.act_batch(np.tile(logits, (20_000, 1)))
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), [0.7, 0.2, 0.1], atol=0.015)


def flat_window(rewards, terminated, **known):
    n = len(rewards)
    return EpisodeData(
        np.arange(n, dtype=np.float32)[:, None], np.zeros(n, np.int64), np.array(rewards, float),
        np.array(terminated, bool), np.zeros(n, bool), final_obs=np.array([float(n)], np.float32), **known,
    )  # fmt: skip


def test_returns_of_a_model_without_values_count_what_was_seen():
    found = targets_of(flat_window([1, 2, 4, 8], [0, 1, 0, 0]), lambda _: None, gamma=0.5)
    np.testing.assert_allclose(found.returns[:, 0], [2, 2, 8, 8])
    assert found.values is None
    np.testing.assert_allclose(found.weights, (found.returns[:, 0] - 5) / 3, rtol=1e-5)
    assert found.report(1.5, 2.0)["baseline_type"] == "reinforce"


def test_values_complete_returns_and_are_subtracted():
    window = flat_window([1, 2, 4, 8], [0, 1, 0, 0])
    found = targets_of(window, lambda observations: 10.0 * observations[:, 0], gamma=0.5)
    np.testing.assert_allclose(
        found.returns[:, 0], [2, 2, 8 + 10, 8 + 20]
    )  # 40 is the value of what followed
    advantages = np.array([2, 2 - 10, 18 - 20, 28 - 30], float)
    expected = (advantages - advantages.mean()) / advantages.std()
    np.testing.assert_allclose(found.weights, expected, rtol=1e-5)
    report = found.report(1.5, 2.0)
    assert (report["loss"], report["n_updates"], report["baseline_type"]) == (1.5, 1, "a2c")


def test_recorded_values_stand_in_for_those_of_a_model():
    window = flat_window([1, 2], [0, 0], values=np.array([3.0, 5.0]))
    found = targets_of(window, lambda _: None, gamma=1.0)
    np.testing.assert_allclose(found.returns[:, 0], [1 + 2 + 5, 2 + 5])
    np.testing.assert_allclose(found.values[:, 0], [3, 5])


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_step_that_was_not_made_has_no_loss(norm):
    report = targets_of(flat_window([1, 2], [0, 0]), lambda _: None, gamma=1.0).report(0.5, norm)
    assert math.isnan(report["loss"])
    assert report["n_updates"] == 0


def test_a_plain_actor_has_outputs_for_each_action_or_two_for_each_dimension():
    network = MLPSpec.build((OBS, 6), "tanh", "linear")
    assert policy_spec(network, "categorical", None).n_actions == 6
    assert policy_spec(network, "gaussian", 3).n_actions == 3
    assert policy_spec(network, "gaussian", None, log_std=True).n_actions == 6
    assert policy_spec(network, "multi_categorical", 6, [2, 4]).nvec == (2, 4)
    with pytest.raises(ConfigError, match="for 6 actions or action dimensions, expected 5"):
        policy_spec(network, "categorical", 5)
    with pytest.raises(ConfigError, match="for 6 actions or action dimensions, expected 3"):
        policy_spec(network, "gaussian", 3, log_std=True)
    with pytest.raises(ConfigError, match="two outputs per action dimension"):
        policy_spec(MLPSpec.build((OBS, 5), "tanh", "linear"), "gaussian", None)
