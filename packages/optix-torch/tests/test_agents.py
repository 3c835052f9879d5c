"""What the agents promise the loop: acting, learning targets, storage, determinism, errors."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, Text
from torch import nn

from optix_core.base_agent import ActionProbabilities, BatchActing
from optix_core.errors import (
    ConfigError,
    CorruptCheckpoint,
    HyperparamError,
    IncompatibleCheckpoint,
    NonFiniteState,
    NumericalDivergence,
    SpaceError,
)
from optix_core.plugin import AgentContext
from optix_core.state import Stateful, arrays_in
from optix_core.types import EpisodeData, HyperparamSet
from optix_torch import TorchGaussianPPOAgent, TorchPPOAgent, gaussian_ppo, ppo

KINDS = ("discrete", "box")


def parameters(agent):
    return agent._networks.flat.to_numpy()


def capture(agent):
    seen, update = [], agent._networks.update
    agent._networks.update = lambda batch, hp, rng: (seen.append(batch), update(batch, hp, rng))[1]
    return seen


# --- acting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_agents_offer_the_capabilities_that_the_loop_looks_for(make, kind):
    agent = make.built(kind)
    assert isinstance(agent, BatchActing)
    assert isinstance(agent, Stateful)
    assert isinstance(agent, ActionProbabilities) == (kind == "discrete")
    assert agent.is_on_policy


def test_the_first_policy_is_nearly_uniform(make):
    p = make.built().action_probs(np.ones(3, np.float32))
    assert p.sum() == pytest.approx(1.0)
    assert -(p * np.log(p)).sum() == pytest.approx(np.log(4), abs=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_numpy_policy_is_the_torch_network_and_stays_so_while_it_learns(make, kind):
    agent = make.built(kind)
    x = np.random.default_rng(0).standard_normal((9, 3)).astype(np.float32)
    for _ in range(2):
        with torch.no_grad():
            expected = agent._networks.actor(torch.from_numpy(x)).numpy()
        outputs = agent._policy.outputs(x)
        np.testing.assert_allclose(outputs, expected[:, : outputs.shape[1]], rtol=1e-5, atol=1e-6)
        agent.learn(make.window(agent))


def test_actions_of_a_box_agent_reach_both_bounds_and_never_leave_them(make):
    agent = make.built("box")
    actions = np.stack([agent.act(np.zeros(3, np.float32)) for _ in range(500)])
    assert actions.min(0).tolist() == [-2.0, 0.0]
    assert actions.max(0).tolist() == [2.0, 5.0]
    assert actions.dtype == np.float32
    middle = agent.act(np.zeros(3, np.float32), deterministic=True)
    np.testing.assert_allclose(middle, [0.0, 2.5], atol=0.05)  # the first mean is close to the middle
    np.testing.assert_array_equal(
        agent.env_actions(np.array([[-1.0, 1.0], [-9.0, 0.0]])), [[-2.0, 5.0], [-2.0, 2.5]]
    )


def test_box_actions_of_any_shape(make):
    space = Box(-1, 3, (2, 2))
    agent = gaussian_ppo.build(AgentContext(observation_space=Box(-1, 1, (3, 2)), action_space=space, seed=0))
    observations = np.zeros((5, 3, 2), np.float32)
    raw = agent.act_batch(observations)
    assert raw.shape == (5, 4)
    assert all(action in space for action in agent.env_actions(raw))
    assert agent.act(observations[0]) in space


def test_discrete_actions_start_where_the_space_starts():
    space = Discrete(3, start=5)
    agent = ppo.build(AgentContext(observation_space=Box(-1, 1, (2,)), action_space=space, seed=0))
    raw = agent.act_batch(np.zeros((50, 2), np.float32))
    assert set(raw.tolist()) == {0, 1, 2}
    assert all(int(action) in space for action in agent.env_actions(raw))
    assert {agent.act(np.zeros(2)) for _ in range(50)} == {5, 6, 7}


@pytest.mark.parametrize("kind", KINDS)
def test_asking_for_an_action_changes_nothing_in_training(make, kind):
    """Bit by bit, also for stochastic actions: ``act`` has a stream of its own, and nothing is cached."""
    quiet, asked = make.built(kind), make.built(kind)
    for i in range(2):
        ours, theirs = make.window(quiet, seed=i), make.window(asked, seed=i)
        for _ in range(7):
            asked.act(np.ones(3, np.float32))
            asked.act_batch(np.ones((4, 3), np.float32), deterministic=True)
        quiet.learn(ours)
        asked.learn(theirs)
        asked.act(np.zeros(3, np.float32))
    np.testing.assert_array_equal(parameters(quiet), parameters(asked))


@pytest.mark.parametrize("kind", KINDS)
def test_a_non_finite_observation_yields_no_action(make, kind):
    with pytest.raises(NumericalDivergence, match="no action was taken"):
        make.built(kind).act(np.array([0.0, np.nan, 0.0]))


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_the_ratio_is_one_before_the_first_step(make, kind, engine):
    """Also for actions far out in the tails, which the environment only ever saw clipped."""
    agent = make.built(kind, engine=engine)
    agent.learn(make.window(agent, seed=1))
    window = make.window(agent, t=200)
    if kind == "box":
        window.actions[:50] *= 2.5
    seen = capture(agent)
    acted = agent._policy.log_probs(
        window.observations.reshape(-1, 3), window.actions.reshape(-1, *window.actions.shape[2:])
    )
    agent.learn(window)
    np.testing.assert_allclose(np.exp(seen[0].log_probs - acted), 1.0, atol=1e-5)
    if kind == "box":
        assert (np.abs(window.actions) > 1).mean() > 0.3  # saturated: beyond the bounds of the Box


def constant_critic(agent, value):
    """Make the critic say ``value`` everywhere but where the first feature is 9, where it says 100 more."""
    critic = agent._networks.critic
    with torch.no_grad():
        for p in critic.parameters():
            p.zero_()
        critic[-1].bias.fill_(value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_limit_is_bootstrapped_and_a_terminal_state_is_not(make, kind):
    """Reward 1 for ever is worth 1 / (1 - gamma) = 10. With a critic that knows it, a time limit changes nothing,
    and a terminal state leaves the last reward only."""
    agent = make.built(kind, hyperparams={"gamma": 0.9, "gae_lambda": 1.0})
    constant_critic(agent, 10.0)
    t = 6
    observations = np.zeros((t, 3), np.float32)
    window = EpisodeData(
        observations,
        agent.act_batch(observations),
        np.ones(t),
        terminated=np.array([0, 0, 1, 0, 0, 0], bool),
        truncated=np.array([0, 0, 0, 0, 1, 0], bool),
        final_obs=np.zeros(3, np.float32),
        boundary_steps=np.array([[2, 0], [4, 0]]),
        boundary_observations=np.zeros((2, 3), np.float32),
    )
    seen = capture(agent)
    agent.learn(window)
    np.testing.assert_allclose(seen[0].targets, [1 + 0.9 + 0.81, 1.9, 1.0, 10.0, 10.0, 10.0], rtol=1e-5)


def test_the_value_of_what_truly_followed_is_used_not_of_the_reset(make):
    agent = make.built(hyperparams={"gamma": 1.0, "gae_lambda": 0.0})
    with torch.no_grad():  # V(o) = tanh-free copy of the first feature, times 2
        for p in agent._networks.critic.parameters():
            p.zero_()
    critic = lambda x: np.asarray(x)[:, 0] * 2.0  # noqa: E731
    agent._networks.engine.values = lambda x: critic(x).astype(np.float32)
    t, n = 3, 2
    observations = np.zeros((t, n, 3), np.float32)
    observations[..., 0] = [[1, 10], [2, 20], [3, 30]]
    window = EpisodeData(
        observations,
        agent.act_batch(observations.reshape(-1, 3)).reshape(t, n),
        np.zeros((t, n)),
        np.zeros((t, n), bool),
        np.array([[0, 0], [0, 1], [0, 0]], bool),
        final_obs=np.array([[4, 0, 0], [40, 0, 0]], np.float32),
        n_envs=n,
        boundary_steps=np.array([[1, 1]]),
        boundary_observations=np.array([[77, 0, 0]], np.float32),
    )
    seen = capture(agent)
    agent.learn(window)
    np.testing.assert_allclose(seen[0].targets.reshape(t, n), [[4, 40], [6, 154], [8, 80]])


def test_two_environments_are_learned_from_as_two_single_ones(make):
    agent = make.built()
    together = make.window(agent, t=30, n=2)
    seen = capture(agent)
    state = agent.state_dict()
    agent.learn(together)
    for n in (0, 1):
        agent.load_state_dict(state)
        own = together.boundary_steps[:, 1] == n
        agent.learn(
            EpisodeData(
                together.observations[:, n],
                together.actions[:, n],
                together.rewards[:, n],
                together.terminated[:, n],
                together.truncated[:, n],
                final_obs=together.final_obs[n],
                boundary_steps=together.boundary_steps[own] * [1, 0],
                boundary_observations=together.boundary_observations[own],
            )
        )
        np.testing.assert_allclose(
            seen[-1].targets, seen[0].targets.reshape(30, 2)[:, n], rtol=1e-5, atol=1e-6
        )


def test_advantages_are_standardised_over_the_window(make):
    agent = make.built()
    seen = capture(agent)
    agent.learn(make.window(agent))
    assert seen[0].advantages.mean() == pytest.approx(0.0, abs=1e-9)
    assert seen[0].advantages.std() == pytest.approx(1.0)


def test_windows_without_their_successors_are_refused(make):
    agent = make.built()
    window = make.window(agent)
    window.final_obs = None
    with pytest.raises(ValueError, match="no final_obs"):
        agent.learn(window)
    window = make.window(agent)
    window.boundary_steps = window.boundary_observations = None
    with pytest.raises(ValueError, match="was truncated, but boundary_observations"):
        agent.learn(window)


@pytest.mark.parametrize("kind", KINDS)
def test_small_and_empty_windows(make, kind):
    agent = make.built(kind)
    window = make.window(agent, t=1, n=1)
    report = agent.learn(window)
    assert all(np.isfinite(v) for v in report.values())
    before = parameters(agent)
    empty = EpisodeData(np.zeros((0, 3)), np.zeros((0,)), [], [], [])
    assert agent.learn(empty) == {"n_updates": 0, "skipped": "the window is empty"}
    np.testing.assert_array_equal(parameters(agent), before)


def test_recorded_behaviour_log_probs_are_used(make):
    agent = make.built()
    window = make.window(agent)
    window.log_probs = np.full(window.rewards.shape, -1.25)
    seen = capture(agent)
    agent.learn(window)
    np.testing.assert_array_equal(seen[0].log_probs, -1.25)


@pytest.mark.parametrize("kind", KINDS)
def test_diagnostics_are_finite_and_named(make, kind):
    agent = make.built(kind)
    report = agent.learn(make.window(agent))
    assert set(report) == {
        *("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"),
        *("explained_var", "grad_norm", "n_updates", "n_skipped"),
    }
    assert all(np.isfinite(v) for v in report.values())
    assert report["n_updates"] == 20  # 120 samples: 64 + 56, ten epochs


def test_constant_targets_are_no_failed_update(make):
    agent = make.built(hyperparams={"gamma": 0.0})
    window = make.window(agent)
    window.rewards[:] = 1.0
    assert agent.learn(window)["explained_var"] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_neither_global_random_state_nor_thread_settings_are_touched(make, kind):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()  # noqa: NPY002
    agent = make.built(kind, engine="autograd")
    agent.learn(make.window(agent))
    agent.act(np.zeros(3))
    agent.perturb_weights(0.1)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.get_num_threads() == before[2]
    assert threading.active_count() >= 1


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import conftest
from test_agents import digest
print(*[digest(conftest.built(kind, seed=7, engine=engine), conftest) for kind, engine in conftest.CASES])
"""


