"""Who wins, and what is promised of the winner."""

from __future__ import annotations

import math

import dial
import numpy as np
import pytest

from optix_core.errors import ConfigError, SearchError
from optix_core.search import Candidate, SearchReport, TrialOrchestrator
from optix_core.search.confirming import lead, ranked
from optix_core.search.orchestrator import require_optuna
from optix_core.stats.comparison import mean_interval


def lucky(search_seeds, setting, offset):
    """Agents that earn more than they are worth on the seeds of the search, if they are set so."""

    def make(params, seed=0):
        helped = params.get("setting") == setting
        return dial.DialAgent(params, seed, luck=dict.fromkeys(search_seeds, offset) if helped else None)

    return make


def test_luck_on_the_seeds_of_the_search_does_not_win(search, scripted):
    seeds = search(n_seeds=2)._plan.search_seeds
    one = search(
        lucky(seeds, 0.9, -0.6),  # on these seeds it acts as if it were set to 0.3
        sampler=scripted(0.9, 0.2, -0.5),
        n_trials=3,
        n_seeds=2,
        top_k=2,
        pruner="none",
    )
    params, score = one.run()
    assert one.report.trials[0].score == pytest.approx(0.0, abs=1e-5)
    assert params == {"setting": 0.2}
    assert score == pytest.approx(-5 * 0.1**2, abs=1e-5)
    winner, second = one.report.candidates
    assert winner.optimism.difference == pytest.approx(0.0, abs=1e-5)
    assert second.number == 0
    assert second.search_score == pytest.approx(0.0, abs=1e-5)
    assert second.optimism.difference == pytest.approx(5 * 0.6**2, abs=1e-4)
    assert second.optimism.decided
    assert one.report.runner_up.difference == pytest.approx(5 * (0.6**2 - 0.1**2), abs=1e-4)
    assert one.report.runner_up.decided


def test_the_reported_numbers_follow_from_the_scores(search):
    one = search(
        pipeline=dial.pipeline_factory(noise=0.3),
        val=dial.val_factory(noise=0.3),
        n_trials=5,
        confirm_seeds=4,
    )
    one.run()
    for candidate in one.report.candidates:
        interval = mean_interval(candidate.fresh_scores)
        assert candidate.fresh == interval
        assert candidate.score == interval.mean
        gap = candidate.optimism
        assert gap.difference == candidate.search_score - interval.mean
        assert (gap.low, gap.high) == (
            candidate.search_score - interval.high,
            candidate.search_score - interval.low,
        )
    first, second = one.report.candidates
    assert first.score >= second.score
    paired = mean_interval([a - b for a, b in zip(first.fresh_scores, second.fresh_scores, strict=True)])
    lead_ = one.report.runner_up
    assert lead_.difference == pytest.approx(paired.mean)
    assert (lead_.low, lead_.high) == (pytest.approx(paired.low), pytest.approx(paired.high))
    text = "\n".join(one.report.lines())
    assert "optimism" in text
    assert f"trial {first.number}" in text


def test_the_search_is_optimistic_and_fresh_seeds_are_not():
    """Of many equal candidates the best looks better than it is by luck alone; what is reported is not."""
    promised, reported, covered = [], [], []
    for seed in range(6):
        one = TrialOrchestrator(
            dial.make_agent,
            dial.pipeline_factory(noise=1.0),
            {"flag": ("categorical", *"abcd")},
            n_trials=4,
            trial_steps=40,
            seed=seed,
            pruner="none",
            sampler="random",
            top_k=1,
            confirm_seeds=5,
            # one validation's score is a trial's: its noise is what there is to be lucky with
            val_pipeline_factory=dial.val_factory(noise=1.0, episodes=2),
            rloptimizer_kwargs={"confirm_episodes": 3},
        )
        with one:
            one.run()
        # noise depends on the seed alone, so all trials of a search are equal: the promise is this seed's luck
        winner = one.report.winner
        promised.append(winner.search_score)
        reported.append(winner.score)
        covered.append(winner.fresh.low <= -5 * 0.3**2 <= winner.fresh.high)
    assert np.std(promised) > 1.4 * np.std(reported)
    assert sum(covered) >= 5


def test_scale_and_offset_of_scores_change_nothing_but_the_scores(search, scripted):
    def outcome(scale, offset):
        one = search(
            pipeline=dial.pipeline_factory(noise=0.2),
            sampler=scripted(0.1, 0.35, 0.8, -0.4, 0.7),
            n_trials=5,
            trial_steps=400,
            n_startup_trials=2,
            checkpoint_score_fn=lambda agent: scale * -abs(agent.params["setting"] - 0.3) + offset,
        )
        one.run()
        return [t.state for t in one.report.trials], [c.number for c in one.report.candidates]

    plain = outcome(1.0, 0.0)
    assert outcome(1e3, 0.0) == plain
    assert outcome(1e-3, -500.0) == plain


