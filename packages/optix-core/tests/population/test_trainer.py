"""Populations whose numbers can be worked out."""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
from itertools import pairwise

import numpy as np
import pytest
from climbing import Climber, Elsewhere, Slope, growth, make_agent, make_pipeline, make_validation

from optix_core.errors import ConfigError, SearchError
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.population import PopulationTrainer
from optix_core.population.record import Record
from optix_core.testing.fakes import ScriptedPipeline


@pytest.fixture(autouse=True)
def everything_is_closed():
    before = Slope.open, Climber.open
    yield
    assert (Slope.open, Climber.open) == before


@pytest.fixture
def trainer(tmp_path):
    def make(
        folder="population", agent=make_agent, pipeline=make_pipeline, validation=make_validation, **options
    ):
        options = {
            "interval_steps": 40, "max_steps": 200, "members": 5, "seed": 3, "eval_episodes": 2,
            "confirm_episodes": 3, **options,
        }  # fmt: skip
        return PopulationTrainer(agent, pipeline, validation, tmp_path / folder, **options)

    return make


def height_of(member):
    """The height that a member's schedule leads to."""
    ends = [at for at, _ in member.schedule[1:]] + [member.steps]
    return sum(
        growth(params["pace"], end - at) for (at, params), end in zip(member.schedule, ends, strict=True)
    )


def told(result):
    return [
        (m.number, m.params, m.steps, m.score, m.parent, m.schedule, float(m.state["height"][0]))
        for m in result.members
    ], result.history


def test_every_member_is_what_its_schedule_made_of_it(trainer):
    result = trainer().run()
    assert [m.steps for m in result.members] == [200] * 5
    assert result.steps == 1000
    assert not result.interrupted
    for member in result.members:
        height = float(member.state["height"][0])
        assert height == pytest.approx(height_of(member), rel=1e-12)
        assert member.score == pytest.approx(5 * min(height, 1.0), rel=1e-6)
    assert any(parent is not None for entry in result.history for parent in entry["parents"])
    assert len(result.history) == 5


def test_the_best_lineage_wins(trainer):
    result = trainer(members=10).run()
    heights = [float(m.state["height"][0]) for m in result.members]
    assert result.winner.number == int(np.argmax(heights))
    assert result.confirmed.mean == pytest.approx(5 * max(heights), rel=1e-6)
    assert result.confirmed.n == 3
    assert result.optimism == pytest.approx(0.0, abs=1e-6)
    # better than the best founder would be now: its lineage found a better pace on the way
    founders = result.history[0]["params"]
    assert max(heights) >= max(growth(params["pace"], 200) for params in founders)
    assert max(heights) > growth(1e-4, 200)


def test_the_last_interval_is_shortened(trainer):
    result = trainer(max_steps=70).run()
    assert [m.steps for m in result.members] == [70] * 5
    assert [entry["steps"] for entry in result.history] == [200, 150]


def test_a_run_depends_on_its_seed_and_not_on_who_does_the_work(trainer):
    executor = Elsewhere()
    here, there = trainer("here").run(), trainer("there", executor=executor).run()
    assert told(here) == told(there)
    assert executor.calls == 5 * 5 + 3
    assert told(trainer("other", seed=4).run()) != told(here)


def test_in_one_generation_all_meet_the_same_episodes_and_in_the_next_others(trainer):
    noisy = functools.partial(Slope, 1.0)
    result = trainer(
        agent=functools.partial(Climber, fails=None),
        param_bounds={"rounds": (1, 9)},  # which changes nothing
        confirm_episodes=2,
        validation=lambda seed=None: EvaluationPipeline(noisy, seed=seed),
    ).run()
    luck = []
    for entry in result.history:
        assert len(set(entry["scores"])) == 1
        height = growth(1e-4, 40 * (entry["generation"] + 1))
        luck.append(round(entry["scores"][0] - 5 * height, 6))
    found = result.confirmed.mean - 5 * growth(1e-4, 200)
    luck.append(round(found, 6))  # the winner is named on episodes that nobody was chosen by
    assert len(set(luck)) == len(luck)