def digest(agent, make):
    for i in range(2):
        agent.learn(make.random_window(agent, seed=i))
    return hashlib.sha256(parameters(agent).tobytes()).hexdigest()


def test_two_processes_with_one_seed_end_in_the_same_bits(make):
    here = str(Path(__file__).parent)
    child = subprocess.run([sys.executable, "-c", CHILD, here], capture_output=True, text=True, check=True)
    ours = [digest(make.built(kind, seed=7, engine=engine), make) for kind, engine in make.CASES]
    assert child.stdout.split() == ours
    assert digest(make.built("discrete", seed=8), make) not in ours


# --- hyperparameters --------------------------------------------------------------------------------------------------


def test_partial_hyperparameters_are_merged_over_the_defaults_and_copied(make):
    given = HyperparamSet({"gamma": 0.9})
    agent = make.built(hyperparams=given.params)
    given.params["gamma"] = 0.1
    hp = agent.get_hyperparams().params
    assert hp["gamma"] == 0.9
    assert hp["clip_ratio"] == 0.2
    hp["gamma"] = 0.5
    assert agent.get_hyperparams().params["gamma"] == 0.9


def test_the_optimizers_own_learning_rate_counts_unless_another_is_given(make):
    actor, critic = make.sequential(3, 4, 2), make.sequential(3, 4, 1)
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=0.007)
    assert (
        TorchPPOAgent(actor, critic, optimizer, device="cpu").get_hyperparams().params["learning_rate"]
        == 0.007
    )
    agent = TorchPPOAgent(actor, critic, optimizer, HyperparamSet({"learning_rate": 0.002}), "cpu")
    assert optimizer.param_groups[0]["lr"] == 0.002
    optimizer.param_groups[0]["lr"] = 0.001
    assert agent.get_hyperparams().params["learning_rate"] == 0.001


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_new_hyperparameters_reach_the_optimizer_and_keep_its_moments(make, engine):
    agent = make.built(engine=engine)
    agent.learn(make.window(agent))
    before = agent.state_dict()["actor_critic"]["optimizer"]["state"]["0"]
    agent.set_hyperparams(HyperparamSet({"learning_rate": 1e-9, "n_epochs": 1}))
    after = agent.state_dict()["actor_critic"]["optimizer"]["state"]["0"]
    assert before["step"] == after["step"] > 0
    np.testing.assert_array_equal(before["exp_avg"], after["exp_avg"])
    weights = parameters(agent)
    assert agent.learn(make.window(agent))["n_updates"] == 2
    assert 0 < np.abs(parameters(agent) - weights).max() < 1e-7


