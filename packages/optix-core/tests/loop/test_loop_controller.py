"""The controller carries out decisions: order of events, budgets, restores, experiments, faults, the end."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
from typing import ClassVar

import numpy as np
import pytest

from optix_core.base_optimizer import BaseOptimizer, Trial, TrialVerdict
from optix_core.base_pipeline import BasePipeline
from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.errors import NumericalDivergence
from optix_core.loop.backoff_scheduler import BackoffScheduler
from optix_core.loop.loop_controller import LoopController
from optix_core.loop.stop_reason import StopReason
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import DecisionLog
from optix_core.testing.fakes import ScriptedAgent, ScriptedEvaluator, ScriptedPipeline, flat_window
from optix_core.types import EvalMetrics, HyperparamSet, LoopState


class Recorder(LoopCallback):
    """Remembers every event in order."""

    def __init__(self):
        self.events = []

    def on_loop_start(self):
        self.events.append(("loop_start",))

    def on_loop_stop(self):
        self.events.append(("loop_stop",))

    def on_episode_end(self, episode_id, eval_metrics):
        self.events.append(
            ("episode_end", episode_id, None if eval_metrics is None else eval_metrics.primary_score)
        )

    def on_improvement(self, snapshot):
        self.events.append(("improvement", snapshot.eval_metrics.primary_score))

    def on_plateau(self, episode_id, state):
        self.events.append(("plateau", episode_id, state))

    def on_dormant(self, episode_id):
        self.events.append(("dormant", episode_id))

    def on_degradation(self, episode_id, eval_metrics):
        self.events.append(("degradation", episode_id))

    def on_hyperparam_update(self, old_params, new_params):
        self.events.append(("update", old_params, new_params))

    def names(self):
        return [event[0] for event in self.events]


class AgentValidation(BasePipeline):
    """Seeded evaluation whose returns depend on the agent: ``level(agent) + noise(index, episode)``."""

    def __init__(self, level, *, episodes=6, noise=1.0):
        self._level, self._episodes, self._noise = level, episodes, noise
        self._agent = None
        self.asked = []

    def setup(self):
        pass

    def teardown(self):
        pass

    @property
    def is_live(self):
        return False

    def set_agent(self, agent):
        self._agent = agent

    def episodes(self):
        raise AssertionError("a seeded pipeline is asked by index")

    def evaluate(self, index, *, episodes=None):
        self.asked.append(index)
        count = episodes or self._episodes
        noise = np.random.default_rng(index).normal(size=count) * self._noise
        return concatenated([self._level(self._agent) + n for n in noise])


def concatenated(returns):
    from dataclasses import replace

    window = flat_window(len(returns))
    record = window.episodes[0]
    window.rewards[:] = returns
    window.terminated[:] = True
    window.episodes = tuple(
        replace(record, step=i, episode_return=float(r), length=1) for i, r in enumerate(returns)
    )
    return window


def controller(
    tmp_path,
    *,
    agent=None,
    scores=(1.0,),
    evaluator=None,
    tuner=None,
    pipeline=None,
    scheduler=None,
    **options,
):
    agent = agent or ScriptedAgent()
    options.setdefault("handle_signals", False)
    log = DecisionLog(tmp_path / "events.jsonl")
    return LoopController(
        agent,
        evaluator or ScriptedEvaluator(scores, spread=0.0),
        tuner,
        pipeline or ScriptedPipeline(),
        CheckpointRegistry(tmp_path),
        scheduler or BackoffScheduler(**options.pop("thresholds", {})),
        decision_log=log,
        **options,
    )


def kinds(tmp_path):
    return [event.kind for event in DecisionLog(tmp_path / "events.jsonl").read()]


def events(tmp_path, kind):
    return [event.numbers for event in DecisionLog(tmp_path / "events.jsonl").read() if event.kind == kind]


def test_budget_of_windows_is_exact(tmp_path):
    pipeline = ScriptedPipeline()
    agent = ScriptedAgent()
    result = controller(tmp_path, agent=agent, pipeline=pipeline, scores=range(100), max_episodes=7).run()
    assert result.stop_reason is StopReason.MAX_WINDOWS
    assert (result.windows, pipeline.windows) == (7, 7)
    assert agent.calls.count("learn") == 7


def test_budget_of_steps_is_exact_even_inside_a_window(tmp_path):
    pipeline = ScriptedPipeline(steps=4)
    result = controller(tmp_path, pipeline=pipeline, scores=range(100), max_steps=10).run()
    assert result.stop_reason is StopReason.MAX_STEPS
    assert result.steps == 10
    assert result.windows == 3


def test_a_pipeline_that_cannot_shorten_windows_never_exceeds_the_budget(tmp_path):
    class Rigid(ScriptedPipeline):
        def limit_next_window(self, steps):
            return False

    result = controller(tmp_path, pipeline=Rigid(steps=4), scores=range(100), max_steps=10).run()
    assert result.stop_reason is StopReason.MAX_STEPS
    assert result.steps == 8


def test_order_of_events_in_a_window(tmp_path):
    recorder = Recorder()

    class Doubling(BaseOptimizer):
        def suggest(self, current_hyperparams, metrics_history):
            changed = current_hyperparams.copy()
            changed.params["rate"] *= 2
            return changed

    agent = ScriptedAgent(hyperparams={"rate": 1.0})
    controller(
        tmp_path, agent=agent, tuner=Doubling(), scores=[1.0, 2.0, 3.0], max_episodes=2, callbacks=[recorder]
    ).run()
    names = recorder.names()
    assert names[0] == "loop_start"
    assert names[-1] == "loop_stop"
    first = names.index("improvement")
    assert names[first : first + 3] == ["improvement", "update", "episode_end"]
    updates = [event for event in recorder.events if event[0] == "update"]
    assert updates[0][1:] == ({"rate": 1.0}, {"rate": 2.0})


def test_a_flat_run_of_an_on_policy_agent_converges_by_itself(tmp_path):
    recorder = Recorder()
    scores = [0, 2, 4, 6, 8, 9] + [10.0] * 200
    result = controller(tmp_path, scores=scores, max_episodes=200, callbacks=[recorder]).run()
    assert result.stop_reason.is_convergence
    assert result.windows < 60
    assert result.state is LoopState.DORMANT
    assert recorder.names().count("plateau") == 1
    assert recorder.names().count("dormant") == 1
    assert "conver" in result.message


def test_collapse_rolls_back_the_whole_agent_and_its_hyperparameters(tmp_path):
    """The score follows the weights: only a real restore brings it back."""

    class Fragile(ScriptedAgent):
        def learn(self, episode_data):
            if self.learned == 80 and not getattr(self, "broken", False):
                self.broken = True
                self.learned = -1000
                self._params["rate"] = 99.0
            self.learned += 1
            return {"loss": 0.0}

    class ByWeights(ScriptedEvaluator):
        def __init__(self, agent):
            super().__init__([0.0])
            self.agent, self.rng = agent, np.random.default_rng(0)

        def score(self, episode_data, train_diagnostics):
            level = 100.0 if self.agent.learned >= 0 else 10.0
            level = min(level, 5.0 * self.agent.learned + 20) if self.agent.learned >= 0 else level
            value = level + self.rng.normal()
            return EvalMetrics(value, {}, episode_data.episode_id, episode_returns=(value,) * 4)

    agent = Fragile(hyperparams={"rate": 1.0})
    recorder = Recorder()
    loop = controller(
        tmp_path,
        agent=agent,
        evaluator=ByWeights(agent),
        max_episodes=100,
        rollback_on_degradation=True,
        callbacks=[recorder],
        thresholds={"min_episodes_before_dormant": 1000},
    )
    result = loop.run()
    assert recorder.names().count("degradation") == 1
    rolled = events(tmp_path, "rolled_back")
    assert len(rolled) == 1
    assert agent.get_hyperparams().params == {"rate": 1.0}
    late = [m.primary_score for m in loop.history][-10:]
    assert min(late) > 80
    assert result.best_score > 95


@pytest.mark.parametrize("stored_before", [True, False])
def test_a_drop_that_comes_again_after_a_rollback_is_answered_with_other_hyperparameters(
    tmp_path, stored_before
):
    """The best policy was stored after its rate had been ruined: going back to it alone never ends."""

    class Late(ScriptedAgent):
        """Three windows after its rate was set above 1 it loses everything, and keeps losing it from there."""

        doomed = 0

        def learn(self, episode_data):
            self.doomed = self.doomed + 1 if self._params["rate"] > 1.0 else 0
            return super().learn(episode_data)

        def load_state_dict(self, state):
            self.doomed = 0
            super().load_state_dict(state)

        def on_divergence(self):
            self._params["rate"] /= 100.0
            return {"rate": self._params["rate"]}

    class Reading(ScriptedEvaluator):
        def score(self, episode_data, train_diagnostics):
            found = super().score(episode_data, train_diagnostics)
            level = 0.0 if agent.doomed > 2 else min(10.0 * agent.learned, 150.0)
            return dataclasses.replace(found, primary_score=level, episode_returns=(level,) * 4)

    class Saboteur(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            if episode_id == 12:
                agent.set_hyperparams(HyperparamSet({"rate": 50.0}))

    agent = Late(hyperparams={"rate": 0.1 if stored_before else 50.0})
    if not stored_before:
        agent.doomed = -12  # ruined from the start, so that no checkpoint holds anything better
    loop = controller(
        tmp_path,
        agent=agent,
        evaluator=Reading([0.0]),
        callbacks=[Saboteur()],
        rollback_on_degradation=True,
        max_episodes=60,
        thresholds={"min_episodes_before_dormant": 1000},
    )
    loop.run()
    rollbacks = events(tmp_path, "rolled_back")
    # a rollback may be followed by a new best before the drop comes again, and is no failure then
    assert [bool(e["changed"]) for e in rollbacks] == [False] * (len(rollbacks) - 1) + [True]
    assert len(rollbacks) in {2, 3}
    assert rollbacks[-1]["changed"] == {"rate": 0.1 if stored_before else 0.5}
    assert loop.history[-1].primary_score == 150.0


def test_without_permission_a_collapse_is_reported_but_not_rolled_back(tmp_path):
    recorder = Recorder()
    scores = [
        *(10.0 * i for i in range(10)),
        *[100.0 + 0.1 * (i % 3) for i in range(60)],
        *[10.0 + 0.1 * (i % 3) for i in range(30)],
    ]
    controller(
        tmp_path,
        scores=scores,
        max_episodes=95,
        callbacks=[recorder],
        thresholds={"min_episodes_before_dormant": 1000},
    ).run()
    assert "degradation" in recorder.names()
    assert not events(tmp_path, "rolled_back")


def test_checkpoint_score_fn_that_acts_changes_nothing_in_training(tmp_path):
    def acting_score(agent):
        for _ in range(7):
            agent.act(None)
        return 5.0

    agent = ScriptedAgent(actions=(0, 1, 2))
    result = controller(
        tmp_path, agent=agent, scores=[1.0], max_episodes=3, checkpoint_score_fn=acting_score
    ).run()
    assert agent.state_dict()["acted"] == 0
    assert result.best_score == 5.0


def test_validation_that_acts_changes_nothing_in_training(tmp_path):
    def level(agent):
        agent.act(None)
        return 1.0

    agent = ScriptedAgent(actions=(0, 1, 2))
    controller(tmp_path, agent=agent, val_pipeline=AgentValidation(level), max_episodes=4).run()
    assert agent.state_dict()["acted"] == 0


def test_validation_decides_and_is_paced_by_its_share_of_steps(tmp_path):
    validation = AgentValidation(lambda agent: float(agent.learned), noise=0.0, episodes=8)
    evaluator = ReturnEvaluator()
    result = controller(
        tmp_path,
        evaluator=evaluator,
        pipeline=ScriptedPipeline(returns=[1000.0], steps=4),
        val_pipeline=validation,
        max_episodes=20,
        confirm_episodes=0,
        validation_share=0.5,
    ).run()
    # 8 validation steps are allowed per 16 training steps, which are 4 windows; the untrained policy's come first
    assert result.validation_steps <= 0.5 * result.steps + 8
    assert result.best_score < 100
    scores = [e["numbers"]["score"] for e in events(tmp_path, "decision")]
    assert scores == [4.0, 8.0, 12.0, 16.0, 20.0]
    assert events(tmp_path, "baseline")[0]["score"] == 0.0


class ReturnEvaluator(ScriptedEvaluator):
    """Mean return of the complete episodes."""

    def __init__(self):
        super().__init__([0.0])

    def score(self, episode_data, train_diagnostics):
        returns = tuple(e.episode_return for e in episode_data.episodes)
        return EvalMetrics(float(np.mean(returns)), {}, episode_data.episode_id, episode_returns=returns)


def test_the_returned_policy_is_confirmed_on_fresh_episodes(tmp_path):
    """The lucky early peak loses against the last policy when both are measured again."""
    lucky = {3: 50.0}

    def level(agent):
        return 10.0 + agent.learned

    class Lucky(AgentValidation):
        def evaluate(self, index, *, episodes=None):
            data = super().evaluate(index, episodes=episodes)
            if index < 1000:
                bonus = lucky.get(self._agent.learned, 0.0)
                data.episodes = tuple(
                    type(e)(
                        **{
                            **{f: getattr(e, f) for f in e.__slots__},
                            "episode_return": e.episode_return + bonus,
                        }
                    )
                    for e in data.episodes
                )
            return data

    agent = ScriptedAgent()
    result = controller(
        tmp_path,
        agent=agent,
        evaluator=ReturnEvaluator(),
        val_pipeline=Lucky(level, noise=0.1),
        max_episodes=10,
        validation_share=100.0,
    ).run()
    assert result.best_score > 60
    assert result.confirmation is not None
    assert agent.learned == 10
    assert result.confirmation.mean == pytest.approx(20.0, abs=0.5)
    assert result.confirmation.low < result.confirmation.mean < result.confirmation.high
    assert result.confirmation.episodes == 50


class FixedTrial(BaseOptimizer):
    """Proposes one trial, then nothing."""

    def __init__(self, arms, windows=2, keep=1):
        self.arms, self.windows, self.keep = arms, windows, keep
        self.asked = 0
        self.returns = None

    def suggest(self, current_hyperparams, metrics_history):
        return current_hyperparams

    def propose(self, current_hyperparams, metrics_history):
        self.asked += 1
        return Trial(arms=self.arms, windows=self.windows) if self.asked == 1 else None

    def conclude(self, trial, arm_returns, *, paired):
        assert paired
        self.returns = arm_returns
        return TrialVerdict(params=dict(trial.arms[self.keep]), keep_arm=self.keep, committed=True)


class Rated(ScriptedAgent):
    """Learns ``rate`` per window."""

    def learn(self, episode_data):
        super().learn(episode_data)
        self.learned += self._params["rate"] - 1
        return {"loss": 0.0}


def test_every_arm_of_a_trial_starts_from_the_same_state_and_meets_the_same_episodes(tmp_path):
    agent = Rated(hyperparams={"rate": 1})
    validation = AgentValidation(lambda a: float(a.learned), noise=3.0)
    tuner = FixedTrial(arms=({"rate": 5}, {"rate": 10}), windows=2, keep=1)
    recorder = Recorder()
    result = controller(
        tmp_path,
        agent=agent,
        evaluator=ReturnEvaluator(),
        tuner=tuner,
        val_pipeline=validation,
        max_episodes=6,
        validation_share=1000.0,
        confirm_episodes=0,
        callbacks=[recorder],
    ).run()
    # one window before the trial at rate 1, two per arm at their rates, from the same state
    differences = np.subtract(tuner.returns[1], tuner.returns[0])
    np.testing.assert_allclose(differences, (1 + 2 * 10) - (1 + 2 * 5))
    assert ("update", {"rate": 1}, {"rate": 10}) in recorder.events
    assert result.windows == 6  # arms count: 1 + 2 * 2 + 1
    assert agent.learned == 1 + 20 + 10
    trial = events(tmp_path, "trial")[0]
    assert (trial["kept_arm"], trial["committed"]) == (1, True)


def test_a_trial_that_the_budget_does_not_cover_is_not_begun(tmp_path):
    tuner = FixedTrial(arms=({"rate": 5}, {"rate": 10}), windows=2)
    agent = Rated(hyperparams={"rate": 1})
    result = controller(
        tmp_path,
        agent=agent,
        evaluator=ReturnEvaluator(),
        tuner=tuner,
        max_episodes=4,
        val_pipeline=AgentValidation(lambda a: 0.0),
        validation_share=1000.0,
    ).run()
    assert tuner.returns is None
    assert result.windows == 4
    assert "trial_skipped" in kinds(tmp_path)


def test_a_diverged_arm_is_reported_as_empty(tmp_path):
    class Explodes(Rated):
        def learn(self, episode_data):
            super().learn(episode_data)
            return {"loss": math.nan if self._params["rate"] == 10 else 0.0}

    tuner = FixedTrial(arms=({"rate": 5}, {"rate": 10}), keep=0)
    agent = Explodes(hyperparams={"rate": 1})
    controller(
        tmp_path,
        agent=agent,
        evaluator=ReturnEvaluator(),
        tuner=tuner,
        max_episodes=6,
        val_pipeline=AgentValidation(lambda a: 0.0),
        validation_share=1000.0,
    ).run()
    assert len(tuner.returns[0]) == 6
    assert tuner.returns[1] == []
    assert events(tmp_path, "trial")[0]["kept_arm"] == 0
    assert events(tmp_path, "tuned")[0]["changed"] == {"rate": [1, 5]}


def test_a_probe_that_gains_reactivates_the_run_with_the_better_branch(tmp_path):
    """The score is stuck until a probe explores; then it climbs to a higher plateau."""

    class Stuck(ScriptedAgent):
        default_exploration_params: ClassVar = {"noise": 1}

        def level(self):
            return 100.0 if self._params["noise"] > 1 else 10.0

    class Kicking(BaseOptimizer):
        kicks = 0

        def suggest(self, current_hyperparams, metrics_history):
            return current_hyperparams

        def kick(self, current_hyperparams, exploration):
            assert exploration == {"noise": 1}
            self.kicks += 1
            return {"noise": 2.0}

    tuner = Kicking()
    recorder = Recorder()
    climb = lambda a: min(a.level(), 1.0 * a.learned)  # noqa: E731
    agent = Stuck(hyperparams={"noise": 0.0})
    result = controller(
        tmp_path,
        agent=agent,
        evaluator=ReturnEvaluator(),
        tuner=tuner,
        max_episodes=600,
        callbacks=[recorder],
        val_pipeline=AgentValidation(climb, noise=0.3),
        validation_share=1e6,
    ).run()
    probes = events(tmp_path, "probe")
    assert probes[0]["gain_lower"] > 0
    assert agent.get_hyperparams().params == {"noise": 2.0}
    assert result.stop_reason is StopReason.CONVERGED_AFTER_PROBE
    assert result.confirmation.mean == pytest.approx(100.0, abs=1.0)
    assert recorder.names().count("dormant") == 1


def test_a_failing_observer_is_isolated_and_switched_off(tmp_path, caplog):
    class Broken(LoopCallback):
        calls = 0

        def on_episode_end(self, episode_id, eval_metrics):
            self.calls += 1
            raise ValueError("observer is broken")

    broken, recorder = Broken(), Recorder()
    result = controller(tmp_path, scores=range(20), max_episodes=10, callbacks=[broken, recorder]).run()
    assert broken.calls == 3
    assert recorder.names().count("episode_end") == 10
    assert result.callback_faults == {"Broken": 3}
    assert caplog.text.count("Traceback") == 1
    assert len(events(tmp_path, "callback_failed")) == 3


def test_a_failing_critical_callback_stops_the_run(tmp_path):
    class Critical(LoopCallback):
        critical = True

        def on_episode_end(self, episode_id, eval_metrics):
            raise ValueError("half mutated")

    pipeline = ScriptedPipeline()
    with pytest.raises(ValueError, match="half mutated"):
        controller(tmp_path, pipeline=pipeline, callbacks=[Critical()], max_episodes=5).run()
    assert pipeline.calls[-1] == "teardown"


def test_the_first_error_is_raised_and_everything_is_torn_down(tmp_path, caplog):
    class Unloadable(ScriptedAgent):
        def load_state_dict(self, state):
            raise RuntimeError("cannot load")

    recorder, pipeline = Recorder(), ScriptedPipeline()
    agent = Unloadable(diagnostics=[{"loss": 0.0}, {"loss": 0.0}, OverflowError("the true cause")])
    with pytest.raises(OverflowError, match="the true cause"):
        controller(
            tmp_path, agent=agent, pipeline=pipeline, scores=range(9), max_episodes=9, callbacks=[recorder]
        ).run()
    assert pipeline.calls[-1] == "teardown"
    assert recorder.names()[-1] == "loop_stop"
    assert "cannot load" in caplog.text
    assert kinds(tmp_path)[-1] == "failed"


def test_an_error_in_teardown_is_raised_when_nothing_else_failed(tmp_path):
    class Sticky(ScriptedPipeline):
        def teardown(self):
            raise OSError("sticky")

    with pytest.raises(OSError, match="sticky"):
        controller(tmp_path, pipeline=Sticky(), scores=range(9), max_episodes=2).run()


def test_a_diverged_update_restores_the_last_good_policy(tmp_path):
    agent = ScriptedAgent(diagnostics=[{"loss": 0.0}] * 3 + [{"loss": math.inf}] + [{"loss": 0.0}] * 3)

    class Once(ScriptedAgent):
        bad = 1

        def learn(self, episode_data):
            out = super().learn(episode_data)
            if self.learned == 4 and self.bad:
                Once.bad = 0
                self.learned = 10_000
                return {"loss": math.nan}
            return out

        def on_divergence(self):
            self._params["rate"] /= 2
            return {"rate": self._params["rate"]}

    agent = Once(hyperparams={"rate": 1.0})
    result = controller(tmp_path, agent=agent, scores=range(50), max_episodes=8).run()
    assert result.stop_reason is StopReason.MAX_WINDOWS
    diverged = events(tmp_path, "diverged")
    assert diverged[0]["diagnostics"] == ["loss"]
    assert diverged[0]["changed"] == {"rate": 0.5}
    assert agent.learned < 100


def test_endless_divergence_is_an_error(tmp_path):
    agent = ScriptedAgent(diagnostics=[{"loss": math.nan}])
    with pytest.raises(NumericalDivergence, match="loss"):
        controller(tmp_path, agent=agent, max_episodes=50).run()


def test_undefined_explained_variance_is_no_divergence(tmp_path):
    agent = ScriptedAgent(diagnostics=[{"loss": 0.0, "explained_var": math.nan}])
    result = controller(tmp_path, agent=agent, scores=range(9), max_episodes=3).run()
    assert result.windows == 3


def test_stop_from_a_callback_ends_after_that_window(tmp_path):
    class Stopper(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            if episode_id == 2:
                loop.stop()

    loop = controller(tmp_path, scores=range(50), max_episodes=40, callbacks=[Stopper()])
    result = loop.run()
    assert result.stop_reason is StopReason.REQUESTED
    assert result.windows == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_the_present_state_before_the_best_is_restored(tmp_path, number):
    class Killer(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            if episode_id == 4:
                os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    agent = ScriptedAgent()
    loop = controller(
        tmp_path,
        agent=agent,
        scores=[5.0, 4, 3, 2, 1],
        max_episodes=40,
        callbacks=[Killer()],
        handle_signals=True,
    )
    result = loop.run()
    assert result.signal == number
    assert result.stop_reason is StopReason.SIGNAL
    assert signal.getsignal(number) is before
    assert agent.learned == 1  # the best was the first window
    latest = CheckpointRegistry(tmp_path).latest_training_state()
    assert latest.components["agent"]["learned"] == 5


def test_the_end_of_a_finite_source_ends_the_run(tmp_path):
    class Finite(ScriptedPipeline):
        def episodes(self):
            stream = super().episodes()
            for _ in range(3):
                yield next(stream)

    result = controller(tmp_path, pipeline=Finite(), scores=range(9)).run()
    assert result.stop_reason is StopReason.SOURCE_ENDED
    assert result.windows == 3


def test_nan_scores_are_never_best_and_end_the_run_if_they_persist(tmp_path):
    class Broken(ScriptedEvaluator):
        def score(self, episode_data, train_diagnostics):
            return EvalMetrics(math.inf, {}, episode_data.episode_id, episode_returns=(math.inf,))

    loop = controller(tmp_path, evaluator=Broken([0.0]), max_episodes=50)
    with pytest.raises(NumericalDivergence):
        loop.run()
    assert loop.best_snapshot is None


def test_windows_without_a_complete_episode_are_no_failure(tmp_path):
    result = controller(tmp_path, scores=[math.nan] * 8 + [1.0, 2.0], max_episodes=10).run()
    assert result.stop_reason is StopReason.MAX_WINDOWS
    assert result.best_score == 2.0


def test_target_score_must_hold_for_the_patience(tmp_path):
    result = controller(
        tmp_path,
        scores=[1, 9, 9, 1, 9, 9, 9, 9, 9, 9],
        max_episodes=50,
        target_score=8.0,
        convergence_patience=3,
    ).run()
    assert result.stop_reason is StopReason.TARGET_REACHED
    assert result.windows == 7


def test_a_run_can_be_stopped_inside_a_trial_and_forgets_it(tmp_path):
    class StopInArm(ScriptedPipeline):
        def episodes(self):
            for window in super().episodes():
                if self.windows == 3:
                    loop.stop()
                yield window

    agent = Rated(hyperparams={"rate": 1})
    tuner = FixedTrial(arms=({"rate": 5}, {"rate": 10}), windows=2)
    loop = controller(
        tmp_path,
        agent=agent,
        evaluator=ReturnEvaluator(),
        tuner=tuner,
        pipeline=StopInArm(),
        max_episodes=20,
        val_pipeline=AgentValidation(lambda a: 0.0),
        validation_share=1000.0,
    )
    result = loop.run()
    assert result.stop_reason is StopReason.REQUESTED
    assert result.windows == 1
    latest = CheckpointRegistry(tmp_path).latest_training_state()
    assert latest.components["agent"]["learned"] == 1
    assert latest.components["loop"]["pending"]["actions"]


def test_verbose_output_goes_to_the_file(tmp_path):
    path = tmp_path / "verbose.txt"
    controller(tmp_path, scores=range(9), max_episodes=3, verbose_log_file=str(path)).run()
    text = path.read_text()
    assert text.count("score") >= 3
    assert "ACTIVE" in text


def test_every_decision_is_logged_with_its_numbers(tmp_path):
    controller(tmp_path, scores=[float(i % 7) for i in range(40)], max_episodes=30).run()
    decisions = events(tmp_path, "decision")
    assert len(decisions) == 30
    assert decisions[-1]["numbers"]["best"] == 6.0
    assert {"slope", "gain_upper"} <= set(decisions[-1]["numbers"])
    assert kinds(tmp_path)[0] == "started"
    assert kinds(tmp_path)[-1] == "finished"
