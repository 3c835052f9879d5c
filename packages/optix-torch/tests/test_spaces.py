"""PPO acts, learns and is stored with every kind of observation and action."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from torch import nn

from optix_core.errors import ConfigError, SpaceError
from optix_core.plugin import AgentContext
from optix_core.rl.structured import element_dtype, pack
from optix_core.types import EpisodeData
from optix_torch import gaussian_ppo, ppo
from optix_torch.networks.encoder_modules import Encoded
from optix_torch.training.batching import evaluated, staged

IMAGE = Box(0, 255, (36, 36, 1), np.uint8)
OBSERVATIONS = {
    "flat": Box(-1, 1, (3,)),
    "folded": Box(-1, 1, (2, 2)),
    "number": Box(-1, 1, ()),
    "image": IMAGE,
    "discrete": Discrete(4, start=1),
    "multi_discrete": MultiDiscrete([2, 3]),
    "multi_binary": MultiBinary(3),
    "dict": Dict({"goal": Box(-1, 1, (2,)), "at": Discrete(3), "wide": Box(-1, 1, (2, 2), np.float64)}),
    "mixed": Dict({"camera": IMAGE, "speed": Box(-1, 1, (1,))}),
    "tuple": Tuple((Box(-1, 1, (2,)), Tuple((MultiBinary(2), Discrete(2))))),
}
ACTIONS = {
    "discrete": Discrete(3, start=-1),
    "multi_discrete": MultiDiscrete([2, 3]),
    "multi_binary": MultiBinary(2),
    "box": Box(-2, 1, (2,)),
}


def build(observations, actions, *, hyperparams=None, seed=0, device="cpu", **options):
    ctx = AgentContext(
        observation_space=observations,
        action_space=actions,
        seed=seed,
        device=device,
        hyperparams={"n_epochs": 1, "minibatch_size": 16, **(hyperparams or {})},
    )
    return (gaussian_ppo if isinstance(actions, Box) else ppo).build(ctx, **options)


def draws(space, n, seed=0):
    space.seed(seed)
    return [space.sample() for _ in range(n)]


def packed(space, rows):
    dtype = element_dtype(space)
    return np.stack([pack(row, dtype) if dtype.names else np.asarray(row, dtype) for row in rows])


def window_for(agent, space, t=16, n=2, seed=0):
    rng = np.random.default_rng(seed)
    observations = packed(space, draws(space, t * n, seed))
    observations = observations.reshape(t, n, *observations.shape[1:])
    truncated = rng.random((t, n)) < 0.1
    boundary = np.argwhere(truncated)
    return EpisodeData(
        observations=observations,
        actions=np.stack([agent.act_batch(row) for row in observations]),
        rewards=rng.standard_normal((t, n)),
        terminated=np.zeros((t, n), bool),
        truncated=truncated,
        final_obs=observations[0],
        n_envs=n,
        boundary_steps=boundary,
        boundary_observations=observations[1, np.zeros(len(boundary), int)],
        timestamp=0.0,
    )


@pytest.mark.parametrize("seen", OBSERVATIONS)
@pytest.mark.parametrize("done", ACTIONS)
def test_every_pair_of_spaces(seen, done, tmp_path):
    observations, actions = OBSERVATIONS[seen], ACTIONS[done]
    agent = build(observations, actions)
    for row in draws(observations, 3):
        assert agent.act(row) in actions
    window = window_for(agent, observations)
    for step in window.actions:
        assert all(action in actions for action in agent.env_actions(step))
    # ratio 1 before the first step
    kept, update = [], agent._networks.update
    agent._networks.update = lambda batch, hp, rng: (kept.append(batch), update(batch, hp, rng))[1]
    report = agent.learn(window)
    assert report["n_updates"] == 2
    assert all(np.isfinite(v) for v in report.values())
    batch = kept[0]
    agent.load_state_dict(agent.state_dict())
    # stored and restored: same actions, same next update
    twin = build(observations, actions, seed=5)
    twin.load_state_dict(agent.state_dict())
    copy = build(observations, actions, seed=9)
    agent.save_weights(str(tmp_path / "weights"))
    copy.load_weights(str(tmp_path / "weights"))
    flat = window.observations.reshape(-1, *window.observations.shape[2:])
    greedy = agent.act_batch(flat, deterministic=True)
    np.testing.assert_array_equal(copy.act_batch(flat, deterministic=True), greedy)
    np.testing.assert_array_equal(twin.act_batch(flat[:4]), agent.act_batch(flat[:4]))
    following = window_for(agent, observations, seed=1)
    agent.learn(following)
    twin.learn(following)
    np.testing.assert_array_equal(twin._networks.flat.to_numpy(), agent._networks.flat.to_numpy())
    assert len(batch) == 32


@pytest.mark.parametrize("seen", OBSERVATIONS)
def test_the_ratio_is_one_before_the_first_step(seen):
    space = OBSERVATIONS[seen]
    for actions in (ACTIONS["multi_discrete"], ACTIONS["box"]):
        agent = build(space, actions, hyperparams={"minibatch_size": 64})
        report = agent.learn(window_for(agent, space))
        # one step on the whole window: its log-ratios are those before the step
        assert report["n_updates"] == 1
        assert report["approx_kl"] == pytest.approx(0.0, abs=1e-10)
        assert report["clip_fraction"] == 0.0


def test_actor_and_critic_share_the_encoder_of_images_only():
    for seen in ("image", "mixed"):
        networks = build(OBSERVATIONS[seen], ACTIONS["discrete"])._networks
        assert networks.actor.encoder is networks.critic.encoder
    for seen in ("discrete", "dict"):
        networks = build(OBSERVATIONS[seen], ACTIONS["discrete"])._networks
        assert isinstance(networks.actor, Encoded)
        assert networks.actor.encoder is not networks.critic.encoder
    gaussian = build(IMAGE, ACTIONS["box"])._networks
    assert gaussian.actor.encoder is gaussian.critic.encoder


def test_a_shared_encoder_is_computed_once_per_step_and_learns_from_both_losses():
    agent = build(IMAGE, ACTIONS["discrete"], hyperparams={"minibatch_size": 64})
    window = window_for(agent, IMAGE)
    calls = []
    encoder = agent._networks.actor.encoder
    encoder.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    agent.learn(window)
    assert sum(calls) == 1
    for silent in ("vf_coef", "advantage"):
        agent = build(
            IMAGE,
            ACTIONS["discrete"],
            hyperparams={"entropy_coef": 0.0, "vf_coef": 0.0 if silent == "vf_coef" else 0.5},
        )
        before = [p.detach().clone() for p in agent._networks.actor.encoder.parameters()]
        window = window_for(agent, IMAGE)
        if silent == "advantage":  # advantages of nothing: only values have a gradient
            update = agent._networks.update
            agent._networks.update = lambda b, hp, rng, update=update: (
                b.advantages.__setitem__(slice(None), 0.0),
                update(b, hp, rng),
            )[1]
        agent.learn(window)
        after = agent._networks.actor.encoder.parameters()
        assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True)), silent


def test_images_stay_bytes_until_a_minibatch_needs_them():
    """A module sees numbers of its own type, at most a minibatch of them while it learns."""
    agent = build(IMAGE, ACTIONS["discrete"])
    sizes = []
    agent._networks.actor.encoder.register_forward_hook(
        lambda module, inputs, _: sizes.append((len(inputs[0]), inputs[0].dtype, torch.is_grad_enabled()))
    )
    window = window_for(agent, IMAGE)
    kept = staged(agent._networks.flat, window.observations)
    assert kept.dtype == torch.uint8
    agent.learn(window)
    assert {dtype for _, dtype, _ in sizes} == {torch.float32}
    assert max(n for n, _, learning in sizes if learning) == 16


def test_large_rows_are_evaluated_in_several_passes(monkeypatch):
    """With the same result, and never more than 256 rows at once if rows are large."""
    agent, sizes = build(OBSERVATIONS["mixed"], ACTIONS["discrete"]), []
    flat, critic = agent._networks.flat, agent._networks.critic
    array = packed(OBSERVATIONS["mixed"], draws(OBSERVATIONS["mixed"], 300))
    whole = evaluated(critic, flat, array)
    monkeypatch.setattr("optix_torch.training.batching._AT_ONCE", 1)
    pieces = evaluated(lambda x: (sizes.append(len(x["speed"])), critic(x))[1], flat, array)
    assert sizes == [256, 44]
    torch.testing.assert_close(pieces, whole)


def test_an_image_agent_tells_a_bright_picture_from_a_dark_one():
    space = Box(0, 255, (1, 36, 36), np.uint8)
    agent = build(
        space,
        Discrete(2),
        hyperparams={"n_epochs": 4, "minibatch_size": 32, "gamma": 0.0, "learning_rate": 1e-3},
    )
    rng = np.random.default_rng(0)
    scores = []
    for _ in range(8):
        state = rng.integers(2, size=(32, 2))
        pictures = (rng.integers(0, 60, (32, 2, 1, 36, 36)) + 150 * state[..., None, None, None]).astype(
            np.uint8
        )
        actions = np.stack([agent.act_batch(row) for row in pictures])
        scores.append((actions == state).mean())
        agent.learn(
            EpisodeData(
                pictures,
                actions,
                (actions == state).astype(np.float64),
                np.zeros((32, 2), bool),
                np.zeros((32, 2), bool),
                final_obs=pictures[0],
                n_envs=2,
            )
        )
    assert scores[0] < 0.8
    greedy = agent.act_batch(pictures.reshape(64, 1, 36, 36), deterministic=True)
    np.testing.assert_array_equal(greedy, state.reshape(64))


class Small(nn.Module):
    def __init__(self, space):
        super().__init__()
        self.layer = nn.Linear(space.shape[0], 9)

    def forward(self, x):
        return torch.relu(self.layer(x))


def test_a_users_encoder():
    agent = build(OBSERVATIONS["flat"], Discrete(2), encoder=Small)
    actor, critic = agent._networks.actor, agent._networks.critic
    assert isinstance(actor.encoder, Small)
    assert actor.encoder is not critic.encoder
    assert agent._networks.engine_name == "autograd"
    before = actor.encoder.layer.weight.detach().clone()
    agent.learn(window_for(agent, OBSERVATIONS["flat"]))
    assert not torch.equal(before, actor.encoder.layer.weight)
    same = build(OBSERVATIONS["flat"], Discrete(2), encoder=Small)._networks.flat.to_numpy()
    np.testing.assert_array_equal(
        build(OBSERVATIONS["flat"], Discrete(2), encoder=Small)._networks.flat.to_numpy(), same
    )
    with pytest.raises(ConfigError, match="the actor is no plain stack"):
        build(OBSERVATIONS["flat"], Discrete(2), encoder=Small, engine="closed_form")


def test_hidden_sizes_and_activation_reach_the_networks():
    agent = build(OBSERVATIONS["flat"], Discrete(2), hidden_sizes=(5, 7), activation="relu")
    widths = [layer.out_features for layer in agent._networks.actor if isinstance(layer, nn.Linear)]
    assert widths == [5, 7, 2]
    assert isinstance(agent._networks.critic[1], nn.ReLU)
    assert [p.shape[0] for p in build(IMAGE, Discrete(2))._networks.actor.trunk.parameters()] == [2, 2]
    deep = build(IMAGE, Discrete(2), hidden_sizes=(8,))._networks.actor.trunk
    assert [p.shape[0] for p in deep.parameters()] == [8, 8, 2, 2]


def test_only_floating_parts_are_standardised():
    agent = build(OBSERVATIONS["dict"], ACTIONS["discrete"], normalize_observations=True)
    assert sorted(agent._normalizers.observation.parts) == [("goal",), ("wide",)]
    agent.learn(window_for(agent, OBSERVATIONS["dict"]))
    assert agent._normalizers.observation.parts["goal",].count > 30
    assert build(IMAGE, ACTIONS["box"])._normalizers.observation is None
    # choices pass through, so that they are still choices for the encoder
    agent = build(OBSERVATIONS["discrete"], ACTIONS["box"], normalize_observations=True)
    agent.learn(window_for(agent, OBSERVATIONS["discrete"]))


def test_statistics_of_parts_are_stored_and_averaged(tmp_path):
    space = OBSERVATIONS["dict"]
    agents = [build(space, ACTIONS["box"], seed=i) for i in range(2)]
    agents[0].learn(window_for(agents[0], space))
    agents[0].learn(window_for(agents[0], space, seed=1))
    agents[1].learn(window_for(agents[1], space))
    for i, agent in enumerate(agents):
        agent.save_weights(str(tmp_path / str(i)))
    fresh = build(space, ACTIONS["box"], seed=7)
    fresh.average_weights([str(tmp_path / "1"), str(tmp_path / "0")])
    for path, statistics in agents[0]._normalizers.observation.parts.items():
        ours = fresh._normalizers.observation.parts[path]
        np.testing.assert_array_equal(ours.mean, statistics.mean)
        assert ours.count == statistics.count


def test_masks_without_choices_are_refused():
    space = Dict({"observation": Box(-1, 1, (2,)), "action_mask": MultiBinary(2)})
    for actions in (ACTIONS["box"], ACTIONS["multi_binary"]):
        with pytest.raises(SpaceError, match="no separate choices to mask"):
            build(space, actions)
    agent = build(space, Discrete(2))
    assert agent.act({"observation": np.zeros(2, np.float32), "action_mask": np.array([0, 1], np.int8)}) == 1


def test_threads_are_checked_and_put_back():
    with pytest.raises(ConfigError, match="threads is 0"):
        build(OBSERVATIONS["flat"], Discrete(2), threads=0)
    before = torch.get_num_threads()
    inside = []
    agent = build(OBSERVATIONS["flat"], Discrete(2), threads=3, encoder=Small)
    agent._networks.actor.register_forward_hook(lambda *_: inside.append(torch.get_num_threads()))
    agent._networks.actor.encoder.register_forward_hook(lambda *_: inside.append(torch.get_num_threads()))
    window = window_for(agent, OBSERVATIONS["flat"])
    inside.clear()
    agent.learn(window)
    assert set(inside) == {3}
    assert torch.get_num_threads() == before