@pytest.mark.parametrize(
    "change,message",
    [
        ({"learnig_rate": 1e-3}, "learning_rate"),
        ({"gamma": 1.5}, "gamma is 1.5"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"n_epochs": 2.5}, "n_epochs is 2.5"),
        ({"minibatch_size": 0}, "minibatch_size is 0"),
        ({"clip_ratio": "wide"}, "clip_ratio is 'wide'"),
        ({"entropy_coef": float("nan")}, "entropy_coef is nan"),
    ],
)
def test_bad_hyperparameters_are_named_and_change_nothing(make, change, message):
    agent = make.built()
    before = agent.get_hyperparams().params
    with pytest.raises(HyperparamError, match=message):
        agent.set_hyperparams(HyperparamSet({"vf_coef": 0.9, **change}))
    assert agent.get_hyperparams().params == before
    with pytest.raises(HyperparamError, match=message):
        make.built(hyperparams=change)


# --- storage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
@pytest.mark.parametrize("loader", ["closed_form", "autograd"])
def test_a_loaded_state_continues_bit_by_bit(make, kind, engine, loader):
    agent = make.built(kind, engine=engine)
    agent.set_hyperparams(HyperparamSet({"learning_rate": 0.004}))
    for i in range(2):
        agent.learn(make.window(agent, seed=i))
    state = agent.state_dict()
    kept = {name: array.copy() for name, array in arrays_in(state).items()}
    plain = json.dumps(state, default=lambda array: array.tolist())
    assert plain  # nothing but plain data and arrays
    other = make.built(kind, engine=loader, seed=99)
    other.load_state_dict(state)
    if loader == engine:
        ours, theirs = make.window(agent, seed=5), make.window(other, seed=5)
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        assert agent.learn(ours) == other.learn(theirs)
    np.testing.assert_array_equal(parameters(agent), parameters(other)) if loader == engine else None
    assert other.get_hyperparams().params == agent.get_hyperparams().params
    np.testing.assert_array_equal(agent.act(np.ones(3)), other.act(np.ones(3))) if loader == engine else None
    for name, array in arrays_in(state).items():  # a copy: learning did not reach it
        np.testing.assert_array_equal(array, kept[name], err_msg=name)


