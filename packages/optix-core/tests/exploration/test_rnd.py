"""Novelty: what it is by definition, whom it reaches, and what it must never touch."""

from __future__ import annotations

from itertools import islice

import gymnasium as gym
import numpy as np
import pytest

from optix_core import BatchPipeline, EvaluationPipeline, MeanReturnEvaluator, RLOptimizer, RNDPipeline
from optix_core.errors import ConfigError, ResumeError, SpaceError
from optix_core.exploration import RandomNetworkDistillation
from optix_core.exploration.perceptron import Perceptron
from optix_core.exploration.schedule import next_eta
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.replay.windows import observe_window
from optix_core.runs.run_directory import RunDirectory
from optix_core.testing import LinearAgent, ScriptedAgent, TinyDiscrete, TinyMasked
from optix_core.testing.components import PIPELINE_CHECKS
from optix_core.testing.report import run_checks
from optix_core.testing.subjects import ComponentSubject
from optix_core.types import EpisodeData


class Line(gym.Env):
    """Walks right on 1 and left on 0, from 0; ``length`` steps; no reward at all."""

    def __init__(self, length=7):
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)
        self.action_space = gym.spaces.Discrete(2)
        self.length = length

    def _seen(self):
        return np.array([self.x], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.k = 0
        return self._seen(), {}

    def step(self, action):
        self.x, self.k = self.x + 2 * int(action) - 1, self.k + 1
        return self._seen(), 0.0, self.k >= self.length, False, {}


class Listening(ScriptedAgent):
    accepts_intrinsic_rewards = True


class Walker:
    """Right, always; hears what it is told."""

    accepts_intrinsic_rewards = True

    def __init__(self):
        self.told = []

    def act(self, observation):
        return 1

    def act_batch(self, observations, *, deterministic=False):
        return np.ones(len(observations), np.int64)

    def env_actions(self, actions):
        return actions

    def observe(self, observations, actions, rewards, following, terminated, truncated):
        self.told.append((np.array(rewards), np.array(following)))


def linear(env=None, seed=0):
    env = env or TinyDiscrete()
    return LinearAgent(env.observation_space, env.action_space, seed=seed)


def windows(pipeline, n):
    found = list(islice(pipeline.episodes(), n))
    pipeline.teardown()
    return found


# --- the network --------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    network = Perceptron(3, 5, 2, rng)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    loss, gradients = network.gradients(x, y)
    assert loss == pytest.approx(np.square(network(x) - y).sum(axis=1).mean())
    for w, gradient in zip(network.weights, gradients, strict=True):
        for index in np.ndindex(w.shape):
            before, small = w[index], 1e-6
            w[index] = before + small
            above = network.gradients(x, y)[0]
            w[index] = before - small
            below = network.gradients(x, y)[0]
            w[index] = before
            assert gradient[index] == pytest.approx((above - below) / (2 * small), abs=1e-5)


def test_the_first_step_of_adam_is_the_learning_rate_against_the_sign():
    rng = np.random.default_rng(1)
    network = Perceptron(3, 5, 2, rng)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 2))
    gradients = network.gradients(x, y)[1]
    before = [w.copy() for w in network.weights]
    network.descend(x, y, 0.01)
    for old, new, gradient in zip(before, network.weights, gradients, strict=True):
        moved = np.abs(gradient) > 1e-5
        np.testing.assert_allclose((new - old)[moved], -0.01 * np.sign(gradient)[moved], rtol=1e-2)


def test_what_was_seen_often_is_no_longer_new():
    rnd = RandomNetworkDistillation(4, 32, predictor_lr=0.01, seed=3)
    often, never = np.eye(4)[:2], np.eye(4)[3]
    before = rnd.errors(np.stack([*often, never]))
    for _ in range(60):
        rnd.window(np.repeat(often, 32, axis=0)[:, None])
    after = rnd.errors(np.stack([*often, never]))
    assert (after[:2] < 0.05 * before[:2]).all()
    assert after[2] > 20 * after[:2].max()


