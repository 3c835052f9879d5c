"""Windows of experience for checks: collected from a tiny environment, or with chosen episode ends.

This is not a pipeline: it is the shortest code that fills :class:`~optix_core.types.EpisodeData` as the contract
says, so that an agent can be
checked without trusting any pipeline.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent, BatchActing, RecurrentActing, StepwiseLearning
from optix_core.rl.structured import pack
from optix_core.types import EpisodeData, EpisodeRecord


def record(observation: Any) -> NDArray[Any]:
    """One observation as pipelines hold it: an array, or a record ``[]`` of what has parts."""
    if not isinstance(observation, dict | tuple):
        return np.asarray(observation)
    return pack(observation, np.dtype(_fields(observation), align=True))


def stacked(observations: Iterable[Any]) -> NDArray[Any]:
    """Observations ``[B, *obs]`` as pipelines hold them."""
    return np.stack([record(observation) for observation in observations])


def _fields(parts: Any) -> list[tuple[str, Any, tuple[int, ...]]]:
    whole: Any = parts
    named: Any = {str(place): part for place, part in enumerate(whole)} if isinstance(parts, tuple) else whole
    found: list[tuple[str, Any, tuple[int, ...]]] = []
    for name, part in named.items():
        if isinstance(part, dict | tuple):
            found.append((name, np.dtype(_fields(part), align=True), ()))
        else:
            found.append((name, np.asarray(part).dtype, np.shape(part)))
    return found


class Player:
    """Asks an agent step by step, as pipelines do: in a batch of one, with a memory that starts at zero.

    Attributes:
        memory: ``[1, M]`` of a recurrent agent before the next step; None for others.
    """

    def __init__(self, agent: BaseAgent) -> None:
        self._agent = agent
        self.memory: NDArray[np.float32] | None = None
        self.begin()

    def begin(self) -> None:
        """An episode starts."""
        if isinstance(self._agent, RecurrentActing):
            self.memory = np.zeros((1, self._agent.memory_size), np.float32)

    def decide(self, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
        """One decision as (policy action, environment action), see :func:`ask`."""
        agent = self._agent
        if isinstance(agent, RecurrentActing):
            assert self.memory is not None
            batch = record(observation)[None]
            policy, self.memory = agent.act_batch_with_memory(batch, self.memory, deterministic=deterministic)
            return policy[0], agent.env_actions(policy)[0]
        if isinstance(agent, BatchActing):
            policy = agent.act_batch(record(observation)[None], deterministic=deterministic)
            return policy[0], agent.env_actions(policy)[0]
        act: Any = agent.act
        action = (
            act(observation, deterministic=True)
            if deterministic and accepts_greedy(agent)
            else act(observation)
        )
        return action, action


def ask(agent: BaseAgent, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
    """One decision at the start of an episode as (policy action, environment action).

    Agents that act in batches are asked in a batch of one, as pipelines do; others through ``act``, whose two
    actions are the same. ``deterministic`` is passed on where the agent accepts it.
    """
    return Player(agent).decide(observation, deterministic=deterministic)


def as_seen(agent: BaseAgent, env: Any, observation: Any, info: Mapping[str, Any]) -> Any:
    """What the agent is shown: the observation, or the dict of it and its mask if the agent understands masks."""
    if not agent.accepts_action_masks or _has_mask(observation):
        return observation
    mask = info.get("action_mask")
    method: Any = getattr(env, "action_masks", None)
    if mask is None and method is not None:
        mask = method()
    return observation if mask is None else {"observation": observation, "action_mask": np.asarray(mask) != 0}


def _has_mask(observation: Any) -> bool:
    return isinstance(observation, dict) and set(observation) == {"observation", "action_mask"}  # pyright: ignore[reportUnknownArgumentType]


def accepts_greedy(agent: BaseAgent) -> bool:
    """Whether ``act`` accepts the keyword ``deterministic``."""
    import inspect

    parameters = inspect.signature(agent.act).parameters
    return "deterministic" in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def greedy(agent: BaseAgent, observations: Iterable[Any]) -> list[NDArray[Any]]:
    """Environment actions of the greedy policy (of the stochastic one where the agent has no greedy mode)."""
    return [np.asarray(ask(agent, o, deterministic=True)[1]) for o in observations]


def collect(
    agent: BaseAgent, env: gym.Env[Any, Any], steps: int, *, seed: int = 0, window: int = 0
) -> EpisodeData:
    """One window of one environment, starting with a reset.

    Args:
        agent: Who acts; it is not asked to learn.
        env: Where.
        steps: Length T of the window.
        seed: Of the first reset; later resets have none.
        window: ``episode_id`` of the window.
    """
    player = Player(agent)
    observation, info = env.reset(seed=seed)
    observation = as_seen(agent, env, observation, info)
    rows: list[tuple[Any, Any, float, bool, bool]] = []
    ends: list[int] = []
    successors: list[Any] = []
    records: list[EpisodeRecord] = []
    memories: list[NDArray[np.float32]] = []
    starts, total, began = [0], 0.0, 0
    for t in range(steps):
        if player.memory is not None:
            memories.append(player.memory[0])
        action, env_action = player.decide(copy.deepcopy(observation))
        following, reward, terminated, truncated, info = env.step(env_action)
        following = as_seen(agent, env, following, info)
        rows.append((observation, action, float(reward), terminated, truncated))
        total += float(reward)
        observation = following
        if terminated or truncated:
            ends.append(t)
            successors.append(following)
            records.append(
                EpisodeRecord(
                    env_index=0, step=t, episode_return=total, length=t + 1 - began, terminated=terminated
                )
            )
            total, began = 0.0, t + 1
            if t + 1 < steps:
                observation, info = env.reset()
                observation = as_seen(agent, env, observation, info)
                player.begin()
                starts.append(t + 1)
    observations, actions, rewards, terminals, truncations = zip(*rows, strict=True)
    return EpisodeData(
        observations=stacked(observations),
        actions=np.stack([np.asarray(a) for a in actions]),
        rewards=np.asarray(rewards),
        terminated=np.asarray(terminals),
        truncated=np.asarray(truncations),
        episode_id=window,
        timestamp=0.0,
        episode_starts=starts,
        final_obs=record(observation),
        hidden_states=np.stack(memories) if memories else None,
        boundary_steps=np.asarray([(t, 0) for t in ends], dtype=np.int64).reshape(-1, 2),
        boundary_observations=stacked(successors) if successors else stacked([observation])[:0],
        episodes=tuple(records),
    )


def with_ends(
    data: EpisodeData,
    ends: dict[int, str],
    *,
    rewards: NDArray[np.float64] | None = None,
    successor: NDArray[Any] | None = None,
) -> EpisodeData:
    """The same steps with other episode ends.

    Args:
        data: A window of one environment.
        ends: Step to ``"terminated"``, ``"truncated"`` or ``"both"``; all other steps end nothing.
        rewards: Rewards to use instead.
        successor: What followed every end, instead of the window's own next observation.
    """
    length = data.length
    terminated, truncated = np.zeros(length, np.bool_), np.zeros(length, np.bool_)
    for t, kind in ends.items():
        terminated[t] = kind in {"terminated", "both"}
        truncated[t] = kind in {"truncated", "both"}
    steps = sorted(ends)
    assert data.final_obs is not None
    plain = [data.observations[t + 1, ...] if t + 1 < length else data.final_obs for t in steps]
    memory = None if data.hidden_states is None else data.hidden_states.copy()
    if memory is not None:
        memory[[0, *(t + 1 for t in steps if t + 1 < length)]] = 0.0
    following = plain if successor is None else [successor] * len(steps)
    chosen = data.rewards if rewards is None else rewards
    records = tuple(
        EpisodeRecord(
            env_index=0,
            step=t,
            episode_return=float(chosen[begin : t + 1].sum()),
            length=t + 1 - begin,
            terminated=bool(terminated[t]),
        )
        for begin, t in zip([0, *(s + 1 for s in steps)], steps, strict=False)
    )
    return EpisodeData(
        observations=data.observations.copy(),
        actions=data.actions.copy(),
        rewards=chosen.copy(),
        terminated=terminated,
        truncated=truncated,
        episode_id=data.episode_id,
        timestamp=0.0,
        episode_starts=sorted({0, *(t + 1 for t in steps if t + 1 < length)}),
        final_obs=(following[-1] if steps and steps[-1] == length - 1 else data.final_obs).copy(),
        boundary_steps=np.asarray([(t, 0) for t in steps], dtype=np.int64).reshape(-1, 2),
        boundary_observations=np.stack(following) if steps else data.observations[:0].copy(),
        hidden_states=memory,
        episodes=records,
    )


def feed(agent: BaseAgent, data: EpisodeData) -> Mapping[str, Any]:
    """Let ``agent`` learn from a window as the loop does: step by step first, if it learns so, then ``learn``.

    Returns:
        The diagnostics of ``learn``.
    """
    if isinstance(agent, StepwiseLearning):
        following = data.next_observations()
        for t in range(data.length):
            agent.observe(
                data.observations[t : t + 1],
                data.actions[t : t + 1],
                data.rewards[t : t + 1],
                following[t : t + 1],
                data.terminated[t : t + 1],
                data.truncated[t : t + 1],
            )
    return agent.learn(data)


def copy_window(data: EpisodeData) -> dict[str, Any]:
    """Every array field of a window as an independent copy, to find out later whether it was written to."""
    return {
        name: np.array(getattr(data, name))
        for name in EpisodeData.__dataclass_fields__
        if isinstance(getattr(data, name), np.ndarray)
    }
