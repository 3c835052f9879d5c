"""The two ways in: parts by hand (RLOptimizer) and one line (Optimizer)."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import pytest

from optix_core import Optimizer, RLOptimizer
from optix_core.base_evaluator import BaseEvaluator
from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.checkpoints.store import CheckpointStore
from optix_core.errors import (
    CheckpointError,
    CheckpointLocked,
    ConfigError,
    IncompatibleCheckpoint,
    OptixError,
    ResumeError,
)
from optix_core.loop.backoff_scheduler import BackoffScheduler
from optix_core.loop.stop_reason import StopReason
from optix_core.loop_callback import LoopCallback
from optix_core.pipelines.batch import BatchPipeline
from optix_core.runs.decision_log import DecisionLog
from optix_core.runs.run_directory import RunDirectory
from optix_core.state import arrays_in
from optix_core.testing.fakes import ScriptedAgent, ScriptedPipeline
from optix_core.testing.linear_agent import LinearAgent
from optix_core.testing.tiny_envs import TinyBox, TinyDiscrete
from optix_core.tuners.fixed import FixedOptimizer
from optix_core.tuners.spsa import SPSAOptimizer
from optix_core.types import LoopState


def linear(env, seed=0):
    return LinearAgent(env.observation_space, env.action_space, seed=seed)


def quick(env_factory=TinyDiscrete, **options):
    env = env_factory()
    options.setdefault("seed", 1)
    options.setdefault("window_size", 64)
    options.setdefault("confirm_episodes", 5)
    options.setdefault("handle_signals", False)
    return Optimizer(linear(env, options["seed"]), env_factory, **options)


@pytest.mark.parametrize("env_factory", [TinyDiscrete, TinyBox])
def test_one_line_trains_to_near_the_best_and_stops_by_itself(tmp_path, env_factory):
    # coarse: the linear agent keeps wandering on TinyBox, and resolving 5 % of the range there takes long
    result = quick(env_factory, checkpoint_dir=tmp_path, max_episodes=400, delta=0.2).run()
    assert result.stop_reason.is_convergence
    assert result.confirmation is not None
    assert result.confirmation.mean > 0.8 * result.best_score
    assert (tmp_path / result.run_dir.rsplit("/", 1)[1] / "run.json").exists()


@pytest.mark.parametrize("n_envs", [1, 3])
def test_windows_hold_window_size_steps_of_each_environment(tmp_path, n_envs):
    result = quick(checkpoint_dir=tmp_path, n_envs=n_envs, max_episodes=3, optimizer="fixed").run()
    assert result.windows == 3
    assert result.steps == 3 * 64 * n_envs


def test_a_list_of_factories_must_have_n_envs_entries(tmp_path):
    env = TinyDiscrete()
    with pytest.raises(ConfigError, match=r"list of 2.*n_envs=3"):
        Optimizer(linear(env), [TinyDiscrete, TinyDiscrete], n_envs=3, checkpoint_dir=tmp_path)
    result = Optimizer(
        linear(env),
        [TinyDiscrete, TinyDiscrete],
        n_envs=2,
        window_size=16,
        max_episodes=2,
        checkpoint_dir=tmp_path,
    ).run()
    assert result.windows == 2


def test_an_environment_that_cannot_be_made_again_says_what_to_pass():
    env = TinyDiscrete()
    with pytest.raises(ConfigError, match="factory"):
        Optimizer(linear(env), env)


def test_an_environment_may_be_given_by_its_id(tmp_path):
    env = gym.make("CartPole-v1")
    result = Optimizer(
        linear(env), "CartPole-v1", window_size=32, max_episodes=2, checkpoint_dir=tmp_path
    ).run()
    assert result.steps == 64
    assert "CartPole-v1" in result.run_dir


def test_the_given_environment_object_is_used_and_may_be_remade_for_validation(tmp_path):
    env = gym.make("CartPole-v1")
    result = Optimizer(linear(env), env, window_size=32, max_episodes=2, checkpoint_dir=tmp_path).run()
    assert result.validation_steps > 0


def test_equal_seeds_give_equal_runs_and_different_seeds_do_not(tmp_path):
    def digest(seed):
        optimizer = quick(seed=seed, checkpoint_dir=tmp_path, max_episodes=12)
        result = optimizer.run()
        state = arrays_in(optimizer.agent.state_dict())
        return result.best_score, {k: v.tobytes() for k, v in state.items()}

    assert digest(5) == digest(5)
    assert digest(5) != digest(6)


def test_a_run_cut_at_any_window_resumes_to_the_same_bits(tmp_path):
    """A crash in any window, then resume: same weights, same scores, same decisions as without the crash."""

    class Crash(LoopCallback):
        critical = True

        def __init__(self, at):
            self.left = at

        def on_episode_end(self, episode_id, eval_metrics):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt

    def run(name, crash_at=None, *, resume=False):
        optimizer = quick(
            run_dir=tmp_path / name,
            resume=resume,
            n_envs=2,
            max_episodes=30,
            checkpoint_every=4,
            callbacks=[] if crash_at is None else [Crash(crash_at)],
        )
        result = optimizer.run()
        return result, {k: v.tobytes() for k, v in arrays_in(optimizer.agent.state_dict()).items()}

    def story(name):
        skip = {"resumed", "failed"}
        events = [e for e in DecisionLog(tmp_path / name / "events.jsonl").read() if e.kind not in skip]
        for event in events:
            event.numbers.pop("elapsed", None)
            event.numbers.get("numbers", {}).pop("elapsed", None)
        return [(e.kind, e.window, e.step, e.numbers) for e in events]

    whole, weights = run("whole")
    for at in range(0, 12, 2):
        name = f"cut{at}"
        with pytest.raises(KeyboardInterrupt):
            run(name, at)
        resumed, resumed_weights = run(name, resume=True)
        assert resumed_weights == weights
        assert resumed.confirmation == whole.confirmation
        assert (resumed.steps, resumed.best_score) == (whole.steps, whole.best_score)
        assert story(name) == story("whole")


def test_resuming_with_another_agent_is_refused_and_changes_nothing(tmp_path):
    quick(run_dir=tmp_path / "r", max_episodes=3).run()
    env = TinyBox()
    other = linear(env)
    before = {k: v.tobytes() for k, v in arrays_in(other.state_dict()).items()}
    with pytest.raises(IncompatibleCheckpoint):
        Optimizer(other, TinyBox, window_size=64, run_dir=tmp_path / "r", resume=True).run()
    assert {k: v.tobytes() for k, v in arrays_in(other.state_dict()).items()} == before


def test_resume_needs_a_run(tmp_path):
    with pytest.raises(ConfigError, match="run_dir"):
        quick(resume=True)
    with pytest.raises(OptixError):
        quick(resume=True, run_dir=tmp_path / "none").run()


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path):
    DecisionLog(RunDirectory.create(tmp_path, name="cut").path / "events.jsonl").write("started")
    assert quick(resume=True, run_dir=tmp_path / "cut", max_episodes=3).run().windows == 3
    kinds = [event.kind for event in DecisionLog(tmp_path / "cut" / "events.jsonl").read()]
    assert kinds.count("started") == 1


def test_parts_must_be_given_once():
    agent, pipeline = ScriptedAgent(), ScriptedPipeline()
    with pytest.raises(ConfigError, match="neither agent nor agent_factory"):
        RLOptimizer(pipeline=pipeline)
    with pytest.raises(ConfigError, match="neither pipeline nor pipeline_factory"):
        RLOptimizer(agent)
    with pytest.raises(ConfigError, match="both agent and agent_factory"):
        RLOptimizer(agent, pipeline, agent_factory=lambda params: agent)


def test_a_trial_search_needs_factories():
    with pytest.raises(ConfigError, match=r"param_space.*agent_factory"):
        RLOptimizer(
            ScriptedAgent(), ScriptedPipeline(), param_space={"learning_rate": ("log_float", 1e-4, 1e-2)}
        )


def test_factories_are_called_once(tmp_path):
    made = []

    def agent_factory(params):
        made.append(params)
        return ScriptedAgent()

    RLOptimizer(
        agent_factory=agent_factory,
        pipeline_factory=ScriptedPipeline,
        max_episodes=2,
        checkpoint_dir=tmp_path,
    ).run()
    assert made == [{}]


def test_before_the_run_everything_can_be_asked_and_stopped(tmp_path):
    optimizer = quick(checkpoint_dir=tmp_path, max_episodes=5)
    assert optimizer.state is LoopState.ACTIVE
    assert optimizer.best_snapshot is None
    assert optimizer.run_dir is None
    optimizer.stop()
    result = optimizer.run()
    assert result.stop_reason is StopReason.REQUESTED
    assert result.windows == 0
    assert not list(tmp_path.glob("*.part"))


def test_callbacks_may_be_added_before_and_during_the_run(tmp_path):
    seen = []

    class Late(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            seen.append(("late", episode_id))

    class Early(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            seen.append(("early", episode_id))
            if episode_id == 1:
                optimizer.add_callback(Late())

    optimizer = quick(checkpoint_dir=tmp_path, max_episodes=4, optimizer="fixed")
    optimizer.add_callback(Early())
    optimizer.run()
    assert [s for s in seen if s[0] == "late"] == [("late", 2), ("late", 3)]


def test_a_second_run_goes_on_where_the_first_stopped(tmp_path):
    class StopAt(LoopCallback):
        def on_episode_end(self, episode_id, eval_metrics):
            if episode_id == 2:
                optimizer.stop()

    optimizer = quick(checkpoint_dir=tmp_path, max_episodes=6, callbacks=[StopAt()], optimizer="fixed")
    assert optimizer.run().windows == 3
    assert optimizer.run().windows == 6


def test_the_tuner_may_be_named_or_given(tmp_path):
    env = TinyDiscrete()
    with pytest.raises(OptixError, match="spza"):
        Optimizer(linear(env), TinyDiscrete, optimizer="spza", checkpoint_dir=tmp_path)
    tuned = quick(checkpoint_dir=tmp_path, optimizer=FixedOptimizer(), max_episodes=3)
    tuned.run()
    events = list(DecisionLog(tuned.run_dir / "events.jsonl").read())
    assert not [e for e in events if e.kind in {"trial", "tuned"}]


def test_nothing_to_tune_is_an_error_when_a_tuner_is_asked_for():
    with pytest.raises(ConfigError, match="nothing to tune"):
        RLOptimizer(ScriptedAgent(), ScriptedPipeline(), optimizer="spsa")


def test_an_unwritable_folder_is_an_error_before_the_first_step(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("not a folder")
    optimizer = quick(checkpoint_dir=blocker)
    with pytest.raises(OptixError, match="file"):
        optimizer.run()


def test_an_environment_that_raises_stops_the_run_with_its_own_error(tmp_path):
    class Raising(TinyDiscrete):
        steps = 0

        def step(self, action):
            Raising.steps += 1
            if Raising.steps > 100:
                raise ZeroDivisionError("physics broke")
            return super().step(action)

    env = Raising()
    with pytest.raises(Exception, match="physics broke"):
        Optimizer(linear(env), Raising, window_size=64, checkpoint_dir=tmp_path).run()


def test_nan_rewards_never_reach_a_checkpoint(tmp_path):
    class Bad(TinyDiscrete):
        def step(self, action):
            observation, _, terminated, truncated, info = super().step(action)
            return observation, float("nan"), terminated, truncated, info

    env = Bad()
    optimizer = Optimizer(linear(env), Bad, window_size=64, checkpoint_dir=tmp_path, validation_episodes=0)
    with pytest.raises(OptixError, match="reward"):
        optimizer.run()
    for snapshot in CheckpointRegistry(optimizer.run_dir).snapshots():
        assert snapshot.eval_metrics.primary_score != snapshot.eval_metrics.primary_score


def test_an_agent_with_only_the_six_methods_works(tmp_path):
    class Minimal(ScriptedAgent):
        state_dict = None
        load_state_dict = None

        def save_weights(self, path):
            Path(path).write_text(str(self.learned))

        def load_weights(self, path):
            self.learned = int(Path(path).read_text())

    agent = Minimal()
    result = Optimizer(agent, TinyDiscrete, window_size=16, max_episodes=5, checkpoint_dir=tmp_path).run()
    assert result.windows == 5
    assert result.snapshot_id is not None


def test_a_custom_evaluator_decides(tmp_path):
    class Minus(BaseEvaluator):
        def score(self, episode_data, train_diagnostics):
            from optix_core.types import EvalMetrics

            return EvalMetrics(-float(episode_data.total_reward), {}, episode_data.episode_id)

    env = TinyDiscrete()
    result = RLOptimizer(
        linear(env),
        BatchPipeline(env, window_size=16, seed=0),
        Minus(),
        max_episodes=4,
        checkpoint_dir=tmp_path,
        optimizer="fixed",
    ).run()
    assert result.best_score <= 0


def test_a_run_that_somebody_works_on_cannot_be_resumed_and_its_log_stays(tmp_path):
    log = DecisionLog(RunDirectory.create(tmp_path, name="live").path / "events.jsonl")
    log.write("started")
    log.close()
    second = quick(resume=True, run_dir=tmp_path / "live", max_episodes=3)
    with CheckpointRegistry(tmp_path / "live").lock(), pytest.raises(CheckpointLocked):
        second.run()
    assert [event.kind for event in DecisionLog(tmp_path / "live" / "events.jsonl").read()] == ["started"]


def test_a_directory_that_cannot_hold_a_run_is_refused_before_the_first_step(tmp_path, monkeypatch):
    def refuse(self, size=0, shared=0):
        raise CheckpointError("no space")

    monkeypatch.setattr(CheckpointStore, "preflight", refuse)
    optimizer = quick(run_dir=tmp_path / "r", max_episodes=3)
    with pytest.raises(CheckpointError, match="no space"):
        optimizer.run()
    assert optimizer.controller.progress.windows == 0


def _kinds(optimizer):
    return [event.kind for event in DecisionLog(optimizer.run_dir / "events.jsonl").read()]


def test_the_two_probe_form_tunes_in_ordinary_windows(tmp_path):
    env = TinyDiscrete()
    bounds, logs = LinearAgent.default_param_bounds, LinearAgent.default_log_params
    tuner = SPSAOptimizer(bounds, log_params=logs, mode="two_probe", every=1, seed=0)
    optimizer = Optimizer(
        linear(env), TinyDiscrete, window_size=64, max_episodes=12, checkpoint_dir=tmp_path, optimizer=tuner
    )
    optimizer.run()
    assert _kinds(optimizer).count("tuned") >= 3
    assert "trial" not in _kinds(optimizer)


def test_without_validation_the_default_tuner_probes_in_ordinary_windows(tmp_path):
    optimizer = quick(checkpoint_dir=tmp_path, max_episodes=20, validation_episodes=0)
    optimizer.run()
    assert "tuned" in _kinds(optimizer)
    assert "tuning_off" not in _kinds(optimizer)


def test_a_tuner_that_cannot_work_says_so(tmp_path):
    tuner = SPSAOptimizer(LinearAgent.default_param_bounds, mode="branched", seed=0)
    optimizer = quick(checkpoint_dir=tmp_path, max_episodes=3, validation_episodes=0, optimizer=tuner)
    optimizer.run()
    assert _kinds(optimizer).count("tuning_off") == 1


def test_a_state_of_another_version_is_refused_with_what_to_do(tmp_path, monkeypatch):
    quick(run_dir=tmp_path / "r", max_episodes=3).run()

    def other_version(self, state):
        raise ValueError("this is no state of a BackoffScheduler")

    monkeypatch.setattr(BackoffScheduler, "load_state_dict", other_version)
    with pytest.raises(ResumeError, match=r"version that wrote it"):
        quick(run_dir=tmp_path / "r", resume=True, max_episodes=5).run()
