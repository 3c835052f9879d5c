"""Populations of agents that learn by gradients, replay memory included."""

from __future__ import annotations

import pickle

import gymnasium as gym
import numpy as np
import pytest

from optix_core import EvaluationPipeline, VectorBatchPipeline, make_agent
from optix_core.population import PopulationTrainer
from optix_core.state import arrays_in


def make_env():
    return gym.make("CartPole-v1")


class ByValue:
    """What is called gets copies, and so does who called."""

    workers = 1

    def map(self, function, items):
        return [pickle.loads(pickle.dumps(function(pickle.loads(pickle.dumps(item))))) for item in items]


OPTIONS = {
    "PPO": {"n_epochs": 2, "minibatch_size": 64, "hidden_sizes": [16]},
    "DQN": {"learning_starts": 50, "replay_capacity": 1_000, "batch_size": 16, "hidden_sizes": [16]},
}


def trainer(algorithm, folder, **options):
    def agent(params, seed=None):
        given = {**OPTIONS[algorithm], **params}
        return make_agent(algorithm, make_env(), framework="torch", seed=seed, device="cpu", **given)

    return PopulationTrainer(
        agent,
        lambda seed=None: VectorBatchPipeline([make_env] * 2, window_size=64, seed=seed),
        lambda seed=None: EvaluationPipeline(make_env, episodes=2, seed=seed),
        folder,
        **{"interval_steps": 256, "max_steps": 768, "members": 3, "seed": 1, "eval_episodes": 2,
           "confirm_episodes": 2, **options},
    )  # fmt: skip


def numbers(state):
    return {name: np.asarray(value).copy() for name, value in arrays_in(state).items()}


@pytest.mark.parametrize("algorithm", list(OPTIONS))
def test_members_train_alike_here_and_elsewhere_and_after_a_break(tmp_path, algorithm):
    here = trainer(algorithm, tmp_path / "here")
    result = here.run()
    assert [m.steps for m in result.members] == [768] * 3
    assert any(parent is not None for entry in result.history for parent in entry["parents"])
    elsewhere = trainer(algorithm, tmp_path / "elsewhere", executor=ByValue()).run()
    resumed = trainer(algorithm, tmp_path / "here", resume=True).run()
    for other in (elsewhere, resumed):
        for mine, theirs in zip(result.members, other.members, strict=True):
            assert (mine.params, mine.score, mine.schedule) == (theirs.params, theirs.score, theirs.schedule)
            expected = numbers(mine.state)
            assert len(expected) > 10
            for name, value in numbers(theirs.state).items():
                np.testing.assert_array_equal(value, expected[name], err_msg=name)
    policy = here.agent_of(result.winner)
    assert policy.get_hyperparams().params["learning_rate"] == result.winner.schedule[-1][1]["learning_rate"]
    policy.teardown()


def test_copies_take_the_memory_of_transitions_along(tmp_path):
    one = trainer("DQN", tmp_path, max_steps=512)
    result = one.run()
    assert any(parent is not None for parent in result.history[1]["parents"])
    for member in result.members:
        policy = one.agent_of(member)
        # the last step of every environment waits for what follows it
        assert member.steps - 2 <= len(policy._replay) <= member.steps == 512
        policy.teardown()