def test_a_member_that_fails_is_told_and_takes_over_another_one(trainer, caplog, tmp_path):
    agent = functools.partial(Climber, fails=lambda pace: pace > 1e-2)
    with caplog.at_level(logging.WARNING, logger="optix.population"):
        result = trainer(agent=agent, members=6).run()
    failed = [k for k, score in enumerate(result.history[0]["scores"]) if score is None]
    assert failed
    assert "is too much" in caplog.text
    for k in failed:
        assert result.history[1]["parents"][k] is not None
    events = [
        json.loads(line) for line in (tmp_path / "population" / "events.jsonl").read_text().splitlines()
    ]
    assert [event["kind"] for event in events] == ["population"] * 5 + ["population_winner"]
    assert "FloatingPointError" in events[0]["failures"][str(failed[0])]
    assert events[0]["scores"] == result.history[0]["scores"]
    assert events[-1]["member"] == result.winner.number


class Stumbling(Climber):
    """Fails at a height that only the faster ones reach before the end."""

    def learn(self, episode_data):
        if self.height > 3e-3:
            raise FloatingPointError("too high")
        return super().learn(episode_data)


def test_who_fails_later_on_has_no_score_any_more(trainer):
    result = trainer(agent=Stumbling, max_steps=80).run()
    scores = [entry["scores"] for entry in result.history]
    assert any(a is not None and b is None for a, b in zip(scores[0], scores[1], strict=True))
    assert result.winner.score is not None


def test_every_copy_is_changed_in_its_own_way(trainer):
    result = trainer(max_steps=400).run()
    ratios = [
        round(entry["params"][k]["pace"] / before["params"][parent]["pace"], 9)
        for before, entry in pairwise(result.history)
        for k, parent in enumerate(entry["parents"])
        if parent is not None
    ]
    assert len(ratios) > 3
    assert len(set(ratios)) == len(ratios)


def test_where_everybody_fails_it_ends_with_the_reason(trainer):
    with pytest.raises(SearchError, match=r"all 5 members failed in generation 0(.|\n)*is too much"):
        trainer(agent=functools.partial(Climber, fails=lambda pace: True)).run()


def test_a_score_that_is_no_number_is_a_failure(trainer):
    # no noise of a reward survives the environment's own check, so the height itself is made infinite
    agent = functools.partial(Climber, height=float("nan"))
    with pytest.raises(SearchError, match="all 5 members failed"):
        trainer(agent=agent).run()


class Breaking(Elsewhere):
    """Breaks off in the call of that number."""

    def __init__(self, at, how):
        super().__init__()
        self.at, self.how = at, how

    def map(self, function, items):
        if self.calls >= self.at:
            self.calls = -1000
            self.how()
        return super().map(function, items)


def broken():
    raise KeyboardInterrupt


def test_what_was_broken_off_is_continued_as_if_nothing_had_happened(trainer, tmp_path):
    whole = trainer("whole").run()
    with pytest.raises(KeyboardInterrupt):
        trainer("broken", executor=Breaking(10, broken)).run()
    continued = trainer("broken", resume=True, seed=None)
    assert continued.seed == 3
    assert told(continued.run()) == told(whole)
    logs = [
        [json.loads(line) for line in (tmp_path / name / "events.jsonl").read_text().splitlines()]
        for name in ("whole", "broken")
    ]
    assert [(e["kind"], e["window"], e["step"]) for e in logs[0]] == [
        (e["kind"], e["window"], e["step"]) for e in logs[1]
    ]


def test_what_was_decided_and_not_stored_is_decided_again(trainer, monkeypatch, tmp_path):
    whole = trainer("whole").run()
    real, times = Record.save, iter(range(10))

    def save(self, *args):
        if next(times) == 2:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(Record, "save", save)
    with pytest.raises(KeyboardInterrupt):
        trainer("broken").run()
    monkeypatch.setattr(Record, "save", real)
    assert told(trainer("broken", resume=True).run()) == told(whole)
    events = (tmp_path / "broken" / "events.jsonl").read_text().splitlines()
    assert [json.loads(line)["window"] for line in events] == [1, 2, 3, 4, 5, 5]