@pytest.mark.parametrize("part", ["actor_critic", "streams", "hyperparams"])
def test_leaving_a_part_out_of_the_state_changes_what_comes_next(make, part):
    """The negative control of the test above: every part matters."""
    agent = make.built()
    agent.set_hyperparams(HyperparamSet({"learning_rate": 0.004}))
    agent.learn(make.window(agent))
    other = make.built(seed=99)
    other.learn(make.window(other))
    other.load_state_dict(agent.state_dict() | {part: other.state_dict()[part]})
    window = make.window(agent, seed=3)
    agent.learn(window)
    other.learn(window)
    assert not np.array_equal(parameters(agent), parameters(other))


@pytest.mark.parametrize("kind", KINDS)
def test_saved_weights_act_the_same_and_leave_the_optimizer_alone(make, kind, tmp_path):
    agent, other = make.built(kind), make.built(kind, seed=1)
    agent.learn(make.window(agent))
    path = str(tmp_path / "weights")
    agent.save_weights(path)
    other.load_weights(path)
    x = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        agent.act_batch(x, deterministic=True), other.act_batch(x, deterministic=True)
    )
    assert other.state_dict()["actor_critic"]["optimizer"]["state"] == {}


def test_averaging_and_perturbing(make, tmp_path):
    agents = [make.built(seed=i) for i in (0, 1)]
    paths = [str(tmp_path / f"{i}") for i in (0, 1)]
    for agent, path in zip(agents, paths, strict=True):
        agent.save_weights(path)
    first, second = (parameters(agent) for agent in agents)
    agents[0].average_weights(paths)
    np.testing.assert_allclose(parameters(agents[0]), (first + second) / 2, rtol=1e-6, atol=1e-8)
    agents[1].perturb_weights(0.1)
    factor = (parameters(agents[1]) / np.where(second == 0, 1, second))[second != 0] - 1
    assert np.std(factor) == pytest.approx(0.1, rel=0.05)
    assert (parameters(agents[1])[second == 0] == 0).all()
    with pytest.raises(ValueError, match="at least one path"):
        agents[0].average_weights([])


