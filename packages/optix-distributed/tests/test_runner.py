"""The runner: the whole loop on top of actors, from Python and from the command line."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from actor_envs import CartPole, Counting, Make, Misbehaving
from conftest import eventually, is_there

from optix_core import Optimizer, make_agent
from optix_core.agents.ppo_update import is_off_policy, ppo_batch
from optix_core.cli.main import main
from optix_core.errors import ConfigError, OptixError
from optix_core.plugins.registry import default_registry
from optix_core.runner import RunnerContext
from optix_distributed import ActorError, CollectionSettings, DistributedPipeline
from optix_distributed.runner import StepCost, build, probe, usable_cores

SMALL = {"actors": 2, "envs_per_actor": 2}


def agent_for(env, *algorithm, **options):
    made = env()
    try:
        return make_agent(*algorithm, made, framework="torch", seed=1, **options)
    finally:
        made.close()


def optimizer(tmp_path, env=None, agent=None, **options):
    env = env or CartPole()
    options = {
        "runner": "async",
        "runner_options": SMALL,
        "window_size": 64,
        "seed": 5,
        "max_steps": 1200,
        **options,
    }
    return Optimizer(
        agent or agent_for(env),
        env,
        validation_episodes=2,
        checkpoint_dir=tmp_path,
        confirm_episodes=4,
        **options,
    )


@pytest.fixture
def quiet():
    """Nothing here pays, and that is not the question."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*will pay|.*will not pay", category=RuntimeWarning)
        yield


@pytest.mark.usefixtures("quiet")
def test_the_whole_loop_runs_on_top_and_says_what_the_actors_did(tmp_path):
    one = optimizer(tmp_path)
    result = one.run()
    assert (
        result.steps == 4 * 256
    )  # four windows of two actors, two environments, 64 steps; a fifth would be too many
    events = [json.loads(line) for line in (one.run_dir / "events.jsonl").read_text().splitlines()]
    actors = [e for e in events if e["kind"] == "actors"]
    assert len(actors) == 4
    assert {"lag_mean", "lag_max", "queue_depth", "actor_rates", "restarts", "steps_discarded"} <= set(
        actors[-1]
    )
    assert [e["steps_trained"] for e in actors] == [256, 512, 768, 1024]
    assert json.loads((one.run_dir / "run.json").read_text())["config"]["runner"] == {
        "name": "async",
        **SMALL,
    }


@pytest.mark.usefixtures("quiet")
def test_a_run_is_resumed_with_new_actors(tmp_path):
    first = optimizer(tmp_path)
    first.run()
    env = CartPole()
    again = Optimizer(
        agent_for(env), env, validation_episodes=2, runner="async", runner_options=SMALL, window_size=64, seed=5,
        max_steps=2000, run_dir=first.run_dir, resume=True, confirm_episodes=4,
    )  # fmt: skip
    result = again.run()
    assert result.steps == 7 * 256
    kinds = [json.loads(line)["kind"] for line in (first.run_dir / "events.jsonl").read_text().splitlines()]
    assert "resumed" in kinds


@pytest.mark.usefixtures("quiet")
def test_tuning_by_branches_works_on_top(tmp_path):
    one = optimizer(tmp_path, optimizer="spsa", max_steps=8 * 256, base_interval=1)
    assert one.run().steps == 8 * 256


@pytest.mark.usefixtures("quiet")
def test_an_error_of_an_environment_ends_the_run_and_the_actors(tmp_path):
    one = optimizer(tmp_path, Make(Misbehaving, "raise", 150))
    with pytest.raises(ActorError, match="the wheel fell off in step 150") as caught:
        one.run()
    assert "actor_envs.py" in str(caught.value)
    assert one.controller.pipeline._collection is None


