"""Gradient steps of the off-policy agents as the papers have them, in float64, beside those that an agent makes.

An agent is shown a stream of transitions that is kept here, too. For every gradient step it makes, ``Follower`` writes
down which rows it drew, with which noise, the weights of all networks, and the gradient of each optimizer's step.
``expected_*`` then say what it should have been: n-step returns from the stream itself, losses and derivatives from
``optix_core.rl.reference``, networks in double precision, backwards by autograd.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from naive_ppo import Adam, Double, sequential, standardized, statistics
from torch import nn

from optix_core.rl.masking import split_masks, with_masks
from optix_core.rl.reference import actor_critic, q_learning
from optix_torch import RainbowQNetwork, TorchDQNAgent, TorchRainbowDQNAgent, TorchSACAgent, TorchTD3Agent
from optix_torch.continuous.critics import EncodedCritic
from optix_torch.networks.encoder_modules import Encoded
from optix_torch.networks.noisy import factors
from optix_torch.networks.q_network import Dueling

OBS, CHOICES, DIM, Z = 3, 4, 2, 9
LR = 1e-3


class Stream:
    """T vector steps of N environments; some steps end episodes in either way, and the next begins elsewhere."""

    def __init__(
        self, kind: str, steps: int = 40, n: int = 2, seed: int = 0, *, masked: bool = False
    ) -> None:
        rng = np.random.default_rng(seed)
        self.n = n
        plain: Any = rng.standard_normal((2 * steps + 1, n, OBS)).astype(np.float32)
        if masked:
            masks = rng.random((2 * steps + 1, n, CHOICES)) < 0.5
            masks[..., 1] = True
            plain = with_masks(plain, masks)
        draw = rng.random((steps, n))
        self.terminated, self.truncated = draw < 0.1, (draw >= 0.1) & (draw < 0.2)
        over = self.terminated | self.truncated
        self.after = plain[1 : steps + 1].copy()
        self.seen = plain[:steps].copy()
        fresh = plain[steps + 1 :]
        self.seen[1:][over[:-1]] = fresh[: steps - 1][over[:-1]]
        if masked:
            self.after["action_mask"][self.terminated] = False
        # halves: float32 and the atoms of Rainbow's support hold them exactly
        self.rewards = rng.integers(-3, 4, (steps, n)) / 2.0
        if kind in {"SAC", "TD3"}:
            self.actions = rng.uniform(-1, 1, (steps, n, DIM)).astype(np.float32)
        else:
            self.actions = rng.integers(CHOICES, size=(steps, n))

    def rows(self, indices: np.ndarray, newest: int, n_step: int, gamma: float) -> dict[str, Any]:
        """The drawn rows by definition, when ``newest`` is the last vector step that was shown; float64."""
        rewards, discounts, after, masks = [], [], [], []
        for index in indices.tolist():
            t, e = divmod(index, self.n)
            total, k = 0.0, 0
            while True:
                total += gamma**k * self.rewards[t + k, e]
                k += 1
                over = self.terminated[t + k - 1, e] or self.truncated[t + k - 1, e]
                if over or k == n_step or t + k > newest:
                    break
            rewards.append(total)
            discounts.append(0.0 if self.terminated[t + k - 1, e] else gamma**k)
            plain, mask = split_masks(self.after[t + k - 1, e : e + 1])
            after.append(plain[0].astype(np.float64))
            masks.append(mask)
        t, e = np.divmod(indices, self.n)
        seen, _ = split_masks(self.seen[t, e])
        return {
            "observations": torch.from_numpy(seen.astype(np.float64)),
            "actions": self.actions[t, e],
            "rewards": np.array(rewards),
            "discounts": np.array(discounts),
            "following": torch.from_numpy(np.stack(after)),
            "masks": None if masks[0] is None else np.concatenate(masks),
        }


# --- agents --------------------------------------------------------------------------------------------------------

COMMON = {"learning_starts": 20, "batch_size": 16, "replay_capacity": 1000, "gamma": 0.9}
SUPPORT = {"v_min": -2.0, "v_max": 2.0, "n_atoms": Z}


def agent_for(kind: str, *, engine: str = "auto", dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    """An agent from a user's own networks."""
    rng = np.random.default_rng(4)
    dueling, encoded = options.pop("dueling", False), options.pop("encoded", False)
    more: dict[str, Any] = {"engine": engine, "seed": 0}
    if options.pop("normalized", False):
        more["observation_normalizer"] = statistics()

    def encoder() -> nn.Module:
        """A layer that has no closed form."""
        return nn.Sequential(*sequential(rng, OBS, OBS, dtype=dtype), nn.Softsign())

    if kind == "DQN":
        hp = {**COMMON, "target_update_freq": 12, "max_grad_norm": 0.5, **options}
        net: Any = sequential(rng, OBS, 8, 7, CHOICES + dueling, dtype=dtype)
        if dueling:
            net.append(Dueling())
        net = Encoded(encoder(), net) if encoded else net
        adam = torch.optim.Adam(net.parameters(), lr=LR)
        return TorchDQNAgent(net, CHOICES, adam, hp, "cpu", **more)
    if kind == "Rainbow":
        sharp = options.pop("sharp", False)
        hp = {**COMMON, **SUPPORT, "target_update_freq": 12, "max_grad_norm": 0.5, **options}
        noisy = RainbowQNetwork(
            OBS, CHOICES, (8, 6), Z, sigma_0=0.7, generator=torch.Generator().manual_seed(4)
        )
        if sharp:  # probabilities far below what a clamp would leave
            with torch.no_grad():
                last: Any = noisy.layers[-1]
                last.mu_b.mul_(40.0)
        noisy = noisy.to(dtype)
        adam = torch.optim.Adam(noisy.parameters(), lr=LR, eps=1.5e-4)
        return TorchRainbowDQNAgent(noisy, CHOICES, OBS, adam, hp, "cpu", **more)
    hp = {**COMMON, "tau": 0.1, **options}
    outputs = 2 * DIM if kind == "SAC" else DIM
    actor: nn.Module = sequential(rng, OBS, 8, outputs, dtype=dtype)
    if kind == "TD3":
        actor.append(nn.Tanh())
    critics: Any = [sequential(rng, OBS + DIM, 8, 6, 1, dtype=dtype) for _ in range(2)]
    if encoded:  # by one encoder for both critics, and one for the actor
        shared, actor = encoder(), Encoded(encoder(), actor)
        critics = [EncodedCritic(shared, critic) for critic in critics]
    first = torch.optim.Adam(actor.parameters(), lr=LR)
    owned = {id(p): p for critic in critics for p in critic.parameters()}
    second = torch.optim.Adam(list(owned.values()), lr=LR)
    if kind == "TD3":
        return TorchTD3Agent(actor, critics[0], critics[1], DIM, first, second, hp, "cpu", **more)
    alpha = torch.optim.Adam([torch.tensor([-0.7], dtype=dtype, requires_grad=True)], lr=LR)
    return TorchSACAgent(actor, critics[0], critics[1], DIM, first, second, alpha, hp, "cpu", **more)


