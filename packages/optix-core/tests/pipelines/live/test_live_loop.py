"""Live pipelines in the loop: they train, keep to budgets, tell the log, stop when asked and are resumed."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from optix_core import EvaluationPipeline, LivePipeline, RLOptimizer, RNDPipeline
from optix_core.errors import StreamError
from optix_core.loop.stop_reason import StopReason
from optix_core.pipelines.live import EnvSource
from optix_core.runs.run_directory import RunDirectory
from optix_core.testing import LinearAgent, TinyDiscrete


class Numbered:
    """TinyDiscrete as a log of numbered items that begins anywhere; finite, and it may break."""

    def __init__(self, n, *, breaks_at=(), stalls_at=None):
        self.env, self.n, self.at = TinyDiscrete(), n, 0
        self.observation_space, self.action_space = self.env.observation_space, self.env.action_space
        self.breaks, self.stalls_at, self.closed = set(breaks_at), stalls_at, threading.Event()
        self.begun = []

    def resume_from(self, seq):
        self.at = seq + 1

    def stream(self):
        self.begun.append(self.at)
        rng = np.random.default_rng(0)
        states = rng.integers(2, size=self.n)
        for k in range(self.at, self.n):
            if k in self.breaks:
                self.breaks.discard(k)
                raise ConnectionError(k)
            if k == self.stalls_at:
                self.closed.wait()
                return
            # observation, flags: episodes of 8 steps, as in TinyDiscrete; the reward is what the state before asked for
            yield np.eye(2, dtype=np.float32)[states[k]], 1.0, k % 8 == 7, False, {"seq": k}

    def close(self):
        self.closed.set()


def linear(seed=0):
    env = TinyDiscrete()
    return LinearAgent(env.observation_space, env.action_space, seed=seed)


def loop_over(source, folder, *, agent=None, steps=16, validate=True, live=None, **options):
    pipeline = LivePipeline(
        source,
        episode_boundary_fn=LivePipeline.every_n_steps(steps),
        reconnect_delay=(0.001, 0.01),
        seed=0,
        **{"end_on_done": False, **(live or {})},
    )
    loop = RLOptimizer(
        agent or linear(),
        pipeline,
        optimizer="fixed",
        val_pipeline=EvaluationPipeline(TinyDiscrete(), episodes=5, seed=1) if validate else None,
        run_dir=folder,
        handle_signals=False,
        confirm_episodes=5,
        probe_windows=0,
        seed=1,
        **options,
    )
    return loop, pipeline


def logged(folder, kind):
    return [e.numbers for e in RunDirectory.open(folder).log().read() if e.kind == kind]


@pytest.fixture(autouse=True)
def nothing_is_left():
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


def test_the_loop_learns_from_a_live_source_in_a_closed_loop(tmp_path):
    agent = linear()
    loop, pipeline = loop_over(
        EnvSource(TinyDiscrete(), seed=2), tmp_path / "r", agent=agent, steps=64, max_episodes=60
    )
    result = loop.run()
    assert result.stop_reason in {StopReason.MAX_WINDOWS, StopReason.CONVERGED}
    assert result.confirmation.mean > 7.0  # of 8; a random policy has 4
    assert pipeline.counters.gaps == 0
    assert logged(tmp_path / "r", "live") == []  # nothing worth telling


def test_without_validation_the_training_scores_decide(tmp_path):
    loop, _ = loop_over(
        EnvSource(TinyDiscrete(), seed=2), tmp_path / "r", steps=64, max_episodes=40, validate=False
    )
    result = loop.run()
    assert result.best_score > 7.0
    assert result.validation_steps == 0


def test_a_source_that_ends_ends_the_run_with_everything_used(tmp_path):
    source = Numbered(200)
    loop, pipeline = loop_over(source, tmp_path / "r")
    result = loop.run()
    assert result.stop_reason is StopReason.SOURCE_ENDED
    assert result.steps == 200 - 25  # the item that ends an episode is followed by one that begins one
    assert pipeline.counters.produced == pipeline.counters.consumed == 200


@pytest.mark.parametrize("ends_with_episodes", [False, True])
def test_the_budget_of_steps_is_met_exactly(tmp_path, ends_with_episodes):
    source = EnvSource(TinyDiscrete(), seed=2)
    loop, pipeline = loop_over(
        source, tmp_path / "r", steps=30, max_steps=100, live={"end_on_done": ends_with_episodes}
    )
    assert pipeline.steps_per_window == (None if ends_with_episodes else 30)
    result = loop.run()
    assert result.stop_reason is StopReason.MAX_STEPS
    assert result.steps == 100


def test_what_went_wrong_is_in_the_decision_log(tmp_path):
    source = Numbered(400, breaks_at=(100, 250))
    loop, pipeline = loop_over(source, tmp_path / "r")
    loop.run()
    told = logged(tmp_path / "r", "live")
    assert (
        1 <= len(told) <= 4
    )  # only where something happened: a reconnect is seen early, the cut when it is reached
    assert (told[-1]["reconnects"], told[-1]["gaps"]) == (2, 2)
    assert all(line["produced"] == line["consumed"] + line["buffered"] for line in told)
    assert source.begun == [0, 100, 250]
    assert pipeline.counters.missing == 0


def test_a_source_that_fails_for_good_is_the_error_of_the_run(tmp_path):
    class Broken(Numbered):
        def stream(self):
            yield from super().stream()
            raise OSError("gone for good")

    source = Broken(40)
    loop, _ = loop_over(source, tmp_path / "r", live={"reconnect_on_disconnect": False})
    with pytest.raises(StreamError, match="gone for good"):
        loop.run()
    assert logged(tmp_path / "r", "failed")


def test_a_stop_is_noticed_while_the_source_is_silent(tmp_path):
    source = Numbered(1000, stalls_at=100)
    loop, _ = loop_over(
        source, tmp_path / "r", live={"stall_timeout": 0.05, "on_stall": lambda s: loop.stop()}
    )
    began = time.monotonic()
    result = loop.run()
    assert result.stop_reason is StopReason.REQUESTED
    assert time.monotonic() - began < 20.0  # not the five minutes of max_stall
    assert result.steps == 87  # also the steps of the window under way


def test_lv10_a_run_goes_on_behind_the_last_item(tmp_path):
    first = Numbered(300)
    loop, one = loop_over(first, tmp_path / "r", max_episodes=5, checkpoint_every=1)
    loop.run()
    used = one.counters.consumed
    second = Numbered(300)
    again, two = loop_over(second, tmp_path / "r", agent=linear(5), resume=True, checkpoint_every=1)
    result = again.run()
    assert second.begun == [used]
    assert result.stop_reason is StopReason.SOURCE_ENDED
    assert two.counters.consumed == 300
    assert two.counters.balanced
    assert result.windows > 5
    assert result.steps <= 300 - 300 // 8


def test_a_bonus_for_novelty_works_on_live_windows(tmp_path):
    inner = LivePipeline(
        EnvSource(TinyDiscrete(), seed=2),
        episode_boundary_fn=LivePipeline.every_n_steps(16),
        end_on_done=False,
    )
    pipeline = RNDPipeline(inner, 2)
    pipeline.set_agent(linear())
    stream = pipeline.episodes()
    assert next(stream).intrinsic_rewards.shape == (16,)
    assert pipeline.counters.balanced
    assert pipeline.is_live is True
    pipeline.teardown()


def test_validation_may_be_live_and_its_end_is_an_error(tmp_path):
    def on(items):
        return LivePipeline(
            Numbered(items),
            episode_boundary_fn=LivePipeline.every_n_steps(16),
            end_on_done=False,
            max_episode_steps=8,
        )

    loop = RLOptimizer(
        linear(),
        on(400),
        optimizer="fixed",
        val_pipeline=on(60),
        run_dir=tmp_path / "r",
        validation_share=10.0,
        handle_signals=False,
    )
    with pytest.raises(StreamError, match="validation pipeline LivePipeline ended"):
        loop.run()
    assert len(logged(tmp_path / "r", "decision")) >= 1
