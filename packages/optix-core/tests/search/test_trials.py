"""What one trial is: its budget, its seeds, its score, its end, and what is left of it."""

from __future__ import annotations

import logging

import dial
import numpy as np
import optuna
import pytest

from optix_core.errors import ConfigError, NumericalDivergence, SearchError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.vector import VectorBatchPipeline
from optix_core.search import TrialOrchestrator
from optix_core.search.reporting import RungReporter
from optix_core.search.stopping import Interrupted
from optix_core.testing.fakes import ScriptedPipeline
from optix_core.testing.linear_agent import LinearAgent
from optix_core.testing.tiny_envs import TinyBox


def recording(agents):
    def make(params, seed=0):
        agents.append(dial.DialAgent(params, seed))
        return agents[-1]

    return make


# --- the budget ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [20, 47, 100])
def test_every_training_takes_exactly_its_environment_steps(search, steps):
    agents = []
    one = search(recording(agents), trial_steps=steps, n_trials=3, n_seeds=2)
    one.run()
    trained = [agent for agent in agents if agent.learned]
    assert len(trained) == 3 * 2 + 2 * 3
    assert {agent.steps for agent in trained} == {steps}
    assert [trial.steps for trial in one.report.trials] == [2 * steps] * 3
    assert one.report.steps == len(trained) * steps


def test_with_several_environments_steps_are_counted_over_all(search):
    def pipeline(seed=None):
        return VectorBatchPipeline([dial.Dial] * 3, None, 10, False, seed=seed)

    agents = []
    search(recording(agents), pipeline, trial_steps=75, n_trials=2).run()
    assert {agent.steps for agent in agents if agent.learned} == {75}


def test_converging_early_does_not_end_a_training(search):
    agents = []
    one = search(recording(agents), trial_steps=2000, n_trials=1, top_k=0, val=dial.val_factory())
    one.run()  # the score is exactly constant, which the loop would call converged after a dozen windows
    assert agents[-1].steps == 2000


def test_the_tuner_is_off_inside_trials(search):
    agents = []
    search(recording(agents), val=dial.val_factory(), trial_steps=400, n_trials=2).run()
    assert all(agent.changes == [] for agent in agents)


# --- the score ----------------------------------------------------------------------------------------------------


def test_a_trial_is_worth_what_its_policy_earns(search, scripted):
    one = search(sampler=scripted(0.3, -0.2, 0.8), n_trials=3, val=dial.val_factory())
    params, score = one.run()
    expected = [-dial.LENGTH * (setting - 0.3) ** 2 for setting in (0.3, -0.2, 0.8)]
    assert [trial.score for trial in one.report.trials] == pytest.approx(expected, abs=1e-5)
    assert params == {"setting": 0.3}
    assert score == pytest.approx(0.0, abs=1e-5)


def test_without_validation_the_training_windows_decide(search, scripted):
    one = search(sampler=scripted(0.3, -0.2), n_trials=2)
    one.run()
    assert [t.score for t in one.report.trials] == pytest.approx([0.0, -1.25], abs=1e-5)


def test_a_score_function_replaces_the_score(search, scripted):
    one = search(
        sampler=scripted(0.1, 0.9),
        n_trials=2,
        val=dial.val_factory(),
        checkpoint_score_fn=lambda agent: agent.params["setting"],
    )
    assert one.run() == ({"setting": 0.9}, 0.9)


def test_an_objective_can_be_minimised(search, scripted):
    one = search(
        sampler=scripted(0.9, 0.2, 0.4),
        n_trials=3,
        direction="minimize",
        objective=lambda result: abs(result.best_score),
    )
    params, score = one.run()
    assert params == {"setting": 0.2}
    assert score == pytest.approx(5 * 0.1**2, abs=1e-5)
    assert [c.number for c in one.report.candidates] == [1, 2]


def test_scores_cannot_be_minimised_without_an_objective(search):
    with pytest.raises(ConfigError, match="objective"):
        search(direction="minimize")


def test_every_trial_uses_the_same_seeds_and_confirmation_uses_others(search):
    agents = []
    one = search(recording(agents), n_trials=4, n_seeds=2, top_k=2, confirm_seeds=3, pruner="none")
    one.run()
    trained = [agent.seed for agent in agents if agent.learned]
    searched, fresh = trained[:8], trained[8:]
    assert searched == searched[:2] * 4
    assert fresh == fresh[:3] * 2
    assert len(set(searched) | set(fresh)) == 5