def test_target_and_predictor_differ_and_the_target_never_learns():
    rnd = RandomNetworkDistillation(2, 8, seed=0)
    assert np.abs(rnd.target.weights[0] - rnd.predictor.weights[0]).max() > 0.1
    target = [w.copy() for w in rnd.target.weights]
    rnd.window(np.random.default_rng(0).normal(size=(50, 1, 2)))
    for old, new in zip(target, rnd.target.weights, strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_scale_is_the_deviation_of_discounted_sums():
    x = np.random.default_rng(0).normal(size=(30, 2, 3))
    rnd = RandomNetworkDistillation(3, 8, seed=5, gamma=0.9)
    twin = RandomNetworkDistillation(3, 8, seed=5, gamma=0.9)
    found = rnd.window(x)
    twin.seen.update(x.reshape(-1, 3))
    errors = twin.errors(x.reshape(-1, 3)).reshape(30, 2)
    sums, running = [], np.zeros(2)
    for row in errors:
        running = 0.9 * running + row
        sums.append(running)
    np.testing.assert_allclose(found, errors / np.sqrt(np.var(sums) + 1e-8))


@pytest.mark.parametrize("scale, offset", [(1e-2, 0.0), (1e3, 5e3)])
def test_units_of_observations_do_not_matter(scale, offset):
    x = 10 * np.random.default_rng(0).normal(size=(40, 1, 3))
    one = RandomNetworkDistillation(3, 8, seed=5).window(x)
    two = RandomNetworkDistillation(3, 8, seed=5).window(scale * x + offset)
    np.testing.assert_allclose(one, two, rtol=1e-3)


def test_before_anything_was_seen_nothing_is_new_to_stepwise_learners():
    assert RandomNetworkDistillation(3).novelty(np.ones((2, 3))).tolist() == [0.0, 0.0]


def test_observations_with_parts_and_masks_are_taken_apart():
    rnd = RandomNetworkDistillation(3)
    parts = np.zeros(2, np.dtype([("a", np.float32, (2,)), ("b", np.int64)]))
    parts["a"], parts["b"] = [[1, 2], [3, 4]], [5, 6]
    assert rnd.flat(parts).tolist() == [[1, 2, 5], [3, 4, 6]]
    with pytest.raises(SpaceError, match="obs_dim=3"):
        RandomNetworkDistillation(4).flat(parts)
    env = TinyMasked()

    class Allowed(Listening):
        accepts_action_masks = True

        def act(self, observation):
            return int(np.argmax(observation["action_mask"]))

    agent = Allowed(actions=(0,))
    size = int(np.prod(env.observation_space.shape))
    (window,) = windows(RNDPipeline(BatchPipeline(env, agent, 6, seed=0), size), 1)
    assert window.intrinsic_rewards.shape == (6,)


@pytest.mark.parametrize(
    "options",
    [
        {"obs_dim": 0},
        {"embedding_dim": 0},
        {"predictor_lr": 0.0},
        {"gamma": 1.0},
        {"batch_size": 0},
        {"norm_eps": 0.0},
    ],
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        RandomNetworkDistillation(**{"obs_dim": 2, **options})


# --- the pipeline -------------------------------------------------------------------------------------------------


def test_rewards_episodes_and_scores_stay_those_of_the_environment():
    """Acceptance test 22, and D40: an environment without rewards scores zero, whatever novelty says."""
    plain = windows(BatchPipeline(Line(), Listening(actions=(0, 1, 1)), 10, seed=0), 3)
    bonus = windows(
        RNDPipeline(BatchPipeline(Line(), Listening(actions=(0, 1, 1)), 10, seed=0), 1, eta=5.0), 3
    )
    one, two = MeanReturnEvaluator(), MeanReturnEvaluator()
    for a, b in zip(plain, bonus, strict=True):
        np.testing.assert_array_equal(a.rewards, b.rewards)
        assert a.episodes == b.episodes
        assert a.total_reward == b.total_reward == 0.0
        assert one.score(a, {}).metrics == two.score(b, {}).metrics
        assert two.score(b, {}).primary_score == 0.0
        assert a.intrinsic_rewards is None
        assert b.intrinsic_rewards.min() >= 0.0
        assert b.intrinsic_rewards.max() > 0.0
        np.testing.assert_array_equal(b.learning_rewards, b.rewards + b.intrinsic_rewards)


def test_the_bonus_is_for_where_a_step_led_to_also_at_the_end_of_an_episode():
    agent = Listening(actions=(1, 1, 0))
    pipeline = RNDPipeline(BatchPipeline(Line(4), agent, 6, seed=0), 1, eta=2.0, seed=9)
    (window,) = windows(pipeline, 1)
    twin = RandomNetworkDistillation(1, seed=9)
    assert window.observations[:, 0].tolist() == [0, 1, 2, 1, 0, 1]
    led_to = np.array(
        [1, 2, 1, 2, 1, 0], np.float64
    )  # the fourth is the last state, not the 0 of the next reset
    np.testing.assert_allclose(window.intrinsic_rewards, 2.0 * twin.window(led_to.reshape(6, 1, 1))[:, 0])


def test_vector_environments_have_a_bonus_each():
    pipeline = RNDPipeline(VectorBatchPipeline([Line, Line, Line], Walker(), 5, seed=0), 1)
    (window,) = windows(pipeline, 1)
    assert window.intrinsic_rewards.shape == (5, 3)
    np.testing.assert_array_equal(window.intrinsic_rewards[:, 0], window.intrinsic_rewards[:, 2])


def test_an_agent_that_learns_from_windows_learns_from_the_sum():
    rng = np.random.default_rng(0)

    def window(rewards, bonus):
        return EpisodeData(
            observations=np.eye(2, dtype=np.float32)[rng.integers(2, size=6)]
            if False
            else np.eye(2)[[0, 1, 0, 1, 1, 0]],
            actions=np.array([0, 1, 1, 0, 1, 0]),
            rewards=rewards,
            terminated=np.zeros(6, bool),
            truncated=np.zeros(6, bool),
            final_obs=np.eye(2)[0],
            intrinsic_rewards=bonus,
        )

    r, bonus = rng.normal(size=6), rng.normal(size=6)
    both, summed, without = linear(), linear(), linear()
    both.learn(window(r, bonus))
    summed.learn(window(r + bonus, None))
    without.learn(window(r, None))
    weights = [a.state_dict()["weights"]["value"] for a in (both, summed, without)]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert (weights[0] != weights[2]).any()


def test_a_stepwise_learner_is_told_rewards_with_the_bonus_of_what_was_known_before():
    agent = Walker()
    pipeline = RNDPipeline(BatchPipeline(Line(4), window_size=4, seed=0), 1, eta=3.0, seed=9)
    pipeline.set_agent(agent)
    stream = pipeline.episodes()
    next(stream)
    assert [r.tolist() for r, _ in agent.told] == [[0.0]] * 4  # nothing was known about the size of novelty
    expected = 3.0 * pipeline.rnd.novelty(np.array([[1.0], [2.0], [3.0], [4.0]]))
    second = next(stream)
    np.testing.assert_allclose([r[0] for r, _ in agent.told[4:]], expected)
    assert expected.min() > 0
    assert second.rewards.tolist() == [0.0] * 4
    pipeline.teardown()


def test_windows_that_nobody_showed_are_shown_with_the_bonus():
    told = []
    data = EpisodeData(
        observations=np.zeros((2, 1)),
        actions=np.zeros(2),
        rewards=[1.0, 2.0],
        terminated=[False, True],
        truncated=[False, False],
        final_obs=np.zeros(1),
        intrinsic_rewards=np.array([0.5, 0.25]),
    )
    observe_window(lambda o, a, r, *rest: told.append(float(r[0])), data)
    assert told == [1.5, 2.25]
    with pytest.raises(ValueError, match="intrinsic_rewards"):
        EpisodeData(
            np.zeros((2, 1)), np.zeros(2), [1, 2], [False] * 2, [False] * 2, intrinsic_rewards=np.zeros(3)
        )


def test_an_agent_that_the_bonus_might_not_reach_is_refused():
    with pytest.raises(ConfigError, match="accepts_intrinsic_rewards"):
        RNDPipeline(BatchPipeline(Line(), ScriptedAgent(actions=(0,)), 5), 1)

    class Both(Walker):
        memory_size = 1

        def act_batch_with_memory(self, observations, memory, *, deterministic=False):
            return self.act_batch(observations), memory

    with pytest.raises(ConfigError, match="stepwise and has a memory"):
        RNDPipeline(BatchPipeline(Line(), window_size=5), 1).set_agent(Both())
    with pytest.raises(ConfigError, match="wraps a pipeline"):
        RNDPipeline(Line(), 1)


def test_other_attributes_are_those_of_the_inner_pipeline():
    pipeline = RNDPipeline(BatchPipeline(Line(), Walker(), 5, seed=4), 1)
    assert (pipeline.window_size, pipeline.root_seed, pipeline.n_envs) == (5, 4, 1)
    assert pipeline.steps_per_window == 5
    assert pipeline.is_live is False
    with pytest.raises(AttributeError):
        pipeline.nonsense
    pipeline.teardown()


def test_the_conformance_kit_finds_nothing_wrong():
    def make(env, *, window_size, seed):
        return Quiet(BatchPipeline(env, None, window_size, seed=seed), 2, seed=seed)

    class Quiet(RNDPipeline):
        def set_agent(self, agent):
            self.pipeline.set_agent(agent)  # the kit's agent learns nothing, so nothing has to reach it

    subject = ComponentSubject(name="rnd", factory=make, options={})
    report = run_checks("rnd", PIPELINE_CHECKS, subject, slow=False)
    assert [(r.id, r.message) for r in report.results if r.outcome == "failed"] == []


def test_eta_may_be_set_and_zero_means_nothing():
    pipeline = RNDPipeline(BatchPipeline(Line(), Walker(), 5, seed=0), 1, eta=1.0)
    stream = pipeline.episodes()
    assert next(stream).intrinsic_rewards.max() > 0
    pipeline.set_eta(0.0)
    assert next(stream).intrinsic_rewards.tolist() == [0.0] * 5
    pipeline.teardown()
    for wrong in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="eta"):
            pipeline.set_eta(wrong)


def test_a_seed_is_a_stream_and_a_state_continues_it():
    def fresh(seed=0):
        return RNDPipeline(BatchPipeline(TinyDiscrete(), linear(), 12, seed=1), 2, seed=seed)

    one, again, other = (windows(fresh(s), 4) for s in (0, 0, 1))
    for a, b, c in zip(one, again, other, strict=True):
        np.testing.assert_array_equal(a.intrinsic_rewards, b.intrinsic_rewards)
        assert (a.intrinsic_rewards != c.intrinsic_rewards).any()
    first, agent = fresh(), None
    stream = first.episodes()
    for _ in range(2):
        next(stream)
    first.set_eta(0.05)
    state, acting = first.state_dict(), first.agent.state_dict()
    expected = [next(stream) for _ in range(2)]
    first.teardown()
    second = fresh(seed=77)
    agent = linear()
    agent.load_state_dict(acting)
    second.set_agent(agent)
    second.setup()
    second.load_state_dict(state)
    assert second.eta == 0.05
    for a, b in zip(expected, windows(second, 2), strict=True):
        np.testing.assert_array_equal(a.observations, b.observations)
        np.testing.assert_array_equal(a.intrinsic_rewards, b.intrinsic_rewards)
    with pytest.raises(ResumeError, match="without the bonus"):
        fresh().load_state_dict(state["pipeline"])
    with pytest.raises(ResumeError, match="does not fit"):
        RNDPipeline(BatchPipeline(TinyDiscrete(), linear(), 12), 2, embedding_dim=8).load_state_dict(state)


# --- in the loop --------------------------------------------------------------------------------------------------


def test_the_schedule_by_hand():
    assert next_eta("improvement", 0.2, 0.1) == pytest.approx(0.18)
    assert next_eta("plateau", 0.2, 0.1) == pytest.approx(0.3)
    assert next_eta("plateau", 0.39, 0.1) == pytest.approx(0.4)
    assert next_eta("dormant", 0.2, 0.1) == 0.0
    assert next_eta("restart", 0.0, 0.1) == 0.1


def run(folder, *, eta=0.1, wrap=True, **options):
    env = TinyDiscrete()
    agent = linear(env)
    inner = BatchPipeline(env, window_size=32, seed=3)
    pipeline = RNDPipeline(inner, 2, eta=eta) if wrap else inner
    loop = RLOptimizer(
        agent,
        pipeline,
        optimizer="fixed",
        val_pipeline=EvaluationPipeline(TinyDiscrete(), episodes=10, seed=3),
        run_dir=folder,
        handle_signals=False,
        confirm_episodes=5,
        seed=3,
        **options,
    )
    return loop, pipeline, agent


def logged(folder, kind):
    return [event.numbers for event in RunDirectory.open(folder).log().read() if event.kind == kind]


def test_the_loop_lowers_and_raises_eta_and_logs_why(tmp_path):
    loop, pipeline, _ = run(
        tmp_path / "a", max_episodes=120, delta=0.3, plateau_threshold=3, dormant_threshold=8
    )
    loop.run()
    changes = logged(tmp_path / "a", "rnd")
    events = [c["event"] for c in changes]
    assert events[0] == "improvement"
    assert "plateau" in events
    assert events[-1] == "dormant"
    eta = 0.1
    for change in changes:
        assert change["before"] == pytest.approx(eta)
        eta = next_eta(change["event"], eta, 0.1)
        assert change["eta"] == pytest.approx(eta)
    assert pipeline.eta == 0.0
    assert pipeline.resting is True


def test_validation_knows_nothing_of_the_bonus(tmp_path):
    """The scores of an agent that does not learn are the same with any bonus."""

    def scores(name, **options):
        loop, _, agent = run(
            tmp_path / name, max_episodes=4, probe_windows=0, validation_share=10.0, **options
        )
        agent.learn = lambda window: {}
        loop.run()
        return [d["numbers"]["score"] for d in logged(tmp_path / name, "decision")]

    plain = scores("plain", wrap=False)
    assert plain == scores("small", eta=0.01) == scores("large", eta=100.0)
    assert len(plain) > 1


def test_a_run_with_a_bonus_is_resumed_exactly(tmp_path):
    whole, one, agent = run(tmp_path / "whole", max_episodes=8, probe_windows=0)
    whole.run()
    part, _, _ = run(tmp_path / "part", max_episodes=4, probe_windows=0)
    part.run()
    rest, two, resumed = run(tmp_path / "part", max_episodes=8, probe_windows=0, resume=True)
    rest.run()
    np.testing.assert_array_equal(
        agent.state_dict()["weights"]["policy"], resumed.state_dict()["weights"]["policy"]
    )
    a, b = one.rnd.state_dict(), two.rnd.state_dict()
    for x, y in zip(a["predictor"]["weights"], b["predictor"]["weights"], strict=True):
        np.testing.assert_array_equal(x, y)
    assert one.eta == two.eta
    assert a["rng"] == b["rng"]


def test_training_that_goes_on_after_convergence_starts_from_the_base_again(tmp_path):
    from optix_core.exploration.schedule import EtaSchedule
    from optix_core.types import LoopState

    class Run:
        state = LoopState.DORMANT

        def __init__(self):
            self.lines = []

        def log(self, kind, **numbers):
            self.lines.append((kind, numbers["event"]))

    pipeline, loop = RNDPipeline(BatchPipeline(Line(), Walker(), 5), 1, eta=0.2), Run()
    schedule = EtaSchedule(loop, pipeline)
    schedule.on_dormant(0)
    schedule.on_dormant(1)
    schedule.on_plateau(2, LoopState.COOLING)  # while resting nothing else counts
    schedule.on_episode_end(2, None)
    assert pipeline.eta == 0.0
    loop.state = LoopState.ACTIVE
    schedule.on_episode_end(3, None)
    schedule.on_episode_end(4, None)
    assert pipeline.eta == 0.2
    assert loop.lines == [("rnd", "dormant"), ("rnd", "restart")]