def test_a_signal_ends_it_after_the_generation_and_it_can_be_continued(trainer):
    whole = trainer("whole").run()
    interrupt = Breaking(5, lambda: os.kill(os.getpid(), signal.SIGINT))
    result = trainer("stopped", executor=interrupt).run()
    assert result.interrupted
    assert len(result.history) == 2
    assert result.winner.state is not None
    assert told(trainer("stopped", resume=True).run()) == told(whole)


def test_a_finished_population_names_its_winner_again(trainer):
    first = trainer().run()
    again = trainer(resume=True).run()
    assert told(again) == told(first)
    assert again.winner.number == first.winner.number


def test_resuming_nothing_begins(trainer):
    assert told(trainer("a", resume=True).run()) == told(trainer("b").run())


def test_the_winner_s_agent_is_what_was_trained(trainer):
    one = trainer()
    result = one.run()
    agent = one.agent_of(result.winner)
    try:
        assert agent.height == float(result.winner.state["height"][0])
        assert agent.params["pace"] == result.winner.schedule[-1][1]["pace"]
        assert agent.params["name"] == "a"
    finally:
        agent.teardown()


# ------------------------------------------------------------------ what cannot be


def test_a_folder_is_not_used_twice_by_accident(trainer):
    trainer().run()
    with pytest.raises(ConfigError, match="resume=True"):
        trainer()
    with pytest.raises(ConfigError, match="seed is 5, but the population in"):
        trainer(resume=True, seed=5)
    with pytest.raises(ConfigError, match=r"trained with explore_scale=0\.1, not 0\.2"):
        trainer(resume=True, explore_scale=0.2).run()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"members": 1}, "members is 1; it must be at least 2"),
        ({"interval_steps": 0}, "interval_steps is 0"),
        ({"max_steps": 39}, "less than one interval of 40"),
        ({"exploit_share": 0.6}, r"exploit_share is 0.6; it must be in \(0, 0.5\]"),
        ({"explore_scale": 0.0}, "explore_scale is 0.0"),
        ({"confirm_episodes": 1}, "confirm_episodes is 1"),
        ({"param_bounds": {"speed": (0, 1)}}, "names speed, but Climber has name, pace, rounds"),
        ({"param_bounds": {}}, "declares no ranges"),
    ],
)
def test_arguments_out_of_range_are_refused(trainer, options, message):
    with pytest.raises(ConfigError, match=message):
        trainer(**options)


class Forgetful(Climber):
    state_dict = None


def dropping(params, seed=None):
    return Climber({"name": "b"}, seed)


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"agent": Forgetful}, "Forgetful has no state_dict"),
        ({"agent": dropping}, "agent_factory was given pace="),
        ({"validation": make_pipeline}, "BatchPipeline, whose evaluations cannot be repeated"),
        (
            {"pipeline": lambda: ScriptedPipeline((1.0,), steps=60), "interval_steps": 5, "max_steps": 5},
            None,
        ),
    ],
)
def test_parts_that_cannot_take_part_end_the_run(trainer, parts, message):
    if message is None:  # a pipeline that shortens its windows meets any interval
        assert [m.steps for m in trainer(**parts).run().members] == [5] * 5
        return
    with pytest.raises(ConfigError, match=message):
        trainer(**parts).run()


class Rigid(BatchPipeline):
    def limit_next_window(self, steps):
        return False


def test_an_interval_shorter_than_a_window_is_an_error(trainer):
    rigid = lambda seed=None: Rigid(Slope(), window_size=50, seed=seed)  # noqa: E731
    with pytest.raises(ConfigError, match="an interval of 40 environment steps is shorter than one window"):
        trainer(pipeline=rigid).run()