NETWORKS = {
    "q": lambda a: (a._training.modules["q_network"], a._training.flat),
    "q_target": lambda a: (a._target.module, a._target.flat),
    "actor": lambda a: (a._actor.module, a._actor.training.flat),
    "actor_target": lambda a: (a._target_actor.module, a._target_actor.flat),
    "critics": lambda a: (nn.ModuleDict(a._critics.training.modules), a._critics.training.flat),
    "critics_target": lambda a: (a._critics.target.module, a._critics.target.flat),
}
OF = {
    "DQN": ("q", "q_target"),
    "Rainbow": ("q", "q_target"),
    "SAC": ("actor", "critics", "critics_target"),
    "TD3": ("actor", "actor_target", "critics", "critics_target"),
}
STEPS = {
    "DQN": {"_descent": "q"},
    "Rainbow": {"_descent": "q"},
    "SAC": {"_critic_descent": "critics", "_actor_descent": "actor", "_temperature_descent": "temperature"},
    "TD3": {"_critic_descent": "critics", "_actor_descent": "actor"},
}


class Follower:
    """Lets an agent learn from a stream and keeps what every gradient step did.

    Attributes:
        steps: One dict per gradient step: ``newest`` vector step, ``indices``, ``weights`` (importance), ``noise`` or
            ``rng`` before it was drawn, ``before`` and ``after`` (weights by network), ``made``: for each optimizer the
            gradient, what was reported, and the weights at that moment; ``priorities``.
        targets: The target network before and after every vector step, with the online one before it.
    """

    def __init__(self, agent: Any, kind: str, stream: Stream) -> None:
        self.agent, self.kind, self.stream = agent, kind, stream
        self.exact = {name: Double(*self._parts(name)) for name in OF[kind]}
        self.steps: list[dict[str, Any]] = []
        self.targets: list[tuple[int, int, np.ndarray, np.ndarray, np.ndarray]] = []
        self._newest = -1
        self._watch()
        for t in range(len(stream.rewards)):
            self._newest = t
            count, held = agent._cadence.env_steps, self.weights()
            agent.observe(
                stream.seen[t], stream.actions[t], stream.rewards[t], stream.after[t], stream.terminated[t],
                stream.truncated[t],
            )  # fmt: skip
            if "q" in held:
                now = self.weights()
                self.targets.append(
                    (count, agent._cadence.env_steps, held["q"], held["q_target"], now["q_target"])
                )

    def weights(self) -> dict[str, np.ndarray]:
        return {name: NETWORKS[name](self.agent)[1].to_numpy() for name in OF[self.kind]}

    def _parts(self, name: str) -> Any:
        module, flat = NETWORKS[name](self.agent)
        return {"it": module}, flat.parameters

    def _watch(self) -> None:
        agent, steps = self.agent, self.steps
        make = agent._gradient_step

        def gradient_step() -> None:
            before = self.weights()
            steps.append(
                {
                    "count": len(steps) + 1,
                    "newest": self._newest,
                    "before": before,
                    "made": {},
                    "alpha": self._alpha(),
                }
            )
            make()
            steps[-1]["after"] = self.weights()

        agent._gradient_step = gradient_step
        sample = agent._replay.sample

        def sampled(*args: Any, **options: Any) -> Any:
            batch = sample(*args, **options)
            steps[-1] |= {"indices": batch.indices.copy(), "weights": batch.weights.copy()}
            return batch

        agent._replay.sample = sampled
        if hasattr(agent, "_noise"):
            noise = agent._noise
            agent._noise = lambda n: self._keep("noise", noise(n))
        if self.kind == "Rainbow":
            steps_rng, resample = agent._streams.minibatch, agent._engine.resample

            def resampled(rng: Any) -> None:
                steps[-1]["rng"] = copy.deepcopy(steps_rng)
                resample(rng)

            agent._engine.resample = resampled
        for attribute, name in STEPS[self.kind].items():
            self._watch_descent(getattr(agent, attribute), name)
        if agent._prioritized is not None:
            update = agent._prioritized.update_priorities
            agent._prioritized.update_priorities = lambda i, p: (
                self._keep("priorities", np.array(p)),
                update(i, p),
            )

    def _keep(self, name: str, value: Any) -> Any:
        self.steps[-1][name] = value
        return value

    def _alpha(self) -> float:
        return self.agent._temperature.log_alpha if self.kind == "SAC" else 0.0

    def _watch_descent(self, descent: Any, name: str) -> None:
        step, flat = descent.step, descent._flat

        def stepped(max_norm: float, **measured: Any) -> bool:
            kept = {key: float(value) for key, value in measured.items()}
            made = {
                "gradient": flat.grad.numpy().copy(),
                **kept,
                "at": self.weights(),
                "from": flat.to_numpy(),
            }
            result = step(max_norm, **measured)
            self.steps[-1]["made"][name] = {**made, "to": flat.to_numpy()}
            return result

        descent.step = stepped