def test_states_and_files_of_another_architecture_are_refused_with_the_differences(make, tmp_path):
    small, large = make.built(hidden_sizes=(8,)), make.built(hidden_sizes=(16, 16))
    path = str(tmp_path / "weights")
    small.save_weights(path)
    before = parameters(large)
    for attempt in (lambda: large.load_weights(path), lambda: large.load_state_dict(small.state_dict())):
        with pytest.raises(
            IncompatibleCheckpoint, match=r"actor/0.weight has shape \[8, 3\], expected \[16, 3\]"
        ):
            attempt()
        np.testing.assert_array_equal(parameters(large), before)


@pytest.mark.parametrize(
    "damage",
    [
        {"streams": {}},
        {"hyperparams": {"gamma": 5.0}},
        {"optimizer": {"state": {}, "param_groups": []}},
        {"optimizer": {"state": {"0": {"exp_avg": np.zeros(3)}}}},
        {"observation_normalizer": {"mean": np.zeros(3)}},
        {"format": 2},
        {"agent": "TorchGaussianPPOAgent"},
    ],
)
def test_a_damaged_state_leaves_the_agent_as_it_was(make, damage):
    agent, other = make.built(), make.built(seed=1)
    agent.learn(make.window(agent))
    other.learn(make.window(other))
    before = agent.state_dict()
    state = other.state_dict()
    if "optimizer" in damage:
        damage = {"actor_critic": state["actor_critic"] | damage}
    with pytest.raises((IncompatibleCheckpoint, HyperparamError)):
        agent.load_state_dict(state | damage)
    after = agent.state_dict()
    assert after["streams"] == before["streams"]
    assert after["hyperparams"] == before["hyperparams"]
    for name, array in arrays_in(before).items():
        np.testing.assert_array_equal(arrays_in(after)[name], array, err_msg=name)


