"""The buffers that code written by hand uses: single pushes, whole episodes, tuples."""

from __future__ import annotations

import numpy as np
import pytest

from optix_core.errors import ConfigError
from optix_core.replay import HERBuffer, HERReplayBuffer, PrioritizedReplayBuffer


def pushed(rewards, dones, **options):
    buffer = PrioritizedReplayBuffer(100, **options)
    for t, (reward, done) in enumerate(zip(rewards, dones, strict=True)):
        buffer.push([float(t), 0.5], t % 3, reward, [t + 1.0, 0.5], done)
    return buffer


def test_a_sample_is_what_the_tuple_says():
    buffer = pushed([1.0, 2.0, 4.0, 8.0], [False, False, True, False], n_step=2, gamma=0.5)
    sample = buffer.sample(200)
    obs, actions, rewards, next_obs, dones, weights, indices, n_steps = sample
    assert [x.dtype.name for x in sample] == [
        *("float32", "int64", "float32", "float32", "float32", "float32", "int64", "int32")
    ]
    assert set(obs[:, 0].tolist()) == {0.0, 1.0, 2.0, 3.0}
    for t, total, after, done, steps in (
        (0, 2.0, 2, 0, 2), (1, 4.0, 3, 1, 2), (2, 4.0, 3, 1, 1), (3, 8.0, 4, 0, 1)
    ):  # fmt: skip
        rows = obs[:, 0] == t
        assert (actions[rows] == t % 3).all()
        assert (rewards[rows] == total).all()
        assert (next_obs[rows, 0] == after).all()
        assert (dones[rows] == done).all()
        assert (n_steps[rows] == steps).all()
    assert (weights == 1).all()
    assert (indices == 0).all()


def test_alpha_turns_priorities_on_and_off_without_losing_anything():
    buffer = pushed([0.0] * 20, [False] * 20)
    buffer.update_priorities(np.zeros(3, np.int64), np.asarray([1.0, 2.0, 3.0]))  # uniform: no effect
    buffer.set_params(alpha=1.0, beta=1.0)
    assert len(buffer) == 20
    indices = buffer.sample(20)[6]
    assert sorted(indices.tolist()) == list(range(20))
    buffer.update_priorities(np.arange(20), np.where(np.arange(20) == 7, -50.0, 0.001))
    *_, weights, indices, _ = buffer.sample(500)
    assert (indices == 7).mean() > 0.95
    assert weights[indices == 7].max() == pytest.approx(0.001001 / 50.000001, rel=1e-4)
    buffer.set_params(alpha=0.0)
    assert set(buffer.sample(500)[0][:, 0].tolist()) == set(map(float, range(20)))


def test_flush_separates_and_drops_nothing():
    buffer = PrioritizedReplayBuffer(10, n_step=3, gamma=1.0)
    buffer.push([0.0], 0, 1.0, [1.0], False)
    buffer.push([1.0], 0, 1.0, [2.0], False)
    buffer.flush_episode()
    buffer.push([2.0], 0, 1.0, [3.0], False)
    assert len(buffer) == 3
    obs, _, rewards, next_obs, dones, _, _, n_steps = buffer.sample(100)
    assert {
        tuple(map(float, x)) for x in zip(obs[:, 0], rewards, next_obs[:, 0], dones, n_steps, strict=True)
    } == {
        (0.0, 2.0, 2.0, 0.0, 2.0),
        (1.0, 1.0, 2.0, 0.0, 1.0),
        (2.0, 1.0, 3.0, 0.0, 1.0),
    }


def test_bytes_are_kept_as_bytes_and_a_truncated_step_is_not_done():
    buffer = PrioritizedReplayBuffer(10)
    frame = np.full((4, 4), 200, np.uint8)
    buffer.push(frame, np.float32([0.5]), 1.0, frame, False, truncated=True)
    assert buffer.replay.dtypes[0] == np.uint8
    assert buffer.sample(2)[0].max() == 200.0
    assert (buffer.sample(2)[4] == 0).all()
    with pytest.raises(TypeError):
        buffer.push(frame / 255.0, [0.5], 1.0, frame, False)


def test_it_continues_from_its_state_and_draws_from_its_own_generator():
    global_state = np.random.get_state()[1].copy()  # noqa: NPY002 - the stream that must not move
    buffer = pushed([1.0] * 9, [False] * 9, alpha=0.5, seed=3)
    buffer.sample(4)
    state = buffer.state_dict()
    again = PrioritizedReplayBuffer(100, alpha=0.5)
    again.load_state_dict(state)
    for a, b in zip(buffer.sample(4), again.sample(4), strict=True):
        assert a.tobytes() == b.tobytes()
    assert (np.random.get_state()[1] == global_state).all()  # noqa: NPY002


