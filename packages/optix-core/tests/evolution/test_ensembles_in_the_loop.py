"""Ensembles that train: variants take the place of the weakest member, members go, and all of it is resumed."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.checkpoints.registry import CheckpointRegistry
from optix_core.evaluators.mean_return import MeanReturnEvaluator
from optix_core.evolution import EnsembleAgent, MetaAction, MetaController, PolicyManager
from optix_core.loop.backoff_scheduler import BackoffScheduler
from optix_core.loop.loop_controller import LoopController
from optix_core.loop_callback import LoopCallback
from optix_core.pipelines.batch import BatchPipeline
from optix_core.pipelines.evaluation import EvaluationPipeline
from optix_core.runs.decision_log import DecisionLog
from optix_core.testing.linear_agent import LinearAgent
from optix_core.testing.tiny_envs import TinyDiscrete


def member(seed):
    env = TinyDiscrete()
    return LinearAgent(env.observation_space, env.action_space, seed=seed, hyperparams={"learning_rate": 0.3})


class Scripted(MetaController):
    """Asks for given actions in turn, then stops."""

    def __init__(self, *actions):
        super().__init__()
        self.left = list(actions)

    def decide(self, history, pm_status):
        return self.left.pop(0) if self.left else MetaAction.STOP


class Stopper(LoopCallback):
    """Asks the run to stop after one window, and notes how many scores members had at most."""

    def __init__(self, cut):
        self.cut, self.loop, self.scores = cut, None, []

    def on_episode_end(self, episode_id, eval_metrics):
        now = [len(m.scores) for m in self.loop.agent.policy_manager.members]
        self.scores = [max(pair) for pair in zip(now, self.scores, strict=True)] if self.scores else now
        if episode_id == self.cut:
            self.loop.stop()


def run(path, *, meta=None, members=3, cut=None, resume=False, **options):
    agents = [member(10 * k) for k in range(members)]
    manager = PolicyManager(seed=2, **options)
    for agent in agents:
        manager.add_agent(agent)
    ensemble = EnsembleAgent(manager, agents[0], agent_factory=lambda: member(99))
    stopper = Stopper(cut)
    loop = LoopController(
        ensemble,
        MeanReturnEvaluator(),
        None,
        BatchPipeline(TinyDiscrete(), window_size=33, seed=1),
        CheckpointRegistry(path),
        BackoffScheduler(dormant_threshold=8, plateau_threshold=2, convergence_patience=1, delta=0.5),
        callbacks=[manager.as_callback(ensemble, None, meta), stopper],
        val_pipeline=EvaluationPipeline(TinyDiscrete, episodes=4, seed=1),
        validation_share=1e6,
        probe_windows=0,
        confirm_episodes=0,
        max_episodes=200,
        handle_signals=False,
        decision_log=DecisionLog(path / "events.jsonl"),
    )
    stopper.loop = loop
    ensemble.scores_noted = stopper
    return loop.run(resume=resume), ensemble


def told(path, *kinds):
    return [(e.kind, e.numbers) for e in DecisionLog(path / "events.jsonl").read() if e.kind in kinds]


def test_a_variant_takes_the_place_of_the_weakest_other_member(tmp_path):
    result, ensemble = run(tmp_path, max_spawns=2)
    assert result.stop_reason.name == "VARIANTS_USED_UP"
    assert ensemble.policy_manager.ensemble_size == 3
    spawned = [numbers for _, numbers in told(tmp_path, "spawned")]
    assert len(spawned) == 2
    assert all(s["ensemble_size"] == 3 for s in spawned)
    assert all(s["weight_noise"] > 0 for s in spawned)
    # every member has scores of its own, from the windows that it acted in
    assert min(ensemble.scores_noted.scores) > 1


def test_prune_drops_a_member_and_training_goes_on_without_it(tmp_path):
    meta = Scripted(MetaAction.PRUNE, MetaAction.PRUNE, MetaAction.PRUNE)
    result, ensemble = run(tmp_path, meta=meta)
    pruned = [numbers for _, numbers in told(tmp_path, "pruned")]
    assert [p["size"] for p in pruned] == [2, 1]
    assert ensemble.policy_manager.prune_count == 2
    # the third had nobody to drop: a variant instead
    assert len(told(tmp_path, "spawned")) == 1
    assert result.stop_reason.name == "VARIANTS_DO_NOT_HELP"


@pytest.mark.parametrize("cut", [4, 11, 14])
def test_an_ensemble_with_variants_resumes_exactly(tmp_path, cut):
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    result, whole = run(tmp_path / "whole", max_spawns=2)
    assert cut + 1 < result.windows
    run(tmp_path / "cut", max_spawns=2, cut=cut)
    _, again = run(tmp_path / "cut", max_spawns=2, resume=True)
    np.testing.assert_equal(again.state_dict(), whole.state_dict())
    assert again.policy_manager.status() == whole.policy_manager.status()
    actions = [[n["action"] for _, n in told(tmp_path / name, "meta")] for name in ("whole", "cut")]
    assert actions[0] == actions[1]


def test_an_ensemble_learns(tmp_path):
    """Three linear members, rotating: the ensemble reaches what one of them would."""
    result, _ = run(tmp_path, max_spawns=0)
    baseline = told(tmp_path, "baseline")[0][1]["score"]
    assert result.best_score > baseline
