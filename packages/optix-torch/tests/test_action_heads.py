"""PPO with several choices, bits and action masks: both engines, against numpy's distributions and each other."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete

from optix_core import VectorBatchPipeline, make_agent
from optix_core.acting import distribution, heads
from optix_core.rl.masking import split_masks, with_masks
from optix_core.testing.tiny_envs import TinyMasked
from optix_torch import TorchPPOAgent
from optix_torch.policy_gradient import losses

SPACES = {
    "discrete": Discrete(5, start=2),
    "ragged": MultiDiscrete([3, 2]),
    "even": MultiDiscrete([[2, 2], [2, 2]], start=[[1, 0], [0, 5]]),
    "bits": MultiBinary((2, 2)),
}
WIDTH = {"discrete": 5, "ragged": 5, "even": 8, "bits": 4}
NVEC = {"discrete": (), "ragged": (3, 2), "even": (2, 2, 2, 2), "bits": ()}
HEAD = {
    "discrete": "categorical",
    "ragged": "multi_categorical",
    "even": "multi_categorical",
    "bits": "bernoulli",
}
MASKABLE = ("discrete", "ragged", "even")
CASES = [(kind, False) for kind in SPACES] + [(kind, True) for kind in MASKABLE]


def agent_for(make, kind, *, engine="auto", dtype=torch.float32, hyperparams=None, seed=0, lr=1e-2):
    actor = make.sequential(3, 12, WIDTH[kind], dtype=dtype, seed=seed)
    critic = make.sequential(3, 10, 1, dtype=dtype, seed=seed + 1)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=lr, eps=1e-5)
    hp = {"minibatch_size": 32, "n_epochs": 3, **(hyperparams or {})}
    return TorchPPOAgent(
        actor, critic, optimizer, hp, "cpu", action_space=SPACES[kind], engine=engine, seed=seed
    )


def random_masks(rng, shape, kind):
    """Masks that leave something to choose in every component."""
    masks = rng.random((*shape, WIDTH[kind])) < 0.5
    sizes = NVEC[kind] or (WIDTH[kind],)
    starts = heads.component_starts(sizes)
    for start, size in zip(starts, sizes, strict=True):
        lucky = start + rng.integers(size, size=shape)
        np.put_along_axis(masks, lucky[..., None], True, axis=-1)
    return masks


def window_for(make, agent, kind, *, masked, seed=0, t=40, n=3):
    """A window in which ``agent`` acted, obeying masks where there are any."""
    window = make.window(agent, t=t, n=n, seed=seed)
    if not masked:
        return window
    rng = np.random.default_rng(seed + 100)
    observations = with_masks(window.observations, random_masks(rng, (t, n), kind))
    # what followed an end need not allow anything
    after = with_masks(
        window.boundary_observations, np.zeros((len(window.boundary_steps), WIDTH[kind]), bool)
    )
    return dataclasses.replace(
        window,
        observations=observations,
        actions=np.stack([agent.act_batch(row) for row in observations]),
        final_obs=with_masks(window.final_obs, np.zeros((n, WIDTH[kind]), bool)),
        boundary_observations=after,
    )


def spy(agent):
    seen, update = [], agent._networks.update
    agent._networks.update = lambda batch, hp, rng: (seen.append(batch), update(batch, hp, rng))[1]
    return seen


@pytest.mark.parametrize("kind,masked", CASES)
@pytest.mark.parametrize("entropy_coef", [0.0, 0.05])
def test_both_engines_give_equal_parameters(make, kind, masked, entropy_coef):
    results = []
    for engine in ("closed_form", "autograd"):
        agent = agent_for(
            make, kind, engine=engine, dtype=torch.float64, hyperparams={"entropy_coef": entropy_coef}
        )
        assert agent._networks.engine_name == engine
        reports = [agent.learn(window_for(make, agent, kind, masked=masked, seed=seed)) for seed in range(2)]
        results.append((agent._networks.flat.to_numpy(), reports))
    (closed, closed_reports), (auto, auto_reports) = results
    np.testing.assert_allclose(closed, auto, rtol=1e-6, atol=1e-9)
    for ours, theirs in zip(closed_reports, auto_reports, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("kind,masked", CASES)
def test_gradients_are_those_of_finite_differences_of_the_loss_in_numpy(make, kind, masked):
    """The loss is put together from core's distributions, in double precision and with clips that are active."""
    agent = agent_for(make, kind, engine="closed_form", dtype=torch.float64)
    seen = spy(agent)
    agent.learn(window_for(make, agent, kind, masked=masked))
    batch, rng = seen[0], np.random.default_rng(3)
    assert (batch.masks is not None) == masked
    old = batch.log_probs + rng.normal(0, 0.4, len(batch))
    hp = {"clip_ratio": 0.2, "entropy_coef": 0.05}
    engine, flat = agent._networks.engine, agent._networks.flat
    meaning = distribution(HEAD[kind], WIDTH[kind], NVEC[kind])
    point = flat.to_numpy()

    def loss(parameters):
        flat.assign(parameters)
        outputs = engine._actor.mlp.forward(batch.observations)
        if masked:
            outputs = heads.mask_logits(outputs, batch.masks)
        r = np.exp(meaning.log_probs(outputs, batch.actions) - old)
        surrogate = np.minimum(r * batch.advantages, np.clip(r, 0.8, 1.2) * batch.advantages)
        return -surrogate.mean() - 0.05 * meaning.entropies(outputs).mean()

    stated, entropy, _ = engine._surrogate(
        batch.observations, batch.actions, old, batch.advantages, hp, batch.masks
    )
    gradient = flat.grad.numpy().copy()
    assert stated - 0.05 * entropy == pytest.approx(loss(point), rel=1e-9)
    size = engine._actor.mlp.spec.layout.size
    for i in rng.choice(size, 50, replace=False):
        step = np.zeros_like(point)
        step[i] = 1e-6
        slope = (loss(point + step) - loss(point - step)) / 2e-6
        assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("kind,masked", CASES)
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_the_ratio_is_one_before_the_first_step(make, kind, masked, engine):
    agent = agent_for(make, kind, engine=engine)
    agent.learn(window_for(make, agent, kind, masked=masked, seed=1))
    window = window_for(make, agent, kind, masked=masked, seed=2)
    flat = window.observations.reshape(-1, *window.observations.shape[2:])
    actions = window.actions.reshape(-1, *window.actions.shape[2:])
    acted = agent._policy.log_probs(flat, actions)
    assert np.isfinite(acted).all()
    seen = spy(agent)
    agent.learn(window)
    np.testing.assert_allclose(np.exp(seen[0].log_probs - acted), 1.0, atol=1e-5)
    if masked:  # and it would not be without the masks
        free = agent._networks.engine.log_probs(seen[0].observations, seen[0].actions)
        again = agent._networks.engine.log_probs(seen[0].observations, seen[0].actions, seen[0].masks)
        assert np.abs(free - again).max() > 0.1


