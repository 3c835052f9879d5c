"""Windows of experience for checks: collected from a tiny environment, or with chosen episode ends.

This is not a pipeline: it is the shortest code that fills :class:`~optix_core.types.EpisodeData` as the contract
says, so that an agent can be
checked without trusting any pipeline.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import BaseAgent, BatchActing, StepwiseLearning
from optix_core.types import EpisodeData, EpisodeRecord


def ask(agent: BaseAgent, observation: Any, *, deterministic: bool = False) -> tuple[Any, Any]:
    """One decision as (policy action, environment action).

    Agents that act in batches are asked in a batch of one, as pipelines do; others through ``act``, whose two
    actions are
    the same. ``deterministic`` is passed on where the agent accepts it.
    """
    if isinstance(agent, BatchActing):
        batch = np.asarray(observation)[None]
        policy = agent.act_batch(batch, deterministic=deterministic)
        return policy[0], agent.env_actions(policy)[0]
    act: Any = agent.act
    action = (
        act(observation, deterministic=True) if deterministic and accepts_greedy(agent) else act(observation)
    )
    return action, action


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
    observation, _ = env.reset(seed=seed)
    rows: list[tuple[Any, Any, float, bool, bool]] = []
    ends: list[int] = []
    successors: list[Any] = []
    records: list[EpisodeRecord] = []
    starts, total, began = [0], 0.0, 0
    for t in range(steps):
        action, env_action = ask(agent, np.copy(observation))
        following, reward, terminated, truncated, _ = env.step(env_action)
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
                observation, _ = env.reset()
                starts.append(t + 1)
    observations, actions, rewards, terminals, truncations = zip(*rows, strict=True)
    return EpisodeData(
        observations=np.stack(observations),
        actions=np.stack([np.asarray(a) for a in actions]),
        rewards=np.asarray(rewards),
        terminated=np.asarray(terminals),
        truncated=np.asarray(truncations),
        episode_id=window,
        timestamp=0.0,
        episode_starts=starts,
        final_obs=np.asarray(observation),
        boundary_steps=np.asarray([(t, 0) for t in ends], dtype=np.int64).reshape(-1, 2),
        boundary_observations=np.stack(successors) if successors else np.empty((0, *np.shape(observation))),
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
    plain = [data.observations[t + 1] if t + 1 < length else data.final_obs for t in steps]
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
        boundary_observations=np.stack(following) if steps else np.empty((0, *data.observations.shape[1:])),
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
                data.observations[t][None],
                data.actions[t][None],
                data.rewards[t : t + 1],
                following[t][None],
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