def test_factories_without_a_seed_work_too(search):
    one = search(
        lambda params: dial.DialAgent(dict(params)),
        lambda: BatchPipeline(dial.Dial(), window_size=20, env_factory=dial.Dial),
        n_trials=2,
    )
    one.run()
    assert one.report.count("complete") == 2


def test_a_pipeline_that_makes_one_seed_for_all_is_found_out(search):
    def stuck():
        return BatchPipeline(dial.Dial(), window_size=20, seed=7, env_factory=dial.Dial)

    with pytest.raises(SearchError, match=r"same seed \(7\) every time"):
        search(pipeline=stuck, n_trials=2, n_seeds=2, max_errors=1).run()


def test_a_factory_that_drops_what_it_is_given_is_found_out(search):
    with pytest.raises(SearchError, match=r"was given setting=.*but the agent it made has 0\.0"):
        search(lambda params: dial.DialAgent({}), max_errors=1).run()


def test_a_budget_below_one_episode_says_so(search):
    with pytest.raises(SearchError, match="raise trial_steps"):
        search(trial_steps=3, max_errors=1).run()


def test_ranges_come_from_the_agent_when_none_are_given(search):
    one = TrialOrchestrator(dial.make_agent, dial.pipeline_factory(), n_trials=1, trial_steps=20, top_k=0)
    assert one.param_space is None
    with one:
        params, _ = one.run()
    assert set(params) == {"setting", "gamma", "epochs"}
    assert isinstance(params["epochs"], int)


# --- pruning ------------------------------------------------------------------------------------------------------


def test_hopeless_trials_are_pruned_early_and_say_so(search, scripted):
    agents = []
    one = search(
        recording(agents),
        sampler=scripted(0.3, 0.2, 0.4, -1.0, 0.31, 1.0),
        n_trials=6,
        n_startup_trials=3,
        trial_steps=400,
        pruner_warmup_steps=5,
    )
    one.run()
    states = [trial.state for trial in one.report.trials]
    assert states == ["complete"] * 3 + ["pruned", "complete", "pruned"]
    assert [t.state for t in one.study.trials][3] is optuna.trial.TrialState.PRUNED
    pruned = one.report.trials[3]
    # comparisons begin after a quarter of the budget, at the first window that ends there
    assert pruned.steps == 100
    assert pruned.score == pytest.approx(-5 * 1.3**2, abs=1e-4)
    assert dial.DialAgent.open == 0


def test_pruning_can_be_switched_off(search, scripted):
    one = search(sampler=scripted(0.3, -1.0), n_trials=4, n_startup_trials=0, trial_steps=400, pruner="none")
    one.run()
    assert one.report.count("complete") == 4


def test_whole_seeds_are_compared_by_wilcoxon(search, scripted):
    noisy = dial.pipeline_factory(noise=0.01)
    one = search(
        pipeline=noisy, sampler=scripted(0.3, 0.95), n_trials=2, n_seeds=8, trial_steps=20, pruner="wilcoxon"
    )
    one.run()
    first, second = one.report.trials
    assert first.state == "complete"
    assert len(first.seed_scores) == 8
    assert second.state == "pruned"
    assert 2 < len(second.seed_scores) < 8
    assert second.steps == 20 * len(second.seed_scores)


class FakeTrial:
    def __init__(self, hopeless=False):
        self.reports, self.hopeless, self.asked = {}, hopeless, 0

    def report(self, value, step):
        assert step not in self.reports
        self.reports[step] = value

    def should_prune(self):
        self.asked += 1
        return self.hopeless

    def set_user_attr(self, name, value):
        raise AssertionError("half a minute has not passed")


def reporter(trial, **options):
    defaults = {
        "rung": 10, "budget": 100, "earlier": (), "seeds": 1, "prunes": True, "interrupted": lambda: False
    }  # fmt: skip
    return RungReporter(trial, **{**defaults, **options})


def test_rungs_hold_the_newest_evaluation_at_or_before_them():
    trial = FakeTrial()
    tell = reporter(trial)
    for steps, score in [(7, 1.0), (14, None), (25, 2.0), (30, 3.0), (35, float("nan")), (58, 4.0)]:
        tell(steps, score)
    assert trial.reports == {10: 1.0, 20: 1.0, 30: 3.0, 40: 3.0, 50: 3.0}


def test_before_the_first_evaluation_nothing_is_reported():
    trial = FakeTrial()
    reporter(trial)(45, 2.0)
    assert trial.reports == {}
    assert trial.asked == 0


