"""PPO's update as the papers have it, in float64, beside the one that an agent makes.

``follow`` lets an agent learn from one window and writes down every gradient it computes and the weights it computes
it for. ``expected`` says what those gradients should have been: advantages from their definition, outputs from the
agent's modules in double precision, losses and their derivatives from ``optix_core.rl.reference``, backwards through
the modules by autograd. Nothing of the agents' own arithmetic is used.
"""

from __future__ import annotations

import copy
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import nn

from optix_core.agents.ppo_update import StepGuard
from optix_core.normalizers import ObsNormalizer, RewardNormalizer
from optix_core.rl.masking import split_masks, with_masks
from optix_core.rl.reference import policies
from optix_core.rl.reference.ppo import ppo_policy_loss, ppo_value_loss
from optix_core.types import EpisodeData
from optix_torch import GaussianActor, TorchGaussianPPOAgent, TorchPPOAgent, TorchRecurrentPPOAgent
from optix_torch.networks.encoder_modules import Encoded
from optix_torch.policy_gradient.sequences import Sequences

OBS = 3
SPACES = {
    "discrete": spaces.Discrete(5),
    "ragged": spaces.MultiDiscrete([3, 2]),
    "even": spaces.MultiDiscrete([2, 2, 2]),
    "bits": spaces.MultiBinary(4),
    "gaussian": spaces.Box(-1.0, 1.0, (2,)),
    "gaussian_net": spaces.Box(-1.0, 1.0, (2,)),
}
NVEC = {"ragged": (3, 2), "even": (2, 2, 2)}
WIDTH = {"discrete": 5, "ragged": 5, "even": 6, "bits": 4, "gaussian": 2, "gaussian_net": 4}


EARLIER = np.random.default_rng(9).normal([1.0, 0.0, -0.5], [2.0, 0.3, 1.0], (500, OBS)).astype(np.float32)
"""Observations that agents with running statistics have seen before."""


def statistics() -> ObsNormalizer:
    """Of :data:`EARLIER`."""
    found = ObsNormalizer(OBS)
    found.update(EARLIER)
    return found


def standardized(agent: Any, x: np.ndarray) -> np.ndarray:
    """Observations as an agent's networks should see them, in float64."""
    x = x.astype(np.float64)
    if agent._normalizers.observation is None:
        return x
    earlier = EARLIER.astype(np.float64)
    return np.clip((x - earlier.mean(axis=0)) / earlier.std(axis=0), -10.0, 10.0)


class Double:
    """The modules of a ``Trainable`` in float64, and their parameters as one vector."""

    def __init__(self, modules: Any, parameters: Any) -> None:
        memo: dict[int, Any] = {}
        self.modules = copy.deepcopy(modules, memo)
        self.parameters = [memo[id(p)] for p in parameters]
        for p in self.parameters:
            p.data, p.grad = p.data.clone().double(), None
        for module in self.modules.values() if isinstance(self.modules, dict) else [self.modules]:
            module.double()
            for p in module.parameters():
                p.requires_grad_(True)

    def load(self, vector: np.ndarray) -> None:
        start = 0
        with torch.no_grad():
            for p in self.parameters:
                p.copy_(torch.from_numpy(vector[start : start + p.numel()].astype(np.float64)).view(p.shape))
                start += p.numel()

    def gradient(self) -> np.ndarray:
        """The gradient since the last call."""
        found = [np.zeros(p.numel()) if p.grad is None else p.grad.numpy().ravel() for p in self.parameters]
        for p in self.parameters:
            p.grad = None
        return np.concatenate(found)


class Adam:
    """Kingma and Ba 2015, algorithm 1, behind a clip of the gradient's norm."""

    def __init__(self, lr: float, eps: float, max_norm: float) -> None:
        self.lr, self.eps, self.max_norm = lr, eps, max_norm
        self.m: Any = 0.0
        self.v: Any = 0.0
        self.t = 0

    def __call__(self, parameters: np.ndarray, gradient: np.ndarray) -> np.ndarray:
        norm = math.sqrt(float((gradient**2).sum()))
        if norm > self.max_norm:
            gradient = gradient * (self.max_norm / (norm + 1e-6))
        self.t += 1
        self.m = 0.9 * self.m + 0.1 * gradient
        self.v = 0.999 * self.v + 0.001 * gradient**2
        m, v = self.m / (1 - 0.9**self.t), self.v / (1 - 0.999**self.t)
        return parameters.astype(np.float64) - self.lr * m / (np.sqrt(v) + self.eps)