# --- what it should have done --------------------------------------------------------------------------------------


def rows_of(f: Follower, step: dict[str, Any]) -> dict[str, Any]:
    hp = f.agent._hp
    rows = f.stream.rows(step["indices"], step["newest"], hp["n_step"], hp["gamma"])
    for name in ("observations", "following"):
        rows[name] = torch.from_numpy(standardized(f.agent, rows[name].numpy()))
    return rows


def at(f: Follower, name: str, vector: np.ndarray) -> Any:
    """The module in double precision, with these weights."""
    f.exact[name].load(vector)
    return f.exact[name].modules["it"]


def expected_dqn(f: Follower, step: dict[str, Any]) -> dict[str, Any]:
    rows, before = rows_of(f, step), step["before"]
    with torch.no_grad():
        next_q = at(f, "q_target", before["q_target"])(rows["following"]).numpy()
        chooser = at(f, "q", before["q"])(rows["following"]).numpy() if f.agent._hp["double"] else None
    y = q_learning.q_targets(
        rows["rewards"], rows["discounts"], next_q, chosen_by=chooser, masks=rows["masks"]
    )
    q = at(f, "q", before["q"])(rows["observations"])
    loss = q_learning.td_loss(q.detach().numpy(), rows["actions"], y, step["weights"])
    q.backward(torch.from_numpy(loss.gradients["q"]))
    return {"q": {"loss": loss.value, "gradient": f.exact["q"].gradient()}, "priorities": np.abs(loss.each)}