def test_the_command_line_knows_it(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "train CartPole-v1 --runner async --actors 2 runner.envs_per_actor=2 window_size=64 max_steps=600 --json"
    assert (
        main([*words.split(), "--run-dir", "r", "validation.episodes=2", "optimizer.confirm_episodes=4"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["steps"] == 512
    assert found["config"]["runner"] == {"name": "async", "actors": 2, "envs_per_actor": 2}
    assert main(["resume", "r", "max_steps=1100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 1024
    assert main(["plugins", "list"]) == 0
    assert "1 runner" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, says",
    [
        ("--runner sometimes", "sometimes"),
        ("--actors 2", "name"),
        ("--runner async runner.no_such=1", "no_such"),
        ("--runner async --actors 0", "at least 1"),
        ("--runner async algorithm=DQN", "numpy"),
        ("--runner async async_envs=true", "async_envs"),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(words, says, capsys):
    assert main(["train", "CartPole-v1", *words.split(), "max_steps=100"]) == 2
    assert says in capsys.readouterr().err


def test_runner_options_need_a_runner():
    env = CartPole()
    with pytest.raises(ConfigError, match="need runner="):
        Optimizer(agent_for(env), env, runner_options={"actors": 2})


def test_options_of_pipelines_that_cannot_be_honoured_are_refused():
    env = CartPole()
    ctx = RunnerContext(
        agent=agent_for(env),
        env_factories=[env],
        window_size=8,
        seed=0,
        pipeline_options={"keep_infos": True},
    )
    with pytest.raises(ConfigError, match="keep_infos"):
        build(ctx)


def test_it_is_listed():
    component = default_registry().runner("async")
    assert component.qualified == "optix-distributed:async"
    assert {"actors", "sync", "max_restarts"} <= set(component.spec.accepted)


def test_where_it_will_not_pay_it_says_so():
    told = []
    computing, waiting = StepCost(5.0, 25.0, 0.0), StepCost(40.0, 2100.0, 1.0)
    assert "will not pay" in computing.advice(2, 1)
    assert "8 actors are more" in computing.advice(8, 2)
    assert computing.advice(2, 2) == ""
    assert waiting.advice(8, 1) == ""
    assert waiting.bound(8, 2) == 8.0
    assert computing.bound(8, 2) == pytest.approx(2.0)
    env = CartPole()
    ctx = RunnerContext(agent=agent_for(env), env_factories=[env], window_size=8, seed=0, tell=told.append)
    build(ctx, actors=usable_cores() + 5)
    assert len(told) == 1
    build(ctx, actors=usable_cores() + 5, backend="inline")
    assert len(told) == 1


def test_waiting_is_told_from_computing():
    cost = probe(Make(Misbehaving, "nothing", 10**9, each=0.002), 0)
    assert cost.waits
    assert cost.wall > 1900
    assert not probe(CartPole(), 0).waits


@pytest.fixture
def pipeline():
    made = []

    def make(agent, env, **settings):
        settings = {
            "n_actors": 2,
            "envs_per_actor": 2,
            "trajectory_len": 16,
            "slots_per_actor": 1,
            **settings,
        }
        one = DistributedPipeline(agent, env, CollectionSettings(**settings), seed=4)
        made.append(one)
        return one

    yield make
    for one in made:
        one.teardown()


def test_windows_say_that_an_older_policy_acted(pipeline):
    env = CartPole()
    agent = agent_for(env)
    one = pipeline(agent, env)
    windows = one.episodes()
    for _ in range(4):
        window = next(windows)
        assert is_off_policy(window)
        assert window.n_steps == one.steps_per_window == 64
        lag = one.stats()["lag_max"]
        agent.learn(window)
    assert lag == 1
    # an older policy acted: its log-probabilities differ from those of the agent, which the batch has
    window = next(windows)
    batch = ppo_batch(window, agent._networks.engine, agent._normalizers, agent._hp)
    assert not np.allclose(batch.log_probs, window.log_probs.reshape(-1), atol=1e-6)
    np.testing.assert_allclose(
        batch.log_probs,
        agent._policy.log_probs(window.observations.reshape(-1, 4), window.actions.reshape(-1)),
        atol=1e-5,
    )


def test_on_policy_windows_have_the_advantages_of_gae(pipeline):
    env = Make(Counting, 5, truncate=True)
    agent = agent_for(env)
    window = next(pipeline(agent, env, sync="lockstep").episodes())
    off = ppo_batch(window, agent._networks.engine, agent._normalizers, agent._hp)
    window.metadata["off_policy"] = False
    on = ppo_batch(window, agent._networks.engine, agent._normalizers, agent._hp)
    np.testing.assert_allclose(off.advantages, on.advantages, atol=1e-4)
    np.testing.assert_allclose(off.targets, on.targets, atol=1e-4)


def test_another_agent_gets_actors_of_its_own(pipeline):
    env = CartPole()
    one = pipeline(agent_for(env), env)
    one.collect()
    pids = one._collection.backend.pids
    one.set_agent(agent_for(env))
    assert eventually(lambda: not any(map(is_there, pids)))
    one.collect()
    with pytest.raises(ConfigError, match="numpy"):
        one.set_agent(agent_for(env, "DQN"))


def test_a_resumed_pipeline_draws_other_episodes(pipeline):
    env = CartPole()
    one, two = pipeline(agent_for(env), env), pipeline(agent_for(env), env)
    first = one.collect()
    two.load_state_dict(one.state_dict())
    assert two.root_seed == one.root_seed
    assert not np.array_equal(two.collect().observations, first.observations)


def test_errors_have_codes():
    assert issubclass(ActorError, OptixError)
    assert ActorError.default_code == "E-ACTOR"


def test_curves_and_dashboard_show_what_the_actors_do():
    from optix_core.callbacks.dashboard_model import DashboardModel
    from optix_core.runs.decision_log import LogEvent
    from optix_core.runs.scalars import ScalarReader

    facts = {
        "actors_alive": 2, "lag_mean": 1.25, "lag_max": 2, "queue_depth": 3, "restarts": 1, "steps_discarded": 0,
        "steps_lost": 40, "rate_0": 900.5, "rate_1": 850.0, "actor_rates": [900.5, 850.0],
    }  # fmt: skip
    event = LogEvent(1, "actors", 4, 1024, 0.0, facts)
    found = ScalarReader().read(event)
    assert found["actors/lag_mean"] == 1.25
    assert found["actors/rate_1"] == 850.0
    model = DashboardModel(10)
    model.take(event)
    assert "2 actors  lag 1.2  queue 3  1 restarted  40 lost" in model.progress()
