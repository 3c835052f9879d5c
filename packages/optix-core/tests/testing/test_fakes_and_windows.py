"""Do the stand-ins do what they are told, and are windows built as the contract says?"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from optix_core.errors import HyperparamError, IncompatibleCheckpoint
from optix_core.testing import (
    LinearAgent,
    ScriptedAgent,
    ScriptedEvaluator,
    ScriptedPipeline,
    TinyDiscrete,
    fakes,
)
from optix_core.testing.windows import collect, with_ends
from optix_core.types import HyperparamSet


def test_scripted_agent_follows_its_script(tmp_path) -> None:
    agent = ScriptedAgent(
        actions=(1, 2), diagnostics=({"loss": 1.0}, ValueError("boom"), {"loss": 3.0}), hyperparams={"a": 1}
    )
    assert [agent.act(None) for _ in range(3)] == [1, 2, 1]
    assert agent.act(None, deterministic=True) == 1
    window = fakes.flat_window(4)
    assert agent.learn(window) == {"loss": 1.0}
    with pytest.raises(ValueError, match="boom"):
        agent.learn(window)
    assert [agent.learn(window)["loss"] for _ in range(2)] == [3.0, 3.0]
    agent.save_weights(str(tmp_path / "w"))
    other = ScriptedAgent(hyperparams={"a": 5})
    other.load_weights(str(tmp_path / "w"))
    assert (other.learned, other.get_hyperparams().params) == (4, {"a": 1})
    with pytest.raises(HyperparamError, match="b"):
        agent.set_hyperparams(HyperparamSet({"b": 1}))
    with pytest.raises(IncompatibleCheckpoint):
        agent.load_state_dict({"x": 1})
    assert agent.calls == ["learn"] * 4 + ["save_weights", "set_hyperparams"]


def test_scripted_evaluator_gives_the_scores_in_order() -> None:
    evaluator = ScriptedEvaluator([1.0, float("nan"), 3.0], spread=0.5)
    found = [evaluator.score(fakes.flat_window(2, episode_id=i), {}) for i in range(4)]
    assert [m.primary_score for m in found[:1] + found[2:]] == [1.0, 3.0, 3.0]
    assert found[0].episode_returns == (0.5, 0.5, 1.5, 1.5)
    assert np.isnan(found[1].primary_score)
    assert found[1].episode_returns == ()
    assert [m.episode_id for m in found] == [0, 1, 2, 3]


def test_scripted_pipeline_gives_the_returns_in_order() -> None:
    pipeline = ScriptedPipeline([1.0, 2.0], steps=5)
    stream = pipeline.episodes()
    windows = list(islice(stream, 3))
    assert [w.total_reward for w in windows] == pytest.approx([1.0, 2.0, 2.0])
    assert [w.n_steps for w in windows] == [5, 5, 5]
    assert pipeline.limit_next_window(2)
    assert [w.n_steps for w in islice(stream, 2)] == [2, 5]
    with pytest.raises(RuntimeError, match="gone"):
        next(ScriptedPipeline([RuntimeError("gone")]).episodes())


@pytest.mark.parametrize(
    "make", [lambda: ScriptedAgent(actions=()), lambda: ScriptedEvaluator([]), lambda: ScriptedPipeline([])]
)
def test_an_empty_script_is_refused(make) -> None:
    with pytest.raises(ValueError, match="at least one"):
        make()


def test_score_streams_are_the_curves_they_are_named_after() -> None:
    assert fakes.constant(2.0, 3).tolist() == [2.0, 2.0, 2.0]
    assert fakes.ramp(1.0, 0.5, 3).tolist() == [1.0, 1.5, 2.0]
    assert fakes.collapse(5.0, 2, 1.0, 4).tolist() == [5.0, 5.0, 1.0, 1.0]
    curve = fakes.saturating(0.0, 10.0, 0.1, 200)
    assert (curve[0], curve[-1]) == (0.0, pytest.approx(10.0, abs=1e-6))
    assert np.all(np.diff(curve) > 0)
    noise = fakes.ar1_noise(100_000, sigma=2.0, rho=0.8, rng=np.random.default_rng(0))
    assert noise.std() == pytest.approx(2.0, rel=0.03)
    assert np.corrcoef(noise[1:], noise[:-1])[0, 1] == pytest.approx(0.8, abs=0.02)


def agent_and_env() -> tuple[LinearAgent, TinyDiscrete]:
    env = TinyDiscrete(4, truncate=True)
    return LinearAgent(env.observation_space, env.action_space), env


def test_a_collected_window_tells_what_happened() -> None:
    agent, env = agent_and_env()
    data = collect(agent, env, 10, seed=0)
    assert data.truncated.nonzero()[0].tolist() == [3, 7]
    assert not data.terminated.any()
    assert data.episode_starts == [0, 4, 8]
    assert [(e.step, e.length) for e in data.episodes] == [(3, 4), (7, 4)]
    following = data.next_observations()
    inside = [t for t in range(9) if t not in {3, 7}]
    assert np.array_equal(following[inside], data.observations[[t + 1 for t in inside]])
    assert np.array_equal(following[[3, 7]], data.boundary_observations)
    assert np.array_equal(following[9], data.final_obs)


def test_a_window_that_ends_with_an_episode_keeps_the_true_successor() -> None:
    agent, env = agent_and_env()
    data = collect(agent, env, 4, seed=0)
    assert np.array_equal(data.final_obs, data.boundary_observations[0])


def test_ends_can_be_chosen_without_touching_the_original() -> None:
    agent, env = agent_and_env()
    data = collect(agent, env, 6, seed=0)
    successor = np.array([7.0, 7.0], np.float32)
    other = with_ends(data, {1: "terminated", 4: "both"}, successor=successor)
    assert other.terminated.nonzero()[0].tolist() == [1, 4]
    assert other.truncated.nonzero()[0].tolist() == [4]
    assert other.next_observations()[[1, 4]].tolist() == [[7.0, 7.0]] * 2
    assert [(e.step, e.length, e.terminated) for e in other.episodes] == [(1, 2, True), (4, 3, True)]
    assert data.truncated.nonzero()[0].tolist() == [3]
