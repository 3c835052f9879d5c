"""From a search to the main run: factory mode."""

from __future__ import annotations

import json
from pathlib import Path

import dial
import pytest

from optix_core import RLOptimizer
from optix_core.errors import ConfigError, ResumeError, SearchError
from optix_core.loop.stop_reason import StopReason
from optix_core.loop_callback import LoopCallback
from optix_core.runs.decision_log import DecisionLog
from optix_core.runs.run_directory import RunDirectory
from optix_core.search.orchestrator import TrialOrchestrator
from optix_core.search.warm_start import StartingPoint, trial_budget
from optix_core.testing.fakes import ScriptedAgent, ScriptedPipeline

SPACE = {"setting": ("float", -1.0, 1.0)}


@pytest.fixture
def factory_mode(folder, search):
    """``factory_mode(**options)``: an RLOptimizer that searches first."""

    def make(agent_factory=dial.make_agent, **options):
        extra = {"n_startup_trials": 3, "top_k": 2, "confirm_seeds": 3, **options.pop("search_options", {})}
        defaults = {
            "pipeline_factory": dial.pipeline_factory(),
            "val_pipeline_factory": dial.val_factory(),
            "param_space": SPACE,
            "n_trials": 4,
            "max_steps": 400,
            "trial_steps_fraction": 0.1,
            "optimizer": "fixed",
            "checkpoint_dir": folder / "runs",
            "seed": 1,
            "confirm_episodes": 4,
        }
        return RLOptimizer(agent_factory=agent_factory, **{**defaults, **options}, search_options=extra)

    make.temporary = search.temporary
    return make


def events(optimizer):
    return list(DecisionLog(optimizer.run_dir / "events.jsonl").read())


def recording(agents):
    def make(params, seed=0):
        agents.append(dial.DialAgent(params, seed))
        return agents[-1]

    return make


def test_the_main_run_begins_with_the_winners_configuration_and_weights(factory_mode):
    agents = []
    optimizer = factory_mode(recording(agents))
    result = optimizer.run()
    report = optimizer.search.report
    assert optimizer.agent is agents[-1]
    assert optimizer.agent.params["setting"] == report.winner.params["setting"]
    assert optimizer.agent.seed == 1
    # each trial learned two windows of twenty steps; those of the winner are in the weights that were loaded
    assert result.steps == optimizer.agent.steps == 400
    assert report.trial_steps == 40
    started = events(optimizer)[:2]
    assert [event.kind for event in started] == ["warm_start", "started"]
    numbers = started[0].numbers
    assert numbers["trial"] == report.winner.number
    assert numbers["params"] == dict(report.winner.params)
    assert numbers["score"] == report.winner.score
    assert numbers["weights"] is True
    assert RunDirectory.open(optimizer.run_dir).info.config["search"] == numbers
    assert list(factory_mode.temporary.iterdir()) == []
    assert dial.DialAgent.open == 1  # the main run's, which belongs to the caller
    optimizer.agent.teardown()


def test_what_is_loaded_is_what_the_winner_saved(factory_mode, monkeypatch):
    loaded = []
    load = dial.DialAgent.load_weights

    def spy(agent, path):
        load(agent, path)
        if Path(path).parent.name.startswith("fresh-"):  # not one of a training's own checkpoints
            loaded.append((agent.learned, Path(path).name))

    monkeypatch.setattr(dial.DialAgent, "load_weights", spy)
    optimizer = factory_mode()
    optimizer.run()
    assert loaded == [(2, "weights")]  # windows of a trial
    plain = factory_mode(warm_start=False)
    loaded.clear()
    plain.run()
    assert loaded == []
    assert events(plain)[0].numbers["weights"] is False