@pytest.mark.parametrize("bad", [{"alpha": 2.0}, {"beta": -0.1}, {"n_step": 0}, {"gamma": 1.1}])
def test_bad_parameters_change_nothing(bad):
    with pytest.raises(ConfigError):
        PrioritizedReplayBuffer(10, **bad)
    buffer = PrioritizedReplayBuffer(10, alpha=0.5)
    with pytest.raises(ConfigError):
        buffer.set_params(**{"alpha": 0.7, **bad})
    assert (buffer.alpha, buffer.beta, buffer.n_step, buffer.gamma) == (0.5, 0.4, 1, 0.99)


# --- hindsight -------------------------------------------------------------------------------------------------------


def hit(achieved, desired, info):
    return 0.0 if achieved[0] == desired[0] else -1.0  # one pair at a time, as users write it


def line(t, goal=99.0):
    """A walk 0, 1, ... that never reaches the goal; the last step is a cut."""
    obs = np.stack([np.arange(t), np.full(t, goal)], axis=1)
    after = obs + np.asarray([1.0, 0.0])
    return obs, np.zeros(t, np.int64), np.full(t, -1.0), after, np.zeros(t, bool), after[:, :1]


@pytest.mark.parametrize("strategy", ["future", "final", "episode"])
def test_an_episode_takes_its_length_and_goals_come_with_the_draw(strategy):
    buffer = HERReplayBuffer(PrioritizedReplayBuffer(100, n_step=2, gamma=0.5), k=4, strategy=strategy)
    buffer.store_episode(*line(5), hit)
    buffer.store_episode(*line(3), hit)
    assert len(buffer) == 8
    obs, _, rewards, next_obs, dones, weights, _, n_steps = buffer.sample(4000)
    assert obs.shape == next_obs.shape == (4000, 2)
    goals = obs[:, 1]
    assert (next_obs[:, 1] == goals).all()
    assert 0.17 < (goals == 99.0).mean() < 0.23
    changed = goals != 99.0
    at = obs[:, 0]
    if strategy == "future":
        assert (goals[changed] > at[changed]).all()
        assert set(goals[changed & (at == 3)].tolist()) == {4.0, 5.0}
    elif strategy == "final":
        assert set(goals[changed].tolist()) == {3.0, 5.0}
    else:
        assert set(goals[changed & (at == 3)].tolist()) == {1.0, 2.0, 3.0, 4.0, 5.0}
    expected = np.where(at + 1 == goals, 0.0, -1.0) + np.where(
        n_steps == 2, 0.5 * np.where(at + 2 == goals, 0.0, -1.0), 0.0
    )
    np.testing.assert_allclose(rewards, expected)
    assert (next_obs[:, 0] == at + n_steps).all()
    assert (dones == 0).all()
    assert (weights == 1).all()


def test_terminations_are_recomputed_where_the_environment_can_tell():
    buffer = HERReplayBuffer(PrioritizedReplayBuffer(100, n_step=4), k=1e9, strategy="final")
    buffer.store_episode(*line(4), hit, compute_terminated=lambda a, d, info: a[0] == d[0])
    *_, dones, _, _, _ = buffer.sample(50)
    assert (dones == 1).all()


def test_both_constructors_make_the_same_buffer():
    made = HERBuffer(obs_dim=1, act_dim=2, goal_dim=1, strategy="final", k=2, capacity=50)
    made.store_episode(*line(4), hit)
    given = HERReplayBuffer(PrioritizedReplayBuffer(50), 2, "final")
    given.store_episode(*line(4), hit)
    for a, b in zip(made.sample(20), given.sample(20), strict=True):
        assert a.tobytes() == b.tobytes()
    made.update_priorities(np.arange(2), [1.0, 1.0])
    with pytest.raises(ValueError, match="made for"):
        HERBuffer(obs_dim=2, act_dim=2, goal_dim=1).store_episode(*line(4), hit)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="strategy"):
        HERReplayBuffer(PrioritizedReplayBuffer(10), strategy="past")
    buffer = HERReplayBuffer(PrioritizedReplayBuffer(10))
    with pytest.raises(ValueError, match="empty"):
        buffer.sample(2)
    obs, acts, rews, after, dones, achieved = line(4)
    with pytest.raises(ValueError, match=r"T, D \+ G"):
        buffer.store_episode(obs, acts[:3], rews, after, dones, achieved, hit)
    assert len(buffer) == 0
