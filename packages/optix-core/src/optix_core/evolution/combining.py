"""One action from several members, always a valid one.

Greedy: choices by the largest weighted mean probability where every member offers probabilities, else by weighted vote
(of each component, for actions with parts); ties go to the choice that comes first. Continuous actions are the weighted
mean. Sampled choices are those of a member drawn by weight, which is exactly the mixture of their policies.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optix_core.base_agent import ActionProbabilities, BaseAgent, BatchActing, BatchActionProbabilities
from optix_core.pipelines.actor import act_function

Floats = NDArray[np.float64]


def combined(
    members: Sequence[BaseAgent],
    weights: Sequence[float],
    observation: Any,
    rng: np.random.Generator,
    *,
    deterministic: bool,
) -> Any:
    """The ensemble's environment action for one observation as ``env.step`` gives it.

    Args:
        members: At least one.
        weights: One per member, sum 1.
        observation: As for ``act``.
        rng: Draws the member whose choice counts, if not ``deterministic``.
        deterministic: Greedy actions, of members that know the difference.
    """
    if len(members) == 1:
        return act_function(members[0], deterministic=deterministic)(observation)
    if deterministic and all(isinstance(m, ActionProbabilities) for m in members):
        action = _most_probable(members, weights, observation)
        if action is not None:
            return action
    actions = [act_function(m, deterministic=deterministic)(observation) for m in members]
    rows = np.stack([np.asarray(action) for action in actions])
    if not _are_choices(rows):
        return _mean(rows, weights)[()]
    if not deterministic:
        return actions[int(rng.choice(len(members), p=weights))]
    voted = vote(rows[:, None], weights)[0]
    return next((a for a, row in zip(actions, rows, strict=True) if np.array_equal(row, voted)), voted)


def combined_batch(
    members: Sequence[BaseAgent], weights: Sequence[float], observations: NDArray[Any]
) -> NDArray[Any]:
    """The ensemble's greedy policy actions ``[N, *act]`` for observations ``[N, *obs]``; a fresh array."""
    policies = [batch_acting(member) for member in members]
    rows = np.stack([p.act_batch(observations, deterministic=True) for p in policies])
    if len(members) == 1:
        return rows[0]
    if not _are_choices(rows):
        within = np.stack([_as_executed(p, row) for p, row in zip(policies, rows, strict=True)])
        return _mean(within, weights)
    if rows.ndim == 2:
        tables = [_probabilities(member, observations) for member in members]
        known = [table for table in tables if table is not None]
        if len(known) == len(members):
            mean = sum(w * table for w, table in zip(weights, known, strict=True))
            return np.asarray(mean).argmax(axis=1).astype(rows.dtype)
    return vote(rows, weights)


def vote(rows: NDArray[Any], weights: Sequence[float]) -> NDArray[Any]:
    """The choice with the largest weight, component by component.

    Args:
        rows: Members' choices ``[M, N, *act]``, integers.
        weights: ``[M]``.

    Returns:
        ``[N, *act]``; of equal weights, the smaller choice wins.
    """
    values = np.unique(rows)
    shape = (len(rows),) + (1,) * (rows.ndim - 1)
    by_member = np.asarray(weights).reshape(shape)
    votes = np.stack([np.where(rows == value, by_member, 0.0).sum(axis=0) for value in values])
    best = votes.max(axis=0)
    # up to rounding of the sums: equal weights must tie however they were added up
    return values[(votes >= best * (1 - 1e-12)).argmax(axis=0)]


class SingleActing:
    """Acting in batches for agents that only have ``act``: row by row, and actions are the environment's own."""

    def __init__(self, agent: BaseAgent) -> None:
        self._agent = agent

    def act_batch(self, observations: NDArray[Any], *, deterministic: bool = False) -> NDArray[Any]:
        """See :class:`~optix_core.base_agent.BatchActing`."""
        act = act_function(self._agent, deterministic=deterministic)
        return np.asarray([act(row) for row in observations])

    def env_actions(self, actions: NDArray[Any]) -> NDArray[Any]:
        """The same actions."""
        return actions


def batch_acting(agent: BaseAgent) -> BatchActing:
    """The agent itself if it acts in batches, else something that asks it row by row."""
    return agent if isinstance(agent, BatchActing) else SingleActing(agent)


def _most_probable(members: Sequence[BaseAgent], weights: Sequence[float], observation: Any) -> Any:
    """The greedy choice by mean probability; None if actions have parts, of which probabilities say nothing jointly."""
    offered = [m for m in members if isinstance(m, ActionProbabilities)]
    greedy = act_function(members[0], deterministic=True)(observation)
    if np.ndim(greedy) != 0 or not _are_choices(np.asarray(greedy)):
        return None
    tables = [np.asarray(m.action_probs(observation), np.float64) for m in offered]
    mean = np.asarray(sum(w * table for w, table in zip(weights, tables, strict=True)))
    choice = np.asarray([mean.argmax()])
    # what policies call the k-th action may have another name in the environment
    return type(greedy)(batch_acting(members[0]).env_actions(choice)[0])


def _probabilities(member: BaseAgent, observations: NDArray[Any]) -> Floats | None:
    """``[N, A]``, or None if the member does not offer them."""
    if isinstance(member, BatchActionProbabilities):
        return np.asarray(member.action_probs_batch(observations), np.float64)
    if isinstance(member, ActionProbabilities) and observations.dtype.names is None:
        return np.stack([np.asarray(member.action_probs(row), np.float64) for row in observations])
    return None


def _are_choices(actions: NDArray[Any]) -> bool:
    return actions.dtype.kind in "iub"


def _as_executed(member: BatchActing, actions: NDArray[Any]) -> NDArray[Any]:
    """Policy actions cut to [-1, 1] where the environment cannot tell the difference.

    Unbounded policies mean the same by 1 and by 5, and a mean must not take the 5 at its word.
    """
    cut = np.clip(actions, -1.0, 1.0).astype(actions.dtype)
    return cut if np.array_equal(member.env_actions(cut), member.env_actions(actions)) else actions


def _mean(rows: NDArray[Any], weights: Sequence[float]) -> NDArray[Any]:
    """Weighted mean over the first axis, never outside of what was averaged, in its dtype."""
    mean = np.tensordot(np.asarray(weights), rows.astype(np.float64), axes=1).astype(rows.dtype)
    return np.clip(mean, rows.min(axis=0), rows.max(axis=0))