def noisy_logits(network: Any, x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """``[B, A, Z]`` of a Rainbow network whose weights get noise from ``rng``, layer by layer."""
    layers = list(network.layers)
    x = x if network.encoder is None else network.encoder(x)
    for i, layer in enumerate(layers):
        drawn = torch.from_numpy(factors(rng, (layer.in_features + layer.out_features,))).double()
        e_in, e_out = drawn[: layer.in_features], drawn[layer.in_features :]
        weight = layer.mu_w + layer.sigma_w * torch.outer(e_out, e_in)
        x = x @ weight.T + layer.mu_b + layer.sigma_b * e_out
        x = torch.relu(x) if i < len(layers) - 1 else x
    return x.view(len(x), 1 + CHOICES, Z)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def expected_rainbow(f: Follower, step: dict[str, Any]) -> dict[str, Any]:
    rows, before = rows_of(f, step), step["before"]
    support = np.linspace(SUPPORT["v_min"], SUPPORT["v_max"], Z)
    rng = step["rng"]
    online_noise = copy.deepcopy(rng)

    def logits(streams: torch.Tensor) -> np.ndarray:
        both = streams.detach().numpy()
        return q_learning.dueling(both[:, :1], both[:, 1:])

    with torch.no_grad():
        chooser = softmax(logits(noisy_logits(at(f, "q", before["q"]), rows["following"], rng)))
        slow = noisy_logits(at(f, "q_target", before["q_target"]), rows["following"], rng)  # the next draws
    targets = q_learning.c51_targets(
        rows["rewards"],
        rows["discounts"],
        softmax(logits(slow)),
        support,
        chosen_by=chooser,
        masks=rows["masks"],
    )
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, atol=1e-12)
    streams = noisy_logits(at(f, "q", before["q"]), rows["observations"], online_noise)
    loss = q_learning.c51_loss(logits(streams), rows["actions"], targets, step["weights"])
    parts = q_learning.dueling_gradients(loss.gradients["logits"])
    streams.backward(torch.from_numpy(np.concatenate([parts["values"], parts["advantages"]], axis=1)))
    divergences = q_learning.c51_loss(logits(streams), rows["actions"], targets, kind="kl").each
    return {
        "q": {"loss": loss.value, "gradient": f.exact["q"].gradient()},
        "priorities": np.maximum(divergences, 0.0),
        "targets": targets,
    }


def twin(f: Follower, name: str, vector: np.ndarray, seen: torch.Tensor, actions: torch.Tensor) -> Any:
    both: Any = at(f, name, vector)
    if isinstance(both["critic1"], EncodedCritic):
        critics = ((both[name].trunk, both[name].encoder(seen)) for name in ("critic1", "critic2"))
    else:
        critics = ((both[name], seen) for name in ("critic1", "critic2"))
    return tuple(critic(torch.cat([x, actions], dim=-1))[:, 0] for critic, x in critics)


def climbed(f: Follower, vector: np.ndarray, seen: torch.Tensor, actions: np.ndarray) -> Any:
    """Values of both critics for ``actions``, and their gradients by these."""
    values, slopes = [], []
    for k in range(2):
        a = torch.from_numpy(actions).requires_grad_()
        q = twin(f, "critics", vector, seen, a)[k]
        (slope,) = torch.autograd.grad(q.sum(), a)
        values.append(q.detach().numpy())
        slopes.append(slope.numpy())
    return *values, *slopes