def test_files_of_other_agents_damaged_files_and_pickles_are_refused(make, tmp_path):
    agent = make.built()
    path = tmp_path / "weights"
    make.built("box").save_weights(str(path))
    with pytest.raises(IncompatibleCheckpoint, match="holds the weights of TorchGaussianPPOAgent"):
        agent.load_weights(str(path))
    agent.save_weights(str(path))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(CorruptCheckpoint, match="not a readable safetensors file"):
        agent.load_weights(str(path))
    torch.save({"actor": torch.zeros(3)}, path)  # pickled
    with pytest.raises(CorruptCheckpoint):
        agent.load_weights(str(path))
    with pytest.raises(FileNotFoundError):
        agent.load_weights(str(tmp_path / "nothing"))


def test_weights_that_are_not_finite_are_never_written(make, tmp_path):
    agent = make.built()
    with torch.no_grad():
        agent._networks.critic[0].weight[0, 0] = torch.nan
    with pytest.raises(NonFiniteState, match=r"critic/0.weight"):
        agent.save_weights(str(tmp_path / "weights"))
    assert not (tmp_path / "weights").exists()


# --- users' modules ---------------------------------------------------------------------------------------------------


class Trunk(nn.Module):
    """Actor and critic of images with a shared body."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(16), nn.Dropout(0.5)
        )


class ImageHead(nn.Module):
    def __init__(self, trunk, outputs):
        super().__init__()
        self.trunk, self.head = trunk, nn.Linear(16, outputs)

    def forward(self, x):
        return self.head(self.trunk.body(x))


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "adamw"])
def test_any_modules_with_any_optimizer(make, optimizer, tmp_path):
    torch.manual_seed(0)
    trunk = Trunk()
    actor, critic = ImageHead(trunk, 3), ImageHead(trunk, 1)
    unique = [*{id(p): p for p in [*actor.parameters(), *critic.parameters()]}.values()]
    steps = {
        "adam": lambda: torch.optim.Adam(unique, 1e-3),
        "sgd": lambda: torch.optim.SGD(unique, 1e-2, momentum=0.9),
        "adamw": lambda: torch.optim.AdamW(unique, 1e-3),
    }[optimizer]()
    agent = TorchPPOAgent(actor, critic, steps, {"n_epochs": 2}, "cpu", seed=0)
    rng = np.random.default_rng(0)
    observations = rng.integers(0, 2, (20, 2, 1, 4, 4)).astype(np.uint8)
    window = EpisodeData(
        observations,
        np.stack([agent.act_batch(o) for o in observations]),
        rng.standard_normal((20, 2)),
        np.zeros((20, 2), bool),
        np.zeros((20, 2), bool),
        final_obs=observations[0],
        n_envs=2,
    )
    before = parameters(agent)
    report = agent.learn(window)
    assert report["n_updates"] == 2
    assert np.isfinite(parameters(agent)).all()
    assert not np.array_equal(parameters(agent), before)
    assert agent.action_probs(observations[0, 0]).shape == (3,)
    state = agent.state_dict()
    again = agent.learn(window)
    agent.load_state_dict(state)
    assert agent.learn(window) == again  # momentum and batch statistics came back too
    agent.save_weights(str(tmp_path / "w"))
    agent.load_weights(str(tmp_path / "w"))


@pytest.mark.parametrize("engine", ["closed_form", "autograd"])
def test_integer_read_only_observations_and_actions(make, engine):
    agent = make.built(engine=engine)
    observations = np.random.default_rng(0).integers(0, 255, (30, 3), dtype=np.uint8)
    window = EpisodeData(
        observations,
        agent.act_batch(observations),
        np.ones(30),
        np.zeros(30, bool),
        np.zeros(30, bool),
        final_obs=observations[0],
    )
    for array in (window.observations, window.actions, window.rewards, window.final_obs):
        array.flags.writeable = False
    assert np.isfinite(agent.learn(window)["policy_loss"])


def test_a_custom_gaussian_actor_with_frozen_layers(make):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.fixed, self.head = make.sequential(3, 6), make.sequential(6, 4, seed=2)
            self.fixed.requires_grad_(requires_grad=False)

        def forward(self, x):
            return self.head(torch.sin(self.fixed(x)))

    actor, critic = Odd(), make.sequential(3, 5, 1)
    optimizer = torch.optim.Adam([*actor.head.parameters(), *critic.parameters()], 1e-2)
    agent = TorchGaussianPPOAgent(actor, critic, optimizer, 2, {"n_epochs": 2}, "cpu", seed=0)
    fixed = actor.fixed[0].weight.clone()
    report = agent.learn(make.window(agent))
    assert np.isfinite(report["policy_loss"])
    assert torch.equal(actor.fixed[0].weight, fixed)
    assert agent.act(np.zeros(3)).shape == (2,)
    assert np.abs(agent.act(np.zeros(3))).max() <= 1.0


def test_what_does_not_fit_together_is_said_at_construction(make):
    actor, critic = make.sequential(3, 4, 2), make.sequential(3, 4, 1)
    with pytest.raises(ConfigError, match="lacks 4 of the 8 trainable parameters"):
        TorchPPOAgent(actor, critic, torch.optim.Adam(actor.parameters(), 1e-3), device="cpu")
    both = torch.optim.Adam([*actor.parameters(), *critic.parameters()], 1e-3)
    with pytest.raises(ConfigError, match="expected 3"):
        TorchGaussianPPOAgent(actor, critic, both, 3, device="cpu")
    with pytest.raises(SpaceError, match="action_dim is 1"):
        TorchGaussianPPOAgent(actor, critic, both, 1, device="cpu", action_space=Box(-1, 1, (2,)))
    for name in ("tpu", "cuda:99", "mps"):
        with pytest.raises(ConfigError, match=name):
            TorchPPOAgent(actor, critic, both, device=name)


@pytest.mark.parametrize(
    "options", [{"hidden_sizes": (0,)}, {"hidden_sizes": "wide"}, {"activation": "swish"}]
)
def test_options_of_build_are_checked(make, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        make.built(**options)


def test_spaces_are_checked():
    box, discrete = Box(-1, 1, (2,)), Discrete(3)
    for build, spaces in (
        (ppo.build, (box, box)),
        (gaussian_ppo.build, (box, discrete)),
        (gaussian_ppo.build, (box, MultiBinary(2))),
        (ppo.build, (Text(3), discrete)),
    ):
        with pytest.raises(SpaceError):
            build(AgentContext(observation_space=spaces[0], action_space=spaces[1], seed=0))


def test_an_empty_hidden_sizes_is_a_linear_policy(make):
    agent = make.built(hidden_sizes=())
    assert agent._networks.engine_name == "closed_form"
    assert np.isfinite(agent.learn(make.window(agent))["policy_loss"])
