"""What everybody may rely on, one test per promise: stopping, going on, going back, scores that mean what they say."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from optix_core.base_agent import BaseAgent
from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.errors import CorruptCheckpoint
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.evolution import PolicyManager
from optix_core.loop.backoff_scheduler import BackoffScheduler
from optix_core.loop.evidence import examine
from optix_core.loop.loop_controller import LoopController
from optix_core.loop.records import LoopConfig, LoopSnapshot, WindowReport
from optix_core.loop.stop_reason import StopReason
from optix_core.loop.transition import decide
from optix_core.loop_callback import LoopCallback
from optix_core.pipelines.batch import BatchPipeline
from optix_core.plugins.registry import default_registry
from optix_core.testing.fakes import ScriptedAgent, ScriptedEvaluator, ScriptedPipeline
from optix_core.types import HyperparamSet, LoopState

CLIMB = [0.0, 2.0, 4.0, 6.0, 8.0, 9.0]
TUNERS = sorted(c.spec.name for c in default_registry().components() if c.spec.kind == "tuner")
TUNERS.remove("replay")  # it repeats what a tuner did in another run


def controller(path, agent, scores, tuner=None, **options):
    evaluator = scores if not isinstance(scores, list) else ScriptedEvaluator(scores)
    pipeline = options.pop("pipeline", None) or ScriptedPipeline()
    options.setdefault("max_episodes", 400)
    return LoopController(
        agent, evaluator, tuner, pipeline, CheckpointRegistry(path), BackoffScheduler(), handle_signals=False, **options
    )  # fmt: skip


class Tunable(ScriptedAgent):
    default_param_bounds = {"rate": (1e-4, 1e-1), "mix": (0.0, 1.0)}  # noqa: RUF012
    default_log_params = ("rate",)

    def __init__(self, **more):
        super().__init__(hyperparams={"rate": 1e-2, "mix": 0.5}, **more)


def test_there_are_tuners_to_ask():
    assert {"adaptive", "backoff", "fixed", "momentum", "pbt", "spsa"} <= set(TUNERS)


@pytest.mark.parametrize("name", TUNERS)
def test_a_flat_score_leads_to_dormant_with_every_tuner(tmp_path, name):
    """On-policy, no validation: every evaluated window counts, whether the tuner is probing or not."""
    options = {} if name == "fixed" else {"param_bounds": dict(Tunable.default_param_bounds)}
    tuner = default_registry().create("tuner", name, **options)
    agent = Tunable()
    assert agent.is_on_policy
    result = controller(tmp_path, agent, [*CLIMB, *[10.0] * 400], tuner).run()
    assert result.stop_reason.is_convergence
    assert result.state is LoopState.DORMANT
    assert result.windows < 80


def test_spawn_on_dormant_continues_training(tmp_path):
    windows = []

    class Counting(LoopCallback):
        def on_dormant(self, episode_id):
            windows.append(episode_id)

    agent = Tunable()
    callback = PolicyManager(max_spawns=1).as_callback(agent)
    result = controller(tmp_path, agent, [*CLIMB, *[10.0] * 400], callbacks=[callback, Counting()]).run()
    assert len(windows) == 2
    assert windows[1] >= windows[0] + 8
    assert agent.calls.count("learn") == result.windows == windows[1] + 1
    assert result.stop_reason is StopReason.VARIANTS_USED_UP


def test_a_collapse_is_rolled_back_while_the_run_goes_on(tmp_path):
    """Weights and hyperparameters come back from the best checkpoint, and the score recovers."""

    class Fragile(ScriptedAgent):
        """Whatever sets its rate to 1 ruins it: from then on nothing learned helps."""

        broken = False
        restored = 0

        def learn(self, episode_data):
            self.broken = self.broken or self._params["rate"] == 1.0
            return super().learn(episode_data)

        def load_state_dict(self, state):
            self.restored += 1
            self.broken = False
            super().load_state_dict(state)

    class Reading(ScriptedEvaluator):
        def score(self, episode_data, train_diagnostics):
            found = super().score(episode_data, train_diagnostics)
            level = 0.0 if agent.broken else min(10.0 * agent.learned, 100.0)
            return replace(found, primary_score=level, episode_returns=(level,) * 4)

    class Saboteur(LoopCallback):
        levels = ()

        def on_episode_end(self, episode_id, eval_metrics):
            self.levels = (*self.levels, eval_metrics.primary_score)
            if episode_id == 14:
                agent.set_hyperparams(HyperparamSet({"rate": 1.0}))

    agent, saboteur = Fragile(hyperparams={"rate": 0.1}), Saboteur()
    controller(
        tmp_path, agent, Reading([0.0]), callbacks=[saboteur], rollback_on_degradation=True, max_episodes=30
    ).run()
    assert saboteur.levels[14] == 100.0
    assert saboteur.levels[15:17] == (0.0, 0.0)
    first_back = saboteur.levels.index(100.0, 16)
    assert first_back <= 20  # found within five evaluations, and undone in the middle of the run
    assert agent.get_hyperparams().params["rate"] == 0.1
    assert saboteur.levels[-1] == 100.0


def test_a_checkpoint_score_fn_that_acts_leaves_the_training_data_as_it_was(tmp_path):
    """The window that is learned from holds exactly the observations and actions of its own rollout."""

    class Watching(ScriptedAgent):
        def __init__(self):
            super().__init__(actions=(0, 1))
            self.seen, self.windows = [], []

        def act(self, observation, *, deterministic=False):
            action = super().act(observation, deterministic=deterministic)
            self.seen.append((np.array(observation), action))
            return action

        def learn(self, episode_data):
            rollout = self.seen[-len(episode_data.actions) :]
            np.testing.assert_array_equal(episode_data.observations, [o for o, _ in rollout])
            np.testing.assert_array_equal(episode_data.actions, [a for _, a in rollout])
            self.windows.append(episode_data.actions.copy())
            return super().learn(episode_data)

    def play(path, score_fn):
        agent = Watching()
        path.mkdir()
        pipeline = BatchPipeline(gym.make("CartPole-v1"), window_size=25, seed=0)
        controller(
            path,
            agent,
            MeanReturnEvaluator(),
            pipeline=pipeline,
            max_episodes=5,
            checkpoint_score_fn=score_fn,
        ).run()
        return agent.windows

    def acting(agent):
        return float(sum(agent.act(np.full(4, 9.0, np.float32)) for _ in range(7)))

    with_it, without = play(tmp_path / "a", acting), play(tmp_path / "b", None)
    np.testing.assert_array_equal(with_it, without)


class Balancer(BaseAgent):
    """A perfect CartPole policy: it pushes towards where the pole falls."""

    def act(self, observation, *, deterministic=False):
        return int(3.0 * observation[2] + observation[3] > 0)

    def learn(self, episode_data):
        return {}

    def get_hyperparams(self):
        return HyperparamSet({})

    def set_hyperparams(self, hyperparams):
        pass

    def save_weights(self, path):
        pass

    def load_weights(self, path):
        pass


def test_a_perfect_cartpole_policy_scores_500_whenever_an_episode_completes_and_else_nothing():
    """Windows of 200 steps, episodes of 500: a piece of an episode is on another scale and is no score."""
    pipeline, evaluator = (
        BatchPipeline(gym.make("CartPole-v1"), window_size=200, seed=0),
        MeanReturnEvaluator(),
    )
    pipeline.set_agent(Balancer())
    pipeline.setup()
    windows = pipeline.episodes()
    scores = [evaluator.score(next(windows), {}).primary_score for _ in range(20)]
    pipeline.teardown()
    assert len(scores) == 20
    for window, score in enumerate(scores):
        ends = {n for n in range(500, 4001, 500) if 200 * window < n <= 200 * (window + 1)}
        assert score == 500.0 if ends else np.isnan(score)


def test_a_best_policy_that_cannot_be_loaded_masks_nothing(tmp_path, monkeypatch):
    """Teardown and on_loop_stop happen, and the first error is the one that is raised."""

    class Stopping(LoopCallback):
        stopped = 0

        def on_loop_stop(self):
            self.stopped += 1

    def refuse(self, agent, **options):
        raise CorruptCheckpoint("the best is gone")

    monkeypatch.setattr(CheckpointRegistry, "load_best", refuse)
    for error in (OverflowError("first"), None):
        path = tmp_path / str(error)
        path.mkdir()
        diagnostics = [{"loss": 0.0}, {"loss": 0.0}, *([error] if error else [])]
        agent, pipeline, stopping = ScriptedAgent(diagnostics=diagnostics), ScriptedPipeline(), Stopping()
        loop = controller(
            path, agent, [1.0, 2.0, 3.0, 4.0], pipeline=pipeline, callbacks=[stopping], max_episodes=4
        )
        with pytest.raises(type(error) if error else CorruptCheckpoint, match="first" if error else "gone"):
            loop.run()
        assert pipeline.calls[-1] == "teardown"
        assert stopping.stopped == 1


def test_a_noiseless_rise_is_an_improvement_at_every_evaluation():
    snapshot, config = LoopSnapshot(), LoopConfig()
    for window in range(200):
        decision = decide(snapshot, WindowReport(window=window, score=0.001 * window), config)
        snapshot = decision.snapshot
        assert window == 0 or decision.verdict.name == "IMPROVED"
        assert decision.transitions == ()


def test_white_noise_is_called_a_rise_at_no_more_than_the_nominal_rate():
    """1,000 seeds: ``noise_k = 2`` stands for 2.3 %; the bound leaves 3 standard errors."""
    config, nominal, n = LoopConfig(), 0.0228, 1000
    rises = 0
    for seed in range(n):
        noise = np.random.default_rng(seed).normal(5.0, 1.0, 30)
        snapshot = LoopSnapshot(
            scores=tuple(noise.tolist()), evaluations=30, top=float(noise.max()), low=0.0, rise=10.0
        )
        rises += examine(snapshot, config).rising
    assert rises / n <= nominal + 3 * (nominal * (1 - nominal) / n) ** 0.5


def test_white_noise_around_a_constant_is_declared_converged():
    """After a climb of 50 noise deviations in 10 evaluations, each of 40 runs ends, in the median within 60 more."""
    config, ends = replace(LoopConfig(), probe=False), []
    for seed in range(40):
        rng, snapshot = np.random.default_rng(seed), LoopSnapshot()
        for window in range(150):
            score = min(5.0 * window, 50.0) + float(rng.normal())
            decision = decide(snapshot, WindowReport(window=window, score=score), config)
            snapshot = decision.snapshot
            if decision.stop is not None:
                ends.append(window)
                break
    assert len(ends) == 40
    assert np.median(ends) < 70
    assert min(ends) > 11  # never before the climb is over
