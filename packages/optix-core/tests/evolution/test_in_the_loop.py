"""After convergence a run goes on with a variant, or ends: who decides, who reigns, what is handed back."""

from __future__ import annotations

import pytest

from optix_core.errors import ConfigError
from optix_core.evolution import MetaAction, MetaController, PolicyManager
from optix_core.evolution.succession import Succession
from optix_core.loop import DormantReport
from optix_core.loop.stop_reason import StopReason
from optix_core.loop_callback import LoopCallback
from optix_core.types import EvalMetrics, LoopState


class Always(MetaController):
    """Asks for the same thing every time."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def decide(self, history, pm_status):
        return MetaAction.STOP if pm_status["budget_exhausted"] else self.action


def towards(skill):
    return lambda params: {"skill": skill}


def test_spawn_on_dormant_continues_training(lab, skilled):
    """The variant is installed in the agent that trains, and windows go on."""
    agent = skilled()
    manager = PolicyManager(max_spawns=2, seed=3)
    result = lab.controller(agent, [manager.as_callback(agent)], level=skilled.level).run()
    spawned = lab.numbers("spawned")
    assert [s["number"] for s in spawned] == [1, 2]
    spawned_at = [i for i, (kind, _) in enumerate(lab.events("window", "spawned")) if kind == "spawned"]
    windows_between = spawned_at[1] - spawned_at[0] - 1
    assert windows_between >= 8  # the second convergence is shown anew, from an empty history
    assert result.windows > spawned_at[1]
    assert result.stop_reason is StopReason.VARIANTS_USED_UP
    assert "2 variants" in result.message
    assert result.state is LoopState.DORMANT
    restarts = [d for d in lab.numbers("decision") if "variant" in d["events"]]
    trained = [i for i, (kind, _) in enumerate(lab.events("window", "spawned")) if kind == "spawned"]
    assert (
        agent.learned_then[0] < trained[0]
    )  # not what had converged, but the best of it, is where a variant begins
    assert [d["transitions"] for d in restarts] == [[["DORMANT", "ACTIVE", "restart"]]] * 2
    assert all(d["stop"] is None for d in restarts)


def test_a_better_variant_replaces_the_policy_and_is_handed_back(lab, skilled):
    agent = skilled(0.2)
    callback = PolicyManager(max_spawns=1).as_callback(agent)
    callback._mutation_fn = towards(0.8)
    result = lab.controller(agent, [callback], level=skilled.level).run()
    (outcome,) = lab.numbers("variant")
    assert outcome["replaced"]
    assert outcome["low"] > 0
    assert outcome["difference"] == pytest.approx(60.0, abs=1e-6)
    assert agent.get_hyperparams().params["skill"] == 0.8
    assert result.confirmation.mean == pytest.approx(100.0, abs=1.0)


def test_a_worse_variant_is_undone_and_the_best_is_handed_back(lab, skilled):
    agent = skilled(0.8)
    callback = PolicyManager(max_spawns=2).as_callback(agent)
    callback._mutation_fn = towards(0.75)  # by 5 of 100: less than what counts as a collapse
    result = lab.controller(agent, [callback], level=skilled.level).run()
    outcomes = lab.numbers("variant")
    assert [o["replaced"] for o in outcomes] == [False, False]
    assert all(s["changed"]["skill"] == [0.8, 0.75] for s in lab.numbers("spawned"))
    assert agent.get_hyperparams().params["skill"] == 0.8
    assert result.confirmation.mean == pytest.approx(100.0, abs=1.0)
    assert callback.policy_manager.fruitless == 2


def test_noise_alone_rarely_makes_a_successor(lab, skilled, validation):
    """Equal policies, unpaired noise: the interval errs in its 2.5 % (60 comparisons: 7 or more once in a thousand)."""

    class Unpaired(validation):
        def evaluate(self, index, *, episodes=None):
            return super().evaluate(index + 7919 * len(self.levels), episodes=episodes)

    agent = skilled(0.8)
    agent.learned = 99
    loop = lab.controller(agent, [], validation=Unpaired(skilled.level, noise=5.0))
    loop.validator.setup(agent)
    loop.storage.save("improvement", EvalMetrics(100.0, {}, 0))
    succession, replaced = Succession(episodes=20, confidence=0.95), 0
    for _ in range(60):
        succession.begin(loop, succession.reigning(loop))
        replaced += succession.judge(loop).replaced
    assert replaced < 7
    succession.begin(loop, succession.reigning(loop))
    agent._params["skill"] = 0.5
    worse = succession.judge(loop)
    assert not worse.replaced
    assert worse.high < 0
    assert agent._params["skill"] == 0.8  # who reigns is put back


def test_variants_that_do_not_help_end_the_run_without_a_limit(lab, skilled):
    agent = skilled(0.8)
    callback = PolicyManager().as_callback(agent)
    callback._mutation_fn = towards(0.78)
    stopped = []
    callback.set_stop_fn(lambda: stopped.append(True))
    result = lab.controller(agent, [callback], level=skilled.level).run()
    assert result.stop_reason is StopReason.VARIANTS_DO_NOT_HELP
    assert result.stop_reason.is_convergence
    assert "last 3 of 3 variants" in result.message
    assert stopped == [True]
    assert [m["action"] for m in lab.numbers("meta")] == ["SPAWN", "SPAWN", "SPAWN", "STOP"]


def test_no_op_leaves_the_decision_of_the_loop(lab, skilled):
    agent = skilled()
    callback = PolicyManager().as_callback(agent, None, Always(MetaAction.NO_OP))
    result = lab.controller(agent, [callback], level=skilled.level).run()
    assert result.stop_reason is StopReason.CONVERGED
    assert "nan" not in result.message
    assert lab.numbers("spawned") == []


def test_a_budget_beats_every_variant(lab, skilled):
    agent = skilled()
    callback = PolicyManager(max_spawns=1000).as_callback(agent)
    result = lab.controller(agent, [callback], level=skilled.level, max_episodes=60).run()
    assert result.stop_reason is StopReason.MAX_WINDOWS
    assert result.windows == 60


def test_after_a_probe_the_variant_is_asked_for_too(lab, skilled):
    agent = skilled()
    callback = PolicyManager(max_spawns=1).as_callback(agent)
    result = lab.controller(agent, [callback], level=skilled.level, probe=True).run()
    assert len(lab.numbers("spawned")) == 1
    assert lab.numbers("probe")
    assert result.stop_reason is StopReason.VARIANTS_USED_UP


def test_watching_goes_on_once_evolution_has_ended(lab, skilled):
    agent = skilled()
    callback = PolicyManager(max_spawns=1).as_callback(agent)
    result = lab.controller(
        agent, [callback], level=skilled.level, max_episodes=150, thresholds={"keep_watching": True}
    ).run()
    assert result.stop_reason is StopReason.MAX_WINDOWS
    passed = [tuple(t) for d in lab.numbers("decision") for t in d["transitions"]]
    assert ("DORMANT", "WATCHDOG", "watch") in passed
    assert len(lab.numbers("spawned")) == 1


def test_every_callback_may_decide_and_the_first_that_goes_on_wins(lab, skilled):
    asked = []

    class Decider(LoopCallback):
        def __init__(self, name, times):
            self.name, self.times = name, times

        def on_converged(self, run, window):
            asked.append(self.name)
            self.times -= 1
            return DormantReport(go_on=self.times >= 0)

    result = lab.controller(
        skilled(), [Decider("a", 1), Decider("b", 1), LoopCallback()], level=skilled.level
    ).run()
    assert asked == ["a", "a", "b", "a", "b"]
    assert result.stop_reason is StopReason.CONVERGED


def test_without_validation_the_stored_scores_decide(lab, skilled):
    from optix_core.testing.fakes import ScriptedEvaluator

    agent = skilled()
    callback = PolicyManager(max_spawns=1).as_callback(agent)
    loop = lab.controller(agent, [callback])
    loop.evaluator = ScriptedEvaluator([0, 2, 4, 6, 8, 9] + [10.0] * 300)
    result = loop.run()
    (outcome,) = lab.numbers("variant")
    assert not outcome["replaced"]
    assert "stored scores" in outcome["reason"]
    assert result.stop_reason is StopReason.VARIANTS_USED_UP


def test_with_a_factory_every_origin_stays_as_a_member(lab, skilled):
    agent = skilled(0.2)
    manager = PolicyManager(max_spawns=3, max_ensemble_size=2)
    callback = manager.as_callback(agent, skilled)
    skills = iter([0.5, 0.8, 0.81])
    callback._mutation_fn = lambda params: {"skill": next(skills)}
    lab.controller(agent, [callback], level=skilled.level).run()
    assert manager.ensemble_size == 2  # the oldest origin made room
    assert manager.agents[0] is agent
    assert manager.agents[1].get_hyperparams().params["skill"] == 0.8
    assert [s["ensemble_size"] for s in lab.numbers("spawned")] == [2, 2, 2]
    assert lab.numbers("ensemble")


def test_weight_noise_differs_between_variants_of_one_checkpoint(lab, skilled):
    agent = skilled(0.8)
    callback = PolicyManager(max_spawns=3).as_callback(agent)
    callback._mutation_fn = towards(0.79)
    lab.controller(agent, [callback], level=skilled.level).run()
    scales, seeds = zip(*agent.weights_noise, strict=True)
    assert len(set(seeds)) == 3
    assert scales == (0.01, 0.02, 0.04)


def test_the_callback_belongs_to_the_agent_of_the_run(lab, skilled):
    callback = PolicyManager().as_callback(skilled())
    with pytest.raises(ConfigError, match="does not train"):
        lab.controller(skilled(), [callback], level=skilled.level).run()


class Stopper(LoopCallback):
    """Asks the run to stop after one window."""

    def __init__(self, cut):
        self.cut, self.loop = cut, None

    def on_episode_end(self, episode_id, eval_metrics):
        if self.cut is not None and episode_id == self.cut:
            self.loop.stop()


def test_a_run_stopped_anywhere_continues_exactly(tmp_path, lab, skilled, validation):
    """Every border between windows, among them those just before a variant is judged or made."""
    kinds = ("decision", "spawned", "variant", "meta", "ensemble", "regime", "pruned")

    def play(path, cuts):
        lab.path = path
        path.mkdir()
        for cut in [*cuts, None]:
            agent = skilled(0.3)
            manager = PolicyManager(max_spawns=2, max_ensemble_size=3, seed=5)
            stopper = Stopper(cut)
            callbacks = [manager.as_callback(agent, skilled), stopper]
            loop = lab.controller(agent, callbacks, validation=validation(skilled.level, noise=0.3))
            stopper.loop = loop
            loop.run(resume=True)
        told = [
            (kind, {k: v for k, v in numbers.items() if k not in {"numbers", "metrics"}})
            for kind, numbers in lab.events(*kinds)
        ]
        return told, agent.get_hyperparams().params, manager.status()

    whole = play(tmp_path / "whole", [])
    kinds_told = [kind for kind, _ in whole[0]]
    assert kinds_told.count("spawned") == kinds_told.count("variant") == 2
    first = sum(1 for kind in kinds_told[: kinds_told.index("spawned")] if kind == "decision")
    second = first + 10
    cut = play(tmp_path / "cut", [first - 3, first - 2, first - 1, first, second])
    # snapshots are named by step and number of the save, and a stop saves once more
    for story in (whole, cut):
        for _, numbers in story[0]:
            for name in ("origin", "candidate"):
                numbers.pop(name, None)
    assert cut == whole