@dataclass
class Trace:
    """What happened, step by step: weights before, the gradient there, three losses, and log-ratios of samples."""

    weights: list[np.ndarray] = field(default_factory=list)
    gradients: list[np.ndarray] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)
    log_ratios: list[np.ndarray] = field(default_factory=list)
    final: Any = None
    report: Any = None


# --- agents and windows --------------------------------------------------------------------------------------------


def sequential(rng: np.random.Generator, *sizes: int, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Tanh between linear layers, from ``rng``."""
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        linear = nn.Linear(a, b, device="meta").to_empty(device="cpu")
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(rng.standard_normal((b, a)) / math.sqrt(a)))
            linear.bias.copy_(torch.from_numpy(0.1 * rng.standard_normal(b)))
        layers += [linear, nn.Tanh()]
    return nn.Sequential(*layers[:-1]).to(dtype)


HP = {
    "n_epochs": 2, "minibatch_size": 16, "entropy_coef": 0.03, "vf_coef": 0.7, "gamma": 0.9, "gae_lambda": 0.8,
    "clip_ratio": 0.1, "max_grad_norm": 0.6,
}  # fmt: skip
LR, EPS = 1e-2, 1e-5


def feed_forward(
    kind: str,
    *,
    engine: str = "auto",
    dtype: torch.dtype = torch.float64,
    scaled: bool = False,
    encoded: bool = False,
    normalized: bool = False,
    **hp: Any,
) -> Any:
    """A PPO agent from a user's own networks; if ``scaled`` or ``normalized``, only its first window can be compared.

    ``encoded``: actor and critic share a layer that is none of those that have a closed form.
    """
    rng = np.random.default_rng(1)
    actor: nn.Module = sequential(rng, OBS, 8, WIDTH[kind], dtype=dtype)
    if kind == "gaussian":
        actor = GaussianActor(actor, 2, -0.3).to(dtype)
    critic: nn.Module = sequential(rng, OBS, 7, 1, dtype=dtype)
    if encoded:
        encoder = nn.Sequential(*sequential(rng, OBS, OBS, dtype=dtype), nn.Softsign())
        actor, critic = Encoded(encoder, actor), Encoded(encoder, critic)
    owned = {id(p): p for module in (actor, critic) for p in module.parameters()}
    adam = torch.optim.Adam(list(owned.values()), lr=LR, eps=EPS)
    more: dict[str, Any] = {"action_space": SPACES[kind], "engine": engine, "seed": 0}
    if normalized:
        more["observation_normalizer"] = statistics()
    if scaled:
        more["reward_normalizer"] = RewardNormalizer(gamma=HP["gamma"])
    if kind.startswith("gaussian"):
        return TorchGaussianPPOAgent(actor, critic, adam, 2, {**HP, **hp}, "cpu", **more)
    return TorchPPOAgent(actor, critic, adam, {**HP, **hp}, "cpu", **more)


def recurrent(
    kind: str,
    cell: str,
    *,
    shared: bool = False,
    dtype: torch.dtype = torch.float64,
    normalized: bool = False,
    **hp: Any,
) -> Any:
    """A recurrent PPO agent from a user's own networks."""
    rng, layer = np.random.default_rng(2), {"lstm": nn.LSTM, "gru": nn.GRU}[cell]
    rnns = [layer(OBS, 5, batch_first=True, device="meta").to_empty(device="cpu") for _ in range(2 - shared)]
    with torch.no_grad():
        for rnn in rnns:
            for p in rnn.parameters():
                p.copy_(torch.from_numpy(0.5 * rng.standard_normal(p.shape)))
    rnns = [rnn.to(dtype) for rnn in rnns]
    actor: nn.Module = sequential(rng, 5, WIDTH[kind], dtype=dtype)
    if kind == "gaussian":
        actor = GaussianActor(actor, 2, -0.3).to(dtype)
    critic = sequential(rng, 5, 4, 1, dtype=dtype)
    adam = torch.optim.Adam([p for m in (*rnns, actor, critic) for p in m.parameters()], lr=LR, eps=EPS)
    return TorchRecurrentPPOAgent(
        rnns[0], actor, critic, 2 if kind == "gaussian" else WIDTH[kind], adam, {**HP, "bptt_len": 4, **hp}, "cpu",
        critic_rnn=None if shared else rnns[1], action_space=SPACES[kind], seed=0,
        observation_normalizer=statistics() if normalized else None,
    )  # fmt: skip


def window_for(
    agent: Any, kind: str, *, masked: bool = False, t: int = 19, n: int = 3, seed: int = 0
) -> EpisodeData:
    """A window in which ``agent`` acted; steps end episodes in both ways, and what followed is not the next row."""
    rng = np.random.default_rng(seed)

    def observed(*lead: int, acted_in: bool = True) -> np.ndarray:
        plain = rng.standard_normal((*lead, OBS)).astype(np.float32)
        if not masked:
            return plain
        masks = rng.random((*lead, WIDTH[kind])) < 0.6
        start = 0
        for size in NVEC.get(kind, (WIDTH[kind],)):
            masks[..., start] = True  # at least one choice of each component
            start += size
        return with_masks(plain, masks if acted_in else np.zeros_like(masks))

    seen = observed(t, n)
    draw = rng.random((t, n))
    terminated, truncated = draw < 0.08, (draw >= 0.08) & (draw < 0.16)
    terminated[4, 0], truncated[9, 1] = True, True
    truncated[4, 0] = terminated[9, 1] = False
    ends = np.argwhere(terminated | truncated)
    memories = None
    if isinstance(agent, TorchRecurrentPPOAgent):
        memory = (0.3 * rng.standard_normal((n, agent.memory_size))).astype(np.float32)
        actions, kept = [], []
        for row in range(t):
            kept.append(memory)
            acted, memory = agent.act_batch_with_memory(seen[row], memory)
            memory[terminated[row] | truncated[row]] = 0.0
            actions.append(acted)
        memories = np.stack(kept)
    else:
        actions = [agent.act_batch(row) for row in seen]
    return EpisodeData(
        observations=seen, actions=np.stack(actions), rewards=rng.standard_normal((t, n)), terminated=terminated,
        truncated=truncated, final_obs=observed(n, acted_in=False), n_envs=n, boundary_steps=ends,
        boundary_observations=observed(len(ends), acted_in=False), hidden_states=memories, timestamp=0.0,
    )  # fmt: skip


def follow(agent: Any, window: EpisodeData, monkeypatch: Any) -> Trace:
    """Let ``agent`` learn from ``window``; what it did."""
    trace, flat = Trace(), agent._networks.flat
    right = StepGuard.allows

    def allows(self: StepGuard, grad_norm: float) -> bool:
        trace.weights.append(flat.to_numpy())
        trace.gradients.append(flat.grad.numpy().copy())
        return right(self, grad_norm)

    with monkeypatch.context() as patch:
        patch.setattr(StepGuard, "allows", allows)
        trace.report = agent.learn(window)
    trace.final = flat.to_numpy()
    return trace


# --- what it should have done --------------------------------------------------------------------------------------


def scaled_rewards(window: EpisodeData, gamma: float) -> np.ndarray:
    """Rewards over the deviation of the running discounted returns, which begin anew with every episode."""
    running = []
    for n in range(window.rewards.shape[1]):
        total = 0.0
        for t in range(len(window.rewards)):
            total = gamma * total + window.rewards[t, n]
            running.append(total)
            if window.terminated[t, n] or window.truncated[t, n]:
                total = 0.0
    return np.clip(window.rewards / np.sqrt(np.var(running) + 1e-8), -10.0, 10.0)


def advantages_of(
    window: EpisodeData, rewards: np.ndarray, values: np.ndarray, following: np.ndarray, hp: Any
) -> tuple[np.ndarray, np.ndarray]:
    """GAE from its definition, standardised over the window, and the critic's targets; ``[T, N]``."""
    found = np.zeros(values.shape)
    for n in range(values.shape[1]):
        carry = 0.0
        for t in reversed(range(len(values))):
            ended, over = window.terminated[t, n], window.terminated[t, n] or window.truncated[t, n]
            future = 0.0 if ended else hp["gamma"] * following[t, n]
            delta = rewards[t, n] + future - values[t, n]
            carry = delta + (0.0 if over else hp["gamma"] * hp["gae_lambda"] * carry)
            found[t, n] = carry
    return (found - found.mean()) / found.std(), found + values


def evaluate(
    kind: str, double: Double, outputs: torch.Tensor, actions: Any, masks: Any
) -> policies.Evaluated:
    """The reference's distribution for what the actor gave."""
    out = outputs.detach().numpy()
    if kind == "discrete":
        return policies.categorical(out, actions, masks)
    if kind in NVEC:
        return policies.multi_categorical(out, actions, NVEC[kind], masks)
    if kind == "bits":
        return policies.bernoulli(out, actions)
    if kind == "gaussian_net":
        return policies.gaussian(out[:, :2], out[:, 2:], actions)
    head = double.modules["actor" if "actor" in double.modules else "actor_head"]
    return policies.gaussian(out, head.log_std.detach().numpy(), actions)


def descend(
    kind: str, double: Double, outputs: torch.Tensor, values: torch.Tensor, rows: Any, hp: Any
) -> tuple[dict[str, float], np.ndarray]:
    """Losses of a minibatch, and their gradient in ``double``; ``rows`` holds what the window says of it."""
    policy = evaluate(kind, double, outputs, rows["actions"], rows["masks"])
    surrogate = ppo_policy_loss(policy, rows["old"], rows["advantages"], hp["clip_ratio"], hp["entropy_coef"])
    clip = {"old_values": rows["values"], "clip": hp["value_clip"]} if hp["value_clip"] else {}
    value = ppo_value_loss(values.detach().numpy(), rows["targets"], **clip)
    by = surrogate.gradients
    if kind == "gaussian":
        head = double.modules["actor" if "actor" in double.modules else "actor_head"]
        head.log_std.grad = torch.from_numpy(by["log_std"].copy())
        d_outputs = by["mean"]
    else:
        d_outputs = np.concatenate([by["mean"], by["log_std"]], axis=1) if "mean" in by else by["logits"]
    d_values = hp["vf_coef"] * value.gradients["values"]
    torch.autograd.backward([outputs, values], [torch.from_numpy(d_outputs), torch.from_numpy(d_values)])
    found = {
        "policy_loss": float(surrogate.each.mean()),
        "value_loss": value.value,
        "entropy": float(policy.entropies.mean()),
    }
    return found, policy.log_probs - rows["old"]


def columns(agent: Any, window: EpisodeData) -> tuple[np.ndarray, Any, np.ndarray]:
    """Observations ``[T, N, obs]`` in float64, masks, and what truly followed."""
    seen, masks = split_masks(window.observations)
    following, _ = split_masks(window.next_observations())
    return standardized(agent, seen), masks, standardized(agent, following)


def expected(agent: Any, kind: str, window: EpisodeData, followed: Trace | None, rng: Any) -> Trace:
    """What an update of ``agent``, which has not learned from ``window`` yet, should be.

    Args:
        agent: Also a recurrent one.
        kind: Of :data:`SPACES`.
        window: Experience.
        followed: Weights at which gradients are taken; None: those that this very computation arrives at.
        rng: Draws the order of minibatches.
    """
    training, hp = agent._networks.training, agent.get_hyperparams().params
    double = Double(training.modules, training.flat.parameters)
    seen, masks, following = columns(agent, window)
    steps, n_envs = window.rewards.shape
    memory = None
    if isinstance(agent, TorchRecurrentPPOAgent):
        assert window.hidden_states is not None
        memory = window.hidden_states.astype(np.float64)
        run = Unrolled(double, window, memory, hp["bptt_len"])
        with torch.no_grad():
            out, v, v_next = run.acted(seen, following)
    else:
        run = None
        with torch.no_grad():
            out, v = forward(double, seen.reshape(-1, OBS))
            _, v_next = forward(double, following.reshape(-1, OBS))
    values, after = (x.numpy().reshape(steps, n_envs) for x in (v, v_next))
    rewards = window.rewards
    if agent._normalizers.reward is not None:
        rewards = scaled_rewards(window, hp["gamma"])
    advantages, targets = advantages_of(window, rewards, values, after, hp)
    flat = {
        "actions": window.actions.reshape(steps * n_envs, *window.actions.shape[2:]),
        "masks": None if masks is None else masks.reshape(steps * n_envs, -1),
        "advantages": advantages.ravel(),
        "targets": targets.ravel(),
        "values": values.ravel(),
    }
    flat["old"] = evaluate(kind, double, out, flat["actions"], flat["masks"]).log_probs
    if window.log_probs is not None:
        flat["old"] = window.log_probs.ravel()
    trace, adam = Trace(), Adam(LR, EPS, hp["max_grad_norm"])
    now = training.flat.to_numpy()
    for _ in range(hp["n_epochs"]):
        if run is None:
            order = rng.permutation(steps * n_envs)
            pieces = [order[i : i + hp["minibatch_size"]] for i in range(0, len(order), hp["minibatch_size"])]
        else:
            cut = Sequences.cut(window.terminated | window.truncated, hp["bptt_len"])
            pieces = [packed.rows for packed in cut.minibatches(hp["minibatch_size"], rng)]
        for piece in pieces:
            k = len(trace.gradients)
            if followed is not None and k < len(followed.weights):
                now = followed.weights[k]
            double.load(now)
            if run is None:
                outputs, found = forward(double, seen.reshape(-1, OBS)[piece])
            else:
                outputs, found = run.minibatch(seen, set(piece.tolist()))
                piece = np.array(run.order)  # noqa: PLW2901  # the same rows, in another order
            rows = {name: None if a is None else a[piece] for name, a in flat.items()}
            losses, log_ratios = descend(kind, double, outputs, found, rows, hp)
            trace.losses.append(losses)
            trace.log_ratios.append(log_ratios)
            trace.weights.append(now.astype(np.float64))
            trace.gradients.append(double.gradient())
            now = adam(now, trace.gradients[-1])
    trace.final = now
    return trace


def forward(double: Double, seen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """What actor and critic give for ``[B, obs]``; of a Gaussian actor the means."""
    x, actor = torch.from_numpy(seen), double.modules["actor"]
    means = actor.mean if isinstance(actor, GaussianActor) else actor
    return means(x), double.modules["critic"](x)[:, 0]


class Unrolled:
    """Recurrent networks, evaluated one step of one environment after another."""

    def __init__(self, double: Double, window: EpisodeData, memory: np.ndarray, limit: int) -> None:
        self.double, self.memory, self.limit = double, memory.copy(), limit
        self.over = window.terminated | window.truncated
        self.memory[1:][self.over[:-1]] = 0.0
        self.order: list[int] = []

    def _nets(self) -> tuple[Any, Any, Any, Any]:
        nets = self.double.modules
        actor = nets["actor_head"]
        actor = actor.mean if isinstance(actor, GaussianActor) else actor
        return nets["rnn"], nets.get("critic_rnn"), actor, nets["critic_head"]

    def _states(self, row: np.ndarray) -> list[torch.Tensor]:
        """The actor's state ``[1, w]`` and the critic's."""
        whole = torch.from_numpy(row)[None]
        return [whole] if self._nets()[1] is None else list(whole.chunk(2, dim=-1))

    def _step(
        self, x: np.ndarray, states: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        rnn, critic_rnn, actor, critic = self._nets()
        told, after = [], []
        for net, state in zip([rnn] if critic_rnn is None else [rnn, critic_rnn], states, strict=True):
            h, state = cell_step(net, torch.from_numpy(x)[None], state)  # noqa: PLW2901
            told.append(h)
            after.append(state)
        return actor(told[0])[0], critic(told[-1])[0, 0], after

    def acted(
        self, seen: np.ndarray, following: np.ndarray
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Outputs and values of every step with the memory that was recorded, and values of what followed."""
        outs, values, nexts = [], [], []
        for t, n in np.ndindex(seen.shape[:2]):
            out, value, after = self._step(seen[t, n], self._states(self.memory[t, n]))
            nexts.append(self._step(following[t, n], after)[1])
            outs.append(out)
            values.append(value)
        return torch.stack(outs), torch.stack(values), torch.stack(nexts)

    def minibatch(self, seen: np.ndarray, rows: set[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs and values of ``rows``, with gradients through time; ``order`` says which is which."""
        outs, values, self.order = [], [], []
        steps, n_envs = seen.shape[:2]
        for n in range(n_envs):
            states, since = self._states(self.memory[0, n]), 0
            for t in range(steps):
                if (t and self.over[t - 1, n]) or (self.limit and since == self.limit):
                    states, since = self._states(self.memory[t, n]), 0
                since += 1
                if t * n_envs + n in rows:
                    out, value, states = self._step(seen[t, n], states)
                    outs.append(out)
                    values.append(value)
                    self.order.append(t * n_envs + n)
        return torch.stack(outs), torch.stack(values)


def cell_step(net: Any, x: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One step of ``nn.LSTM`` or ``nn.GRU`` from its equations; ``state`` is h, or h and c side by side."""
    size = net.hidden_size
    h = state[:, :size]
    a = x @ net.weight_ih_l0.T + net.bias_ih_l0
    b = h @ net.weight_hh_l0.T + net.bias_hh_l0
    if isinstance(net, nn.LSTM):
        i, f, g, o = (a + b).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state[:, size:] + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, torch.cat([h, c], dim=-1)
    (ar, az, an), (br, bz, bn) = a.chunk(3, dim=-1), b.chunk(3, dim=-1)
    r, z = torch.sigmoid(ar + br), torch.sigmoid(az + bz)
    h = (1 - z) * torch.tanh(an + r * bn) + z * h
    return h, h


# --- the comparison ------------------------------------------------------------------------------------------------


def check(
    agent: Any, kind: str, monkeypatch: Any, *, masked: bool = False, atol: float = 1e-6, windows: int = 1
) -> float:
    """Compare everything; the largest difference of a gradient.

    Raises:
        AssertionError: Something differs.
    """
    worst = 0.0
    for seed in range(windows):
        window = window_for(agent, kind, masked=masked, seed=seed)
        before, rng = copy.deepcopy(agent), copy.deepcopy(agent._streams.minibatch)
        trace = follow(agent, window, monkeypatch)
        wanted = expected(before, kind, window, trace, rng)
        assert len(trace.gradients) == len(wanted.gradients), "gradient steps"
        for found, exact in zip(trace.gradients, wanted.gradients, strict=True):
            np.testing.assert_allclose(found, exact, rtol=1e-6, atol=atol)
            worst = max(worst, float(np.abs(found - exact).max()))
        for name in ("policy_loss", "value_loss", "entropy"):
            exact = float(np.mean([losses[name] for losses in wanted.losses]))
            assert abs(trace.report[name] - exact) <= 1e-6 * max(1.0, abs(exact)) + (atol - 1e-6), name
        last = np.concatenate(wanted.log_ratios[-(len(wanted.log_ratios) // HP["n_epochs"]) :])
        close: Any = {"rtol": 1e-5, "atol": atol}
        np.testing.assert_allclose(trace.report["approx_kl"], (np.exp(last) - 1.0 - last).mean(), **close)
        outside = (np.abs(np.exp(last) - 1.0) > HP["clip_ratio"]).mean()
        np.testing.assert_allclose(trace.report["clip_fraction"], outside, **close)
        assert trace.report["n_updates"] == len(wanted.gradients)
        if seed == 0 and trace.final.dtype == np.float64:  # Adam's moments are zero only then
            for k, vector in enumerate([*trace.weights[1:], trace.final]):
                wanted_next = wanted.weights[k + 1] if k + 1 < len(wanted.weights) else wanted.final
                np.testing.assert_allclose(vector, wanted_next, rtol=1e-6, atol=1e-8)
    return worst