def critics_of(f: Follower, step: dict[str, Any], rows: dict[str, Any], y: np.ndarray) -> dict[str, Any]:
    """The critics' part, alike in both."""
    acted = torch.from_numpy(rows["actions"].astype(np.float64))
    q1, q2 = twin(f, "critics", step["before"]["critics"], rows["observations"], acted)
    weights = step["weights"] if f.agent._prioritized is not None else None
    loss = actor_critic.twin_critic_loss(q1.detach().numpy(), q2.detach().numpy(), y, weights)
    torch.autograd.backward([q1, q2], [torch.from_numpy(loss.gradients[k]) for k in ("q1", "q2")])
    errors = np.stack([q1.detach().numpy(), q2.detach().numpy()]) - y
    return {
        "critics": {"critic_loss": loss.value, "gradient": f.exact["critics"].gradient()},
        "priorities": np.abs(errors).mean(axis=0),
    }


def expected_sac(f: Follower, step: dict[str, Any]) -> dict[str, Any]:
    rows, before, hp = rows_of(f, step), step["before"], f.agent._hp
    alpha, noise = hp["alpha"] or float(np.exp(step["alpha"])), np.asarray(step["noise"], np.float64)

    def policy(seen: torch.Tensor, eps: np.ndarray) -> Any:
        out = at(f, "actor", before["actor"])(seen)
        both = out.detach().numpy()
        return out, actor_critic.squashed_gaussian(both[:, :DIM], both[:, DIM:], eps)

    with torch.no_grad():
        _, chosen = policy(rows["following"], noise[0])
        slow = twin(
            f, "critics_target", before["critics_target"], rows["following"], torch.from_numpy(chosen.actions)
        )
    slow1, slow2 = (q.numpy() for q in slow)
    y = actor_critic.soft_targets(rows["rewards"], rows["discounts"], slow1, slow2, chosen.log_probs, alpha)
    found = critics_of(f, step, rows, y)
    out, chosen = policy(rows["observations"], noise[1])
    critics = step["made"]["critics"]["to"]  # they have learned by now
    q1, q2, d_q1, d_q2 = climbed(f, critics, rows["observations"], chosen.actions)
    loss = actor_critic.sac_actor_loss(chosen, q1, q2, d_q1, d_q2, alpha)
    out.backward(
        torch.from_numpy(np.concatenate([loss.gradients["mean"], loss.gradients["log_std"]], axis=1))
    )
    found["actor"] = {
        "actor_loss": loss.value,
        "entropy": -float(chosen.log_probs.mean()),
        "gradient": f.exact["actor"].gradient(),
    }
    if not hp["alpha"]:
        heat = actor_critic.temperature_loss(
            step["alpha"], chosen.log_probs, hp["target_entropy_per_dim"] * DIM
        )
        found["temperature"] = {"gradient": heat.gradients["log_alpha"].reshape(1)}
    return found


def expected_td3(f: Follower, step: dict[str, Any]) -> dict[str, Any]:
    rows, before, hp = rows_of(f, step), step["before"], f.agent._hp
    with torch.no_grad():
        greedy = at(f, "actor_target", before["actor_target"])(rows["following"]).numpy()
        noise = np.asarray(step["noise"][0], np.float64) * hp["target_noise"]
        smoothed = actor_critic.smoothed_actions(greedy, noise, hp["target_noise_clip"])
        slow = twin(
            f, "critics_target", before["critics_target"], rows["following"], torch.from_numpy(smoothed)
        )
    y = actor_critic.td3_targets(rows["rewards"], rows["discounts"], *(q.numpy() for q in slow))
    found = critics_of(f, step, rows, y)
    if step["count"] % hp["policy_delay"] == 0:
        actions = at(f, "actor", before["actor"])(rows["observations"])
        critics = step["made"]["critics"]["to"]
        q1, _, d_q1, _ = climbed(f, critics, rows["observations"], actions.detach().numpy())
        loss = actor_critic.td3_actor_loss(q1, d_q1)
        actions.backward(torch.from_numpy(loss.gradients["actions"]))
        found["actor"] = {"actor_loss": loss.value, "gradient": f.exact["actor"].gradient()}
    return found