def test_weights_that_do_not_fit_are_an_error_and_no_run_begins(factory_mode, folder):
    class Other(dial.DialAgent):
        def load_weights(self, path):
            raise ValueError("shapes differ")

    optimizer = factory_mode(Other, trial_agent_factory=dial.make_agent)
    with pytest.raises(SearchError, match=r"shapes differ.*warm_start=False") as caught:
        optimizer.run()
    assert caught.value.code == "E-WARM-START"
    assert not (folder / "runs").exists()
    assert dial.DialAgent.open == 0
    assert list(factory_mode.temporary.iterdir()) == []


def test_trials_may_use_another_agent(factory_mode):
    trials, main = [], []
    optimizer = factory_mode(recording(main), trial_agent_factory=recording(trials))
    optimizer.run()
    assert len(main) == 1
    assert len(trials) == 4 + 2 * 3
    main[0].teardown()


def test_a_run_that_a_search_began_is_resumed_without_a_second_search(factory_mode, folder):
    class Crash(LoopCallback):
        critical = True

        def on_episode_end(self, episode_id, eval_metrics):
            if episode_id == 7:
                raise KeyboardInterrupt

    agents = []
    optimizer = factory_mode(
        recording(agents), run_dir=folder / "main", callbacks=[Crash()], checkpoint_every=2
    )
    with pytest.raises(KeyboardInterrupt):
        optimizer.run()
    made = len(agents)
    again = factory_mode(recording(agents), run_dir=folder / "main", resume=True)
    result = again.run()
    assert len(agents) == made + 1
    assert again.agent.params["setting"] == optimizer.search.report.winner.params["setting"]
    assert result.steps == 400
    kinds = [event.kind for event in events(again)]
    assert kinds.count("warm_start") == 1
    assert "resumed" in kinds


def test_a_run_without_a_checkpoint_cannot_be_continued_warm(factory_mode, folder):
    RunDirectory.create(folder, name="main", config={"search": {"params": {"setting": 0.1}}})
    with pytest.raises(ResumeError, match="ended before its first checkpoint"):
        factory_mode(run_dir=folder / "main", resume=True).run()
    RunDirectory.create(folder, name="plain", config={})
    with pytest.raises(ResumeError, match="not begun by a search"):
        factory_mode(run_dir=folder / "plain", resume=True).run()


def test_a_failing_search_fails_the_run(factory_mode, folder):
    def broken(params, seed=0):
        raise RuntimeError("no such layer")

    with pytest.raises(SearchError, match="no such layer"):
        factory_mode(broken).run()
    assert not (folder / "runs").exists()


def test_stopping_before_the_run_ends_search_and_run(factory_mode):
    optimizer = factory_mode()
    optimizer.stop()
    with pytest.raises(SearchError, match="no trials"):
        optimizer.run()


def test_stopping_during_the_search_ends_the_run_before_its_first_window(factory_mode):
    optimizer = factory_mode(search_options={"on_trial": lambda record: optimizer.stop()})
    result = optimizer.run()
    assert result.stop_reason is StopReason.REQUESTED
    assert result.windows == 0
    assert len(optimizer.search.report.trials) == 1


def test_before_the_run_there_is_no_agent_but_a_state(factory_mode):
    optimizer = factory_mode()
    assert optimizer.state.name == "ACTIVE"
    assert optimizer.best_snapshot is None
    with pytest.raises(ConfigError, match="no agent yet"):
        _ = optimizer.agent


def test_declared_ranges_can_be_asked_for(factory_mode):
    optimizer = factory_mode(param_space="declared", n_trials=2)
    optimizer.run()
    assert set(optimizer.search.report.winner.params) == {"setting", "gamma", "epochs"}


def test_evaluator_and_thresholds_are_shared_with_trials(factory_mode):
    seen = []

    def score(agent):
        seen.append(agent)
        return agent.params["setting"]

    optimizer = factory_mode(checkpoint_score_fn=score, score_smoothing=0)
    optimizer.run()
    report = optimizer.search.report
    assert report.winner.score == report.winner.params["setting"]
    assert len({id(agent) for agent in seen}) > 4