def test_equal_scores_go_to_the_earlier_trial_and_equal_parameters_count_once(search, scripted):
    one = search(sampler=scripted(0.2, 0.2, 0.4, 0.4), n_trials=4, top_k=3, pruner="none")
    one.run()
    assert sorted(c.number for c in one.report.candidates) == [0, 2]
    tied = [Candidate(number=n, params={}, search_score=1.0) for n in (3, 1, 2)]
    assert [c.number for c in ranked(tied, sign=1.0)] == [1, 2, 3]


@pytest.mark.parametrize("options", [{"top_k": 0}, {"confirm_seeds": 0}])
def test_without_fresh_seeds_the_report_says_that_nothing_was_confirmed(search, scripted, options):
    one = search(sampler=scripted(0.1, 0.3), n_trials=2, **options)
    params, score = one.run()
    assert params == {"setting": 0.3}
    assert score == one.report.trials[1].score
    assert one.report.winner.fresh is None
    assert one.report.winner.optimism is None
    assert one.report.runner_up is None
    assert any("not confirmed" in line for line in one.report.lines())
    assert one.best_weights_path.is_file()


def test_two_fresh_seeds_give_a_score_without_an_interval(search):
    one = search(n_trials=2, confirm_seeds=2)
    one.run()
    assert one.report.winner.fresh.low == -math.inf


def test_the_interquartile_mean_is_used_throughout(search):
    one = search(
        pipeline=dial.pipeline_factory(noise=0.3), n_trials=2, n_seeds=4, confirm_seeds=4, aggregate="iqm"
    )
    one.run()
    trial = one.report.trials[0]
    assert trial.score == pytest.approx(np.sort(trial.seed_scores)[1:3].mean())
    winner = one.report.winner
    assert winner.score == pytest.approx(np.sort(winner.fresh_scores)[1:3].mean())
    assert lead(one.report.candidates, "iqm").episodes == 4


def test_the_winners_weights_are_its_best_fresh_training(search):
    agents = []

    def make(params, seed=0):
        agents.append(dial.DialAgent(params, seed))
        return agents[-1]

    one = search(make, pipeline=dial.pipeline_factory(noise=0.3), n_trials=3)
    one.run()
    winner = one.report.winner
    best = winner.fresh_seeds[int(np.argmax(winner.fresh_scores))]
    assert f'"seed": {best}' in one.best_weights_path.read_text()
    loaded = dial.DialAgent({})
    loaded.load_weights(str(one.best_weights_path))
    assert loaded.learned == next(a.learned for a in agents if a.seed == best)


def test_before_a_search_there_is_no_winner(search):
    one = search()
    assert (one.best_params, one.best_score, one.best_weights_path, one.study, one.run_ckpt_dir) == (
        None,
    ) * 5
    with pytest.raises(SearchError, match="before run"):
        _ = one.report
    with pytest.raises(SearchError, match="no weights"):
        one.winner_weights()


def test_stopping_names_the_best_so_far_without_fresh_seeds(search, scripted):
    def stop(record):
        if record.number == 2:
            one.stop()

    one = search(sampler=scripted(0.1, 0.3, 0.6), n_trials=10, on_trial=stop)
    params, _ = one.run()
    assert params == {"setting": 0.3}
    assert len(one.report.trials) == 3
    assert one.report.winner.fresh is None


def test_time_is_up_between_trials(search):
    one = search(n_trials=1000, timeout=0.5, top_k=0)
    one.run()
    assert 1 <= one.report.count("complete", "pruned") < 1000


def test_a_frame_of_trials_needs_pandas(search, monkeypatch):
    one = search(n_trials=2)
    one.run()
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    with pytest.raises(ConfigError, match="pip install pandas"):
        one.trials_dataframe()

    class Pandas:
        @staticmethod
        def DataFrame(rows):  # noqa: N802
            return rows

    monkeypatch.setitem(__import__("sys").modules, "pandas", Pandas)
    rows = one.trials_dataframe()
    assert [row["number"] for row in rows] == [0, 1]
    assert rows[0]["params_setting"] == one.report.trials[0].params["setting"]


def test_without_optuna_the_message_has_the_command(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'optix-core\[search\]'") as caught:
        TrialOrchestrator(dial.make_agent, dial.pipeline_factory())
    assert caught.value.code == "E-NO-OPTUNA"
    monkeypatch.undo()
    require_optuna()


def test_a_report_is_plain_data(search):
    import json

    one = search(n_trials=2)
    one.run()
    data = json.loads(json.dumps(one.report.as_data()))
    assert data["winner"]["optimism"]["difference"] == one.report.winner.optimism.difference
    assert len(data["trials"]) == 2
    assert isinstance(one.report, SearchReport)