@pytest.mark.parametrize("kind,masked", CASES)
def test_losses_in_torch_are_the_distributions_of_core(kind, masked):
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 2, (30, WIDTH[kind]))
    masks = random_masks(rng, (30,), kind) if masked else None
    meaning = distribution(HEAD[kind], WIDTH[kind], NVEC[kind])
    expected = outputs if masks is None else heads.mask_logits(outputs, masks)
    actions = meaning.sample(expected, rng)
    torch_outputs = torch.from_numpy(outputs).requires_grad_()
    arguments = [torch_outputs, torch.from_numpy(actions.astype(np.int64))]
    if masks is not None:
        arguments.append(torch.from_numpy(masks))
    if HEAD[kind] == "multi_categorical":
        log_probs, entropies = losses.multi_categorical(*arguments, nvec=NVEC[kind])
    else:
        log_probs, entropies = getattr(losses, HEAD[kind])(*arguments)
    np.testing.assert_allclose(log_probs.detach(), meaning.log_probs(expected, actions), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(entropies.detach(), meaning.entropies(expected), rtol=1e-6, atol=1e-8)
    (log_probs.sum() + entropies.sum()).backward()
    assert torch.isfinite(torch_outputs.grad).all()
    if masks is not None:
        assert (torch_outputs.grad.numpy()[~masks] == 0).all()


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_where_only_one_action_is_allowed_there_is_nothing_to_learn_for_the_policy(make, engine):
    agent = agent_for(make, "discrete", engine=engine, hyperparams={"entropy_coef": 0.1})
    window = make.window(agent)
    t, n = window.rewards.shape
    masks = np.zeros((t, n, 5), bool)
    np.put_along_axis(masks, np.random.default_rng(0).integers(5, size=(t, n, 1)), True, axis=-1)
    observations = with_masks(window.observations, masks)
    window = dataclasses.replace(
        window,
        observations=observations,
        actions=np.stack([agent.act_batch(row) for row in observations]),
        final_obs=with_masks(window.final_obs, np.ones((n, 5), bool)),
        boundary_observations=with_masks(
            window.boundary_observations, np.ones((len(window.boundary_steps), 5), bool)
        ),
    )
    np.testing.assert_array_equal(window.actions, masks.argmax(-1))
    actor, critic = (
        [p.detach().clone() for p in net.parameters()]
        for net in (agent._networks.actor, agent._networks.critic)
    )
    report = agent.learn(window)
    assert report["entropy"] == pytest.approx(0.0, abs=1e-30)
    for before, now in zip(actor, agent._networks.actor.parameters(), strict=True):
        assert torch.equal(before, now)
    assert any(
        not torch.equal(b, p) for b, p in zip(critic, agent._networks.critic.parameters(), strict=True)
    )


def test_actions_have_the_form_of_the_space(make):
    for kind, space in SPACES.items():
        agent = agent_for(make, kind)
        raw = agent.act_batch(np.zeros((6, 3), np.float32))
        actions = agent.env_actions(raw)
        assert all(action in space for action in actions), kind
        assert actions.dtype == space.dtype
        assert raw.shape == ((6,) if kind == "discrete" else (6, len(NVEC[kind]) or WIDTH[kind]))
        one = agent.act(np.zeros(3))
        assert one in space
        assert isinstance(one, int) == (kind == "discrete")
        p = agent.action_probs(np.zeros(3))
        assert p.shape == (WIDTH[kind],)
        if kind != "bits":
            assert p.sum() == pytest.approx(max(1, len(NVEC[kind])))


def test_a_single_observation_may_come_with_its_mask(make):
    agent = agent_for(make, "discrete")
    mask = [0, 1, 0, 0, 1]
    observation = {"observation": np.ones(3, np.float32), "action_mask": mask}
    assert {agent.act(observation) for _ in range(60)} == {2 + 1, 2 + 4}
    p = agent.action_probs(observation)
    assert (p > 0).tolist() == [bool(m) for m in mask]
    with pytest.raises(ValueError, match="allows nothing"):
        agent.act({**observation, "action_mask": [0] * 5})


def test_masks_are_split_off_before_observations_are_normalised(make):
    from optix_core.normalizers import ObsNormalizer

    agent = agent_for(make, "discrete")
    normalizer = ObsNormalizer(3)
    agent._policy.observation_normalizer = agent._normalizers.observation = normalizer
    window = window_for(make, agent, "discrete", masked=True)
    agent.learn(window)
    inner, masks = split_masks(window.observations)
    assert masks is not None
    np.testing.assert_allclose(normalizer.mean, inner.reshape(-1, 3).mean(0), rtol=1e-5, atol=1e-6)
    actions = agent.act_batch(window.observations[0])
    assert masks[0][np.arange(3), actions].all()


@pytest.mark.parametrize(
    "kind,engine",
    [("ragged", "closed_form"), ("even", "closed_form"), ("bits", "closed_form"), ("ragged", "autograd")],
)
def test_every_part_of_an_action_is_learned(make, kind, engine):
    """A bandit whose best choice in each part depends on the observation."""
    agent = agent_for(make, kind, engine=engine, hyperparams={"n_epochs": 5, "gamma": 0.0}, lr=5e-3)
    rng = np.random.default_rng(0)
    sizes = NVEC[kind] or (2,) * 4
    best = np.stack([rng.permutation(max(sizes))[:1] % n for n in sizes], 1)
    best = np.concatenate([best, (best + 1) % np.array(sizes)])  # [2, K]: another one in the other state
    for _ in range(40):
        state = rng.integers(2, size=(64, 2))
        observations = np.eye(3, dtype=np.float32)[state]
        actions = np.stack([agent.act_batch(row) for row in observations])
        template = make.window(agent, t=64, n=2, ends=0.0)
        agent.learn(
            dataclasses.replace(
                template,
                observations=observations,
                actions=actions,
                rewards=(actions == best[state]).mean(-1).astype(np.float64),
            )
        )
    greedy = agent.act_batch(np.eye(3, dtype=np.float32)[:2], deterministic=True)
    np.testing.assert_array_equal(greedy, best)
    assert math.isfinite(agent.action_probs(np.zeros(3)).sum())


@pytest.mark.parametrize("method", [False, True])
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_an_environment_with_masks_from_end_to_end(method, engine):
    """A pipeline packs the masks, no forbidden action is ever taken, and the rest is learned."""

    def make_env():
        return TinyMasked(method=method)

    hp = {"learning_rate": 5e-3, "gamma": 0.5, "n_epochs": 4}
    agent = make_agent(
        "torch:PPO", make_env(), seed=0, device="cpu", hyperparams=hp, hidden_sizes=(16,), engine=engine
    )
    pipeline = VectorBatchPipeline([make_env] * 2, agent, 64, seed=0)
    pipeline.setup()
    episodes, rewards = pipeline.episodes(), []
    for _ in range(15):
        window = next(episodes)
        _, masks = split_masks(window.observations)
        assert masks is not None
        assert np.take_along_axis(masks, window.actions[..., None], axis=-1).all()
        report = agent.learn(window)
        # at most one bit: with all four actions allowed a nearly uniform policy would have two
        assert report["entropy"] <= math.log(masks.sum(-1).max()) + 1e-6
        rewards.append(window.rewards.mean())
    pipeline.teardown()
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.1