def test_later_seeds_report_the_mean_so_far_behind_earlier_ones():
    trial = FakeTrial()
    reporter(trial, earlier=(4.0, 6.0), seeds=3)(10, 2.0)
    assert trial.reports == {210: 4.0}


def test_a_training_that_has_used_its_budget_is_not_pruned():
    last = FakeTrial(hopeless=True)
    reporter(last)(100, 1.0)
    assert 100 in last.reports
    between = FakeTrial(hopeless=True)
    with pytest.raises(optuna.TrialPruned):
        reporter(between, seeds=2)(100, 1.0)


def test_a_stop_is_noticed_before_anything_is_reported():
    trial = FakeTrial()
    with pytest.raises(Interrupted):
        reporter(trial, interrupted=lambda: True)(10, 1.0)
    assert trial.reports == {}


# --- failures -----------------------------------------------------------------------------------------------------


def failing(*numbers, error=RuntimeError):
    """An agent's factory that raises in the trials of these numbers (of this process)."""
    calls = iter(range(1000))

    def make(params, seed=0):
        number = next(calls)
        if number in numbers:
            raise error(f"boom {number}")
        return dial.DialAgent(params, seed)

    return make


def test_failures_in_a_row_end_the_search_with_the_last_traceback(search):
    one = search(failing(*range(100)), n_trials=20)
    with pytest.raises(SearchError, match="3 failures in a row") as caught:
        one.run()
    assert "RuntimeError: boom 2" in str(caught.value)
    assert "in make" in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert [t.state.name for t in one.study.trials] == ["FAIL"] * 3


def test_single_failures_are_recorded_and_made_up_for(search):
    told = []
    one = search(failing(1, 2, 4), n_trials=4, pruner="none", on_trial=told.append)
    one.run()
    states = [trial.state for trial in one.report.trials]
    assert states == ["complete", "failed", "failed", "complete", "failed", "complete", "complete"]
    assert one.report.trials[1].error == "RuntimeError: boom 1"
    assert told == list(one.report.trials)
    assert "3 failed" in one.report.lines()[0]


def test_the_number_of_failures_is_the_callers(search):
    with pytest.raises(SearchError, match="after a failure"):
        search(failing(0), max_errors=1).run()


def test_an_error_of_the_environment_fails_the_trial_and_frees_it(search):
    class Broken(dial.Dial):
        def step(self, action):
            raise OSError("cable")

    def pipeline(seed=None):
        return BatchPipeline(Broken(), window_size=20, seed=seed, env_factory=Broken)

    with pytest.raises(SearchError, match="OSError: cable"):
        search(pipeline=pipeline, max_errors=1).run()
    assert Broken.open == 0
    assert dial.DialAgent.open == 0


def diverging(limit):
    def learn(agent):
        return {"loss": float("nan")} if agent.params["setting"] > limit else {"loss": 0.0}

    return lambda params, seed=0: dial.DialAgent(params, seed, on_learn=learn)


def test_divergence_is_a_result_and_not_a_failure(search, scripted, caplog):
    caplog.set_level(logging.ERROR)
    one = search(diverging(0.5), sampler=scripted(0.9, 0.8, 0.7, 0.6, 0.2), n_trials=5, top_k=1)
    params, _ = one.run()
    assert params == {"setting": 0.2}
    assert one.report.count("diverged") == 4
    assert "not finite" in one.report.trials[0].error
    assert dial.DialAgent.open == 0


def test_a_search_in_which_everything_diverges_says_so(search):
    with pytest.raises(SearchError, match="no trial was completed: 4 diverged"):
        search(diverging(-2.0), n_trials=4).run()


def test_a_candidate_that_diverges_on_a_fresh_seed_is_out(search, scripted):
    first = []

    def learn(agent):
        if not first:
            first.append(agent.seed)
        return {"loss": float("nan")} if agent.params["setting"] == 0.3 and agent.seed not in first else {}

    one = search(
        lambda params, seed=0: dial.DialAgent(params, seed, on_learn=learn),
        sampler=scripted(0.3, 0.0, -0.5),
        n_trials=3,
        top_k=2,
    )
    params, _ = one.run()
    assert params == {"setting": 0.0}
    assert one.report.candidates[1].number == 0
    assert "diverged on fresh seed" in one.report.candidates[1].error
    assert any(line.startswith("out ") for line in one.report.lines())


def test_an_error_on_a_fresh_seed_is_raised(search):
    with pytest.raises(SearchError, match="failed when it was trained again on fresh seed"):
        search(failing(3), n_trials=3).run()


