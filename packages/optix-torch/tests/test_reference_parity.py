"""Every gradient step of all seven agents equals the float64 definitions in core, losses and weights afterwards too.

What is compared is what the agents really do: gradients are taken down where their engines hand them to the optimizer.
In double precision the two agree to about 1e-15 where everything is double, and to about 1e-8 where experience went
through the single precision of replay, memories or the projection's targets; the bound is the 1e-6 that is promised.
In single precision the same bound holds for gradients of these small networks, whose sums have a few dozen terms of
order one, each rounded to 6e-8. Adam's steps are only compared in double precision: where a gradient is of the size of
its rounding error, its sign is chance, and Adam divides the size away.
"""

from __future__ import annotations

from typing import Any

import naive_ppo
import naive_replay
import numpy as np
import pytest
import torch

DOUBLE, SINGLE = torch.float64, torch.float32
ENGINES = pytest.mark.parametrize("engine", ["closed_form", "autograd"])

HEADS = [
    ("discrete", False), ("discrete", True), ("ragged", False), ("ragged", True), ("even", True), ("bits", False),
    ("gaussian", False), ("gaussian_net", False),
]  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    """Products of a few dozen numbers take longest where threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@ENGINES
@pytest.mark.parametrize("kind,masked", HEADS)
@pytest.mark.parametrize("value_clip", [0.0, 0.2])
def test_ppo_and_gaussian_ppo(kind, masked, value_clip, engine, monkeypatch):
    agent = naive_ppo.feed_forward(kind, engine=engine, value_clip=value_clip)
    assert agent._networks.engine_name == engine
    assert naive_ppo.check(agent, kind, monkeypatch, masked=masked, windows=2) < 1e-9


@ENGINES
@pytest.mark.parametrize(
    "kind,masked", [("discrete", True), ("ragged", False), ("bits", False), ("gaussian", False)]
)
def test_ppo_in_single_precision(kind, masked, engine, monkeypatch):
    agent = naive_ppo.feed_forward(kind, engine=engine, dtype=SINGLE, value_clip=0.2)
    naive_ppo.check(agent, kind, monkeypatch, masked=masked)


@pytest.mark.parametrize("kind", ["discrete", "gaussian_net"])
def test_ppo_with_a_shared_encoder(kind, monkeypatch):
    agent = naive_ppo.feed_forward(kind, encoded=True)
    assert agent._networks.engine_name == "autograd"
    assert naive_ppo.check(agent, kind, monkeypatch) < 1e-9


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_ppo_agents_with_statistics_of_observations(kind, monkeypatch):
    masked = kind == "discrete"
    naive_ppo.check(naive_ppo.feed_forward(kind, normalized=True), kind, monkeypatch, masked=masked)
    naive_ppo.check(naive_ppo.recurrent(kind, "gru", normalized=True), kind, monkeypatch, masked=masked)


@pytest.mark.parametrize("kind", ["discrete", "gaussian"])
def test_ppo_with_scaled_rewards(kind, monkeypatch):
    assert naive_ppo.check(naive_ppo.feed_forward(kind, scaled=True), kind, monkeypatch) < 1e-9


def test_both_sides_of_the_clips_are_met(monkeypatch):
    """Otherwise the comparison would say little."""
    agent = naive_ppo.feed_forward("discrete")
    window = naive_ppo.window_for(agent, "discrete")
    rng = np.random.default_rng(0)
    window.log_probs = np.full(window.rewards.shape, -1.6) + 0.3 * rng.standard_normal(window.rewards.shape)
    report = naive_ppo.follow(agent, window, monkeypatch).report
    assert 0.2 < report["clip_fraction"] < 0.9
    other = naive_ppo.feed_forward("discrete")
    wanted = naive_ppo.expected(other, "discrete", window, None, np.random.default_rng(0))
    assert len(wanted.gradients) == 8  # 57 samples: three minibatches of 16 and one of 9, twice


@ENGINES
def test_recorded_behaviour_probabilities_that_clip(engine, monkeypatch):
    agent = naive_ppo.feed_forward("discrete", engine=engine)
    right = naive_ppo.window_for

    def recorded(*args, **options):
        window, rng = right(*args, **options), np.random.default_rng(0)
        window.log_probs = np.full(window.rewards.shape, -1.6) + 0.3 * rng.standard_normal(
            window.rewards.shape
        )
        return window

    monkeypatch.setattr(naive_ppo, "window_for", recorded)
    assert naive_ppo.check(agent, "discrete", monkeypatch) < 1e-9


@pytest.mark.parametrize(
    "kind,cell,shared,masked",
    [("discrete", "lstm", False, True), ("gaussian", "gru", True, False), ("bits", "gru", False, False),
     ("ragged", "lstm", True, True)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [DOUBLE, SINGLE], ids=["double", "single"])
def test_recurrent_ppo(kind, cell, shared, masked, dtype, monkeypatch):
    agent = naive_ppo.recurrent(kind, cell, shared=shared, dtype=dtype, value_clip=0.2 if shared else 0.0)
    naive_ppo.check(agent, kind, monkeypatch, masked=masked)


def test_recurrent_ppo_through_whole_episodes(monkeypatch):
    naive_ppo.check(naive_ppo.recurrent("discrete", "lstm", bptt_len=0), "discrete", monkeypatch)


OPTIONS = {
    "DQN": [
        {},
        {"double": False, "tau": 0.3},
        {"masked": True, "n_step": 3, "per_alpha": 0.6, "per_beta_steps": 60, "dueling": True},
    ],
    # with a gamma of 1 or 1/2 and rewards of whole steps of the support, shifted atoms fall on atoms
    "Rainbow": [{"gamma": 1.0, "n_step": 1}, {"gamma": 0.5, "masked": True}, {"tau": 0.3, "per_alpha": 0.0}],
    "SAC": [{}, {"n_step": 3, "per_alpha": 0.6, "max_grad_norm": 0.5}, {"alpha": 0.2}],
    "TD3": [
        {},
        {"n_step": 3, "per_alpha": 0.6, "max_grad_norm": 0.5, "policy_delay": 3, "target_noise": 0.6},
    ],
}
CASES = [
    pytest.param(kind, options, id=f"{kind}-{'-'.join(options) or 'plain'}")
    for kind, many in OPTIONS.items()
    for options in many
]


@ENGINES
@pytest.mark.parametrize("kind,options", CASES)
def test_agents_with_replay(kind, options, engine):
    naive_replay.check(kind, engine=engine, steps=25, **options)


@ENGINES
@pytest.mark.parametrize("kind", ["DQN", "Rainbow", "SAC", "TD3"])
def test_agents_with_replay_in_single_precision(kind, engine):
    naive_replay.check(kind, engine=engine, steps=25, dtype=SINGLE, n_step=2)


@pytest.mark.parametrize("kind", ["DQN", "Rainbow", "SAC", "TD3"])
def test_agents_with_replay_and_encoders(kind):
    """Networks without a closed form; the critics of SAC and TD3 share an encoder."""
    naive_replay.check(kind, steps=20, encoded=True, n_step=2)


@pytest.mark.parametrize("kind", ["DQN", "Rainbow", "SAC", "TD3"])
def test_agents_with_replay_and_statistics(kind):
    naive_replay.check(kind, steps=16, normalized=True, masked=kind == "Rainbow")


def test_shifted_atoms_do_fall_on_atoms():
    """Otherwise the comparison would say little: most target mass lies where the naive projection loses it."""
    agent = naive_replay.agent_for("Rainbow", gamma=1.0, n_step=1)
    f = naive_replay.Follower(agent, "Rainbow", naive_replay.Stream("Rainbow", 25))
    support, rows = np.linspace(-2.0, 2.0, naive_replay.Z), naive_replay.rows_of(f, f.steps[-1])
    shifted = np.clip(rows["rewards"][:, None] + rows["discounts"][:, None] * support, -2.0, 2.0)
    assert np.isin(shifted, support).all()
    assert (shifted == 2.0).any()
    assert (shifted == -2.0).any()


@pytest.mark.parametrize("kind", ["DQN", "Rainbow", "SAC", "TD3"])
def test_a_wrong_number_in_the_stream_is_noticed(kind):
    """The comparison can fail: one reward that the agent was told and the definition was not."""
    stream: Any = naive_replay.Stream(kind, 25)
    right = stream.rows

    def rows(*args):
        found = right(*args)
        found["rewards"] = found["rewards"] + 1e-3
        return found

    stream.rows = rows
    agent = naive_replay.agent_for(kind)
    f = naive_replay.Follower(agent, kind, stream)
    step = f.steps[-1]
    name = "q" if "q" in step["made"] else "critics"
    wanted = naive_replay.EXPECTED[kind](f, step)[name]["gradient"]
    assert np.abs(step["made"][name]["gradient"] - wanted).max() > 1e-5