class Priorities:
    """What priorities and importance weights should be (Schaul et al. 2016, arXiv:1511.05952, sections 3.3 and 3.4)."""

    def __init__(self) -> None:
        self.of: list[float] = []
        self.largest = 1.0

    def weights(self, f: Follower, step: dict[str, Any]) -> np.ndarray:
        """``[B]`` of the rows that were drawn; rows that came since the last draw get the largest priority."""
        hp, shown = f.agent._hp, (step["newest"] + 1) * f.stream.n
        self.of += [self.largest] * (shown - len(self.of))
        beta = hp["per_beta"]
        if f.kind in {"DQN", "Rainbow"}:
            beta += (1.0 - beta) * min(1.0, shown / hp["per_beta_steps"])
        mass = (np.array(self.of) + 1e-6) ** hp["per_alpha"]
        p = mass[step["indices"]] / mass.sum()
        weights = (len(mass) * p) ** -beta
        return weights / weights.max()

    def update(self, step: dict[str, Any]) -> None:
        for index, p in zip(step["indices"].tolist(), step["priorities"].tolist(), strict=True):
            self.of[index] = p
        self.largest = max(self.largest, float(step["priorities"].max()))


EXPECTED = {"DQN": expected_dqn, "Rainbow": expected_rainbow, "SAC": expected_sac, "TD3": expected_td3}


# --- the comparison ------------------------------------------------------------------------------------------------


def check(kind: str, *, masked: bool = False, atol: float = 1e-6, steps: int = 40, **options: Any) -> float:
    """Compare every gradient step with its reference; the largest difference of a gradient.

    Raises:
        AssertionError: Something differs.
    """
    agent = agent_for(kind, **options)
    f = Follower(agent, kind, Stream(kind, steps, masked=masked))
    hp, worst, priorities = agent._hp, 0.0, Priorities()
    assert len(f.steps) == 2 * steps - hp["learning_starts"], "gradient steps"
    limits = dict.fromkeys(STEPS[kind].values(), hp["max_grad_norm"] or np.inf) | {"temperature": np.inf}
    eps = 1.5e-4 if kind == "Rainbow" else 1e-8
    adams = {name: Adam(LR, eps, limits[name]) for name in STEPS[kind].values()}
    for step in f.steps:
        wanted = EXPECTED[kind](f, step)
        exact = (
            agent._actor.training.flat.vector.dtype
            if kind in {"SAC", "TD3"}
            else agent._training.flat.vector.dtype
        )
        assert set(step["made"]) == {name for name in wanted if name in adams}, "which optimizers stepped"
        for name, made in step["made"].items():
            np.testing.assert_allclose(made["gradient"], wanted[name]["gradient"], rtol=1e-6, atol=atol)
            worst = max(worst, float(np.abs(made["gradient"] - wanted[name]["gradient"]).max()))
            for key, value in wanted[name].items():
                if key != "gradient":
                    np.testing.assert_allclose(made[key], value, rtol=1e-6, atol=atol, err_msg=key)
            if exact == torch.float64:
                after = adams[name](made["from"], made["gradient"].astype(np.float64))
                np.testing.assert_allclose(made["to"], after, rtol=1e-6, atol=1e-9, err_msg=f"step of {name}")
        if agent._prioritized is not None:
            np.testing.assert_allclose(
                step["weights"], priorities.weights(f, step), rtol=1e-5, err_msg="weights"
            )
            priorities.update(step)
            np.testing.assert_allclose(step["priorities"], wanted["priorities"], rtol=1e-6, atol=3 * atol)
        for online in ("actor", "critics"):
            if (target := f"{online}_target") in step["before"]:
                old, new = step["before"][target], step["after"][target]
                follows = kind == "SAC" or "actor" in step["made"]
                goal = old + hp["tau"] * (step["after"][online] - old) if follows else old
                np.testing.assert_allclose(new, goal, rtol=1e-6, atol=1e-7, err_msg=target)
    for before, after, online, old, new in f.targets:
        due = after // hp["target_update_freq"] != before // hp["target_update_freq"]
        np.testing.assert_allclose(
            new, old + hp["tau"] * (online - old) if due else old, rtol=1e-6, atol=1e-7
        )
    return worst