def test_numerical_divergence_raised_by_an_agent_is_understood(search, scripted):
    def learn(agent):
        raise NumericalDivergence("too steep")

    make = lambda params, seed=0: dial.DialAgent(  # noqa: E731
        params, seed, on_learn=learn if params["setting"] > 0 else None
    )
    one = search(make, sampler=scripted(0.5, -0.5), n_trials=2)
    one.run()
    assert [t.state for t in one.report.trials] == ["diverged", "complete"]


# --- what is left -------------------------------------------------------------------------------------------------


def test_only_the_winners_files_remain_and_cleanup_removes_them(search):
    one = search(n_trials=5, val=dial.val_factory())
    one.run()
    assert one.run_ckpt_dir.parent == search.temporary
    assert len(list(one.run_ckpt_dir.iterdir())) == 1
    assert one.best_weights_path.is_file()
    assert one.best_weights_path.is_relative_to(one.run_ckpt_dir)
    one.cleanup()
    assert list(search.temporary.iterdir()) == []
    assert one.run_ckpt_dir is None
    assert dial.DialAgent.open == 0


@pytest.mark.parametrize("factory", [failing(0), failing(2), failing(*range(9))])
def test_a_search_that_fails_leaves_no_files(search, factory):
    with pytest.raises(SearchError):
        search(factory, max_errors=1, n_trials=2).run()
    assert list(search.temporary.iterdir()) == []


def test_trainings_can_be_kept_with_their_decision_logs(search, tmp_path):
    one = search(n_trials=2, keep_trials=True, workdir=tmp_path / "kept", top_k=1, confirm_seeds=3)
    one.run()
    names = sorted(p.parent.relative_to(one.run_ckpt_dir).parts[0].split("-")[0] for p in
                   one.run_ckpt_dir.rglob("events.jsonl"))  # fmt: skip
    assert names == ["fresh"] * 3 + ["trial"] * 2


def test_optunas_log_level_is_put_back(search):
    before = optuna.logging.get_verbosity()
    search(n_trials=1, optuna_verbosity=optuna.logging.ERROR).run()
    assert optuna.logging.get_verbosity() == before


def test_no_global_stream_is_touched(search):
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    search(n_trials=3).run()
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


# --- arguments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options, says", [
    ({"n_trials": 0}, "n_trials is 0"),
    ({"n_trials": 2.0}, "whole number"),
    ({"trial_steps": 0}, "trial_steps"),
    ({"n_seeds": 0}, "n_seeds"),
    ({"top_k": -1}, "top_k"),
    ({"max_errors": 0}, "max_errors"),
    ({"timeout": 0.0}, "timeout"),
    ({"direction": "up"}, "maximize"),
    ({"aggregate": "median"}, "iqm"),
    ({"sampler": "grid"}, "tpe"),
    ({"sampler": optuna.samplers.RandomSampler()}, "function from a seed"),
    ({"pruner": "hyper"}, "wilcoxon"),
    ({"rloptimizer_kwargs": {"max_steps": 5}}, "set by the search itself"),
    ({"rloptimizer_kwargs": {"score_smoothin": 5}}, "score_smoothing"),
])  # fmt: skip
def test_wrong_arguments_are_refused_at_construction(search, options, says):
    with pytest.raises(ConfigError, match=says):
        search(**options)


def test_options_of_the_loop_reach_the_trainings(search, caplog):
    with pytest.raises(SearchError, match="min_episodes_before_degradation"):
        search(rloptimizer_kwargs={"min_episodes_before_degradation": 0}, max_errors=1).run()


def test_a_pipeline_that_is_no_environment_can_be_searched_on(search):
    one = search(pipeline=lambda: ScriptedPipeline([1.0, 2.0, 3.0], steps=10), trial_steps=30, n_trials=1)
    assert one.run()[1] == 3.0


def test_a_real_agent_learns_in_trials(search):
    env = TinyBox()

    def agent(params, seed=0):
        return LinearAgent(env.observation_space, env.action_space, seed=seed, hyperparams=params)

    def pipeline(seed=None):
        return BatchPipeline(TinyBox(), window_size=64, seed=seed, env_factory=TinyBox)

    one = search(
        agent,
        pipeline,
        space={"learning_rate": ("log_float", 1e-5, 0.3)},
        n_trials=6,
        trial_steps=1280,
        pruner="none",
    )
    params, score = one.run()
    by_rate = sorted(one.report.trials, key=lambda t: t.params["learning_rate"])
    assert params["learning_rate"] > 1e-3
    assert by_rate[0].score < min(t.score for t in by_rate[-2:])
    assert score > by_rate[0].score
