"""Hindsight goals against a plain reading of each episode."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optix_core.errors import ConfigError, EnvironmentFault, SpaceError
from optix_core.replay import HindsightReplay, PrioritizedReplay, ReplayBuffer, goal_functions
from optix_core.replay.episodes import EpisodeIndex
from optix_core.replay.goals import PerPair
from optix_core.testing import GoalGrid

GOAL = np.dtype(
    [
        ("observation", np.float32, (2,)),
        ("achieved_goal", np.float32, (1,)),
        ("desired_goal", np.float32, (1,)),
    ],
    align=True,
)


def reward(achieved, desired, info):
    """A number that tells both goals apart from all others."""
    assert info == {}
    return achieved[..., 0] + 1000.0 * desired[..., 0]


def even(achieved, desired, info):
    return (achieved[..., 0] + desired[..., 0]) % 5 == 0


class GoalStream:
    """N environments; what is achieved after step t of environment n is a number of its own."""

    def __init__(self, stream, n_envs, seed, **options):
        self.plain = stream(n_envs, seed, width=1, **options)

    @property
    def history(self):
        return self.plain.history

    def step(self):
        seen, actions, rewards, after, terminated, truncated = self.plain.step()
        records = []
        for values in (seen, after):
            record = np.zeros(len(values), GOAL)
            record["observation"] = values
            record["achieved_goal"] = values
            record["desired_goal"] = -1.0
            records.append(record)
        return records[0], actions, rewards, records[1], terminated, truncated

    def feed(self, buffer, steps):
        for _ in range(steps):
            buffer.add(*self.step())
        return buffer

    def episode(self, n, t):
        """First and last time of the episode that step t of environment n is in, as far as it went."""
        history = self.history[n]

        def ends(step):
            return step.terminated or step.truncated or step.cut

        first = t
        while first > 0 and not ends(history[first - 1]):
            first -= 1
        last = t
        while last < len(history) - 1 and not ends(history[last]):
            last += 1
        return first, last


def allowed_goals(source, buffer, n, t, strategy):
    first, last = source.episode(n, t)
    total = len(source.history[0]) * source.plain.n
    steps = range(len(source.history[n]))
    oldest = next(s for s in steps if s * source.plain.n + n >= total - len(buffer))
    times = {"future": range(t, last + 1), "final": [last], "episode": range(max(first, oldest), last + 1)}
    return [float(source.history[n][s].after[0]) for s in times[strategy]]


def expected(source, n, t, goal, n_step, gamma, *, recompute):
    """Walk with another goal."""
    total, discount = 0.0, 1.0
    for at in range(t, len(source.history[n])):
        step = source.history[n][at]
        achieved, desired = np.float32([step.after[0]]), np.float32([goal])
        total += discount * (step.reward if goal == -1.0 else float(reward(achieved, desired, {})))
        discount *= gamma
        over = bool(even(achieved, desired, {})) if recompute and goal != -1.0 else step.terminated
        if over:
            return total, 0.0, step.after[0]
        if step.terminated or step.truncated or step.cut or at - t + 1 == n_step:
            break
    return total, discount, step.after[0]


@settings(max_examples=60, deadline=None)
@given(
    n_envs=st.integers(1, 3),
    capacity=st.integers(3, 40),
    steps=st.integers(1, 50),
    n_step=st.integers(1, 4),
    strategy=st.sampled_from(["future", "final", "episode"]),
    recompute=st.booleans(),
    k=st.sampled_from([0, 1, 4]),
    seed=st.integers(0, 1000),
)
def test_every_drawn_row_is_what_happened_with_an_allowed_goal(
    stream, n_envs, capacity, steps, n_step, strategy, recompute, k, seed
):
    source = GoalStream(stream, n_envs, seed, jump=0.1)
    buffer = HindsightReplay(
        ReplayBuffer(capacity), reward, even if recompute else None, k=k, strategy=strategy
    )
    rng = np.random.default_rng(seed)
    for burst in (steps, 1, 7):
        source.feed(buffer, burst)
        batch = buffer.sample(30, rng, n_step=n_step, gamma=0.5)
        for i, row in enumerate(batch.indices.tolist()):
            n, t = source.plain.origin(buffer, row)
            goal = float(batch.observations["desired_goal"][i, 0])
            assert batch.next_observations["desired_goal"][i, 0] == goal
            assert goal == -1.0 or goal in allowed_goals(source, buffer, n, t, strategy)
            assert k or goal == -1.0
            total, discount, after = expected(source, n, t, goal, n_step, 0.5, recompute=recompute)
            assert batch.rewards[i] == pytest.approx(total, rel=1e-5, abs=1e-4)
            assert batch.discounts[i] == pytest.approx(discount, rel=1e-6)
            assert batch.next_observations["observation"][i, 0] == after
            assert batch.observations["achieved_goal"][i, 0] == source.history[n][t].observation[0]


@pytest.mark.parametrize("k", [0.5, 1, 4])
def test_k_relabelled_rows_for_each_that_is_not(stream, k):
    source = GoalStream(stream, 1, 0)
    buffer = source.feed(HindsightReplay(ReplayBuffer(50), reward, k=k), 50)
    drawn = buffer.sample(20_000, np.random.default_rng(0)).observations["desired_goal"]
    share, expected_share = float((drawn != -1.0).mean()), k / (k + 1)
    assert abs(share - expected_share) < 5 * np.sqrt(expected_share * (1 - expected_share) / 20_000)


@pytest.mark.parametrize("strategy", ["future", "episode"])
def test_goals_are_uniform_over_the_steps_they_may_come_from(stream, strategy):
    source = GoalStream(stream, 1, 0, end=0.0)
    buffer = source.feed(HindsightReplay(ReplayBuffer(8), reward, k=1e9, strategy=strategy), 8)
    batch = buffer.sample(40_000, np.random.default_rng(0))
    goals = batch.observations["desired_goal"][batch.indices == 3, 0]
    values, counts = np.unique(goals, return_counts=True)
    steps = range(3 if strategy == "future" else 0, 8)
    assert values.tolist() == sorted(float(source.history[0][t].after[0]) for t in steps)
    share = len(goals) / len(steps)
    assert (np.abs(counts - share) < 5 * np.sqrt(share)).all()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(3, 40),
    st.lists(st.integers(1, 25), min_size=1, max_size=6),
    st.integers(0, 999),
)
def test_an_index_kept_up_equals_one_made_anew(stream, n_envs, capacity, bursts, seed):
    source = stream(n_envs, seed, jump=0.1)
    buffer = ReplayBuffer(capacity)
    kept = EpisodeIndex(buffer)
    for burst in bursts:
        for _ in range(burst):
            source.feed(buffer, 1)
            if seed % 2:
                kept.bounds(np.arange(1))
        rows = np.arange(len(buffer))
        for a, b in zip(kept.bounds(rows), EpisodeIndex(buffer).bounds(rows), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_stored_buffer_draws_the_same(stream):
    source = GoalStream(stream, 2, 0, jump=0.1)
    buffer = source.feed(HindsightReplay(ReplayBuffer(41), reward, even), 37)
    buffer.sample(8, np.random.default_rng(0))
    again = HindsightReplay(ReplayBuffer(41), reward, even)
    again.load_state_dict(buffer.state_dict())
    for seed in range(10):
        arguments = source.step()
        a, b = (x.sample(16, np.random.default_rng(seed), n_step=2) for x in (buffer, again))
        for name in ("observations", "rewards", "discounts", "next_observations", "indices"):
            assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
        buffer.add(*arguments)
        again.add(*arguments)


def test_loading_an_earlier_state_forgets_later_episodes(stream):
    source = GoalStream(stream, 1, 3)
    buffer = source.feed(HindsightReplay(ReplayBuffer(30), reward, k=1e9, strategy="final"), 20)
    state = buffer.state_dict()
    first = buffer.sample(50, np.random.default_rng(0))
    GoalStream(stream, 1, 4).feed(buffer, 25)
    buffer.sample(50, np.random.default_rng(0))
    buffer.load_state_dict(state)
    assert buffer.sample(50, np.random.default_rng(0)).rewards.tolist() == first.rewards.tolist()
    buffer.clear()
    assert len(buffer) == 0


def test_works_on_prioritised_rows(stream):
    source = GoalStream(stream, 1, 0)
    buffer = source.feed(HindsightReplay(PrioritizedReplay(20, alpha=1.0), reward), 20)
    buffer.update_priorities(np.arange(20), np.eye(20)[7] * 1e6)
    batch = buffer.sample(64, np.random.default_rng(0), beta=1.0)
    assert np.bincount(batch.indices).argmax() == 7
    assert batch.weights.max() == 1.0
    uniform = source.feed(HindsightReplay(ReplayBuffer(20), reward), 5)
    assert (uniform.sample(4, np.random.default_rng(0)).weights == 1).all()
    with pytest.raises(ConfigError, match="PrioritizedReplay"):
        uniform.update_priorities(np.arange(2), [1.0, 1.0])


def test_what_cannot_be_relabelled_is_refused():
    for arguments in ({"strategy": "past"}, {"k": -1}, {"k": float("nan")}):
        with pytest.raises(ConfigError, match=r"strategy|k is"):
            HindsightReplay(ReplayBuffer(4), reward, **arguments)
    no = np.asarray([False])
    plain = np.zeros((1, 3), np.float32)
    with pytest.raises(SpaceError, match="achieved_goal"):
        HindsightReplay(ReplayBuffer(4), reward).add(plain, [0], [0.0], plain, no, no)
    uneven = np.zeros(1, [(name, np.float32, (i + 1,)) for i, name in enumerate(GOAL.names)])
    with pytest.raises(SpaceError, match="same"):
        HindsightReplay(ReplayBuffer(4), reward).add(uneven, [0], [0.0], uneven, no, no)
    with pytest.raises(ConfigError, match="compute_reward"):
        goal_functions(gym.Env())


def test_functions_are_found_through_wrappers():
    env = GoalGrid(5)
    found = goal_functions(gym.wrappers.TimeLimit(gym.wrappers.OrderEnforcing(env), 9))
    assert found == (env.compute_reward, env.compute_terminated)


def pairs(n, seed=0):
    return np.random.default_rng(seed).integers(3, size=(2, n, 2)).astype(np.float32)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, d, info: -np.linalg.norm(a - d, axis=-1),  # whole batches
        lambda a, d, info: -np.linalg.norm(a - d),  # one pair; of a batch the norm over everything
        lambda a, d, info: -float(np.sqrt(((a - d) ** 2).sum())),
        lambda a, d, info: np.asarray([-np.hypot(*(a - d))]),  # fails for batches
        lambda a, d, info: (
            -np.linalg.norm(a - d, axis=0) if a.ndim == 1 else -np.abs(a - d).sum(axis=1)
        ),  # differs
    ],
)
def test_functions_for_one_pair_and_for_batches_give_the_same(function):
    for n in (1, 2, 30):
        achieved, desired = pairs(n)
        values = PerPair(function, "f")(achieved, desired)
        np.testing.assert_allclose(values, -np.linalg.norm(achieved - desired, axis=1), rtol=1e-6)


def test_a_function_for_batches_is_called_once_per_batch():
    calls = []

    def norm(a, d, info):
        calls.append(a.shape)
        return -np.linalg.norm(a - d, axis=-1)

    function = PerPair(norm, "f")
    for seed in range(5):
        function(*pairs(100, seed))
    assert calls.count((100, 2)) == 6
    assert calls.count((2,)) == 64


def test_values_that_are_none_are_the_environments_fault():
    for function in (
        lambda a, d, info: np.full(a.shape[:-1], np.nan),
        lambda a, d, info: np.zeros((*a.shape[:-1], 2)),
    ):
        with pytest.raises(EnvironmentFault, match="one finite number per pair"):
            PerPair(function, "f")(*pairs(5))

    def broken(a, d, info):
        raise KeyError("goal")

    with pytest.raises(KeyError):
        PerPair(broken, "f")(*pairs(5))