@pytest.mark.parametrize("options, says", [
    ({"agent": 1}, "give agent_factory"),
    ({"pipeline": 1}, "give agent_factory"),
    ({"val_pipeline": 1}, "give agent_factory"),
    ({"pipeline_factory": None}, "give agent_factory"),
    ({"param_space": {}}, "empty"),
    ({"param_space": "all"}, "declared"),
    ({"trial_steps_fraction": 0.0}, "trial_steps_fraction"),
    ({"trial_steps_fraction": 1.5}, "trial_steps_fraction"),
    ({"n_trials": 0}, "n_trials"),
    ({"search_options": {"n_trials": 3}}, "argument of its own"),
    ({"search_options": {"topk": 3}}, "top_k"),
    ({"search_options": {"rloptimizer_kwargs": {"max_steps": 3}}}, "set by the search"),
])  # fmt: skip
def test_wrong_arguments_are_refused_at_construction(factory_mode, options, says):
    with pytest.raises(ConfigError, match=says):
        factory_mode(**options)


@pytest.mark.parametrize("options", [
    {"n_trials": 3}, {"trial_steps_fraction": 0.5}, {"trial_agent_factory": dial.make_agent}, {"search_options": {}},
    {"warm_start": False},
])  # fmt: skip
def test_arguments_of_a_search_are_not_ignored_without_one(options):
    with pytest.raises(ConfigError, match="param_space"):
        RLOptimizer(ScriptedAgent(), ScriptedPipeline(), **options)


def test_how_long_a_trial_is():
    factory = dial.pipeline_factory(window=20)
    assert trial_budget(factory, 0.01, 50_000, None) == 500
    assert trial_budget(factory, 0.1, None, 100) == 200
    assert trial_budget(factory, 0.01, None, None) == 600
    assert trial_budget(factory, 0.01, 10, None) == 1

    class Endless(ScriptedPipeline):
        steps_per_window = None

    with pytest.raises(ConfigError, match="max_steps"):
        trial_budget(Endless, 0.01, None, None)


def test_a_starting_point_can_be_given_to_any_run(folder, search):
    with search(n_trials=2, val=dial.val_factory()) as found:
        found.run()
        start = StartingPoint.of(found)
        agent = dial.DialAgent(dict(start.params))
        optimizer = RLOptimizer(
            agent,
            dial.pipeline_factory()(seed=3),
            checkpoint_dir=folder / "runs",
            max_episodes=1,
            optimizer="fixed",
        )
        optimizer.start_from(start)
        assert agent.learned == json.loads(found.best_weights_path.read_text())["learned"] > 0
        optimizer.run()
        assert events(optimizer)[0].numbers["study"] == found.study_name
        pipeline = dial.pipeline_factory()(seed=3)
        other = RLOptimizer(dial.DialAgent({"setting": -0.9}), pipeline, checkpoint_dir=folder / "runs")
        with pytest.raises(ConfigError, match="setting"):
            other.start_from(start)
        pipeline.teardown()


def test_the_orchestrators_signature_is_the_contracts():
    import inspect

    parameters = inspect.signature(TrialOrchestrator.__init__).parameters
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD][1:]
    assert positional == [
        "agent_factory", "pipeline_factory", "param_space", "n_trials", "trial_steps", "direction",
        "n_startup_trials", "pruner_warmup_steps", "pruner_interval", "optuna_verbosity", "rloptimizer_kwargs",
        "val_pipeline_factory", "checkpoint_score_fn", "study_name", "storage",
    ]  # fmt: skip
    defaults = {n: parameters[n].default for n in positional[2:]}
    assert (defaults["n_trials"], defaults["trial_steps"], defaults["n_startup_trials"]) == (20, 50_000, 10)
    assert (defaults["pruner_warmup_steps"], defaults["pruner_interval"]) == (5, 1)
    assert defaults["direction"] == "maximize"
